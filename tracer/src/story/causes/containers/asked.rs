//! Who had a container's runtime act: whoever ran it, or a daemon that somebody had asked.

use super::super::units::UNSEEN;
use super::connected::{self, Connected, connection_of, is_nobody};
use super::going::UnitGoing;
use super::{DOCKER, PODMAN, is_runtime};
use crate::evidence::{
    Container, EngineConnection, Exit, Grade, Manager, Moment, Process, ProcessId, S, Source, Task,
    sig, signal_name,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::clients::containers::{ContainerOrder, above, lxc_orders, orders};
use crate::story::people::Known;
use crate::story::units::command_links;
use crate::story::upstream::End;
use crate::story::verdict::{Fix, Link, LinkEvent};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, mechanism, signals, words};

/// Who it was.
pub enum Asker<'a> {
    /// Somebody who ran the runtime, or what ran that, and what that was asked for.
    Person(Box<Actor>, Option<ContainerOrder>),
    /// The unit of the daemon, or of whoever ran the runtime, was being stopped; and who it is that acted then.
    Going(Box<UnitGoing<'a>>, Box<Self>),
    /// What watches it for podman: it had been given so many seconds.
    TimeUp(u64),
    /// A daemon ran it: the process that a container hangs on, its shim, had just ended.
    Shim(End<'a>),
    /// A daemon ran it: the commands that can have asked for that, oldest first, never none; and their connections to it,
    /// where these were seen.
    Clients(Vec<ContainerOrder>, Vec<&'a Seen<EngineConnection>>),
    /// A daemon ran it of its own accord: it had just been started, and found what an earlier one had left.
    Started(ProcessId),
    /// A daemon ran it of its own accord: it ended itself right after that.
    Ending(&'a Seen<Exit>),
    /// A daemon ran it: what it is called, and who had connected to its socket.
    Connected(&'static str, Connected<'a>),
    /// A daemon ran it, and who asked that one was not seen.
    Unseen {
        /// What it is called: docker, containerd.
        daemon: &'static str,
        /// Nobody had connected to its socket right before, where that is seen.
        is_nobody: bool,
    },
}

impl<'a> Asker<'a> {
    /// Who had the sender of a signal to a container's process send it; `first` is the first one of several.
    pub fn of(
        case: &Case<'a>,
        container: Option<&Container>,
        signal: &SeenSignal,
        first: &SeenSignal,
    ) -> Self {
        let own = Self::by_itself(case, container, signal, first);
        let going = UnitGoing::of_daemon(case, container, first);
        match going.or_else(|| own.clients_unit(case, first)) {
            Some(going) => Self::Going(Box::new(going), Box::new(own)),
            None => own,
        }
    }

    /// The unit of the system that the only client ran in, where that was being stopped: its `ExecStop=` asks for that, or its
    /// `docker run` passes on what systemd sends it.
    fn clients_unit(&self, case: &Case<'a>, first: &SeenSignal) -> Option<UnitGoing<'a>> {
        let Self::Clients(asked, _) = self else { return None };
        let [one] = asked.as_slice() else { return None };
        let unit = case.process_at(one.order.client, first.ns()).unit?;
        UnitGoing::of(case, Manager::System, unit, first.ns())
    }

    /// The same without a look at what is being stopped.
    fn by_itself(
        case: &Case<'a>,
        container: Option<&Container>,
        signal: &SeenSignal,
        first: &SeenSignal,
    ) -> Self {
        let sender = &signal.value.sender;
        if let Some(seconds) = time_up(case, signal) {
            return Self::TimeUp(seconds);
        }
        let lxc = container.filter(|it| it.runtime == "lxc" && sender.comm == "lxc-start");
        let asked = lxc.map(|it| lxc_orders(case, it, first.ns())).unwrap_or_default();
        if !asked.is_empty() {
            return Self::Clients(asked, Vec::new());
        }
        let actor = Actor::behind_at(case, sender.id, signal.ns());
        let Some(daemon) = daemon_of(&actor, sender, container) else {
            let order =
                container.and_then(|it| above(case, it, first.value.number, first.ns(), sender.id));
            return Self::Person(Box::new(actor), order);
        };
        let unseen = || Self::Unseen { daemon, is_nobody: is_nobody(case, first) };
        let Some(container) = container else { return unseen() };
        if let Some(end) = shims_end(case, first) {
            return Self::Shim(end);
        }
        let mut asked = orders(case, container, first.value.number, first.ns());
        // A client passes on no SIGKILL: the grace period that was over is the daemon's.
        if first.ns() != signal.ns() {
            asked.retain(|asked| !asked.is_in_foreground());
        }
        let connection =
            |asked: &ContainerOrder| connection_of(case, daemon, asked.order.client, first);
        if asked.iter().any(|asked| connection(asked).is_some()) {
            asked.retain(|asked| connection(asked).is_some());
        }
        if !asked.is_empty() {
            let connections = asked.iter().filter_map(connection).collect();
            return Self::Clients(asked, connections);
        }
        let dockers = || Some(daemon).filter(|daemon| *daemon == DOCKER);
        let started = dockers().and_then(|_| just_started(case, first)).map(Self::Started);
        let ending = || dockers().and_then(|_| ending(case, first)).map(Self::Ending);
        let connected = || Connected::of(case, container, daemon, first);
        let connected = || connected().map(|connected| Self::Connected(daemon, connected));
        started.or_else(ending).or_else(connected).unwrap_or_else(unseen)
    }

    /// The same where it was a daemon that ran it; `None` where it was somebody.
    pub fn behind_daemon(case: &Case<'a>, signal: &SeenSignal) -> Option<Self> {
        let container = case.task(&signal.value.target).container;
        let asker = Self::of(case, container.as_ref(), signal, signal);
        (!matches!(asker, Self::Person(..))).then_some(asker)
    }

    /// It as the end of a sentence that tells what was done: `: alice ran "runc kill x"`.
    pub fn clause(&self, case: &Case<'a>, first: &SeenSignal) -> String {
        match self {
            Self::Person(actor, _) => format!(": {}", actor.sentence()),
            Self::Going(going, _) => format!(", as {}", going.clause(case)),
            Self::TimeUp(seconds) => {
                format!(
                    ", since the time was over that it may run for: {seconds} s (podman run --timeout)"
                )
            }
            Self::Shim(end) => {
                format!(
                    ", since its shim, which holds it for the runtime, had ended: {}",
                    end.sentence(case)
                )
            }
            Self::Started(daemon) => {
                let name = words::name_pid(&case.process(*daemon));
                let ran_ns = case.world.people.exec_ns_at(*daemon, first.ns()).unwrap_or_default();
                let lead = words::span(first.ns().saturating_sub(ran_ns));
                format!(
                    ", as {name}, which had been started {lead} before, stops what an earlier one has left running (it does \
                     so without live-restore)"
                )
            }
            Self::Ending(exit) => {
                let name = words::name_pid(&case.task(&exit.value.task));
                let lag = words::span(exit.ns().saturating_sub(first.ns()));
                format!(
                    ", as {name} stops what it runs before it ends itself, as it did {lag} later (without live-restore); \
                     who ended it was not seen"
                )
            }
            Self::Clients(asked, _) => told_clients(case, asked, first),
            Self::Connected(daemon, connected) => connected.clause(case, daemon, first),
            Self::Unseen { daemon, .. } if is_pods(case, first) => format!(
                ", which {daemon} had it do: for a pod that is at the kubelet's request as a rule; why it asked (a deletion, an \
                 eviction, a probe, a new version) was not seen"
            ),
            Self::Unseen { daemon, .. } => {
                let passed_on = match first.value.number {
                    sig::SIGINT => " (a docker run in the foreground passes on Ctrl-C like this)",
                    sig::SIGHUP => {
                        " (a docker run in the foreground passes on that its terminal was closed like this)"
                    }
                    _ => "",
                };
                format!(
                    ", which {daemon} had it do; who asked {daemon} for that was not seen{passed_on}"
                )
            }
        }
    }

    /// The commands, what had ended the shim, and how a unit was stopped.
    pub fn links(&self, case: &Case<'a>, first: &SeenSignal) -> Vec<Link> {
        let effect = first.at;
        match self {
            Self::Person(actor, _) => command_links(case, actor),
            Self::Going(going, own) => {
                let mut links = going.links(case, acted(case, first, going));
                links.extend(own.links(case, first));
                links
            }
            Self::Shim(end) => end.links(case, effect),
            Self::Clients(asked, connections) => {
                let links = asked.iter().flat_map(|asked| {
                    let actor = Actor::behind_at(case, asked.order.client, effect.boot_ns);
                    let at = case.exit.at.shifted(asked.order.ran_ns);
                    let client = Some(actor.command.clone());
                    let text = actor.deed();
                    let own = case.link(at, LinkEvent::Command, Source::Kernel, client, text);
                    actor.links.into_iter().chain([own])
                });
                // That it led to this is a conclusion.
                let links = links.map(|link| Link { evidence: Grade::Inferred, ..link });
                links.chain(connections.iter().map(|seen| connected::link(case, seen))).collect()
            }
            Self::Connected(_, connected) => connected.links(case),
            Self::Started(daemon) => {
                let actor = Actor::behind_at(case, *daemon, effect.boot_ns);
                let links = command_links(case, &actor).into_iter();
                links.map(|link| Link { evidence: Grade::Inferred, ..link }).collect()
            }
            Self::TimeUp(_) | Self::Ending(_) | Self::Unseen { .. } => Vec::new(),
        }
    }

    /// Who it was by itself.
    fn own(&self) -> &Self {
        if let Self::Going(_, own) = self { own } else { self }
    }

    /// Whether somebody ran the runtime.
    pub fn is_person(&self) -> bool {
        matches!(self.own(), Self::Person(..))
    }

    /// The unit that was being stopped.
    pub fn going(&self) -> Option<&UnitGoing<'a>> {
        if let Self::Going(going, _) = self { Some(going) } else { None }
    }

    /// Whether its time was over.
    pub const fn is_time_up(&self) -> bool {
        matches!(self, Self::TimeUp(_))
    }

    /// Whether docker's daemon had it done since it was itself started or ended.
    pub fn is_daemons_own(&self) -> bool {
        matches!(self, Self::Started(_) | Self::Ending(_))
            || self.going().is_some_and(UnitGoing::is_dockerd)
    }

    /// What is not known of it.
    pub fn gap(&self) -> Option<String> {
        if let Self::Clients(asked, _) = self
            && asked.iter().all(ContainerOrder::is_in_foreground)
        {
            return Some(
                "that the signal came by way of that command was not seen: a docker stop, by whoever may use docker's \
                 socket, looks the same"
                    .to_owned(),
            );
        }
        if let Self::Going(going, _) = self {
            return going.request.is_none().then(|| UNSEEN.to_owned());
        }
        if let Self::Connected(daemon, _) = self {
            return Some(Connected::gap(daemon));
        }
        let Self::Unseen { daemon, is_nobody } = self else { return None };
        if *is_nobody {
            return Some(format!(
                "who asked {daemon} was not seen: that nobody connected to its socket right before rules nobody out; many keep a \
                 connection for long (watchtower, Portainer, traefik, a kubelet), others come over the network; {daemon} itself \
                 stops what it runs when it is ended"
            ));
        }
        Some(format!(
            "who asked {daemon} was not seen: what speaks with it over its socket (a program that uses its API, a container \
             that has the socket, a client on another machine) is known only where it is a command that names the container; \
             {daemon} itself stops what it runs when it is ended"
        ))
    }

    /// The daemon that had it done, where which of several had asked that one was not seen: what the kubelet logged tells it
    /// then.
    pub const fn daemon(&self) -> Option<&'static str> {
        match self {
            Self::Unseen { daemon, .. } | Self::Connected(daemon, _) => Some(daemon),
            _ => None,
        }
    }

    /// Where to look for who asked the daemon, where that is not known.
    pub fn look(&self, container: Option<&Container>) -> Option<Fix> {
        let is_known = self.gap().is_none() || self.going().is_some();
        container.filter(|_| !is_known).and_then(fixes::who_asked_docker)
    }

    /// The only command that can have asked.
    pub fn order(&self) -> Option<&ContainerOrder> {
        match self.own() {
            Self::Clients(asked, _) => asked.last().filter(|_| asked.len() == 1),
            Self::Person(_, order) => order.as_ref(),
            _ => None,
        }
    }
}

/// Whether it was sent into a pod of Kubernetes'.
fn is_pods(case: &Case<'_>, first: &SeenSignal) -> bool {
    let container = case.task(&first.value.target).container;
    container.is_some_and(|container| container.kubernetes_pod().is_some())
}

/// When the runtime was run for that first signal, where it is not the daemon itself that forked.
fn acted(case: &Case<'_>, first: &SeenSignal, going: &UnitGoing<'_>) -> Moment {
    let ran_ns = case.world.people.exec_ns_at(first.value.sender.id, first.ns());
    let ran_ns = ran_ns.filter(|ns| *ns >= going.asked_ns());
    ran_ns.map_or(first.at, |ns| case.exit.at.shifted(ns).no_later_than(first.at))
}

/// The commands that can have asked, as the end of a sentence.
fn told_clients(case: &Case<'_>, asked: &[ContainerOrder], first: &SeenSignal) -> String {
    let sentence = |asked: &ContainerOrder| {
        let lead = words::span(first.ns().saturating_sub(asked.order.ran_ns));
        let sentence = Actor::behind_at(case, asked.order.client, first.ns()).sentence();
        (lead, sentence)
    };
    if let [one] = asked
        && one.is_in_foreground()
    {
        let signal = signal_name(first.value.number);
        let (_, sentence) = sentence(one);
        if let Some(told) = passed_on(case, one, first) {
            return format!(
                ": {sentence}, which had got {signal} {}, and seems to have passed it on",
                from_before(case, told, first)
            );
        }
        return format!(
            ", which may have been passed on: {sentence}, which has it get what signals come to that, \
             as {signal} does by {}",
            match first.value.number {
                sig::SIGINT => "Ctrl-C",
                sig::SIGHUP => "a closed terminal",
                _ => "a kill of it",
            }
        );
    }
    if let [one] = asked
        && one.verb.as_deref() == Some("up")
    {
        let (lead, sentence) = sentence(one);
        return format!(": {lead} before, {sentence}, {}", why_up(case, one, first));
    }
    let told: Vec<String> = asked
        .iter()
        .map(|asked| {
            let (lead, sentence) = sentence(asked);
            format!("{lead} before, {sentence}")
        })
        .collect();
    let which = if told.len() == 1 { "which" } else { "one of which" };
    format!(": {}, {which} seems to be why", words::list(&told))
}

/// Why what compose has started is stopped by the same command.
fn why_up(case: &Case<'_>, up: &ContainerOrder, first: &SeenSignal) -> String {
    /// Many containers are stopped one after the other.
    const WHILE: u64 = 120 * S;
    if up.is_detached {
        return "which stops and makes anew what is set otherwise now, and seems to be why"
            .to_owned();
    }
    let told = case.world.signals_to(up.order.client).iter().rev().find(|got| {
        matches!(got.value.number, sig::SIGINT | sig::SIGTERM | sig::SIGHUP)
            && got.ns() <= first.ns()
            && got.ns() + WHILE >= first.ns()
    });
    let Some(told) = told else {
        return "which seems to be why: in the foreground it stops what it had started when it gets Ctrl-C or is itself told to end"
            .to_owned();
    };
    let signal = signal_name(told.value.number);
    let from = from_before(case, told, first);
    format!("which got {signal} {from}, and stops then what it had started: that seems to be why")
}

/// The same signal as a client in the foreground of a container had got right before: it passes on what it gets.
fn passed_on<'a>(
    case: &Case<'a>,
    client: &ContainerOrder,
    first: &SeenSignal,
) -> Option<&'a SeenSignal> {
    case.world.signals_to(client.order.client).iter().rev().find(|got| {
        got.value.number == first.value.number
            && got.ns() <= first.ns()
            && got.ns() + 2 * S >= first.ns()
    })
}

