//! A whole Debian that a virtual machine boots, with systemd as its PID 1, all in memory: the lab's seed, the
//! programs under test, and the guest as a service.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::{codename, tree_of};
use super::cpio::Archive;
use super::image::{Programs, WITHOUT, add_own};
use super::plan::{self, Plan};
use crate::lab::seed;

/// The guest. When it has ended the machine does so, in the orderly way: it may end since the machine does.
const SERVICE: &str = "\
[Unit]
Description=Tests of killtrace
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff

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

/// What `systemd-shutdown` runs last.
const AFTERWARDS: &str = "#!/bin/sh\n\
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root KILLTRACE_PATIENCE=120\n\
    exec /killtrace/debug/killtrace-vm afterwards\n";

/// Other files of the system; those that begin with `#!` are programs.
const FILES: &[(&str, &str)] = &[
    ("etc/hostname", "killtrace-vm\n"),
    ("etc/machine-id", "6b696c6c74726163652d766d00000001\n"),
    ("etc/systemd/system/killtrace-guest.service", SERVICE),
    ("usr/lib/systemd/system-shutdown/killtrace", AFTERWARDS),
];

/// Packages that the lab's seed does not have, since it cannot run them.
const PACKAGES: &[&str] = &["systemd-oomd", "udev"];

/// Makes the initramfs; keeps what it fetches below `directory`.
///
/// # Errors
/// Where the lab's seed cannot be installed, or a package or a program is not there.
pub fn image(
    programs: &Programs,
    plan: &Plan,
    directory: &Path,
    scratch: &Path,
) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
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
    // From where the seed is from.
    archive.tree(&tree_of(PACKAGES, &codename()?, directory)?, WITHOUT)?;
    archive.file(plan::PLACE.trim_start_matches('/'), 0o644, &serde_json::to_vec(plan)?);
    let mut libraries = BTreeSet::new();
    add_own(&mut archive, Some(&mut libraries), programs, scratch)?;
    Ok(archive.finish())
}

fn put(layer: &Path, path: &str, text: &str) -> Result<()> {
    let place = above(layer, path)?;
    let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
    fs::write(&place, text)
        .and_then(|()| fs::set_permissions(&place, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write {}", place.display()))
}

/// The path in the layer, whose directory is made.
fn above(layer: &Path, path: &str) -> Result<PathBuf> {
    let place = layer.join(path);
    let directory = place.parent().context("a path has a directory")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(place)
}
