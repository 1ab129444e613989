//! elogind, which looks after logins where systemd does not run: there is no service manager to ask, so that it ends the
//! processes of a session by itself (`session_stop_scope` in `src/login/logind-session.c` of elogind).

use super::{Asker, KillRule, owner, terminate_call, users_setting};
use crate::evidence::{Grade, Task, base_name, signal_name};
use crate::story::case::Case;
use crate::story::causes::{Finding, Fit, Opinion};
use crate::story::ending::Ending;
use crate::story::fixes::Logind;
use crate::story::links::call_link;
use crate::story::verdict::CauseId;
use crate::story::world::SeenSignal;
use crate::story::{fixes, sessions, words};

/// Whether a process is elogind; only root's can be.
fn is_elogind(task: &Task) -> bool {
    task.uid == 0 && matches!(task.comm.as_str(), "elogind-daemon" | "elogind")
}

/// The session that the victim was of: elogind names its cgroup by it; in cgroup v1 alone only the audit session tells, by
/// which elogind numbers its own.
fn session_of(case: &Case<'_>, signal: &SeenSignal) -> Option<String> {
    let target = &signal.value.target;
    let by_cgroup = target.cgroup.as_deref().map(|cgroup| base_name(cgroup).to_owned());
    let by_audit = target.audit_session.map(|id| id.to_string());
    by_cgroup.into_iter().chain(by_audit).find(|id| {
        let session = case.world.session(id);
        session.is_some_and(|it| it.uid.is_none_or(|uid| uid == target.uid || target.uid == 0))
    })
}

/// Ended by elogind with its session, on request or since the login had ended.
pub fn ended_by_elogind(case: &Case<'_>) -> Option<Opinion> {
    let signal = case.blow.filter(|blow| !blow.mechanism.is_kernels_own())?.signal;
    if !is_elogind(&signal.value.sender) {
        return None;
    }
    let session = session_of(case, signal)?;
    terminated(case, signal, &session).or_else(|| logged_out(case, signal, &session))
}

/// `loginctl terminate-session` and the like.
fn terminated(case: &Case<'_>, signal: &SeenSignal, session: &str) -> Option<Opinion> {
    let uid = case.world.session(session).and_then(|session| session.uid);
    let call = terminate_call(case, Some(session), uid, signal.ns())?;
    let asker = Asker::of(case, call);
    let mut finding = Finding::new(
        CauseId::LogindTerminate,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got {} from {}, for session {session}: {} ({}).",
            case.victim_name(),
            signal_name(signal.value.number),
            words::name_pid(&case.task(&signal.value.sender)),
            asker.clause,
            call.value.member
        ),
    )
    .links(asker.links(case))
    .links([call_link(case, call).before(signal.at)])
    .links(sessions::links(case, session, signal.ns(), signal.at));
    finding.gaps.extend(asker.gap());
    finding.answer()
}

/// `KillUserProcesses=yes`
fn logged_out(case: &Case<'_>, signal: &SeenSignal, session: &str) -> Option<Opinion> {
    let rule = KillRule::of(case, session);
    let ending = Ending::of(case, "", Some(session), signal.ns());
    let released = ending.release.is_some();
    // An idle session is stopped as well, whatever is to become of processes at logout.
    if !released && (rule.kills != Some(true) || ending.clause().is_none()) {
        return None;
    }
    let user = owner(case, session);
    let ended = ending.clause().map(|ended| format!(" ({ended})")).unwrap_or_default();
    let proven = released && rule.kills == Some(true);
    let mut finding = Finding::new(
        CauseId::LogindKillUserProcesses,
        Fit::Exact,
        if proven { Grade::Observed } else { Grade::Inferred },
        format!(
            "{} ({user}) was ended by {}: {user}'s login had ended{ended}, and what was left of session {session} \
             was ended {}.",
            case.victim_name(),
            words::name_pid(&case.task(&signal.value.sender)),
            rule.because(&user)
        ),
    )
    .settings([rule.decided.clone()])
    .settings([users_setting(case, "KillExcludeUsers"), users_setting(case, "KillOnlyUsers")])
    .links(ending.links(case, signal.at))
    .links(sessions::links(case, session, signal.ns(), signal.at))
    .fixes([fixes::exclude_user(Logind::Elogind, &user)]);
    if rule.decided.as_ref().is_none_or(|setting| setting.name == "KillUserProcesses") {
        finding.fixes.push(fixes::keep_user_processes(Logind::Elogind));
    }
    finding.settings.extend(ending.network_settings(case));
    finding.fixes.extend(ending.network_fix());
    if !released {
        finding = finding.gap("that the session was given up was not seen on the bus; the login's end and the setting are the evidence");
    }
    finding.answer()
}
