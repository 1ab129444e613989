//! `cargo xtask vm`: killtrace on Debian's kernels of several releases, in virtual machines.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::cargo::{cargo, output, run as run_command, target_directory, workspace};
use crate::toolchain;

/// The test programs that every virtual machine runs, but for that with a whole system; in this order, and there is
/// no way back from the last.
const TESTS: &[&str] = &["live", "vm", "lockdown"];
/// Those for a whole system, which there is for this machine's architecture alone.
const WHOLE: &[&str] = &["system", "shutdown"];

/// Emulated machines are slow: what they run is optimised.
const LEAN: &str = "lean";
/// Where few tests are run, what the other stages of `cargo xtask test` have built anyway is quicker at hand.
const DEV: &str = "dev";

/// Label of the machine that is no x86-64, and what Debian calls it.
const OTHER: &str = "arm64";

/// What to run on which kernels.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Only these machines (the kernels 5.10, 6.1, 6.12, newest; a whole system, hybrid: the same with cgroup v1; arm64); the matrix in docs/kernels.md is written when all are run
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
/// Where something cannot be built for this machine's architecture, or not all is well on a kernel.
pub fn run(arguments: &Arguments) -> Result<()> {
    let profile = if arguments.short { DEV } else { LEAN };
    let own = Builder::own(profile);
    let mut command = guests();
    command.args(["run", "--workspace"]).arg(workspace());
    if arguments.kernel.is_empty() || arguments.kernel.iter().any(|label| label != OTHER) {
        own.build(&mut command, "amd64")?;
    }
    let all = arguments.kernel.is_empty() && !arguments.short;
    if all || arguments.kernel.iter().any(|label| label == OTHER) {
        // Where it cannot be built the matrix says so.
        let built = Builder::other(profile).and_then(|other| other.build(&mut command, OTHER));
        if let Err(error) = built {
            command.args(["--without", &format!("{OTHER}={error:#}")]);
        }
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
    run_command(guests().arg("setup").arg(workspace()))
}

/// The program that runs the virtual machines; its arguments follow.
fn guests() -> Command {
    let mut command = cargo(&["run", "--quiet", "--locked"]);
    command.args(["--package", "killtrace-tests", "--bin", "killtrace-vm", "--"]);
    command
}

/// How the programs for an architecture are built.
struct Builder {
    profile: &'static str,
    /// Where cargo puts them.
    directory: PathBuf,
    /// Not this machine's own architecture.
    other: Option<Toolchain>,
}

/// What `killtrace-vm cross` says.
#[derive(Clone, Debug, Deserialize)]
struct Toolchain {
    target: String,
    cargo: String,
    environment: Vec<(String, String)>,
}

impl Builder {
    fn own(profile: &'static str) -> Self {
        Self { profile, directory: target_directory(), other: None }
    }

    /// For the other architecture. Another compiler may build it, so it has a directory of its own.
    fn other(profile: &'static str) -> Result<Self> {
        let told = output(guests().arg("cross").arg(workspace()))?;
        let other =
            serde_json::from_slice(&told).context("killtrace-vm cross said something else")?;
        Ok(Self { profile, directory: target_directory().join(OTHER), other: Some(other) })
    }

    /// Builds everything; adds to the command where it is.
    fn build(&self, command: &mut Command, arch: &str) -> Result<()> {
        let build = ["build", "--locked", "--profile", self.profile];
        run_command(self.cargo(&build).args(["--package", "killtrace"]))?;
        run_command(self.cargo(&build).args(["--package", "killtrace-tests", "--bins"]))?;
        let below = self.other.as_ref().map_or("", |other| &other.target);
        let profile = if self.profile == DEV { "debug" } else { self.profile };
        let built = self.directory.join(below).join(profile);
        command.arg("--for").arg(format!("{arch}={}", built.display()));
        let whole = if self.other.is_none() { WHOLE } else { &[] };
        for name in TESTS.iter().chain(whole) {
            let path = self.test_program(name)?;
            command.arg("--test").arg(format!("{name}={}", path.display()));
        }
        Ok(())
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let Some(other) = &self.other else { return cargo(arguments) };
        let mut command = Command::new(&other.cargo);
        toolchain::clean(&mut command);
        command.args(arguments).args(["--target", &other.target]).current_dir(workspace());
        command.arg("--target-dir").arg(&self.directory);
        command.envs(other.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Builds a test program; where cargo put it.
    fn test_program(&self, name: &str) -> Result<PathBuf> {
        let mut command = self.cargo(&["test", "--locked", "--profile", self.profile, "--no-run"]);
        command.args(["--package", "killtrace-tests", "--test", name, "--message-format=json"]);
        let messages = output(&mut command)?;
        match executable(&String::from_utf8_lossy(&messages), name) {
            Some(path) => Ok(path),
            None => bail!("cargo did not say where it built the test {name}"),
        }
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
