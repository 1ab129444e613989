//! What had units restarted that were marked for it, and what scripts asked for.

use super::manager::SCOPE;
use super::scene::{Scene, root, systemd, task_in};
use crate::evidence::Grade;
use crate::story::verdict::CauseId;

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
    let (sshd, sudo) = (root(task_in(70, "sshd", SCOPE)), root(task_in(79, "sudo", SCOPE)));
    let sh = root(task_in(80, "sh", SCOPE));
    let words = ["sh", "-c", "systemctl restart victim; true"];
    let of_sudo = ["sudo", "sh", "-c", "systemctl restart victim; true"];
    let systemctl = root(task_in(82, "systemctl", SCOPE));
    let death = Scene::watching(&victim)
        .session("3", 70)
        .exec(90, sshd.clone(), &["sshd: alice [priv]"], &[])
        .exec(4880, sudo.clone(), &of_sudo, &[&sshd])
        .exec(4890, sh.clone(), &words, &[&sudo, &sshd])
        .exec(4900, systemctl, &["systemctl", "restart", "victim"], &[&sh, &sudo, &sshd])
        .job(4999, 194, "restart", "victim.service")
        .ended_by(systemd(), victim);
    let text = &death.cause.explanation;
    assert!(text.contains("alice ran \"sudo sh -c 'systemctl restart victim; true'\""), "{text}");
}
