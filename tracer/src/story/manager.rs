//! How a service manager came to signal a process of one of its units.

use super::case::Case;
use super::decide::Blow;
use super::fixes::UnitAt;
use super::requests::{Request, Wish};
use super::unit_command::UnitCommand;
use super::unit_jobs::{Looked, is_known_before, may_have_been, under_way};
use super::units::{lost_file, names_of, passed_on};
use super::words;
use super::world::{Seen, SeenSignal, UnitHistory, World};
use crate::evidence::cgroup_path::bus_label_unescape;
use crate::evidence::{
    BusCall, CgroupOwner, Exit, Grade, Job, MS, Manager, Moment, ProcessId, S, SignalSent, Task,
    sig,
};

/// How late a bus message can be seen after the signal it led to: both are read by different
/// processes, and the signal is stamped in the kernel.
pub const BUS_LAG: u64 = 250 * MS;

/// Which service manager a sender is: by what cannot be forged, its pid or its parent and its cgroup, not by
/// its name alone. A user may move a process of his into his manager's own cgroup and call it systemd; it is
/// PID 1 alone that starts the real one, and who is orphaned there belongs to that manager.
pub fn manager_of(sender: &Task) -> Option<Manager> {
    if sender.id.pid == 1 && matches!(sender.comm.as_str(), "systemd" | "init") {
        return Some(Manager::System);
    }
    let uid = uid_of_user_manager(&sender.comm, sender.ppid, sender.cgroup.as_deref()?)?;
    (sender.uid == uid).then_some(Manager::User(uid))
}

/// Whether a process is a service manager, as [`manager_of`] knows one.
pub fn is_manager(world: &World, id: ProcessId) -> bool {
    let is_of_user = || {
        let known = world.people.get(id)?;
        let ppid = known.parents.first().map_or(known.ppid, |parent| Some(parent.pid))?;
        let uid = uid_of_user_manager(known.comm.as_deref()?, ppid, known.cgroup.as_deref()?)?;
        (known.uid == Some(uid)).then_some(uid)
    };
    id.pid == 1 || is_of_user().is_some()
}

/// The user whose service manager it is, by its name, its parent and its cgroup.
fn uid_of_user_manager(comm: &str, ppid: u32, cgroup: &str) -> Option<u32> {
    let owner = CgroupOwner::of(cgroup);
    let uid = owner.owner_uid?;
    (comm == "systemd"
        && ppid == 1
        && cgroup.ends_with("/init.scope")
        && owner.unit.as_deref() == Some(&format!("user@{uid}.service")))
    .then_some(uid)
}

/// A service manager signalled the victim: which unit, and what had happened before.
#[derive(Debug)]
pub struct UnitStop<'a> {
    /// Which manager.
    pub manager: Manager,
    /// The victim's unit there.
    pub unit: String,
    /// First signal of the manager to the victim in this round.
    pub first: &'a SeenSignal,
    /// When the manager had begun to act, at the latest: its first signal to the victim, or to the unit's main
    /// process before that. Whatever led to the stop was earlier, however late it was heard of.
    pub begun: Moment,
    /// When the manager began to stop the unit, as far as is known: the job, or the first signal.
    pub began_ns: u64,
    /// The stop (or restart) job that was under way.
    pub job: Option<&'a Seen<Job>>,
    /// A bus call that asked for it.
    pub request: Option<&'a Seen<BusCall>>,
    /// The unit's main process had ended just before, whoever ended it.
    pub main_end: Option<&'a Seen<Exit>>,
    /// The same, where the manager had not ended it: that began the stop.
    pub main_exit: Option<&'a Seen<Exit>>,
    /// What is known of the unit.
    pub history: Option<&'a UnitHistory>,
    /// The deciding signal was the second blow: SIGKILL (or what the unit has instead of it) after the first
    /// did not help.
    pub escalated: bool,
    /// The unit's own file, where that is gone.
    pub lost_file: Option<String>,
    /// The manager did not send the signal itself: a command of the unit did.
    pub by_command: Option<UnitCommand<'a>>,
}

impl<'a> UnitStop<'a> {
    /// The stop behind the deciding signal, where its sender is a service manager or a command that one
    /// ran to stop the unit.
    pub fn of(case: &Case<'a>) -> Option<Self> {
        let blow = case.blow?;
        match manager_of(&blow.signal.value.sender) {
            Some(manager) => Self::by_manager(case, manager, blow),
            None => Self::by_unit_command(case, blow, &["ExecStop", "ExecStopPost"], stop_job),
        }
    }

