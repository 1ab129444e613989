//! Targets that match by their file's name alone, as `python3.13` that was started as `python3` does.
//!
//! A name is inherited by fork(2) until another program is executed. The kernel side compares what a process calls itself, and
//! knows such children by that; of a file it learns only when that is executed. What matches by its file alone it is told to
//! follow, therefore, and what its children execute is compared here.

use std::collections::{HashMap, HashSet};

use crate::evidence::{Fact, ProcessId, ProcessSnapshot, base_name, is_comm_of};

/// What the kernel side has to be told of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heir {
    /// It matches by its file alone: what it forks is a target as well.
    Begins(ProcessId),
    /// It is one as before, and what it forks is none.
    Stays(ProcessId),
    /// It runs another program, and is no target any more.
    Ends(ProcessId),
}

/// How a process came to match by its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// It was found to, or executed it: it is a target for good, whatever it runs later.
    Own,
    /// It was forked by one that did.
    Inherited,
}

/// Those processes, and the children that have left them.
#[derive(Debug)]
pub struct Heirs {
    /// The names that are looked for.
    names: Vec<String>,
    /// Processes that match by their file alone, and children that go on in it.
    by_file: HashMap<ProcessId, Match>,
    /// Children that have executed another program, until they end: the kernel side may have called them targets for a moment
    /// more.
    left: HashSet<ProcessId>,
}

impl Heirs {
    /// For targets of these names; none where others are looked for as well: who is a target for two reasons stays one.
    pub fn new(names: Vec<String>) -> Self {
        Self { names, by_file: HashMap::new(), left: HashSet::new() }
    }

    /// A process was found that is a target. Returns whether it is one by its file alone.
    pub fn found(&mut self, process: &ProcessSnapshot) -> bool {
        let file = process.exe.as_deref().map(base_name);
        let is_one =
            self.names.iter().any(|name| file == Some(name)) && !self.are_known_by(&process.comm);
        if is_one {
            self.by_file.insert(process.id(), Match::Own);
        }
        is_one
    }

