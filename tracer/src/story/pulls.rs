//! Why something happened to a unit: a dependency carried it over from another one.

mod relations;
mod telling;

use std::collections::HashMap;

use self::relations::{RELATIONS, Relation};
use super::case::Case;
use super::ending::lived_in;
use super::manager::UnitStop;
use super::manager::main_process::main_end;
use super::requests::{Request, Wish};
use super::unit_jobs::job_type;
use super::unit_names::Names;
use super::units;
use super::upstream::End;
use super::verdict::{Link, LinkEvent};
use super::windows::ONE_TRANSACTION;
use super::world::{Seen, UnitHistory};
use crate::evidence::{Job, MS, Manager, Moment, S, Source, unit_template};

/// How far apart two jobs are heard of that a manager has made at once: it tells of all new ones in one turn of its loop
/// (`manager_dispatch_dbus_queue` in `src/core/manager.c`), and they are read one after the other.
const ONE_BATCH: u64 = 10 * MS;

/// How many units a stop is followed through: chains of dependencies that people make are shorter.
const HOPS: usize = 4;

/// How many units are looked at for one stop. A unit with very many dependencies has some hundreds.
const STEPS: usize = 2048;

/// What happened to the other unit.
#[derive(Debug)]
pub struct Trigger<'a> {
    /// Its name.
    pub unit: String,
    /// When it happened.
    pub at: Moment,
    /// Its job; it ended or vanished where it had none.
    pub job: Option<&'a Seen<Job>>,
    /// Who asked for that.
    pub request: Option<Request<'a>>,
    /// The end of a process of its own that led to it.
    pub end: Option<End<'a>>,
    /// What it became.
    pub state: Option<Link>,
    /// What happened to a third unit led to it.
    pub because: Option<Box<Pull<'a>>>,
    /// The timer, socket or path that started it.
    pub activated_by: Option<String>,
    /// Its manager restarted it by itself (`Restart=`).
    pub by_itself: bool,
    /// Its job started it, whether or not its type was seen.
    pub started: bool,
}

impl<'a> Trigger<'a> {
    /// A unit that had a job.
    pub const fn by_job(unit: String, job: &'a Seen<Job>, request: Option<Request<'a>>) -> Self {
        Self {
            unit,
            at: job.at,
            job: Some(job),
            request,
            end: None,
            state: None,
            because: None,
            activated_by: None,
            by_itself: false,
            started: false,
        }
    }

    /// Whether it is known why it happened: it was asked for, or the other had ended.
    fn is_explained(&self) -> bool {
        self.request.is_some()
            || self.job.is_none()
            || self.by_itself
            || self.activated_by.is_some()
            || self.because.as_ref().is_some_and(|pull| pull.trigger.is_explained())
    }
}

/// A dependency, and what happened at its other end.
#[derive(Debug)]
pub struct Pull<'a> {
    /// The dependency.
    pub relation: &'static Relation,
    /// What happened.
    pub trigger: Trigger<'a>,
}

/// What happened to a unit, to be explained by its dependencies.
#[derive(Clone, Copy)]
pub struct Happening<'s> {
    /// Whose unit it is.
    pub manager: Manager,
    /// Its name.
    pub unit: &'s str,
    /// It was stopped, or started.
    pub what: Wish,
    /// The number of its job: what led to it had none, or a lower one.
    pub job: u32,
    /// When its job was heard of, `CLOCK_BOOTTIME` nanoseconds.
    pub ns: u64,
    /// When the manager had begun to act on what it led to, at the latest: what is later led to nothing.
    pub begun_ns: u64,
}

impl<'s> Happening<'s> {
    /// The stop of a unit, by the victim's job.
    pub fn stop(stop: &UnitStop<'_>, unit: &'s str, job: &Seen<Job>) -> Self {
        let (manager, what, begun_ns) = (stop.manager, Wish::Stop, stop.begun.boot_ns);
        Self { manager, unit, what, job: job.value.id, ns: job.ns(), begun_ns }
    }

    /// What people did by then can have led to it. A job is heard of late, never early.
    fn by_ns(&self) -> u64 {
        self.ns.min(self.begun_ns)
    }
}

