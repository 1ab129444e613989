//! What monit had run.

use super::clients::{looked_at, names};
use super::scene::{Scene, root, signal, systemd, task, task_in};
use crate::evidence::{Fact, JournalLine, Source, Task, sig};
use crate::story::verdict::{CauseId, Death};

const DAEMON: [&str; 3] = ["monit", "-c", "/etc/monit/monitrc"];

/// 42, which a script of monit's kills as it stops the service `web`; that client was run 30 ms before monit ran that.
fn stopped(
    client: Option<(Task, &[&str], u32)>,
    service: Option<&str>,
    log: &[(u64, &str)],
) -> Death {
    let (victim, script) = (task(42, "node"), root(task(90, "svc.sh")));
    let monit = root(task(50, "monit"));
    let service: Vec<(&str, &str)> =
        service.map(|name| ("MONIT_SERVICE", name)).into_iter().collect();
    let mut scene = Scene::watching(&victim)
        .user(1000, "alice")
        .add(0, Source::Proc, looked_at(&monit, &DAEMON, &[], &[]))
        .add(0, Source::Proc, looked_at(&victim, &["node", "web.js"], &[], &[]));
    if let Some((client, words, status)) = client {
        scene = scene
            .exec(1000, client.clone(), words, &[&task(70, "bash")])
            .exit(1018, client, status, false);
    }
    for (ms, message) in log {
        let line = JournalLine {
            message: (*message).to_owned(),
            comm: Some("monit".to_owned()),
            uid: Some(0),
            ..JournalLine::default()
        };
        scene = scene.add(*ms, Source::Journal, Fact::Journal(line));
    }
    let args = ["/bin/sh", "/etc/monit/svc.sh", "stop"];
    scene
        .exec(1030, script.clone(), &args, &[&monit, &root(systemd())])
        .add(1038, Source::Proc, looked_at(&script, &args, &service, &[&monit]))
        .signal(1380, signal(sig::SIGTERM, script, victim.clone()))
        .exit(1381, victim, 15, true)
        .death()
}

