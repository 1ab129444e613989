//! The engine: evidence in, records out, in the order in which a reader wants them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::causes;
use super::decide;
use super::judge;
use super::verdict::{AfterSignal, ExitRecord, LossRecord, Outcome, Record, SignalRecord, Summary};
use super::world::{KEPT, Seen, SeenSignal, World};
use super::{manager, mechanism, patience, signals};
use crate::evidence::{
    ATTACHED, CONNECTING, CgroupOwner, Disposition, End, Evidence, Exit, Fact, Header, Job, Lost,
    Manager, Mechanism, Moment, Process, ProcessId, S, SignalSent, TICK_NS, TargetReason, Task,
    sig,
};

/// How many equal signals are shown one by one before further ones are only counted.
const SHOWN_BEFORE_FOLDING: u64 = 10;

/// Turns evidence into the records of a report. Pure: the same evidence yields the same records.
#[derive(Debug)]
pub struct Engine {
    header: Header,
    world: World,
    pending: Vec<Seen<Exit>>,
    fold: Option<Fold>,
    /// The sender and the target of the last signal, as long as nothing has changed with them.
    parties: Option<Parties>,
    losses_untold: Vec<String>,
    /// Whose end was told though nobody had seen it, the newest [`KEPT`]: should it come late, it is no second one.
    taken_for_lost: VecDeque<ProcessId>,
    /// When a service manager sent a signal last: `CLOCK_BOOTTIME`, nanoseconds.
    managed_ns: Option<u64>,
    signals: u64,
    deaths: u64,
    /// Ends of targets that are told with `--exits` alone.
    untold: u64,
    losses: u64,
    observed: u64,
    last: Moment,
    ended: bool,
}

/// An end that awaits its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Whose end.
    pub id: ProcessId,
    /// When it ended: `CLOCK_BOOTTIME`, nanoseconds.
    pub ended_ns: u64,
    /// A service manager had sent it or another a signal, or a service of the system's had, which may log why; or its
    /// terminal may have been lost with a login: journal and bus are needed.
    pub needs_journal: bool,
    /// A daemon that kills when memory runs short sent it a signal, and has logged nothing about it yet.
    pub awaits_word: bool,
    /// The system starts anew at once, and leaves nobody time to wait (soft-reboot; 0.1 s seen on 257).
    pub in_haste: bool,
}

/// How long after the signal of an OOM daemon an end still waits for its words.
const LATE_WORD: u64 = 10 * S;

/// Those between whom a signal went, as the report shows them.
#[derive(Debug)]
struct Parties {
    mechanism: Mechanism,
    sender: Option<Arc<Process>>,
    target: Arc<Process>,
}

/// A run of equal signals.
#[derive(Debug)]
struct Fold {
    key: (ProcessId, ProcessId, u8),
    began_ns: u64,
    shown: u64,
    latest: Option<Box<SignalRecord>>,
    repeated: u64,
}

impl Engine {
    /// An engine for a trace or recording that begins with this header.
    pub fn new(header: Header) -> Self {
        /// The hook on connections to service managers, and to daemons that run containers.
        const CONNECTIONS: &str = "security_unix_stream_connect";
        let last = header.at;
        let hook = header.hooks.get(CONNECTIONS);
        let sees_connections = hook.is_some_and(|state| state == ATTACHED);
        Self {
            header,
            world: World::new(sees_connections, last.boot_ns),
            pending: Vec::new(),
            fold: None,
            parties: None,
            losses_untold: Vec::new(),
            taken_for_lost: VecDeque::new(),
            managed_ns: None,
            signals: 0,
            deaths: 0,
            untold: 0,
            losses: 0,
            observed: 0,
            last,
            ended: false,
        }
    }

    /// Ends that await their verdict.
    pub fn pending(&self) -> impl Iterator<Item = Pending> {
        let soft_reboot = |job: &Seen<Job>| {
            job.value.manager == Manager::System && job.value.unit == "soft-reboot.target"
        };
        self.pending.iter().map(move |exit| {
            let id = exit.value.task.id;
            let signals = self.world.signals_to(id);
            let by_manager =
                signals.iter().any(|signal| manager::manager_of(&signal.value.sender).is_some());
            let in_haste = by_manager && self.world.jobs.iter().any(soft_reboot);
            let by_service = signals.iter().any(|signal| is_of_service(&signal.value.sender));
            let hung_up = signals.iter().any(|signal| signal.value.number == sig::SIGHUP);
            // What lived in the same unit may have ended of that.
            let managed = self.managed_ns.is_some_and(|ns| ns.abs_diff(exit.ns()) <= S);
            let needs_journal = by_manager || by_service || managed || hung_up;
            // A large one takes longer to open than the header waits.
            let journal = self.header.sources.get("journal");
            let journal = journal.is_some_and(|it| it == ATTACHED || it == CONNECTING);
            let is_late = |signal: &SeenSignal| {
                signal.ns() + LATE_WORD > exit.ns() && causes::awaits_word(&self.world, signal)
            };
            let awaits_word = journal && signals.iter().any(is_late);
            Pending { id, ended_ns: exit.ns(), needs_journal, awaits_word, in_haste }
        })
    }

