//! Deaths by a service manager: why it stopped the unit.

use super::{Finding, Fit, Opinion, is_not};
use crate::evidence::{Grade, Manager, ProcessId, sig};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::ending::{call_link, exit_link};
use crate::story::manager::{UnitStop, job_type, manager_of, same_unit, stops_which};
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, units, words};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

fn victim(case: &Case<'_>) -> String {
    words::name_pid(&case.victim_process())
}

/// The process that asked for the stop: over the bus, or by a command whose arguments name the unit.
fn requester(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<(Actor, Grade)> {
    if let Some(call) = stop.request {
        let process = call.value.sender.process?;
        return Some((Actor::behind(case, process), Grade::Observed));
    }
    let command = stop_command(case, &stop.unit, stop.began_ns)?;
    Some((Actor::behind(case, command), Grade::Inferred))
}

/// root's systemctl speaks to PID 1 over a private socket; its arguments, seen at exec, name the unit.
fn stop_command(case: &Case<'_>, unit: &str, began_ns: u64) -> Option<ProcessId> {
    const VERBS: [&str; 10] = [
        "stop",
        "restart",
        "try-restart",
        "reload-or-restart",
        "try-reload-or-restart",
        "force-reload",
        "condrestart",
        "isolate",
        "kill",
        "disable",
    ];
    let names_it = |args: &[String]| {
        let verb = args.iter().position(|arg| VERBS.contains(&arg.as_str()));
        let named = args.iter().any(|arg| same_unit(arg, unit));
        verb.is_some() && named
    };
    case.world
        .people
        .iter()
        .filter_map(|(id, known)| {
            let at = known.exec_ns?;
            let args = known.cmdline.as_deref()?;
            let program = known.comm.as_deref()?;
            let asks =
                matches!(program, "systemctl" | "service" | "invoke-rc.d" | "deb-systemd-invo");
            let in_time = at <= began_ns && at + 10 * S >= began_ns;
            (asks && in_time && names_it(args)).then_some((at, id))
        })
        .max_by_key(|(at, _)| *at)
        .map(|(_, id)| id)
}

/// Somebody asked for the stop, the restart or the isolation.
pub fn stop_requested(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitStopRequested;
    let stop = UnitStop::of(case)?;
    let logind = stop.request.is_some_and(|call| {
        call.value.sender.well_known.as_deref() == Some("org.freedesktop.login1")
    });
    if logind {
        return None;
    }
    let Some(job) = stop.job else {
        if stop.request.is_none() {
            return is_not(ID, format!("no stop job for {} was seen", stop.unit));
        }
        return None;
    };
    let verb = match job_type(case.world, job) {
        Some("restart" | "try-restart" | "start") => "restarted",
        _ => "stopped",
    };
    let name = stop.manager_name(case);
    let what = format!("{} was ended by {name}, which {verb} {}", victim(case), stop.unit);
    let links = units::stop_links(case, &stop);
    let finding = match (requester(case, &stop), stop.request) {
        (Some((actor, grade)), _) => {
            let hint = if grade == Grade::Inferred {
                " (by its arguments; the request itself was not seen)"
            } else {
                ""
            };
            let mut command = units::command_link(case, &actor);
            if let Some(link) = &mut command {
                link.evidence = link.evidence.min(Grade::Observed);
            }
            Finding::new(ID, Fit::Exact, grade, format!("{what}: {}{hint}.", actor.sentence()))
                .links(command)
        }
        (None, Some(call)) => {
            let uid = call.value.sender.uid;
            let user = uid.map(|uid| case.world.user(uid).map_or(uid.to_string(), |u| u.name.clone()));
            let who = call.value.sender.comm.clone().or(user).unwrap_or_else(|| "a client".to_owned());
            Finding::new(
                ID,
                Fit::Exact,
                Grade::Observed,
                format!("{what}: {who} called {} over the bus.", call.value.member),
            )
            .gap("the caller was gone before the bus could name its process")
        }
        (None, None) => Finding::new(
            ID,
            Fit::Mechanism,
            Grade::Inferred,
            format!("{what} by job {}; who asked for it was not seen.", job.value.id),
        )
        .gap("no request was seen on the bus: root's systemctl uses a private socket, and a dependency needs no request"),
    };
    let finding = finding.links(links).fixes([fixes::look_at_unit(&stop.unit)]);
    finding.answer()
}

/// Units whose stop or start takes the victim's unit down, by property of the victim's unit.
const PULLS_DOWN: [(&str, &str, &str); 6] = [
    ("BindsTo", "stop", "is bound to"),
    ("PartOf", "stop", "is part of"),
    ("Requires", "stop", "requires"),
    ("Requisite", "stop", "requires"),
    ("StopPropagatedFrom", "stop", "gets its stops from"),
    ("ConflictedBy", "start", "conflicts with"),
];

/// The stop of another unit pulled this one.
pub fn dependency(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitDependency;
    let stop = UnitStop::of(case)?;
    let job = stop.job?;
    if stop.request.is_some() {
        return is_not(ID, format!("the stop of {} itself was asked for", stop.unit));
    }
    let history = stop.history?;
    let slice = history.text("Slice").map(|slice| ("Slice", "stop", "lives in", vec![slice]));
    let conflicts = ("Conflicts", "start", "conflicts with", history.list("Conflicts"));
    let related = PULLS_DOWN
        .iter()
        .map(|(property, kind, words)| (*property, *kind, *words, history.list(property)))
        .chain([conflicts])
        .chain(slice);
    for (property, kind, relation, others) in related {
        let other = case.world.jobs.iter().find(|other| {
            let near = other.ns().abs_diff(job.ns()) <= 500 * MS;
            let kind_fits = match kind {
                "stop" => {
                    matches!(job_type(case.world, other), Some("stop" | "restart") | None)
                }
                _ => job_type(case.world, other) == Some("start"),
            };
            near && kind_fits
                && other.value.manager == stop.manager
                && other.value.unit != stop.unit
                && others.contains(&other.value.unit.as_str())
        });
        if let Some(other) = other {
            return dependency_finding(case, &stop, other, property, relation);
        }
    }
    None
}

fn dependency_finding(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    other: &Seen<crate::evidence::Job>,
    property: &str,
    relation: &str,
) -> Option<Opinion> {
    let request =
        crate::story::manager::request_for(case.world, stop.manager, &other.value.unit, other.ns());
    let command = stop_command(case, &other.value.unit, other.ns());
    let process = request.and_then(|call| call.value.sender.process).or(command);
    let actor = process.map(|id| Actor::behind(case, id));
    let by = actor.as_ref().map(|actor| format!(": {}", actor.sentence())).unwrap_or_default();
    let setting = case.setting(&[&stop.unit, &units::template(&stop.unit)], property);
    let place = setting.as_ref().map(units::location).unwrap_or_default();
    let verb = job_type(case.world, other).unwrap_or("stop");
    let done = if verb == "start" { "started" } else { "stopped" };
    let finding = Finding::new(
        CauseId::UnitDependency,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{} was ended by {}: {} {relation} {} ({property}={place}), and {} was {done}{by}.",
            victim(case),
            stop.manager_name(case),
            stop.unit,
            other.value.unit,
            other.value.unit,
        ),
    )
    .settings([setting])
    .links(actor.iter().filter_map(|actor| units::command_link(case, actor)))
    .links(request.map(|call| call_link(case, call)))
    .links([units::job_link(case, other)])
    .links(units::stop_links(case, stop))
    .fixes([fixes::look_at_unit(&stop.unit)]);
    finding.answer()
}

