//! Ends that no signal brought about, and processes of several threads.

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, Outcome};
use killtrace_tests::live::{By, play};

fn by_itself(scene: &str, status: u8) {
    let played = play(scene);
    let death = played.verdict("victim", None, By::Nobody, CauseId::ExitedByItself);
    assert_eq!(death.outcome, Outcome::Exited { status });
}

#[test]
fn exit_0() {
    by_itself("exit-0", 0);
}

#[test]
fn exit_3() {
    by_itself("exit-3", 3);
}

#[test]
fn exit_by_thread() {
    by_itself("exit-by-thread", 7);
}

#[test]
fn exit_by_threads_at_once() {
    by_itself("exit-by-threads-at-once", 6);
}

/// The exec of a second thread ends the first, not the process.
#[test]
fn exec_by_thread() {
    let played = play("exec-by-thread");
    let death = played.verdict("victim", None, By::Nobody, CauseId::ExitedByItself);
    let words = death.victim.cmdline.as_ref().expect("checked above");
    assert_eq!(words, &["killtrace-fixture", "role", "exit", "5"]);
}

#[test]
fn leader_thread_gone() {
    let by = By::Process("killer");
    play("leader-thread-gone").killed(Mechanism::Kill, by, CauseId::ProcessSignal);
}

#[test]
fn leader_thread_gone_exit() {
    by_itself("leader-thread-gone-exit", 9);
}

/// 128+15 is a shell's way to tell of its child; no signal came to the shell.
#[test]
fn shell_passes_status_on() {
    by_itself("shell-passes-status-on", 143);
}
