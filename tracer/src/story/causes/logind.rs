//! Deaths that systemd-logind asked for: at logout, on request, for idleness.

mod elogind;
mod last_session;
mod linger;
mod remedies;
mod user_stopped;

use super::{Finding, Fit, Opinion, is_not};
use crate::evidence::cgroup_path::bus_label_escape;
use crate::evidence::{BusCall, CgroupOwner, Grade, JournalLine, Manager, S, Setting, Task};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::ending::Ending;
use crate::story::fixes::Logind;
use crate::story::links::call_link;
use crate::story::manager::UnitStop;
use crate::story::requests::{by_arguments, loginctl, who_called};
use crate::story::stopping::is_true;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, LinkEvent};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, journal, sessions, units, words};
pub use elogind::ended_by_elogind;
use remedies::remedies;
pub use remedies::{outside_manager, outside_session};
pub use user_stopped::user_stopped;

const SCOPE: &[&str] = &["logind.conf"];

/// How long after the request for it was granted a signal comes at most: logind has the service manager send it, and the
/// call may have been heard of a moment after that.
const SENT: u64 = 2 * S;

/// Who owns the session: the user named in verdict and fixes.
fn owner(case: &Case<'_>, session: &str) -> String {
    let state = case.world.session(session);
    state
        .as_ref()
        .and_then(|state| state.user.clone())
        .or_else(|| {
            let uid = state.as_ref().and_then(|state| state.uid).or(case.placement.owner_uid)?;
            case.world.user(uid).map(|user| user.name.clone())
        })
        .or_else(|| case.victim_process().user)
        .unwrap_or_else(|| "its user".to_owned())
}

/// Whether logind called: by the name it owns on the bus, or by its unit.
pub fn from_logind(case: &Case<'_>, call: &BusCall) -> bool {
    if call.bus != Manager::System {
        return false;
    }
    let unit = call.sender.process.and_then(|id| case.process(id).unit);
    unit.as_deref() == Some("systemd-logind.service")
        || call.is_by("org.freedesktop.login1")
        || (call.sender.comm.as_deref() == Some("systemd-logind") && call.sender.uid == Some(0))
}

/// A request to logind to end this session or its user.
fn terminate_call<'a>(
    case: &Case<'a>,
    session: Option<&str>,
    uid: Option<u32>,
    before_ns: u64,
) -> Option<&'a Seen<BusCall>> {
    let seat = session.and_then(|id| case.world.session(id)?.seat);
    case.world.calls_by(before_ns).rev().find(|seen| {
        let call = &seen.value;
        if !call.is_to_logind()
            || seen.ns() > before_ns + S
            || seen.granted_ns() + 30 * S < before_ns
        {
            return false;
        }
        let first = call.args.first();
        let text = first.and_then(|arg| arg.as_str());
        let number = first.and_then(serde_json::Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let object = |kind: &str, key: &str| {
            call.path == format!("/org/freedesktop/login1/{kind}/{}", bus_label_escape(key))
        };
        if call.member.starts_with("Kill") && !is_that_signal(case, seen) {
            return false;
        }
        match call.member.as_str() {
            "TerminateSession" | "KillSession" => session.is_some() && text == session,
            "TerminateUser" | "KillUser" => uid.is_some() && number == uid,
            "TerminateSeat" => seat.is_some() && text == seat.as_deref(),
            "Terminate" | "Kill" => {
                session.is_some_and(|id| object("session", id))
                    || uid.is_some_and(|uid| object("user", &format!("_{uid}")))
                    || seat.as_deref().is_some_and(|seat| object("seat", seat))
            }
            _ => false,
        }
    })
}

/// Whether the signal that `Kill…` asks for is the one that struck, and came right after: others do no harm.
fn is_that_signal(case: &Case<'_>, call: &Seen<BusCall>) -> bool {
    // KillSession(id, whom, signal), KillUser(uid, signal), Kill(whom, signal)
    let number = call.value.args.last().and_then(serde_json::Value::as_u64);
    let struck = case.blow.map(|blow| u64::from(blow.signal.value.number));
    number == struck && call.granted_ns() + SENT >= case.struck_ns()
}

/// Whether a process is logind, by what no user can make of theirs.
pub fn is_logind(task: &Task) -> bool {
    let unit = task.cgroup.as_deref().and_then(|cgroup| CgroupOwner::of(cgroup).unit);
    task.comm == "systemd-logind"
        && task.uid == 0
        && unit.as_deref() == Some("systemd-logind.service")
}