/// The dependency that did it.
pub fn pull<'a>(
    case: &Case<'a>,
    happening: Happening<'_>,
    history: Option<&UnitHistory>,
) -> Option<Pull<'a>> {
    Search { case, left: STEPS, followed: HashMap::new(), requests: HashMap::new() }.pull(
        happening,
        history,
        &[],
    )
}

/// A search for what led to something. Its effort has a bound: a user can make any number of units, each of which depends
/// on all others.
struct Search<'c, 'a> {
    case: &'c Case<'a>,
    /// How many steps may still be made.
    left: usize,
    /// The jobs of which it is known already what led to them, or that nothing is known that did, by the number of units
    /// that they were followed through.
    followed: HashMap<(u32, Wish), usize>,
    /// Who asked for a job, by what was done when it was come upon first.
    requests: HashMap<(u32, Wish), Option<Request<'a>>>,
}

impl<'a> Search<'_, 'a> {
    /// The dependency that did it. `after`: the units that are explained by this one.
    fn pull(
        &mut self,
        happening: Happening<'_>,
        history: Option<&UnitHistory>,
        after: &[&str],
    ) -> Option<Pull<'a>> {
        let passed = [after, &[happening.unit]].concat();
        let parent = parent_slice(happening.unit);
        let mut likeliest = None;
        for relation in RELATIONS.iter().filter(|relation| relation.then == happening.what) {
            let is_slice = relation.property == "Slice";
            let listed = history.map(|history| history.ever_listed(relation.property));
            let mut others = listed.unwrap_or_default();
            let parent = parent.as_deref().filter(|parent| is_slice && !others.contains(parent));
            others.extend(parent);
            if relation.property == "ConflictedBy" {
                others.extend(self.adversaries(happening));
            }
            // The going down of everything is a story of its own, and every unit requires its slice.
            let slice = history.and_then(|history| history.text("Slice")).filter(|_| !is_slice);
            others.retain(|other| {
                *other != "shutdown.target" && Some(*other) != slice && !passed.contains(other)
            });
            let what = relation.when;
            let found = others
                .into_iter()
                .filter_map(|unit| self.trigger(relation, Happening { unit, what, ..happening }));
            let mut triggers: Vec<Trigger<'_>> = found.collect();
            triggers.sort_by_key(|trigger| trigger.at.boot_ns.abs_diff(happening.ns));
            // What was itself pulled down, nobody knows by what, explains less than what somebody had stopped, or what
            // had ended.
            for trigger in triggers {
                let trigger = self.followed(trigger, happening, what, &passed);
                let explained = trigger.is_explained();
                let pull = Pull { relation, trigger };
                if explained {
                    return Some(pull);
                }
                likeliest.get_or_insert(pull);
            }
        }
        likeliest
    }

    /// Whether there is room for one more step, which this takes.
    const fn step(&mut self) -> bool {
        let room = self.left > 0;
        self.left = self.left.saturating_sub(1);
        room
    }

    /// Units that had a job made together with a unit's and before it, and whose files say that they conflict with it.
    /// Where such a one is soon gone again, the unit's own properties need not have told of it.
    fn adversaries(&mut self, happening: Happening<'_>) -> Vec<&'a str> {
        let (case, manager) = (self.case, happening.manager);
        let named = Names::of(case.world, manager, happening.unit);
        let others = jobs_before(case, happening).map(|job| job.value.unit.as_str());
        let mut found = Vec::new();
        for other in others.take_while(|_| self.step()) {
            let scopes = [other, &unit_template(other)];
            let conflicts =
                || units::setting_naming(case, manager, &scopes, "Conflicts", &named.0).is_some();
            if !found.contains(&other) && conflicts() {
                found.push(other);
            }
        }
        found
    }

    /// Whether that happened to a unit around that time, and why as far as no third unit led to it.
    fn trigger(&mut self, relation: &Relation, happening: Happening<'_>) -> Option<Trigger<'a>> {
        let Happening { unit, what: when, .. } = happening;
        if !self.step() {
            return None;
        }
        let case = self.case;
        // What is done in a moment is gone before it can be asked for its type.
        let conflicts = relation.then == Wish::Stop;
        let fits = |kind: Option<&str>| match when {
            Wish::Start => matches!(kind, Some("start" | "restart")) || kind.is_none() && conflicts,
            _ => matches!(kind, Some("stop" | "restart") | None),
        };
        // The newest: one before that is over.
        let mut own: Vec<_> =
            jobs_before(case, happening).filter(|other| other.value.unit == unit).collect();
        own.sort_by_key(|other| std::cmp::Reverse(other.value.id));
        let other = own.into_iter().find(|other| fits(job_type(case.world, other)));
        let Some(job) = other else {
            let by_itself = || restarted(case, happening).or_else(|| ended(case, happening));
            return if when == Wish::Start { None } else { by_itself() };
        };
        let request = self.request(job, happening);
        if request.is_none() && when == Wish::Stop {
            let by_itself = restarted(case, happening);
            if by_itself.is_some() {
                return by_itself;
            }
        }
        let by_job = Trigger::by_job(unit.to_owned(), job, request);
        Some(Trigger { started: when == Wish::Start, ..by_job })
    }

    /// Who asked for the job that led to something.
    fn request(&mut self, job: &Seen<Job>, happening: Happening<'_>) -> Option<Request<'a>> {
        let (case, when) = (self.case, happening.what);
        *self.requests.entry((job.value.id, when)).or_insert_with(|| {
            let asked = |wish| Request::for_job(case, wish, job, happening.by_ns());
            // Who isolates a target has it started, too.
            let isolated = || (when == Wish::Start).then(|| asked(Wish::Isolate)).flatten();
            asked(when).or_else(isolated)
        })
    }

    /// The trigger of a happening with what happened to a third unit, where that led to it.
    fn followed(
        &mut self,
        trigger: Trigger<'a>,
        happening: Happening<'_>,
        what: Wish,
        passed: &[&str],
    ) -> Trigger<'a> {
        let Some(job) = trigger.job.filter(|_| !trigger.is_explained()) else { return trigger };
        let hops = HOPS.saturating_sub(passed.len());
        let known = self.followed.entry((job.value.id, what)).or_default();
        if *known > hops {
            return trigger;
        }
        *known = hops + 1;
        let unit = trigger.unit.as_str();
        let history = self.case.world.unit_of(happening.manager, unit);
        let before = Happening { unit, what, job: job.value.id, ns: job.ns(), ..happening };
        let because = (hops > 0).then(|| self.pull(before, history, passed)).flatten();
        let activated_by = history
            .filter(|_| what == Wish::Start && because.is_none())
            .and_then(UnitHistory::trigger);
        Trigger { because: because.map(Box::new), activated_by, ..trigger }
    }
}

/// The jobs by which other units were, or may have been, started in the same breath as a unit got its job, the nearest
/// first: to start one may stop another.
pub fn starts_before<'a>(case: &Case<'a>, happening: Happening<'_>) -> Vec<&'a Seen<Job>> {
    let may_start = |kind: Option<&str>| matches!(kind, Some("start" | "restart") | None);
    let is_own = |job: &&Seen<Job>| {
        let Job { manager, id, result, .. } = &job.value;
        (*manager, *id, result) == (happening.manager, happening.job, &None)
    };
    // Of one that was there before its unit was looked at it is not known what was right before.
    let own = case.world.jobs.iter().find(is_own).filter(|own| own.source != Source::BusProperty);
    let Some(own) = own else { return Vec::new() };
    // What is known of those and names this one is told elsewhere.
    let is_read = |unit: &str| {
        let mut lines = case.world.setting_lines(happening.manager);
        lines.any(|line| line.value.name == "Conflicts" && line.value.scope == unit)
    };
    let mut starts: Vec<_> = jobs_before(case, happening)
        .filter(|job| job.ns().abs_diff(own.ns()) <= ONE_BATCH)
        .filter(|job| job.value.unit != happening.unit && may_start(job_type(case.world, job)))
        .filter(|job| !is_read(&job.value.unit))
        .collect();
    starts.sort_by_key(|job| std::cmp::Reverse(job.value.id));
    starts
}

/// The jobs that were made together with a unit's and before it.
fn jobs_before<'a>(
    case: &Case<'a>,
    happening: Happening<'_>,
) -> impl Iterator<Item = &'a Seen<Job>> {
    let Happening { manager, job, ns, .. } = happening;
    case.world.jobs.iter().filter(move |other| {
        other.value.manager == manager
            && other.value.result.is_none()
            && other.value.id < job
            && other.ns().abs_diff(ns) <= ONE_TRANSACTION
    })
}