/// The main process ended and the manager cleaned up the rest.
pub fn main_process_exited(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitMainProcessExited;
    let stop = UnitStop::of(case)?;
    if stop.unit.ends_with(".scope") {
        return None;
    }
    if stop.job.is_some() {
        return is_not(ID, format!("a job for {} was under way", stop.unit));
    }
    let main = stop.main_exit?;
    let name = words::name_pid(&case.task(&main.value.task));
    let end = End::of(case, main.value.task.id);
    let by_whom = end.as_ref().map(|end| end.by_whom(case)).unwrap_or_default();
    let mode = units::unit_setting(case, &stop, "KillMode", "KillMode");
    let how = mode.as_ref().map_or_else(String::new, |mode| {
        format!(" (KillMode={}{})", mode.value, units::location(mode))
    });
    let process = case.victim_process();
    let program = process.comm.unwrap_or_else(|| "PROGRAM".to_owned());
    let template = units::template(&stop.unit);
    let finding = Finding::new(
        ID,
        Fit::Circumstance,
        Grade::Observed,
        format!(
            "{} was ended by {}: the main process of {}, {name}{by_whom}, had ended, and systemd cleaned up \
             what was left in the unit{how}.",
            victim(case),
            stop.manager_name(case),
            stop.unit
        ),
    )
    .settings([mode])
    .links(end.iter().flat_map(|end| end.links(case, stop.first.at)))
    .links([units::cleanup_link(case, &stop, main)])
    .links(units::stop_links(case, &stop))
    .fixes([fixes::own_unit(&program), fixes::kill_mode_process(&template)]);
    finding.answer()
}

