//! cgroup.kill, and memory limits of cgroups.

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, Death, Outcome};
use killtrace_tests::live::{By, Played, Stage, Trace, play, play_under};

const KILLER: By = By::Process("killer");

#[test]
fn cgroup_kill() {
    play("cgroup-kill").killed(Mechanism::CgroupKill, KILLER, CauseId::ProcessSignal);
}

/// A shell's redirection: a person or a script, gone at once.
#[test]
fn cgroup_kill_writer_gone() {
    let played = play("cgroup-kill-writer-gone");
    let death = played.killed(Mechanism::CgroupKill, KILLER, CauseId::UserCommand);
    let killer = death.killer.process.as_ref().expect("checked above");
    assert_eq!(killer.comm.as_deref(), Some("sh"));
    let words = killer.cmdline.as_ref().expect("checked above");
    assert!(words.iter().any(|word| word.contains("cgroup.kill")), "{words:?}");
}

/// 500 deaths, each told, none lost.
#[test]
fn cgroup_kill_500() {
    let stage = Stage::open("cgroup-kill-500");
    let mut args = Vec::new();
    for (_, pid) in stage.victims() {
        args.extend(["-p".to_owned(), pid.to_string()]);
    }
    let trace = Trace::start("cgroup-kill-500", &args);
    let played = play_under(stage, trace);
    for number in 0..500 {
        let victim = format!("victim-{number}");
        let how = Some(Mechanism::CgroupKill);
        played.verdict(&victim, how, KILLER, CauseId::ProcessSignal);
    }
    assert_eq!(played.trace.summary().map(|summary| summary.deaths), Some(500));
}

/// Children that are made while the cgroup is killed die of the same.
#[test]
fn cgroup_kill_forking() {
    let stage = Stage::open("cgroup-kill-forking");
    let victim = stage.pid("victim").to_string();
    let trace = Trace::of(&stage, &["-f", "-p", &victim]);
    let played = play_under(stage, trace);
    played.killed(Mechanism::CgroupKill, KILLER, CauseId::ProcessSignal);
    let killer = played.pid("killer");
    let mut children = 0;
    for death in played.trace.deaths() {
        let signal = death.signal.as_ref().map(|signal| (signal.number, signal.mechanism));
        assert_eq!(signal, Some((9, Mechanism::CgroupKill)), "{}", played.trace.complaint());
        let named = death.killer.process.as_ref().map(|process| process.pid);
        assert_eq!(named, Some(killer), "{}", played.trace.complaint());
        children += 1;
    }
    assert!(children > 50, "50 children were made before the kill, {children} deaths were told");
}

fn out_of_memory(played: &Played) {
    let death = played.killed(Mechanism::OomKill, By::KernelAlone, CauseId::KernelOomCgroup);
    let outcome = Outcome::Signaled { signal: "SIGKILL".to_owned(), core_dumped: false };
    assert_eq!(death.outcome, outcome);
}

#[test]
fn cgroup_oom() {
    out_of_memory(&play("cgroup-oom"));
}

/// Who asked for the last page is no killer.
#[test]
fn cgroup_oom_bystander() {
    out_of_memory(&play("cgroup-oom-bystander"));
}

/// The kernel kills along whoever shares the memory of the one that it chose.
#[test]
fn cgroup_oom_shared_memory() {
    let stage = Stage::open("cgroup-oom-shared-memory");
    let victim = stage.pid("victim").to_string();
    let trace = Trace::of(&stage, &["-f", "-p", &victim]);
    let played = play_under(stage, trace);
    out_of_memory(&played);
    let deaths: Vec<_> = played.trace.deaths().collect();
    let [one, other] = deaths[..] else { panic!("two deaths: {}", played.trace.complaint()) };
    assert!([one, other].iter().all(|death| death.cause.id == CauseId::KernelOomCgroup));
    // Which of the two it chooses is the kernel's affair.
    let along = |a: &Death, b: &Death| {
        let chosen = format!("[{}], whose memory it shares", b.victim.pid);
        a.cause.explanation.contains(&chosen)
    };
    assert!(along(one, other) != along(other, one), "{}", played.trace.complaint());
}
