//! How a service manager came to signal a process of one of its units.

pub mod calls;
pub mod main_process;

use serde_json::Value;

use self::calls::request_for;
use self::main_process::{
    asked_to_end, ends_its_unit, is_passed_on, lives_in, main_end, run_began_ns, struck_by_manager,
    was_named_main,
};
use super::case::Case;
use super::decide::Blow;
use super::fixes::UnitAt;
use super::requests::{Request, Wish};
use super::unit_command::UnitCommand;
use super::unit_jobs::{is_known_before, made_by_ns, reload_job, stop_job};
use super::units::lost_file;
use super::windows::{BUS_LAG, LONGEST_JOB};
use super::words;
use super::world::{Seen, SeenSignal, UnitHistory, World};
use crate::evidence::{
    BusCall, CgroupOwner, Exit, Grade, Job, Manager, Moment, ProcessId, SignalSent, Task, sig,
};

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
        let comm = known.comm.as_deref()?;
        Some(match known.cgroup.as_deref() {
            Some(cgroup) => known.uid == Some(uid_of_user_manager(comm, ppid, cgroup)?),
            // Nobody has looked at it yet: whose it is, the cgroups of what it runs tell.
            None => comm == "systemd" && ppid == 1,
        })
    };
    id.pid == 1 || is_of_user() == Some(true)
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
    /// What is known of everything.
    world: &'a World,
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
    /// When the unit's present run had begun, at the latest: what was said of it before was about an earlier one. 0 where
    /// that is not known.
    pub run_began_ns: u64,
    /// When the unit had begun to end, by what its manager said, where that was before it was first looked at.
    pub began_unseen: Option<Moment>,
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
            Some(manager) if reload_by_signal(case.world, manager, blow.signal).is_some() => None,
            Some(manager) => Self::by_manager(case, manager, blow),
            None => Self::by_unit_command(case, blow, &["ExecStop", "ExecStopPost"], stop_job),
        }
    }

    fn by_manager(case: &Case<'a>, manager: Manager, blow: Blow<'a>) -> Option<Self> {
        let unit = case.unit_of(manager)?.to_owned();
        let world = case.world;
        let first = first_of_round(case, manager, &unit, blow.signal);
        let history = world.unit_of(manager, &unit);
        // A scope has no main process: its processes were not started by the manager.
        let main_end = (!unit.ends_with(".scope"))
            .then(|| {
                let others = [first.value.target.id];
                main_end(world, manager, &unit, first.ns(), case.victim.start_ns, &others)
            })
            .flatten();
        // What a client had it send was no stop, nor is the signal of a reload; that came of it.
        let to_main = main_end
            .and_then(|main| struck_by_manager(world, manager, main, first))
            .filter(|signal| !is_passed_on(case, manager, &unit, signal));
        let main_exit = main_end
            .filter(|_| to_main.is_none())
            .filter(|exit| ends_its_unit(world, manager, &unit, exit, first));
        // A service that restarts by itself makes its job when it has been cleaned up.
        let job = stop_job(world, manager, &unit, first.ns(), case.victim.start_ns)
            .filter(|job| main_exit.is_none() || job.ns() <= first.ns());
        // With `KillMode=mixed` the main process may not have heeded it, and the others are struck with it.
        let unheeded = job.filter(|_| to_main.is_none() && first.value.number == sig::SIGKILL);
        let to_main = to_main.or_else(|| {
            let asked = asked_to_end(world, manager, &unit, unheeded?.ns(), blow.signal);
            asked.filter(|signal| !is_passed_on(case, manager, &unit, signal))
        });
        let begun = to_main.map_or(first.at, |signal| signal.at.no_later_than(first.at));
        let began_ns = job.map_or(begun.boot_ns, |job| made_by_ns(world, job).min(begun.boot_ns));
        let last = blow.signal.value.number;
        Some(Self {
            world,
            manager,
            request: request_for(world, manager, &unit, began_ns, job),
            main_end,
            main_exit,
            escalated: first.ns() < blow.signal.ns()
                && (last == sig::SIGKILL
                    || last != first.value.number && is_last_resort(history, last)),
            lost_file: lost_file(case, manager, &unit),
            run_began_ns: run_began_ns(world, manager, &unit, first.ns()),
            began_unseen: history.and_then(|history| began_unseen(history, first.ns())),
            unit,
            first,
            begun,
            began_ns,
            job,
            history,
            by_command: None,
        })
    }

    /// The reload behind the deciding signal, where a manager sent it to reload the unit, or a command that it ran
    /// for that.
    pub fn by_reload(case: &Case<'a>) -> Option<Self> {
        let blow = case.blow?;
        let Some(manager) = manager_of(&blow.signal.value.sender) else {
            return Self::by_unit_command(case, blow, &["ExecReload"], reload_job);
        };
        let job = reload_by_signal(case.world, manager, blow.signal)?;
        let unit = case.unit_of(manager)?;
        Some(Self::for_job(case, (manager, unit), blow.signal, job, None))
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
        if command.command.start_ns.saturating_add(BUS_LAG) < made_by_ns(world, job) {
            return None;
        }
        Some(Self::for_job(case, (manager, unit), blow.signal, job, Some(command)))
    }

    /// What a job of this unit led to by one signal, which the manager sent, or a command that it ran for that.
    fn for_job(
        case: &Case<'a>,
        (manager, unit): (Manager, &str),
        signal: &'a SeenSignal,
        job: &'a Seen<Job>,
        by_command: Option<UnitCommand<'a>>,
    ) -> Self {
        let began_ns = made_by_ns(case.world, job).min(signal.ns());
        Self {
            world: case.world,
            manager,
            request: request_for(case.world, manager, unit, began_ns, Some(job)),
            main_end: None,
            main_exit: None,
            escalated: false,
            lost_file: lost_file(case, manager, unit),
            run_began_ns: run_began_ns(case.world, manager, unit, signal.ns()),
            began_unseen: None,
            unit: unit.to_owned(),
            first: signal,
            begun: signal.at,
            began_ns,
            job: Some(job),
            history: case.world.unit_of(manager, unit),
            by_command,
        }
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
        let at = UnitAt::of(self.world, self.manager, &self.unit);
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
            format!("{}'s systemd --user", world.user_name(uid))
        }
    }
}

