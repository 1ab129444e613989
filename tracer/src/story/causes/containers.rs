//! Deaths by a container's runtime.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Task, sig, signal_name};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::verdict::CauseId;
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

fn is_runtime(task: &Task) -> bool {
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
    let name = container.as_ref().map_or_else(
        || "its container".to_owned(),
        |container| {
            let name = container.name.clone().unwrap_or_else(|| container.id.clone());
            format!("{} container {name}", container.runtime)
        },
    );
    let runtime = words::name_pid(&case.task(sender));
    let what = if killed_only { "killed" } else { "stopped" };
    let escalation = earlier.filter(|_| number == sig::SIGKILL).map(|first| {
        let first_name = signal_name(first.value.number);
        let waited = words::span(blow.signal.ns().saturating_sub(first.ns()));
        let ignored = if first.value.namespace_init {
            ", which process 1 of a pid namespace does not get unless it handles it"
        } else {
            ""
        };
        format!(" It had first sent {first_name}{ignored}; {waited} later came SIGKILL (exit code 137 rather than 143).")
    });
    Finding::new(
        id,
        Fit::Program,
        // That the sender is a runtime is taken from its name.
        Grade::Inferred,
        format!(
            "{} was ended by {runtime} when {name} was {what}: {}.{}",
            words::name_pid(&victim),
            actor.sentence(),
            escalation.clone().unwrap_or_default()
        ),
    )
    .links(units::command_link(case, &actor))
    .links(earlier.map(|first| case.signal_link(first, crate::story::mechanism::of(&first.value))))
    .fixes(container.filter(|_| escalation.is_some()).map(|container| {
        let name = container.name.unwrap_or(container.id);
        fixes::container_grace(&container.runtime, &name)
    }))
    .answer()
}