#[test]
fn who_asked_monit_is_told() {
    let client = root(task(81, "monit"));
    let play = |words: &[&str]| stopped(Some((client.clone(), words, 0)), Some("web"), &[]);
    let death = play(&["monit", "stop", "web"]);
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    assert!(
        names(
            &death,
            "monit[50] had run that for its service \"web\". 30 ms before that, root ran \"monit stop web\" from \
                       bash[70], which seems to be what made monit[50] do it."
        ),
        "{death:#?}"
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
    assert!(death.fixes.iter().any(|fix| fix.verify.as_deref() == Some("sudo monit -c /etc/monit/monitrc status web")));
    for words in [
        &["monit", "restart", "all"][..],
        &["/usr/bin/monit", "-c", "/etc/monit/monitrc", "restart", "web"],
        &["monit", "-g", "shop", "stop"],
    ] {
        assert!(names(&play(words), "which seems to be what"), "{words:?}");
    }
    for words in [
        &["monit", "stop", "db"][..],
        &["monit", "start", "web"],
        &["monit", "status"],
        &["monit", "-c", "/srv/monitrc", "stop", "web"],
    ] {
        let death = play(words);
        assert!(!names(&death, "seems to be"), "{words:?} {death:#?}");
        assert!(names(&death, "for a rule of its settings, or since somebody asked"), "{death:#?}");
        assert_eq!(
            death.gaps,
            ["why monit[50] ran that, or who asked it to, was not seen: its log says it"]
        );
    }
    let words: &[&str] = &["monit", "stop", "web"];
    let failed = stopped(Some((client.clone(), words, 1)), Some("web"), &[]);
    let others = stopped(Some((task(81, "monit"), words, 0)), Some("web"), &[]);
    assert!(!names(&failed, "monit stop") && !names(&others, "monit stop"), "{failed:#?}");
    // For which service it was, was not seen.
    let unnamed = stopped(Some((client, words, 0)), None, &[]);
    assert!(names(&unnamed, "had run that. 30 ms before") && names(&unnamed, "which may be what"));
}

/// Seen with `monit stop web` where no daemon was there.
#[test]
fn monit_without_a_daemon_does_it_itself() {
    let (victim, script) = (task(42, "node"), root(task(90, "svc.sh")));
    let (monit, shell) = (root(task(81, "monit")), task(70, "bash"));
    let death = Scene::watching(&victim)
        .exec(1000, monit.clone(), &["monit", "stop", "web"], &[&shell])
        .exec(1030, script.clone(), &["/bin/sh", "/etc/monit/svc.sh", "stop"], &[&monit, &shell])
        .signal(1380, signal(sig::SIGTERM, script, victim.clone()))
        .exit(1381, victim, 15, true)
        .death();
    assert!(
        names(&death, "monit[81] had run that: root ran \"monit stop web\" from bash[70]."),
        "{death:#?}"
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
}

/// As monit 5.33 logs it.
#[test]
fn the_rule_that_monit_logged_is_told() {
    let rule = "'web' mem amount of 182.7 MB matches resource limit [mem amount > 150 MB]";
    let action =
        [(1021, "'web' trying to restart"), (1022, "'web' stop: '/etc/monit/svc.sh stop'")];
    let play =
        |ms: u64, said: &str| stopped(None, Some("web"), &[&[(ms, said)], &action[..]].concat());
    let death = play(1020, rule);
    assert!(
        names(&death, &format!("for its service \"web\", and had logged \"{rule}\".")),
        "{death:#?}"
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.text.starts_with("monit logged \"'web' mem")));
    let asked = play(1020, "'web' stop on user request");
    assert!(names(&asked, "on user request") && !asked.gaps.is_empty(), "{asked:#?}");
    for (ms, said) in [
        (1020, "'webmail' mem amount of 182.7 MB matches resource limit [mem amount > 150 MB]"),
        (1020, "x 'web' mem amount of 1 MB matches resource limit [mem amount > 150 MB]"),
        (1200, rule),
    ] {
        let death = play(ms, said);
        assert!(!names(&death, "had logged"), "{said}: {death:#?}");
    }
}

/// What monit started is a service, and does what it does by itself.
#[test]
fn what_monit_started_acts_by_itself() {
    let (victim, service) = (task(42, "worker"), root(task(90, "server")));
    let monit = root(task(50, "monit"));
    let told = |event: &str, ms: u64| {
        let environment = [("MONIT_SERVICE", "web"), ("MONIT_EVENT", event)];
        let args = ["/srv/server"];
        let death = Scene::watching(&victim)
            .add(0, Source::Proc, looked_at(&monit, &DAEMON, &[], &[]))
            .add(0, Source::Proc, looked_at(&victim, &["worker"], &[], &[]))
            .exec(1000, service.clone(), &args, &[&monit])
            .add(1010, Source::Proc, looked_at(&service, &args, &environment, &[&monit]))
            .signal(ms, signal(sig::SIGTERM, service.clone(), victim.clone()))
            .exit(ms + 1, victim.clone(), 15, true)
            .death();
        names(&death, "monit[50] had run that")
    };
    assert!(told("Stopped", 1500));
    assert!(!told("Started", 1500) && !told("Stopped", 600_000));
}

/// With a unit it has the service manager do it.
#[test]
fn a_unit_that_monit_had_stopped_is_told_with_that() {
    let victim = root(task_in(42, "nginx", "/system.slice/nginx.service"));
    let acting = root(task_in(900, "systemctl", "/system.slice/monit.service"));
    let monit = root(task_in(868, "monit", "/system.slice/monit.service"));
    let args = ["/usr/bin/systemctl", "stop", "nginx"];
    let death = Scene::watching(&victim)
        .add(0, Source::Proc, looked_at(&monit, &DAEMON, &[], &[]))
        .exec(1990, root(task(81, "monit")), &["monit", "stop", "nginx"], &[&task(70, "bash")])
        .exec(2000, acting.clone(), &args, &[&monit, &root(systemd())])
        .add(
            2005,
            Source::Proc,
            looked_at(&acting, &args, &[("MONIT_SERVICE", "nginx")], &[&monit]),
        )
        .job(2010, 645, "stop", "nginx.service")
        .signal(2011, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2012, victim, u32::from(sig::SIGTERM), true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert!(
        names(
            &death,
            "monit[868] had run that for its service \"nginx\". 10 ms before that, root ran \"monit stop nginx\""
        ),
        "{death:#?}"
    );
}
