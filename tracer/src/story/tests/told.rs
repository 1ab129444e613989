//! Workers that end as their server was told something: by a signal of its own to them, or by what nobody hears.

use serde_json::Value;

use super::scene::{Scene, at, caught, signal, systemd, task, task_in};
use super::stops::{born, root};
use crate::evidence::{
    Disposition, Fact, Grade, ProcessSnapshot, SignalResult, SignalSent, Source, TargetReason,
    Task, sig,
};
use crate::story::verdict::{CauseId, Death, KillerKind, LinkEvent};

pub(super) const CGROUP: &str = "/system.slice/web.service";
pub(super) const FILE: &str = "/etc/systemd/system/web.service";

/// A server of a unit, and a worker of its.
pub(super) struct Server {
    pub(super) main: Task,
    pub(super) worker: Task,
}

impl Server {
    pub(super) fn new() -> Self {
        Self::called("web")
    }

    pub(super) fn called(name: &str) -> Self {
        let main = Task { uid: 0, euid: 0, ..task_in(50, name, CGROUP) };
        Self { worker: Task { ppid: 50, ..task_in(60, name, CGROUP) }, main }
    }

    /// What runs before anything happens.
    pub(super) fn scene(&self) -> Scene {
        let snapshot = |task: &Task, parents: &[&Task]| {
            Fact::Process(Box::new(ProcessSnapshot {
                pid: task.id.pid,
                start_ns: task.id.start_ns,
                ppid: task.ppid,
                comm: task.comm.clone(),
                exe: Some(format!("/usr/sbin/{}", task.comm)),
                cmdline: vec![format!("/usr/sbin/{}", task.comm)],
                uid: task.uid,
                cgroup: task.cgroup.clone(),
                parents: parents.iter().map(|parent| parent.id).collect(),
                ..ProcessSnapshot::default()
            }))
        };
        Scene::watching(&self.worker)
            .setting("web.service", "ExecReload", "/bin/kill -HUP $MAINPID", Some((FILE, 4)))
            .setting("web.service", "ExecStop", "/bin/kill -QUIT $MAINPID", Some((FILE, 5)))
            .unit(1, "web.service", &[("MainPID", Value::from(50))])
            .add(1, Source::Proc, snapshot(&self.main, &[&systemd()]))
            .add(1, Source::Proc, snapshot(&self.worker, &[&self.main, &systemd()]))
    }

    /// The server catches a signal, and goes on.
    pub(super) fn got(&self, number: u8, sender: &Task) -> SignalSent {
        SignalSent { is_target: false, ..caught(number, sender.clone(), self.main.clone()) }
    }

    /// Root had it reloaded, or stopped, by a command that its unit has for that.
    pub(super) fn asked(&self, verb: &str, option: &str, number: u8) -> Scene {
        let kill = born(1010, Task { uid: 0, euid: 0, ..task_in(160, "kill", CGROUP) });
        self.scene()
            .exec(1000, root(80, "systemctl"), &["systemctl", verb, "web"], &[])
            .job(1005, 701, verb, "web.service")
            .exec(1012, kill.clone(), &["/bin/kill", option, "50"], &[&systemd()])
            .signal(1013, self.got(number, &kill))
    }
}

pub(super) fn told(death: &Death) -> &str {
    &death.cause.explanation
}

pub(super) fn assert_told(death: &Death, id: CauseId, words: &[&str]) {
    assert_eq!(death.cause.id, id, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred, "{death:#?}");
    for words in words {
        assert!(told(death).contains(words), "{words}: {}", told(death));
    }
}

pub(super) fn assert_setting(death: &Death, name: &str, line: u32) {
    let has = |setting: &crate::story::verdict::DecidingSetting| {
        (setting.name.as_str(), setting.file.as_deref(), setting.line)
            == (name, Some(FILE), Some(line))
    };
    assert!(death.cause.settings.iter().any(has), "{death:#?}");
}