/// `from bash[78] 100 ms before`
fn from_before(case: &Case<'_>, told: &SeenSignal, first: &SeenSignal) -> String {
    let mechanism = mechanism::of(&told.value);
    let from = match signals::originator(&told.value, mechanism).1 {
        Some(sender) if !mechanism.is_kernels_own() => words::name_pid(&case.task(sender)),
        _ => format!("the kernel ({})", mechanism::words(&told.value, mechanism)),
    };
    let lead = words::span(first.ns().saturating_sub(told.ns()));
    format!("from {from} {lead} before")
}

/// The daemon that had this runtime act, where nobody ran it: docker and containerd have the shim of a container do it,
/// which is nobody's child, or run one for that.
fn daemon_of(actor: &Actor, sender: &Task, container: Option<&Container>) -> Option<&'static str> {
    let is_shim = |comm: &str| comm.starts_with("containerd-shim");
    let parent = actor.process.ancestors.first();
    let by_shim = is_shim(&sender.comm) || parent.is_some_and(|above| is_shim(&above.comm));
    // `podman system service`, which answers those that speak as docker's clients do.
    let words = parent.and_then(|it| it.cmdline.as_deref()).unwrap_or_default();
    let serves = words.iter().any(|word| word == "service");
    if is_runtime(sender) && serves && parent.is_some_and(|it| it.comm == PODMAN) {
        return Some(PODMAN);
    }
    let is_daemon =
        |process: &Process| process.comm.as_deref().is_some_and(|it| DAEMONS.contains(&it));
    let own = actor.shell.is_none()
        && actor.command.pid == actor.process.pid
        && (is_daemon(&actor.process)
            || parent.is_some_and(|it| DAEMONS.contains(&it.comm.as_str())));
    // Anybody can call a program so; a user's own containers have that user's daemon (rootless docker).
    let is_owners = container.and_then(|it| it.named_by) == Some(sender.euid);
    if !is_runtime(sender) || !(sender.euid == 0 || is_owners) || !(by_shim || own) {
        return None;
    }
    let is_of = |comm: &str| sender.comm == comm || parent.is_some_and(|above| above.comm == comm);
    Some(match container {
        Some(container) if container.runtime == DOCKER => DOCKER,
        _ if is_of("crio") => "cri-o",
        _ => "containerd",
    })
}

