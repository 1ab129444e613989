//! monit: its daemon runs a program of each service's to stop or restart it, for a rule of its settings or at a client's request.

use super::{Order, RUN_BEFORE, base, without_parents};
use crate::evidence::ProcessId;
use crate::story::case::Case;
use crate::story::people::Known;

/// What a client has a daemon stop, or stop and start.
const VERBS: [&str; 2] = ["stop", "restart"];

/// The arguments of monit, by the words of a process of it.
fn arguments(known: &Known) -> Option<Vec<&str>> {
    let words: Vec<&str> = known.cmdline.as_ref()?.iter().map(String::as_str).collect();
    (base(words.first()?) == "monit").then(|| words[1..].to_vec())
}

/// What a client was told to do, and for which services.
fn verb<'a>(args: &'a [&'a str]) -> Option<(&'a str, &'a [&'a str])> {
    let at = args.iter().position(|arg| VERBS.contains(arg))?;
    Some((args[at], &args[at + 1..]))
}

/// Whether a process is monit.
pub fn is_monit(known: &Known) -> bool {
    known.comm.as_deref() == Some("monit")
}

/// Whether it was told to stop something: one that finds no daemon does that itself.
pub fn is_client(known: &Known) -> bool {
    arguments(known).is_some_and(|args| verb(&args).is_some())
}

/// The service that monit ran a program for, by the variable that it gives to that.
pub fn service<'a>(case: &Case<'a>, program: ProcessId) -> Option<&'a str> {
    let name = case.world.people.get(program)?.environment.get("MONIT_SERVICE")?;
    Some(name.as_str()).filter(|name| !name.is_empty())
}

/// Whether monit ran it to start something: what that does later it does by itself.
pub fn is_start(case: &Case<'_>, program: ProcessId) -> bool {
    let known = case.world.people.get(program);
    known.and_then(|it| it.environment.get("MONIT_EVENT")).is_some_and(|it| it == "Started")
}

/// The commands that can have made a daemon run this program at `ran_ns`.
pub fn orders(case: &Case<'_>, daemon: ProcessId, program: ProcessId, ran_ns: u64) -> Vec<Order> {
    let people = &case.world.people;
    let Some(server) = people.get(daemon) else { return Vec::new() };
    let can_mean = |id: ProcessId, client: &Known| {
        let may_ask = client.uid == Some(0) || client.uid.is_some() && client.uid == server.uid;
        let failed = case.world.exit_of(id).is_some_and(|exit| exit.value.status != 0);
        let Some(args) = arguments(client).filter(|_| may_ask && !failed) else { return false };
        let own = arguments(server).unwrap_or_default();
        let Some((_, names)) = verb(&args) else { return false };
        let is_named = service(case, program).is_none_or(|name| {
            // What is in a group of services is not seen.
            args.contains(&"-g") || names.iter().any(|it| [name, "all"].contains(it))
        });
        is_named && is_same_file(settings(&args), settings(&own))
    };
    let clients = people.iter().filter_map(|(id, client)| {
        let asked_ns = client.exec_ns.filter(|at| *at <= ran_ns && at + RUN_BEFORE >= ran_ns)?;
        let args = client.cmdline.clone()?;
        let is_it = id != daemon && can_mean(id, client);
        is_it.then_some(Order { client: id, ran_ns: asked_ns, args })
    });
    let mut found: Vec<Order> = clients.collect();
    found.sort_by_key(|order| order.ran_ns);
    without_parents(case, &mut found);
    found
}

/// The file of settings that it was started with.
pub fn settings<'a>(args: &[&'a str]) -> Option<&'a str> {
    super::option(args, "-c").filter(|path| path.starts_with('/'))
}

/// Whether two can be the same: where one named none it is the usual one, which the other may have named.
fn is_same_file(client: Option<&str>, daemon: Option<&str>) -> bool {
    const USUAL: [&str; 3] = ["/etc/monit/monitrc", "/etc/monitrc", "/usr/local/etc/monitrc"];
    match (client, daemon) {
        (Some(client), Some(daemon)) => client == daemon,
        (None, None) => true,
        (Some(file), None) | (None, Some(file)) => USUAL.contains(&file),
    }
}

/// The file that a daemon was started with, as its words name it.
pub fn settings_of<'a>(case: &Case<'a>, daemon: ProcessId) -> Option<&'a str> {
    settings(&arguments(case.world.people.get(daemon)?)?)
}
