//! Nobody did it, or nobody knows who.

use super::told::told_parent;
use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Mechanism, S, TargetReason, sig, signal_name};
use crate::story::case::Case;
use crate::story::clients::Shutdown;
use crate::story::verdict::{CauseId, Outcome};
use crate::story::world::SeenSignal;
use crate::story::{decide, mechanism, patience, signals, words};

/// It exited, and no signal asked it to.
pub fn by_itself(case: &Case<'_>) -> Option<Opinion> {
    let Outcome::Exited { status } = case.outcome else { return None };
    if case.blow.is_some() || decide::undecided(case.world, case.exit).is_some() {
        return None;
    }
    let victim = words::name_pid(&case.victim_process());
    let signal = caught_before(case, status);
    let command = Shutdown::of(case);
    let asked = command.as_ref().map(|it| it.sentence(case)).or_else(|| told_parent(case));
    let mut grade = Grade::Observed;
    let how = match debugger(case) {
        Some(debugger) => {
            grade = Grade::Inferred;
            format!(
                "{victim} exited with status {status} while {debugger} was tracing it, which may have made it do \
                 so; no signal ended it."
            )
        }
        // That something asked it to is no absence of it.
        None if asked.is_some() => {
            format!("{victim} exited by itself with status {status}; no signal ended it.")
        }
        None if let Some(doubt) = asked_before(case) => {
            grade = Grade::Inferred;
            format!("{victim} exited with status {status}; {doubt}")
        }
        None => format!("{victim} exited by itself with status {status}; nobody killed it."),
    };
    if signal.is_some() || asked.is_some() || lost_before(case) {
        grade = Grade::Inferred;
    }
    let told = match signal {
        Some((number, told)) if patience::said_so(number, status) => told,
        other => other.map(|(_, told)| told).unwrap_or_default() + &convention(case, status),
    };
    let explanation = format!("{how}{told}{}", asked.unwrap_or_default());
    Finding::new(CauseId::ExitedByItself, Fit::Mechanism, grade, explanation)
        .links(command.map(|it| it.link(case)))
        .answer()
}

/// Why it is not certain that nobody had asked it to end: it was there before tracing began, a moment before its end, and it has
/// a way of its own with SIGTERM, which it may have been sent before. What waited for it then is told as that.
fn asked_before(case: &Case<'_>) -> Option<String> {
    /// What ends when it is asked to has mostly done so by then.
    const ANSWERS_WITHIN: u64 = 5 * S;
    let traced_ns = case.exit.ns().checked_sub(case.world.traced_since(case.victim)?)?;
    let at_first = case.world.people.get(case.victim).and_then(|known| known.at_first.as_ref());
    // An older recording has nothing of that.
    let answers = at_first.map(|found| found.answers.as_deref().unwrap_or_default());
    let which = match answers {
        // It was gone before it could be looked at.
        None => String::new(),
        // Shells catch or hold up SIGINT and its kind in any case.
        Some(numbers) if !numbers.contains(&sig::SIGTERM) => return None,
        Some(numbers) => {
            let names: Vec<String> = numbers.iter().map(|it| signal_name(*it)).collect();
            format!(": it had a way of its own with {}", words::list(&names))
        }
    };
    (traced_ns < ANSWERS_WITHIN).then(|| {
        format!(
            "no signal that ended it was seen in the {} that it was traced. Whether one from before had asked it to end is \
             not known{which}.",
            words::span(traced_ns)
        )
    })
}

/// A caught signal that might be thought the reason: its number, and what to say of it.
fn caught_before(case: &Case<'_>, status: u8) -> Option<(u8, String)> {
    const RECENT_NS: u64 = 300 * S;
    const FAULT_NS: u64 = S;
    const NEAR_NS: u64 = S;
    let runtime = patience::Program::of(case.world, &case.exit.value).runtime;
    let recent = case.world.signals_to(case.victim).iter().rev().filter(|signal| {
        let pending = case.exit.value.pending.contains(&signal.value.number);
        !pending && patience::is_caught(&signal.value) && signal.ns() <= case.exit.ns()
    });
    // Some programs end by SIGUSR1 and its kind; most only do something else at it.
    let may_ask = |signal: &&SeenSignal| {
        let sent = &signal.value;
        let by_other = !patience::is_own(sent) && !mechanism::of(sent).is_kernels_own();
        by_other && !patience::is_everyday(sent.number) && signal.ns() + NEAR_NS >= case.exit.ns()
    };
    let plainest = recent.clone().find(|signal| {
        let delay = case.exit.ns() - signal.ns();
        if mechanism::of(&signal.value) == Mechanism::Fault {
            return status != 0 && delay < FAULT_NS && !runtime;
        }
        let asks =
            matches!(signal.value.number, sig::SIGTERM | sig::SIGINT | sig::SIGQUIT | sig::SIGHUP);
        asks && !patience::is_own(&signal.value) && delay < RECENT_NS
    });
    let seen = plainest.or_else(|| recent.clone().find(may_ask))?;
    let asks_plainly = plainest.is_some();
    let span = words::span(case.exit.ns() - seen.ns());
    let name = signal_name(seen.value.number);
    let told = match mechanism::of(&seen.value) {
        Mechanism::Fault => format!(
            " {span} before, {} ({name}), caught that and went on; whether it led to the exit is not known.",
            super::fault_words(&seen.value)
        ),
        Mechanism::TtySignal => {
            format!(" It had caught {name}, typed at its terminal, {span} before, and gone on.")
        }
        _ => {
            let from = signals::from(case.world, &seen.value);
            let then = if asks_plainly {
                ", and gone on"
            } else {
                "; whether that led to the exit is not known"
            };
            format!(" It had caught {name} from {from} {span} before{then}.")
        }
    };
    Some((seen.value.number, told))
}

