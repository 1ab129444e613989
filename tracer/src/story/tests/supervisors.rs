//! What supervisors beside systemd were asked for.

use super::clients::{looked_at, names};
use super::scene::{Scene, root, signal, task};
use crate::evidence::{Disposition, Grade, SignalSent, Source, TargetReason, Task, sig};
use crate::story::verdict::CauseId;

/// What a supervisor does at somebody's request is that one's doing; by itself it is the supervisor's own.
#[test]
fn what_a_supervisor_was_asked_for_is_a_command() {
    let victim = task(42, "web");
    let play = |server: &str, words: &[&str]| {
        let supervisor = root(task(50, server));
        let environment = [("SUPERVISOR_PROCESS_NAME", "web"), ("SUPERVISOR_GROUP_NAME", "shop")];
        Scene::watching(&victim)
            .add(0, Source::Proc, looked_at(&victim, &["web"], &environment, &[&supervisor]))
            .exec(5, root(task(81, words[0])), words, &[])
            .signal(9, signal(sig::SIGTERM, supervisor, victim.clone()))
            .exit(10, victim.clone(), 15, true)
            .death()
    };
    let death = play("supervisord", &["supervisorctl", "stop", "shop:web"]);
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    assert!(
        names(&death, "supervisord[50]") && names(&death, "which supervises it."),
        "{death:#?}"
    );
    assert!(names(&death, "root ran \"supervisorctl stop shop:web\""), "{death:#?}");
    assert_eq!(death.fixes[0].commands, ["sudo supervisorctl start shop:web"]);
    let of_other = play(
        "supervisord",
        &["supervisorctl", "-c", "/srv/my s.conf", "-p", "pw", "stop", "shop:web"],
    );
    assert_eq!(
        of_other.fixes[0].commands,
        ["sudo supervisorctl -c '/srv/my s.conf' start shop:web"]
    );
    for (server, words) in [
        ("supervisord", &["supervisorctl", "reload"][..]),
        ("runsv", &["sv", "restart", "web"]),
        ("runsv", &["sv", "-v", "t", "web"]),
        ("s6-supervise", &["s6-svc", "-wR", "-r", "web"]),
        ("s6-supervise", &["s6-svc", "-t", "web"]),
        ("supervise", &["svc", "-d", "web"]),
    ] {
        let death = play(server, words);
        assert_eq!(death.cause.id, CauseId::UserCommand, "{words:?} {death:#?}");
        assert_eq!(death.cause.evidence, Grade::Inferred, "{words:?}");
        let again = |fix: &crate::story::verdict::Fix| fix.title.starts_with("start the");
        assert!(!death.fixes.iter().any(again), "{death:#?}");
    }
    // Where its directory is was not seen.
    let stopped = play("runsv", &["sv", "stop", "/srv/sv/web"]);
    assert!(!stopped.fixes.iter().any(|fix| fix.title.starts_with("start the")), "{stopped:#?}");
    for (server, words) in [
        ("supervisord", &["supervisorctl", "status"][..]),
        ("supervisord", &["supervisorctl", "-s", "http://192.0.2.7:9001", "stop", "shop:web"]),
        ("runsv", &["sv", "up", "web"]),
        ("runsv", &["sv", "u", "web"]),
        ("runsv", &["sv", "-w", "9", "s", "web"]),
        ("runsv", &["sv", "stat", "web"]),
        ("s6-supervise", &["s6-svc", "-wr", "-u", "web"]),
        ("s6-supervise", &["s6-svc", "-uwD", "-T1000", "web"]),
        ("s6-supervise", &["s6-svc", "-u", "web"]),
        ("supervise", &["svc", "-o", "web"]),
    ] {
        let death = play(server, words);
        assert_eq!(death.cause.id, CauseId::ProcessSignal, "{words:?} {death:#?}");
    }
}