    fn by_manager(case: &Case<'a>, manager: Manager, blow: Blow<'a>) -> Option<Self> {
        let unit = case.unit_of(manager)?.to_owned();
        let world = case.world;
        let first = first_of_round(world, case.victim, blow.signal);
        let history = world.unit_of(manager, &unit);
        // A scope has no main process: its processes were not started by the manager.
        let main_end = (!unit.ends_with(".scope"))
            .then(|| {
                let others = [first.value.target.id];
                main_end(world, manager, &unit, first.ns(), case.victim.start_ns, &others)
            })
            .flatten();
        // What a client had it send was no stop; that came of it.
        let to_main = main_end
            .and_then(|main| struck_by_manager(world, main, first))
            .filter(|signal| !is_passed_on(case, manager, &unit, signal));
        let main_exit = main_end
            .filter(|_| to_main.is_none())
            .filter(|exit| ends_its_unit(world, manager, &unit, exit, first));
        // A service that restarts by itself makes its job when it has been cleaned up.
        let job = stop_job(world, manager, &unit, first.ns(), case.victim.start_ns)
            .filter(|job| main_exit.is_none() || job.ns() <= first.ns());
        let begun = to_main.map_or(first.at, |signal| signal.at.no_later_than(first.at));
        let began_ns = job.map_or(begun.boot_ns, |job| job.ns().min(begun.boot_ns));
        let last = blow.signal.value.number;
        Some(Self {
            manager,
            request: request_for(world, manager, &unit, began_ns, job),
            main_end,
            main_exit,
            escalated: first.ns() < blow.signal.ns()
                && (last == sig::SIGKILL
                    || last != first.value.number && is_last_resort(history, last)),
            lost_file: lost_file(case, manager, &unit),
            unit,
            first,
            begun,
            began_ns,
            job,
            history,
            by_command: None,
        })
    }

    /// The reload behind the deciding signal, where a command sent it that a manager ran to reload the unit.
    pub fn by_reload(case: &Case<'a>) -> Option<Self> {
        let blow = case.blow?;
        if manager_of(&blow.signal.value.sender).is_some() {
            return None;
        }
        Self::by_unit_command(case, blow, &["ExecReload"], reload_job)
    }

