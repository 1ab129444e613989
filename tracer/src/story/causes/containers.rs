//! Deaths by a container's runtime.

mod asked;
mod connected;
mod going;
mod kubelet;
mod manner;

pub use self::asked::Asker;
use self::going::UnitGoing;
use self::kubelet::Kubelet;
use self::manner::Manner;
use super::{Finding, Fit, Opinion, unit_remedies, unit_signalled};
use crate::evidence::cgroup_path::bus_label_escape;
use crate::evidence::{
    BusCall, CgroupOwner, Container, Grade, Manager, Mechanism, Moment, S, Setting, Task, sig,
    signal_name, signal_number,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::links::call_link;
use crate::story::relay::Relay;
use crate::story::requests::{by_arguments, who_called};
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, Fix, Link, LinkEvent};
use crate::story::windows::BUS_LAG;
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, signals, units, words};

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

const NSPAWN: &str = "systemd-nspawn";

const DOCKER: &str = "docker";

const PODMAN: &str = "podman";

const DOCKERD: &str = "docker.service";

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
    let victim = case.victim_process();
    let container = victim.container.clone();
    // What a container's init takes along is as stopped as that is.
    let init = container.as_ref().and_then(|_| init_taking_along(case));
    let signal = init.as_ref().map_or(Some(blow.signal), End::struck_by)?;
    let (sender, target) = (&signal.value.sender, &signal.value.target);
    let is_machine = init.is_some() && sender.comm == NSPAWN;
    if !is_runtime(sender) || is_machine || sender.id == target.id {
        return None;
    }
    let number = signal.value.number;
    // From inside of one container a runtime may run another; from outside, the victim has one.
    if container.is_none() && target.pid_ns == sender.pid_ns {
        return None;
    }
    let earlier = asked_before(case, container.as_ref(), signal);
    let killed_only = number == sig::SIGKILL && earlier.is_none();
    let id = if killed_only { CauseId::ContainerKill } else { CauseId::ContainerStop };
    let name = container.as_ref().map_or_else(|| "its container".to_owned(), words::container);
    let runtime = words::name_pid(&case.task(sender));
    let what = if killed_only { "killed" } else { "stopped" };
    let escalation = earlier.filter(|_| number == sig::SIGKILL);
    let first = earlier.unwrap_or(signal);
    let asker = Asker::of(case, container.as_ref(), signal, first);
    let manner = Manner::of(case, container.as_ref(), &asker, signal, first);
    let kubelet = kubelet_behind(case, container.as_ref(), &asker, first);
    let told = match escalation {
        Some(first) => {
            let waited_ns = signal.ns().saturating_sub(first.ns());
            let patience = kubelet.as_ref().and_then(|kubelet| kubelet.patience_told(waited_ns));
            let patience = patience.unwrap_or_else(|| manner.patience_told());
            escalated(signal, first, &patience, shows_codes(container.as_ref()))
        }
        None if !shows_codes(container.as_ref()) => String::new(),
        None if killed_only => code_137(init.is_some()),
        None => code(case),
    };
    let remedy =
        kubelet.as_ref().zip(container.as_ref()).and_then(|(kubelet, it)| kubelet.remedy(it));
    // SIGTERM was sent by a run of the runtime of its own.
    let asked_first = earlier
        .filter(|first| first.value.sender.id != sender.id && asker.is_person())
        .map(|first| Actor::behind_at(case, first.value.sender.id, first.ns()));
    let who = who_asked(case, &asker, kubelet.as_ref(), first);
    let by = match &init {
        Some(end) => through_init(case, end, &runtime),
        None => runtime,
    };
    let gap = asker.gap().filter(|_| !kubelet.as_ref().is_some_and(Kubelet::has_reason));
    let finding = Finding::new(
        id,
        Fit::Program,
        // That the sender is a runtime is taken from its name.
        Grade::Inferred,
        format!(
            "{} {} {by} when {name} was {what}{who}.{}{}{told}{}",
            words::name_pid(&victim),
            case.was_ended(),
            kubelet.as_ref().map(Kubelet::sentence).unwrap_or_default(),
            manner.signal_told(),
            manner.after_told(),
        ),
    )
    .settings(manner.settings())
    .links(kubelet.iter().flat_map(|kubelet| kubelet.links(case, first.at)))
    .links(asked_first.iter().flat_map(|actor| units::command_links(case, actor)))
    .links(asker.links(case, first))
    .links(earlier.map(|first| case.signal_link(first, crate::story::mechanism::of(&first.value))))
    .links(init.iter().flat_map(|end| own_links(case, end, blow.signal.at)))
    .fixes(remedy)
    .fixes(remedies(case, container.as_ref(), &asker, &manner, escalation.is_some()))
    .fixes(asker.look(container.as_ref()));
    match gap {
        Some(gap) => finding.gap(gap),
        None => finding,
    }
    .answer()
}