/// The slice that a slice is in, as its name says (systemd.slice(5)): `my.slice` of `my-x.slice`. All are in the root's.
fn parent_slice(unit: &str) -> Option<String> {
    let (parent, _) = unit.strip_suffix(".slice")?.rsplit_once('-')?;
    (!parent.is_empty()).then(|| format!("{parent}.slice"))
}

/// The other unit went down without a job of its own: it ended by itself, failed, or its device vanished.
pub fn ended<'a>(case: &Case<'a>, happening: Happening<'_>) -> Option<Trigger<'a>> {
    const DOWN: [&str; 3] = ["inactive", "failed", "deactivating"];
    let Happening { manager, unit, ns, begun_ns, .. } = happening;
    let history = case.world.unit_of(manager, unit)?;
    let (change, state) = history.changes.iter().find_map(|change| {
        let state = change.value.get("ActiveState")?.as_str()?;
        let near = change.ns().abs_diff(ns) <= ONE_TRANSACTION;
        (near && DOWN.contains(&state)).then_some((change, state))
    })?;
    let mut exits = case.world.exits.iter().rev().filter(|exit| {
        exit.ns() <= change.ns() + ONE_TRANSACTION
            && exit.ns() + 2 * S >= ns
            && exit.value.task.id != case.victim
            && lived_in(case, &exit.value.task, unit)
    });
    let last = exits.next();
    let exit = last.into_iter().chain(exits).find(|exit| exit.ns() <= begun_ns);
    // It went down when this stop had begun.
    if last.is_some() && exit.is_none() {
        return None;
    }
    let text = format!("{unit} became {state}");
    let request = (unit.ends_with(".mount") && exit.is_none())
        .then(|| Request::unmounted(case, unit, happening.by_ns()))
        .flatten();
    Some(Trigger {
        unit: unit.to_owned(),
        at: change.at,
        job: None,
        request,
        end: exit.and_then(|exit| End::of(case, exit.value.task.id)),
        state: Some(
            case.link(change.at, LinkEvent::UnitState, change.source, None, text)
                .said_over(manager),
        ),
        because: None,
        activated_by: None,
        by_itself: false,
        started: false,
    })
}

