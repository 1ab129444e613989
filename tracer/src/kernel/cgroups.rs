//! Which path a cgroup id stands for.
//!
//! The id of a cgroup2 directory is its inode number. Those that exist when tracing begins are walked
//! over in the background; after that the kernel tells of each that is made, with its parent.
//!
//! Where cgroup v1 is mounted as well, whoever is at the top of cgroup2 may live in a hierarchy of v1: the top has
//! no path then, and what `/proc` says counts. In a private cgroup namespace the paths below its own top would be taken
//! for the machine's: without a mount that reaches above, none is known.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    fs,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use crate::evidence::cgroup_path::{is_top, levels_above};

/// How many removed cgroups are remembered: a verdict comes shortly after the end of its scope.
const KEPT: usize = 4096;
/// How deep the walk goes: the kernel nests no deeper than this by far.
const MAX_DEPTH: usize = 64;

/// The path of the top is empty where it tells nothing.
type Paths = HashMap<u64, String>;

/// Ids and paths.
#[derive(Debug, Default)]
pub struct Cgroups {
    paths: Paths,
    /// The oldest first.
    removed: VecDeque<u64>,
    walk: Option<JoinHandle<Paths>>,
}

impl Cgroups {
    /// Begins to walk over those that exist.
    pub fn walk() -> Self {
        let walk = thread::Builder::new().name("cgroups".to_owned()).spawn(|| {
            let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
            let mut paths = Paths::new();
            let init = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
            if let Some(root) = mount_point(&mounts, private_depth(&init)) {
                if let Ok(metadata) = fs::metadata(&root) {
                    let top = if has_v1(&mounts) { "" } else { "/" };
                    paths.insert(metadata.ino(), top.to_owned());
                }
                visit(&root, "", MAX_DEPTH, &mut paths);
            }
            paths
        });
        Self { walk: walk.ok(), ..Self::default() }
    }

    /// The path of a cgroup, from the root of the mount, where that tells where its processes live.
    pub fn path(&mut self, id: u64) -> Option<String> {
        self.place(id).filter(|path| !path.is_empty())
    }

    /// The path below which others have theirs.
    fn place(&mut self, id: u64) -> Option<String> {
        if let Some(path) = self.paths.get(&id) {
            return Some(path.clone());
        }
        self.finish_walk();
        self.paths.get(&id).cloned()
    }

    /// A cgroup was made; returns its path where its parent's is known.
    pub fn made(&mut self, id: u64, parent: u64, name: &str) -> Option<String> {
        let parent = self.place(parent)?;
        let path = format!("{}/{name}", parent.trim_end_matches('/'));
        self.paths.insert(id, path.clone());
        Some(path)
    }

    /// A cgroup was removed; its path stays known for a while.
    pub fn removed(&mut self, id: u64) -> Option<String> {
        let path = self.path(id);
        self.removed.push_back(id);
        if self.removed.len() > KEPT
            && let Some(oldest) = self.removed.pop_front()
        {
            self.paths.remove(&oldest);
        }
        path
    }

    /// Waits for the walk; what the kernel has told since takes precedence.
    fn finish_walk(&mut self) {
        if let Some(walk) = self.walk.take()
            && let Ok(found) = walk.join()
        {
            for (id, path) in found {
                self.paths.entry(id).or_insert(path);
            }
        }
    }
}

/// Enters the directories below one.
fn visit(directory: &Path, path: &str, depth: usize, paths: &mut Paths) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if depth == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        visit(&entry.path(), &path, depth - 1, paths);
        paths.insert(entry.ino(), path);
    }
}

/// How many levels PID 1 lives above the top of this cgroup namespace, by the text of `/proc/1/cgroup`: 0 in it.
fn private_depth(init: &str) -> usize {
    init.lines().find_map(|line| line.strip_prefix("0::")).map_or(0, levels_above)
}

/// Where cgroup2 is mounted: the mount that shows most of it. In a private namespace the one that reaches so many levels
/// above its top, where the paths of the machine begin.
fn mount_point(mountinfo: &[u8], private_depth: usize) -> Option<PathBuf> {
    let reaches_it = |root: &[u8]| {
        let root = String::from_utf8_lossy(root);
        is_top(&root) && levels_above(&root) == private_depth
    };
    let unified = mounts(mountinfo).filter(|(kind, ..)| *kind == b"cgroup2");
    let known = unified.filter(|(_, root, _)| private_depth == 0 || reaches_it(root));
    known.map(|(_, root, point)| (root.len(), unescape(point))).min().map(|(_, point)| point)
}

