//! killtrace on other kernels: `killtrace-vm run …` on the host, as `cargo xtask vm` calls it; and PID 1
//! of the virtual machine.

use std::collections::BTreeMap;
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
        Some("afterwards") => guest::afterwards(),
        Some("cross") => cross(&directory(&words.next().context("cross wants a workspace")?)),
        Some("setup") => vm::setup(&directory(&words.next().context("setup wants a workspace")?)),
        Some("run") => vm::run(&options(words)?, &mut std::io::stdout().lock()),
        _ => bail!("what to do? `cargo xtask vm` knows"),
    }
}

/// Where kernels, logs and recordings are kept.
fn directory(workspace: impl AsRef<Path>) -> PathBuf {
    workspace.as_ref().join("target/vm")
}

/// Tells how to build for the other architecture, as JSON.
fn cross(directory: &Path) -> Result<()> {
    let toolchain = vm::cross::toolchain(&vm::cross_directory(directory)?)?;
    Ok(serde_json::to_writer(std::io::stdout(), &toolchain)?)
}

/// `--workspace DIR [--kernel LABEL…] [--filter TEXT…] [--short] [--update]`, and for each architecture
/// `--for ARCH=DIR [--test NAME=PROGRAM…]`, or `--without ARCH=WHY`
fn options(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let mut workspace = None;
    let mut arch = String::new();
    let mut options = Options {
        kernels: Vec::new(),
        filter: Vec::new(),
        short: false,
        update: false,
        workspace: PathBuf::new(),
        directory: PathBuf::new(),
        document: PathBuf::new(),
        programs: BTreeMap::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match word.as_str() {
            "--workspace" => workspace = Some(PathBuf::from(value()?)),
            "--kernel" => options.kernels.push(value()?),
            "--filter" => options.filter.push(value()?),
            "--short" => options.short = true,
            "--update" => options.update = true,
            "--for" => {
                let (name, built) = pair(&value()?, &word)?;
                arch.clone_from(&name);
                let programs = Programs { built: built.into(), tests: Vec::new() };
                options.programs.insert(name, Ok(programs));
            }
            "--without" => {
                let (name, why) = pair(&value()?, &word)?;
                options.programs.insert(name, Err(why));
            }
            "--test" => {
                let (name, path) = pair(&value()?, &word)?;
                let programs = options.programs.get_mut(&arch).and_then(|it| it.as_mut().ok());
                let programs = programs.context("--test comes after --for")?;
                programs.tests.push((name, PathBuf::from(path)));
            }
            _ => bail!("what is {word:?}?"),
        }
    }
    let workspace = workspace.context("--workspace is missing")?;
    options.directory = directory(&workspace);
    options.document = workspace.join("docs/kernels.md");
    options.workspace = workspace;
    Ok(options)
}

/// `NAME=VALUE`
fn pair(text: &str, word: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').with_context(|| format!("{word} wants a pair"))?;
    Ok((name.to_owned(), value.to_owned()))
}
