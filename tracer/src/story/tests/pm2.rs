//! What PM2 and circus end, at somebody's request or by themselves.

use super::clients::{looked_at, names};
use super::scene::{Scene, caught, root, signal, task};
use crate::evidence::{Fact, Grade, Source, Task, User, sig};
use crate::story::verdict::{CauseId, Death};

const NAME: &str = "PM2 v7.0.4: God";

/// What PM2 gives to what it runs.
const WEB: [(&str, &str); 3] = [("pm_id", "3"), ("name", "web"), ("namespace", "shop")];

fn title(home: &str) -> String {
    format!("PM2 v7.0.4: God Daemon ({home})")
}

fn alice() -> Fact {
    Fact::User(User {
        uid: 1000,
        name: "alice".to_owned(),
        home: Some("/home/alice".to_owned()),
        linger: None,
    })
}

/// 42 below a daemon with that home, which sends it SIGINT 460 ms after that client was run.
fn ended(home: &str, environment: &[(&str, &str)], client: &Task, words: &[&str]) -> Death {
    let (victim, daemon) = (task(42, "node /srv/web/a"), task(50, NAME));
    let words = [&["node", "/usr/bin/pm2"], words].concat();
    Scene::watching(&victim)
        .add(0, Source::File, alice())
        .add(0, Source::Proc, looked_at(&daemon, &[&title(home)], &[], &[]))
        .add(0, Source::Proc, looked_at(&victim, &["node a.js"], environment, &[&daemon]))
        .exec(5, client.clone(), &words, &[&task(70, "bash")])
        .signal(465, caught(sig::SIGINT, daemon, victim.clone()))
        .exit(469, victim, 0, true)
        .death()
}

fn is_told(death: &Death) -> bool {
    names(death, "which seems to be what made PM2 v7.0.4: God[50] do it")
}

#[test]
fn a_pm2_command_is_told_of_what_it_named() {
    let client = task(81, "node");
    let play = |words: &[&str]| ended("/home/alice/.pm2", &WEB, &client, words);
    let death = play(&["stop", "web"]);
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Inferred));
    assert!(names(&death, "which supervises it as \"web\"."), "{death:#?}");
    assert!(names(&death, "alice ran \"node /usr/bin/pm2 stop web\""), "{death:#?}");
    assert_eq!(
        death.fixes[0].commands,
        ["sudo -u alice env PM2_HOME=/home/alice/.pm2 pm2 start web"]
    );
    for words in [
        &["restart", "shop"][..],
        &["reload", "all"],
        &["--silent", "delete", "3"],
        &["scale", "web", "1"],
        &["sendSignal", "SIGINT", "web"],
        &["startOrReload", "eco.json"],
        &["start", "web"],
        &["start", "eco.config.js"],
        &["kill"],
        &["update"],
    ] {
        let death = play(words);
        assert!(is_told(&death), "{words:?} {death:#?}");
        assert!(!death.fixes.iter().any(|fix| fix.title.starts_with("start the")), "{words:?}");
    }
    for words in [
        &["stop", "db"][..],
        &["list"],
        &["logs", "web"],
        &["stop", "0"],
        &["scale", "db", "3"],
        &["sendSignal", "web", "db"],
        &["restart", "db", "--kill-timeout", "3"],
        &["start", "all"],
        &["start", "other.js"],
        &["describe", "kill"],
        &[],
    ] {
        let death = play(words);
        assert_eq!(death.cause.id, CauseId::ProcessSignal, "{words:?} {death:#?}");
    }
}

/// Another user's daemon has programs of the same names; and so has another one of the same user.
#[test]
fn a_pm2_command_asks_its_own_users_daemon() {
    let client = task(81, "node");
    let told =
        |home: &str, client: &Task, words: &[&str]| is_told(&ended(home, &WEB, client, words));
    assert!(!told("/home/alice/.pm2", &root(client.clone()), &["stop", "web"]));
    assert!(!told("/home/alice/.pm2", &root(client.clone()), &["kill"]));
    assert!(told("/srv/pm2", &client, &["stop", "web"]));
    for words in [&["kill"][..], &["restart", "all"], &["stop", "3"], &["reload", "eco.json"]] {
        assert!(!told("/srv/pm2", &client, words), "{words:?}");
    }
    // What it is called was not seen.
    let unnamed = |words: &[&str]| is_told(&ended("/home/alice/.pm2", &[], &client, words));
    assert!(!unnamed(&["stop", "web"]) && unnamed(&["stop", "all"]));
}

#[test]
fn a_pm2_command_that_failed_or_was_over_is_not_why() {
    let (victim, daemon) = (task(42, "node"), task(50, NAME));
    let client = task(81, "node");
    let told = |status: u32, ended_ms: u64| {
        let death = Scene::watching(&victim)
            .add(0, Source::Proc, looked_at(&daemon, &[&title("/srv/pm2")], &[], &[]))
            .add(0, Source::Proc, looked_at(&victim, &["node a.js"], &WEB, &[&daemon]))
            .exec(5, client.clone(), &["node", "/usr/bin/pm2", "stop", "web"], &[])
            .exit(ended_ms, client.clone(), status, false)
            .signal(900, caught(sig::SIGINT, daemon.clone(), victim.clone()))
            .exit(904, victim.clone(), 0, true)
            .death();
        is_told(&death)
    };
    assert!(told(0, 950) && told(0, 800));
    assert!(!told(0, 300) && !told(1, 800));
}