/// root's dockerds, as far as they are known; one in a container has containers of its own.
fn dockerds<'a>(case: &Case<'a>) -> impl Iterator<Item = (ProcessId, &'a Known)> {
    let people = case.world.people.iter();
    people.filter(|(id, known)| {
        known.uid == Some(0)
            && known.comm.as_deref() == Some("dockerd")
            && case.process(*id).container.is_none()
    })
}

/// The dockerd that had been started right before.
fn just_started(case: &Case<'_>, first: &SeenSignal) -> Option<ProcessId> {
    const AT_START: u64 = 60 * S;
    let born_ns = first.value.target.id.start_ns;
    let started = dockerds(case).filter_map(|(id, known)| {
        let ran_ns = known.exec_ns.filter(|ran| *ran <= first.ns() && *ran > born_ns)?;
        let is_there = known.ended_ns.is_none_or(|ended| ended > first.ns());
        (is_there && ran_ns + AT_START >= first.ns()).then_some((ran_ns, id))
    });
    started.max_by_key(|(ran_ns, id)| (*ran_ns, id.pid)).map(|(_, id)| id)
}

/// The end of the dockerd that ended by itself right after that: those that it forks for its work end by a status of their
/// own.
fn ending<'a>(case: &Case<'a>, first: &SeenSignal) -> Option<&'a Seen<Exit>> {
    /// One container after the other, each with its grace period.
    const LONGEST: u64 = 120 * S;
    let exits = dockerds(case).filter_map(|(id, _)| case.world.exit_of(id));
    exits
        .filter(|exit| exit.value.status == 0 && exit.ns() >= first.ns())
        .filter(|exit| exit.ns() <= first.ns() + LONGEST)
        .min_by_key(|exit| (exit.ns(), exit.value.task.id.pid))
}

