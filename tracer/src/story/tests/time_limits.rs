//! Programs that end what they run, or what serves a request, when its time is up.

use super::scene::{Scene, at, caught, root, signal, task};
use crate::evidence::{Grade, SignalInfo, SignalSent, Syscall, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

/// The child of this program, which it has been running since the first second, gets these signals of it, the last of which
/// ends it at 7 s.
fn ended_by(scene: Scene, program: &Task, args: &[&str], numbers: &[u8]) -> Death {
    let mut victim = Task { ppid: program.id.pid, ..task(900, "work") };
    victim.id.start_ns = at(1000).boot_ns;
    let mut scene = scene
        .target(&victim, TargetReason::Running)
        .exec(1000, program.clone(), args, &[])
        .exec(1001, victim.clone(), &["work"], &[program]);
    let (last, before) = numbers.split_last().expect("a signal");
    for (ms, number) in (6980..).zip(before) {
        scene = scene.signal(ms, caught(*number, program.clone(), victim.clone()));
    }
    scene
        .signal(7000, signal(*last, program.clone(), victim.clone()))
        .exit(7001, victim, u32::from(*last), true)
        .death()
}

fn users() -> Scene {
    Scene::default().user(0, "root").user(1000, "alice")
}

/// sudo has no other use for a timer while its command runs.
#[test]
fn sudo_has_a_time_limit() {
    let sudo = root(task(800, "sudo"));
    let args = ["sudo", "-n", "work"];
    let alarm = |sudo: &Task| SignalSent {
        info: SignalInfo::Privileged,
        syscall: None,
        stack: vec!["it_real_fn".to_owned()],
        ..caught(sig::SIGALRM, task(7, "bystander"), sudo.clone())
    };
    let timed = users().signal(6960, alarm(&sudo));
    for numbers in [&[sig::SIGHUP][..], &[sig::SIGHUP, sig::SIGTERM]] {
        let death = ended_by(timed.clone(), &sudo, &args, numbers);
        assert_eq!(
            (death.cause.id, death.cause.evidence),
            (CauseId::TimeoutCommand, Grade::Inferred)
        );
        let text = &death.cause.explanation;
        let words = "which runs it with a time limit (command_timeout in sudoers, or sudo -T): \"sudo -n work\"";
        assert!(text.contains(words), "{text}");
        assert!(death.chain.iter().any(|link| link.text.contains("SIGALRM")), "{death:#?}");
        assert!(death.fixes[0].commands[0].contains("/etc/sudoers"), "{death:#?}");
    }
    let place = Some(("/etc/sudoers.d/zz", 1));
    let set = timed.clone().setting("sudoers", "command_timeout", "6", place);
    let death = ended_by(set.clone(), &sudo, &args, &[sig::SIGHUP]);
    let text = &death.cause.explanation;
    assert!(text.contains("(command_timeout=6, set in /etc/sudoers.d/zz:1)"), "{text}");
    assert_eq!(death.cause.settings[0].line, Some(1), "{death:#?}");
    let commands = &death.fixes[0].commands;
    assert_eq!(commands[0], "sudo visudo -f /etc/sudoers.d/zz", "{death:#?}");
    assert!(commands[1].starts_with("# command_timeout=6 in line 1: a longer time"), "{death:#?}");
    // Of another time, or one that is its own.
    let shorter = timed.clone().setting("sudoers", "command_timeout", "2", place);
    let others = [
        ended_by(set.clone(), &sudo, &["sudo", "-T", "5", "work"], &[sig::SIGHUP]),
        ended_by(set, &sudo, &["sudo", "-T6", "work"], &[sig::SIGHUP]),
        ended_by(shorter, &sudo, &args, &[sig::SIGHUP]),
    ];
    for death in others {
        assert_eq!(death.cause.id, CauseId::TimeoutCommand, "{death:#?}");
        assert!(death.cause.settings.is_empty(), "{death:#?}");
    }
    let others = [
        ended_by(users(), &sudo, &args, &[sig::SIGHUP]),
        ended_by(timed.clone(), &sudo, &args, &[sig::SIGINT]),
        // Anybody can call a program so.
        ended_by(timed, &task(800, "sudo"), &args, &[sig::SIGHUP]),
    ];
    for death in others {
        assert_eq!(death.cause.id, CauseId::ProcessSignal, "{death:#?}");
    }
}

/// Which of several lines of sudoers gave the limit, or that nobody can tell.
#[test]
fn sudoers_has_time_limits_for_some() {
    const FILE: &str = "/etc/sudoers";
    let shell = task(700, "bash");
    let mut sudo = Task { ppid: 700, ..root(task(800, "sudo")) };
    sudo.id.start_ns = at(900).boot_ns;
    let args = ["sudo", "work", "-a"];
    let of = |lines: &[(&str, &str, &str)]| {
        let alarm = SignalSent {
            info: SignalInfo::Privileged,
            syscall: None,
            stack: vec!["it_real_fn".to_owned()],
            ..caught(sig::SIGALRM, task(7, "bystander"), sudo.clone())
        };
        let mut scene = users().exec(900, sudo.clone(), &args, &[&shell]).signal(6960, alarm);
        for ((whom, name, value), line) in lines.iter().zip(1..) {
            scene = scene.setting(&format!("sudoers{whom}"), name, value, Some((FILE, line)));
        }
        let mut victim = Task { ppid: 800, ..task(900, "work") };
        victim.id.start_ns = at(1000).boot_ns;
        let death = scene
            .target(&victim, TargetReason::Running)
            .exec(1001, victim.clone(), &["work", "-a"], &[&sudo, &shell])
            .signal(7000, signal(sig::SIGHUP, sudo.clone(), victim.clone()))
            .exit(7001, victim, 1, true)
            .death();
        assert_eq!(death.cause.id, CauseId::TimeoutCommand, "{death:#?}");
        death.cause.settings.first().and_then(|setting| setting.line)
    };
    const ALL: (&str, &str, &str) = ("", "command_timeout", "6");
    assert_eq!(of(&[ALL, (" :alice", "command_timeout", "6")]), Some(2));
    assert_eq!(of(&[(" :alice", "command_timeout", "6"), ALL]), Some(2));
    assert_eq!(of(&[ALL, (" :bob,#1001", "command_timeout", "6")]), Some(1));
    // Its time had been over for long.
    assert_eq!(of(&[("", "command_timeout", "2")]), None);
    // It would not have been over yet; so it is neither this one nor what it takes the place of.
    assert_eq!(of(&[ALL, (" :#1000", "command_timeout", "60")]), None);
    assert_eq!(of(&[ALL, (" :alice", "command_timeout", "0")]), None);
    // Whether it is for this one, nobody knows: where it was not over, it was not.
    assert_eq!(of(&[ALL, (" :%staff", "command_timeout", "6")]), None);
    assert_eq!(of(&[ALL, (" :%staff", "command_timeout", "60")]), Some(1));
    assert_eq!(of(&[(" @box", "command_timeout", "6")]), Some(1));
    assert_eq!(of(&[(" !/opt/work", "command_timeout", "6"), ALL]), None);
    assert_eq!(of(&[(" !/opt/work", "command_timeout", "6")]), Some(1));
    assert_eq!(of(&[(" !/opt/other", "command_timeout", "6"), ALL]), Some(2));
    assert_eq!(of(&[("", "TIMEOUT", "60"), (" >root", "command_timeout", "1m"), ALL]), Some(3));
    assert_eq!(of(&[(" !/usr/bin/work", "command_timeout", "6"), ALL]), Some(1));
    assert_eq!(of(&[("", "TIMEOUT", "6"), (" :alice", "command_timeout", "1m")]), Some(1));
}

#[test]
fn a_limit_among_other_options() {
    let of = |comm: &str, args: &[&str], numbers: &[u8]| {
        ended_by(users(), &root(task(800, comm)), args, numbers)
    };
    let limit: [(&str, &[&str], &[u8], &str); 4] = [
        ("firejail", &["firejail", "--timeout=00:00:02", "work"], &[sig::SIGTERM], "(--timeout)"),
        ("uwsgi", &["uwsgi", "--harakiri", "2"], &[sig::SIGKILL], "each request (--harakiri)"),
        (
            "gunicorn",
            &["python3", "/bin/gunicorn", "--timeout=3", "a:b"],
            &[sig::SIGABRT],
            "(--timeout)",
        ),
        ("php-fpm8.2", &["php-fpm8.2"], &[sig::SIGTERM], "(request_terminate_timeout)"),
    ];
    for (comm, args, numbers, words) in limit {
        let death = of(comm, args, numbers);
        assert_eq!(death.cause.id, CauseId::TimeoutCommand, "{death:#?}");
        assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    }
    let other: [(&str, &[&str], &[u8]); 5] = [
        ("firejail", &["firejail", "--timeout=00:01:00", "work"], &[sig::SIGTERM]),
        // It had been asked to end before.
        ("uwsgi", &["uwsgi", "--harakiri", "2"], &[sig::SIGINT, sig::SIGKILL]),
        ("uwsgi", &["uwsgi", "--harakiri", "2", "--evil-reload-on-rss", "9"], &[sig::SIGKILL]),
        ("uwsgi", &["uwsgi"], &[sig::SIGKILL]),
        ("php-fpm8.2", &["php-fpm8.2"], &[sig::SIGQUIT, sig::SIGTERM]),
    ];
    for (comm, args, numbers) in other {
        let death = of(comm, args, numbers);
        assert_eq!(death.cause.id, CauseId::ProcessSignal, "{args:?} {death:#?}");
    }
}

#[test]
fn everybody_of_a_pid_namespace_is_not_everybody() {
    let told = |ns_pid| {
        let (sender, victim) = (Task { ns_pid, ..root(task(800, "runner")) }, task(900, "work"));
        let syscall = Some(Syscall { name: "kill".to_owned(), args: [u64::MAX, 15, 0] });
        let sent = signal(sig::SIGTERM, sender, victim.clone());
        Scene::watching(&victim)
            .signal(5000, SignalSent { syscall, ..sent })
            .exit(5001, victim, 15, true)
            .death()
            .cause
            .explanation
    };
    assert!(told(1).contains("may signal in its own pid namespace (kill -1)"), "{}", told(1));
    assert!(told(800).contains("may signal (kill -1)"), "{}", told(800));
}

/// The limit stands in the unit that starts the program: there it is changed.
#[test]
fn where_the_limit_of_a_services_requests_stands_is_told() {
    let cgroup = "/system.slice/web.service";
    let master = Task { ppid: 1, cgroup: Some(cgroup.to_owned()), ..task(800, "gunicorn") };
    let args = ["/usr/bin/python3", "/usr/bin/gunicorn", "--timeout", "3", "app:app"];
    let play = |line: &str| {
        let scene =
            users().setting("web.service", "ExecStart", line, Some(("/etc/web.service", 7)));
        ended_by(scene, &master, &args, &[sig::SIGABRT])
    };
    let death = play("/usr/bin/gunicorn --timeout 3 app:app");
    let text = &death.cause.explanation;
    let words = "which runs it with a time limit on each request (--timeout, in ExecStart= of /etc/web.service:7)";
    assert!(text.contains(words), "{text}");
    assert_eq!(death.cause.settings[0].line, Some(7), "{death:#?}");
    assert_eq!(
        death.fixes[0].commands,
        [
            "sudo systemctl edit --full web.service",
            "# there, in ExecStart=: --timeout with a longer time, or without it",
            "sudo systemctl restart web.service",
        ]
    );
    // A script may have it; a line that does not say it is not where it stands.
    let death = play("/usr/local/bin/web");
    assert!(death.cause.explanation.contains("on each request (--timeout):"), "{death:#?}");
    assert!(death.cause.settings.is_empty(), "{death:#?}");
    let long = "x".repeat(150);
    let death = ended_by(
        users(),
        &master,
        &["/usr/bin/gunicorn", &long, "--timeout", "3", "app:app"],
        &[sig::SIGABRT],
    );
    assert!(death.fixes[0].commands[0].ends_with("--timeout 3 app:app"), "{death:#?}");
}