/// Who had logind send a signal to a process that is not the victim, as the end of a sentence that names logind, and what
/// proves it: it sends none of its own accord.
pub fn had_it_signal(case: &Case<'_>, sent: &SeenSignal) -> (String, Vec<Link>) {
    let target = &sent.value.target;
    let owner = target.cgroup.as_deref().map(CgroupOwner::of).unwrap_or_default();
    let session = owner.session.as_deref();
    let uid = owner.owner_uid.or(Some(target.uid));
    let struck = case.world.exit_of(target.id).map(|exit| Case::new(case.world, exit));
    let Some(struck) = struck.filter(|struck| struck.blow.is_some()) else {
        return ("; who had it do so was not seen".to_owned(), Vec::new());
    };
    if let Some(call) = terminate_call(&struck, session, uid, sent.ns()) {
        let process = who_called(&struck, call).0;
        let actor = process.map(|id| Actor::behind_at(&struck, id, sent.ns()));
        let who = actor.as_ref().map(|actor| format!(": {}", actor.sentence()));
        let who = who.unwrap_or_else(|| "; who had it do so was not seen".to_owned());
        let commands = actor.iter().flat_map(|actor| units::command_links(case, actor));
        let told = call_link(case, call).before(sent.at);
        let links = commands.map(|link| link.before(sent.at)).chain([told]).collect();
        return (format!("{who} ({})", call.value.member), links);
    }
    let user = uid.and_then(|uid| case.world.user(uid)).map(|user| user.name.as_str());
    let Some((process, _)) = loginctl(&struck, session, user, sent.ns()) else {
        return ("; who had it do so was not seen".to_owned(), Vec::new());
    };
    let actor = Actor::behind_at(&struck, process, sent.ns());
    let links = units::command_links(case, &actor).into_iter();
    let links = links.map(|link| Link { evidence: Grade::Inferred, ..link.before(sent.at) });
    (format!(": {}{}", actor.sentence(), by_arguments(false)), links.collect())
}

/// `loginctl kill-session --kill-whom=leader`: logind sends that signal itself, and none of its own accord.
fn leader_signalled(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|blow| !blow.mechanism.is_kernels_own())?;
    let sender = Some(&blow.signal.value.sender).filter(|sender| is_logind(sender))?;
    let session = case.placement.session.as_deref();
    let of = session.map(|id| format!(" of session {id}")).unwrap_or_default();
    let called =
        terminate_call(case, session, case.placement.owner_uid, blow.signal.ns()).is_some();
    let (who, links) = had_it_signal(case, blow.signal);
    let finding = Finding::new(
        CauseId::LogindTerminate,
        Fit::Exact,
        if called { Grade::Observed } else { Grade::Inferred },
        format!(
            "{} got {} from {}, which signals the leader{of} on request alone{who}.",
            case.victim_name(),
            crate::evidence::signal_name(blow.signal.value.number),
            words::name_pid(&case.task(sender))
        ),
    )
    .links(links);
    let finding = match called {
        true => finding,
        false => finding.gap("the request to logind was not seen on the bus"),
    };
    finding.answer()
}

/// `loginctl terminate-session` and the like.
pub fn terminated(case: &Case<'_>) -> Option<Opinion> {
    if let Some(opinion) = leader_signalled(case) {
        return Some(opinion);
    }
    let stop = UnitStop::of(case)?;
    let session = stop.session_id();
    let uid = case.placement.owner_uid;
    let Some(call) = terminate_call(case, session, uid, stop.began_ns) else {
        return terminated_by_command(case, &stop);
    };
    let asker = Asker::of(case, call);
    let victim = words::name_pid(&case.victim_process());
    // Kill… only sends a signal, Terminate… ends the session or the user.
    let only_signals = call.value.member.starts_with("Kill");
    let done = if only_signals { "signalled" } else { "stopped" };
    let what = session.map_or_else(
        || format!("the user's units were {done}"),
        |id| format!("session {id}'s scope was {done}"),
    );
    let asked = stop.request.map_or(stop.begun, |asked| asked.at);
    let told = call_link(case, call).before(stop.ordered_at()).before(asked);
    let mut finding = Finding::new(
        CauseId::LogindTerminate,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{victim} {} {}: {} ({}), and {what}.",
            case.was_ended(),
            stop.manager_name(case),
            asker.clause,
            call.value.member
        ),
    )
    .links(asker.links(case))
    .links([told])
    .links(closing(case, session, &stop))
    .links(units::stop_links(case, &stop))
    .fixes(remedies(case, session, asker.actor.as_ref(), &call.value.member));
    finding.gaps.extend(asker.gap());
    finding.answer()
}

