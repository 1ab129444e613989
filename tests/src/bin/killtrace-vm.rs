//! killtrace on other kernels: `killtrace-vm run …` on the host, as `cargo xtask vm` calls it; and PID 1
//! of the virtual machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use killtrace_tests::vm::{self, Options, Programs, guest};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::init();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "killtrace-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("guest") => guest::run(),
        Some("setup") => vm::setup(&directory(&words.next().context("setup wants a workspace")?)),
        Some("run") => vm::run(&options(words)?, &mut std::io::stdout().lock()),
        _ => bail!("what to do? `cargo xtask vm` knows"),
    }
}

/// Where kernels, logs and recordings are kept.
fn directory(workspace: impl AsRef<Path>) -> PathBuf {
    workspace.as_ref().join("target/vm")
}

/// `--workspace DIR --test NAME=PROGRAM… [--kernel LABEL…] [--filter TEXT…] [--short] [--update]`
fn options(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let ours = std::env::current_exe().context("cannot find the running program")?;
    let built = ours.parent().context("the running program is in no directory")?;
    let mut workspace = None;
    let mut options = Options {
        kernels: Vec::new(),
        filter: Vec::new(),
        short: false,
        update: false,
        directory: PathBuf::new(),
        document: PathBuf::new(),
        programs: Programs { built: built.to_owned(), tests: Vec::new() },
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match word.as_str() {
            "--workspace" => workspace = Some(PathBuf::from(value()?)),
            "--kernel" => options.kernels.push(value()?),
            "--filter" => options.filter.push(value()?),
            "--short" => options.short = true,
            "--update" => options.update = true,
            "--test" => {
                let pair = value()?;
                let (name, path) = pair.split_once('=').context("--test wants NAME=PROGRAM")?;
                options.programs.tests.push((name.to_owned(), PathBuf::from(path)));
            }
            _ => bail!("what is {word:?}?"),
        }
    }
    let workspace = workspace.context("--workspace is missing")?;
    options.directory = directory(&workspace);
    options.document = workspace.join("docs/kernels.md");
    Ok(options)
}
