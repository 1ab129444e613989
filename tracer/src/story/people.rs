//! Who is who: processes, their arguments and parents, users, containers.

mod known;

use std::collections::HashMap;

use super::world::Steady;
use crate::evidence::{
    Ancestor, AncestorProcess, CgroupOwner, Container, Evidence, Exec, Fact, Process, ProcessId,
    ProcessSnapshot, Session, Task, User,
};
use known::{AtFirst, PROCESS, weight};
pub use known::{Known, Program};

/// How many processes that have ended are remembered: parents of senders, commands long gone.
const ENDED_KEPT: usize = 4096;

/// How much of processes is remembered in all, bytes; of those that never end, too. What was heard of last is kept.
const BYTES_KEPT: usize = 128 << 20;

/// A process that takes more than this, in bytes, is forgotten before any other.
const HEAVY: usize = 8 << 10;

/// How many users and how many containers are remembered.
const NAMES_KEPT: usize = 1 << 16;

/// Processes, users, containers.
#[derive(Debug, Default)]
pub struct People {
    processes: Steady<ProcessId, Known>,
    /// Newest process of each pid.
    newest: HashMap<u32, ProcessId>,
    ended: std::collections::VecDeque<ProcessId>,
    /// How many times something was heard of a process.
    heard: u64,
    /// What was heard since it was last weighed, bytes, about.
    unweighed: usize,
    /// Users by number.
    pub users: HashMap<u32, User>,
    /// Containers by cgroup.
    containers: HashMap<String, Container>,
}

impl People {
    /// Takes in what a piece of evidence says of people.
    pub fn observe(&mut self, evidence: &Evidence) {
        let at_ns = evidence.at.boot_ns;
        match &evidence.fact {
            Fact::Signal(signal) => {
                self.task(&signal.sender, at_ns);
                self.ancestors(signal.sender.id, &signal.ancestors);
                self.arguments(&signal.sender, &signal.sender_args, at_ns);
                self.task(&signal.target, at_ns);
            }
            Fact::Exit(exit) => {
                self.task(&exit.task, at_ns);
                self.ancestors(exit.task.id, &exit.ancestors);
                self.known(exit.task.id).ended_ns = Some(at_ns);
                self.ended.push_back(exit.task.id);
            }
            Fact::Exec(exec) => self.exec(exec, at_ns),
            Fact::Fork(fork) => self.fork(&fork.child, fork.parent, at_ns),
            Fact::OomVictim(victim) => self.task(&victim.trigger, at_ns),
            Fact::Tcp(change) => self.task(&change.task, at_ns),
            Fact::ManagerConnection(connection) => {
                self.task(&connection.task, at_ns);
                self.ancestors(connection.task.id, &connection.ancestors);
            }
            Fact::EngineConnection(connection) => {
                self.task(&connection.task, at_ns);
                self.ancestors(connection.task.id, &connection.ancestors);
            }
            Fact::Process(snapshot) => self.snapshot(snapshot, at_ns),
            Fact::User(user) => {
                let name = user.clone();
                if self.users.len() >= NAMES_KEPT && !self.users.contains_key(&user.uid) {
                    return;
                }
                let known = self.users.entry(user.uid).or_insert_with(|| name.clone());
                let linger = name.linger.or(known.linger);
                *known = User { linger, ..name };
            }
            Fact::Container(found) if self.containers.len() < NAMES_KEPT => {
                self.containers.insert(found.cgroup.clone(), found.container.clone());
            }
            _ => {}
        }
    }

    fn known(&mut self, id: ProcessId) -> &mut Known {
        let newest = self.newest.entry(id.pid).or_insert(id);
        if id.start_ns >= newest.start_ns {
            *newest = id;
        }
        self.heard += 1;
        let known = self.processes.entry(id).or_insert_with(|| {
            self.unweighed += PROCESS;
            Known::default()
        });
        known.heard = self.heard;
        known.start_ns = known.start_ns.max(id.start_ns);
        known
    }

    fn task(&mut self, task: &Task, at_ns: u64) {
        if task.kernel_thread {
            return;
        }
        let known = self.known(task.id);
        // The name belongs to what it ran then, which is another program than the one that `/proc` was read of since.
        let is_main = task.tid == task.id.pid && known.told_ns <= at_ns;
        // A thread may call itself anything; the process is called what its first thread is.
        if is_main || known.comm.is_none() {
            known.comm = Some(task.comm.clone());
        }
        known.ns_pid = Some(task.ns_pid);
        known.uid = Some(task.uid);
        if task.ppid != 0 {
            known.ppid = Some(task.ppid);
        }
        if task.cgroup.is_some() {
            known.cgroup.clone_from(&task.cgroup);
        }
        known.audit_session = task.audit_session.or(known.audit_session);
        known.login_uid = task.login_uid.or(known.login_uid);
    }

