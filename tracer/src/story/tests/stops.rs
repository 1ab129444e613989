//! Stops of units: which main process it is about, and who struck while one was under way.

use serde_json::{Value, json};

use super::scene::{Scene, caught, signal, systemd, task_in};
use crate::evidence::{
    Fact, Grade, JournalLine, ProcessSnapshot, SignalSent, Source, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death, LinkEvent};

const CGROUP: &str = "/system.slice/v.service";

fn root(pid: u32, comm: &str) -> Task {
    Task { uid: 0, euid: 0, ..task_in(pid, comm, "/system.slice/cron.service") }
}

/// A process that was born so many milliseconds into the scene.
fn born(ms: u64, task: Task) -> Task {
    let id = crate::evidence::ProcessId { start_ns: super::scene::at(ms).boot_ns, ..task.id };
    Task { id, ..task }
}

fn logged(message: &str) -> Fact {
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
    assert_eq!(*run, ["sudo systemd-run --uid=64123 --unit=my-job work"], "{death:#?}");
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

/// A signal of systemd's that no job explains, in a unit of which `scene` tells.
fn unexplained(scene: Scene, victim: &Task) -> Death {
    scene
        .target(victim, TargetReason::Running)
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim.clone(), 15, true)
        .death()
}

fn own(name: &str, value: &str) -> Scene {
    Scene::default().setting("v.service", name, value, Some(("/etc/v.service", 3)))
}

/// `ExecStartPost=` fails: nobody asked for a stop, though a start job was heard of when the main process was there.
#[test]
fn a_command_of_the_start_fails() {
    let victim = born(1000, task_in(142, "v", CGROUP));
    let command = born(1010, Task { uid: 0, ..task_in(150, "sh", CGROUP) });
    let fails = |line: &str| {
        let scene = own("ExecStartPost", line)
            .job(1015, 406, "start", "v.service")
            .exec(1011, command.clone(), &["/bin/sh", "-c", "exit 7"], &[&systemd()])
            .unit(
                1012,
                "v.service",
                &[("ControlPID", Value::from(150)), ("MainPID", Value::from(142))],
            )
            .unit(1013, "v.service", &[("SubState", Value::from("start-post"))])
            .exit(2000, command.clone(), 7 << 8, false)
            .add(
                2000,
                Source::Journal,
                logged("v.service: Control process exited, code=exited, status=7/NOTRUNNING"),
            );
        unexplained(scene, &victim)
    };
    let death = fails("/bin/sh -c 'exit 7'");
    assert_eq!(death.cause.id, CauseId::UnitFailed, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Reported);
    let text = &death.cause.explanation;
    assert!(text.contains("/etc/v.service:3") && text.contains("sh[150] exited with 7"), "{text}");
    // A failure that is ignored is no reason.
    assert_ne!(fails("-/bin/sh -c 'exit 7'").cause.id, CauseId::UnitFailed);
}

#[test]
fn the_main_process_is_gone_before_it_is_ready() {
    let victim = task_in(150, "helper", CGROUP);
    let scene = own("Type", "notify")
        .unit(1, "v.service", &[("MainPID", Value::from(142))])
        .exit(2000, task_in(142, "sh", CGROUP), 0, false)
        .unit(2002, "v.service", &[("Result", Value::from("protocol"))]);
    let death = unexplained(scene, &victim);
    assert_eq!(death.cause.id, CauseId::UnitFailed, "{death:#?}");
    assert!(death.cause.explanation.contains("READY=1"), "{}", death.cause.explanation);
    assert!(death.fixes.iter().all(|fix| !fix.commands.concat().contains("KillMode")));
}

#[test]
fn a_name_on_the_bus_that_is_gone_is_a_conclusion() {
    let victim = task_in(142, "v", CGROUP);
    let scene = || own("Type", "dbus").unit(1, "v.service", &[("BusName", Value::from("org.x.V"))]);
    let death = unexplained(scene(), &victim);
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UnitFailed, Grade::Inferred));
    assert!(death.cause.explanation.contains("BusName=org.x.V"), "{}", death.cause.explanation);
    let asked = scene().job(1999, 700, "stop", "v.service");
    assert_eq!(unexplained(asked, &victim).cause.id, CauseId::UnitStopRequested);
}

