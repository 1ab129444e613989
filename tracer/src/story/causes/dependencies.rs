//! Deaths since something happened to another unit: it was stopped, started or ended, and a dependency
//! carried that over.

use std::collections::BTreeMap;

use serde_json::Value;

use super::isolation::{Asked, Isolation, by_failure, by_signal};
use super::{Finding, Fit, Opinion, is_not, unit_timeouts};
use crate::evidence::{Grade, Job, Moment};
use crate::story::actor::STARTS;
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::manager::UnitStop;
use crate::story::pulls::{Happening, Pull, Trigger, ended, pull, starts_before};
use crate::story::requests::{Request, Wish};
use crate::story::started::Failure;
use crate::story::unit_jobs::job_type;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link};
use crate::story::windows::ONE_TRANSACTION;
use crate::story::world::{Seen, UnitHistory};
use crate::story::{fixes, units, words};

const ID: CauseId = CauseId::UnitDependency;

/// The stop, start or end of another unit pulled this one down.
pub fn dependency(case: &Case<'_>) -> Option<Opinion> {
    let stop = UnitStop::of(case)?;
    let job = stop.job?;
    if let Some(because) = unit_timeouts::ran_out(case, &stop) {
        return is_not(ID, because);
    }
    if stop.asked_for(case).is_some() {
        return is_not(ID, format!("the stop of {} itself was asked for", stop.unit));
    }
    // A shutdown and an isolation stop units right and left: that is no dependency.
    let going_down = case.world.jobs.iter().any(|other| {
        other.value.manager == stop.manager
            && other.value.unit == "shutdown.target"
            && other.value.id < job.value.id
            && other.ns().abs_diff(job.ns()) <= ONE_TRANSACTION
    });
    if going_down {
        return is_not(ID, "everything was being stopped");
    }
    let isolated = Asked::before(case, stop.manager, job, stop.begun.boot_ns).is_some();
    let isolation = Isolation::of(case, stop.manager, job);
    let of_failure =
        isolation.as_ref().filter(|it| !isolated && by_signal(case, it.target).is_none());
    if let Some(opinion) = of_failure.and_then(|it| by_failure(case, &stop, job, it)) {
        return Some(opinion);
    }
    if isolated || isolation.is_some() {
        return is_not(ID, "another unit was being isolated");
    }
    let history = stop.history?;
    let stopped = Happening::stop(&stop, &stop.unit, job);
    match pull(case, stopped, Some(history)) {
        Some(pull) => related(case, &stop, &pull),
        None => unneeded(case, &stop, job),
    }
}

fn related<'a>(case: &Case<'a>, stop: &UnitStop<'a>, pull: &Pull<'_>) -> Option<Opinion> {
    let setting = pull.setting(case, stop.manager, &stop.unit);
    let why = pull.why(&words::unit(&stop.unit), setting.as_ref());
    let other = pull.trigger.unit.as_str();
    let (at, property) = (stop.at(), pull.relation.property);
    let fix = match setting.as_ref() {
        // What a program made has no file of its own, and one that the manager wrote itself is not for editing.
        Some(line) if is_transient(line) || at.transient && line.file.is_none() => {
            // The line may stand in the other unit, which names this one.
            if line.value.split_whitespace().any(|named| named == stop.unit) {
                let at = UnitAt::of(case.world, stop.manager, other);
                made_otherwise(case, &at, &line.name, &stop.unit)
            } else {
                made_otherwise(case, &at, &line.name, other)
            }
        }
        // No line says so any more: the files have only to be read again.
        Some(line) if line.unread.is_some() => None,
        Some(line) => Some(fixes::loosen_dependency(&at, property, line, [&stop.unit, other])),
        None if at.transient => {
            pull.relation.own.and_then(|name| made_otherwise(case, &at, name, other))
        }
        None if property == "Slice" => Some(fixes::other_slice(&at, other)),
        None => None,
    };
    let fixes = direct_restart(case, stop, &pull.trigger).into_iter().chain(fix);
    finding(case, stop, &pull.trigger, &why, setting, fixes)
}