    fn ancestors(&mut self, child: ProcessId, ancestors: &[Ancestor]) {
        for (place, ancestor) in ancestors.iter().enumerate() {
            let known = self.known(ancestor.id);
            known.comm.get_or_insert_with(|| ancestor.comm.clone());
            known.uid.get_or_insert(ancestor.uid);
            let above = ancestors.get(place + 1).map(|above| above.id.pid);
            known.ppid = known.ppid.or(above.filter(|pid| *pid != 0));
        }
        if !ancestors.is_empty() {
            let known = self.known(child);
            // The first sight is the truest: orphans are given to a reaper.
            if known.parents.is_empty() {
                known.parents = ancestors.iter().map(|ancestor| ancestor.id).collect();
            }
        }
    }

    /// What a sender's own memory said at the moment of the signal. A parent with the very same arguments
    /// runs the same program: the sender was forked from it and did not execute another.
    fn arguments(&mut self, sender: &Task, args: &[String], at_ns: u64) {
        let id = sender.id;
        if id.pid == 0 || args.is_empty() {
            return;
        }
        if self
            .get(id)
            .is_some_and(|known| known.exe.is_some() && known.cmdline.as_deref() == Some(args))
        {
            return;
        }
        self.unweighed += weight(args.iter());
        let parent = self.parents(id).first().and_then(|parent| self.get(*parent)).cloned();
        let known = self.known(id);
        let comm = Some(&sender.comm).filter(|_| sender.tid == id.pid);
        known.show_arguments(args, comm, at_ns);
        if let Some(parent) = parent
            && known.exe.is_none()
            && known.exec_ns.is_none()
            && parent.comm == known.comm
            && parent.cmdline == known.cmdline
        {
            known.exe = parent.exe;
        }
    }

    fn exec(&mut self, exec: &Exec, at_ns: u64) {
        self.unweighed += weight(exec.args.iter());
        // Before its new name is taken in: what is left has the old one.
        self.known(exec.task.id).execute(exec, at_ns);
        self.task(&exec.task, at_ns);
        self.ancestors(exec.task.id, &exec.ancestors);
    }

    fn fork(&mut self, child: &Task, parent: ProcessId, at_ns: u64) {
        let inherited = self.processes.get(&parent).cloned();
        self.unweighed += inherited.as_ref().map_or(0, Known::weight);
        self.task(child, at_ns);
        let known = self.known(child.id);
        if let Some(inherited) = inherited {
            let program = inherited.program_at(at_ns);
            let comm = Some(child.comm.clone());
            let uid = Some(child.uid);
            known.inherit(Program { exec_ns: None, comm, uid, ..program }, at_ns);
            known.tty = known.tty.take().or(inherited.tty);
            known.session_leader = known.session_leader.or(inherited.session_leader);
            if known.parents.is_empty() {
                known.parents.push(parent);
                known.parents.extend(inherited.parents);
            }
        }
    }

    fn snapshot(&mut self, snapshot: &ProcessSnapshot, at_ns: u64) {
        let id = snapshot.id();
        let texts = snapshot.cmdline.iter().chain(snapshot.environment.values());
        self.unweighed += weight(texts.chain(&snapshot.exe).chain(&snapshot.cgroup));
        let known = self.known(id);
        let is_another = match (&known.exe, &snapshot.exe) {
            (Some(before), Some(now)) => before != now,
            // Of a sender's program its name and arguments alone may be known.
            _ => {
                known.comm.as_ref().is_some_and(|comm| *comm != snapshot.comm)
                    && known.cmdline.as_ref().is_some_and(|args| *args != snapshot.cmdline)
            }
        };
        // Reading takes time: what was read may have been left by the time that it bears.
        let is_over = at_ns < known.told_ns
            || is_another
                && known
                    .earlier
                    .iter()
                    .any(|program| program.cmdline.as_ref() == Some(&snapshot.cmdline));
        if !is_over {
            if is_another {
                known.leave_program(at_ns);
            }
            // Of one that has ended already `/proc` has no more than the name.
            let tells = snapshot.exe.is_some() || !snapshot.cmdline.is_empty();
            if is_another || (known.cmdline.is_none() && tells) {
                known.told_ns = at_ns;
            }
            known.comm = Some(snapshot.comm.clone());
            known.exe = snapshot.exe.clone().or(known.exe.take());
            if !snapshot.cmdline.is_empty() {
                known.cmdline = Some(snapshot.cmdline.clone());
            }
        }
        known.uid = Some(snapshot.uid);
        known.ppid = Some(snapshot.ppid);
        known.ns_pid = snapshot.ns_pids.last().copied().or(known.ns_pid);
        known.cgroup = snapshot.cgroup.clone().or(known.cgroup.take());
        known.tty = snapshot.tty.clone().or(known.tty.take());
        known.session_leader = Some(snapshot.session_leader);
        known.environment.extend(snapshot.environment.clone());
        known.at_first.get_or_insert_with(|| AtFirst {
            ns: at_ns,
            pending: snapshot.pending.clone(),
            answers: snapshot.answers.clone(),
        });
        if known.parents.is_empty() {
            known.parents.clone_from(&snapshot.parents);
        }
    }