/// nginx, php-fpm: the server tells its workers over a socket.
#[test]
fn a_worker_that_exits_in_a_reload_was_told_to() {
    let of = Server::new();
    let play = |ended_ms: u64, status: u32| {
        of.asked("reload", "-HUP", sig::SIGHUP)
            .exit(ended_ms, of.worker.clone(), status, true)
            .death()
    };
    let death = play(1126, 0);
    assert_told(
        &death,
        CauseId::UnitReload,
        &[
            "113 ms before, its parent web[50] had got SIGHUP from kill[160], and may have told it to end; as no other",
            "web[50] got SIGHUP from kill[160], a command that systemd[1] ran for ExecReload= of web.service",
            "root ran \"systemctl reload web\"",
        ],
    );
    assert!(!told(&death).contains("survive"), "{}", told(&death));
    assert_eq!(death.killer.kind, KillerKind::None);
    assert_setting(&death, "ExecReload", 4);
    assert!(!death.fixes.is_empty(), "{death:#?}");
    assert!(
        death.chain[0].text.contains("root ran \"systemctl reload web\""),
        "{:#?}",
        death.chain
    );
    assert!(death.chain.iter().any(|link| link.event == LinkEvent::Job), "{:#?}", death.chain);
    // What failed has other reasons, and what comes much later as well.
    let failed = play(1126, 1 << 8);
    assert_eq!(failed.cause.id, CauseId::ExitedByItself, "{failed:#?}");
    assert_eq!(failed.cause.evidence, Grade::Inferred, "{failed:#?}");
    assert!(told(&failed).contains("its parent web[50] had caught SIGHUP"), "{}", told(&failed));
    assert!(!told(&failed).contains("nobody killed it"), "{}", told(&failed));
    let late = play(60_000, 0);
    assert_eq!(late.cause.id, CauseId::ExitedByItself, "{late:#?}");
    assert_eq!(late.cause.evidence, Grade::Observed, "{late:#?}");
}

/// A job of a script's ends when it is done, whatever the script is told.
#[test]
fn a_job_that_exits_when_its_parent_was_told_something_may_have_ended_by_itself() {
    let of = Server::new();
    let job = born(900, Task { ppid: 50, ..task_in(61, "sort", CGROUP) });
    let kill = root(90, "kill");
    let death = of
        .scene()
        .target(&job, TargetReason::Child)
        .exec(901, job.clone(), &["sort", "x"], &[&of.main])
        .exec(999, kill.clone(), &["kill", "-HUP", "50"], &[])
        .signal(1000, of.got(sig::SIGHUP, &kill))
        .exit(1030, job, 0, true);
    let deaths = death.options(crate::evidence::TraceOptions { exits: true, ..Default::default() });
    let death = deaths.death();
    assert_told(&death, CauseId::ExitedByItself, &["whether it was told to end then was not seen"]);
}

/// gunicorn, haproxy: the server ends its workers by a signal, and goes on.
#[test]
fn a_worker_that_is_ended_in_a_reload_has_that_as_its_cause() {
    let of = Server::new();
    let death = of
        .asked("reload", "-HUP", sig::SIGHUP)
        .signal(1048, caught(sig::SIGTERM, of.main.clone(), of.worker.clone()))
        .exit(1060, of.worker.clone(), 0, true)
        .death();
    assert_told(
        &death,
        CauseId::UnitReload,
        &[
            "web[50] had itself got SIGHUP 35 ms before from kill[160].",
            "a command that systemd[1] ran for ExecReload= of web.service",
            "root ran \"systemctl reload web\"",
        ],
    );
    assert!(!told(&death).contains("web.service ran"), "{}", told(&death));
    assert_setting(&death, "ExecReload", 4);
    assert!(!death.fixes.is_empty(), "{death:#?}");
    assert_eq!(death.killer.process.as_ref().map(|it| it.pid), Some(50));
}