    /// A process of the victim's own unit sent it: it is what one of these settings has run, for a job of the kind
    /// that they are for.
    fn by_unit_command(
        case: &Case<'a>,
        blow: Blow<'a>,
        settings: &[&str],
        job_of: impl Fn(&'a World, Manager, &str, u64, u64) -> Option<&'a Seen<Job>>,
    ) -> Option<Self> {
        let sender = &blow.signal.value.sender;
        let (manager, unit) = case.unit()?;
        if blow.mechanism.is_kernels_own() || sender.id == case.victim {
            return None;
        }
        let command = UnitCommand::of(case, sender)?;
        if (command.manager, command.unit.as_str()) != (manager, unit)
            || !settings.contains(&command.setting)
        {
            return None;
        }
        let world = case.world;
        let job = job_of(world, manager, unit, blow.signal.ns(), case.victim.start_ns)?;
        if command.command.start_ns.saturating_add(BUS_LAG) < job.ns() {
            return None;
        }
        let began_ns = job.ns().min(blow.signal.ns());
        Some(Self {
            manager,
            request: request_for(world, manager, unit, began_ns, Some(job)),
            main_end: None,
            main_exit: None,
            escalated: false,
            lost_file: lost_file(case, manager, unit),
            unit: unit.to_owned(),
            first: blow.signal,
            begun: blow.signal.at,
            began_ns,
            job: Some(job),
            history: world.unit_of(manager, unit),
            by_command: Some(command),
        })
    }

    /// Who asked for the stop of this very unit, where that was seen.
    pub fn asked_for(&self, case: &Case<'a>) -> Option<Request<'a>> {
        match self.job {
            Some(job) => Request::for_job(case, Wish::Stop, job, self.began_ns),
            None => Request::find(case, Wish::Stop, self.manager, &self.unit, self.began_ns),
        }
    }

    /// How well it is proven that its job was there before the manager's first signal.
    pub fn job_grade(&self, case: &Case<'_>) -> Grade {
        let known = |job| is_known_before(case.world, job, self.begun.boot_ns);
        if self.job.is_none_or(known) { Grade::Observed } else { Grade::Inferred }
    }

    /// When the stop was ordered: nothing that led to it is later.
    pub fn ordered_at(&self) -> Moment {
        self.job.map_or(self.begun, |job| job.at).no_later_than(self.begun)
    }

    /// Where the unit's settings can be changed.
    pub fn at(&self) -> UnitAt {
        let at = UnitAt::of(self.manager, &self.unit, self.history);
        UnitAt { lost_file: self.lost_file.clone(), ..at }
    }

    /// How the manager is called, `systemd[1]`, `alice's systemd --user[812]`, or the command that it ran to
    /// stop the unit.
    pub fn manager_name(&self, case: &Case<'_>) -> String {
        if let Some(command) = &self.by_command {
            return command.name(case);
        }
        let sender = case.task(&self.first.value.sender);
        match self.manager {
            Manager::System => words::name_pid(&sender),
            manager @ Manager::User(_) => {
                format!("{}[{}]", name_of(case.world, manager), sender.pid)
            }
        }
    }

    /// The login session whose scope the unit is. A user's manager has none, whatever its units are called.
    pub fn session_id(&self) -> Option<&str> {
        let id = self.unit.strip_prefix("session-")?.strip_suffix(".scope")?;
        (self.manager == Manager::System).then_some(id)
    }
}

/// A manager as it is spoken of: `systemd[1]`, `alice's systemd --user`.
pub fn name_of(world: &World, manager: Manager) -> String {
    match manager {
        Manager::System => "systemd[1]".to_owned(),
        Manager::User(uid) => {
            let user = world.user(uid).map_or(uid.to_string(), |user| user.name.clone());
            format!("{user}'s systemd --user")
        }
    }
}

/// Whether the unit has this signal instead of SIGKILL: `FinalKillSignal=`, or `WatchdogSignal=` where a
/// time-out aborts (`TimeoutStopFailureMode=abort`).
pub fn is_last_resort(history: Option<&UnitHistory>, number: u8) -> bool {
    let is = |name: &str| {
        let value = history.and_then(|history| history.now.get(name)?.as_u64());
        value == Some(u64::from(number))
    };
    is("FinalKillSignal") || is("WatchdogSignal")
}

/// The first signal that the same sender sent to the victim in one go: a stop takes `TimeoutStopSec`
/// (90 s by default, more where set) between SIGTERM and SIGKILL.
fn first_of_round<'a>(world: &'a World, victim: ProcessId, last: &'a SeenSignal) -> &'a SeenSignal {
    world
        .signals_to(victim)
        .iter()
        .filter(|signal| {
            signal.value.sender.id == last.value.sender.id
                && signal.ns() <= last.ns()
                && signal.ns() + 600 * S >= last.ns()
                && signal.value.number != sig::SIGCONT
        })
        .min_by_key(|signal| signal.ns())
        .unwrap_or(last)
}

/// The stop or restart job of a unit that was under way at a time. `born_ns`: when the process that was
/// ended had started.
pub fn stop_job<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
    born_ns: u64,
) -> Option<&'a Seen<Job>> {
    under_way(world, manager, unit, at_ns, Looked::Stop { born_ns }, |seen| {
        let kind = job_type(world, seen);
        // A restart's job turns into a start job when the unit has stopped, which may be before it was
        // asked for its type. A start job that ends what had been running before is such a one; what was born while
        // it was being heard of is what it started.
        let restarts = kind == Some("start") && born_ns.saturating_add(BUS_LAG) < seen.ns();
        restarts
            || !matches!(
                kind,
                Some("start" | "verify-active" | "reload" | "nop" | "reload-or-start")
            )
    })
}

/// The job that started a unit and was under way at a time.
pub fn start_job<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
) -> Option<&'a Seen<Job>> {
    under_way(world, manager, unit, at_ns, Looked::Other, |seen| {
        !matches!(job_type(world, seen), Some("stop" | "reload" | "nop" | "verify-active"))
    })
}

/// The reload job of a unit that was under way at a time; of a process that had been there before.
pub fn reload_job<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
    born_ns: u64,
) -> Option<&'a Seen<Job>> {
    under_way(world, manager, unit, at_ns, Looked::Other, |seen| {
        matches!(job_type(world, seen), Some("reload" | "reload-or-start")) && born_ns < seen.ns()
    })
}

