//! Deaths since the kernel's OOM killer had struck in the unit, whose manager then stopped the rest of it.

use super::{Finding, Fit, Opinion, is_not, memory};
use crate::evidence::{Exit, Grade, Mechanism, OomVictim, S, Task, sig};
use crate::story::case::Case;
use crate::story::ending::lived_in;
use crate::story::links::exit_link;
use crate::story::manager::UnitStop;
use crate::story::verdict::{CauseId, Link, LinkEvent};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, journal, mechanism, stopping, units, words};

/// systemd stopped the unit since the kernel's OOM killer had struck in it.
pub fn oom_policy(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitOomPolicy;
    /// How long after it has heard of the kill its manager acts at most: a thrashing machine is slow.
    const ACTS: u64 = 5 * S;
    let stop = UnitStop::of(case)?;
    let near = |ns: u64| ns <= stop.first.ns() + S && ns + ACTS >= stop.first.ns();
    let message = case.world.journal.iter().rev().find(|line| {
        journal::said_of_run(line, &stop)
            && line.value.message.contains("killed by the OOM killer")
            && near(line.ns())
    });
    let result = stop.history.and_then(|history| {
        history.changes.iter().find(|change| {
            let result = change.value.get("Result").and_then(serde_json::Value::as_str);
            result == Some("oom-kill") && near(change.ns())
        })
    });
    if message.is_none() && result.is_none() {
        return None;
    }
    let policy = stopping::own_or_default(case, &stop, "OOMPolicy", "OOMPolicy");
    if policy.as_ref().is_some_and(|policy| policy.value == "continue") {
        return is_not(ID, format!("{} goes on after such a kill (OOMPolicy=continue)", stop.unit));
    }
    // The manager acts on it at once: for a job that was there before it would have been ending the unit already.
    let asked_first = stop.job.is_some_and(|job| message.is_none_or(|line| job.ns() <= line.ns()));
    if asked_first {
        return is_not(ID, format!("a job for {} was under way", stop.unit));
    }
    let first_victim = FirstVictim::of(case, &stop);
    let other = first_victim.as_ref().map_or_else(
        || "another process of the unit".to_owned(),
        |first| words::name_pid(&case.task(first.task())),
    );
    let reported: Option<Link> = message.map(|line| {
        let text =
            format!("{} logged {}", stop.manager_name(case), words::quotation(&line.value.message));
        case.link(line.at, LinkEvent::Oom, line.source, None, text).before(stop.begun)
    });
    let at = stop.at();
    let oom_ns = first_victim.as_ref().map_or(stop.first.ns(), FirstVictim::ns);
    let (limit, more) = memory::fix_at(case, oom_ns, &at);
    Finding::new(
        ID,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: the kernel's OOM killer had killed {other}, and systemd then stopped \
             the whole of {}{}.",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            units::in_brackets(policy.as_ref())
        ),
    )
    .settings([policy, limit])
    .links(first_victim.map(|first| first.link(case)))
    .links(reported)
    .links(units::stop_links(case, &stop))
    .fixes([fixes::oom_policy(&at), more])
    .answer()
}

/// The process of the unit that the kernel's OOM killer took, because of which the manager stopped the rest.
enum FirstVictim<'a> {
    /// The killer's signal to it.
    Struck(&'a SeenSignal),
    /// Its end, where that signal was not seen, and the kernel's choice.
    Ended { exit: &'a Seen<Exit>, mark: Option<&'a Seen<OomVictim>> },
}

impl<'a> FirstVictim<'a> {
    fn of(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<Self> {
        const RECENT: u64 = 5 * S;
        let stopped = stop.first.ns();
        let recent = |ns: u64| ns <= stopped && ns + RECENT >= stopped;
        let of_unit = |task: &Task| task.id != case.victim && lived_in(case, task, &stop.unit);
        // The manager hears of the kill before the victim has ended, and may have ended others by then.
        let ended = case.world.exits.iter().filter(|exit| exit.ns() + RECENT >= stopped);
        let marks = case.world.oom_victims.iter().filter(|mark| recent(mark.ns()));
        let marked =
            marks.filter_map(|mark| case.world.people.at(mark.value.global_tid, mark.ns()));
        let ids = ended.map(|exit| exit.value.task.id).chain(marked);
        let struck = ids.flat_map(|id| case.world.signals_to(id)).filter(|signal| {
            recent(signal.ns())
                && of_unit(&signal.value.target)
                && mechanism::of(&signal.value) == Mechanism::OomKill
        });
        if let Some(first) = struck.min_by_key(|signal| signal.ns()) {
            return Some(Self::Struck(first));
        }
        let mark = case.world.oom_victims.iter().rev().find(|mark| recent(mark.ns()));
        let fits = |exit: &Seen<Exit>| match mark {
            Some(mark) => (mark.ns()..=case.exit.ns()).contains(&exit.ns()),
            None => recent(exit.ns()),
        };
        let exit = case.world.exits.iter().find(|exit| {
            fits(exit) && exit.value.killed_by() == Some(sig::SIGKILL) && of_unit(&exit.value.task)
        })?;
        Some(Self::Ended { exit, mark })
    }

    /// When the kernel chose it, or, where that was not seen, when it ended.
    fn ns(&self) -> u64 {
        match self {
            Self::Struck(signal) => signal.ns(),
            Self::Ended { mark: Some(mark), .. } => mark.ns(),
            Self::Ended { exit, mark: None } => exit.ns(),
        }
    }

    fn task(&self) -> &'a Task {
        match self {
            Self::Struck(signal) => &signal.value.target,
            Self::Ended { exit, .. } => &exit.value.task,
        }
    }

    /// The kernel's choice where it was seen, else the end alone.
    fn link(&self, case: &Case<'_>) -> Link {
        let (at, source, by) = match self {
            Self::Struck(signal) => (signal.at, signal.source, ""),
            Self::Ended { exit, mark: None } => return exit_link(case, exit),
            // In a pid namespace of its own a process has another number than the kernel's.
            Self::Ended { exit, mark: Some(mark) } => {
                let same = mark.value.global_tid == exit.value.task.id.pid;
                let by = " (inferred: it was the unit's first to be killed after that)";
                (mark.at, mark.source, if same { "" } else { by })
            }
        };
        let victim = case.task(self.task());
        let text = format!("the kernel's OOM killer chose {}{by}", words::name_pid(&victim));
        case.link(at, LinkEvent::Oom, source, Some(victim), text)
    }
}
