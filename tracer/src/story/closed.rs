//! The ends of login sessions, by logind's own word.

use super::case::Case;
use super::verdict::{Link, LinkEvent};
use super::world::{Seen, World};
use crate::evidence::{Moment, SessionState};

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
