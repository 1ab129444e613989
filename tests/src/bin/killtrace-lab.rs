//! Brings the lab up for a person: `killtrace-lab seed`, `killtrace-lab run [COMMAND…]`, `killtrace-lab demo`.
//! `cargo xtask lab` and `cargo xtask demo` call it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use killtrace_tests::lab::{Lab, Options, demo, seed};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "killtrace-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["seed"] => {
            seed::ensure()?;
            Ok(ExitCode::SUCCESS)
        }
        ["run"] => in_lab(&["bash", "--login"]),
        ["run", ref command @ ..] => in_lab(command),
        ["demo"] => {
            demo::show()?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("what to do? `seed`, `run [COMMAND…]` or `demo`"),
    }
}

fn in_lab(command: &[&str]) -> Result<ExitCode> {
    let lab = Lab::start(&Options::default())?;
    let status = lab.attach(command)?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
