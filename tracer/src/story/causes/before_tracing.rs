//! Ends of processes whose unit was being ended already when it was first looked at: what asked them to end came before.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Source};
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::manager::began_unseen;
use crate::story::manager::main_process::was_named_main;
use crate::story::requests::{Request, Wish};
use crate::story::unit_command::UnitCommand;
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
    // What the stop itself runs ends by itself. It may have been started a moment before the unit's state said so.
    let helps = || {
        let command = UnitCommand::of(case, &case.exit.value.task);
        command.is_some_and(|command| command.setting.starts_with("ExecStop"))
    };
    if case.victim.start_ns >= began.boot_ns || helps() {
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
    // A stop asks the main process; others may have ended for a reason of their own.
    let is_main = was_named_main(case.world, manager, unit, case.victim);
    let (id, asked) = match job {
        Some(_) if is_main => {
            (CauseId::UnitStopRequested, "what seems to have asked the process to end")
        }
        _ => (CauseId::ExitedByItself, "whether anything had asked the process to end"),
    };
    let text = format!("{unit} was ending already");
    let link = case.link(began, LinkEvent::UnitState, Source::BusProperty, None, text);
    Finding::new(
        id,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} exited with status {status}. {} had been ending for {since} at least{why}. That had begun before killtrace \
             first looked at the unit: {asked} is not in this trace.",
            case.victim_name(),
            words::unit(unit),
        ),
    )
    .links([link.said_over(manager)])
    .links(job.map(|job| units::job_link(case, job)))
    .links(request.iter().flat_map(|request| request.links(case, case.exit.at)))
    .fixes(fixes::look_at_unit(&UnitAt::of(case.world, manager, unit)))
    .gap(format!("what had happened to {unit} before killtrace looked at it first was not seen"))
    .answer()
}
