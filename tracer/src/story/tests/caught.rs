//! Ends after signals that were caught: which of them were the reason.

use super::scene::{Scene, caught, signal, task};
use crate::evidence::{
    Disposition, Exit, Fact, Grade, SignalInfo, SignalSent, Source, Syscall, TargetReason, Task,
    TraceOptions, sig,
};
use crate::story::verdict::{CauseId, Death, KillerKind};

pub fn exited(status: u32) -> u32 {
    status << 8
}

/// A fault that the process caught.
pub fn fault(number: u8, code: i32, victim: &Task) -> SignalSent {
    let info = SignalInfo::Real { code, errno: 0, fields: [8, 0] };
    SignalSent {
        info,
        syscall: None,
        to_process: false,
        ..caught(number, victim.clone(), victim.clone())
    }
}

/// What one of its threads sends another, or itself.
pub fn own(number: u8, victim: &Task) -> SignalSent {
    let info = SignalInfo::Real { code: -6, errno: 0, fields: [u64::from(victim.ns_pid), 0] };
    let syscall = Some(Syscall { name: "tgkill".to_owned(), args: [0; 3] });
    let sent = caught(number, victim.clone(), victim.clone());
    SignalSent { info, syscall, to_process: false, ..sent }
}

fn timer(victim: &Task) -> SignalSent {
    let stack = vec!["it_real_fn".to_owned()];
    let sent = caught(sig::SIGALRM, task(7, "bystander"), victim.clone());
    SignalSent { info: SignalInfo::Privileged, syscall: None, stack, ..sent }
}

fn typed(number: u8, victim: &Task) -> SignalSent {
    let stack = vec!["isig".to_owned()];
    let sent = caught(number, task(7, "kworker/u4:1"), victim.clone());
    SignalSent { info: SignalInfo::Privileged, syscall: None, stack, ..sent }
}

/// The verdict where those signals came at these times (milliseconds), and the process exited at 10 s.
pub fn after(victim: &Task, signals: &[(u64, SignalSent)], status: u32) -> Death {
    let mut scene = Scene::default().target(victim, TargetReason::Pid);
    for (ms, sent) in signals {
        scene = scene.signal(*ms, sent.clone());
    }
    scene.exit(10_000, victim.clone(), status, true).death()
}

#[test]
fn what_a_runtime_catches_of_its_own_is_no_reason_to_exit() {
    let victim = task(42, "program");
    let cases = [
        fault(sig::SIGSEGV, 1, &victim),
        fault(sig::SIGSEGV, 2, &victim),
        timer(&victim),
        own(sig::SIGRTMIN_KERNEL, &victim),
        own(sig::SIGRTMIN_KERNEL + 1, &victim),
        own(sig::SIGPROF, &victim),
        own(sig::SIGUSR1, &victim),
    ];
    for sent in cases {
        for ms in [9_000, 9_750, 9_999] {
            let death = after(&victim, &[(ms, sent.clone())], 0);
            assert_eq!(death.cause.id, CauseId::ExitedByItself, "{ms} {sent:?}");
            assert_eq!((death.killer.kind, death.signal), (KillerKind::None, None));
        }
    }
}

/// A null pointer that a program catches to end by it; not one of a program that has lived through such before.
#[test]
fn a_fault_right_before_an_exit_with_an_error() {
    let victim = task(42, "program");
    let null = fault(sig::SIGSEGV, 1, &victim);
    let death = after(&victim, &[(9_995, null.clone())], exited(2));
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::Crash, Grade::Inferred));
    assert!(
        death.cause.explanation.contains("It caught that, and exited 5 ms later"),
        "{death:#?}"
    );
    let death = after(&victim, &[(9_700, null.clone())], exited(2));
    assert_eq!(death.cause.id, CauseId::ExitedByItself);
    assert!(death.cause.explanation.contains("300 ms before, it used a null pointer (SIGSEGV)"));
    let death = after(&victim, &[(9_000, null.clone()), (9_995, null.clone())], exited(2));
    assert_eq!(death.cause.id, CauseId::ExitedByItself);
    // Of a row of them, it lived through the first at least.
    let row = [(9_990, null.clone()), (9_995, null.clone())];
    assert_eq!(after(&victim, &row, exited(2)).cause.id, CauseId::ExitedByItself);
    let java = task(43, "java");
    let death = after(&java, &[(9_995, fault(sig::SIGSEGV, 1, &java))], exited(1));
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::ExitedByItself, Grade::Observed));
    let death = after(&victim, &[(9_995, fault(sig::SIGSEGV, 2, &victim))], exited(2));
    assert_eq!(death.cause.id, CauseId::ExitedByItself);
    let death = after(&victim, &[(9_000, null)], exited(139));
    assert_eq!(death.cause.id, CauseId::Crash);
}

