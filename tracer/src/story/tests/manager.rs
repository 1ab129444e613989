//! Deaths by a service manager: the mission's own cases.

use serde_json::Value;

use super::scene::{Scene, at, caught, signal, systemd, task_in};
use crate::evidence::{
    BusPeer, Disposition, Fact, Grade, Job, Manager, ProcessId, SignalResult, SignalSent, Source,
    TargetReason, Task, UnitProperties, sig,
};
use crate::story::unit_jobs::job_type;
use crate::story::verdict::{CauseId, Death, KillerKind, LinkEvent};
use crate::story::world::World;

const SCOPE: &str = "/user.slice/user-1000.slice/session-3.scope";
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

/// A web server whose unit has a job to be stopped, made at `job` ms, which was asked for at `asked`, or without any
/// request that was seen.
fn being_stopped(asked: Option<u64>, job: u64) -> Scene {
    let mut scene = Scene::default().user(0, "root").target(&worker(), TargetReason::Running);
    if let Some(at) = asked {
        let systemctl = root(task_in(80, "systemctl", SCOPE));
        scene = scene.exec(at, systemctl, &["systemctl", "stop", "nginx"], &[]);
    }
    scene.job(job, 700, "stop", "nginx.service")
}

fn worker() -> Task {
    task_in(500, "nginx", "/system.slice/nginx.service")
}

/// An end without a signal, 3 ms after the job of a stop.
fn ended_meanwhile(asked: Option<u64>, job: u64) -> Death {
    being_stopped(asked, job).exit(103, worker(), 0, true).death()
}

#[test]
fn an_end_without_a_signal_while_the_unit_is_stopped() {
    let stopped = being_stopped(Some(95), 100);
    let command = stopped.setting("nginx.service", "ExecStop", "/bin/ask", Some(("/etc/n", 4)));
    let death = command.exit(103, worker(), 0, true).death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert_eq!(death.killer.kind, KillerKind::None);
    assert!(death.cause.explanation.contains("root ran"), "{}", death.cause.explanation);
    assert!(death.cause.explanation.contains("ExecStop=/bin/ask, set in /etc/n:4"), "{death:#?}");

    for asked in [Some(95), None] {
        let death = ended_meanwhile(asked, 100);
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
        assert_eq!(death.cause.evidence, Grade::Inferred);
        assert!(death.cause.explanation.contains("was stopping nginx.service"), "{death:#?}");
        assert!(death.cause.explanation.contains("no signal had reached it"), "{death:#?}");
    }
}

/// What a manager leaves alone (`KillMode=process`) may hear of the stop when that is over: by the main process's end.
#[test]
fn an_end_right_after_the_unit_was_stopped() {
    let main = task_in(490, "master", "/system.slice/nginx.service");
    let done = Job {
        manager: Manager::System,
        id: 700,
        unit: "nginx.service".to_owned(),
        job_type: None,
        result: Some("done".to_owned()),
    };
    let ended = |at: u64| {
        let term = SignalSent { is_target: false, ..signal(sig::SIGTERM, systemd(), main.clone()) };
        being_stopped(Some(95), 100)
            .unit(1, "nginx.service", &[("MainPID", 490.into())])
            .signal(101, term)
            .exit(102, main.clone(), 15, false)
            .add(103, Source::Bus, Fact::Job(done.clone()))
            .exit(at, worker(), 7 << 8, true)
            .death()
    };
    let death = ended(104);
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("right after systemd[1] had stopped nginx.service (job 700)"), "{text}");
    let order: Vec<LinkEvent> = death.chain.iter().map(|link| link.event).collect();
    let causal = [LinkEvent::Command, LinkEvent::Job, LinkEvent::Signal, LinkEvent::ProcessExit];
    assert_eq!(order, [&causal[..], &[LinkEvent::Death]].concat(), "{death:#?}");
    assert_eq!(ended(5_000).cause.id, CauseId::ExitedByItself);
}

