//! Deaths by daemons of the system that clean up.

use super::scene::{Scene, signal, task_in};
use crate::evidence::{Fact, Grade, JournalLine, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

const UDEV: &str = "/system.slice/systemd-udevd.service/udev";

fn root(pid: u32, comm: &str, cgroup: &str) -> Task {
    Task { uid: 0, euid: 0, ..task_in(pid, comm, cgroup) }
}

/// `said`: what the service of this daemon logged.
fn killed_by(killer: Task, victim: Task, said: Option<(&str, &str)>) -> Death {
    let mut scene = Scene::default()
        .user(1000, "alice")
        .target(&victim, TargetReason::Running)
        .signal(5, signal(sig::SIGKILL, killer, victim.clone()));
    if let Some((daemon, message)) = said {
        let line = JournalLine {
            from_unit: Some(format!("{daemon}.service")),
            uid: Some(0),
            message: message.to_owned(),
            ..JournalLine::default()
        };
        scene = scene.add(4, Source::Journal, Fact::Journal(line));
    }
    scene.exit(7, victim, 9, true).death()
}

#[test]
fn what_a_devices_rule_left_running() {
    let death = killed_by(root(300, "systemd-udevd", UDEV), root(42, "sleep", UDEV), None);
    assert_eq!(death.cause.id, CauseId::UdevCleanup, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred, "udev does not say so: {death:#?}");
    assert!(format!("{:?}", death.fixes).contains("SYSTEMD_WANTS"), "{death:#?}");
    let elsewhere = root(300, "systemd-udevd", "/system.slice/other.service");
    let death = killed_by(elsewhere, root(42, "sleep", UDEV), None);
    assert_ne!(death.cause.id, CauseId::UdevCleanup, "{death:#?}");
}

#[test]
fn what_a_devices_rule_ran_for_too_long() {
    let said = "sda: Spawned process '/usr/local/bin/scan' [42] timed out after 2min 59s, killing.";
    let death = killed_by(
        root(301, "(udev-worker)", UDEV),
        root(42, "scan", UDEV),
        Some(("systemd-udevd", said)),
    );
    assert_eq!(death.cause.id, CauseId::UdevCleanup, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Reported, "{death:#?}");
    assert!(death.cause.explanation.contains("timed out after 2min 59s"), "{death:#?}");
}

/// A rule's own command, in the same cgroup.
#[test]
fn what_a_devices_rule_ends_itself() {
    let death = killed_by(root(301, "pkill", UDEV), root(42, "scan", UDEV), None);
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

/// systemd-homed's child, which has become the user, kills all that the user runs.
fn killed_by_homed(cgroup: &str, said: Option<&str>) -> Death {
    let victim = task_in(42, "vim", "/user.slice/user-1000.slice/session-2.scope");
    let killer = task_in(301, "(sd-killer)", cgroup);
    killed_by(killer, victim, said.map(|said| ("systemd-homed", said)))
}

#[test]
fn the_image_of_a_home_directory_is_gone() {
    const HOMED: &str = "/system.slice/systemd-homed.service";
    let said = |user: &str| {
        format!(
            "Backing image disappeared while home directory {user} was mounted, unmounting it forcibly."
        )
    };
    let death = killed_by_homed(HOMED, Some(&said("alice")));
    assert_eq!(death.cause.id, CauseId::HomedImageGone, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Reported, "{death:#?}");
    assert!(death.cause.explanation.contains("ended everything that runs as alice"), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.text.contains("disappeared")), "{death:#?}");

    for other in [None, Some(said("alice2"))] {
        let death = killed_by_homed(HOMED, other.as_deref());
        assert_eq!(death.cause.id, CauseId::HomedImageGone, "{death:#?}");
        assert_eq!(death.cause.evidence, Grade::Inferred, "{death:#?}");
        assert!(death.cause.explanation.contains("was not seen"), "{death:#?}");
    }

    // Anybody can take that name.
    let death =
        killed_by_homed("/user.slice/user-1000.slice/session-3.scope", Some(&said("alice")));
    assert_ne!(death.cause.id, CauseId::HomedImageGone, "{death:#?}");
}