#[test]
fn a_timer_by_whose_handler_a_program_exits() {
    let victim = task(42, "program");
    let death = after(&victim, &[(9_999, timer(&victim))], exited(1));
    assert_eq!(death.cause.id, CauseId::TimerExpired);
    let ticks = [(9_699, timer(&victim)), (9_999, timer(&victim))];
    assert_eq!(after(&victim, &ticks, exited(1)).cause.id, CauseId::ExitedByItself);
}

/// `--all` and `--target` are for ends that somebody may ask about.
#[test]
fn an_end_after_signals_of_its_own_doing_is_no_news() {
    let victim = task(42, "java");
    let scene = |reason, sent: SignalSent, status| {
        let scene = Scene::default().target(&victim, reason).signal(9_750, sent);
        scene.exit(10_000, victim.clone(), status, true).deaths().len()
    };
    assert_eq!(scene(TargetReason::Matched, fault(sig::SIGSEGV, 1, &victim), 0), 0);
    assert_eq!(scene(TargetReason::Running, fault(sig::SIGSEGV, 1, &victim), 0), 1);
    assert_eq!(scene(TargetReason::Matched, fault(sig::SIGSEGV, 1, &victim), exited(139)), 1);
    let asked = caught(sig::SIGUSR1, task(90, "boss"), victim.clone());
    assert_eq!(scene(TargetReason::Matched, asked, 0), 1);
    let all = TraceOptions { all: true, ..TraceOptions::default() };
    let scene = Scene::default().options(all).signal(9_750, fault(sig::SIGSEGV, 1, &victim));
    assert!(scene.exit(10_000, victim.clone(), 0, true).deaths().is_empty());
}

/// The cause where a program started with these arguments was sent that, and exited at 10 s.
fn run_as(args: &[&str], ms: u64, sent: &dyn Fn(&Task) -> SignalSent, status: u32) -> Death {
    let victim = task(42, args[0].trim_start_matches('-'));
    Scene::default()
        .target(&victim, TargetReason::Pid)
        .exec(1, victim.clone(), args, &[])
        .signal(ms, sent(&victim))
        .exit(10_000, victim, status, true)
        .death()
}

#[test]
fn ctrl_c_at_a_prompt_is_no_reason_of_the_exit() {
    let key = |victim: &Task| typed(sig::SIGINT, victim);
    let cases: [(&[&str], u64, u32); 8] = [
        (&["bash", "-i"], 9_000, exited(130)),
        (&["-bash"], 9_000, exited(130)),
        (&["bash"], 9_900, exited(130)),
        (&["zsh", "--login"], 9_000, 0),
        (&["python3", "-q"], 6_000, 0),
        (&["python3.11", "-i", "tool.py"], 6_000, 0),
        (&["psql", "shop"], 9_000, 0),
        (&["serve", "8000"], 3_000, 0),
    ];
    for (args, ms, status) in cases {
        let death = run_as(args, ms, &key, status);
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{args:?}");
        assert_eq!(death.cause.evidence, Grade::Inferred);
        let words = &death.cause.explanation;
        assert!(words.contains("had caught SIGINT, typed at its terminal"), "{words}");
    }
}