/// What ignores the signal of a stop ends when it likes, unless it waited for a child which the stop ended.
#[test]
fn an_end_after_a_signal_that_was_ignored() {
    let ignored = || {
        let signal = signal(sig::SIGTERM, systemd(), worker());
        let (result, disposition) = (SignalResult::Ignored, Some(Disposition::Ignore));
        let ignored = SignalSent { result, disposition, fatal: false, ..signal };
        being_stopped(Some(95), 100).signal(101, ignored)
    };
    let death = ignored().exit(400, worker(), 0, true).death();
    assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
    assert_eq!(death.killer.kind, KillerKind::None);
    let text = &death.cause.explanation;
    assert!(text.contains("SIGTERM from systemd[1], which it had got 299 ms before, it ignored"));
    assert!(!text.contains("no signal had reached it"), "{text}");
    assert_eq!(death.chain.len(), 1, "{death:#?}");

    let child = Task { ppid: 500, ..task_in(501, "sleep", "/system.slice/nginx.service") };
    let death = ignored()
        .signal(101, signal(sig::SIGTERM, systemd(), child.clone()))
        .exit(102, child, 15, false)
        .exit(104, worker(), 143 << 8, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("its child had ended 2 ms before (sleep[501] "), "{text}");
}

#[test]
fn an_end_before_the_stop_is_none_of_its_doing() {
    let death = ended_meanwhile(Some(104), 106);
    assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
    assert!(!death.cause.explanation.contains("stopping"), "{}", death.cause.explanation);
}

/// A reboot that no bus told of, after somebody ran `command`.
fn going_down(command: Task, args: &[&str]) -> Death {
    going_down_by(Some("start"), command, args)
}

/// The same, with the type of the job that takes everything down.
fn going_down_by(kind: Option<&str>, command: Task, args: &[&str]) -> Death {
    let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
    Scene::default()
        .user(1000, "alice")
        .user(0, "root")
        .target(&sleeper, TargetReason::Running)
        .exec(100, command, args, &[])
        .job_of_type(110, 700, kind, "reboot.target")
        .job(110, 701, "stop", "job.service")
        .signal(114, signal(sig::SIGTERM, systemd(), sleeper.clone()))
        .exit(115, sleeper, u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn who_shut_down_without_a_bus_is_a_conclusion() {
    let death = going_down(root(task_in(3000, "systemctl", SCOPE)), &["systemctl", "reboot"]);
    assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("systemctl reboot") && text.contains("by its arguments"), "{text}");
}

/// A manager that has a hundred jobs to make does not say of which type one is before it is over.
#[test]
fn a_shutdown_is_known_by_its_target() {
    let command = root(task_in(3000, "systemctl", SCOPE));
    let death = going_down_by(None, command.clone(), &["systemctl", "reboot"]);
    assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred, "{death:#?}");
    let death = going_down_by(Some("stop"), command, &["systemctl", "reboot"]);
    assert_ne!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
}

/// The client was gone before the bus could name it.
#[test]
fn who_shut_down_over_the_bus_is_a_conclusion_where_nobody_knows_the_client() {
    let shut_down = |uid: Option<u32>| {
        let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
        let client = BusPeer { name: ":1.6".to_owned(), uid, ..BusPeer::default() };
        Scene::default()
            .user(0, "root")
            .target(&sleeper, TargetReason::Running)
            .exec(100, root(task_in(3000, "systemctl", SCOPE)), &["systemctl", "poweroff"], &[])
            .call(105, client, "PowerOffWithFlags", &[])
            .job(110, 700, "start", "poweroff.target")
            .signal(114, signal(sig::SIGTERM, systemd(), sleeper.clone()))
            .exit(115, sleeper, u32::from(sig::SIGTERM), true)
            .death()
    };
    for (uid, blamed) in [(None, true), (Some(0), true), (Some(1000), false)] {
        let death = shut_down(uid);
        assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
        let text = &death.cause.explanation;
        assert_eq!(text.contains("systemctl poweroff"), blamed, "{uid:?}: {text}");
        assert_eq!(text.contains("by its arguments"), blamed, "{uid:?}: {text}");
    }
}

