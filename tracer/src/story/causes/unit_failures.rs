//! Deaths since the unit itself failed: a command of its start did, or it did not do what its `Type=` promises. Its
//! manager ends the rest then, with no job for that and nobody who asked.

use super::{Finding, Fit, Opinion, unit_timeouts};
use crate::evidence::{CgroupOwner, Exit, Grade, JournalLine, S, Task};
use crate::story::case::Case;
use crate::story::ending::lived_in;
use crate::story::links::exit_link;
use crate::story::manager::UnitStop;
use crate::story::requests::{Request, Wish};
use crate::story::unit_command::UnitCommand;
use crate::story::unit_jobs::{job_type, stop_job};
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, DecidingSetting, Link, LinkEvent, Outcome};
use crate::story::world::Seen;
use crate::story::{fixes, journal, units, words};

const ID: CauseId = CauseId::UnitFailed;

/// The unit failed, whichever way.
pub fn failed(case: &Case<'_>) -> Option<Opinion> {
    let stop = UnitStop::of(case).filter(|stop| {
        stop.by_command.is_none() && stop.job.is_none() && stop.unit.ends_with(".service")
    })?;
    if unit_timeouts::ran_out(case, &stop).is_some() {
        return None;
    }
    command_failed(case, &stop)
        .or_else(|| broke_protocol(case, &stop))
        .or_else(|| bus_name_lost(case, &stop))
}

/// What the manager said of the unit right before it began to end it.
fn said<'a>(case: &Case<'a>, stop: &UnitStop<'_>, words: &str) -> Option<&'a Seen<JournalLine>> {
    case.world.journal.iter().rev().find(|line| {
        line.ns() <= stop.first.ns() + S
            && line.ns() + 2 * S >= stop.first.ns()
            && journal::said_of_run(line, stop)
            && line.value.message.contains(words)
    })
}

fn said_link(case: &Case<'_>, stop: &UnitStop<'_>, line: &Seen<JournalLine>) -> Link {
    let by = stop.manager_name(case);
    let text = format!("{by} logged {}", words::quotation(&line.value.message));
    case.link(line.at, LinkEvent::UnitState, line.source, None, text).before(stop.begun)
}

