//! The world: evidence folded into what was true when.
//!
//! Everything is bounded: of what can come without end (execs, exits, journal lines) the newest
//! [`KEPT`] are kept, which is minutes on a busy machine; units and their settings by their bytes; of targets and their
//! signals there is what lives and has just ended, of terminals as many as the system has names for.

mod remembered;
mod seen;
mod settings;
mod signals;
mod units;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

pub use self::seen::{Recent, Seen, SeenSignal};
use self::settings::Settings;
use self::signals::Signals;
pub use self::units::UnitHistory;
use self::units::Units;
use super::people::People;
use super::windows::BUS_LAG;
use crate::evidence::{
    BusCall, BusReply, CgroupLimits, EngineConnection, Evidence, Exit, Fact, Job, JournalLine,
    KernelLogLine, LossPlace, Lost, Manager, ManagerConnection, Mappings, Moment, OomVictim,
    ProcessId, SessionState, Setting, SignalSent, Source, TargetReason, Task, TcpChange, Terminal,
    Unavailable, User, unit_template,
};

/// A map whose order is the same each time that the same was put into it: where two things are as good as each other a
/// replay has to choose the one that was chosen live.
pub type Steady<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// How many terminals of one name are remembered: each container numbers its own.
const MAX_OF_ONE_NAME: usize = 64;

/// How many values of one endless kind are kept.
pub const KEPT: usize = 4096;

/// Everything known so far.
#[derive(Debug, Default)]
pub struct World {
    /// Processes, users, sessions, containers.
    pub people: People,
    /// Signals.
    signals: Signals,
    /// Ends of processes.
    pub exits: Recent<Exit>,
    /// Victims the OOM killer marked.
    pub oom_victims: Recent<OomVictim>,
    /// TCP connections that changed state.
    pub tcp: Recent<TcpChange>,
    /// Connections to the private sockets of service managers.
    pub manager_connections: Recent<ManagerConnection>,
    /// Connections to daemons that run containers.
    pub engine_connections: Recent<EngineConnection>,
    /// Whether connections of either kind can be seen.
    pub sees_connections: bool,
    /// What those that faulted had mapped.
    pub mappings: Recent<Mappings>,
    /// Method calls on a bus.
    pub calls: Recent<BusCall>,
    /// Jobs made and removed.
    pub jobs: Recent<Job>,
    /// Units.
    units: Units,
    /// Changes of login sessions.
    pub sessions: Recent<SessionState>,
    /// Settings.
    settings: Settings,
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
    /// Targets, since when they are and why.
    targets: HashMap<ProcessId, Seen<TargetReason>>,
    /// When tracing began: `CLOCK_BOOTTIME`, nanoseconds.
    began_ns: u64,
    /// Those among them that have ended.
    pub ended: HashSet<ProcessId>,
    /// The newest piece of evidence, where it was a signal.
    signalled: Option<Arc<SignalSent>>,
    again: bool,
}

impl World {
    /// One of which nothing is known yet.
    pub fn new(sees_connections: bool, began_ns: u64) -> Self {
        Self { sees_connections, began_ns, ..Self::default() }
    }

    /// A job may be told twice: at once, and with its type when the manager has answered.
    fn job(&mut self, at: Moment, source: Source, job: &Job) {
        // Or by its unit, which has been looked at meanwhile: that tells its type at most.
        let is_it = |it: &Job| (it.manager, it.id, &it.unit) == (job.manager, job.id, &job.unit);
        let mut known = self.jobs.0.iter_mut().rev().filter(|seen| is_it(&seen.value));
        if source == Source::BusProperty
            && let Some(known) = known.next()
        {
            if (&known.value.job_type, &known.value.result) == (&None, &None) {
                known.value.job_type.clone_from(&job.job_type);
            }
            return;
        }
        let mut told = self.jobs.0.iter_mut().rev();
        let known = told.find(|seen| {
            let it = &seen.value;
            seen.at == at && is_it(it) && (&it.job_type, &it.result) == (&None, &None)
        });
        match known.filter(|_| job.result.is_none()) {
            Some(known) => known.value.job_type.clone_from(&job.job_type),
            None => self.jobs.push(at, source, job.clone()),
        }
    }

