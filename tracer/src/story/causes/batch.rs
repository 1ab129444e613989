//! Jobs of batch systems that were ended: Slurm, and others by the name of their daemon.

use super::commands::dealt;
use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, JournalLine, S};
use crate::story::case::Case;
use crate::story::verdict::{CauseId, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, journal, words};

/// Daemons that end what they have started.
const DAEMONS: [&str; 5] = ["slurmstepd", "slurmd", "pbs_mom", "sge_execd", "condor_starter"];

/// What slurmstepd logs behind the time of an end, and what it means. These, and none of them for a cancelled job, are
/// in slurmstepd 22.05.
const REASONS: [(&str, &str); 4] = [
    ("DUE TO TIME LIMIT", "it ran out of the time that it was given"),
    ("DUE TO PREEMPTION", "another job was given its place"),
    ("DUE TO NODE FAILURE", "its node was taken for down"),
    ("DUE TO JOB REQUEUE", "it was put back into the queue"),
];

/// The daemon of a batch system ended what belonged to a job.
pub fn ended(case: &Case<'_>) -> Option<Opinion> {
    let sender = case.sender().filter(|_| dealt(case))?;
    // Anybody can call a program of theirs so. HTCondor's may run as an ordinary user.
    let genuine = sender.euid == 0 || sender.comm == "condor_starter";
    if !genuine || !DAEMONS.contains(&sender.comm.as_str()) {
        return None;
    }
    let is_slurm = sender.comm.starts_with("slurm");
    let victim = case.victim_process();
    let id = job_id(case, is_slurm);
    let job = match (&victim.job, &id) {
        (Some(job), _) => format!("{} job {}", job.manager, job.id),
        (None, Some(id)) => format!("slurm job {id}"),
        (None, None) => "its job".to_owned(),
    };
    let said = id.as_deref().filter(|_| is_slurm).and_then(|id| last_words(case, id));
    let (grade, reason) = match said {
        Some(line) => {
            let known = REASONS.iter().find(|(words, _)| line.value.message.contains(words));
            let reason = known.map_or("it was cancelled", |(_, meaning)| meaning);
            let words = words::quotation(line.value.message.trim());
            (Grade::Reported, format!("{job} was ended: {reason} (slurmd logged {words})"))
        }
        None => (Grade::Inferred, format!("{job} ended, ran out of time or was cancelled")),
    };
    // It says so before it does it, and journald hears of it a moment later.
    let struck = case.blow.map_or(case.exit.at, |blow| blow.signal.at);
    let link = said.map(|line| {
        let text = format!("slurmd logged {}", words::quotation(line.value.message.trim()));
        case.link(line.at, LinkEvent::Timeout, line.source, None, text).before(struck)
    });
    let fix = id.filter(|_| is_slurm).map(|id| fixes::look_at_slurm_job(&id));
    Finding::new(
        CauseId::BatchJobEnded,
        Fit::Program,
        grade,
        format!(
            "{} was ended by {}: {reason}.",
            words::name_pid(&victim),
            words::name_pid(&case.task(sender))
        ),
    )
    .links(link)
    .fixes(fix)
    .answer()
}

/// The victim's job: by its cgroup, else, where Slurm makes none, by what it was given in its environment.
fn job_id(case: &Case<'_>, is_slurm: bool) -> Option<String> {
    if let Some(job) = case.victim_process().job {
        return Some(job.id);
    }
    let known = case.world.people.get(case.victim).filter(|_| is_slurm)?;
    let id = known.environment.get("SLURM_JOB_ID")?;
    // An environment is the process's own; a number cannot do harm.
    let number = id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit()) && !id.is_empty();
    number.then(|| id.clone())
}

/// `*** JOB 5 ON node CANCELLED AT 2026-11-29T22:28:01 DUE TO TIME LIMIT ***`, and `STEP 5.0` likewise.
fn last_words<'a>(case: &Case<'a>, id: &str) -> Option<&'a Seen<JournalLine>> {
    let (job, step) = (format!("*** JOB {id} ON "), format!("*** STEP {id}."));
    case.world.journal.iter().rev().find(|line| {
        let message = line.value.message.as_str();
        let daemons = ["slurmstepd", "slurmd"];
        daemons.iter().any(|daemon| journal::from_daemon(&line.value, daemon))
            && message.contains("CANCELLED AT")
            && (message.contains(&job) || message.contains(&step))
            && line.ns().abs_diff(case.struck_ns()) <= 5 * S
    })
}
