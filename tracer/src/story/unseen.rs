//! What is not known of those who are told to be behind a story: who had a unit started, for whom a session was opened.

use super::actor::{Actor, is_shell};
use super::case::Case;
use super::started::Started;
use super::verdict::{Link, LinkEvent};
use crate::evidence::ProcessId;

/// The PAM service of run0(1).
const RUN0: &str = "systemd-run0";

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
    let opened = opened(case, &line, &session.id)?;
    Some(format!(
        "session {} was opened by {}, for somebody who had asked for that; who that was was not seen{}",
        session.id,
        opened.by(),
        opened.named().map(|named| format!(" ({named})")).unwrap_or_default()
    ))
}

/// A session that a service manager opened for a process of a unit's (`PAMName=`): whoever wanted that is no parent of
/// what runs in it.
pub struct Opened {
    /// run0(1) had it made.
    by_run0: bool,
    /// `SUDO_USER` of the session's first process: who called run0, by a variable that root can give any value.
    named: Option<String>,
}

impl Opened {
    /// What had opened it, for the end of a sentence; empty where that is not told.
    pub fn clause(&self) -> String {
        let named = self
            .named
            .as_ref()
            .map(|user| format!(" for {user} (by SUDO_USER in its environment)"));
        let by_run0 = format!(", which run0 had opened{}", named.unwrap_or_default());
        if self.by_run0 { by_run0 } else { String::new() }
    }

    const fn by(&self) -> &'static str {
        if self.by_run0 { "run0" } else { "systemd, as machinectl shell has it do" }
    }

    fn named(&self) -> Option<String> {
        let user = self.named.as_ref()?;
        Some(format!(
            "SUDO_USER in its environment, which can be set to anything there, names {user}"
        ))
    }
}

/// Whether a service manager opened a session, and what is known of that. `line`: a process there and its parents,
/// nearest first.
pub fn opened(case: &Case<'_>, line: &[ProcessId], session: &str) -> Option<Opened> {
    let state = case.world.session(session)?;
    let people = &case.world.people;
    let leader = people.at(state.leader?, case.struck_ns())?;
    let above = line.iter().skip_while(|id| **id != leader).nth(1).copied();
    let parent = above.or_else(|| people.parents(leader).first().copied());
    let known = people.get(leader)?;
    let by_run0 = state.service.as_deref() == Some(RUN0);
    // login(1) is run by a manager as well, but asks itself who is there.
    let is_shell = known.comm.as_deref().is_some_and(is_shell);
    let by_manager = parent.is_some_and(|parent| parent.pid == 1);
    let named = known.environment.get("SUDO_USER").filter(|_| by_run0 && known.uid == Some(0));
    (by_manager && (by_run0 || is_shell)).then(|| Opened { by_run0, named: named.cloned() })
}
