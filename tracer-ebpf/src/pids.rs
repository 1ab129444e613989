//! Process ids as the tracer sees them.

use crate::{
    globals::{config, offset},
    memory::Address,
};

/// The process id of what has none in the tracer's pid namespace: it is a sender, but no target, and
/// not reported when it begins or ends, since nobody could look at it.
pub const NONE: u32 = 0;

/// The process id of a task in the tracer's pid namespace, or [`NONE`].
#[inline(always)]
pub fn process(task: Address) -> u32 {
    if config!(pid_namespace_level) == 0 {
        task.load(offset!(task_tgid))
    } else {
        translate(task.follow(offset!(task_group_leader)).follow(offset!(task_thread_pid)))
    }
}

/// The id of a thread in the tracer's pid namespace, or [`NONE`], where its id in the initial one is
/// known already. The id of a process is that of its leader.
#[inline(always)]
pub fn of_thread(thread: Address, global: u32) -> u32 {
    if config!(pid_namespace_level) == 0 {
        global
    } else {
        translate(thread.follow(offset!(task_thread_pid)))
    }
}

/// The number of a `struct pid` in the tracer's pid namespace.
///
/// Its `numbers` has one entry for each namespace from the initial one inwards, so that the tracer's is
/// at the tracer's level; another namespace can be there just as well.
#[inline(always)]
fn translate(pid: Address) -> u32 {
    let level: u32 = pid.load(offset!(pid_level));
    let entry = number(pid, config!(pid_namespace_level));
    let namespace: u32 = entry.follow(offset!(upid_ns)).load(offset!(pid_namespace_inum));
    if level < config!(pid_namespace_level) || namespace != config!(pid_namespace) {
        return NONE;
    }
    entry.load(0)
}

/// The number of a `struct pid` that lives in the tracer's own pid namespace, not in one below; else [`NONE`].
#[inline(always)]
pub fn of_own(pid: Address) -> u32 {
    let level: u32 = pid.load(offset!(pid_level));
    if level == config!(pid_namespace_level) { translate(pid) } else { NONE }
}

/// The entry of `numbers` for a level.
#[inline(always)]
fn number(pid: Address, level: u32) -> Address {
    pid.add(offset!(pid_numbers)).add(level.wrapping_mul(offset!(upid_size)))
}

/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL: u32 = 0xefff_fffc;

/// The innermost entry of a process's leader: the process id as the process sees itself, and its pid
/// namespace's inode number. `global` is its id in the initial one.
#[inline(always)]
pub fn innermost(leader: Address, global: u32) -> (u32, u32) {
    let pid = leader.follow(offset!(task_thread_pid));
    let level = pid.load(offset!(pid_level));
    if level == 0 && !pid.is_null() {
        return (global, INITIAL);
    }
    let entry = number(pid, level);
    (entry.load(0), entry.follow(offset!(upid_ns)).load(offset!(pid_namespace_inum)))
}
