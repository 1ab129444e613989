//! Terminals: hangups, keys, sessions, jobs.

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::CauseId;
use killtrace_tests::live::{By, play};

#[test]
fn pty_closed() {
    let by = By::KernelFor("closer");
    play("pty-closed").killed(Mechanism::TtyHangup, by, CauseId::TerminalClosed);
}

#[test]
fn pty_closed_by_exit() {
    let by = By::KernelFor("closer");
    play("pty-closed-by-exit").killed(Mechanism::TtyHangup, by, CauseId::TerminalClosed);
}

/// The leader's end passes the hangup on to its foreground job.
#[test]
fn pty_closed_cascade() {
    let by = By::KernelFor("leader");
    play("pty-closed-cascade").killed(Mechanism::TtyHangup, by, CauseId::SessionLeaderExited);
}

#[test]
fn vhangup() {
    let by = By::KernelFor("hangman");
    play("vhangup").killed(Mechanism::TtyHangup, by, CauseId::TerminalClosed);
}

#[test]
fn session_leader_exit() {
    let by = By::KernelFor("leader");
    play("session-leader-exit").killed(Mechanism::TtyHangup, by, CauseId::SessionLeaderExited);
}

/// The kernel's worker that handles the key is not to be blamed.
#[test]
fn ctrl_c() {
    let by = By::KernelAlone;
    play("ctrl-c").killed(Mechanism::TtySignal, by, CauseId::TerminalInterrupt);
}

#[test]
fn ctrl_backslash() {
    let by = By::KernelAlone;
    play("ctrl-backslash").killed(Mechanism::TtySignal, by, CauseId::TerminalInterrupt);
}

#[test]
fn tiocsig() {
    let by = By::KernelFor("holder");
    play("tiocsig").killed(Mechanism::TtySignal, by, CauseId::TerminalInterrupt);
}

#[test]
fn orphaned_group() {
    let by = By::KernelFor("parent");
    play("orphaned-group").killed(Mechanism::OrphanedPgrp, by, CauseId::OrphanedProcessGroup);
}

#[test]
fn huponexit() {
    let by = By::Process("shell");
    play("huponexit").killed(Mechanism::Kill, by, CauseId::ProcessSignal);
}

/// bash passes its terminal's hangup on to its jobs by kill(2).
#[test]
fn bash_terminal_closed() {
    let by = By::Process("shell");
    play("bash-terminal-closed").killed(Mechanism::Kill, by, CauseId::SessionLeaderExited);
}

/// The hangup goes to the whole group of the job.
#[test]
fn bash_terminal_closed_below() {
    let by = By::Process("shell");
    play("bash-terminal-closed-below").killed(Mechanism::Kill, by, CauseId::SessionLeaderExited);
}

#[test]
fn bash_ends_stopped_job() {
    let by = By::Process("shell");
    play("bash-ends-stopped-job").killed(Mechanism::Kill, by, CauseId::SessionLeaderExited);
}

/// It ends by itself: the timer is its own.
#[test]
fn bash_tmout() {
    let played = play("bash-tmout");
    let death = played.verdict("victim", None, By::Nobody, CauseId::TimerExpired);
    assert!(death.cause.explanation.contains("TMOUT"), "{}", death.cause.explanation);
}
