//! Nobody did it, or nobody knows who.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, signal_name};
use crate::story::case::Case;
use crate::story::verdict::{CauseId, Outcome};
use crate::story::words;

/// It exited, and no signal asked it to.
pub fn by_itself(case: &Case<'_>) -> Option<Opinion> {
    let Outcome::Exited { status } = case.outcome else { return None };
    if case.blow.is_some() {
        return None;
    }
    let victim = words::name_pid(&case.victim_process());
    // Shells report the death of a command as 128+N; the shell itself was not killed.
    let convention = match status {
        129..=192 => {
            let signal = signal_name(status - 128);
            let child = case.world.exits.iter().rev().find(|exit| {
                exit.value.task.ppid == case.victim.pid
                    && exit.value.status & 0x7f == u32::from(status - 128)
            });
            child.map_or_else(
                || format!(" By the convention of shells {status} means that a command it ran was killed by {signal}."),
                |child| {
                    let name = words::name_pid(&case.task(&child.value.task));
                    format!(" {status} stands for {signal}, by which its child {name} had been killed.")
                },
            )
        }
        _ => String::new(),
    };
    let mut finding = Finding::new(
        CauseId::ExitedByItself,
        Fit::Mechanism,
        Grade::Observed,
        format!("{victim} exited by itself with status {status}; nobody killed it.{convention}"),
    );
    if lost_before(case) {
        finding.grade = Grade::Inferred;
    }
    finding.answer()
}

fn lost_before(case: &Case<'_>) -> bool {
    case.world
        .losses
        .iter()
        .any(|lost| lost.value.dropped > 0 && lost.ns() <= case.exit.ns() + 1_000_000_000)
}

/// What is known when nothing else is.
pub fn unknown(case: &Case<'_>) -> Option<Opinion> {
    let victim = words::name_pid(&case.victim_process());
    let ended = match &case.outcome {
        Outcome::Signaled { signal, .. } => format!("was killed by {signal}"),
        Outcome::Exited { status } => format!("exited with {status}"),
        Outcome::Unknown => "is gone".to_owned(),
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