/// The server need not have ended yet, and what its unit runs to be stopped may tell it.
#[test]
fn a_worker_that_is_ended_in_a_stop_has_that_as_its_cause() {
    let of = Server::new();
    let ended = |scene: Scene| {
        scene
            .signal(1048, caught(sig::SIGTERM, of.main.clone(), of.worker.clone()))
            .exit(1060, of.worker.clone(), 0, true)
            .death()
    };
    let death = ended(of.asked("stop", "-QUIT", sig::SIGQUIT));
    assert_told(
        &death,
        CauseId::UnitStopRequested,
        &["web[50] was told to end by kill[160]", "root ran \"systemctl stop web\""],
    );
    assert_setting(&death, "ExecStop", 5);
    let by_manager = of
        .scene()
        .exec(1000, root(80, "systemctl"), &["systemctl", "stop", "web"], &[])
        .job(1005, 701, "stop", "web.service")
        .signal(1013, of.got(sig::SIGTERM, &systemd()));
    let death = ended(by_manager);
    assert_told(
        &death,
        CauseId::UnitStopRequested,
        &["web[50] was told to end by systemd[1], which stopped web.service: root ran"],
    );
    assert!(!death.fixes.is_empty(), "{death:#?}");
}

/// The same by somebody's command: `nginx -s reload`, `kill -HUP`.
#[test]
fn a_worker_whose_server_somebody_told_to_reload_has_that_as_its_cause() {
    let of = Server::new();
    let kill = root(90, "kill");
    let ran = || {
        of.scene()
            .exec(999, kill.clone(), &["kill", "-HUP", "50"], &[])
            .signal(1000, of.got(sig::SIGHUP, &kill))
    };
    let death = ran().exit(1100, of.worker.clone(), 0, true).death();
    assert_told(&death, CauseId::UserCommand, &["may have told it", "root ran \"kill -HUP 50\""]);
    let death = ran()
        .signal(1010, caught(sig::SIGTERM, of.main.clone(), of.worker.clone()))
        .exit(1020, of.worker.clone(), 0, true)
        .death();
    assert_told(
        &death,
        CauseId::UserCommand,
        &["web[50] had itself got SIGHUP 10 ms before from kill[90]"],
    );
    // Apache's workers end themselves.
    let death = ran()
        .signal(1010, signal(sig::SIGTERM, of.worker.clone(), of.worker.clone()))
        .exit(1020, of.worker.clone(), 15, true)
        .death();
    assert_told(
        &death,
        CauseId::UserCommand,
        &["ended itself by SIGTERM", "root ran \"kill -HUP 50\""],
    );
}

/// `ExecReload=` that tells the server over a socket.
#[test]
fn a_worker_that_exits_in_a_reload_that_no_signal_is_of_may_have_been_told() {
    let of = Server::new();
    let scene = of
        .scene()
        .exec(1000, root(80, "systemctl"), &["systemctl", "reload", "web"], &[])
        .job(1005, 701, "reload", "web.service");
    let death = scene.exit(1100, of.worker.clone(), 0, true).death();
    assert_told(
        &death,
        CauseId::UnitReload,
        &[
            "what that runs to be reloaded (ExecReload=",
            "may have told it",
            "root ran \"systemctl reload web\"",
        ],
    );
    assert_setting(&death, "ExecReload", 4);
}

/// The same where the server ends it by a signal: supervisord.
#[test]
fn a_worker_that_is_ended_in_a_stop_that_no_signal_is_of_has_that_as_its_cause() {
    let of = Server::new();
    let play = |job: &str| {
        of.scene()
            .exec(1000, root(80, "systemctl"), &["systemctl", job, "web"], &[])
            .job(1005, 701, job, "web.service")
            .signal(1100, signal(sig::SIGTERM, of.main.clone(), of.worker.clone()))
            .exit(1101, of.worker.clone(), 15, true)
            .death()
    };
    let death = play("stop");
    assert_told(
        &death,
        CauseId::UnitStopRequested,
        &[
            "systemd[1] had begun to stop web.service (job 701)",
            "may have had web[50] do so",
            "root ran \"systemctl stop web\"",
        ],
    );
    assert_setting(&death, "ExecStop", 5);
    assert!(!death.fixes.is_empty(), "{death:#?}");
    let death = play("reload");
    assert_told(&death, CauseId::UnitReload, &["root ran \"systemctl reload web\""]);
    assert_setting(&death, "ExecReload", 4);
}