/// What the kubelet logged of the end of a container, where a daemon had it done and nobody else is known to have asked that.
fn kubelet_behind<'a>(
    case: &Case<'a>,
    container: Option<&Container>,
    asker: &Asker<'_>,
    first: &SeenSignal,
) -> Option<Kubelet<'a>> {
    let kubelet = Kubelet::on(case, container?, &first.value.target, first.at)?;
    match asker {
        Asker::Unseen { .. } => Some(kubelet),
        // Many may ask over what they have connected.
        Asker::Connected(..) => Some(kubelet).filter(Kubelet::is_its_doing),
        _ => None,
    }
}

/// Who had the runtime do it, as the end of a sentence.
fn who_asked(
    case: &Case<'_>,
    asker: &Asker<'_>,
    kubelet: Option<&Kubelet<'_>>,
    first: &SeenSignal,
) -> String {
    let for_kubelet = |kubelet: &Kubelet<'_>| match kubelet.has_reason() {
        true => "",
        false => {
            "; why that asked (a deletion, an eviction, a new version) was not found in the journal"
        }
    };
    match (kubelet, asker.daemon()) {
        (Some(kubelet), Some(daemon)) => {
            format!(", which {daemon} had it do for the kubelet{}", for_kubelet(kubelet))
        }
        _ => asker.clause(case, first),
    }
}

/// The remedies for a container that its runtime stopped; `escalated` where its grace period was over.
fn remedies(
    case: &Case<'_>,
    container: Option<&Container>,
    asker: &Asker<'_>,
    manner: &Manner<'_>,
    escalated: bool,
) -> Vec<Fix> {
    let time_up =
        asker.is_time_up().then(|| fixes::longer_limit_of("podman", "--timeout", "podman run …"));
    // That a user's own containers could outlive what holds their namespaces is not known.
    let is_roots = asker.going().is_none_or(|going| !going.is_users());
    let live = (asker.is_daemons_own() && is_roots).then(fixes::live_restore);
    let grace = container.filter(|_| escalated).map(fixes::container_grace);
    let again = container.and_then(|container| manner.remedy(case.world, container));
    [time_up, live, grace, again].into_iter().flatten().collect()
}

/// In which container it was, where the story does not say so: who looks for the container does not know its processes.
pub fn tell_which(case: &Case<'_>, finding: &mut Finding) {
    let victim = case.victim_process();
    let Some(container) = &victim.container else { return };
    if finding.explanation.contains(&words::container(container)) {
        return;
    }
    // One that its own user calls so.
    let own = container.named_by.filter(|uid| victim.uid == Some(*uid));
    let user = own.and(victim.user.as_ref());
    let told = match user {
        Some(user) => {
            let unnamed = Container { named_by: None, ..container.clone() };
            format!("{}, as {user} calls it", words::container(&unnamed))
        }
        None => words::container(container),
    };
    finding.explanation.push_str(&format!(" It was in {told}."));
    if finding.id == CauseId::LogindUserStopped && container.runtime == PODMAN {
        finding.fixes.push(fixes::container_of_user(container));
    }
}

/// The signal by which a runtime had asked for the end that it then brought about by SIGKILL: the last one that a container
/// is stopped by, and not one that has it read its files anew.
fn asked_before<'a>(
    case: &Case<'a>,
    container: Option<&Container>,
    last: &SeenSignal,
) -> Option<&'a SeenSignal> {
    /// The longest grace period that is believed.
    const GRACE: u64 = 3600 * S;
    if last.value.number != sig::SIGKILL {
        return None;
    }
    let scope = container.map(|container| Setting::of_container(&container.id));
    let own = scope.as_deref().and_then(|scope| case.setting(&[scope], "StopSignal"));
    let own = own.and_then(|signal| signal_number(&signal.value));
    let stops = |number: u8| match own {
        Some(own) => number == own || number == sig::SIGTERM,
        None => !matches!(number, sig::SIGHUP | sig::SIGUSR1 | sig::SIGUSR2 | sig::SIGKILL),
    };
    case.world.signals_to(last.value.target.id).iter().rev().find(|first| {
        first.ns() < last.ns()
            && first.ns() + GRACE >= last.ns()
            && stops(first.value.number)
            && is_runtime(&first.value.sender)
    })
}

/// The init of the victim's pid namespace, where the victim went with it.
fn init_taking_along<'a>(case: &Case<'a>) -> Option<End<'a>> {
    End::of(case, case.blow_by(Mechanism::PidNamespaceExit)?.signal.value.sender.id)
}

