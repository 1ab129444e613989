//! What belongs to the story of a kill beside the kill itself: who is whose child, why a signal waited, what had failed
//! right before, who is behind an end that the kernel answered.

use super::scene::{Scene, caught, root, signal, task, task_in};
use crate::evidence::{
    Fact, Gone, Grade, SignalInfo, SignalSent, Source, Syscall, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death, LinkEvent};

fn told(death: &Death) -> &str {
    &death.cause.explanation
}

/// `java -XX:OnOutOfMemoryError='kill -9 %p'`
#[test]
fn who_is_ended_by_its_own_child_is_told_so() {
    let (victim, shell, kill) = (task(42, "java"), task(70, "sh"), task(80, "kill"));
    let play = |sender: &Task, words: &[&str], above: &[&Task]| {
        Scene::default()
            .user(1000, "alice")
            .target(&victim, TargetReason::Pid)
            .exec(5, sender.clone(), words, above)
            .signal(6, signal(sig::SIGKILL, sender.clone(), victim.clone()))
            .exit(7, victim.clone(), 9, true)
            .death()
    };
    let own = play(&shell, &["sh", "-c", "kill -9 42"], &[&victim]);
    let clause = "from sh[70], its own child, which it had started itself: a kill builtin";
    assert!(told(&own).contains(clause), "{}", told(&own));
    let below = play(&kill, &["kill", "-9", "42"], &[&shell, &victim]);
    assert!(told(&below).contains("from kill[80], a descendant of its own: "), "{}", told(&below));
    let other = play(&kill, &["kill", "-9", "42"], &[&shell]);
    assert!(!told(&other).contains("its own"), "{}", told(&other));
}

/// A recipe of make(1), system(3) of perl: the shell in between is nobody's own.
#[test]
fn what_had_a_shell_kill_is_told_with_it() {
    let (victim, shell) = (task(42, "sleep"), task(70, "sh"));
    let play = |runner: &Task, words: &[&str]| {
        Scene::default()
            .user(1000, "alice")
            .target(&victim, TargetReason::Pid)
            .exec(4, runner.clone(), words, &[])
            .exec(5, shell.clone(), &["/bin/sh", "-c", "kill 42; true"], &[runner])
            .signal(6, signal(sig::SIGTERM, shell.clone(), victim.clone()))
            .exit(7, victim.clone(), 15, true)
            .death()
    };
    let made = play(&task(60, "make"), &["make", "-f", "stop.mk"]);
    let clause = "\"/bin/sh -c 'kill 42; true'\", run by make[60], \"make -f stop.mk\" (alice";
    assert!(told(&made).contains(clause), "{}", told(&made));
    let ran =
        |death: &Death| death.chain.iter().any(|link| link.text.contains("alice's make[60] ran"));
    assert!(ran(&made), "{:#?}", made.chain);
    let whole: &[&str] = &["timeout", "5", "/bin/sh", "-c", "kill 42; true"];
    let others: [(&str, &[&str]); 3] =
        [("bash", &["bash", "x.sh"]), ("sshd", &["sshd: alice@notty"]), ("timeout", whole)];
    for (comm, words) in others {
        let other = play(&task(60, comm), words);
        assert!(!told(&other).contains("run by"), "{}", told(&other));
    }
}

/// bwrap's second process asks to die with the first, and its child with the second.
#[test]
fn ends_that_follow_one_another_are_followed_to_who_ended_the_first() {
    let [outer, inner, victim] =
        [(60, "bwrap"), (61, "bwrap"), (42, "sleep")].map(|(pid, comm)| task(pid, comm));
    let (shell, killer) = (task(70, "bash"), task(80, "kill"));
    let of_parent = |parent: &Task, child: &Task| SignalSent {
        info: SignalInfo::None,
        parent_death_signal: sig::SIGKILL,
        syscall: None,
        is_target: child.id == victim.id,
        ..signal(sig::SIGKILL, Task { exiting: true, ..parent.clone() }, child.clone())
    };
    let init_ends = SignalSent {
        stack: vec!["zap_pid_ns_processes".to_owned()],
        info: SignalInfo::Privileged,
        parent_death_signal: 0,
        ..of_parent(&inner, &victim)
    };
    let death = Scene::default()
        .user(1000, "alice")
        .target(&victim, TargetReason::Pid)
        .exec(1, killer.clone(), &["kill", "-9", "60"], &[&shell])
        .signal(2, SignalSent { is_target: false, ..signal(sig::SIGKILL, killer, outer.clone()) })
        .exit(3, outer.clone(), 9, false)
        .signal(3, of_parent(&outer, &inner))
        .exit(4, inner, 9, false)
        .signal(4, init_ends)
        .exit(5, victim, 9, true)
        .death();
    assert_eq!(death.cause.id, CauseId::PidNamespaceInitExited, "{death:#?}");
    let clause = "through bwrap[60] (to which kill[80] had sent SIGKILL)";
    assert!(told(&death).contains(clause), "{}", told(&death));
    let first = &death.chain[0];
    assert_eq!(first.event, LinkEvent::Command, "{:#?}", death.chain);
    assert!(first.text.contains("alice ran \"kill -9 60\""), "{}", first.text);
}

