//! Deaths by a service manager: the mission's own cases.

use serde_json::Value;

use super::scene::{Scene, caught, signal, systemd, task_in};
use crate::evidence::{
    BusPeer, Grade, ProcessId, SignalResult, SignalSent, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death, LinkEvent};

pub(super) const SCOPE: &str = "/user.slice/user-1000.slice/session-3.scope";
const SSHD: &str = "/system.slice/system-sshd.slice/sshd@0-10.0.0.1:22-203.0.113.5:51276.service";

fn logind() -> BusPeer {
    BusPeer {
        name: ":1.7".to_owned(),
        process: Some(ProcessId { pid: 640, start_ns: 6_400_000_000 }),
        pid: Some(640),
        uid: Some(0),
        comm: Some("systemd-logind".to_owned()),
        well_known: Some("org.freedesktop.login1".to_owned()),
    }
}

fn root(task: Task) -> Task {
    Task { uid: 0, euid: 0, ..task }
}

fn logout() -> Scene {
    let sshd = root(task_in(2027, "sshd", SCOPE));
    let tmux = task_in(2041, "tmux: server", SCOPE);
    Scene::default()
        .user(1000, "alice")
        .session("3", 2027)
        .setting(
            "logind.conf",
            "KillUserProcesses",
            "yes",
            Some(("/etc/systemd/logind.conf.d/x.conf", 2)),
        )
        .target(&tmux, TargetReason::Running)
        .tcp_closed_by_peer(100, task_in(0, "swapper", "/"))
        .exit(105, task_in(2033, "sshd", SCOPE), 255 << 8, false)
        .call(
            106,
            BusPeer { comm: Some("sshd".to_owned()), ..BusPeer::default() },
            "ReleaseSession",
            &["3"],
        )
        .exit(110, sshd, 0, false)
        .call(112, logind(), "StopUnit", &["session-3.scope", "fail"])
        .job(113, 687, "stop", "session-3.scope")
        .signal(114, caught(sig::SIGTERM, systemd(), tmux.clone()))
        .exit(115, tmux, 0, true)
}

fn events(death: &Death) -> Vec<LinkEvent> {
    death.chain.iter().map(|link| link.event).collect()
}

#[test]
fn tmux_dies_at_logout() {
    let death = logout().death();
    assert_eq!(death.cause.id, CauseId::LogindKillUserProcesses, "{death:#?}");
    assert_eq!(
        events(&death),
        [
            LinkEvent::TcpClosed,
            LinkEvent::ProcessExit,
            LinkEvent::BusCall,
            LinkEvent::ProcessExit,
            LinkEvent::BusCall,
            LinkEvent::Job,
            LinkEvent::Signal,
            LinkEvent::Death
        ]
    );
    let setting = &death.cause.settings[0];
    assert_eq!((setting.name.as_str(), setting.line), ("KillUserProcesses", Some(2)));
    assert!(
        death
            .considered
            .iter()
            .any(|other| { other.id == CauseId::SshdPerConnectionUnit && other.ruled_out })
    );
    assert!(death.fixes[0].commands[0].contains("enable-linger alice"));
}

#[test]
fn the_chain_is_in_order_even_when_the_bus_was_read_late() {
    let tmux = task_in(2041, "tmux: server", SCOPE);
    let death = Scene::default()
        .target(&tmux, TargetReason::Running)
        .signal(100, caught(sig::SIGTERM, systemd(), tmux.clone()))
        .exit(101, tmux.clone(), 0, true)
        .call(130, logind(), "StopUnit", &["session-3.scope", "fail"])
        .job(131, 687, "stop", "session-3.scope")
        .settled(400, &tmux)
        .death();
    assert_eq!(
        events(&death),
        [LinkEvent::BusCall, LinkEvent::Job, LinkEvent::Signal, LinkEvent::Death]
    );
}

#[test]
fn tmux_dies_with_the_unit_of_its_connection() {
    let tmux = task_in(2041, "tmux: server", SSHD);
    let sshd = root(task_in(2027, "sshd", SSHD));
    let unit = "sshd@0-10.0.0.1:22-203.0.113.5:51276.service";
    let death = Scene::default()
        .user(1000, "alice")
        .target(&tmux, TargetReason::Running)
        .unit(
            0,
            unit,
            &[("MainPID", Value::from(2027)), ("KillMode", Value::from("control-group"))],
        )
        .tcp_closed_by_peer(100, task_in(0, "swapper", "/"))
        .exit(105, sshd, 255 << 8, false)
        .signal(107, caught(sig::SIGTERM, systemd(), tmux.clone()))
        .unit(108, unit, &[("SubState", Value::from("stop-sigterm"))])
        .exit(109, tmux, 0, true)
        .death();
    assert_eq!(death.cause.id, CauseId::SshdPerConnectionUnit, "{death:#?}");
    assert!(!events(&death).contains(&LinkEvent::Job));
    assert!(!events(&death).contains(&LinkEvent::BusCall));
    assert!(events(&death).contains(&LinkEvent::UnitState));
    assert!(death.fixes.iter().all(|fix| fix.side_effect.is_some()));
    assert!(
        death
            .considered
            .iter()
            .any(|other| { other.id == CauseId::LogindKillUserProcesses && other.ruled_out })
    );
}

