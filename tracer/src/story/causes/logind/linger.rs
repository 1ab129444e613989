//! Whether a user lingers, and who had logind change that.

use super::last_session::LastSession;
use crate::evidence::{BusCall, Grade, Moment, ProcessId, S};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::links::call_link;
use crate::story::requests::by_arguments;
use crate::story::verdict::{DecidingSetting, Link};
use crate::story::world::Seen;
use crate::story::{sessions, units};

/// Whether a user's service manager outlives the user's sessions.
pub enum Linger<'a> {
    /// As it was read.
    Yes,
    /// As it was read, or nothing is known of it.
    No,
    /// Somebody has had logind change it while this was traced.
    TakenAway(TakenAway<'a>),
}

/// Who had logind take it away.
pub struct TakenAway<'a> {
    ns: u64,
    call: Option<&'a Seen<BusCall>>,
    process: Option<ProcessId>,
    /// That is known by the arguments alone.
    concluded: bool,
}

impl<'a> Linger<'a> {
    /// As it was at a time.
    pub fn at(case: &Case<'a>, uid: u32, name: &str, at_ns: u64) -> Self {
        if let Some((call, lingers)) = linger_call(case, uid, at_ns) {
            if lingers {
                return Self::Yes;
            }
            let named = case.caller_named_by_bus(call);
            let process = named.or_else(|| disabling(case, uid, name, at_ns).map(|(_, id)| id));
            let concluded = named.is_none();
            return Self::TakenAway(TakenAway {
                ns: call.ns(),
                call: Some(call),
                process,
                concluded,
            });
        }
        if case.world.user(uid).and_then(|user| user.linger) != Some(true) {
            return Self::No;
        }
        disabling(case, uid, name, at_ns).map_or(Self::Yes, |(ns, process)| {
            Self::TakenAway(TakenAway { ns, call: None, process: Some(process), concluded: true })
        })
    }

    /// How well it is known.
    pub fn grade(&self) -> Grade {
        match self {
            Self::No => Grade::Observed,
            Self::TakenAway(by) if by.call.is_some() && !by.concluded => Grade::Observed,
            Self::Yes | Self::TakenAway(_) => Grade::Inferred,
        }
    }

    /// That nothing kept the user's manager, as a clause.
    pub fn clause(
        &self,
        case: &Case<'_>,
        uid: u32,
        name: &str,
        at_ns: u64,
        last: Option<&LastSession<'_>>,
    ) -> String {
        let last = last.filter(|last| self.outlasted_by(last));
        let over = last
            .map_or_else(|| format!("{name}'s last session was over"), |last| last.clause(name));
        match self {
            Self::Yes => {
                format!("{over}, {name} seems not to linger any more")
            }
            Self::No => format!("{over}, {name} does not linger"),
            Self::TakenAway(by) => {
                let who = match by.process {
                    Some(id) => {
                        let hint = if by.concluded { by_arguments(by.call.is_some()) } else { "" };
                        format!("{}{hint}", Actor::behind(case, id).sentence())
                    }
                    None => "somebody had logind end it".to_owned(),
                };
                if last.is_some() || has_logged_out(case, uid, by.ns, at_ns) {
                    format!("{over}, {name} did not linger any more ({who})")
                } else {
                    format!("{name}, who had no session, did not linger any more ({who})")
                }
            }
        }
    }

    /// Whether a session was there for longer than what else kept the user's manager: its end is part of the story.
    pub const fn outlasted_by(&self, last: &LastSession<'_>) -> bool {
        match self {
            Self::Yes | Self::No => true,
            Self::TakenAway(by) => by.ns <= last.ended.boot_ns,
        }
    }

    /// As a setting, where somebody changed it: logind keeps a file of the user's name.
    pub fn setting(&self, name: &str) -> Option<DecidingSetting> {
        matches!(self, Self::TakenAway(_)).then(|| DecidingSetting {
            name: "Linger".to_owned(),
            value: "no".to_owned(),
            file: Some(format!("/var/lib/systemd/linger/{name}")),
            line: None,
            unread: None,
        })
    }

    /// The command and the call that took it away.
    pub fn links(&self, case: &Case<'_>, effect: Moment) -> Vec<Link> {
        let Self::TakenAway(by) = self else { return Vec::new() };
        let actor = by.process.map(|id| Actor::behind(case, id));
        let commands = actor.map(|actor| units::command_links(case, &actor));
        let command = commands.into_iter().flatten();
        let call = by.call.map(|call| call_link(case, call));
        command.into_iter().chain(call).map(|link| link.before(effect)).collect()
    }
}

/// What logind was told last of a user's lingering before that time.
fn linger_call<'a>(case: &Case<'a>, uid: u32, at_ns: u64) -> Option<(&'a Seen<BusCall>, bool)> {
    case.world.calls_by(at_ns).rev().find_map(|seen| {
        let call = &seen.value;
        let fits = call.is_to_logind() && call.member == "SetUserLinger" && seen.ns() <= at_ns + S;
        // The user -1 is the caller.
        let whose = call.args.first().and_then(serde_json::Value::as_u64).filter(|_| fits)?;
        let of_user =
            whose == u64::from(uid) || whose == u64::from(u32::MAX) && call.sender.uid == Some(uid);
        let lingers = call.args.get(1).and_then(serde_json::Value::as_bool)?;
        of_user.then_some((seen, lingers))
    })
}

/// A loginctl that by its arguments takes it away, and when it was executed.
fn disabling(case: &Case<'_>, uid: u32, name: &str, at_ns: u64) -> Option<(u64, ProcessId)> {
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let args = known.cmdline.as_deref()?;
        let verb = args.iter().position(|arg| arg == "disable-linger")?;
        let mut users = args[verb + 1..].iter().filter(|arg| !arg.starts_with('-')).peekable();
        let own = users.peek().is_none() && known.uid == Some(uid);
        let may = known.uid == Some(0) || known.uid == Some(uid);
        let named = users.any(|arg| arg == name || *arg == uid.to_string());
        let fits = known.comm.as_deref() == Some("loginctl") && may && (own || named);
        (fits && at <= at_ns).then_some((at, id))
    });
    found.max_by_key(|(at, _)| *at)
}

/// Whether a session of the user ended in this time.
fn has_logged_out(case: &Case<'_>, uid: u32, from_ns: u64, until_ns: u64) -> bool {
    case.world.sessions.iter().any(|seen| {
        let session = case.world.session(&seen.value.id);
        seen.value.removed
            && (from_ns..=until_ns).contains(&seen.ns())
            && session.is_some_and(|session| sessions::holds_manager_of(&session, uid))
    })
}
