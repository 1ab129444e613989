//! One file a verb: what the arguments ask for, done.

pub mod doctor;
pub mod output;
pub mod plan;
pub mod replay;
pub mod trace;

use std::io::{self, Write};

use crate::cli::{self, Cli, Verb};

/// Why a command ended without having done its work.
#[derive(Debug)]
pub enum Failure {
    /// The arguments make no sense together; one sentence that says what to give. Exit status 2.
    Usage(String),
    /// It could not be done. Exit status 1.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Failure {
    /// The exit status that tells of it.
    pub const fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Other(_) => 1,
        }
    }

    /// What went wrong and what to do, in one sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Usage(sentence) => sentence.clone(),
            Self::Other(error) => format!("{error:#}"),
        }
    }
}

/// Does what the arguments ask for; gives the exit status.
///
/// # Errors
/// Where that cannot be done.
pub fn run(cli: Cli) -> Result<u8, Failure> {
    let Some(verb) = cli.verb else {
        return trace::run(&plan::Plan::new(cli.trace, cli.report)?);
    };
    if let Some(option) = plan::first_given(&cli.trace) {
        return Err(Failure::Usage(format!(
            "{option} says what to trace, and this verb does not trace: leave one of them out"
        )));
    }
    match verb {
        Verb::Replay { file } => replay::run(&file, &cli.report),
        Verb::Doctor { self_test } => doctor::run(self_test, &cli.report),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            cli::completions(shell, &mut script);
            print(&script)
        }
        Verb::Man => {
            let mut page = Vec::new();
            cli::man_page(&mut page)?;
            print(&page)
        }
    }
}

/// Writes to standard output; that nobody reads it is no failure.
fn print(bytes: &[u8]) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

/// Tells something on standard error, in the form of every message. That it cannot be written must
/// not end a trace.
pub fn tell(sentence: &str) {
    let line = format!("killtrace: {}\n", crate::report::escape::terminal(sentence));
    if io::stderr().lock().write_all(line.as_bytes()).is_err() {
        tracing::debug!("standard error is closed");
    }
}
