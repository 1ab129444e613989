//! Keys that a command typed into a terminal.

use super::clients::{looked_at, names};
use super::scene::{Scene, signal, task};
use crate::evidence::{
    Fact, Grade, ProcessId, ProcessSnapshot, SignalInfo, SignalSent, Source, Task, Terminal, sig,
};
use crate::story::verdict::{CauseId, Death};

/// The signal of a key that comes out of the other end of a terminal.
fn key_signal(number: u8, victim: &Task) -> SignalSent {
    SignalSent {
        stack: ["kill_pgrp", "isig", "n_tty_receive_signal_char"].map(str::to_owned).to_vec(),
        info: SignalInfo::Privileged,
        syscall: None,
        tty: Some("pts1".to_owned()),
        ..signal(number, Task { kernel_thread: true, ..task(9, "kworker/u8:5") }, victim.clone())
    }
}

/// The terminal of the session of `looked_at`.
fn terminal(holders: Vec<ProcessId>) -> Terminal {
    Terminal {
        tty: "pts1".to_owned(),
        session_leader: None,
        holders,
        unsure: false,
        watched: false,
    }
}

/// A key that comes out of the other end of a terminal, 4 ms after that command was run.
fn key(number: u8, holder: &str, words: &[&str]) -> Death {
    let (victim, holder) = (task(42, "make"), task(50, holder));
    let terminal = terminal(vec![holder.id]);
    let key = key_signal(number, &victim);
    let client = task(81, words.first().copied().unwrap_or_default());
    Scene::watching(&victim)
        .add(0, Source::Proc, looked_at(&holder, &["tmux"], &[], &[]))
        .add(0, Source::Proc, looked_at(&victim, &["make"], &[("TMUX_PANE", "%3")], &[&holder]))
        .add(0, Source::Proc, Fact::Terminal(terminal))
        .exec(5, client, words, &[&task(70, "bash")])
        .signal(9, key)
        .exit(10, victim, u32::from(number), true)
        .death()
}

#[test]
fn a_key_that_a_command_has_typed_is_told_as_its_doing() {
    let told = |words: &[&str]| {
        let death = key(sig::SIGINT, "tmux: server", words);
        assert_eq!(death.cause.id, CauseId::TerminalInterrupt, "{death:#?}");
        let named = names(&death, "4 ms before, alice ran \"tmux") && names(&death, "seems to be");
        assert_eq!(death.cause.evidence, if named { Grade::Inferred } else { Grade::Observed });
        named
    };
    assert!(told(&["tmux", "send-keys", "-t", "k", "C-c"]));
    assert!(told(&["tmux", "send", "-t", "%3", "^C"]));
    assert!(!told(&["tmux", "send-keys", "-t", "%4", "C-c"]), "another pane");
    assert!(!told(&["tmux", "send-keys", "make", "Enter"]), "another key");
    assert!(!told(&["tmux", "send-keys", "C-\\"]), "another key");
    assert!(!told(&["tmux", "kill-pane"]), "another command");
    let death = key(sig::SIGQUIT, "screen", &["screen", "-X", "stuff", "\u{1c}"]);
    assert!(names(&death, "alice ran \"screen -X stuff"), "{}", death.cause.explanation);
}

#[test]
fn who_typed_a_key_is_not_made_up() {
    let words = "a program wrote it";
    assert!(names(&key(sig::SIGINT, "tmux: server", &["true"]), words));
    assert!(names(&key(sig::SIGINT, "expect", &["true"]), words));
    assert!(names(&key(sig::SIGINT, "sshd", &["true"]), "somebody typed Ctrl-C"));
    // Who holds the other end had ended, and another has a terminal of that name.
    let victim = task(42, "make");
    let holders = vec![task(50, "script").id];
    let terminal = terminal(holders);
    let death = Scene::watching(&victim)
        .add(0, Source::Proc, Fact::Terminal(terminal))
        .exit(5, task(50, "script"), 0, false)
        .signal(9, key_signal(sig::SIGINT, &victim))
        .exit(10, victim, u32::from(sig::SIGINT), true)
        .death();
    assert!(names(&death, words) && !names(&death, "script"), "{}", death.cause.explanation);
}

/// Each container numbers its own terminals.
#[test]
fn of_terminals_of_one_name_the_one_of_the_session_is_meant() {
    let victim = task(42, "make");
    let led_by = |leader: ProcessId, holder: &Task| Terminal {
        session_leader: Some(leader),
        ..terminal(vec![holder.id])
    };
    let on = |pid: u32, holder: &Task| led_by(ProcessId { pid, ..victim.id }, holder);
    let told = |terminals: &[Terminal]| {
        let snapshot = ProcessSnapshot {
            pid: 42,
            start_ns: victim.id.start_ns,
            session_leader: 40,
            ..ProcessSnapshot::default()
        };
        let mut scene = Scene::watching(&victim);
        scene = scene.add(0, Source::Proc, Fact::Process(Box::new(snapshot)));
        for holder in [task(50, "script"), task(51, "perl")] {
            scene = scene.add(0, Source::Proc, looked_at(&holder, &[&holder.comm], &[], &[]));
        }
        for terminal in terminals {
            scene = scene.add(0, Source::Proc, Fact::Terminal(terminal.clone()));
        }
        let scene = scene.signal(9, key_signal(sig::SIGINT, &victim));
        scene.exit(10, victim.clone(), u32::from(sig::SIGINT), true).death()
    };
    let (own, other) = (on(40, &task(50, "script")), on(60, &task(51, "perl")));
    for terminals in [[own.clone(), other.clone()], [other.clone(), own.clone()]] {
        let death = told(&terminals);
        assert!(names(&death, "which script[50] holds:"), "{}", death.cause.explanation);
        assert_eq!(death.cause.evidence, Grade::Observed);
    }
    assert!(!names(&told(&[other]), "perl"));
    // The leader of an earlier session had the same pid, and one of a later session got it.
    let start_ns = victim.id.start_ns;
    let [earlier, later] = [start_ns / 2, start_ns * 2]
        .map(|start_ns| led_by(ProcessId { pid: 40, start_ns }, &task(51, "perl")));
    let death = told(&[earlier, own.clone(), later]);
    assert!(names(&death, "which script[50] holds:"), "{}", death.cause.explanation);
    let death = told(&[Terminal { unsure: true, ..own }]);
    assert!(names(&death, "(or that of another terminal of that name"), "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
}