    /// When the row of equal signals began of which something has not been shown yet: `CLOCK_BOOTTIME`,
    /// nanoseconds. It is shown with what comes more than a second later.
    pub fn folded_since(&self) -> Option<u64> {
        self.fold.as_ref().filter(|fold| fold.latest.is_some()).map(|fold| fold.began_ns)
    }

    /// Deaths reported so far.
    pub const fn deaths(&self) -> u64 {
        self.deaths
    }

    /// With `--once` the first verdict is the last; all that is still told is the end of the trace.
    pub const fn is_over(&self) -> bool {
        self.header.options.once && self.deaths > 0
    }

    /// Targets that are known and have not ended.
    pub fn alive(&self) -> impl Iterator<Item = ProcessId> {
        // One that is no target any more, since it executed something else, may have ended as well.
        let was_seen_to_end = |id: &ProcessId| {
            let known = self.world.people.get(*id);
            self.world.ended.contains(id) || known.is_some_and(|known| known.ended_ns.is_some())
        };
        self.world.targets().filter(move |id| !was_seen_to_end(id))
    }

    /// Whether a target that is alive was asked or made to end since then (`CLOCK_BOOTTIME`, nanoseconds), and may be about to.
    pub fn is_target_ending(&self, since_ns: u64) -> bool {
        const ASKING: [u8; 4] = [sig::SIGTERM, sig::SIGINT, sig::SIGQUIT, sig::SIGHUP];
        self.alive().any(|id| {
            let signals = self.world.signals_to(id).iter().rev();
            signals.take_while(|signal| signal.ns() >= since_ns).any(|signal| {
                let asks = ASKING.contains(&signal.value.number);
                patience::reached(&signal.value) && (asks || signal.value.fatal)
            })
        })
    }

    /// Takes in one piece of evidence; what there is to report for it comes back.
    pub fn observe(&mut self, evidence: &Evidence) -> Vec<Record> {
        if let Some(exit) = self.unseen_end(evidence) {
            let records = self.observe(&exit);
            if let Fact::Exit(exit) = &exit.fact {
                self.taken_for_lost.push_back(exit.task.id);
                if self.taken_for_lost.len() > KEPT {
                    self.taken_for_lost.pop_front();
                }
            }
            return records;
        }
        let mut records = Vec::new();
        let over = self.is_over() && !matches!(evidence.fact, Fact::End(_));
        if self.ended || over || self.has_told(&evidence.fact) {
            return records;
        }
        if let Some(id) = self.successor(&evidence.fact) {
            // What comes now would be mixed with what is known of the one before.
            self.losses_untold.push(format!(
                "pid {} was given to another process within a clock tick of this one's start: late \
                 witnesses were not waited for",
                id.pid
            ));
            self.verdict(id, &mut records);
            self.world.forget(id);
        }
        self.world.observe(evidence);
        if !self.world.again() {
            self.parties = None;
        }
        if evidence.at.boot_ns > self.last.boot_ns {
            self.last = evidence.at;
        }
        if let Fact::Signal(signal) = &evidence.fact
            && manager::manager_of(&signal.sender).is_some()
        {
            self.managed_ns = Some(evidence.at.boot_ns);
        }
        self.observed += 1;
        if self.observed.is_multiple_of(1024) {
            self.world.prune(self.last.boot_ns);
        }
        match &evidence.fact {
            Fact::Signal(signal) if signal.is_target => {
                self.signal(evidence.at, signal, &mut records);
            }
            Fact::Exit(exit) if exit.is_target => {
                self.unfold(&mut records);
                let seen = Seen { at: evidence.at, source: evidence.source, value: exit.clone() };
                self.exit(seen, &mut records);
            }
            Fact::Settled(settled) => self.verdict(settled.id, &mut records),
            Fact::Lost(lost) => self.lost(evidence.at, lost, &mut records),
            Fact::End(end) => {
                self.end(&end.reason, &mut records);
            }
            _ => self.unfold_old(evidence.at, &mut records),
        }
        records
    }

