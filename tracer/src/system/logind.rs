//! Login sessions, as systemd-logind tells them over the bus, or leaves them in `/run/systemd/sessions`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use zbus::{Message, OwnedObjectPath, OwnedVariant};

use super::bus::values;
use super::context::Context;
use super::files;
use super::presence;
use crate::evidence::cgroup_path::{bus_label_escape, bus_label_unescape};
use crate::evidence::{ATTACHED, Fact, Moment, SessionState, Source};

const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const SESSIONS: &str = "/org/freedesktop/login1/session/";

/// How long logind may take to answer.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// State files of sessions; private to systemd, but the same since v219.
const STATE: &str = "/run/systemd/sessions";

/// How many sessions that are there already are told.
const MAX_SESSIONS: usize = 256;

/// A state file is a few hundred bytes.
const MAX_STATE: u64 = 64 << 10;

/// What a signal of logind says.
#[derive(Debug)]
pub(super) enum News {
    /// A session was opened; the rest has to be asked.
    Opened(String),
    /// Something about a session has changed.
    Changed(Box<SessionState>),
}

/// Reads a signal of logind; `None` for what does not matter or cannot be read.
pub(super) fn read_signal(message: &Message) -> Option<News> {
    let header = message.header();
    let body = message.body();
    match header.member()?.as_str() {
        "SessionNew" => {
            let (id, _) = body.deserialize::<(String, OwnedObjectPath)>().ok()?;
            Some(News::Opened(id))
        }
        "SessionRemoved" => {
            let (id, _) = body.deserialize::<(String, OwnedObjectPath)>().ok()?;
            let session = SessionState { id, removed: true, ..SessionState::default() };
            Some(News::Changed(Box::new(session)))
        }
        "PropertiesChanged" => {
            let id = bus_label_unescape(header.path()?.as_str().strip_prefix(SESSIONS)?);
            let changed = values::changed_properties(message)?;
            let text = |name: &str| changed.get(name).and_then(Value::as_str).map(str::to_owned);
            let (state, tty) = (text("State"), text("TTY"));
            let tells = state.is_some() || tty.is_some();
            let session = SessionState { id, state, tty, ..SessionState::default() };
            tells.then(|| News::Changed(Box::new(session)))
        }
        _ => None,
    }
}

/// A signal of logind, seen on the bus.
pub fn signal(context: &Arc<Context>, at: Moment, message: &Message) {
    match read_signal(message) {
        Some(News::Opened(id)) => drop(tokio::spawn(tell(Arc::clone(context), id))),
        Some(News::Changed(session)) => {
            context.outbox.say_at(at, Source::Bus, Fact::Session(*session));
        }
        None => {}
    }
}

/// Finds out about a session and tells it.
pub async fn tell(context: Arc<Context>, id: String) {
    match ask(&context, &id).await {
        Ok(session) => context.outbox.say(Source::BusProperty, Fact::Session(session)),
        Err(why) => match from_file(&id) {
            Some(session) => context.outbox.say(Source::File, Fact::Session(session)),
            None => context.outbox.unavailable(format!("session {id}"), why),
        },
    }
}

async fn ask(context: &Arc<Context>, id: &str) -> Result<SessionState, String> {
    let path = format!("{SESSIONS}{}", bus_label_escape(id));
    let all = properties(context, path, "org.freedesktop.login1.Session").await?;
    let text = |name: &str| {
        let text = all.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok())
    };
    Ok(SessionState {
        id: text("Id").unwrap_or_else(|| id.to_owned()),
        uid: number(all.get("User").and_then(|user| user.get(0))),
        user: text("Name"),
        scope: text("Scope"),
        leader: number(all.get("Leader")).filter(|leader| *leader != 0),
        remote_host: text("RemoteHost"),
        tty: text("TTY"),
        service: text("Service"),
        class: text("Class"),
        seat: all
            .get("Seat")
            .and_then(|seat| seat.get(0)?.as_str())
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        state: text("State"),
        removed: false,
    })
}