/// What to do where a program made the unit with that dependency. A login session's is made by logind, in a way of its own:
/// what runs there can run elsewhere.
fn made_otherwise(case: &Case<'_>, at: &UnitAt, name: &str, other: &str) -> Option<Fix> {
    if !at.is_of_session() {
        return Some(fixes::without_dependency(at, name, other));
    }
    let user = case.victim_process().user?;
    Some(fixes::system_unit_of_user(&user, &case.program(), &case.command()))
}

/// `RestartMode=direct` for the other unit, where its manager knows that setting and restarts it by itself: nothing that
/// depends on it is stopped then (tried with 257: `BindsTo=`, `PartOf=`, `Requires=`).
fn direct_restart(case: &Case<'_>, stop: &UnitStop<'_>, trigger: &Trigger<'_>) -> Option<Fix> {
    let history = case.world.unit_of(stop.manager, &trigger.unit)?;
    let state = |seen: &Seen<BTreeMap<String, Value>>| {
        let state = seen.value.get("SubState").and_then(Value::as_str);
        state.is_some_and(|state| state.starts_with("auto-restart"))
    };
    let near = |ns: u64| ns.abs_diff(trigger.at.boot_ns) <= ONE_TRANSACTION;
    let restarts = || history.changes.iter().any(|seen| near(seen.ns()) && state(seen));
    let by_itself = trigger.by_itself || trigger.job.is_none() && restarts();
    let at = UnitAt::of(case.world, stop.manager, &trigger.unit);
    (by_itself && !at.transient && history.text("RestartMode") == Some("normal"))
        .then(|| fixes::direct_restart(&at, &stop.unit))
}

/// Whether it stands in a file that the service manager wrote for a unit made at run time.
fn is_transient(setting: &DecidingSetting) -> bool {
    let file = setting.file.as_deref().unwrap_or_default();
    file.starts_with("/run/systemd/transient/")
        || file.starts_with("/run/user/") && file.contains("/systemd/transient/")
}

/// `StopWhenUnneeded=`: the last unit that needed it is gone.
fn unneeded<'a>(case: &Case<'a>, stop: &UnitStop<'a>, job: &Seen<Job>) -> Option<Opinion> {
    let trigger = last_needing(case, stop, stop.history?, job)?;
    let setting = units::unit_setting(case, stop, "StopWhenUnneeded", "StopWhenUnneeded");
    let set = setting.as_ref().map_or_else(|| "StopWhenUnneeded=yes".to_owned(), units::cited);
    let why = format!("{} is stopped when no other unit needs it ({set})", stop.unit);
    let fix = Some(fixes::keep_when_unneeded(&stop.at()));
    finding(case, stop, &trigger, &why, setting, fix)
}

/// Of a unit with `StopWhenUnneeded=`, the last one that needed it and was gone when its job was made.
fn last_needing<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'a>,
    history: &UnitHistory,
    job: &Seen<Job>,
) -> Option<Trigger<'a>> {
    const NEEDS: [&str; 5] = ["RequiredBy", "BoundBy", "WantedBy", "RequisiteOf", "UpheldBy"];
    let set = history.now.get("StopWhenUnneeded").and_then(Value::as_bool);
    if set != Some(true) {
        return None;
    }
    let needing = NEEDS.iter().flat_map(|property| history.ever_listed(property));
    let gone = needing.filter_map(|other| last_need(case, stop, job, other));
    gone.max_by_key(|trigger| trigger.at.boot_ns)
}

