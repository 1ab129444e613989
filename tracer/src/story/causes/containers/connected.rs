//! Who had connected to the socket of the daemon that ended a container, where no command says that it asked for that.
//!
//! That somebody connected is seen, and not what was asked for; many keep a connection, over which they can ask at any time.

use crate::evidence::{Container, Engine, EngineConnection, Grade, ProcessId, S, sig};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::clients::containers::asks_for_other;
use crate::story::requests::is_kernel_heard;
use crate::story::units::command_links;
use crate::story::verdict::{Link, LinkEvent};
use crate::story::words;
use crate::story::world::{Seen, SeenSignal};

/// How long before it is acted who asks for it connects, where it does so for that.
const RIGHT_BEFORE: u64 = 2 * S;

/// A connection of a process that may have asked, and how many it had made before that one.
struct Client<'a> {
    seen: &'a Seen<EngineConnection>,
    before: usize,
}

/// Those that may have asked the daemon.
pub struct Connected<'a> {
    /// The latest first, never none.
    clients: Vec<Client<'a>>,
    /// None of them had connected right before.
    is_earlier: bool,
}

impl<'a> Connected<'a> {
    /// Those that had connected before the first signal to a container's process: right before, else earlier, where
    /// they are still there.
    pub fn of(
        case: &Case<'a>,
        container: &Container,
        daemon: &str,
        first: &SeenSignal,
    ) -> Option<Self> {
        let mut clients: Vec<Client<'a>> = Vec::new();
        for seen in connections(case, daemon, first).rev() {
            let id = seen.value.task.id;
            if let Some(known) = clients.iter_mut().find(|client| client.seen.value.task.id == id) {
                known.before += 1;
            } else if may_ask(case, container, seen, first) {
                clients.push(Client { seen, before: 0 });
            }
        }
        let is_recent = |client: &Client<'_>| client.seen.ns() + RIGHT_BEFORE >= first.ns();
        let is_earlier = !clients.iter().any(is_recent);
        clients.retain(|client| match is_earlier {
            true => is_there(case, client.seen.value.task.id, first.ns()),
            false => is_recent(client),
        });
        (!clients.is_empty()).then_some(Self { clients, is_earlier })
    }

    /// As the end of a sentence that tells what the daemon had done.
    pub fn clause(&self, case: &Case<'_>, daemon: &str, first: &SeenSignal) -> String {
        /// More names say nothing.
        const NAMED: usize = 4;
        let told: Vec<String> =
            self.clients.iter().take(NAMED).map(|client| client.told(case, first)).collect();
        let more = self.clients.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let told = format!("{}{more}", words::list(&told));
        let alone = self.clients.len() == 1;
        let regular = self.clients.iter().any(Client::is_regular);
        match (self.is_earlier, alone) {
            (true, _) => {
                let nobody = match is_nobody(case, first) {
                    true => "nobody had just connected to its socket, but ",
                    false => "",
                };
                format!(
                    ", which {daemon} had it do; {nobody}{told}: over a connection that is kept, that may have asked for it"
                )
            }
            (false, true) if regular => {
                format!(", which {daemon} had it do: {told}; that may be why")
            }
            (false, true) => format!(", which {daemon} had it do: {told}, which seems to be why"),
            (false, false) => {
                format!(", which {daemon} had it do: {told}; one of these seems to be why")
            }
        }
    }

    /// What they had run, and their connections.
    pub fn links(&self, case: &Case<'_>) -> Vec<Link> {
        let links = self.clients.iter().flat_map(|client| {
            let task = &client.seen.value.task;
            let actor = Actor::behind_at(case, task.id, client.seen.ns());
            // That it led to this is a conclusion.
            let commands = command_links(case, &actor).into_iter();
            let commands = commands.map(|link| Link { evidence: Grade::Inferred, ..link });
            commands.chain([link(case, client.seen)]).collect::<Vec<_>>()
        });
        links.collect()
    }

    /// What is not known of it.
    pub fn gap(daemon: &str) -> String {
        format!(
            "what was asked of {daemon} was not seen: a connection to its socket does not tell, and over one that is kept, \
             or from another machine, others can ask, too"
        )
    }
}

