//! The main process of a unit: which it was, when it ended, and whether that is why its manager ended the rest.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{is_manager, reload_by_signal};
use crate::evidence::{
    CgroupOwner, Exit, Manager, ProcessId, S, SignalSent, Task, sig, unit_template,
};
use crate::story::case::Case;
use crate::story::journal::said_for_client;
use crate::story::requests::{Request, Wish};
use crate::story::unit_command::was_control;
use crate::story::unit_jobs::stop_job;
use crate::story::windows::{BUS_LAG, LONGEST_JOB};
use crate::story::world::{Seen, SeenSignal, World};

/// How long after its main process ended something may happen in a unit because of that.
const ACTED_ON: u64 = 10 * S;

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
            && exit.ns() + ACTED_ON >= before_ns
            && exit.ns() >= born_ns
            && !others.contains(&exit.value.task.id)
    });
    if !mains.pids.is_empty() {
        return recent.find(|exit| mains.was_last(exit, before_ns));
    }
    // Nobody said which process is the main one: it is a child of the manager that lived in the unit, and none that a
    // setting has run.
    let history = world.unit_of(manager, unit);
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
            && !history.is_some_and(|history| was_control(history, task.id))
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
        let named = |change: &Seen<BTreeMap<String, Value>>| {
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

/// The signal by which a manager asked the main process of its unit to end, for a job of then, before it struck everything
/// in the unit.
pub fn asked_to_end<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    job_ns: u64,
    blow: &SeenSignal,
) -> Option<&'a SeenSignal> {
    let mains = Mains::of(world, manager, unit);
    let (_, pid) = mains.pids.iter().rfind(|(heard_ns, _)| *heard_ns <= blow.ns())?;
    let main = world.people.at(*pid, blow.ns())?;
    world.signals_to(main).iter().find(|signal| {
        signal.value.sender.id == blow.value.sender.id
            && signal.value.number != sig::SIGCONT
            && (job_ns.saturating_sub(BUS_LAG)..blow.ns()).contains(&signal.ns())
    })
}

/// When the unit's run of `at_ns` had begun, at the latest: its main process had been started. 0 where that is not known.
pub fn run_began_ns(world: &World, manager: Manager, unit: &str, at_ns: u64) -> u64 {
    let mains = Mains::of(world, manager, unit);
    let named = mains.pids.iter().rfind(|(heard_ns, _)| *heard_ns <= at_ns);
    named.and_then(|(_, pid)| world.people.at(*pid, at_ns)).map_or(0, |main| main.start_ns)
}

/// Whether a manager said that a process was the main one of its unit.
pub fn was_named_main(world: &World, manager: Manager, unit: &str, id: ProcessId) -> bool {
    Mains::of(world, manager, unit).pids.iter().any(|(_, pid)| *pid == id.pid)
}

/// The unit of this manager that a process lives in.
pub fn lives_in(world: &World, task: &Task, manager: Manager) -> Option<String> {
    let known = || world.people.get(task.id)?.cgroup.as_deref();
    let owner = CgroupOwner::of(task.cgroup.as_deref().or_else(known)?);
    owner.unit_of(manager).map(str::to_owned)
}

/// Whether the end of its main process is why a unit was cleaned up: that is done at once but for what `ExecStop=`
/// and `ExecStopPost=` run, and not where the unit outlives that process.
pub fn ends_its_unit(
    world: &World,
    manager: Manager,
    unit: &str,
    main: &Seen<Exit>,
    first: &SeenSignal,
) -> bool {
    let now = |name: &str| world.unit_of(manager, unit)?.now.get(name);
    let remains =
        main.value.status == 0 && now("RemainAfterExit").and_then(Value::as_bool) == Some(true);
    let by_cgroup = now("ExitType").and_then(Value::as_str) == Some("cgroup");
    let scopes = [unit.to_owned(), unit_template(unit)];
    let stopping = ["ExecStop", "ExecStopPost"];
    let runs_more = world.setting_lines(manager).any(|line| {
        scopes.contains(&line.value.scope) && stopping.contains(&line.value.name.as_str())
    });
    let at_once = main.ns() + 2 * S >= first.ns();
    !remains && !by_cgroup && (at_once || runs_more)
}

/// The manager's first signal to the main process before that ended, but for reloads: a stop was under way already.
pub fn struck_by_manager<'a>(
    world: &'a World,
    manager: Manager,
    main: &Seen<Exit>,
    first: &SeenSignal,
) -> Option<&'a SeenSignal> {
    let sender = first.value.sender.id;
    world.signals_to(main.value.task.id).iter().find(|signal| {
        signal.value.sender.id == sender
            && signal.value.number != sig::SIGCONT
            && signal.ns() <= main.ns()
            && signal.ns() + LONGEST_JOB >= main.ns()
            && reload_by_signal(world, manager, signal).is_none()
    })
}

/// Whether a client had asked the manager to send this signal to a unit's main process: `systemctl kill`.
pub fn is_passed_on(case: &Case<'_>, manager: Manager, unit: &str, sent: &SeenSignal) -> bool {
    let SignalSent { number, target, .. } = &*sent.value;
    let said = said_for_client(case.world, sent)
        .is_some_and(|line| line.value.about_unit.as_deref() == Some(unit));
    let asked = || Request::find(case, Wish::Kill, manager, unit, sent.ns());
    let is_its = |request: Request<'_>| request.signal(case).is_none_or(|it| it == *number);
    let stopping = || stop_job(case.world, manager, unit, sent.ns(), target.id.start_ns).is_some();
    said || !stopping() && asked().is_some_and(is_its)
}

/// The units of which their managers said, while a process was there, that it was their main or control process.
pub fn units_that_ran(
    world: &World,
    process: ProcessId,
    ended_ns: u64,
) -> impl Iterator<Item = &(Manager, String)> {
    // By the time that it is told it may have ended.
    let alive = process.start_ns..=ended_ns.saturating_add(BUS_LAG);
    let is_it = move |change: &Seen<BTreeMap<String, Value>>| {
        let pid = |name: &str| change.value.get(name).and_then(Value::as_u64);
        let named = |name: &str| pid(name) == Some(u64::from(process.pid));
        alive.contains(&change.ns()) && (named("MainPID") || named("ControlPID"))
    };
    let units = world.units();
    units.filter(move |(_, history)| history.changes.iter().any(&is_it)).map(|(unit, _)| unit)
}

/// The service of which the system's manager said that a process was its main or control one. PAM moves what it opens a
/// session for out of the unit's cgroup (`PAMName=`).
pub fn service_that_ran(world: &World, process: ProcessId) -> Option<String> {
    let ended_ns = world.people.get(process)?.ended_ns.unwrap_or(u64::MAX);
    let units = units_that_ran(world, process, ended_ns);
    let of_system =
        units.filter(|(manager, unit)| *manager == Manager::System && unit.ends_with(".service"));
    of_system.map(|(_, unit)| unit).min().cloned()
}
