//! Deaths since a user's service manager went down.

use super::reasons::EndAction;
use super::requests::ASKED_BEFORE;
use crate::evidence::{Grade, Job, Manager, S};
use crate::story::case::Case;
use crate::story::causes::{Finding, Fit, Opinion, logind};
use crate::story::manager::UnitStop;
use crate::story::requests::Request;
use crate::story::units;
use crate::story::verdict::CauseId;
use crate::story::world::Seen;

/// A user's whole service manager went down by itself: it was told to exit.
pub fn user_manager(case: &Case<'_>) -> Option<Opinion> {
    const TARGETS: [&str; 2] = ["exit.target", "shutdown.target"];
    let stop = UnitStop::of(case)?;
    let Manager::User(uid) = stop.manager else { return None };
    let job = case.world.jobs.iter().find(|job| {
        job.value.manager == stop.manager
            && TARGETS.contains(&job.value.unit.as_str())
            && job.ns() <= case.struck_ns() + S
    })?;
    let asked = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let args = known.cmdline.as_deref()?;
        let said = |word: &str| args.iter().any(|arg| arg == word);
        let fits = known.comm.as_deref() == Some("systemctl")
            && known.uid.is_none_or(|own| own == uid || own == 0)
            && said("--user")
            && (said("exit") || said("exit.target"));
        (fits && at <= job.ns() + S && at + ASKED_BEFORE >= job.ns()).then_some((at, id))
    });
    let Some((_, process)) = asked.max_by_key(|(at, _)| *at) else {
        return exited_by_setting(case, &stop, job);
    };
    let request = Request::by_command(case, process, stop.manager, job.ns());
    let effect = job.at.no_later_than(stop.begun);
    let mut above = units::job_link(case, job);
    above.at = effect;
    Finding::new(
        CauseId::UnitStopRequested,
        Fit::Exact,
        request.grade(),
        format!(
            "{} {} {}, which was told to exit and stopped all of its units, {} among them: {}.",
            case.victim_name(),
            case.was_ended(),
            stop.manager_name(case),
            stop.unit,
            request.sentence(case)?
        ),
    )
    .links(request.links(case, effect))
    .links([above])
    .links(units::stop_links(case, &stop))
    .fixes(logind::outside_manager(case))
    .answer()
}

/// A unit of the user's had ended that has its manager exit then.
fn exited_by_setting(case: &Case<'_>, stop: &UnitStop<'_>, job: &Seen<Job>) -> Option<Opinion> {
    let action = EndAction::before(case, job)?;
    let effect = job.at.no_later_than(stop.begun);
    Finding::new(
        CauseId::UnitStopRequested,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{} {} {}, which exited and stopped all of its units, {} among them: {}.",
            case.victim_name(),
            case.was_ended(),
            stop.manager_name(case),
            stop.unit,
            action.clause()
        ),
    )
    .settings([Some(action.setting.clone())])
    .fixes([action.remedy()])
    .links([action.link.before(effect)])
    .links([units::job_link(case, job).before(effect)])
    .links(units::stop_links(case, stop))
    .fixes(logind::outside_manager(case))
    .answer()
}
