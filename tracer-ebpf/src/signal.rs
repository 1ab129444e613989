//! `signal_generate`: a signal was sent, or dropped when it was to be sent.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_stack},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use killtrace_ebpf::{
    MAX_STACK, RING_BYTES, RING_RESERVED, RING_WATERMARK, RepeatKey, SignalRecord, disposition,
    flag, info, kind,
};

use crate::{
    emit::{self, Wake},
    filter,
    globals::{config, offset, present},
    mapping,
    memory::{self, Address},
    pids, repeats,
    syscall::{self, Syscall},
    task::{self, PF_EXITING},
};

/// `signal_struct.flags`: the whole process has been condemned (`SIGNAL_GROUP_EXIT`).
pub const SIGNAL_GROUP_EXIT: u32 = 4;
/// `signal_struct.flags`: init of a pid namespace (`SIGNAL_UNKILLABLE`).
const SIGNAL_UNKILLABLE: u32 = 0x40;
/// `TRACE_SIGNAL_DELIVERED`
const DELIVERED: u32 = 0;
/// `TRACE_SIGNAL_LOSE_INFO`
const INFO_LOST: u32 = 4;
/// `SI_KERNEL`
const SI_KERNEL: i32 = 0x80;
/// `SI_TIMER`
const SI_TIMER: i32 = -2;
/// SIGILL, SIGTRAP, SIGBUS, SIGFPE and SIGSEGV
const FAULT_SIGNALS: u64 = bit(4) | bit(5) | bit(7) | bit(8) | bit(11);
const SIGKILL: u32 = 9;
const SIGCHLD: u32 = 17;
const SIGXFSZ: u32 = 25;
/// SIGKILL, SIGXCPU and SIGXFSZ
const LIMIT_SIGNALS: u64 = bit(9) | bit(24) | bit(SIGXFSZ);
/// No limit.
const RLIM_INFINITY: u64 = u64::MAX;
/// Signals that by default end a process with a core dump: `SIG_KERNEL_COREDUMP_MASK`, and with it
/// not marked as condemned when they are sent.
const CORE_SIGNALS: u64 =
    bit(3) | bit(4) | bit(5) | bit(6) | bit(7) | bit(8) | bit(11) | bit(24) | bit(25) | bit(31);

/// The place of a signal in a set.
const fn bit(signal: u32) -> u64 {
    1 << ((signal.wrapping_sub(1)) & 63)
}

/// match-proto: signal_generate(int sig, kernel_siginfo *info, task_struct *task, int group, int result)
#[raw_tracepoint(tracepoint = "signal_generate")]
pub fn signal_generate(ctx: RawTracePointContext) -> i32 {
    let sent = Sent {
        signal: ctx.arg::<u32>(0),
        info: Address(ctx.arg(1)),
        target: Address(ctx.arg(2)),
        group: ctx.arg::<u32>(3),
        result: ctx.arg::<u32>(4),
    };
    if config!(muted) & bit(sent.signal) != 0 {
        return 0;
    }
    let pid = pids::process(sent.target);
    if pid == pids::NONE {
        return 0;
    }
    let watched = filter::flags_of(sent.target, pid);
    let wanted = watched & (flag::TARGET | flag::WITNESS) != 0;
    if !wanted && sent.result != DELIVERED && sent.result != INFO_LOST {
        return 0;
    }
    let state = State::of(&sent);
    let fatal = state.is_fatal(&sent);
    if fatal || wanted {
        let why = watched | (u32::from(fatal) * flag::FATAL);
        let key = key(&sent, &state, why);
        if fatal || has_room(&key) {
            record(&ctx, &sent, &state, &key);
        }
    }
    0
}

/// Whether a signal that ends nobody is to be recorded. Where it is not, it has been counted: as a repeat of the
/// one before, or as lost.
#[inline(always)]
fn has_room(key: &RepeatKey) -> bool {
    let waiting = emit::waiting();
    let behind = waiting >= u64::from(RING_WATERMARK);
    if (behind || is_plain(key))
        && repeats::last().is_some_and(|last| repeats::counts(last, key, behind))
    {
        return false;
    }
    if waiting > u64::from(RING_BYTES - RING_RESERVED) {
        emit::lost(kind::SIGNAL as usize);
        return false;
    }
    true
}

/// Whether the key tells all that matters of a signal: it was sent by a system call, not by the kernel for a reason
/// that its stack tells.
#[inline(always)]
fn is_plain(key: &RepeatKey) -> bool {
    let code = (key.flags >> 32) as i32;
    key.signal >> 62 == u64::from(info::REAL) && code <= 0 && code != SI_TIMER
}

