//! Signals that somebody sends.

use killtrace::evidence::{Disposition, Grade, Mechanism, SignalResult};
use killtrace::story::verdict::CauseId;
use killtrace_tests::live::{By, play};

const KILLER: By = By::Process("killer");
const BY_PROGRAM: CauseId = CauseId::ProcessSignal;
const BY_SOMEBODY: CauseId = CauseId::UserCommand;

/// The plain case, told in full: what the kernel said of the signal, and who the killer is.
#[test]
fn kill_term() {
    let played = play("kill-term");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let signal = death.signal.as_ref().expect("checked above");
    assert_eq!((signal.number, signal.si_code.as_str()), (15, "SI_USER"));
    assert_eq!(signal.si_pid, Some(played.pid("killer").cast_signed()));
    assert_eq!(signal.si_uid, Some(0));
    assert_eq!(signal.disposition, Some(Disposition::Default));
    assert_eq!(death.cause.evidence, Grade::Observed);
    let killer = death.killer.process.as_ref().expect("checked above");
    assert_eq!(killer.comm.as_deref(), Some("killtrace-fixtu"));
    assert!(killer.exe.as_deref().is_some_and(|exe| exe.ends_with("/killtrace-fixture")));
    assert_eq!(
        killer.cmdline.as_ref().and_then(|words| words.last()?.as_str().into()),
        Some("kill-term")
    );
    assert_eq!((killer.uid, killer.user.as_deref()), (Some(0), Some("root")));
    assert_eq!(killer.ppid, Some(played.pid("director")));
    assert_eq!(killer.ancestors.first().map(|parent| parent.pid), killer.ppid);
}

#[test]
fn kill_kill() {
    play("kill-kill").killed(Mechanism::Kill, KILLER, BY_PROGRAM);
}

#[test]
fn kill_realtime() {
    let played = play("kill-realtime");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    assert_eq!(death.signal.as_ref().map(|signal| signal.name.as_str()), Some("SIGRT_8"));
}

#[test]
fn tkill() {
    let played = play("tkill");
    let death = played.killed(Mechanism::Tkill, KILLER, BY_PROGRAM);
    assert_eq!(death.signal.as_ref().map(|signal| signal.si_code.as_str()), Some("SI_TKILL"));
    let records = played.trace.signals().filter(|record| record.signal.number == 15);
    let threads: Vec<_> = records.map(|record| record.target_tid).collect();
    assert_eq!(threads, [Some(played.pid("thread"))]);
}

#[test]
fn tgkill() {
    play("tgkill").killed(Mechanism::Tgkill, KILLER, BY_PROGRAM);
}

/// The forged pid is told as what the victim sees, never as the killer.
#[test]
fn sigqueue_forged() {
    let played = play("sigqueue-forged");
    let death = played.killed(Mechanism::Sigqueue, KILLER, BY_PROGRAM);
    let signal = death.signal.as_ref().expect("checked above");
    assert_eq!((signal.si_code.as_str(), signal.si_pid), ("SI_QUEUE", Some(1)));
}

#[test]
fn sigqueue_forged_timer() {
    let played = play("sigqueue-forged-timer");
    let death = played.killed(Mechanism::Sigqueue, KILLER, BY_PROGRAM);
    assert_eq!(death.signal.as_ref().map(|signal| signal.si_code.as_str()), Some("SI_TIMER"));
}

#[test]
fn tgsigqueue_forged() {
    play("tgsigqueue-forged").killed(Mechanism::Sigqueue, KILLER, BY_PROGRAM);
}

#[test]
fn pidfd_send_signal() {
    play("pidfd-send-signal").killed(Mechanism::PidfdSendSignal, KILLER, BY_PROGRAM);
}

#[test]
fn kill_group() {
    let played = play("kill-group");
    for victim in ["victim", "victim-too"] {
        let death = played.verdict(victim, Some(Mechanism::Kill), KILLER, BY_PROGRAM);
        let told = &death.cause.explanation;
        assert!(told.contains("the whole process group"), "{told}");
    }
}

/// Pids are told as in the tracer's namespace, and as the process sees itself.
#[test]
fn kill_everybody() {
    let played = play("kill-everybody");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    assert!(death.cause.explanation.contains("(kill -1)"), "{}", death.cause.explanation);
    assert_eq!(death.victim.ns_pid, Some(2));
    assert_eq!(death.killer.process.as_ref().and_then(|killer| killer.ns_pid), Some(3));
    assert_eq!(death.signal.as_ref().and_then(|signal| signal.si_pid), Some(3));
}

#[test]
fn kill_other_user() {
    let played = play("kill-other-user");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let killer = death.killer.process.as_ref().expect("checked above");
    assert_eq!((killer.uid, killer.user.as_deref()), (Some(65534), Some("nobody")));
    assert_eq!(death.signal.as_ref().and_then(|signal| signal.si_uid), Some(65534));
}

#[test]
fn kill_sender_gone() {
    play("kill-sender-gone").killed(Mechanism::Kill, KILLER, BY_PROGRAM);
}

