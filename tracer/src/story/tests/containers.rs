//! Deaths of what runs in containers.

use super::scene::{Scene, caught, root, signal, task, task_in};
use crate::evidence::{
    Ancestor, Container, ContainerFound, Fact, Grade, Job, Manager, ProcessSnapshot, Setting,
    SignalResult, SignalSent, Source, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death, LinkEvent};

pub(super) const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";

const SHIM: &str = "containerd-shim";

/// How docker is asked: the runtime is run by the container's shim, which is nobody's child.
pub(super) struct Docker {
    pub(super) victim: Task,
    pub(super) scene: Scene,
}

impl Docker {
    /// A container `web` of docker's.
    pub(super) fn new() -> Self {
        let cgroup = format!("/docker/{ID}");
        let victim = Task { uid: 0, euid: 0, pid_ns: 2, ns_pid: 1, ..task_in(42, "web", &cgroup) };
        let container = Container {
            runtime: "docker".to_owned(),
            id: ID.to_owned(),
            name: Some("web".to_owned()),
            ..Container::default()
        };
        let found = ContainerFound { cgroup, container };
        let snapshot = ProcessSnapshot {
            pid: victim.id.pid,
            start_ns: victim.id.start_ns,
            comm: victim.comm.clone(),
            cgroup: victim.cgroup.clone(),
            parents: vec![shim().id],
            ..ProcessSnapshot::default()
        };
        let scene = Scene::watching(&victim)
            .add(0, Source::Proc, Fact::Process(Box::new(snapshot)))
            .add(0, Source::CgroupFs, Fact::Container(found));
        Self { victim, scene }
    }

    pub(super) fn with(self, change: impl FnOnce(Scene) -> Scene) -> Self {
        Self { scene: change(self.scene), ..self }
    }

    pub(super) fn setting(self, name: &str, value: &str, file: Option<&str>) -> Self {
        let scope = Setting::of_container(ID);
        self.with(|scene| scene.setting(&scope, name, value, file.map(|file| (file, 1))))
    }

    /// The runtime is run, and sends this.
    pub(super) fn acts(self, ms: u64, pid: u32, number: u8) -> Self {
        let runc = root(task(pid, "runc"));
        let (shim, init) = (shim(), task(1, "init"));
        let parents =
            [&shim, &init].map(|above| Ancestor { id: above.id, comm: above.comm.clone(), uid: 0 });
        let ignored = matches!(number, sig::SIGTERM | sig::SIGHUP);
        let sent = SignalSent {
            ancestors: parents.to_vec().into(),
            result: if ignored { SignalResult::Ignored } else { SignalResult::Delivered },
            fatal: !ignored,
            namespace_init: true,
            ..signal(number, runc.clone(), self.victim.clone())
        };
        self.with(|scene| {
            scene
                .exec(
                    ms - 20,
                    runc,
                    &["runc", "--root", "/var/run/docker", "kill"],
                    &[&shim, &init],
                )
                .signal(ms, sent)
        })
    }

    /// Its end by SIGKILL.
    pub(super) fn dies(self, ms: u64) -> Death {
        self.scene.exit(ms, self.victim, 9, true).death()
    }
}

pub(super) fn shim() -> Task {
    root(task(30, SHIM))
}

/// Alice, at her shell, runs a command line.
pub(super) fn runs(scene: Scene, ms: u64, line: &str) -> Scene {
    let words: Vec<&str> = line.split(' ').collect();
    scene.exec(ms, task(80, words[0]), &words, &[&task(79, "bash")])
}