/// Who asked logind for something.
struct Asker {
    actor: Option<Actor>,
    /// It, as a clause.
    clause: String,
    /// Known by the arguments of what was being run.
    by_name: bool,
}

impl Asker {
    fn of(case: &Case<'_>, call: &Seen<BusCall>) -> Self {
        let (process, by_name) = who_called(case, call);
        let actor = process.map(|id| Actor::behind(case, id));
        let clause = match (&actor, call.value.sender.uid) {
            (Some(actor), _) => actor.sentence(),
            (None, Some(uid)) => {
                format!("a process of {} asked logind to", case.world.user_name(uid))
            }
            (None, None) => "somebody asked logind to".to_owned(),
        };
        Self { actor, clause, by_name }
    }

    fn links(&self, case: &Case<'_>) -> Vec<Link> {
        self.actor.iter().flat_map(|actor| units::command_links(case, actor)).collect()
    }

    fn gap(&self) -> Option<String> {
        let gap = "the caller was gone before the bus could name its process; who it was is taken from the arguments of what was being run";
        self.by_name.then(|| gap.to_owned())
    }
}

/// What logind had said of the session's end before its scope was stopped. Where it waits for the scope to be empty, it
/// says that only later.
fn closing(case: &Case<'_>, session: Option<&str>, stop: &UnitStop<'_>) -> Vec<Link> {
    let ordered = stop.ordered_at();
    session.map(|id| sessions::links(case, id, ordered.boot_ns, ordered)).unwrap_or_default()
}

/// Whether there was a loginctl whose arguments ask for a signal to the victim's session or user.
pub fn is_asked_by_command(case: &Case<'_>, stop: &UnitStop<'_>) -> bool {
    let owner = case.placement.owner_uid.and_then(|uid| case.world.user(uid));
    let user = owner.map(|user| user.name.as_str());
    let asked = loginctl(case, stop.session_id(), user, stop.began_ns);
    asked.is_some_and(|(_, verb)| verb.starts_with("kill"))
}

/// The request itself was not seen, but a loginctl whose arguments say it.
fn terminated_by_command(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Opinion> {
    let session = stop.session_id();
    let owner = case.placement.owner_uid.and_then(|uid| case.world.user(uid));
    let user = owner.map(|user| user.name.as_str());
    let (process, verb) = loginctl(case, session, user, stop.began_ns)?;
    let actor = Actor::behind(case, process);
    let commands = units::command_links(case, &actor).into_iter();
    let command = commands.map(|link| link.before(stop.ordered_at()));
    let victim = words::name_pid(&case.victim_process());
    let what = if verb.starts_with("kill") { "signalled" } else { "stopped" };
    Finding::new(
        CauseId::LogindTerminate,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{victim} {} {}, which {what} {} for logind: {} (by its arguments; the request \
             itself was not seen).",
            case.was_ended(),
            stop.manager_name(case),
            stop.unit,
            actor.sentence()
        ),
    )
    .links(command)
    .links(closing(case, session, stop))
    .links(units::stop_links(case, stop))
    .fixes(remedies(case, session, Some(&actor), &verb))
    .gap("logind was asked to, by the command's arguments; the bus did not show the call in time")
    .answer()
}

/// logind's words when it stops a session for being idle.
fn idle_said<'a>(case: &Case<'a>, session: &str, at_ns: u64) -> Option<&'a Seen<JournalLine>> {
    case.world.journal.iter().rev().find(|line| {
        journal::from_daemon(&line.value, "systemd-logind")
            && line.value.message.contains("is idle, stopping")
            && (line.value.fields.get("SESSION_ID").map(String::as_str) == Some(session)
                || line.value.message.contains(&format!("\"{session}\"")))
            && line.ns() <= at_ns + S
            && line.ns() + 30 * S >= at_ns
    })
}

fn idle_link(case: &Case<'_>, said: &Seen<JournalLine>) -> Link {
    let text = format!("systemd-logind logged {}", words::quotation(&said.value.message));
    case.link(said.at, LinkEvent::Timeout, said.source, None, text)
}

