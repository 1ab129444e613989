//! Deaths that the kernel decided: parent death, namespaces, tracers, limits and the rest.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Mechanism, Source, sig, signal_name};
use crate::story::case::Case;
use crate::story::decide::Blow;
use crate::story::ending::exit_link;
use crate::story::verdict::{CauseId, Link, LinkEvent};
use crate::story::{fixes, words};

fn victim(case: &Case<'_>) -> String {
    words::name_pid(&case.victim_process())
}

fn blow_with<'a>(case: &Case<'a>, mechanism: Mechanism) -> Option<Blow<'a>> {
    case.blow.filter(|blow| blow.mechanism == mechanism)
}

/// The end of the process whose end led to it.
fn end_of_sender(case: &Case<'_>, blow: Blow<'_>) -> Option<Link> {
    case.world.exit_of(blow.signal.value.sender.id).map(|exit| {
        let mut link = exit_link(case, exit);
        if link.at.boot_ns > blow.signal.ns() {
            link.at = blow.signal.at;
        }
        link
    })
}

/// `PR_SET_PDEATHSIG`
pub fn parent_died(case: &Case<'_>) -> Option<Opinion> {
    let blow = blow_with(case, Mechanism::ParentDeathSignal)?;
    let sender = &blow.signal.value.sender;
    let parent = words::name_pid(&case.task(sender));
    let exit = case.world.exit_of(sender.id);
    // The signal is bound to the parent *thread*: the process may well live on.
    let only_thread = sender.tid != sender.id.pid
        && exit.is_none_or(|exit| exit.ns() > blow.signal.ns() + 1_000_000_000);
    let what = if only_thread {
        format!(
            "thread {} of {parent}, which had started it, ended (the process itself lives on)",
            sender.tid
        )
    } else {
        format!("its parent {parent} ended")
    };
    let signal = signal_name(blow.signal.value.number);
    Finding::new(
        CauseId::ParentDied,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} had asked for {signal} when its parent ends (PR_SET_PDEATHSIG): {what}. Nobody called kill(2).",
            victim(case)
        ),
    )
    .links(end_of_sender(case, blow))
    .answer()
}

/// The init of its pid namespace ended.
pub fn pid_namespace(case: &Case<'_>) -> Option<Opinion> {
    let blow = blow_with(case, Mechanism::PidNamespaceExit)?;
    let init = words::name_pid(&case.task(&blow.signal.value.sender));
    let reboot = blow.signal.value.stack.iter().any(|frame| frame == "reboot_pid_ns");
    let what = if reboot {
        format!("{init} called reboot(2) in its pid namespace")
    } else {
        format!("{init}, the init of its pid namespace, ended")
    };
    let container = case.victim_process().container.map(|container| {
        let name = container.name.unwrap_or(container.id);
        format!(" ({} container {name})", container.runtime)
    });
    Finding::new(
        CauseId::PidNamespaceInitExited,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{}{} was killed by the kernel: {what}, and everything in the namespace ends with it.",
            victim(case),
            container.unwrap_or_default()
        ),
    )
    .links(end_of_sender(case, blow))
    .answer()
}

/// `PTRACE_O_EXITKILL`
pub fn tracer_exited(case: &Case<'_>) -> Option<Opinion> {
    let blow = blow_with(case, Mechanism::PtraceExitKill)?;
    let tracer = words::name_pid(&case.task(&blow.signal.value.sender));
    Finding::new(
        CauseId::TracerExited,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} was killed by the kernel: {tracer}, which traced it with PTRACE_O_EXITKILL, ended.",
            victim(case)
        ),
    )
    .links(end_of_sender(case, blow))
    .answer()
}

/// CPU time, file size.
pub fn limits(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let number = blow.signal.value.number;
    let (id, what, fix) = match (blow.mechanism, number) {
        (Mechanism::RlimitCpu, sig::SIGXCPU) => (
            CauseId::CpuLimit,
            "used up its soft limit of CPU time (RLIMIT_CPU, or RLIMIT_RTTIME for real-time scheduling)",
            fixes::resource_limit("t", "the CPU time limit", "LimitCPU"),
        ),
        (Mechanism::RlimitCpu, _) => (
            CauseId::CpuLimit,
            "used up its hard limit of CPU time (RLIMIT_CPU, or RLIMIT_RTTIME for real-time scheduling)",
            fixes::resource_limit("t", "the CPU time limit", "LimitCPU"),
        ),
        (Mechanism::RlimitFsize, _) => (
            CauseId::FileSizeLimit,
            "wrote past the largest file size it is allowed (RLIMIT_FSIZE)",
            fixes::resource_limit("f", "the file size limit", "LimitFSIZE"),
        ),
        _ => return None,
    };
    let signal = signal_name(number);
    Finding::new(
        id,
        Fit::Exact,
        Grade::Observed,
        format!("{} got {signal} from the kernel: it {what}.", victim(case)),
    )
    .fixes([fix])
    .answer()
}

/// SysRq, BPF, memory failure, I/O signals.
pub fn others(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let signal = signal_name(blow.signal.value.number);
    let name = victim(case);
    let sender = words::name_pid(&case.task(&blow.signal.value.sender));
    let (id, text) = match blow.mechanism {
        Mechanism::Sysrq => (
            CauseId::Sysrq,
            format!(
                "{name} got {signal} from the kernel: somebody used the magic SysRq key (or /proc/sysrq-trigger), with {sender} on the CPU."
            ),
        ),
        Mechanism::BpfSendSignal => (
            CauseId::BpfProgram,
            format!(
                "{name} got {signal} from a BPF program (bpf_send_signal), as security agents use it; it did not send it by itself."
            ),
        ),
        Mechanism::MemoryFailure => (
            CauseId::HardwareMemoryError,
            format!(
                "{name} got {signal} from the kernel: a page of its memory failed in hardware (or was injected to)."
            ),
        ),
        Mechanism::AsyncIo => (
            CauseId::AsyncIo,
            format!(
                "{name} got {signal} for an input/output event it had asked to be told of (F_SETOWN, F_SETSIG, mq_notify or the like)."
            ),
        ),
        _ => return None,
    };
    let path = blow.signal.value.stack.clone();
    let link = (!path.is_empty()).then(|| {
        let text = format!(
            "the kernel decided in {}",
            path.iter().take(6).cloned().collect::<Vec<_>>().join(" < ")
        );
        case.link(blow.signal.at, LinkEvent::Signal, Source::Kernel, None, text)
    });
    Finding::new(id, Fit::Exact, Grade::Observed, text).links(link).answer()
}
