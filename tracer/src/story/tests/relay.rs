//! Kills that somebody else was behind: signals passed on, servers told by a command, births in a cgroup
//! that is being killed.

use super::scene::{Scene, caught, signal, systemd, task, task_in};
use crate::evidence::{BusPeer, Grade, SignalInfo, SignalSent, Syscall, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death, LinkEvent};

/// `kill 60` by alice; 60 is `sudo`, which passes on what it gets to 42.
fn relayed(first: u8, second: u8, wait_ms: u64) -> Death {
    let (shell, killer) = (task(70, "bash"), task(80, "kill"));
    let (relay, victim) = (task(60, "sudo"), task(42, "sleep"));
    Scene::default()
        .user(1000, "alice")
        .target(&victim, TargetReason::Pid)
        .exec(1, relay.clone(), &["sudo", "sleep", "100"], &[])
        .exec(5, killer.clone(), &["kill", "60"], &[&shell])
        .signal(6, caught(first, killer, relay.clone()))
        .signal(6 + wait_ms, signal(second, relay, victim.clone()))
        .exit(7 + wait_ms, victim, u32::from(second), true)
        .death()
}

#[test]
fn a_signal_that_was_passed_on_leads_to_who_sent_it_first() {
    let death = relayed(sig::SIGTERM, sig::SIGTERM, 1);
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Inferred));
    assert_eq!(death.killer.process.map(|killer| killer.pid), Some(60));
    let told = &death.cause.explanation;
    assert!(told.contains("sudo[60] had itself got SIGTERM"), "{told}");
    assert!(told.contains("alice ran \"kill 60\" from bash[70]"), "{told}");
    let links: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(links.contains(&"kill[80] sent SIGTERM to sudo[60]"), "{links:?}");
}

/// What passed it on was a target as well, and its own end was told before.
#[test]
fn what_was_told_before_is_not_forgotten() {
    let (shell, killer) = (task(70, "bash"), task(80, "kill"));
    let (relay, victim) = (task(60, "sudo"), task(42, "sleep"));
    let told = |with_relay: bool| {
        let scene = Scene::default().user(1000, "alice").target(&victim, TargetReason::Matched);
        let scene = if with_relay { scene.target(&relay, TargetReason::Matched) } else { scene };
        let blow = caught(sig::SIGTERM, killer.clone(), relay.clone());
        let deaths = scene
            .exec(5, killer.clone(), &["kill", "60"], &[&shell])
            .signal(6, SignalSent { is_target: with_relay, ..blow })
            .signal(7, signal(sig::SIGTERM, relay.clone(), victim.clone()))
            .exit(8, relay.clone(), 0, with_relay)
            .settled(300, &relay)
            .exit(1_000, victim.clone(), u32::from(sig::SIGTERM), true)
            .deaths();
        deaths.into_iter().find(|death| death.victim.pid == 42).expect("its death").cause
    };
    assert_eq!(told(true).explanation, told(false).explanation);
    assert!(told(true).explanation.contains("alice ran \"kill 60\""));
}

#[test]
fn another_signal_later_is_told_but_not_called_passed_on() {
    let death = relayed(sig::SIGTERM, sig::SIGKILL, 2_100);
    // Whose command it was is a conclusion.
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Inferred));
    let told = &death.cause.explanation;
    assert!(told.contains("had itself got SIGTERM 2.1 s before from kill[80]:"), "{told}");
    assert!(!told.contains("passed it on"), "{told}");
    let old = relayed(sig::SIGTERM, sig::SIGTERM, 60_000);
    assert!(!old.cause.explanation.contains("had itself got"), "{}", old.cause.explanation);
    let other = relayed(sig::SIGUSR1, sig::SIGTERM, 1_000);
    assert!(!other.cause.explanation.contains("had itself got"), "{}", other.cause.explanation);
}