#[test]
fn sigkill_after_the_timeout_is_one_story() {
    let tmux = task_in(2041, "tmux", SCOPE);
    let ignored = SignalSent {
        result: SignalResult::Ignored,
        fatal: false,
        ..signal(sig::SIGTERM, systemd(), tmux.clone())
    };
    let death = Scene::default()
        .user(1000, "alice")
        .session("3", 2027)
        .setting("logind.conf", "KillUserProcesses", "yes", None)
        .setting("session-3.scope", "TimeoutStopSec", "2s", Some(("/etc/s.conf", 4)))
        .target(&tmux, TargetReason::Running)
        .call(112, logind(), "StopUnit", &["session-3.scope", "fail"])
        .job(113, 687, "stop", "session-3.scope")
        .signal(114, ignored)
        .signal(2114, signal(sig::SIGKILL, systemd(), tmux.clone()))
        .exit(2115, tmux, 9, true)
        .death();
    assert_eq!(death.cause.id, CauseId::LogindKillUserProcesses);
    assert!(
        death.cause.settings.iter().any(|setting| setting.name == "TimeoutStopSec"),
        "{death:#?}"
    );
    assert!(death.cause.explanation.contains("2 s after SIGTERM"));
    assert!(events(&death).contains(&LinkEvent::Timeout));
}

#[test]
fn without_the_bus_the_same_story_is_inferred() {
    let tmux = task_in(2041, "tmux: server", SCOPE);
    let death = Scene::default()
        .setting("logind.conf", "KillUserProcesses", "yes", None)
        .target(&tmux, TargetReason::Running)
        .exit(105, root(task_in(2027, "sshd", SCOPE)), 255 << 8, false)
        .signal(107, signal(sig::SIGTERM, systemd(), tmux.clone()))
        .exit(109, tmux, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::LogindKillUserProcesses);
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert!(!death.gaps.is_empty());
}

#[test]
fn a_stop_by_systemctl_is_found_by_its_arguments() {
    let cgroup = "/system.slice/nginx.service";
    let victim = task_in(500, "nginx", cgroup);
    let shell = task_in(70, "bash", SCOPE);
    let sudo = root(task_in(79, "sudo", SCOPE));
    let systemctl = root(task_in(80, "systemctl", SCOPE));
    let death = Scene::default()
        .user(1000, "alice")
        .session("3", 2027)
        .target(&victim, TargetReason::Running)
        .exec(90, sudo.clone(), &["sudo", "systemctl", "stop", "nginx"], &[&shell])
        .exec(95, systemctl, &["systemctl", "stop", "nginx"], &[&sudo, &shell])
        .job(100, 700, "stop", "nginx.service")
        .signal(101, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(103, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert!(
        death
            .cause
            .explanation
            .contains("alice ran \"sudo systemctl stop nginx\" in ssh session 3 from 203.0.113.5"),
        "{}",
        death.cause.explanation
    );
}

/// A pkill that PID 1 had started in cleaner.service, whose file has these lines, ends a sleep elsewhere.
fn cleaned(lines: &[(&str, &str)]) -> Death {
    const CLEANER: &str = "/system.slice/cleaner.service";
    let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
    let pkill = root(task_in(3000, "pkill", CLEANER));
    let mut scene = Scene::default().user(0, "root").target(&sleeper, TargetReason::Running).unit(
        0,
        "cleaner.service",
        &[("Type", Value::from("simple"))],
    );
    for (line, (name, value)) in (2..).zip(lines) {
        let file = "/etc/systemd/system/cleaner.service";
        scene = scene.setting("cleaner.service", name, value, Some((file, line)));
    }
    scene
        .exec(100, pkill.clone(), &["pkill", "-x", "sleep"], &[&systemd()])
        .signal(101, signal(sig::SIGTERM, pkill, sleeper.clone()))
        .exit(102, sleeper, u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn a_units_command_is_known_by_its_arguments() {
    let death = cleaned(&[
        ("ExecStartPre", "-/usr/bin/pkill -x other"),
        ("ExecStartPost", "/usr/bin/pkill -x sleep"),
    ]);
    assert_eq!(death.cause.id, CauseId::UnitCommand, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    let setting = &death.cause.settings[0];
    assert_eq!((setting.name.as_str(), setting.line), ("ExecStartPost", Some(3)));
}

#[test]
fn which_of_two_like_commands_it_was_is_not_guessed() {
    let both = ["ExecStartPre", "ExecStopPost"].map(|name| (name, "/usr/bin/pkill -x sleep"));
    assert_eq!(cleaned(&both).cause.id, CauseId::UserCommand);
    // Nor is what a unit has been doing since it was started a command of its start.
    let death = cleaned(&[("ExecStart", "/usr/bin/pkill -x sleep")]);
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}
