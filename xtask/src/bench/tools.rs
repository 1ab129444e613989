//! What is measured: killtrace, and the tracers that are installed beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One tracer.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name in the tables.
    pub name: &'static str,
    /// Where it is.
    pub program: PathBuf,
    /// Its arguments.
    arguments: fn(Aim, Heed) -> Vec<String>,
    /// What a line of its output has that tells of a signal of the load's.
    pub event: &'static str,
    /// Sees signals when they are delivered, not when they are sent: ignored ones never.
    pub at_delivery: bool,
}

/// The processes of the load.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// Who sends.
    pub sender: u32,
    /// Who is sent to.
    pub target: u32,
}

/// What the tracer is to heed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// The load's signals.
    Signals,
    /// Signals that the load does not send: each of its own has to be filtered out.
    Others,
}

impl Tool {
    /// How it is started; what it reports goes to its standard output or, where it wants it so, to
    /// standard error.
    pub fn command(&self, aim: Aim, heed: Heed) -> Command {
        let mut command = Command::new(&self.program);
        command.args((self.arguments)(aim, heed));
        command
    }

    /// Whether it is killtrace.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("killtrace")
    }
}

/// killtrace as just built.
pub fn killtrace(program: &Path) -> Tool {
    Tool {
        name: "killtrace",
        program: program.to_owned(),
        arguments: |aim, _| words(&format!("-p {} --format json", aim.target)),
        event: "\"type\":\"signal\"",
        at_delivery: false,
    }
}

/// The same as it shows itself to people.
pub fn killtrace_for_people(program: &Path) -> Tool {
    Tool {
        arguments: |aim, _| words(&format!("-p {} --format text", aim.target)),
        event: "kt-sender[",
        ..killtrace(program)
    }
}

/// The peers that are installed, and the names of those that are not.
pub fn peers() -> (Vec<Tool>, Vec<&'static str>) {
    let mut missing = Vec::new();
    let mut found = Vec::new();
    for (name, arguments, event, at_delivery) in PEERS {
        match find(name.split(' ').next().unwrap_or(name)) {
            Some(program) => found.push(Tool { name, program, arguments, event, at_delivery }),
            None => missing.push(name),
        }
    }
    (found, missing)
}

type Peer = (&'static str, fn(Aim, Heed) -> Vec<String>, &'static str, bool);

const PEERS: [Peer; 4] = [
    ("sigsnoop", sigsnoop, "kt-sender", false),
    ("bpftrace", bpftrace, "kt-sender", false),
    ("perf trace", perf, "kt-sender", false),
    ("strace", strace, "SIGUSR1", true),
];

/// Its `-p` means the sender.
fn sigsnoop(aim: Aim, heed: Heed) -> Vec<String> {
    match heed {
        Heed::Signals => words(&format!("-p {}", aim.sender)),
        Heed::Others => words("-p 1"),
    }
}

fn bpftrace(aim: Aim, heed: Heed) -> Vec<String> {
    let pid = if heed == Heed::Signals { aim.target } else { 1 };
    let program = format!(
        "tracepoint:signal:signal_generate /args->pid == {pid}/ \
         {{ printf(\"%s %d %d %d %d\\n\", comm, pid, args->sig, args->pid, args->result); }}"
    );
    vec!["-e".to_owned(), program]
}

fn perf(aim: Aim, heed: Heed) -> Vec<String> {
    let pid = if heed == Heed::Signals { aim.target } else { 1 };
    let mut words = words("trace -a -e signal:signal_generate --filter");
    words.push(format!("pid == {pid}"));
    words
}

fn strace(aim: Aim, _: Heed) -> Vec<String> {
    words(&format!("-qq -e trace=none -e signal=USR1 -p {}", aim.target))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A program on the path, or where administrators' programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}
