//! The whole system goes down: who asked for it, who only seems to have, and when it is over.

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{Fact, Grade, Job, JournalLine, Manager, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death, LinkEvent};

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

/// What was planned can be cancelled; what was asked for at once can not.
#[test]
fn a_planned_shutdown_can_be_cancelled() {
    let client = || crate::evidence::BusPeer { uid: Some(0), ..Default::default() };
    let cancelled = |member: &str| {
        let death = reboots(begin().call(1000, client(), member, &["reboot"]));
        assert_going_down(&death, Grade::Observed);
        death.fixes.iter().any(|fix| fix.commands.concat().contains("shutdown -c"))
    };
    assert!(cancelled("ScheduleShutdown"));
    assert!(!cancelled("Reboot"));
}

fn logind_logged(scene: Scene, ms: u64, message: &str) -> Scene {
    let line = JournalLine {
        message: message.to_owned(),
        pid: Some(640),
        uid: Some(0),
        comm: Some("systemd-logind".to_owned()),
        from_unit: Some("systemd-logind.service".to_owned()),
        ..JournalLine::default()
    };
    scene.add(ms, Source::Journal, Fact::Journal(line))
}

#[test]
fn the_setting_that_has_logind_do_so_when_nobody_is_active() {
    let file = Some(("/etc/systemd/logind.conf.d/60.conf", 2));
    let idle = |action: &str| {
        let scene = begin().setting("logind.conf", "IdleAction", action, file);
        let scene = logind_logged(scene, 4990, "System idle. Will be rebooted now.");
        reboots(scene)
    };
    let death = idle("reboot");
    let words = "systemd-logind logged \"System idle. Will be rebooted now.\" (IdleAction=reboot, set in /etc/systemd/logind.conf.d/60.conf:2)";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert_eq!(death.cause.settings[0].name, "IdleAction");
    assert!(death.gaps.is_empty(), "{death:#?}");
    assert!(death.fixes[0].commands.concat().contains("IdleAction=ignore"), "{death:#?}");
    // It was put to sleep, and rebooted by somebody else.
    let death = idle("suspend");
    assert!(!death.cause.explanation.contains("idle"), "{}", death.cause.explanation);
    let key = begin().setting("logind.conf", "HandlePowerKey", "reboot", file);
    let death = reboots(logind_logged(key, 4990, "Power key pressed short."));
    assert_eq!(death.cause.settings[0].name, "HandlePowerKey");
}

/// Of a unit that ended well nothing is logged.
#[test]
fn the_setting_of_a_unit_that_has_systemd_do_so() {
    let unit = |state: &str, ms: u64, scene: Scene| {
        scene.unit(ms, "bad.service", &[("ActiveState", serde_json::json!(state))])
    };
    let file = Some(("/etc/systemd/system/bad.service", 3));
    let with = |name: &str| begin().setting("bad.service", name, "reboot", file);
    let ended = |state: &str, scene: Scene| unit(state, 4995, unit("active", 1000, scene));
    let death = reboots(ended("inactive", with("SuccessAction")));
    assert!(death.fixes[0].commands.concat().contains("SuccessAction=none"), "{death:#?}");
    let words = ": bad.service had just ended, which seems to be why (SuccessAction=reboot, set in /etc/systemd/system/bad.service:3)";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert_going_down(&death, Grade::Inferred);
    assert!(death.gaps.is_empty(), "{death:#?}");
    for scene in [
        ended("failed", with("SuccessAction")),
        ended("inactive", with("FailureAction")),
        unit("inactive", 4995, with("SuccessAction")),
        ended("inactive", with("SuccessAction")).job(5000, 702, "stop", "bad.service"),
    ] {
        let death = reboots(scene);
        assert!(!death.cause.explanation.contains("bad.service"), "{death:#?}");
    }
    let death = reboots(logged(with("FailureAction"), 4995, "Rebooting: unit bad.service failed"));
    let words = "(FailureAction=reboot, set in /etc/systemd/system/bad.service:3)";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    let fix = death.fixes[0].commands.concat();
    assert!(fix.contains("/etc/systemd/system/bad.service.d"), "{death:#?}");
    assert!(fix.contains("FailureAction=none"), "{death:#?}");
}

