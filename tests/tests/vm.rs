//! Ends that take a machine of their own: `cargo xtask vm` runs these in virtual machines, with the
//! live tests. They are ignored elsewhere.

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, Death, Outcome};
use killtrace_tests::live::{By, play};

fn killed_outright(death: &Death) {
    let outcome = Outcome::Signaled { signal: "SIGKILL".to_owned(), core_dumped: false };
    assert_eq!(death.outcome, outcome);
}

/// The machine's memory is used up. Who asked for the last page is named, and not blamed.
#[test]
#[ignore = "uses up the machine's memory: cargo xtask vm runs it"]
fn memory_exhausted() {
    let played = play("memory-exhausted");
    let death = played.killed(Mechanism::OomKill, By::KernelAlone, CauseId::KernelOomGlobal);
    killed_outright(death);
    let trigger = format!("[{}]", played.pid("trigger"));
    assert!(death.cause.explanation.contains(&trigger), "{}", death.cause.explanation);
}

#[test]
#[ignore = "uses up the machine's memory: cargo xtask vm runs it"]
fn memory_exhausted_by_the_victim() {
    let played = play("memory-exhausted-itself");
    let death = played.killed(Mechanism::OomKill, By::KernelAlone, CauseId::KernelOomGlobal);
    killed_outright(death);
    assert!(death.cause.explanation.contains("its own request"), "{}", death.cause.explanation);
}

/// Every process of the group ends, and each verdict says why.
#[test]
#[ignore = "needs the memory controller of cgroup2: cargo xtask vm runs it"]
fn memory_oom_group() {
    let played = play("cgroup2-oom-group");
    for victim in ["victim", "victim-beside"] {
        let how = Some(Mechanism::OomKill);
        let death = played.verdict(victim, how, By::KernelAlone, CauseId::KernelOomCgroup);
        killed_outright(death);
        let text = &death.cause.explanation;
        assert!(text.contains("memory.oom.group") && text.contains("24"), "{victim}: {text}");
    }
}

/// The limit that was reached is not the victim's own cgroup's.
#[test]
#[ignore = "needs the memory controller of cgroup2: cargo xtask vm runs it"]
fn memory_limit_of_the_cgroup_above() {
    let played = play("cgroup2-oom-above");
    let death = played.killed(Mechanism::OomKill, By::KernelAlone, CauseId::KernelOomCgroup);
    killed_outright(death);
    let text = &death.cause.explanation;
    assert!(text.contains("/killtrace-outer-") && !text.contains("/inner-"), "{text}");
}

/// There was no shortage: somebody asked for it.
#[test]
#[ignore = "ends whoever has most memory: cargo xtask vm runs it"]
fn sysrq_oom() {
    let played = play("sysrq-oom");
    let death = played.killed(Mechanism::Sysrq, By::KernelAlone, CauseId::Sysrq);
    killed_outright(death);
}

/// A page of its memory has failed, which the kernel tells at the next touch.
#[test]
#[ignore = "costs the machine a page of memory: cargo xtask vm runs it"]
fn poisoned_page() {
    let played = play("poisoned-page");
    let death =
        played.killed(Mechanism::MemoryFailure, By::KernelAlone, CauseId::HardwareMemoryError);
    assert_eq!(death.signal.as_ref().map(|signal| signal.si_code.as_str()), Some("BUS_MCEERR_AR"));
    assert!(death.cause.explanation.contains(", at address 0x"), "{}", death.cause.explanation);
}

/// The kernel kills, but since somebody closed the descriptor: that is who is named.
#[test]
#[ignore = "needs Linux 7.1: cargo xtask vm runs it"]
fn pidfd_closed() {
    let played = play("pidfd-closed");
    let by = By::Process("holder");
    let death = played.killed(Mechanism::PidfdSendSignal, by, CauseId::ProcessSignal);
    killed_outright(death);
    let text = &death.cause.explanation;
    assert!(text.contains("closed its last pidfd"), "{text}");
}
