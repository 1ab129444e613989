//! The kernels that killtrace is tried on, and how they are fetched.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use crate::lab::wait::must_succeed;

/// What a machine's processors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64
    Amd64,
    /// 64-bit ARM
    Arm64,
}

impl Arch {
    /// What Debian calls it.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A kernel of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is called on the command line.
    pub label: &'static str,
    /// How its release begins; the newest of those is taken.
    pub release: &'static str,
    /// Which Debian has it.
    pub about: &'static str,
    /// What it runs on.
    pub arch: Arch,
    /// What is booted with it.
    pub guest: Guest,
    /// More for the kernel's command line.
    pub parameters: &'static str,
    /// Only tests whose name contains one of these; all where there are none.
    pub only: &'static [&'static str],
}

/// What a machine consists of beside its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Programs, and nobody else.
    Bare,
    /// A whole Debian, with systemd as its PID 1.
    System,
}

impl Wanted {
    const fn new(label: &'static str, release: &'static str, about: &'static str) -> Self {
        Self {
            label,
            release,
            about,
            arch: Arch::Amd64,
            guest: Guest::Bare,
            parameters: "",
            only: &[],
        }
    }
}

/// The matrix: the kernels of the supported Debian releases, and the newest that Debian has; a whole system, and one
/// with cgroup v1; and another architecture.
pub const MATRIX: &[Wanted] = &[
    Wanted::new("5.10", "5.10.", "Debian 11"),
    Wanted::new("6.1", "6.1.", "Debian 12"),
    Wanted::new("6.12", "6.12.", "Debian 13"),
    Wanted::new("newest", "", "Debian's newest"),
    Wanted { guest: Guest::System, ..Wanted::new("system", "6.1.", "Debian, whole") },
    Wanted {
        guest: Guest::System,
        // What it takes memory control of cgroup2 for cannot be there.
        parameters: "systemd.unified_cgroup_hierarchy=0",
        only: &["units_by_cgroup", "tmux_at_", "who_asks_over_the_private_socket"],
        ..Wanted::new("hybrid", "6.1.", "Debian, whole, cgroup v1 beside cgroup2")
    },
    Wanted { arch: Arch::Arm64, ..Wanted::new("arm64", "6.12.", "Debian 13, arm64") },
];

/// The oldest of the matrix and the newest.
pub fn ends() -> Vec<Wanted> {
    let plain = |wanted: &&Wanted| (wanted.guest, wanted.arch) == (Guest::Bare, Arch::Amd64);
    let mut bare = MATRIX.iter().filter(plain).copied();
    bare.next().into_iter().chain(bare.last()).collect()
}

/// Where they come from. Old releases leave the mirrors some day; what is gone is reported as such.
const SUITES: &[&str] = &["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];

/// Cloud kernels: small, and with everything built in that a virtual machine's console needs. Since 7.1
/// the image is in `linux-binary-…`, and the package that was named for it is empty.
const PATTERN: &str = "^linux-(image|binary)-[0-9].*[0-9]-cloud-";

/// A kernel that is at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Which one it stands for.
    pub wanted: Wanted,
    /// The package it is from.
    pub package: String,
    /// The image.
    pub image: PathBuf,
}

/// The kernel of the matrix with that label.
///
/// # Errors
/// Where there is none.
pub fn wanted(label: &str) -> Result<Wanted> {
    let found = MATRIX.iter().copied().find(|wanted| wanted.label == label);
    let labels: Vec<_> = MATRIX.iter().map(|wanted| wanted.label).collect();
    found.with_context(|| format!("no kernel is called {label:?}; there are {}", labels.join(", ")))
}