/// Who had killed the one because of whose end the others are ended, as postgres does.
#[test]
fn who_killed_the_sibling_is_told() {
    let of = Server::new();
    let sibling = Task { ppid: 50, ..task_in(62, "web", CGROUP) };
    let kill = root(90, "kill");
    let killed = signal(sig::SIGKILL, kill.clone(), sibling.clone());
    let death = of
        .scene()
        .exec(2, sibling.clone(), &["web", "writer"], &[&of.main])
        .exec(999, kill, &["kill", "-9", "62"], &[])
        .signal(1000, SignalSent { is_target: false, ..killed })
        .exit(1001, sibling, 9, false)
        .signal(1002, caught(sig::SIGQUIT, of.main.clone(), of.worker.clone()))
        .exit(1003, of.worker.clone(), 2 << 8, true)
        .death();
    assert!(
        told(&death).contains("web[62] was killed by SIGKILL: root ran \"kill -9 62\""),
        "{}",
        told(&death)
    );
    let ends: Vec<_> =
        death.chain.iter().filter(|link| link.event == LinkEvent::ProcessExit).collect();
    assert!(ends.len() == 1 && ends[0].evidence == Grade::Observed, "{:#?}", death.chain);
    assert!(death.chain.iter().any(|link| link.text.contains("kill -9 62")), "{:#?}", death.chain);
}

/// `redis-cli shutdown`, `mysqladmin shutdown`: over a socket, by a client of the server's kind.
#[test]
fn a_command_that_asks_a_server_to_shut_down_is_told() {
    let server = task_in(42, "cache-server", "/system.slice/cache.service");
    let play = |args: &[&str], ran_ms: u64, uid: u32| {
        let client = Task { uid, euid: uid, ..task(90, args[0]) };
        // It has been traced for longer than the answer to anything takes.
        let scene = Scene::watching(&server).exec(60_000 + ran_ms, client, args, &[]);
        scene.exit(65_000, server.clone(), 0, true).death()
    };
    let death = play(&["cache-cli", "SHUTDOWN", "nosave"], 4970, 0);
    assert_told(
        &death,
        CauseId::ExitedByItself,
        &["30 ms before, root ran \"cache-cli SHUTDOWN nosave\", which seems to be why"],
    );
    assert!(!told(&death).contains("nobody killed it"), "{}", told(&death));
    let link = death.chain.iter().find(|link| link.event == LinkEvent::Command);
    assert_eq!(link.map(|link| link.evidence), Some(Grade::Inferred), "{:#?}", death.chain);
    // Another's client, another wish, somebody who may not, and long before.
    for (args, ran_ms, uid) in [
        (&["web-cli", "shutdown"][..], 4970, 0),
        (&["cache-cli", "info"][..], 4970, 0),
        (&["cache-cli", "stop", "it"][..], 4970, 0),
        (&["cache-cli", "shutdown"][..], 4970, 1001),
        (&["cache-cli", "shutdown"][..], 1000, 0),
    ] {
        let death = play(args, ran_ms, uid);
        assert_eq!(death.cause.evidence, Grade::Observed, "{args:?} {death:#?}");
        assert!(!told(&death).contains("seems to be why"), "{args:?} {}", told(&death));
    }
    // It may catch that as a signal of its own.
    let own = caught(sig::SIGTERM, server.clone(), server.clone());
    let client = root(90, "cache-admin");
    let death = Scene::watching(&server)
        .exec(4970, client, &["cache-admin", "shutdown"], &[])
        .signal(5000, own)
        .exit(5100, server.clone(), 0, true)
        .death();
    assert!(told(&death).contains("root ran \"cache-admin shutdown\""), "{}", told(&death));
}

