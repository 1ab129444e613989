//! Jobs of batch systems.

use std::collections::BTreeMap;

use super::scene::{Scene, task, task_in};
use crate::evidence::{Fact, Grade, JournalLine, ProcessSnapshot, Source, Task};
use crate::story::verdict::CauseId;

const JOB: &str = "/system.slice/slurmstepd.scope/job_5/step_batch/user/task_0";

fn slurmstepd() -> Task {
    let cgroup = "/system.slice/slurmstepd.scope/job_5/step_batch/slurm";
    Task { uid: 0, euid: 0, ..task_in(300, "slurmstepd", cgroup) }
}

fn logs(scene: Scene, comm: &str, uid: u32, message: &str) -> Scene {
    let line = JournalLine {
        comm: Some(comm.to_owned()),
        uid: Some(uid),
        message: message.to_owned(),
        ..JournalLine::default()
    };
    scene.add(5001, Source::Journal, Fact::Journal(line))
}

#[test]
fn ran_out_of_time() {
    let said = "error: *** JOB 5 ON node CANCELLED AT 2026-11-29T22:28:12 DUE TO TIME LIMIT ***";
    let victim = || task_in(42, "sleep", JOB);
    let death =
        logs(Scene::watching(&victim()), "slurmstepd", 0, said).ended_by(slurmstepd(), victim());
    assert_eq!(death.cause.id, CauseId::BatchJobEnded, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Reported, "{death:#?}");
    assert!(death.cause.explanation.contains("slurm job 5 was ended: it ran out of"), "{death:#?}");
    assert!(format!("{:?}", death.fixes).contains("sacct -j 5"), "{death:#?}");

    // Of another job, or written by a user.
    for (comm, uid, said) in [
        ("slurmstepd", 0, said.replace("JOB 5 ", "JOB 55 ")),
        ("slurmstepd", 1000, said.to_owned()),
        ("logger", 0, said.to_owned()),
    ] {
        let death =
            logs(Scene::watching(&victim()), comm, uid, &said).ended_by(slurmstepd(), victim());
        assert_eq!(death.cause.evidence, Grade::Inferred, "{death:#?}");
        assert!(death.cause.explanation.contains("or was cancelled"), "{death:#?}");
    }
}

/// Without cgroups the number is in the environment, which its owner writes.
#[test]
fn known_by_its_environment_alone() {
    for (variable, told) in [("7", "slurm job 7 ended"), ("7; reboot", "its job ended")] {
        let victim = task(42, "sleep");
        let snapshot = ProcessSnapshot {
            pid: 42,
            start_ns: victim.id.start_ns,
            comm: "sleep".to_owned(),
            uid: 1000,
            environment: BTreeMap::from([("SLURM_JOB_ID".to_owned(), variable.to_owned())]),
            ..ProcessSnapshot::default()
        };
        let scene =
            Scene::watching(&victim).add(1, Source::Proc, Fact::Process(Box::new(snapshot)));
        let death = scene.ended_by(slurmstepd(), victim);
        assert!(death.cause.explanation.contains(told), "{death:#?}");
    }
}

/// The job's owner may cancel it, another user may not.
#[test]
fn who_cancelled_it() {
    let victim = || task_in(42, "sleep", JOB);
    let cancelled_by = |uid: u32| {
        let client = Task { uid, euid: uid, ..task(80, "scancel") };
        let scene = Scene::watching(&victim()).exec(4900, client, &["scancel", "5"], &[]);
        scene.ended_by(slurmstepd(), victim()).cause.explanation
    };
    for (uid, told) in [(0, "root ran"), (1000, "alice ran")] {
        let text = cancelled_by(uid);
        assert!(text.contains(told) && text.contains("scancel 5"), "{text}");
    }
    assert!(!cancelled_by(1001).contains("scancel"), "{}", cancelled_by(1001));
}

#[test]
fn a_users_own_program_of_that_name() {
    let victim = task(42, "sleep");
    let death = Scene::watching(&victim).ended_by(task(300, "slurmstepd"), victim);
    assert_ne!(death.cause.id, CauseId::BatchJobEnded, "{death:#?}");
}