#[test]
fn who_ran_dockers_client_is_told_and_not_root_whose_daemon_ran_the_runtime() {
    let killed = |line: &str| {
        Docker::new().with(|scene| runs(scene, 4900, line)).acts(5000, 90, 9).dies(5005)
    };
    for line in ["docker kill web", "docker rm -f web"] {
        let death = killed(line);
        assert_eq!(death.cause.id, CauseId::ContainerKill, "{death:#?}");
        let told = format!("100 ms before, alice ran \"{line}\"");
        assert!(death.cause.explanation.contains(&told), "{death:#?}");
        assert!(death.cause.explanation.contains("which seems to be why"), "{death:#?}");
        assert!(!death.cause.explanation.contains("root ran"), "{death:#?}");
        let command = death.chain.iter().find(|link| link.event == LinkEvent::Command);
        assert!(command.is_some_and(|it| it.evidence == Grade::Inferred && it.text.contains(line)));
        assert!(death.gaps.is_empty(), "{death:#?}");
    }
    // What is removed cannot be started.
    let [killed_again, removed_again] = ["docker kill web", "docker rm -f web"].map(|line| {
        let fixes = killed(line).fixes;
        fixes.iter().any(|fix| fix.commands.iter().any(|it| it == "docker start web"))
    });
    assert!(killed_again && !removed_again);
    // Of another container, by another signal, or not meant to end it.
    for line in ["docker kill other", "docker kill -s TERM web", "docker logs -f web"] {
        let death = killed(line);
        let explanation = &death.cause.explanation;
        assert!(explanation.contains("who asked docker for that was not seen"), "{death:#?}");
        assert!(!explanation.contains("ran"), "{death:#?}");
        assert!(death.gaps.iter().any(|gap| gap.contains("docker")), "{death:#?}");
        assert!(death.fixes.iter().any(|fix| fix.commands[0].starts_with("docker events")));
    }
}

/// Rootless docker: the user's own daemon has the runtime run as that user.
#[test]
fn who_asked_a_users_own_docker_is_told() {
    let cgroup =
        format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope");
    let victim = Task { pid_ns: 2, ns_pid: 1, ..task_in(42, "web", &cgroup) };
    let container = Container {
        runtime: "docker".to_owned(),
        id: ID.to_owned(),
        name: Some("web".to_owned()),
        named_by: Some(1000),
        ..Container::default()
    };
    let play = |owner: u32, asker: u32| {
        let of = |pid: u32, comm: &str, uid: u32| Task { uid, euid: uid, ..task(pid, comm) };
        let (runc, shim) = (of(90, "runc", owner), of(30, SHIM, owner));
        let above = Ancestor { id: shim.id, comm: shim.comm.clone(), uid: owner };
        let blow = SignalSent {
            ancestors: vec![above].into(),
            ..signal(sig::SIGKILL, runc.clone(), victim.clone())
        };
        let found = ContainerFound { cgroup: cgroup.clone(), container: container.clone() };
        Scene::watching(&victim)
            .add(0, Source::CgroupFs, Fact::Container(found))
            .exec(4900, of(91, "docker", asker), &["docker", "kill", "web"], &[])
            .exec(4990, runc, &["runc", "kill"], &[&shim])
            .signal(5000, blow)
            .exit(5001, victim.clone(), 9, true)
            .death()
            .cause
            .explanation
    };
    let told = play(1000, 1000);
    assert!(
        told.contains("100 ms before, alice ran \"docker kill web\", which seems to be why"),
        "{told}"
    );
    let of_other = play(1000, 1001);
    assert!(
        of_other.contains("who asked docker for that was not seen") && !of_other.contains("bob"),
        "{of_other}"
    );
    // Another user's program of that name is no daemon of this one's.
    assert!(!play(1001, 1000).contains("who asked docker"));
}

