//! `sched_process_exit`: a thread ends; of interest is the last one of a process.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{ExitRecord, flag};

use crate::{
    emit::{self, Wake},
    filter,
    globals::{config, offset, present},
    memory::{self, Address},
    pids,
    signal::SIGNAL_GROUP_EXIT,
    task,
};

/// Put on the trace event as well where raw tracepoints can be preempted, and given another context there: then
/// `exit_has_group_dead` is 0, and nothing is read of the context.
///
/// match-proto: sched_process_exit(task_struct *task), since 6.16 (task_struct *task, bool group_dead)
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    let task = task::current();
    let process = task.follow(offset!(task_signal));
    let group_dead = if config!(exit_has_group_dead) == 1 {
        ctx.arg::<u64>(1) & 0xff != 0
    } else {
        // Two threads that end at once can both see 0: userspace drops the second record.
        process.load::<u32>(offset!(signal_live)) == 0
    };
    if group_dead {
        record(task, process);
    }
    0
}

/// Makes the record of a process's end.
#[inline(always)]
fn record(task: Address, process: Address) {
    let pid = pids::process(task);
    if pid == pids::NONE {
        return;
    }
    let watched = filter::flags_of(task, pid);
    if filter::watched(task, pid) != 0 {
        filter::forget(pid);
    }
    let Some(mut entry) = emit::reserve::<ExitRecord>() else { return };
    entry.flags = watched | flag::GROUP_DEAD;

    // The rule of wait_task_zombie() in kernel/exit.c.
    if process.load::<u32>(offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
        entry.status = process.load(offset!(signal_group_exit_code));
        entry.flags |= flag::GROUP_STATUS;
    } else {
        let leader = task.follow(offset!(task_group_leader));
        entry.status = leader.load(offset!(task_exit_code));
    }
    entry.thread_status = task.load(offset!(task_exit_code));

    if task.load::<u32>(offset!(task_ptrace)) != 0 {
        entry.ptracer = pids::process(task.follow(offset!(task_parent)));
        entry.flags |= flag::PTRACED;
    }
    if present!(task_seccomp) {
        match task.load::<u32>(offset!(task_seccomp)) {
            1 => entry.flags |= flag::SECCOMP_STRICT,
            2 => entry.flags |= flag::SECCOMP_FILTER,
            3 => entry.flags |= flag::SECCOMP_DEAD,
            _ => {}
        }
    }
    let waiting = offset!(sigpending_signal);
    let shared: u64 = process.add(offset!(signal_shared_pending)).load(waiting);
    let own: u64 = task.add(offset!(task_pending)).load(waiting);
    entry.pending = shared | own;
    task::describe(task, &mut entry.task);
    task::describe_ancestors(task, &mut entry.ancestors);
    let target = memory::reload(&entry.flags) & flag::TARGET != 0;
    entry.submit(if target { Wake::Now } else { Wake::Later });
}