#[test]
fn ctrl_c_elsewhere_is() {
    let key = |victim: &Task| typed(sig::SIGINT, victim);
    let cases: [(&[&str], u64, u32); 5] = [
        (&["serve", "8000"], 9_000, 0),
        (&["serve", "8000"], 3_000, exited(130)),
        (&["bash", "-c", "build"], 9_900, exited(130)),
        (&["bash", "build.sh", "-i"], 9_000, exited(130)),
        (&["python3", "tool.py"], 9_990, exited(1)),
    ];
    for (args, ms, status) in cases {
        let death = run_as(args, ms, &key, status);
        assert_eq!(death.cause.id, CauseId::TerminalInterrupt, "{args:?}");
    }
}

#[test]
fn a_dump_of_threads_ends_no_jvm() {
    let quit = |victim: &Task| caught(sig::SIGQUIT, task(90, "jcmd"), victim.clone());
    for ms in [3_000, 9_500] {
        let death = run_as(&["/usr/bin/java", "Server"], ms, &quit, 0);
        assert_eq!(death.cause.id, CauseId::ExitedByItself);
        assert!(death.cause.explanation.contains("had caught SIGQUIT from jcmd[90]"), "{death:#?}");
    }
    // To others it is a way of asking for the end.
    let cause = |ms| run_as(&["nginx"], ms, &quit, 0).cause.id;
    assert_eq!(cause(8_000), CauseId::ProcessSignal);
    assert_eq!(cause(3_000), CauseId::ExitedByItself);
}

#[test]
fn an_end_long_after_sigterm_may_be_its_own() {
    let victim = task(42, "batch");
    let term = |ms| (ms, caught(sig::SIGTERM, task(90, "boss"), victim.clone()));
    let death = after(&victim, &[term(500)], 0);
    assert_eq!(death.cause.id, CauseId::ProcessSignal);
    assert!(death.cause.explanation.contains("for 9.5 s after SIGTERM, it may as well"));
    for (ms, status) in [(9_000, 0), (500, exited(143))] {
        let death = after(&victim, &[term(ms)], status);
        assert_eq!(death.cause.id, CauseId::ProcessSignal);
        assert!(!death.cause.explanation.contains("may as well"));
    }
}

/// An exit with this status of a process that was followed for that reason, after a child of it had ended like that.
fn with_status(status: u32, reason: TargetReason, child: Option<u32>) -> String {
    let victim = task(42, "git");
    let mut scene = Scene::default().target(&victim, reason);
    if let Some(ended) = child {
        scene = scene.exit(5, Task { ppid: 42, ..task(43, "hook") }, ended, false);
    }
    let death = scene.exit(10, victim, exited(status), true).death();
    assert_eq!(death.cause.id, CauseId::ExitedByItself);
    death.cause.explanation
}

#[test]
fn a_status_above_128_is_a_childs_death_only_where_one_was_seen() {
    let killed = with_status(129, TargetReason::Command, Some(1));
    assert!(killed.contains("129 stands for SIGHUP, by which its child hook[43]"), "{killed}");
    let passed_on = with_status(129, TargetReason::Command, Some(exited(129)));
    assert!(passed_on.contains("child hook[43] had exited with the same status"), "{passed_on}");
    let none = with_status(129, TargetReason::Command, Some(0));
    assert!(none.contains("but no child of its was killed by a signal"), "{none}");
    let unknown = with_status(129, TargetReason::Pid, None);
    assert!(unknown.contains("A shell exits with 129 where"), "{unknown}");
    assert!(!with_status(3, TargetReason::Pid, None).contains("shell"));
}