/// `StopIdleSessionSec=`
pub fn idle(case: &Case<'_>) -> Option<Opinion> {
    let stop = UnitStop::of(case)?;
    let session = stop.session_id()?;
    let said = idle_said(case, session, stop.began_ns)?;
    let setting = case.setting(SCOPE, "StopIdleSessionSec");
    let victim = words::name_pid(&case.victim_process());
    let limit = setting
        .as_ref()
        .map_or_else(String::new, |setting| format!(" ({})", units::cited(setting)));
    Finding::new(
        CauseId::LogindIdleStop,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{victim} {} {}: logind stopped session {session} since it had been idle{limit}.",
            case.was_ended(),
            stop.manager_name(case)
        ),
    )
    .settings([setting])
    .links([idle_link(case, said)])
    .links(closing(case, Some(session), &stop))
    .links(units::stop_links(case, &stop))
    .fixes([fixes::no_idle_stop(), outside_session(case, session)])
    .answer()
}

/// `KillUserProcesses=yes`
pub fn kill_user_processes(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::LogindKillUserProcesses;
    let stop = UnitStop::of(case)?;
    let Some(session) = stop.session_id() else {
        // A main process that PAM had taken to a session.
        if case.placement.session.is_some() {
            return is_not(ID, format!("it was a process of {}, not of the session", stop.unit));
        }
        let name = case.name();
        return is_not(ID, format!("{name} was in {}, not in a login session's scope", stop.unit));
    };
    if let Some(because) = refuted(case, &stop, session) {
        return is_not(ID, because);
    }
    let by_logind = stop.request.filter(|call| from_logind(case, &call.value));
    let rule = KillRule::of(case, session);
    let ending = Ending::of(case, &stop.unit, Some(session), stop.began_ns);
    let user = owner(case, session);
    let proven = by_logind.is_some() && rule.kills == Some(true);
    let ended = ending.clause().map(|ended| format!(" ({ended})")).unwrap_or_default();
    let victim = words::name_pid(&case.victim_process());
    let mut finding = Finding::new(
        ID,
        if by_logind.is_some() { Fit::Exact } else { Fit::Circumstance },
        if proven { Grade::Observed } else { Grade::Inferred },
        format!(
            "{victim} ({}) {} {}: {user}'s login had ended{ended}, and session \
             {session}'s scope was stopped {}.",
            case.other_user(&user).as_ref().unwrap_or(&user),
            case.was_ended(),
            stop.manager_name(case),
            rule.because(&user)
        ),
    )
    .settings([rule.decided.clone()])
    .settings([users_setting(case, "KillExcludeUsers"), users_setting(case, "KillOnlyUsers")])
    .links(ending.links(case, stop.first.at))
    .links(closing(case, Some(session), &stop))
    .links(units::stop_links(case, &stop))
    .fixes([outside_session(case, session)])
    .fixes(rule.remedies(&user));
    finding.settings.extend(ending.network_settings(case));
    finding.fixes.extend(ending.network_fix());
    if by_logind.is_none() {
        finding = finding.gap("logind's own request was not seen on the bus; the session's end and the setting are the evidence");
    }
    finding.answer()
}

/// The field of a user's own record that decides.
const OWN_RECORD: &str = "killProcesses";

/// What the record of the session's user says.
fn own_record(case: &Case<'_>, session: &str) -> Option<DecidingSetting> {
    let uid = case.world.session(session).and_then(|state| state.uid);
    let scope = Setting::record_of_user(uid.or(case.placement.owner_uid)?);
    case.setting(&[&scope], OWN_RECORD)
}

/// A list of users that somebody set, be it that logind has not read it yet or that it goes by an earlier one.
fn users_setting(case: &Case<'_>, name: &str) -> Option<DecidingSetting> {
    let is_set = |setting: &DecidingSetting| match &setting.unread {
        Some(_) => true,
        None => setting.file.is_some() && !setting.value.is_empty(),
    };
    case.setting(SCOPE, name).filter(is_set)
}

/// What logind does with the processes of an ended session (`session_stop_scope` in `src/login/logind-session.c`,
/// `manager_shall_kill` in `logind-core.c`): what the user's own record says counts, then those who are excluded are spared,
/// of listed users only those are ended, and otherwise the general setting decides.
struct KillRule {
    /// The setting that decides; none where it could not be read.
    decided: Option<DecidingSetting>,
    /// Whether it says that they are ended.
    kills: Option<bool>,
}

