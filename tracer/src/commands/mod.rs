//! What the arguments ask for, done: a file or folder a verb, and what verbs share.

pub mod doctor;
pub mod limits;
pub mod output;
pub mod plan;
pub mod replay;
pub mod trace;

use std::io::{self, Write};

use anyhow::Context as _;

use crate::cli::{self, Cli, Verb};
use crate::report::{Layout, Line, Tone};
use crate::system::give_up_lent;

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
    let inherited = limits::Inherited::lift();
    let Some(verb) = cli.verb else {
        return trace::run(&plan::Plan::new(cli.trace, cli.report)?, &inherited);
    };
    let mut cli = Cli { verb: None, ..cli };
    // Of what says how to trace, doctor takes one option, before the verb as well as after it.
    let before = if matches!(verb, Verb::Doctor { .. }) { cli.trace.btf.take() } else { None };
    if let Some(option) = plan::first_given(&cli.trace) {
        return Err(Failure::Usage(cli::not_for_verbs(option)));
    }
    if let Some(sentence) = plan::useless(&cli.report, &verb) {
        return Err(Failure::Usage(sentence));
    }
    if !matches!(verb, Verb::Doctor { .. }) {
        give_up_lent().context("this program's own capabilities cannot be given up")?;
    }
    match verb {
        Verb::Replay { file } => replay::run(&file, &cli.report),
        Verb::Doctor { self_test, btf } => {
            let btf = btf.or(before);
            doctor::run(&doctor::Plan { self_test, btf }, &cli.report)
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            cli::completions(shell, &mut script)?;
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
    let width = terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| width.0.into());
    let told = laid_out(&message(sentence), width);
    if io::stderr().lock().write_all(told.as_bytes()).is_err() {
        tracing::debug!("standard error is closed");
    }
}

/// A message in rows of a terminal's width, as the report has them; 0 columns are what a terminal says that does not know.
fn laid_out(message: &str, width: Option<usize>) -> String {
    let layout = Layout { width: width.filter(|width| *width > 0), colour: false };
    let mut out = String::new();
    for line in message.lines() {
        Line::default().with(Tone::Plain, line.to_owned()).write(&mut out, layout, 2);
    }
    out
}

/// A message as it is shown: only what the kernel said of a program has more than one line.
fn message(sentence: &str) -> String {
    let mut out = String::from("killtrace: ");
    for (number, line) in sentence.lines().enumerate() {
        out.push_str(if number == 0 { "" } else { "  " });
        out.push_str(&crate::report::escape::terminal(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_one_form() {
        assert_eq!(message("no such file 'a\u{1b}b'"), "killtrace: no such file 'a\\33b'\n");
        assert_eq!(message("refused:\n0: r1\n1: r2\n"), "killtrace: refused:\n  0: r1\n  1: r2\n");
    }

    #[test]
    fn messages_are_wrapped_at_words() {
        let told = message("not all is seen here: systemd does not run this machine");
        let wrapped = "killtrace: not all is seen here:\n  systemd does not run this machine\n";
        assert_eq!(laid_out(&told, Some(36)), wrapped);
        assert_eq!(laid_out(&told, None), told);
        assert_eq!(laid_out(&told, Some(0)), told);
    }

    #[test]
    fn failures_have_a_status_and_a_sentence() {
        let usage = Failure::Usage("write it so".to_owned());
        assert_eq!((usage.status(), usage.sentence().as_str()), (2, "write it so"));
        let other = Failure::from(anyhow::anyhow!("no such file").context("cannot read x"));
        assert_eq!((other.status(), other.sentence().as_str()), (1, "cannot read x: no such file"));
    }
}