/// A debugger can have a process call exit(2), which looks like its own doing.
#[test]
fn an_exit_under_a_debugger() {
    let under = |comm: &str| {
        let (victim, tracer) = (task(42, "sleep"), task(90, comm));
        let exit = Exit {
            task: victim.clone(),
            ancestors: Vec::new(),
            is_target: true,
            status: exited(3),
            ptracer: Some(90),
            seccomp: 0,
            pending: Vec::new(),
            unseen: false,
        };
        let scene = Scene::default().target(&victim, TargetReason::Pid);
        let scene = scene.exec(1, tracer, &[comm, "-p", "42"], &[]);
        scene.add(60_000, Source::Kernel, Fact::Exit(exit)).death().cause
    };
    let cause = under("gdb");
    assert_eq!((cause.id, cause.evidence), (CauseId::ExitedByItself, Grade::Inferred));
    assert!(cause.explanation.contains("while gdb[90] was tracing it"), "{cause:?}");
    assert_eq!(under("strace").evidence, Grade::Observed);
}

/// Across execve(2), not across fork(2).
#[test]
fn a_timer_may_have_been_set_by_the_program_before() {
    let told = |exec_ms: &[(u64, &str)]| {
        let mut victim = task(42, "sleep");
        victim.id.start_ns = super::scene::at(50).boot_ns;
        let mut scene = Scene::default().target(&victim, TargetReason::Pid);
        for (ms, comm) in exec_ms {
            let task = Task { comm: (*comm).to_owned(), ..victim.clone() };
            scene = scene.exec(*ms, task, &[*comm, "2"], &[]);
        }
        let expired =
            SignalSent { disposition: Some(Disposition::Default), fatal: true, ..timer(&victim) };
        let scene = scene.signal(2_000, expired).exit(2_001, victim, 14, true);
        let death = scene.death();
        assert_eq!(death.cause.id, CauseId::TimerExpired);
        death.cause.explanation
    };
    assert!(told(&[(60, "perl"), (70, "sleep")]).contains("or perl, which it had been before"));
    assert!(!told(&[(70, "sleep")]).contains("had been before"));
}

/// It had lived through the first for seconds; the second came right before its end.
#[test]
fn what_came_right_before_the_exit_outweighs_what_was_lived_through() {
    let victim = task(42, "program");
    let by = |pid, number| caught(number, task(pid, "sender"), victim.clone());
    let killer = |death: &Death| death.killer.process.as_ref().map(|killer| killer.pid);
    // First and second signal, when the second came, and whose it is then.
    let cases = [
        (sig::SIGINT, sig::SIGUSR2, 9_996, 91),
        (sig::SIGINT, sig::SIGUSR2, 9_850, 91),
        (sig::SIGINT, sig::SIGHUP, 9_990, 91),
        (sig::SIGTERM, sig::SIGTERM, 9_998, 91),
        // SIGTERM leaves time to tidy up: this may be about something else, or come while it does.
        (sig::SIGTERM, sig::SIGUSR1, 9_998, 90),
        (sig::SIGTERM, sig::SIGTERM, 9_850, 90),
    ]
    .map(|(first, second, ms, pid)| (7_000, first, second, ms, pid));
    // Nor need it be seconds: what counts is which of the two times is the shorter, by far.
    let soon = [
        (9_270, sig::SIGHUP, sig::SIGUSR1, 9_999, 91),
        (9_300, sig::SIGINT, sig::SIGINT, 9_999, 91),
        (9_940, sig::SIGTERM, sig::SIGTERM, 9_998, 91),
        (9_750, sig::SIGTERM, sig::SIGUSR1, 9_999, 90),
        (9_900, sig::SIGINT, sig::SIGUSR1, 9_985, 90),
    ];
    for (first_ms, first, second, ms, pid) in cases.into_iter().chain(soon) {
        let signals = [(first_ms, by(90, first)), (ms, by(91, second))];
        let death = after(&victim, &signals, 0);
        assert_eq!(killer(&death), Some(pid), "{first} {second} {ms}");
        assert_eq!(death.cause.evidence, Grade::Inferred);
        let told = &death.cause.explanation;
        assert!(told.contains("it had caught"), "{told}");
        for sender in ["sender[90] sent", "sender[91] sent"] {
            assert!(death.chain.iter().any(|link| link.text.starts_with(sender)), "{death:#?}");
        }
        assert!(!told.contains("may as well"), "{told}");
    }
    // Right after the first, repeated by the same one, or of its child's: nothing changes.
    let cases = [
        [(9_900, by(90, sig::SIGINT)), (9_990, by(91, sig::SIGUSR1))],
        [(7_000, by(90, sig::SIGTERM)), (9_998, by(90, sig::SIGTERM))],
    ];
    for signals in cases {
        assert_eq!(killer(&after(&victim, &signals, 0)), Some(90), "{signals:?}");
    }
    // One request by two ways is not told as two.
    let group = [(9_900, by(90, sig::SIGINT)), (9_901, by(91, sig::SIGINT))];
    let told = after(&victim, &group, 0).cause.explanation;
    assert!(!told.contains("which may be why"), "{told}");
    let manager = super::scene::systemd();
    let by_manager = |number| caught(number, manager.clone(), victim.clone());
    let stop = [(9_900, by_manager(sig::SIGTERM)), (9_999, by_manager(sig::SIGHUP))];
    let told = after(&victim, &stop, 0).cause.explanation;
    assert!(!told.contains("SIGHUP"), "{told}");
    let same = [(9_900, by(90, sig::SIGTERM)), (9_999, by(90, sig::SIGUSR1))];
    let told = after(&victim, &same, exited(2)).cause.explanation;
    assert!(told.contains("it had caught SIGUSR1 from sender[90] as well, which may be why"));
    let child = Task { ppid: 42, ..task(43, "child") };
    let from_child = caught(sig::SIGUSR1, child.clone(), victim.clone());
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .exec(1, child, &["child"], &[&victim])
        .signal(7_000, by(90, sig::SIGINT))
        .signal(9_990, from_child)
        .exit(10_000, victim.clone(), 0, true)
        .death();
    assert_eq!(killer(&death), Some(90));
}

