//! `cargo xtask vm`: killtrace on Debian's kernels of several releases, in virtual machines.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::cargo::{cargo, output, run as run_command, workspace};

/// The test programs that the virtual machines run.
const TESTS: &[&str] = &["live", "vm", "system"];

/// Emulated machines are slow: what they run is optimised.
const LEAN: &str = "lean";
/// Where few tests are run, what the other stages of `cargo xtask test` have built anyway is quicker at hand.
const DEV: &str = "dev";

/// What to run on which kernels.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Only these machines (the kernels 5.10, 6.1, 6.12, newest; a whole system); the matrix in docs/kernels.md is written when all are run
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,
    /// Only tests whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    filter: Vec<String>,
    /// The oldest and the newest kernel with a telling part of the tests, as in `cargo xtask test`
    #[arg(long)]
    short: bool,
    /// Look for newer kernels than those fetched before
    #[arg(long)]
    update: bool,
}

/// Builds what is to be tried, and has the virtual machines run.
///
/// # Errors
/// Where something cannot be built, or not all is well on a kernel.
pub fn run(arguments: &Arguments) -> Result<()> {
    let profile = if arguments.short { DEV } else { LEAN };
    let build = ["build", "--locked", "--profile", profile];
    run_command(cargo(&build).args(["--package", "killtrace"]))?;
    run_command(cargo(&build).args(["--package", "killtrace-tests", "--bins"]))?;
    let mut command = guests(profile);
    command.args(["run", "--workspace"]).arg(workspace());
    for name in TESTS {
        let path = test_program(profile, name)?;
        command.arg("--test").arg(format!("{name}={}", path.display()));
    }
    for kernel in &arguments.kernel {
        command.args(["--kernel", kernel]);
    }
    for filter in &arguments.filter {
        command.args(["--filter", filter]);
    }
    if arguments.short {
        command.arg("--short");
    }
    if arguments.update {
        command.arg("--update");
    }
    run_command(&mut command)
}

/// The short form.
///
/// # Errors
/// As those of [`run`].
pub fn run_short() -> Result<()> {
    run(&Arguments { short: true, ..Arguments::default() })
}

/// Installs what virtual machines need on this one.
///
/// # Errors
/// Where it cannot be installed.
pub fn setup() -> Result<()> {
    run_command(guests(DEV).arg("setup").arg(workspace()))
}

/// The program that runs the virtual machines; its arguments follow.
fn guests(profile: &str) -> Command {
    let mut command = cargo(&["run", "--quiet", "--locked", "--profile", profile]);
    command.args(["--package", "killtrace-tests", "--bin", "killtrace-vm", "--"]);
    command
}

/// Builds a test program; where cargo put it.
fn test_program(profile: &str, name: &str) -> Result<PathBuf> {
    let mut command = cargo(&["test", "--locked", "--profile", profile, "--no-run"]);
    command.args(["--package", "killtrace-tests", "--test", name, "--message-format=json"]);
    let messages = output(&mut command)?;
    match executable(&String::from_utf8_lossy(&messages), name) {
        Some(path) => Ok(path),
        None => bail!("cargo did not say where it built the test {name}"),
    }
}

/// The path in cargo's messages, one JSON object a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let mut messages =
        messages.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.find_map(|message| {
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == name).then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"killtrace"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"live"},"executable":"/t/deps/live-1"}
not JSON
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "live"), Some(PathBuf::from("/t/deps/live-1")));
        assert_eq!(executable(messages, "vm"), None);
    }
}
