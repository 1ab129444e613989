//! The world: evidence folded into what was true when.
//!
//! Everything is bounded: of what can come without end (execs, exits, journal lines) the newest
//! [`KEPT`] are kept, which is minutes on a busy machine.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use serde_json::Value;

use super::newborn::Newborns;
use super::people::People;
use crate::evidence::{
    BusCall, BusReply, CgroupLimits, Evidence, Exit, Fact, Job, JournalLine, KernelLogLine, Lost,
    Manager, ManagerConnection, Mappings, Moment, OomVictim, ProcessId, S, SessionState, Setting,
    SignalSent, Source, TargetReason, Task, TcpChange, Terminal, Unavailable, User, weight,
};

/// A map whose order is the same each time that the same was put into it: where two things are as good as each other a
/// replay has to choose the one that was chosen live.
pub type Steady<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A signal that was seen. Shared with the evidence itself: in a flood, copying is what costs.
pub type SeenSignal = Seen<Arc<SignalSent>>;

/// How many terminals of one name are remembered: each container numbers its own.
const MAX_OF_ONE_NAME: usize = 64;

/// How many values of one endless kind are kept.
pub const KEPT: usize = 4096;

/// How many signals of one process are kept at most: the first and the newest, which can be to blame.
const SIGNALS_PER_PROCESS: usize = 256;

/// Settings that add up over several lines: each line is told.
const ADDED_UP: [&str; 16] = [
    "BindsTo",
    "PartOf",
    "Requires",
    "Requisite",
    "Conflicts",
    "StopPropagatedFrom",
    "PropagatesStopTo",
    "RequiresMountsFor",
    "SystemCallFilter",
    "ExecCondition",
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

/// A value with when and from where it was learned.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// When it happened.
    pub at: Moment,
    /// Where it comes from.
    pub source: Source,
    /// What was learned.
    pub value: T,
}

/// How much of the units of a user's manager is remembered, bytes: it can tell of units without end. What was heard of
/// last is kept.
const UNITS_KEPT: usize = 32 << 20;

/// How many changes of a unit are remembered.
const CHANGES_KEPT: usize = 64;

/// What a unit and each of its changes take beside the properties, bytes, generously.
const UNIT: usize = 512;

/// How many values of one setting are kept: it hardly ever changes.
const MAX_VALUES: usize = 8;

impl<T> Seen<T> {
    /// `CLOCK_BOOTTIME` of it, nanoseconds.
    pub const fn ns(&self) -> u64 {
        possible(self.at.boot_ns)
    }
}

/// A time that a clock can show: what a recording makes up beyond that would overflow where a span is added to it.
const fn possible(boot_ns: u64) -> u64 {
    const LATEST: u64 = u64::MAX / 2;
    if boot_ns < LATEST { boot_ns } else { LATEST }
}

/// A bounded list in order of arrival.
#[derive(Debug)]
pub struct Recent<T>(VecDeque<Seen<T>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Recent<T> {
    fn push(&mut self, at: Moment, source: Source, value: T) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Seen { at, source, value });
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Seen<T>> {
        self.0.iter()
    }
}

impl Seen<BusCall> {
    /// When the call began to have an effect, as far as is known: polkit may have asked for a password first.
    pub fn granted_ns(&self) -> u64 {
        self.value.granted_ns.map_or_else(|| self.ns(), possible)
    }
}

/// What was ever said of one unit.
#[derive(Debug, Default)]
pub struct UnitHistory {
    /// Newest value of every property.
    pub now: BTreeMap<String, Value>,
    /// Changes, oldest first.
    pub changes: VecDeque<Seen<BTreeMap<String, Value>>>,
    /// About how many bytes it takes.
    weight: usize,
    /// Which of all the things that were heard of units was the last one of it.
    heard: u64,
}

impl UnitHistory {
    fn take(&mut self, change: Seen<BTreeMap<String, Value>>) {
        for (name, value) in &change.value {
            self.weight += name.len() + weight(value);
            let before = self.now.insert(name.clone(), value.clone());
            let freed = before.map_or(0, |before| name.len() + weight(&before));
            self.weight = self.weight.saturating_sub(freed);
        }
        let size = |change: &Seen<BTreeMap<String, Value>>| {
            let properties = change.value.iter();
            UNIT + properties.map(|(name, value)| name.len() + weight(value)).sum::<usize>()
        };
        self.weight += size(&change);
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_KEPT
            && let Some(oldest) = self.changes.pop_front()
        {
            self.weight = self.weight.saturating_sub(size(&oldest));
        }
    }

