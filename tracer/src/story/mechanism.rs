//! How a signal came about: from what the kernel was doing, not from what `si_code` claims.
//!
//! The order follows what can be trusted. A function on the kernel's stack is proof and comes
//! first; where no stack was taken, `info`, the sender's state and its system call decide, in the
//! order in which they exclude each other. `si_code` is the sender's word wherever
//! `rt_sigqueueinfo` is involved and is never asked there.

use super::{si_code, signals};
use crate::evidence::{Mechanism, SignalInfo, SignalSent, sig};

/// Where a pidfd is closed for good.
const PIDFD_CLOSED: &str = "pidfs_file_release";

/// Kernel functions that prove a mechanism, in order of precedence: the innermost decision comes
/// first, so that what merely led to it (an exit, an ioctl) does not win.
const MARKERS: &[(&str, Mechanism)] = &[
    // SysRq-f asks for an OOM kill where no memory is short.
    ("moom_callback", Mechanism::Sysrq),
    ("__oom_kill_process", Mechanism::OomKill),
    ("oom_kill_process", Mechanism::OomKill),
    ("oom_kill_memcg_member", Mechanism::OomKill),
    ("bpf_send_signal_common", Mechanism::BpfSendSignal),
    ("do_bpf_send_signal", Mechanism::BpfSendSignal),
    // Where the compiler put the common part into the helpers (5.10).
    ("bpf_send_signal", Mechanism::BpfSendSignal),
    ("bpf_send_signal_thread", Mechanism::BpfSendSignal),
    ("__cgroup_kill", Mechanism::CgroupKill),
    ("cgroup_kill_write", Mechanism::CgroupKill),
    ("cgroup_post_fork", Mechanism::CgroupKill),
    (PIDFD_CLOSED, Mechanism::PidfdSendSignal),
    ("zap_pid_ns_processes", Mechanism::PidNamespaceExit),
    ("reboot_pid_ns", Mechanism::PidNamespaceExit),
    ("exit_ptrace", Mechanism::PtraceExitKill),
    ("posixtimer_send_sigqueue", Mechanism::Timer),
    ("posix_timer_fn", Mechanism::Timer),
    ("posix_timer_event", Mechanism::Timer),
    ("alarm_handle_timer", Mechanism::Timer),
    ("it_real_fn", Mechanism::Timer),
    ("check_cpu_itimer", Mechanism::Timer),
    ("isig", Mechanism::TtySignal),
    ("__isig", Mechanism::TtySignal),
    ("pty_unix98_ioctl", Mechanism::TtySignal),
    ("kill_orphaned_pgrp", Mechanism::OrphanedPgrp),
    ("tty_signal_session_leader", Mechanism::TtyHangup),
    ("__tty_hangup", Mechanism::TtyHangup),
    ("disassociate_ctty", Mechanism::TtyHangup),
    ("__do_SAK", Mechanism::Sysrq),
    ("send_sig_all", Mechanism::Sysrq),
    ("__handle_sysrq", Mechanism::Sysrq),
    ("kill_cad_pid", Mechanism::Sysrq),
    ("kill_accessing_process", Mechanism::MemoryFailure),
    ("kill_procs", Mechanism::MemoryFailure),
    ("kill_proc", Mechanism::MemoryFailure),
    ("memory_failure", Mechanism::MemoryFailure),
    ("kill_me_maybe", Mechanism::MemoryFailure),
    ("kill_me_now", Mechanism::MemoryFailure),
    ("force_sig_seccomp", Mechanism::Seccomp),
    ("__seccomp_filter", Mechanism::Seccomp),
    ("generic_write_check_limits", Mechanism::RlimitFsize),
    ("inode_newsize_ok", Mechanism::RlimitFsize),
    ("send_sigio_to_task", Mechanism::AsyncIo),
    ("send_sigio", Mechanism::AsyncIo),
    ("send_sigurg", Mechanism::AsyncIo),
    ("kill_fasync", Mechanism::AsyncIo),
    ("kill_pid_usb_asyncio", Mechanism::AsyncIo),
    ("__do_notify", Mechanism::AsyncIo),
    ("pipe_write", Mechanism::Pipe),
    ("anon_pipe_write", Mechanism::Pipe),
    ("sk_stream_error", Mechanism::Pipe),
    ("unix_stream_sendmsg", Mechanism::Pipe),
    ("force_sig_fault", Mechanism::Fault),
    ("force_sig_fault_to_task", Mechanism::Fault),
    ("force_sig_info_to_task", Mechanism::Fault),
    ("force_fatal_sig", Mechanism::Fault),
    ("force_sig", Mechanism::Fault),
    ("signal_setup_done", Mechanism::Fault),
];

