//! `sched_process_exec`: a program was executed.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{ExecRecord, flag};

use crate::{
    emit::{self, Wake},
    filter,
    globals::offset,
    memory::{self, Address},
    pids, task,
};

/// match-proto: sched_process_exec(task_struct *task, pid_t old_pid, linux_binprm *bprm)
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    let task = Address(ctx.arg(0));
    let program = Address(ctx.arg(2));
    let pid = pids::process(task);
    if pid == pids::NONE {
        return 0;
    }
    let mut flags = filter::flags_of(task, pid);
    if filter::by_name() {
        flags = match_name(&ctx, task, program, pid, flags);
    }
    if let Some(mut entry) = emit::reserve::<ExecRecord>() {
        entry.flags = flags;
        task::describe(task, &mut entry.task);
        task::describe_ancestors(task, &mut entry.ancestors);
        program.follow(offset!(bprm_filename)).text(&mut entry.filename);
        let (len, whole) = task::arguments(task, &mut entry.args);
        entry.args_len = len;
        if !whole {
            entry.flags |= flag::TRUNCATED;
        }
        let target = memory::reload(&entry.flags) & flag::TARGET != 0;
        entry.submit(if target { Wake::Now } else { Wake::Later });
    }
    0
}

/// Makes a target of what now has a name that was asked for, and ends it for what merely inherited one.
#[inline(always)]
fn match_name(
    ctx: &RawTracePointContext,
    task: Address,
    program: Address,
    pid: u32,
    flags: u32,
) -> u32 {
    let comm = filter::name_at(task.add(offset!(task_comm)));
    let file = program.follow(offset!(bprm_file)).follow(offset!(file_dentry));
    let base = filter::name_at(file.follow(offset!(dentry_name)));
    if filter::has_name(&comm) || filter::has_name(&base) {
        let flags = flags & !flag::INHERITED_NAME | filter::named();
        filter::remember(ctx, pid, flags);
        return flags | flag::NAME_MATCHED;
    }
    if flags & flag::INHERITED_NAME != 0 {
        filter::forget(pid);
        return filter::flags_of(task, pid);
    }
    flags
}
