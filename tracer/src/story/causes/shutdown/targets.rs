//! The targets whose start takes everything down.

use crate::evidence::{Job, Manager, S};
use crate::story::case::Case;
use crate::story::unit_jobs::job_type;
use crate::story::world::Seen;

/// The ways in which a system goes down, and how it is said; the most telling come first. Settings call them so, they are
/// verbs of systemctl, and each has a target of that name.
const WAYS: [(&str, &str); 5] = [
    ("reboot", "is being rebooted"),
    ("poweroff", "is being powered off"),
    ("halt", "is being halted"),
    ("kexec", "is being rebooted into another kernel (kexec)"),
    ("soft-reboot", "is being rebooted without its kernel (soft-reboot)"),
];

/// Targets that are on each of these ways.
const ON_EACH: [&str; 3] = ["shutdown.target", "umount.target", "final.target"];

/// Whether a word is that of such a way, for a setting or for systemctl.
pub fn is_way(word: &str) -> bool {
    WAYS.iter().any(|(way, _)| *way == word)
}

/// Whether it is one of the targets, or another name of one.
pub fn is_target(unit: &str) -> bool {
    const OTHER_NAMES: [&str; 3] = ["ctrl-alt-del.target", "runlevel0.target", "runlevel6.target"];
    OTHER_NAMES.contains(&unit) || rank(unit).is_some()
}

/// What becomes of the system, by the target that is being started.
pub fn fate(unit: Option<&str>) -> &'static str {
    unit.and_then(way_of).map_or("is going down", |way| WAYS[way].1)
}

/// Which of the ways a target is that of.
fn way_of(unit: &str) -> Option<usize> {
    let word = unit.strip_suffix(".target")?;
    WAYS.iter().position(|(way, _)| *way == word)
}

/// How telling a target is, the most telling first.
fn rank(unit: &str) -> Option<usize> {
    let on_each = || ON_EACH.iter().position(|target| *target == unit);
    way_of(unit).or_else(|| on_each().map(|at| WAYS.len() + at))
}

/// The start of the target that takes everything down. A manager that has just made jobs for all of its units is often
/// too busy to say of which type each is; of these targets there are hardly others.
pub fn going_down<'a>(case: &Case<'a>, manager: Manager) -> Option<&'a Seen<Job>> {
    let starts = case.world.jobs.iter().filter(|job| {
        job.value.manager == manager
            && job.value.result.is_none()
            && job_type(case.world, job).is_none_or(|kind| kind == "start")
            && job.ns() <= case.struck_ns() + S
            && !is_over(case, job)
    });
    let ranked = starts.filter_map(|job| Some((rank(&job.value.unit)?, job)));
    ranked.min_by_key(|(rank, job)| (*rank, job.ns())).map(|(_, job)| job)
}

/// Whether nothing goes down any more when the victim is struck: the job was cancelled, say, or the target it had reached
/// was stopped again.
fn is_over(case: &Case<'_>, start: &Seen<Job>) -> bool {
    let Job { manager, id, unit, .. } = &start.value;
    case.world.jobs.iter().any(|seen| {
        let it = &seen.value;
        let about = it.manager == *manager && it.unit == *unit && seen.ns() >= start.ns();
        let ended = match it.result.as_deref() {
            // A time-out of the job itself is followed by what `JobTimeoutAction=` says.
            Some(result) => it.id == *id && !matches!(result, "done" | "timeout"),
            None => it.id != *id && job_type(case.world, seen) == Some("stop"),
        };
        about && ended && seen.ns() < case.struck_ns()
    })
}