/// With `kernel.kptr_restrict=2`, or without `CAP_SYSLOG`.
#[test]
fn what_only_the_kernel_s_functions_tell_is_a_gap_where_they_have_no_names() {
    let why = "kernel.kptr_restrict=2 hides the names of the kernel's functions";
    let (victim, holder) = (task(42, "sleep"), task(70, "sshd"));
    let play = |stack: &[&str], state: &str| {
        let hangup = SignalSent {
            stack: stack.iter().map(|function| (*function).to_owned()).collect(),
            info: SignalInfo::Privileged,
            syscall: None,
            ..signal(sig::SIGHUP, holder.clone(), victim.clone())
        };
        Scene::watching(&victim)
            .without("kallsyms", state)
            .signal(5, hangup)
            .exit(6, victim.clone(), 1, true)
            .death()
    };
    let hidden = play(&[], why);
    assert_eq!(hidden.cause.id, CauseId::Unknown, "{hidden:#?}");
    let [gap] = &hidden.gaps[..] else { panic!("one gap: {:?}", hidden.gaps) };
    assert!(gap.ends_with(why), "{gap}");
    let named = play(&["__tty_hangup"], why);
    assert!(named.cause.id == CauseId::TerminalClosed && named.gaps.is_empty(), "{named:#?}");
    assert!(play(&[], "attached").gaps.is_empty());
}

#[test]
fn a_signal_that_a_stopped_process_took_late_is_told_with_who_stopped_it_and_who_let_it_go_on() {
    let (victim, shell) = (task(42, "sleep"), task(70, "bash"));
    let by = |pid: u32, number: u8| SignalSent {
        fatal: false,
        ..signal(number, task(pid, "kill"), victim.clone())
    };
    let play = |wakes_ms: &[u64]| {
        let mut scene = Scene::default().user(1000, "alice").target(&victim, TargetReason::Pid);
        for (pid, option) in [(80, "-STOP"), (81, "-TERM"), (82, "-CONT")] {
            scene = scene.exec(1, task(pid, "kill"), &["kill", option, "42"], &[&shell]);
        }
        scene = scene.signal(5, by(80, sig::SIGSTOP));
        let mut stages = wakes_ms.iter().map(|ms| (*ms, 82, sig::SIGCONT)).collect::<Vec<_>>();
        stages.push((1_005, 81, sig::SIGTERM));
        stages.sort_unstable();
        for (ms, pid, number) in stages {
            scene = scene.signal(ms, by(pid, number));
        }
        scene.exit(4_010, victim.clone(), 15, true).death()
    };
    let death = play(&[4_005]);
    let stop =
        "1 s before, it had got SIGSTOP from kill[80]: alice ran \"kill -STOP 42\" from bash[70]";
    assert!(told(&death).contains(stop), "{}", told(&death));
    let woken = "until SIGCONT came, 3 s later, from kill[82]: alice ran \"kill -CONT 42\"";
    assert!(told(&death).contains(woken), "{}", told(&death));
    let links: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(links.contains(&"kill[80] sent SIGSTOP to sleep[42]"), "{links:?}");
    assert!(links.contains(&"kill[82] sent SIGCONT to sleep[42]"), "{links:?}");
    // It ran again by then.
    let running = play(&[500, 4_005]);
    assert!(!told(&running).contains("stopped then"), "{}", told(&running));
}

/// killall5 stops all, tells them to end, and lets them go on: its command is quoted once.
#[test]
fn one_who_stopped_ended_and_woke_is_told_once() {
    let (victim, shell, killer) = (task(42, "sleep"), task(70, "bash"), task(80, "killall5"));
    let by =
        |number: u8| SignalSent { fatal: false, ..signal(number, killer.clone(), victim.clone()) };
    let death = Scene::watching(&victim)
        .exec(1, killer.clone(), &["killall5", "-15"], &[&shell])
        .signal(5, by(sig::SIGSTOP))
        .signal(6, by(sig::SIGTERM))
        .signal(8, by(sig::SIGCONT))
        .exit(9, victim.clone(), 15, true)
        .death();
    let words = "It was stopped then: 1 ms before, it had got SIGSTOP from the same killall5[80]. The signal waited \
                 until SIGCONT came, 2 ms later, from the same killall5[80].";
    assert!(told(&death).contains(words), "{}", told(&death));
    assert_eq!(told(&death).matches("killall5 -15").count(), 1, "{}", told(&death));
}

