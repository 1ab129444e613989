//! `cargo xtask bench`: killtrace beside the tracers that are installed, measured in one run.
//!
//! Every quantity is taken in rounds, and in each round of every tracer in turn, so that what else the
//! machine does meanwhile falls on all of them. What is reported is the median, and half of the distance
//! between the quartiles.

mod columns;
mod goals;
mod load;
mod machine;
mod numbers;
mod process;
mod report;
mod run;
mod tools;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cargo::{cargo, run as run_command, target_directory, workspace};
use columns::{Bench, Results};
use load::Load;
use tools::Tool;

/// Where the results are written, from the workspace's root.
const DOCUMENT: &str = "docs/benchmarks.md";

/// How much to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// How often each quantity is taken
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Signals in a flood
    #[arg(long, default_value_t = 1_000_000)]
    flood: u64,
    /// Processes killed at once
    #[arg(long, default_value_t = 5000)]
    crowd: u64,
    /// Minutes of load during which killtrace's memory is watched
    #[arg(long, default_value_t = 3)]
    soak: u64,
    /// Measure this killtrace and do not build one
    #[arg(long)]
    killtrace: Option<PathBuf>,
    /// Show the results without writing docs/benchmarks.md
    #[arg(long)]
    dry_run: bool,
}

/// Measures, and writes the document.
///
/// # Errors
/// Where something cannot be built, started or written.
pub fn run(arguments: &Arguments) -> Result<()> {
    // The peers find their tracepoints there; killtrace does not need it.
    ensure!(
        Path::new("/sys/kernel/tracing/events").exists(),
        "tracefs is not mounted, and no peer works without it: mount -t tracefs none /sys/kernel/tracing"
    );
    let killtrace = build(arguments.killtrace.as_deref())?;
    let ours = tools::killtrace(&killtrace);
    let (peers, missing) = tools::peers();
    let mut all = vec![ours];
    all.extend(peers);
    say(&format!("measuring {}", names(&all)))?;
    for name in &missing {
        say(&format!("{name} is not installed"))?;
    }
    let directory = target_directory().join("bench");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let load = Load::start(&target_directory().join("debug/killtrace-load"))?;
    let mut bench = Bench { tools: all, load, directory, arguments, results: Results::default() };
    bench.measure()?;
    let machine = machine::Facts::of(&bench.tools, &missing);
    let text = report::document(&bench.results, &machine, arguments);
    if arguments.dry_run {
        write!(std::io::stdout(), "{text}")?;
        return Ok(());
    }
    fs::write(workspace().join(DOCUMENT), text).context("cannot write the document")?;
    say(&format!("{DOCUMENT} is written"))
}

/// Builds what is measured, as it is released, and the load.
fn build(given: Option<&Path>) -> Result<PathBuf> {
    let load = ["build", "--locked", "--package", "killtrace-tests", "--bin", "killtrace-load"];
    run_command(&mut cargo(&load))?;
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    run_command(&mut cargo(&["build", "--locked", "--release", "--package", "killtrace"]))?;
    Ok(target_directory().join("release/killtrace"))
}

fn names(tools: &[Tool]) -> String {
    let names: Vec<&str> = tools.iter().map(|tool| tool.name).collect();
    names.join(", ")
}

/// Says on standard error how far the work is.
fn say(what: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "bench: {what}")?)
}
