//! Requests over a service manager's private socket, where connections to it are seen.

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{Fact, Grade, Manager, Source, TargetReason, Task, Unavailable, sig};
use crate::story::verdict::{CauseId, Death, LinkEvent};

const SESSION: &str = "/user.slice/user-1000.slice/session-3.scope";
const OVER_THE_SOCKET: &str = "(it asked over systemd's private socket)";
const BY_ARGUMENTS: &str = "(by its arguments; the request itself was not seen)";
const BY_THE_TIME: &str = "(inferred from its arguments and the timing)";

fn client(pid: u32, comm: &str) -> Task {
    Task { uid: 0, euid: 0, ..task_in(pid, comm, SESSION) }
}

fn begin() -> Scene {
    let victim = task_in(500, "nginx", "/system.slice/nginx.service");
    Scene::default().user(0, "root").user(1000, "alice").target(&victim, TargetReason::Running)
}

/// The stop of nginx.service that whatever `scene` holds led to.
fn stopped(scene: Scene) -> Death {
    let victim = task_in(500, "nginx", "/system.slice/nginx.service");
    let death = scene
        .job(5000, 700, "stop", "nginx.service")
        .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5003, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    death
}

#[track_caller]
fn says(death: &Death, grade: Grade, words: &[&str]) {
    assert_eq!(death.cause.evidence, grade, "{death:#?}");
    let text = &death.cause.explanation;
    for part in words {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_command_that_connected_is_observed() {
    let systemctl = client(80, "systemctl");
    let death = stopped(
        begin().exec(4900, systemctl.clone(), &["systemctl", "stop", "nginx"], &[]).connects(
            4950,
            systemctl,
            Manager::System,
        ),
    );
    says(&death, Grade::Observed, &["root ran \"systemctl stop nginx\"", OVER_THE_SOCKET]);
    let chain: Vec<_> = death.chain.iter().map(|link| (link.event, link.evidence)).collect();
    assert_eq!(
        chain,
        [
            LinkEvent::Command,
            LinkEvent::ManagerConnection,
            LinkEvent::Job,
            LinkEvent::Signal,
            LinkEvent::Death
        ]
        .map(|event| (event, Grade::Observed))
    );
    assert_eq!(death.chain[1].text, "systemctl[80] connected to systemd[1]'s private socket");
}

#[test]
fn of_two_commands_the_one_that_connected_is_named() {
    let (first, second) = (client(80, "systemctl"), client(81, "systemctl"));
    let scene = begin()
        .exec(4800, first.clone(), &["systemctl", "stop", "nginx.service"], &[])
        .exec(4900, second, &["systemctl", "stop", "nginx"], &[]);
    says(&stopped(scene), Grade::Inferred, &["stop nginx\"", BY_ARGUMENTS]);

    let scene = begin()
        .exec(4800, first.clone(), &["systemctl", "stop", "nginx.service"], &[])
        .exec(4900, client(81, "systemctl"), &["systemctl", "stop", "nginx"], &[])
        .connects(4950, first, Manager::System);
    says(&stopped(scene), Grade::Observed, &["stop nginx.service", OVER_THE_SOCKET]);

    // One alone asks for what was done.
    let scene = begin()
        .exec(4800, client(80, "systemctl"), &["systemctl", "stop", "nginx.service"], &[])
        .exec(4900, client(81, "systemctl"), &["systemctl", "restart", "nginx"], &[]);
    says(&stopped(scene), Grade::Inferred, &["stop nginx.service"]);
}

/// What it waits for, it has asked for: the only one that names the unit, where the bus was heard.
#[test]
fn who_alone_waits_for_it_is_named_without_a_doubt_in_words() {
    let (service, systemctl) = (client(80, "service"), client(81, "systemctl"));
    let shell = |scene: Scene| {
        scene.exec(4800, service.clone(), &["service", "nginx", "stop"], &[]).exec(
            4900,
            systemctl.clone(),
            &["systemctl", "stop", "nginx"],
            &[&service],
        )
    };
    let wrapped = stopped(shell(begin()));
    says(&wrapped, Grade::Inferred, &["root ran \"", BY_THE_TIME]);

    let gone = stopped(shell(begin()).exit(4990, systemctl.clone(), 0, false));
    says(&gone, Grade::Inferred, &[BY_ARGUMENTS]);
    let unread =
        Fact::Unavailable(Unavailable { what: "bus".to_owned(), why: "refused".to_owned() });
    let deaf = stopped(shell(begin().add(0, Source::Tracer, unread)));
    says(&deaf, Grade::Inferred, &[BY_ARGUMENTS]);
    let other = stopped(shell(begin()).connects(4950, client(82, "agent"), Manager::System));
    says(&other, Grade::Inferred, &[BY_ARGUMENTS]);
}

/// What is in a container asks the manager there; and what was not seen is no absence where events were lost, nor where
/// it would have been seen.
#[test]
fn who_waits_is_doubted_where_it_need_not_have_asked() {
    let args = ["systemctl", "stop", "nginx"];
    let scene = || begin().exec(4900, client(80, "systemctl"), &args, &[]);
    says(&stopped(scene()), Grade::Inferred, &[BY_THE_TIME]);
    for ms in [4950, 5001] {
        says(&stopped(scene().lost(ms, 100)), Grade::Inferred, &[BY_ARGUMENTS]);
    }
    says(&stopped(scene().lost(4000, 100)), Grade::Inferred, &[BY_THE_TIME]);
    let attached = scene().attached("security_unix_stream_connect");
    says(&stopped(attached), Grade::Inferred, &[BY_ARGUMENTS]);

    let scope = format!("/system.slice/docker-{}.scope", "0123456789abcdef".repeat(4));
    let inside = Task { cgroup: Some(scope), ..client(80, "systemctl") };
    let death = stopped(begin().exec(4900, inside, &args, &[]));
    says(&death, Grade::Inferred, &["who asked for it was not seen"]);
    assert!(!death.cause.explanation.contains("systemctl"), "{death:#?}");
}

/// Whom the manager turns down has asked for nothing, and what another manager was asked for is not this.
#[test]
fn a_connection_that_leads_nowhere_proves_nothing() {
    let systemctl = client(80, "systemctl");
    let other_user = Task { uid: 1000, euid: 1000, ..systemctl.clone() };
    for (who, manager) in [(other_user, Manager::System), (systemctl, Manager::User(1000))] {
        let death = stopped(
            begin().exec(4900, who.clone(), &["systemctl", "stop", "nginx"], &[]).connects(
                4950,
                who.clone(),
                manager,
            ),
        );
        // Who is not root can only have asked over the bus, where it would have been seen.
        let by_arguments = if who.uid == 0 { BY_THE_TIME } else { "who asked for it was not seen" };
        says(&death, Grade::Inferred, &[by_arguments]);
        let death = stopped(begin().connects(4950, who, manager));
        says(&death, Grade::Inferred, &["who asked for it was not seen"]);
    }
}

#[test]
fn whose_arguments_say_nothing_is_named_where_it_is_the_only_one() {
    let agent = client(80, "agent");
    let scene = || begin().exec(10, agent.clone(), &["/usr/bin/agent"], &[]);
    let death = stopped(scene().connects(4950, agent.clone(), Manager::System));
    let not_known = "what it asked for is not known";
    says(&death, Grade::Inferred, &["Only agent[80] had just connected", "root ran", not_known]);
    assert!(death.chain.iter().any(|link| link.event == LinkEvent::ManagerConnection));

    let long_ago = stopped(scene().connects(1000, agent.clone(), Manager::System));
    says(&long_ago, Grade::Inferred, &["who asked for it was not seen"]);
    let too_late = stopped(scene().connects(5002, agent.clone(), Manager::System));
    says(&too_late, Grade::Inferred, &["who asked for it was not seen"]);
    let two = scene().connects(4950, agent.clone(), Manager::System).connects(
        4960,
        client(81, "other"),
        Manager::System,
    );
    says(&stopped(two), Grade::Inferred, &["who asked for it was not seen"]);
}

/// What it asked for, its arguments say.
#[test]
fn a_systemctl_that_asks_for_something_else_is_not_named() {
    let systemctl = client(80, "systemctl");
    let ran = |args: &[&str]| {
        stopped(begin().exec(4900, systemctl.clone(), args, &[]).connects(
            4950,
            systemctl.clone(),
            Manager::System,
        ))
    };
    for args in [["systemctl", "stop", "www"], ["systemctl", "status", "www"]] {
        says(&ran(&args), Grade::Inferred, &["who asked for it was not seen."]);
    }
    // At the next boot it is not started; now it goes on.
    says(&ran(&["systemctl", "disable", "nginx"]), Grade::Inferred, &["was not seen."]);
    says(&ran(&["systemctl", "disable", "--now", "nginx"]), Grade::Observed, &["disable --now"]);
}

/// Who had asked and ended long before asked for something else.
#[test]
fn who_was_gone_long_before_did_not_ask_for_it() {
    let systemctl = client(80, "systemctl");
    let scene = begin()
        .exec(1000, systemctl.clone(), &["systemctl", "stop", "nginx"], &[])
        .connects(1010, systemctl.clone(), Manager::System)
        .exit(1020, systemctl, 0, false);
    says(&stopped(scene), Grade::Inferred, &["who asked for it was not seen"]);
}

/// It stands for another unit's stop as well, which is then no request for the victim's.
#[test]
fn a_likely_asker_is_no_request() {
    let agent = client(80, "agent");
    let victim = task_in(500, "nginx", "/system.slice/nginx.service");
    let binds = serde_json::Value::from(vec!["base.service"]);
    let death = begin()
        .unit(1, "nginx.service", &[("BindsTo", binds)])
        .connects(4950, agent, Manager::System)
        .job(4999, 699, "stop", "base.service")
        .job(5000, 700, "stop", "nginx.service")
        .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5003, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitDependency, "{death:#?}");
}
