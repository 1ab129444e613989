//! What one running lab occupies on the machine, a directory and a cgroup, and how both are given back:
//! at its end, or by the next lab where the program that ran it was killed.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::seed::lab_directory;
use super::wait::wait_for;

const CGROUP_PREFIX: &str = "killtrace-lab-";

/// The directory and the cgroup of one lab.
#[derive(Debug)]
pub(super) struct Instance {
    directory: PathBuf,
    cgroup: PathBuf,
    /// Held as long as the lab lives: who can lock it may clear the rest away.
    lock: Option<File>,
}

impl Instance {
    /// Claims a directory and a cgroup for a new lab, after clearing away what dead ones left behind.
    pub(super) fn create() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let instances = lab_directory().join("running");
        fs::create_dir_all(&instances)
            .with_context(|| format!("cannot create {}", instances.display()))?;
        let cgroups = cgroup2_mount()?;
        // Nobody may take a new directory, not locked yet, for one that was left behind.
        let guard = File::create(lab_directory().join("running.lock"))
            .context("cannot create the lock of the running labs")?;
        guard.lock().context("cannot lock the running labs")?;
        sweep(&instances, &cgroups);

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let directory = instances.join(&name);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let lock = File::create(directory.join("lock")).context("cannot create the lab's lock")?;
        lock.lock().context("cannot lock the lab")?;
        for part in ["layer", "root"] {
            fs::create_dir(directory.join(part)).context("cannot create the lab's directory")?;
        }
        let cgroup = cgroups.join(format!("{CGROUP_PREFIX}{name}"));
        fs::create_dir(&cgroup).with_context(|| {
            format!("cannot create {}: is cgroup2 mounted read-only?", cgroup.display())
        })?;
        Ok(Self { directory, cgroup, lock: Some(lock) })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn cgroup(&self) -> &Path {
        &self.cgroup
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        clear(&self.directory, &self.cgroup);
        self.lock.take();
    }
}

/// Clears away every lab whose lock nobody holds. What cannot be cleared is left to the next one.
fn sweep(instances: &Path, cgroups: &Path) {
    let Ok(entries) = fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        let directory = entry.path();
        let held = File::open(directory.join("lock"))
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        if !held {
            let name = format!("{CGROUP_PREFIX}{}", entry.file_name().to_string_lossy());
            clear(&directory, &cgroups.join(name));
        }
    }
}

/// Ends what still runs in the cgroup, removes it and the directory.
fn clear(directory: &Path, cgroup: &Path) {
    let gone = wait_for("the lab's processes to end", Duration::from_secs(20), || {
        if !cgroup.exists() {
            return Ok(Some(()));
        }
        kill_all(cgroup);
        remove_cgroup(cgroup);
        Ok(None)
    });
    if gone.is_ok() {
        // The mounts were the lab's own and went with it: only plain files are left.
        let _ = fs::remove_dir_all(directory);
    }
}

/// SIGKILL for everything in a cgroup: by `cgroup.kill`, or one by one where the kernel is older than 5.14.
fn kill_all(cgroup: &Path) {
    if fs::write(cgroup.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for group in groups_below(cgroup) {
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter(|pid| *pid != "0") {
            let _ = Command::new("kill").args(["-KILL", "--", pid]).output();
        }
    }
}

fn remove_cgroup(cgroup: &Path) {
    for group in groups_below(cgroup).iter().rev() {
        // Busy as long as a process in it has not been reaped: tried again.
        let _ = fs::remove_dir(group);
    }
}

/// A cgroup and all below it, parents before children.
fn groups_below(cgroup: &Path) -> Vec<PathBuf> {
    let mut groups = vec![cgroup.to_path_buf()];
    let mut next = 0;
    while let Some(group) = groups.get(next).cloned() {
        next += 1;
        let entries = fs::read_dir(&group).into_iter().flatten().flatten();
        groups.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    groups
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on a hybrid system.
fn cgroup2_mount() -> Result<PathBuf> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    find_cgroup2(&mounts).context(
        "cgroup2 is not mounted: the lab's systemd needs it (mount -t cgroup2 none /sys/fs/cgroup)",
    )
}

fn find_cgroup2(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("cgroup2 ").then_some(())?;
        mount.split(' ').nth(4).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_on_pure_and_on_hybrid_systems() {
        let pure =
            "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find_cgroup2(pure).expect("found"), Path::new("/sys/fs/cgroup"));
        let hybrid = "30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             32 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find_cgroup2(hybrid).expect("found"), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(find_cgroup2("31 30 0:28 / /x rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn parents_come_before_children() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(directory.path().join("a/b")).expect("directories");
        fs::write(directory.path().join("a/file"), "").expect("a file");
        let groups = groups_below(directory.path());
        let below: Vec<_> = groups
            .iter()
            .map(|group| group.strip_prefix(directory.path()).expect("below").to_path_buf())
            .collect();
        assert_eq!(below, [Path::new(""), Path::new("a"), Path::new("a/b")]);
    }
}
