//! Deaths since a user's service manager was stopped after the user's last logout.

use super::last_session::LastSession;
use super::linger::Linger;
use super::{SCOPE, from_logind, terminate_call};
use crate::evidence::{BusCall, Grade, Job, Manager};
use crate::story::case::Case;
use crate::story::causes::{Finding, Fit, Opinion, is_not, shutdown};
use crate::story::links::call_link;
use crate::story::manager::UnitStop;
use crate::story::requests::{Request, Wish};
use crate::story::unit_jobs::stop_job;
use crate::story::verdict::{CauseId, Link};
use crate::story::world::Seen;
use crate::story::{fixes, units, words};

/// The last logout without lingering.
pub fn user_stopped(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::LogindUserStopped;
    let stop = UnitStop::of(case)?;
    let uid = case.placement.owner_uid?;
    let manager_unit = format!("user@{uid}.service");
    if case.placement.unit.as_deref() != Some(manager_unit.as_str()) {
        let name = case.name();
        let around = case.placement.unit.as_deref().unwrap_or(&stop.unit);
        return is_not(ID, format!("{name} was in {around}, not below {manager_unit}"));
    }
    let name = case.world.user_name(uid);
    let Some(takedown) = Takedown::of(case, uid, stop.began_ns) else {
        return is_not(ID, format!("{manager_unit} was not being stopped"));
    };
    let job = takedown.job;
    let linger = Linger::at(case, uid, &name, job.ns());
    if let Some(because) = takedown.other_story(case, uid, &name, &linger) {
        return is_not(ID, because);
    }
    let by_logind = takedown.by_logind(case);
    let grade = if by_logind.is_some() { Grade::Observed } else { Grade::Inferred };
    let delay = case.setting(SCOPE, "UserStopDelaySec");
    let victim = words::name_pid(&case.victim_process());
    let stopped = job.at.no_later_than(stop.begun);
    let asked = by_logind.map(|call| call_link(case, call).before(stopped));
    let asked_at = asked.as_ref().map_or(stopped, |asked| asked.at);
    let last = LastSession::of(case, uid, asked_at, by_logind.is_some());
    let links: Vec<Link> =
        asked.into_iter().chain([units::job_link(case, job).before(stopped)]).collect();
    let its_own = takedown.own.filter(|own| own.value.id != job.value.id);
    let its_own = its_own.map(|own| units::job_link(case, own).before(stop.begun));
    let finding = Finding::new(
        ID,
        if by_logind.is_some() { Fit::Exact } else { Fit::Circumstance },
        grade.min(linger.grade()),
        format!(
            "{victim} ({name}) {} {}: {}, and {manager_unit}, which it ran below, was \
             stopped.",
            case.was_ended(),
            stop.manager_name(case),
            linger.clause(case, uid, &name, job.ns(), last.as_ref())
        ),
    );
    let finding = match linger {
        Linger::Yes => finding.gap(format!(
            "{name} lingered when that was last looked at; who changed that was not seen"
        )),
        Linger::No | Linger::TakenAway(_) => finding,
    };
    let last = last.filter(|last| linger.outlasted_by(last));
    finding
        .settings([linger.setting(&name), delay])
        .settings(last.iter().flat_map(|last| last.network_settings(case)).map(Some))
        .links(linger.links(case, stopped))
        .links(last.iter().flat_map(|last| last.links(case)))
        .links(links)
        .links(its_own)
        .links(units::stop_links(case, &stop))
        .fixes([fixes::linger(&name)])
        .fixes(last.iter().filter_map(LastSession::network_fix))
        .answer()
}

/// The job that began to take down what runs for a user.
struct Takedown<'a> {
    /// Of several the one that was asked for.
    job: &'a Seen<Job>,
    /// Who asked for it.
    request: Option<Request<'a>>,
    /// The first of them: that of the user's service manager, where it has one.
    own: Option<&'a Seen<Job>>,
}

impl<'a> Takedown<'a> {
    /// Of these units one is asked to stop, and takes the others along: on 252 the manager, on 257 the directory that it needs.
    fn of(case: &Case<'a>, uid: u32, began_ns: u64) -> Option<Self> {
        let units = [
            format!("user@{uid}.service"),
            format!("user-runtime-dir@{uid}.service"),
            format!("user-{uid}.slice"),
        ];
        let jobs = units.iter().filter_map(|unit| {
            let job = stop_job(case.world, Manager::System, unit, began_ns, u64::MAX)?;
            Some((job, Request::for_job(case, Wish::Stop, job, job.ns())))
        });
        let jobs: Vec<_> = jobs.collect();
        let own = jobs.first().map(|(own, _)| *own);
        let first = jobs.iter().find(|(_, request)| request.is_some()).or_else(|| jobs.first());
        first.map(|&(job, request)| Self { job, request, own })
    }

    /// The call by which logind asked for it.
    fn by_logind(&self, case: &Case<'_>) -> Option<&'a Seen<BusCall>> {
        let call = self.request.and_then(|asked| asked.call);
        call.filter(|call| from_logind(case, &call.value))
    }

    /// Why it was not the last logout that led to it.
    fn other_story(
        &self,
        case: &Case<'_>,
        uid: u32,
        name: &str,
        linger: &Linger<'_>,
    ) -> Option<String> {
        if shutdown::going_down(case, Manager::System).is_some() {
            return Some("the whole system was going down".to_owned());
        }
        if terminate_call(case, None, Some(uid), self.job.ns()).is_some() {
            return Some("logind was asked to end the user".to_owned());
        }
        if self.by_logind(case).is_some() {
            return None;
        }
        // Where logind stopped it all the same, that has changed, however it did.
        if matches!(linger, Linger::Yes) {
            return Some(format!("{name} lingers (loginctl enable-linger)"));
        }
        let other = self.request?;
        let who = other.actor(case).map_or_else(|| "somebody else".to_owned(), |a| a.sentence());
        Some(format!("not logind asked for the stop of {}: {who}", self.job.value.unit))
    }
}