/// GNU parallel `--halt now,fail=1`
#[test]
fn a_siblings_failure_right_before_is_told_as_what_may_be_why() {
    let (runner, victim) = (task(60, "perl"), task(42, "sleep"));
    let sibling = Task { ppid: 60, ..task(43, "sh") };
    let child = Task { ppid: 60, ..victim.clone() };
    let play = |status: u32, ended_ms: u64| {
        Scene::default()
            .target(&child, TargetReason::Pid)
            .exec(1, child.clone(), &["sleep", "9"], &[&runner])
            .exec(1, sibling.clone(), &["sh", "-c", "exit 1"], &[&runner])
            .exit(ended_ms, sibling.clone(), status, false)
            .signal(1_000, signal(sig::SIGTERM, runner.clone(), child.clone()))
            .exit(1_001, child.clone(), 15, true)
            .death()
    };
    let death = play(1 << 8, 990);
    let clause = "10 ms before that, its sibling sh[43], \"sh -c 'exit 1'\", had exited with 1";
    assert!(told(&death).contains(clause), "{}", told(&death));
    let link = death.chain.iter().find(|link| link.event == LinkEvent::ProcessExit);
    // Its end was seen; that it is why is what the cause's own grade is about.
    assert_eq!(link.map(|link| link.evidence), Some(Grade::Observed), "{:#?}", death.chain);
    for (status, ended_ms) in [(0, 990), (1 << 8, 10)] {
        let death = play(status, ended_ms);
        assert!(!told(&death).contains("sibling"), "{}", told(&death));
    }
    // Who was ended by the same sender has failed for the same reason.
    let death = Scene::default()
        .target(&child, TargetReason::Pid)
        .exec(1, child.clone(), &["sleep", "9"], &[&runner])
        .exec(1, sibling.clone(), &["sh", "-c", "sleep 9"], &[&runner])
        .signal(
            2,
            SignalSent {
                is_target: false,
                ..caught(sig::SIGTERM, runner.clone(), sibling.clone())
            },
        )
        .exit(3, sibling, 1 << 8, false)
        .signal(4, signal(sig::SIGTERM, runner, child.clone()))
        .exit(5, child, 15, true)
        .death();
    assert!(!told(&death).contains("sibling"), "{}", told(&death));
}

/// timeout ends its process group, and with it whom nobody below it has for a child any more.
#[test]
fn an_orphan_in_the_group_of_timeout_is_ended_by_timeout() {
    let (timeout, victim) = (task(60, "timeout"), task(42, "sleep"));
    let play = |aim: u64| {
        let syscall = Syscall { name: "kill".to_owned(), args: [aim, 0, 0] };
        let sent = signal(sig::SIGTERM, timeout.clone(), victim.clone());
        Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(1, timeout.clone(), &["timeout", "3", "sh", "-c", "(sleep 700 &); sleep 50"], &[])
            .signal(3_001, SignalSent { syscall: Some(syscall), ..sent })
            .exit(3_002, victim.clone(), 15, true)
            .death()
            .cause
            .id
    };
    assert_eq!(play(0), CauseId::TimeoutCommand);
    assert_ne!(play(42), CauseId::TimeoutCommand);
}