    /// The evidence is over: what is still pending is judged by what is there.
    pub fn finish(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        if !self.ended {
            self.end("the recording breaks off here", &mut records);
        }
        records
    }

    fn end(&mut self, reason: &str, records: &mut Vec<Record>) {
        self.unfold(records);
        if !self.is_over() {
            let pending: Vec<ProcessId> = self.pending().map(|pending| pending.id).collect();
            for id in pending {
                self.verdict(id, records);
            }
        }
        self.ended = true;
        let is_command = |id: &ProcessId| {
            reason == End::NOT_STARTED
                && self.world.target_reason(*id) == Some(TargetReason::Command)
        };
        records.push(Record::Summary(Summary {
            at: self.last,
            signals: self.signals,
            deaths: self.deaths,
            untold: self.untold,
            losses: self.losses,
            alive: self.alive().filter(|id| !is_command(id)).count() as u64,
            reason: reason.to_owned(),
        }));
    }

    fn signal(&mut self, at: Moment, sent: &SignalSent, records: &mut Vec<Record>) {
        self.signals = self.signals.saturating_add(sent.repeats).saturating_add(1);
        if self.header.options.hidden_signals.contains(&sent.number) {
            return;
        }
        let key = (sent.sender.id, sent.target.id, sent.number);
        let same = self
            .fold
            .as_ref()
            .is_some_and(|fold| fold.key == key && at.boot_ns < fold.began_ns.saturating_add(S));
        if !same {
            self.unfold(records);
            self.fold =
                Some(Fold { key, began_ns: at.boot_ns, shown: 0, latest: None, repeated: 0 });
        }
        let shown = self.fold.as_ref().map_or(0, |fold| fold.shown);
        if shown < SHOWN_BEFORE_FOLDING && sent.repeats == 0 {
            records.push(Record::Signal(Box::new(self.signal_record(at, sent))));
            if let Some(fold) = &mut self.fold {
                fold.shown += 1;
            }
            return;
        }
        // The first that is folded stands for all that follow.
        let first = self.fold.as_ref().is_some_and(|fold| fold.latest.is_none());
        let record = first.then(|| Box::new(self.signal_record(at, sent)));
        if let Some(fold) = &mut self.fold {
            match record {
                Some(record) => {
                    fold.latest = Some(record);
                    fold.repeated = fold.repeated.saturating_add(sent.repeats);
                }
                None => {
                    fold.repeated = fold.repeated.saturating_add(sent.repeats).saturating_add(1);
                }
            }
        }
    }

    fn signal_record(&mut self, at: Moment, sent: &SignalSent) -> SignalRecord {
        let mechanism = mechanism::of(sent);
        if self.parties.as_ref().is_none_or(|parties| parties.mechanism != mechanism) {
            let sender = signals::originator(sent, mechanism).1;
            self.parties = Some(Parties {
                mechanism,
                sender: sender.map(|task| signals::task(&self.world, task).into()),
                target: signals::task(&self.world, &sent.target).into(),
            });
        }
        let parties = self.parties.as_ref();
        SignalRecord {
            at,
            sender: parties.and_then(|parties| parties.sender.clone()),
            target: parties.map(|parties| parties.target.clone()).unwrap_or_default(),
            target_tid: (!sent.to_process).then_some(sent.target.tid),
            signal: signals::signal(sent, mechanism),
            repeated: 0,
        }
    }

    /// Shows what was folded.
    fn unfold(&mut self, records: &mut Vec<Record>) {
        if let Some(Fold { latest: Some(mut record), repeated, .. }) = self.fold.take() {
            record.repeated = repeated;
            records.push(Record::Signal(record));
        }
    }

    fn unfold_old(&mut self, now: Moment, records: &mut Vec<Record>) {
        if self.fold.as_ref().is_some_and(|fold| now.boot_ns > fold.began_ns.saturating_add(S)) {
            self.unfold(records);
        }
    }

    fn exit(&mut self, exit: Seen<Exit>, records: &mut Vec<Record>) {
        let id = exit.value.task.id;
        if self.pending.iter().any(|pending| pending.value.task.id == id) {
            // Two threads can both see themselves as the last one; the later record has the final status.
            self.pending.retain(|pending| pending.value.task.id != id);
            self.pending.push(exit);
            return;
        }
        if !self.is_reported(&exit) {
            // Of everything that ends on the machine nobody wants to hear.
            self.untold += u64::from(exit.value.is_target && !self.header.options.all);
            self.world.retire(id);
            return;
        }
        let blow = decide::decide(&self.world, &exit);
        let after = blow.map(|blow| AfterSignal {
            signal: crate::evidence::signal_name(blow.signal.value.number),
            from: signals::from(&self.world, &blow.signal.value),
            delay_ns: exit.ns().saturating_sub(blow.signal.ns()),
        });
        records.push(Record::Exit(Box::new(ExitRecord {
            at: exit.at,
            process: signals::task(&self.world, &exit.value.task),
            outcome: Outcome::of(&exit.value),
            after,
        })));
        self.pending.push(exit);
    }

