//! `sched_process_fork`: children of targets.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{ForkRecord, flag};

use crate::{
    emit::{self, Wake},
    filter,
    globals::offset,
    memory::Address,
    pids, task,
};

/// match-proto: sched_process_fork(task_struct *parent, task_struct *child)
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    let parent = Address(ctx.arg(0));
    let child = Address(ctx.arg(1));
    let child_tgid: u32 = child.load(offset!(task_tgid));
    if child_tgid == parent.load::<u32>(offset!(task_tgid)) {
        return 0;
    }
    let flags = inherited(parent, child);
    let pid = pids::process(child);
    if flags != 0 && pid != pids::NONE {
        filter::remember(&ctx, pid, flags);
        record(parent, child, flags);
    }
    0
}

/// What the child is, its parent being what it is.
#[inline(always)]
fn inherited(parent: Address, child: Address) -> u32 {
    let flags = filter::watched(parent, pids::process(parent));
    if flags & flag::FOLLOW != 0 {
        return flags & (flag::TARGET | flag::FOLLOW);
    }
    // A daemon that forks to leave its terminal keeps its name: what matched goes on in the child.
    if filter::by_name() && filter::has_name(&filter::name_at(child.add(offset!(task_comm)))) {
        return flag::TARGET | flag::INHERITED_NAME;
    }
    0
}

/// Makes the record of a new target.
#[inline(always)]
fn record(parent: Address, child: Address, flags: u32) {
    let Some(mut entry) = emit::reserve::<ForkRecord>() else { return };
    entry.flags = flags;
    task::describe(child, &mut entry.child);
    task::describe_parent(parent, &mut entry.parent);
    entry.submit(Wake::Now);
}
