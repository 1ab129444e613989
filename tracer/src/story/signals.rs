//! From the kernel's words to the report's: signals, their senders, tasks as processes.

use super::verdict::KillerKind;
use super::world::World;
use super::{mechanism, newborn, si_code, words};
use crate::evidence::{
    CgroupOwner, Disposition, Mechanism, Process, Session, Signal, SignalInfo, SignalResult,
    SignalSent, Task, signal_name,
};

/// The signal as the report shows it.
pub fn signal(sent: &SignalSent, mechanism: Mechanism) -> Signal {
    let (code, pid, uid) = match sent.info {
        SignalInfo::None => (si_code::SI_USER, Some(seen_by_victim(sent)), Some(sent.sender.uid)),
        SignalInfo::Privileged => (si_code::SI_KERNEL, Some(0), Some(0)),
        SignalInfo::Real { code, fields, .. } => {
            // si_pid and si_uid share their words with addresses where the kernel reports a fault.
            let carries_pid = mechanism == Mechanism::ChildStatus
                || code <= 0 && !matches!(code, si_code::SI_TIMER | si_code::SI_ASYNCIO);
            let high = (fields[0] >> 32) as u32;
            (code, si_pid(sent).filter(|_| carries_pid), carries_pid.then_some(high))
        }
    };
    Signal {
        number: sent.number,
        name: signal_name(sent.number),
        si_code: si_code::name(sent.number, code),
        si_pid: pid,
        si_uid: uid,
        mechanism,
        result: sent.result,
        disposition: sent.disposition,
        kernel_path: if mechanism.is_kernels_own() || mechanism::is_pidfd_closed(sent) {
            sent.stack.clone()
        } else {
            Vec::new()
        },
    }
}

/// What stands where a siginfo with a pid has it.
pub fn si_pid(sent: &SignalSent) -> Option<i32> {
    match sent.info {
        SignalInfo::Real { fields, .. } => Some((fields[0] as u32).cast_signed()),
        SignalInfo::None | SignalInfo::Privileged => None,
    }
}

/// The `si_pid` that the kernel fills in by itself: the sender as the victim's namespace counts it.
pub fn seen_by_victim(sent: &SignalSent) -> i32 {
    let (sender, target) = (&sent.sender, &sent.target);
    let pid = if sender.pid_ns == target.pid_ns {
        sender.ns_pid
    } else if target.ns_pid == target.id.pid {
        sender.id.pid
    } else {
        0
    };
    pid.cast_signed()
}

/// Who is behind a signal. For the kernel's own: the task whose act or end led to it, never a
/// bystander that merely was on the CPU or asked for memory.
pub fn originator(sent: &SignalSent, mechanism: Mechanism) -> (KillerKind, Option<&Task>) {
    let sender = &sent.sender;
    match mechanism {
        // Whoever wrote cgroup.kill, never the parent in whose clone(2) it struck.
        Mechanism::CgroupKill if newborn::is_at_birth(sent) => (KillerKind::Process, None),
        Mechanism::Kill
        | Mechanism::Tkill
        | Mechanism::Tgkill
        | Mechanism::Sigqueue
        | Mechanism::PidfdSendSignal
        | Mechanism::CgroupKill
        | Mechanism::Ptrace => {
            let own = sender.id == sent.target.id;
            (if own { KillerKind::Itself } else { KillerKind::Process }, Some(sender))
        }
        // The process brought it on itself.
        Mechanism::Fault | Mechanism::Seccomp | Mechanism::Pipe | Mechanism::Timer => {
            (KillerKind::Itself, Some(&sent.target))
        }
        // The act or the end of `current` led to it.
        Mechanism::ParentDeathSignal
        | Mechanism::PidNamespaceExit
        | Mechanism::PtraceExitKill
        | Mechanism::OrphanedPgrp => (KillerKind::Kernel, Some(sender)),
        // The closer of the terminal, unless a worker of the kernel did it for somebody.
        Mechanism::TtyHangup => (KillerKind::Kernel, acting(sent)),
        // The writer of /proc/sysrq-trigger, or whoever injected the key.
        Mechanism::Sysrq | Mechanism::TtySignal => (KillerKind::Kernel, in_syscall(sent)),
        // The child tells of itself, unless its end is told by whoever leaves it behind.
        Mechanism::ChildStatus => {
            let of_sender = si_pid(sent) == Some(seen_by_victim(sent));
            (KillerKind::Kernel, Some(sender).filter(|_| of_sender))
        }
        Mechanism::OomKill
        | Mechanism::RlimitCpu
        | Mechanism::RlimitFsize
        | Mechanism::BpfSendSignal
        | Mechanism::MemoryFailure
        | Mechanism::AsyncIo
        | Mechanism::ThreadGroupExit
        | Mechanism::UnknownKernel => (KillerKind::Kernel, None),
    }
}

