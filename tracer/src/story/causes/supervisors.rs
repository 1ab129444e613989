//! Programs that a supervisor beside systemd ended since somebody had asked it to: supervisord, runit, s6, daemontools, PM2,
//! circus.

mod pm2;

pub use self::pm2::unasked;
use super::commands::{aim, by_program, dealt, way};
use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, ProcessId, Task, signal_name};
use crate::story::case::Case;
use crate::story::clients::{Order, SUPERVISOR, first_of, stops_by_sv, supervised, sv_verb};
use crate::story::relay::Relay;
use crate::story::verdict::{CauseId, Fix};
use crate::story::{fixes, words};

/// Its supervisor ended it, and a command that asks for that had been run. Which one, and by whom, `relay::tell` adds.
pub fn asked(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| dealt(case))?;
    let sender = &blow.signal.value.sender;
    let first = first_of(case, blow.signal);
    let orders = supervised(case, sender, first.ns());
    let newest_ns = orders.last()?.ran_ns;
    let escalated = first.ns() < blow.signal.ns();
    // What the supervisor had been told by a signal since is told with that.
    if Relay::of(case, blow).is_some_and(|relay| relay.heard_ns() > newest_ns) {
        return None;
    }
    Finding::new(
        CauseId::UserCommand,
        Fit::Program,
        // That the command led to it is a conclusion.
        Grade::Inferred,
        format!(
            "{} got {} from {}, which supervises it{}.{}{}{}",
            words::name_pid(&case.victim_process()),
            signal_name(blow.signal.value.number),
            by_program(case, sender),
            pm2::called(case, sender),
            pm2::patience(case, blow),
            aim(case),
            way(case)
        ),
    )
    .fixes(remedies(case, sender, &orders, escalated))
    .answer()
}

/// The name that supervisord knows the victim by: `GROUP:NAME`, or `NAME` alone where that is its group.
fn supervisor_name(case: &Case<'_>) -> Option<String> {
    let environment = &case.world.people.get(case.victim)?.environment;
    let name = environment.get("SUPERVISOR_PROCESS_NAME")?;
    let group = environment.get("SUPERVISOR_GROUP_NAME").filter(|group| *group != name);
    Some(group.map_or_else(|| name.clone(), |group| format!("{group}:{name}")))
}

/// supervisorctl with the rights of who runs this supervisord, and with the options by which the only command said which one it
/// meant, where those are that user's own words and mean the same to whoever reads them: a file that another one names would be
/// read with those rights. `None` where which one it was cannot be said so.
fn supervisorctl(case: &Case<'_>, server: &Task, order: &Order, args: &[&str]) -> Option<String> {
    const WHICH: [&str; 4] = ["-c", "--configuration", "-s", "--serverurl"];
    let before = args.iter().take_while(|arg| !SUPERVISOR.contains(*arg)).count();
    let mut options = String::new();
    let mut words = args[..before].iter();
    while let Some(word) = words.next() {
        if !WHICH.iter().any(|name| word.starts_with(name)) {
            continue;
        }
        let value = words.next().filter(|_| WHICH.contains(word))?;
        let is_plain =
            if word.contains('s') { value.contains("://") } else { value.starts_with('/') };
        let asker = case.world.people.get(order.client).and_then(|client| client.uid);
        if !is_plain || asker != Some(server.uid) {
            return None;
        }
        options.push_str(&format!(" {word} {}", fixes::quoted(value)));
    }
    Some(with_rights_of(case, server, &format!("supervisorctl{options}")))
}

/// A command with the rights of who runs a supervisor: what a user's says or names is none for root.
fn with_rights_of(case: &Case<'_>, server: &Task, command: &str) -> String {
    match server.uid {
        0 => format!("sudo {command}"),
        uid => fixes::Whose::of(case.world, uid).sudo(command),
    }
}

/// The directory of a service of runit's: runsv was started with it, or with its name below that of runsvdir.
fn runit_service(case: &Case<'_>, runsv: &Task) -> Option<String> {
    let people = &case.world.people;
    let words = |id: ProcessId| people.get(id).and_then(|known| known.cmdline.as_deref());
    let own = words(runsv.id)?.get(1..)?.last()?;
    if own.starts_with('/') {
        return Some(own.clone());
    }
    let above = *people.parents(runsv.id).first()?;
    let is_runsvdir = people.get(above)?.comm.as_deref() == Some("runsvdir");
    let directory = words(above)?.iter().skip(1).find(|word| !word.starts_with('-'))?;
    let is_name = !own.contains('/') && !own.starts_with('.');
    (is_runsvdir && is_name && directory.starts_with('/'))
        .then(|| format!("{}/{own}", directory.trim_end_matches('/')))
}

/// circusctl with the rights of who runs this circusd, and where it was asked, where that is a user's own word.
fn circusctl(case: &Case<'_>, server: &Task, order: &Order, args: &[&str]) -> Option<String> {
    let at = args.iter().position(|arg| arg.starts_with("--endpoint"));
    let endpoint = match at {
        None => String::new(),
        Some(at) => {
            let asker = case.world.people.get(order.client).and_then(|client| client.uid);
            let value = match args[at].strip_prefix("--endpoint=") {
                Some(value) => value,
                None => args.get(at + 1)?,
            };
            let is_plain = asker == Some(server.uid) && value.contains("://");
            is_plain.then(|| format!(" --endpoint {}", fixes::quoted(value)))?
        }
    };
    Some(with_rights_of(case, server, &format!("circusctl{endpoint}")))
}

/// The only watcher that circus was told to stop.
fn stopped_watcher<'a>(args: &[&'a str]) -> Option<&'a str> {
    let at = args.iter().position(|arg| *arg == "stop")?;
    let mut names = args[at + 1..].iter().filter(|arg| !arg.starts_with('-'));
    names.next().copied().filter(|_| names.next().is_none())
}

/// To have it end by itself in time, where supervisord waited for that; and to start it again, where the only command was one to
/// stop it.
fn remedies(case: &Case<'_>, server: &Task, orders: &[Order], escalated: bool) -> Vec<Fix> {
    let [order] = orders else { return Vec::new() };
    let Some((client, args)) = order.said() else { return Vec::new() };
    match client {
        "supervisorctl" => {
            let name = supervisor_name(case).filter(|name| !name.starts_with('-'));
            let command = supervisorctl(case, server, order, &args);
            let Some((name, command)) = name.zip(command) else { return Vec::new() };
            let patience = escalated.then(|| fixes::supervisor_patience(&command, &name));
            let again = || fixes::supervisor_program_again(&command, &name);
            patience.into_iter().chain(args.contains(&"stop").then(again)).collect()
        }
        "sv" => {
            let stops = sv_verb(&args).is_some_and(stops_by_sv);
            let service = runit_service(case, server).filter(|_| stops);
            let command = with_rights_of(case, server, "sv");
            let again = |service: String| fixes::runit_service_again(&command, &service);
            service.map(again).into_iter().collect()
        }
        "pm2" => pm2::remedies(case, server, &args, escalated),
        "circusctl" => {
            let watcher = stopped_watcher(&args).zip(circusctl(case, server, order, &args));
            let again =
                |(name, command): (&str, String)| fixes::circus_watcher_again(&command, name);
            watcher.map(again).into_iter().collect()
        }
        _ => Vec::new(),
    }
}
