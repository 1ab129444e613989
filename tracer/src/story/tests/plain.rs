//! Plain kills, caught signals, ends with nobody to blame.

use super::scene::{Scene, caught, signal, task};
use crate::evidence::{
    Disposition, Fact, Gone, Grade, Limits, Mechanism, SignalInfo, SignalResult, SignalSent,
    Source, TargetReason, Task, TraceOptions, sig,
};
use crate::story::verdict::{CauseId, KillerKind, LinkEvent, Outcome, Record};

#[test]
fn a_kill_typed_in_a_shell_names_the_person_and_the_command() {
    let shell = task(70, "bash");
    let mut killer = task(80, "kill");
    killer.ppid = 70;
    let victim = task(42, "sleep");
    let death = Scene::default()
        .user(1000, "alice")
        .target(&victim, TargetReason::Pid)
        .exec(5, killer.clone(), &["kill", "42"], &[&shell])
        .signal(6, signal(sig::SIGTERM, killer, victim.clone()))
        .exit(7, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UserCommand);
    assert_eq!(death.killer.kind, KillerKind::Process);
    let killer = death.killer.process.expect("a killer");
    assert_eq!(killer.cmdline.as_deref(), Some(&["kill".to_owned(), "42".to_owned()][..]));
    assert_eq!(killer.user.as_deref(), Some("alice"));
    assert!(death.cause.explanation.contains("alice ran \"kill 42\" from bash[70]"));
    assert_eq!(death.chain.last().map(|link| link.event), Some(LinkEvent::Death));
}

#[test]
fn the_first_deadly_signal_is_to_blame_not_the_second() {
    let victim = task(42, "sleep");
    let second = SignalSent {
        result: SignalResult::Ignored,
        ..signal(sig::SIGKILL, task(91, "second"), victim.clone())
    };
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, signal(sig::SIGTERM, task(90, "first"), victim.clone()))
        .signal(6, second)
        .exit(7, victim, 15, true)
        .death();
    assert_eq!(death.killer.process.and_then(|killer| killer.comm).as_deref(), Some("first"));
}

/// `/proc` knows starts to the tick only; the kernel's own events tell two processes apart all the same.
#[test]
fn a_pid_given_away_within_a_tick_is_not_confused_with_its_predecessor() {
    let (mut first, mut second) = (task(42, "first"), task(42, "second"));
    first.id.start_ns += 1_000_000;
    second.id.start_ns += 5_000_000;
    let deaths = Scene::default()
        .target(&first, TargetReason::Matched)
        .signal(2, signal(sig::SIGTERM, task(90, "a"), first.clone()))
        .exit(3, first.clone(), 15, true)
        .target(&second, TargetReason::Matched)
        .signal(6, signal(sig::SIGKILL, task(91, "b"), second.clone()))
        .exit(7, second.clone(), 9, true)
        .deaths();
    let told: Vec<_> = deaths
        .iter()
        .map(|death| (death.victim.start_ns, death.killer.process.as_ref().map(|it| it.pid)))
        .collect();
    assert_eq!(told, [(Some(first.id.start_ns), Some(90)), (Some(second.id.start_ns), Some(91))]);
    assert!(deaths[0].gaps.iter().any(|gap| gap.contains("within a clock tick")), "{deaths:#?}");
}

#[test]
fn a_caught_sigterm_is_the_reason_of_the_exit_and_labelled_inferred() {
    let victim = task(42, "daemon");
    let death = Scene::default()
        .target(&victim, TargetReason::Matched)
        .signal(5, caught(sig::SIGTERM, task(90, "boss"), victim.clone()))
        .exit(905, victim, 0, true)
        .death();
    assert_eq!(death.outcome, Outcome::Exited { status: 0 });
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert_eq!(death.cause.id, CauseId::ProcessSignal);
    assert!(death.chain.last().expect("a chain").text.contains("900 ms after SIGTERM"));
}

#[test]
fn a_signal_for_other_purposes_is_no_killer() {
    let victim = task(42, "daemon");
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, caught(sig::SIGUSR1, task(90, "boss"), victim.clone()))
        .exit(905, victim, 3 << 8, true)
        .death();
    assert_eq!(death.cause.id, CauseId::ExitedByItself);
    assert_eq!(death.killer.kind, KillerKind::None);
    assert!(death.signal.is_none());
}

