//! Faults that were caught, and the end that came of them or did not.

use super::caught::{fault, own};
use super::scene::{Scene, signal, task};
use crate::evidence::{
    CodePlace, Disposition, Grade, Mechanism, SignalSent, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death, Outcome};

/// `faulted` are the milliseconds at which it caught a fault, and where its stack was.
fn crashed(faulted: &[(u64, u64)], last: u8) -> Death {
    let victim = task(42, "program");
    let mut scene = Scene::default().target(&victim, TargetReason::Pid);
    for (ms, stack) in faulted {
        let mut sent = fault(sig::SIGSEGV, 1, &victim);
        sent.place = Some(CodePlace { instruction: 0x5000, stack: *stack });
        scene = scene.signal(*ms, sent);
    }
    // In its handler it is held up, and one that dumps core condemns nobody when it is sent.
    let raised = SignalSent {
        disposition: Some(Disposition::Default),
        blocked: last == sig::SIGSEGV,
        ..own(last, &victim)
    };
    scene.signal(9_999, raised).exit(10_000, victim, u32::from(last) | 0x80, true).death()
}

#[test]
fn a_handler_does_not_hide_the_crash() {
    let death = crashed(&[(9_990, 0x7fff_0000)], sig::SIGSEGV);
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::Crash, Grade::Inferred));
    assert_eq!(death.signal.map(|signal| signal.mechanism), Some(Mechanism::Fault));
    assert!(death.cause.explanation.contains("its handler then sent SIGSEGV to itself to end"));
    let death = crashed(&[(9_990, 0x7fff_0000)], sig::SIGABRT);
    assert_eq!(death.cause.id, CauseId::Crash);
    assert!(death.cause.explanation.contains("its handler then aborted"), "{death:#?}");
    // It was caught long before: nothing that this abort has to do with.
    assert_eq!(crashed(&[(1_000, 0x7fff_0000)], sig::SIGABRT).cause.id, CauseId::Abort);
}

/// Java's runtime reads address 0 when it starts, and finds null pointers by their faults: it does not abort of that.
#[test]
fn a_fault_that_was_lived_through_is_no_crash() {
    let aborted = |victim: &Task, faults: &[u64]| {
        let raised =
            SignalSent { disposition: Some(Disposition::Default), ..own(sig::SIGABRT, victim) };
        let mut scene = Scene::default().target(victim, TargetReason::Pid);
        for ms in faults {
            scene = scene.signal(*ms, fault(sig::SIGSEGV, 1, victim));
        }
        let scene = scene.signal(9_999, raised);
        scene.exit(10_000, victim.clone(), u32::from(sig::SIGABRT), true).death()
    };
    let death = aborted(&task(42, "java"), &[8_200]);
    assert_eq!(death.cause.id, CauseId::Abort);
    let said = "1.7 s before, it had caught SIGSEGV (it used a null pointer), as this runtime does";
    assert!(death.cause.explanation.contains(said), "{}", death.cause.explanation);
    assert!(!death.chain.iter().any(|link| link.text.contains("crashed")), "{death:#?}");
    assert_eq!(aborted(&task(42, "java"), &[9_950]).cause.id, CauseId::Crash);
    // It had gone on after such before.
    assert_eq!(aborted(&task(42, "program"), &[6_000, 9_000]).cause.id, CauseId::Abort);
    assert_eq!(aborted(&task(42, "program"), &[9_000]).cause.id, CauseId::Crash);
}

/// timeout, sudo and their kind end as what they ran: theirs is no crash to be looked into.
#[test]
fn who_aborts_as_its_child_did_has_not_crashed() {
    let (timeout, child) = (task(42, "timeout"), task(43, "program"));
    let aborts = |task: &Task| SignalSent {
        disposition: Some(Disposition::Default),
        ..signal(sig::SIGABRT, task.clone(), task.clone())
    };
    let scene = Scene::watching(&timeout).exec(10, child.clone(), &["program"], &[&timeout]);
    let scene = scene.signal(20, aborts(&child)).exit(21, child, u32::from(sig::SIGABRT), false);
    let scene = scene.signal(22, aborts(&timeout));
    let death = scene.exit(23, timeout.clone(), u32::from(sig::SIGABRT), true).death();
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::ProcessSignal, Grade::Inferred));
    assert!(death.cause.explanation.contains("what it ran had ended: program[43]"), "{death:#?}");
    // kill(2) to itself is not how abort(3) does it.
    let scene = Scene::watching(&timeout).signal(22, aborts(&timeout));
    let death = scene.exit(23, timeout, u32::from(sig::SIGABRT), true).death();
    assert_eq!(death.cause.id, CauseId::Abort);
    assert!(death.cause.explanation.contains("SIGABRT to itself by kill(2)"), "{death:#?}");
}

/// A handler that writes a report looks around, and faults itself.
#[test]
fn the_first_of_a_row_of_faults_is_the_crash() {
    let row =
        [(5_000, 0x7fff_1000), (9_900, 0x7fff_0800), (9_950, 0x7fff_0100), (9_960, 0x7fff_0200)];
    let death = crashed(&row, sig::SIGABRT);
    let signal =
        death.chain.iter().find(|link| link.text.contains("caught a fault")).expect("a link");
    assert!(signal.at.boot_ns < death.at.boot_ns);
    assert!(death.cause.explanation.contains("99 ms later"), "{}", death.cause.explanation);
}

/// The kernel dumps the core of a process that crashes; SIGKILL only stops that.
#[test]
fn sigkill_in_the_midst_of_a_core_dump_is_not_the_reason() {
    let victim = task(42, "program");
    let crash =
        SignalSent { disposition: Some(Disposition::Default), ..fault(sig::SIGSEGV, 1, &victim) };
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(9_000, crash)
        .signal(9_200, signal(sig::SIGKILL, task(90, "kill"), victim.clone()))
        .exit(9_300, victim, u32::from(sig::SIGKILL), true)
        .death();
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::Crash, Grade::Observed));
    assert_eq!(death.outcome, Outcome::Signaled { signal: "SIGKILL".into(), core_dumped: false });
    let words = &death.cause.explanation;
    assert!(words.contains("SIGKILL from kill[90] only cut the dump of its core short, 200 ms"));
    assert!(death.chain.iter().any(|link| link.text == "kill[90] sent SIGKILL to program[42]"));
}

#[test]
fn sigkill_in_the_midst_of_a_handler_may_not_be_the_reason() {
    let killed = |args: &[&str], faults: &[u64]| {
        let victim = task(42, args[0]);
        let mut scene =
            Scene::default().target(&victim, TargetReason::Pid).exec(1, victim.clone(), args, &[]);
        for ms in faults {
            scene = scene.signal(*ms, fault(sig::SIGSEGV, 1, &victim));
        }
        let sent = signal(sig::SIGKILL, task(90, "kill"), victim.clone());
        let death = scene.signal(9_200, sent).exit(9_300, victim, 9, true).death();
        assert_eq!(death.cause.id, CauseId::UserCommand);
        death.cause.explanation.contains("200 ms before, it had faulted (it used a null pointer)")
    };
    assert!(killed(&["program"], &[9_000]));
    assert!(!killed(&["program"], &[2_000, 9_000]));
    assert!(!killed(&["java", "Server"], &[9_000]));
}
