//! Telling of units: their stops, jobs and states as links, their settings as clauses.

use serde_json::Value;

use super::actor::Actor;
use super::case::Case;
use super::links::call_link;
use super::manager::{self, UnitStop};
use super::stopping::{self, Overrun};
use super::unit_jobs::{is_known_before, job_type, type_by_call};
use super::verdict::{DecidingSetting, Link, LinkEvent, contradicted};
use super::windows::LOOKED_BACK;
use super::words;
use super::world::Seen;
use crate::evidence::{
    BusCall, Exit, Grade, Job, Manager, Moment, Source, Written, needs_mount, systemd_span,
    unit_template,
};

/// ` (/etc/systemd/logind.conf:12)`, or that it is the compiled-in default.
pub fn location(setting: &DecidingSetting) -> String {
    match (&setting.unread, setting.place()) {
        (Some(unread), _) => format!(" ({})", contradicted(&setting.name, unread)),
        (None, Some(place)) => format!(" ({place})"),
        (None, None) => " (the default)".to_owned(),
    }
}

/// `KillMode=mixed, set in /etc/systemd/system/nginx.service:7`
pub fn cited(setting: &DecidingSetting) -> String {
    let place = match (&setting.unread, setting.place()) {
        (Some(unread), _) => format!("; {}", contradicted(&setting.name, unread)),
        (None, Some(place)) => format!(", set in {place}"),
        (None, None) => ", the default".to_owned(),
    };
    format!("{}={}{place}", setting.name, setting.value)
}

/// ` (KillMode=mixed, set in FILE:LINE)`; empty where the setting is unknown.
pub fn in_brackets(setting: Option<&DecidingSetting>) -> String {
    setting.map(|setting| format!(" ({})", cited(setting))).unwrap_or_default()
}

/// The line that made one unit depend on another, by any name of that: settings of this kind add up over many lines.
pub fn setting_naming(
    case: &Case<'_>,
    manager: Manager,
    scopes: &[&str],
    name: &str,
    others: &[&str],
) -> Option<DecidingSetting> {
    // `base@%i.service`: what a specifier stands for is not known here, what is before it is.
    let is = |word: &str, other: &str| {
        word == other || word.split_once('%').is_some_and(|(stem, _)| other.starts_with(stem))
    };
    let means = |word: &str| {
        others.iter().any(|other| is(word, other))
            || name == "RequiresMountsFor" && others.iter().any(|other| needs_mount(word, other))
    };
    let line = scopes.iter().find_map(|scope| {
        case.world.setting_lines(manager).rev().find(|seen| {
            seen.value.scope == *scope
                && seen.value.name == name
                && seen.value.value.split_whitespace().any(means)
        })
    });
    let line = line.map(|seen| (&seen.value).into());
    let newest = || {
        let ns = case.exit.ns();
        let mut told =
            scopes.iter().filter_map(|scope| case.world.unit_setting(manager, scope, name, ns));
        told.next().filter(|it| it.value.split_whitespace().any(means)).map(Into::into)
    };
    line.or_else(newest)
}

/// A setting as the manager itself reports it, where no file says more: `TimeoutStopUSec`, `KillMode`.
pub fn property_setting(stop: &UnitStop<'_>, property: &str) -> Option<DecidingSetting> {
    let value = stop.history?.now.get(property)?;
    let (name, value) = match (property.strip_suffix("USec"), value) {
        (Some(stem), value) => (format!("{stem}Sec"), systemd_span(value.as_u64()?)),
        (None, Value::String(text)) => (property.to_owned(), text.clone()),
        (None, Value::Bool(set)) => {
            (property.to_owned(), if *set { "yes" } else { "no" }.to_owned())
        }
        (None, other) => (property.to_owned(), other.to_string()),
    };
    let unread = stop.lost_file.as_deref().map(Written::gone);
    Some(DecidingSetting { name, value, file: None, line: None, unread })
}

/// The own file of a unit, where that was gone when the victim ended and its manager still went by what it had read there.
/// It may be looked for only when the unit is being stopped.
pub fn lost_file(case: &Case<'_>, manager: Manager, unit: &str) -> Option<String> {
    let told = case.world.unit_setting(manager, unit, "FragmentPath", case.exit.ns())?;
    told.unread.as_ref()?.gone_file().map(str::to_owned)
}

/// A setting of the victim's unit: what its files say, else what the manager reports.
pub fn unit_setting(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    name: &str,
    property: &str,
) -> Option<DecidingSetting> {
    let told = case.unit_setting(stop.manager, &stop.unit, name);
    told.or_else(|| property_setting(stop, property))
}