/// SIGKILL after `TimeoutStopSec=`, where nothing more specific says why the stop was begun.
pub fn stop_timeout(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitStopTimeout;
    let stop = UnitStop::of(case)?;
    if !stop.escalated {
        return None;
    }
    let waited = words::span(case.struck_ns().saturating_sub(stop.first.ns()));
    let first = crate::evidence::signal_name(stop.first.value.number);
    let setting = units::timeout_setting(case, &stop);
    let limit = setting.as_ref().map_or_else(String::new, |setting| {
        format!(" ({}={}{})", setting.name, setting.value, units::location(setting))
    });
    let template = units::template(&stop.unit);
    Finding::new(
        ID,
        Fit::Mechanism,
        Grade::Observed,
        format!(
            "{} was killed by {}: {} was being stopped, and it had not ended {waited} after {first}{limit}.",
            victim(case),
            stop.manager_name(case),
            stop.unit
        ),
    )
    .settings([setting])
    .links(units::stop_links(case, &stop))
    .fixes([fixes::stop_timeout(&template, units::section(&stop.unit))])
    .answer()
}

/// Words of the manager's own log for its time limits, the cause, the setting and its property.
const LIMITS: [(&str, CauseId, &str, &str); 4] = [
    ("start operation timed out", CauseId::UnitStartTimeout, "TimeoutStartSec", "TimeoutStartUSec"),
    ("reached runtime time limit", CauseId::UnitRuntimeMax, "RuntimeMaxSec", "RuntimeMaxUSec"),
    ("Watchdog timeout", CauseId::UnitWatchdog, "WatchdogSec", "WatchdogUSec"),
    (
        "start-pre operation timed out",
        CauseId::UnitStartTimeout,
        "TimeoutStartSec",
        "TimeoutStartUSec",
    ),
];

