//! `cargo xtask cases [NAME…]`: records the golden cases anew.

use anyhow::Result;

use crate::cargo::{cargo, run as run_command};

/// Which ones.
#[derive(clap::Args)]
pub struct Arguments {
    /// Cases to record; all where none is named
    names: Vec<String>,
    /// Take what the lab's tests recorded when they ran last, instead of running them
    #[arg(long)]
    keep_lab: bool,
    /// Take the reports as they are now for what is right
    #[arg(long)]
    accept: bool,
}

/// Plays scenes in a lab, runs the tests of the lab, keeps what was recorded, and compares the reports
/// with the snapshots. New recordings have new pids and times: every snapshot of theirs differs.
///
/// # Errors
/// Where something cannot be recorded, or is told otherwise than before.
pub fn run(arguments: &Arguments) -> Result<()> {
    run_command(&mut cargo(&["build", "--locked", "--workspace", "--bins"]))?;
    record("live", &arguments.names)?;
    if !arguments.keep_lab {
        run_command(&mut cargo(&[
            "test",
            "--locked",
            "--package",
            "killtrace-tests",
            "--test",
            "lab",
        ]))?;
    }
    record("lab", &arguments.names)?;
    let replay = ["test", "--locked", "--package", "killtrace-tests", "--test", "replay"];
    let update = if arguments.accept { "always" } else { "no" };
    run_command(cargo(&replay).env("INSTA_UPDATE", update))
}

fn record(source: &str, names: &[String]) -> Result<()> {
    let program = ["run", "--quiet", "--package", "killtrace-tests", "--bin", "killtrace-cases"];
    run_command(cargo(&program).args(["--", source]).args(names))
}