/// `systemctl --user stop docker`: the user's own manager stops that user's daemon, and that its containers.
#[test]
fn who_stopped_a_users_own_docker_is_told() {
    let service = "/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service";
    let cgroup =
        format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope");
    let victim = Task { pid_ns: 2, ns_pid: 1, ..task_in(42, "web", &cgroup) };
    let container = Container {
        runtime: "docker".to_owned(),
        id: ID.to_owned(),
        name: Some("web".to_owned()),
        named_by: Some(1000),
        ..Container::default()
    };
    let play = |manager: Manager, unit: &str, words: &[&str]| {
        let (runc, shim) = (task_in(90, "runc", service), task_in(30, SHIM, service));
        let above = Ancestor { id: shim.id, comm: shim.comm.clone(), uid: 1000 };
        let blow = SignalSent {
            ancestors: vec![above].into(),
            ..signal(sig::SIGTERM, runc.clone(), victim.clone())
        };
        let found = ContainerFound { cgroup: cgroup.clone(), container: container.clone() };
        let job = Job {
            manager,
            id: 31,
            unit: unit.to_owned(),
            job_type: Some("stop".to_owned()),
            result: None,
        };
        Scene::watching(&victim)
            .user(1000, "alice")
            .add(0, Source::CgroupFs, Fact::Container(found))
            .exec(4800, task(81, "systemctl"), words, &[&task(70, "bash")])
            .add(4850, Source::Bus, Fact::Job(job))
            .exec(4990, runc, &["runc", "kill"], &[&shim])
            .signal(5000, blow)
            .exit(5001, victim.clone(), 15, true)
            .death()
    };
    let own = Manager::User(1000);
    let stop: &[&str] = &["systemctl", "--user", "stop", "docker"];
    let death = play(own, "docker.service", stop);
    let text = &death.cause.explanation;
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    assert!(
        text.contains(
            "as alice's docker.service was stopped: alice ran \"systemctl --user stop docker\""
        ),
        "{text}"
    );
    assert!(death.chain.iter().any(|link| link.event == LinkEvent::Job), "{death:#?}");
    let commands: Vec<_> = death.fixes.iter().flat_map(|fix| &fix.commands).collect();
    assert!(!commands.iter().any(|it| it.contains("live-restore")), "{death:#?}");
    assert!(
        commands.iter().any(|it| it.contains("systemctl --user start docker.service")),
        "{death:#?}"
    );
    // Root's docker, another user's, and another unit are not this user's docker.
    for (manager, unit) in [
        (Manager::System, "docker.service"),
        (Manager::User(1001), "docker.service"),
        (own, "web.service"),
    ] {
        let death = play(manager, unit, stop);
        assert!(!death.cause.explanation.contains("service was"), "{manager:?} {unit} {death:#?}");
    }
    // The job was seen, who asked for it was not.
    let unasked = play(own, "docker.service", &["systemctl", "--user", "status"]);
    let text = &unasked.cause.explanation;
    assert!(text.contains("docker.service was stopped; who asked for that was not seen"), "{text}");
    assert!(!unasked.gaps.is_empty(), "{unasked:#?}");
}

/// One that docker would not talk with has ended long before anything happens.
#[test]
fn a_client_that_had_ended_by_then_did_not_have_it_done() {
    let client = task(80, "docker");
    let death = Docker::new()
        .with(|scene| runs(scene, 4900, "docker kill web").exit(4950, client, 256, false))
        .acts(5000, 90, 9)
        .dies(5005);
    assert!(death.cause.explanation.contains("was not seen"), "{death:#?}");
}

#[test]
fn whose_the_time_was_after_which_docker_killed_is_told() {
    let stopped = |docker: Docker, line: &str| {
        docker.with(|scene| runs(scene, 4900, line)).acts(5000, 90, 15).acts(7100, 91, 9).dies(7105)
    };
    let own = stopped(Docker::new(), "docker stop -t 2 web");
    assert!(own.cause.explanation.contains("since that command gave it 2 s"), "{own:#?}");
    let file = "/var/lib/docker/containers/x/config.v2.json";
    let set = Docker::new().setting("StopTimeout", "2", Some(file));
    let set = stopped(set, "docker stop web");
    assert!(set.cause.explanation.contains("since its StopTimeout is 2 s"), "{set:#?}");
    assert_eq!(set.cause.settings[0].name, "StopTimeout", "{set:#?}");
    // It was not that time that ran out.
    let other = Docker::new().setting("StopTimeout", "10", None);
    let other = stopped(other, "docker stop web");
    assert!(!other.cause.explanation.contains("10 s"), "{other:#?}");
    assert!(other.cause.settings.is_empty(), "{other:#?}");
}

#[test]
fn who_asked_for_something_else_is_not_named() {
    for line in [
        "podman kill web",
        "docker -H ssh://prod kill web",
        "docker --context=prod kill web",
        "docker compose up",
        "docker run --name web nginx",
    ] {
        let other =
            Docker::new().with(|scene| runs(scene, 4900, line)).acts(5000, 90, 9).dies(5005);
        let text = &other.cause.explanation;
        assert!(text.contains("who asked docker for that was not seen"), "{line}: {other:#?}");
        assert!(!other.gaps.is_empty(), "{line}: {other:#?}");
    }
}

#[test]
fn a_signal_to_read_files_anew_is_not_the_beginning_of_a_stop() {
    let death = Docker::new()
        .acts(1000, 78, sig::SIGHUP)
        .with(|scene| runs(scene, 4900, "docker kill web"))
        .acts(5000, 90, 9)
        .dies(5005);
    assert_eq!(death.cause.id, CauseId::ContainerKill, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("100 ms before") && !text.contains("SIGHUP"), "{death:#?}");
}