    /// Whether the kernel side knows the children of what calls itself so, or that it is a target by what it is titled.
    fn are_known_by(&self, comm: &str) -> bool {
        let is_titled = |name: &String| {
            comm.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(':'))
        };
        self.names.iter().any(|name| is_comm_of(comm, name) || is_titled(name))
    }

    /// Takes in what the kernel side saw, and takes back that it is about a target where that has left. `is_titled`: a program is
    /// a target by its title.
    pub fn consider(&mut self, fact: &mut Fact, is_titled: bool) -> Option<Heir> {
        if self.names.is_empty() {
            return None;
        }
        match fact {
            Fact::Fork(fork) if fork.is_target && self.left.contains(&fork.parent) => {
                fork.is_target = false;
                self.left.insert(fork.child.id);
                Some(Heir::Ends(fork.child.id))
            }
            Fact::Fork(fork) if fork.is_target && self.by_file.contains_key(&fork.parent) => {
                self.by_file.insert(fork.child.id, Match::Inherited);
                None
            }
            Fact::Exec(exec) => {
                let id = exec.task.id;
                let (before, had_left) = (self.by_file.remove(&id), self.left.remove(&id));
                if exec.is_named && !self.are_known_by(&exec.task.comm) {
                    self.by_file.insert(id, Match::Own);
                    return Some(Heir::Begins(id));
                }
                if exec.is_named || is_titled || before == Some(Match::Own) {
                    return before.map(|_| Heir::Stays(id));
                }
                if before.is_none() && !had_left {
                    return None;
                }
                exec.is_target = false;
                self.left.insert(id);
                Some(Heir::Ends(id))
            }
            Fact::Signal(signal) if signal.is_target && self.left.contains(&signal.target.id) => {
                std::sync::Arc::make_mut(signal).is_target = false;
                None
            }
            Fact::Exit(exit) => {
                let id = exit.task.id;
                self.by_file.remove(&id);
                exit.is_target &= !self.left.remove(&id);
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Exec, Exit, Fork, Task};

    fn task(pid: u32, comm: &str) -> Task {
        Task {
            id: ProcessId { pid, start_ns: u64::from(pid) * 10_000_000 },
            tid: pid,
            ns_pid: pid,
            ppid: 1,
            comm: comm.to_owned(),
            uid: 0,
            euid: 0,
            login_uid: None,
            audit_session: None,
            cgroup: None,
            pid_ns: 1,
            kernel_thread: false,
            exiting: false,
            io_worker: false,
        }
    }

    fn fork(parent: u32, child: u32) -> Fact {
        let fork =
            Fork { child: task(child, "python3"), parent: task(parent, "").id, is_target: true };
        Fact::Fork(fork)
    }

    /// As the kernel side tells it: of a child that it follows, whatever that executes.
    fn exec(pid: u32, comm: &str, is_named: bool) -> Fact {
        Fact::Exec(Exec {
            task: task(pid, comm),
            ancestors: Vec::new(),
            filename: format!("/usr/bin/{comm}"),
            args: vec![comm.to_owned()],
            truncated: false,
            is_target: true,
            is_named,
        })
    }

    fn exit(pid: u32) -> Fact {
        Fact::Exit(Exit {
            task: task(pid, "x"),
            ancestors: Vec::new(),
            is_target: true,
            status: 9,
            ptracer: None,
            seccomp: 0,
            pending: Vec::new(),
            unseen: false,
        })
    }

    fn is_target(fact: &Fact) -> bool {
        match fact {
            Fact::Fork(fork) => fork.is_target,
            Fact::Exec(exec) => exec.is_target,
            Fact::Exit(exit) => exit.is_target,
            _ => false,
        }
    }

    /// What follows from it, and whether it is about a target still.
    fn told(heirs: &mut Heirs, mut fact: Fact) -> (Option<Heir>, bool) {
        let heir = heirs.consider(&mut fact, false);
        (heir, is_target(&fact))
    }

    #[test]
    fn children_inherit_a_files_name_until_they_run_another() {
        let heirs = &mut Heirs::new(vec!["python3.13".to_owned()]);
        let running = ProcessSnapshot {
            pid: 7,
            start_ns: task(7, "").id.start_ns,
            comm: "python3".to_owned(),
            exe: Some("/usr/bin/python3.13".to_owned()),
            ..ProcessSnapshot::default()
        };
        assert!(heirs.found(&running), "the kernel side would not know its children");
        assert_eq!(told(heirs, fork(7, 8)), (None, true));
        assert_eq!(told(heirs, exit(8)), (None, true), "its death is told");
        assert_eq!(told(heirs, fork(7, 9)), (None, true));
        assert_eq!(told(heirs, exec(9, "ls", false)), (Some(Heir::Ends(task(9, "").id)), false));
        assert_eq!(told(heirs, fork(9, 10)), (Some(Heir::Ends(task(10, "").id)), false));
        assert_eq!(told(heirs, exit(9)), (None, false), "however late the kernel side heard of it");
        assert_eq!(told(heirs, exit(10)), (None, false));
    }

    #[test]
    fn what_is_executed_later_is_followed_as_well() {
        let heirs = &mut Heirs::new(vec!["python3.13".to_owned()]);
        let begins = Some(Heir::Begins(task(7, "").id));
        assert_eq!(told(heirs, exec(7, "python3", true)), (begins, true));
        assert_eq!(told(heirs, fork(7, 8)), (None, true));
        assert_eq!(told(heirs, fork(8, 9)), (None, true), "and their children's");
        let again = Some(Heir::Begins(task(9, "").id));
        assert_eq!(told(heirs, exec(9, "python3", true)), (again, true));
        assert_eq!(told(heirs, exit(9)), (None, true));
    }

    #[test]
    fn what_matched_itself_is_a_target_for_good() {
        let heirs = &mut Heirs::new(vec!["python3.13".to_owned()]);
        told(heirs, exec(7, "python3", true));
        told(heirs, fork(7, 8));
        let stays = |pid| Some(Heir::Stays(task(pid, "").id));
        assert_eq!(told(heirs, exec(7, "ls", false)), (stays(7), true));
        assert_eq!(told(heirs, exit(7)), (None, true));
        // From now on the kernel side knows its children.
        assert_eq!(told(heirs, exec(8, "python3.13", true)), (stays(8), true));
        assert_eq!(told(heirs, exec(8, "ls", false)), (None, true));
    }

    #[test]
    fn what_the_kernel_side_knows_is_left_to_it() {
        let heirs = &mut Heirs::new(vec!["tmux".to_owned()]);
        let server = ProcessSnapshot {
            comm: "tmux: server".to_owned(),
            exe: Some("/usr/bin/tmux".to_owned()),
            ..ProcessSnapshot::default()
        };
        assert!(!heirs.found(&server));
        assert_eq!(told(heirs, exec(7, "tmux", true)), (None, true));
        assert_eq!(
            told(heirs, exec(8, "other", false)),
            (None, true),
            "a target for another reason"
        );
        assert_eq!(told(heirs, exit(8)), (None, true));
    }
}