/// Whoever was tracing it at its end, and can have called `exit` in it. strace and its kind only look on.
fn debugger(case: &Case<'_>) -> Option<String> {
    const ONLOOKERS: [&str; 3] = ["strace", "ltrace", "rr"];
    let tracer = case.world.people.at(case.exit.value.ptracer?, case.exit.ns())?;
    let process = case.process(tracer);
    let onlooker = process.comm.as_deref().is_some_and(|comm| ONLOOKERS.contains(&comm));
    (!onlooker).then(|| words::name_pid(&process))
}

/// Shells report the death of a command as 128+N; the shell itself was not killed. Other programs have such a status for
/// other reasons.
fn convention(case: &Case<'_>, status: u8) -> String {
    let 129..=192 = status else { return String::new() };
    let signal = signal_name(status - 128);
    let ended = case
        .world
        .exits
        .iter()
        .rev()
        .filter(|exit| exit.value.task.ppid == case.victim.pid && exit.ns() <= case.exit.ns());
    let children: Vec<_> = ended.collect();
    let told = children.iter().find_map(|exit| {
        let name = || words::name_pid(&case.task(&exit.value.task));
        if exit.value.killed_by() == Some(status - 128) {
            Some(format!(
                " {status} stands for {signal}, by which its child {} had been killed.",
                name()
            ))
        } else if exit.value.exited_with() == Some(status) {
            Some(format!(" Its child {} had exited with the same status.", name()))
        } else {
            None
        }
    });
    // Children of one that is followed are told of; of others only some are.
    let followed = matches!(
        case.world.target_reason(case.victim),
        Some(TargetReason::Command | TargetReason::Child)
    );
    told.unwrap_or_else(|| {
        let any_killed = children.iter().any(|exit| exit.value.killed_by().is_some());
        if followed && !lost_before(case) && !any_killed {
            format!(
                " Shells have {status} for a command that {signal} killed, but no child of its was killed by a signal."
            )
        } else {
            format!(" A shell exits with {status} where {signal} killed a command that it ran.")
        }
    })
}

fn lost_before(case: &Case<'_>) -> bool {
    case.world.losses.iter().any(|lost| lost.value.dropped > 0 && lost.ns() <= case.exit.ns() + S)
}

/// What is known when nothing else is.
pub fn unknown(case: &Case<'_>) -> Option<Opinion> {
    let victim = words::name_pid(&case.victim_process());
    let ended = match &case.outcome {
        Outcome::Unknown => "is gone".to_owned(),
        seen => seen.clause(),
    };
    let (text, gap) = match case.blow {
        Some(blow) => {
            let signal = signal_name(blow.signal.value.number);
            let path = &blow.signal.value.stack;
            let way = if path.is_empty() {
                String::new()
            } else {
                format!(" (in {})", path.iter().take(6).cloned().collect::<Vec<_>>().join(" < "))
            };
            (
                format!("{victim} {ended}: the kernel sent {signal}{way}, and why is not known."),
                None,
            )
        }
        None if let Some(caught) = decide::undecided(case.world, case.exit) => (
            format!(
                "{victim} {ended}, {} after {} from {}, which it caught; that, or a signal that was lost, may be why, or \
                 neither.",
                words::span(case.exit.ns().saturating_sub(caught.ns())),
                signal_name(caught.value.number),
                signals::from(case.world, &caught.value)
            ),
            None,
        ),
        None if case.outcome == Outcome::Unknown => (
            if case.world.losses.iter().any(|loss| loss.value.place.is_in_kernel()) {
                format!("{victim} {ended}; its end was among the events that were lost.")
            } else {
                format!("{victim} {ended}; it had ended before everything was in place to see it.")
            },
            Some(
                "how it ended, when, and by whose doing was not seen: it was only found to be gone",
            ),
        ),
        None => (
            format!("{victim} {ended}, and the signal that did it was not seen."),
            Some(
                "the signal was sent before tracing began, was lost, or the kernel ended the process without one",
            ),
        ),
    };
    let mut finding = Finding::new(CauseId::Unknown, Fit::Fallback, Grade::Inferred, text);
    finding.gaps.extend(gap.map(str::to_owned));
    finding.answer()
}
