//! The cgroup file systems: where they are mounted, which path systemd looks at, limits and ids.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::evidence::CgroupLimits;
use crate::evidence::cgroup_path::{is_top, leads_out, levels_above};

/// `memory.limit_in_bytes` of v1 is the largest page-aligned number where there is no limit.
const NO_LIMIT_V1: u64 = 1 << 62;

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` (`linux/magic.h`).
const CGROUP2_MAGIC: i64 = 0x6367_7270;
const CGROUP_MAGIC: i64 = 0x0027_e0eb;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// Where.
    point: PathBuf,
    /// Which directory of the hierarchy is mounted there; paths are relative to it.
    root: String,
    /// It shows a part of the hierarchy that the paths of this namespace do not begin at.
    is_partial: bool,
}

/// The mounted hierarchies of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    unified: Option<Mount>,
    systemd: Option<Mount>,
    memory: Option<Mount>,
    /// Where cgroup2 is mounted, and something else is mounted over it: that place, or one above.
    hidden: Option<(PathBuf, PathBuf)>,
    /// PID 1 lives outside of this cgroup namespace.
    is_private: bool,
    /// The service manager keeps its units in cgroup v1: whatever mounted cgroup2, they are not in it.
    keeps_units_in_v1: bool,
    /// Where the service manager's own tree begins: not `/` in a container without a cgroup namespace.
    manager_root: String,
}

impl Cgroups {
    /// Looks at the mounts of this process, and at where PID 1 lives.
    pub fn detect() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut cgroups = Self::of_shown(&mounts, is_shown);
        let init = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
        cgroups.consider_init(&init);
        cgroups
    }

    /// Takes in where PID 1 lives, by the text of `/proc/1/cgroup`.
    fn consider_init(&mut self, init: &str) {
        self.keeps_units_in_v1 = keeps_units_in_v1(init);
        let root = self.path(init).unwrap_or_default();
        self.is_private = leads_out(&root);
        for mount in [&mut self.unified, &mut self.systemd, &mut self.memory].into_iter().flatten()
        {
            // Paths are told from PID 1's top.
            let reaches_it =
                is_top(&mount.root) && levels_above(&mount.root) == levels_above(&root);
            mount.is_partial = self.is_private && !reaches_it;
        }
        // As cg_get_root_path: PID 1's cgroup without its own scope.
        let above = ["/init.scope", "/system.slice", "/system"]
            .iter()
            .find_map(|suffix| root.strip_suffix(suffix));
        // Outside of this namespace where it lives below the top, as `/../init`: no more than the way up to that is known.
        let top = || "/..".repeat(levels_above(&root));
        self.manager_root = above.map_or_else(top, str::to_owned);
    }

    /// The hierarchies that `/proc/PID/mountinfo` lists.
    pub fn of_mounts(mountinfo: &str) -> Self {
        Self::of_shown(mountinfo, |_, _| true)
    }

    /// Those among them that can be seen where they are mounted.
    fn of_shown(mountinfo: &str, is_shown: impl Fn(&Path, &str) -> bool) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, kind, options)) = parse_mount(line) else {
                continue;
            };
            let slot = match kind {
                "cgroup2" => &mut found.unified,
                "cgroup" if has(options, "name=systemd") => &mut found.systemd,
                "cgroup" if has(options, "memory") => &mut found.memory,
                _ => continue,
            };
            if is_shown(&mount.point, kind) {
                slot.get_or_insert(mount);
            } else if kind == "cgroup2" {
                let mut mounts = mountinfo.lines().filter_map(parse_mount);
                let cover = mounts.rfind(|(cover, ..)| mount.point.starts_with(&cover.point));
                let cover = cover.map(|(cover, ..)| cover.point);
                found.hidden = Some((mount.point.clone(), cover.unwrap_or(mount.point)));
            }
        }
        found
    }

    /// From the text of `/proc/PID/cgroup`, the path as the service manager sees it.
    ///
    /// That is the cgroup2 path where cgroup2 is mounted (systemd on a unified, and from v233 on a hybrid
    /// machine), else the `name=systemd` hierarchy; where those say only `/`, a controller that knows better, or
    /// cgroup2 where it is not mounted, or hidden. In a private cgroup namespace only what leads out of it tells where on
    /// the machine that is, and whoever is at the machine's top may be about to be moved, which is not seen.
    pub fn systemd_path(&self, text: &str) -> Option<String> {
        let path = self.path(text)?;
        if self.is_private && (is_top(&path) || !leads_out(&path)) {
            return None;
        }
        let below =
            path.strip_prefix(self.manager_root.as_str()).filter(|below| below.starts_with('/'));
        Some(below.unwrap_or(&path).to_owned())
    }

    fn path(&self, text: &str) -> Option<String> {
        let unified = self.unified.as_ref().and_then(|_| hierarchy(text, ""));
        let named = || hierarchy(text, "name=systemd");
        let others = ["memory", "pids", ""].map(|controller| hierarchy(text, controller));
        let candidates = [&[unified, named()], others.as_slice()].concat();
        let known = candidates.iter().flatten().find(|path| !is_top(path));
        let path = known.or(candidates.iter().flatten().next())?;
        Some(path.strip_suffix(" (deleted)").unwrap_or(path).to_owned())
    }

    /// From the text of `/proc/PID/cgroup`, the path in the hierarchy that limits memory.
    pub fn memory_path(&self, text: &str) -> Option<String> {
        let controller = if self.memory.is_some() { "memory" } else { "" };
        hierarchy(text, controller).map(str::to_owned)
    }

    /// Whether cgroup2 is mounted, and units are in it.
    pub fn is_unified_used(&self) -> bool {
        self.unified.as_ref().is_some_and(|mount| !mount.is_partial) && !self.keeps_units_in_v1
    }

    /// Whether the service manager keeps its units in cgroup v1, as it was told to when it booted.
    pub const fn keeps_units_in_v1(&self) -> bool {
        self.keeps_units_in_v1
    }

    /// Whether PID 1 lives outside of this cgroup namespace, and its cgroups are not to be seen from here.
    pub fn is_private(&self) -> bool {
        self.is_private && !self.is_unified_used()
    }

    /// Where cgroup2 is mounted without being seen there, and nowhere else; and where the mount is that covers it.
    pub fn hidden(&self) -> Option<(&Path, &Path)> {
        let is_lacking = self.unified.is_none() && !self.keeps_units_in_v1 && !self.is_private;
        let (point, cover) = self.hidden.as_ref().filter(|_| is_lacking)?;
        Some((point, cover))
    }

    /// Whether systemd's own hierarchy or the memory controller is cgroup v1's.
    pub const fn is_hybrid(&self) -> bool {
        self.systemd.is_some() || self.memory.is_some()
    }

    /// Inode number of a cgroup2 directory, which is its id in the kernel.
    pub fn id(&self, path: &str) -> Option<u64> {
        fs::metadata(self.unified_directory(path)?).ok().map(|metadata| metadata.ino())
    }

    /// The directory of a cgroup2 path.
    pub fn unified_directory(&self, path: &str) -> Option<PathBuf> {
        directory(self.unified.as_ref()?, path)
    }

    /// The user other than root who has named a cgroup, or one above it: that is who has the one above, since whoever has
    /// that makes others there; and where others than its user may make some in it, who has the one that was made. Root is
    /// whoever has the top of the mount.
    ///
    /// # Errors
    /// Where one of them is gone or must not be seen.
    pub fn named_by(&self, path: &str) -> io::Result<Option<u32>> {
        let is_there = |mount: &&Mount| directory(mount, path).is_some_and(|it| it.is_dir());
        let mounts = [&self.unified, &self.systemd].into_iter().flatten();
        // Of a cgroup that is gone the one above tells as much, where nobody else may make some in it.
        let above = path.trim_end_matches('/').rsplit_once('/').map_or("/", |(above, _)| above);
        let above_is_there = |mount: &&Mount| directory(mount, above).is_some_and(|it| it.is_dir());
        let mount = mounts.clone().find(is_there).or_else(|| mounts.clone().find(above_is_there));
        let mount = mount.ok_or(io::ErrorKind::NotFound)?;
        let lowest = directory(mount, path).ok_or(io::ErrorKind::NotFound)?;
        let root = fs::metadata(&mount.point)?.uid();
        let others = |uid: u32| uid != 0 && uid != root;
        for place in lowest.ancestors().take_while(|place| *place != mount.point) {
            let Some(above) = place.parent() else { break };
            let above = fs::metadata(above)?;
            if others(above.uid()) {
                return Ok(Some(above.uid()));
            }
            // The group of root has no other members than root.
            let by_group = above.mode() & 0o020 != 0 && above.gid() != 0;
            if by_group || above.mode() & 0o002 != 0 {
                let maker = fs::metadata(place)?.uid();
                if others(maker) {
                    return Ok(Some(maker));
                }
            }
        }
        Ok(None)
    }

    /// A path as a user may write it, with or without the mount point in front, as one in the hierarchy.
    pub fn normalize(&self, path: &str) -> String {
        let mounts = [&self.unified, &self.systemd, &self.memory];
        let below = mounts
            .into_iter()
            .flatten()
            .find_map(|mount| Path::new(path).strip_prefix(&mount.point).ok());
        let inner =
            below.map_or_else(|| path.to_owned(), |below| below.to_string_lossy().into_owned());
        format!("/{}", inner.trim_matches('/'))
    }

    /// Memory limit and usage of a cgroup, by its path in the hierarchy that limits memory.
    pub fn limits(&self, path: &str) -> Option<CgroupLimits> {
        let cgroup = path.to_owned();
        if let Some(memory) = &self.memory {
            let directory = directory(memory, path).filter(|it| it.is_dir())?;
            let file = directory.join("memory.limit_in_bytes");
            let limit = number(&file);
            return Some(CgroupLimits {
                cgroup,
                memory_max: limit.filter(|limit| *limit < NO_LIMIT_V1),
                memory_current: number(&directory.join("memory.usage_in_bytes")),
                oom_group: None,
                limit_file: file.to_str().map(str::to_owned),
            });
        }
        let directory = directory(self.unified.as_ref()?, path).filter(|it| it.is_dir())?;
        let file = directory.join("memory.max");
        Some(CgroupLimits {
            cgroup,
            memory_max: number(&file),
            limit_file: file.to_str().map(str::to_owned),
            memory_current: number(&directory.join("memory.current")),
            oom_group: number(&directory.join("memory.oom.group")).map(|set| set != 0),
        })
    }
}

/// By the text of `/proc/1/cgroup`: on a hybrid machine systemd has each of its cgroups in cgroup2 as well.
fn keeps_units_in_v1(init: &str) -> bool {
    let is_below = |path: &str| !is_top(path);
    hierarchy(init, "name=systemd").is_some_and(is_below)
        && !hierarchy(init, "").is_some_and(is_below)
}

/// Whether a hierarchy of this kind is what is seen at a path: something else can be mounted over it.
fn is_shown(point: &Path, kind: &str) -> bool {
    let Ok(path) = CString::new(point.as_os_str().as_bytes()) else { return false };
    // SAFETY: a structure of integers, for all of which zero is a valid value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and the structure is valid for writes for the call.
    let told = unsafe { libc::statfs(path.as_ptr(), &raw mut found) } == 0;
    let magic = if kind == "cgroup2" { CGROUP2_MAGIC } else { CGROUP_MAGIC };
    // What may not be looked at may be there.
    let may_be = || io::Error::last_os_error().kind() == io::ErrorKind::PermissionDenied;
    if told { i128::from(found.f_type) == i128::from(magic) } else { may_be() }
}

/// The path of one hierarchy in `/proc/PID/cgroup`; cgroup2 is the line without controllers.
fn hierarchy<'t>(text: &'t str, controller: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

fn has(options: &str, option: &str) -> bool {
    options.split(',').any(|word| word == option)
}

/// Mount, type and options of one line of mountinfo (proc_pid_mountinfo(5)).
fn parse_mount(line: &str) -> Option<(Mount, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, _, options) = (right.next()?, right.next()?, right.next()?);
    let (point, root) = (PathBuf::from(unescape(point)), unescape(root));
    Some((Mount { point, root, is_partial: false }, kind, options))
}

/// Undoes the kernel's octal escapes for space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// The directory of a cgroup; `None` for a path that leads out of the mount, or begins elsewhere.
fn directory(mount: &Mount, path: &str) -> Option<PathBuf> {
    if mount.is_partial || path.split('/').any(|part| part == "..") {
        return None;
    }
    let below =
        if mount.root == "/" { path } else { path.strip_prefix(&mount.root).unwrap_or(path) };
    Some(mount.point.join(below.trim_start_matches('/')))
}

/// The number in a control file; `max` and what is no number are `None`.
fn number(file: &Path) -> Option<u64> {
    let mut text = String::new();
    fs::File::open(file).ok()?.take(64).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    const HYBRID: &str = "\
        26 25 0:23 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n\
        27 25 0:24 / /sys/fs/cgroup/systemd rw shared:5 - cgroup cgroup rw,xattr,name=systemd\n\
        28 25 0:25 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n";

    #[test]
    fn the_hierarchy_of_systemd_is_chosen() {
        let unified = Cgroups::of_mounts(UNIFIED);
        assert_eq!(
            unified.systemd_path("0::/system.slice/a.service\n").as_deref(),
            Some("/system.slice/a.service")
        );
        let hybrid = Cgroups::of_mounts(HYBRID);
        let text =
            "5:memory:/m\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n";
        assert_eq!(hybrid.systemd_path(text).as_deref(), Some("/system.slice/a.service"));
        assert_eq!(hybrid.memory_path(text).as_deref(), Some("/m"));
        let legacy = Cgroups::of_mounts(HYBRID.lines().nth(1).expect("a line"));
        assert_eq!(legacy.systemd_path("1:name=systemd:/x\n0::/\n").as_deref(), Some("/x"));
        assert_eq!(legacy.systemd_path("garbage"), None);
        // The kernel tells of cgroup2 whether or not it is mounted.
        let none = Cgroups::of_mounts("");
        assert_eq!(
            none.systemd_path("0::/system.slice/a.service\n").as_deref(),
            Some("/system.slice/a.service")
        );
    }

    #[test]
    fn cgroup2_beside_units_in_v1_is_not_used() {
        assert!(keeps_units_in_v1("1:name=systemd:/init.scope\n0::/\n"));
        assert!(keeps_units_in_v1("4:memory:/\n1:name=systemd:/init.scope\n"));
        assert!(!keeps_units_in_v1("1:name=systemd:/init.scope\n0::/init.scope\n"));
        assert!(!keeps_units_in_v1("0::/init.scope\n") && !keeps_units_in_v1(""));
        let mut cgroups = Cgroups::of_mounts(HYBRID);
        let text = "1:name=systemd:/system.slice/a.service\n0::/\n";
        assert!(cgroups.is_unified_used());
        cgroups.keeps_units_in_v1 = true;
        assert!(!cgroups.is_unified_used() && cgroups.hidden().is_none());
        assert_eq!(cgroups.systemd_path(text).as_deref(), Some("/system.slice/a.service"));
    }

    #[test]
    fn what_is_mounted_over_hides_a_hierarchy() {
        let point = Path::new("/sys/fs/cgroup");
        let hidden = Cgroups::of_shown(UNIFIED, |_, _| false);
        assert!(!hidden.is_unified_used() && hidden.hidden() == Some((point, point)));
        // What covers it may be mounted above.
        let tmpfs = "41 20 0:41 / /sys/fs/cgroup/a rw - tmpfs none rw\n42 20 0:42 / /sys rw - tmpfs none rw";
        let mounts = format!("20 1 0:20 / /sys rw - sysfs sysfs rw\n{UNIFIED}\n{tmpfs}\n");
        let hidden = Cgroups::of_shown(&mounts, |_, _| false);
        assert_eq!(hidden.hidden(), Some((point, Path::new("/sys"))));
        let twice = format!("{UNIFIED}\n31 23 0:26 / /elsewhere rw - cgroup2 cgroup2 rw\n");
        let seen = Cgroups::of_shown(&twice, |path, _| path != point);
        assert!(seen.is_unified_used() && seen.hidden().is_none());
        let folder = tempfile::tempdir().expect("temporary directory");
        assert!(!is_shown(folder.path(), "cgroup2") && !is_shown(Path::new("/no/such"), "cgroup"));
    }

    #[test]
    fn who_has_named_a_cgroup() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let tree = tempfile::tempdir().expect("temporary directory");
        let point = tree.path().to_string_lossy().into_owned();
        let place = |path: &str| tree.path().join(path.trim_start_matches('/'));
        let make = |path: &str, mode| {
            fs::create_dir_all(place(path)).expect("directories");
            fs::set_permissions(place(path), fs::Permissions::from_mode(mode)).expect("its mode");
        };
        for path in ["", "/a.slice", "/a.slice/b.service", "/a.slice/b.service/c", "/all/one"] {
            make(path, 0o755);
        }
        let cgroups = Cgroups::of_mounts(&format!("1 2 0:1 / {point} rw - cgroup2 cgroup2 rw"));
        let named_by = |path: &str| cgroups.named_by(path).map_err(|error| error.kind());
        for path in ["/", "/a.slice/b.service/c", "/a.slice/gone"] {
            assert_eq!(named_by(path), Ok(None), "{path}");
        }
        assert!(named_by("/gone/too").is_err() && named_by("/../etc").is_err());
        // Nobody but root can give directories away, and root has to be able to.
        let given = chown(place("/a.slice/b.service"), Some(1), None);
        // SAFETY: geteuid takes nothing and cannot fail.
        assert_eq!(given.is_ok(), unsafe { libc::geteuid() } == 0, "{given:?}");
        if given.is_err() {
            return;
        }
        assert_eq!(named_by("/a.slice/b.service/c"), Ok(Some(1)));
        assert_eq!(named_by("/a.slice/b.service"), Ok(None));
        // A group may make cgroups in one of root's.
        make("/all", 0o775);
        // In a user namespace with few ids there may be no such group.
        if chown(place("/all"), None, Some(100)).is_err() {
            return;
        }
        assert_eq!(named_by("/all/one"), Ok(None), "root has made it");
        chown(place("/all/one"), Some(1), None).expect("root can");
        assert_eq!(named_by("/all/one"), Ok(Some(1)));
        assert!(named_by("/all/gone").is_err(), "anybody of them can have made it");
        chown(place("/all"), None, Some(0)).expect("root can");
        assert_eq!(named_by("/all/one"), Ok(None), "what root gives away");
        make("/all", 0o757);
        assert_eq!(named_by("/all/one"), Ok(Some(1)));
    }

    #[test]
    fn in_a_container_paths_begin_at_the_manager() {
        let mut cgroups = Cgroups::of_mounts(UNIFIED);
        cgroups.manager_root = "/docker/abc".to_owned();
        assert_eq!(
            cgroups.systemd_path("0::/docker/abc/system.slice/a.service").as_deref(),
            Some("/system.slice/a.service")
        );
        assert_eq!(
            cgroups.systemd_path("0::/docker/abcdef/x").as_deref(),
            Some("/docker/abcdef/x")
        );
    }

    #[test]
    fn of_a_private_namespace_only_what_leads_out_is_told() {
        let of = |mounts: &str, init| {
            let mut cgroups = Cgroups::of_mounts(mounts);
            cgroups.consider_init(init);
            cgroups
        };
        let told = |cgroups: &Cgroups, path| cgroups.systemd_path(&format!("0::{path}\n"));
        // With a cgroup2 of its own, two levels below the machine's top.
        let own = of(UNIFIED, "0::/../../init.scope\n");
        assert!(own.is_private() && !own.is_unified_used() && own.hidden().is_none());
        for (path, known) in [
            ("/../../system.slice/a.service", Some("/system.slice/a.service")),
            ("/../docker-b.scope", Some("/../docker-b.scope")),
            ("/../..", None),
            ("/..", None),
            ("/", None),
            ("/inside", None),
        ] {
            assert_eq!(told(&own, path).as_deref(), known, "{path}");
        }
        assert_eq!(own.unified_directory("/system.slice"), None, "another one");
        // Where no systemd runs, PID 1 is at the top.
        let mut plain = of(HYBRID, "9:name=systemd:/\n0::/..\n");
        assert_eq!(told(&plain, "/../a/b.service").as_deref(), Some("/a/b.service"));
        assert!(plain.is_private());
        plain = of(HYBRID, "9:name=systemd:/\n0::/\n");
        assert!(!plain.is_private() && plain.is_unified_used());
        // The machine's own mount is to be seen.
        let whole = of(&UNIFIED.replace(" / ", " /../.. "), "0::/../../init.scope\n");
        assert!(!whole.is_private() && whole.is_unified_used());
        let half = of(&UNIFIED.replace(" / ", " /.. "), "0::/../../init.scope\n");
        assert!(half.is_private() && !half.is_unified_used(), "it does not reach as far");
        // Where something else than systemd keeps PID 1 below the top.
        let moved = of(UNIFIED, "0::/../init\n");
        assert_eq!(told(&moved, "/../x.slice/w.service").as_deref(), Some("/x.slice/w.service"));
        let directory = whole.unified_directory("/system.slice/a.service");
        assert_eq!(directory, Some("/sys/fs/cgroup/system.slice/a.service".into()));
    }

    #[test]
    fn limits_are_read_from_either_version() {
        let root = tempfile::tempdir().expect("temporary directory");
        let point = root.path().to_string_lossy().into_owned();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(root.path().join("a")).expect("directory");
            fs::write(root.path().join("a").join(name), text).expect("file");
        };
        write("memory.max", "max\n");
        write("memory.current", "4096\n");
        write("memory.oom.group", "1\n");
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.usage_in_bytes", "8192\n");
        let v2 = Cgroups::of_mounts(&format!("1 2 0:1 / {point} rw - cgroup2 cgroup2 rw"));
        let limits = v2.limits("/a").expect("a cgroup");
        assert_eq!(
            (limits.memory_max, limits.memory_current, limits.oom_group),
            (None, Some(4096), Some(true))
        );
        let v1 = Cgroups::of_mounts(&format!("1 2 0:1 / {point} rw - cgroup cgroup rw,memory"));
        let limits = v1.limits("/a").expect("a cgroup");
        assert_eq!(
            (limits.memory_max, limits.memory_current, limits.oom_group),
            (None, Some(8192), None)
        );
        assert_eq!(v2.limits("/b"), None);
        assert_eq!(v2.limits("/../etc"), None);
        assert_eq!(v2.normalize(&format!("{point}/a/")), "/a");
        assert!(v2.id("/a").is_some() && v2.id("/b").is_none());
    }
}
