//! Programs that a supervisor beside systemd ended since somebody had asked it to: supervisord, runit, s6, daemontools.

use super::commands::{aim, by_program, dealt, way};
use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, signal_name};
use crate::story::case::Case;
use crate::story::clients::{Order, first_of, supervised};
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
            "{} got {} from {}, which supervises it.{}{}",
            words::name_pid(&case.victim_process()),
            signal_name(blow.signal.value.number),
            by_program(case, sender),
            aim(case),
            way(case)
        ),
    )
    .fixes(remedies(case, &orders, escalated))
    .answer()
}

/// The name that supervisord knows the victim by: `GROUP:NAME`, or `NAME` alone where that is its group.
fn supervisor_name(case: &Case<'_>) -> Option<String> {
    let environment = &case.world.people.get(case.victim)?.environment;
    let name = environment.get("SUPERVISOR_PROCESS_NAME")?;
    let group = environment.get("SUPERVISOR_GROUP_NAME").filter(|group| *group != name);
    Some(group.map_or_else(|| name.clone(), |group| format!("{group}:{name}")))
}

/// `sudo supervisorctl`, with the options by which the only command said which supervisord it meant.
fn supervisorctl(args: &[&str]) -> String {
    const WHICH: [&str; 4] = ["-c", "--configuration", "-s", "--serverurl"];
    let options = args.windows(2).filter(|pair| WHICH.contains(&pair[0]));
    let options = options.map(|pair| format!(" {} {}", pair[0], fixes::quoted(pair[1])));
    format!("sudo supervisorctl{}", options.collect::<String>())
}

/// To have it end by itself in time, where supervisord waited for that; and to start it again, where the only command was one to
/// stop it.
fn remedies(case: &Case<'_>, orders: &[Order], escalated: bool) -> Vec<Fix> {
    let [order] = orders else { return Vec::new() };
    let Some((client, args)) = order.said() else { return Vec::new() };
    match client {
        "supervisorctl" => {
            let Some(name) = supervisor_name(case) else { return Vec::new() };
            let command = supervisorctl(&args);
            let patience = escalated.then(|| fixes::supervisor_patience(&command, &name));
            let again = || fixes::supervisor_program_again(&command, &name);
            patience.into_iter().chain(args.contains(&"stop").then(again)).collect()
        }
        "sv" => {
            const STOPS: [&str; 6] =
                ["stop", "down", "exit", "shutdown", "force-stop", "force-shutdown"];
            let at = args.iter().position(|arg| STOPS.contains(arg));
            let service = at.and_then(|at| args.get(at + 1));
            service.map(|service| fixes::runit_service_again(service)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}