    /// A string property.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.now.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// All that a list-of-strings property ever held: a dependency on a unit is forgotten with that unit.
    pub fn ever_listed(&self, name: &str) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for value in self.changes.iter().filter_map(|change| change.value.get(name)) {
            match value {
                Value::Array(items) => {
                    all.extend(items.iter().filter_map(Value::as_str));
                }
                Value::String(one) if !one.is_empty() => all.push(one),
                _ => {}
            }
        }
        let mut known = HashSet::new();
        all.retain(|one| known.insert(*one));
        all
    }

    /// The unit that set off the last start of this one, where the manager says so: a timer, a socket, a path.
    pub fn trigger(&self) -> Option<String> {
        Self::trigger_in(&self.now)
    }

    /// The same by these properties.
    pub fn trigger_in(properties: &BTreeMap<String, Value>) -> Option<String> {
        let details = properties.get("ActivationDetails")?.as_array()?;
        let pairs = details.iter().filter_map(Value::as_array);
        let named =
            |pair: &&Vec<Value>| pair.first().and_then(Value::as_str) == Some("trigger_unit");
        pairs.into_iter().find(named)?.get(1)?.as_str().map(str::to_owned)
    }
}

/// Everything known so far.
#[derive(Debug, Default)]
pub struct World {
    /// Processes, users, sessions, containers.
    pub people: People,
    /// Signals by the process they were sent to.
    pub signals: Steady<ProcessId, Vec<SeenSignal>>,
    /// Whom each process has signalled, those among them of whom the signals are forgotten, too.
    signalled_by: Steady<ProcessId, HashSet<ProcessId, BuildHasherDefault<DefaultHasher>>>,
    /// How many were added to [`Self::signalled_by`] since the forgotten ones were last left out.
    signalled_anew: usize,
    /// Processes of which nothing more is to be told, oldest first; at most [`KEPT`].
    retired: VecDeque<ProcessId>,
    /// Signals that fell out of [`Self::signals`], by process.
    pub signals_dropped: HashMap<ProcessId, u64>,
    /// Ends of processes.
    pub exits: Recent<Exit>,
    /// Victims the OOM killer marked.
    pub oom_victims: Recent<OomVictim>,
    /// TCP connections that changed state.
    pub tcp: Recent<TcpChange>,
    /// Connections to the private sockets of service managers.
    pub connections: Recent<ManagerConnection>,
    /// What those that faulted had mapped.
    pub mappings: Recent<Mappings>,
    /// Method calls on a bus.
    pub calls: Recent<BusCall>,
    /// Jobs made and removed.
    pub jobs: Recent<Job>,
    /// Units.
    pub units: Steady<(Manager, String), UnitHistory>,
    /// Changes of login sessions.
    pub sessions: Recent<SessionState>,
    /// Settings by manager, scope and name, in the order in which they were learned.
    settings: HashMap<(Option<Manager>, String, String), Vec<Seen<Setting>>>,
    /// Every line of those settings that add up over several lines, by manager.
    setting_lines: BTreeMap<Option<Manager>, Recent<Setting>>,
    /// Journal.
    pub journal: Recent<JournalLine>,
    /// Kernel log.
    pub kernel_log: Recent<KernelLogLine>,
    /// Limits of cgroups, by path.
    pub limits: HashMap<String, Seen<CgroupLimits>>,
    /// Terminals by the kernel's name, one for each session on one of that name, the newest last.
    pub terminals: HashMap<String, Vec<Terminal>>,
    /// Losses.
    pub losses: Recent<Lost>,
    /// What could not be found out.
    pub unavailable: Recent<Unavailable>,
    /// Targets and why they are.
    pub targets: HashMap<ProcessId, TargetReason>,
    /// Targets that have ended.
    pub ended: HashSet<ProcessId>,
    /// About how many bytes is remembered of each manager's units, and how many things were heard of units.
    units_weight: BTreeMap<Manager, usize>,
    units_heard: u64,
    newborns: Newborns,
    /// Whom the newest piece of evidence was a signal to.
    signalled: Option<ProcessId>,
    again: bool,
}