/// A service that signals its workers when it gets SIGTERM, as others have it write a new log when it has tidied up; and
/// one that ends its workers and itself by another signal.
#[test]
fn what_asks_nobody_to_end_cuts_an_orderly_end_short_where_it_is_acted_on() {
    let victim = task(42, "service");
    for (acted_ms, killer, rival) in [
        (
            8_001,
            90,
            "10 ms before it exited, it had caught SIGUSR1 from sender[91] as well, which may be why",
        ),
        (9_991, 91, "it had caught SIGTERM from sender[90] as well, and gone on"),
    ] {
        let sent = |ms, pid, number| (ms, caught(number, task(pid, "sender"), victim.clone()));
        let mut scene = Scene::default().target(&victim, TargetReason::Pid);
        for (ms, sent) in [sent(8_000, 90, sig::SIGTERM), sent(9_990, 91, sig::SIGUSR1)] {
            scene = scene.signal(ms, sent);
        }
        let act = signal(sig::SIGTERM, victim.clone(), task(43, "worker"));
        let scene = scene.signal(acted_ms, SignalSent { is_target: false, ..act });
        let death = scene.exit(10_000, victim.clone(), 0, true).death();
        assert_eq!(death.killer.process.map(|sender| sender.pid), Some(killer));
        let told = &death.cause.explanation;
        assert!(told.contains(rival), "{told}");
    }
}

