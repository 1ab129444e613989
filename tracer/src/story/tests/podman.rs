//! Containers of podman.

use super::containers::ID;
use super::scene::{Scene, caught, root, signal, task, task_in};
use crate::evidence::{
    Ancestor, Container, ContainerFound, Fact, ProcessId, ProcessSnapshot, SignalSent, Source,
    TargetReason, Task, sig,
};
use crate::story::verdict::CauseId;

/// `podman run --timeout 5`: the monitor of the container ends it.
#[test]
fn the_time_that_podman_gave_a_container_is_told() {
    let killed_after = |ms: u64| {
        let cgroup = format!("/libpod_parent/libpod-{ID}");
        let victim = Task { ppid: 30, pid_ns: 2, ns_pid: 1, ..task_in(42, "sleep", &cgroup) };
        let conmon = root(task(30, "conmon"));
        let words = ["/usr/bin/conmon", "--api-version", "1", "-c", ID, "--timeout=5"];
        let snapshot = ProcessSnapshot {
            pid: 30,
            start_ns: conmon.id.start_ns,
            comm: "conmon".to_owned(),
            cmdline: words.map(str::to_owned).to_vec(),
            ..ProcessSnapshot::default()
        };
        let born_ms = 1_005_000 - ms;
        let id = ProcessId { start_ns: born_ms * 1_000_000, ..victim.id };
        let victim = Task { id, ..victim };
        Scene::watching(&victim)
            .add(0, Source::Proc, Fact::Process(Box::new(snapshot)))
            .signal(5000, signal(9, conmon, victim.clone()))
            .exit(5001, victim, 9, true)
            .death()
    };
    let death = killed_after(5200);
    assert_eq!(death.cause.id, CauseId::ContainerKill, "{death:#?}");
    assert!(death.cause.explanation.contains("5 s (podman run --timeout)"), "{death:#?}");
    assert!(!death.cause.explanation.contains("ran \""), "{death:#?}");
    // It was there for much longer: that is not why.
    assert!(!killed_after(60_000).cause.explanation.contains("--timeout)"));
}

/// What podman itself runs is told of whoever ran podman, and with what that was asked for.
#[test]
fn what_podman_was_asked_for_counts_as_well() {
    let cgroup = format!("/libpod_parent/libpod-{ID}");
    let victim = Task { pid_ns: 2, ns_pid: 1, ..task_in(42, "sleep", &cgroup) };
    let (runc, podman, bash) = (task(90, "runc"), task(80, "podman"), task(79, "bash"));
    let parents = [&podman, &bash].map(|above| Ancestor {
        id: above.id,
        comm: above.comm.clone(),
        uid: 1000,
    });
    let sent = SignalSent {
        ancestors: parents.to_vec().into(),
        ..signal(9, runc.clone(), victim.clone())
    };
    let short = &ID[..12];
    let death = Scene::watching(&victim)
        .exec(4900, podman.clone(), &["podman", "rm", "-f", short], &[&bash])
        .exec(4980, runc, &["runc", "kill", ID, "9"], &[&podman, &bash])
        .signal(5000, sent)
        .exit(5001, victim, 9, true)
        .death();
    assert!(death.cause.explanation.contains("alice ran \"podman rm -f"), "{death:#?}");
    assert!(death.cause.explanation.ends_with("It is removed then."), "{death:#?}");
    assert!(!death.fixes.iter().any(|fix| fix.commands[0].starts_with("podman start")));
}

/// A quadlet that is stopped: the unit starts it again, whatever its commands do with the container.
#[test]
fn a_quadlet_is_started_again_by_its_unit() {
    let unit = "/system.slice/qweb.service";
    let cgroup = format!("{unit}/libpod-payload-{ID}");
    let victim = root(Task { pid_ns: 2, ns_pid: 1, ..task_in(42, "podman-init", &cgroup) });
    let child = root(Task { pid_ns: 2, ns_pid: 7, ppid: 42, ..task_in(43, "sleep", &cgroup) });
    let crun = root(task_in(90, "crun", unit));
    let podman = root(task_in(80, "podman", unit));
    let parent = Ancestor { id: podman.id, comm: "podman".to_owned(), uid: 0 };
    let told = SignalSent {
        ancestors: vec![parent].into(),
        blocked: true,
        ..caught(sig::SIGTERM, crun.clone(), victim.clone())
    };
    let asked = |verb: &'static str| {
        let container = Container {
            runtime: "podman".to_owned(),
            id: ID.to_owned(),
            name: Some("qweb".to_owned()),
            ..Container::default()
        };
        let found = ContainerFound { cgroup: cgroup.clone(), container };
        Scene::watching(&victim)
            .add(0, Source::CgroupFs, Fact::Container(found))
            .exec(4700, root(task(81, "systemctl")), &["systemctl", verb, "qweb"], &[])
            .job(4750, 9, verb, "qweb.service")
            .target(&child, TargetReason::Running)
            .exec(4800, podman.clone(), &["podman", "rm", "-f", "-i", ID], &[&task(1, "systemd")])
            .exec(4900, crun.clone(), &["crun", "kill", ID, "15"], &[&podman])
            .signal(5000, told.clone())
            .signal(5001, signal(sig::SIGTERM, victim.clone(), child.clone()))
            .exit(5002, child.clone(), 15, true)
            .deaths()
            .remove(0)
    };
    let death = asked("stop");
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("as qweb.service was stopped"), "{death:#?}");
    assert!(!text.contains("removed"), "{death:#?}");
    assert_eq!(death.fixes[0].commands, ["sudo systemctl start qweb.service"], "{death:#?}");
    assert!(asked("restart").fixes.is_empty());
}