/// A command of its start failed (`service_sigchld_event`).
fn command_failed(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Opinion> {
    const OF_START: [&str; 3] = ["ExecCondition", "ExecStartPre", "ExecStartPost"];
    let failed = |exit: &&Seen<Exit>| {
        exit.ns() <= stop.first.ns()
            && exit.ns() + 2 * S >= stop.first.ns()
            && exit.value.status != 0
            && exit.value.task.id != case.victim
            && lived_in(case, &exit.value.task, &stop.unit)
    };
    let (exit, command) = case.world.exits.iter().rev().filter(failed).find_map(|exit| {
        let task = &exit.value.task;
        let of_start = UnitCommand::of(case, task)
            .filter(|it| it.command == task.id && OF_START.contains(&it.setting));
        let forking = || UnitCommand::of_forking_start(case, task, exit.ns());
        Some((exit, of_start.or_else(forking)?))
    })?;
    // The unit goes on where a command may fail.
    let may_fail = command.line.as_ref().is_some_and(|line| {
        line.value.chars().take_while(|letter| "-@:+!|".contains(*letter)).any(|it| it == '-')
    });
    if may_fail {
        return None;
    }
    let end = End::of(case, exit.value.task.id)?;
    if command.setting == "ExecCondition" && says_no(&exit.value) {
        return called_off(case, stop, exit, &command, &end);
    }
    let line = said(case, stop, "Control process exited");
    let name = stop.manager_name(case);
    Finding::new(
        ID,
        Fit::Exact,
        if line.is_some() { Grade::Reported } else { Grade::Inferred },
        format!(
            "{} was ended by {name}: the start of {} failed, as a command that {name} ran for {}={} did: {}. Nobody \
             asked for a stop.",
            case.victim_name(),
            stop.unit,
            command.setting,
            command.cited(),
            end.sentence(case)
        ),
    )
    .settings([command.line.clone()])
    .links([command.link(case, 0, exit.at)])
    .links(end.links(case, stop.first.at))
    .links(line.map(|line| said_link(case, stop, line)))
    .links(units::stop_links(case, stop))
    .fixes([match command.setting {
        "ExecStart" => fixes::failing_start(&stop.at()),
        setting => fixes::failing_command(&stop.at(), setting),
    }])
    .answer()
}

/// Whether a command of `ExecCondition=` ended in a way that means "not now": by a status from 1 to 254.
fn says_no(exit: &Exit) -> bool {
    matches!(Outcome::of(exit), Outcome::Exited { status: 1..=254 })
}

/// Its condition said no: it is not started, which is no failure (`SERVICE_SKIP_CONDITION`).
fn called_off(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    exit: &Seen<Exit>,
    command: &UnitCommand<'_>,
    end: &End<'_>,
) -> Option<Opinion> {
    let line = said(case, stop, "Skipped due to");
    let name = stop.manager_name(case);
    Finding::new(
        ID,
        Fit::Exact,
        if line.is_some() { Grade::Reported } else { Grade::Inferred },
        format!(
            "{} was ended by {name}: {} was not started after all, as its condition said no, which is no failure: {} \
             (a command that {name} ran for ExecCondition={}). What that had left running was cleaned up.",
            case.victim_name(),
            stop.unit,
            end.sentence(case),
            command.cited(),
        ),
    )
    .settings([command.line.clone()])
    .links([command.link(case, 0, exit.at)])
    .links(end.links(case, stop.first.at))
    .links(line.map(|line| said_link(case, stop, line)))
    .links(units::stop_links(case, stop))
    .fixes([fixes::condition(&stop.at())])
    .answer()
}

/// It was not ready in the way that its `Type=` says: the manager's result is `protocol`.
fn broke_protocol(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Opinion> {
    let near = |ns: u64| ns.abs_diff(stop.first.ns()) <= 2 * S;
    let change = stop.history?.changes.iter().rev().find(|change| {
        let result = change.value.get("Result").and_then(serde_json::Value::as_str);
        result == Some("protocol") && near(change.ns())
    })?;
    let kind = of_type(case, stop)?;
    let missing = match kind.value.as_str() {
        "notify" | "notify-reload" => "before it had said that it is ready (READY=1)",
        "dbus" => "before it had taken its BusName=",
        "forking" => "and no process that it had left running was found to be the main one",
        _ => return None,
    };
    let end = stop.main_end.and_then(|main| End::of(case, main.value.task.id));
    let ended = end.as_ref().map_or_else(
        || "the process that it was started with ended".to_owned(),
        |end| end.sentence(case),
    );
    let text = format!("{} failed: its result became protocol", stop.unit);
    let state = case.link(change.at, LinkEvent::UnitState, change.source, None, text);
    Finding::new(
        ID,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: the start of {} failed, since {ended} {missing} ({}).",
            case.victim_name(),
            stop.manager_name(case),
            stop.unit,
            units::cited(&kind)
        ),
    )
    .links(end.iter().flat_map(|end| end.links(case, stop.first.at)))
    .links([state.before(stop.begun).said_over(stop.manager)])
    .links(units::stop_links(case, stop))
    .fixes([fixes::fitting_type(&stop.at(), &kind.value)])
    .settings([Some(kind), units::unit_setting(case, stop, "NotifyAccess", "NotifyAccess")])
    .answer()
}

/// It is there for a name on the bus that it has given up: its manager stops it, and says nothing of that
/// (`service_bus_name_owner_change`).
fn bus_name_lost(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Opinion> {
    let kind = of_type(case, stop).filter(|kind| kind.value == "dbus")?;
    if stop.main_end.is_some() || stop.request.is_some() || stop.escalated {
        return None;
    }
    let name =
        units::unit_setting(case, stop, "BusName", "BusName").filter(|it| !it.value.is_empty())?;
    if let Some((why, links)) = bus_ended(case, stop) {
        return Finding::new(
            ID,
            Fit::Circumstance,
            Grade::Inferred,
            format!(
                "{} was ended by {}, which had no job for that. A service of Type=dbus is ended so when it no longer owns its \
                 name on the bus ({}): it lost that, it seems, since {why}.",
                case.victim_name(),
                stop.manager_name(case),
                units::cited(&name)
            ),
        )
        .links(links)
        .links(units::stop_links(case, stop))
        .fixes([fixes::start_again(&stop.at(), fixes::Kept::Free)])
        .settings([Some(kind), Some(name)])
        .answer();
    }
    Finding::new(
        ID,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} was ended by {}, which had no job for that and logged no reason. It does so where a service of Type=dbus \
             no longer owns its name on the bus ({}): that this was why is a conclusion.",
            case.victim_name(),
            stop.manager_name(case),
            units::cited(&name)
        ),
    )
    .links(units::stop_links(case, stop))
    .fixes([fixes::fitting_type(&stop.at(), &kind.value)])
    .settings([Some(kind), Some(name)])
    .answer()
}

/// The end of the bus itself, right before: with it all names on it are gone.
fn bus_ended(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<(String, Vec<Link>)> {
    const BUSES: [&str; 2] = ["dbus.service", "dbus-broker.service"];
    let by = stop.begun.boot_ns;
    let home = |task: &Task| {
        let owner = CgroupOwner::of(task.cgroup.as_deref()?);
        owner.unit_of(stop.manager).map(str::to_owned)
    };
    let (main, unit) = case.world.exits.iter().rev().find_map(|exit| {
        let task = &exit.value.task;
        let near = exit.ns() <= by && exit.ns() + 2 * S >= by && task.comm.starts_with("dbus");
        let home = home(task).filter(|_| near)?;
        Some((exit, BUSES.into_iter().find(|unit| *unit == home)?))
    })?;
    let task = main.value.task.id;
    let Some(job) = stop_job(case.world, stop.manager, unit, main.ns(), task.start_ns) else {
        let end = End::of(case, task)?;
        let why = format!("the bus itself had ended ({unit}): {}", end.sentence(case));
        return Some((why, end.links(case, stop.begun)));
    };
    let verb = match job_type(case.world, job) {
        Some("restart" | "try-restart" | "start") => "restarted",
        _ => "stopped",
    };
    let request = Request::for_job(case, Wish::Stop, job, job.ns().min(main.ns()));
    let who = request.and_then(|request| request.sentence(case));
    let who = who.unwrap_or_else(|| "who asked for that was not seen".to_owned());
    let link = units::job_link(case, job).before(stop.begun);
    let links = request.iter().flat_map(|request| request.links(case, link.at));
    let links = links.chain([link.clone(), exit_link(case, main).before(stop.begun)]).collect();
    Some((format!("the bus itself was {verb} ({unit}): {who}"), links))
}

fn of_type(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<DecidingSetting> {
    units::unit_setting(case, stop, "Type", "Type")
}
