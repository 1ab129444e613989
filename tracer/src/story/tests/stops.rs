//! Stops of units: which main process it is about, and who struck while one was under way.

use serde_json::{Value, json};

use super::scene::{Scene, caught, signal, systemd, task_in};
use crate::evidence::{
    Fact, Grade, JournalLine, ProcessSnapshot, SignalSent, Source, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death, LinkEvent};

pub(super) const CGROUP: &str = "/system.slice/v.service";

pub(super) fn root(pid: u32, comm: &str) -> Task {
    Task { uid: 0, euid: 0, ..task_in(pid, comm, "/system.slice/cron.service") }
}

/// A process that was born so many milliseconds into the scene.
pub(super) fn born(ms: u64, task: Task) -> Task {
    let id = crate::evidence::ProcessId { start_ns: super::scene::at(ms).boot_ns, ..task.id };
    Task { id, ..task }
}

pub(super) fn logged(message: &str) -> Fact {
    Fact::Journal(JournalLine {
        message: message.to_owned(),
        identifier: Some("systemd".to_owned()),
        pid: Some(1),
        uid: Some(0),
        comm: Some("systemd".to_owned()),
        from_unit: Some("init.scope".to_owned()),
        about_unit: Some("v.service".to_owned()),
        message_id: None,
        fields: std::collections::BTreeMap::default(),
    })
}