/// The type of a job: as it was seen on the bus, else as the manager logged it (a job may be gone
/// before it can be asked).
pub fn job_type<'a>(world: &'a World, job: &'a Seen<Job>) -> Option<&'a str> {
    let by_bus = job.value.job_type.as_deref();
    // A restart's job is a start job by the time it is asked.
    if by_bus.is_some_and(|kind| kind != "start") {
        return by_bus;
    }
    let id = job.value.id.to_string();
    let logged = || {
        let lines = world.journal.iter().filter(|line| {
            line.value.fields.get("JOB_ID") == Some(&id)
                && line.value.about_unit.as_deref() == Some(&job.value.unit)
                && line.ns().abs_diff(job.ns()) < 90 * S
        });
        lines.filter_map(|line| line.value.fields.get("JOB_TYPE").map(String::as_str))
    };
    let known = |wanted: &str| logged().find(|kind| *kind == wanted);
    // One job that first stops and then starts; the journal may not have come to the second yet.
    let starts = by_bus.is_some() || known("start").is_some();
    let both = (known("stop").is_some() && starts).then_some("restart");
    known("restart")
        .or(both)
        .or_else(|| known("stop"))
        .or(by_bus)
        .or_else(|| logged().next())
        .or_else(|| type_by_state(world, job))
}

/// The type of a job by what its unit did first while it was there; where that is over, and was seen.
fn type_by_state(world: &World, job: &Seen<Job>) -> Option<&'static str> {
    let Job { manager, id, unit, .. } = &job.value;
    let removed = world.jobs.iter().find(|seen| {
        let it = &seen.value;
        it.result.is_some() && it.id == *id && it.manager == *manager && it.unit == *unit
    })?;
    let mut states = world
        .unit_of(*manager, unit)?
        .changes
        .iter()
        .filter(|change| (job.ns()..=removed.ns()).contains(&change.ns()))
        .filter_map(|change| change.value.get("ActiveState")?.as_str());
    // A start that fails ends in a stop, too.
    let first = states.find(|state| ["activating", "deactivating", "reloading"].contains(state))?;
    Some(match first {
        "activating" => "start",
        "reloading" => "reload",
        _ if states.any(|state| state == "activating") => "restart",
        _ => "stop",
    })
}

/// Methods of systemd's manager and units that stop something.
const STOPPING: [&str; 14] = [
    "StopUnit",
    "RestartUnit",
    "TryRestartUnit",
    "ReloadOrRestartUnit",
    "ReloadOrTryRestartUnit",
    "EnqueueUnitJob",
    "StopUnitWithFlags",
    "RestartUnitWithFlags",
    "Stop",
    "Restart",
    "TryRestart",
    "ReloadOrRestart",
    "ReloadOrTryRestart",
    "EnqueueJob",
];

/// Methods of systemd's manager and units that send a signal.
const SIGNALLING: [&str; 6] =
    ["KillUnit", "Kill", "KillUnitSubgroup", "KillSubgroup", "QueueSignalUnit", "QueueSignal"];

/// Whether a call asks systemd to stop something, and which unit.
pub fn stops_which(call: &BusCall) -> Option<String> {
    STOPPING.contains(&call.member.as_str()).then(|| unit_of_call(call)).flatten()
}

/// Whether a call asks systemd to signal something, and which unit.
pub fn signals_which(call: &BusCall) -> Option<String> {
    SIGNALLING.contains(&call.member.as_str()).then(|| unit_of_call(call)).flatten()
}

/// The unit that a call to a service manager is about: its first argument, or the object.
pub fn unit_of_call(call: &BusCall) -> Option<String> {
    if call.path == "/org/freedesktop/systemd1" {
        return call.args.first()?.as_str().map(str::to_owned);
    }
    call.path.strip_prefix("/org/freedesktop/systemd1/unit/").map(bus_label_unescape)
}