/// What a user's supervisor is told, and a file that a user names, is nothing for root.
#[test]
fn remedies_for_a_users_supervisor_have_that_users_rights() {
    let environment = [("SUPERVISOR_PROCESS_NAME", "web"), ("SUPERVISOR_GROUP_NAME", "web")];
    let commands = |supervisor_uid: u32, client_uid: u32, which: &[&str], name: &str| {
        let victim = task(42, "web");
        let supervisor = Task { uid: supervisor_uid, ..task(50, "supervisord") };
        let client = Task { uid: client_uid, ..task(81, "supervisorctl") };
        let environment = environment.map(|(key, _)| (key, name));
        let words = [&["supervisorctl"], which, &["stop", name]].concat();
        let death = Scene::watching(&victim)
            .user(1000, "alice")
            .add(0, Source::Proc, looked_at(&victim, &["web"], &environment, &[&supervisor]))
            .exec(5, client, &words, &[])
            .signal(9, signal(sig::SIGTERM, supervisor, victim.clone()))
            .exit(10, victim, 15, true)
            .death();
        let again = death.fixes.into_iter().find(|fix| fix.title.starts_with("start the"));
        again.map(|fix| fix.commands)
    };
    let said = |command: &str| Some(vec![command.to_owned()]);
    let own = ["-c", "/home/alice/s.conf"];
    assert_eq!(
        commands(1000, 1000, &own, "web"),
        said("sudo -u alice supervisorctl -c /home/alice/s.conf start web")
    );
    assert_eq!(commands(1000, 0, &[], "web"), said("sudo -u alice supervisorctl start web"));
    assert_eq!(
        commands(1000, 1000, &["-s", "unix:///home/alice/sock"], "web"),
        said("sudo -u alice supervisorctl -s unix:///home/alice/sock start web")
    );
    // Another's file; one that is another to each reader; which one it was is not told as it can be quoted; an option.
    assert_eq!(commands(1000, 0, &own, "web"), None);
    assert_eq!(commands(0, 0, &["-c", "s.conf"], "web"), None);
    assert_eq!(commands(0, 0, &["--configuration=/srv/s.conf"], "web"), None);
    assert_eq!(commands(0, 0, &[], "--configuration=/home/alice/x"), None);
}

/// `sv stop …/db …/web`: the one that ended, wherever the reader is.
#[test]
fn a_service_of_runits_is_named_by_its_directory() {
    let commands = |uid: u32, runsv_words: &[&str], runsvdir_words: &[&str]| {
        let (victim, above) = (task(42, "web"), Task { uid, ..task(49, "runsvdir") });
        let runsv = Task { uid, ..task(50, "runsv") };
        let client = Task { uid, ..task(81, "sv") };
        let death = Scene::watching(&victim)
            .user(1000, "alice")
            .add(0, Source::Proc, looked_at(&above, runsvdir_words, &[], &[]))
            .add(0, Source::Proc, looked_at(&runsv, runsv_words, &[], &[&above]))
            .add(0, Source::Proc, looked_at(&victim, &["web"], &[], &[&runsv, &above]))
            .exec(5, client, &["sv", "stop", "/srv/sv/db", "/srv/sv/web"], &[])
            .signal(9, signal(sig::SIGTERM, runsv, victim.clone()))
            .exit(10, victim, 15, true)
            .death();
        assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
        let again = death.fixes.into_iter().find(|fix| fix.title.starts_with("start the"));
        again.map(|fix| fix.commands.concat())
    };
    let all = ["runsvdir", "-P", "/etc/service", "log: ..."];
    let said = |command: &str| Some(command.to_owned());
    assert_eq!(commands(0, &["runsv", "web"], &all), said("sudo sv up /etc/service/web"));
    assert_eq!(commands(0, &["runsv", "/srv/web"], &all), said("sudo sv up /srv/web"));
    assert_eq!(
        commands(1000, &["runsv", "web"], &["runsvdir", "/home/alice/my sv"]),
        said("sudo -u alice sv up '/home/alice/my sv/web'")
    );
    assert_eq!(commands(0, &["runsv", "web"], &["runsvdir", "sv"]), None);
}

