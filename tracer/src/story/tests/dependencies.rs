//! Stops that dependencies carried over from one unit to the next.

use serde_json::{Value, json};

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

fn victim() -> Task {
    task_in(500, "nginx", "/system.slice/nginx.service")
}

fn begin(relation: &str) -> Scene {
    Scene::default().user(0, "root").target(&victim(), TargetReason::Running).unit(
        1,
        "nginx.service",
        &[(relation, json!(["base.service"]))],
    )
}

fn client() -> Task {
    Task { uid: 0, euid: 0, ..task_in(80, "systemctl", "/system.slice/cron.service") }
}

/// The stop of nginx.service that whatever `scene` holds led to.
fn stopped(scene: Scene) -> Death {
    let death = scene
        .job(5000, 700, "stop", "nginx.service")
        .signal(5001, signal(sig::SIGTERM, systemd(), victim()))
        .exit(5003, victim(), 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitDependency, "{death:#?}");
    death
}

#[track_caller]
fn says(death: &Death, words: &[&str]) {
    let text = &death.cause.explanation;
    for part in words {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn over_a_unit_between() {
    let death = stopped(
        begin("Requires")
            .unit(2, "base.service", &[("PartOf", json!(["far.service"]))])
            .setting("base.service", "PartOf", "far.service", Some(("/etc/b", 2)))
            .exec(4900, client(), &["systemctl", "stop", "far"], &[])
            .job(4998, 698, "stop", "far.service")
            .job(4999, 699, "stop", "base.service"),
    );
    says(
        &death,
        &[
            "nginx.service requires base.service",
            "base.service was stopped: it is part of far.service (PartOf=far.service",
            "far.service was stopped: root ran \"systemctl stop far\"",
        ],
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
    let settings: Vec<_> =
        death.cause.settings.iter().map(|setting| setting.name.as_str()).collect();
    assert_eq!(settings, ["PartOf"]);
}

/// A start is followed to who wants it, a stop to who is bound: never the one by the other.
#[test]
fn a_start_is_not_explained_by_a_stop() {
    let death = stopped(
        begin("Conflicts")
            .unit(2, "base.service", &[("Requires", json!(["far.service"]))])
            .exec(4900, client(), &["systemctl", "stop", "far"], &[])
            .job(4998, 698, "stop", "far.service")
            .job(4999, 699, "start", "base.service"),
    );
    says(&death, &["base.service was started; who asked for that was not seen"]);
    let death = stopped(
        begin("Conflicts")
            .unit(2, "base.service", &[("WantedBy", json!(["far.service"]))])
            .exec(4900, client(), &["systemctl", "start", "far"], &[])
            .job(4998, 698, "start", "far.service")
            .job(4999, 699, "start", "base.service"),
    );
    says(&death, &["base.service was started: it is wanted by far.service, and far.service was"]);
}

#[test]
fn by_what_a_timer_started() {
    let details: Value = json!([["trigger_unit", "base.timer"], ["trigger_timer_monotonic", "1"]]);
    let death = stopped(begin("Conflicts").job(4999, 699, "start", "base.service").unit(
        4999,
        "base.service",
        &[("ActivationDetails", details)],
    ));
    says(&death, &["base.service was started by base.timer."]);
}

/// Units that are bound to each other lead nowhere, and a long chain is followed for a while.
#[test]
fn circles_and_long_chains_end() {
    let death = stopped(
        begin("BindsTo")
            .unit(2, "base.service", &[("BindsTo", json!(["nginx.service", "base.service"]))])
            .job(4999, 699, "stop", "base.service"),
    );
    says(&death, &["base.service was stopped; who asked for that was not seen"]);
    let mut scene = begin("BindsTo");
    let names: Vec<String> = std::iter::once("base.service".to_owned())
        .chain((0..40).map(|number| format!("n{number}.service")))
        .collect();
    for (number, pair) in (0_u32..).zip(names.windows(2)) {
        let next = json!([pair[1]]);
        scene =
            scene.unit(2, &pair[0], &[("BindsTo", next)]).job(4990, 600 - number, "stop", &pair[0]);
    }
    let death = stopped(scene);
    says(&death, &["who asked for that was not seen"]);
    assert_eq!(death.gaps.len(), 1, "{death:#?}");
}

/// `systemctl stop ALIAS`, and the unit that conflicts is started right after: that came too late to be why.
#[test]
fn what_came_after_is_no_cause() {
    let begin = || {
        begin("ConflictedBy")
            .unit(2, "nginx.service", &[("Names", json!(["nginx.service", "web.service"]))])
            .exec(4900, client(), &["systemctl", "stop", "web"], &[])
            .job(5000, 700, "stop", "nginx.service")
            .signal(5001, signal(sig::SIGTERM, systemd(), victim()))
            .exit(5003, victim(), 15, true)
    };
    let later = Task { uid: 0, euid: 0, ..task_in(81, "systemctl", "/system.slice/cron.service") };
    let started = |id: u32| {
        begin()
            .exec(5060, later.clone(), &["systemctl", "start", "base"], &[])
            .job(5100, id, "start", "base.service")
            .settled(5400, &victim())
            .death()
    };
    let death = started(701);
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    says(&death, &["systemctl stop web"]);
    // Nor is the command that was not there yet what had asked for an earlier job.
    let death = started(699);
    assert!(!death.cause.explanation.contains("systemctl start base"), "{death:#?}");
}