/// Whether it exits or raises what it caught again: the same times tell the same story.
#[test]
fn which_of_two_signals_was_the_reason_does_not_depend_on_the_way_it_ended() {
    use sig::{SIGHUP, SIGINT, SIGTERM};
    let victim = task(42, "program");
    let (boss, other, manager) = (task(90, "boss"), task(91, "other"), super::scene::systemd());
    // Which signal, when each of the two came, of whom the first, and whose was the reason. It ended at 60 s.
    let cases = [
        // It takes its time, and the second changes nothing.
        (SIGTERM, 1_000, 3_000, &boss, 90),
        (SIGTERM, 40_000, 58_000, &boss, 90),
        (SIGINT, 52_000, 59_000, &boss, 90),
        (SIGHUP, 52_000, 59_000, &boss, 90),
        // The second cuts it short.
        (SIGTERM, 40_000, 59_995, &boss, 91),
        (SIGTERM, 59_800, 59_995, &boss, 91),
        (SIGINT, 57_000, 59_995, &boss, 91),
        (SIGINT, 57_000, 59_800, &boss, 91),
        (SIGHUP, 57_000, 59_800, &boss, 91),
        // It went on after the first for longer than anybody waits who asks again.
        (SIGTERM, 1_000, 40_000, &boss, 91),
        // A manager's stop is one.
        (SIGTERM, 40_000, 59_995, &manager, 1),
    ];
    for (number, first_ms, second_ms, first, reason) in cases {
        let scene = Scene::watching(&victim)
            .signal(first_ms, caught(number, first.clone(), victim.clone()))
            .signal(second_ms, caught(number, other.clone(), victim.clone()));
        let raised = scene.clone().signal(59_999, signal(number, victim.clone(), victim.clone()));
        let raised = raised.exit(60_000, victim.clone(), u32::from(number), true).death();
        let exits = scene.exit(60_000, victim.clone(), exited(128 + u32::from(number)), true);
        for death in [raised, exits.death()] {
            let told = &death.cause.explanation;
            let killer = death.killer.process.as_ref().map(|killer| killer.pid);
            assert_eq!(killer, Some(reason), "{first_ms} {second_ms} {told}");
            // The other one is told, too.
            assert!(told.contains("as well, "), "{first_ms} {second_ms} {told}");
            for sender in [&first.comm, &other.comm] {
                assert!(death.chain.iter().any(|link| link.text.starts_with(sender)), "{death:#?}");
            }
        }
    }
}

/// An exit status is chosen by who ends; a shell's may be that of what it ran.
#[test]
fn what_the_exit_status_stands_for_is_the_reason() {
    let killer = |name: &str, first: u8, second: u8, status: u32| {
        let victim = task(42, name);
        let by = |pid, number| caught(number, task(pid, "sender"), victim.clone());
        let signals = [(9_000, by(90, first)), (9_200, by(91, second))];
        let death = after(&victim, &signals, exited(status));
        death.killer.process.map(|killer| killer.pid)
    };
    for (first, second) in [(sig::SIGINT, sig::SIGTERM), (sig::SIGHUP, sig::SIGTERM)] {
        assert_eq!(killer("program", first, second, 128 + u32::from(first)), Some(90));
        assert_eq!(killer("program", first, second, 143), Some(91));
        // Read the settings again; then end.
        assert_eq!(killer("program", first, second, 0), Some(91));
        assert_eq!(killer("bash", first, second, 128 + u32::from(first)), Some(91));
    }
    // What it had gone on after is told.
    let victim = task(42, "python3");
    let by = |pid, number| caught(number, task(pid, "sender"), victim.clone());
    let signals = [(8_000, by(90, sig::SIGTERM)), (9_998, by(91, sig::SIGINT))];
    let death = after(&victim, &signals, exited(130));
    assert_eq!(death.killer.process.map(|killer| killer.pid), Some(91));
    let words = "1.9 s before, it had caught SIGTERM from sender[90] as well, and gone on";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
}

/// It sends to itself what it caught last, and after a long time perhaps for another reason.
#[test]
fn what_was_caught_right_before_is_what_is_raised() {
    let victim = task(42, "program");
    let by = |pid| caught(sig::SIGTERM, task(pid, "sender"), victim.clone());
    let told = |signals: &[(u64, SignalSent)]| {
        let mut scene = Scene::default().target(&victim, TargetReason::Pid);
        for (ms, sent) in signals {
            scene = scene.signal(*ms, sent.clone());
        }
        let own = signal(sig::SIGTERM, victim.clone(), victim.clone());
        let death = scene.signal(9_999, own).exit(10_000, victim.clone(), 15, true).death();
        (death.killer.process.expect("a killer").pid, death.cause.explanation)
    };
    let (killer, words) = told(&[(4_000, by(90)), (9_998, by(91))]);
    assert_eq!(killer, 91);
    assert!(
        words.contains("5.9 s before, it had caught SIGTERM from sender[90] as well"),
        "{words}"
    );
    assert_eq!(told(&[(4_000, by(90)), (9_998, by(90))]).0, 90);
    let (killer, words) = told(&[(2_000, by(90))]);
    assert_eq!(killer, 90);
    assert!(words.contains("may as well have sent it to itself for another reason"), "{words}");
    assert!(!told(&[(9_000, by(90))]).1.contains("may as well"));
}

