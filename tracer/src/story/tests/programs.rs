//! Which program a process was when it did something.

use super::scene::{Scene, signal, task};
use crate::evidence::{SignalInfo, SignalSent, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death, LinkEvent};

/// `/proc` is read when the signal is heard of, which can be after the next exec and before its event.
#[test]
fn what_proc_says_too_late_is_not_told_of_the_killer() {
    let (shell, victim) = (task(70, "bash"), task(42, "sleep"));
    let later = Task { comm: "date".to_owned(), ..shell.clone() };
    let late = crate::evidence::ProcessSnapshot {
        pid: 70,
        start_ns: shell.id.start_ns,
        ppid: 1,
        comm: "date".to_owned(),
        exe: Some("/usr/bin/date".to_owned()),
        cmdline: vec!["date".to_owned()],
        uid: 1000,
        ns_pids: vec![70],
        cgroup: None,
        tty: None,
        session_leader: 70,
        process_group: 70,
        environment: std::collections::BTreeMap::new(),
        parents: Vec::new(),
        pending: Vec::new(),
        answers: None,
    };
    let words = ["bash", "-c", "kill 42; exec date"];
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .exec(1, shell.clone(), &words, &[])
        .add(8, crate::evidence::Source::Proc, crate::evidence::Fact::Process(Box::new(late)))
        .signal(
            5,
            SignalSent {
                sender_args: words.map(str::to_owned).to_vec(),
                ..signal(sig::SIGTERM, shell, victim.clone())
            },
        )
        .exec(6, later, &["date"], &[])
        .exit(7, victim, 15, true)
        .death();
    let killer = death.killer.process.expect("a killer");
    assert_eq!(killer.exe.as_deref(), Some("/usr/bin/bash"));
    assert_eq!(killer.cmdline.unwrap_or_default(), words);
}

/// What `/proc` says of a process, at this time.
fn read(scene: Scene, ms: u64, task: &Task, words: &[&str]) -> Scene {
    let snapshot = crate::evidence::ProcessSnapshot {
        pid: task.id.pid,
        start_ns: task.id.start_ns,
        ppid: task.ppid,
        comm: words[0].to_owned(),
        exe: Some(format!("/usr/bin/{}", words[0])),
        cmdline: words.iter().map(|&word| word.to_owned()).collect(),
        uid: 1000,
        ..crate::evidence::ProcessSnapshot::default()
    };
    let fact = crate::evidence::Fact::Process(Box::new(snapshot));
    scene.add(ms, crate::evidence::Source::Proc, fact)
}

/// A kill by `env kill 42` of a shell, and `/proc` read at these times: with what it said, and before which of the
/// kernel's records it is there.
fn run_through_env(reads: &[(u64, &str, usize)]) -> Death {
    let (shell, victim) = (task(70, "bash"), task(42, "sleep"));
    let born = Task { ppid: 70, ..task(80, "bash") };
    let named = |comm: &str| Task { comm: comm.to_owned(), ..born.clone() };
    let mut scene = Scene::default().user(1000, "alice").target(&victim, TargetReason::Pid);
    scene = scene.exec(1, shell.clone(), &["bash", "x.sh"], &[]);
    for record in 0..5 {
        for (ms, comm, _) in reads.iter().filter(|(.., before)| *before == record) {
            let words: &[&str] =
                if *comm == "env" { &["env", "kill", "42"] } else { &["kill", "42"] };
            scene = read(scene, *ms, &born, words);
        }
        scene = match record {
            0 => {
                let parent = shell.id;
                let fork = crate::evidence::Fork { child: born.clone(), parent, is_target: false };
                scene.add(10, crate::evidence::Source::Kernel, crate::evidence::Fact::Fork(fork))
            }
            1 => scene.exec(11, named("env"), &["env", "kill", "42"], &[&shell]),
            2 => scene.exec(12, named("kill"), &["kill", "42"], &[&shell]),
            3 => scene.signal(13, signal(sig::SIGTERM, named("kill"), victim.clone())),
            _ => scene.exit(14, victim.clone(), 15, true),
        };
    }
    scene.death()
}

/// `/proc` is read after what the kernel tells of, and is there before it.
#[test]
fn what_proc_tells_early_does_not_hide_the_order_of_programs() {
    let cases: [&[(u64, &str, usize)]; 6] = [
        &[],
        &[(14, "env", 0), (15, "kill", 1), (17, "kill", 2)],
        &[(14, "env", 0), (15, "kill", 0)],
        &[(11, "env", 0), (16, "kill", 3)],
        &[(15, "kill", 0)],
        // It was slow to read, and is over.
        &[(14, "env", 3)],
    ];
    for reads in cases {
        let death = run_through_env(reads);
        let told = &death.cause.explanation;
        assert!(told.contains("alice ran \"kill 42\", part of \"bash x.sh\""), "{reads:?} {told}");
        let killer = death.killer.process.expect("a killer");
        assert_eq!(killer.exe.as_deref(), Some("/usr/bin/kill"), "{reads:?}");
    }
}

