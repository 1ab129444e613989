//! Login sessions: their ends by logind's own word, and those that a service manager opened for somebody.

use super::actor::is_shell;
use super::case::Case;
use super::verdict::{Link, LinkEvent};
use super::world::{Seen, World};
use crate::evidence::{Moment, ProcessId, SessionState};

/// The PAM service of run0(1).
const RUN0: &str = "systemd-run0";

/// The PAM service of the session that a user's manager has since systemd 256: it is no login.
const OF_MANAGER: &str = "systemd-user";

/// The classes of such sessions, and of what logind does not keep.
const NOT_HOLDING: [&str; 3] = ["manager", "manager-early", "none"];

/// What logind said of a session's end up to a time: that it was closing, that it was gone; oldest first.
fn said<'a>(world: &'a World, id: &str, until_ns: u64) -> Vec<&'a Seen<SessionState>> {
    let mut said: Vec<&Seen<SessionState>> = Vec::new();
    let about = world.sessions.iter().filter(|seen| seen.value.id == id && seen.ns() <= until_ns);
    for seen in about {
        let ends = seen.value.removed || seen.value.state.as_deref() == Some("closing");
        if ends {
            // It can say the same again.
            said.retain(|before| before.value.removed != seen.value.removed);
            said.push(seen);
        } else if seen.value.state.is_some() {
            // Another session of that id: logind counts from 1 again when it starts anew.
            said.clear();
        }
    }
    said
}

/// The links of what logind said of a session's end up to a time; none is later than what that led to.
pub fn links(case: &Case<'_>, id: &str, until_ns: u64, effect: Moment) -> Vec<Link> {
    let session = case.world.session(id);
    let user = session.and_then(|session| {
        session.user.or_else(|| Some(case.world.user(session.uid?)?.name.clone()))
    });
    let whose = user.map(|user| format!(" of {user}")).unwrap_or_default();
    let link = |seen: &Seen<SessionState>| {
        let what = if seen.value.removed { "ended" } else { "was closing" };
        let text = format!("session {id}{whose} {what}");
        case.link(seen.at, LinkEvent::SessionClosed, seen.source, None, text).before(effect)
    };
    said(case.world, id, until_ns).into_iter().map(link).collect()
}

/// The last of a user's sessions, and that it was gone, where logind said so by that time; `None` also where another may
/// have been there.
pub fn last_of(world: &World, uid: u32, until_ns: u64) -> Option<&Seen<SessionState>> {
    let is_open = |seen: &Seen<SessionState>| {
        let session = world.session(&seen.value.id);
        session.is_some_and(|it| !it.removed && holds_manager_of(&it, uid))
    };
    let removed = |seen: &&Seen<SessionState>| seen.value.removed && seen.ns() <= until_ns;
    let last = world.sessions.iter().rev().filter(removed).find(|seen| {
        // Whose it was may not be known: then it may have been the last.
        let session = world.session(&seen.value.id);
        session.is_none_or(|it| it.uid.is_none() || holds_manager_of(&it, uid))
    })?;
    let known = world.session(&last.value.id).is_some_and(|it| it.uid == Some(uid));
    (known && !world.sessions.iter().any(is_open)).then_some(last)
}

/// Whether a session is of that user and holds the user's manager: each does but the manager's own, those of cron jobs too
/// (`SESSION_CLASS_PIN_USER` in `src/login/logind-session.h`).
pub fn holds_manager_of(session: &SessionState, uid: u32) -> bool {
    let is_managers = match session.class.as_deref() {
        Some(class) => NOT_HOLDING.contains(&class),
        None => session.service.as_deref() == Some(OF_MANAGER),
    };
    session.uid == Some(uid) && !is_managers
}

/// Who opened a session that nobody sits at, as an aside: `, of cron in the background,`; empty for any other.
pub fn background(session: &SessionState) -> String {
    let is_it = session.class.as_deref().is_some_and(|class| class.starts_with("background"));
    let service = session.service.as_deref().filter(|_| is_it);
    service.map(|service| format!(", of {service} in the background,")).unwrap_or_default()
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

    /// What had opened it, for the subject of a sentence.
    pub const fn by(&self) -> &'static str {
        if self.by_run0 { "run0" } else { "systemd, as machinectl shell has it do" }
    }

    /// Whom its first process's environment names as who asked for it, as a clause.
    pub fn named(&self) -> Option<String> {
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
