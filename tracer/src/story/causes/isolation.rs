//! Deaths since another unit was isolated: everything that it does not need is stopped then.

mod unasked;

use super::units::{UNSEEN, nameless_caller};
use super::{Finding, Fit, Opinion, is_not};
use crate::evidence::{Grade, Job, Manager, S};
use crate::story::case::Case;
use crate::story::manager::UnitStop;
use crate::story::manager::calls::unit_of_call;
use crate::story::requests::{Request, Wish};
use crate::story::started::Failure;
use crate::story::unit_jobs::job_type;
use crate::story::unit_names::Names;
use crate::story::verdict::CauseId;
use crate::story::windows::ONE_TRANSACTION;
use crate::story::wishes::isolated_by;
use crate::story::world::Seen;
use crate::story::{fixes, units};
pub use unasked::{by_failure, by_signal};

/// A unit that somebody asked to isolate.
pub struct Asked<'a> {
    /// Its name, as it was asked for.
    unit: String,
    /// Its start; none of one that was running already.
    start: Option<&'a Seen<Job>>,
    request: Request<'a>,
}

impl<'a> Asked<'a> {
    /// The isolation that a job can be part of, by who asked for one right before. `begun_ns`: when the manager had
    /// begun to act on that job, at the latest.
    pub fn before(
        case: &Case<'a>,
        manager: Manager,
        job: &Seen<Job>,
        begun_ns: u64,
    ) -> Option<Self> {
        /// How long after it was granted a manager has made all its jobs: it does so at once, but both can be heard of late.
        const MADE: u64 = 3 * S;
        let at_ns = job.ns().min(begun_ns);
        let find = |unit: String| {
            let request = Request::find(case, Wish::Isolate, manager, &unit, at_ns)?;
            let start = start_of(case, manager, &unit, job);
            // One that was running already has no start; what is stopped for it is stopped at once.
            let asked_ns = request.ran_ns(case).or(request.call.map(Seen::granted_ns));
            let at_once = asked_ns.is_none_or(|asked| asked.saturating_add(MADE) >= at_ns);
            (start.is_some() || at_once).then_some(Self { unit, start, request })
        };
        // One whose start is part of the same transaction is likelier.
        named(case).into_iter().filter_map(find).max_by_key(|asked| asked.start.is_some())
    }

    /// That the job is part of it is a conclusion where it has no other.
    fn grade(&self) -> Grade {
        let part = if self.start.is_some() { Grade::Observed } else { Grade::Inferred };
        self.request.grade().min(part)
    }
}

/// The units that anybody has asked to isolate, as far as is known, newest first.
fn named(case: &Case<'_>) -> Vec<String> {
    let calls = case.world.calls_by(case.struck_ns()).rev().map(|call| &call.value);
    let isolating =
        calls.filter(|call| call.args.iter().any(|arg| arg.as_str() == Some("isolate")));
    let mut commands: Vec<(u64, String)> = case
        .world
        .people
        .iter()
        .filter_map(|(_, known)| Some((known.exec_ns?, isolated_by(known.cmdline.as_deref()?)?)))
        .collect();
    commands.sort();
    let mut units: Vec<String> = isolating.filter_map(unit_of_call).collect();
    units.extend(commands.into_iter().rev().map(|(_, unit)| unit));
    let mut known = std::collections::HashSet::new();
    units.retain(|unit| known.insert(unit.clone()));
    units
}

/// The start of the isolated unit, by any of its names, in the transaction of a job.
fn start_of<'a>(
    case: &Case<'a>,
    manager: Manager,
    unit: &str,
    job: &Seen<Job>,
) -> Option<&'a Seen<Job>> {
    let names = Names::of(case.world, manager, unit);
    case.world.jobs.iter().find(|other| {
        other.value.manager == manager
            && other.value.result.is_none()
            && other.value.id < job.value.id
            && other.ns().abs_diff(job.ns()) <= ONE_TRANSACTION
            && names.0.contains(&other.value.unit.as_str())
            && matches!(job_type(case.world, other), Some("start" | "restart") | None)
    })
}

