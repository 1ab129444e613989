//! Requests to end that were outlived, before somebody else killed.

use super::scene::{Scene, caught, signal, task};
use crate::evidence::{Disposition, Grade, SignalInfo, SignalSent, sig};

/// Somebody asks it to end, it goes on, and somebody else kills it: the first is told, and is not why.
#[test]
fn who_asked_before_another_killed_it_is_told() {
    let victim = task(42, "program");
    let (first, second) = (task(90, "asker"), task(91, "killer"));
    let told = |asked_ms: u64, asked: SignalSent| {
        let kill = signal(sig::SIGKILL, second.clone(), victim.clone());
        let death = Scene::watching(&victim)
            .signal(asked_ms, asked)
            .signal(100_000, kill)
            .exit(100_001, victim.clone(), 9, true)
            .death();
        assert_eq!(death.killer.process.as_ref().map(|it| it.pid), Some(91), "{death:#?}");
        assert!(!death.cause.explanation.contains("asker"), "{death:#?}");
        let link = death.chain.into_iter().find(|link| link.text.contains("asker[90]"));
        link.map(|link| (link.evidence, link.text))
    };
    let term = || caught(sig::SIGTERM, first.clone(), victim.clone());
    let words = "asker[90] sent SIGTERM to program[42], for which it had a handler; it was still there 1 s later";
    assert_eq!(told(99_000, term()), Some((Grade::Observed, words.to_owned())));
    assert_eq!(told(20_000, term()).map(|(grade, _)| grade), Some(Grade::Observed));
    // Long ago; no order to end; ignored, which nothing comes of.
    assert_eq!(told(9_000, term()), None);
    assert_eq!(told(99_000, caught(sig::SIGHUP, first.clone(), victim.clone())), None);
    assert_eq!(told(99_000, caught(sig::SIGUSR1, first.clone(), victim.clone())), None);
    let ignored = SignalSent { disposition: Some(Disposition::Ignore), ..term() };
    assert_eq!(told(99_000, ignored), None);
    // It waits until it is let through; and what came with the blow had no time.
    assert_eq!(told(99_000, SignalSent { blocked: true, ..term() }), None);
    assert_eq!(told(99_950, term()), None);
    // A key at the terminal, which is for whatever is in the foreground.
    let key = SignalSent {
        info: SignalInfo::Privileged,
        stack: vec!["__isig".to_owned(), "n_tty_receive_char".to_owned()],
        ..caught(sig::SIGINT, first.clone(), victim.clone())
    };
    assert_eq!(told(99_000, key), None);
}

/// What is stopped runs no handler.
#[test]
fn who_asked_what_was_stopped_is_not_told_to_have_been_outlived() {
    let victim = task(42, "program");
    let [asker, killer] = [(90, "asker"), (91, "killer")].map(|(pid, name)| task(pid, name));
    let told = |stopped_ms: u64, went_on_ms: Option<u64>| {
        let stop = signal(sig::SIGSTOP, asker.clone(), victim.clone());
        let mut scene = Scene::watching(&victim).signal(stopped_ms, stop);
        let term = || caught(sig::SIGTERM, asker.clone(), victim.clone());
        let cont = || caught(sig::SIGCONT, asker.clone(), victim.clone());
        scene = match went_on_ms {
            Some(ms) if ms < 2000 => scene.signal(ms, cont()).signal(2000, term()),
            Some(ms) => scene.signal(2000, term()).signal(ms, cont()),
            None => scene.signal(2000, term()),
        };
        let kill = signal(sig::SIGKILL, killer.clone(), victim.clone());
        let death = scene.signal(5000, kill).exit(5001, victim.clone(), 9, true).death();
        death.chain.iter().any(|link| link.text.contains("had a handler"))
    };
    assert!(!told(1000, None), "stopped to its end");
    assert!(told(1000, Some(1500)), "it had gone on by then");
    assert!(told(1000, Some(2500)), "it has gone on");
}

/// The same program asks first, and kills then: who only reads that it killed would take it for harsh.
#[test]
fn what_the_killer_itself_had_tried_before_is_told() {
    let victim = task(42, "program");
    let killer = task(91, "watchdog");
    let told = |asked_ms: u64, asked: SignalSent| {
        let kill = signal(sig::SIGKILL, killer.clone(), victim.clone());
        let scene = Scene::watching(&victim).signal(asked_ms, asked).signal(5000, kill);
        scene.exit(5001, victim.clone(), 9, true).death().cause.explanation
    };
    let term = || caught(sig::SIGTERM, killer.clone(), victim.clone());
    let words = "2 s before, the same watchdog[91] had sent it SIGTERM";
    let text = told(3000, term());
    assert!(text.contains(&format!("{words}, for which it had a handler; it went on.")), "{text}");
    let text = told(3000, SignalSent { disposition: Some(Disposition::Ignore), ..term() });
    assert!(text.contains(&format!("{words}, which it ignores.")), "{text}");
    let text = told(3000, SignalSent { blocked: true, ..term() });
    assert!(text.contains(&format!("{words}, which it held up.")), "{text}");
    // It had no time to go on.
    let text = told(4990, term());
    assert!(text.contains("10 ms before") && !text.contains("went on"), "{text}");
    let text = told(3000, caught(sig::SIGUSR1, killer.clone(), victim.clone()));
    assert!(!text.contains("before, the same"), "{text}");
}

/// A supervisor has its program read its settings anew, many times, and ends it one day.
#[test]
fn what_asked_for_an_end_is_told_rather_than_what_came_long_before() {
    let victim = task(42, "program");
    let killer = task(91, "watchdog");
    let sent = |number| caught(number, killer.clone(), victim.clone());
    let mut scene = Scene::watching(&victim);
    for minute in 0..4 {
        scene = scene.signal(60_000 * minute + 1000, sent(sig::SIGHUP));
    }
    let kill = signal(sig::SIGKILL, killer.clone(), victim.clone());
    let scene = scene.signal(300_000, sent(sig::SIGTERM)).signal(310_000, kill);
    let death = scene.exit(310_001, victim.clone(), 9, true).death();
    let text = &death.cause.explanation;
    assert!(text.contains("10 s before, the same watchdog[91] had sent it SIGTERM"), "{text}");
    assert!(death.chain.iter().any(|link| link.text.contains("sent SIGTERM")), "{death:#?}");
}
