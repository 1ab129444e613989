//! `cargo xtask deny`: the dependencies are such as deny.toml allows.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cargo::{cargo, run as run_command, workspace};
use crate::toolchain;

/// The release of cargo-deny that is installed where there is none.
const VERSION: &str = "0.20.2";

/// What to look at.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Compare with the list of known holes as well, which is fetched from GitHub
    #[arg(long)]
    advisories: bool,
}

/// Checks licences, sources and bans; installs cargo-deny beside the eBPF toolchain where it is not there.
///
/// # Errors
/// Where something is not allowed, or cargo-deny cannot be had.
pub fn run(arguments: &Arguments) -> Result<()> {
    let program = program()?;
    let mut command = Command::new(program);
    command.current_dir(workspace()).args([
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    if arguments.advisories {
        command.arg("advisories");
    }
    run_command(&mut command)
}

/// cargo-deny: the one in PATH, else our own.
fn program() -> Result<PathBuf> {
    let works = |program: &PathBuf| {
        let asked = Command::new(program).arg("--version").output();
        asked.is_ok_and(|output| output.status.success())
    };
    let root = toolchain::directory();
    let candidates = [PathBuf::from("cargo-deny"), root.join("bin/cargo-deny")];
    if let Some(found) = candidates.iter().find(|program| works(program)) {
        return Ok(found.clone());
    }
    // It looks at few things: compiling it with optimisation would take many times longer than its work.
    let install = ["install", "cargo-deny", "--locked", "--debug", "--version", VERSION, "--root"];
    run_command(cargo(&install).arg(&root))?;
    Ok(root.join("bin/cargo-deny"))
}