/// Another unit was isolated: everything that it does not need was stopped.
pub fn isolated(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    job: &Seen<Job>,
    what: &str,
) -> Option<Opinion> {
    let asked = Asked::before(case, stop.manager, job, stop.begun.boot_ns)?;
    let who = match (asked.request.sentence(case), asked.request.call) {
        (Some(who), _) => who,
        (None, Some(call)) => format!("{} asked for it", nameless_caller(case, &call.value)),
        (None, None) => return None,
    };
    let effect = job.at.no_later_than(stop.begun);
    let start = asked.start.map(|start| units::job_link(case, start).before(effect));
    let setting = units::unit_setting(case, stop, "IgnoreOnIsolate", "IgnoreOnIsolate");
    Finding::new(
        CauseId::UnitStopRequested,
        Fit::Exact,
        asked.grade(),
        format!(
            "{what} since {} was isolated, and whatever it does not need is stopped then: {who}.",
            asked.unit
        ),
    )
    .settings([setting])
    .links(asked.request.links(case, effect))
    .links(start)
    .links(units::stop_links(case, stop))
    .fixes([fixes::ignore_on_isolate(&stop.at())])
    .answer()
}

/// A transaction that starts a target and stops nearly everything else, targets above all: an isolation, by what it does.
pub struct Isolation<'a> {
    /// The start of the target.
    pub target: &'a Seen<Job>,
    /// How many other units it stops, as far as was seen.
    stopped: usize,
}

impl<'a> Isolation<'a> {
    /// That which a job is part of.
    pub fn of(case: &Case<'a>, manager: Manager, job: &Seen<Job>) -> Option<Self> {
        /// Jobs of one transaction are told one after the other, and there may be hundreds.
        const ANNOUNCED: u64 = S;
        /// Fewer units can go by dependencies on one another.
        const MANY: usize = 8;
        let part = |other: &&Seen<Job>| {
            other.value.manager == manager
                && other.value.result.is_none()
                && other.ns().abs_diff(job.ns()) <= ANNOUNCED
        };
        let jobs = || case.world.jobs.iter().filter(part);
        if jobs().any(|other| other.value.unit == "shutdown.target") {
            return None;
        }
        let is_target = |job: &Seen<Job>| job.value.unit.ends_with(".target");
        let starts = |job: &Seen<Job>| matches!(job_type(case.world, job), Some("start") | None);
        // What was asked for has the lowest number.
        let target = jobs()
            .filter(|other| other.value.id < job.value.id && is_target(other) && starts(other))
            .min_by_key(|other| other.value.id)?;
        let stops: Vec<_> = jobs()
            .filter(|other| other.value.id > target.value.id)
            .filter(|other| job_type(case.world, other) == Some("stop"))
            .collect();
        // No dependency stops the targets of a running system.
        let targets = stops.iter().filter(|job| is_target(job)).count();
        (stops.len() >= MANY && targets >= 2).then_some(Self { target, stopped: stops.len() })
    }
}

/// Another unit was isolated, by what was stopped with this one; who asked was not seen.
pub fn concluded_isolation(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    job: &Seen<Job>,
    what: &str,
) -> Option<Opinion> {
    let Isolation { target, stopped } = Isolation::of(case, stop.manager, job)?;
    let asked = by_signal(case, target).filter(|_| stop.manager == Manager::System);
    if asked.is_none() && Failure::before(case, target).is_some() {
        const WHY: &str = "a unit that had failed had another one isolated";
        return is_not(CauseId::UnitStopRequested, WHY);
    }
    let setting = units::unit_setting(case, stop, "IgnoreOnIsolate", "IgnoreOnIsolate");
    let start = units::job_link(case, target).before(job.at.no_later_than(stop.begun));
    let who = asked.as_ref().map(|asked| format!("It was asked for by a signal{}.", asked.who));
    let text = format!(
        "{what} as {} was isolated, it seems: the same transaction stopped {stopped} units, targets among them, as whatever \
         the isolated one does not need is. {}",
        target.value.unit,
        who.unwrap_or_else(|| "Who asked for it was not seen.".to_owned())
    );
    let finding = Finding::new(CauseId::UnitStopRequested, Fit::Exact, Grade::Inferred, text);
    let finding = if asked.is_some() { finding } else { finding.gap(UNSEEN) };
    let asked = asked.into_iter().flat_map(|asked| asked.links);
    finding
        .settings([setting])
        .links(asked.map(|link| link.before(start.at)))
        .links([start])
        .links(units::stop_links(case, stop))
        .fixes([fixes::ignore_on_isolate(&stop.at())])
        .answer()
}