#[test]
fn a_handler_that_raises_the_signal_again_does_not_hide_the_sender() {
    let victim = task(42, "make");
    let own = signal(sig::SIGTERM, victim.clone(), victim.clone());
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, caught(sig::SIGTERM, task(90, "boss"), victim.clone()))
        .signal(8, own)
        .exit(9, victim, 15, true)
        .death();
    assert_eq!(death.killer.process.and_then(|killer| killer.comm).as_deref(), Some("boss"));
    assert_eq!(death.cause.evidence, Grade::Inferred);
}

/// As 7.3 has it: the siginfo is made after the tracepoint.
#[test]
fn kill_without_a_siginfo_is_kill() {
    let victim = task(42, "sleep");
    let mut bare = signal(sig::SIGTERM, task(90, "boss"), victim.clone());
    bare.info = SignalInfo::None;
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, bare)
        .exit(6, victim, 15, true)
        .death();
    let shown = death.signal.expect("a signal");
    assert_eq!((shown.mechanism, shown.si_pid), (Mechanism::Kill, Some(90)));
    assert_eq!(death.killer.process.map(|killer| killer.pid), Some(90));
}

#[test]
fn a_forged_sender_is_exposed() {
    let victim = task(42, "sleep");
    let mut forged = signal(sig::SIGTERM, task(90, "liar"), victim.clone());
    forged.info = SignalInfo::Real { code: -1, errno: 0, fields: [1, 0] };
    forged.syscall =
        Some(crate::evidence::Syscall { name: "rt_sigqueueinfo".to_owned(), args: [42, 15, 0] });
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, forged)
        .exit(6, victim, 15, true)
        .death();
    let shown = death.signal.expect("a signal");
    assert_eq!((shown.mechanism, shown.si_pid), (Mechanism::Sigqueue, Some(1)));
    assert_eq!(death.killer.process.map(|killer| killer.pid), Some(90));
    assert!(death.cause.explanation.contains("names pid 1 as the sender, which is not true"));
}

#[test]
fn a_process_called_systemd_is_not_systemd() {
    let victim = task(42, "sleep");
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, signal(sig::SIGKILL, task(90, "systemd"), victim.clone()))
        .exit(6, victim, 9, true)
        .death();
    assert_eq!(death.cause.id, CauseId::ProcessSignal);
}

#[test]
fn only_ends_that_matter_are_reported() {
    let victim = task(42, "tmux");
    let scene =
        Scene::default().target(&victim, TargetReason::Matched).exit(5, victim.clone(), 0, true);
    assert!(scene.deaths().is_empty());
    let running = Scene::default().target(&victim, TargetReason::Running).exit(5, victim, 0, true);
    assert_eq!(running.death().cause.id, CauseId::ExitedByItself);
}

#[test]
fn with_all_an_exit_by_itself_is_no_news_and_with_exits_it_is() {
    let passer_by = task(42, "true");
    let scene = |options| Scene::default().options(options).exit(5, passer_by.clone(), 0, true);
    let all = TraceOptions { all: true, ..TraceOptions::default() };
    assert!(scene(all.clone()).deaths().is_empty());
    assert_eq!(scene(TraceOptions { exits: true, ..all }).deaths().len(), 1);
}

#[test]
fn losses_are_told_and_weaken_what_rests_on_an_absence() {
    let victim = task(42, "sleep");
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .lost(3, 7)
        .exit(5, victim, 0, true)
        .death();
    assert_eq!(death.gaps, ["7 events were lost: ring-buffer"]);
    assert_eq!(death.cause.evidence, Grade::Inferred);
}

#[test]
fn a_reused_pid_is_not_its_predecessor() {
    let old = task(42, "sleep");
    let mut new = task(42, "other");
    new.id.start_ns += 1_000_000_000;
    let scene = Scene::default()
        .target(&old, TargetReason::Pid)
        .signal(5, signal(sig::SIGKILL, task(90, "killer"), old.clone()))
        .exit(6, old, 9, true)
        .exit(7, new, 0, true);
    assert_eq!(scene.deaths().len(), 1);
}