#[test]
fn what_becomes_of_it_is_told() {
    let killed = |docker: Docker, line: &str| {
        docker.with(|scene| runs(scene, 4900, line)).acts(5000, 90, 9).dies(5005)
    };
    let removed = Docker::new().setting("AutoRemove", "true", Some("/x"));
    let removed = killed(removed, "docker kill web");
    assert!(removed.cause.explanation.ends_with("removed when it ends (--rm)."), "{removed:#?}");
    assert!(!removed.fixes.iter().any(|fix| fix.commands[0] == "docker start web"));
    let always = Docker::new().setting("RestartPolicy", "always", Some("/x"));
    let always = killed(always, "docker kill web");
    assert!(always.cause.explanation.contains("--restart always"), "{always:#?}");
    let quit = Docker::new()
        .setting("StopSignal", "SIGQUIT", Some("/x"))
        .with(|scene| runs(scene, 4900, "docker restart web"))
        .acts(5000, 90, sig::SIGQUIT);
    let quit = quit.scene.exit(5005, quit.victim, 3, true).death();
    assert!(quit.cause.explanation.contains("SIGQUIT is its stop signal"), "{quit:#?}");
    assert!(quit.cause.explanation.ends_with("It is started again then."), "{quit:#?}");
    assert!(quit.fixes.is_empty(), "{quit:#?}");
}

#[test]
fn a_shim_that_was_killed_is_why_containerd_ends_its_container() {
    let (killer, bash) = (root(task(70, "pkill")), root(task(69, "bash")));
    let death = Docker::new()
        .with(|scene| {
            scene
                .exec(4700, killer.clone(), &["pkill", "containerd-shim"], &[&bash])
                .signal(4800, SignalSent { is_target: false, ..signal(9, killer, shim()) })
                .exit(4801, shim(), 9, false)
        })
        .acts(5000, 90, 9)
        .dies(5005);
    let explanation = &death.cause.explanation;
    assert!(explanation.contains("containerd-shim[30] was killed by SIGKILL"), "{death:#?}");
    assert!(explanation.contains("root ran \"pkill containerd-shim\""), "{death:#?}");
    assert!(death.gaps.is_empty(), "{death:#?}");
}

#[test]
fn a_daemon_that_starts_or_ends_stops_what_runs() {
    let dockerd = root(task(60, "dockerd"));
    let init = task(1, "init");
    let started = Docker::new()
        .with(|scene| scene.exec(4000, dockerd.clone(), &["dockerd"], &[&init]))
        .acts(5000, 90, 9)
        .dies(5005);
    assert!(started.cause.explanation.contains("had been started 1 s before"), "{started:#?}");
    let ending = Docker::new().acts(5000, 90, 9);
    let ending = ending
        .scene
        .exit(5005, ending.victim.clone(), 9, true)
        .exit(5100, dockerd, 0, false)
        .settled(5300, &ending.victim)
        .death();
    assert!(ending.cause.explanation.contains("before it ends itself"), "{ending:#?}");
    for death in [started, ending] {
        let live = "have docker's containers go on while its daemon is stopped or restarted";
        assert_eq!(death.fixes[0].title, live, "{death:#?}");
    }
}

/// `docker run --init`: what is behind the signal that an init passes on is the same.
#[test]
fn who_asked_docker_is_told_of_what_an_init_passes_on_too() {
    let docker = Docker::new();
    let cgroup = format!("/docker/{ID}");
    let child = Task { pid_ns: 2, ns_pid: 7, ppid: 42, ..task_in(43, "sleep", &cgroup) };
    let runc = root(task(90, "runc"));
    let parent = Ancestor { id: shim().id, comm: SHIM.to_owned(), uid: 0 };
    let told = SignalSent {
        ancestors: vec![parent].into(),
        blocked: true,
        ..caught(sig::SIGTERM, runc.clone(), docker.victim.clone())
    };
    let deaths = runs(docker.scene, 4900, "docker stop web")
        .target(&child, TargetReason::Running)
        .exec(4980, runc, &["runc", "kill"], &[&shim()])
        .signal(5000, told)
        .signal(5001, signal(sig::SIGTERM, docker.victim, child.clone()))
        .exit(5002, child, 15, true)
        .deaths();
    let death = &deaths[0];
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    assert!(death.cause.explanation.contains("alice ran \"docker stop web\""), "{death:#?}");
    assert!(!death.cause.explanation.contains("root ran"), "{death:#?}");
}