/// `systemctl restart v; sleep 2; systemctl stop v`: the second stop.
#[test]
fn the_main_process_before_the_last_restart_is_none() {
    let old = task_in(142, "v", CGROUP);
    let new = born(1010, task_in(160, "v", CGROUP));
    let death = Scene::default()
        .user(0, "root")
        .unit(1, "v.service", &[("MainPID", Value::from(142))])
        .exec(900, root(90, "systemctl"), &["systemctl", "restart", "v"], &[])
        .job(950, 700, "restart", "v.service")
        .signal(951, signal(sig::SIGTERM, systemd(), old.clone()))
        .exit(952, old, 15, false)
        .target(&new, TargetReason::Running)
        .unit(1011, "v.service", &[("MainPID", Value::from(160))])
        .exec(3000, root(91, "systemctl"), &["systemctl", "stop", "v"], &[])
        .signal(3050, signal(sig::SIGTERM, systemd(), new.clone()))
        .job(3051, 701, "stop", "v.service")
        .exit(3053, new, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert!(death.cause.explanation.contains("systemctl stop v"), "{}", death.cause.explanation);
}

/// What is left of an earlier run is cleaned up with the main process of the newest.
#[test]
fn a_main_process_that_another_followed_is_not_why() {
    let old = task_in(142, "v", CGROUP);
    let next = born(1010, task_in(160, "v", CGROUP));
    let left_over = task_in(150, "helper", CGROUP);
    let death = Scene::default()
        .unit(1, "v.service", &[("MainPID", Value::from(142))])
        .target(&left_over, TargetReason::Running)
        .exit(1000, old, 11, false)
        .exec(1011, next, &["v"], &[])
        .unit(1012, "v.service", &[("MainPID", Value::from(160))])
        .signal(2000, signal(sig::SIGTERM, systemd(), left_over.clone()))
        .job(2001, 701, "stop", "v.service")
        .exit(2002, left_over, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
}

/// An end of the main process that the unit outlives.
#[test]
fn a_main_process_that_has_done_its_work_is_not_why() {
    let main = task_in(142, "sh", CGROUP);
    let victim = task_in(150, "helper", CGROUP);
    let stopped = |remains: bool| {
        Scene::default()
            .unit(
                1,
                "v.service",
                &[("MainPID", Value::from(142)), ("RemainAfterExit", json!(remains))],
            )
            .target(&victim, TargetReason::Running)
            .exit(1000, main.clone(), 0, false)
            .signal(2000, signal(sig::SIGTERM, systemd(), victim.clone()))
            .job(2001, 701, "stop", "v.service")
            .exit(2002, victim.clone(), 15, true)
            .death()
    };
    assert_eq!(stopped(true).cause.id, CauseId::UnitStopRequested);
    assert_eq!(stopped(false).cause.id, CauseId::UnitMainProcessExited);
}

/// `ExecReload=` ended the main process, and the manager cleaned up the rest: whose reload that was is told there, too.
#[test]
fn a_main_process_that_did_not_survive_a_reload_is_told_with_that() {
    let (main, victim) = (task_in(142, "sh", CGROUP), task_in(150, "helper", CGROUP));
    let kill = born(1010, Task { uid: 0, euid: 0, ..task_in(160, "kill", CGROUP) });
    let systemctl = root(80, "systemctl");
    let blow = signal(sig::SIGHUP, kill.clone(), main.clone());
    let place = Some(("/etc/systemd/system/v.service", 3));
    let death = Scene::watching(&victim)
        .setting("v.service", "ExecReload", "/bin/kill -HUP $MAINPID", place)
        .unit(1, "v.service", &[("MainPID", Value::from(142))])
        .exec(1000, systemctl, &["systemctl", "reload", "v"], &[])
        .job(1005, 701, "reload", "v.service")
        .exec(1012, kill, &["/bin/kill", "-HUP", "142"], &[&systemd()])
        .signal(1013, SignalSent { is_target: false, ..blow })
        .exit(1014, main, 1, false)
        .signal(1020, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(1021, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitMainProcessExited, "{death:#?}");
    let told = &death.cause.explanation;
    for words in [
        "for ExecReload= of v.service (ExecReload=/bin/kill -HUP $MAINPID, set in /etc/systemd/system/v.service:3), and did not survive it: root ran \"systemctl reload v\"",
        "and systemd cleaned up",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(death.chain[0].text.contains("root ran \"systemctl reload v\""), "{:?}", death.chain);
    assert!(!death.chain.iter().any(|link| link.text.contains("v.service ran")), "{death:#?}");
    assert!(death.cause.settings.iter().any(|setting| setting.name == "ExecReload"));
    assert!(death.fixes[0].commands.iter().any(|line| line.contains("ExecReload")), "{death:#?}");
}

/// What to do where the unit that lost its main process is a user's manager, and where a multiplexer was in it.
#[test]
fn a_unit_of_its_own_fits_whose_it_is_and_what_it_runs() {
    let left_over_of = |uid: u32, unit: &str, cgroup: &str, comm: &str| {
        let victim = Task { uid, euid: uid, ..task_in(150, comm, cgroup) };
        let death = Scene::watching(&victim)
            .user(0, "root")
            .unit(1, unit, &[("MainPID", Value::from(142))])
            .exec(50, victim.clone(), &[comm, "7"], &[])
            .exit(4990, task_in(142, "main", cgroup), 9, false)
            .ended_by(systemd(), victim);
        assert_eq!(death.cause.id, CauseId::UnitMainProcessExited, "{death:#?}");
        death.fixes.iter().map(|fix| fix.commands[0].clone()).collect::<Vec<_>>()
    };
    let left_over = |unit: &str, cgroup: &str, comm: &str| left_over_of(0, unit, cgroup, comm);
    let fixes = left_over_of(1000, "v.service", CGROUP, "work");
    assert_eq!(fixes[0], "sudo systemd-run --uid=alice --unit=my-job work 7");
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    let below = format!("{manager}/app.slice/job.service");
    let fixes = left_over("user@1000.service", &below, "work");
    assert_eq!(fixes, ["sudo systemd-run --uid=alice --unit=my-job work 7"]);
    let fixes = left_over("v.service", CGROUP, "tmux: server");
    assert_eq!(fixes[0], "sudo systemd-run --scope --unit=my-job tmux");
    let fixes = left_over("v.service", CGROUP, "screensaver");
    assert_eq!(fixes[0], "sudo systemd-run --unit=my-job screensaver 7");
}

/// A process can write what it likes over its arguments, and may be nobody's that has a name.
#[test]
fn what_a_program_calls_itself_is_not_given_to_root_to_run() {
    let victim = Task { uid: 64_123, euid: 64_123, ..task_in(150, "work", CGROUP) };
    let snapshot = ProcessSnapshot {
        pid: victim.id.pid,
        start_ns: victim.id.start_ns,
        comm: victim.comm.clone(),
        exe: Some("/opt/work".to_owned()),
        cmdline: ["/bin/sh", "-c", "reboot"].map(str::to_owned).into(),
        uid: victim.uid,
        cgroup: victim.cgroup.clone(),
        ..ProcessSnapshot::default()
    };
    let death = Scene::watching(&victim)
        .unit(1, "v.service", &[("MainPID", Value::from(142))])
        .add(2, Source::Proc, Fact::Process(Box::new(snapshot)))
        .exit(4990, task_in(142, "main", CGROUP), 9, false)
        .ended_by(systemd(), victim);
    let run = &death.fixes[0].commands;
    assert_eq!(*run, ["sudo systemd-run --uid=64123 --unit=my-job work …"], "{death:#?}");
}

/// A call is the request for the job that systemd made for it, and for no later one.
#[test]
fn a_call_for_another_job_is_not_the_request() {
    let victim = task_in(160, "v", CGROUP);
    let client = || crate::evidence::BusPeer { name: ":1.6".to_owned(), ..Default::default() };
    let death = Scene::default()
        .user(0, "root")
        .target(&victim, TargetReason::Running)
        .call(900, client(), "RestartUnit", &["v.service", "replace"])
        .reply(901, ":1.6", true, Some(700))
        .job(902, 700, "restart", "v.service")
        .exec(3000, root(91, "systemctl"), &["systemctl", "stop", "v"], &[])
        .job(3049, 701, "stop", "v.service")
        .signal(3050, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(3053, victim, 15, true)
        .death();
    assert!(death.cause.explanation.contains("systemctl stop v"), "{}", death.cause.explanation);
    assert!(!death.chain.iter().any(|link| link.event == LinkEvent::BusCall), "{death:#?}");
}

/// A stop that hangs, of a unit that may take 90 s for it, and SIGKILL two seconds later.
fn hanging(then: impl FnOnce(Scene, &Task) -> Scene) -> Death {
    let victim = task_in(160, "v", CGROUP);
    let scene = Scene::default()
        .user(0, "root")
        .unit(
            1,
            "v.service",
            &[("MainPID", Value::from(160)), ("TimeoutStopUSec", Value::from(90_000_000))],
        )
        .setting("v.service", "TimeoutStopSec", "90s", None)
        .target(&victim, TargetReason::Running)
        .exec(900, root(90, "systemctl"), &["systemctl", "--no-block", "stop", "v"], &[])
        .exit(910, root(90, "systemctl"), 0, false)
        .job(950, 700, "stop", "v.service")
        .signal(951, caught(sig::SIGTERM, systemd(), victim.clone()));
    let death = then(scene, &victim).exit(2953, victim, 9, true).death();
    let text = &death.cause.explanation;
    assert!(!text.contains("TimeoutStopSec"), "{text}");
    assert!(
        text.contains("--no-block stop v") && text.contains("SIGTERM had not ended it in 2 s"),
        "{text}"
    );
    assert!(death.fixes.iter().all(|fix| !fix.commands.concat().contains("TimeoutStopSec")));
    death
}

/// logrotate has a daemon open its log anew, and somebody stops it minutes later.
#[test]
fn a_signal_that_a_client_had_sent_before_is_no_part_of_a_stop() {
    let victim = task_in(160, "v", CGROUP);
    for number in [sig::SIGHUP, sig::SIGSTOP] {
        let name = crate::evidence::signal_name(number);
        let line =
            format!("v.service: Sent signal {name} to main process 160 (v) on client request.");
        let death = Scene::default()
            .user(0, "root")
            .unit(1, "v.service", &[("MainPID", Value::from(160))])
            .target(&victim, TargetReason::Running)
            .exec(900, root(90, "systemctl"), &["systemctl", "kill", "-s", &name, "v"], &[])
            .signal(951, caught(number, systemd(), victim.clone()))
            .add(951, Source::Journal, logged(&line))
            .exec(120_900, root(91, "systemctl"), &["systemctl", "stop", "v"], &[])
            .job(120_950, 701, "stop", "v.service")
            .signal(120_951, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(120_953, victim.clone(), 15, true)
            .death();
        assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
        let text = &death.cause.explanation;
        assert!(text.contains("systemctl stop v") && !text.contains(&name), "{text}");
    }
}

#[test]
fn a_kill_by_systemctl_over_a_stop_that_hangs() {
    let death = hanging(|scene, victim| {
        scene
            .exec(2940, root(91, "systemctl"), &["systemctl", "kill", "-s", "KILL", "v"], &[])
            .signal(2951, signal(sig::SIGKILL, systemd(), victim.clone()))
            .add(
                2951,
                Source::Journal,
                logged("v.service: Sent signal SIGKILL to main process 160 (v) on client request."),
            )
    });
    assert_eq!(death.cause.id, CauseId::SystemctlKill, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Reported);
    assert!(death.cause.explanation.contains("systemctl kill -s KILL v"), "{death:#?}");
}

#[test]
fn a_kill_over_a_stop_that_hangs() {
    let death = hanging(|scene, victim| {
        let kill = root(91, "kill");
        scene
            .exec(2940, kill.clone(), &["/bin/kill", "-9", "160"], &[])
            .signal(2951, signal(sig::SIGKILL, kill, victim.clone()))
    });
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

/// A line about another process of the unit, or another signal, says nothing of this one.
#[test]
fn what_was_passed_on_to_others_is_not_it() {
    for line in [
        "v.service: Sent signal SIGKILL to main process 161 (v) on client request.",
        "v.service: Sent signal SIGTERM to main process 160 (v) on client request.",
    ] {
        let victim = task_in(160, "v", CGROUP);
        let death = Scene::default()
            .target(&victim, TargetReason::Running)
            .job(950, 700, "stop", "v.service")
            .signal(951, signal(sig::SIGKILL, systemd(), victim.clone()))
            .add(952, Source::Journal, logged(line))
            .exit(953, victim, 9, true)
            .death();
        assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    }
}

/// What a manager tells of a unit over its bus.
fn state(scene: Scene, ms: u64, active: &str, sub: &str) -> Scene {
    let state = [("ActiveState", Value::from(active)), ("SubState", Value::from(sub))];
    scene.unit(ms, "v.service", &state)
}

fn job_links(death: &Death) -> Vec<&str> {
    let jobs = death.chain.iter().filter(|link| link.event == LinkEvent::Job);
    jobs.map(|link| link.text.as_str()).collect()
}

/// `systemctl stop v; systemctl start v`, of which the bus was heard late.
#[test]
fn of_jobs_that_were_heard_of_late_the_first_is_it() {
    let victim = task_in(142, "v", CGROUP);
    let scene = Scene::default()
        .user(0, "root")
        .target(&victim, TargetReason::Running)
        .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "v"], &[])
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim, 15, true)
        .exec(2020, root(91, "systemctl"), &["systemctl", "start", "v"], &[]);
    // A job is looked at when it is heard of, which may take longer than its end.
    let scene = state(scene, 2011, "deactivating", "stop-sigterm");
    let death = state(scene, 2012, "inactive", "dead")
        .add(2013, Source::Bus, ended(700, "done"))
        .job(2010, 700, "stop", "v.service")
        .job(2100, 701, "start", "v.service")
        .death();
    assert!(
        death.cause.explanation.contains("which stopped v.service: root ran \"systemctl stop v\""),
        "{}",
        death.cause.explanation
    );
    assert_eq!(job_links(&death), ["systemd[1] job 700 stop v.service"]);
}

fn ended(id: u32, result: &str) -> Fact {
    Fact::Job(crate::evidence::Job {
        manager: crate::evidence::Manager::System,
        id,
        unit: "v.service".to_owned(),
        job_type: None,
        result: Some(result.to_owned()),
    })
}

/// `Restart=`: the job comes when the unit has gone down.
#[test]
fn a_job_of_a_unit_that_was_down_already_stopped_nothing() {
    let victim = task_in(142, "v", CGROUP);
    let restarted = |down: bool| {
        let scene = Scene::default()
            .target(&victim, TargetReason::Running)
            .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(2003, victim.clone(), 15, true);
        let scene = if down {
            let scene = state(scene, 2010, "deactivating", "stop-sigterm");
            let scene = state(scene, 2011, "failed", "failed");
            state(scene, 2012, "activating", "auto-restart")
        } else {
            scene
        };
        scene.job(2100, 701, "restart", "v.service").death()
    };
    assert_ne!(restarted(true).cause.id, CauseId::UnitStopRequested, "{:#?}", restarted(true));
    assert!(job_links(&restarted(true)).is_empty());
    assert_eq!(restarted(false).cause.id, CauseId::UnitStopRequested, "{:#?}", restarted(false));
}

/// One restarts the unit, and another stops what that had started, right afterwards.
#[test]
fn who_stopped_the_next_process_did_not_stop_this_one() {
    let victim = task_in(142, "v", CGROUP);
    let client = |name: &str, pid| crate::evidence::BusPeer {
        name: name.to_owned(),
        pid: Some(pid),
        ..Default::default()
    };
    let alice = task_in(91, "busctl", "/user.slice/user-1000.slice/session-3.scope");
    let scene = Scene::default()
        .user(0, "root")
        .user(1000, "alice")
        .target(&victim, TargetReason::Running)
        .exec(1990, root(90, "janitor"), &["janitor"], &[])
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim, 15, true)
        .exec(2090, alice, &["prog-b"], &[])
        .call(2000, client(":1.6", 90), "RestartUnit", &["v.service", "replace"])
        .reply(2001, ":1.6", true, Some(700))
        .job(2004, 700, "restart", "v.service");
    let scene = state(scene, 2005, "deactivating", "stop-sigterm");
    let scene = state(scene, 2006, "inactive", "dead");
    let death = state(scene, 2020, "active", "running")
        .add(2021, Source::Bus, ended(700, "done"))
        .call(2100, client(":1.7", 91), "StopUnit", &["v.service", "replace"])
        .reply(2101, ":1.7", true, Some(701))
        .job(2102, 701, "stop", "v.service")
        .death();
    let text = &death.cause.explanation;
    assert!(text.contains("janitor") && !text.contains("alice"), "{text}");
    assert_eq!(job_links(&death), ["systemd[1] job 700 restart v.service"]);
}

/// `PAMName=`: what the service runs lives in a session's scope, and its manager knows it by its pid.
#[test]
fn a_main_process_in_another_cgroup_is_its_units() {
    let victim = task_in(160, "v", "/user.slice/user-1000.slice/session-7.scope");
    let stopped = |unit: &str, main: u32| {
        let heard = [("MainPID", Value::from(main)), ("ActiveState", Value::from("active"))];
        Scene::default()
            .user(0, "root")
            .target(&victim, TargetReason::Running)
            .exec(1990, root(90, "systemctl"), &["systemctl", "stop", unit], &[])
            .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .unit(2002, "v.service", &heard)
            .exit(2003, victim.clone(), 15, true)
            .job(2004, 700, "stop", unit)
            .death()
    };
    let death = stopped("v.service", 160);
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(
        text.contains("stopped v.service") && text.contains("systemctl stop v.service"),
        "{text}"
    );
    assert_ne!(stopped("v.service", 161).cause.id, CauseId::UnitStopRequested);
    // The session can be stopped, too.
    let text = stopped("session-7.scope", 160).cause.explanation;
    assert!(text.contains("stop session-7.scope"), "{text}");
}

/// `PAMName=`: a signal through the manager is passed on to what the unit runs, wherever that lives.
#[test]
fn a_main_process_in_another_cgroup_is_signalled_for_its_unit() {
    let victim = task_in(160, "v", "/user.slice/user-1000.slice/session-7.scope");
    // Where the bus did not tell, the log does.
    let told = |heard: &[(&str, Value)], said: JournalLine| {
        Scene::default()
            .user(0, "root")
            .target(&victim, TargetReason::Running)
            .unit(1, "v.service", heard)
            .exec(1990, root(90, "systemctl"), &["systemctl", "kill", "-s", "KILL", "v"], &[])
            .signal(2001, signal(sig::SIGKILL, systemd(), victim.clone()))
            .add(2002, Source::Journal, Fact::Journal(said))
            .exit(2003, victim.clone(), 9, true)
            .death()
            .cause
    };
    let line = |pid: u32, victim: u32| JournalLine {
        message: format!(
            "v.service: Sent signal SIGKILL to main process {victim} (v) on client request."
        ),
        pid: Some(pid),
        about_unit: Some("v.service".to_owned()),
        ..JournalLine::default()
    };
    for heard in [&[("MainPID", Value::from(160))][..], &[]] {
        let cause = told(heard, line(1, 160));
        assert_eq!(cause.id, CauseId::SystemctlKill, "{cause:#?}");
        assert!(cause.explanation.contains("passed it on to v.service: root ran"), "{cause:#?}");
    }
    // Of another process, or said by another than PID 1.
    for said in [line(1, 161), line(812, 160)] {
        assert_ne!(told(&[], said).id, CauseId::SystemctlKill);
    }
}

/// `PAMName=`: the command that stops it opens a session as well, and nobody ran it.
#[test]
fn a_command_of_the_unit_in_another_cgroup_is_its_units() {
    const SCOPE: &str = "/user.slice/user-1000.slice/session-7.scope";
    let victim = task_in(160, "v", SCOPE);
    let kill = born(2000, task_in(230, "kill", SCOPE));
    let heard = |pid: u32| {
        Scene::default()
            .user(0, "root")
            .user(1000, "alice")
            .setting(
                "v.service",
                "ExecStop",
                "/bin/kill -INT $MAINPID",
                Some(("/etc/v.service", 3)),
            )
            .target(&victim, TargetReason::Running)
            .unit(1, "v.service", &[("MainPID", Value::from(160))])
            .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "v.service"], &[])
            .job(1995, 700, "stop", "v.service")
            .exec(2001, kill.clone(), &["/bin/kill", "-INT", "160"], &[&systemd()])
            .unit(2002, "v.service", &[("ControlPID", Value::from(pid))])
            .unit(2002, "v.service", &[("SubState", Value::from("stop"))])
            .signal(2003, signal(sig::SIGINT, kill.clone(), victim.clone()))
            .exit(2004, victim.clone(), u32::from(sig::SIGINT), true)
            .death()
            .cause
    };
    let cause = heard(230);
    let text = &cause.explanation;
    assert_eq!(cause.id, CauseId::UnitStopRequested, "{text}");
    assert!(text.contains("for ExecStop= of v.service") && !text.contains("alice"), "{text}");
    assert_eq!(heard(231).id, CauseId::UserCommand);
}

/// `Type=notify-reload`: the manager itself sends the signal that is to reload it.
#[test]
fn a_reload_by_the_managers_own_signal_is_no_stop() {
    let (main, child) = (task_in(142, "main", CGROUP), task_in(150, "helper", CGROUP));
    let play = |victim: &Task, kind: &str, number: u8, said: Option<u8>| {
        let mut properties = vec![("Type", Value::from(kind)), ("MainPID", Value::from(142))];
        properties.extend(said.map(|number| ("ReloadSignal", Value::from(number))));
        Scene::watching(victim)
            .setting("v.service", "Type", kind, Some(("/etc/v.service", 2)))
            .unit(1, "v.service", &properties)
            .exec(1000, root(80, "systemctl"), &["systemctl", "try-reload-or-restart", "v"], &[])
            .signal(
                1005,
                SignalSent {
                    is_target: victim.id == main.id,
                    ..signal(number, systemd(), main.clone())
                },
            )
            .job(1006, 701, "reload", "v.service")
            .exit(1007, main.clone(), u32::from(number), victim.id == main.id)
    };
    let scene = |victim: &Task, kind: &str, number| play(victim, kind, number, Some(10));
    let reloaded = "got SIGUSR1 from systemd[1], which reloads v.service by that signal (Type=notify-reload, set in /etc/v.service:2), and did not survive it: root ran \"systemctl try-reload-or-restart v\"";
    let death = scene(&main, "notify-reload", 10).death();
    assert_eq!(death.cause.id, CauseId::UnitReload, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains(reloaded) && !text.contains("stopped"), "{text}");
    assert!(death.gaps.is_empty(), "{:?}", death.gaps);
    assert_eq!(death.cause.evidence, Grade::Reported);
    let unsaid = play(&main, "notify-reload", 10, None).death();
    assert_eq!((unsaid.cause.id, unsaid.cause.evidence), (CauseId::UnitReload, Grade::Inferred));
    assert_ne!(play(&main, "notify-reload", 15, None).death().cause.id, CauseId::UnitReload);
    // Another signal, or another kind of service, is no reload.
    for (kind, number) in [("notify-reload", sig::SIGTERM), ("notify", 10)] {
        let other = scene(&main, kind, number).death();
        assert_ne!(other.cause.id, CauseId::UnitReload, "{other:#?}");
    }
    // What is left of the unit is ended since its main process is gone.
    let death = scene(&child, "notify-reload", 10)
        .signal(1010, signal(sig::SIGTERM, systemd(), child.clone()))
        .exit(1011, child.clone(), 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitMainProcessExited, "{death:#?}");
    assert!(death.cause.explanation.contains(reloaded), "{}", death.cause.explanation);
}

/// A stop long after a reload that was survived begins with its own signal.
#[test]
fn a_survived_reload_is_no_part_of_a_later_stop() {
    let main = task_in(142, "main", CGROUP);
    let properties = [("Type", Value::from("notify-reload")), ("MainPID", Value::from(142))];
    let death = Scene::watching(&main)
        .unit(1, "v.service", &properties)
        .exec(1000, root(80, "systemctl"), &["systemctl", "reload", "v"], &[])
        .job(1004, 701, "reload", "v.service")
        .signal(1005, caught(sig::SIGHUP, systemd(), main.clone()))
        .exec(9000, root(81, "systemctl"), &["systemctl", "stop", "v"], &[])
        .job(9004, 702, "stop", "v.service")
        .signal(9005, signal(sig::SIGTERM, systemd(), main.clone()))
        .exit(9006, main, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("which stopped v.service: root ran \"systemctl stop v\""), "{text}");
}

/// What a drop-in changed is why the work of a service that leaves it alone by itself is ended.
#[test]
fn a_kill_mode_that_takes_along_what_was_started_is_told() {
    let told = |pid: u32, mode: &str, place: Option<(&str, u32)>| {
        let victim = task_in(pid, "job", CGROUP);
        Scene::watching(&victim)
            .unit(1, "v.service", &[("MainPID", Value::from(142))])
            .setting("v.service", "KillMode", mode, place)
            .exec(4900, root(90, "systemctl"), &["systemctl", "restart", "v"], &[])
            .job(4950, 700, "restart", "v.service")
            .ended_by(systemd(), victim)
    };
    let place = Some(("/run/systemd/system/v.service.d/k.conf", 2));
    let death = told(150, "control-group", place);
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let words = "Whatever v.service has started is ended with it (KillMode=control-group, set in \
                 /run/systemd/system/v.service.d/k.conf:2).";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert_eq!(death.cause.settings[0].line, Some(2), "{death:#?}");
    let fix = death.fixes.iter().find(|fix| fix.title.contains("go on when it is stopped"));
    let fix = fix.expect("a remedy");
    assert!(fix.commands[0].contains("k.conf:2 stands over the unit's own file"), "{fix:#?}");
    assert!(fix.commands.concat().contains("KillMode=process"), "{fix:#?}");
    // The default is nobody's choice, and the main process is asked in any case.
    for death in [
        told(150, "control-group", None),
        told(142, "control-group", place),
        told(150, "process", place),
    ] {
        assert!(!death.cause.explanation.contains("Whatever"), "{death:#?}");
    }
}

/// What is said to all instances does not count against what is said to one.
#[test]
fn a_limit_of_one_instance_is_changed_there() {
    let told = |file: &str| {
        let victim = task_in(150, "job", "/system.slice/system-nm.slice/nm@x.service");
        let line = JournalLine {
            message: "nm@x.service: Service reached runtime time limit. Stopping.".to_owned(),
            pid: Some(1),
            uid: Some(0),
            about_unit: Some("nm@x.service".to_owned()),
            ..JournalLine::default()
        };
        let death = Scene::watching(&victim)
            .setting("nm@x.service", "RuntimeMaxSec", "2", Some((file, 3)))
            .add(4999, Source::Journal, Fact::Journal(line))
            .ended_by(systemd(), victim);
        death.fixes[0].commands[0].clone()
    };
    let of_one = told("/etc/systemd/system/nm@x.service.d/b.conf");
    assert_eq!(of_one, "sudo mkdir -p /etc/systemd/system/nm@x.service.d");
    let of_all = told("/etc/systemd/system/nm@.service.d/b.conf");
    assert_eq!(of_all, "sudo mkdir -p /etc/systemd/system/nm@.service.d");
}