/// The line of a setting of a unit that may have several, where it has one.
pub fn only_line(
    case: &Case<'_>,
    manager: Manager,
    unit: &str,
    name: &str,
) -> Option<DecidingSetting> {
    let scopes = [unit.to_owned(), unit_template(unit)];
    let lines = case.world.setting_lines(manager).map(|seen| &seen.value);
    let mut lines = lines.filter(|line| scopes.contains(&line.scope) && line.name == name);
    let line = lines.next()?;
    // It may have been told again.
    lines.all(|other| other == line).then(|| line.into())
}

/// The request, the job and, where it came to that, the time-out of a stop.
pub fn stop_links(case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<Link> {
    let mut links = Vec::new();
    if let Some(call) = stop.request {
        links.push({
            let job = stop.job.map(|job| job.value.id);
            asking_link(case, call, job, stop.ordered_at())
        });
    }
    links.extend(stop.job.map(|job| job_link_before(case, job, stop.begun)));
    links.extend(stopping::command_link(case, stop));
    links.extend(Overrun::of(case, stop).into_iter().flat_map(|overrun| overrun.links(case, stop)));
    links
}

/// The link of a job.
pub fn job_link(case: &Case<'_>, job: &Seen<Job>) -> Link {
    let kind = job_type(case.world, job).or_else(|| type_by_call(case.world, job));
    let kind = kind.unwrap_or("of a type not seen,");
    let manager = manager::name_of(case.world, job.value.manager);
    // It was asked for, not announced: it had been there before.
    let before = if job.source == Source::BusProperty { " was under way already" } else { "" };
    let text = format!("{manager} job {} {kind} {}{before}", job.value.id, job.value.unit);
    case.link(job.at, LinkEvent::Job, job.source, None, text).said_over(job.value.manager)
}

/// The link of a job that led to something. Where only the bus told of it, and that later, its place is a conclusion.
pub fn job_link_before(case: &Case<'_>, job: &Seen<Job>, effect: Moment) -> Link {
    let link = job_link(case, job);
    if is_known_before(case.world, job, effect.boot_ns) {
        link.before(effect)
    } else {
        link.concluded_before(effect)
    }
}

/// The link of a call that asked for something; that it was for the `job` of this number its answer may say.
pub fn asking_link(
    case: &Case<'_>,
    call: &Seen<BusCall>,
    job: Option<u32>,
    effect: Moment,
) -> Link {
    let link = call_link(case, call);
    let answered = job.is_some() && call.value.job == job;
    if answered { link.before(effect) } else { link.concluded_before(effect) }
}

/// That the manager cleaned up after the main process: the unit's change of state where it was seen.
pub fn cleanup_link(case: &Case<'_>, stop: &UnitStop<'_>, main: &Seen<Exit>) -> Link {
    const STOPPING: [&str; 6] =
        ["stop-sigterm", "stop-sigkill", "final-sigterm", "final-sigkill", "stop", "stop-post"];
    let name = words::name_pid(&case.task(&main.value.task));
    let seen = stop.history.and_then(|history| {
        history.changes.iter().find(|change| {
            change.ns() >= main.ns()
                && change
                    .value
                    .get("SubState")
                    .and_then(Value::as_str)
                    .is_some_and(|state| STOPPING.contains(&state))
        })
    });
    match seen {
        Some(change) => {
            let state = change.value.get("SubState").and_then(Value::as_str).unwrap_or("stopping");
            let text =
                format!("{} went into state {state}: its main process {name} had ended", stop.unit);
            let at = change.at.no_later_than(case.exit.at);
            let link = case.link(at, LinkEvent::UnitState, change.source, None, text);
            link.said_over(stop.manager)
        }
        None => {
            let text = format!(
                "{} was cleaned up: its main process {name} had ended and no job was under way",
                stop.unit
            );
            let mut link =
                case.link(stop.first.at, LinkEvent::UnitState, Source::Kernel, None, text);
            link.evidence = Grade::Inferred;
            link
        }
    }
}

/// The link of the command that somebody ran, after what had started the unit that it was run in; none where it has been
/// running for long, or where nobody ran it.
pub fn command_links(case: &Case<'_>, actor: &Actor) -> Vec<Link> {
    if actor.is_nobodys() {
        return actor.links.clone();
    }
    let seen_ns = actor.told_ns();
    let began_ns = seen_ns.or(actor.command.start_ns);
    let is_recent = |began_ns: &u64| began_ns.saturating_add(LOOKED_BACK) >= case.struck_ns();
    let Some(began_ns) = began_ns.filter(is_recent) else { return Vec::new() };
    let source = if seen_ns.is_some() { Source::Kernel } else { Source::Proc };
    let at = case.exit.at.shifted(began_ns);
    let actor_process = Some(actor.command.clone());
    let mut link = case.link(at, LinkEvent::Command, source, actor_process, actor.deed());
    link.evidence = link.evidence.min(actor.grade);
    actor.links.iter().cloned().chain([link]).collect()
}
