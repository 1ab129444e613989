//! Workers of a server that started new ones beside them.

use super::scene::{Scene, at, systemd, task_in};
use super::stops::{born, root};
use super::told::{CGROUP, Server, assert_setting, assert_told, told};
use crate::evidence::{Fact, Grade, ProcessSnapshot, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death, LinkEvent};

/// `systemctl reload nginx`, by certbot every other month: the request is as old as the reload.
#[test]
fn a_worker_that_outlived_a_reload_for_long_has_that_as_its_cause() {
    let of = Server::called("nginx");
    let scene = of.asked("reload", "-HUP", sig::SIGHUP);
    let of = Renewing { scene, of }.forks(1080, 70);
    let death = of.death();
    assert_told(
        &death,
        CauseId::UnitReload,
        &[
            "and then started a new worker while nginx[60] was there",
            "a command that systemd[1] ran for ExecReload= of web.service",
            "root ran \"systemctl reload web\"",
        ],
    );
    assert_setting(&death, "ExecReload", 4);
    assert!(!death.fixes.is_empty(), "{death:#?}");
}

/// nginx was started, and reloaded a moment later.
#[test]
fn workers_that_were_started_together_are_one_generation() {
    let of = Renewing::told(sig::SIGHUP).forks(10_000, 80).forks(10_004, 81);
    let worker = born(10_000, Task { ppid: 50, ..task_in(80, "nginx", CGROUP) });
    let of = of.forks(20_080, 70).forks(20_082, 71).ends(20_090, 10_004, 81);
    let scene = of.scene;
    let scene = scene.target(&worker, TargetReason::Running).exit(60_000, worker, 0, true);
    let death = scene.death();
    let words = "then started 2 new workers while nginx[80] was there";
    assert!(told(&death).contains(words), "{}", told(&death));
}

/// A server that has been told to read its settings anew, and has these workers beside [`Server::worker`].
struct Renewing {
    of: Server,
    scene: Scene,
}

impl Renewing {
    fn told(number: u8) -> Self {
        Self::server_told("nginx", number)
    }

    fn server_told(name: &str, number: u8) -> Self {
        let of = Server::called(name);
        let scene = of.scene().signal(20_000, of.got(number, &root(90, "kill")));
        Self { scene, of }
    }

    fn forks(mut self, ms: u64, pid: u32) -> Self {
        let child = born(ms, Task { ppid: 50, ..task_in(pid, &self.of.main.comm, CGROUP) });
        let fork = crate::evidence::Fork { child, parent: self.of.main.id, is_target: false };
        self.scene = self.scene.add(ms, Source::Kernel, Fact::Fork(fork));
        self
    }

    fn ends(mut self, ms: u64, born_ms: u64, pid: u32) -> Self {
        let child = born(born_ms, Task { ppid: 50, ..task_in(pid, &self.of.main.comm, CGROUP) });
        self.scene = self.scene.exit(ms, child, 0, false);
        self
    }

    /// The worker's end, two minutes later.
    fn death(self) -> Death {
        self.scene.exit(140_000, self.of.worker, 0, true).death()
    }
}

/// nginx: what a worker is at may take hours after a reload.
#[test]
fn a_worker_that_new_ones_were_started_beside_was_told_to_end() {
    for (name, number) in [("nginx", sig::SIGHUP), ("haproxy", sig::SIGUSR2)] {
        let of = Renewing::server_told(name, number);
        let death = of.forks(20_080, 70).forks(20_082, 71).death();
        assert_told(
            &death,
            CauseId::UserCommand,
            &[
                &format!("2 min before, its parent {name}[50] had got SIG"),
                &format!(
                    "then started 2 new workers while {name}[60] was there, which it seems to have told to end as soon as its work is done"
                ),
                "kill[90]",
            ],
        );
        assert!(!told(&death).contains("nobody killed it"), "{}", told(&death));
        assert!(
            death.chain.iter().any(|link| link.event == LinkEvent::Signal),
            "{:#?}",
            death.chain
        );
    }
    // One that has just been started is no client's; and that the server is to end, too, changes nothing for it.
    let of = Renewing::told(sig::SIGHUP).forks(20_080, 70);
    let quit = of.scene.signal(139_000, of.of.got(sig::SIGQUIT, &root(91, "kill")));
    let death = Renewing { scene: quit, ..of }.death();
    assert!(
        told(&death).contains("kill[90]") && told(&death).contains("a new worker"),
        "{}",
        told(&death)
    );
    let of = Renewing::told(sig::SIGHUP).forks(20_080, 70);
    let ended = of.scene.signal(139_000, of.of.got(sig::SIGTERM, &root(91, "kill")));
    let death = Renewing { scene: ended, ..of }.death();
    assert!(told(&death).contains("kill[91]"), "{}", told(&death));
    // The first time counts.
    let second = Renewing::told(sig::SIGHUP).forks(20_080, 70);
    let second = Renewing {
        scene: second.scene.signal(60_000, second.of.got(sig::SIGHUP, &root(91, "kill"))),
        ..second
    };
    let death = second.forks(60_080, 71).death();
    assert!(
        told(&death).contains("kill[90]") && !told(&death).contains("kill[91]"),
        "{}",
        told(&death)
    );
}