/// A reload a second ago, and any signal that came right before it acted.
#[test]
fn what_came_right_before_outweighs_what_came_earlier() {
    let (killer, boss, victim) = (task(80, "kill"), task(60, "boss"), task(42, "worker"));
    let child = Task { ppid: 60, ..task(61, "worker") };
    let told = |number: u8, sender: &Task| {
        Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(1, child.clone(), &["worker"], &[&boss])
            .signal(1_000, caught(sig::SIGHUP, killer.clone(), boss.clone()))
            .signal(2_000, caught(number, sender.clone(), boss.clone()))
            .signal(2_045, signal(sig::SIGTERM, boss.clone(), victim.clone()))
            .exit(2_046, victim.clone(), 15, true)
            .death()
    };
    for number in [sig::SIGTTOU, sig::SIGUSR1, sig::SIGINT] {
        let death = told(number, &killer);
        let words = &death.cause.explanation;
        assert!(words.contains("45 ms before from kill[80]"), "{words}");
        assert!(!death.chain.iter().any(|link| link.text.contains("SIGHUP")), "{death:#?}");
        assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Inferred));
    }
    let words = told(sig::SIGUSR1, &child).cause.explanation;
    assert!(words.contains("had itself got SIGHUP 1 s before"), "{words}");
}

/// supervisord waits for what it has told to end, and kills the whole group then: with what had been started meanwhile.
#[test]
fn what_is_killed_with_its_job_is_killed_since_the_job_was_to_end() {
    let born = |pid: u32, ms: u64, ppid: u32| {
        let mut task = Task { ppid, ..task(pid, "sh") };
        task.id.start_ns = super::scene::at(ms).boot_ns;
        task
    };
    let (boss, killer) = (task(60, "supervisord"), task(80, "kill"));
    let told = |job_ms: u64, parents: &dyn Fn(&Task) -> Vec<Task>, group: i64| {
        let (job, victim) = (born(41, job_ms, 60), born(42, 1_500, 41));
        let call = Syscall { name: "kill".to_owned(), args: [group.cast_unsigned(), 9, 0] };
        let parents = parents(&job);
        Scene::watching(&victim)
            .exec(job_ms, job.clone(), &["sh"], &[&boss])
            .exec(1_500, victim.clone(), &["sh"], &parents.iter().collect::<Vec<_>>())
            .signal(1_000, caught(sig::SIGTERM, killer.clone(), boss.clone()))
            .signal(
                2_300,
                SignalSent {
                    syscall: Some(call),
                    ..signal(sig::SIGKILL, boss.clone(), victim.clone())
                },
            )
            .exit(2_301, victim, 9, true)
            .death()
            .cause
            .explanation
    };
    let words = "supervisord[60] had itself got SIGTERM 1.3 s before from kill[80]";
    let below = |job: &Task| vec![job.clone(), boss.clone()];
    // Its parent is gone, and another has it; but it is of that process group.
    let left = |_: &Task| vec![task(2, "subreaper")];
    for (parents, group) in [(&below as &dyn Fn(&Task) -> Vec<Task>, 42), (&left, -41)] {
        let text = told(1, parents, group);
        assert!(text.contains(words), "{group} {text}");
    }
    // Nobody tells a process to end what it has not started yet.
    for (job_ms, group) in [(1_200, 42), (1_200, -41)] {
        let text = told(job_ms, &below, group);
        assert!(!text.contains("had itself got"), "{group} {text}");
    }
}

/// What never came told nobody anything, as that for which the queue had no room.
#[test]
fn what_did_not_come_is_not_told_as_caught() {
    use crate::evidence::SignalResult;
    let (boss, victim) = (task(60, "boss"), task(42, "worker"));
    let child = Task { ppid: 60, ..task(61, "worker") };
    let told = |result: SignalResult, ms: u64| {
        let got = caught(sig::SIGRTMIN_KERNEL + 3, child.clone(), boss.clone());
        Scene::watching(&victim)
            .exec(1, child.clone(), &["worker"], &[&boss])
            .signal(ms, SignalSent { result, ..got })
            .signal(2_000, signal(sig::SIGTERM, boss.clone(), victim.clone()))
            .exit(2_001, victim.clone(), 15, true)
            .death()
            .cause
            .explanation
    };
    let words = "boss[60] had caught";
    assert!(told(SignalResult::Delivered, 1_990).contains(words));
    // What it had been told by a child a while before was about something else.
    assert!(!told(SignalResult::Delivered, 1_970).contains(words));
    for result in [SignalResult::Lost, SignalResult::Ignored] {
        assert!(!told(result, 1_990).contains(words), "{result:?}");
    }
}

