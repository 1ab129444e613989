//! `cargo xtask lab [-- COMMAND…]`: the lab for a person.

use anyhow::Result;

use crate::cargo::{cargo, run as run_command};

/// What to run in the lab.
#[derive(clap::Args)]
pub struct Arguments {
    /// Command to run as root in the lab; a shell where none is given. killtrace is in /opt/killtrace there.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Boots a lab, runs the command in it, and takes the lab down.
pub fn run(arguments: &Arguments) -> Result<()> {
    let words: Vec<&str> = arguments.command.iter().map(String::as_str).collect();
    start("run", &words)
}

/// Builds killtrace and starts the lab program with one of its verbs.
pub fn start(verb: &str, words: &[&str]) -> Result<()> {
    run_command(&mut cargo(&["build", "--quiet", "--package", "killtrace"]))?;
    let program = ["run", "--quiet", "--package", "killtrace-tests", "--bin", "killtrace-lab"];
    run_command(cargo(&program).arg("--").arg(verb).args(words))
}
