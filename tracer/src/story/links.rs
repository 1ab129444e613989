//! The links of a chain that many stories have: the end of a process, a call on a bus.

use super::case::Case;
use super::requests::{by_arguments, who_called};
use super::verdict::{Link, LinkEvent, Outcome};
use super::words;
use super::world::Seen;
use crate::evidence::{BusCall, BusPeer, Exit, Grade, ProcessId, Source};

/// The link of the end of a process.
pub fn exit_link(case: &Case<'_>, exit: &Seen<Exit>) -> Link {
    let process = case.task(&exit.value.task);
    let title = words::command_line(&process);
    let name = words::name_pid(&process);
    let title = if process.comm.as_deref() == Some(title.as_str()) {
        String::new()
    } else {
        format!(" \"{title}\"")
    };
    let text = format!("{name}{title} {}", Outcome::of(&exit.value).clause());
    case.link(exit.at, LinkEvent::ProcessExit, Source::Kernel, Some(process), text)
}

/// The link of a bus call.
pub fn call_link(case: &Case<'_>, call: &Seen<BusCall>) -> Link {
    match who_called(case, call) {
        (actor, true) if actor.is_some() => call_link_by(case, call, actor, by_arguments(true)),
        (actor, _) => call_link_by(case, call, actor, ""),
    }
}

/// The link of a bus call, by whom it was made; with a hint where that is a conclusion.
pub fn call_link_by(
    case: &Case<'_>,
    call: &Seen<BusCall>,
    actor: Option<ProcessId>,
    hint: &str,
) -> Link {
    let name = |peer: &BusPeer, process: Option<ProcessId>| {
        let known = process.map(|id| {
            // PID 1 goes by another name when it has taken everything down.
            let mut process = case.process_at(id, call.ns());
            process.comm = process.comm.or_else(|| peer.comm.clone());
            words::name_pid(&process)
        });
        known
            .or_else(|| peer.comm.clone())
            .or_else(|| peer.well_known.clone())
            .unwrap_or_else(|| peer.name.clone())
    };
    let BusCall { sender, destination, member, args, .. } = &call.value;
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let text = format!(
        "{} called {member}({}) of {}{}",
        name(sender, actor),
        args.join(", "),
        name(destination, destination.process),
        hint
    );
    let actor = actor.map(|id| case.process(id));
    let link = case.link(call.at, LinkEvent::BusCall, call.source, actor, text);
    let mut link = link.said_over(call.value.bus);
    if !hint.is_empty() {
        link.evidence = Grade::Inferred;
    }
    link
}
