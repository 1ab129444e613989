//! Units that systemd ends by itself: starts, watchdogs and reloads that failed.

use serde_json::Value;

use super::scene::{Scene, caught, signal, systemd, task_in};
use super::stops::{CGROUP, born, logged, root};
use crate::evidence::{Grade, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

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
