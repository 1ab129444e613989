//! Which processes are followed: those that run when the trace begins, and those that turn out to be targets later.

use anyhow::Context as _;

use super::super::heirs::Heir;
use super::super::one_line;
use super::super::targets::Running;
use super::Live;
use crate::commands::{Failure, tell};
use crate::evidence::{Evidence, Fact, ProcessId, ProcessSnapshot, Source, Target, TargetReason};
use crate::kernel::LeftOut;
use crate::system::{Matcher, clock};
use killtrace_ebpf::{MAX_CGROUPS, MAX_WATCHED};

/// What is too many, and what that costs.
fn no_room(what: LeftOut) -> String {
    match what {
        LeftOut::Cgroup => format!(
            "the targets have more than the {MAX_CGROUPS} cgroups that there is room for: what starts in the others may not \
             be traced before some of them are gone; a narrower target leaves room"
        ),
        LeftOut::Process => format!(
            "the targets are more than the {MAX_WATCHED} processes that there is room for: what happens to the others may \
             not be traced; a narrower target leaves room"
        ),
    }
}

impl Live<'_> {
    /// Makes the processes that run now targets; what `/proc` says of them comes back.
    pub(super) fn look_at_running(&mut self) -> Result<(Vec<Running>, Vec<Evidence>), Failure> {
        let (mut running, cgroups) = self.wanted.running();
        for uid in std::mem::take(&mut self.wanted.of_containers.silent) {
            self.witnesses.tell_unnamed(uid);
        }
        for id in cgroups {
            self.add_cgroup(id, false)?;
        }
        let mut seen = Vec::new();
        for process in &running {
            let is_by_file =
                process.found.as_ref().is_some_and(|process| self.wanted.heirs.found(process));
            self.add_target(process.id, self.plan.follow || is_by_file)?;
        }
        while let Ok(heard) = self.heard.try_recv() {
            for process in self.run_elsewhere(&heard.fact)? {
                let id = process.id();
                running.retain(|known| known.id != id);
                running.push(Running { id, reason: TargetReason::Running, found: Some(process) });
            }
            seen.push(heard);
        }
        for process in &running {
            seen.extend(self.target(process.id, process.reason));
        }
        Ok((running, seen))
    }

    /// Makes a process a target, if there is room for it.
    fn add_target(&mut self, id: ProcessId, follow: bool) -> Result<(), Failure> {
        if !self.kernel.add_target(id, follow).context("cannot trace another process")? {
            self.kernel.left_out(LeftOut::Process);
            self.tell_full(LeftOut::Process);
        }
        Ok(())
    }

    /// Makes a cgroup a target, if there is room for it. `is_below`: it was made in a target's, and the kernel side has
    /// tried that itself and counted it where it failed.
    fn add_cgroup(&mut self, id: u64, is_below: bool) -> Result<(), Failure> {
        if !self.kernel.add_cgroup(id).context("cannot trace another cgroup")? {
            if !is_below {
                self.kernel.left_out(LeftOut::Cgroup);
            }
            self.waiting_cgroups.wait(id);
            self.tell_full(LeftOut::Cgroup);
        }
        Ok(())
    }

    /// Tells once that there is no room for more. The trace goes on: who owns a tree of cgroups could end it else.
    fn tell_full(&mut self, what: LeftOut) {
        if !self.full.contains(&what) {
            self.full.push(what);
            tell(&no_room(what));
        }
    }

    /// Where this tells of what a target's unit runs: those processes are targets in whatever cgroup, and what lives in
    /// another one comes back, with what it has forked.
    pub(super) fn run_elsewhere(&mut self, fact: &Fact) -> Result<Vec<ProcessSnapshot>, Failure> {
        let mut elsewhere = Vec::new();
        let Some((unit, pids)) = self.wanted.run_by_unit(fact) else { return Ok(elsewhere) };
        for pid in pids {
            let Some(process) = self.witnesses.process(pid) else { continue };
            if self.wanted.add_unit_process(process.id(), &unit) {
                continue;
            }
            if process.cgroup.as_deref().is_some_and(|path| self.wanted.has_cgroup(path)) {
                // It may be about to be moved. What it forks is the unit's by where that lives.
                self.add_target(process.id(), self.plan.follow)?;
                continue;
            }
            self.wanted.follows(process.id());
            for process in self.witnesses.with_children(pid) {
                self.add_target(process.id(), true)?;
                elsewhere.push(process);
            }
            let is_it =
                |matcher: &Matcher| matcher.unit().is_some_and(|target| target.name == unit);
            for spec in self.wanted.arrived(is_it) {
                let spec = one_line(&spec);
                tell(&format!("{spec} appeared: {}[{}]", process.comm, process.pid));
            }
        }
        Ok(elsewhere)
    }

    /// Where this tells that a target is only another name of a unit: what runs in that one comes back, and is followed.
    pub(super) fn named_otherwise(&mut self, fact: &Fact) -> Result<Vec<ProcessSnapshot>, Failure> {
        let mut processes = Vec::new();
        for (sentence, matcher) in self.wanted.is_named_by(fact) {
            tell(&sentence);
            let Ok(found) = self.witnesses.find(&matcher) else { continue };
            for id in found.cgroups {
                self.add_cgroup(id, false)?;
            }
            for process in found.processes {
                self.add_target(process.id(), self.plan.follow)?;
                processes.push(process);
            }
        }
        Ok(processes)
    }

    /// Where this tells that a user's container has the name of a target: what runs in it by now comes back, and is followed.
    pub(super) fn called_by_user(&mut self, fact: &Fact) -> Result<Vec<ProcessSnapshot>, Failure> {
        let Some((cgroup, sentence)) = self.wanted.is_users_container(fact) else {
            return Ok(Vec::new());
        };
        for spec in self.wanted.arrived(|matcher| matcher.owns(&cgroup)) {
            tell(&format!("{} appeared", one_line(&spec)));
        }
        sentence.iter().for_each(|sentence| tell(sentence));
        for id in self.witnesses.inside(&cgroup).cgroups {
            self.add_cgroup(id, false)?;
        }
        // What starts in them from now on the kernel side finds.
        let processes = self.witnesses.inside(&cgroup).processes;
        for process in &processes {
            self.add_target(process.id(), self.plan.follow)?;
        }
        Ok(processes)
    }

    /// Tells of a target that the kernel side has found by itself.
    pub(super) fn new_target(&mut self, evidence: &mut Evidence) -> Result<(), Failure> {
        let is_titled = matches!(&evidence.fact, Fact::Exec(exec) if self.wanted.is_titled(exec));
        match self.wanted.heirs.consider(&mut evidence.fact, is_titled) {
            Some(Heir::Begins(id)) => self.add_target(id, true)?,
            Some(Heir::Stays(id)) => self.add_target(id, false)?,
            Some(Heir::Ends(id)) => self.kernel.forget(id),
            None => {}
        }
        let (id, reason) = match &mut evidence.fact {
            Fact::Exec(exec) if exec.is_target => {
                if self.wanted.is_mistaken(exec) {
                    exec.is_target = false;
                    self.kernel.forget(exec.task.id);
                    return Ok(());
                }
                (exec.task.id, TargetReason::Matched)
            }
            Fact::Exec(exec) if self.wanted.is_titled(exec) => {
                self.add_target(exec.task.id, self.plan.follow)?;
                exec.is_target = true;
                (exec.task.id, TargetReason::Matched)
            }
            Fact::Fork(fork) if fork.is_target => (fork.child.id, TargetReason::Child),
            Fact::Signal(signal) if signal.is_target => (signal.target.id, TargetReason::Matched),
            Fact::Cgroup(change) if !change.removed => {
                let path = change.path.as_deref();
                if let Some(path) = path.filter(|path| self.wanted.has_cgroup(path)) {
                    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
                    let is_below = parent.is_some_and(|parent| self.wanted.has_cgroup(parent));
                    self.add_cgroup(change.id, is_below)?;
                    self.wanted.has_come(path);
                    for spec in self.wanted.arrived(|matcher| matcher.owns(path)) {
                        tell(&format!("{} appeared", one_line(&spec)));
                    }
                } else if let Some((manager, unit, names)) =
                    path.and_then(|path| self.wanted.may_be_named_otherwise(path))
                {
                    self.witnesses.ask_for_names(manager, unit, names);
                }
                return Ok(());
            }
            Fact::Cgroup(change) => {
                let kernel = &mut self.kernel;
                let added = self.waiting_cgroups.gone(change.id, |id| kernel.add_cgroup(id));
                return Ok(added.context("cannot trace another cgroup")?);
            }
            Fact::Exit(exit) => {
                self.announced.remove(&exit.task.id);
                return Ok(());
            }
            _ => return Ok(()),
        };
        // With --all everything is one: there is nothing to tell.
        if self.plan.options.all {
            return Ok(());
        }
        for evidence in self.target(id, reason) {
            self.take(evidence)?;
        }
        Ok(())
    }

    /// A process is a target from now on: what is to be told of it, and what it looks like at once.
    pub(super) fn target(&mut self, id: ProcessId, reason: TargetReason) -> Vec<Evidence> {
        if !self.announced.insert(id) {
            return Vec::new();
        }
        let evidence = Fact::Target(Target { id, reason }).at(clock::now(), Source::Tracer);
        self.witnesses.consider(&evidence);
        let mut told = vec![evidence];
        while let Ok(heard) = self.heard.try_recv() {
            if let Fact::Process(process) = &heard.fact {
                if process.pid == id.pid {
                    for spec in self.wanted.arrived(|matcher| matcher.matches(process)) {
                        let spec = one_line(&spec);
                        tell(&format!("{spec} appeared: {}[{}]", process.comm, process.pid));
                    }
                }
                // What becomes of its parents can explain what becomes of it. One that was a target may be none any
                // more: who had inherited the name runs another program.
                self.watch_all(&process.parents);
            }
            told.push(heard);
        }
        told
    }

    /// Has the signals to those reported that are no targets, but whose fate can explain a target's: its parents, and who
    /// holds the other end of its terminal. Whether there was room for all of them; PID 1 gets too many to be one.
    pub(super) fn watch_all(&mut self, others: &[ProcessId]) -> bool {
        others.iter().filter(|id| id.pid > 1).fold(true, |all, id| {
            let added = self.kernel.add_witness(*id);
            // The map of processes is full: the story then has one witness less.
            if let Err(error) = &added {
                tracing::debug!("cannot watch {}: {error}", id.pid);
            }
            all && added.is_ok()
        })
    }

    /// Follows what has come to be called like a target by writing over its arguments.
    pub(super) fn look_at_titles(&mut self) -> Result<(), Failure> {
        for process in self.witnesses.titled(&mut self.wanted.titles) {
            let id = process.id();
            if self.announced.contains(&id) {
                continue;
            }
            self.add_target(id, self.plan.follow)?;
            for evidence in self.target(id, TargetReason::Matched) {
                self.take(evidence)?;
            }
        }
        Ok(())
    }
}
