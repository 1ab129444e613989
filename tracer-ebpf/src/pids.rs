//! Process ids as the tracer sees them.

use crate::{
    globals::{config, offset},
    memory::Address,
};

/// How deep pid namespaces nest (`MAX_PID_NS_LEVEL`).
const MAX_LEVEL: u32 = 32;

/// The process id of a task in the tracer's pid namespace; 0 where it has none there.
#[inline(always)]
pub fn process(task: Address) -> u32 {
    if config!(initial_pid_namespace) == 1 {
        task.load(offset!(task_tgid))
    } else {
        thread(task.follow(offset!(task_group_leader)))
    }
}

/// The thread id of a task in the tracer's pid namespace; 0 where it has none there.
#[inline(always)]
pub fn thread(task: Address) -> u32 {
    if config!(initial_pid_namespace) == 1 {
        task.load(offset!(task_pid))
    } else {
        translate(task.follow(offset!(task_thread_pid)).0)
    }
}

/// The number of a `struct pid` in the tracer's pid namespace.
///
/// Its `numbers` has one entry for each namespace from the initial one inwards. A function of its
/// own, since it is a loop that many places need.
#[inline(never)]
fn translate(pid: u64) -> u32 {
    let pid = Address(pid);
    let level: u32 = pid.load(offset!(pid_level));
    let mut up = 0;
    while up < MAX_LEVEL {
        if pid.is_null() || up > level {
            break;
        }
        let entry = number(pid, level - up);
        let namespace: u32 = entry.follow(offset!(upid_ns)).load(offset!(pid_namespace_inum));
        if namespace == config!(pid_namespace) {
            return entry.load(0);
        }
        up += 1;
    }
    0
}

/// The entry of `numbers` for a level.
#[inline(always)]
fn number(pid: Address, level: u32) -> Address {
    pid.add(offset!(pid_numbers)).add(level.wrapping_mul(offset!(upid_size)))
}

/// The innermost entry: the process id as the task sees itself, and its pid namespace's inode number.
#[inline(always)]
pub fn innermost(task: Address) -> (u32, u32) {
    let pid = task.follow(offset!(task_group_leader)).follow(offset!(task_thread_pid));
    if pid.is_null() {
        return (0, 0);
    }
    let entry = number(pid, pid.load(offset!(pid_level)));
    (entry.load(0), entry.follow(offset!(upid_ns)).load(offset!(pid_namespace_inum)))
}