/// Start timeout, run-time limit, watchdog.
pub fn time_ran_out(case: &Case<'_>) -> Option<Opinion> {
    let stop = UnitStop::of(case)?;
    let (line, id, name, property) = case.world.journal.iter().rev().find_map(|line| {
        let near = line.ns() <= case.exit.ns() + S && line.ns() + 600 * S >= stop.first.ns();
        if !near || !units::manager_said(&line.value, stop.manager, &stop.unit) {
            return None;
        }
        let (_, id, name, property) =
            LIMITS.iter().find(|(said, ..)| line.value.message.contains(said))?;
        Some((line, *id, *name, *property))
    })?;
    let setting = units::unit_setting(case, &stop, name, property);
    let limit = setting.as_ref().map_or_else(String::new, |setting| {
        format!(" ({name}={}{})", setting.value, units::location(setting))
    });
    let said = format!("systemd logged \"{}\"", line.value.message);
    let template = units::template(&stop.unit);
    let mut link = case.link(line.at, LinkEvent::Timeout, line.source, None, said);
    if link.at.boot_ns > stop.first.ns() {
        link.at = stop.first.at;
    }
    let finding = Finding::new(
        id,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: {}{limit}.",
            victim(case),
            stop.manager_name(case),
            line.value.message.trim_end_matches('.')
        ),
    )
    .settings([setting])
    .links([link])
    .links(units::stop_links(case, &stop))
    .fixes([fixes::unit_limit(
        &template,
        units::section(&stop.unit),
        name,
        "infinity",
        "the unit is given all the time it wants",
    )]);
    finding.answer()
}

/// systemd stopped the unit since the kernel's OOM killer had struck in it.
pub fn oom_policy(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitOomPolicy;
    let stop = UnitStop::of(case)?;
    let message = case.world.journal.iter().rev().find(|line| {
        units::manager_said(&line.value, stop.manager, &stop.unit)
            && line.value.message.contains("killed by the OOM killer")
            && line.ns() <= case.exit.ns() + S
            && line.ns() + 600 * S >= stop.first.ns()
    });
    let result = stop.history.and_then(|history| history.ever("Result", &["oom-kill"]));
    if message.is_none() && result.is_none() {
        return None;
    }
    if stop.job.is_some() && message.is_none() {
        return is_not(ID, format!("a job for {} was under way", stop.unit));
    }
    let first_victim = case.world.exits.iter().rev().find(|exit| {
        exit.ns() <= stop.first.ns()
            && exit.ns() + 5 * S >= stop.first.ns()
            && exit.value.status & 0x7f == u32::from(sig::SIGKILL)
            && crate::story::ending::lived_in(case, &exit.value, &stop.unit)
    });
    let setting = units::unit_setting(case, &stop, "OOMPolicy", "OOMPolicy");
    let policy = setting.as_ref().map_or_else(String::new, |setting| {
        format!(" (OOMPolicy={}{})", setting.value, units::location(setting))
    });
    let other = first_victim.map_or_else(
        || "another process of the unit".to_owned(),
        |exit| words::name_pid(&case.task(&exit.value.task)),
    );
    let reported = message.map(|line| {
        let text = format!("systemd logged \"{}\"", line.value.message);
        case.link(line.at, LinkEvent::Oom, line.source, None, text)
    });
    let template = units::template(&stop.unit);
    let finding = Finding::new(
        ID,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: the kernel's OOM killer had killed {other}, and systemd then stopped \
             the whole of {}{policy}.",
            victim(case),
            stop.manager_name(case),
            stop.unit
        ),
    )
    .settings([setting])
    .links(first_victim.map(|exit| exit_link(case, exit)))
    .links(reported)
    .links(units::stop_links(case, &stop))
    .fixes([fixes::oom_policy(&template), fixes::memory_limit(Some(&template))]);
    finding.answer()
}

