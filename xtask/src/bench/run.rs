//! A tracer under measurement: started, known to be attached, ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::load::Load;
use super::tools::{Heed, Tool};

/// How long a tracer gets to attach, and to end.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at its output.
const LOOK: Duration = Duration::from_micros(200);
/// What killtrace writes when every hook is in place.
const HEADER: &str = "\"type\":\"header\"";

/// A tracer that runs.
pub struct Running {
    child: Child,
    output: PathBuf,
    event: &'static str,
    is_ours: bool,
}

/// How long a tracer took to begin.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Until it said so, in milliseconds; of those that say nothing, until its first event.
    pub ready: f64,
    /// Until its first event was written, in milliseconds.
    pub first_event: f64,
}

impl Running {
    /// Starts a tracer; its output goes to a file in `directory`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(tool: &Tool, mut command: Command, directory: &Path) -> Result<Self> {
        let output = directory.join(format!("{}.out", tool.name.replace(' ', "-")));
        let file = File::create(&output).context("cannot make a file for a tracer's output")?;
        let child = command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .spawn()
            .with_context(|| format!("cannot start {}", tool.name))?;
        Ok(Self { child, output, event: tool.event, is_ours: tool.is_ours() })
    }

    /// Starts a tracer of the load and waits until it has seen a signal, or, where none of the load's
    /// are for it, until that can be taken for granted.
    ///
    /// # Errors
    /// Where it does not begin.
    pub fn attached(tool: &Tool, load: &mut Load, heed: Heed, directory: &Path) -> Result<Self> {
        let mut running = Self::start(tool, tool.command(load.aim, heed), directory)?;
        if heed == Heed::Signals {
            // In bursts: some keep their output back until a page is full.
            running.begins(load, 20)?;
        } else if tool.is_ours() {
            running.says(HEADER)?;
        } else {
            sleep(Duration::from_millis(1500));
        }
        Ok(running)
    }

    /// Waits for its first event, with so many signals sent each time that nothing has come.
    ///
    /// # Errors
    /// Where none comes.
    pub fn begins(&mut self, load: &mut Load, burst: u64) -> Result<Begun> {
        let start = Instant::now();
        let mut ready = None;
        loop {
            let text = fs::read_to_string(&self.output).unwrap_or_default();
            let now = start.elapsed().as_secs_f64() * 1e3;
            if self.is_ours && ready.is_none() && text.contains(HEADER) {
                ready = Some(now);
            }
            if text.contains(self.event) {
                return Ok(Begun { ready: ready.unwrap_or(now), first_event: now });
            }
            self.check(start)?;
            load.ask("handled", burst)?;
            sleep(LOOK);
        }
    }

    /// Waits until its output has a text.
    ///
    /// # Errors
    /// Where it never has.
    pub fn says(&mut self, what: &str) -> Result<()> {
        let start = Instant::now();
        while !self.text().contains(what) {
            self.check(start)?;
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn check(&mut self, start: Instant) -> Result<()> {
        let ended = self.child.try_wait()?;
        if ended.is_some() || start.elapsed() > PATIENCE {
            let said: String = self.text().chars().take(400).collect();
            bail!("{} did not begin: {said}", self.output.display());
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn text(&self) -> String {
        fs::read(&self.output)
            .map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into())
    }

    /// Interrupts it and waits for its end: what it has written.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn end(mut self) -> Result<String> {
        self.interrupt()?;
        Ok(self.text())
    }

    fn interrupt(&mut self) -> Result<()> {
        let start = Instant::now();
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().context("cannot run kill")?;
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                bail!("process {pid} does not end when it is interrupted");
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// How many of the load's signals a finished output tells of.
    pub fn events(text: &str, tool: &Tool) -> u64 {
        if tool.is_ours() {
            return number(text, "\"signals\":").unwrap_or(0);
        }
        text.lines().filter(|line| line.contains(tool.event)).count() as u64
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Mostly it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number behind the last occurrence of a key.
pub fn number(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(key)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
