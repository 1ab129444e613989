//! Terminals that hang up, and why.

use super::scene::{Scene, signal, task};
use crate::evidence::{
    Ancestor, Fact, JournalLine, ProcessSnapshot, SignalInfo, SignalSent, Source, TargetReason,
    Task, sig,
};
use crate::story::verdict::{CauseId, Death};

const PEER: &str = "203.0.113.5:51276 had closed the ssh connection";
/// `SSH_CONNECTION` of a login over the connection that a [`Scene`] has the peer close.
const OF_PEER: &str = "203.0.113.5 51276 10.0.0.1 22";
const OF_ANOTHER: &str = "203.0.113.9 40000 10.0.0.1 22";

/// A program that runs in an ssh login.
fn victim() -> Task {
    task(42, "make")
}

/// The kernel tells whoever is on the terminal that a process has let go of, whose parent is this one.
fn hangup(holder: &Task, parent: &Task) -> SignalSent {
    let stack = ["__tty_hangup", "tty_vhangup", "tty_release"].map(str::to_owned).to_vec();
    let parent = Ancestor { id: parent.id, comm: parent.comm.clone(), uid: parent.uid };
    SignalSent {
        stack,
        info: SignalInfo::Privileged,
        syscall: None,
        ancestors: [parent].into(),
        ..signal(sig::SIGHUP, Task { exiting: true, ..holder.clone() }, victim())
    }
}

/// sshd's monitor, which lets a user in.
fn monitor() -> Task {
    Task { uid: 0, euid: 0, ..task(29, "sshd") }
}

/// What is in the victim's environment and what happened before its terminal's other end, which this child of
/// that process held, was gone.
fn of(
    holder: &Task,
    parent: &Task,
    connection: &str,
    before: impl FnOnce(Scene) -> Scene,
) -> Death {
    let victim = victim();
    let snapshot = ProcessSnapshot {
        pid: victim.id.pid,
        start_ns: victim.id.start_ns,
        comm: victim.comm.clone(),
        uid: victim.uid,
        environment: [("SSH_CONNECTION".to_owned(), connection.to_owned())].into(),
        ..ProcessSnapshot::default()
    };
    let scene = Scene::default().target(&victim, TargetReason::Pid);
    before(scene.add(0, Source::Proc, Fact::Process(Box::new(snapshot))))
        .exit(5, holder.clone(), 255 << 8, false)
        .signal(6, hangup(holder, parent))
        .exit(7, victim, 1, true)
        .death()
}

/// The peer closes its connection while somebody else runs.
fn closes(scene: Scene) -> Scene {
    scene.tcp_closed_by_peer(4, task(99, "ksoftirqd/0"))
}

#[test]
fn the_end_of_the_ssh_connection_is_told() {
    let death = of(&task(30, "sshd"), &monitor(), OF_PEER, closes);
    assert_eq!(death.cause.id, CauseId::TerminalClosed, "{death:#?}");
    assert!(death.cause.explanation.contains(PEER), "{}", death.cause.explanation);
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[0].contains("closed the connection (FIN)"), "{texts:?}");
    let ends = texts.iter().filter(|text| text.contains("exited with 255"));
    assert_eq!(ends.count(), 1, "{texts:?}");
}

#[test]
fn a_connection_that_is_not_this_logins_is_not_told() {
    let death = of(&task(30, "sshd"), &monitor(), OF_ANOTHER, closes);
    let told = format!("{}{:?}", death.cause.explanation, death.chain);
    assert!(!told.contains("203.0.113.5"), "{told}");
}

/// A program can call itself sshd; nobody but root can have let the user in.
#[test]
fn who_only_calls_himself_sshd_is_not_believed() {
    for (holder, parent) in
        [("sshd", task(29, "sshd")), ("sshd", task(29, "bash")), ("screen", monitor())]
    {
        let death = of(&task(30, holder), &parent, OF_PEER, closes);
        assert_eq!(death.cause.id, CauseId::TerminalClosed, "{death:#?}");
        assert!(!death.cause.explanation.contains("connection"), "{}", death.cause.explanation);
    }
}

#[test]
fn what_sshd_did_itself_is_not_called_the_peers_doing() {
    let sshd = task(30, "sshd");
    let killed = of(&sshd, &monitor(), OF_PEER, |scene| {
        let blow = signal(sig::SIGTERM, task(80, "kill"), task(30, "sshd"));
        scene.signal(4, SignalSent { is_target: false, ..blow })
    });
    assert!(!killed.cause.explanation.contains("connection"), "{}", killed.cause.explanation);
}

#[test]
fn a_client_that_is_not_heard_from() {
    let line = JournalLine {
        message: "Timeout, client not responding from user alice 203.0.113.5 port 51276".to_owned(),
        pid: Some(30),
        ..JournalLine::default()
    };
    let death = of(&task(30, "sshd"), &monitor(), OF_PEER, |scene| {
        scene.add(4, Source::Journal, Fact::Journal(line))
    });
    assert!(death.cause.explanation.contains("ClientAliveInterval"), "{}", death.cause.explanation);
}
