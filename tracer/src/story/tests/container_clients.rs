//! Who asked docker, where connections to its socket are seen.

use super::containers::{Docker, ID, runs};
use super::scene::{Scene, root, signal, task, task_in};
use crate::evidence::{
    Ancestor, Container, ContainerFound, Engine, Fact, Grade, SignalSent, Source, Task, sig,
};
use crate::story::verdict::{Death, LinkEvent};

/// A program of alice's, run from her shell.
fn client(pid: u32, comm: &str) -> Task {
    task(pid, comm)
}

/// The container is killed, after what `before` adds.
fn killed(before: impl FnOnce(Scene) -> Scene) -> Death {
    let seen = |scene: Scene| before(scene.attached("security_unix_stream_connect"));
    Docker::new().with(seen).acts(5000, 90, sig::SIGKILL).dies(5005)
}

fn deploys(scene: Scene, ms: u64, pid: u32) -> Scene {
    let python = client(pid, "python3");
    scene
        .user(1000, "alice")
        .exec(ms, python.clone(), &["python3", "deploy.py"], &[&task(79, "bash")])
        .connects_to(ms + 50, python, Engine::Docker)
}

#[test]
fn a_program_that_had_just_connected_seems_to_be_why() {
    let death = killed(|scene| deploys(scene, 4800, 80));
    let text = &death.cause.explanation;
    for words in [
        "python3[80] had connected to docker's socket 150 ms before",
        "alice ran \"python3 deploy.py\"",
        "which seems to be why",
    ] {
        assert!(text.contains(words), "{words}: {death:#?}");
    }
    assert_eq!(death.cause.evidence, Grade::Inferred, "{death:#?}");
    let link = death.chain.iter().find(|link| link.event == LinkEvent::EngineConnection);
    let is_told = |text: &str| text == "python3[80] connected to docker's socket";
    assert!(link.is_some_and(|it| it.evidence == Grade::Observed && is_told(&it.text)));
    assert!(death.gaps.iter().any(|gap| gap.contains("what was asked of docker was not seen")));
    assert!(death.fixes.iter().any(|fix| fix.commands[0].starts_with("docker events")));
}

#[test]
fn of_several_none_is_said_to_be_it() {
    let agent = || client(81, "agent");
    let death = killed(|scene| deploys(scene, 4800, 80).connects_to(4900, agent(), Engine::Docker));
    let text = &death.cause.explanation;
    assert!(text.contains("python3[80]") && text.contains("agent[81]"), "{death:#?}");
    assert!(text.contains("one of these seems to be why"), "{death:#?}");
    // Who connects time and again does so to look.
    let death = killed(|scene| {
        let often = |scene: Scene, ms| scene.connects_to(ms, agent(), Engine::Docker);
        [1000, 2000, 3000, 4000, 4900].into_iter().fold(scene, often)
    });
    let text = &death.cause.explanation;
    assert!(text.contains("100 ms before, as 4 times before that"), "{death:#?}");
    assert!(text.contains("that may be why") && !text.contains("seems"), "{death:#?}");
}

#[test]
fn a_connection_that_is_kept_may_be_why() {
    let portainer = || client(70, "portainer");
    let death = killed(|scene| scene.connects_to(500, portainer(), Engine::Docker));
    let text = &death.cause.explanation;
    assert!(text.contains("nobody had just connected to its socket, but portainer[70]"));
    assert!(text.contains("4.5 s before") && text.contains("may have asked for it"), "{death:#?}");
    // One that is gone has not.
    let death = killed(|scene| {
        scene.connects_to(500, portainer(), Engine::Docker).exit(1000, portainer(), 0, false)
    });
    assert!(!death.cause.explanation.contains("portainer"), "{death:#?}");
}

#[test]
fn that_nobody_connected_rules_nobody_out() {
    let nobody = |death: &Death| death.gaps.iter().any(|gap| gap.contains("rules nobody out"));
    let death = killed(|scene| scene);
    assert!(death.cause.explanation.contains("who asked docker for that was not seen"));
    assert!(nobody(&death), "{death:#?}");
    // Where some may not have been seen, not even that is known.
    assert!(!nobody(&killed(|scene| scene.lost(4900, 3))));
    let blind = Docker::new().acts(5000, 90, sig::SIGKILL).dies(5005);
    assert!(!nobody(&blind) && !blind.gaps.is_empty(), "{blind:#?}");
}

