//! killtrace itself, run inside a lab: its records as they come, and how it ended.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::wait::{PATIENCE, wait_for};
use super::{Lab, PROGRAMS};
use crate::schema;

/// Where killtrace records in the lab.
pub const RECORDING: &str = "/run/killtrace.jsonl";
/// Environment variable: the `killtrace` to be tried, instead of cargo's own.
const PROGRAM_VARIABLE: &str = "KILLTRACE_BIN";

/// A running killtrace. Ended, and its report given up, when this value is dropped.
#[derive(Debug)]
pub struct Killtrace<'lab> {
    lab: &'lab Lab,
    child: Child,
    pid: u32,
    collected: Arc<Mutex<Collected>>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Collected {
    records: Vec<Value>,
    /// A line of standard output that was no JSON.
    damaged: Option<String>,
    stderr: String,
}

/// Everything that killtrace said.
#[derive(Debug)]
pub struct Report {
    /// The records, in the order of the output.
    pub records: Vec<Value>,
    /// Standard error.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Report {
    /// The records of one type.
    pub fn of_type(&self, name: &str) -> Vec<&Value> {
        self.records.iter().filter(|record| record["type"] == name).collect()
    }
}

impl<'lab> Killtrace<'lab> {
    /// Starts `killtrace --format json ARGS…` in the lab and waits for its `header`.
    ///
    /// # Errors
    /// Where it ends before that; the message carries its standard error.
    pub fn start(lab: &'lab Lab, args: &[&str]) -> Result<Self> {
        Self::start_by(lab, ["sh", "exec"], args)
    }

    /// The same, in a lab that goes down to the end: the last signals spare what root calls by a name that begins with
    /// `@` (`ignore_proc` in systemd's `src/shared/killall.c`).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_spared(lab: &'lab Lab, args: &[&str]) -> Result<Self> {
        Self::start_by(lab, ["bash", "exec -a @killtrace"], args)
    }

    fn start_by(lab: &'lab Lab, [shell, exec]: [&str; 2], args: &[&str]) -> Result<Self> {
        // The shell tells which pid killtrace has in the lab, and then becomes killtrace.
        let script = format!(
            "echo $$ >&2 && {exec} {PROGRAMS}/killtrace --format json --record {RECORDING} \"$@\""
        );
        let mut argv = vec![shell, "-c", &script, shell];
        argv.extend(args);
        let mut child = lab
            .command(&argv)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start killtrace in the lab")?;
        let collected = Arc::new(Mutex::new(Collected::default()));
        let mut stderr = BufReader::new(child.stderr.take().context("no pipe from killtrace")?);
        let stdout = child.stdout.take().context("no pipe from killtrace")?;
        let mut first = String::new();
        stderr.read_line(&mut first).context("cannot read killtrace's standard error")?;
        let pid = first.trim().parse().with_context(|| format!("no pid but {first:?}"))?;
        let readers = vec![
            read_records(BufReader::new(stdout), Arc::clone(&collected)),
            read_messages(stderr, Arc::clone(&collected)),
        ];
        let mut killtrace = Self { lab, child, pid, collected, readers };
        killtrace.wait_for_record("killtrace's header", |record| record["type"] == "header")?;
        Ok(killtrace)
    }

    /// Waits until there is a record that `wanted` likes.
    ///
    /// # Errors
    /// Where none comes; the message carries the records that did.
    pub fn wait_for_record(
        &mut self,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let found = wait_for(what, PATIENCE, || {
            // Asked before the records are looked at: what it wrote before it ended counts.
            let ended = self.child.try_wait()?;
            if ended.is_some() {
                self.join_readers();
            }
            let collected = lock(&self.collected);
            if let Some(line) = &collected.damaged {
                bail!("killtrace printed a line that is no JSON: {line:?}");
            }
            if let Some(record) = collected.records.iter().find(|record| wanted(record)) {
                return Ok(Some(record.clone()));
            }
            if let Some(status) = ended {
                bail!("killtrace ended ({status}) before {what}");
            }
            Ok(None)
        });
        found.map_err(|error| {
            let collected = lock(&self.collected);
            let records: Vec<String> = collected.records.iter().map(Value::to_string).collect();
            error.context(format!(
                "no {what}; its records were\n{}\nand it said\n{}",
                records.join("\n"),
                collected.stderr
            ))
        })
    }

    /// Waits for the verdict on the end of the process with this pid, as the lab counts.
    ///
    /// # Errors
    /// As [`Self::wait_for_record`].
    pub fn death_of(&mut self, pid: u32) -> Result<Value> {
        self.wait_for_record(&format!("death of {pid}"), |record| {
            record["type"] == "death" && record["victim"]["pid"] == pid
        })
    }

    /// Waits until it has said this on standard error.
    ///
    /// # Errors
    /// Where it does not.
    pub fn hear(&self, words: &str) -> Result<()> {
        let what = format!("killtrace to say {words:?}");
        wait_for(&what, PATIENCE, || Ok(lock(&self.collected).stderr.contains(words).then_some(())))
    }

    /// Waits until its recording has a line with all of these words: what it learns of a process's unit it learns a
    /// moment after it has begun to trace.
    ///
    /// # Errors
    /// Where it does not.
    pub fn learns(&self, words: &[&str]) -> Result<()> {
        wait_for(&format!("killtrace to learn {words:?}"), PATIENCE, || {
            let recording = self.recording()?;
            let found = recording.lines().any(|line| words.iter().all(|word| line.contains(word)));
            Ok(found.then_some(()))
        })
    }

    /// Stops it as Ctrl-C would, and returns all that it said.
    ///
    /// # Errors
    /// Where it does not end, or printed something that is no JSON.
    pub fn stop(mut self) -> Result<Report> {
        if self.child.try_wait()?.is_none() {
            self.lab.output(&["kill", "-INT", &self.pid.to_string()])?;
        }
        self.wait()
    }

    /// Kills it: it has no chance to tidy up.
    ///
    /// # Errors
    /// Where it is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.lab.exec(&["kill", "-KILL", &self.pid.to_string()])?;
        self.child.wait().context("cannot wait for killtrace").map(drop)
    }

    /// Waits until it ends by itself, and returns all that it said.
    ///
    /// # Errors
    /// Where it does not end, or printed something that is no JSON.
    pub fn wait(mut self) -> Result<Report> {
        let status = wait_for("killtrace to end", PATIENCE, || Ok(self.child.try_wait()?))?;
        self.join_readers();
        let collected = std::mem::take(&mut *lock(&self.collected));
        if let Some(line) = collected.damaged {
            bail!("killtrace printed a line that is no JSON: {line:?}");
        }
        for record in &collected.records {
            schema::check_report(&record.to_string())?;
        }
        self.replay_agrees(&collected.records)?;
        Ok(Report { records: collected.records, stderr: collected.stderr, status })
    }

    /// The recording tells the same story, record by record.
    fn replay_agrees(&self, records: &[Value]) -> Result<()> {
        let killtrace = format!("{PROGRAMS}/killtrace");
        let text = self.lab.exec(&[&killtrace, "replay", "--format", "json", RECORDING])?;
        let again: Vec<Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("replay")?;
        for number in 0..records.len().max(again.len()) {
            let (live, replayed) = (records.get(number), again.get(number));
            if live != replayed {
                bail!(
                    "replay tells record {number} otherwise:\n{live:?}\nlive, then\n{replayed:?}"
                );
            }
        }
        Ok(())
    }

    /// The recording so far, read from outside: a lab that shuts down stops everybody in it, and a reader with them.
    fn recording(&self) -> Result<String> {
        let path = self.lab.root().join(RECORDING.trim_start_matches('/'));
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Keeps the recording beside the test programs, named after the test: what a wrong verdict was
    /// computed from, and what the golden cases are made of.
    fn keep_recording(&self) -> Result<()> {
        let text = self.recording()?;
        let ours = std::env::current_exe().context("cannot find the running program")?;
        let built = ours.ancestors().nth(2).context("the running program is in no directory")?;
        let folder = built.join("lab-recordings");
        std::fs::create_dir_all(&folder)?;
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("killtrace").replace("::", ".");
        std::fs::write(folder.join(format!("{name}.jsonl")), text).map_err(Into::into)
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Killtrace<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.lab.output(&["kill", "-KILL", &self.pid.to_string()]);
            // nsenter stops with what it runs, and a lab that shuts down stops everybody: what is stopped
            // ends by SIGKILL alone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.join_readers();
        // A test that has failed already fails for its own reason.
        let _ = self.keep_recording();
    }
}