impl World {
    /// Takes in one piece of evidence.
    pub fn observe(&mut self, evidence: &Evidence) {
        let (at, source) = (evidence.at, evidence.source);
        self.again = self.is_again(&evidence.fact);
        // What the same signal said a moment ago of the same people needs not be taken in once more.
        if !self.again {
            self.people.observe(evidence);
        }
        self.signalled = match &evidence.fact {
            Fact::Signal(signal) => Some(signal.target.id),
            _ => None,
        };
        match &evidence.fact {
            Fact::Signal(signal) => self.signal(at, source, signal),
            Fact::Exit(exit) => {
                if exit.is_target {
                    self.ended.insert(exit.task.id);
                }
                self.exits.push(at, source, exit.clone());
            }
            Fact::OomVictim(victim) => self.oom_victims.push(at, source, victim.clone()),
            Fact::Mappings(mappings) => self.mappings.push(at, source, mappings.clone()),
            Fact::Tcp(change) => self.tcp.push(at, source, change.clone()),
            Fact::ManagerConnection(connection) => {
                self.connections.push(at, source, connection.clone());
            }
            Fact::BusCall(call) => self.calls.push(at, source, call.clone()),
            Fact::BusReply(reply) => self.reply(at, reply),
            Fact::Job(job) => self.jobs.push(at, source, job.clone()),
            Fact::Unit(unit) => self.unit(at, source, unit),
            Fact::Session(session) => self.sessions.push(at, source, session.clone()),
            Fact::Setting(setting) => self.learn(at, source, setting),
            Fact::Journal(line) => self.journal.push(at, source, line.clone()),
            Fact::KernelLog(line) => self.kernel_log.push(at, source, line.clone()),
            Fact::CgroupLimits(limits) => {
                let seen = Seen { at, source, value: limits.clone() };
                self.limits.insert(limits.cgroup.clone(), seen);
            }
            Fact::Terminal(terminal) => {
                let known = self.terminals.entry(terminal.tty.clone()).or_default();
                known.retain(|it| it.session_leader != terminal.session_leader);
                if known.len() == MAX_OF_ONE_NAME {
                    known.remove(0);
                }
                known.push(terminal.clone());
            }
            Fact::Lost(lost) => self.losses.push(at, source, lost.clone()),
            Fact::Unavailable(what) => self.unavailable.push(at, source, what.clone()),
            Fact::Target(target) => {
                self.targets.entry(target.id).or_insert(target.reason);
            }
            Fact::Exec(_)
            | Fact::Fork(_)
            | Fact::Cgroup(_)
            | Fact::Process(_)
            | Fact::User(_)
            | Fact::Container(_)
            | Fact::Gone(_)
            | Fact::Settled(_)
            | Fact::Quiet
            | Fact::End(_) => {}
        }
    }

    /// A call that was told without its answer has got one. What was refused led to nothing.
    fn reply(&mut self, at: Moment, reply: &BusReply) {
        let answered = |call: &BusCall| {
            call.bus == reply.bus && call.sender.name == reply.caller && call.serial == reply.serial
        };
        if reply.granted {
            let call = self.calls.0.iter_mut().rfind(|call| answered(&call.value));
            if let Some(call) = call {
                (call.value.granted_ns, call.value.job) = (Some(at.boot_ns), reply.job);
            }
        } else {
            self.calls.0.retain(|call| !answered(&call.value));
        }
    }

    /// Whether this is a signal whose sender and target are, in all that is told of them, those of the
    /// piece of evidence right before it.
    fn is_again(&self, fact: &Fact) -> bool {
        let Fact::Signal(now) = fact else { return false };
        self.signalled == Some(now.target.id)
            && self.signals_to(now.target.id).last().is_some_and(|before| {
                let before = &before.value;
                before.sender == now.sender
                    && before.target == now.target
                    && before.ancestors == now.ancestors
                    && before.sender_args == now.sender_args
            })
    }

