//! `task_rename`: a process gives itself another name, as `tmux: server` does.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{RenameRecord, flag};

use crate::{
    emit::{self, Wake},
    filter::{self, Name},
    globals::offset,
    memory::Address,
    pids, task,
};

/// match-proto: task_rename(task_struct *task, const char *comm)
#[raw_tracepoint(tracepoint = "task_rename")]
pub fn task_rename(ctx: RawTracePointContext) -> i32 {
    let task = Address(ctx.arg(0));
    if !filter::by_name()
        || task.load::<u32>(offset!(task_pid)) != task.load::<u32>(offset!(task_tgid))
    {
        return 0;
    }
    let name = filter::name_at(Address(ctx.arg(1)));
    if !filter::has_name(&name) && !filter::has_name(&before_colon(name)) {
        return 0;
    }
    let pid = pids::process(task);
    let known = filter::flags_of(task, pid);
    if known & flag::TARGET == 0 {
        let flags = known | filter::named();
        filter::remember(pid, flags);
        record(task, &name, flags);
    }
    0
}

/// `tmux` of `tmux: server`.
#[inline(always)]
fn before_colon(mut name: Name) -> Name {
    let mut found = false;
    for byte in &mut name {
        found |= *byte == b':';
        if found {
            *byte = 0;
        }
    }
    name
}

/// Makes the record of a new target.
#[inline(always)]
fn record(task: Address, name: &Name, flags: u32) {
    let Some(mut entry) = emit::reserve::<RenameRecord>() else { return };
    entry.flags = flags;
    entry.name = *name;
    task::describe(task, &mut entry.task);
    entry.submit(Wake::Now);
}