/// When a unit had begun to end that was ending when it was first looked at, before its manager was seen to act at
/// `first_ns`.
pub fn began_unseen(history: &UnitHistory, first_ns: u64) -> Option<Moment> {
    let mut states = history.changes.iter().filter_map(|change| {
        let state = change.value.get("ActiveState")?.as_str()?;
        Some((change, state)).filter(|_| change.ns() < first_ns)
    });
    let (looked, _) = states.next().filter(|(_, state)| *state == "deactivating")?;
    if states.any(|(_, state)| state != "deactivating") {
        return None;
    }
    let stamp = |name: &str| looked.value.get(name).and_then(Value::as_u64).filter(|us| *us > 0);
    // That of an earlier run, where the unit had not come to be active in this one.
    let of_before = |left: u64| {
        let later = ["InactiveEnterTimestamp", "ExecMainStartTimestamp"].map(stamp);
        later.into_iter().flatten().any(|other| other >= left)
    };
    let ago_ns = stamp("ActiveExitTimestamp").filter(|left| !of_before(*left)).map_or(0, |left| {
        let ago_ns = looked.at.time.unix_ns() - i128::from(left) * 1_000;
        u64::try_from(ago_ns).unwrap_or_default()
    });
    Some(looked.at.shifted(looked.ns().saturating_sub(ago_ns)))
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

/// The reload job for which a manager sent this signal to its unit's main process: a service of
/// `Type=notify-reload` is reloaded so (`service_enter_reload_by_notify` and its kind in `src/core/service.c`).
pub fn reload_by_signal<'a>(
    world: &'a World,
    manager: Manager,
    signal: &SeenSignal,
) -> Option<&'a Seen<Job>> {
    let SignalSent { number, target, .. } = &*signal.value;
    let unit = lives_in(world, target, manager)?;
    let history = world.unit_of(manager, &unit)?;
    if history.text("Type") != Some("notify-reload") {
        return None;
    }
    let is = |name: &str, default: u8| {
        let set = history.now.get(name).and_then(Value::as_u64);
        set.unwrap_or(u64::from(default)) == u64::from(*number)
    };
    // Where the manager has not said which it is, it is none that ends a unit.
    let is_for_reload = if history.now.contains_key("ReloadSignal") {
        is("ReloadSignal", sig::SIGHUP)
    } else {
        !is("KillSignal", sig::SIGTERM)
            && !is("FinalKillSignal", sig::SIGKILL)
            && !is("WatchdogSignal", sig::SIGABRT)
    };
    if !is_for_reload
        || !was_named_main(world, manager, &unit, target.id)
        || stop_job(world, manager, &unit, signal.ns(), target.id.start_ns).is_some()
    {
        return None;
    }
    reload_job(world, manager, &unit, signal.ns(), target.id.start_ns)
}

/// The first signal that the same sender sent to the victim in one go: a stop takes `TimeoutStopSec`
/// (90 s by default, more where set) between SIGTERM and SIGKILL. What a client had it send, to have a log opened anew
/// say, is no part of that.
fn first_of_round<'a>(
    case: &Case<'a>,
    manager: Manager,
    unit: &str,
    last: &'a SeenSignal,
) -> &'a SeenSignal {
    let of_stop = |signal: &SeenSignal| {
        reload_by_signal(case.world, manager, signal).is_none()
            && !is_passed_on(case, manager, unit, signal)
    };
    case.world
        .signals_to(case.victim)
        .iter()
        .filter(|signal| {
            signal.value.sender.id == last.value.sender.id
                && signal.ns() < last.ns()
                && signal.ns() + LONGEST_JOB >= last.ns()
                && signal.value.number != sig::SIGCONT
                && of_stop(signal)
        })
        .min_by_key(|signal| signal.ns())
        .unwrap_or(last)
}
