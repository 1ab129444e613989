//! Helpers that a service manager makes for itself while it starts a unit.

use super::{Finding, Fit, Opinion};
use crate::evidence::{CgroupOwner, Grade, Manager, ProcessId, Task, base_name, sig};
use crate::story::case::Case;
use crate::story::manager::{self, is_manager};
use crate::story::verdict::CauseId;
use crate::story::words;

/// What was to become a unit's program, and had not executed that yet, made a child and killed that at once: it is only there to
/// hold a new namespace until that has been taken over (`userns_acquire`, `netns_acquire` of systemd's
/// src/basic/namespace-util.c).
pub fn of_start(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|blow| !blow.mechanism.is_kernels_own())?;
    let (sender, helper) = (&blow.signal.value.sender, &blow.signal.value.target);
    let is_own_child = case.world.people.parents(helper.id).first() == Some(&sender.id);
    if blow.signal.value.number != sig::SIGKILL || !is_own_child || sender.cgroup != helper.cgroup {
        return None;
    }
    let (manager, unit) = unit_being_started(case, sender)?;
    if executed(case, helper.id, case.exit.ns()) {
        return None;
    }
    let by = manager::name_of(case.world, manager);
    let victim = case.victim_name();
    let maker = words::name_pid(&case.task(sender));
    Finding::new(
        CauseId::ProcessSignal,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{victim} was a helper of systemd's own, and no program of {unit}: {maker}, which {by} had made to start that unit and \
             which had not run its program yet, made it, it seems to hold a new namespace for the unit, and killed it as soon as it \
             had taken that over. That happens at each start of a unit with such settings, and harms nothing."
        ),
    )
    .answer()
}

/// The unit that a process was about to run a program of, and its manager: it is that manager's child, with its rights, and goes
/// by a name in brackets until it executes the program (`rename_process` in `exec_invoke`). systemd-executor is what systemd
/// starts units by since version 255.
fn unit_being_started(case: &Case<'_>, task: &Task) -> Option<(Manager, String)> {
    let owner = CgroupOwner::of(task.cgroup.as_deref()?);
    let (manager, unit) = owner.innermost_unit()?;
    let has_rights = match manager {
        Manager::System => task.uid == 0,
        Manager::User(uid) => task.uid == uid,
    };
    let parent = case.world.people.parents(task.id).first().copied();
    let by_manager = parent.is_some_and(|parent| is_manager(case.world, parent));
    let is_executor = || {
        let args = case.world.people.executed_at(task.id, case.struck_ns());
        args.and_then(<[String]>::first).is_some_and(|it| base_name(it) == "systemd-executor")
    };
    let has_not_begun = !executed(case, task.id, case.struck_ns()) || is_executor();
    let waits = task.comm.starts_with('(') && task.comm.ends_with(')');
    (has_rights && by_manager && has_not_begun && waits).then(|| (manager, unit.to_owned()))
}

/// Whether a process had executed a program by that time, as far as was seen.
fn executed(case: &Case<'_>, id: ProcessId, at_ns: u64) -> bool {
    case.world.people.exec_ns_at(id, at_ns).is_some_and(|ran_ns| ran_ns <= at_ns)
}
