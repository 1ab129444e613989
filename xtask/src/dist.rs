//! `cargo xtask dist`: what is released: one static program with its man page, completions and licences.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

use crate::cargo::{cargo, output, run as run_command, target_directory, workspace};
use crate::man;

/// Documents that go along.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Builds the archive below `target/dist`, and proves that the program in it is static and runs.
///
/// # Errors
/// Where something cannot be built, or the program is not what it should be.
pub fn run() -> Result<()> {
    let target = target()?;
    // Named, so that the flags are for the program alone and not for what builds it.
    let build = ["build", "--locked", "--release", "--package", "killtrace", "--target", &target];
    run_command(cargo(&build).env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let program = target_directory().join(&target).join("release/killtrace");
    let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(is_static(&bytes)?, "{} needs a dynamic loader", program.display());
    let version = String::from_utf8(output(Command::new(&program).arg("--version"))?)?;
    let version = version.trim().rsplit(' ').next().unwrap_or_default().to_owned();

    let place = workspace().join("target/dist");
    let name = format!("killtrace-{version}-{target}");
    let folder = place.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove an older release")?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    copy(&program, &folder.join("killtrace"))?;
    for document in DOCUMENTS {
        copy(&workspace().join(document), &folder.join(document))?;
    }
    man::write(&program, &folder)?;

    let archive = format!("{name}.tar.gz");
    // The same bytes each time: no owner, no time, one order.
    let tar = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"];
    run_command(
        Command::new("tar")
            .args(tar)
            .args(["--use-compress-program=gzip -n", "-cf", &archive, &name])
            .current_dir(&place),
    )?;
    let sum = output(Command::new("sha256sum").arg(&archive).current_dir(&place))?;
    fs::write(place.join(format!("{archive}.sha256")), &sum).context("cannot write the sum")?;
    let mut out = std::io::stdout();
    writeln!(out, "{}, {:.1} MB", program.display(), bytes.len() as f64 / 1e6)?;
    writeln!(out, "{}", place.join(&archive).display())?;
    Ok(out.write_all(&sum)?)
}

/// musl's where this Rust has it, else the machine's own: glibc can be linked statically as well.
fn target() -> Result<String> {
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = String::from_utf8(host)?.trim().to_owned();
    let musl = host.replace("-gnu", "-musl");
    let library = ["--print", "target-libdir", "--target", &musl];
    let there = output(Command::new("rustc").args(library))
        .is_ok_and(|path| Path::new(String::from_utf8_lossy(&path).trim()).is_dir());
    Ok(if there { musl } else { host })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Whether a program needs no dynamic loader (`PT_INTERP`).
fn is_static(bytes: &[u8]) -> Result<bool> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes).context("no 64-bit ELF file")?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    Ok(segments.iter().all(|segment| segment.p_type(endian) != elf::PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_loader_is_told_from_one_that_does_not() {
        // The running test is linked dynamically.
        let bytes = fs::read("/proc/self/exe").expect("readable");
        assert!(!is_static(&bytes).expect("an ELF file"));
        let mut without = bytes;
        // e_phnum: a program without segments asks for no loader.
        without[56..58].fill(0);
        assert!(is_static(&without).expect("an ELF file"));
        assert!(is_static(b"#!/bin/sh\n").is_err());
    }
}
