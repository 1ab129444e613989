//! Signals that did not kill.

use killtrace::evidence::{Disposition, Grade, Mechanism, SignalResult};
use killtrace::story::verdict::CauseId;
use killtrace_tests::live::{By, play};

/// The victim exits by itself, and yet SIGTERM is why: that much is concluded, and said so.
#[test]
fn caught_then_exit() {
    let played = play("caught-then-exit");
    let cause = CauseId::ProcessSignal;
    let death = played.killed(Mechanism::Kill, By::Process("killer"), cause);
    let signal = death.signal.as_ref().expect("checked above");
    assert_eq!(signal.disposition, Some(Disposition::Handler));
    assert_eq!(death.cause.evidence, Grade::Inferred);
}

/// A server that takes its signals in its own time has them blocked, and acts on them all the same.
fn taken(scene: &str) {
    let cause = CauseId::ProcessSignal;
    let played = play(scene);
    let death = played.killed(Mechanism::Kill, By::Process("killer"), cause);
    assert_eq!(death.cause.evidence, Grade::Inferred);
}

#[test]
fn waited_for_then_exit() {
    taken("waited-for-then-exit");
}

#[test]
fn read_from_signalfd_then_exit() {
    taken("read-from-signalfd-then-exit");
}

/// SIGUSR1 asks for something, and was long over.
#[test]
fn handled_usr1_then_exit() {
    let played = play("handled-usr1-then-exit");
    played.unharmed_by("SIGUSR1", SignalResult::Delivered, Disposition::Handler);
}

#[test]
fn ignored_then_exit() {
    let played = play("ignored-then-exit");
    played.unharmed_by("SIGTERM", SignalResult::Ignored, Disposition::Ignore);
}

/// Unlike one that is waited for, it was still pending at the end: nobody acted on it.
#[test]
fn blocked_then_exit() {
    let played = play("blocked-then-exit");
    played.unharmed_by("SIGTERM", SignalResult::Blocked, Disposition::Default);
}

/// SIGTERM is dropped; the killer is who sent SIGKILL.
#[test]
fn namespace_init_drops() {
    let played = play("namespace-init-drops");
    played.killed(Mechanism::Kill, By::Process("killer"), CauseId::ProcessSignal);
    let sender = played.pid("sender");
    let dropped = played.trace.signals().find(|record| record.signal.number == 15);
    let dropped = dropped.expect("a signal record of SIGTERM");
    assert_eq!(dropped.signal.result, SignalResult::Ignored);
    assert_eq!(dropped.sender.as_ref().map(|process| process.pid), Some(sender));
}
