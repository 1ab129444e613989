//! Deaths since something happened to another unit: it was stopped, started or ended, and a dependency
//! carried that over.

use super::{Finding, Fit, Opinion, is_not, unit_ends};
use crate::evidence::{Grade, Job, Manager, Moment};
use crate::story::case::Case;
use crate::story::ending::lived_in;
use crate::story::manager::{UnitStop, job_type};
use crate::story::requests::{Request, Wish};
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, units, words};

const ID: CauseId = CauseId::UnitDependency;
const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// Jobs of one transaction are announced together.
const TOGETHER: u64 = 500 * MS;

/// A dependency that takes a unit down when something happens to the other end.
struct Relation {
    /// Property of the victim's unit that lists the others.
    property: &'static str,
    /// What has to happen to the other.
    when: Wish,
    /// In words, between the victim's unit and the other.
    words: &'static str,
    /// The setting of the victim's unit behind it.
    own: Option<&'static str>,
    /// The setting of the other unit behind it.
    others: Option<&'static str>,
}

/// By systemd's `UNIT_ATOM_PROPAGATE_STOP`, `UNIT_ATOM_PULL_IN_STOP` and their kind
/// (`src/core/unit-dependency-atom.c`). The more telling one comes first.
const RELATIONS: [Relation; 8] = [
    Relation {
        property: "BindsTo",
        when: Wish::Stop,
        words: "is bound to",
        own: Some("BindsTo"),
        others: None,
    },
    Relation {
        property: "PartOf",
        when: Wish::Stop,
        words: "is part of",
        own: Some("PartOf"),
        others: None,
    },
    Relation {
        property: "Requires",
        when: Wish::Stop,
        words: "requires",
        own: Some("Requires"),
        others: None,
    },
    Relation {
        property: "Requisite",
        when: Wish::Stop,
        words: "requires",
        own: Some("Requisite"),
        others: None,
    },
    Relation {
        property: "StopPropagatedFrom",
        when: Wish::Stop,
        words: "is stopped along with",
        own: Some("StopPropagatedFrom"),
        others: Some("PropagatesStopTo"),
    },
    Relation {
        property: "Conflicts",
        when: Wish::Start,
        words: "conflicts with",
        own: Some("Conflicts"),
        others: None,
    },
    Relation {
        property: "ConflictedBy",
        when: Wish::Start,
        words: "conflicts with",
        own: None,
        others: Some("Conflicts"),
    },
    Relation {
        property: "Slice",
        when: Wish::Stop,
        words: "lives in",
        own: Some("Slice"),
        others: None,
    },
];

/// What happened to the other unit.
struct Trigger<'a> {
    unit: String,
    at: Moment,
    job: Option<&'a Seen<Job>>,
    request: Option<Request<'a>>,
    /// It ended without a job.
    end: Option<End<'a>>,
    state: Option<Link>,
}

impl Trigger<'_> {
    /// Whether it is known why it happened: it was asked for, or the other had ended.
    const fn is_explained(&self) -> bool {
        self.request.is_some() || self.job.is_none()
    }
}

/// The stop, start or end of another unit pulled this one down.
pub fn dependency(case: &Case<'_>) -> Option<Opinion> {
    let stop = UnitStop::of(case)?;
    let job = stop.job?;
    if let Some(because) = unit_ends::ran_out(case, &stop) {
        return is_not(ID, because);
    }
    if stop.asked_for(case).is_some() {
        return is_not(ID, format!("the stop of {} itself was asked for", stop.unit));
    }
    let history = stop.history?;
    // A shutdown and an isolation stop units right and left: that is no dependency.
    let going_down = case.world.jobs.iter().any(|other| {
        other.value.manager == stop.manager
            && other.value.unit == "shutdown.target"
            && other.ns().abs_diff(job.ns()) <= TOGETHER
    });
    if going_down {
        return is_not(ID, "everything was being stopped");
    }
    let isolated = case.world.jobs.iter().any(|other| {
        other.value.manager == stop.manager
            && other.ns().abs_diff(job.ns()) <= TOGETHER
            && Request::find(case, Wish::Isolate, stop.manager, &other.value.unit, job.ns())
                .is_some()
    });
    if isolated {
        return is_not(ID, "another unit was being isolated");
    }
    let mut likeliest = None;
    for relation in &RELATIONS {
        let others = history.ever_listed(relation.property);
        // The going down of everything is a story of its own, and every unit requires its slice.
        let slice = history.text("Slice").filter(|_| relation.property != "Slice");
        let others =
            others.iter().filter(|other| **other != "shutdown.target" && Some(**other) != slice);
        let mut triggers: Vec<Trigger<'_>> =
            others.filter_map(|other| trigger(case, &stop, job, other, relation.when)).collect();
        triggers.sort_by_key(|trigger| {
            (!trigger.is_explained(), trigger.at.boot_ns.abs_diff(job.ns()))
        });
        // What was itself pulled down explains less than what somebody had stopped, or what had ended.
        if let Some(trigger) = triggers.into_iter().next() {
            if trigger.is_explained() {
                return related(case, &stop, relation, &trigger);
            }
            likeliest.get_or_insert((relation, trigger));
        }
    }
    match likeliest {
        Some((relation, trigger)) => related(case, &stop, relation, &trigger),
        None => unneeded(case, &stop, job),
    }
}

