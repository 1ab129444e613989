//! The whole system goes down: who asked for it, who only seems to have, and when it is over.

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{Fact, Grade, Job, JournalLine, Manager, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

const SESSION: &str = "/user.slice/user-0.slice/session-1.scope";

fn root(pid: u32, comm: &str) -> Task {
    Task { uid: 0, euid: 0, ..task_in(pid, comm, SESSION) }
}

fn begin() -> Scene {
    let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
    Scene::default().user(0, "root").target(&sleeper, TargetReason::Running)
}

fn ran(scene: Scene, ms: u64, pid: u32, args: &[&str]) -> Scene {
    scene.exec(ms, root(pid, args[0]), args, &[])
}

fn logged(scene: Scene, ms: u64, message: &str) -> Scene {
    let line = JournalLine {
        message: message.to_owned(),
        pid: Some(1),
        uid: Some(0),
        comm: Some("systemd".to_owned()),
        ..JournalLine::default()
    };
    scene.add(ms, Source::Journal, Fact::Journal(line))
}

fn removed(scene: Scene, ms: u64, result: &str) -> Scene {
    let job = Job {
        manager: Manager::System,
        id: 700,
        unit: "reboot.target".to_owned(),
        job_type: None,
        result: Some(result.to_owned()),
    };
    scene.add(ms, Source::Bus, Fact::Job(job))
}

/// The job for reboot.target, and job.service going down with it.
fn reboots(scene: Scene) -> Death {
    struck(
        scene.job(5000, 700, "start", "reboot.target").job(5000, 701, "stop", "job.service"),
        5004,
    )
}

fn struck(scene: Scene, ms: u64) -> Death {
    let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
    scene
        .signal(ms, signal(sig::SIGTERM, systemd(), sleeper.clone()))
        .exit(ms + 1, sleeper, u32::from(sig::SIGTERM), true)
        .death()
}

#[track_caller]
fn assert_going_down(death: &Death, grade: Grade) {
    assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
    assert_eq!(death.cause.evidence, grade, "{death:#?}");
}

#[test]
fn a_command_that_only_names_the_target_is_not_blamed() {
    let harmless: [&[&str]; 9] = [
        &["systemctl", "status", "reboot.target"],
        &["systemctl", "-t", "reboot", "list-units", "reboot.target"],
        &["systemctl", "cat", "start", "reboot.target"],
        &["systemctl", "-H", "node2", "reboot"],
        &["systemctl", "reboot", "--when=cancel"],
        &["shutdown", "-c"],
        &["shutdown", "-k", "now"],
        &["reboot", "--help"],
        &["telinit", "1"],
    ];
    for args in harmless {
        let death = reboots(ran(begin(), 3000, 3000, args));
        assert_going_down(&death, Grade::Observed);
        let text = &death.cause.explanation;
        assert!(!text.contains(" ran "), "{args:?}: {text}");
        assert!(death.gaps.iter().any(|gap| gap.contains("was not seen")), "{:?}", death.gaps);
    }
}

#[test]
fn a_command_that_asks_for_it_is_a_conclusion() {
    let asking: [&[&str]; 8] = [
        &["systemctl", "reboot"],
        &["systemctl", "--no-block", "start", "reboot.target"],
        &["systemctl", "-s", "TERM", "isolate", "reboot.target"],
        &["shutdown", "-r", "now"],
        &["shutdown", "-r", "+0"],
        &["reboot"],
        &["telinit", "6"],
        &["init", "6"],
    ];
    for args in asking {
        let death = reboots(ran(begin(), 3000, 3000, args));
        assert_going_down(&death, Grade::Inferred);
        let text = &death.cause.explanation;
        assert!(text.contains("root ran") && text.contains("by its arguments"), "{args:?}: {text}");
    }
}

/// A minute is what shutdown(8) waits where no time is named.
#[test]
fn a_shutdown_for_later_is_none_for_now() {
    let death = reboots(ran(begin(), 3000, 3000, &["shutdown", "-r"]));
    assert!(!death.cause.explanation.contains(" ran "), "{}", death.cause.explanation);
}

#[test]
fn a_command_that_connected_is_seen_to_ask() {
    let args = ["systemctl", "start", "reboot.target"];
    let scene = ran(begin(), 3000, 3000, &args);
    let death = reboots(scene.connects(3010, root(3000, "systemctl"), Manager::System));
    assert_going_down(&death, Grade::Observed);
    let text = &death.cause.explanation;
    assert!(text.contains("over systemd's private socket"), "{text}");
}

#[test]
fn what_systemd_says_of_itself_counts_more_than_a_command() {
    let scene = ran(begin(), 3000, 3000, &["systemctl", "reboot"]);
    let death = reboots(logged(scene, 4990, "Rebooting: unit failed"));
    assert_going_down(&death, Grade::Observed);
    let text = &death.cause.explanation;
    assert!(text.contains("systemd logged \"Rebooting: unit failed\""), "{text}");
    assert!(!text.contains(" ran "), "{text}");
}

#[test]
fn a_signal_to_pid_1_is_told_with_its_sender() {
    let scene = ran(begin(), 3000, 3000, &["systemctl", "status", "reboot.target"]);
    let scene = ran(scene, 4980, 3001, &["kill", "-INT", "1"]);
    let death = reboots(logged(scene, 4990, "Received SIGINT from PID 3001 (kill)."));
    assert_going_down(&death, Grade::Reported);
    let text = &death.cause.explanation;
    assert!(text.contains("root ran \"kill -INT 1\""), "{text}");
    assert!(text.contains("Received SIGINT from PID 3001 (kill)."), "{text}");

    // Who it was is not known, or the pid has been given to another.
    let scene = ran(begin(), 3000, 3001, &["systemctl", "reboot"]);
    let death = reboots(logged(scene, 4990, "Received SIGRTMIN+5 from PID 3001 (bash)."));
    assert_going_down(&death, Grade::Observed);
    let text = &death.cause.explanation;
    assert!(text.contains("Received SIGRTMIN+5") && !text.contains(" ran "), "{text}");

    // That signal has systemd execute itself again.
    let death = reboots(logged(begin(), 4990, "Received SIGTERM from PID 3001 (bash)."));
    assert!(!death.cause.explanation.contains("SIGTERM from"), "{}", death.cause.explanation);
}

#[test]
fn a_cancelled_reboot_takes_nothing_down() {
    let scene = || begin().job(1000, 700, "start", "reboot.target");
    let stopped = |scene: Scene| struck(scene.job(9000, 720, "stop", "job.service"), 9001);
    for result in ["canceled", "failed", "dependency"] {
        let death = stopped(removed(scene(), 2000, result));
        assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{result}: {death:#?}");
    }
    // It had been reached, and goes on; until the target is stopped.
    let reached = || removed(scene(), 2000, "done");
    assert_going_down(&stopped(reached()), Grade::Observed);
    let death = stopped(reached().job(4000, 710, "stop", "reboot.target"));
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    // What was ended before that, it did take down.
    let death =
        struck(removed(scene().job(1000, 701, "stop", "job.service"), 1500, "canceled"), 1200);
    assert_going_down(&death, Grade::Observed);
}
