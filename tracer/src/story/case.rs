//! The case: one death, the signal that decided it, and the world around it.

use super::actor::is_titled;
use super::decide::{self, Blow, Way};
use super::journal::unit_signalled_for;
use super::manager::main_process::units_that_ran;
use super::unit_jobs::stop_job;
use super::verdict::{DecidingSetting, Killer, KillerKind, Link, LinkEvent, Outcome};
use super::windows::SEEN_LATE;
use super::world::{Seen, SeenSignal, World};
use super::{fixes, mechanism, signals, words};
use crate::evidence::{
    BusCall, CgroupOwner, Disposition, Exit, Manager, Mechanism, Moment, Process, ProcessId,
    Source, Task, set_off, unit_template,
};

/// One death to be explained.
#[derive(Debug)]
pub struct Case<'a> {
    /// Everything known.
    pub world: &'a World,
    /// The end.
    pub exit: &'a Seen<Exit>,
    /// Who ended.
    pub victim: ProcessId,
    /// How.
    pub outcome: Outcome,
    /// The signal that decided it, where one did.
    pub blow: Option<Blow<'a>>,
    /// Where the victim lived.
    pub placement: CgroupOwner,
    /// The unit whose manager says that this is its main or control process, where that is not the one that it lived
    /// in: PAM takes what a service with `PAMName=` runs to a session's scope, and root can move anybody.
    main_of: Option<(Manager, String)>,
    /// It is about a process that was only told something by that signal: it need not have ended.
    is_told: bool,
    /// Whom remedies are for, where that is another.
    remedied: Option<Remedied>,
}

/// Whom remedies are for.
#[derive(Debug)]
struct Remedied {
    program: String,
    command: String,
    user: Option<String>,
}

impl<'a> Case<'a> {
    /// The case of one end.
    pub fn new(world: &'a World, exit: &'a Seen<Exit>) -> Self {
        Self::with_blow(world, exit, decide::decide(world, exit))
    }

    /// The case of a process that caught a signal and did something on that, as if it had ended by it.
    pub fn of_told(world: &'a World, exit: &'a Seen<Exit>, got: &'a SeenSignal) -> Self {
        Self { is_told: true, ..Self::with_blow(world, exit, Some(Blow::told(got))) }
    }

    fn with_blow(world: &'a World, exit: &'a Seen<Exit>, blow: Option<Blow<'a>>) -> Self {
        let victim = exit.value.task.id;
        // Where it lived when it was struck: a dying process may have been moved.
        let cgroup = blow
            .and_then(|blow| blow.signal.value.target.cgroup.clone())
            .or_else(|| world.people.get(victim).and_then(|known| known.cgroup.clone()));
        let placement = cgroup.as_deref().map(CgroupOwner::of).unwrap_or_default();
        let main_of = main_of(world, exit, &placement);
        let outcome = Outcome::of(&exit.value);
        Self {
            world,
            exit,
            victim,
            outcome,
            blow,
            placement,
            main_of,
            is_told: false,
            remedied: None,
        }
    }

    /// Whether it is about what the process was told by a signal, and not about its end.
    pub const fn is_told(&self) -> bool {
        self.is_told
    }