/// A unit that needed another and was gone when the job was made: it had a stop job, which may have
/// begun long before, or it ended by itself.
fn last_need<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'a>,
    job: &Seen<Job>,
    other: &str,
) -> Option<Trigger<'a>> {
    let of_other =
        |seen: &&Seen<Job>| seen.value.manager == stop.manager && seen.value.unit == other;
    let removed = case.world.jobs.iter().filter(of_other).rfind(|seen| {
        seen.value.result.is_some()
            && seen.value.id < job.value.id
            && seen.ns().abs_diff(job.ns()) <= ONE_TRANSACTION
    });
    let made = removed.and_then(|removed| {
        case.world.jobs.iter().filter(of_other).find(|seen| {
            seen.value.id == removed.value.id
                && seen.value.result.is_none()
                && matches!(job_type(case.world, seen), Some("stop" | "restart") | None)
        })
    });
    match made {
        Some(made) => {
            let request = Request::for_job(case, Wish::Stop, made, made.ns());
            Some(Trigger::by_job(other.to_owned(), made, request))
        }
        None => ended(case, Happening::stop(stop, other, job)),
    }
}

fn finding<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'a>,
    trigger: &Trigger<'_>,
    why: &str,
    setting: Option<DecidingSetting>,
    fixes: impl IntoIterator<Item = Fix>,
) -> Option<Opinion> {
    // None of it can be later than the victim's own job, which it led to.
    let effect = stop.ordered_at();
    let settings = vec![setting];
    let mut told = Told { stop, links: Vec::new(), settings, gap: None, unneeded: 0 };
    let what = told.tell(case, trigger, effect);
    let Told { links, settings, gap, .. } = told;
    let mut finding = Finding::new(
        ID,
        Fit::Exact,
        // That the one led to the other is concluded from the dependency and the time.
        Grade::Inferred,
        format!(
            "{} {} {}: {why}, and {what}.",
            words::name_pid(&case.victim_process()),
            case.was_ended(),
            stop.manager_name(case)
        ),
    )
    .settings(settings)
    .links(links)
    .links(units::stop_links(case, stop))
    .fixes(fixes)
    .fixes(fixes::look_at_unit(&stop.at()));
    if let Some(gap) = gap {
        finding = finding.gap(gap);
    }
    finding.answer()
}

/// What has been told of the units that led to a stop.
struct Told<'s, 'a> {
    /// The stop that all of it led to.
    stop: &'s UnitStop<'a>,
    links: Vec<Link>,
    settings: Vec<Option<DecidingSetting>>,
    gap: Option<String>,
    /// How many of them were stopped since nothing needed them any more.
    unneeded: usize,
}

