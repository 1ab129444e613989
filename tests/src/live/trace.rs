//! killtrace, as started and read by a test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use killtrace::evidence::Header;
use killtrace::story::verdict::{Death, LossRecord, Record, SignalRecord, Summary};

use super::lines::Lines;
use super::stage::Stage;
use crate::lab::{PATIENCE, wait_for};
use crate::schema;

/// A running killtrace, all of whose hooks are attached.
#[derive(Debug)]
pub struct Trace {
    child: Child,
    lines: Lines,
    ended: Ended,
}

/// What a trace reported.
#[derive(Debug)]
pub struct Ended {
    /// Its first record.
    pub header: Option<Header>,
    /// Its records, in order.
    pub records: Vec<Record>,
    /// The evidence, for `killtrace replay`.
    pub recording: PathBuf,
    /// What it wrote to standard error.
    pub stderr: PathBuf,
}

impl Trace {
    /// Starts killtrace with these arguments, and JSON, and a recording named after the test and
    /// `name` unless they name another; waits until it traces.
    pub fn start(name: &str, args: &[String]) -> Self {
        Self::spawn(name, Command::new(super::program("killtrace")), args)
    }

    /// Starts killtrace in the pid and mount namespaces of that process.
    pub fn start_inside(name: &str, pid: u32, args: &[String]) -> Self {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &pid.to_string(), "-p", "-m", "--"]).arg(super::program("killtrace"));
        Self::spawn(name, nsenter, args)
    }

    /// Starts killtrace with what selects the scene's victims.
    pub fn of(stage: &Stage, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        Self::start(stage.scene.name, &args)
    }

    fn spawn(name: &str, mut command: Command, args: &[String]) -> Self {
        super::require_root();
        // Test threads are called after their tests.
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("test").replace("::", ".");
        let recording = super::keepsakes().join(format!("{test}.{name}.killtrace"));
        let stderr = recording.with_extension("stderr");
        let log = File::create(&stderr).unwrap_or_else(|error| panic!("{stderr:?}: {error}"));
        if !args.iter().any(|arg| arg == "--record") {
            command.arg("--record").arg(&recording);
        }
        // `-- CMD` must stay last.
        command.args(["--format", "json"]).args(args);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let lines = Lines::of(child.stdout.take().expect("standard output is piped"));
        let ended = Ended { header: None, records: Vec::new(), recording, stderr };
        let mut trace = Self { child, lines, ended };
        let Some(Record::Header(header)) = trace.next("killtrace to attach") else {
            panic!("killtrace's first record is no header\n{}", trace.ended.complaint());
        };
        trace.ended.header = Some(*header);
        trace
    }

    /// Its pid; not where it was started in other namespaces.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next record; `None` at the end.
    fn next(&mut self, what: &str) -> Option<Record> {
        let line = self.lines.next(what)?;
        let record = serde_json::from_str::<Record>(&line);
        let record = record.unwrap_or_else(|error| panic!("{error} in this record:\n{line}"));
        schema::check_report(&line).unwrap_or_else(|error| panic!("{error:#}"));
        self.ended.records.push(record.clone());
        Some(record)
    }

    /// Waits until killtrace has said this on standard error.
    pub fn hear(&self, words: &str) {
        wait_for(words, PATIENCE, || {
            let said = fs::read_to_string(&self.ended.stderr)?;
            Ok(said.contains(words).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.ended.complaint()));
    }

    /// Waits for the verdict on that process; for those traces that do not end by themselves.
    pub fn death_of(&mut self, pid: u32) -> Death {
        while let Some(record) = self.next(&format!("the verdict on {pid}")) {
            if let Record::Death(death) = record
                && death.victim.pid == pid
            {
                return *death;
            }
        }
        panic!("killtrace ended without a verdict on {pid}\n{}", self.ended.complaint())
    }

    /// Waits until so many signals have been told, each by itself or as a repeat.
    pub fn signals(&mut self, count: u64) {
        let mut told = 0;
        while told < count {
            match self.next("a signal") {
                Some(Record::Signal(signal)) => told += 1 + signal.repeated,
                Some(_) => {}
                None => panic!("{told} signals of {count}\n{}", self.ended.complaint()),
            }
        }
    }

    /// Waits for the next verdict.
    pub fn next_death(&mut self) -> Death {
        while let Some(record) = self.next("a verdict") {
            if let Record::Death(death) = record {
                return *death;
            }
        }
        panic!("killtrace ended without another verdict\n{}", self.ended.complaint())
    }

    /// Kills it, so that it has no last words.
    pub fn kill(mut self) {
        self.child.kill().unwrap_or_else(|error| panic!("killing killtrace: {error}"));
        self.child.wait().unwrap_or_else(|error| panic!("waiting: {error}"));
    }

    /// Stops it as Ctrl-C does.
    pub fn stop(self) -> Ended {
        let own = self.child.id();
        // nsenter forks to enter a pid namespace and passes no signals on: killtrace is its child.
        let entries = fs::read_dir("/proc").expect("/proc is readable").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_inner = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.starts_with("Name:\tkilltrace\n")
                && status.contains(&format!("\nPPid:\t{own}\n"))
        };
        let pid = pids.into_iter().find(is_inner).unwrap_or(own);
        // SAFETY: takes integers; the process is a child of ours, or its child, that was not collected yet.
        unsafe { libc::kill(pid.cast_signed(), libc::SIGINT) };
        self.finish()
    }

    /// Waits for its end, which must be a success.
    pub fn finish(self) -> Ended {
        let (ended, status) = self.exit();
        assert!(status.success(), "killtrace: {status}\n{}", ended.complaint());
        let last = ended.records.last();
        assert!(
            matches!(last, Some(Record::Summary(_))),
            "the last record is no summary: {last:?}"
        );
        ended
    }

    /// Waits for its end.
    pub fn exit(mut self) -> (Ended, ExitStatus) {
        while self.next("killtrace to end").is_some() {}
        let status = self.child.wait().unwrap_or_else(|error| panic!("waiting: {error}"));
        let nothing = Ended {
            header: None,
            records: Vec::new(),
            recording: PathBuf::new(),
            stderr: PathBuf::new(),
        };
        (std::mem::replace(&mut self.ended, nothing), status)
    }
}