    /// Whether it is the end of one whose story is told: it was late, and had been taken for lost.
    fn has_told(&self, fact: &Fact) -> bool {
        let Fact::Exit(exit) = fact else { return false };
        let id = exit.task.id;
        self.taken_for_lost.contains(&id) && !self.pending().any(|pending| pending.id == id)
    }

    /// The end that nobody saw of a target that is gone.
    fn unseen_end(&self, evidence: &Evidence) -> Option<Evidence> {
        let Fact::Gone(gone) = &evidence.fact else { return None };
        let id = self.alive().find(|id| *id == gone.id)?;
        let exit = Exit {
            task: self.world.last_seen(id),
            ancestors: Vec::new(),
            is_target: true,
            status: 0,
            ptracer: None,
            seccomp: 0,
            pending: Vec::new(),
            unseen: true,
        };
        Some(Fact::Exit(exit).at(evidence.at, evidence.source))
    }

    /// Every death by a signal and every end after a caught signal; of others those that were named,
    /// started by us or running before, and all with `--exits`. What a process catches of its own doing
    /// (runtimes fault and signal their threads all the time) counts where it decided the end.
    fn is_reported(&self, exit: &Seen<Exit>) -> bool {
        let options = &self.header.options;
        if options.exits || exit.value.unseen || exit.value.killed_by().is_some() {
            return true;
        }
        let id = exit.value.task.id;
        let decided = decide::decide(&self.world, exit).is_some();
        if options.all || decided {
            return decided;
        }
        let named = matches!(
            self.world.target_reason(id),
            Some(TargetReason::Pid | TargetReason::Command | TargetReason::Running)
        );
        named || self.world.signals_to(id).iter().any(|signal| was_caught(&signal.value))
    }

    /// A process of whose pid and clock tick of start one awaits its verdict that started at another moment:
    /// to the tick, as `/proc` has it, the two cannot be told apart.
    fn successor(&self, fact: &Fact) -> Option<ProcessId> {
        let id = match fact {
            Fact::Signal(signal) => signal.target.id,
            Fact::Exit(exit) => exit.task.id,
            Fact::Exec(exec) => exec.task.id,
            Fact::Fork(fork) => fork.child.id,
            Fact::Target(target) => target.id,
            _ => return None,
        };
        let mut pending = self.pending.iter().map(|exit| exit.value.task.id);
        let exact = id.start_ns % TICK_NS != 0;
        pending.find(|before| exact && *before == id && before.start_ns != id.start_ns)
    }

    fn verdict(&mut self, id: ProcessId, records: &mut Vec<Record>) {
        let Some(at) = self.pending.iter().position(|exit| exit.value.task.id == id) else {
            return;
        };
        let exit = self.pending.remove(at);
        let gaps = std::mem::take(&mut self.losses_untold);
        let death = judge::judge(&self.world, &self.header, &exit, gaps);
        self.deaths += 1;
        self.world.retire(id);
        records.push(Record::Death(Box::new(death)));
    }

    fn lost(&mut self, at: Moment, lost: &Lost, records: &mut Vec<Record>) {
        self.unfold(records);
        self.losses = self.losses.saturating_add(lost.dropped.max(1));
        let detail = lost.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let count = match lost.dropped {
            0 => "events were lost".to_owned(),
            1 => "1 event was lost".to_owned(),
            many => format!("{many} events were lost"),
        };
        self.losses_untold.push(format!("{count}: {}{detail}", lost.place.as_str()));
        records.push(Record::Loss(LossRecord {
            at,
            dropped: lost.dropped,
            place: lost.place,
            detail: lost.detail.clone(),
        }));
    }

    /// The header of the trace.
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

fn was_caught(signal: &SignalSent) -> bool {
    signal.disposition == Some(Disposition::Handler)
        && !patience::is_own(signal)
        && !matches!(signal.number, sig::SIGCHLD | sig::SIGURG | sig::SIGWINCH | sig::SIGCONT)
}

/// Whether a process lives in a service of the system's, as earlyoom, slurmd and kubelet do.
fn is_of_service(task: &Task) -> bool {
    let owner = task.cgroup.as_deref().map(CgroupOwner::of).unwrap_or_default();
    owner.user_unit.is_none() && owner.unit.is_some_and(|unit| unit.ends_with(".service"))
}
