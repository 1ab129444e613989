//! Deaths by a container's runtime.

use super::{Finding, Fit, Opinion, unit_remedies};
use crate::evidence::cgroup_path::bus_label_escape;
use crate::evidence::{
    BusCall, Container, Grade, JournalLine, Mechanism, Moment, S, SignalResult, Task, sig,
    signal_name,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::ending::call_link;
use crate::story::manager::BUS_LAG;
use crate::story::relay::Relay;
use crate::story::requests::{by_arguments, who_called};
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, Link, LinkEvent};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, units, words};

/// Programs that stop containers: runtimes, their shims and daemons.
const RUNTIMES: [&str; 14] = [
    "runc",
    "crun",
    "runsc",
    "youki",
    "containerd-shim",
    "containerd",
    "dockerd",
    "conmon",
    "podman",
    "crio",
    "lxc-stop",
    "lxc-start",
    "systemd-nspawn",
    "kubelet",
];

/// Whether it has the name of one of these.
pub fn is_runtime(task: &Task) -> bool {
    RUNTIMES.iter().any(|name| {
        task.comm == *name
            || task.comm.starts_with("containerd-shim")
            || task.comm.starts_with("runc:")
    })
}

/// The runtime was asked to stop or kill the container.
pub fn stopped(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let sender = &blow.signal.value.sender;
    if !is_runtime(sender) || sender.id == case.victim {
        return None;
    }
    let number = blow.signal.value.number;
    let victim = case.victim_process();
    let container = victim.container.clone();
    // From inside of one container a runtime may run another; from outside, the victim has one.
    if container.is_none() && blow.signal.value.target.pid_ns == sender.pid_ns {
        return None;
    }
    let earlier = case.world.signals_to(case.victim).iter().find(|signal| {
        signal.ns() < blow.signal.ns()
            && signal.value.number != sig::SIGKILL
            && is_runtime(&signal.value.sender)
    });
    let killed_only = number == sig::SIGKILL && earlier.is_none();
    let id = if killed_only { CauseId::ContainerKill } else { CauseId::ContainerStop };
    let actor = Actor::behind(case, sender.id);
    let name = container.as_ref().map_or_else(|| "its container".to_owned(), words::container);
    let runtime = words::name_pid(&case.task(sender));
    let what = if killed_only { "killed" } else { "stopped" };
    let escalation = earlier.filter(|_| number == sig::SIGKILL);
    let told = match escalation {
        Some(first) => escalated(blow.signal, first),
        None if killed_only => format!(" {CODE_137}"),
        None => code(case),
    };
    let first_at = earlier.unwrap_or(blow.signal).at;
    let probe = container.as_ref().and_then(|it| Probe::failed(case, it, first_at));
    let patience = probe.as_ref().zip(container.as_ref());
    let patience = patience.map(|(probe, container)| fixes::patient_probe(container, probe.kind));
    // SIGTERM was sent by a run of the runtime of its own.
    let asked_first = earlier
        .filter(|first| first.value.sender.id != sender.id)
        .map(|first| Actor::behind(case, first.value.sender.id));
    Finding::new(
        id,
        Fit::Program,
        // That the sender is a runtime is taken from its name.
        Grade::Inferred,
        format!(
            "{} was ended by {runtime} when {name} was {what}: {}.{}{told}",
            words::name_pid(&victim),
            actor.sentence(),
            probe.as_ref().map(Probe::sentence).unwrap_or_default(),
        ),
    )
    .links(probe.map(|probe| probe.link(case, first_at)))
    .links(asked_first.iter().flat_map(|actor| units::command_links(case, actor)))
    .links(units::command_links(case, &actor))
    .links(earlier.map(|first| case.signal_link(first, crate::story::mechanism::of(&first.value))))
    .fixes(patience)
    .fixes(container.iter().filter(|_| escalation.is_some()).map(fixes::container_grace))
    .fixes(container.iter().filter_map(fixes::container_again))
    .answer()
}