#[test]
fn who_asked_for_something_else_by_its_words_is_left_out() {
    let asked = |line: &'static str| {
        let words: Vec<&str> = line.split(' ').collect();
        let docker = client(80, words[0]);
        killed(|scene| runs(scene, 4900, line).connects_to(4950, docker, Engine::Docker))
    };
    for line in [
        "docker ps -a",
        "docker stop other",
        "docker logs -f web",
        "docker run --name other bb",
        "curl --unix-socket /run/docker.sock http://d/containers/json",
    ] {
        let death = asked(line);
        assert!(!death.cause.explanation.contains("connected"), "{line}: {death:#?}");
    }
    for line in [
        "docker service scale web=0",
        "docker stack rm shop",
        "curl --unix-socket /run/docker.sock -X POST http://d/services/web/update",
    ] {
        let text = asked(line).cause.explanation;
        assert!(text.contains("had connected to docker's socket 50 ms before"), "{line}: {text}");
        assert!(text.contains(line.split(" -").next().unwrap_or(line)), "{line}: {text}");
    }
}

#[test]
fn the_daemons_themselves_and_those_of_others_are_left_out() {
    let death = killed(|scene| {
        scene
            .connects_to(4950, root(client(60, "dockerd")), Engine::Containerd)
            .connects_to(4960, root(client(61, "containerd-shim")), Engine::Containerd)
            .connects_to(4970, client(62, "python3"), Engine::Podman)
    });
    assert!(!death.cause.explanation.contains("connected"), "{death:#?}");
    // Whoever may, can ask containerd past docker.
    let death =
        killed(|scene| scene.connects_to(4950, root(client(60, "tool")), Engine::Containerd));
    assert!(death.cause.explanation.contains("tool[60] had connected to containerd's socket"));
}

#[test]
fn of_two_commands_the_one_that_connected_is_named() {
    let death = killed(|scene| {
        let scene = runs(scene, 4700, "docker rm -f web");
        let words = ["docker", "kill", "web"];
        let bash = task(78, "bash");
        let docker = client(81, "docker");
        scene.exec(4800, docker.clone(), &words, &[&bash]).connects_to(4850, docker, Engine::Docker)
    });
    let text = &death.cause.explanation;
    assert!(text.contains("docker kill web") && !text.contains("docker rm"), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.event == LinkEvent::EngineConnection));
}

/// `docker compose` is a plugin, which says it all again.
#[test]
fn a_plugin_of_dockers_is_told_by_the_command_that_ran_it() {
    let (bash, docker) = (task(79, "bash"), client(80, "docker"));
    let plugin = client(81, "docker-compose");
    let words = ["docker", "compose", "kill", "web"];
    let program = "/usr/libexec/docker/cli-plugins/docker-compose";
    let death = killed(|scene| {
        scene
            .user(1000, "alice")
            .exec(4800, docker.clone(), &words, &[&bash])
            .exec(4850, plugin.clone(), &[program, "compose", "kill", "web"], &[&docker, &bash])
            .connects_to(4900, plugin, Engine::Docker)
    });
    let text = &death.cause.explanation;
    assert!(text.contains("alice ran \"docker compose kill web\", which seems"), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.event == LinkEvent::EngineConnection));
}

/// One that has docker's socket in its container (watchtower).
#[test]
fn a_client_in_a_container_is_told_with_that() {
    let cgroup = format!("/docker/{}", "ab".repeat(32));
    let container = Container {
        runtime: "docker".to_owned(),
        id: "ab".repeat(32),
        name: Some("watchtower".to_owned()),
        ..Container::default()
    };
    let found = ContainerFound { cgroup: cgroup.clone(), container };
    let inner = root(Task { pid_ns: 5, ns_pid: 1, ..task_in(85, "watchtower", &cgroup) });
    let death = killed(|scene| {
        scene.add(0, Source::CgroupFs, Fact::Container(found)).connects_to(
            4900,
            inner,
            Engine::Docker,
        )
    });
    let text = &death.cause.explanation;
    assert!(text.contains("watchtower[85] had connected to docker's socket"), "{death:#?}");
    assert!(text.contains("in docker container watchtower"), "{death:#?}");
}

