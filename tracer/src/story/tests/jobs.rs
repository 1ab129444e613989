//! Requests and jobs that are heard of late, in part, or not at all.

use serde_json::Value;

use super::manager::SCOPE;
use super::scene::{Scene, at, signal, systemd, task_in};
use crate::evidence::{
    BusPeer, Fact, Grade, Job, Manager, Source, TargetReason, UnitProperties, sig,
};
use crate::story::unit_jobs::job_type;
use crate::story::verdict::{CauseId, Death, LinkEvent};
use crate::story::world::World;

/// alice stops a service over the bus; `answered` tells how the call of `client` fared.
fn stopped_over_the_bus(called_ms: u64, answered: impl FnOnce(Scene, &str) -> Scene) -> Death {
    let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
    let systemctl = task_in(3000, "systemctl", SCOPE);
    let client = BusPeer { name: ":1.6".to_owned(), pid: Some(3000), ..BusPeer::default() };
    let scene = Scene::default()
        .user(1000, "alice")
        .target(&sleeper, TargetReason::Running)
        .exec(100, systemctl.clone(), &["/opt/ours/stopper"], &[])
        .call_as(called_ms, client, ("StopUnit", &["job.service", "replace"]), |_| ());
    answered(scene, ":1.6")
        .exit(60_000, systemctl, 0, false)
        .job(60_110, 700, "stop", "job.service")
        .signal(60_114, signal(sig::SIGTERM, systemd(), sleeper.clone()))
        .exit(60_115, sleeper, u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn a_call_that_waited_for_a_password_is_the_request() {
    let death =
        stopped_over_the_bus(105, |scene, client| scene.reply(60_111, client, true, Some(700)));
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Observed, "{death:#?}");
    // Known by the pid that the bus gave, though it was gone when it was looked for.
    assert!(death.cause.explanation.contains("alice ran \"/opt/ours/stopper\""), "{death:#?}");
    for refused in [
        stopped_over_the_bus(59_000, |scene, client| scene.reply(60_000, client, false, None)),
        stopped_over_the_bus(105, |scene, _| scene),
        // The password has not been given yet.
        stopped_over_the_bus(58_000, |scene, _| scene),
    ] {
        assert!(!refused.cause.explanation.contains("stopper"), "{refused:#?}");
    }
}

/// `systemctl stop job --help`, and one in a chroot: they are gone before there is a job.
#[test]
fn who_is_gone_before_there_is_a_job_has_not_asked_for_it() {
    let told = |gone_ms: u64| {
        let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
        let mut systemctl = task_in(3000, "systemctl", SCOPE);
        (systemctl.uid, systemctl.euid) = (0, 0);
        Scene::default()
            .target(&sleeper, TargetReason::Running)
            .exec(58_000, systemctl.clone(), &["systemctl", "stop", "--no-block", "job"], &[])
            .exit(gone_ms, systemctl, 0, false)
            .job(60_110, 700, "stop", "job.service")
            .signal(60_114, signal(sig::SIGTERM, systemd(), sleeper.clone()))
            .exit(60_115, sleeper, u32::from(sig::SIGTERM), true)
            .death()
            .cause
            .explanation
    };
    // The bus is heard a moment late.
    assert!(told(60_000).contains("systemctl stop --no-block job"), "{}", told(60_000));
    assert!(!told(59_800).contains("systemctl"), "{}", told(59_800));
}

/// dbus-send(1) as a script of root's runs it; what is refused to others nobody hears then.
#[test]
fn who_wants_no_answer_is_granted_what_root_may() {
    let told = |uid: u32| {
        let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
        let client = BusPeer {
            name: ":1.6".to_owned(),
            pid: Some(3000),
            uid: Some(uid),
            ..BusPeer::default()
        };
        let call = ("StopUnit", &["job.service", "replace"][..]);
        Scene::default()
            .user(uid, "alice")
            .target(&sleeper, TargetReason::Running)
            .exec(100, task_in(3000, "stopper", SCOPE), &["/opt/ours/stopper"], &[])
            .call_as(58_000, client, call, |call| call.no_reply = true)
            .job(60_110, 700, "stop", "job.service")
            .signal(60_114, signal(sig::SIGTERM, systemd(), sleeper.clone()))
            .exit(60_115, sleeper, u32::from(sig::SIGTERM), true)
            .death()
            .cause
            .explanation
    };
    assert!(told(0).contains("stopper"), "{}", told(0));
    assert!(!told(1000).contains("stopper"), "{}", told(1000));
}

/// Jobs are told over systemd's own socket, and a busy bus is read after that.
#[test]
fn a_call_that_was_heard_late_is_the_request_if_its_job_is() {
    let death = |job: u32| {
        stopped_over_the_bus(60_900, |scene, client| scene.reply(60_901, client, true, Some(job)))
    };
    assert_eq!(death(700).cause.evidence, Grade::Observed, "{:#?}", death(700));
    assert!(death(700).cause.explanation.contains("stopper"), "{:#?}", death(700));
    assert!(!death(701).cause.explanation.contains("stopper"), "{:#?}", death(701));
}

/// A job that was gone before it could be asked, in a journal that is slow to tell.
#[test]
fn a_jobs_type_shows_in_what_its_unit_does() {
    let death = |states: &[&str]| {
        let sleeper = task_in(2041, "sleep", "/system.slice/job.service");
        let scene = Scene::default().target(&sleeper, TargetReason::Running).job_of_type(
            110,
            700,
            None,
            "job.service",
        );
        let scene = (111..).zip(states).fold(scene, |scene, (ms, state)| {
            scene.unit(ms, "job.service", &[("ActiveState", Value::from(*state))])
        });
        let removed = Job {
            manager: Manager::System,
            id: 700,
            unit: "job.service".to_owned(),
            job_type: None,
            result: Some("done".to_owned()),
        };
        scene
            .signal(120, signal(sig::SIGTERM, systemd(), sleeper.clone()))
            .exit(121, sleeper, u32::from(sig::SIGTERM), true)
            .add(122, Source::Bus, Fact::Job(removed))
            .death()
    };
    let job = |death: &Death| {
        let mut links = death.chain.iter().filter(|link| link.event == LinkEvent::Job);
        links.next().map(|link| link.text.clone())
    };
    let told = |states: &[&str]| job(&death(states));
    assert_eq!(told(&["deactivating"]).as_deref(), Some("systemd[1] job 700 stop job.service"));
    let restart = told(&["deactivating", "activating"]);
    assert_eq!(restart.as_deref(), Some("systemd[1] job 700 restart job.service"));
    // A start that fails.
    let start = told(&["activating", "deactivating"]);
    assert_eq!(start.as_deref(), Some("systemd[1] job 700 start job.service"));
    assert!(told(&[]).is_some_and(|job| job.contains("of a type not seen")));
}

#[test]
fn a_reload_shows_in_what_its_unit_does() {
    let kind = |states: &[&str]| {
        let unit = "job.service".to_owned();
        let job = |result: Option<&str>| {
            let (unit, result) = (unit.clone(), result.map(str::to_owned));
            Fact::Job(Job { manager: Manager::System, id: 700, unit, job_type: None, result })
        };
        let mut world = World::default();
        let mut learn = |ms, fact: Fact| world.observe(&fact.at(at(ms), Source::Bus));
        learn(110, job(None));
        for (ms, state) in (111..).zip(states) {
            let properties = [("ActiveState".to_owned(), Value::from(*state))].into();
            let unit = unit.clone();
            learn(ms, Fact::Unit(UnitProperties { manager: Manager::System, unit, properties }));
        }
        learn(120, job(Some("done")));
        let first = world.jobs.iter().next().expect("the job");
        job_type(&world, first).map(str::to_owned)
    };
    assert_eq!(kind(&["reloading", "active"]).as_deref(), Some("reload"));
    // The program did not survive it.
    assert_eq!(kind(&["reloading", "inactive"]).as_deref(), Some("reload"));
    assert_eq!(kind(&["deactivating", "inactive"]).as_deref(), Some("stop"));
    assert_eq!(kind(&["active"]), None);
}