impl KillRule {
    fn of(case: &Case<'_>, session: &str) -> Self {
        if let Some(own) = own_record(case, session) {
            let kills = Some(is_true(&own.value));
            return Self { decided: Some(own), kills };
        }
        let user = owner(case, session);
        let names = |setting: &DecidingSetting| {
            setting.value.split_whitespace().any(|listed| listed == user)
        };
        // Also the built-in value counts, which spares root.
        if let Some(excluded) = case.setting(SCOPE, "KillExcludeUsers").filter(names) {
            return Self { decided: Some(excluded), kills: Some(false) };
        }
        if let Some(only) = users_setting(case, "KillOnlyUsers").filter(|it| !it.value.is_empty()) {
            let kills = Some(names(&only));
            return Self { decided: Some(only), kills };
        }
        let decided = case.setting(SCOPE, "KillUserProcesses");
        let kills = decided.as_ref().map(|setting| is_true(&setting.value));
        Self { decided, kills }
    }

    /// How to have it spare this user.
    fn remedies(&self, user: &str) -> Vec<Fix> {
        let decided = self.decided.as_ref();
        if let Some(own) = decided.filter(|setting| setting.name == OWN_RECORD) {
            return vec![fixes::keep_processes_of(user, own.file.as_deref().unwrap_or_default())];
        }
        let exclude = fixes::exclude_user(Logind::OfSystemd, user);
        // Where KillOnlyUsers= names the user, the general setting changes nothing.
        let general = decided.is_none_or(|setting| setting.name == "KillUserProcesses");
        let keep = general.then(|| fixes::keep_user_processes(Logind::OfSystemd));
        [exclude].into_iter().chain(keep).collect()
    }

    /// Why the scope was stopped, as a clause.
    fn because(&self, user: &str) -> String {
        match (&self.decided, self.kills) {
            (None, _) => {
                "as logind does where KillUserProcesses=yes (the setting could not be read)"
                    .to_owned()
            }
            (Some(setting), Some(false)) => format!(
                "although {}={}{} says otherwise: logind may run with other settings than the files have",
                setting.name,
                setting.value,
                units::location(setting)
            ),
            (Some(setting), _) => {
                let named = match setting.name.as_str() {
                    "KillUserProcesses" => String::new(),
                    OWN_RECORD => {
                        format!(", {user}'s own record, says so whatever logind.conf has")
                    }
                    _ => format!(" names {user}"),
                };
                format!(
                    "because {}={}{}{named}",
                    setting.name,
                    setting.value,
                    units::location(setting)
                )
            }
        }
    }
}

/// What proves that logind did not kill at logout of its own accord.
fn refuted(case: &Case<'_>, stop: &UnitStop<'_>, session: &str) -> Option<String> {
    if let Some(call) = terminate_call(case, Some(session), case.placement.owner_uid, stop.began_ns)
    {
        return Some(format!(
            "logind was asked to ({}), it did not act by itself",
            call.value.member
        ));
    }
    let owner_name = owner(case, session);
    if loginctl(case, Some(session), Some(&owner_name), stop.began_ns).is_some() {
        return Some("somebody had logind end or signal the session (loginctl)".to_owned());
    }
    if let Some(line) = idle_said(case, session, stop.began_ns) {
        return Some(format!(
            "logind logged {}: the user was still there",
            words::quotation(&line.value.message)
        ));
    }
    if let Some(call) = stop.request
        && !from_logind(case, &call.value)
        && case.caller_named_by_bus(call).is_some()
    {
        let who = call.value.sender.comm.clone().unwrap_or_else(|| call.value.sender.name.clone());
        return Some(format!("{who}, not logind, asked for the stop of {}", stop.unit));
    }
    let waits = case.world.journal.iter().find(|line| {
        journal::from_daemon(&line.value, "systemd-logind")
            && line.value.message.starts_with(&format!("Session {session} logged out. Waiting"))
            // It says the same of a session whose leader the stop itself has ended.
            && line.ns() <= stop.began_ns
    });
    if let Some(line) = waits {
        return Some(format!(
            "logind logged {}, so it left them alone",
            words::quotation(&line.value.message)
        ));
    }
    let rule = KillRule::of(case, session);
    let setting = rule.decided.filter(|_| rule.kills == Some(false))?;
    if stop.request.is_some_and(|call| from_logind(case, &call.value)) {
        return None;
    }
    Some(format!("{}={}{}", setting.name, setting.value, units::location(&setting)))
}