/// By whom it was ended that went with its init.
fn through_init(case: &Case<'_>, init: &End<'_>, runtime: &str) -> String {
    let init = words::name_pid(&case.process(init.process()));
    format!("the kernel, as {init}, the init of its pid namespace, was ended by {runtime}")
}

/// The links of an end without the commands behind it.
fn own_links(case: &Case<'_>, end: &End<'_>, effect: Moment) -> Vec<Link> {
    let links = end.links(case, effect).into_iter();
    links.filter(|link| link.event != LinkEvent::Command).collect()
}

/// The unit that runs systemd-nspawn, or the machine's scope, was stopped: systemd-nspawn ends the machine then. Of its
/// scope it hears by `RequestStop` of the manager's (`Controller=`), and by no signal. It kills the machine's init, or
/// (seen on systemd 262) has the manager kill all of the scope.
pub fn unit_stopped(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| machines_call(case).is_none())?;
    let init = init_taking_along(case);
    let signal = init.as_ref().map_or(Some(blow.signal), End::struck_by)?;
    let sender = &signal.value.sender;
    let itself =
        (sender.comm == NSPAWN && sender.uid == 0).then(|| (case.task(sender), Vec::new()));
    let (nspawn, order) = itself.or_else(|| unit_signalled::ordered_by_nspawn(case))?;
    let own = nspawn.cgroup.as_deref().and_then(|cgroup| CgroupOwner::of(cgroup).unit);
    let mut units = own.into_iter().chain(case.placement.unit.clone());
    let going = units.find_map(|unit| UnitGoing::of(case, Manager::System, unit, signal.ns()))?;
    let victim = case.victim_process();
    let name = victim.container.as_ref().map_or_else(|| "its machine".to_owned(), words::container);
    let request = going.request;
    let finding = Finding::new(
        CauseId::ContainerStop,
        Fit::Exact,
        // That it was the stop that had it end the machine is a conclusion.
        Grade::Inferred,
        format!(
            "{} was ended when {} ended {name}, as {}.",
            words::name_pid(&victim),
            words::name_pid(&nspawn),
            going.clause(case)
        ),
    )
    .fixes(machine_again(case))
    .links(going.links(case, signal.at))
    .links(order)
    .links(init.iter().flat_map(|end| own_links(case, end, blow.signal.at)));
    let finding = if request.is_some() { finding } else { finding.gap(super::units::UNSEEN) };
    finding.answer()
}

/// The runtime told the container's init (tini, dumb-init, what `--init` puts there), which passed it on.
pub fn passed_on(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| super::commands::dealt(case))?;
    let relay = Relay::of(case, blow)?;
    let told = relay.origin()?;
    let origin = &told.value.sender;
    if !is_runtime(origin) {
        return None;
    }
    let victim = case.victim_process();
    if victim.container.is_none() && blow.signal.value.target.pid_ns == origin.pid_ns {
        return None;
    }
    let container = victim.container.as_ref();
    let name = container.map_or_else(|| "its container".to_owned(), words::container);
    let asker = Asker::of(case, container, told, told);
    let manner = Manner::of(case, container, &asker, told, told);
    let kubelet = kubelet_behind(case, container, &asker, told);
    let finding = Finding::new(
        CauseId::ContainerStop,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} got {} from {} when {name} was stopped.{}{}{}{}{}",
            words::name_pid(&victim),
            signal_name(blow.signal.value.number),
            words::name_pid(&case.task(&blow.signal.value.sender)),
            relay.sentence(case),
            kubelet.as_ref().map(Kubelet::sentence).unwrap_or_default(),
            manner.signal_told(),
            code(case),
            manner.after_told(),
        ),
    )
    .links(relay.links(case))
    .links(kubelet.iter().flat_map(|kubelet| kubelet.links(case, told.at)))
    .fixes(kubelet.as_ref().zip(container).and_then(|(kubelet, it)| kubelet.remedy(it)))
    .fixes(remedies(case, container, &asker, &manner, false))
    .fixes(asker.look(container));
    match asker.gap().filter(|_| !kubelet.as_ref().is_some_and(Kubelet::has_reason)) {
        Some(gap) => finding.gap(gap),
        None => finding,
    }
    .answer()
}

/// What the runtime shows as the exit code of what a signal other than SIGKILL ended; empty for another end.
fn code(case: &Case<'_>) -> String {
    let other = case.exit.value.killed_by().filter(|number| *number != sig::SIGKILL);
    let Some(number) = other else { return String::new() };
    let code = 128 + u32::from(number);
    format!(
        " Its exit code is shown as {code}, which is 128 and {}'s {number}.",
        signal_name(number)
    )
}

