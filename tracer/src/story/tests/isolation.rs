//! Units that end since another one was isolated.

use super::scene::{Scene, signal, systemd, task_in};
use super::stops::{CGROUP, root};
use crate::evidence::{Fact, Grade, JournalLine, Source, TargetReason, sig};
use crate::story::verdict::{CauseId, Death};

/// A target is started and much is stopped with it, by jobs of one transaction.
fn isolated(targets: u32, with: impl FnOnce(Scene) -> Scene) -> Death {
    let victim = task_in(142, "v", CGROUP);
    let mut scene = Scene::default()
        .user(0, "root")
        .target(&victim, TargetReason::Running)
        .job(1990, 650, "start", "other.service")
        .job_of_type(1995, 700, None, "small.target")
        .job_of_type(1995, 701, None, "v.service");
    for number in 0..10 {
        let kind = if number < targets { "target" } else { "service" };
        scene = scene.job(1996, 702 + number, "stop", &format!("n{number}.{kind}"));
    }
    with(scene)
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim, 15, true)
        .death()
}

#[test]
fn an_isolation_is_known_by_what_it_does() {
    let says =
        |death: &Death| death.cause.explanation.contains("small.target was isolated, it seems");
    let death = isolated(3, |scene| scene);
    assert_eq!(
        (death.cause.id, death.cause.evidence),
        (CauseId::UnitStopRequested, Grade::Inferred)
    );
    assert!(says(&death), "{}", death.cause.explanation);
    assert!(!says(&isolated(0, |scene| scene)));
    // Where somebody said so, that tells more.
    let death = isolated(3, |scene| {
        let args = ["systemctl", "start", "--job-mode=isolate", "small.target"];
        scene.exec(1900, root(90, "systemctl"), &args, &[])
    });
    assert!(death.cause.explanation.contains("--job-mode=isolate"), "{}", death.cause.explanation);
    assert!(!says(&death));
    assert!(!says(&isolated(3, |scene| scene.job(1996, 720, "start", "shutdown.target"))));
}

/// The default target was running already: what is started beside it is not what was isolated.
#[test]
fn a_target_that_was_running_is_isolated() {
    let victim = task_in(142, "v", CGROUP);
    let play = |asked_ms: u64| {
        Scene::default()
            .user(0, "root")
            .target(&victim, TargetReason::Running)
            .exec(asked_ms, root(90, "systemctl"), &["systemctl", "default"], &[])
            .job(4995, 700, "start", "var-lib-machines.mount")
            .job(4995, 701, "stop", "v.service")
            .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(5003, victim.clone(), 15, true)
            .death()
    };
    let death = play(4900);
    let text = &death.cause.explanation;
    assert!(text.contains("since default.target was isolated"), "{text}");
    assert!(!text.contains(".mount") && death.cause.evidence == Grade::Inferred, "{death:#?}");
    assert!(!play(10).cause.explanation.contains("isolated"));
}

fn line_of(unit: Option<&str>, message: &str) -> Fact {
    Fact::Journal(JournalLine {
        message: message.to_owned(),
        pid: Some(1),
        about_unit: unit.map(str::to_owned),
        ..JournalLine::default()
    })
}

#[test]
fn a_unit_that_failed_has_another_isolated() {
    let death = isolated(3, |scene| {
        let said = line_of(Some("bad.service"), "bad.service: Triggering OnFailure= dependencies.");
        let bad = task_in(637, "sleep", "/system.slice/bad.service");
        scene
            .exec(1980, root(90, "kill"), &["kill", "-9", "637"], &[])
            .signal(1985, signal(sig::SIGKILL, root(90, "kill"), bad.clone()))
            .exit(1986, bad, 9, false)
            .add(1990, Source::Journal, said)
    });
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UnitDependency, Grade::Inferred));
    let text = &death.cause.explanation;
    assert!(text.contains("bad.service had failed right before"), "{text}");
    assert!(text.contains("sleep[637] was killed by SIGKILL: root ran \"kill -9 637\""), "{text}");
}

/// PID 1 logs the signals by which it isolates a target; who had sent one may be gone by then.
#[test]
fn a_signal_to_the_manager_isolates() {
    let by = |args: &[&str], said: &str| {
        let death = isolated(3, |scene| {
            scene.exec(1980, root(90, args[0]), args, &[]).add(
                1990,
                Source::Journal,
                line_of(None, said),
            )
        });
        assert_eq!(death.cause.evidence, Grade::Inferred);
        death.cause.explanation
    };
    let shell = ["bash", "-c", "kill -RTMIN+0 1; true"];
    let gone = by(&shell, "Received SIGRTMIN+0 from PID 90 (n/a).");
    assert!(
        gone.contains("a signal: root ran \"bash -c 'kill -RTMIN+0 1; true'\" in a cron job"),
        "{gone}"
    );
    assert!(gone.contains("by its arguments"), "{gone}");
    let there = by(&["kill", "-34", "1"], "Received SIGRTMIN+0 from PID 90 (kill).");
    assert!(there.contains("root ran \"kill -34 1\"") && !there.contains("arguments"), "{there}");
    let another = by(&["sleep", "1"], "Received SIGRTMIN+0 from PID 90 (n/a).");
    assert!(another.contains("a signal: systemd logged"), "{another}");
    // That one isolates rescue.target.
    let other = by(&shell, "Received SIGRTMIN+1 from PID 90 (bash).");
    assert!(other.contains("not seen"), "{other}");
}