/// Where forks are not followed, `/proc` tells of the new ones, to a hundredth of a second.
#[test]
fn workers_that_proc_tells_of_are_a_generation_too() {
    let of = Server::called("nginx");
    let worker = ProcessSnapshot {
        pid: 70,
        start_ns: at(20_000).boot_ns,
        ppid: 50,
        comm: "nginx".to_owned(),
        exe: Some("/usr/sbin/nginx".to_owned()),
        cgroup: Some(CGROUP.to_owned()),
        parents: vec![of.main.id, systemd().id],
        ..ProcessSnapshot::default()
    };
    let death = of
        .scene()
        .signal(20_004, of.got(sig::SIGHUP, &root(90, "kill")))
        .add(25_004, Source::Proc, Fact::Process(Box::new(worker)))
        .exit(140_000, of.worker.clone(), 0, true)
        .death();
    assert_told(
        &death,
        CauseId::UserCommand,
        &["then started a new worker while nginx[60] was there"],
    );
}

#[test]
fn workers_that_are_started_every_day_are_no_new_generation() {
    let told = || Renewing::told(sig::SIGHUP);
    let scenes = [
        ("none", told()),
        ("much later", told().forks(60_000, 70)),
        ("one for each client", told().forks(19_000, 70).forks(20_080, 71)),
        ("one of many", told().forks(2, 62).forks(3, 63).forks(4, 64).forks(20_080, 71)),
        ("one for one that ended", told().forks(2, 62).ends(20_050, 2, 62).forks(20_080, 71)),
        ("more of them", Renewing::told(sig::SIGTTIN).forks(20_080, 71)),
        ("no other has ended", told().forks(2, 62).forks(20_080, 71).forks(20_081, 72)),
        (
            "each is replaced",
            told()
                .forks(2, 62)
                .forks(20_080, 71)
                .forks(20_081, 72)
                .ends(90_000, 2, 62)
                .forks(90_010, 73),
        ),
        (
            "it is replaced itself",
            told()
                .forks(2, 62)
                .forks(20_080, 71)
                .forks(20_081, 72)
                .ends(20_090, 2, 62)
                .forks(140_010, 73),
        ),
        (
            "a server of another kind, with one worker",
            Renewing::server_told("postgres", sig::SIGHUP).forks(20_080, 71),
        ),
        (
            "logs that are opened anew",
            Renewing::server_told("php-fpm", sig::SIGUSR1).forks(20_080, 71),
        ),
    ];
    for (what, scene) in scenes {
        let death = scene.death();
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{what}: {death:#?}");
        assert_eq!(death.cause.evidence, Grade::Observed, "{what}: {death:#?}");
    }
}

/// Of a server that nothing is known of, no more is said than that it may have been so, and no person is blamed.
#[test]
fn new_workers_of_other_servers_are_no_proof() {
    let play = |name: &str, ms: u64| {
        let of = Renewing::server_told(name, sig::SIGHUP).forks(2, 62);
        let of = of.forks(20_080, 71).forks(20_081, 72).ends(20_090, 2, 62);
        of.scene.exit(ms, of.of.worker, 0, true).death()
    };
    let death = play("web", 140_000);
    let words = "then started 2 new workers while web[60] was there, which it may have told to end";
    assert_told(&death, CauseId::ExitedByItself, &[words]);
    assert_eq!(play("nginx", 140_000).cause.id, CauseId::UserCommand);
    // What takes very long has other reasons.
    let hours = 3_600_000;
    assert_eq!(play("nginx", 20 * hours).cause.id, CauseId::UserCommand);
    for (name, ms) in [("web", 2 * hours), ("nginx", 25 * hours)] {
        let death = play(name, ms);
        assert!(!told(&death).contains("new workers"), "{}", told(&death));
        assert_eq!(death.cause.evidence, Grade::Observed, "{death:#?}");
    }
}

/// `nginx -s quit`: the server waits for its workers, and they for their clients.
#[test]
fn a_worker_of_a_server_that_was_to_end_is_not_said_to_have_ended_by_nobodys_doing() {
    let ends_too = Renewing::told(sig::SIGQUIT);
    let (main, worker) = (ends_too.of.main, ends_too.of.worker);
    let scene = ends_too.scene.exit(140_000, worker, 0, true);
    let death = scene.exit(140_020, main, 0, false).death();
    let words = "2 min before, its parent nginx[50] had caught SIGQUIT from kill[90]; whether it was told to end then";
    assert_told(&death, CauseId::ExitedByItself, &[words]);
    assert!(!told(&death).contains("nobody killed it"), "{}", told(&death));
    let others_end = Renewing::told(sig::SIGQUIT).forks(2, 62).ends(20_090, 2, 62).death();
    assert_told(&others_end, CauseId::ExitedByItself, &[words]);
    // One that went on.
    for of in [
        Renewing::told(sig::SIGINT),
        Renewing::told(sig::SIGINT).forks(2, 62).ends(20_090, 2, 62).forks(60_000, 70),
    ] {
        let death = of.death();
        assert_eq!(death.cause.evidence, Grade::Observed, "{death:#?}");
        assert!(!told(&death).contains("its parent"), "{}", told(&death));
    }
}

/// The server itself, which ends when its last worker has.
#[test]
fn a_server_that_waits_for_its_workers_ends_by_what_asked_it_to() {
    let play = |number: u8, worker_ms: u64, forks: bool| {
        let of = Renewing::told(number);
        let of = if forks { of.forks(30_000, 70) } else { of };
        let (main, worker) = (of.of.main, of.of.worker);
        of.scene
            .target(&main, TargetReason::Running)
            .exit(worker_ms, worker, 0, false)
            .exit(140_000, main, 0, true)
            .deaths()
            .into_iter()
            .find(|death| death.victim.pid == 50)
            .expect("its death")
    };
    let death = play(sig::SIGQUIT, 139_990, false);
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    assert_eq!(death.killer.process.as_ref().map(|it| it.pid), Some(90));
    assert!(
        told(&death).contains("It caught the signal, and exited 2 min later."),
        "{}",
        told(&death)
    );
    // To others SIGQUIT is no such thing, and what took hours had another answer; a child that runs another program is no
    // worker.
    let play_other = |name: &str, child: &str, ended_ms: u64| {
        let of = Renewing::server_told(name, sig::SIGQUIT);
        let (main, worker) = (of.of.main, Task { comm: child.to_owned(), ..of.of.worker });
        of.scene
            .target(&main, TargetReason::Running)
            .exit(ended_ms - 10, worker, 0, false)
            .exit(ended_ms, main, 0, true)
            .deaths()
            .into_iter()
            .find(|death| death.victim.pid == 50)
            .map(|death| death.cause.id)
    };
    assert_eq!(play_other("php-fpm8.2", "php-fpm8.2", 140_000), Some(CauseId::UserCommand));
    for (name, child, ended_ms) in [
        ("batchrun", "batchrun", 140_000),
        ("nginx", "crunch", 140_000),
        ("nginx", "nginx", 8 * 3_600_000),
    ] {
        let id = play_other(name, child, ended_ms);
        assert_eq!(id, Some(CauseId::ExitedByItself), "{name} {child} {ended_ms}");
    }
    for (number, worker_ms, forks) in [
        (sig::SIGQUIT, 100_000, false),
        (sig::SIGQUIT, 139_990, true),
        (sig::SIGHUP, 139_990, false),
    ] {
        let death = play(number, worker_ms, forks);
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{number} {worker_ms} {death:#?}");
    }
}
