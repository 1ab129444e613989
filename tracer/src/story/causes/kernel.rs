//! Deaths that the kernel decided: parent death, namespaces, tracers and the rest.

use super::{Finding, Fit, Opinion, containers};
use crate::evidence::{Grade, Mechanism, SignalInfo, SignalSent, signal_name};
use crate::story::case::Case;
use crate::story::decide::Blow;
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, Link};
use crate::story::windows::END_SEEN_LATE;
use crate::story::{fixes, mechanism, si_code, words};

/// The end of the process whose end led to it.
fn end_of_sender<'a>(case: &Case<'a>, blow: Blow<'_>) -> Option<End<'a>> {
    End::of(case, blow.signal.value.sender.id)
}

/// Its links, and who ended it as a clause.
fn told(case: &Case<'_>, blow: Blow<'_>, end: Option<&End<'_>>) -> (Vec<Link>, String) {
    end.map_or_else(Default::default, |end| (end.links(case, blow.signal.at), end.by_whom(case)))
}

/// `PR_SET_PDEATHSIG`
pub fn parent_died(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::ParentDeathSignal)?;
    let sender = &blow.signal.value.sender;
    let parent = words::name_pid(&case.task(sender));
    // The signal is bound to the parent *thread*: the process may well live on.
    let end = end_of_sender(case, blow).filter(|end| end.ns() <= blow.signal.ns() + END_SEEN_LATE);
    let (links, by_whom) = told(case, blow, end.as_ref());
    let what = if end.is_none() && sender.tid != sender.id.pid {
        format!(
            "thread {} of {parent}, which had started it, ended (the process itself lived on)",
            sender.tid
        )
    } else {
        format!("its parent {parent}{by_whom} ended")
    };
    let signal = signal_name(blow.signal.value.number);
    Finding::new(
        CauseId::ParentDied,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} had asked for {signal} when its parent ends (PR_SET_PDEATHSIG): {what}. Nobody sent it.",
            case.victim_name()
        ),
    )
    .links(links)
    .answer()
}

/// The init of its pid namespace ended.
pub fn pid_namespace(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::PidNamespaceExit)?;
    if containers::stopped(case).or_else(|| containers::unit_stopped(case)).is_some() {
        return None;
    }
    let init = words::name_pid(&case.task(&blow.signal.value.sender));
    let reboot = mechanism::on_stack(&blow.signal.value, "reboot_pid_ns");
    let end = end_of_sender(case, blow);
    let (links, by_whom) = told(case, blow, end.as_ref());
    let what = if reboot {
        format!("{init} called reboot(2) in its pid namespace")
    } else {
        format!("{init}{by_whom}, the init of its pid namespace, ended")
    };
    let container = case.victim_process().container;
    let killer = end.as_ref().and_then(End::killer);
    let remedy = match (killer, &container) {
        (None, _) if end.as_ref().is_some_and(End::is_by_itself) && !reboot => {
            Some(fixes::lasting_init())
        }
        (Some(killer), Some(container)) if containers::is_runtime(killer) => {
            fixes::container_again(container)
        }
        _ => None,
    };
    let container = container.map(|container| format!(" ({})", words::container(&container)));
    Finding::new(
        CauseId::PidNamespaceInitExited,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{}{} was killed by the kernel: {what}, and everything in the namespace ends with it.",
            case.victim_name(),
            container.unwrap_or_default()
        ),
    )
    .links(links)
    .fixes(remedy)
    .answer()
}

/// `PTRACE_O_EXITKILL`
pub fn tracer_exited(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::PtraceExitKill)?;
    let tracer = words::name_pid(&case.task(&blow.signal.value.sender));
    let (links, by_whom) = told(case, blow, end_of_sender(case, blow).as_ref());
    Finding::new(
        CauseId::TracerExited,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} was killed by the kernel: {tracer}{by_whom}, which traced it with PTRACE_O_EXITKILL, ended.",
            case.victim_name()
        ),
    )
    .links(links)
    .answer()
}

/// Where a page failed, as far as the kernel says.
fn failed_at(signal: &SignalSent) -> String {
    match signal.info {
        SignalInfo::Real { fields: [address, _], .. } => format!(", at address {address:#x}"),
        SignalInfo::None | SignalInfo::Privileged => String::new(),
    }
}

/// SysRq, BPF, memory failure, I/O signals.
pub fn others(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let signal = signal_name(blow.signal.value.number);
    let name = case.victim_name();
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
                "{name} got {signal} from the kernel: a page of its memory failed in hardware (or was injected to){}.",
                failed_at(&blow.signal.value)
            ),
        ),
        // `__do_notify` runs in whoever sends the message.
        Mechanism::AsyncIo if is_of_queue(&blow.signal.value) => (
            CauseId::AsyncIo,
            format!(
                "{name} got {signal} from the kernel when {sender} sent a message to an empty queue: it had asked to be told of that (mq_notify(3))."
            ),
        ),
        Mechanism::AsyncIo => (
            CauseId::AsyncIo,
            format!(
                "{name} got {signal} for an input/output event that it, or another process for it, had asked the kernel to tell it of (F_SETOWN, F_SETSIG or the like)."
            ),
        ),
        Mechanism::ChildStatus => (
            CauseId::Unknown,
            format!(
                "{name} got {signal} from the kernel when its child {sender} ended: the child had been started with that exit signal (clone(2))."
            ),
        ),
        _ => return None,
    };
    Finding::new(id, Fit::Exact, Grade::Observed, text).answer()
}

/// A message came to a queue (`mq_overview(7)`).
fn is_of_queue(signal: &SignalSent) -> bool {
    matches!(signal.info, SignalInfo::Real { code: si_code::SI_MESGQ, .. })
}