    /// Forgets the longest gone of the ended, and whom nothing was heard of for longest where all together take too much.
    pub fn prune(&mut self) {
        while self.ended.len() > ENDED_KEPT {
            if let Some(id) = self.ended.pop_front() {
                self.forget(id);
            }
        }
        if self.unweighed > BYTES_KEPT / 4 {
            self.unweighed = 0;
            self.lighten();
        }
    }

    fn lighten(&mut self) {
        let mut weighed: Vec<_> =
            self.processes.iter().map(|(id, known)| (known.weight(), known.heard, *id)).collect();
        let mut total: usize = weighed.iter().map(|(weight, ..)| weight).sum();
        if total <= BYTES_KEPT {
            return;
        }
        weighed.sort_unstable_by_key(|(weight, heard, _)| (*weight <= HEAVY, *heard));
        for (weight, _, id) in weighed {
            if total <= BYTES_KEPT / 2 {
                break;
            }
            total -= weight;
            self.forget(id);
        }
    }

    fn forget(&mut self, id: ProcessId) {
        self.processes.remove(&id);
        if self.newest.get(&id.pid) == Some(&id) {
            self.newest.remove(&id.pid);
        }
    }

    /// What is known of a process.
    pub fn get(&self, id: ProcessId) -> Option<&Known> {
        self.processes.get(&id)
    }

    /// The process that had this pid at this time, as far as is known.
    pub fn at(&self, pid: u32, boot_ns: u64) -> Option<ProcessId> {
        let newest = *self.newest.get(&pid)?;
        if newest.start_ns <= boot_ns {
            return Some(newest);
        }
        self.processes
            .keys()
            .filter(|id| id.pid == pid && id.start_ns <= boot_ns)
            .max_by_key(|id| id.start_ns)
            .copied()
    }

    /// Every process known.
    pub fn iter(&self) -> impl Iterator<Item = (ProcessId, &Known)> {
        self.processes.iter().map(|(id, known)| (*id, known))
    }

    /// Its parents, nearest first, as far up as is known.
    pub fn parents(&self, id: ProcessId) -> Vec<ProcessId> {
        let mut chain: Vec<ProcessId> = Vec::new();
        let mut last = id;
        while chain.len() < 32 {
            let Some(parents) = self.get(last).map(|known| &known.parents) else { break };
            let before = chain.len();
            chain.extend(parents.iter().copied().filter(|parent| parent.pid != 0));
            if chain.len() == before || chain[before..].contains(&id) {
                break;
            }
            last = chain[chain.len() - 1];
        }
        let mut seen = std::collections::HashSet::new();
        chain.retain(|parent| seen.insert(*parent));
        chain
    }

    /// When the program that a process ran at this time had been executed, where that was seen.
    pub fn exec_ns_at(&self, id: ProcessId, at_ns: u64) -> Option<u64> {
        let known = self.get(id)?;
        let before = known.earlier.iter().find(|program| program.until_ns > at_ns);
        before.map_or(known.exec_ns, |program| program.exec_ns)
    }

    /// The arguments that the program was executed with that a process ran at this time, where that was seen: what it
    /// shows may be a title that it gave itself.
    pub fn executed_at(&self, id: ProcessId, at_ns: u64) -> Option<&[String]> {
        let known = self.get(id)?;
        let before = known.earlier.iter().find(|program| program.until_ns > at_ns);
        before.map_or(&known.executed, |program| &program.executed).as_deref()
    }

    /// A process as the report shows it, with the program that it ran at that time: a shell that killed may
    /// have executed another since.
    pub fn process_at(
        &self,
        id: ProcessId,
        at_ns: u64,
        sessions: &dyn Fn(&str) -> Option<Session>,
    ) -> Process {
        let mut process = self.process(id, sessions);
        let known = self.get(id).map(|known| known.earlier.as_slice()).unwrap_or_default();
        if let Some(program) = known.iter().find(|program| program.until_ns > at_ns) {
            process.comm.clone_from(&program.comm);
            process.exe.clone_from(&program.exe);
            process.cmdline.clone_from(&program.cmdline);
            // It may have become another user since.
            if let Some(uid) = program.uid {
                process.uid = Some(uid);
                process.user = self.users.get(&uid).map(|user| user.name.clone());
            }
        }
        process
    }

