//! Ends without a signal, or after one that was ignored, while a unit was being stopped.

use super::manager::SCOPE;
use super::scene::{Scene, root, signal, systemd, task_in};
use crate::evidence::{
    Disposition, Fact, Grade, Job, Manager, SignalResult, SignalSent, Source, TargetReason, Task,
    sig,
};
use crate::story::verdict::{CauseId, Death, KillerKind, LinkEvent};

/// A web server whose unit has a job to be stopped, made at `job` ms, which was asked for at `asked`, or without any
/// request that was seen.
fn being_stopped(asked: Option<u64>, job: u64) -> Scene {
    let mut scene = Scene::default().user(0, "root").target(&worker(), TargetReason::Running);
    if let Some(at) = asked {
        let systemctl = root(task_in(80, "systemctl", SCOPE));
        scene = scene.exec(at, systemctl, &["systemctl", "stop", "nginx"], &[]);
    }
    scene.job(job, 700, "stop", "nginx.service")
}

fn worker() -> Task {
    task_in(500, "nginx", "/system.slice/nginx.service")
}

/// An end without a signal, 3 ms after the job of a stop.
fn ended_meanwhile(asked: Option<u64>, job: u64) -> Death {
    being_stopped(asked, job).exit(103, worker(), 0, true).death()
}

#[test]
fn an_end_without_a_signal_while_the_unit_is_stopped() {
    let stopped = being_stopped(Some(95), 100);
    let command = stopped.setting("nginx.service", "ExecStop", "/bin/ask", Some(("/etc/n", 4)));
    let death = command.exit(103, worker(), 0, true).death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert_eq!(death.killer.kind, KillerKind::None);
    assert!(death.cause.explanation.contains("root ran"), "{}", death.cause.explanation);
    assert!(death.cause.explanation.contains("ExecStop=/bin/ask, set in /etc/n:4"), "{death:#?}");

    for asked in [Some(95), None] {
        let death = ended_meanwhile(asked, 100);
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
        assert_eq!(death.cause.evidence, Grade::Inferred);
        assert!(death.cause.explanation.contains("was stopping nginx.service"), "{death:#?}");
        assert!(death.cause.explanation.contains("no signal had reached it"), "{death:#?}");
    }
}

/// What a manager leaves alone (`KillMode=process`) may hear of the stop when that is over: by the main process's end.
#[test]
fn an_end_right_after_the_unit_was_stopped() {
    let main = task_in(490, "master", "/system.slice/nginx.service");
    let done = Job {
        manager: Manager::System,
        id: 700,
        unit: "nginx.service".to_owned(),
        job_type: None,
        result: Some("done".to_owned()),
    };
    let ended = |at: u64| {
        let term = SignalSent { is_target: false, ..signal(sig::SIGTERM, systemd(), main.clone()) };
        being_stopped(Some(95), 100)
            .unit(1, "nginx.service", &[("MainPID", 490.into())])
            .signal(101, term)
            .exit(102, main.clone(), 15, false)
            .add(103, Source::Bus, Fact::Job(done.clone()))
            .exit(at, worker(), 7 << 8, true)
            .death()
    };
    let death = ended(104);
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("right after systemd[1] had stopped nginx.service (job 700)"), "{text}");
    let order: Vec<LinkEvent> = death.chain.iter().map(|link| link.event).collect();
    let causal = [LinkEvent::Command, LinkEvent::Job, LinkEvent::Signal, LinkEvent::ProcessExit];
    assert_eq!(order, [&causal[..], &[LinkEvent::Death]].concat(), "{death:#?}");
    assert_eq!(ended(5_000).cause.id, CauseId::ExitedByItself);
}

/// What ignores the signal of a stop ends when it likes, unless it waited for a child which the stop ended.
#[test]
fn an_end_after_a_signal_that_was_ignored() {
    let ignored = || {
        let signal = signal(sig::SIGTERM, systemd(), worker());
        let (result, disposition) = (SignalResult::Ignored, Some(Disposition::Ignore));
        let ignored = SignalSent { result, disposition, fatal: false, ..signal };
        being_stopped(Some(95), 100).signal(101, ignored)
    };
    let death = ignored().exit(400, worker(), 0, true).death();
    assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
    assert_eq!(death.killer.kind, KillerKind::None);
    let text = &death.cause.explanation;
    assert!(text.contains("SIGTERM from systemd[1], which it had got 299 ms before, it ignored"));
    assert!(!text.contains("no signal had reached it"), "{text}");
    assert_eq!(death.chain.len(), 1, "{death:#?}");

    let child = Task { ppid: 500, ..task_in(501, "sleep", "/system.slice/nginx.service") };
    let death = ignored()
        .signal(101, signal(sig::SIGTERM, systemd(), child.clone()))
        .exit(102, child, 15, false)
        .exit(104, worker(), 143 << 8, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("its child had ended 2 ms before (sleep[501] "), "{text}");
}

#[test]
fn an_end_before_the_stop_is_none_of_its_doing() {
    let death = ended_meanwhile(Some(104), 106);
    assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
    assert!(!death.cause.explanation.contains("stopping"), "{}", death.cause.explanation);
}