#[test]
fn equal_signals_in_a_storm_are_folded_and_counted() {
    let victim = task(42, "daemon");
    let mut scene = Scene::default().target(&victim, TargetReason::Pid);
    for _ in 0..100 {
        scene = scene.signal(5, caught(sig::SIGUSR1, task(90, "boss"), victim.clone()));
    }
    let shown: Vec<u64> = scene
        .records()
        .into_iter()
        .filter_map(|record| match record {
            Record::Signal(signal) => Some(signal.repeated),
            _ => None,
        })
        .collect();
    assert_eq!(shown.len(), 11);
    assert_eq!(shown.iter().sum::<u64>() + shown.len() as u64, 100);
}

#[test]
fn what_was_folded_is_shown_though_nothing_follows() {
    let victim = task(42, "daemon");
    let mut scene = Scene::default().target(&victim, TargetReason::Pid);
    for _ in 0..15 {
        scene = scene.signal(5, caught(sig::SIGUSR1, task(90, "boss"), victim.clone()));
    }
    assert_eq!(scene.told().len(), 10);
    assert_eq!(scene.add(1200, Source::Tracer, Fact::Quiet).told().len(), 11);
}

#[test]
fn an_ignored_signal_kills_nobody() {
    let victim = task(42, "sleep");
    let ignored = SignalSent {
        result: SignalResult::Ignored,
        disposition: Some(Disposition::Ignore),
        fatal: false,
        ..signal(sig::SIGTERM, task(90, "boss"), victim.clone())
    };
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, ignored)
        .exit(6, victim, 0, true)
        .death();
    assert_eq!(death.cause.id, CauseId::ExitedByItself);
}

/// A child that ends while its parent is the target.
fn of_child(number: u8, code: i32) -> SignalSent {
    let mut child = task(43, "child");
    (child.ppid, child.exiting) = (42, true);
    let info = SignalInfo::Real { code, errno: 0, fields: [1000 << 32 | 43, 0] };
    SignalSent { info, ..signal(number, child, task(42, "parent")) }
}

#[test]
fn a_child_that_ends_is_no_input_or_output() {
    let told = Scene::default()
        .target(&task(42, "parent"), TargetReason::Pid)
        .signal(5, of_child(sig::SIGCHLD, 1))
        .records();
    let Some(Record::Signal(record)) = told.first() else { panic!("{told:?}") };
    assert_eq!(record.signal.mechanism, Mechanism::ChildStatus);
    assert_eq!((record.signal.si_pid, record.signal.si_uid), (Some(43), Some(1000)));
    assert_eq!(record.sender.as_ref().map(|child| child.pid), Some(43));
}

#[test]
fn the_exit_signal_of_a_child_is_told_from_an_event_of_a_file() {
    let death = |sent: SignalSent| {
        let victim = sent.target.clone();
        let scene = Scene::default().target(&victim, TargetReason::Pid).signal(5, sent);
        scene.exit(7, victim, 15, true).death()
    };
    let of_child = of_child(sig::SIGTERM, 1);
    let told = death(of_child.clone());
    assert_eq!((told.killer.kind, told.cause.id), (KillerKind::Kernel, CauseId::Unknown));
    assert_eq!(told.killer.process.map(|child| child.pid), Some(43));
    assert!(told.cause.explanation.contains("its child child[43] ended"));
    // POLL_IN on SIGTERM: the band stands where a pid would.
    let info = SignalInfo::Real { code: 1, errno: 0, fields: [0x41, 3] };
    assert_eq!(death(SignalSent { info, ..of_child.clone() }).cause.id, CauseId::AsyncIo);
    // mq_notify(3)
    let info = SignalInfo::Real { code: -3, errno: 0, fields: [43, 1000] };
    let told = death(SignalSent { info, syscall: None, ..of_child });
    assert_eq!(told.cause.id, CauseId::AsyncIo);
    assert!(told.cause.explanation.contains("sent a message to an empty queue"), "{told:#?}");
}

