//! Describing a task: who it is, where it lives, whose child it is.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use killtrace_ebpf::{Ancestor, MAX_ANCESTORS, Task};

use crate::{
    globals::{KIN, offset, present},
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

/// How long a sender's ancestors are taken to be what they were, nanoseconds.
const KIN_HOLDS_NS: u64 = 1_000_000;

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
    let (thread, process) = task.load_two(offset!(task_pid), offset!(task_tgid));
    into.global_pid = process;
    into.global_tid = thread;
    into.pid = pids::of_thread(leader, process);
    into.tid = pids::of_thread(task, thread);
    into.ppid = pids::process(task.follow(offset!(task_real_parent)));
    into.start_ns = leader.load(offset!(task_start_boottime));
    into.cgroup_id = cgroup_id(task);
    into.flags = task.load(offset!(task_flags));
    (into.ns_pid, into.pid_ns) = pids::innermost(leader, process);

    let cred = task.follow(offset!(task_real_cred));
    // struct cred: uid, gid, suid, sgid, euid.
    if offset!(cred_euid).wrapping_sub(offset!(cred_uid)) == 16 {
        let [first, _, third]: [u64; 3] = cred.load(offset!(cred_uid));
        (into.uid, into.euid) = (first as u32, third as u32);
    } else {
        (into.uid, into.euid) = (cred.load(offset!(cred_uid)), cred.load(offset!(cred_euid)));
    }
    (into.login_uid, into.audit_session) = if present!(task_loginuid) && present!(task_sessionid) {
        task.load_two(offset!(task_loginuid), offset!(task_sessionid))
    } else {
        (u32::MAX, u32::MAX)
    };
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

/// Describes the parents of who sends a signal. In a flood they are those of the signal before: so they are read
/// again only where the sender is another one, has another parent, or some time has passed.
#[inline(always)]
pub fn describe_kin(task: Address, of: &Task, now: u64, into: &mut [Ancestor; MAX_ANCESTORS]) {
    let Some(kin) = KIN.get_ptr_mut(0) else { return };
    // SAFETY: the map has one value for each CPU; nothing else refers to it while the program runs.
    let kin = unsafe { &mut *kin };
    let parent = task.follow(offset!(task_real_parent)).0;
    let (pid, start) = (memory::reload(&of.global_pid), memory::reload(&of.start_ns));
    let same = kin.parent == parent && kin.global_pid == u64::from(pid) && kin.start_ns == start;
    if !same || now.wrapping_sub(kin.read_ns) >= KIN_HOLDS_NS {
        (kin.parent, kin.global_pid, kin.start_ns, kin.read_ns) =
            (parent, u64::from(pid), start, now);
        memory::clear(&raw mut kin.ancestors);
        describe_ancestors(task, &mut kin.ancestors);
    }
    memory::copy(&kin.ancestors, into);
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
