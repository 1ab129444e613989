//! What held the other end of a terminal that hung up, and who ended that.

use super::scene::{Scene, caught, root, signal, task, with_connection};
use super::terminals::{Jobs, OF_PEER, PEER, closes, hangup, monitor, victim};
use crate::evidence::{
    Disposition, Fact, ProcessId, ProcessSnapshot, SignalInfo, SignalSent, Source, Syscall, Task,
    Terminal, sig,
};
use crate::story::verdict::CauseId;

/// A shell in an ssh login hangs up its jobs and ends: one of them, as systemd-run does for a unit, held the terminal of a
/// program that is no child of that shell's.
#[test]
fn the_login_of_the_shell_that_hung_up_a_terminals_holder_is_told() {
    let (shell, holder) = (task(31, "bash"), task(32, "systemd-run"));
    let parents = vec![monitor().id];
    let snapshot = ProcessSnapshot { parents, ..with_connection(&shell, OF_PEER) };
    let told = |shell_status: u32| {
        let of = |target: &Task, aim: u32| SignalSent {
            is_target: false,
            syscall: Some(Syscall { name: "kill".to_owned(), args: [u64::from(aim), 1, 0] }),
            ..signal(sig::SIGHUP, shell.clone(), target.clone())
        };
        let scene = Scene::watching(&victim())
            .exec(1, shell.clone(), &["-bash"], &[&monitor()])
            .exec(2, holder.clone(), &["systemd-run", "--pty", "make"], &[&shell, &monitor()])
            .add(3, Source::Proc, Fact::Process(Box::new(snapshot.clone())));
        closes(scene)
            .signal(5, of(&holder, 32_u32.wrapping_neg()))
            .signal(5, of(&shell, 31))
            .exit(5, shell.clone(), shell_status, false)
            .exit(6, holder.clone(), 1, false)
            .signal(6, hangup(&holder, &shell))
            .exit(7, victim(), 1, true)
            .death()
    };
    let death = told(u32::from(sig::SIGHUP));
    let words = format!(
        "systemd-run[32] (to which bash[31] had sent SIGHUP), which held the other end of its terminal, had ended \
         after {PEER}"
    );
    assert!(death.cause.explanation.contains(&words), "{death:#?}");
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[0].contains("closed the connection (FIN)"), "{texts:?}");
    // Nobody had typed anything.
    assert!(!texts.iter().any(|text| text.contains("ran \"-bash\"")), "{texts:?}");
    assert!(!told(0).cause.explanation.contains("connection"), "it had got no hangup itself");
}

/// Somebody kills what holds a terminal; the shell there passes its hangup on to a job, which is on no terminal's foreground.
#[test]
fn who_killed_the_holder_of_a_shells_terminal_is_told() {
    let (shell, holder) = (task(31, "bash"), task(32, "script"));
    let killer = root(task(40, "kill"));
    let told = |killed: bool| {
        let scene = Scene::watching(&victim())
            .exec(1, holder.clone(), &["script", "-q", "/dev/null"], &[])
            .exec(2, shell.clone(), &["bash"], &[&holder])
            .exec(4, killer.clone(), &["kill", "-KILL", "32"], &[]);
        let struck =
            SignalSent { is_target: false, ..signal(sig::SIGKILL, killer.clone(), holder.clone()) };
        let scene = if killed { scene.signal(5, struck) } else { scene };
        let status = if killed { u32::from(sig::SIGKILL) } else { 0 };
        let hung_up = SignalSent {
            is_target: false,
            target: shell.clone(),
            ..hangup(&holder, &task(1, "systemd"))
        };
        scene
            .exit(6, holder.clone(), status, false)
            .signal(6, SignalSent { disposition: Some(Disposition::Handler), ..hung_up })
            .signal(8, signal(sig::SIGHUP, shell.clone(), victim()))
            .exit(8, shell.clone(), u32::from(sig::SIGHUP), false)
            .exit(9, victim(), u32::from(sig::SIGHUP), true)
            .death()
    };
    let death = told(true);
    let text = &death.cause.explanation;
    let words = "script[32] was killed by SIGKILL: root ran \"kill -KILL 32\"";
    assert_eq!(text.matches(words).count(), 1, "{text}");
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    let place = |words: &str| texts.iter().position(|text| text.contains(words));
    let (ran, ended) = (place("ran \"kill -KILL 32\""), place("\" was killed by SIGKILL"));
    assert!(ran.is_some() && ran < ended && ended < place("terminal hangup"), "{texts:?}");
    let text = told(false).cause.explanation;
    assert!(!text.contains("kill -KILL") && !text.contains("script[32] exited"), "{text}");
}

