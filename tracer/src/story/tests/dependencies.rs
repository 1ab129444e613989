//! Stops that dependencies carried over from one unit to the next.

use serde_json::{Value, json};

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{Fact, Job, JournalLine, Manager, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

pub(super) fn victim() -> Task {
    task_in(500, "nginx", "/system.slice/nginx.service")
}

pub(super) fn begin(relation: &str) -> Scene {
    Scene::default().user(0, "root").target(&victim(), TargetReason::Running).unit(
        1,
        "nginx.service",
        &[(relation, json!(["base.service"]))],
    )
}

pub(super) fn client() -> Task {
    Task { uid: 0, euid: 0, ..task_in(80, "systemctl", "/system.slice/cron.service") }
}

/// The stop of nginx.service that whatever `scene` holds led to.
pub(super) fn stopped(scene: Scene) -> Death {
    let death = scene
        .job(5000, 700, "stop", "nginx.service")
        .signal(5001, signal(sig::SIGTERM, systemd(), victim()))
        .exit(5003, victim(), 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitDependency, "{death:#?}");
    death
}

#[track_caller]
pub(super) fn says(death: &Death, words: &[&str]) {
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

/// A slice goes with the one that its name says it is in, whatever else is known of it.
#[test]
fn over_slices_that_are_in_each_other() {
    let death = stopped(
        Scene::default()
            .user(0, "root")
            .target(&victim(), TargetReason::Running)
            .unit(1, "nginx.service", &[("Slice", json!("my-x-y.slice"))])
            .exec(4900, client(), &["systemctl", "stop", "my.slice"], &[])
            .job(4997, 697, "stop", "my.slice")
            .job(4998, 698, "stop", "my-x.slice")
            .job(4999, 699, "stop", "my-x-y.slice"),
    );
    says(
        &death,
        &[
            "nginx.service lives in my-x-y.slice",
            "my-x-y.slice was stopped: it lives in my-x.slice",
            "my-x.slice was stopped: it lives in my.slice",
            "my.slice was stopped: root ran \"systemctl stop my.slice\"",
        ],
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
}

/// logind makes a session's scope, in the user's slice: what runs in it can run elsewhere.
#[test]
fn a_session_goes_with_its_users_slice() {
    const SCOPE: &str = "session-7.scope";
    let victim = task_in(500, "work", &format!("/user.slice/user-1000.slice/{SCOPE}"));
    let file = Some(("/run/systemd/transient/session-7.scope", 6));
    let death = Scene::default()
        .user(0, "root")
        .user(1000, "alice")
        .target(&victim, TargetReason::Running)
        .unit(1, SCOPE, &[("Slice", json!("user-1000.slice")), ("Transient", true.into())])
        .setting(SCOPE, "Slice", "user-1000.slice", file)
        .exec(4900, client(), &["systemctl", "stop", "user-1000.slice"], &[])
        .job(4999, 699, "stop", "user-1000.slice")
        .job(5000, 700, "stop", SCOPE)
        .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5003, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitDependency, "{death:#?}");
    let fix = &death.fixes[0].commands;
    assert_eq!(*fix, ["sudo systemd-run --uid=alice --unit=my-job work …"], "{death:#?}");
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

/// A unit failed, and starts others then.
fn triggering(unit: &str) -> Fact {
    Fact::Journal(JournalLine {
        message: format!("{unit}: Triggering OnFailure= dependencies."),
        pid: Some(1),
        about_unit: Some(unit.to_owned()),
        ..JournalLine::default()
    })
}

/// What a unit starts when it fails nobody has asked for.
#[test]
fn a_failure_started_what_conflicts() {
    let failed = |triggered: &str| {
        let bad = task_in(637, "sleep", "/system.slice/bad.service");
        begin("Conflicts")
            .exec(4980, client(), &["kill", "-9", "637"], &[])
            .signal(4985, signal(sig::SIGKILL, client(), bad.clone()))
            .exit(4986, bad, 9, false)
            .add(4990, Source::Journal, triggering(triggered))
    };
    let death = stopped(failed("bad.service").job(4999, 699, "start", "base.service"));
    says(
        &death,
        &[
            "base.service was started, it seems, by OnFailure= of bad.service: sleep[637] was killed by SIGKILL: root ran \"kill -9 637\"",
        ],
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("Triggering OnFailure=")), "{texts:?}");
    // The manager may say which of two it was.
    let two = |of: &str| {
        stopped(
            failed("bad.service")
                .add(4991, Source::Journal, triggering("worse.service"))
                .job(4999, 699, "start", "base.service")
                .unit(5001, "base.service", &[("OnFailureOf", json!([of]))])
                .unit(5001, "base.service", &[("OnSuccessOf", json!(["good.service"]))]),
        )
    };
    says(
        &two("bad.service"),
        &["base.service was started by OnFailure= of bad.service: sleep[637]"],
    );
    says(&two("good.service"), &["base.service was started; who asked for that was not seen"]);
    // It had been started for that, and ended; this start is another.
    let again = failed("bad.service")
        .unit(1, "base.service", &[("OnFailureOf", json!(["bad.service"]))])
        .job(4991, 690, "start", "base.service")
        .job(4999, 699, "start", "base.service");
    says(&stopped(again), &["base.service was started; who asked for that was not seen"]);
    // What was stopped was started by nothing.
    let death = stopped(
        failed("bad.service")
            .unit(2, "nginx.service", &[("BindsTo", json!(["base.service"]))])
            .job(4999, 699, "stop", "base.service"),
    );
    assert!(!death.cause.explanation.contains("OnFailure="), "{death:#?}");
}

/// Neither a unit that fails as it is stopped, nor one that was there for another.
#[test]
fn a_failure_that_started_something_else_is_no_reason() {
    let says_nothing = |scene: Scene| {
        let death = stopped(scene);
        says(&death, &["base.service was started; who asked for that was not seen"]);
        assert!(death.gaps.iter().any(|gap| gap.contains("who asked")), "{death:#?}");
    };
    // Its own end, heard of after and, where the bus was late, before the jobs.
    let start = || begin("Conflicts").job(4999, 699, "start", "base.service");
    says_nothing(start().add(5002, Source::Journal, triggering("nginx.service")));
    let late = begin("Conflicts").add(4990, Source::Journal, triggering("nginx.service"));
    says_nothing(late.job(4999, 699, "start", "base.service"));
    // A third one that was stopped for the same start.
    let third = begin("Conflicts").add(4990, Source::Journal, triggering("third.service")).job(
        4999,
        699,
        "start",
        "base.service",
    );
    says_nothing(third.job(4999, 701, "stop", "third.service"));
    // What it started is another.
    says_nothing(
        begin("Conflicts")
            .add(4790, Source::Journal, triggering("bad.service"))
            .job(4791, 698, "start", "alert.service")
            .job(4999, 699, "start", "base.service"),
    );
}

/// What is done in a moment is forgotten before it can be asked, and so is the type of its job: its file says enough.
#[test]
fn by_what_was_soon_gone_again() {
    let begin = |other: &str| {
        Scene::default()
            .user(0, "root")
            .target(&victim(), TargetReason::Running)
            .unit(1, "nginx.service", &[("Names", json!(["nginx.service"]))])
            .setting("once@.service", "Conflicts", other, Some(("/etc/once", 2)))
            .exec(4900, client(), &["systemctl", "start", "once@1"], &[])
            .job_of_type(4998, 697, None, "once@1.service")
    };
    let death = stopped(begin("x.service nginx.service"));
    says(
        &death,
        &[
            "once@1.service conflicts with nginx.service (Conflicts=x.service nginx.service, set in /etc/once:2)",
            "once@1.service was started: root ran \"systemctl start once@1\"",
        ],
    );
    // What depends on the one that it conflicts with goes with that.
    let death = stopped(
        begin("base.service")
            .unit(1, "nginx.service", &[("Requisite", json!(["base.service"]))])
            .job_of_type(4999, 698, None, "base.service"),
    );
    says(
        &death,
        &[
            "nginx.service requires base.service",
            "base.service was stopped: once@1.service conflicts with it (Conflicts=base.service, set in /etc/once:2)",
            "once@1.service was started: root ran",
        ],
    );
}

/// A stop that was refused led to nothing: the same unit was stopped a moment later, for another reason.
#[test]
fn a_client_whose_request_was_refused_is_not_why() {
    let begin = |status: u32| {
        begin("PartOf")
            .exec(4900, client(), &["systemctl", "stop", "nginx"], &[])
            .exit(4990, client(), status << 8, false)
            .exec(4991, other_client(), &["systemctl", "stop", "base"], &[])
            .job(4999, 699, "stop", "base.service")
    };
    let death = stopped(begin(4));
    says(&death, &["base.service was stopped: root ran \"systemctl stop base\""]);
    // What was granted may have been done with when the bus was heard.
    let scene = begin(0).job(5000, 700, "stop", "nginx.service");
    let scene = scene.signal(5001, signal(sig::SIGTERM, systemd(), victim()));
    let death = scene.exit(5003, victim(), 15, true).death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
}

fn other_client() -> Task {
    Task { uid: 0, euid: 0, ..task_in(81, "systemctl", "/system.slice/cron.service") }
}

/// Where it is not known whether a unit that was started conflicts with it, nobody is said to have asked for the stop.
#[test]
fn what_was_started_may_have_stopped_it() {
    let begin = || {
        Scene::default()
            .user(0, "root")
            .target(&victim(), TargetReason::Running)
            .unit(1, "nginx.service", &[("Names", json!(["nginx.service"]))])
            .exec(4900, client(), &["systemctl", "start", "once"], &[])
    };
    let stopped = |scene: Scene| {
        let scene = scene
            .job(5000, 700, "stop", "nginx.service")
            .signal(5001, signal(sig::SIGTERM, systemd(), victim()));
        scene.exit(5003, victim(), 15, true).death()
    };
    let death = stopped(begin().job_of_type(4998, 699, None, "once.service"));
    assert_eq!(death.cause.id, CauseId::Unknown, "{death:#?}");
    says(&death, &["why is not known", "once.service (job 699: root ran \"systemctl start once\""]);
    // One that came later, was made by another request, was stopped, or conflicts with nothing is no reason.
    for scene in [
        begin().job_of_type(4980, 690, None, "once.service"),
        begin().setting("once.service", "Conflicts", "", None).job_of_type(
            4998,
            699,
            None,
            "once.service",
        ),
        begin().job_of_type(5002, 701, None, "once.service"),
        begin().job(4998, 699, "stop", "once.service"),
    ] {
        let death = stopped(scene);
        assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    }
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

/// base.service ended, and systemd restarts it by itself.
#[test]
fn by_a_restart_that_nobody_asked_for() {
    let main = task_in(142, "base", "/system.slice/base.service");
    let counted = |count: u64| [("NRestarts", Value::from(count))];
    let restarted = |mode: &[(&str, Value)]| {
        stopped(
            begin("PartOf")
                .setting("base.service", "Restart", "always", Some(("/etc/b.service", 4)))
                .setting("nginx.service", "PartOf", "base.service", Some(("/etc/nginx.service", 2)))
                .unit(1, "base.service", mode)
                .unit(2, "base.service", &[("MainPID", Value::from(142)), counted(0)[0].clone()])
                .exit(4700, main.clone(), 9, false)
                .unit(4990, "base.service", &counted(1))
                .job(4999, 699, "start", "base.service"),
        )
    };
    let first = |death: &Death| death.fixes[0].commands.join("; ");
    let death = restarted(&[]);
    assert!(first(&death).contains("edit --full nginx.service"), "{death:#?}");
    // Only a manager that has this setting says how it is set.
    let death = restarted(&[("RestartMode", json!("normal"))]);
    assert!(first(&death).contains("[Service]\\nRestartMode=direct"), "{death:#?}");
    assert!(first(&death).contains("/base.service.d/"), "{death:#?}");
    assert!(!first(&restarted(&[("RestartMode", json!("direct"))])).contains("RestartMode"));
    says(
        &death,
        &[
            "base.service was restarted by its manager itself (Restart=always, set in /etc/b.service:4)",
            "base[142] was killed by SIGKILL",
        ],
    );
}

#[test]
fn by_an_umount() {
    let umount = Task { uid: 0, euid: 0, ..task_in(81, "umount", "/system.slice/cron.service") };
    let death = stopped(
        Scene::default()
            .user(0, "root")
            .target(&victim(), TargetReason::Running)
            .unit(1, "nginx.service", &[("BindsTo", json!(["m.mount"]))])
            .exec(4900, umount.clone(), &["umount", "/m"], &[])
            .exit(4902, umount, 0, false)
            .unit(4990, "m.mount", &[("ActiveState", Value::from("inactive"))]),
    );
    says(&death, &["m.mount was unmounted: root ran \"umount /m\""]);
}

/// `systemctl kill` of the unit that another is bound to.
#[test]
fn who_had_the_others_main_process_signalled() {
    let base = task_in(400, "base", "/system.slice/base.service");
    let killed = |number: u8, args: &[&str]| {
        stopped(
            begin("BindsTo")
                .exec(4800, client(), args, &[])
                .signal(4900, signal(number, systemd(), base.clone()))
                .exit(4901, base.clone(), u32::from(number), false)
                .unit(4902, "base.service", &[("ActiveState", json!("failed"))]),
        )
    };
    let death = killed(sig::SIGKILL, &["systemctl", "kill", "-s", "KILL", "base"]);
    says(
        &death,
        &["from systemd[1], which passed it on: root ran \"systemctl kill -s KILL base\""],
    );
    let death = killed(sig::SIGKILL, &["systemctl", "kill", "-s", "HUP", "base"]);
    assert!(!death.cause.explanation.contains("passed"), "{}", death.cause.explanation);
}

/// `PAMName=`: what a unit depends on is what takes its main process down, whatever cgroup that lives in.
#[test]
fn over_a_unit_whose_main_process_lives_elsewhere() {
    let victim = task_in(500, "nginx", "/user.slice/user-1000.slice/session-7.scope");
    let death = Scene::default()
        .user(0, "root")
        .target(&victim, TargetReason::Running)
        .unit(1, "nginx.service", &[("MainPID", 500.into()), ("PartOf", json!(["base.service"]))])
        .setting("nginx.service", "PartOf", "base.service", Some(("/etc/n", 2)))
        .exec(4900, client(), &["systemctl", "restart", "base"], &[])
        .job(4998, 699, "restart", "base.service")
        .job(5000, 700, "try-restart", "nginx.service")
        .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5003, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitDependency, "{death:#?}");
    says(&death, &["PartOf=base.service, set in /etc/n:2", "root ran \"systemctl restart base\""]);
}

/// Units that all depend on each other in several ways, of which nobody knows who stopped them: there are more ways from
/// one to the next than can be followed.
#[test]
fn over_many_units_that_depend_on_each_other() {
    let names: Vec<String> = (0..60).map(|number| format!("{number}.service")).collect();
    let all = [names.as_slice(), &["nginx.service".to_owned()]].concat();
    let scene = all.iter().fold(begin("Slice"), |scene, unit| {
        let lists = ["BindsTo", "PartOf", "Requires"].map(|relation| (relation, json!(all)));
        scene.unit(2, unit, &lists)
    });
    let scene =
        (600..).zip(&names).fold(scene, |scene, (id, unit)| scene.job(4999, id, "stop", unit));
    let death = stopped(scene);
    says(&death, &["nginx.service is bound to 0.service", "who asked for that was not seen"]);
}

/// The same where the last of them was stopped by somebody: that is found.
#[test]
fn over_many_units_one_of_which_was_stopped() {
    let names: Vec<String> = (0..60).map(|number| format!("{number}.service")).collect();
    let scene = names.iter().fold(begin("Slice"), |scene, unit| {
        let lists = ["BindsTo", "PartOf", "Requires"].map(|relation| (relation, json!(names)));
        scene.unit(2, unit, &lists)
    });
    let scene = scene.unit(2, "nginx.service", &[("PartOf", json!(["0.service"]))]).exec(
        4900,
        client(),
        &["systemctl", "stop", "59"],
        &[],
    );
    let scene = (600..)
        .zip(names.iter().rev())
        .fold(scene, |scene, (id, unit)| scene.job(4999, id, "stop", unit));
    let death = stopped(scene);
    says(&death, &["nginx.service is part of 0.service", "root ran \"systemctl stop 59\""]);
}

/// A target goes when the last one that needs it has gone, and takes with it what is part of it.
#[test]
fn over_a_unit_that_nothing_needs_any_more() {
    let done = Job {
        manager: Manager::System,
        id: 698,
        unit: "desk.target".to_owned(),
        job_type: None,
        result: Some("done".to_owned()),
    };
    let told = |unneeded: bool| {
        stopped(
            begin("PartOf")
                .setting("base.service", "StopWhenUnneeded", "yes", Some(("/etc/b", 4)))
                .unit(
                    2,
                    "base.service",
                    &[("StopWhenUnneeded", json!(unneeded)), ("BoundBy", json!(["desk.target"]))],
                )
                .exec(4900, client(), &["systemctl", "stop", "desk.target"], &[])
                .job(4996, 698, "stop", "desk.target")
                .add(4997, Source::Bus, Fact::Job(done.clone()))
                .job(4999, 699, "stop", "base.service"),
        )
    };
    let death = told(true);
    says(
        &death,
        &[
            "nginx.service is part of base.service",
            "base.service was stopped: it is stopped when no other unit needs it (StopWhenUnneeded=yes, set in /etc/b:4), and desk.target was stopped: root ran \"systemctl stop desk.target\"",
        ],
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
    assert!(death.cause.settings.iter().any(|setting| setting.name == "StopWhenUnneeded"));
    says(&told(false), &["who asked for that was not seen"]);
}