/// The same where docker's daemon is stopped.
#[test]
fn that_dockers_daemon_was_stopped_is_told_of_what_an_init_passes_on_too() {
    let docker = Docker::new().setting("RestartPolicy", "unless-stopped", Some("/x"));
    let cgroup = format!("/docker/{ID}");
    let child = Task { pid_ns: 2, ns_pid: 7, ppid: 42, ..task_in(43, "sleep", &cgroup) };
    let runc = root(task(90, "runc"));
    let above = root(task_in(30, SHIM, "/system.slice/containerd.service"));
    let parent = Ancestor { id: above.id, comm: SHIM.to_owned(), uid: 0 };
    let told = SignalSent {
        ancestors: vec![parent].into(),
        blocked: true,
        ..caught(sig::SIGTERM, runc.clone(), docker.victim.clone())
    };
    let asked = |verb: &'static str| {
        docker
            .scene
            .clone()
            .exec(4800, root(task(81, "systemctl")), &["systemctl", verb, "docker"], &[])
            .job(4850, 9, verb, "docker.service")
            .target(&child, TargetReason::Running)
            .exec(4980, runc.clone(), &["runc", "kill"], &[&above])
            .signal(5000, told.clone())
            .signal(5001, signal(sig::SIGTERM, docker.victim.clone(), child.clone()))
            .exit(5002, child.clone(), 15, true)
            .deaths()
            .remove(0)
    };
    let death = asked("stop");
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("as docker.service was stopped: "), "{death:#?}");
    assert!(text.contains("systemctl stop docker") && !text.contains("not seen;"), "{death:#?}");
    assert!(text.ends_with("again with docker's daemon (--restart unless-stopped)."), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.event == LinkEvent::Job), "{death:#?}");
    let commands: Vec<_> = death.fixes.iter().flat_map(|fix| &fix.commands).collect();
    assert!(commands.iter().any(|it| it.contains("live-restore")), "{death:#?}");
    assert!(commands.iter().any(|it| *it == "sudo systemctl start docker.service"), "{death:#?}");
    assert!(!commands.iter().any(|it| it.contains("docker events")), "{death:#?}");
    // What is to be started again needs nothing.
    let death = asked("restart");
    assert!(death.cause.explanation.contains("docker.service was restarted"), "{death:#?}");
    assert_eq!(death.fixes.len(), 1, "{death:#?}");
}

/// `docker exec web kill 1`, as alice: root's inside of the container is nobody who ran it.
#[test]
fn who_had_a_command_run_in_a_container_is_told() {
    let docker = Docker::new();
    let cgroup = format!("/docker/{ID}");
    let killer = root(Task { pid_ns: 2, ns_pid: 9, ..task_in(95, "kill", &cgroup) });
    let killed = |line: &str| {
        let sent = signal(9, killer.clone(), docker.victim.clone());
        runs(docker.scene.clone(), 4900, line)
            .exec(4980, killer.clone(), &["kill", "-9", "1"], &[&root(task(94, "runc")), &shim()])
            .signal(5000, sent)
            .exit(5001, docker.victim.clone(), 9, true)
            .death()
    };
    let death = killed("docker exec -i web kill -9 1");
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    let told = "alice ran \"docker exec -i web kill -9 1\"";
    assert!(death.cause.explanation.contains(told), "{death:#?}");
    for line in ["docker exec other kill -9 1", "docker exec web kill -9 2", "docker ps"] {
        let death = killed(line);
        assert!(!death.cause.explanation.contains("docker exec"), "{death:#?}");
    }
}