/// An error a while after a signal, or an end a while after what asks others to read their settings again.
#[test]
fn an_end_of_its_own_accord_soon_after_a_signal() {
    let victim = task(42, "daemon");
    let doubted = |number: u8, ms: u64, status: u32| {
        let sent = caught(number, task(90, "boss"), victim.clone());
        after(&victim, &[(ms, sent)], status).cause.explanation.contains("may as well have ended")
    };
    assert!(doubted(sig::SIGHUP, 8_700, exited(2)));
    assert!(doubted(sig::SIGHUP, 8_700, 0));
    assert!(doubted(sig::SIGTERM, 8_700, exited(1)));
    assert!(!doubted(sig::SIGTERM, 8_700, 0));
    assert!(!doubted(sig::SIGTERM, 8_700, exited(143)));
    assert!(!doubted(sig::SIGHUP, 9_500, exited(2)));
}

/// A database gives up a statement, and a client leaves then.
#[test]
fn an_alarm_of_its_own_is_told_of_what_it_did_next() {
    let victim = task(42, "program");
    let told = |ms| {
        let signals = [(ms, timer(&victim)), (9_990, own(sig::SIGINT, &victim))];
        after(&victim, &signals, 0)
    };
    let death = told(9_989);
    let words = &death.cause.explanation;
    assert!(words.contains("1 ms before, a timer of its own had run out (SIGALRM)"), "{words}");
    assert!(death.chain.iter().any(|link| link.text.contains("SIGALRM")), "{death:#?}");
    assert!(!told(5_000).cause.explanation.contains("SIGALRM"));
}

/// Of many signals some are lost: one that asks nobody to end is no reason then.
#[test]
fn a_signal_among_others_that_were_lost() {
    let victim = task(500, "victim");
    let killed = |number: u8, lost_ms: Option<u64>| {
        let sender = task(90, "flood");
        let scene = Scene::watching(&victim).signal(9_990, caught(number, sender, victim.clone()));
        let scene = lost_ms.into_iter().fold(scene, |scene, ms| scene.lost(ms, 1000));
        scene.exit(10_000, victim.clone(), exited(3), true).death()
    };
    let death = killed(sig::SIGUSR1, Some(9_995));
    assert_eq!(death.cause.id, CauseId::Unknown, "{death:#?}");
    assert_eq!((death.killer.kind, death.signal.is_some()), (KillerKind::None, false));
    let text = &death.cause.explanation;
    assert!(text.contains("10 ms after SIGUSR1 from flood[90]"), "{text}");
    for (number, lost_ms) in
        [(sig::SIGUSR1, None), (sig::SIGUSR1, Some(5_000)), (sig::SIGTERM, Some(9_995))]
    {
        let death = killed(number, lost_ms);
        assert_eq!(death.killer.kind, KillerKind::Process, "{death:#?}");
    }
}

/// A debugger tries out on a child of its own what the kernel can do, and kills it.
#[test]
fn the_fault_of_a_debuggers_trial_is_no_news() {
    let killed = |name: &str| {
        let gdb = task(60, "gdb");
        let child = Task { ppid: 60, ..task(42, name) };
        let scene = Scene::watching(&child).exec(5, gdb.clone(), &["gdb"], &[]);
        let scene = scene.exec(6, child.clone(), &["gdb"], &[&gdb]);
        let blow = SignalSent { ptraced: true, ..signal(sig::SIGKILL, gdb.clone(), child.clone()) };
        let scene = scene.signal(10, fault(sig::SIGSEGV, 1, &child)).signal(11, blow);
        scene.exit(12, child, u32::from(sig::SIGKILL), true).death().cause.explanation
    };
    assert!(!killed("gdb").contains("had faulted"), "{}", killed("gdb"));
    assert!(killed("program").contains("had faulted"), "{}", killed("program"));
}

