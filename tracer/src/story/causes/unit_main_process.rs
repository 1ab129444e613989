//! Deaths that follow from the end of the unit's main process.

use super::unit_timeouts::ran_out;
use super::{Finding, Fit, Opinion, is_not};
use crate::evidence::{Exit, Grade, S};
use crate::story::case::Case;
use crate::story::manager::UnitStop;
use crate::story::manager::main_process::main_end;
use crate::story::stopping::Unheeded;
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, Fix, Link, LinkEvent, Outcome};
use crate::story::windows::AT_START;
use crate::story::world::Seen;
use crate::story::{fixes, unit_jobs, units, words};

/// The user whose service manager a unit is: what ran in it were that one's own units, and `KillMode=` of all users'
/// managers is no remedy.
fn users_manager(case: &Case<'_>, unit: &str) -> Option<String> {
    let uid = unit.strip_prefix("user@")?.strip_suffix(".service")?;
    let user = uid.parse().ok().and_then(|uid| case.world.user(uid));
    Some(user.map_or_else(|| uid.to_owned(), |user| user.name.clone()))
}

/// The main process ended and the manager cleaned up the rest.
pub fn main_process_exited(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitMainProcessExited;
    let stop = UnitStop::of(case)?;
    if stop.unit.ends_with(".scope") {
        return None;
    }
    if let Some(job) = stop.job {
        // One that was only heard of afterwards may have been made afterwards: where no main process had ended there is
        // nothing for it to rule out.
        let known = unit_jobs::is_known_before(case.world, job, stop.first.ns());
        let said = || is_not(ID, format!("a job for {} was under way", stop.unit));
        return (known || stop.main_end.is_some()).then(said).flatten();
    }
    if let Some(because) = ran_out(case, &stop) {
        return is_not(ID, because);
    }
    let main = stop.main_exit?;
    let name = words::name_pid(&case.task(&main.value.task));
    let end = End::of(case, main.value.task.id);
    let reload = reload_of(case, main);
    let how_ended = match (&reload, &end) {
        (Some(reload), _) => reload.explanation.trim_end_matches('.').to_owned(),
        (None, Some(end)) => end.sentence(case),
        (None, None) => format!("{name} ended"),
    };
    let mode = units::unit_setting(case, &stop, "KillMode", "KillMode");
    let oneshot = stop.history.and_then(|history| history.text("Type")) == Some("oneshot");
    let kind = if oneshot { "oneshot " } else { "" };
    let at_once = match mode.as_ref().map(|mode| mode.value.as_str()) {
        Some("mixed") => ", with SIGKILL at once,",
        _ => "",
    };
    let mut ended: Vec<Link> = end.iter().flat_map(|end| end.links(case, stop.first.at)).collect();
    if let Some(reload) = &reload {
        // What the reload ran is told as that.
        ended.retain(|link| link.event != LinkEvent::Command);
        ended.splice(..0, reload.links.iter().cloned());
    }
    let background = left_in_background(case, &stop, main, end.as_ref());
    let left = background.as_ref().map(|kind| {
        format!(
            " The main process left as one does that goes into the background, which ends a service of Type={kind}."
        )
    });
    let mut finding = Finding::new(
        ID,
        Fit::Circumstance,
        Grade::Observed,
        format!(
            "{} was ended by {}: the main process of the {kind}service {} was gone ({how_ended}), and \
             systemd cleaned up{at_once} what was left in the unit{}.{}",
            case.victim_name(),
            stop.manager_name(case),
            stop.unit,
            units::in_brackets(mode.as_ref()),
            left.unwrap_or_default()
        ),
    )
    .settings([mode])
    .settings(reload.iter().flat_map(|reload| reload.settings.iter().cloned().map(Some)))
    .links(ended)
    .links([units::cleanup_link(case, &stop, main)])
    .links(units::stop_links(case, &stop))
    .fixes(reload.iter().flat_map(|reload| reload.fixes.first().cloned()))
    .fixes(background.map(|kind| fixes::fitting_type(&stop.at(), &kind)))
    .fixes(outliving(case, &stop));
    for gap in reload.into_iter().flat_map(|reload| reload.gaps) {
        finding = finding.gap(gap);
    }
    finding.answer()
}

/// To have the victim outlive the main process of its unit.
fn outliving(case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<Fix> {
    let (program, command) = (case.program(), case.command());
    if let Some(user) = users_manager(case, &stop.unit) {
        return vec![fixes::system_unit_of_user(&user, &program, &command)];
    }
    let process = case.victim_process();
    // What nobody has a name for does not become root's.
    let named = |uid: u32| process.user.clone().unwrap_or_else(|| uid.to_string());
    let user = process.uid.filter(|uid| *uid != 0).map(named);
    let at = stop.at();
    vec![fixes::own_unit(&at, &program, &command, user.as_deref()), fixes::kill_mode_process(&at)]
}

/// `Type=` of a unit that ends with its main process, where that one ended well, soon after its start, and the victim, which it
/// had started, was in a session of its own: so daemons come about (daemon(7)).
fn left_in_background(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    main: &Seen<Exit>,
    end: Option<&End<'_>>,
) -> Option<String> {
    const ENDS_WITH_IT: [&str; 3] = ["simple", "exec", "idle"];
    let id = main.value.task.id;
    let people = &case.world.people;
    let kind = units::unit_setting(case, stop, "Type", "Type")?.value;
    let leader = people.get(case.victim)?.session_leader?;
    let is_it = ENDS_WITH_IT.contains(&kind.as_str())
        && end.is_some_and(End::is_by_itself)
        && main.value.status == 0
        && main.ns().saturating_sub(id.start_ns) <= AT_START
        && people.parents(case.victim).contains(&id)
        && leader != id.pid;
    is_it.then_some(kind)
}

/// The story of a main process that did not survive a reload of its unit.
fn reload_of(case: &Case<'_>, main: &Seen<Exit>) -> Option<Finding> {
    let ended = Case::new(case.world, main);
    match super::units::reloaded(&ended)? {
        Opinion::Is(finding) => Some(*finding),
        Opinion::IsNot { .. } => None,
    }
}

/// It exited, and no signal had made it, right after the unit's main process had ended: workers notice that by
/// a pipe or a socket, often before the manager has got to them.
pub fn exited_after_main(case: &Case<'_>) -> Option<Opinion> {
    /// How long after it workers have noticed at most and tidied up; what is later than that has other reasons.
    const NOTICED: u64 = 2 * S;
    let Outcome::Exited { status } = case.outcome else { return None };
    if case.blow.is_some() {
        return None;
    }
    let (manager, unit) = case.unit().filter(|(_, unit)| unit.ends_with(".service"))?;
    let ended_ns = case.exit.ns();
    let main = main_end(case.world, manager, unit, ended_ns, case.victim.start_ns, &[case.victim])?;
    // What was started when the main process was gone is no worker of its.
    if main.ns() + NOTICED < ended_ns || case.victim.start_ns >= main.ns() {
        return None;
    }
    let end = End::of(case, main.value.task.id)?;
    let unheeded = Unheeded::since(case, main.ns()).map(|unheeded| unheeded.clause(case));
    let signal = unheeded.unwrap_or_else(|| "no signal had reached it".to_owned());
    Finding::new(
        CauseId::ExitedByItself,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} exited by itself with status {status}, {} after the main process of {unit} had ended ({}); {signal}, so that \
             the one led to the other is a conclusion.",
            case.victim_name(),
            words::span(ended_ns.saturating_sub(main.ns())),
            end.sentence(case)
        ),
    )
    .links(end.links(case, case.exit.at))
    .answer()
}
