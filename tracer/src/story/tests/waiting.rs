//! What a process had been sent before it was traced: signals that waited for it, and those that it may have been answering.

use super::scene::{Scene, signal, task};
use crate::evidence::{
    Disposition, Exit, Fact, Grade, ProcessId, ProcessSnapshot, SignalSent, Source, TargetReason,
    Task, sig,
};
use crate::story::verdict::{CauseId, Death, KillerKind};

fn victim() -> Task {
    task(42, "h.sh")
}

/// With the victim as it was found a moment after tracing had begun: with these signals pending, and these caught.
fn found_with(pending: &[u8], answers: Option<&[u8]>) -> Scene {
    let victim = victim();
    let snapshot = ProcessSnapshot {
        pid: victim.id.pid,
        start_ns: victim.id.start_ns,
        comm: victim.comm.clone(),
        uid: victim.uid,
        pending: pending.to_vec(),
        answers: answers.map(<[u8]>::to_vec),
        ..ProcessSnapshot::default()
    };
    Scene::watching(&victim).add(1, Source::Proc, Fact::Process(Box::new(snapshot)))
}

fn found(pending: &[u8]) -> Scene {
    found_with(pending, Some(&[sig::SIGTERM]))
}

/// alice lets it go on.
fn continued(scene: Scene, ms: u64) -> Scene {
    let kill = task(80, "kill");
    let shell = task(70, "bash");
    let sent = SignalSent {
        fatal: false,
        disposition: Some(Disposition::Default),
        ..signal(sig::SIGCONT, kill.clone(), victim())
    };
    scene.exec(ms - 1, kill, &["kill", "-CONT", "42"], &[&shell]).signal(ms, sent)
}

fn has_no_killer(death: &Death) -> bool {
    death.killer.kind == KillerKind::None && death.cause.evidence == Grade::Inferred
}

#[test]
fn a_signal_that_waited_is_told_with_who_let_it_in() {
    let death = continued(found(&[sig::SIGTERM]), 60_000).exit(61_000, victim(), 0, true).death();
    assert_eq!(death.cause.id, CauseId::Unknown, "{death:#?}");
    assert!(has_no_killer(&death), "{death:#?}");
    let text = &death.cause.explanation;
    assert!(!text.contains("nobody killed it"), "{text}");
    for words in [
        "SIGTERM was waiting for it already when killtrace first looked at it, 60 s before its end, which seems to be why \
         it ended; who had sent that was not seen.",
        "SIGCONT, which lets a stopped process go on, came 1 s before its end, from kill[80]: alice ran \"kill -CONT 42\"",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert_eq!(texts[0], "SIGTERM was waiting for h.sh[42]", "{texts:?}");
    assert!(death.gaps[0].contains("who sent SIGTERM"), "{death:#?}");
}

#[test]
fn a_signal_that_waited_and_killed_is_told() {
    let death = continued(found(&[sig::SIGTERM]), 60_000).exit(60_001, victim(), 15, true).death();
    assert!(has_no_killer(&death), "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("was killed by SIGTERM. SIGTERM was waiting for it already"), "{text}");
    assert!(!text.contains("seems to be why"), "{text}");
}

#[test]
fn what_waited_in_vain_or_long_ago_is_not_why() {
    let by_itself = |death: &Death| {
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
        assert_eq!(death.cause.evidence, Grade::Observed, "{death:#?}");
    };
    let never_taken = Exit {
        task: victim(),
        ancestors: Vec::new(),
        is_target: true,
        status: 0,
        ptracer: None,
        seccomp: 0,
        pending: vec![sig::SIGTERM],
        unseen: false,
    };
    let scene = found(&[sig::SIGTERM]);
    by_itself(&scene.clone().add(60_000, Source::Kernel, Fact::Exit(never_taken)).death());
    by_itself(&scene.exit(400_000, victim(), 0, true).death());
    // It does not ask anybody to end.
    by_itself(&found(&[sig::SIGWINCH]).exit(60_000, victim(), 0, true).death());
}

#[test]
fn an_exit_right_after_tracing_began_may_answer_what_came_before() {
    let death = found(&[]).exit(2500, victim(), 0, true).death();
    assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
    assert!(has_no_killer(&death), "{death:#?}");
    let words = "no signal that ended it was seen in the 2.5 s that it was traced. Whether one from before had asked it to \
                 end is not known: it had a way of its own with SIGTERM.";
    let text = &death.cause.explanation;
    assert!(text.contains(words) && !text.contains("nobody killed it"), "{text}");
    // It was gone before it could be looked at.
    let unseen = Scene::watching(&victim()).exit(10, victim(), 0, true).death();
    assert!(unseen.cause.explanation.ends_with("to end is not known."), "{unseen:#?}");
    // Nothing is unknown of what would have died of it, or has been traced for longer, or from its start on.
    let plain = found_with(&[], Some(&[])).exit(2500, victim(), 0, true).death();
    let by_older = found_with(&[], None).exit(2500, victim(), 0, true).death();
    let others = [sig::SIGHUP, sig::SIGINT, sig::SIGQUIT];
    let shell = found_with(&[], Some(&others)).exit(2500, victim(), 3 << 8, true).death();
    let long = found(&[]).exit(5100, victim(), 0, true).death();
    let id = ProcessId { start_ns: super::scene::at(100).boot_ns, ..victim().id };
    let born = Task { id, ..victim() };
    let born = Scene::watching(&born).exit(2500, born, 0, true).death();
    let command = Scene::default().target(&victim(), TargetReason::Command);
    let command = command.exit(2500, victim(), 0, true).death();
    for death in [plain, by_older, shell, long, born, command] {
        assert_eq!(death.cause.evidence, Grade::Observed, "{death:#?}");
        assert!(death.cause.explanation.contains("nobody killed it"), "{death:#?}");
    }
}