    /// A process as the report shows it.
    pub fn process(&self, id: ProcessId, sessions: &dyn Fn(&str) -> Option<Session>) -> Process {
        let Some(known) = self.get(id) else {
            return Process { pid: id.pid, start_ns: Some(id.start_ns), ..Process::default() };
        };
        let placement = known.cgroup.as_deref().map(CgroupOwner::of).unwrap_or_default();
        Process {
            pid: id.pid,
            ns_pid: known.ns_pid,
            start_ns: Some(known.start_ns.max(id.start_ns)),
            comm: known.comm.clone(),
            exe: known.exe.clone(),
            cmdline: known.cmdline.clone(),
            uid: known.uid,
            user: known.uid.and_then(|uid| self.users.get(&uid)).map(|user| user.name.clone()),
            ppid: known.ppid,
            cgroup: known.cgroup.clone(),
            unit: placement.unit.clone(),
            user_unit: placement.user_unit.clone(),
            slice: placement.slice.clone(),
            session: self.session_of(known, placement.session.clone(), sessions),
            job: placement.job.clone(),
            container: self.container(known.cgroup.as_deref().unwrap_or_default(), placement),
            ancestors: self.ancestors_of(id),
        }
    }

    /// The container that a cgroup belongs to: what was found out of it or of the nearest above, else what its path
    /// tells.
    pub fn container(&self, cgroup: &str, placement: CgroupOwner) -> Option<Container> {
        let mut path = cgroup;
        let found = loop {
            if path.is_empty() {
                break None;
            }
            if let Some(found) = self.containers.get(path) {
                break Some(found.clone());
            }
            path = &path[..path.rfind('/').unwrap_or(0)];
        };
        let named_by = placement.rootless_uid();
        let mut container = found.or_else(|| placement.told_container())?;
        container.named_by = container.named_by.or(named_by);
        Some(container)
    }

    /// The login session: by its cgroup, or else by the audit session that logind names it after.
    fn session_of(
        &self,
        known: &Known,
        placed: Option<String>,
        sessions: &dyn Fn(&str) -> Option<Session>,
    ) -> Option<Session> {
        if let Some(id) = placed {
            return Some(sessions(&id).unwrap_or(Session { id, ..Session::default() }));
        }
        sessions(&known.audit_session?.to_string())
    }

    fn ancestors_of(&self, id: ProcessId) -> Vec<AncestorProcess> {
        self.parents(id)
            .into_iter()
            .map(|parent| {
                let known = self.get(parent);
                AncestorProcess {
                    pid: parent.pid,
                    comm: known.and_then(|known| known.comm.clone()).unwrap_or_default(),
                    cmdline: known.and_then(|known| known.cmdline.clone()),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Source;
    use crate::report::samples;

    fn process(pid: u32, length: usize) -> Evidence {
        let snapshot = ProcessSnapshot {
            pid,
            start_ns: u64::from(pid),
            comm: "x".into(),
            cmdline: vec!["x".repeat(length)],
            ..ProcessSnapshot::default()
        };
        Fact::Process(Box::new(snapshot)).at(samples::at(0), Source::Proc)
    }

    #[test]
    fn what_never_ends_is_not_remembered_without_end() {
        let mut people = People::default();
        people.observe(&process(1, 10));
        people.observe(&process(2, 10));
        for pid in 100..20_000 {
            people.observe(&process(pid, 32 << 10));
            people.prune();
        }
        let weight = people.iter().map(|(_, known)| known.weight()).sum::<usize>();
        assert!(weight < BYTES_KEPT * 5 / 4 + (64 << 10), "{weight}");
        let known = |pid: u32| people.get(ProcessId { pid, start_ns: u64::from(pid) }).is_some();
        assert!(known(1) && known(2), "those that take little are kept");
        assert!(known(19_999) && !known(100), "of the others the newest");
        // Many that take little: who is heard of stays.
        for pid in 20_000..400_000 {
            people.observe(&process(pid, 1));
            if pid % 1000 == 0 {
                people.observe(&process(1, 10));
                people.prune();
            }
        }
        let known = |pid: u32| people.get(ProcessId { pid, start_ns: u64::from(pid) }).is_some();
        assert!(known(1) && !known(2) && people.processes.len() < 200_000);
        assert!(people.newest.len() <= people.processes.len());
    }
}
