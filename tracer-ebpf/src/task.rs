//! Describing a task: who it is, where it lives, whose child it is.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use killtrace_ebpf::{Ancestor, MAX_ANCESTORS, Task};

use crate::{
    globals::{offset, present},
    memory::{self, Address},
    pids,
};

/// `task_struct.flags`: it is ending.
pub const PF_EXITING: u32 = 0x0000_0004;
/// `task_struct.flags`: a thread of the kernel. Includes what acts for a process since 5.12.
pub const PF_KTHREAD: u32 = 0x0020_0000;
/// `task_struct.flags`: a worker of io_uring.
pub const PF_IO_WORKER: u32 = 0x0000_0010;
/// `task_struct.flags`: a worker that the kernel made for a process (6.4 and later).
pub const PF_USER_WORKER: u32 = 0x0000_4000;

/// The task that runs.
#[inline(always)]
pub fn current() -> Address {
    // SAFETY: the helper takes no arguments and only returns an address.
    Address(unsafe { bpf_get_current_task() })
}

/// Id of the task's cgroup in the cgroup2 hierarchy.
#[inline(always)]
pub fn cgroup_id(task: Address) -> u64 {
    let cgroup = task.follow(offset!(task_cgroups)).follow(offset!(css_set_dfl_cgrp));
    cgroup.follow(offset!(cgroup_kn)).load(offset!(kernfs_id))
}

/// Real user id of the task.
#[inline(always)]
pub fn user(task: Address) -> u32 {
    task.follow(offset!(task_real_cred)).load(offset!(cred_uid))
}

/// When the task's process started: nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn start(task: Address) -> u64 {
    task.follow(offset!(task_group_leader)).load(offset!(task_start_boottime))
}

/// Describes a task, into a record of zeros.
#[inline(always)]
pub fn describe(task: Address, into: &mut Task) {
    let leader = task.follow(offset!(task_group_leader));
    let (process, thread) = (task.load(offset!(task_tgid)), task.load(offset!(task_pid)));
    into.global_pid = process;
    into.global_tid = thread;
    into.pid = pids::of_thread(leader, process);
    into.tid = pids::of_thread(task, thread);
    into.ppid = pids::process(task.follow(offset!(task_real_parent)));
    into.start_ns = leader.load(offset!(task_start_boottime));
    into.cgroup_id = cgroup_id(task);
    into.flags = task.load(offset!(task_flags));
    (into.ns_pid, into.pid_ns) = pids::innermost(leader);

    let cred = task.follow(offset!(task_real_cred));
    into.uid = cred.load(offset!(cred_uid));
    into.euid = cred.load(offset!(cred_euid));
    into.login_uid =
        if present!(task_loginuid) { task.load(offset!(task_loginuid)) } else { u32::MAX };
    into.audit_session =
        if present!(task_sessionid) { task.load(offset!(task_sessionid)) } else { u32::MAX };
    task.add(offset!(task_comm)).text(&mut into.comm);
}

/// Describes one parent; its process id is 0 where the chain has ended.
#[inline(always)]
pub fn describe_parent(task: Address, into: &mut Ancestor) {
    let leader = task.follow(offset!(task_group_leader));
    into.pid = pids::of_thread(leader, leader.load(offset!(task_pid)));
    into.uid = user(leader);
    into.start_ns = leader.load(offset!(task_start_boottime));
    leader.add(offset!(task_comm)).text(&mut into.comm);
}

/// Describes the parents of a task, nearest first, as far as the tracer's pid namespace reaches.
#[inline(always)]
pub fn describe_ancestors(task: Address, into: &mut [Ancestor; MAX_ANCESTORS]) {
    let mut parent = task.follow(offset!(task_real_parent));
    for slot in into {
        describe_parent(parent, slot);
        if memory::reload(&slot.pid) == pids::NONE {
            break;
        }
        parent = parent.follow(offset!(task_real_parent));
    }
}

/// Reads the arguments of the running task from its own memory: how many bytes, and whether that is all.
/// Nothing is read of a task without memory of its own (a thread of the kernel, one that is ending).
#[inline(always)]
pub fn arguments<const N: usize>(task: Address, into: &mut [u8; N]) -> (u32, bool) {
    let memory = task.follow(offset!(task_mm));
    let start: u64 = memory.load(offset!(mm_arg_start));
    let end: u64 = memory.load(offset!(mm_arg_end));
    if memory.is_null() || start == 0 || end < start {
        return (0, true);
    }
    let len = end.wrapping_sub(start);
    let fits = len <= N as u64;
    let len = if fits { len as u32 } else { N as u32 };
    if memory::read_user(start, len, into) { (len, fits) } else { (0, false) }
}