/// What does not end by the first signal is killed when its time is over: by the same command.
#[test]
fn a_supervisor_that_waited_before_it_killed_had_been_asked_before_that() {
    let (victim, supervisor) = (task(42, "web"), root(task(50, "supervisord")));
    let environment = [("SUPERVISOR_PROCESS_NAME", "web"), ("SUPERVISOR_GROUP_NAME", "web")];
    let ignored = SignalSent {
        disposition: Some(Disposition::Handler),
        fatal: false,
        ..signal(sig::SIGTERM, supervisor.clone(), victim.clone())
    };
    let client = root(task(81, "supervisorctl"));
    let death = Scene::watching(&victim)
        .add(0, Source::Proc, looked_at(&victim, &["web"], &environment, &[&supervisor]))
        .exec(5, client.clone(), &["supervisorctl", "stop", "web"], &[])
        .signal(9, ignored)
        .signal(10_020, signal(sig::SIGKILL, supervisor, victim.clone()))
        .exit(10_021, victim, 9, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    assert!(names(&death, "10 s before, the same supervisord["), "{death:#?}");
    assert!(names(&death, "10 s before that, root ran \"supervisorctl stop web\""), "{death:#?}");
    assert!(death.fixes[0].commands[0].contains("[program:web]:  stopwaitsecs="), "{death:#?}");
    assert_eq!(death.fixes[1].commands, ["sudo supervisorctl start web"]);
}

/// What somebody else had it pass on long before, or a reload, is not why it is ended now.
#[test]
fn what_a_supervisor_was_asked_for_before_is_not_why_it_kills() {
    let (victim, supervisor) = (task(42, "web"), root(task(50, "supervisord")));
    let environment = [("SUPERVISOR_PROCESS_NAME", "web"), ("SUPERVISOR_GROUP_NAME", "web")];
    let passed_on = |number: u8| SignalSent {
        disposition: Some(Disposition::Handler),
        fatal: false,
        ..signal(number, supervisor.clone(), victim.clone())
    };
    let play = |number: u8, ms: u64| {
        Scene::watching(&victim)
            .add(0, Source::Proc, looked_at(&victim, &["web"], &environment, &[&supervisor]))
            .exec(5, root(task(81, "supervisorctl")), &["supervisorctl", "signal", "X", "web"], &[])
            .signal(9, passed_on(number))
            .exec(
                ms - 10_010,
                root(task(82, "supervisorctl")),
                &["supervisorctl", "stop", "all"],
                &[],
            )
            .signal(ms - 10_000, passed_on(sig::SIGTERM))
            .signal(ms, signal(sig::SIGKILL, supervisor.clone(), victim.clone()))
            .exit(ms + 1, victim.clone(), 9, true)
            .death()
    };
    for (number, ms) in [(sig::SIGHUP, 40_000), (sig::SIGTERM, 3_000_000)] {
        let death = play(number, ms);
        assert!(!names(&death, "supervisorctl signal"), "{death:#?}");
        assert!(names(&death, "supervisorctl stop all"), "{death:#?}");
    }
}

#[test]
fn supervisors_are_told_from_each_other_by_their_directory() {
    let (supervisor, victim) = (task(50, "runsv"), task(42, "web"));
    let told = |arg: &str| {
        let death = Scene::default()
            .add(0, Source::Proc, looked_at(&supervisor, &["runsv", "web"], &[], &[]))
            .target(&victim, TargetReason::Pid)
            .exec(5, task(81, "sv"), &["sv", "stop", arg], &[&task(70, "bash")])
            .signal(9, signal(sig::SIGTERM, supervisor.clone(), victim.clone()))
            .exit(10, victim.clone(), 15, true)
            .death();
        names(&death, "seems to be")
    };
    assert!(told("web") && told("/etc/service/web/") && told("."));
    assert!(!told("/etc/service/db"));
}