impl Client<'_> {
    /// Who connects that often does so to look.
    const fn is_regular(&self) -> bool {
        self.before >= 3
    }

    fn told(&self, case: &Case<'_>, first: &SeenSignal) -> String {
        let Self { seen, before } = self;
        let actor = Actor::behind_at(case, seen.value.task.id, seen.ns());
        let lead = words::span(first.ns().saturating_sub(seen.ns()));
        let regularly = match self.is_regular() {
            true => format!(", as {before} times before that"),
            false => String::new(),
        };
        format!(
            "{} had connected to {}'s socket {lead} before{regularly} ({})",
            words::name_pid(&actor.process),
            seen.value.engine.name(),
            actor.aside()
        )
    }
}

/// The last connection of a process, or of what it had run, to a daemon's socket before a signal.
pub fn connection_of<'a>(
    case: &Case<'a>,
    daemon: &str,
    client: ProcessId,
    first: &SeenSignal,
) -> Option<&'a Seen<EngineConnection>> {
    connections(case, daemon, first).rfind(|seen| {
        let id = seen.value.task.id;
        id == client || case.world.people.parents(id).contains(&client)
    })
}

/// The link of a connection to a daemon's socket.
pub fn link(case: &Case<'_>, seen: &Seen<EngineConnection>) -> Link {
    let client = case.process_at(seen.value.task.id, seen.ns());
    let engine = seen.value.engine.name();
    let text = format!("{} connected to {engine}'s socket", words::name_pid(&client));
    case.link(seen.at, LinkEvent::EngineConnection, seen.source, Some(client), text)
}

/// Whether nobody can have connected unseen in the time right before: then whoever asked has done so otherwise.
pub fn is_nobody(case: &Case<'_>, first: &SeenSignal) -> bool {
    let from_ns = first.ns().saturating_sub(RIGHT_BEFORE);
    case.world.sees_connections && is_kernel_heard(case, from_ns, first.ns())
}

/// The connections to a daemon's socket before a signal, oldest first. What docker has its containerd do, others can ask
/// that one for as well.
fn connections<'a>(
    case: &Case<'a>,
    daemon: &str,
    first: &SeenSignal,
) -> impl DoubleEndedIterator<Item = &'a Seen<EngineConnection>> {
    let until_ns = first.ns();
    let is_docker = daemon == Engine::Docker.name();
    let owner = Some(first.value.sender.euid).filter(|uid| *uid != 0);
    let daemon = daemon.to_owned();
    case.world.engine_connections.iter().filter(move |seen| {
        let to = seen.value.engine;
        seen.ns() <= until_ns
            && seen.value.owner == owner
            && (to.name() == daemon || is_docker && to == Engine::Containerd)
    })
}

/// Whether it is none of the daemons themselves, and no command whose words ask for something else.
fn may_ask(
    case: &Case<'_>,
    container: &Container,
    seen: &Seen<EngineConnection>,
    first: &SeenSignal,
) -> bool {
    const DAEMONS: [&str; 6] =
        ["dockerd", "containerd", "containerd-shim", "docker-proxy", "conmon", "killtrace"];
    let task = &seen.value.task;
    let is_daemon = (task.uid == 0 || container.named_by == Some(task.uid))
        && DAEMONS
            .iter()
            .any(|name| task.comm == *name || task.comm.starts_with("containerd-shim"));
    let number = first.value.number;
    // What is in the foreground of a container was there before it.
    let may_pass_on = number != sig::SIGKILL && task.id.start_ns <= first.value.target.id.start_ns;
    let known = case.world.people.get(task.id);
    !is_daemon && !known.is_some_and(|known| asks_for_other(known, container, may_pass_on))
}

/// Whether a process is still there at that time.
fn is_there(case: &Case<'_>, id: ProcessId, at_ns: u64) -> bool {
    let ended_ns = case.world.people.get(id).and_then(|known| known.ended_ns);
    ended_ns.is_none_or(|ended| ended >= at_ns)
}
