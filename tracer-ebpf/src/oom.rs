//! `mark_victim`: the OOM killer has chosen.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::OomRecord;

use crate::{
    emit::{self, Wake},
    globals::{config, offset},
    memory::Address,
    task,
};

/// match-proto: mark_victim(task_struct *task, uid_t uid), in older kernels mark_victim(int pid)
#[raw_tracepoint(tracepoint = "mark_victim")]
pub fn mark_victim(ctx: RawTracePointContext) -> i32 {
    if let Some(mut entry) = emit::reserve::<OomRecord>() {
        entry.victim_global_tid = if config!(victim_is_task) == 1 {
            Address(ctx.arg(0)).load(offset!(task_pid))
        } else {
            ctx.arg::<u32>(0)
        };
        task::describe(task::current(), &mut entry.trigger);
        entry.submit(Wake::Later);
    }
    0
}
