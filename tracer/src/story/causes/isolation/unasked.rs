//! Isolations that no request asked for: a signal to PID 1 did, or a unit that failed.

use super::Isolation;
use crate::evidence::{Grade, Job, ProcessId, S};
use crate::story::actor::{Actor, STARTS};
use crate::story::case::Case;
use crate::story::causes::{Finding, Fit, Opinion};
use crate::story::manager::UnitStop;
use crate::story::started::Failure;
use crate::story::verdict::{CauseId, Link, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, units, words};

/// The signals by which PID 1 isolates a target, and which (systemd(1), "Signals"); the first isolates whatever
/// default.target is.
const SIGNALS: [(&str, Option<&str>); 3] = [
    ("SIGRTMIN+0", None),
    ("SIGRTMIN+1", Some("rescue.target")),
    ("SIGRTMIN+2", Some("emergency.target")),
];

/// Who had a target isolated, in words that follow it, and what proves that.
pub struct Asked {
    /// `: root ran "kill -s RTMIN+1 1"`
    pub who: String,
    /// The command, and what systemd logged.
    pub links: Vec<Link>,
}

/// The signal to PID 1 that had this target isolated, where it logged one right before (`log_received_signal`).
pub fn by_signal(case: &Case<'_>, target: &Seen<Job>) -> Option<Asked> {
    let (line, signal, rest) = case.world.journal.iter().rev().find_map(|line| {
        let near = line.ns() <= target.ns() && line.ns().saturating_add(2 * S) >= target.ns();
        let said = line.value.message.trim_end_matches('.').strip_prefix("Received ")?;
        let (signal, rest) = said.split_once(' ').unwrap_or((said, ""));
        let isolates = |unit: Option<&str>| unit.is_none_or(|unit| unit == target.value.unit);
        let (signal, _) =
            SIGNALS.into_iter().find(|(name, unit)| *name == signal && isolates(*unit))?;
        (near && line.value.pid == Some(1)).then_some((line, signal, rest))
    })?;
    let said = format!("systemd logged {}", words::quotation(&line.value.message));
    let mut links = vec![case.link(line.at, LinkEvent::UnitState, line.source, None, said.clone())];
    let Some((process, how)) = sender(case, line.ns(), signal, rest) else {
        return Some(Asked { who: format!(": {said}"), links });
    };
    let actor = Actor::behind_at(case, process, line.ns());
    let commands = units::command_links(case, &actor);
    links.splice(0..0, commands);
    Some(Asked { who: format!(": {} ({said}{how})", actor.sentence()), links })
}

/// Who sent a signal, by what systemd logged: `from PID 42 (kill)`. Of whom it could not tell the name any more the
/// arguments have to say so.
fn sender(
    case: &Case<'_>,
    at_ns: u64,
    signal: &str,
    rest: &str,
) -> Option<(ProcessId, &'static str)> {
    let rest = rest.strip_prefix("from PID ")?;
    let id = case.world.people.at(rest.split_whitespace().next()?.parse().ok()?, at_ns)?;
    let known = case.world.people.get(id)?;
    // The pid may have been another's.
    if known.ended_ns.is_some_and(|ended| ended + S < at_ns) {
        return None;
    }
    if known.comm.as_deref().is_some_and(|comm| rest.contains(&format!("({comm})"))) {
        return Some((id, ""));
    }
    let text = known.cmdline.as_deref()?.join(" ");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '+';
    let mut said = text.split(|letter| !is_part(letter));
    let name = signal.trim_start_matches("SIG");
    let says_so = said.clone().any(|word| word == "kill")
        && said.clone().any(|word| word.trim_start_matches("SIG") == name)
        && said.any(|word| word == "1");
    says_so.then_some((id, "; it was that by its arguments"))
}

/// A unit that failed had a target isolated (`OnFailureJobMode=isolate`).
pub fn by_failure(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    job: &Seen<Job>,
    isolation: &Isolation<'_>,
) -> Option<Opinion> {
    let Isolation { target, stopped } = isolation;
    let failure = Failure::before(case, target)?;
    let effect = job.at.no_later_than(stop.begun);
    let start = units::job_link(case, target).before(effect);
    let text = format!(
        "{} {} {}, which stopped {} as {target} was isolated, it seems: the same transaction stopped {stopped} \
         units, targets among them, as whatever the isolated one does not need is. {} had failed right before, and starts \
         others then (OnFailure=; with OnFailureJobMode=isolate, it seems){}.",
        case.victim_name(),
        case.was_ended(),
        stop.manager_name(case),
        words::unit(&stop.unit),
        failure.unit,
        failure.why(case, STARTS),
        target = target.value.unit,
    );
    let setting = units::unit_setting(case, stop, "IgnoreOnIsolate", "IgnoreOnIsolate");
    Finding::new(CauseId::UnitDependency, Fit::Exact, Grade::Inferred, text)
        .settings([setting])
        .links(failure.links(case, start.at, STARTS))
        .links([start])
        .links(units::stop_links(case, stop))
        .fixes([fixes::ignore_on_isolate(&stop.at())])
        .answer()
}
