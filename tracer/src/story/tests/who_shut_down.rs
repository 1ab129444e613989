//! Who shut the machine down, by what is known without the bus, or over it.

use super::manager::SCOPE;
use super::scene::{Scene, root, signal, systemd, task_in};
use crate::evidence::{BusPeer, Grade, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

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
