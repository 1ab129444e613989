//! Whoever writes to `cgroup.kill`.

use super::scene::{Scene, signal, task, task_in};
use crate::evidence::{SignalInfo, SignalSent, Syscall, TargetReason, Task, sig};

fn cgroup_kill(sender: Task, target: Task) -> SignalSent {
    SignalSent {
        info: SignalInfo::None,
        syscall: Some(Syscall { name: "write".to_owned(), args: [0; 3] }),
        written_cgroup: Some("/jobs".to_owned()),
        ..signal(sig::SIGKILL, sender, target)
    }
}

/// `echo 1 > cgroup.kill`: no signal of the shell's own.
#[test]
fn a_shell_that_writes_cgroup_kill_calls_no_kill_builtin() {
    let victim = task_in(42, "cc", "/jobs/a");
    let shell = task(60, "bash");
    let death = Scene::watching(&victim)
        .exec(4, shell.clone(), &["bash", "-c", "echo 1 > cgroup.kill"], &[])
        .signal(5, cgroup_kill(shell, victim.clone()))
        .exit(7, victim, 9, true)
        .death();
    let text = &death.cause.explanation;
    assert!(text.contains("which wrote cgroup.kill of /jobs,"), "{text}");
    assert!(!text.contains("builtin"), "{text}");
}

/// `echo 1 | sudo tee cgroup.kill`: as much somebody's command as a kill is.
#[test]
fn a_command_that_writes_cgroup_kill() {
    let victim = task_in(42, "cc", "/jobs/a");
    let root = |task: Task| Task { uid: 0, euid: 0, login_uid: Some(1000), ..task };
    let (shell, sudo, tee) = (task(60, "bash"), root(task(61, "sudo")), root(task(62, "tee")));
    let death = Scene::watching(&victim)
        .exec(1, shell.clone(), &["-bash"], &[])
        .exec(3, sudo.clone(), &["sudo", "tee", "/k"], &[&shell])
        .exec(4, tee.clone(), &["tee", "/k"], &[&sudo, &shell])
        .signal(5, cgroup_kill(tee, victim.clone()))
        .exit(7, victim, 9, true)
        .death();
    assert_eq!(death.cause.id.as_str(), "user-command", "{death:#?}");
    let words = "alice ran \"tee /k\", part of \"sudo tee /k\" from bash[60], which wrote cgroup.kill of /jobs,";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
}

/// `cgroup_post_fork` kills within the parent's clone(2), before or after the writer's first signal.
#[test]
fn whoever_is_born_in_a_cgroup_that_is_killed_was_killed_by_the_writer() {
    let (parent, child) = (task_in(40, "make", "/jobs/a"), task_in(42, "cc", "/jobs/a"));
    let writer = task(60, "supervisor");
    let at_birth = SignalSent {
        syscall: Some(Syscall { name: "clone".to_owned(), args: [0; 3] }),
        written_cgroup: None,
        ..cgroup_kill(parent.clone(), child.clone())
    };
    let play = |born_ms: Option<u64>, written: &str| {
        let mut scene = Scene::default().target(&child, TargetReason::Pid);
        if born_ms == Some(4) {
            scene = scene.signal(4, at_birth.clone());
        }
        let write = cgroup_kill(writer.clone(), parent.clone());
        scene = scene.signal(5, SignalSent { written_cgroup: Some(written.to_owned()), ..write });
        if born_ms == Some(6) {
            scene = scene.signal(6, at_birth.clone());
        }
        scene.exit(7, child.clone(), 9, true).death()
    };
    for born_ms in [4, 6] {
        let death = play(Some(born_ms), "/jobs");
        assert_eq!(death.killer.process.map(|killer| killer.pid), Some(60), "born at {born_ms}");
    }
    let death = play(Some(6), "/job");
    assert_eq!(death.killer.process, None);
    assert!(death.cause.explanation.contains("killed as it was made"), "{death:#?}");
}
