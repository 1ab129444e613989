//! What to do about an end that logind was asked for.

use super::owner;
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::causes::unit_remedies;
use crate::story::fixes;
use crate::story::verdict::Fix;

/// What to do about an end that logind was asked for, by a method or a verb of loginctl: live outside of what was ended,
/// and see who may. Nobody needs leave for sessions of their own.
pub(super) fn remedies(
    case: &Case<'_>,
    session: Option<&str>,
    actor: Option<&Actor>,
    asked: &str,
) -> Vec<Fix> {
    const MANAGE: &str = "org.freedesktop.login1.manage";
    const OF_SESSION: [&str; 6] = [
        "TerminateSession",
        "TerminateSeat",
        "KillSession",
        "terminate-session",
        "terminate-seat",
        "kill-session",
    ];
    let by_uid = || Some(case.world.user(case.placement.owner_uid?)?.name.clone());
    let user = session.map(|session| owner(case, session)).or_else(by_uid);
    let outside = match session.filter(|_| OF_SESSION.contains(&asked)) {
        Some(session) => Some(outside_session(case, session)),
        None => outside_manager(case),
    };
    let own = actor.is_some_and(|actor| actor.user.is_some() && actor.user == user);
    let allowed = if own { None } else { unit_remedies::of_act(actor, MANAGE) };
    outside.into_iter().chain(allowed).collect()
}

/// To have the victim outlive this session, of which it was. What ran as another there (`sudo -b`) is not for the user's
/// own manager.
pub fn outside_session(case: &Case<'_>, session: &str) -> Fix {
    let owner = owner(case, session);
    let (program, command) = (case.program(), case.command());
    match case.other_user(&owner) {
        Some(user) => fixes::system_unit_of_user(&user, &program, &command),
        None => fixes::linger_and_scope(&owner, &program, &command),
    }
}

/// To have the victim outlive all that is its user's, the user's service manager too.
pub fn outside_manager(case: &Case<'_>) -> Option<Fix> {
    let user = case.world.user(case.placement.owner_uid?)?;
    Some(fixes::system_unit_of_user(&user.name, &case.program(), &case.command()))
}