    /// What became of it by somebody's doing, before that one's name: `was ended by`.
    pub const fn was_ended(&self) -> &'static str {
        if self.is_told { "was told to end by" } else { "was ended by" }
    }

    /// A process as the report shows it, with the program that it ran when the victim was struck.
    pub fn process(&self, id: ProcessId) -> Process {
        self.process_at(id, self.struck_ns())
    }

    /// The same with the program that it ran at another time, `CLOCK_BOOTTIME` nanoseconds.
    pub fn process_at(&self, id: ProcessId, at_ns: u64) -> Process {
        let session = |session: &str| signals::session(self.world, session);
        self.world.people.process_at(id, at_ns, &session)
    }

    /// A task of an event as the report shows it: its own words win over what was known before.
    pub fn task(&self, task: &Task) -> Process {
        signals::task_at(self.world, task, self.struck_ns())
    }

    /// The victim as the report shows it.
    pub fn victim_process(&self) -> Process {
        let mut process = signals::task_at(self.world, &self.exit.value.task, self.exit.ns());
        // At its end a process may have been moved to the root; where it lived is what matters.
        if let Some(cgroup) = self.blow.and_then(|blow| blow.signal.value.target.cgroup.as_deref())
        {
            signals::place(&mut process, cgroup, self.world);
        }
        process
    }

    /// The sender of the deciding signal.
    pub fn sender(&self) -> Option<&'a Task> {
        self.blow.map(|blow| &blow.signal.value.sender)
    }

    /// The time of the blow, or of the end where there was none.
    pub fn struck_ns(&self) -> u64 {
        self.blow.map_or(self.exit.ns(), |blow| blow.signal.ns())
    }

    /// Who did it.
    pub fn killer(&self) -> Killer {
        let Some(blow) = self.blow else {
            if self.is_seccomp_dead() {
                return Killer { kind: KillerKind::Itself, process: Some(self.victim_process()) };
            }
            let tracer = self.injector().map(|tracer| self.process(tracer));
            let kind = if tracer.is_some() { KillerKind::Process } else { KillerKind::None };
            return Killer { kind, process: tracer };
        };
        let (kind, process) = signals::originator(&blow.signal.value, blow.mechanism);
        Killer { kind, process: process.map(|task| self.task(task)) }
    }

    /// seccomp ended it, without generating a signal: the mode it leaves behind says so.
    fn is_seccomp_dead(&self) -> bool {
        matches!(self.exit.value.seccomp, 1..=3) && self.exit.value.killed_by().is_some()
    }

    /// The ptrace tracer of a victim that a signal ended which nobody had sent: it can have put it in.
    pub fn injector(&self) -> Option<ProcessId> {
        let unsent = self.blow.is_none() && self.exit.value.killed_by().is_some();
        let tracer = self.exit.value.ptracer.filter(|_| unsent)?;
        self.world.people.at(tracer, self.exit.ns())
    }

    /// Whether the deciding signal came out of a service of the system's: its cgroup is the kernel's word, a name
    /// anybody could take.
    pub fn is_struck_from(&self, service: &str) -> bool {
        let cgroup = self.sender().and_then(|sender| sender.cgroup.as_deref());
        cgroup.and_then(|path| CgroupOwner::of(path).unit).as_deref() == Some(service)
    }

    /// The unit of a manager that it took the victim for a process of: that it was the main process of, unless
    /// the one that it lived in was being stopped.
    pub fn unit_of(&self, manager: Manager) -> Option<&str> {
        let around = self.placement.unit_of(manager);
        let main = self.main_of.as_ref().filter(|(its, _)| *its == manager);
        let Some((_, main)) = main else { return around };
        let (ns, born_ns) = (self.struck_ns(), self.victim.start_ns);
        let is_stopped = |unit: &str| stop_job(self.world, manager, unit, ns, born_ns).is_some();
        around.filter(|around| is_stopped(around) && !is_stopped(main)).or(Some(main))
    }

    /// The unit that the victim was of and the manager it belongs to: the innermost one.
    pub fn unit(&self) -> Option<(Manager, &str)> {
        if let Some((manager, _)) = self.main_of {
            return Some((manager, self.unit_of(manager)?));
        }
        self.unit_around()
    }

    /// The innermost unit in whose cgroup the victim lived, and its manager.
    pub fn unit_around(&self) -> Option<(Manager, &str)> {
        self.placement.innermost_unit()
    }

    /// The slices that the victim lived in, and the unit of the system manager: what is done to one of them is
    /// done to all that is below it.
    pub fn units_around(&self) -> Vec<String> {
        let cgroup = self.blow.and_then(|blow| blow.signal.value.target.cgroup.as_deref());
        let parts =
            cgroup.unwrap_or_default().split('/').map(crate::evidence::cgroup_path::unescape);
        let slices = parts.filter(|part| part.ends_with(".slice")).map(str::to_owned);
        self.placement.unit.clone().into_iter().chain(slices).collect()
    }

    /// A setting that decided and is of no unit, where it is known; values are looked for under each scope in turn.
    pub fn setting(&self, scopes: &[&str], name: &str) -> Option<DecidingSetting> {
        let ns = self.exit.ns();
        scopes.iter().find_map(|scope| self.world.setting(scope, name, ns)).map(Into::into)
    }

    /// The same of a manager's unit, or of the template that it is made of.
    pub fn unit_setting(
        &self,
        manager: Manager,
        unit: &str,
        name: &str,
    ) -> Option<DecidingSetting> {
        let told = |of: &str| self.world.unit_setting(manager, of, name, self.exit.ns());
        told(unit).or_else(|| told(&unit_template(unit))).map(Into::into)
    }

    /// The process that made a call on the bus, where the bus could name it.
    pub fn caller_named_by_bus(&self, call: &Seen<BusCall>) -> Option<ProcessId> {
        let sender = &call.value.sender;
        // Gone before it could be looked at, it is known by its pid: what is on the bus is seen late, never early.
        let by_pid = || {
            let id = self.world.people.at(sender.pid?, call.ns())?;
            let ended_ns = self.world.people.get(id)?.ended_ns;
            ended_ns.is_none_or(|ended| ended + SEEN_LATE >= call.ns()).then_some(id)
        };
        sender.process.or_else(by_pid)
    }

    /// The victim's name and process id.
    pub fn victim_name(&self) -> String {
        words::name_pid(&self.victim_process())
    }

    /// What the victim calls itself, in a sentence.
    pub fn name(&self) -> String {
        set_off(self.victim_process().name().unwrap_or("it")).into_owned()
    }

    /// The user that the victim ran as, where that is another than the one whose login it belonged to.
    pub fn other_user(&self, owner: &str) -> Option<String> {
        let own = || self.victim_process().user;
        let user = self.remedied.as_ref().map_or_else(own, |remedied| remedied.user.clone());
        user.filter(|user| user != owner)
    }

    /// The same case, told to explain the end of another: remedies are for that one.
    pub fn on_behalf_of(mut self, other: &Self) -> Self {
        let (program, command, user) =
            (other.program(), other.command(), other.victim_process().user);
        self.remedied = Some(Remedied { program, command, user });
        self
    }

    /// What the victim's program is called, for a command line.
    pub fn program(&self) -> String {
        if let Some(remedied) = &self.remedied {
            return remedied.program.clone();
        }
        self.victim_process().program().unwrap_or("PROGRAM").to_owned()
    }

    /// What starts the victim's program again, for a shell: its whole command line where that can be told. What it may have
    /// written over that by itself is not for anybody to run.
    pub fn command(&self) -> String {
        if let Some(remedied) = &self.remedied {
            return remedied.command.clone();
        }
        let (process, ended_ns) = (self.victim_process(), self.exit.ns());
        let executed = self.world.people.executed_at(self.victim, ended_ns).map(<[String]>::to_vec);
        let is_its =
            executed.is_some() || process.exe.is_some() && !is_titled(self, self.victim, ended_ns);
        let process = Process { cmdline: executed.or(process.cmdline), ..process };
        let arguments = process.cmdline.as_ref().is_none_or(|args| args.len() > 1);
        let line = words::shell_command(&process).filter(|_| is_its);
        line.unwrap_or_else(|| {
            let more = if arguments { " …" } else { "" };
            format!("{}{more}", fixes::operand(&self.program()))
        })
    }

    /// The signal that decided it, where it came about like this.
    pub fn blow_by(&self, mechanism: Mechanism) -> Option<Blow<'a>> {
        self.blow.filter(|blow| blow.mechanism == mechanism)
    }

    /// A link of the chain.
    pub fn link(
        &self,
        at: Moment,
        event: LinkEvent,
        source: Source,
        actor: Option<Process>,
        text: impl Into<String>,
    ) -> Link {
        Link::new(at, event, source, actor, text)
    }

    /// The link of one signal.
    pub fn signal_link(&self, seen: &SeenSignal, mechanism: Mechanism) -> Link {
        let signal = signals::signal(&seen.value, mechanism);
        let (_, originator) = signals::originator(&seen.value, mechanism);
        let actor = originator.map(|task| signals::task_at(self.world, task, seen.ns()));
        let target = &seen.value.target;
        // It may have executed its program only after that: it is one process.
        let victim = if target.id == self.victim {
            self.victim_name()
        } else {
            words::name_pid(&self.task(target))
        };
        let who = actor.as_ref().map_or_else(|| "the kernel".to_owned(), words::name_pid);
        let text = if mechanism.is_kernels_own() {
            let way = mechanism::words(&seen.value, mechanism);
            let through = actor.as_ref().filter(|_| originator.map(|it| it.id) != Some(target.id));
            kernel_sent(&signal.name, &victim, way, through)
        } else {
            let way = match mechanism {
                Mechanism::Kill => String::new(),
                other => format!(" ({})", other.words()),
            };
            let ignored = match signal.disposition {
                // What waits may have another effect by the time that it is let in.
                Some(Disposition::Ignore) if seen.value.blocked => ", which held it up",
                Some(Disposition::Ignore) => ", which ignores it",
                _ => "",
            };
            format!("{who} sent {} to {victim}{way}{ignored}", signal.name)
        };
        self.link(seen.at, LinkEvent::Signal, Source::Kernel, actor, text)
    }

    /// The last link.
    pub fn death_link(&self) -> Link {
        let victim = self.victim_process();
        let name = words::name_pid(&victim);
        let more = match (&self.outcome, self.blow) {
            (Outcome::Signaled { core_dumped: true, .. }, _) => ", core dumped".to_owned(),
            (Outcome::Exited { .. }, Some(blow)) if blow.way == Way::CaughtThenExited => {
                let delay = words::span(self.exit.ns().saturating_sub(blow.signal.ns()));
                let signal = crate::evidence::signal_name(blow.signal.value.number);
                format!(", {delay} after {signal}")
            }
            (Outcome::Unknown, _) => "; how it ended was not seen".to_owned(),
            _ => String::new(),
        };
        let text = format!("{name} {}{more}", self.outcome.clause());
        Link {
            at: self.exit.at,
            event: LinkEvent::Death,
            actor: Some(victim),
            text,
            evidence: self.exit.source.grade(),
            source: self.exit.source,
            late_ns: None,
        }
    }
}

