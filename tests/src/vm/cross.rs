//! What it takes to build and boot programs for 64-bit ARM on another machine: Debian's cross compiler, its Rust
//! standard library, and the programs that the tests use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::apt::{Apt, codename, unpack_all};
use super::image::PACKAGES;
use crate::lab::wait::must_succeed;

/// What Rust calls it.
const TARGET: &str = "aarch64-unknown-linux-gnu";
const ARCH: &str = "arm64";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const COMPILERS: &[&str] = &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
/// Debian's Rust, which `cargo xtask setup` installs for the eBPF programs, and its standard library.
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const LIBRARY: &str = "libstd-rust-web-dev";
/// What programs need beside each other.
const RUNTIME: &[&str] = &["libc6", "libgcc-s1"];

/// How cargo is run to build for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Toolchain {
    /// The target's name.
    pub target: &'static str,
    /// The program.
    pub cargo: String,
    /// Variables to set.
    pub environment: Vec<(String, String)>,
}

/// Makes sure that there is all that takes; keeps what it fetches below `directory`.
///
/// # Errors
/// Where something cannot be had.
pub fn toolchain(directory: &Path) -> Result<Toolchain> {
    let apt = packages(directory)?;
    if !runs(Command::new(LINKER).arg("--version")) {
        let ours = Apt::of_this_machine(&directory.join("apt-own"), &[&codename()?])?;
        ours.update()?;
        for package in COMPILERS {
            ours.install(package, &codename()?)?;
        }
    }
    let mut environment = vec![(
        format!("CARGO_TARGET_{}_LINKER", TARGET.replace('-', "_").to_uppercase()),
        LINKER.to_owned(),
    )];
    let own = must_succeed(
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]),
        b"",
    );
    if own.is_ok_and(|place| Path::new(place.trim()).is_dir()) {
        return Ok(Toolchain { target: TARGET, cargo: "cargo".to_owned(), environment });
    }
    let library = library(&apt, directory).with_context(|| {
        format!(
            "no Rust standard library for {TARGET}: `rustup target add {TARGET}` is another way"
        )
    })?;
    environment.push(("RUSTC".to_owned(), RUSTC.to_owned()));
    environment.push((
        "CARGO_ENCODED_RUSTFLAGS".to_owned(),
        format!("--sysroot={}", library.join("usr").display()),
    ));
    Ok(Toolchain { target: TARGET, cargo: CARGO.to_owned(), environment })
}

/// The standard library that goes with the installed compiler: the same version exactly.
fn library(apt: &Apt, directory: &Path) -> Result<PathBuf> {
    ensure!(Path::new(RUSTC).exists(), "{RUSTC} is not there: `cargo xtask setup` installs it");
    let mut query = Command::new("dpkg-query");
    let version = must_succeed(query.args(["--show", "--showformat=${Version}", LIBRARY]), b"")?;
    let place = directory.join(format!("library-{}", version.replace(['/', ':', '~'], "_")));
    if !place.is_dir() {
        let unfinished = directory.join("library-unfinished");
        unpack_all(&[apt.download(&format!("{LIBRARY}={version}"), directory)?], &unfinished)?;
        fs::rename(&unfinished, &place).context("cannot move the library into place")?;
    }
    place.canonicalize().with_context(|| format!("cannot find {}", place.display()))
}

/// A directory tree with the programs of `PACKAGES` and all that they need.
///
/// # Errors
/// Where something cannot be had.
pub fn userland(directory: &Path) -> Result<PathBuf> {
    let place = directory.join("userland");
    if place.is_dir() {
        return Ok(place);
    }
    let wanted: Vec<&str> = PACKAGES.iter().chain(RUNTIME).copied().collect();
    let files = packages(directory)?.download_with_dependencies(&wanted)?;
    let unfinished = directory.join("userland-unfinished");
    unpack_all(&files, &unfinished)?;
    fs::rename(&unfinished, &place).context("cannot move the programs into place")?;
    Ok(place)
}

/// Apt for that architecture.
fn packages(directory: &Path) -> Result<Apt> {
    let release = codename()?;
    let suites = [release.clone(), format!("{release}-security")];
    let suites = suites.iter().map(String::as_str).collect::<Vec<_>>();
    let apt = Apt::new(&directory.join("apt"), ARCH, &suites)?;
    if !apt.has_lists() {
        apt.update()?;
    }
    Ok(apt)
}

fn runs(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