/// `systemctl kill` and its methods.
pub fn killed_by_client(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::SystemctlKill;
    const METHODS: [&str; 6] =
        ["KillUnit", "Kill", "KillUnitSubgroup", "KillSubgroup", "QueueSignalUnit", "QueueSignal"];
    let stop = UnitStop::of(case)?;
    let call = stop.request.filter(|call| {
        METHODS.contains(&call.value.member.as_str()) && stops_which(&call.value).is_some()
    });
    let said = case.world.journal.iter().rev().find(|line| {
        units::manager_said(&line.value, stop.manager, &stop.unit)
            && line.value.message.contains("on client request")
            && line.ns().abs_diff(case.struck_ns()) <= 2 * S
    });
    let command = stop_command(case, &stop.unit, case.struck_ns()).filter(|id| {
        let args = case.world.people.get(*id).and_then(|known| known.cmdline.as_ref());
        args.is_some_and(|args| args.iter().any(|arg| arg == "kill"))
    });
    if call.is_none() && (said.is_none() || stop.job.is_some()) && command.is_none() {
        return None;
    }
    let process = call.and_then(|call| call.value.sender.process).or(command);
    let actor = process.map(|id| Actor::behind(case, id));
    let grade = match (call, said) {
        (Some(_), _) => Grade::Observed,
        (None, Some(_)) => Grade::Reported,
        (None, None) => Grade::Inferred,
    };
    let signal = case.blow.map(|blow| crate::evidence::signal_name(blow.signal.value.number))?;
    let who = actor.as_ref().map_or_else(|| "a client asked for it".to_owned(), Actor::sentence);
    let reported = said.map(|line| {
        let text = format!("systemd logged \"{}\"", line.value.message);
        let mut link = case.link(line.at, LinkEvent::UnitState, line.source, None, text);
        link.at.boot_ns = link.at.boot_ns.min(case.exit.ns());
        link
    });
    Finding::new(
        ID,
        Fit::Exact,
        grade,
        format!(
            "{} got {signal} from {}, which passed it on to {}: {who}.",
            victim(case),
            stop.manager_name(case),
            stop.unit
        ),
    )
    .links(actor.iter().filter_map(|actor| units::command_link(case, actor)))
    .links(call.map(|call| call_link(case, call)))
    .links(reported)
    .answer()
}

/// Reboot, power-off, soft-reboot.
pub fn shutdown(case: &Case<'_>) -> Option<Opinion> {
    const TARGETS: [&str; 8] = [
        "shutdown.target",
        "reboot.target",
        "poweroff.target",
        "halt.target",
        "kexec.target",
        "soft-reboot.target",
        "umount.target",
        "final.target",
    ];
    let sender = case.sender()?;
    let broadcast = sender.id.pid == 1 && sender.comm == "systemd-shutdow";
    let manager = manager_of(sender);
    if !broadcast && manager != Some(Manager::System) {
        return None;
    }
    let job = case.world.jobs.iter().find(|job| {
        job.value.manager == Manager::System
            && TARGETS.contains(&job.value.unit.as_str())
            && job_type(case.world, job) == Some("start")
            && job.ns() <= case.struck_ns() + S
    });
    if job.is_none() && !broadcast {
        return None;
    }
    let call = case.world.calls.iter().rev().find(|call| {
        const METHODS: [&str; 8] = [
            "PowerOff",
            "Reboot",
            "Halt",
            "KExec",
            "SoftReboot",
            "PowerOffWithFlags",
            "RebootWithFlags",
            "StartUnit",
        ];
        METHODS.contains(&call.value.member.as_str())
            && (call.value.member != "StartUnit"
                || call
                    .value
                    .args
                    .first()
                    .and_then(|arg| arg.as_str())
                    .is_some_and(|unit| TARGETS.contains(&unit)))
            && call.ns() <= case.struck_ns()
    });
    let actor = call.and_then(|call| call.value.sender.process).map(|id| Actor::behind(case, id));
    let who = actor.as_ref().map(|actor| format!(": {}", actor.sentence())).unwrap_or_default();
    Finding::new(
        CauseId::SystemShutdown,
        Fit::Exact,
        if job.is_some() { Grade::Observed } else { Grade::Inferred },
        format!("{} was ended since the system is going down{who}.", victim(case)),
    )
    .links(actor.iter().filter_map(|actor| units::command_link(case, actor)))
    .links(call.map(|call| call_link(case, call)))
    .links(job.map(|job| units::job_link(case, job)))
    .answer()
}
