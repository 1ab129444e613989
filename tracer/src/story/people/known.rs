//! What is known of one process: the programs that it ran, each at its time.

use std::collections::BTreeMap;

use crate::evidence::{Exec, ProcessId};

/// How many earlier programs of one process are remembered: wrappers that execute one another.
const PROGRAMS_KEPT: usize = 8;

/// What a process takes beside its texts, bytes, generously.
pub(super) const PROCESS: usize = 1 << 10;

/// What is known of one process.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Process id as the process sees itself.
    pub ns_pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Its arguments, as it shows them: a program may write a title over them.
    pub cmdline: Option<Vec<String>>,
    /// The arguments that it was executed with, where that was seen.
    pub(super) executed: Option<Vec<String>>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Its parent.
    pub ppid: Option<u32>,
    /// Its cgroup.
    pub cgroup: Option<String>,
    /// Audit session.
    pub audit_session: Option<u32>,
    /// Login uid.
    pub login_uid: Option<u32>,
    /// Its parents, nearest first.
    pub parents: Vec<ProcessId>,
    /// Its controlling terminal.
    pub tty: Option<String>,
    /// Leader of its session (`getsid`).
    pub session_leader: Option<u32>,
    /// Telling variables of its environment.
    pub environment: BTreeMap<String, String>,
    /// When it executed its program, where that was seen.
    pub exec_ns: Option<u64>,
    /// When it was started, as exactly as it was told: `/proc` rounds down to hundredths of a second.
    pub start_ns: u64,
    /// When it ended, where that was seen.
    pub ended_ns: Option<u64>,
    /// The programs that it ran before, oldest first.
    pub earlier: Vec<Program>,
    /// How it stood to signals when `/proc` was first looked at.
    pub at_first: Option<AtFirst>,
    /// When what it runs now was first told of. What `/proc` says has the time of having been read, and is there
    /// before the kernel's records of earlier moments are.
    pub(super) told_ns: u64,
    /// When something was last heard of it, as the count of such hearings.
    pub(super) heard: u64,
}

impl Known {
    /// How much memory it takes, bytes, about.
    pub(super) fn weight(&self) -> usize {
        let texts = [&self.comm, &self.exe, &self.cgroup, &self.tty];
        let earlier = self.earlier.iter();
        PROCESS
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + weight(self.cmdline.iter().chain(&self.executed).flatten())
            + weight(self.environment.values())
            + earlier.map(|program| weight(program.cmdline.iter().flatten())).sum::<usize>()
            + self.parents.len() * size_of::<ProcessId>()
    }

    /// What it ran until now is over: the next program is not told of yet.
    pub(super) fn leave_program(&mut self, at_ns: u64) {
        if self.cmdline.is_some() {
            self.remember(Program {
                exec_ns: self.exec_ns,
                until_ns: at_ns,
                comm: self.comm.clone(),
                exe: self.exe.clone(),
                cmdline: self.cmdline.clone(),
                executed: self.executed.clone(),
                uid: self.uid,
            });
        }
    }

    /// Adds an earlier program, at its place in time.
    pub(super) fn remember(&mut self, program: Program) {
        let place = self.earlier.partition_point(|before| before.until_ns <= program.until_ns);
        self.earlier.insert(place, program);
        if self.earlier.len() > PROGRAMS_KEPT {
            self.earlier.remove(0);
        }
    }

