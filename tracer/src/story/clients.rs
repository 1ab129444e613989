//! Servers that end others' processes on request, and the commands by which people ask them. They talk over
//! sockets and pipes of their own, which nobody hears; that the command was run is seen.

use super::case::Case;
use crate::evidence::{ProcessId, Task};

/// How long before the server acts the command is run.
const RECENT: u64 = 3_000_000_000;

/// A server and its command.
struct Service {
    /// How the server's name begins.
    server: &'static str,
    /// Name of the program that asks it.
    client: &'static str,
    /// Whether arguments ask for somebody's end.
    ends: fn(&[&str]) -> bool,
    /// Who owns what it ends may ask for that, too, not its own user alone.
    owners: bool,
}

impl Service {
    /// One that its own user commands.
    const fn new(server: &'static str, client: &'static str, ends: fn(&[&str]) -> bool) -> Self {
        Self { server, client, ends, owners: false }
    }
}

const SERVICES: &[Service] = &[
    Service::new("tmux: server", "tmux", |args| {
        args.iter().any(|arg| arg.starts_with("kill") || arg.starts_with("respawn"))
    }),
    Service::new("screen", "screen", |args| {
        args.windows(2).any(|pair| pair[0] == "-X" && matches!(pair[1], "quit" | "kill"))
    }),
    // runit
    Service::new("runsv", "sv", |args| !asks_for(args, &["status", "check"])),
    Service::new("s6-supervise", "s6-svc", |_| true),
    // daemontools
    Service::new("supervise", "svc", |_| true),
    Service::new("supervisord", "supervisorctl", |args| {
        asks_for(args, &["stop", "restart", "shutdown", "reload", "update", "signal", "remove"])
    }),
    Service::new("monit", "monit", |args| asks_for(args, &["stop", "restart", "quit"])),
    // Slurm
    Service { owners: true, ..Service::new("slurmstepd", "scancel", |_| true) },
];

fn asks_for(args: &[&str], verbs: &[&str]) -> bool {
    args.iter().any(|arg| verbs.contains(arg))
}

/// A command that asked a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who ran it.
    pub client: ProcessId,
    /// When: `CLOCK_BOOTTIME`, nanoseconds.
    pub ran_ns: u64,
}

/// The newest command that can have made a server act at `acted_ns`, run by who may ask that.
pub fn order(case: &Case<'_>, server: &Task, acted_ns: u64) -> Option<Order> {
    let name = server.comm.to_lowercase();
    let services = || SERVICES.iter().filter(|service| name.starts_with(service.server));
    services().next()?;
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let ran_ns = known.exec_ns.filter(|ran| *ran <= acted_ns && ran + RECENT >= acted_ns)?;
        let owner = case.exit.value.task.uid;
        let may_ask = |service: &&Service| {
            known
                .uid
                .is_some_and(|uid| uid == 0 || uid == server.uid || service.owners && uid == owner)
        };
        if id == server.id {
            return None;
        }
        // What it was executed from, or, for a script, what its interpreter was given.
        let words: Vec<&str> = known.cmdline.as_ref()?.iter().map(String::as_str).collect();
        let at = words.iter().take(2).position(|word| {
            let name = word.rsplit('/').next();
            services().filter(may_ask).any(|service| name == Some(service.client))
        })?;
        let asked = services().any(|service| (service.ends)(&words[at + 1..]));
        asked.then_some(Order { client: id, ran_ns })
    });
    found.max_by_key(|order| order.ran_ns)
}