/// The calls on a manager's bus, oldest first, that can have led to what happened at `at_ns`: their job may have been
/// there then and was made shortly before, or else they were granted then, as far as is known.
pub fn calls_before(
    world: &World,
    manager: Manager,
    at_ns: u64,
) -> impl DoubleEndedIterator<Item = &Seen<BusCall>> {
    let job_of = move |call: &BusCall| {
        let is_it = |job: &&Seen<Job>| {
            job.value.manager == manager
                && Some(job.value.id) == call.job
                && job.value.result.is_none()
        };
        world.jobs.iter().find(is_it)
    };
    world.calls.iter().filter(move |call| {
        let near =
            |from_ns: u64, until_ns: u64| from_ns <= at_ns + BUS_LAG && until_ns + 5 * S >= at_ns;
        let in_time = || match job_of(&call.value) {
            Some(job) => {
                let stops = stops_which(&call.value).is_some();
                let looked = if stops { Looked::Stop { born_ns: u64::MAX } } else { Looked::Other };
                near(job.ns(), job.ns()) && may_have_been(world, job, at_ns, looked)
            }
            None => near(call.granted_ns(), call.granted_ns()),
        };
        call.value.bus == manager && in_time()
    })
}

/// Of calls that ask for the same the one that led to what happened at `at_ns`: the first that was answered with its
/// `job`, else of those that were made by then the last that was granted, else the first that was heard of later. None that was answered with
/// another job.
pub fn likeliest_call<'a>(
    calls: impl Iterator<Item = &'a Seen<BusCall>>,
    job: Option<u32>,
    at_ns: u64,
) -> Option<&'a Seen<BusCall>> {
    let is_others = |asked: u32| job.is_some_and(|made| asked != made);
    let calls: Vec<_> = calls.filter(|call| !call.value.job.is_some_and(is_others)).collect();
    let first = |answered: bool| {
        let calls = calls.iter().copied().filter(|call| !answered || call.value.job == job);
        calls.min_by_key(|call| call.granted_ns())
    };
    job.and_then(|_| first(true))
        .or_else(|| {
            let by_then = calls.iter().copied().filter(|call| call.ns() <= at_ns);
            by_then.max_by_key(|call| call.granted_ns())
        })
        .or_else(|| first(false))
}

/// The bus call that asked for the stop of a unit, or for a signal to it. `job`: what was made for it.
pub fn request_for<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    began_ns: u64,
    job: Option<&Seen<Job>>,
) -> Option<&'a Seen<BusCall>> {
    let names = names_of(world, manager, unit);
    let calls = calls_before(world, manager, began_ns).filter(|call| {
        let about = stops_which(&call.value).or_else(|| signals_which(&call.value));
        about.is_some_and(|about| names.iter().any(|name| same_unit(&about, name)))
    });
    likeliest_call(calls, job.map(|job| job.value.id), began_ns)
}

/// `nginx` and `nginx.service` are the same to systemctl.
pub fn same_unit(said: &str, unit: &str) -> bool {
    said == unit || (!said.contains('.') && unit.strip_suffix(".service") == Some(said))
}

/// The end of a unit's main process shortly before something else happened in it, which is none of `others`. What
/// was still there had been born by `born_ns`, and was that process's: of an earlier one nothing is left by then.
pub fn main_end<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    before_ns: u64,
    born_ns: u64,
    others: &[ProcessId],
) -> Option<&'a Seen<Exit>> {
    let mains = Mains::of(world, manager, unit);
    let mut recent = world.exits.iter().rev().filter(|exit| {
        exit.ns() <= before_ns
            && exit.ns() + 10 * S >= before_ns
            && exit.ns() >= born_ns
            && !others.contains(&exit.value.task.id)
    });
    if !mains.pids.is_empty() {
        return recent.find(|exit| mains.was_last(exit, before_ns));
    }
    // Nobody said which process is the main one: it is a child of the manager that lived in the unit.
    let of_manager = |task: &Task| match manager {
        Manager::System => task.ppid == 1,
        Manager::User(_) => {
            let parent = world.people.get(task.id).and_then(|known| known.parents.first());
            parent.is_some_and(|parent| is_manager(world, *parent))
        }
    };
    recent.find(|exit| {
        let task = &exit.value.task;
        exit.ns() + S >= before_ns
            && of_manager(task)
            && lives_in(world, task, manager).as_deref() == Some(unit)
    })
}

/// The main processes that a unit has had, by what its manager said.
struct Mains<'a> {
    world: &'a World,
    /// Their pids and when they were heard of, oldest first.
    pids: Vec<(u64, u32)>,
}