/// A unit around a container of docker's (`ExecStop=docker stop web`): it is stopped with the unit.
#[test]
fn a_unit_around_dockers_client_is_why_that_asked() {
    let unit = "/system.slice/shop.service";
    let client = root(task_in(80, "docker", unit));
    let init = root(task(1, "systemd"));
    let asked = |verb: &'static str| {
        let docker = Docker::new().with(|scene| {
            scene
                .exec(4700, root(task(81, "systemctl")), &["systemctl", verb, "shop"], &[])
                .job(4750, 9, verb, "shop.service")
                .exec(4800, client.clone(), &["docker", "stop", "-t", "2", "web"], &[&init])
        });
        docker.acts(5000, 90, sig::SIGTERM).acts(7100, 91, sig::SIGKILL).dies(7105)
    };
    let death = asked("stop");
    let text = &death.cause.explanation;
    assert!(text.contains("was stopped, as shop.service was stopped: "), "{death:#?}");
    assert!(text.contains("systemctl stop shop"), "{death:#?}");
    assert!(text.contains("since that command gave it 2 s"), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.text.contains("docker stop -t 2 web")));
    let commands: Vec<_> = death.fixes.iter().flat_map(|fix| &fix.commands).collect();
    assert!(commands.iter().any(|it| *it == "sudo systemctl start shop.service"), "{death:#?}");
    assert!(!commands.iter().any(|it| it.contains("live-restore")), "{death:#?}");
}

/// A user's container that ends with the user's service manager is told by the name that the user knows.
#[test]
fn which_container_it_was_is_told_where_the_story_is_about_its_unit() {
    let cgroup = format!(
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
    );
    let victim = Task { pid_ns: 2, ns_pid: 1, ..task_in(42, "sh", &cgroup) };
    let killed = |named_by: Option<u32>| {
        let container = Container {
            runtime: "podman".to_owned(),
            id: ID.to_owned(),
            name: Some("shop".to_owned()),
            named_by,
            ..Container::default()
        };
        let found = ContainerFound { cgroup: cgroup.clone(), container };
        let manager =
            task_in(30, "systemd", "/user.slice/user-1000.slice/user@1000.service/init.scope");
        Scene::watching(&victim)
            .user(1000, "alice")
            .add(0, Source::CgroupFs, Fact::Container(found))
            .signal(5000, signal(sig::SIGTERM, manager, victim.clone()))
            .exit(5001, victim.clone(), 15, true)
            .death()
    };
    let own = killed(Some(1000));
    let told = " It was in podman container shop, as alice calls it.";
    assert!(own.cause.explanation.ends_with(told), "{own:#?}");
    let others = killed(Some(1001));
    let told = " It was in what user 1001 calls podman container shop.";
    assert!(others.cause.explanation.ends_with(told), "{others:#?}");
}

/// `podman system service`, asked by docker's client or by podman's own.
#[test]
fn who_asked_podmans_service_is_told() {
    let cgroup = format!("/libpod_parent/libpod-{ID}");
    let victim = Task { pid_ns: 2, ns_pid: 1, ..task_in(42, "sleep", &cgroup) };
    let (runc, service) = (root(task(90, "runc")), root(task(60, "podman")));
    let parent = Ancestor { id: service.id, comm: "podman".to_owned(), uid: 0 };
    let sent =
        SignalSent { ancestors: vec![parent].into(), ..signal(9, runc.clone(), victim.clone()) };
    let line = format!("docker kill {}", &ID[..12]);
    let scene = Scene::watching(&victim).exec(
        1000,
        service.clone(),
        &["podman", "system", "service", "-t", "0"],
        &[&task(1, "init")],
    );
    let death = runs(scene, 4900, &line)
        .exec(4980, runc, &["runc", "kill", ID, "9"], &[&service])
        .signal(5000, sent)
        .exit(5001, victim, 9, true)
        .death();
    assert!(death.cause.explanation.contains("alice ran \"docker kill"), "{death:#?}");
    assert!(!death.cause.explanation.contains("root ran"), "{death:#?}");
}

/// Ctrl-C at `docker run` without `-t`, as seen where killtrace was there before it.
#[test]
fn what_a_client_in_the_foreground_passes_on_is_told() {
    let stopped = |line: &str, number: u8| {
        let docker = Docker::new().with(|scene| runs(scene, 1000, line)).acts(5000, 90, number);
        docker.scene.exit(5005, docker.victim, u32::from(number), true).death()
    };
    let death = stopped("docker run --name web bb", sig::SIGINT);
    let explanation = &death.cause.explanation;
    assert!(explanation.contains("alice ran \"docker run --name web bb\""), "{death:#?}");
    assert!(explanation.contains("Ctrl-C"), "{death:#?}");
    for (line, number) in
        [("docker run --name web bb", sig::SIGKILL), ("docker run --name db bb", sig::SIGINT)]
    {
        let death = stopped(line, number);
        assert!(death.cause.explanation.contains("was not seen"), "{death:#?}");
    }
}