/// The mechanism in words; tells apart what shares one.
pub fn words(signal: &SignalSent, mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::PidNamespaceExit if on_stack(signal, "reboot_pid_ns") => {
            "reboot(2) in its pid namespace"
        }
        Mechanism::PidfdSendSignal if is_pidfd_closed(signal) => {
            "its last pidfd was closed (CLONE_PIDFD_AUTOKILL)"
        }
        // `__tty_check_change`
        Mechanism::UnknownKernel if signal.number == sig::SIGTTIN => {
            "its job read from the terminal in the background"
        }
        Mechanism::UnknownKernel if signal.number == sig::SIGTTOU => {
            "its job wrote to the terminal, or set it, in the background"
        }
        _ => mechanism.words(),
    }
}

/// The kernel sent it because the last pidfd was closed of a child that had been made to end then
/// (`CLONE_PIDFD_AUTOKILL`, Linux 7.1).
pub fn is_pidfd_closed(signal: &SignalSent) -> bool {
    on_stack(signal, PIDFD_CLOSED)
}

/// How the signal came about.
pub fn of(signal: &SignalSent) -> Mechanism {
    if let Some(proven) = by_stack(signal) {
        return proven;
    }
    match signal.info {
        SignalInfo::None => without_info(signal),
        SignalInfo::Privileged => privileged(signal),
        SignalInfo::Real { code, .. } => with_info(signal, code),
    }
}

fn by_stack(signal: &SignalSent) -> Option<Mechanism> {
    // `posix_cpu_timers_work` fires both limits and CPU-time timers; only the latter carry a siginfo.
    if on_stack(signal, "posix_cpu_timers_work")
        && !on_stack(signal, "check_cpu_itimer")
        && signal.info == SignalInfo::Privileged
        && matches!(signal.number, sig::SIGKILL | sig::SIGXCPU)
    {
        return Some(Mechanism::RlimitCpu);
    }
    MARKERS.iter().find(|(marker, _)| on_stack(signal, marker)).map(|(_, mechanism)| *mechanism)
}

/// Whether this function of the kernel's led to the signal.
pub fn on_stack(signal: &SignalSent, function: &str) -> bool {
    signal.stack.iter().take_while(|frame| !is_interrupt(frame)).any(|frame| frame == function)
}

/// Whether an interrupt of the hardware came in here: what is below it on the stack was interrupted, whatever it was,
/// and has nothing to do with the signal. Names of x86-64 (`asm_call_irq_on_stack` up to 5.11) and arm64.
fn is_interrupt(frame: &str) -> bool {
    const ENTRIES: [&str; 5] = [
        "asm_common_interrupt",
        "asm_call_irq_on_stack",
        "asm_call_sysvec_on_stack",
        "el1_irq",
        "el1h_64_irq",
    ];
    frame.starts_with("asm_sysvec_") || ENTRIES.contains(&frame)
}

fn to_itself(signal: &SignalSent) -> bool {
    signal.sender.id == signal.target.id
}

fn syscall(signal: &SignalSent) -> &str {
    signal.syscall.as_ref().map_or("", |call| call.name.as_str())
}

/// `SEND_SIG_NOINFO`: looks like `SI_USER` to the victim, although nobody called kill(2).
fn without_info(signal: &SignalSent) -> Mechanism {
    match (signal.number, to_itself(signal)) {
        (sig::SIGPIPE, true) => return Mechanism::Pipe,
        (sig::SIGXFSZ, true) => return Mechanism::RlimitFsize,
        // `ptrace_event`: a tracer that did not ask for events is told of an exec that way.
        (sig::SIGTRAP, true) if signal.ptraced => return Mechanism::Ptrace,
        _ => {}
    }
    if signal.sender.exiting && signal.parent_death_signal == signal.number {
        return Mechanism::ParentDeathSignal;
    }
    // Seen on 7.3: kill(2) leaves the siginfo to be filled in by the sending itself.
    if syscall(signal) == "kill" && !signal.sender.exiting && !signal.sender.kernel_thread {
        return Mechanism::Kill;
    }
    if syscall(signal) == "ptrace" && !to_itself(signal) {
        return Mechanism::Ptrace;
    }
    if signal.number == sig::SIGKILL && !signal.sender.exiting && !signal.sender.kernel_thread {
        let writes = signal.written_cgroup.is_some() || signal.sender.io_worker;
        if writes || signal.is_in_fork() {
            return Mechanism::CgroupKill;
        }
    }
    Mechanism::UnknownKernel
}