/// Of a broken pipe only what was started next to the writer is taken for its reader, and only where it has ended.
#[test]
fn a_bystander_that_ended_is_not_taken_for_the_reader_of_a_pipe() {
    let shell = task(70, "bash");
    let (victim, reader, other) = (task(42, "yes"), task(43, "python3"), task(44, "sleep"));
    let play = |reader_seen: bool, reader_ends_ms: Option<u64>| {
        let mut scene = Scene::default().target(&victim, TargetReason::Pid);
        scene = scene.exec(1, victim.clone(), &["yes"], &[&shell]);
        if reader_seen {
            scene = scene.exec(1, reader.clone(), &["python3", "-c", "…"], &[&shell]);
        }
        scene = scene.exec(1, other.clone(), &["sleep", "1.6"], &[&shell]);
        if let Some(ms) = reader_ends_ms {
            scene = scene.exit(ms, reader.clone(), 0, false);
        }
        scene = scene.exit(1_600, Task { ppid: 70, ..other.clone() }, 0, false);
        let pipe = SignalSent {
            info: SignalInfo::None,
            syscall: Some(Syscall { name: "write".to_owned(), args: [0; 3] }),
            ..signal(sig::SIGPIPE, victim.clone(), victim.clone())
        };
        scene.signal(2_000, pipe).exit(2_001, victim.clone(), 13, true).death()
    };
    for seen in [true, false] {
        let death = play(seen, None);
        assert_eq!(death.cause.id, CauseId::BrokenPipe);
        assert!(!told(&death).contains("perhaps"), "{}", told(&death));
    }
    let death = play(true, Some(2_001));
    assert!(told(&death).contains("started right after it and was ending)"), "{}", told(&death));
    let death = play(true, Some(1_995));
    let clause =
        "perhaps python3[43], which had been started right after it and had ended 5 ms before";
    assert!(told(&death).contains(clause), "{}", told(&death));
    assert_eq!(death.chain[0].event, LinkEvent::Signal, "{:#?}", death.chain);
}

/// Beside PID 1, in a container: what is told of units and users may not be the machine's.
#[test]
fn what_a_container_hides_of_the_machine_is_a_gap() {
    let play = |scene: Scene| scene.ended_by(task(80, "kill"), task(42, "sleep")).gaps;
    let watching = || Scene::watching(&task(42, "sleep"));
    assert!(play(watching()).is_empty());
    let lacking = watching().without("cgroup2", "private").without("files", "its own");
    assert_eq!(play(lacking), ["private", "its own"]);
}

const CONTAINER: &str =
    "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";

/// GDBus ends its program by raising SIGTERM when the message bus is gone.
#[test]
fn what_ends_itself_with_its_message_bus_is_told_with_that() {
    let told_in = |uid: u32, cgroup: &str| {
        let victim = task_in(42, "gdbus", "/user.slice/user-1000.slice/session-3.scope");
        let bus = Task { uid, euid: uid, ..task_in(50, "dbus-daemon", cgroup) };
        let raised = SignalSent {
            info: SignalInfo::Real { code: -6, errno: 0, fields: [42, 0] },
            syscall: Some(Syscall { name: "tgkill".to_owned(), args: [42, 42, 15] }),
            ..signal(sig::SIGTERM, victim.clone(), victim.clone())
        };
        let scene = Scene::watching(&victim).exit(4997, bus, 0, false).signal(5000, raised);
        scene.exit(5001, victim, 15, true).death()
    };
    let told = |uid| told_in(uid, "/system.slice/dbus.service");
    let death = told(1000);
    let words = "since its message bus was gone: 3 ms before, dbus-daemon[50] exited with 0.";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert!(death.chain[0].text.contains("dbus-daemon[50]"), "{death:#?}");
    let death = told(1001);
    assert!(!death.cause.explanation.contains("message bus"), "another user's: {death:#?}");
    assert!(told(101).cause.explanation.contains("message bus"), "the system's");
    let death = told_in(101, CONTAINER);
    assert!(!death.cause.explanation.contains("message bus"), "a container's: {death:#?}");
}

/// A pipe whose reader is gone, and who that may have been.
fn broken_pipe(victim: &Task, scene: Scene) -> Death {
    let pipe = SignalSent {
        info: SignalInfo::None,
        syscall: Some(Syscall { name: "write".to_owned(), args: [0; 3] }),
        ..signal(sig::SIGPIPE, victim.clone(), victim.clone())
    };
    scene.signal(2_000, pipe).exit(2_001, victim.clone(), 13, true).death()
}

#[test]
fn a_child_that_had_ended_may_have_been_the_reader() {
    let child = |pid| Task { ppid: 42, ..task(pid, "reader") };
    let play = |name: &str, children: &[u32]| {
        let victim = task(42, name);
        let scene = children.iter().fold(Scene::watching(&victim), |scene, pid| {
            scene.exit(1_050, child(*pid), 5 << 8, false)
        });
        broken_pipe(&victim, scene)
    };
    let death = play("perl", &[50]);
    let words = "(perhaps that was reader[50], its child, which had ended 950 ms before)";
    assert!(told(&death).contains(words), "{death:#?}");
    for death in [play("perl", &[50, 51]), play("bash", &[50])] {
        assert!(!told(&death).contains("perhaps"), "{death:#?}");
    }
}

