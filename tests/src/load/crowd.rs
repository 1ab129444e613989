//! Many processes in a cgroup, to be killed at once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixtures::sys::{self, checked};

/// A cgroup full of processes. They are killed, by one write, when it is dropped.
pub struct Crowd {
    path: PathBuf,
    members: u64,
}

impl Crowd {
    /// Makes a cgroup and so many processes in it.
    pub fn new(members: u64) -> Self {
        let Some(mount) = crate::fixtures::cgroup::cgroup2() else {
            sys::fail("cgroup2 is not mounted anywhere")
        };
        let path = mount.join(format!("killtrace-load-{}", std::process::id()));
        checked(fs::create_dir(&path), "making a cgroup (are you root?)");
        for _ in 0..members {
            let child = sys::fork();
            if child == 0 {
                loop {
                    // SAFETY: takes nothing.
                    unsafe { libc::pause() };
                }
            }
            checked(fs::write(path.join("cgroup.procs"), child.to_string()), "filling the cgroup");
        }
        Self { path, members }
    }

    /// The directory of the cgroup.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        checked(fs::write(self.path.join("cgroup.kill"), "1"), "cgroup.kill (Linux 5.14)");
        for _ in 0..self.members {
            sys::wait_any();
        }
        checked(fs::remove_dir(&self.path), "removing the cgroup");
    }
}