/// Whether the runtime shows how a container's first process ended as an exit code.
fn shows_codes(container: Option<&Container>) -> bool {
    container.is_none_or(|container| !matches!(container.runtime.as_str(), "lxc" | "nspawn"))
}

/// What the number means that a container ended by SIGKILL alone is shown with: of its init, or of what went with that.
fn code_137(with_init: bool) -> String {
    let whose = if with_init { "The container's" } else { "Its" };
    format!(
        " {whose} exit code is shown as 137, which is 128 and SIGKILL's 9: by itself no sign of too little memory."
    )
}

/// SIGKILL came since the first signal had not helped.
fn escalated(last: &SeenSignal, first: &SeenSignal, patience: &str, with_code: bool) -> String {
    let name = signal_name(first.value.number);
    let waited = words::span(last.ns().saturating_sub(first.ns()));
    let ignored = signals::unheard(&first.value);
    let code = if with_code {
        " That is why the exit code is 137 (128 and SIGKILL's 9) rather than 143 (128 and SIGTERM's 15) or the program's own."
    } else {
        ""
    };
    format!(" It had first sent {name}{ignored}; {waited} later came SIGKILL{patience}.{code}")
}

/// To start a machine again, where it is one that `machinectl start` starts.
fn machine_again(case: &Case<'_>) -> Option<Fix> {
    let by_name = case.placement.unit.as_deref()?.starts_with("systemd-nspawn@");
    let container = case.victim_process().container.filter(|_| by_name)?;
    fixes::container_again(&container)
}

/// The call that asked machined to end the victim's machine or to signal it.
pub fn machines_call<'a>(case: &Case<'a>) -> Option<&'a Seen<BusCall>> {
    const METHODS: [&str; 4] = ["TerminateMachine", "KillMachine", "Terminate", "Kill"];
    const RECENT: u64 = 120 * S;
    let name = case.placement.machine.clone().filter(|_| !is_by_its_own(case))?;
    let object = format!("/org/freedesktop/machine1/machine/{}", bus_label_escape(&name));
    case.world.calls_by(case.struck_ns()).rev().find(|seen| {
        let call = &seen.value;
        let first = call.args.first().and_then(|arg| arg.as_str());
        call.is_to_machined()
            && METHODS.contains(&call.member.as_str())
            && (first == Some(&name) || call.path == object)
            && ends_a_machine(call)
            && seen.ns() <= case.exit.ns() + BUS_LAG
            && seen.granted_ns() + RECENT >= case.exit.ns()
    })
}

/// Whether a process of the machine itself struck, and not its init, which goes down by machined's request.
fn is_by_its_own(case: &Case<'_>) -> bool {
    case.blow.filter(|blow| !blow.mechanism.is_kernels_own()).is_some_and(|blow| {
        let (sender, target) = (&blow.signal.value.sender, &blow.signal.value.target);
        sender.pid_ns == target.pid_ns && sender.ns_pid != 1
    })
}

/// Whether it asks for an end, or for a signal that an init may go down by.
fn ends_a_machine(call: &BusCall) -> bool {
    const RTMIN: u64 = 34;
    const ENDING: [u8; 5] = [sig::SIGKILL, sig::SIGTERM, sig::SIGINT, sig::SIGQUIT, sig::SIGABRT];
    const SIGPWR: u64 = 30;
    let number = call.args.last().and_then(serde_json::Value::as_u64);
    !call.member.starts_with("Kill")
        || number.is_none_or(|number| {
            number >= RTMIN
                || number == SIGPWR
                || ENDING.iter().any(|ending| u64::from(*ending) == number)
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
    // The machine's init got the blow; that the others went with it is the kernel's rule.
    let with_init = case.blow.filter(|blow| blow.mechanism == Mechanism::PidNamespaceExit);
    let init = with_init.and_then(|blow| End::of(case, blow.signal.value.sender.id));
    // What struck it came of the call, though the bus may be heard of later: systemd-nspawn acts within a millisecond.
    let struck = init.as_ref().and_then(End::struck_by).map_or(case.exit.at, |signal| signal.at);
    let link = call_link(case, call).concluded_before(struck.no_later_than(case.exit.at));
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
    .fixes(machine_again(case))
    .fixes(unit_remedies::of_act(actor.as_ref(), "org.freedesktop.machine1.manage-machines"));
    if let Some(blow) = with_init {
        finding = finding.links(init.iter().flat_map(|end| end.links(case, blow.signal.at)));
    }
    finding.answer()
}