/// systemd has SIGPIPE ignored, unless a unit says otherwise.
#[test]
fn a_unit_that_does_not_ignore_broken_pipes_is_told_with_its_setting() {
    let victim = task_in(42, "sh", "/system.slice/sp.service");
    let journald = root(task(61, "systemd-journal"));
    let place = Some(("/etc/systemd/system/sp.service", 2));
    let scene = Scene::watching(&victim).setting("sp.service", "IgnoreSIGPIPE", "no", place);
    let inside = Task { cgroup: Some(CONTAINER.to_owned()), ..journald.clone() };
    let death = broken_pipe(&victim, scene.clone().exit(1_800, inside, 0, false));
    assert!(!told(&death).contains("perhaps"), "a container's: {death:#?}");
    let death = broken_pipe(&victim, scene.exit(1_800, journald, 0, false));
    for words in [
        "(perhaps that was systemd-journal[61], to which services write what they print, and which had ended 200 ms",
        "sp.service has its processes end by that (IgnoreSIGPIPE=no, set in /etc/systemd/system/sp.service:2).",
    ] {
        assert!(told(&death).contains(words), "{death:#?}");
    }
    assert_eq!(death.cause.settings[0].name, "IgnoreSIGPIPE");
    assert!(death.fixes[0].commands.iter().any(|it| it.contains("IgnoreSIGPIPE=yes")));
}

/// What set a seccomp filter is seen in nobody's words but its own.
#[test]
fn the_sandbox_that_may_have_set_a_filter_is_named() {
    let play = |words: &[&str]| {
        let (victim, sandbox) = (task(42, "mkdir"), task(60, words[0]));
        let forbidden = SignalSent {
            info: SignalInfo::Real { code: 1, errno: 0, fields: [0, 83] },
            syscall: Some(Syscall { name: "mkdir".to_owned(), args: [0; 3] }),
            ..signal(sig::SIGSYS, victim.clone(), victim.clone())
        };
        Scene::watching(&victim)
            .exec(1, sandbox.clone(), words, &[])
            .exec(2, victim.clone(), &["mkdir", "x"], &[&sandbox])
            .signal(3, forbidden)
            .exit(4, victim, 31, true)
            .death()
    };
    let death = play(&["bwrap", "--seccomp", "9", "mkdir", "x"]);
    let words = "made a system call (mkdir) that its seccomp filter forbids, and the kernel ended it. It ran below \
                 bwrap[60], \"bwrap --seccomp 9 mkdir x\", which may have set that filter.";
    assert!(told(&death).contains(words), "{death:#?}");
    assert!(told(&play(&["run", "--security-opt=seccomp=/x"])).contains("may have set"));
    for words in [&["env", "mkdir", "x"][..], &["grep", "--include=seccomp.c", "x"]] {
        assert!(!told(&play(words)).contains("may have set"), "{words:?}");
    }
}

#[test]
fn why_a_job_was_stopped_in_the_background_is_told() {
    let (shell, victim) = (task(60, "bash"), task(42, "cat"));
    let stop = SignalSent {
        info: SignalInfo::Privileged,
        syscall: Some(Syscall { name: "read".to_owned(), args: [0; 3] }),
        fatal: false,
        ..signal(sig::SIGTTIN, victim.clone(), victim.clone())
    };
    let wake = SignalSent { fatal: false, ..signal(sig::SIGCONT, shell.clone(), victim.clone()) };
    let death = Scene::watching(&victim)
        .signal(1, stop)
        .signal(10, signal(sig::SIGTERM, shell, victim.clone()))
        .signal(11, wake)
        .exit(12, victim, 15, true)
        .death();
    let words =
        "it had got SIGTTIN from the kernel (its job read from the terminal in the background).";
    assert!(told(&death).contains(words), "{death:#?}");
}

/// kill -9 works on what is frozen only when that thaws.
#[test]
fn what_took_long_to_be_killed_is_told_with_what_can_be_why() {
    let killed = || {
        let (kill, victim) = (root(task(60, "kill")), task(42, "sleep"));
        let sent = signal(sig::SIGKILL, kill, victim.clone());
        (Scene::watching(&victim).signal(10, sent), victim)
    };
    let play = |ends_ms: u64| {
        let (scene, victim) = killed();
        scene.exit(ends_ms, victim, 9, true).death()
    };
    let words =
        "It ended only 2.1 s after that: it was frozen (a cgroup's freezer), waited in the kernel";
    assert!(told(&play(2_110)).contains(words), "{:#?}", play(2_110));
    assert!(!told(&play(210)).contains("frozen"));
    // Its end was lost, and is only heard of then.
    let (scene, victim) = killed();
    let lost = scene.add(2_110, Source::Proc, Fact::Gone(Gone { id: victim.id })).death();
    assert!(!told(&lost).contains("frozen"), "{lost:#?}");
}