/// `docker-compose up`, which is told to end.
#[test]
fn why_compose_ends_what_it_runs_in_the_foreground_is_told() {
    let compose = client(80, "docker-compose");
    let run = |line: &str, told: bool| {
        let words: Vec<&str> = line.split(' ').collect();
        let container = Container {
            runtime: "docker".to_owned(),
            id: ID.to_owned(),
            name: Some("shop_web_1".to_owned()),
            ..Container::default()
        };
        let found = ContainerFound { cgroup: format!("/docker/{ID}"), container };
        let container = Docker::new().with(|scene| {
            let scene = scene.add(0, Source::CgroupFs, Fact::Container(found)).user(1000, "alice");
            let scene = scene.exec(1000, compose.clone(), &words, &[&task(79, "bash")]);
            let sent = signal(sig::SIGINT, task(78, "bash"), compose.clone());
            if told { scene.signal(4900, sent) } else { scene }
        });
        container.acts(5000, 90, sig::SIGTERM).acts(7000, 91, sig::SIGKILL).dies(7005)
    };
    let name = "docker-compose -p shop up";
    let text = run(name, true).cause.explanation;
    assert!(text.contains("which got SIGINT from bash[78] 100 ms before"), "{text}");
    let text = run(name, false).cause.explanation;
    assert!(text.contains("when it gets Ctrl-C or is itself told to end"), "{text}");
    let text = run("docker-compose -p shop up -d", false).cause.explanation;
    assert!(text.contains("makes anew what is set otherwise now"), "{text}");
}

/// Ctrl-C at `docker run`, where the client was seen to get it.
#[test]
fn what_a_client_in_the_foreground_was_seen_to_get_is_told() {
    let docker = client(80, "docker");
    let words = ["docker", "run", "--name", "web", "bb"];
    let stopped = |ms: u64| {
        let container = Docker::new().with(|scene| {
            scene
                .user(1000, "alice")
                .exec(1000, docker.clone(), &words, &[&task(79, "bash")])
                .signal(ms, signal(sig::SIGINT, task(78, "bash"), docker.clone()))
        });
        let container = container.acts(5000, 90, sig::SIGINT);
        container.scene.exit(5005, container.victim, 2, true).death()
    };
    let text = stopped(4900).cause.explanation;
    assert!(
        text.contains(
            "which had got SIGINT from bash[78] 100 ms before, and seems to have passed it on"
        ),
        "{text}"
    );
    assert!(stopped(1500).cause.explanation.contains("which may have been passed on"));
}

/// What `lxc-stop -k` asks for the container's monitor does.
#[test]
fn who_had_the_monitor_of_lxcs_kill_is_told() {
    let monitor = root(task_in(30, "lxc-start", "/lxc.monitor.box"));
    let victim =
        root(Task { pid_ns: 2, ns_pid: 1, ppid: 30, ..task_in(42, "init", "/lxc.payload.box") });
    let killed = |line: &str| {
        runs(Scene::watching(&victim).user(1000, "alice"), 4900, line)
            .signal(5000, signal(sig::SIGKILL, monitor.clone(), victim.clone()))
            .exit(5001, victim.clone(), 9, true)
            .death()
    };
    for line in ["lxc-stop -k -n box", "lxc-stop --name=box", "lxc-stop -k box"] {
        let text = killed(line).cause.explanation;
        let told = format!("100 ms before, alice ran \"{line}\", which seems to be why.");
        assert!(text.ends_with(&told), "{text}");
    }
    assert!(!killed("lxc-stop -k -n other").cause.explanation.contains("lxc-stop"));
}

/// podman has pods that Kubernetes knows nothing of.
#[test]
fn a_pod_of_podmans_is_not_kubernetes() {
    let pod = "80bb10a1d8e7e4898fa1fbaf355958b71553fbcd04e3b91352a85b1f099bea24";
    let cgroup =
        format!("/machine.slice/machine-libpod_pod_{pod}.slice/libpod-{ID}.scope/container");
    let victim = root(Task { pid_ns: 2, ns_pid: 1, ..task_in(42, "web", &cgroup) });
    let (crun, podman) = (root(task(90, "crun")), task(80, "podman"));
    let parent = Ancestor { id: podman.id, comm: "podman".to_owned(), uid: 1000 };
    let sent =
        SignalSent { ancestors: vec![parent].into(), ..signal(9, crun.clone(), victim.clone()) };
    let bash = task(79, "bash");
    let death = Scene::watching(&victim)
        .exec(4900, podman.clone(), &["podman", "pod", "kill", "shop"], &[&bash])
        .exec(4980, crun, &["crun", "kill", ID, "9"], &[&podman, &bash])
        .signal(5000, sent)
        .exit(5001, victim, 9, true)
        .death();
    let text = &death.cause.explanation;
    assert!(text.contains("of pod 80bb10a1d8e7 was killed"), "{death:#?}");
    let commands: Vec<_> = death.fixes.iter().flat_map(|fix| &fix.commands).collect();
    assert!(commands.iter().any(|it| it.starts_with("podman start")), "{death:#?}");
    assert!(!commands.iter().any(|it| it.contains("kubectl")), "{death:#?}");
}
