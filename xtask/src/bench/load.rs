//! The load: `killtrace-load`, asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

use super::tools::Aim;

/// A running load.
pub struct Load {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Who is who.
    pub aim: Aim,
}

impl Load {
    /// Starts it.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let orders = child.stdin.take().context("the load has no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("the load has no output")?);
        let aim = Aim { sender: child.id(), target: 0 };
        let mut load = Self { child, orders, answers, aim };
        let line = load.answer()?;
        let target = line.split(' ').next().unwrap_or_default();
        load.aim.target = target.parse().context("the load did not tell its target")?;
        Ok(load)
    }

    /// Has it do something; its answer.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn ask(&mut self, what: &str, count: u64) -> Result<String> {
        writeln!(self.orders, "{what} {count}").context("the load has ended")?;
        self.answer()
    }

    /// Has it do something so many times: nanoseconds for each.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    #[expect(clippy::cast_precision_loss, reason = "durations and counts are far below 2^52")]
    pub fn time(&mut self, what: &str, count: u64) -> Result<f64> {
        let answer: u64 = self.ask(what, count)?.parse().context("the load told no time")?;
        Ok(answer as f64 / count as f64)
    }

    /// Ends the target; another one takes its place.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn die(&mut self) -> Result<()> {
        self.aim.target = self.ask("die", 1)?.parse().context("the load told no pid")?;
        Ok(())
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).context("the load cannot be read")?;
        anyhow::ensure!(read > 0, "the load has ended before its time");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself; its children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