/// Who had set the status long before, and got stuck, is ended by what came right before the end.
#[test]
fn a_status_names_no_signal_of_long_ago_where_another_came_right_before_the_end() {
    let victim = task(42, "service");
    let after = |number: u8, later: u8, later_ms: u64, end_ms: u64| {
        let scene = Scene::default()
            .target(&victim, TargetReason::Pid)
            .signal(1000, caught(number, task(90, "first"), victim.clone()))
            .signal(later_ms, caught(later, task(91, "second"), victim.clone()))
            .exit(end_ms, victim.clone(), exited(128 + u32::from(number)), true);
        scene.death().killer.process.and_then(|killer| killer.comm)
    };
    for (number, later) in
        [(sig::SIGINT, sig::SIGTERM), (sig::SIGHUP, sig::SIGTERM), (sig::SIGTERM, sig::SIGINT)]
    {
        assert_eq!(after(number, later, 200_000, 200_005).as_deref(), Some("second"));
    }
    // Of one row, or long before the end: the status tells.
    assert_eq!(after(sig::SIGINT, sig::SIGTERM, 1500, 6500).as_deref(), Some("first"));
    assert_eq!(after(sig::SIGINT, sig::SIGTERM, 200_000, 201_000).as_deref(), Some("first"));
}

/// Whoever looks after its worker, lets it go on, or is said by the kernel to send has not answered.
#[test]
fn looking_whether_somebody_is_there_answers_nothing() {
    let (victim, worker) = (task(42, "service"), task(43, "worker"));
    let after = |act: SignalSent| {
        let scene = Scene::default()
            .target(&victim, TargetReason::Pid)
            .signal(8000, caught(sig::SIGTERM, task(90, "first"), victim.clone()))
            .signal(9990, caught(sig::SIGUSR1, task(91, "second"), victim.clone()))
            .signal(9991, SignalSent { is_target: false, ..act })
            .exit(10_000, victim.clone(), 0, true);
        scene.death().killer.process.and_then(|killer| killer.comm)
    };
    let sends = |number: u8| signal(number, victim.clone(), worker.clone());
    assert_eq!(after(sends(sig::SIGTERM)).as_deref(), Some("second"));
    for number in [0, sig::SIGCONT] {
        assert_eq!(after(sends(number)).as_deref(), Some("first"));
    }
    let stack = vec!["isig".to_owned()];
    let kernels = SignalSent { info: SignalInfo::Privileged, syscall: None, stack, ..sends(15) };
    assert_eq!(after(kernels).as_deref(), Some("first"));
}

/// What asks nobody to end is no killer, and is told where the end was not long after.
#[test]
fn what_was_caught_not_long_before_an_exit_is_told() {
    let victim = task(42, "program");
    let told = |ms: u64, number: u8| {
        let sent = caught(number, task(90, "sender"), victim.clone());
        let death = after(&victim, &[(ms, sent)], 0);
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
        (death.cause.explanation, death.cause.evidence)
    };
    let (text, grade) = told(9_900, sig::SIGUSR2);
    let words = "It had caught SIGUSR2 from sender[90] 100 ms before; whether that led to the exit is not known.";
    assert!(text.contains(words), "{text}");
    assert_eq!(grade, Grade::Inferred);
    for (ms, number) in [(5_000, sig::SIGUSR2), (9_900, sig::SIGWINCH)] {
        let (text, grade) = told(ms, number);
        assert!(!text.contains("had caught"), "{text}");
        assert_eq!(grade, Grade::Observed);
    }
}
