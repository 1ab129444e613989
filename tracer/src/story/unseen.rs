//! What is not known of those who are told to be behind a story: who had a unit started, for whom a session was opened.

use super::actor::Actor;
use super::case::Case;
use super::sessions;
use super::started::Started;
use super::verdict::{Link, LinkEvent};
use crate::evidence::ProcessId;

/// The gaps in what is told of commands.
pub fn gaps(case: &Case<'_>, links: &[Link]) -> Vec<String> {
    let mut gaps: Vec<String> = Vec::new();
    for link in links.iter().filter(|link| link.event == LinkEvent::Command) {
        let command = link.actor.as_ref();
        let id = command.and_then(|it| Some(ProcessId { pid: it.pid, start_ns: it.start_ns? }));
        let gap = id.and_then(|id| gap(case, id, link.at.boot_ns));
        gaps.extend(gap.filter(|gap| !gaps.contains(gap)));
    }
    gaps
}

/// What is not known of who is behind a command, by the time that it was run.
fn gap(case: &Case<'_>, id: ProcessId, at_ns: u64) -> Option<String> {
    let actor = Actor::behind_at(case, id, at_ns);
    let line: Vec<_> = std::iter::once(id).chain(case.world.people.parents(id)).collect();
    if actor.is_unstarted_service() {
        // What the victim's own unit was started for is no part of the story: its manager may have restarted it, too.
        let own = case.unit().map(|(_, unit)| unit);
        let unit = Started::just_begun(case, &line, at_ns).filter(|unit| own != Some(unit))?;
        return Some(format!(
            "who or what had {unit} started was not seen: neither a request for it nor a unit that wants it"
        ));
    }
    let session = case.process(id).session.filter(|_| !actor.is_run_through_unit())?;
    let opened = sessions::opened(case, &line, &session.id)?;
    Some(format!(
        "session {} was opened by {}, for somebody who had asked for that; who that was was not seen{}",
        session.id,
        opened.by(),
        opened.named().map(|named| format!(" ({named})")).unwrap_or_default()
    ))
}
