//! Containers and machines that end with what runs them.

use super::scene::{Scene, at, caught, root, signal, systemd, task_in};
use crate::evidence::{
    BusCall, BusPeer, Fact, Grade, Manager, SignalInfo, SignalSent, Source, Syscall, Task, sig,
};
use crate::story::verdict::{CauseId, Death, LinkEvent};

const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";

fn machine(pid: u32, comm: &str) -> Task {
    Task { pid_ns: 7, ..root(task_in(pid, comm, "/machine.slice/machine-box.scope/payload")) }
}

fn of_bystander(sent: SignalSent) -> SignalSent {
    SignalSent { is_target: false, ..sent }
}

/// The init of the victim's pid namespace has ended.
fn taken_along(init: &Task, victim: &Task) -> SignalSent {
    SignalSent {
        info: SignalInfo::Privileged,
        syscall: None,
        stack: vec!["zap_pid_ns_processes".to_owned()],
        ..signal(sig::SIGKILL, Task { exiting: true, ..init.clone() }, victim.clone())
    }
}

fn ended_with(scene: Scene, init: &Task, victim: Task) -> Death {
    scene
        .exit(5002, init.clone(), 9, false)
        .signal(5003, taken_along(init, &victim))
        .exit(5004, victim, 9, true)
        .death()
}

fn systemctl(scene: Scene, words: &[&str]) -> Scene {
    let shell = root(task_in(80, "bash", "/"));
    scene.exec(4900, root(task_in(490, "systemctl", "/")), words, &[&shell])
}

fn events(death: &Death) -> Vec<LinkEvent> {
    death.chain.iter().map(|link| link.event).collect()
}

#[test]
fn a_machine_ends_with_the_unit_that_runs_it() {
    let (init, victim) = (machine(484, "(sd-stubinit)"), machine(487, "sleep"));
    let nspawn = root(task_in(481, "systemd-nspawn", "/system.slice/box.service"));
    let told = caught(sig::SIGTERM, systemd(), nspawn.clone());
    let killed = of_bystander(signal(sig::SIGKILL, nspawn.clone(), init.clone()));
    let scene = Scene::watching(&victim).exec(100, nspawn, &["systemd-nspawn", "-M", "box"], &[]);

    let stopped = systemctl(scene.clone(), &["systemctl", "stop", "box"])
        .signal(5000, of_bystander(told))
        .signal(5001, killed.clone())
        .job(5002, 927, "stop", "box.service");
    let death = ended_with(stopped, &init, victim.clone());
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    let words = "as box.service was stopped: root ran \"systemctl stop box\"";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    let chain = events(&death);
    assert_eq!(chain[..3], [LinkEvent::Command, LinkEvent::Job, LinkEvent::Signal], "{death:#?}");

    // Its scope's stop reaches it without a signal.
    let stopped = systemctl(scene.clone(), &["systemctl", "stop", "machine-box.scope"])
        .job(4999, 972, "stop", "machine-box.scope")
        .signal(5001, killed.clone());
    let death = ended_with(stopped, &init, victim.clone());
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    let words = "as machine-box.scope was stopped: root ran";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);

    // What machined clears away when the machine is gone did not end it.
    let cleared = scene.signal(5001, killed).job(5010, 928, "stop", "machine-box.scope");
    let death = ended_with(cleared, &init, victim);
    assert_eq!(death.cause.id, CauseId::PidNamespaceInitExited, "{death:#?}");
}

#[test]
fn what_machined_passes_on_is_told_by_who_asked_it() {
    let victim = machine(487, "sleep");
    let machinectl = root(task_in(413, "machinectl", "/"));
    let peer = |task: &Task, well_known: Option<&str>| BusPeer {
        process: Some(task.id),
        uid: Some(0),
        comm: Some(task.comm.clone()),
        well_known: well_known.map(str::to_owned),
        ..BusPeer::default()
    };
    let call = |sender: BusPeer, path: &str, member: &str, name: &str| {
        Fact::BusCall(BusCall {
            bus: Manager::System,
            sender,
            path: path.to_owned(),
            member: member.to_owned(),
            args: vec![name.into(), "all".into(), 15.into()],
            granted_ns: Some(at(4950).boot_ns),
            ..BusCall::default()
        })
    };
    let machined = root(task_in(414, "systemd-machine", "/system.slice/systemd-machined.service"));
    let asked = call(peer(&machinectl, None), "/org/freedesktop/machine1", "KillMachine", "box");
    let passed_on = call(
        peer(&machined, Some("org.freedesktop.machine1")),
        "/org/freedesktop/systemd1",
        "KillUnit",
        "machine-box.scope",
    );
    let scene = Scene::watching(&victim)
        .exec(100, machined, &["systemd-machined"], &[])
        .exec(4900, machinectl, &["machinectl", "kill", "-s", "TERM", "box"], &[])
        .add(4950, Source::Bus, asked)
        .add(4960, Source::Bus, passed_on);
    let death = scene.clone().ended_by(systemd(), victim.clone());
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    let words = "root ran \"machinectl kill -s TERM box\"";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    // What another process of the machine's does is not what was asked for.
    let death = scene.ended_by(machine(172, "guard"), victim);
    assert_eq!(death.cause.id, CauseId::ProcessSignal, "{death:#?}");
}