/// What was concluded of two signals is not observed.
#[test]
fn what_seems_to_have_been_passed_on_is_inferred() {
    let (shell, victim) = (task(70, "bash"), task(42, "sleep"));
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .exec(1, shell.clone(), &["bash", "x.sh"], &[])
        .signal(5, caught(sig::SIGTERM, task(90, "boss"), shell.clone()))
        .signal(325, signal(sig::SIGTERM, shell, victim.clone()))
        .exit(326, victim, 15, true)
        .death();
    assert!(death.cause.explanation.contains("seems to have passed it on"));
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Inferred));
}

/// `timeout 1 sudo sleep 9`, and a shell's trap.
#[test]
fn a_time_limit_that_was_passed_on_is_one() {
    let (timeout, victim) = (task(50, "timeout"), task(42, "sleep"));
    let died = |relay: &str, ran_ms: u64| {
        let relay = Task { ppid: 50, ..task(60, relay) };
        let words = ["timeout", "1", &relay.comm, "sleep", "9"];
        Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(1, timeout.clone(), &words, &[])
            .exec(2, relay.clone(), &words[2..], &[&timeout])
            .signal(1 + ran_ms, caught(sig::SIGTERM, timeout.clone(), relay.clone()))
            .signal(2 + ran_ms, signal(sig::SIGTERM, relay, victim.clone()))
            .exit(3 + ran_ms, victim.clone(), 15, true)
            .death()
            .cause
    };
    for relay in ["sudo", "bash"] {
        let cause = died(relay, 1_003);
        assert_eq!((cause.id, cause.evidence), (CauseId::TimeoutCommand, Grade::Inferred));
        let told = &cause.explanation;
        assert!(told.contains("the time limit of timeout[50], up after 1 s"), "{told}");
        assert!(told.contains("had itself got SIGTERM 1 ms before from timeout[50]"), "{told}");
        // It was not up.
        assert_ne!(died(relay, 300).id, CauseId::TimeoutCommand);
    }
}

/// Whoever ends its children one after the other does not do so because it had ended the one before.
#[test]
fn a_sibling_that_the_same_parent_ended_is_no_reason() {
    let parent = task(60, "runner");
    let scene = |first_ended: u32, born_ms: u64| {
        let child = |pid| {
            let mut child = Task { ppid: 60, ..task(pid, "job") };
            child.id.start_ns = super::scene::at(if pid == 41 { 0 } else { born_ms }).boot_ns;
            child
        };
        let mut scene = Scene::default();
        for pid in [41, 42, 43] {
            scene = scene.target(&child(pid), TargetReason::Matched);
            scene = scene.exec(born_ms, child(pid), &["job"], &[&parent]);
        }
        // It fails by itself, or nothing fails; the others are told of before the next one is struck.
        scene = scene.exit(1_000, child(41), first_ended, true).settled(1_001, &child(41));
        for (ms, pid) in [(1_040, 42), (1_300, 43)] {
            scene = scene
                .signal(ms, signal(sig::SIGTERM, parent.clone(), child(pid)))
                .exit(ms + 1, child(pid), 15, true)
                .settled(ms + 2, &child(pid));
        }
        let deaths = scene.deaths();
        deaths.last().expect("a death").cause.explanation.clone()
    };
    let told = scene(1 << 8, 1);
    assert!(told.contains("300 ms before that, its sibling job[41]"), "{told}");
    assert!(told.contains("which may be why"), "{told}");
    for told in [scene(0, 1), scene(1 << 8, 1_020)] {
        assert!(!told.contains("which may be why"), "{told}");
    }
}