/// All names are gone with the bus; a user's own bus is another one.
#[test]
fn a_name_is_gone_with_the_bus() {
    let victim = task_in(142, "v", CGROUP);
    let told = |cgroup: &str| {
        let bus = task_in(93, "dbus-daemon", cgroup);
        let scene = own("Type", "dbus")
            .user(0, "root")
            .unit(1, "v.service", &[("BusName", Value::from("org.x.V"))])
            .exec(1800, root(90, "systemctl"), &["systemctl", "restart", "dbus"], &[])
            .job(1900, 660, "restart", "dbus.service")
            .exit(1910, bus, 0, false);
        unexplained(scene, &victim)
    };
    let death = told("/system.slice/dbus.service");
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UnitFailed, Grade::Inferred));
    let text = &death.cause.explanation;
    let words =
        "since the bus itself was restarted (dbus.service): root ran \"systemctl restart dbus\"";
    assert!(text.contains(words), "{text}");
    assert!(!death.fixes.iter().any(|fix| fix.commands.concat().contains("BusName")), "{death:#?}");
    let own = "/user.slice/user-1000.slice/user@1000.service/session.slice/dbus.service";
    assert!(!told(own).cause.explanation.contains("the bus itself"));
}

#[test]
fn a_watchdog_that_the_program_set_off_itself() {
    let victim = task_in(142, "v", CGROUP);
    let line = logged("v.service: Watchdog request (last status: <unset>)!");
    let death = unexplained(own("WatchdogSec", "60").add(2000, Source::Journal, line), &victim);
    assert_eq!(death.cause.id, CauseId::UnitWatchdog, "{death:#?}");
    assert!(death.cause.explanation.contains("WATCHDOG=trigger"), "{}", death.cause.explanation);
    assert!(death.cause.settings.is_empty(), "{death:#?}");
}

#[test]
fn a_pid_file_that_is_not_written() {
    let victim = task_in(142, "v", CGROUP);
    let scene = own("PIDFile", "/run/v.pid")
        .add(500, Source::Journal, logged("v.service: Can't open PID file '/run/v.pid' (yet?) after start: No such file or directory"))
        .add(2000, Source::Journal, logged("v.service: start operation timed out. Terminating."));
    let death = unexplained(scene, &victim);
    assert_eq!(death.cause.id, CauseId::UnitStartTimeout, "{death:#?}");
    assert!(death.cause.explanation.contains("PIDFile=/run/v.pid"), "{}", death.cause.explanation);
    assert!(death.fixes[0].commands.concat().contains("PIDFile="), "{death:#?}");
}

/// The program itself ran, and goes with the command that was to follow it.
#[test]
fn a_command_after_the_start_that_hangs() {
    let victim = task_in(142, "v", CGROUP);
    let line = logged("v.service: start-post operation timed out. Stopping.");
    let scene = own("ExecStartPost", "/opt/wait").add(2000, Source::Journal, line);
    let death = unexplained(scene, &victim);
    assert_eq!(death.cause.id, CauseId::UnitStartTimeout, "{death:#?}");
    let words = "What ExecStartPost= runs had not ended (ExecStartPost=/opt/wait, set in ";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert!(death.cause.settings.iter().any(|it| it.name == "ExecStartPost"), "{death:#?}");
}

/// What has more time is the reload, and nothing that the start has to send.
#[test]
fn a_reload_that_took_too_long() {
    let victim = task_in(142, "v", CGROUP);
    let line = logged("v.service: Reload operation timed out. Killing reload process.");
    let scene = own("TimeoutStartSec", "3").add(2000, Source::Journal, line);
    let death = unexplained(scene, &victim);
    assert_eq!(death.cause.id, CauseId::UnitStartTimeout, "{death:#?}");
    assert_eq!(death.fixes[0].title, "give it more time to reload", "{death:#?}");
    assert!(death.fixes[0].commands.concat().contains("TimeoutStartSec=5min"), "{death:#?}");
}

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

