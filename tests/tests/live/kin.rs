//! Ends that follow another's: parents, inits, tracers.

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::CauseId;
use killtrace_tests::live::{By, play};

const PARENT: By = By::KernelFor("parent");

#[test]
fn parent_death_signal() {
    let how = Mechanism::ParentDeathSignal;
    play("parent-death-signal").killed(how, PARENT, CauseId::ParentDied);
}

#[test]
fn parent_death_signal_kill() {
    let how = Mechanism::ParentDeathSignal;
    play("parent-death-signal-kill").killed(how, PARENT, CauseId::ParentDied);
}

/// The parent's own killer is part of the story.
#[test]
fn parent_killed() {
    let played = play("parent-killed");
    let death = played.killed(Mechanism::ParentDeathSignal, PARENT, CauseId::ParentDied);
    let killer = played.pid("killer");
    let mut actors = death.chain.iter().filter_map(|link| link.actor.as_ref());
    assert!(actors.any(|actor| actor.pid == killer), "{:#?}", death.chain);
}

/// The parent process lives on: the text must speak of its thread.
#[test]
fn parent_thread_exit() {
    let played = play("parent-thread-exit");
    let death = played.killed(Mechanism::ParentDeathSignal, PARENT, CauseId::ParentDied);
    assert!(death.cause.explanation.contains("thread"), "{}", death.cause.explanation);
}

#[test]
fn namespace_init_exit() {
    let by = By::KernelFor("init");
    let cause = CauseId::PidNamespaceInitExited;
    play("namespace-init-exit").killed(Mechanism::PidNamespaceExit, by, cause);
}

/// reboot(2) in a namespace of one's own ends its init, and everybody with it.
#[test]
fn namespace_reboot() {
    let by = By::KernelFor("init");
    let cause = CauseId::PidNamespaceInitExited;
    let played = play("namespace-reboot");
    let told = &played.killed(Mechanism::PidNamespaceExit, by, cause).cause.explanation;
    let rebooter = format!("[{}]", played.pid("rebooter"));
    assert!(told.contains("reboot(2)") && told.contains(&rebooter), "{told}");
}

#[test]
fn ptrace_exitkill() {
    let by = By::KernelFor("tracer");
    play("ptrace-exitkill").killed(Mechanism::PtraceExitKill, by, CauseId::TracerExited);
}

/// PTRACE_KILL has no word of its own among the mechanisms.
#[test]
fn ptrace_kill() {
    play("ptrace-kill").caused("victim", By::Process("tracer"), CauseId::ProcessSignal);
}

/// The sender of SIGUSR1 did not do it: its signal was replaced.
#[test]
fn ptrace_injection() {
    play("ptrace-injection").caused("victim", By::Process("tracer"), CauseId::ProcessSignal);
}