#[test]
fn the_command_that_told_a_server_to_kill_is_named() {
    let (server, client) = (task(50, "tmux: server"), task(81, "tmux"));
    let victim = task(42, "sleep");
    let play = |args: &[&str]| {
        Scene::default()
            .user(1000, "alice")
            .target(&victim, TargetReason::Pid)
            .exec(5, client.clone(), args, &[&task(70, "bash")])
            .signal(9, signal(sig::SIGHUP, server.clone(), victim.clone()))
            .exit(10, victim.clone(), 1, true)
            .death()
            .cause
            .explanation
    };
    let told = play(&["tmux", "kill-session", "-t", "main"]);
    let command = "4 ms before that, alice ran \"tmux kill-session -t main\" from bash[70]";
    assert!(told.contains(command), "{told}");
    let told = play(&["tmux", "list-sessions"]);
    assert!(!told.contains("list-sessions"), "{told}");
}

#[test]
fn the_killer_is_shown_as_the_program_that_it_was_when_it_killed() {
    let (shell, victim) = (task(70, "bash"), task(42, "sleep"));
    let later = Task { comm: "date".to_owned(), ..shell.clone() };
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .exec(1, shell.clone(), &["bash", "-c", "kill 42; exec date"], &[])
        .signal(5, signal(sig::SIGTERM, shell, victim.clone()))
        .exec(6, later, &["date"], &[])
        .exit(7, victim, 15, true)
        .death();
    let killer = death.killer.process.expect("a killer");
    assert_eq!(killer.comm.as_deref(), Some("bash"));
    assert_eq!(killer.exe.as_deref(), Some("/usr/bin/bash"));
    let words = killer.cmdline.unwrap_or_default();
    assert_eq!(words.last().map(String::as_str), Some("kill 42; exec date"));
    assert!(death.cause.explanation.contains("exec date"), "{}", death.cause.explanation);
}

#[test]
fn a_stop_that_the_containers_init_passes_on_is_one() {
    let passed = |victims_ns: u32, sender: &str| {
        let inside = |pid: u32, comm: &str| Task { pid_ns: victims_ns, ..task(pid, comm) };
        let (runtime, init) = (task(90, sender), inside(41, "tini"));
        let victim = Task { ppid: 41, ..inside(42, "work") };
        let got = caught(sig::SIGTERM, runtime.clone(), init.clone());
        Scene::watching(&victim)
            .exec(1, victim.clone(), &["work"], &[&init])
            .exec(4990, runtime, &[sender, "kill", "6fa6", "TERM"], &[&task(70, "bash")])
            .signal(4999, SignalSent { is_target: false, ..got })
            .ended_by(init, victim)
    };
    let death = passed(7, "runc");
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    for words in
        ["alice ran \"runc kill 6fa6 TERM\"", "shown as 143, which is 128 and SIGTERM's 15"]
    {
        assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    }
    // In one and the same namespace there is no container, and nobody else is a runtime.
    for death in [passed(1, "runc"), passed(7, "boss")] {
        assert_eq!(death.cause.id, CauseId::ProcessSignal, "{death:#?}");
    }
}