/// The shell that killed the parent is told as what it was then, not as what it executed next.
#[test]
fn who_killed_the_parent_is_told_as_he_was_then() {
    let (shell, parent) = (task(70, "bash"), task(60, "unshare"));
    let victim = Task { ppid: 60, ..task(42, "sleep") };
    let words = ["bash", "-c", "kill -9 60; exec date"];
    let later = Task { comm: "date".to_owned(), ..shell.clone() };
    let of_parent = SignalSent {
        info: SignalInfo::None,
        parent_death_signal: sig::SIGKILL,
        syscall: None,
        ..signal(sig::SIGKILL, Task { exiting: true, ..parent.clone() }, victim.clone())
    };
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .exec(1, shell.clone(), &words, &[])
        .signal(5, SignalSent { is_target: false, ..signal(sig::SIGKILL, shell, parent.clone()) })
        .exec(6, later, &["date"], &[])
        .exit(7, parent, 9, false)
        .signal(8, of_parent)
        .exit(9, victim, 9, true)
        .death();
    assert_eq!(death.cause.id, CauseId::ParentDied, "{death:#?}");
    let ran: Vec<_> = death.chain.iter().filter(|link| link.event == LinkEvent::Command).collect();
    assert_eq!(ran.len(), 1, "{:#?}", death.chain);
    assert!(ran[0].text.contains("kill -9 60; exec date"), "{}", ran[0].text);
    assert!(!ran[0].text.contains("which ran"), "{}", ran[0].text);
}

#[test]
fn an_applet_of_busybox_is_a_command() {
    let (busybox, victim) = (task(70, "busybox"), task(42, "sleep"));
    let told = |words: &[&str]| {
        Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(1, busybox.clone(), words, &[])
            .signal(5, signal(sig::SIGTERM, busybox.clone(), victim.clone()))
            .exit(6, victim.clone(), 15, true)
            .death()
            .cause
            .explanation
    };
    let applet = told(&["busybox", "killall", "sleep"]);
    assert!(applet.contains("ran \"busybox killall sleep\""), "{applet}");
    let shell = told(&["busybox", "sh", "x.sh"]);
    assert!(shell.contains("a kill builtin of the shell"), "{shell}");
}

/// It is no parent of what it ends.
#[test]
fn busyboxs_timeout_is_a_timeout() {
    let (busybox, victim) = (task(70, "busybox"), task(42, "sleep"));
    let told = |limited: &[&str]| {
        let words = [&["busybox", "timeout", "5"], limited].concat();
        Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(1, busybox.clone(), &words, &[])
            .exec(2, victim.clone(), &["sleep", "9"], &[])
            .signal(5_002, signal(sig::SIGTERM, busybox.clone(), victim.clone()))
            .exit(5_003, victim.clone(), 15, true)
            .death()
            .cause
            .id
    };
    assert_eq!(told(&["sleep", "9"]), CauseId::TimeoutCommand);
    assert_ne!(told(&["kill", "42"]), CauseId::TimeoutCommand);
}

/// `/bin/systemctl` that was executed is `/usr/bin/systemctl` to `/proc`: when it ran is known all the same.
#[test]
fn a_program_of_two_paths_keeps_its_time() {
    let shell = task(70, "bash");
    let snapshot = crate::evidence::ProcessSnapshot {
        pid: 70,
        start_ns: shell.id.start_ns,
        comm: "bash".to_owned(),
        exe: Some("/usr/bin/bash".to_owned()),
        cmdline: vec!["bash".to_owned()],
        uid: 1000,
        ..crate::evidence::ProcessSnapshot::default()
    };
    let at = |ms, fact: crate::evidence::Fact| {
        fact.at(super::scene::at(ms), crate::evidence::Source::Proc)
    };
    let exec = crate::evidence::Exec {
        task: shell.clone(),
        ancestors: Vec::new(),
        filename: "/bin/bash".to_owned(),
        args: vec!["bash".to_owned()],
        truncated: false,
        is_target: false,
        is_named: false,
    };
    let mut people = crate::story::people::People::default();
    let executed = at(5, crate::evidence::Fact::Exec(exec));
    people.observe(&executed);
    people.observe(&at(6, crate::evidence::Fact::Process(Box::new(snapshot))));
    let known = people.get(shell.id).expect("it is known");
    assert_eq!(known.exec_ns, Some(executed.at.boot_ns));
}
