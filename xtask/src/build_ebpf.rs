//! `cargo xtask build-ebpf`: compiles the eBPF programs and puts the object where the library takes
//! it from.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::cargo::{run as run_command, target_directory, workspace};
use crate::toolchain::{self, Toolchain};

/// Where the object is kept, and what made it, from the workspace's root.
const OBJECT: &str = "tracer/ebpf/killtrace.bpf.o";
const MADE_BY: &str = "tracer/ebpf/toolchain.txt";

/// The committed object.
pub fn committed() -> PathBuf {
    workspace().join(OBJECT)
}

/// The committed note of what made it.
pub fn committed_made_by() -> PathBuf {
    workspace().join(MADE_BY)
}

/// Compiles the programs; returns the object.
///
/// # Errors
/// Where it fails.
pub fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    let mut command = cargo(toolchain, "build");
    run_command(&mut command).context("the eBPF programs could not be built")?;
    Ok(target().join(toolchain::TARGET).join("release/killtrace"))
}

/// Looks at the programs with clippy; a warning is an error.
///
/// # Errors
/// Where there is one.
pub fn lint(toolchain: &Toolchain) -> Result<()> {
    let mut command = cargo(toolchain, "clippy");
    run_command(command.args(["--", "-D", "warnings"])).context("clippy of the eBPF programs")
}

fn cargo(toolchain: &Toolchain, verb: &str) -> Command {
    let mut command = toolchain.cargo(verb);
    command
        .current_dir(workspace())
        .env("CARGO_ENCODED_RUSTFLAGS", toolchain.flags(workspace()))
        .args(["--locked", "--package", "killtrace-ebpf", "--bin", "killtrace"])
        .args(["--features", "programs", "--target-dir"])
        .arg(target());
    command
}

/// A directory of its own: it neither waits for a build that runs this, nor undoes its results.
fn target() -> PathBuf {
    target_directory().join("ebpf")
}

/// Runs the verb: it takes no arguments.
///
/// # Errors
/// Where the programs cannot be built or the object cannot be written.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::find()?;
    let object = build(&toolchain)?;
    install(&object, &committed())?;
    fs::write(committed_made_by(), toolchain.describe()?)?;
    writeln!(std::io::stderr(), "{OBJECT} is up to date")?;
    Ok(())
}

/// Copies the object, if it is another one: a rewritten file would have everything rebuilt.
fn install(object: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("no object at {}", object.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}
