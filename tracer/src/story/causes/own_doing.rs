//! Deaths that a process brought on itself without a fault: aborts, forbidden calls, pipes, timers.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Mechanism, SignalInfo, sig, signal_name};
use crate::story::case::Case;
use crate::story::verdict::{CauseId, Outcome};
use crate::story::{fixes, words};

pub(super) fn core(case: &Case<'_>) -> &'static str {
    match case.outcome {
        Outcome::Signaled { core_dumped: true, .. } => " A core was dumped.",
        _ => "",
    }
}

/// abort(3): SIGABRT to itself.
pub fn abort(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let sent = &blow.signal.value;
    if sent.number != sig::SIGABRT || sent.sender.id != case.victim {
        return None;
    }
    Finding::new(
        CauseId::Abort,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} aborted itself: it sent SIGABRT to itself, as abort(3) and failed assertions do.{}",
            case.victim_name(),
            core(case)
        ),
    )
    .fixes([fixes::core_dump(&case.program())])
    .answer()
}

/// A system call that seccomp forbids.
pub fn seccomp(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::SeccompViolation;
    if let Some(blow) = case.blow_by(Mechanism::Seccomp) {
        // `_sigsys`: call address, then the number of the system call and the architecture.
        let call = match (&blow.signal.value.syscall, blow.signal.value.info) {
            (Some(call), _) => Some(call.name.clone()),
            (None, SignalInfo::Real { fields, .. }) => Some(format!("number {}", fields[1] as u32)),
            (None, _) => None,
        };
        let which = call.map(|call| format!(" ({call})")).unwrap_or_default();
        return Finding::new(
            ID,
            Fit::Exact,
            Grade::Observed,
            format!(
                "{} made a system call{which} that its seccomp filter forbids, and the kernel ended it.{}",
                case.victim_name(),
                core(case)
            ),
        )
        .answer();
    }
    if case.blow.is_some() {
        return None;
    }
    // Strict mode, and a filter that ends the last thread, kill without generating a signal: the kernel
    // marks the task dead (SECCOMP_MODE_DEAD, 5.17 and later); before that, only the mode is left.
    let killed = case.exit.value.status & 0x7f;
    let dead = case.exit.value.seccomp == 3;
    let strict = case.exit.value.seccomp == 1 && killed == u32::from(sig::SIGKILL);
    let filtered = case.exit.value.seccomp == 2 && killed == u32::from(sig::SIGSYS);
    if killed == 0 || !(dead || strict || filtered) {
        return None;
    }
    let grade = if dead { Grade::Observed } else { Grade::Inferred };
    Finding::new(
        ID,
        Fit::Circumstance,
        grade,
        format!(
            "{} ran under seccomp and was ended by it: nobody sent a signal, which is how the kernel \
             ends a process (or its last thread) for a forbidden system call.",
            case.victim_name()
        ),
    )
    .answer()
}

/// SIGPIPE.
pub fn pipe(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::Pipe)?;
    // The likeliest reader: a process with the same parent that ended just before.
    let siblings = case.world.people.parents(case.victim);
    let reader = case.world.exits.iter().rev().find(|exit| {
        exit.value.task.id != case.victim
            && exit.ns() <= blow.signal.ns()
            && exit.ns() + 5_000_000_000 >= blow.signal.ns()
            && siblings.first().is_some_and(|parent| parent.pid == exit.value.task.ppid)
    });
    let who = reader.map(|exit| {
        format!(
            " (perhaps {}, which had ended just before)",
            words::name_pid(&case.task(&exit.value.task))
        )
    });
    Finding::new(
        CauseId::BrokenPipe,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got SIGPIPE: it wrote to a pipe or socket whose reader was gone{}.",
            case.victim_name(),
            who.unwrap_or_default()
        ),
    )
    .links(reader.map(|exit| {
        let mut link = crate::story::ending::exit_link(case, exit);
        link.evidence = Grade::Observed;
        link
    }))
    .answer()
}

/// alarm(2), setitimer(2), timer_create(2).
pub fn timer(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::Timer)?;
    let signal = signal_name(blow.signal.value.number);
    let which = match blow.signal.value.number {
        sig::SIGALRM if blow.signal.value.info == SignalInfo::Privileged => {
            "alarm(2) or setitimer(2)"
        }
        sig::SIGVTALRM | sig::SIGPROF => "setitimer(2)",
        _ => "timer_create(2)",
    };
    Finding::new(
        CauseId::TimerExpired,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got {signal} from a timer of its own that ran out ({which}).",
            case.victim_name()
        ),
    )
    .answer()
}