/// What happened to another unit around the time of the victim's job.
fn trigger<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'a>,
    job: &Seen<Job>,
    unit: &str,
    when: Wish,
) -> Option<Trigger<'a>> {
    let fits = |kind: Option<&str>| match when {
        Wish::Start => matches!(kind, Some("start" | "restart")),
        _ => matches!(kind, Some("stop" | "restart") | None),
    };
    let other = case.world.jobs.iter().find(|other| {
        other.value.manager == stop.manager
            && other.value.unit == unit
            && other.value.result.is_none()
            && other.ns().abs_diff(job.ns()) <= TOGETHER
            && fits(job_type(case.world, other))
    });
    if let Some(other) = other {
        let at_ns = other.ns().max(job.ns());
        return Some(Trigger {
            unit: unit.to_owned(),
            at: other.at,
            job: Some(other),
            request: Request::find(case, when, stop.manager, unit, at_ns),
            end: None,
            state: None,
        });
    }
    if when == Wish::Start { None } else { ended(case, stop.manager, unit, job) }
}

/// The other unit went down without a job of its own: it ended by itself, failed, or its device vanished.
fn ended<'a>(
    case: &Case<'a>,
    manager: Manager,
    unit: &str,
    job: &Seen<Job>,
) -> Option<Trigger<'a>> {
    const DOWN: [&str; 3] = ["inactive", "failed", "deactivating"];
    let history = case.world.unit_of(manager, unit)?;
    let (change, state) = history.changes.iter().find_map(|change| {
        let state = change.value.get("ActiveState")?.as_str()?;
        let near = change.ns().abs_diff(job.ns()) <= TOGETHER;
        (near && DOWN.contains(&state)).then_some((change, state))
    })?;
    let exit = case.world.exits.iter().rev().find(|exit| {
        exit.ns() <= change.ns() + TOGETHER
            && exit.ns() + 2 * S >= job.ns()
            && exit.value.task.id != case.victim
            && lived_in(case, &exit.value.task, unit)
    });
    let text = format!("{unit} became {state}");
    Some(Trigger {
        unit: unit.to_owned(),
        at: change.at,
        job: None,
        request: None,
        end: exit.and_then(|exit| End::of(case, exit.value.task.id)),
        state: Some(case.link(change.at, LinkEvent::UnitState, change.source, None, text)),
    })
}

fn related(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    relation: &Relation,
    trigger: &Trigger<'_>,
) -> Option<Opinion> {
    let other = &trigger.unit;
    let own = relation.own.and_then(|name| {
        units::setting_naming(case, &[&stop.unit, &units::template(&stop.unit)], name, other)
    });
    let setting = own.or_else(|| {
        let scopes = [other.as_str(), &units::template(other)];
        units::setting_naming(case, &scopes, relation.others?, &stop.unit)
    });
    let (from, to) = match relation.property {
        "ConflictedBy" => (other, &stop.unit),
        _ => (&stop.unit, other),
    };
    let subject = words::unit(from);
    let name = relation.own.or(relation.others).unwrap_or(relation.property);
    let by_setting = match &setting {
        Some(setting) => format!(" ({})", units::cited(setting)),
        // That a unit is in a slice needs no line.
        None if name == "Slice" => String::new(),
        None => format!(" ({name}=, set by none of its files)"),
    };
    let why = format!("{subject} {} {to}{by_setting}", relation.words);
    // What has no file of its own has no line to change, and one that the manager wrote itself is not for editing.
    let has_line = setting.as_ref().is_some_and(|setting| !is_transient(setting));
    let fix = (has_line || !stop.at().transient)
        .then(|| fixes::loosen_dependency(&stop.at(), name, setting.as_ref(), to));
    finding(case, stop, trigger, &why, setting, fix)
}