/// Without `live-restore` docker's daemon stops its containers when it is itself stopped.
#[test]
fn a_restart_of_docker_ends_its_containers() {
    let inside = |pid: u32, comm: &str| Task {
        pid_ns: 7,
        ..root(task_in(pid, comm, &format!("/docker/{ID}")))
    };
    let (init, victim) = (inside(120, "sh"), inside(126, "sleep"));
    let dockerd = root(task_in(70, "dockerd", "/system.slice/docker.service"));
    let runc = root(task_in(155, "runc", "/system.slice/docker.service"));
    let run =
        |watched: &Task, restarts: bool| {
            let told = of_bystander(caught(sig::SIGTERM, systemd(), dockerd.clone()));
            let killed = signal(sig::SIGKILL, runc.clone(), init.clone());
            let scene = Scene::watching(watched)
                .exec(100, dockerd.clone(), &["dockerd"], &[])
                .exec(4995, runc.clone(), &["runc", "kill", ID, "KILL"], &[&dockerd]);
            let scene = if restarts {
                systemctl(scene, &["systemctl", "restart", "docker"])
                    .job(4990, 300, "restart", "docker.service")
                    .signal(4991, told)
            } else {
                scene
            };
            scene.signal(5001, SignalSent { is_target: watched.id == init.id, ..killed })
        };
    let restarted = "as docker.service was restarted: root ran \"systemctl restart docker\"";
    let death = run(&init, true).exit(5002, init.clone(), 9, true).death();
    let along = ended_with(run(&victim, true), &init, victim.clone());
    for death in [death, along] {
        assert_eq!(death.cause.id, CauseId::ContainerKill, "{death:#?}");
        assert_eq!(death.cause.evidence, Grade::Inferred);
        assert!(death.cause.explanation.contains(restarted), "{}", death.cause.explanation);
        let titles: Vec<_> = death.fixes.iter().map(|fix| fix.title.as_str()).collect();
        assert!(titles[0].contains("daemon"), "{titles:?}");
    }
    let death = ended_with(run(&victim, false), &init, victim.clone());
    assert_eq!(death.cause.id, CauseId::ContainerKill, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("137") && !text.contains("restarted"), "{text}");
}

/// systemd-nspawn kills its machine's init at once; whoever reads the bus may hear of the call only then.
#[test]
fn a_machine_is_killed_before_the_bus_is_heard_of() {
    let (init, victim) = (machine(484, "(sd-stubinit)"), machine(487, "sleep"));
    let nspawn = root(task_in(481, "systemd-nspawn", "/system.slice/box.service"));
    let machinectl = root(task_in(413, "machinectl", "/"));
    let killed = of_bystander(signal(sig::SIGKILL, nspawn, init.clone()));
    let asked = Fact::BusCall(BusCall {
        bus: Manager::System,
        sender: BusPeer { process: Some(machinectl.id), uid: Some(0), ..BusPeer::default() },
        path: "/org/freedesktop/machine1".to_owned(),
        member: "TerminateMachine".to_owned(),
        args: vec!["box".into()],
        granted_ns: Some(at(5001).boot_ns),
        ..BusCall::default()
    });
    let scene = Scene::watching(&victim)
        .exec(4900, machinectl, &["machinectl", "terminate", "box"], &[])
        .signal(5000, killed)
        .add(5001, Source::Bus, asked);
    let death = ended_with(scene, &init, victim);
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    let chain = events(&death);
    assert_eq!(
        chain[..3],
        [LinkEvent::Command, LinkEvent::BusCall, LinkEvent::Signal],
        "{death:#?}"
    );
    assert_eq!(death.chain[1].evidence, Grade::Inferred, "{death:#?}");
}

/// As systemd-nspawn does it on systemd 262: its machine's scope is killed by the manager, on its behalf.
#[test]
fn a_machine_is_killed_on_behalf_of_what_runs_it() {
    let scope = |pid, comm| root(task_in(pid, comm, "/machine.slice/box.scope/payload"));
    let victim = Task { pid_ns: 7, ..scope(487, "sleep") };
    let nspawn = root(task_in(481, "systemd-nspawn", "/system.slice/box.service"));
    let call = Fact::BusCall(BusCall {
        bus: Manager::System,
        sender: BusPeer {
            process: Some(nspawn.id),
            uid: Some(0),
            comm: Some(nspawn.comm.clone()),
            ..BusPeer::default()
        },
        path: "/org/freedesktop/systemd1".to_owned(),
        member: "KillUnit".to_owned(),
        args: vec!["box.scope".into(), "all".into(), 9.into()],
        granted_ns: Some(at(5001).boot_ns),
        ..BusCall::default()
    });
    let killed = SignalSent {
        info: SignalInfo::None,
        syscall: Some(Syscall { name: "write".to_owned(), args: [0; 3] }),
        written_cgroup: Some("/machine.slice/box.scope".to_owned()),
        ..signal(sig::SIGKILL, systemd(), victim.clone())
    };
    let told = of_bystander(caught(sig::SIGTERM, systemd(), nspawn.clone()));
    let scene = Scene::watching(&victim).exec(100, nspawn, &["systemd-nspawn", "-M", "box"], &[]);
    let ended = |scene: Scene| {
        let scene = scene.add(5001, Source::Bus, call.clone());
        scene.signal(5002, killed.clone()).exit(5003, victim.clone(), 9, true).death()
    };
    let death =
        ended(systemctl(scene.clone(), &["systemctl", "stop", "box"]).signal(5000, told).job(
            5001,
            927,
            "stop",
            "box.service",
        ));
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    let words = "as box.service was stopped: root ran \"systemctl stop box\"";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert!(events(&death).contains(&LinkEvent::BusCall), "{death:#?}");
    // Nobody stopped its unit: what is known is that it asked.
    assert_eq!(ended(scene).cause.id, CauseId::SystemctlKill);
}
