//! A whole Debian that a virtual machine boots, with systemd as its PID 1, all in memory: the lab's seed, the
//! programs under test, and the guest as a service.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::image::{Programs, add_own};
use super::plan::{self, Plan};
use crate::lab::seed;

/// What nobody reads there.
const WITHOUT: &[&str] = &[
    "boot",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
    "var/cache",
    "var/lib/apt",
];

/// The guest. When it has ended the machine does so.
const SERVICE: &str = "\
[Unit]
Description=Tests of killtrace
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=HOME=/root KILLTRACE_PATIENCE=120
WorkingDirectory=/root
ExecStart=/killtrace/debug/killtrace-vm guest
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
";

/// Other files of the system.
const FILES: &[(&str, &str)] = &[
    ("etc/hostname", "killtrace-vm\n"),
    ("etc/machine-id", "6b696c6c74726163652d766d00000001\n"),
    ("etc/systemd/system/killtrace-guest.service", SERVICE),
];

/// Makes the initramfs.
///
/// # Errors
/// Where the lab's seed cannot be installed, or a program is not there.
pub fn image(programs: &Programs, plan: &Plan, scratch: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    // Names of directories as the seed has them: files may not come before the links above them.
    let layer = scratch.join("layer");
    let _ = fs::remove_dir_all(&layer);
    for (path, text) in FILES {
        put(&layer, path, text)?;
    }
    for (path, to) in [
        ("init", "/sbin/init"),
        (
            "etc/systemd/system/default.target.wants/killtrace-guest.service",
            "../killtrace-guest.service",
        ),
        ("etc/systemd/system/serial-getty@ttyS0.service", "/dev/null"),
    ] {
        let place = above(&layer, path)?;
        symlink(to, &place).with_context(|| format!("cannot link {}", place.display()))?;
    }
    archive.tree(&layer, &[])?;
    archive.tree(&seed::ensure()?, WITHOUT)?;
    archive.file(plan::PLACE.trim_start_matches('/'), 0o644, &serde_json::to_vec(plan)?);
    let mut libraries = BTreeSet::new();
    add_own(&mut archive, &mut libraries, programs, scratch)?;
    Ok(archive.finish())
}

fn put(layer: &Path, path: &str, text: &str) -> Result<()> {
    let place = above(layer, path)?;
    fs::write(&place, text).with_context(|| format!("cannot write {}", place.display()))
}

/// The path in the layer, whose directory is made.
fn above(layer: &Path, path: &str) -> Result<std::path::PathBuf> {
    let place = layer.join(path);
    let directory = place.parent().context("a path has a directory")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(place)
}