    /// Whether nothing has changed with the newest piece of evidence but that there was one more signal
    /// between the same two processes.
    pub const fn again(&self) -> bool {
        self.again
    }

    fn signal(&mut self, at: Moment, source: Source, signal: &Arc<SignalSent>) {
        let list = self.signals.entry(signal.target.id).or_default();
        list.push(Seen { at, source, value: Arc::clone(signal) });
        if list.len() > SIGNALS_PER_PROCESS {
            // A storm: what came first and what came last can decide, the middle cannot. Many at a time:
            // what is behind them has to be moved.
            let middle = SIGNALS_PER_PROCESS / 4..SIGNALS_PER_PROCESS * 3 / 4;
            *self.signals_dropped.entry(signal.target.id).or_default() += middle.len() as u64;
            list.drain(middle);
        }
        if Newborns::concerns(signal) {
            let seen = Seen { at, source, value: Arc::clone(signal) };
            self.newborns.observe(&seen, &mut self.signals);
        }
        // Of a newborn it may be another by now.
        let sender = self.signals_to(signal.target.id).last().map(|last| last.value.sender.id);
        let new = self.signalled_by.entry(sender.unwrap_or(signal.sender.id)).or_default();
        self.signalled_anew += usize::from(new.insert(signal.target.id));
    }

    /// The signals that a process has sent, in no order.
    pub fn signals_of(&self, sender: ProcessId) -> impl Iterator<Item = &SeenSignal> {
        let targets = self.signalled_by.get(&sender).into_iter().flatten();
        let sent = targets.flat_map(|target| self.signals_to(*target));
        sent.filter(move |signal| signal.value.sender.id == sender)
    }

    fn learn(&mut self, at: Moment, source: Source, setting: &Setting) {
        if ADDED_UP.contains(&setting.name.as_str()) {
            let lines = self.setting_lines.entry(setting.manager).or_default();
            lines.push(at, source, setting.clone());
        }
        let key = (setting.manager, setting.scope.clone(), setting.name.clone());
        let known = self.settings.entry(key).or_default();
        if known.len() == MAX_VALUES {
            known.remove(0);
        }
        known.push(Seen { at, source, value: setting.clone() });
    }

    fn unit(&mut self, at: Moment, source: Source, unit: &crate::evidence::UnitProperties) {
        self.units_heard += 1;
        let history = self.units.entry((unit.manager, unit.unit.clone())).or_insert_with(|| {
            let weight = UNIT + 2 * unit.unit.len();
            *self.units_weight.entry(unit.manager).or_default() += weight;
            UnitHistory { weight, ..UnitHistory::default() }
        });
        let before = history.weight;
        history.heard = self.units_heard;
        history.take(Seen { at, source, value: unit.properties.clone() });
        let total = self.units_weight.entry(unit.manager).or_default();
        *total = (*total + history.weight).saturating_sub(before);
        // What PID 1 has is the machine's.
        if matches!(unit.manager, Manager::User(_)) && *total > UNITS_KEPT {
            self.forget_units(unit.manager);
        }
    }

    /// Forgets those of a manager's units of which nothing was heard for longest, until half of what may be remembered is
    /// left.
    fn forget_units(&mut self, manager: Manager) {
        let own = self.units.iter().filter(|((of, _), _)| *of == manager);
        let mut newest: Vec<_> = own.map(|(_, history)| (history.heard, history.weight)).collect();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        let (mut total, mut kept_from) = (0, u64::MAX);
        for (heard, weight) in newest {
            if total + weight > UNITS_KEPT / 2 {
                break;
            }
            (total, kept_from) = (total + weight, heard);
        }
        self.units.retain(|(of, _), history| *of != manager || history.heard >= kept_from);
        self.units_weight.insert(manager, total);
    }

    /// Keeps of a process of which nothing more is to be told what others may have ended for, as long as its end is kept:
    /// the signals to it, without the middle of many.
    pub fn retire(&mut self, id: ProcessId) {
        const EDGE: usize = 8;
        if let Some(list) = self.signals.get_mut(&id).filter(|list| list.len() > 2 * EDGE) {
            list.drain(EDGE..list.len() - EDGE);
            list.shrink_to_fit();
        }
        if self.retired.len() == KEPT
            && let Some(oldest) = self.retired.pop_front()
        {
            self.signals.remove(&oldest);
        }
        self.retired.push_back(id);
        self.signals_dropped.remove(&id);
        self.targets.remove(&id);
    }

