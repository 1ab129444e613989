//! elogind, where systemd does not run.

use super::scene::{Scene, by, root, signal, task_in};
use crate::evidence::{Grade, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

/// alice's session 3, which elogind names the cgroup by.
const SESSION: &str = "/3";

fn elogind() -> Task {
    root(task_in(640, "elogind-daemon", "/"))
}

fn victim() -> Task {
    task_in(2041, "victim", SESSION)
}

/// A session whose leader is sshd, and what logind goes by.
fn scene(kills: &str) -> Scene {
    let place = Some(("/etc/elogind/logind.conf", 15));
    Scene::default()
        .user(1000, "alice")
        .session("3", 1900)
        .setting("logind.conf", "KillUserProcesses", kills, place)
        .target(&victim(), TargetReason::Running)
}

fn ended_by(scene: Scene, sender: Task) -> Death {
    scene
        .signal(5020, signal(sig::SIGTERM, sender, victim()))
        .exit(5021, victim(), u32::from(sig::SIGTERM), true)
        .death()
}

fn released(scene: Scene) -> Scene {
    let sshd = root(task_in(1900, "sshd", SESSION));
    let scene = scene.calls_logind(5000, by(&sshd), "ReleaseSession", vec!["3".into()]);
    scene.exit(5010, sshd, 0xff00, false)
}

#[test]
fn what_is_left_of_a_login_is_ended_by_elogind_itself() {
    let death = ended_by(released(scene("yes")), elogind());
    assert_eq!(death.cause.id, CauseId::LogindKillUserProcesses, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Observed);
    let text = &death.cause.explanation;
    assert!(
        text.contains("(alice) was ended by elogind-daemon[640]: alice's login had ended"),
        "{text}"
    );
    assert!(text.contains("KillUserProcesses=yes (/etc/elogind/logind.conf:15)"), "{text}");
    assert_eq!(death.cause.settings[0].file.as_deref(), Some("/etc/elogind/logind.conf"));
    let commands: Vec<&String> = death.fixes.iter().flat_map(|fix| &fix.commands).collect();
    assert!(
        commands.iter().any(|line| line.contains("/etc/elogind/logind.conf.d/")),
        "{commands:?}"
    );
    assert!(commands.iter().all(|line| !line.contains("systemctl")), "{commands:?}");
}

#[test]
fn a_session_that_somebody_ends_is_laid_to_whoever_asked() {
    let loginctl = root(task_in(3000, "loginctl", "/"));
    let scene =
        scene("no").exec(4900, loginctl.clone(), &["loginctl", "terminate-session", "3"], &[]);
    let death = ended_by(
        scene.calls_logind(5000, by(&loginctl), "TerminateSession", vec!["3".into()]),
        elogind(),
    );
    assert_eq!(death.cause.id, CauseId::LogindTerminate, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("root ran \"loginctl terminate-session 3\""), "{text}");
}

#[test]
fn a_signal_of_elogind_without_a_reason_seen_is_its_signal_and_no_more() {
    let death = ended_by(scene("yes"), elogind());
    assert_eq!(
        death.cause.id,
        CauseId::ProcessSignal,
        "an idle session would be ended as well: {death:#?}"
    );
}

#[test]
fn a_users_program_of_that_name_is_not_taken_for_it() {
    let forged = task_in(640, "elogind-daemon", "/");
    let death = ended_by(released(scene("yes")), forged);
    assert_ne!(death.cause.id, CauseId::LogindKillUserProcesses, "{death:#?}");
}