/// The first fatal sender did it; the second came too late.
#[test]
fn kill_two_senders() {
    let played = play("kill-two-senders");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    assert_eq!(death.signal.as_ref().map(|signal| signal.number), Some(15));
}

/// Credit stays with the sender whose signal was queued.
#[test]
fn pending_twice() {
    let played = play("pending-twice");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    assert_eq!(death.signal.as_ref().map(|signal| signal.result), Some(SignalResult::Blocked));
    let second = played.trace.signals().find(|record| {
        record.sender.as_ref().is_some_and(|sender| sender.pid == played.pid("killer-two"))
    });
    assert_eq!(second.map(|record| record.signal.result), Some(SignalResult::AlreadyPending));
}

#[test]
fn kill_by_raise() {
    let played = play("kill-by-raise");
    let death = played.killed(Mechanism::Tgkill, By::Itself, BY_PROGRAM);
    assert!(death.cause.explanation.contains("itself"), "{}", death.cause.explanation);
}

#[test]
fn kill_itself() {
    play("kill-itself").killed(Mechanism::Kill, By::Itself, BY_PROGRAM);
}

#[test]
fn stopped_then_killed() {
    play("stopped-then-killed").killed(Mechanism::Kill, KILLER, BY_PROGRAM);
}

#[test]
fn stopped_then_terminated() {
    let played = play("stopped-then-terminated");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let told = &death.cause.explanation;
    let named = |part: &str, name: &str| told.contains(&format!("{part}[{}]", played.pid(name)));
    assert!(named("it had got SIGSTOP from killtrace-fixture", "sender"), "{told}");
    assert!(told.contains("until SIGCONT came"), "{told}");
    assert!(
        told.contains(&format!("later, from killtrace-fixture[{}]", played.pid("waker"))),
        "{told}"
    );
}

/// The last of two signals of the same supervisor ended it.
#[test]
fn supervisor() {
    let played = play("supervisor");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    assert_eq!(death.signal.as_ref().map(|signal| signal.number), Some(9));
}

#[test]
fn kill_program() {
    let played = play("kill-program");
    let death = played.killed(Mechanism::Kill, KILLER, BY_SOMEBODY);
    let killer = death.killer.process.as_ref().expect("checked above");
    let pid = played.pid("victim").to_string();
    assert_eq!(killer.comm.as_deref(), Some("kill"));
    assert_eq!(killer.cmdline, Some(vec!["kill".to_owned(), "-TERM".to_owned(), pid]));
}

#[test]
fn kill_builtin() {
    play("kill-builtin").killed(Mechanism::Kill, KILLER, BY_SOMEBODY);
}

#[test]
fn pkill() {
    let played = play("pkill");
    let death = played.killed(Mechanism::Kill, KILLER, BY_SOMEBODY);
    let killer = death.killer.process.as_ref().expect("checked above");
    assert_eq!(killer.comm.as_deref(), Some("pkill"));
}

#[test]
fn timeout_command() {
    let played = play("timeout-command");
    let death = played.killed(Mechanism::Kill, KILLER, CauseId::TimeoutCommand);
    let killer = death.killer.process.as_ref().expect("checked above");
    assert_eq!(killer.comm.as_deref(), Some("timeout"));
}

/// It is told as what it was when it killed, although it is another program right after.
#[test]
fn killer_executes_another() {
    let played = play("killer-executes-another");
    let death = played.killed(Mechanism::Kill, KILLER, BY_SOMEBODY);
    let killer = death.killer.process.as_ref().expect("checked above");
    assert_eq!(killer.comm.as_deref(), Some("sh"));
    let words = killer.cmdline.clone().unwrap_or_default();
    assert_eq!(words.first().map(String::as_str), Some("sh"), "{words:?}");
    assert!(death.cause.explanation.contains("; exec true"), "{}", death.cause.explanation);
}

/// Somebody's kill(1) reached the victim through a program that passes on what it gets.
fn relayed(scene: &str, relay: &str) {
    let played = play(scene);
    let death = played.killed(Mechanism::Kill, KILLER, BY_SOMEBODY);
    let killer = death.killer.process.as_ref().expect("checked above");
    assert_eq!(killer.comm.as_deref(), Some(relay));
    let (behind, through) = (played.pid("behind"), played.pid("killer"));
    let first = format!("kill[{behind}] sent SIGTERM to {relay}[{through}]");
    let links: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(links.contains(&first.as_str()), "{links:#?}");
    let told = &death.cause.explanation;
    assert!(told.contains(&format!("ran \"kill -TERM {through}\"")), "{told}");
}

#[test]
fn relayed_by_timeout() {
    relayed("relayed-by-timeout", "timeout");
}

#[test]
fn relayed_by_shell() {
    relayed("relayed-by-shell", "sh");
}

/// As in a container that is started with tini or dumb-init.
#[test]
fn relayed_by_init() {
    relayed("relayed-by-init", "init");
}

#[test]
fn time_limit_of_parent() {
    let played = play("time-limit-of-parent");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let told = &death.cause.explanation;
    assert!(told.contains("had run out (SIGALRM), which may be why"), "{told}");
}
