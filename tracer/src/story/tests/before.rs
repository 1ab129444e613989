//! What was before: an earlier run of the unit, an earlier request, a stop that had begun before tracing did.

use serde_json::{Value, json};

use super::scene::{Scene, at, root, signal, systemd, task, task_in};
use crate::evidence::{
    Fact, Grade, Job, JournalLine, Manager, ProcessId, ProcessSnapshot, Source, TargetReason, Task,
    sig,
};
use crate::story::verdict::{CauseId, Death, KillerKind};

const UNIT: &str = "v.service";

fn victim(born_ms: u64) -> Task {
    let task = task_in(142, "v", "/system.slice/v.service");
    Task { ppid: 1, id: ProcessId { start_ns: at(born_ms).boot_ns, ..task.id }, ..task }
}

fn logged(scene: Scene, ms: u64, message: &str) -> Scene {
    let line = JournalLine {
        message: format!("{UNIT}: {message}"),
        pid: Some(1),
        uid: Some(0),
        about_unit: Some(UNIT.to_owned()),
        ..JournalLine::default()
    };
    scene.add(ms, Source::Journal, Fact::Journal(line))
}

#[test]
fn a_time_limit_of_the_run_before_is_not_why() {
    let told = |born_ms| {
        let victim = victim(born_ms);
        let scene = Scene::watching(&victim).unit(born_ms + 1, UNIT, &[("MainPID", json!(142))]);
        logged(scene, 4800, "Service reached runtime time limit. Stopping.")
            .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(5002, victim, u32::from(sig::SIGTERM), true)
            .death()
    };
    assert_eq!(told(100).cause.id, CauseId::UnitRuntimeMax);
    let death = told(4900);
    assert_ne!(death.cause.id, CauseId::UnitRuntimeMax, "{death:#?}");
}

/// `systemctl restart` of root's had its job, which is done, when the unit gets another. `gone`: it has ended by then.
fn restarted_before(gone: bool) -> Death {
    let victim = victim(4500);
    let systemctl = root(task(700, "systemctl"));
    let done = Job {
        manager: Manager::System,
        id: 7,
        unit: UNIT.to_owned(),
        job_type: None,
        result: Some("done".to_owned()),
    };
    let scene = Scene::watching(&victim)
        .exec(4000, systemctl.clone(), &["systemctl", "restart", UNIT], &[])
        .job(4010, 7, "restart", UNIT)
        .add(4510, Source::Bus, Fact::Job(done));
    let scene = if gone { scene.exit(4520, systemctl, 0, false) } else { scene };
    scene
        .job(5000, 8, "restart", UNIT)
        .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5002, victim, u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn who_had_an_answer_before_did_not_ask_for_this() {
    let text = restarted_before(true).cause.explanation;
    assert!(!text.contains("systemctl restart"), "{text}");
    // It may have asked for more than one thing: it waits.
    let text = restarted_before(false).cause.explanation;
    assert!(text.contains("systemctl restart"), "{text}");
}

/// The unit is ending when it is first looked at; `told` adds what else is known.
fn ending_before(told: impl FnOnce(Scene) -> Scene) -> Scene {
    let left_us = u64::try_from(at(3000).time.unix_ns() / 1000).expect("after 1970");
    let ending: [(&str, Value); 4] = [
        ("ActiveState", json!("deactivating")),
        ("SubState", json!("stop-sigterm")),
        ("ActiveExitTimestamp", json!(left_us)),
        ("MainPID", json!(142)),
    ];
    told(Scene::watching(&victim(100)).unit(4000, UNIT, &ending))
}

fn killed(scene: Scene) -> Death {
    let scene = logged(scene, 9000, "State 'stop-sigterm' timed out. Killing.");
    scene
        .signal(9001, signal(sig::SIGKILL, systemd(), victim(100)))
        .exit(9002, victim(100), u32::from(sig::SIGKILL), true)
        .death()
}

#[test]
fn a_stop_from_before_is_told_as_that() {
    let death = killed(ending_before(|scene| scene));
    assert_eq!(death.cause.id, CauseId::UnitStopTimeout, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("was ending already") && !text.contains("STOPPING=1"), "{text}");
    let began = death.chain.first().expect("a link");
    assert_eq!(
        (began.at, began.text.as_str()),
        (at(3000), "v.service was ending already, 6 s before")
    );

    let limit = |scene| logged(scene, 3001, "Service reached runtime time limit. Stopping.");
    assert_eq!(killed(ending_before(limit)).cause.id, CauseId::UnitRuntimeMax);
}

/// The property is of when the unit was last active: in a start that fails, of an earlier run.
#[test]
fn when_an_earlier_run_ended_is_not_when_this_one_began_to() {
    let us = |ms| json!(u64::try_from(at(ms).time.unix_ns() / 1000).expect("after 1970"));
    let ending = [
        ("ActiveState", json!("deactivating")),
        ("ActiveExitTimestamp", us(50)),
        ("InactiveEnterTimestamp", us(60)),
        ("MainPID", json!(142)),
    ];
    let scene = Scene::watching(&victim(100)).unit(4000, UNIT, &ending);
    let death = killed(scene.clone());
    assert_eq!(death.chain.first().map(|link| link.at), Some(at(4000)), "{death:#?}");
    // What the manager logged in this run counts, however long before it was looked at.
    let death = killed(logged(scene, 1000, "start operation timed out. Terminating."));
    assert_eq!(death.cause.id, CauseId::UnitStartTimeout, "{death:#?}");
}

/// A child whose parent was killed in the same stop belongs to PID 1 when it ends.
#[test]
fn an_orphan_is_not_the_beginning_of_a_run() {
    let orphan = victim(5000);
    let scene = Scene::watching(&orphan).unit(100, UNIT, &[("MainPID", json!(141))]);
    let death = logged(scene, 4999, "Service reached runtime time limit. Stopping.")
        .signal(5001, signal(sig::SIGTERM, systemd(), orphan.clone()))
        .exit(5002, orphan, u32::from(sig::SIGTERM), true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitRuntimeMax, "{death:#?}");
}

/// The job that was there, and a client of before that waits for it.
fn with_job(scene: Scene, client: Option<&str>) -> Scene {
    let job = Job {
        manager: Manager::System,
        id: 7,
        unit: UNIT.to_owned(),
        job_type: Some("stop".to_owned()),
        result: None,
    };
    let scene = scene.add(4001, Source::BusProperty, Fact::Job(job));
    let Some(verb) = client else { return scene };
    let waits = ProcessSnapshot {
        pid: 700,
        start_ns: at(2900).boot_ns,
        comm: "systemctl".to_owned(),
        cmdline: ["systemctl", verb, UNIT].map(str::to_owned).to_vec(),
        ..ProcessSnapshot::default()
    };
    scene.add(4002, Source::Proc, Fact::Process(Box::new(waits)))
}

#[test]
fn who_still_waits_for_it_asked() {
    let death = killed(ending_before(|scene| with_job(scene, Some("stop"))));
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("systemctl stop v.service"), "{text}");
    assert!(
        death.chain.iter().any(|link| link.text.ends_with("was under way already")),
        "{death:#?}"
    );
    let text = killed(ending_before(|scene| with_job(scene, Some("status")))).cause.explanation;
    assert!(!text.contains("systemctl status"), "{text}");
}