/// The time that podman let a container run for, seconds, where what watches it ended it because of that.
fn time_up(case: &Case<'_>, signal: &SeenSignal) -> Option<u64> {
    const LATE: u64 = 5 * S;
    let (sender, target) = (&signal.value.sender, &signal.value.target);
    let is_its = sender.comm == "conmon" && target.ppid == sender.id.pid;
    let words = case.world.people.get(sender.id).filter(|_| is_its)?.cmdline.as_deref()?;
    let seconds = words.iter().find_map(|word| word.strip_prefix("--timeout="))?;
    let seconds: u64 = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
    let ran_ns = signal.ns().saturating_sub(target.id.start_ns);
    let least_ns = seconds.saturating_mul(S);
    (ran_ns + S >= least_ns && ran_ns <= least_ns.saturating_add(LATE)).then_some(seconds)
}

/// Daemons that end containers when they are asked.
const DAEMONS: [&str; 3] = ["containerd", "dockerd", "crio"];

/// The end of the shim that a container's first process hangs on, where that was right before: containerd ends the
/// container then.
fn shims_end<'a>(case: &Case<'a>, first: &SeenSignal) -> Option<End<'a>> {
    const CLEANED: u64 = 10 * S;
    let target = first.value.target.id;
    let parents = case.world.people.parents(target);
    let comm = |id| case.world.people.get(id).and_then(|known| known.comm.as_deref());
    let shim = parents
        .into_iter()
        .find(|id| comm(*id).is_some_and(|it| it.starts_with("containerd-shim")))?;
    let end = End::of(case, shim)?;
    (end.ns() <= first.ns() && end.ns() + CLEANED >= first.ns()).then_some(end)
}