    /// Forgets the signals to a process.
    pub fn forget(&mut self, id: ProcessId) {
        self.retired.retain(|retired| *retired != id);
        self.signals.remove(&id);
        self.signals_dropped.remove(&id);
        self.targets.remove(&id);
    }

    /// The terminal of that name that a process is on.
    pub fn terminal(&self, tty: &str, id: ProcessId) -> Option<&Terminal> {
        let leader = self.people.get(id).and_then(|known| known.session_leader);
        let known = self.terminals.get(tty)?.iter();
        let may_be = known.filter(|it| {
            it.session_leader
                .is_none_or(|own| Some(own.pid) == leader && own.start_ticks() <= id.start_ticks())
        });
        // No other gets a leader's pid while its session is there.
        may_be.max_by_key(|it| it.session_leader.map(|leader| leader.start_ns))
    }

    /// A process as it was when something was last heard of it.
    pub fn last_seen(&self, id: ProcessId) -> Task {
        let known = self.people.get(id).cloned().unwrap_or_default();
        let last = self.signals_to(id).last().map(|signal| signal.value.target.clone());
        last.unwrap_or(Task {
            id,
            tid: id.pid,
            ns_pid: known.ns_pid.unwrap_or(id.pid),
            ppid: known.ppid.unwrap_or(0),
            comm: known.comm.unwrap_or_default(),
            uid: known.uid.unwrap_or(u32::MAX),
            euid: known.uid.unwrap_or(u32::MAX),
            login_uid: known.login_uid,
            audit_session: known.audit_session,
            cgroup: known.cgroup,
            pid_ns: 0,
            kernel_thread: false,
            exiting: true,
            io_worker: false,
        })
    }

    /// Signals to witnesses pile up: drops those of processes that ended long before `now_ns`.
    pub fn prune(&mut self, now_ns: u64) {
        const OLD_NS: u64 = 120 * S;
        if self.signals.len() > KEPT {
            let targets = &self.targets;
            self.signals.retain(|id, list| {
                targets.contains_key(id)
                    || list.last().is_some_and(|last| last.ns() + OLD_NS > now_ns)
            });
        }
        if self.signalled_anew > KEPT {
            let signals = &self.signals;
            self.signalled_by.retain(|_, targets| {
                targets.retain(|target| signals.contains_key(target));
                !targets.is_empty()
            });
            self.signalled_anew = 0;
        }
        self.people.prune();
    }