/// A job that was announced is as it was announced, whatever its unit says of it when that is looked at.
#[test]
fn a_job_that_was_announced_was_not_there_before() {
    let victim = victim(100);
    let job = Job {
        manager: Manager::System,
        id: 8,
        unit: UNIT.to_owned(),
        job_type: Some("stop".to_owned()),
        result: None,
    };
    let looked_at = |ms: u64| {
        let scene = Scene::watching(&victim);
        let told = |scene: Scene| scene.add(ms, Source::BusProperty, Fact::Job(job.clone()));
        let scene = if ms < 4900 { told(scene) } else { scene };
        let scene = scene.job_of_type(4900, 8, None, UNIT);
        let scene = if ms < 4900 { scene } else { told(scene) };
        scene
            .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(5002, victim.clone(), u32::from(sig::SIGTERM), true)
            .death()
    };
    for ms in [4890, 4950] {
        let death = looked_at(ms);
        let texts: Vec<_> = death.chain.iter().map(|link| (link.at, link.text.as_str())).collect();
        let told = texts.iter().find(|(_, text)| text.contains("job 8"));
        let (when, text) = told.unwrap_or_else(|| panic!("{texts:#?}"));
        assert_eq!(*when, at(4900), "{text}");
        assert!(!text.contains("already"), "{text}");
    }
}

#[test]
fn an_exit_after_a_stop_from_before_is_not_by_itself() {
    let exited = |scene: Scene| scene.exit(9002, victim(100), 0, true).death();
    let death = exited(ending_before(|scene| with_job(scene, None)));
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!((death.cause.evidence, death.killer.kind), (Grade::Inferred, KillerKind::None));
    let text = &death.cause.explanation;
    assert!(text.contains("who had asked for that was not seen"), "{text}");
    assert!(!text.contains("nobody killed it"), "{text}");

    let death = exited(ending_before(|scene| scene));
    assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Inferred, "{death:#?}");

    // A stop asks the main process; what else is in the unit may end for a reason of its own.
    let other = Task { id: ProcessId { pid: 143, ..victim(100).id }, tid: 143, ..victim(100) };
    let scene = ending_before(|scene| with_job(scene, None)).target(&other, TargetReason::Running);
    let death = scene.exit(9002, other, 0, true).death();
    assert_eq!(death.cause.id, CauseId::ExitedByItself, "{death:#?}");
    assert!(
        death.cause.explanation.contains("whether anything had asked the process"),
        "{death:#?}"
    );
}