#[test]
fn a_limit_is_told_with_its_value() {
    let told = |number: u8, first: Option<u64>, real_time: Option<u64>| {
        let victim = task(42, "program");
        let spent = SignalSent {
            info: SignalInfo::Privileged,
            syscall: None,
            stack: vec!["posix_cpu_timers_work".to_owned()],
            limits: Some(Limits { first, real_time }),
            ..signal(number, victim.clone(), victim.clone())
        };
        let death = Scene::default()
            .target(&victim, TargetReason::Pid)
            .signal(5, spent)
            .exit(6, victim, u32::from(number), true)
            .death();
        assert_eq!(death.cause.id, CauseId::CpuLimit);
        death.cause.explanation
    };
    assert!(told(sig::SIGKILL, Some(60), None).contains("its hard limit of 60 s of CPU time"));
    assert!(told(sig::SIGXCPU, None, Some(50_000)).contains("soft limit of 50 ms without a pause"));
    let both = told(sig::SIGXCPU, Some(60), Some(50_000));
    assert!(both.contains("60 s in all (RLIMIT_CPU), or 50 ms without a pause"), "{both}");
    assert!(told(sig::SIGXCPU, Some(u64::MAX - 1), None).contains("RLIMIT_CPU"));
}

/// A target whose end was lost is told of once it is found to be gone, and not before; nobody is blamed for what
/// was not seen.
#[test]
fn an_end_that_was_lost() {
    let victim = task(42, "sleep");
    let gone = Fact::Gone(Gone { id: victim.id });
    let scene = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, caught(sig::SIGUSR1, task(70, "bash"), victim.clone()))
        .lost(10, 3)
        .add(2010, Source::Proc, gone.clone())
        .add(2020, Source::Proc, gone.clone());
    let death = scene.death();
    assert_eq!(death.outcome, Outcome::Unknown);
    assert_eq!(death.cause.id, CauseId::Unknown, "{death:#?}");
    assert_eq!(death.killer.kind, KillerKind::None);
    assert!(death.signal.is_none());
    assert!(death.gaps.iter().any(|gap| gap.contains("3 events were lost")), "{:?}", death.gaps);
    let last = death.chain.last().expect("a chain");
    assert_eq!((last.event, last.evidence), (LinkEvent::Death, Grade::Reported));
}

/// An end that was only late is not told again.
#[test]
fn an_end_that_was_taken_for_lost() {
    let victim = task(42, "sleep");
    let late = |named: TargetReason| {
        Scene::default()
            .target(&victim, named)
            .lost(10, 3)
            .add(2010, Source::Proc, Fact::Gone(Gone { id: victim.id }))
            .settled(2020, &victim)
            .exit(2030, victim.clone(), 15, true)
            .settled(2040, &victim)
            .deaths()
    };
    assert_eq!(late(TargetReason::Pid).len(), 1);
    assert_eq!(late(TargetReason::Running).len(), 1);
}

/// Where a fatal signal was seen and the end was not, that it ended it is a conclusion.
#[test]
fn an_end_that_was_lost_after_a_fatal_signal() {
    let (victim, shell) = (task(42, "sleep"), task(70, "bash"));
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, signal(sig::SIGKILL, shell.clone(), victim.clone()))
        .lost(10, 3)
        .add(2010, Source::Proc, Fact::Gone(Gone { id: victim.id }))
        .death();
    assert_eq!(death.outcome, Outcome::Unknown);
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    assert_eq!(death.killer.process.expect("a killer").pid, 70);
    assert_eq!(death.cause.evidence, Grade::Inferred);
}

/// GNU parallel is known by its options only.
#[test]
fn parallel_ends_a_job_whose_time_is_up() {
    let cause = |words: &[&str]| {
        let parallel = task(70, "parallel");
        let mut victim = task(42, "sleep");
        victim.ppid = 70;
        Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(1, parallel.clone(), words, &[])
            .exec(2, victim.clone(), &["sleep", "60"], &[&parallel])
            .signal(9_000, signal(sig::SIGTERM, parallel, victim.clone()))
            .exit(9_001, victim, 15, true)
            .death()
            .cause
    };
    let limited = cause(&["perl", "/usr/bin/parallel", "--timeout", "1", "sleep", ":::", "60"]);
    assert_eq!((limited.id, limited.evidence), (CauseId::TimeoutCommand, Grade::Inferred));
    let halted = cause(&["perl", "/usr/bin/parallel", "--timeout=9", "--halt=now,fail=1", "sleep"]);
    assert_eq!(halted.id, CauseId::ProcessSignal);
    let early = cause(&["perl", "/usr/bin/parallel", "--timeout", "10000", "sleep"]);
    assert_eq!(early.id, CauseId::ProcessSignal);
    let memory =
        cause(&["perl", "/usr/bin/parallel", "--memfree", "1G", "--timeout", "1", "sleep"]);
    assert_eq!(memory.id, CauseId::ProcessSignal);
    assert_eq!(cause(&["perl", "/usr/bin/parallel", "sleep"]).id, CauseId::ProcessSignal);
}