    /// Signals sent to a process, in order of time.
    pub fn signals_to(&self, id: ProcessId) -> &[SeenSignal] {
        self.signals.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The end of a process, where it was seen.
    pub fn exit_of(&self, id: ProcessId) -> Option<&Seen<Exit>> {
        self.exits.iter().rev().find(|exit| exit.value.task.id == id)
    }

    /// A setting that is of no unit as it was at a time: what was learned last until then, else what was learned first.
    pub fn setting(&self, scope: &str, name: &str, ns: u64) -> Option<&Setting> {
        self.setting_at(None, scope, name, ns)
    }

    /// As [`Self::setting`], of a unit: that of its manager, since what another's unit of that name has says nothing of
    /// it. Of an older recording it is not known whose it is.
    pub fn unit_setting(
        &self,
        manager: Manager,
        unit: &str,
        name: &str,
        ns: u64,
    ) -> Option<&Setting> {
        let own = self.setting_at(Some(manager), unit, name, ns);
        own.or_else(|| self.setting_at(None, unit, name, ns))
    }

    /// Every line of those settings of a manager's units that add up over several lines, oldest first.
    pub fn setting_lines(
        &self,
        manager: Manager,
    ) -> impl DoubleEndedIterator<Item = &Seen<Setting>> {
        let of = |whose| self.setting_lines.get(&whose).into_iter().flat_map(Recent::iter);
        of(None).chain(of(Some(manager)))
    }

    fn setting_at(
        &self,
        manager: Option<Manager>,
        scope: &str,
        name: &str,
        ns: u64,
    ) -> Option<&Setting> {
        let known = self.settings.get(&(manager, scope.to_owned(), name.to_owned()))?;
        let seen = known.iter().rev().find(|seen| seen.ns() <= ns).or_else(|| known.first())?;
        Some(&seen.value)
    }

    /// What is known of a unit.
    pub fn unit_of(&self, manager: Manager, unit: &str) -> Option<&UnitHistory> {
        self.units.get(&(manager, unit.to_owned()))
    }

    /// A user's name.
    pub fn user(&self, uid: u32) -> Option<&User> {
        self.people.users.get(&uid)
    }

    /// The newest state of a login session, all that was ever learned folded into one.
    pub fn session(&self, id: &str) -> Option<SessionState> {
        let mut folded: Option<SessionState> = None;
        for seen in self.sessions.iter().filter(|seen| seen.value.id == id) {
            let now = seen.value.clone();
            folded = Some(match folded {
                None => now,
                Some(before) => SessionState {
                    uid: now.uid.or(before.uid),
                    user: now.user.or(before.user),
                    scope: now.scope.or(before.scope),
                    leader: now.leader.or(before.leader),
                    remote_host: now.remote_host.or(before.remote_host),
                    tty: now.tty.or(before.tty),
                    service: now.service.or(before.service),
                    seat: now.seat.or(before.seat),
                    state: now.state.or(before.state),
                    removed: now.removed || before.removed,
                    id: before.id,
                },
            });
        }
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Time, UnitProperties};

    /// A user's manager, or what stands where it should, tells of one unit after the other.
    #[test]
    fn of_a_users_units_what_was_heard_of_last_is_remembered() {
        let mut world = World::default();
        let mut tell = |manager: Manager, unit: &str, size: usize| {
            let text = Value::from("x".repeat(size));
            let properties = BTreeMap::from([("Description".to_owned(), text)]);
            let unit = unit.to_owned();
            let fact = Fact::Unit(UnitProperties { manager, unit, properties });
            let at = Moment { time: Time::from_unix_ns(0), boot_ns: 0 };
            world.observe(&fact.at(at, Source::Bus));
            world.units_weight.clone()
        };
        let (user, size) = (Manager::User(1000), 60 << 10);
        tell(Manager::System, "a.service", size);
        tell(Manager::User(1001), "a.service", size);
        // The same again and again takes no more.
        for _ in 0..2000 {
            assert!(tell(user, "a.service", size)[&user] < 2 * CHANGES_KEPT * size);
        }
        for number in 0..2000 {
            assert!(tell(user, &format!("{number}.service"), size)[&user] <= UNITS_KEPT);
        }
        let is_known = |manager, unit: &str| world.unit_of(manager, unit).is_some();
        assert!(is_known(user, "1999.service") && !is_known(user, "0.service"));
        for manager in [Manager::System, Manager::User(1001)] {
            assert!(is_known(manager, "a.service"));
        }
        let weight: usize = world.units.values().map(|history| history.weight).sum();
        assert_eq!(weight, world.units_weight.values().sum::<usize>());
    }

    #[test]
    fn what_a_process_has_sent_is_found_by_it() {
        use crate::story::tests::scene::{signal, task};
        let mut world = World::default();
        let at = |boot_ns| Moment { time: Time::from_unix_ns(0), boot_ns };
        let senders = [task(10, "one"), task(11, "other")];
        let pids = 1000..1000 + 2 * u32::try_from(KEPT).expect("few");
        for (number, pid) in pids.clone().enumerate() {
            let sent = signal(15, senders[number % 2].clone(), task(pid, "target"));
            world.observe(&Fact::Signal(Arc::new(sent)).at(at(1), Source::Kernel));
        }
        for sender in &senders {
            assert_eq!(world.signals_of(sender.id).count(), KEPT);
        }
        for pid in pids.skip(1) {
            world.forget(task(pid, "target").id);
        }
        world.prune(1);
        assert_eq!(senders.map(|sender| world.signals_of(sender.id).count()), [1, 0]);
        assert_eq!(world.signalled_by.values().map(HashSet::len).sum::<usize>(), 1);
    }
}