/// What runs others on terminals of its own closes them at its end.
#[test]
fn the_end_of_a_program_that_gave_the_terminal_is_told_with_its_remedy() {
    let told = |holder: &Task, victim: Task| {
        let blow = SignalSent {
            sender: holder.clone(),
            target: victim.clone(),
            ..hangup(holder, &task(1, "systemd"))
        };
        let scene = Scene::watching(&victim).add(1, Source::Proc, held_by(holder, None, true));
        let scene = scene.signal(6, blow).exit(8, holder.clone(), 3 << 8, false);
        scene.exit(9, victim, 1, true).death()
    };
    let death = told(&task(30, "expect"), victim());
    let words = "expect[30] closed the other end of its terminal, and ended itself (it exited with 3, 2 ms later)";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
    assert_eq!(death.fixes[0].title, "have expect wait for the program's end");
    assert!(death.fixes[1].commands[0].starts_with("setsid -f "), "{death:#?}");
    // What gives others a terminal is not told to get one from tmux.
    let death = told(&task(30, "mosh-server"), task(42, "mosh-server"));
    assert!(death.cause.explanation.contains("and ended itself"), "{death:#?}");
    assert!(death.fixes.is_empty(), "{death:#?}");
}

/// That a process holds the other end of the terminal that such a session is on, and whether signals to it are seen.
fn held_by(holder: &Task, session_leader: Option<ProcessId>, watched: bool) -> Fact {
    Fact::Terminal(Terminal {
        tty: "pts1".to_owned(),
        session_leader,
        holders: vec![holder.id],
        unsure: false,
        watched,
    })
}

/// machinectl and run0 hold the terminal of what is no child of theirs, catch SIGTERM, and exit with 0.
#[test]
fn who_had_ended_the_holder_of_a_terminal_is_told() {
    let holder = task(30, "machinectl");
    let pkill = Task { uid: 0, euid: 0, ..task(80, "pkill") };
    let blow = SignalSent { sender: holder.clone(), ..hangup(&holder, &task(29, "sh")) };
    let told = |watched: bool, killed: bool| {
        let mut scene = Scene::watching(&victim())
            .add(1, Source::Proc, held_by(&holder, None, watched))
            .exec(4000, pkill.clone(), &["pkill", "-x", "machinectl"], &[]);
        if killed {
            let by = caught(sig::SIGTERM, pkill.clone(), holder.clone());
            scene = scene.signal(4010, SignalSent { is_target: false, ..by });
        }
        scene
            .signal(4011, blow.clone())
            .exit(4012, holder.clone(), 0, false)
            .exit(4013, victim(), 1, true)
            .death()
    };
    let death = told(true, true);
    let text = &death.cause.explanation;
    let words = "machinectl[30] had itself got SIGTERM 1 ms before from pkill[80]: root ran \"pkill -x machinectl\"";
    assert!(text.contains(words) && !text.contains("ended itself"), "{text}");
    let chain: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(chain.contains(&"pkill[80] sent SIGTERM to machinectl[30]"), "{chain:?}");
    let text = told(true, false).cause.explanation;
    assert!(text.contains("and ended itself (it exited with 0, 1 ms later)"), "{text}");
    let text = told(false, false).cause.explanation;
    let words = "and exited with 0, 1 ms later (whether a signal had told it to was not watched)";
    assert!(text.contains(words) && !text.contains("ended itself"), "{text}");
}