/// What tells a signal from others.
#[inline(always)]
fn key(sent: &Sent, state: &State, why: u32) -> RepeatKey {
    // Null and the special values below it cannot be read: zeros.
    let code: u32 = sent.info.load(8);
    RepeatKey {
        // SAFETY: the helper takes no arguments and only returns a number.
        sender: unsafe { bpf_get_current_pid_tgid() },
        program: task::current().load(offset!(task_mm)),
        target: sent.target.0,
        handler: handler(sent),
        signal: u64::from(sent.signal) | u64::from(sent.result) << 32 | special(sent.info) << 62,
        flags: u64::from(why | flags(sent, state)) | u64::from(code) << 32,
        si_fields: sent.info.load(16),
    }
}

/// The arguments of the tracepoint.
#[derive(Clone, Copy)]
struct Sent {
    signal: u32,
    info: Address,
    target: Address,
    group: u32,
    result: u32,
}

/// How the target stands when the signal has been sent.
#[derive(Clone, Copy)]
struct State {
    process: Address,
    flags: u32,
}

impl State {
    #[inline(always)]
    fn of(sent: &Sent) -> Self {
        let process = sent.target.follow(offset!(task_signal));
        Self { process, flags: process.load(offset!(signal_flags)) }
    }

    /// Whether the process ends by this very signal, whatever it may wish.
    #[inline(always)]
    fn is_fatal(&self, sent: &Sent) -> bool {
        if sent.result != DELIVERED && sent.result != INFO_LOST {
            return false;
        }
        if self.flags & SIGNAL_GROUP_EXIT != 0 {
            let code: u32 = self.process.load(offset!(signal_group_exit_code));
            return code & 0x7f == sent.signal;
        }
        CORE_SIGNALS & bit(sent.signal) != 0
            && self.flags & SIGNAL_UNKILLABLE == 0
            && handler(sent) == 0
            && !is_blocked(sent)
            && sent.target.load::<u32>(offset!(task_ptrace)) == 0
    }
}

/// The target's handler: 0 for `SIG_DFL`, 1 for `SIG_IGN`.
#[inline(always)]
fn handler(sent: &Sent) -> u64 {
    let actions = sent.target.follow(offset!(task_sighand)).add(offset!(sighand_action));
    let index = sent.signal.wrapping_sub(1) & 63;
    actions.load(index.wrapping_mul(offset!(k_sigaction_size)))
}

/// Whether the receiving thread blocks the signal, or waits for it, which lifts the blocking meanwhile.
#[inline(always)]
fn is_blocked(sent: &Sent) -> bool {
    blocked_signals(sent) & bit(sent.signal) != 0
}

/// The signals that the receiving thread blocks, or waits for.
#[inline(always)]
fn blocked_signals(sent: &Sent) -> u64 {
    let now: u64 = sent.target.load(offset!(task_blocked));
    let otherwise: u64 = sent.target.load(offset!(task_real_blocked));
    now | otherwise
}

/// One of [`info`], without a branch: real, privileged or none.
#[inline(always)]
fn special(siginfo: Address) -> u64 {
    (u64::from(siginfo.0 > 1) << 1) | u64::from(siginfo.0 == 1)
}

/// Makes the record.
#[inline(always)]
fn record(ctx: &RawTracePointContext, sent: &Sent, state: &State, key: &RepeatKey) {
    let Some(mut entry) = emit::reserve::<SignalRecord>() else { return };
    if let Some(last) = repeats::last() {
        repeats::recorded(last, key, &mut entry);
    }
    let current = task::current();
    entry.signal = sent.signal;
    entry.result = sent.result;
    // What was looked at to compare it with the one before is not read once more.
    entry.flags = key.flags as u32;
    entry.disposition = match (sent.target.follow(offset!(task_sighand)).is_null(), key.handler) {
        (true, _) => disposition::UNKNOWN,
        (_, 0) => disposition::DEFAULT,
        (_, 1) => disposition::IGNORE,
        _ => disposition::HANDLER,
    };
    entry.pdeath_signal = sent.target.load(offset!(task_pdeath_signal));
    // Its layout is the user ABI's: the same on x86-64 and arm64 in every version. Of null and of the special
    // value nothing can be read: zeros.
    entry.info = special(sent.info) as u32;
    entry.si_errno = sent.info.load(4);
    entry.si_code = (key.flags >> 32) as i32;
    entry.si_fields = key.si_fields;

    task::describe(current, &mut entry.sender);
    task::describe(sent.target, &mut entry.target);
    let now = entry.header.boot_ns;
    let SignalRecord { sender, ancestors, .. } = &mut *entry;
    task::describe_kin(current, sender, now, ancestors);
    let tty = state.process.follow(offset!(signal_tty));
    if !tty.is_null() {
        tty.add(offset!(tty_name)).text(&mut entry.tty);
    }

    entry.args_len = task::arguments(current, &mut entry.args).0;
    let syscall = Syscall::current(current, memory::reload(&entry.sender.flags));
    entry.syscall = syscall.number;
    entry.syscall_args = syscall.args;
    // Of others' signals it tells nothing, and would make each of a flood another one. Without a branch, too.
    let own =
        u64::from(current == sent.target) & u64::from(memory::reload(&entry.info) == info::REAL);
    let fault = (own & u64::from(memory::reload(&entry.si_code) > 0)).wrapping_neg();
    entry.user_ip = syscall.ip & fault;
    entry.user_sp = syscall.sp & fault;
    entry.flags |= u32::from(syscall.compat) * flag::COMPAT;
    if sent.signal == SIGKILL && memory::reload(&entry.info) == info::NONE {
        entry.written_cgroup = syscall::killed_cgroup(&entry, current);
    }
    if needs_stack(&entry, current == sent.target) {
        take_stack(ctx, &mut entry);
    }
    entry.limits = limits(sent, state);
    let (flags, urgent) = (memory::reload(&entry.flags), flag::FATAL | flag::TARGET);
    let (signal, instruction) = (memory::reload(&entry.signal), memory::reload(&entry.user_ip));
    entry.submit(if flags & urgent == urgent { Wake::Now } else { Wake::Later });
    if FAULT_SIGNALS & bit(signal) != 0 && instruction != 0 && flags & flag::FATAL != 0 {
        mapping::of_fault(ctx);
    }
}