/// Whether it stands in a file that the service manager wrote for a unit made at run time.
fn is_transient(setting: &DecidingSetting) -> bool {
    let file = setting.file.as_deref().unwrap_or_default();
    file.starts_with("/run/systemd/transient/")
        || file.starts_with("/run/user/") && file.contains("/systemd/transient/")
}

/// `StopWhenUnneeded=`: the last unit that needed it is gone.
fn unneeded(case: &Case<'_>, stop: &UnitStop<'_>, job: &Seen<Job>) -> Option<Opinion> {
    const NEEDS: [&str; 5] = ["RequiredBy", "BoundBy", "WantedBy", "RequisiteOf", "UpheldBy"];
    let history = stop.history?;
    let set = history.now.get("StopWhenUnneeded").and_then(serde_json::Value::as_bool);
    if set != Some(true) {
        return None;
    }
    let needing = NEEDS.iter().flat_map(|property| history.ever_listed(property));
    let gone = needing.filter_map(|other| last_need(case, stop, job, other));
    let trigger = gone.max_by_key(|trigger| trigger.at.boot_ns)?;
    let setting = units::unit_setting(case, stop, "StopWhenUnneeded", "StopWhenUnneeded");
    let set = setting.as_ref().map_or_else(|| "StopWhenUnneeded=yes".to_owned(), units::cited);
    let why = format!("{} is stopped when no other unit needs it ({set})", stop.unit);
    let fix = Some(fixes::keep_when_unneeded(&stop.at()));
    finding(case, stop, &trigger, &why, setting, fix)
}

/// A unit that needed the victim's and was gone when the job was made: it had a stop job, which may have
/// begun long before, or it ended by itself.
fn last_need<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'a>,
    job: &Seen<Job>,
    other: &str,
) -> Option<Trigger<'a>> {
    let of_other =
        |seen: &&Seen<Job>| seen.value.manager == stop.manager && seen.value.unit == other;
    let removed = case
        .world
        .jobs
        .iter()
        .filter(of_other)
        .rfind(|seen| seen.value.result.is_some() && seen.ns().abs_diff(job.ns()) <= TOGETHER);
    let made = removed.and_then(|removed| {
        case.world.jobs.iter().filter(of_other).find(|seen| {
            seen.value.id == removed.value.id
                && seen.value.result.is_none()
                && matches!(job_type(case.world, seen), Some("stop" | "restart") | None)
        })
    });
    match made {
        Some(made) => Some(Trigger {
            unit: other.to_owned(),
            at: made.at,
            job: Some(made),
            request: Request::find(case, Wish::Stop, stop.manager, other, made.ns()),
            end: None,
            state: None,
        }),
        None => ended(case, stop.manager, other, job),
    }
}

fn finding(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    trigger: &Trigger<'_>,
    why: &str,
    setting: Option<DecidingSetting>,
    fix: Option<Fix>,
) -> Option<Opinion> {
    let other = &trigger.unit;
    let kind = trigger.job.and_then(|job| job_type(case.world, job));
    let done = match kind {
        Some("start") => "started",
        Some("restart" | "try-restart") => "restarted",
        _ => "stopped",
    };
    let asker = trigger.request.and_then(|request| request.sentence(case));
    let what = match (&asker, &trigger.end, trigger.job) {
        (Some(who), ..) => format!("{other} was {done}: {who}"),
        (None, _, Some(_)) => format!("{other} was {done}; who asked for that was not seen"),
        (None, Some(end), None) => format!("{other} had ended: {}", end.sentence(case)),
        (None, None, None) => format!("{other} was gone"),
    };
    // None of it can be later than the victim's own job, which it led to.
    let effect = stop.ordered_at();
    let job = trigger.job.map(|job| units::job_link(case, job));
    let mut links: Vec<Link> = trigger.end.iter().flat_map(|end| end.links(case, effect)).collect();
    links.extend(trigger.request.iter().flat_map(|request| request.links(case, effect)));
    links.extend(job.into_iter().chain(trigger.state.clone()).map(|link| link.before(effect)));
    let mut finding = Finding::new(
        ID,
        Fit::Exact,
        // That the one led to the other is concluded from the dependency and the time.
        Grade::Inferred,
        format!(
            "{} was ended by {}: {why}, and {what}.",
            words::name_pid(&case.victim_process()),
            stop.manager_name(case)
        ),
    )
    .settings([setting])
    .links(links)
    .links(units::stop_links(case, stop))
    .fixes(fix)
    .fixes([fixes::look_at_unit(&stop.at())]);
    if asker.is_none() && trigger.job.is_some() {
        finding = finding.gap(format!(
            "who asked for the job of {other} was not seen: neither on the bus nor by a command that names it"
        ));
    }
    finding.answer()
}
