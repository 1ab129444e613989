//! `cargo xtask setup`: installs what the tests need on Debian 12. Doing it twice does no harm.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{cargo, run as run_command};
use crate::{toolchain, vm};

/// What the tests call on the machine itself.
const PACKAGES: &[&str] = &[
    // The lab's system, and its way there.
    "debian-archive-keyring",
    "debootstrap",
    "iproute2",
    "openssh-client",
    "procps",
    "util-linux",
    // Programs that the live tests trace, here and in virtual machines.
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "grep",
    "mount",
    // What virtual machines boot is made smaller by it.
    "binutils",
];

/// Installs packages, cargo's own helpers, the eBPF toolchain, the lab's system and an emulator.
pub fn run() -> Result<()> {
    packages(PACKAGES)?;
    rust_components()?;
    toolchain::install().context("cannot install the eBPF toolchain")?;
    let lab = ["run", "--quiet", "--package", "killtrace-tests", "--bin", "killtrace-lab"];
    run_command(cargo(&lab).args(["--", "seed"])).context("cannot install the lab's system")?;
    vm::setup().context("cannot install what virtual machines need")
}

/// Installs those of the packages that are not there.
fn packages(wanted: &[&str]) -> Result<()> {
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() && toolchain::is_complete() {
        return Ok(());
    }
    let apt = |arguments: &[&str]| {
        run_command(
            Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"),
        )
        .with_context(|| {
            format!(
                "needed, and not installed: {}; apt-get installs them as root",
                missing.join(" ")
            )
        })
    };
    // Also for the toolchain's own packages: a fresh machine has no lists yet.
    apt(&["update", "--quiet"])?;
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Abbrev}", package])
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"ii"))
}

/// rustfmt and clippy are no part of rustup's minimal profile.
fn rust_components() -> Result<()> {
    for (component, verb) in [("clippy", "clippy"), ("rustfmt", "fmt")] {
        let there =
            cargo(&[verb, "--version"]).output().is_ok_and(|output| output.status.success());
        if !there {
            run_command(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_only_there_where_dpkg_says_so() {
        assert!(!installed("no-package-is-called-so"));
    }
}