/// The other unit had ended, and its manager restarted it by itself: that stops what depends on it.
fn restarted<'a>(case: &Case<'a>, happening: Happening<'_>) -> Option<Trigger<'a>> {
    let Happening { manager, unit, ns, .. } = happening;
    let near = |at_ns: u64| at_ns.abs_diff(ns) <= ONE_TRANSACTION;
    // The manager counts them.
    let history = case.world.unit_of(manager, unit)?;
    let counts = history.changes.iter().filter_map(|change| {
        Some((change, change.value.get("NRestarts").and_then(serde_json::Value::as_u64)?))
    });
    let counts: Vec<_> = counts.collect();
    let counted = counts.windows(2).find(|pair| pair[0].1 < pair[1].1 && near(pair[1].0.ns()))?;
    let change = counted[1].0;
    let job = case.world.jobs.iter().find(|job| {
        job.value.manager == manager
            && job.value.unit == unit
            && job.value.result.is_none()
            && job.value.id < happening.job
            && near(job.ns())
            && !matches!(job_type(case.world, job), Some("stop"))
    })?;
    let main = main_end(case.world, manager, unit, happening.by_ns(), 0, &[case.victim]);
    let text = format!("{unit} is to be restarted, since it had ended");
    let state = case.link(change.at, LinkEvent::UnitState, change.source, None, text);
    Some(Trigger {
        end: main.and_then(|main| End::of(case, main.value.task.id)),
        state: Some(state.said_over(manager)),
        by_itself: true,
        ..Trigger::by_job(unit.to_owned(), job, None)
    })
}
