//! `cargo xtask vm`: killtrace on Debian's kernels of several releases, in virtual machines.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::cargo::{cargo, output, run as run_command, workspace};

/// The test programs that the virtual machines run.
const TESTS: &[&str] = &["live", "vm"];

/// Emulated machines are slow: what they run is optimised.
const PROFILE: &str = "--profile=lean";

/// What to run on which kernels.
#[derive(Default, clap::Args)]
pub struct Arguments {
    /// Only these kernels (5.10, 6.1, 6.12, newest); the matrix in docs/kernels.md is written when all are run
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,
    /// Only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Look for newer kernels than those fetched before
    #[arg(long)]
    update: bool,
}

/// The oldest kernel that is supported, and that of the newest Debian release.
///
/// # Errors
/// As [`run`].
pub fn run_oldest_and_current() -> Result<()> {
    let kernel = ["5.10", "6.12"].map(str::to_owned).to_vec();
    run(&Arguments { kernel, ..Arguments::default() })
}

/// Builds what is to be tried, and has the virtual machines run.
///
/// # Errors
/// Where something cannot be built, or not all is well on a kernel.
pub fn run(arguments: &Arguments) -> Result<()> {
    run_command(&mut cargo(&["build", "--locked", PROFILE, "--package", "killtrace"]))?;
    let tests = ["build", "--locked", PROFILE, "--package", "killtrace-tests", "--bins"];
    run_command(&mut cargo(&tests))?;
    let mut command = cargo(&["run", "--quiet", PROFILE, "--package", "killtrace-tests"]);
    command.args(["--bin", "killtrace-vm", "--", "run", "--workspace"]).arg(workspace());
    for name in TESTS {
        let path = test_program(name)?;
        command.arg("--test").arg(format!("{name}={}", path.display()));
    }
    for kernel in &arguments.kernel {
        command.args(["--kernel", kernel]);
    }
    if let Some(filter) = &arguments.filter {
        command.args(["--filter", filter]);
    }
    if arguments.update {
        command.arg("--update");
    }
    run_command(&mut command)
}

/// Builds a test program; where cargo put it.
fn test_program(name: &str) -> Result<PathBuf> {
    let mut command =
        cargo(&["test", "--locked", PROFILE, "--package", "killtrace-tests", "--no-run"]);
    let messages = output(command.args(["--test", name, "--message-format=json"]))?;
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