/// Who sent it, in words: `bash[70]`, or `the kernel`.
pub fn from(world: &World, sent: &SignalSent) -> String {
    let mechanism = mechanism::of(sent);
    let by_process = !mechanism.is_kernels_own();
    let (_, by) = originator(sent, mechanism);
    by.filter(|_| by_process)
        .map_or_else(|| "the kernel".to_owned(), |by| words::name_pid(&task(world, by)))
}

fn acting(sent: &SignalSent) -> Option<&Task> {
    (!sent.sender.kernel_thread).then_some(&sent.sender)
}

fn in_syscall(sent: &SignalSent) -> Option<&Task> {
    sent.syscall.as_ref().and_then(|_| acting(sent))
}

/// A task of an event as the report shows it, right after the event.
pub fn task(world: &World, task: &Task) -> Process {
    task_at(world, task, u64::MAX)
}

/// A task of an event as the report shows it, with the program that it ran at that time.
pub fn task_at(world: &World, task: &Task, at_ns: u64) -> Process {
    if task.kernel_thread {
        return Process {
            pid: task.id.pid,
            start_ns: Some(task.id.start_ns),
            comm: Some(task.comm.clone()),
            uid: Some(task.uid),
            ..Process::default()
        };
    }
    let mut process = world.people.process_at(task.id, at_ns, &|id| session(world, id));
    process.ns_pid = Some(task.ns_pid);
    process.uid = Some(task.uid);
    // The first thread's name at that moment: it may have become another program since.
    if task.tid == task.id.pid || process.comm.is_none() {
        process.comm = Some(task.comm.clone());
    }
    process.user = world.user(task.uid).map(|user| user.name.clone());
    if task.ppid != 0 {
        process.ppid = Some(task.ppid);
    }
    if let Some(cgroup) = &task.cgroup {
        place(&mut process, cgroup, world);
    }
    process
}

/// Fills in what follows from the cgroup.
pub fn place(process: &mut Process, cgroup: &str, world: &World) {
    let placement = CgroupOwner::of(cgroup);
    process.cgroup = Some(cgroup.to_owned());
    process.unit.clone_from(&placement.unit);
    process.user_unit.clone_from(&placement.user_unit);
    process.slice.clone_from(&placement.slice);
    if let Some(id) = placement.session.clone() {
        process.session = Some(session(world, &id).unwrap_or(Session { id, ..Session::default() }));
    }
    process.job.clone_from(&placement.job);
    process.container = world.people.container(cgroup, placement);
}

/// A login session as the report shows it.
pub fn session(world: &World, id: &str) -> Option<Session> {
    world.session(id).map(|state| Session {
        user: state
            .user
            .or_else(|| state.uid.and_then(|uid| world.user(uid)).map(|user| user.name.clone())),
        remote_host: state.remote_host,
        tty: state.tty,
        service: state.service,
        id: state.id,
    })
}

/// Why a signal that asks for an end can have had no effect, as a clause after its name; empty where that is not known.
pub fn unheard(sent: &SignalSent) -> &'static str {
    let is_dropped = sent.result == SignalResult::Ignored;
    match sent.disposition {
        _ if is_dropped && sent.namespace_init => {
            ", which process 1 of a pid namespace does not get unless it handles it"
        }
        Some(Disposition::Ignore) if is_dropped && !sent.blocked => ", which it ignores",
        _ => "",
    }
}