/// SCREEN was killed; the shell in its window hung up its jobs and ended by SIGHUP, which it was not seen to get.
#[test]
fn a_shell_that_ended_by_sighup_had_been_hung_up() {
    let jobs = Jobs::new(&["/bin/bash"]);
    let screen = task(60, "screen");
    let pkill = Task { uid: 0, euid: 0, ..task(80, "pkill") };
    let told = |scene: Scene| {
        scene
            .signal(10, jobs.to_group(sig::SIGHUP))
            .exit(11, jobs.shell.clone(), u32::from(sig::SIGHUP), false)
            .exit(11, jobs.victim.clone(), u32::from(sig::SIGHUP), true)
            .settled(3_000, &jobs.victim)
            .death()
    };
    let killed = signal(sig::SIGKILL, pkill.clone(), screen.clone());
    let scene = jobs
        .scene()
        .user(0, "root")
        .add(4, Source::Proc, held_by(&screen, Some(jobs.shell.id), true))
        .exec(5, pkill, &["pkill", "-9", "screen"], &[])
        .signal(6, SignalSent { is_target: false, ..killed })
        .exit(7, screen.clone(), 9, false);
    let death = told(scene);
    let text = &death.cause.explanation;
    let words = "which hung up its jobs. bash[70] seems to have been hung up itself: it ended by SIGHUP 1 ms later, and screen[60] \
                 (to which pkill[80] had sent SIGKILL), which held the other end of its terminal, had ended 3 ms before.";
    assert!(text.contains(words), "{text}");
    assert_eq!(death.cause.id, CauseId::SessionLeaderExited);
    assert!(death.fixes[0].commands[0].starts_with("setsid -f "), "{death:#?}");
    assert!(death.chain[0].text.contains("root ran \"pkill -9 screen\""), "{:?}", death.chain);
    // Of nobody who held it is known that it ended.
    let death = told(jobs.scene());
    let words = "it ended by SIGHUP 1 ms later; who or what had done that was not seen.";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
    assert_eq!(death.fixes[0].title, "run it detached from the terminal");
}

/// sudo runs a command on a terminal of its own by a child, and tells that over a socket of what it got itself.
#[test]
fn who_told_the_outer_sudo_is_told_of_what_it_runs() {
    let (outer, inner) = (root(task(31, "sudo")), root(task(32, "sudo")));
    let killer = task(40, "kill");
    let told = |to: &Task, same: bool| {
        let number = if same { sig::SIGTERM } else { sig::SIGUSR1 };
        let got = SignalSent { is_target: false, ..caught(number, killer.clone(), to.clone()) };
        let scene = Scene::watching(&victim())
            .exec(1, outer.clone(), &["sudo", "make"], &[])
            .exec(2, inner.clone(), &["sudo", "make"], &[&outer])
            .exec(4, killer.clone(), &["kill", "31"], &[])
            .signal(5, got)
            .signal(6, signal(sig::SIGTERM, inner.clone(), victim()));
        scene.exit(9, victim(), u32::from(sig::SIGTERM), true).death()
    };
    let death = told(&outer, true);
    let text = &death.cause.explanation;
    assert!(
        text.contains("sudo[31], its parent, had got SIGTERM 1 ms before from kill[40]"),
        "{text}"
    );
    assert!(text.contains("alice ran \"kill 31\"") || text.contains("ran \"kill 31\""), "{text}");
    let text = told(&task(33, "sudo"), true).cause.explanation;
    assert!(!text.contains("kill 31"), "{text}");
    let text = told(&outer, false).cause.explanation;
    assert!(!text.contains("kill 31"), "{text}");
}

/// A shell with a stopped job is killed: nobody can continue the job any more.
#[test]
fn who_killed_the_shell_of_a_stopped_job_is_told() {
    let shell = task(31, "bash");
    let killer = root(task(40, "kill"));
    let told = |killed: bool| {
        let orphaned = SignalSent {
            info: SignalInfo::Privileged,
            stack: ["kill_orphaned_pgrp", "do_exit"].map(str::to_owned).to_vec(),
            syscall: None,
            ..signal(sig::SIGHUP, Task { exiting: true, ..shell.clone() }, victim())
        };
        let struck =
            SignalSent { is_target: false, ..signal(sig::SIGKILL, killer.clone(), shell.clone()) };
        let scene = Scene::watching(&victim()).exec(1, shell.clone(), &["-bash"], &[]).exec(
            4,
            killer.clone(),
            &["kill", "-9", "31"],
            &[],
        );
        let scene = if killed { scene.signal(5, struck) } else { scene };
        let status = if killed { u32::from(sig::SIGKILL) } else { 0 };
        scene
            .exit(6, shell.clone(), status, false)
            .signal(7, orphaned)
            .exit(9, victim(), u32::from(sig::SIGHUP), true)
            .death()
    };
    let death = told(true);
    assert_eq!(death.cause.id, CauseId::OrphanedProcessGroup);
    let text = &death.cause.explanation;
    assert!(text.contains("bash[31] was killed by SIGKILL: root ran \"kill -9 31\"."), "{text}");
    let text = told(false).cause.explanation;
    assert!(!text.contains("kill -9"), "{text}");
}