/// As seen with `pm2 restart` of a program that ignores SIGINT, with `--kill-timeout 2500`.
#[test]
fn sigkill_of_pm2s_follows_when_its_time_is_over() {
    let (victim, daemon) = (task(42, "node"), task(50, NAME));
    let play = |asks: bool, environment: &[(&str, &str)]| {
        let environment = [&WEB, environment].concat();
        let scene = Scene::watching(&victim)
            .add(0, Source::File, alice())
            .add(0, Source::Proc, looked_at(&daemon, &[&title("/srv/pm2")], &[], &[]))
            .add(0, Source::Proc, looked_at(&victim, &["node a.js"], &environment, &[&daemon]));
        let scene = if asks {
            scene.exec(5, task(81, "node"), &["node", "/usr/bin/pm2", "restart", "web"], &[])
        } else {
            scene
        };
        scene
            .signal(465, caught(sig::SIGINT, daemon.clone(), victim.clone()))
            .signal(2968, signal(sig::SIGKILL, daemon.clone(), victim.clone()))
            .exit(2971, victim.clone(), 9, true)
            .death()
    };
    let death = play(true, &[("kill_timeout", "2500")]);
    assert!(is_told(&death), "{death:#?}");
    assert!(
        names(
            &death,
            "PM2 sends SIGKILL to what has not ended in time (kill_timeout, which is 2500 ms for it)."
        ),
        "{death:#?}"
    );
    assert_eq!(
        death.fixes[0].commands[0],
        "sudo -u alice env PM2_HOME=/srv/pm2 pm2 restart web --kill-timeout 10000"
    );
    assert!(names(&play(true, &[]), "(kill_timeout: 1600 ms where nothing else is set)"));
    assert!(!names(&play(true, &[("kill_timeout", "9000")]), "9000"));
    let unasked = play(false, &[]);
    assert!(unasked.fixes.iter().any(|fix| fix.title.contains("more time")), "{unasked:#?}");
}

/// As seen when a program used more than `--max-memory-restart 100M`: why stands in PM2's log alone.
#[test]
fn what_pm2_does_by_itself_is_said_to_be_in_its_log() {
    let client = task(81, "node");
    let play =
        |more: &[(&str, &str)]| ended("/srv/my pm2", &[&WEB, more].concat(), &client, &["list"]);
    let death = play(&[("max_memory_restart", "104857600"), ("watch", "false")]);
    assert_eq!(death.cause.id, CauseId::ProcessSignal, "{death:#?}");
    assert!(names(&death, "which supervises it as \"web\"."), "{death:#?}");
    assert!(names(&death, "more memory than 104857600 bytes (max_memory_restart"), "{death:#?}");
    assert!(!names(&death, "a file changes"), "{death:#?}");
    assert_eq!(death.fixes[0].commands, ["sudo -u alice tail -n 50 '/srv/my pm2/pm2.log'"]);
    assert!(death.fixes[1].commands[0].contains("--max-memory-restart"), "{death:#?}");
    assert_eq!(death.gaps, ["why PM2 ended it was not seen: its log says it"]);
    let watched = play(&[("watch", "true"), ("cron_restart", "0 3 * * *")]);
    assert!(
        names(
            &watched,
            "when a file changes (watch) and at its times (cron_restart, \"0 3 * * *\")"
        ),
        "{watched:#?}"
    );
    assert!(names(&play(&[]), "nothing is known to be set"));
    // Without PM2's variables it is none of its programs, whatever the sender calls itself.
    let other = ended("/srv/pm2", &[], &client, &["list"]);
    assert!(!names(&other, "supervises") && other.gaps.is_empty(), "{other:#?}");
}

#[test]
fn a_command_of_circuss_is_told() {
    let play = |words: &[&str]| {
        let (victim, daemon) = (task(42, "sleep"), task(50, "circusd"));
        let words = [&["/usr/bin/python3", "/usr/bin/circusctl"], words].concat();
        Scene::watching(&victim)
            .user(1000, "alice")
            .add(0, Source::Proc, looked_at(&daemon, &["python3", "circusd"], &[], &[]))
            .add(0, Source::Proc, looked_at(&victim, &["sleep", "9"], &[], &[&daemon]))
            .exec(5, task(81, "circusctl"), &words, &[])
            .signal(150, signal(sig::SIGTERM, daemon, victim.clone()))
            .exit(151, victim, 15, true)
            .death()
    };
    let death = play(&["--endpoint", "tcp://127.0.0.1:25555", "stop", "web"]);
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Inferred));
    assert!(names(&death, "which supervises it.") && names(&death, "stop web\""), "{death:#?}");
    assert_eq!(
        death.fixes[0].commands,
        ["sudo -u alice circusctl --endpoint tcp://127.0.0.1:25555 start web"]
    );
    assert!(play(&["restart"]).fixes.is_empty());
    assert!(play(&["--endpoint", "here", "stop", "web"]).fixes.is_empty());
    assert_eq!(play(&["status"]).cause.id, CauseId::ProcessSignal);
}