/// logind takes the request to systemd.
#[test]
fn who_had_logind_shut_down_is_named() {
    let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
    let systemctl = root(task_in(3000, "systemctl", SCOPE));
    let client = BusPeer { process: Some(systemctl.id), uid: Some(0), ..BusPeer::default() };
    let daemon = root(task_in(640, "systemd-logind", "/system.slice/systemd-logind.service"));
    let logind = BusPeer {
        process: Some(daemon.id),
        uid: Some(0),
        well_known: Some("org.freedesktop.login1".to_owned()),
        ..BusPeer::default()
    };
    let shut_down = |asked: bool| {
        let mut scene = Scene::default()
            .user(0, "root")
            .target(&sleeper, TargetReason::Running)
            .exec(1, daemon.clone(), &["/lib/systemd/systemd-logind"], &[])
            .exec(100, systemctl.clone(), &["systemctl", "isolate", "x.target"], &[]);
        if asked {
            scene = scene.call(105, client.clone(), "PowerOffWithFlags", &[]);
        }
        scene
            .call(106, logind.clone(), "StartUnit", &["poweroff.target"])
            .job(110, 700, "start", "poweroff.target")
            .signal(114, signal(sig::SIGTERM, systemd(), sleeper.clone()))
            .exit(115, sleeper.clone(), u32::from(sig::SIGTERM), true)
            .death()
    };
    let death = shut_down(true);
    assert!(death.cause.explanation.contains("systemctl isolate"), "{}", death.cause.explanation);
    // A key was pressed, say.
    let death = shut_down(false);
    assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
    assert!(!death.cause.explanation.contains(" ran "), "{}", death.cause.explanation);
    assert!(death.gaps.iter().any(|gap| gap.contains("was not seen")), "{:?}", death.gaps);
}