/// Gets hold of a kernel: from `directory` where it was fetched before and `update` does not ask for
/// what is newest by now, else from the mirror.
///
/// # Errors
/// Where the mirror does not have it, or it cannot be fetched.
pub fn fetch(wanted: Wanted, directory: &Path, update: bool) -> Result<Kernel> {
    let place = directory.join(wanted.label);
    let note = place.join("package");
    let image = place.join("vmlinuz");
    if !update
        && let Ok(package) = fs::read_to_string(&note)
        && image.exists()
    {
        return Ok(Kernel { wanted, package: package.trim().to_owned(), image });
    }
    let arch = wanted.arch.debian();
    let apt = Apt::new(&directory.join(format!("apt-{arch}")), arch, SUITES)?;
    let updated = if update || !apt.has_lists() { apt.update() } else { Ok(()) };
    let Some(package) = newest(wanted, &apt.names(&format!("{PATTERN}{arch}$"))?) else {
        let hint = updated.err().map_or_else(String::new, |error| format!(" ({error:#})"));
        bail!(
            "Linux {} is not available: the mirror that apt uses here has no package of it{hint}",
            wanted.label
        );
    };
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let file = apt.download(&package, &place)?;
    unpack(&file, &image).with_context(|| format!("{package} has no kernel image in it"))?;
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    fs::write(&note, &package).context("cannot note which kernel was fetched")?;
    Ok(Kernel { wanted, package, image })
}

/// Takes the image out of a package.
fn unpack(package: &Path, image: &Path) -> Result<()> {
    let content = image.with_extension("content");
    let mut command = Command::new("dpkg-deb");
    must_succeed(command.arg("--extract").arg(package).arg(&content), b"")?;
    let boot = image_in(&content.join("boot"));
    let found = boot.or_else(|| {
        let modules = fs::read_dir(content.join("usr/lib/modules")).ok()?;
        modules.flatten().find_map(|entry| image_in(&entry.path()))
    });
    let result = found
        .context("neither /boot nor /usr/lib/modules has a vmlinuz")
        .and_then(|found| fs::rename(found, image).context("cannot keep the image"));
    fs::remove_dir_all(&content).with_context(|| format!("cannot remove {}", content.display()))?;
    result
}

fn image_in(directory: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory).ok()?.flatten();
    let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz"))?;
    Some(found.path())
}

/// Picks the newest package of the release; of two forms of one kernel that which has the image.
fn newest(wanted: Wanted, packages: &[String]) -> Option<String> {
    let key = |name: &str| -> Option<(String, bool)> {
        let (kind, rest) = name.strip_prefix("linux-")?.split_once('-')?;
        rest.starts_with(wanted.release).then(|| (rest.to_owned(), kind == "binary"))
    };
    let candidates = packages.iter().filter_map(|name| Some((key(name)?, name)));
    let newest = candidates.max_by(|((one, one_binary), _), ((other, other_binary), _)| {
        by_version(one, other).then(one_binary.cmp(other_binary))
    });
    newest.map(|(_, name)| name.clone())
}

/// Orders releases: runs of digits by their value, everything else by its text.
fn by_version(one: &str, other: &str) -> Ordering {
    let words = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().unwrap_or(0)).collect()
    };
    words(one).cmp(&words(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_release_is_taken() {
        let names = [
            "linux-image-5.10.0-9-cloud-amd64",
            "linux-image-5.10.0-32-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.12.94+deb13-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-7.2.13+deb14-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
        ]
        .map(str::to_owned);
        let newest = |label| newest(wanted(label).expect("in the matrix"), &names);
        assert_eq!(newest("5.10").as_deref(), Some("linux-image-5.10.0-32-cloud-amd64"));
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-50-cloud-amd64"));
        assert_eq!(newest("6.12").as_deref(), Some("linux-image-6.12.107+deb13-cloud-amd64"));
        assert_eq!(newest("newest").as_deref(), Some("linux-binary-7.3.4+deb13-cloud-amd64"));
    }

    #[test]
    fn what_a_mirror_does_not_have_is_not_made_up() {
        let names = ["linux-image-6.1.0-50-cloud-amd64".to_owned()];
        assert_eq!(newest(wanted("5.10").expect("in the matrix"), &names), None);
        assert!(wanted("2.6").expect_err("no such").to_string().contains("5.10, 6.1"));
    }
}