/// A probe that a container failed, as kubelet logged right before it had the container stopped.
struct Probe<'a> {
    /// As a pod's specification calls it.
    kind: &'static str,
    said: &'a Seen<JournalLine>,
}

impl<'a> Probe<'a> {
    fn failed(case: &Case<'a>, container: &Container, stopped: Moment) -> Option<Self> {
        const RECENT: u64 = 60 * S;
        // `computePodActions` in pkg/kubelet/kuberuntime/kuberuntime_manager.go, `probe` in pkg/kubelet/prober/prober.go.
        const WORDS: [(&str, &str); 4] = [
            ("liveness", "failed liveness probe"),
            ("liveness", "probeType=\"Liveness\""),
            ("startup", "failed startup probe"),
            ("startup", "probeType=\"Startup\""),
        ];
        let pod = container.pod.as_deref()?;
        let is_its = |message: &str| {
            let of_pod = [format!("/{pod}\""), format!("podUID=\"{pod}\"")];
            // Another container of the same pod.
            let named =
                message.split_once("containerName=\"").and_then(|(_, it)| it.split('"').next());
            let of_other = named.zip(container.name.as_deref());
            message.contains(&container.id)
                || of_pod.iter().any(|pod| message.contains(pod))
                    && of_other.is_none_or(|(named, name)| name.contains(named))
        };
        case.world.journal.iter().rev().find_map(|said| {
            let message = &said.value.message;
            let recent = said.ns() <= stopped.boot_ns + S && said.ns() + RECENT >= stopped.boot_ns;
            let kind = WORDS.iter().find(|(_, words)| message.contains(words))?.0;
            let its = recent && units::from_daemon(&said.value, "kubelet") && is_its(message);
            its.then_some(Self { kind, said })
        })
    }

    fn sentence(&self) -> String {
        format!(" Kubernetes restarts it, since it had failed its {} probe.", self.kind)
    }

    fn link(&self, case: &Case<'_>, effect: Moment) -> Link {
        let text = format!("kubelet logged {}", words::quotation(&self.said.value.message));
        let Seen { at, source, .. } = *self.said;
        case.link(at, LinkEvent::Timeout, source, None, text).before(effect)
    }
}

/// The runtime told the container's init (tini, dumb-init, what `--init` puts there), which passed it on.
pub fn passed_on(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| super::commands::dealt(case))?;
    let relay = Relay::of(case, blow)?;
    let origin = &relay.origin()?.value.sender;
    if !is_runtime(origin) {
        return None;
    }
    let victim = case.victim_process();
    if victim.container.is_none() && blow.signal.value.target.pid_ns == origin.pid_ns {
        return None;
    }
    let name =
        victim.container.as_ref().map_or_else(|| "its container".to_owned(), words::container);
    Finding::new(
        CauseId::ContainerStop,
        Fit::Program,
        Grade::Inferred,
        format!(
            "{} got {} from {} when {name} was stopped.{}{}",
            words::name_pid(&victim),
            signal_name(blow.signal.value.number),
            words::name_pid(&case.task(&blow.signal.value.sender)),
            relay.sentence(case),
            code(case)
        ),
    )
    .links(relay.links(case))
    .fixes(victim.container.as_ref().and_then(fixes::container_again))
    .answer()
}

/// What the runtime shows as the exit code of what a signal other than SIGKILL ended; empty for another end.
fn code(case: &Case<'_>) -> String {
    let number = (case.exit.value.status & 0x7f) as u8;
    if number == 0 || number == sig::SIGKILL {
        return String::new();
    }
    let code = 128 + u32::from(number);
    format!(
        " Its exit code is shown as {code}, which is 128 and {}'s {number}.",
        signal_name(number)
    )
}

const CODE_137: &str = "Its exit code is shown as 137, which is 128 and SIGKILL's 9: by itself no sign of too \
                        little memory.";