#[test]
fn whoever_only_calls_himself_reboot_is_not_blamed() {
    let death = going_down(task_in(3000, "reboot", SCOPE), &["reboot"]);
    assert_eq!(death.cause.id, CauseId::SystemShutdown, "{death:#?}");
    assert!(!death.cause.explanation.contains("alice"), "{}", death.cause.explanation);
    assert!(death.gaps.iter().any(|gap| gap.contains("was not seen")), "{:?}", death.gaps);
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

/// alice stops a service over the bus; `answered` tells how the call of `client` fared.
fn stopped_over_the_bus(called_ms: u64, answered: impl FnOnce(Scene, &str) -> Scene) -> Death {
    let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
    let systemctl = task_in(3000, "systemctl", SCOPE);
    let client = BusPeer { name: ":1.6".to_owned(), pid: Some(3000), ..BusPeer::default() };
    let scene = Scene::default()
        .user(1000, "alice")
        .target(&sleeper, TargetReason::Running)
        .exec(100, systemctl.clone(), &["/opt/ours/stopper"], &[])
        .call(called_ms, client, "StopUnit", &["job.service", "replace"]);
    answered(scene, ":1.6")
        .exit(60_000, systemctl, 0, false)
        .job(60_110, 700, "stop", "job.service")
        .signal(60_114, signal(sig::SIGTERM, systemd(), sleeper.clone()))
        .exit(60_115, sleeper, u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn a_call_that_waited_for_a_password_is_the_request() {
    let death =
        stopped_over_the_bus(105, |scene, client| scene.reply(60_111, client, true, Some(700)));
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Observed, "{death:#?}");
    // Known by the pid that the bus gave, though it was gone when it was looked for.
    assert!(death.cause.explanation.contains("alice ran \"/opt/ours/stopper\""), "{death:#?}");
    for refused in [
        stopped_over_the_bus(59_000, |scene, client| scene.reply(60_000, client, false, None)),
        stopped_over_the_bus(105, |scene, _| scene),
    ] {
        assert!(!refused.cause.explanation.contains("stopper"), "{refused:#?}");
    }
}

/// Jobs are told over systemd's own socket, and a busy bus is read after that.
#[test]
fn a_call_that_was_heard_late_is_the_request_if_its_job_is() {
    let death = |job: u32| {
        stopped_over_the_bus(60_900, |scene, client| scene.reply(60_901, client, true, Some(job)))
    };
    assert_eq!(death(700).cause.evidence, Grade::Observed, "{:#?}", death(700));
    assert!(death(700).cause.explanation.contains("stopper"), "{:#?}", death(700));
    assert!(!death(701).cause.explanation.contains("stopper"), "{:#?}", death(701));
}

/// A job that was gone before it could be asked, in a journal that is slow to tell.
#[test]
fn a_jobs_type_shows_in_what_its_unit_does() {
    let death = |states: &[&str]| {
        let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
        let scene = Scene::default().target(&sleeper, TargetReason::Running).job_of_type(
            110,
            700,
            None,
            "job.service",
        );
        let scene = (111..).zip(states).fold(scene, |scene, (ms, state)| {
            scene.unit(ms, "job.service", &[("ActiveState", Value::from(*state))])
        });
        let removed = Job {
            manager: Manager::System,
            id: 700,
            unit: "job.service".to_owned(),
            job_type: None,
            result: Some("done".to_owned()),
        };
        scene
            .signal(120, signal(sig::SIGTERM, systemd(), sleeper.clone()))
            .exit(121, sleeper, u32::from(sig::SIGTERM), true)
            .add(122, Source::Bus, Fact::Job(removed))
            .death()
    };
    let job = |death: &Death| {
        let mut links = death.chain.iter().filter(|link| link.event == LinkEvent::Job);
        links.next().map(|link| link.text.clone())
    };
    let told = |states: &[&str]| job(&death(states));
    assert_eq!(told(&["deactivating"]).as_deref(), Some("systemd[1] job 700 stop job.service"));
    let restart = told(&["deactivating", "activating"]);
    assert_eq!(restart.as_deref(), Some("systemd[1] job 700 restart job.service"));
    // A start that fails.
    let start = told(&["activating", "deactivating"]);
    assert_eq!(start.as_deref(), Some("systemd[1] job 700 start job.service"));
    assert!(told(&[]).is_some_and(|job| job.contains("of a type not seen")));
}

#[test]
fn a_reload_shows_in_what_its_unit_does() {
    let kind = |states: &[&str]| {
        let unit = "job.service".to_owned();
        let job = |result: Option<&str>| {
            let (unit, result) = (unit.clone(), result.map(str::to_owned));
            Fact::Job(Job { manager: Manager::System, id: 700, unit, job_type: None, result })
        };
        let mut world = World::default();
        let mut learn = |ms, fact: Fact| world.observe(&fact.at(at(ms), Source::Bus));
        learn(110, job(None));
        for (ms, state) in (111..).zip(states) {
            let properties = [("ActiveState".to_owned(), Value::from(*state))].into();
            let unit = unit.clone();
            learn(ms, Fact::Unit(UnitProperties { manager: Manager::System, unit, properties }));
        }
        learn(120, job(Some("done")));
        let first = world.jobs.iter().next().expect("the job");
        job_type(&world, first).map(str::to_owned)
    };
    assert_eq!(kind(&["reloading", "active"]).as_deref(), Some("reload"));
    // The program did not survive it.
    assert_eq!(kind(&["reloading", "inactive"]).as_deref(), Some("reload"));
    assert_eq!(kind(&["deactivating", "inactive"]).as_deref(), Some("stop"));
    assert_eq!(kind(&["active"]), None);
}

/// What rpm's triggers do when packages have been upgraded.
#[test]
fn what_is_restarted_for_being_marked_names_the_upgrade() {
    let victim = root(task_in(42, "sleep", "/system.slice/victim.service"));
    let (sudo, dnf) = (root(task_in(79, "sudo", SCOPE)), root(task_in(80, "dnf", SCOPE)));
    let shell = task_in(75, "bash", SCOPE);
    let told = |words: &[&str], marked: bool, kind: &str| {
        let scene = Scene::watching(&victim)
            .session("3", 70)
            .exec(100, sudo.clone(), &["sudo", "dnf", "upgrade"], &[&shell])
            .exec(110, dnf.clone(), &["dnf", "upgrade"], &[&sudo, &shell]);
        let mark = root(task_in(81, "systemctl", SCOPE));
        let words_of_mark = ["systemctl", "set-property", "victim", "Markers=+needs-restart"];
        let scene = match marked {
            true => scene.exec(4000, mark, &words_of_mark, &[&dnf, &sudo, &shell]),
            false => scene,
        };
        // A script of bash, whose name the kernel cut.
        let helper = root(task_in(83, "systemd-update-", SCOPE));
        let script = ["/usr/bin/bash", "/usr/lib/systemd/systemd-update-helper", "system-restart"];
        scene
            .exec(4890, helper.clone(), &script, &[&dnf, &sudo, &shell])
            .exec(
                4900,
                root(task_in(82, "systemctl", SCOPE)),
                words,
                &[&helper, &dnf, &sudo, &shell],
            )
            .job(4999, 194, kind, "victim.service")
            .ended_by(systemd(), victim.clone())
    };
    let marked = ["systemctl", "reload-or-restart", "--marked"];
    let death = told(&marked, true, "restart");
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    let text = &death.cause.explanation;
    for words in ["alice ran \"sudo dnf upgrade\"", "--marked", "victim.service had been marked"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(
        death.fixes.iter().any(|fix| fix.commands.concat().contains("versionlock")),
        "{death:#?}"
    );
    let text = told(&marked, false, "restart").cause.explanation;
    assert!(text.contains("that victim.service was is a conclusion"), "{text}");
    // It stops nothing, and others that name another unit are none of it.
    let others = ["systemctl", "reload-or-restart", "nginx"];
    for death in [told(&marked, true, "stop"), told(&others, false, "restart")] {
        assert!(death.cause.explanation.contains("was not seen"), "{}", death.cause.explanation);
    }
}

/// The helper of rpm's triggers is no script any more in newer versions of systemd: it asks by itself.
#[test]
fn what_systemds_helper_restarts_names_the_upgrade() {
    const HELPER: &str = "/usr/lib/systemd/systemd-update-helper";
    let victim = root(task_in(42, "sleep", "/system.slice/victim.service"));
    let (sudo, dnf) = (root(task_in(79, "sudo", SCOPE)), root(task_in(80, "dnf5", SCOPE)));
    let shell = task_in(75, "bash", SCOPE);
    // The kernel cut its name.
    let helper = |pid| root(task_in(pid, "systemd-update-", SCOPE));
    let above = [&dnf, &sudo, &shell];
    let upgrade = Scene::watching(&victim)
        .session("3", 70)
        .exec(100, sudo.clone(), &["sudo", "dnf5", "upgrade"], &[&shell])
        .exec(110, dnf.clone(), &["dnf5", "upgrade"], &[&sudo, &shell]);
    let restarted = upgrade
        .clone()
        .exec(4000, helper(81), &[HELPER, "mark-restart-system-units", "victim.service"], &above)
        .exec(4900, helper(82), &[HELPER, "system-restart"], &above)
        .job(4999, 194, "restart", "victim.service")
        .ended_by(systemd(), victim.clone());
    assert_eq!(restarted.cause.id, CauseId::UnitStopRequested, "{restarted:#?}");
    let text = &restarted.cause.explanation;
    for words in ["alice ran \"sudo dnf5 upgrade\"", "victim.service had been marked"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // As a package is removed.
    let removed = upgrade
        .exec(4900, helper(82), &[HELPER, "remove-system-units", "victim.service"], &above)
        .job(4999, 194, "stop", "victim.service")
        .ended_by(systemd(), victim);
    let text = &removed.cause.explanation;
    assert!(text.contains("alice ran \"sudo dnf5 upgrade\""), "{text}");
}

/// What a script does that sudo was asked to run is what somebody did by sudo.
#[test]
fn a_script_that_sudo_runs_is_told_with_sudo() {
    let victim = root(task_in(42, "sleep", "/system.slice/victim.service"));
    let (su, sudo) = (root(task_in(70, "su", SCOPE)), root(task_in(79, "sudo", SCOPE)));
    let sh = root(task_in(80, "sh", SCOPE));
    let words = ["sh", "-c", "systemctl restart victim; true"];
    let of_sudo = ["sudo", "sh", "-c", "systemctl restart victim; true"];
    let systemctl = root(task_in(82, "systemctl", SCOPE));
    let death = Scene::watching(&victim)
        .session("3", 70)
        .exec(90, su.clone(), &["su", "-l", "alice"], &[])
        .exec(4880, sudo.clone(), &of_sudo, &[&su])
        .exec(4890, sh.clone(), &words, &[&sudo, &su])
        .exec(4900, systemctl, &["systemctl", "restart", "victim"], &[&sh, &sudo, &su])
        .job(4999, 194, "restart", "victim.service")
        .ended_by(systemd(), victim);
    let text = &death.cause.explanation;
    assert!(text.contains("alice ran \"sudo sh -c 'systemctl restart victim; true'\""), "{text}");
}