/// `SEND_SIG_PRIV`: `SI_KERNEL`, and no stack that would say more.
fn privileged(signal: &SignalSent) -> Mechanism {
    // `ptrace_attach` stops whom it attaches to.
    if syscall(signal) == "ptrace" && !to_itself(signal) && !signal.sender.exiting {
        return Mechanism::Ptrace;
    }
    match signal.number {
        // The only kernel source of SIGALRM is `it_real_fn`; of SIGVTALRM and SIGPROF `check_cpu_itimer`.
        sig::SIGALRM | sig::SIGVTALRM | sig::SIGPROF => Mechanism::Timer,
        sig::SIGXCPU if to_itself(signal) => Mechanism::RlimitCpu,
        sig::SIGIO | sig::SIGURG => Mechanism::AsyncIo,
        sig::SIGSEGV | sig::SIGBUS | sig::SIGILL | sig::SIGFPE | sig::SIGTRAP
            if to_itself(signal) =>
        {
            Mechanism::Fault
        }
        _ => Mechanism::UnknownKernel,
    }
}

/// `do_notify_parent` and `do_notify_parent_cldstop`: a child ended, stopped or went on. The signal is
/// SIGCHLD, or what `clone(2)` was told to send at the child's end.
fn is_of_child(signal: &SignalSent, code: i32) -> bool {
    let of_child = (si_code::CLD_EXITED..=si_code::CLD_CONTINUED).contains(&code);
    // Their numbers are those of POLL_IN to POLL_HUP, whose siginfo has no pid.
    let ends = signal.sender.exiting
        && signal.sender.ppid == signal.target.id.pid
        && signals::si_pid(signal) == Some(signals::seen_by_victim(signal));
    of_child && (signal.number == sig::SIGCHLD || ends)
}

/// A real siginfo: a user's, or one the kernel filled in.
fn with_info(signal: &SignalSent, code: i32) -> Mechanism {
    if !signal.sender.exiting && !signal.sender.kernel_thread {
        match syscall(signal) {
            // The code is the caller's own claim here.
            "rt_sigqueueinfo" | "rt_tgsigqueueinfo" => return Mechanism::Sigqueue,
            "pidfd_send_signal" => return Mechanism::PidfdSendSignal,
            "kill" if code == si_code::SI_USER => return Mechanism::Kill,
            "tkill" if code == si_code::SI_TKILL => return Mechanism::Tkill,
            "tgkill" if code == si_code::SI_TKILL => return Mechanism::Tgkill,
            _ => {}
        }
    }
    match code {
        si_code::SI_TIMER => return Mechanism::Timer,
        si_code::SI_MESGQ | si_code::SI_ASYNCIO => return Mechanism::AsyncIo,
        _ => {}
    }
    match signal.number {
        sig::SIGSYS if code == si_code::SYS_SECCOMP => Mechanism::Seccomp,
        sig::SIGBUS if matches!(code, si_code::BUS_MCEERR_AR | si_code::BUS_MCEERR_AO) => {
            Mechanism::MemoryFailure
        }
        sig::SIGSEGV | sig::SIGBUS | sig::SIGILL | sig::SIGFPE | sig::SIGTRAP | sig::SIGSYS
            if to_itself(signal) && code > 0 =>
        {
            Mechanism::Fault
        }
        _ if is_of_child(signal, code) => Mechanism::ChildStatus,
        // F_SETSIG: POLL_IN to POLL_HUP on whatever signal was asked for.
        _ if (1..=6).contains(&code) && !to_itself(signal) => Mechanism::AsyncIo,
        // Old `kill(2)` numbers where the table has no name still say SI_USER.
        _ if code == si_code::SI_USER => Mechanism::Kill,
        _ if code == si_code::SI_TKILL => Mechanism::Tkill,
        _ => Mechanism::UnknownKernel,
    }
}