fn lock(collected: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    collected.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_records(
    stdout: impl BufRead + Send + 'static,
    collected: Arc<Mutex<Collected>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(record) => lock(&collected).records.push(record),
                Err(_) => {
                    lock(&collected).damaged.get_or_insert(line);
                }
            }
        }
    })
}

fn read_messages(
    mut stderr: impl Read + Send + 'static,
    collected: Arc<Mutex<Collected>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            lock(&collected).stderr.push_str(&text);
        }
    })
}

/// Where the killtrace is that is to be tried: `$KILLTRACE_BIN`, else where cargo put the running program.
pub(super) fn programs() -> Result<PathBuf> {
    let killtrace = match std::env::var_os(PROGRAM_VARIABLE) {
        Some(program) => PathBuf::from(program),
        None => {
            let ours = std::env::current_exe().context("cannot find the running program")?;
            let beside = ours.parent().context("the running program is in no directory")?;
            // Test programs are in deps/, below the others.
            let built = if beside.ends_with("deps") { beside.parent() } else { Some(beside) };
            built.context("the running program is in no directory of cargo's")?.join("killtrace")
        }
    };
    let killtrace = killtrace.canonicalize().with_context(|| {
        format!("there is no {}: `cargo build --package killtrace` makes it", killtrace.display())
    })?;
    if !killtrace.ends_with("killtrace") {
        bail!(
            "{} is not called killtrace: {PROGRAM_VARIABLE} names the program",
            killtrace.display()
        );
    }
    killtrace.parent().map(Path::to_path_buf).context("killtrace is in no directory")
}