/// A running killtrace whose report goes to a file.
#[derive(Debug)]
pub struct QuietTrace {
    child: Child,
    complaint: Lines,
}

impl QuietTrace {
    /// Starts killtrace with a report in that format, to that file; waits until it traces.
    pub fn start(format: &str, report: &Path, args: &[&str]) -> Self {
        super::require_root();
        let mut child = Command::new(super::program("killtrace"))
            .args(["--color", "never", "--format", format, "-o"])
            .arg(report)
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start killtrace: {error}"));
        let complaint = Lines::of(child.stderr.take().expect("standard error is piped"));
        let trace = Self { child, complaint };
        let mut said = String::new();
        while let Some(line) = trace.complaint.next("killtrace to say that it traces") {
            if line.starts_with("killtrace: tracing") {
                return trace;
            }
            said = said + &line + "\n";
        }
        panic!("killtrace ended before it traced:\n{said}")
    }

    /// Waits for its end, which must be a success.
    pub fn finish(mut self) {
        while self.complaint.next("killtrace to end").is_some() {}
        let status = self.child.wait().unwrap_or_else(|error| panic!("waiting: {error}"));
        assert!(status.success(), "killtrace: {status}");
    }
}

impl Drop for QuietTrace {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The verdicts.
    pub fn deaths(&self) -> impl Iterator<Item = &Death> {
        self.records.iter().filter_map(|record| match record {
            Record::Death(death) => Some(&**death),
            _ => None,
        })
    }

    /// The signals sent to targets.
    pub fn signals(&self) -> impl Iterator<Item = &SignalRecord> {
        self.records.iter().filter_map(|record| match record {
            Record::Signal(signal) => Some(&**signal),
            _ => None,
        })
    }

    /// The losses.
    pub fn losses(&self) -> impl Iterator<Item = &LossRecord> {
        self.records.iter().filter_map(|record| match record {
            Record::Loss(loss) => Some(loss),
            _ => None,
        })
    }

    /// The last record.
    pub fn summary(&self) -> Option<&Summary> {
        match self.records.last() {
            Some(Record::Summary(summary)) => Some(summary),
            _ => None,
        }
    }

    /// The verdicts that `killtrace replay` gives on the recording.
    pub fn replayed(&self) -> Vec<Death> {
        let output = Command::new(super::program("killtrace"))
            .args(["replay", "--format", "json"])
            .arg(&self.recording)
            .output()
            .unwrap_or_else(|error| panic!("cannot start killtrace: {error}"));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "killtrace replay: {}\n{complaint}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        let records = text.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
        });
        records
            .filter_map(|record: Record| match record {
                Record::Death(death) => Some(*death),
                _ => None,
            })
            .collect()
    }

    /// Where to look, and what killtrace wrote to standard error.
    pub fn complaint(&self) -> String {
        let said = fs::read_to_string(&self.stderr).unwrap_or_default();
        format!("recording: {}\nstandard error:\n{said}", self.recording.display())
    }
}