impl<'a> Mains<'a> {
    fn of(world: &'a World, manager: Manager, unit: &str) -> Self {
        let named = |change: &Seen<std::collections::BTreeMap<String, serde_json::Value>>| {
            let pid = |name: &str| u32::try_from(change.value.get(name)?.as_u64()?).ok();
            let heard_ns = change.ns();
            [pid("MainPID"), pid("ExecMainPID")].map(|pid| Some((heard_ns, pid?)))
        };
        let history = world.unit_of(manager, unit);
        let all = history.iter().flat_map(|history| history.changes.iter().flat_map(named));
        Self { world, pids: all.flatten().filter(|(_, pid)| *pid != 0).collect() }
    }

    /// Whether it was the main process that ended here, and none has taken its place since.
    fn was_last(&self, exit: &Seen<Exit>, before_ns: u64) -> bool {
        let pid = exit.value.task.id.pid;
        if !self.pids.iter().any(|(_, main)| *main == pid) {
            return false;
        }
        // Another had been named before (`MAINPID=` of sd_notify(3)).
        let newest = self.pids.iter().rfind(|(heard_ns, _)| *heard_ns <= exit.ns());
        let given_up = newest.is_some_and(|(_, main)| *main != pid);
        let followed = self.pids.iter().any(|(_, main)| {
            let started = self.world.people.at(*main, before_ns).map(|next| next.start_ns);
            started.is_some_and(|started| (exit.ns()..=before_ns).contains(&started))
        });
        !given_up && !followed
    }
}

/// The unit of this manager that a process lives in.
fn lives_in(world: &World, task: &Task, manager: Manager) -> Option<String> {
    let known = || world.people.get(task.id)?.cgroup.as_deref();
    let owner = CgroupOwner::of(task.cgroup.as_deref().or_else(known)?);
    match manager {
        Manager::System => owner.unit,
        Manager::User(_) => owner.user_unit,
    }
}

/// Whether the end of its main process is why a unit was cleaned up: that is done at once but for what `ExecStop=`
/// and `ExecStopPost=` run, and not where the unit outlives that process.
fn ends_its_unit(
    world: &World,
    manager: Manager,
    unit: &str,
    main: &Seen<Exit>,
    first: &SeenSignal,
) -> bool {
    let now = |name: &str| world.unit_of(manager, unit)?.now.get(name);
    let remains = main.value.status == 0
        && now("RemainAfterExit").and_then(serde_json::Value::as_bool) == Some(true);
    let by_cgroup = now("ExitType").and_then(serde_json::Value::as_str) == Some("cgroup");
    let scopes = [unit.to_owned(), super::units::template(unit)];
    let stopping = ["ExecStop", "ExecStopPost"];
    let runs_more = world.setting_lines(manager).any(|line| {
        scopes.contains(&line.value.scope) && stopping.contains(&line.value.name.as_str())
    });
    let at_once = main.ns() + 2 * S >= first.ns();
    !remains && !by_cgroup && (at_once || runs_more)
}

/// Whether a client had asked the manager to send this signal to a unit's main process: `systemctl kill`.
fn is_passed_on(case: &Case<'_>, manager: Manager, unit: &str, sent: &SeenSignal) -> bool {
    let SignalSent { number, target, .. } = &*sent.value;
    let own = [Some(target.id.pid), Some(target.ns_pid)];
    let said = case.world.journal.iter().any(|line| {
        line.value.pid == Some(sent.value.sender.id.pid)
            && line.value.about_unit.as_deref() == Some(unit)
            && line.ns().abs_diff(sent.ns()) <= 2 * S
            && passed_on(&line.value.message, *number, &own)
    });
    let asked = || Request::find(case, Wish::Kill, manager, unit, sent.ns());
    let is_its = |request: Request<'_>| request.signal(case).is_none_or(|it| it == *number);
    let stopping = || stop_job(case.world, manager, unit, sent.ns(), target.id.start_ns).is_some();
    said || !stopping() && asked().is_some_and(is_its)
}

/// The manager's first signal to the main process before that ended: a stop was under way already.
fn struck_by_manager<'a>(
    world: &'a World,
    main: &Seen<Exit>,
    first: &SeenSignal,
) -> Option<&'a SeenSignal> {
    let manager = first.value.sender.id;
    world.signals_to(main.value.task.id).iter().find(|signal| {
        signal.value.sender.id == manager
            && signal.value.number != sig::SIGCONT
            && signal.ns() <= main.ns()
            && signal.ns() + 600 * S >= main.ns()
    })
}