/// Whether a hierarchy of cgroup v1 is mounted.
fn has_v1(mountinfo: &[u8]) -> bool {
    mounts(mountinfo).any(|(kind, ..)| kind == b"cgroup")
}

/// The kind of each mount, which of its directories is mounted, and where.
fn mounts(mountinfo: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = words.iter().position(|word| word == b"-")?;
        Some((*words.get(dash + 1)?, *words.get(3)?, *words.get(4)?))
    })
}

/// Undoes the octal escapes of `/proc/self/mountinfo`.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Cgroups {
        Cgroups { paths: Paths::from([(1, "/".to_owned())]), ..Cgroups::default() }
    }

    #[test]
    fn paths_grow_from_the_root() {
        let mut cgroups = table();
        assert_eq!(cgroups.made(2, 1, "user.slice").as_deref(), Some("/user.slice"));
        assert_eq!(cgroups.made(3, 2, "a.scope").as_deref(), Some("/user.slice/a.scope"));
        assert_eq!(cgroups.path(3).as_deref(), Some("/user.slice/a.scope"));
        assert_eq!(cgroups.made(5, 4, "orphan"), None);
        assert_eq!(cgroups.path(5), None);
    }

    #[test]
    fn beside_cgroup_v1_the_top_tells_nothing() {
        let paths = Paths::from([(1, String::new())]);
        let mut cgroups = Cgroups { paths, ..Cgroups::default() };
        assert_eq!(cgroups.path(1), None);
        assert_eq!(cgroups.made(2, 1, "user.slice").as_deref(), Some("/user.slice"));
        let unified = b"32 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let named = b"33 23 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
        assert!(!has_v1(unified) && has_v1(&[&unified[..], b"\n", named].concat()));
    }

    #[test]
    fn removed_cgroups_are_remembered_for_a_while_only() {
        let mut cgroups = table();
        for id in 10..10 + KEPT as u64 + 5 {
            cgroups.made(id, 1, "x");
            assert!(cgroups.removed(id).is_some());
        }
        assert_eq!(cgroups.path(10), None);
        assert_eq!(cgroups.path(10 + KEPT as u64).as_deref(), Some("/x"));
        assert_eq!(cgroups.paths.len(), KEPT + 1);
    }

    #[test]
    fn the_mount_that_shows_most_is_taken() {
        let mounts = b"31 23 0:27 /a/b /mnt/part rw - cgroup2 cgroup2 rw\n\
                       32 23 0:27 / /sys/fs/cgroup\\040two rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                       33 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                       broken\n";
        assert_eq!(mount_point(mounts, 0), Some(PathBuf::from("/sys/fs/cgroup two")));
        assert_eq!(mount_point(b"", 0), None);
    }

    #[test]
    fn a_private_namespace_s_own_mount_tells_no_paths_of_the_machine() {
        assert_eq!(private_depth("9:name=systemd:/\n0::/../../init.scope\n"), 2);
        let own = ["9:name=systemd:/..\n0::/init.scope\n", "0::/\n"].map(private_depth);
        assert_eq!(own, [0, 0]);
        let own = b"32 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                    33 23 0:27 /../beside /mnt/beside rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(own, 2), None);
        let half = b"31 23 0:27 /.. /mnt/half rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(half, 2), None, "not as far as PID 1");
        let machine = b"31 23 0:27 /../.. /mnt/machine rw - cgroup2 cgroup2 rw\n";
        let both = [&own[..], half, machine].concat();
        assert_eq!(mount_point(&both, 2), Some(PathBuf::from("/mnt/machine")));
    }

    #[test]
    fn a_tree_is_walked() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("a/b")).expect("directories");
        fs::write(root.path().join("a/file"), "").expect("a file");
        let mut paths = Paths::new();
        visit(root.path(), "", MAX_DEPTH, &mut paths);
        let mut found: Vec<_> = paths.into_values().collect();
        found.sort();
        assert_eq!(found, ["/a", "/a/b"]);
    }
}