/// systemd-reboot.service and its kind are how it is done, not why.
#[test]
fn the_means_of_going_down_is_no_reason() {
    let own = "systemd-reboot.service";
    let file = Some(("/usr/lib/systemd/system/systemd-reboot.service", 16));
    let state = |state: &str| [("ActiveState", serde_json::json!(state))];
    let scene = begin().setting(own, "SuccessAction", "reboot-force", file);
    let scene = scene.unit(1000, own, &state("active")).unit(4995, own, &state("inactive"));
    let death = reboots(scene);
    assert!(!death.cause.explanation.contains(own), "{death:#?}");
    assert!(death.cause.settings.is_empty(), "{death:#?}");
}

/// All that a unit that ended at once is heard of is that: its manager says when.
#[test]
fn a_unit_that_was_first_heard_of_when_it_failed() {
    let file = Some(("/etc/systemd/system/bad.service", 3));
    let changed_ms = |ms: u64| {
        let changed = super::scene::at(ms).time.unix_ns() / 1_000;
        let state = [
            ("ActiveState", serde_json::json!("failed")),
            ("StateChangeTimestamp", serde_json::json!(u64::try_from(changed).expect("a time"))),
        ];
        let scene = begin().setting("bad.service", "FailureAction", "reboot", file);
        reboots(scene.unit(4995, "bad.service", &state)).cause.explanation
    };
    assert!(changed_ms(4994).contains("FailureAction=reboot, set in"), "{}", changed_ms(4994));
    assert!(!changed_ms(100).contains("bad.service"));
}

#[test]
fn a_job_that_timed_out_is_told_with_its_unit() {
    let file = Some(("/etc/systemd/system/slow.service", 3));
    let timed_out = Job {
        manager: Manager::System,
        id: 650,
        unit: "slow.service".to_owned(),
        job_type: None,
        result: Some("timeout".to_owned()),
    };
    let scene = begin().setting("slow.service", "JobTimeoutAction", "reboot", file).add(
        4995,
        Source::Bus,
        Fact::Job(timed_out),
    );
    for (scene, grade) in [
        (scene.clone(), Grade::Inferred),
        (logged(scene, 4996, "Rebooting: job timed out"), Grade::Inferred),
    ] {
        let death = reboots(scene);
        let words = "the job for slow.service had just timed out, which seems to be why (JobTimeoutAction=reboot, set in /etc/systemd/system/slow.service:3)";
        assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
        assert_going_down(&death, grade);
        assert_eq!(death.cause.settings[0].line, Some(3));
        assert!(death.gaps.is_empty(), "{death:#?}");
    }
}

/// PID 1 was too busy to tell of the jobs.
#[test]
fn a_reason_alone_takes_the_system_down() {
    let scene = ran(begin(), 4980, 3001, &["kill", "-RTMIN+4", "1"]);
    let said = |message: &str| struck(logged(scene.clone(), 4990, message), 5004);
    let death = said("Received SIGRTMIN+4 from PID 3001 (kill).");
    assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert!(death.cause.explanation.contains("root ran \"kill -RTMIN+4 1\""), "{death:#?}");
    assert_ne!(said("Received SIGTERM from PID 3001 (kill).").cause.id, CauseId::SystemShutdown);
    let asked = logged(scene.clone(), 4990, "Received SIGRTMIN+4 from PID 3001 (kill).").job(
        4995,
        700,
        "stop",
        "job.service",
    );
    assert_eq!(struck(asked, 5004).cause.id, CauseId::UnitStopRequested);
}

/// It is told at once, and with its type when the manager has answered.
#[test]
fn what_takes_all_down_is_one_job_though_it_is_told_twice() {
    let told = |kind: &str| {
        let scene = ran(begin(), 4990, 55, &["systemctl", "soft-reboot"]);
        let scene = scene.job_of_type(5000, 700, None, "soft-reboot.target");
        struck(scene.job(5000, 700, kind, "soft-reboot.target"), 5004)
    };
    let death = told("start");
    assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
    let jobs = death.chain.iter().filter(|link| link.event == LinkEvent::Job);
    assert_eq!(jobs.count(), 1, "{death:#?}");
    assert_ne!(told("stop").cause.id, CauseId::SystemShutdown);
}