impl<'a> Told<'_, 'a> {
    /// Tells what happened to a unit and why, from there back to where it began.
    fn tell(&mut self, case: &Case<'a>, trigger: &Trigger<'_>, effect: Moment) -> String {
        let unit = &trigger.unit;
        let done = match trigger.job.and_then(|job| job_type(case.world, job)) {
            _ if trigger.job.is_none() && unit.ends_with(".mount") => "unmounted",
            Some("start") => "started",
            None if trigger.started => "started",
            Some("restart" | "try-restart") => "restarted",
            _ => "stopped",
        };
        // Nobody names what is restarted for being marked.
        let marked = || {
            let job = trigger.job.filter(|_| done == "restarted" && !trigger.by_itself)?;
            Request::for_marked(case, self.stop.manager, job.ns())
        };
        let known = trigger.because.is_some() || trigger.activated_by.is_some();
        let request = trigger.request.or_else(|| marked().filter(|_| !known));
        let asker = request.and_then(|request| request.sentence(case));
        let told = match (asker, &trigger.because, &trigger.activated_by) {
            (None, ..) if trigger.by_itself => self.tell_restart(case, trigger),
            (Some(who), ..) => format!("{unit} was {done}: {who}"),
            (None, Some(pull), _) => {
                let setting = pull.setting(case, self.stop.manager, unit);
                let why = pull.why("it", setting.as_ref());
                self.settings.push(setting);
                format!("{unit} was {done}: {why}, and {}", self.tell(case, &pull.trigger, effect))
            }
            (None, None, Some(other)) => format!("{unit} was {done} by {other}"),
            (None, None, None) if done == "started" => self
                .tell_failure(case, trigger, effect)
                .unwrap_or_else(|| self.tell_end(case, trigger, done)),
            (None, None, None) => self
                .tell_unneeded(case, trigger, effect)
                .unwrap_or_else(|| self.tell_end(case, trigger, done)),
        };
        let job = trigger.job.map(|job| units::job_link(case, job));
        self.links.extend(trigger.end.iter().flat_map(|end| end.links(case, effect)));
        self.links.extend(request.iter().flat_map(|request| request.links(case, effect)));
        let last = job.into_iter().chain(trigger.state.clone());
        self.links.extend(last.map(|link| link.before(effect)));
        told
    }

    /// As [`Self::tell`], of a unit that its manager restarts whenever it ends.
    fn tell_restart(&mut self, case: &Case<'a>, trigger: &Trigger<'_>) -> String {
        let unit = &trigger.unit;
        let setting = case.unit_setting(self.stop.manager, unit, "Restart");
        let cited = setting.as_ref().map_or_else(|| "Restart=".to_owned(), units::cited);
        self.settings.push(setting);
        let end = trigger.end.as_ref().map(|end| end.sentence(case));
        let end = end.map(|end| format!(": {end}")).unwrap_or_default();
        format!("{unit} was restarted by its manager itself ({cited}) after it had ended{end}")
    }

    /// As [`Self::tell`], of a unit that is started when another one fails.
    fn tell_failure(
        &mut self,
        case: &Case<'a>,
        trigger: &Trigger<'_>,
        effect: Moment,
    ) -> Option<String> {
        let failure = Failure::before(case, trigger.job?)?;
        self.links.extend(failure.links(case, effect, STARTS));
        let by = failure.sentence(case, STARTS);
        Some(format!("{} was started{} by {by}", trigger.unit, failure.seems()))
    }

    /// As [`Self::tell`], of a unit that was stopped since the last one that needed it was gone.
    fn tell_unneeded(
        &mut self,
        case: &Case<'a>,
        trigger: &Trigger<'_>,
        effect: Moment,
    ) -> Option<String> {
        /// So many in a row are followed.
        const HOPS: usize = 4;
        let unit = trigger.unit.as_str();
        let job = trigger.job.filter(|_| self.unneeded < HOPS)?;
        if matches!(job_type(case.world, job), Some(kind) if kind != "stop") {
            return None;
        }
        let history = case.world.unit_of(self.stop.manager, unit)?;
        let last = last_needing(case, self.stop, history, job)?;
        self.unneeded += 1;
        let setting = case.unit_setting(self.stop.manager, unit, "StopWhenUnneeded");
        let set = setting.as_ref().map_or_else(|| "StopWhenUnneeded=yes".to_owned(), units::cited);
        self.settings.push(setting);
        let last = self.tell(case, &last, effect);
        Some(format!(
            "{unit} was stopped: it is stopped when no other unit needs it ({set}), and {last}"
        ))
    }

    /// As [`Self::tell`], of what nobody is known to have asked for.
    fn tell_end(&mut self, case: &Case<'a>, trigger: &Trigger<'_>, done: &str) -> String {
        let unit = &trigger.unit;
        match (&trigger.end, trigger.job) {
            (_, Some(job)) => {
                let stop = Happening {
                    manager: self.stop.manager,
                    unit,
                    what: Wish::Stop,
                    job: job.value.id,
                    ns: job.ns(),
                    begun_ns: job.ns(),
                };
                let starts = starts_before(case, stop).into_iter().filter(|_| !trigger.started);
                let perhaps = starts.take(1).map(|start| {
                    let Job { unit, id, .. } = &start.value;
                    format!(", nor whether it conflicts with {unit}, which had just got job {id}")
                });
                let perhaps = perhaps.collect::<String>();
                self.gap = Some(format!(
                    "who asked for the job of {unit} was not seen: neither on the bus nor by a command that names it"
                ));
                format!("{unit} was {done}; who asked for that was not seen{perhaps}")
            }
            (Some(end), None) => format!("{unit} had ended: {}", end.sentence(case)),
            (None, None) => format!("{unit} was gone"),
        }
    }
}
