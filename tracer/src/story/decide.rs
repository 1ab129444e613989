//! Which signal decided a death.

use super::mechanism;
use super::world::{Seen, SeenSignal, World};
use crate::evidence::{Disposition, Exit, Grade, Mechanism, SignalResult, SignalSent, sig};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// The signal that decided a death, and how it did.
#[derive(Clone, Copy, Debug)]
pub struct Blow<'a> {
    /// The signal that is to blame.
    pub signal: &'a SeenSignal,
    /// How it came about.
    pub mechanism: Mechanism,
    /// How it led to the end.
    pub way: Way,
    /// How well that link is proven.
    pub grade: Grade,
}

/// How a signal led to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel ended the process with it.
    Killed,
    /// The process caught it, tidied up and sent the same signal to itself.
    Reraised,
    /// The process caught it (or waited for it) and exited by itself.
    CaughtThenExited,
}

/// Finds the signal that decided the end.
pub fn decide<'a>(world: &'a World, exit: &'a Seen<Exit>) -> Option<Blow<'a>> {
    let id = exit.value.task.id;
    let mut signals: Vec<&SeenSignal> = world
        .signals_to(id)
        .iter()
        .filter(|signal| signal.ns() <= exit.ns() + MS)
        .filter(|signal| reached(&signal.value))
        .collect();
    signals.sort_by_key(|signal| signal.ns());
    if exit.value.unseen {
        // What condemned it has ended it; of all else it can have ended.
        let condemned = signals.into_iter().find(|signal| signal.value.fatal)?;
        return Some(blow(condemned, Way::Killed, Grade::Inferred));
    }
    let ended_by = (exit.value.status & 0x7f) as u8;
    if ended_by == 0 {
        // What was still waiting for it, it never took.
        signals.retain(|signal| !exit.value.pending.contains(&signal.value.number));
        caught(&signals, exit)
    } else {
        killed(&signals, ended_by)
    }
}

fn reached(signal: &SignalSent) -> bool {
    !matches!(signal.result, SignalResult::Ignored | SignalResult::Lost)
}

/// The process was ended by `number`: the first signal that condemned it.
fn killed<'a>(signals: &[&'a SeenSignal], number: u8) -> Option<Blow<'a>> {
    let same = || signals.iter().copied().filter(|signal| signal.value.number == number);
    let condemned = same().find(|signal| signal.value.fatal);
    // Core-dumping signals are not marked at once: default action, not held up.
    let by_default = || {
        same().find(|signal| {
            signal.value.disposition == Some(Disposition::Default) && !signal.value.blocked
        })
    };
    // A blocked one that was let in later; what came first stays pending.
    let held_up = || same().next();
    let last = condemned.or_else(by_default).or_else(held_up)?;
    let grade = if condemned.is_some() || by_default().is_some() {
        Grade::Observed
    } else {
        Grade::Inferred
    };
    let by_itself = last.value.sender.id == last.value.target.id
        && !matches!(mechanism::of(&last.value), Mechanism::Fault | Mechanism::Seccomp);
    if by_itself {
        let earlier = same().find(|signal| {
            signal.ns() < last.ns()
                && signal.value.sender.id != signal.value.target.id
                && caught_by_process(&signal.value)
        });
        if let Some(first) = earlier {
            return Some(blow(first, Way::Reraised, Grade::Inferred));
        }
    }
    Some(blow(last, Way::Killed, grade))
}

fn blow(signal: &SeenSignal, way: Way, grade: Grade) -> Blow<'_> {
    Blow { signal, mechanism: mechanism::of(&signal.value), way, grade }
}

/// A handler took it, or it was blocked for `sigwait` or a signalfd.
fn caught_by_process(signal: &SignalSent) -> bool {
    signal.disposition == Some(Disposition::Handler) || signal.blocked
}

/// How long after a caught signal an exit can still be its doing. The purpose of the signal
/// decides: SIGTERM asks for an end that may take as long as the process needs to tidy up, others
/// are everyday business, so that only an exit right on their heels is theirs.
fn patience(number: u8, status: u8) -> u64 {
    let said_so = status.checked_sub(128) == Some(number);
    match number {
        sig::SIGTERM => 300 * S,
        sig::SIGINT | sig::SIGQUIT | sig::SIGHUP if said_so => 300 * S,
        sig::SIGINT | sig::SIGQUIT | sig::SIGHUP => 10 * S,
        sig::SIGXCPU | sig::SIGPWR | sig::SIGABRT | sig::SIGALRM | sig::SIGXFSZ if said_so => {
            60 * S
        }
        sig::SIGXCPU | sig::SIGPWR | sig::SIGABRT => 5 * S,
        sig::SIGSEGV | sig::SIGBUS | sig::SIGFPE | sig::SIGILL | sig::SIGSYS => 10 * S,
        sig::SIGALRM | sig::SIGXFSZ | sig::SIGPIPE => S,
        sig::SIGCHLD
        | sig::SIGURG
        | sig::SIGWINCH
        | sig::SIGCONT
        | sig::SIGTSTP
        | sig::SIGTTIN
        | sig::SIGTTOU => 0,
        _ if said_so => 5 * S,
        _ => 20 * MS,
    }
}

/// Which of several caught signals is the likelier reason; smaller is likelier.
const fn rank(number: u8) -> u8 {
    match number {
        sig::SIGTERM => 0,
        sig::SIGINT | sig::SIGQUIT => 1,
        sig::SIGHUP => 2,
        _ => 3,
    }
}

/// The process exited by itself: the signal it had caught before, if it was one that asks for it.
fn caught<'a>(signals: &[&'a SeenSignal], exit: &Seen<Exit>) -> Option<Blow<'a>> {
    let status = (exit.value.status >> 8 & 0xff) as u8;
    let candidates: Vec<_> = signals
        .iter()
        .copied()
        .filter(|signal| caught_by_process(&signal.value))
        .filter(|signal| {
            let delay = exit.ns().saturating_sub(signal.ns());
            delay < patience(signal.value.number, status)
        })
        .collect();
    // Only the last flurry counts: a reload an hour ago is not this stop.
    let mut first = candidates.last()?.ns();
    for signal in candidates.iter().rev() {
        if first.saturating_sub(signal.ns()) > 30 * S {
            break;
        }
        first = first.min(signal.ns());
    }
    let best = candidates
        .into_iter()
        .filter(|signal| signal.ns() >= first)
        .min_by_key(|signal| (rank(signal.value.number), signal.ns()))?;
    Some(blow(best, Way::CaughtThenExited, Grade::Inferred))
}