/// What lives outside of the tracer's pid namespace has the number 0, as a unit without a main process says.
#[test]
fn no_main_process_is_nobody() {
    let outside =
        Task { id: ProcessId { pid: 0, start_ns: at(4800).boot_ns }, ..task(0, "outside") };
    let victim = victim(100);
    let death = Scene::watching(&victim)
        .target(&victim, TargetReason::Running)
        .exec(4850, outside, &["outside"], &[])
        .job(4700, 8, "stop", UNIT)
        .unit(4900, UNIT, &[("MainPID", json!(0)), ("ActiveState", json!("deactivating"))])
        .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5002, victim, u32::from(sig::SIGTERM), true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert!(death.cause.explanation.contains("job 8"), "{death:#?}");
}

/// A command of `ExecStop=` that was running when the unit was first looked at.
#[test]
fn what_a_stop_from_before_runs_belongs_to_that_stop() {
    let mut command = Task { comm: "stopper".to_owned(), ..victim(2990) };
    command.id.pid = 150;
    command.tid = 150;
    let runs = ProcessSnapshot {
        pid: 150,
        ppid: 1,
        start_ns: command.id.start_ns,
        comm: "stopper".to_owned(),
        cmdline: vec!["/usr/bin/stopper".to_owned()],
        cgroup: command.cgroup.clone(),
        parents: vec![systemd().id],
        ..ProcessSnapshot::default()
    };
    let scene = ending_before(|scene| with_job(scene, None))
        .add(4003, Source::Proc, Fact::Process(Box::new(runs)))
        .unit(4004, UNIT, &[("ControlPID", json!(150)), ("SubState", json!("stop"))])
        .setting(UNIT, "ExecStop", "/usr/bin/stopper", Some(("/etc/v.service", 3)))
        .job(4100, 9, "start", "other.service");
    let death = scene
        .clone()
        .signal(5001, signal(sig::SIGTERM, command.clone(), victim(100)))
        .exit(5002, victim(100), u32::from(sig::SIGTERM), true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("a command that systemd[1] ran for ExecStop= of v.service"), "{text}");
    assert!(text.contains("which was there before killtrace looked"), "{text}");
    // What began at about the time of the first look has nothing to do with it.
    assert!(!text.contains("other.service"), "{text}");

    let scene = scene.target(&command, TargetReason::Running);
    let death = scene.exit(5002, command, 0, true).death();
    let text = &death.cause.explanation;
    assert!(!text.contains("had been ending"), "{text}");
}

/// The stop goes on when another job takes the place of its own.
#[test]
fn a_later_job_did_not_begin_the_stop() {
    let victim = victim(100);
    let ask = |scene: Scene, ms, verb: &str| {
        let systemctl = root(task(700 + u32::try_from(ms).expect("small"), "systemctl"));
        scene.exec(ms, systemctl, &["systemctl", verb, "--no-block", UNIT], &[])
    };
    let replaced = Job {
        manager: Manager::System,
        id: 7,
        unit: UNIT.to_owned(),
        job_type: None,
        result: Some("canceled".to_owned()),
    };
    let told = |acted: bool| {
        let scene = ask(Scene::watching(&victim), 2990, "stop").job(3000, 7, "stop", UNIT);
        let ending = [("ActiveState", json!("deactivating")), ("SubState", json!("stop"))];
        let scene = if acted { scene.unit(3002, UNIT, &ending) } else { scene };
        ask(scene, 4990, "restart")
            .add(5000, Source::Bus, Fact::Job(replaced.clone()))
            .job(5000, 8, "restart", UNIT)
            .signal(9000, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(9002, victim.clone(), u32::from(sig::SIGTERM), true)
            .death()
    };
    let text = told(true).cause.explanation;
    let (stop, restart) = (text.find("systemctl stop"), text.find("systemctl restart"));
    assert!(stop.is_some() && stop < restart, "{text}");
    assert!(text.contains("a restart job (8) took the place of that one"), "{text}");
    let text = told(false).cause.explanation;
    assert!(text.contains("systemctl restart") && !text.contains("systemctl stop"), "{text}");
}