/// The flags of a signal record, but for those that say why it is one. Without a branch: each would
/// have the verifier walk through the rest of the program once more.
#[inline(always)]
fn flags(sent: &Sent, state: &State) -> u32 {
    let blocked = blocked_signals(sent) >> (sent.signal.wrapping_sub(1) & 63);
    let ptrace: u32 = sent.target.load(offset!(task_ptrace));
    // 0 or 1
    ((sent.group & 1) * flag::GROUP)
        | ((blocked as u32 & 1) * flag::BLOCKED)
        // PT_PTRACED is bit 0
        | ((ptrace & 1) * flag::PTRACED)
        | ((state.flags & SIGNAL_UNKILLABLE) * (flag::UNKILLABLE / SIGNAL_UNKILLABLE))
}

/// The limits that the signal can tell of: `RLIMIT_CPU` (0) or `RLIMIT_FSIZE` (1), and `RLIMIT_RTTIME` (15), of
/// which the kernel sends SIGKILL for the hard one.
#[inline(always)]
fn limits(sent: &Sent, state: &State) -> [u64; 2] {
    if !present!(signal_rlim) || LIMIT_SIGNALS & bit(sent.signal) == 0 {
        return [RLIM_INFINITY; 2];
    }
    let hard = u32::from(sent.signal == SIGKILL) * 8;
    let first = u32::from(sent.signal == SIGXFSZ) * 16;
    let limits = state.process.add(offset!(signal_rlim)).add(hard);
    [limits.load(first), limits.load(15 * 16)]
}

/// Whether only a kernel stack tells where the signal came from: they cost some microseconds.
#[inline(always)]
fn needs_stack(entry: &SignalRecord, to_itself: bool) -> bool {
    match memory::reload(&entry.info) {
        info::NONE => return memory::reload(&entry.written_cgroup) == 0 && !is_kill(entry),
        info::PRIVILEGED => return true,
        _ => {}
    }
    let code = memory::reload(&entry.si_code);
    if code > 0 {
        let fault = to_itself && code != SI_KERNEL;
        let child = entry.signal == SIGCHLD;
        return !(fault || child);
    }
    // Codes that only the kernel makes want a look: a timer's interrupt can hit a task in kill(2).
    code == SI_TIMER || !syscall::sends_signals(entry)
}

/// Whether the sender is in kill(2) or the like, and not on its way out of it by ending: seen on 7.3,
/// kill(2) comes without a siginfo.
#[inline(always)]
fn is_kill(entry: &SignalRecord) -> bool {
    memory::reload(&entry.sender.flags) & PF_EXITING == 0 && syscall::sends_signals(entry)
}

/// Takes the kernel stack.
#[inline(always)]
fn take_stack(ctx: &RawTracePointContext, entry: &mut SignalRecord) {
    // SAFETY: the helper writes at most the given number of bytes, the size of the array.
    let bytes = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            entry.stack.as_mut_ptr().cast(),
            (MAX_STACK * size_of::<u64>()) as u32,
            0,
        )
    };
    if bytes > 0 {
        entry.stack_len = bytes as u32 / 8;
        entry.flags |= flag::STACK;
    }
}
