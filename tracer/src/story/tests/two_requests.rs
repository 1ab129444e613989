//! A manager sends what two had asked for, one after the other: which it was.

use super::scene::{Scene, root, signal, systemd, task_in};
use crate::evidence::{
    Disposition, Fact, JournalLine, SignalSent, Source, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death};

fn victim() -> Task {
    task_in(142, "v", "/system.slice/v.service")
}

fn logged(scene: Scene, ms: u64, message: &str) -> Scene {
    let line = JournalLine {
        message: format!("v.service: {message}"),
        pid: Some(1),
        uid: Some(0),
        about_unit: Some("v.service".to_owned()),
        ..JournalLine::default()
    };
    scene.add(ms, Source::Journal, Fact::Journal(line))
}

fn for_client(scene: Scene, ms: u64, signal: &str) -> Scene {
    logged(scene, ms, &format!("Sent signal {signal} to main process 142 (v) on client request."))
}

fn sent(number: u8, disposition: Disposition) -> SignalSent {
    SignalSent {
        disposition: Some(disposition),
        fatal: disposition == Disposition::Default,
        ..signal(number, systemd(), victim())
    }
}

fn systemctl(scene: Scene, ms: u64, pid: u32, args: &[&str]) -> Scene {
    let client = root(task_in(pid, "systemctl", "/user.slice/x.scope"));
    scene.exec(ms, client.clone(), args, &[]).exit(ms + 40, client, 0, false)
}

/// `systemctl kill`, which it lives with for a second; `then` is what it ends right after.
fn killed_then(then: impl FnOnce(Scene) -> Scene) -> Death {
    let scene = Scene::default().user(0, "root").target(&victim(), TargetReason::Running);
    let scene = systemctl(scene, 3990, 90, &["systemctl", "kill", "v"]);
    let scene = scene.signal(4000, sent(sig::SIGTERM, Disposition::Handler));
    then(for_client(scene, 4000, "SIGTERM")).exit(5003, victim(), 0, true).death()
}

#[test]
fn a_stop_after_a_signal_that_it_outlived_is_the_reason() {
    let death = killed_then(|scene| {
        systemctl(scene, 4990, 91, &["systemctl", "stop", "v.service"])
            .job(5000, 8, "stop", "v.service")
            .signal(5001, sent(sig::SIGTERM, Disposition::Handler))
    });
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("root ran \"systemctl stop v.service\""), "{text}");
    assert!(text.contains("1 s before, it had caught SIGTERM from systemd[1] as well"), "{text}");
}

#[test]
fn so_is_the_second_of_two_signals_for_clients() {
    let death = killed_then(|scene| {
        let scene = systemctl(scene, 4990, 91, &["systemctl", "kill", "v.service"]);
        for_client(scene.signal(5001, sent(sig::SIGTERM, Disposition::Handler)), 5001, "SIGTERM")
    });
    assert_eq!(death.cause.id, CauseId::SystemctlKill, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("root ran \"systemctl kill v.service\""), "{text}");
}

/// A stop is one thing whatever comes meanwhile, but that is told.
#[test]
fn a_signal_for_a_client_while_it_is_stopped_may_be_why() {
    let scene = Scene::default().user(0, "root").target(&victim(), TargetReason::Running);
    let scene = systemctl(scene, 3990, 90, &["systemctl", "stop", "v"])
        .job(4000, 8, "stop", "v.service")
        .signal(4001, sent(sig::SIGTERM, Disposition::Handler));
    let scene = systemctl(scene, 4990, 91, &["systemctl", "kill", "-s", "INT", "v"])
        .signal(5001, sent(sig::SIGINT, Disposition::Handler));
    let death = for_client(scene, 5001, "SIGINT").exit(5003, victim(), 7 << 8, true).death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("had caught SIGINT from systemd[1] as well, which may be why"), "{text}");
}

/// A limit that is longer than it took is not what ran out: it was changed, and read again, meanwhile.
#[test]
fn a_limit_that_cannot_have_run_out_is_not_told_as_that() {
    let told = |limit_s: u64| {
        let micros = serde_json::Value::from(limit_s * 1_000_000);
        let scene = Scene::default()
            .user(0, "root")
            .target(&victim(), TargetReason::Running)
            .setting(
                "v.service",
                "TimeoutStopSec",
                "30",
                Some(("/etc/systemd/system/v.service", 2)),
            )
            .unit(3000, "v.service", &[("TimeoutStopUSec", micros)]);
        let scene = systemctl(scene, 3990, 90, &["systemctl", "stop", "v"])
            .job(4000, 8, "stop", "v.service")
            .signal(4001, sent(sig::SIGTERM, Disposition::Ignore));
        let scene = logged(scene, 5500, "State 'stop-sigterm' timed out. Killing.")
            .signal(5501, sent(sig::SIGKILL, Disposition::Default));
        scene.exit(5502, victim(), u32::from(sig::SIGKILL), true).death()
    };
    let death = told(30);
    assert!(death.cause.settings.is_empty(), "{death:#?}");
    let words = "1.5 s after SIGTERM, so SIGKILL followed. That is sooner than TimeoutStopSec=";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
    assert!(told(1).cause.explanation.contains("(TimeoutStopSec=30"), "{:#?}", told(1));
}

/// The time limit's SIGTERM is none that the client had asked for, though its line of the journal is near that, too.
#[test]
fn a_time_limit_after_a_signal_that_it_ignores_is_the_reason() {
    let file = "/etc/systemd/system/v.service";
    let scene = Scene::default()
        .user(0, "root")
        .target(&victim(), TargetReason::Running)
        .setting("v.service", "RuntimeMaxSec", "4", Some((file, 2)))
        .setting("v.service", "TimeoutStopSec", "1", Some((file, 3)));
    let scene = systemctl(scene, 3990, 90, &["systemctl", "kill", "v"]);
    let scene = scene.signal(4000, sent(sig::SIGTERM, Disposition::Ignore));
    let scene = for_client(scene, 4000, "SIGTERM");
    let scene = logged(scene, 5600, "Service reached runtime time limit. Stopping.")
        .signal(5601, sent(sig::SIGTERM, Disposition::Ignore));
    let scene = logged(scene, 6800, "State 'stop-sigterm' timed out. Killing.")
        .signal(6801, sent(sig::SIGKILL, Disposition::Default));
    let death = scene.exit(6802, victim(), u32::from(sig::SIGKILL), true).death();
    assert_eq!(death.cause.id, CauseId::UnitRuntimeMax, "{death:#?}");
    assert!(death.cause.explanation.contains("1.2 s after SIGTERM"), "{death:#?}");
}