    /// Takes in one piece of evidence.
    pub fn observe(&mut self, evidence: &Evidence) {
        let (at, source) = (evidence.at, evidence.source);
        self.again = self.is_again(&evidence.fact);
        // What the same signal said a moment ago of the same people needs not be taken in once more.
        if !self.again {
            self.people.observe(evidence);
        }
        self.signalled = match &evidence.fact {
            Fact::Signal(signal) => Some(Arc::clone(signal)),
            _ => None,
        };
        match &evidence.fact {
            Fact::Signal(signal) => self.signals.add(at, source, signal),
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
                self.manager_connections.push(at, source, connection.clone());
            }
            Fact::EngineConnection(connection) => {
                self.engine_connections.push(at, source, connection.clone());
            }
            Fact::BusCall(call) => self.calls.push(at, source, call.clone()),
            Fact::BusReply(reply) => self.reply(at, reply),
            Fact::Job(job) => self.job(at, source, job),
            Fact::Unit(unit) => self.units.add(at, source, unit, &mut self.settings),
            Fact::Session(session) => self.sessions.push(at, source, session.clone()),
            Fact::Setting(setting) => self.settings.add(at, source, setting),
            Fact::Journal(line) => self.journal.push(at, source, line.clone()),
            Fact::KernelLog(line) => self.kernel_log.push(at, source, line.clone()),
            Fact::CgroupLimits(limits) => {
                let seen = Seen { at, source, value: limits.clone() };
                self.limits.insert(limits.cgroup.clone(), seen);
                if self.limits.len() > KEPT {
                    let oldest = self.limits.values().min_by_key(|limits| limits.ns());
                    let oldest = oldest.map(|limits| limits.value.cgroup.clone());
                    oldest.and_then(|cgroup| self.limits.remove(&cgroup));
                }
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
                let seen = Seen { at, source, value: target.reason };
                self.targets.entry(target.id).or_insert(seen);
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

    /// The calls on all buses, oldest first, that may have had an effect by then: one that has long been open had none.
    pub fn calls_by(&self, at_ns: u64) -> impl DoubleEndedIterator<Item = &Seen<BusCall>> {
        let lost = self.losses.iter().rev().find(|loss| loss.value.place == LossPlace::Bus);
        let lost_ns = lost.map_or(0, Seen::ns);
        // Its answer may be what was lost.
        self.calls.iter().filter(move |call| {
            let is_new = call.ns().saturating_add(BUS_LAG) >= at_ns;
            is_new || !call.is_open() || call.ns() <= lost_ns
        })
    }

    /// Whether this is a signal whose sender and target are, in all that is told of them, those of the
    /// piece of evidence right before it.
    fn is_again(&self, fact: &Fact) -> bool {
        let Fact::Signal(now) = fact else { return false };
        self.signalled.as_ref().is_some_and(|before| {
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

    /// Keeps of a process of which nothing more is to be told what others may have ended for, as long as its end is kept:
    /// the signals to it, without the middle of many.
    pub fn retire(&mut self, id: ProcessId) {
        self.signals.retire(id);
        self.targets.remove(&id);
        self.ended.remove(&id);
    }

    /// Forgets the signals to a process.
    pub fn forget(&mut self, id: ProcessId) {
        self.signalled = None;
        self.signals.forget(id);
        self.targets.remove(&id);
        self.ended.remove(&id);
    }

    /// Forgets what is too old to matter.
    pub fn prune(&mut self, now_ns: u64) {
        self.signals.prune(now_ns, |id| self.targets.contains_key(&id));
        self.people.prune();
    }

    /// Every target.
    pub fn targets(&self) -> impl Iterator<Item = ProcessId> {
        self.targets.keys().copied()
    }

    /// Why a process is a target.
    pub fn target_reason(&self, id: ProcessId) -> Option<TargetReason> {
        self.targets.get(&id).map(|target| target.value)
    }

    /// Since when the signals to a process are seen that was there before tracing began; `None` of others, and of the command,
    /// which waits until everything is in place.
    pub fn traced_since(&self, id: ProcessId) -> Option<u64> {
        let target = self.targets.get(&id);
        let is_command = target.is_some_and(|target| target.value == TargetReason::Command);
        let since_ns = target.map_or(self.began_ns, Seen::ns);
        (id.start_ns < self.began_ns && !is_command).then_some(since_ns)
    }

    /// Signals sent to a process, in order of time.
    pub fn signals_to(&self, id: ProcessId) -> &[SeenSignal] {
        self.signals.to(id)
    }

    /// When a process sent signals from a time on, of the last minutes, and to whom; oldest first.
    pub fn sent_since(&self, sender: ProcessId, ns: u64) -> impl Iterator<Item = (u64, ProcessId)> {
        self.signals.sent_since(sender, ns)
    }

    /// How many signals to a process were seen and are not kept.
    pub fn signals_dropped(&self, id: ProcessId) -> u64 {
        self.signals.dropped(id)
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

    /// Whether every signal to a process is seen that holds the other end of a terminal: such are watched once they are
    /// found.
    pub fn is_watched_holder(&self, id: ProcessId) -> bool {
        let mut known = self.terminals.values().flatten().filter(|it| it.watched);
        known.any(|terminal| terminal.holders.contains(&id))
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

    /// The end of a process, where it was seen.
    pub fn exit_of(&self, id: ProcessId) -> Option<&Seen<Exit>> {
        self.exits.iter().rev().find(|exit| exit.value.task.id == id)
    }

    /// A setting that is of no unit as it was at a time: what was learned last until then, else what was learned first.
    pub fn setting(&self, scope: &str, name: &str, ns: u64) -> Option<&Setting> {
        self.settings.at(None, scope, name, ns)
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
        let own = self.settings.at(Some(manager), unit, name, ns);
        own.or_else(|| self.settings.at(None, unit, name, ns))
    }

    /// The settings that a file says of this very instance of a template, and of no other.
    pub fn set_for_instance(&self, manager: Manager, unit: &str) -> Vec<String> {
        if unit_template(unit) == unit {
            return Vec::new();
        }
        let directory = format!("/{unit}.d/");
        let is_own = |setting: &Setting| {
            setting.file.as_deref().is_some_and(|file| file.contains(&directory))
        };
        let known = self.settings.of(Some(manager), unit).chain(self.settings.of(None, unit));
        known.filter(|it| is_own(it)).map(|it| it.name.clone()).collect()
    }

    /// Every line of those settings of a manager's units that add up over several lines, oldest first.
    pub fn setting_lines(
        &self,
        manager: Manager,
    ) -> impl DoubleEndedIterator<Item = &Seen<Setting>> {
        self.settings.lines(None).chain(self.settings.lines(Some(manager)))
    }

    /// Every line of those settings of no unit of which every line is told, oldest first.
    pub fn lines_of_no_unit(&self) -> impl DoubleEndedIterator<Item = &Setting> {
        self.settings.lines(None).map(|seen| &seen.value)
    }

    /// Of how many of a manager's units more was heard than could be remembered.
    pub fn units_forgotten(&self, manager: Manager) -> usize {
        self.units.forgotten(manager).max(self.settings.forgotten(manager))
    }

    /// All units of which something was said, each with its manager.
    pub fn units(&self) -> impl Iterator<Item = (&(Manager, String), &UnitHistory)> {
        self.units.iter()
    }

    /// What is known of a unit.
    pub fn unit_of(&self, manager: Manager, unit: &str) -> Option<&UnitHistory> {
        self.units.get(manager, unit)
    }

    /// What is known of a user.
    pub fn user(&self, uid: u32) -> Option<&User> {
        self.people.users.get(&uid)
    }

    /// A user's name, or the number where that is not known.
    pub fn user_name(&self, uid: u32) -> String {
        self.user(uid).map_or_else(|| uid.to_string(), |user| user.name.clone())
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
                    class: now.class.or(before.class),
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