/// `postfix stop` is a shell script by the time that it kills.
#[test]
fn what_a_command_had_been_before_is_told() {
    let (victim, script) = (task(42, "master"), root(90, "mail-script"));
    let mail = Task { comm: "mail".to_owned(), ..script.clone() };
    let death = Scene::watching(&victim)
        .exec(4900, mail, &["mail", "stop"], &[])
        .exec(4910, script.clone(), &["/bin/sh", "/usr/lib/mail-script", "stop"], &[])
        .ended_by(script.clone(), victim.clone());
    assert!(told(&death).contains(", which had been \"mail stop\" before"), "{}", told(&death));
    let ran = "root ran \"mail stop\", which became \"/bin/sh /usr/lib/mail-script stop\"";
    assert!(death.chain.iter().any(|link| link.text.contains(ran)), "{:#?}", death.chain);
    let env = Task { comm: "env".to_owned(), ..script.clone() };
    let death = Scene::watching(&victim)
        .exec(4900, env, &["env", "-i", "/bin/sh", "/usr/lib/mail-script", "stop"], &[])
        .exec(4910, script.clone(), &["/bin/sh", "/usr/lib/mail-script", "stop"], &[])
        .ended_by(script, victim);
    assert!(!told(&death).contains("which had been"), "{}", told(&death));
}

#[test]
fn programs_of_the_moment_of_boot_are_survived() {
    let (victim, script) = (task(42, "master"), root(90, "mail-script"));
    let mail = Task { comm: "mail".to_owned(), ..script.clone() };
    let death = Scene::watching(&victim)
        .exec(0, mail, &["mail", "stop"], &[])
        .at_boot()
        .exec(0, script.clone(), &["/bin/sh", "/usr/lib/mail-script", "stop"], &[])
        .at_boot()
        .ended_by(script, victim);
    assert!(told(&death).contains("mail-script"), "{}", told(&death));
}

/// A signal that is to be ignored waits where it is blocked, and may end the process when that is over.
#[test]
fn a_signal_that_is_held_up_is_not_said_to_be_ignored() {
    let victim = task(42, "master");
    let own = SignalSent {
        disposition: Some(Disposition::Ignore),
        blocked: true,
        fatal: false,
        result: SignalResult::Blocked,
        ..signal(sig::SIGTERM, victim.clone(), victim.clone())
    };
    let death = Scene::watching(&victim).signal(1000, own).exit(1010, victim, 15, true).death();
    let links: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(links.iter().any(|text| text.ends_with("which held it up")), "{links:?}");
    assert!(!links.iter().any(|text| text.contains("ignores it")), "{links:?}");
    assert_eq!(death.at, at(1010));
}

/// The others end with it, or they do not: one alone may have done its work.
#[test]
fn a_worker_that_ends_with_others_was_told_to_rather_than_one_alone() {
    let of = Server::new();
    let sibling = Task { ppid: 50, ..task_in(62, "web", CGROUP) };
    let play = |number: u8, with_sibling: bool| {
        let shell = root(90, "bash");
        let forked = Fact::Fork(crate::evidence::Fork {
            child: sibling.clone(),
            parent: of.main.id,
            is_target: false,
        });
        let scene = of.scene().add(2, Source::Kernel, forked).signal(1000, of.got(number, &shell));
        let scene = if with_sibling { scene.exit(1100, sibling.clone(), 0, false) } else { scene };
        scene.exit(1126, of.worker.clone(), 0, true).death()
    };
    for number in [sig::SIGHUP, sig::SIGUSR1] {
        let death = play(number, true);
        assert_told(
            &death,
            CauseId::UserCommand,
            &["seems to have told it to end: that is a conclusion"],
        );
    }
    let alone = ["may have told it to end", "it may as well have ended by itself"];
    assert_told(&play(sig::SIGHUP, false), CauseId::UserCommand, &alone);
    // Logs are opened anew at that.
    assert_told(&play(sig::SIGUSR1, false), CauseId::ExitedByItself, &alone);
}
