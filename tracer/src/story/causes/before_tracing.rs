//! Ends of processes whose unit was being ended already when it was first looked at: what asked them to end came before.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Source};
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::manager::{self, began_unseen};
use crate::story::requests::{Request, Wish};
use crate::story::unit_jobs::stop_job;
use crate::story::verdict::{CauseId, LinkEvent, Outcome};
use crate::story::{decide, fixes, units, words};

/// It exited, and no signal since tracing began decided it, but its unit had begun to end before.
pub fn asked_before(case: &Case<'_>) -> Option<Opinion> {
    let Outcome::Exited { status } = case.outcome else { return None };
    if case.blow.is_some() || decide::undecided(case.world, case.exit).is_some() {
        return None;
    }
    let (manager, unit) = case.unit()?;
    let history = case.world.unit_of(manager, unit)?;
    let began = began_unseen(history, case.exit.ns())?;
    // What the stop itself runs ends by itself.
    if case.victim.start_ns >= began.boot_ns {
        return None;
    }
    let since = words::span(case.exit.ns().saturating_sub(began.boot_ns));
    let job = stop_job(case.world, manager, unit, case.exit.ns(), case.victim.start_ns);
    let request = job.and_then(|job| Request::for_job(case, Wish::Stop, job, case.exit.ns()));
    let who = request.and_then(|request| request.sentence(case));
    let why = match (job, &who) {
        (Some(job), Some(who)) => format!(", by job {}: {who}", job.value.id),
        (Some(job), None) => {
            format!(", by job {}; who had asked for that was not seen", job.value.id)
        }
        (None, _) => "; why was not seen".to_owned(),
    };
    let text = format!("{unit} had begun to end");
    let link = case.link(began, LinkEvent::UnitState, Source::BusProperty, None, text);
    Finding::new(
        if job.is_some() { CauseId::UnitStopRequested } else { CauseId::ExitedByItself },
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} exited with status {status}, {since} after {} had begun to end{why}. That was before killtrace looked at it \
             first: whatever signal or command asked it to end is not in this trace.",
            case.victim_name(),
            words::unit(unit),
        ),
    )
    .links([link.said_over(manager)])
    .links(job.map(|job| units::job_link(case, job)))
    .links(request.iter().flat_map(|request| request.links(case, case.exit.at)))
    .fixes(fixes::look_at_unit(&UnitAt::of(case.world, manager, unit)))
    .gap(format!("what {}'s units were asked before tracing began was not seen", manager::name_of(case.world, manager)))
    .answer()
}