/// sshd is stopped with its session and so lets go of the terminal; the shell there, which is hung up, hangs up its jobs.
#[test]
fn who_had_the_shells_terminal_closed_is_told_of_its_jobs() {
    const SCOPE: &str = "/user.slice/user-1000.slice/session-3.scope";
    let root = |task: Task| Task { uid: 0, euid: 0, ..task };
    let (loginctl, sshd) = (root(task(80, "loginctl")), root(task_in(30, "sshd-session", SCOPE)));
    let shell = task_in(50, "bash", SCOPE);
    let job = Task { ppid: 50, ..task_in(60, "sleep", SCOPE) };
    let by = BusPeer { process: Some(loginctl.id), uid: Some(0), ..BusPeer::default() };
    let logind =
        BusPeer { comm: Some("systemd-logind".to_owned()), uid: Some(0), ..BusPeer::default() };
    let told = |sent: SignalSent| SignalSent { is_target: false, ..sent };
    let hangup = SignalSent {
        stack: ["__tty_hangup", "pty_close", "tty_release"].map(str::to_owned).to_vec(),
        info: SignalInfo::Privileged,
        syscall: None,
        ..caught(sig::SIGHUP, sshd.clone(), shell.clone())
    };
    let death = Scene::watching(&job)
        .session("3", 30)
        .exec(1, shell.clone(), &["-bash"], &[&sshd])
        .exec(2, job.clone(), &["sleep", "9"], &[&shell, &sshd])
        .exec(4900, loginctl, &["loginctl", "terminate-session", "3"], &[])
        .call(4910, by, "TerminateSession", &["3"])
        .call(4920, logind, "StopUnit", &["session-3.scope", "replace"])
        .job(4921, 700, "stop", "session-3.scope")
        .signal(4930, told(caught(sig::SIGTERM, systemd(), sshd.clone())))
        .signal(4940, told(hangup))
        .signal(4941, signal(sig::SIGHUP, shell.clone(), job.clone()))
        .exit(4942, shell, u32::from(sig::SIGHUP), false)
        .exit(4943, job, u32::from(sig::SIGHUP), true)
        .exit(4944, sshd, 255 << 8, false)
        .settled(6000, &task_in(60, "sleep", SCOPE))
        .death();
    assert_eq!(death.cause.id, CauseId::SessionLeaderExited, "{death:#?}");
    let told = &death.cause.explanation;
    assert!(told.contains("root ran \"loginctl terminate-session 3\""), "{told}");
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    let place = |words: &str| texts.iter().position(|text| text.contains(words));
    let order =
        ["terminate-session 3", "TerminateSession", "job 700", "SIGTERM to sshd-session[30]"];
    let order: Vec<_> = order.into_iter().map(place).collect();
    assert!(order[0] == Some(0) && order.is_sorted(), "{texts:?}");
}

/// Nobody runs sshd's own processes, nor a daemon's that give themselves titles.
#[test]
fn no_command_is_made_up_for_what_nobody_ran() {
    let play = |comm: &str, title: &str, uid: u32| {
        let sender = Task {
            uid,
            euid: uid,
            ..task_in(90, comm, "/user.slice/user-1000.slice/session-3.scope")
        };
        let victim = task(42, "sleep");
        let scene = Scene::watching(&victim).exec(4990, sender.clone(), &[title], &[]);
        let death = scene.ended_by(sender, victim);
        death.chain.iter().filter(|link| link.event == LinkEvent::Command).count()
    };
    assert_eq!(play("sshd-session", "sshd-session: alice [postauth]", 0), 0);
    assert_eq!(play("login", "/bin/login", 0), 0);
    assert_eq!(play("nginx", "nginx: master process", 0), 0);
    assert_eq!(play("nginx", "nginx: master process", 1000), 1);
    assert_eq!(play("postgres", "postgres: alice db [local] SELECT", 105), 0);
    assert_eq!(play("killer", "postgres: alice db [local] SELECT", 105), 1);
    assert_eq!(play("killer", "/root/killer", 0), 1);
}

/// That a daemon had been started, long before, is no reason for what it did; what a unit was started for is one.
#[test]
fn a_daemon_at_its_work_is_no_command_that_was_run() {
    let unit = "/system.slice/guard.service";
    let root = |task: Task| Task { uid: 0, euid: 0, ..task };
    let guard = root(task_in(60, "guard", unit));
    let (relay, victim) = (task(61, "timeout"), task(42, "sleep"));
    let told = |ran_ms: u64, act_ms: u64| {
        Scene::default()
            .user(0, "root")
            .target(&victim, TargetReason::Pid)
            .exec(ran_ms, guard.clone(), &["/usr/sbin/guard", "-f"], &[&systemd()])
            .signal(act_ms, caught(sig::SIGTERM, guard.clone(), relay.clone()))
            .signal(act_ms + 1, signal(sig::SIGTERM, relay.clone(), victim.clone()))
            .exit(act_ms + 2, victim.clone(), 15, true)
            .death()
    };
    let death = told(1, 60_000);
    let words = "from guard[60] of guard.service, and seems to have passed it on (what had it do so was not seen).";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert!(!death.chain.iter().any(|link| link.text.contains("service ran")), "{death:#?}");
    let death = told(59_000, 60_000);
    let words = "guard.service ran \"/usr/sbin/guard -f\"";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
}
