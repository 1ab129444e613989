//! Terminals that hang up, and why.

use super::scene::{Scene, signal, task};
use crate::evidence::{Fact, JournalLine, SignalInfo, SignalSent, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

const PEER: &str = "203.0.113.5:51276 had closed the ssh connection";

/// The kernel tells whoever is on the terminal that a process has let go of.
fn hangup(holder: Task, on: Task) -> SignalSent {
    let stack = ["__tty_hangup", "tty_vhangup", "tty_release"].map(str::to_owned).to_vec();
    let info = SignalInfo::Privileged;
    SignalSent { stack, info, syscall: None, ..signal(sig::SIGHUP, holder, on) }
}

fn ending(holder: &Task) -> Task {
    Task { exiting: true, ..holder.clone() }
}

/// A program in an ssh login's terminal, whose other end this process held, and what happened before.
fn of(holder: &Task, before: impl FnOnce(Scene) -> Scene) -> Death {
    let victim = task(42, "make");
    let scene = Scene::default().target(&victim, TargetReason::Pid);
    before(scene)
        .exit(5, holder.clone(), 255 << 8, false)
        .signal(6, hangup(ending(holder), victim.clone()))
        .exit(7, victim, 1, true)
        .death()
}

#[test]
fn the_end_of_the_ssh_connection_is_told() {
    let sshd = task(30, "sshd");
    let death = of(&sshd, |scene| scene.tcp_closed_by_peer(4, task(99, "ksoftirqd/0")));
    assert_eq!(death.cause.id, CauseId::TerminalClosed, "{death:#?}");
    assert!(death.cause.explanation.contains(PEER), "{}", death.cause.explanation);
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[0].contains("closed the connection (FIN)"), "{texts:?}");
    assert_eq!(
        texts.iter().filter(|text| text.contains("exited with 255")).count(),
        1,
        "{texts:?}"
    );
}

#[test]
fn what_sshd_did_itself_is_not_called_the_peers_doing() {
    let sshd = task(30, "sshd");
    let killed = of(&sshd, |scene| {
        let killer = task(80, "kill");
        scene.signal(
            4,
            SignalSent { is_target: false, ..signal(sig::SIGTERM, killer, task(30, "sshd")) },
        )
    });
    assert!(!killed.cause.explanation.contains("connection"), "{}", killed.cause.explanation);
    let screen = task(30, "screen");
    let other = of(&screen, |scene| scene.tcp_closed_by_peer(4, task(99, "ksoftirqd/0")));
    assert!(!other.cause.explanation.contains("connection"), "{}", other.cause.explanation);
}

#[test]
fn a_client_that_is_not_heard_from() {
    let sshd = task(30, "sshd");
    let line = JournalLine {
        message: "Timeout, client not responding from user alice 203.0.113.5 port 51276".to_owned(),
        pid: Some(30),
        ..JournalLine::default()
    };
    let death = of(&sshd, |scene| scene.add(4, Source::Journal, Fact::Journal(line)));
    assert!(death.cause.explanation.contains("ClientAliveInterval"), "{}", death.cause.explanation);
}