/// A unit that is aborted, and ends only by the second signal after that: which limit ran out.
#[test]
fn each_signal_of_a_stop_has_a_limit_of_its_own() {
    let victim = task_in(142, "v", CGROUP);
    let line = |message: &str| logged(&format!("v.service: {message}"));
    let limits = || {
        own("TimeoutAbortSec", "2")
            .setting("v.service", "TimeoutStopSec", "1", Some(("/etc/v.service", 2)))
            .setting("v.service", "TimeoutStopFailureMode", "abort", Some(("/etc/v.service", 4)))
            .setting("v.service", "WatchdogSignal", "SIGTERM", Some(("/etc/v.service", 5)))
            .target(&victim, TargetReason::Running)
    };
    let told = |death: &Death, name: &str| death.cause.settings.iter().any(|it| it.name == name);
    let ends = |scene: Scene| {
        scene
            .add(5999, Source::Journal, line("State 'stop-watchdog' timed out. Killing."))
            .signal(6000, signal(sig::SIGKILL, systemd(), victim.clone()))
            .exit(6001, victim.clone(), 9, true)
            .death()
    };
    // SIGTERM, SIGABRT, SIGKILL.
    let aborted = |scene: Scene| {
        ends(
            scene
                .job(2999, 700, "stop", "v.service")
                .signal(3000, caught(sig::SIGTERM, systemd(), victim.clone()))
                .signal(4000, caught(sig::SIGABRT, systemd(), victim.clone())),
        )
    };
    let unasked = aborted(limits()).cause.explanation;
    let both =
        ["1 s after SIGTERM (TimeoutStopSec=1, ", "nor 2 s after SIGABRT (TimeoutAbortSec=2, "];
    assert!(both.iter().all(|part| unasked.contains(part)), "{unasked}");
    let args = ["systemctl", "stop", "v"];
    let death = aborted(limits().exec(2990, root(90, "systemctl"), &args, &[]));
    let text = &death.cause.explanation;
    let first = "had not ended 1 s after SIGTERM, so SIGABRT followed (TimeoutStopSec=1, ";
    let second = "nor 2 s after that, so SIGKILL did (TimeoutAbortSec=2, ";
    assert!(text.contains(first) && text.contains(second), "{text}");
    assert!(told(&death, "TimeoutStopFailureMode") && told(&death, "TimeoutAbortSec"));
    let fixes: Vec<String> = death.fixes.iter().map(|fix| fix.commands.concat()).collect();
    assert!(fixes.iter().any(|commands| commands.contains("TimeoutAbortSec=5min")), "{fixes:?}");
    // The watchdog's signal is the first.
    let death = ends(
        limits()
            .add(3999, Source::Journal, line("Watchdog timeout (limit 3s)!"))
            .signal(4000, caught(sig::SIGTERM, systemd(), victim.clone())),
    );
    assert_eq!(death.cause.id, CauseId::UnitWatchdog, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("so SIGKILL followed (TimeoutAbortSec=2"), "{text}");
    assert!(told(&death, "WatchdogSignal") && !told(&death, "TimeoutStopSec"), "{death:#?}");
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

/// The OOM killer had taken one of the unit's processes, and the unit went on; a stop a while later is another story.
#[test]
fn an_oom_kill_before_is_not_why() {
    let victim = task_in(142, "v", CGROUP);
    let line = || logged("v.service: A process of this unit has been killed by the OOM killer.");
    let stopped =
        |killed_ms: u64, policy: &str, asked: bool| {
            let mut scene = own("OOMPolicy", policy)
                .user(0, "root")
                .add(killed_ms, Source::Journal, line())
                .unit(killed_ms + 1, "v.service", &[("Result", Value::from("oom-kill"))]);
            if asked {
                scene = scene
                    .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "v"], &[])
                    .job(1999, 700, "stop", "v.service");
            }
            unexplained(scene, &victim).cause.id
        };
    assert_eq!(stopped(1998, "stop", false), CauseId::UnitOomPolicy);
    assert_ne!(stopped(1998, "continue", false), CauseId::UnitOomPolicy);
    assert_eq!(stopped(1900, "continue", true), CauseId::UnitStopRequested);
    // Long ago is long ago.
    let scene = Scene::default()
        .user(0, "root")
        .add(0, Source::Journal, line())
        .unit(1, "v.service", &[("Result", Value::from("oom-kill"))])
        .exec(59_990, root(90, "systemctl"), &["systemctl", "stop", "v"], &[])
        .job(59_999, 700, "stop", "v.service")
        .target(&victim, TargetReason::Running)
        .signal(60_001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(60_003, victim, 15, true);
    assert_eq!(scene.death().cause.id, CauseId::UnitStopRequested);
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