/// The unit that a process was of by what a manager says, where its cgroup says otherwise. A user's manager is
/// believed of that user's processes alone.
fn main_of(world: &World, exit: &Seen<Exit>, placement: &CgroupOwner) -> Option<(Manager, String)> {
    let task = &exit.value.task;
    let may_say = |manager: Manager| match manager {
        Manager::System => true,
        Manager::User(uid) => uid == task.uid,
    };
    let lived_in = [placement.unit.as_deref(), placement.user_unit.as_deref()];
    let units = units_that_ran(world, task.id, exit.ns())
        .filter(|(manager, unit)| may_say(*manager) && !lived_in.contains(&Some(unit.as_str())));
    // It is one at most; of several the choice is to be the same each time.
    let told = units.min_by(|one, other| one.1.cmp(&other.1)).cloned();
    let logged = || {
        let unit = unit_signalled_for(world, task.id, exit.ns())?;
        (!lived_in.contains(&Some(unit))).then(|| (Manager::System, unit.to_owned()))
    };
    told.or_else(logged)
}

fn kernel_sent(signal: &str, victim: &str, way: &str, actor: Option<&Process>) -> String {
    match actor {
        Some(actor) => {
            format!(
                "the kernel sent {signal} to {victim} ({way}, through {})",
                words::name_pid(actor)
            )
        }
        None => format!("the kernel sent {signal} to {victim} ({way})"),
    }
}