async fn properties(
    context: &Arc<Context>,
    path: String,
    interface: &str,
) -> Result<BTreeMap<String, Value>, String> {
    let connection = context.system_bus.get().await?;
    let call = connection.call_method(
        Some(SERVICE),
        path,
        Some("org.freedesktop.DBus.Properties"),
        "GetAll",
        &interface,
    );
    let answered = tokio::time::timeout(ASK_LIMIT, call).await;
    let reply = answered.map_err(|_| "systemd-logind did not answer in time".to_owned())?;
    let reply = reply.map_err(|error| error.to_string())?;
    let body = reply.body();
    let all =
        body.deserialize::<BTreeMap<String, OwnedVariant>>().map_err(|error| error.to_string())?;
    Ok(all.iter().map(|(name, value)| (name.clone(), values::json(value, 0))).collect())
}

/// Properties of the running logind, its settings among them: it may have been started before a file was edited.
pub async fn running_manager(context: &Arc<Context>) -> Option<BTreeMap<String, Value>> {
    if !context.sources.is_wanted("logind") {
        return None;
    }
    let all = properties(context, PATH.to_owned(), "org.freedesktop.login1.Manager").await;
    let why = match all {
        Err(_) if !presence::is_run_by_systemd() => presence::no_systemd().to_owned(),
        Ok(all) => {
            context.sources.set("logind", ATTACHED);
            return Some(all);
        }
        Err(why) => why,
    };
    context.sources.set("logind", why);
    None
}

/// Tells the sessions that there are already: whoever acts from one of them is then known.
pub fn tell_existing(context: &Context) {
    let Ok(entries) = std::fs::read_dir(STATE) else { return };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    for session in ids.filter_map(|id| from_file(&id)).take(MAX_SESSIONS) {
        context.outbox.say(Source::File, Fact::Session(session));
    }
}

/// The session as its state file has it.
fn from_file(id: &str) -> Option<SessionState> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let bytes = files::read(Path::new(&format!("{STATE}/{id}")), MAX_STATE).ok()?;
    Some(parse_state(id, std::str::from_utf8(&bytes).ok()?))
}

/// `NAME=value` lines; values may be quoted as in a shell.
pub(super) fn parse_state(id: &str, text: &str) -> SessionState {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        let value = value.trim_matches('"');
        (!value.is_empty()).then(|| value.to_owned())
    };
    SessionState {
        id: id.to_owned(),
        uid: field("UID").and_then(|uid| uid.parse().ok()),
        user: field("USER"),
        scope: field("SCOPE"),
        leader: field("LEADER").and_then(|pid| pid.parse().ok()),
        remote_host: field("REMOTE_HOST"),
        tty: field("TTY"),
        service: field("SERVICE"),
        class: field("CLASS"),
        seat: field("SEAT"),
        state: field("STATE"),
        removed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_files_are_read() {
        let text = "# This is private data. Do not parse.\nUID=1000\nUSER=alice\nACTIVE=1\nSTATE=active\nREMOTE=1\n\
                    SCOPE=session-3.scope\nFIFO=/run/systemd/sessions/3.ref\nTTY=pts/0\nREMOTE_HOST=10.0.0.1\n\
                    SERVICE=sshd\nCLASS=user\nSEAT=seat0\nLEADER=4242\n";
        let session = parse_state("3", text);
        assert_eq!((session.uid, session.leader), (Some(1000), Some(4242)));
        assert_eq!(session.user.as_deref(), Some("alice"));
        assert_eq!(session.seat.as_deref(), Some("seat0"));
        assert_eq!(session.class.as_deref(), Some("user"));
        assert_eq!(session.remote_host.as_deref(), Some("10.0.0.1"));
        assert_eq!(session.scope.as_deref(), Some("session-3.scope"));
        assert_eq!(parse_state("3", "garbage").uid, None);
        assert_eq!(from_file("../../etc/passwd"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_state_file_is_survived(text in "((UID|USER|LEADER|TTY)=.{0,12}\n|.{0,20}\n){0,8}") {
            let session = parse_state("3", &text);
            proptest::prop_assert!(session.user.is_none_or(|user| !user.is_empty()));
        }
    }
}