    /// The kernel saw it execute a program at this time. What `/proc` had told before of later times is taken back: the
    /// kernel tells of every program, in order, and exactly when.
    pub(super) fn execute(&mut self, exec: &Exec, at_ns: u64) {
        if self.told_ns > at_ns {
            self.leave_program(u64::MAX);
            let kept = self.earlier.partition_point(|program| program.until_ns <= at_ns);
            self.earlier.truncate(kept + 1);
            match self.earlier.last_mut().filter(|last| last.until_ns > at_ns) {
                // `/proc` told of this very program.
                Some(last) if last.cmdline.as_ref() == Some(&exec.args) => {
                    self.earlier.pop();
                }
                Some(last) => last.until_ns = at_ns,
                None => {}
            }
        } else {
            self.leave_program(at_ns);
        }
        self.comm = Some(exec.task.comm.clone());
        self.cmdline = Some(exec.args.clone());
        self.executed = (!exec.truncated).then(|| exec.args.clone());
        self.exe = Some(exec.filename.clone());
        self.exec_ns = Some(at_ns);
        self.told_ns = at_ns;
    }

    /// It was made by a process that ran this program, of which it has the name.
    pub(super) fn inherit(&mut self, program: Program, at_ns: u64) {
        if self.cmdline.is_none() && self.exe.is_none() {
            (self.exe, self.cmdline) = (program.exe, program.cmdline);
            return;
        }
        // `/proc` was read after this and has told of what it runs already.
        let is_same = self.exe == program.exe && self.cmdline == program.cmdline;
        if self.told_ns > at_ns && !is_same && self.earlier.is_empty() {
            self.remember(Program { until_ns: self.told_ns, ..program });
        }
    }

    /// What a signal's sender had as its arguments when it sent it; they may be cut short.
    pub(super) fn show_arguments(&mut self, args: &[String], comm: Option<&String>, at_ns: u64) {
        let agrees = |known: &Option<Vec<String>>| {
            known.as_ref().is_some_and(|known| known.starts_with(&args[..args.len() - 1]))
        };
        if self.told_ns <= at_ns {
            if !agrees(&self.cmdline) {
                self.cmdline = Some(args.to_vec());
            }
            return;
        }
        // `/proc` was read after the signal: what it says is of a later time.
        let at_that_time = self.earlier.iter_mut().find(|program| program.until_ns > at_ns);
        let told = at_that_time.as_ref().map_or(&self.cmdline, |program| &program.cmdline);
        if agrees(told) {
            return;
        }
        let until_ns = at_that_time
            .map_or(self.told_ns, |program| std::mem::replace(&mut program.until_ns, at_ns));
        let (comm, cmdline) = (comm.cloned(), Some(args.to_vec()));
        self.remember(Program {
            exec_ns: None,
            until_ns,
            comm,
            exe: None,
            cmdline,
            executed: None,
            uid: None,
        });
    }

    /// The program that it ran at this time.
    pub(super) fn program_at(&self, at_ns: u64) -> Program {
        let before = self.earlier.iter().find(|program| program.until_ns > at_ns);
        before.cloned().unwrap_or_else(|| Program {
            exec_ns: self.exec_ns,
            until_ns: u64::MAX,
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            cmdline: self.cmdline.clone(),
            executed: self.executed.clone(),
            uid: self.uid,
        })
    }
}

/// How a process stood to signals when it was first looked at.
#[derive(Clone, Debug)]
pub struct AtFirst {
    /// When that was.
    pub ns: u64,
    /// Signals that it had not taken yet.
    pub pending: Vec<u8>,
    /// Signals that ask to end which it caught or held up, where that was looked at.
    pub answers: Option<Vec<u8>>,
}

/// How much memory texts take, bytes.
pub(super) fn weight<'t>(texts: impl Iterator<Item = &'t String>) -> usize {
    texts.map(|text| size_of::<String>() + text.len()).sum()
}

/// A program that a process ran before it executed another.
#[derive(Clone, Debug)]
pub struct Program {
    /// When it was executed, where that was seen.
    pub exec_ns: Option<u64>,
    /// When it executed the next.
    pub until_ns: u64,
    /// Its name.
    pub comm: Option<String>,
    pub(super) exe: Option<String>,
    pub(super) cmdline: Option<Vec<String>>,
    pub(super) executed: Option<Vec<String>>,
    /// As whom it ran by the time that it was left, where that is known.
    pub(super) uid: Option<u32>,
}