/// SIGKILL came since the first signal had not helped.
fn escalated(last: &SeenSignal, first: &SeenSignal) -> String {
    let name = signal_name(first.value.number);
    let waited = words::span(last.ns().saturating_sub(first.ns()));
    let ignored = if first.value.namespace_init && first.value.result == SignalResult::Ignored {
        ", which process 1 of a pid namespace does not get unless it handles it"
    } else {
        ""
    };
    format!(
        " It had first sent {name}{ignored}; {waited} later came SIGKILL. That is why the exit code is 137 \
         (128 and SIGKILL's 9) rather than 143 (128 and SIGTERM's 15) or the program's own."
    )
}

/// The call that asked machined to end the victim's machine or to signal it.
pub fn machines_call<'a>(case: &Case<'a>) -> Option<&'a Seen<BusCall>> {
    const METHODS: [&str; 4] = ["TerminateMachine", "KillMachine", "Terminate", "Kill"];
    const RECENT: u64 = 120 * S;
    let name = case.placement.machine.clone()?;
    let object = format!("/org/freedesktop/machine1/machine/{}", bus_label_escape(&name));
    case.world.calls.iter().rev().find(|seen| {
        let call = &seen.value;
        let first = call.args.first().and_then(|arg| arg.as_str());
        call.is_to_machined()
            && METHODS.contains(&call.member.as_str())
            && (first == Some(&name) || call.path == object)
            && seen.ns() <= case.exit.ns() + BUS_LAG
            && seen.granted_ns() + RECENT >= case.exit.ns()
    })
}

/// machined was asked to end the machine or to signal it (`machinectl terminate`, `poweroff`, `kill`).
pub fn machine(case: &Case<'_>) -> Option<Opinion> {
    let name = case.placement.machine.clone()?;
    let call = machines_call(case)?;
    let (process, by_name) = who_called(case, call);
    let actor = process.map(|id| Actor::behind(case, id));
    let how_known = if by_name && actor.is_some() { by_arguments(true) } else { "" };
    let who = actor.as_ref().map_or_else(|| "a client asked for it".to_owned(), Actor::sentence);
    let victim = case.victim_process();
    let container =
        victim.container.as_ref().map_or_else(|| format!("machine {name}"), words::container);
    let kills = call.value.member.starts_with("Kill");
    let number = call.value.args.iter().find_map(serde_json::Value::as_u64);
    let (id, done) = match (kills, number) {
        (false, _) => (CauseId::ContainerStop, "terminated"),
        (true, Some(9)) => (CauseId::ContainerKill, "killed"),
        (true, _) => (CauseId::ContainerStop, "told to end"),
    };
    let link = call_link(case, call).before(case.exit.at);
    let sender = case.blow.filter(|blow| !blow.mechanism.is_kernels_own());
    let by = sender
        .map(|blow| format!(" by {}", words::name_pid(&case.task(&blow.signal.value.sender))));
    let by = by.or_else(|| case.blow.map(|_| " by the kernel".to_owned())).unwrap_or_default();
    let mut finding = Finding::new(
        id,
        Fit::Exact,
        // The request itself was seen, whoever made it.
        Grade::Observed,
        format!(
            "{} was ended{by} when {container} was {done}: {who}{how_known}.",
            words::name_pid(&victim),
        ),
    )
    .links(actor.iter().flat_map(|actor| units::command_links(case, actor)))
    .links([link])
    .fixes(unit_remedies::of_act(actor.as_ref(), "org.freedesktop.machine1.manage-machines"));
    // The machine's init got the blow; that the others went with it is the kernel's rule.
    if let Some(blow) = case.blow.filter(|blow| blow.mechanism == Mechanism::PidNamespaceExit) {
        let init = End::of(case, blow.signal.value.sender.id);
        finding = finding.links(init.iter().flat_map(|end| end.links(case, blow.signal.at)));
    }
    finding.answer()
}
