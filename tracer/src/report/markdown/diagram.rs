//! The chain as a Mermaid sequence diagram.

use crate::evidence::Process;
use crate::report::{escape, words};
use crate::story::verdict::{Death, Link, LinkEvent};

/// Has Mermaid break long texts: in one line they make a diagram too wide to be read.
const WRAPPED: &str = r#"%%{init: {"sequence": {"wrap": true, "width": 220}}}%%"#;

/// A chain with more links than this is told in its table only.
const MAX_LINKS: usize = 40;

/// The diagram in a fenced block; empty where there is too much or too little to draw.
pub fn sequence(death: &Death) -> String {
    let people = participants(death);
    if death.chain.len() > MAX_LINKS || people.is_empty() {
        return String::new();
    }
    let mut lines = vec![WRAPPED.to_owned(), "sequenceDiagram".to_owned()];
    for (number, process) in people.iter().enumerate() {
        lines.push(format!(
            "    participant p{number} as {}",
            escape::mermaid(&words::process(process))
        ));
    }
    lines.extend(death.chain.iter().map(|link| step(link, death, &people)));
    escape::markdown_block("mermaid", &lines.join("\n"))
}

/// Everybody who acts, in order of appearance, and the victim last.
fn participants(death: &Death) -> Vec<&Process> {
    let mut people: Vec<&Process> = Vec::new();
    for process in death.chain.iter().filter_map(|link| link.actor.as_ref()) {
        if !words::same(process, &death.victim)
            && !people.iter().any(|known| words::same(known, process))
        {
            people.push(process);
        }
    }
    people.push(&death.victim);
    people
}

/// An arrow where somebody acted upon somebody, else a note.
fn step(link: &Link, death: &Death, people: &[&Process]) -> String {
    let index = |process: &Process| people.iter().position(|known| words::same(known, process));
    let last = people.len() - 1;
    let text = escape::mermaid(&link.text);
    let Some(from) = link.actor.as_ref().and_then(index) else {
        let over = if last == 0 { "p0".to_owned() } else { format!("p0,p{last}") };
        return format!("    Note over {over}: {text}");
    };
    let to = match link.event {
        LinkEvent::Signal => index(&death.victim).filter(|_| names(&link.text, &death.victim)),
        LinkEvent::BusCall
        | LinkEvent::ManagerConnection
        | LinkEvent::EngineConnection
        | LinkEvent::Command => people
            .iter()
            .position(|other| !words::same(other, people[from]) && names(&link.text, other)),
        _ => None,
    };
    match to {
        Some(to) if to != from => format!("    p{from}->>p{to}: {text}"),
        _ => format!("    Note over p{from}: {text}"),
    }
}

/// Whether a sentence names the process as the report does.
fn names(text: &str, process: &Process) -> bool {
    escape::terminal(text).contains(&words::process(process))
}
