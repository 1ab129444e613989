//! Clients that meant another server of the same kind.

use super::clients::{looked_at, names};
use super::scene::{Scene, root, signal, task};
use crate::evidence::{Grade, SignalSent, Source, Task, sig};
use crate::story::verdict::Death;

/// Two servers of one kind, one of which ended by itself right after that command was run.
struct Servers {
    victim: Task,
    client: Task,
    scene: Scene,
}

impl Servers {
    fn new(name: &str, words: &[&str]) -> Self {
        let (victim, client) = (root(task(42, name)), root(task(90, "x")));
        let scene =
            Scene::watching(&victim).add(0, Source::Proc, looked_at(&victim, words, &[], &[]));
        Self { victim, client, scene }
    }

    fn and(mut self, words: &[&str]) -> Self {
        let other = root(task(43, &self.victim.comm));
        self.scene = self.scene.add(0, Source::Proc, looked_at(&other, words, &[], &[]));
        self
    }

    fn ran(mut self, words: &[&str]) -> Self {
        self.client.comm = words[0].to_owned();
        self.scene = self.scene.exec(4970, self.client.clone(), words, &[]);
        self
    }

    fn then(mut self, change: impl FnOnce(Scene, Task) -> Scene) -> Self {
        self.scene = change(self.scene, self.client.clone());
        self
    }

    fn death(self) -> Death {
        self.scene.exit(5000, self.victim, 0, true).death()
    }
}

/// `redis-cli -p 7777 shutdown`, which succeeded elsewhere.
#[test]
fn a_client_of_another_server_is_not_why_this_one_ended() {
    let cache = |own: &str, words: &[&str]| Servers::new("redis-server", &[own]).ran(words).death();
    let (client, own) = ("redis-cli", "redis-server *:6379");
    assert!(names(&cache(own, &[client, "shutdown"]), "which seems to be why"));
    assert!(names(&cache(own, &[client, "-p", "6379", "shutdown"]), "which seems to be why"));
    let other = cache(own, &[client, "-p", "7777", "shutdown"]);
    assert!(!names(&other, "redis-cli") && other.cause.evidence == Grade::Observed, "{other:#?}");
    assert!(!other.chain.iter().any(|link| link.text.contains("redis-cli")), "{other:#?}");
    // Where it cannot be known it is said.
    let unknown = cache("redis-server", &[client, "-p", "7777", "shutdown"]);
    let doubt =
        "or may have meant another server: on which port redis-server[42] listens was not seen.";
    assert!(names(&unknown, doubt) && !names(&unknown, "seems to be why"), "{unknown:#?}");
    assert_eq!(unknown.cause.evidence, Grade::Inferred);
    let host = cache(own, &[client, "-h", "192.0.2.7", "shutdown"]);
    assert!(
        names(&host, "whether the host that it named is this machine is not known"),
        "{host:#?}"
    );
}

#[test]
fn of_two_servers_of_a_kind_the_one_that_was_not_meant_is_not_told_as_it() {
    let of = |own: &[&str], other: &[&str], words: &[&str]| {
        Servers::new("mysqld", own).and(other).ran(words).death()
    };
    let (plain, client) = (&["mysqld"][..], "mysqladmin");
    let either = of(plain, plain, &[client, "shutdown"]);
    assert!(
        names(&either, "may have meant another server: mysqld[43] was running then, too"),
        "{either:#?}"
    );
    let named =
        of(plain, &["mysqld", "--socket=/tmp/b.sock"], &[client, "-S", "/tmp/b.sock", "shutdown"]);
    assert!(!names(&named, "mysqladmin"), "{named:#?}");
    let own = of(&["mysqld", "--port", "3307"], plain, &[client, "-P", "3307", "shutdown"]);
    assert!(names(&own, "which seems to be why"), "{own:#?}");
    let excluded = of(plain, &["mysqld", "--port=3310"], &[client, "-P", "3307", "shutdown"]);
    assert!(names(&excluded, "on which port mysqld[42] listens was not seen"), "{excluded:#?}");
    assert!(!names(&excluded, "mysqld[43]"), "{excluded:#?}");
}

/// Each command costs time, and anybody can run thousands: the newest are looked at, unless they failed.
#[test]
fn of_very_many_commands_the_newest_are_looked_at() {
    let play = |more: u32, failed: bool| {
        let of = Servers::new("redis-server", &["redis-server *:6379"]);
        let of = of.ran(&["redis-cli", "shutdown"]).then(|mut scene, _| {
            for number in 0..more {
                let client = root(task(100 + number, "redis-cli"));
                let words = ["redis-cli", "-h", "192.0.2.7", "shutdown"];
                scene = scene.exec(4971, client.clone(), &words, &[]);
                if failed {
                    scene = scene.exit(4972, client, 1, false);
                }
            }
            scene
        });
        of.death()
    };
    let own = "which seems to be why";
    assert!(names(&play(5, false), own));
    assert!(names(&play(40, true), own));
    let many = play(40, false);
    assert!(!names(&many, own) && names(&many, "which may be why"), "{many:#?}");
}

/// `nginx -c other -s quit`, `apachectl -f other stop`: what they send to whom is seen.
#[test]
fn a_command_that_asks_by_signals_asked_whom_it_signalled() {
    let web = || Servers::new("nginx", &["nginx"]);
    let quit = web().ran(&["nginx", "-c", "other", "-s", "quit"]).death();
    assert!(!names(&quit, "-s quit"), "{quit:#?}");
    let script = |below: &str, words: &[&str]| {
        let child = root(task(91, below));
        let ran = web().ran(&["nginx-ctl", "stop"]);
        ran.then(|scene, client| scene.exec(4980, child, words, &[&client])).death()
    };
    assert!(!names(&script("kill", &["kill", "43"]), "nginx-ctl"));
    assert!(!names(&script("nginx", &["nginx", "-s", "stop"]), "nginx-ctl"));
    assert!(names(&script("sleep", &["sleep", "1"]), "nginx-ctl stop"));
    let stops = |words: &[&str]| web().ran(words).death();
    assert!(names(&stops(&["nginx-ctl", "--stop"]), "nginx-ctl --stop"));
    let signalled = web().ran(&["nginx-ctl", "stop"]).then(|scene, client| {
        let other =
            SignalSent { is_target: false, ..signal(sig::SIGTERM, client, task(43, "nginx")) };
        scene.signal(4990, other)
    });
    assert!(!names(&signalled.death(), "nginx-ctl"));
}

/// What screen was asked has its own words for whom.
#[test]
fn a_server_of_the_table_is_meant_as_that_has_it() {
    let ended = |name: &str| {
        let words = ["screen", "-S", name, "-X", "quit"];
        names(
            &Servers::new("screen", &["SCREEN", "-S", "work"]).ran(&words).death(),
            "seems to be why",
        )
    };
    assert!(ended("work") && ended("42.work") && !ended("play"));
}