/// The kernel sends SIGKILL, but since somebody closed the descriptor: that is the killer.
#[test]
fn whoever_closes_the_last_pidfd_of_a_child_made_to_end_then_is_named() {
    let victim = task(42, "worker");
    let stack = ["pidfs_file_release", "__fput", "task_work_run"].map(str::to_owned).to_vec();
    let sent = SignalSent {
        info: SignalInfo::Privileged,
        syscall: None,
        stack,
        ..signal(sig::SIGKILL, task(90, "holder"), victim.clone())
    };
    let scene = Scene::default().target(&victim, TargetReason::Pid).signal(5, sent);
    let death = scene.exit(6, victim, 9, true).death();
    assert_eq!(death.killer.kind, KillerKind::Process);
    assert_eq!(death.killer.process.as_ref().map(|holder| holder.pid), Some(90));
    assert!(death.cause.explanation.contains("closed its last pidfd"), "{death:#?}");
    assert!(!death.signal.expect("a signal").kernel_path.is_empty());
}

/// A tracer that did not ask for events learns of an exec by a SIGTRAP, which it takes.
#[test]
fn the_trap_of_an_exec_under_a_tracer_is_the_tracers() {
    let victim = task(42, "program");
    let trap = SignalSent {
        info: SignalInfo::None,
        syscall: None,
        ptraced: true,
        stack: vec!["__send_signal_locked".to_owned(), "send_signal_locked".to_owned()],
        ..signal(sig::SIGTRAP, victim.clone(), victim.clone())
    };
    assert_eq!(crate::story::mechanism::of(&trap), Mechanism::Ptrace);
    let crash = SignalSent { ptraced: false, ..trap };
    assert_ne!(crate::story::mechanism::of(&crash), Mechanism::Ptrace);
}

/// The clock's interrupt came in while a program of another process sent a signal: that is none of the timer's story.
#[test]
fn what_was_interrupted_led_to_nothing() {
    let by = |stack: &[&str]| {
        let victim = task(42, "sleep");
        let alarm = SignalSent {
            info: SignalInfo::Privileged,
            syscall: None,
            stack: stack.iter().map(|&frame| frame.to_owned()).collect(),
            ..signal(sig::SIGALRM, task(7, "bystander"), victim.clone())
        };
        let scene = Scene::default().target(&victim, TargetReason::Pid).signal(5, alarm);
        scene.exit(6, victim, u32::from(sig::SIGALRM), true).death().cause.id
    };
    let timer = ["it_real_fn", "hrtimer_interrupt", "asm_sysvec_apic_timer_interrupt"];
    let other = ["do_send_sig_info", "bpf_send_signal", "bpf_trace_run2"];
    assert_eq!(by(&[&timer[..], &other[..]].concat()), CauseId::TimerExpired);
    assert_eq!(by(&other), CauseId::BpfProgram);
}

/// The kernel sends SIGALRM in whoever is running.
pub(super) fn alarm(victim: &Task) -> SignalSent {
    SignalSent {
        info: SignalInfo::Privileged,
        syscall: None,
        stack: ["it_real_fn", "__hrtimer_run_queues"].map(str::to_owned).to_vec(),
        ..caught(sig::SIGALRM, task(7, "bystander"), victim.clone())
    }
}

#[test]
fn the_time_to_log_in_is_named() {
    let sshd = Task { uid: 0, euid: 0, ..task(42, "sshd") };
    let ended = |sshd: Task| {
        Scene::watching(&sshd)
            .setting("sshd_config", "LoginGraceTime", "30", Some(("/etc/ssh/sshd_config", 3)))
            .signal(5000, alarm(&sshd))
            .exit(5001, sshd, 1 << 8, true)
            .death()
    };
    let death = ended(sshd.clone());
    assert_eq!(death.cause.id, CauseId::TimerExpired, "{death:#?}");
    assert!(death.cause.explanation.contains("LoginGraceTime=30"), "{}", death.cause.explanation);
    let death = ended(task(42, "sshd"));
    assert!(!death.cause.explanation.contains("LoginGraceTime"), "not root's");
}
