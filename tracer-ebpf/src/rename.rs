//! `task_rename`: a process gives itself another name, as `tmux: server` does.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{RenameRecord, flag};

use crate::{
    emit::{self, Wake},
    filter::{self, Name},
    globals::offset,
    memory::Address,
    pids, syscall, task,
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
    // An exec renames as well, and has a hook of its own that says more.
    if syscall::is_exec(task::current()) {
        return 0;
    }
    let pid = pids::process(task);
    let known = filter::flags_of(task, pid);
    if pid != pids::NONE && known & flag::TARGET == 0 {
        let flags = known | filter::named();
        filter::remember(&ctx, pid, flags);
        record(task, Address(ctx.arg(1)), flags);
    }
    0
}

/// `tmux` of `tmux: server`.
#[inline(always)]
fn before_colon([first, second]: Name) -> Name {
    let (first_colon, second_colon) = (colon(first), colon(second));
    // All ones where the first half has no colon, else zero; without a branch, as all of this.
    let goes_on = ((first_colon | first_colon.wrapping_neg()) >> 63).wrapping_sub(1);
    [first & below(first_colon), second & below(second_colon) & goes_on]
}

/// The uppermost bit of the first byte that is a colon; 0 where none is.
#[inline(always)]
fn colon(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let zero_where_colon = u64::from_le(word) ^ (EACH * b':' as u64);
    let marks = zero_where_colon.wrapping_sub(EACH) & !zero_where_colon & (EACH << 7);
    marks & marks.wrapping_neg()
}

/// All bits of the bytes before the marked one.
#[inline(always)]
fn below(mark: u64) -> u64 {
    (mark >> 7).wrapping_sub(1)
}

/// Makes the record of a new target.
#[inline(always)]
fn record(task: Address, name: Address, flags: u32) {
    let Some(mut entry) = emit::reserve::<RenameRecord>() else { return };
    entry.flags = flags;
    name.text(&mut entry.name);
    task::describe(task, &mut entry.task);
    entry.submit(Wake::Now);
}
