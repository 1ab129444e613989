//! The service managers: jobs, state changes, properties of units.
//!
//! Asked over their private sockets (`/run/systemd/private`, `/run/user/UID/systemd/private`), which admit
//! root, need no bus, and carry every signal without a subscription (`src/core/dbus.c:bus_foreach_bus`);
//! where that cannot be had, PID 1 is asked over the system bus.

pub(super) mod names;
pub(super) mod private_socket;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::UnixStream;
use zbus::connection::Builder;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::bus::limited::{Ended, Limited};
use super::bus::{self, values};
use super::clock;
use super::context::{Context, Link};
use super::dossier;
use super::journal;
use super::presence;
use super::targets::told_to_run;
use private_socket::PrivateSocket;

use crate::evidence::cgroup_path::{bus_label_escape, bus_label_unescape, is_unit_name};
use crate::evidence::{
    ATTACHED, CONNECTING, Fact, Job, LossPlace, Manager, Moment, S, Source, UnitProperties, weight,
};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const UNITS: &str = "/org/freedesktop/systemd1/unit/";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Where PID 1 listens to root.
const SYSTEM_SOCKET: &str = "/run/systemd/private";

/// How much the properties of a unit may take, bytes; it is some KiB.
const MAX_PROPERTIES: usize = 64 << 10;

/// Longest result of a job, bytes: they are words such as `dependency`.
const MAX_RESULT: usize = 64;

/// How long a manager may take for its first answer; it is listened to in any case.
const GREETING: Duration = Duration::from_millis(300);

/// How long a manager may take to answer.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// How long the type of a job may take: the job of a unit without processes is gone in a millisecond.
const JOB_LIMIT: Duration = Duration::from_millis(300);

/// Changes that come together are asked about once.
const REFRESH_AFTER: Duration = Duration::from_millis(40);

/// Pauses before connecting again: a manager that executes itself anew is back in a moment.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// The properties of a unit that the story reads.
#[rustfmt::skip]
const READ: &[&str] = &[
    "Id", "Names", "Description", "LoadState", "ActiveState", "SubState", "FragmentPath", "DropInPaths",
    "InvocationID", "Transient", "Slice", "StateChangeTimestamp", "Job",
    "InactiveExitTimestamp", "ActiveExitTimestamp", "InactiveEnterTimestamp", "ExecMainStartTimestamp",
    "Requires", "Requisite", "BindsTo", "PartOf", "RequiredBy", "RequisiteOf", "WantedBy", "UpheldBy", "BoundBy", "Conflicts", "ConflictedBy",
    "TriggeredBy", "OnFailureOf", "OnSuccessOf", "PropagatesStopTo", "StopPropagatedFrom", "StopWhenUnneeded", "IgnoreOnIsolate", "NeedDaemonReload",
    "KillMode", "KillSignal", "RestartKillSignal", "FinalKillSignal", "WatchdogSignal", "ReloadSignal", "SendSIGHUP",
    "Type", "ExitType", "Restart", "RestartMode", "NRestarts", "RemainAfterExit", "MainPID", "ControlPID", "Result",
    "TimeoutStartUSec", "TimeoutStopUSec", "TimeoutAbortUSec", "RuntimeMaxUSec", "WatchdogUSec", "OOMPolicy", "ExecMainPID",
    "ActivationDetails", "PIDFile", "BusName", "NotifyAccess", "MemoryMax", "MemoryHigh",
    "TimeoutStartFailureMode", "TimeoutStopFailureMode", "SuccessAction", "FailureAction", "Delegate", "ManagedOOMSwap", "ManagedOOMMemoryPressure",
];

/// Those of which nothing is concluded: they are there for whoever reads a recording.
#[rustfmt::skip]
const SHOWN: &[&str] = &[
    "FreezerState", "ControlGroup", "ControlGroupId", "Controller", "ConsistsOf", "JobTimeoutUSec", "SendSIGKILL",
    "ActiveEnterTimestamp", "WatchdogTimestamp",
    "ExecMainExitTimestamp", "ExecMainCode", "ExecMainStatus",
];

/// The name of a manager's connection among the sources.
pub fn source(manager: Manager) -> String {
    match manager {
        Manager::System => "systemd".to_owned(),
        Manager::User(uid) => format!("systemd of user {uid}"),
    }
}

/// The connection to a manager, made on first use.
pub fn link(context: &Arc<Context>, manager: Manager) -> Link {
    let (link, first) = context.manager(manager);
    if first {
        if manager != Manager::System {
            context.sources.set(&source(manager), CONNECTING);
        }
        tokio::spawn(listen(Arc::clone(context), manager, link.clone()));
    }
    link
}

/// Listens to a manager for as long as the trace lasts, or as the manager exists.
async fn listen(context: Arc<Context>, manager: Manager, link: Link) {
    let path = socket(manager);
    let mut attached = false;
    let mut pause = RETRY_FIRST;
    loop {
        let mut refused = false;
        let why = match connect(&context, manager, &path).await {
            Ok((connection, stream)) => {
                (attached, pause) = (true, RETRY_FIRST);
                link.up(connection.clone());
                let ended = hear(&context, manager, &connection, stream).await;
                refused = matches!(ended, Ended::TooMuch(_));
                let (Ended::Closed(why) | Ended::TooMuch(why)) = ended;
                why
            }
            Err(why) => why,
        };
        link.down(why.clone());
        context.sources.set(&source(manager), why.clone());
        if attached {
            // It may be going down, too busy to say so.
            going_down(&context, manager, clock::now());
        }
        if !attached {
            context.outbox.unavailable(source(manager), why);
        }
        // A user's manager that is gone does not come back for this trace's targets, and one that said more than is
        // taken would say it again.
        if refused {
            return;
        }
        if let Manager::User(uid) = manager
            && !bus::is_there(&context, uid, path.clone()).await
        {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

/// Hears all that a manager says. What it says before its first answer is stamped as it comes, too.
async fn hear(
    context: &Arc<Context>,
    manager: Manager,
    connection: &Connection,
    stream: MessageStream,
) -> Ended {
    let greeted = async {
        greet(manager, connection).await;
        context.sources.set(&source(manager), ATTACHED);
    };
    tokio::join!(read_along(context, manager, stream), greeted).0
}

/// It tells its news to none of whom it does not know yet that they are ready (`bus_foreach_bus` in `src/core/dbus.c`):
/// whoever has had an answer is.
async fn greet(manager: Manager, connection: &Connection) {
    let peer = Some("org.freedesktop.DBus.Peer");
    let asked = connection.call_method(Some(SERVICE), PATH, peer, "Ping", &());
    if tokio::time::timeout(GREETING, asked).await.is_err() {
        tracing::debug!("{} did not answer at once", source(manager));
    }
}

/// Takes every signal until the connection breaks.
async fn read_along(context: &Arc<Context>, manager: Manager, mut stream: MessageStream) -> Ended {
    let mut heard = false;
    context.reloads(manager, false);
    let ended = loop {
        match stream.next().await {
            Some(Ok(message)) => signal(context, manager, clock::now(), &message),
            Some(Err(error)) => break Ended::by(&error),
            None => break Ended::Closed("the service manager closed the connection".to_owned()),
        }
        heard = true;
    };
    // A user's manager ends with the user's last session: nothing more is to be heard from it.
    match &ended {
        Ended::Closed(_) if !heard || manager != Manager::System => {}
        Ended::Closed(why) | Ended::TooMuch(why) => {
            context.outbox.lost(LossPlace::Bus, 0, format!("{}: {why}", source(manager)));
        }
    }
    ended
}

/// Where a manager listens.
pub fn socket(manager: Manager) -> String {
    match manager {
        Manager::System => SYSTEM_SOCKET.to_owned(),
        Manager::User(uid) => format!("/run/user/{uid}/systemd/private"),
    }
}

async fn connect(
    context: &Context,
    manager: Manager,
    path: &str,
) -> Result<(Connection, MessageStream), String> {
    let (stream, uid) = match manager {
        Manager::System if !presence::is_run_by_systemd() => {
            return Err(presence::no_systemd().to_owned());
        }
        Manager::System => (UnixStream::connect(path).await, None),
        Manager::User(uid) => (connect_as_user(context, uid, path).await, Some(uid)),
    };
    let stream = stream.map_err(|error| format!("cannot connect to {path}: {error}"))?;
    let socket = PrivateSocket(stream);
    let builder = match uid {
        Some(uid) => {
            let (outbox, source) = (context.outbox.clone(), source(manager));
            Builder::socket(Limited { socket, outbox, source }).user_id(uid)
        }
        None => Builder::socket(socket),
    };
    let builder = builder.p2p().method_timeout(ASK_LIMIT);
    let built = tokio::time::timeout(ASK_LIMIT, builder.build()).await;
    let connection = built.map_err(|_| format!("{path} did not answer in time"))?;
    let connection = connection.map_err(|error| format!("{path} refused: {error}"))?;
    let stream = MessageStream::from(&connection);
    Ok((connection, stream))
}

async fn connect_as_user(context: &Context, uid: u32, path: &str) -> io::Result<UnixStream> {
    UnixStream::from_std(bus::connect_as(context, uid, path.to_owned()).await?)
}

/// What a signal of a service manager says.
#[derive(Debug)]
pub(super) enum News {
    /// A job was made; its type has to be asked.
    JobNew {
        /// Its number.
        id: u32,
        /// Its object.
        path: OwnedObjectPath,
        /// Its unit.
        unit: String,
    },
    /// A job is done with.
    JobRemoved(Job),
    /// Properties of a unit have changed; and the names of those that take too much to be told.
    Changed(UnitProperties, Vec<String>),
    /// It has no unit of that name any more.
    Removed(String),
    /// It begins, or has ceased, to read all files again.
    Reloading(bool),
}

/// Reads a signal of a service manager; `None` for what does not matter or cannot be read.
pub(super) fn read_signal(manager: Manager, message: &Message) -> Option<News> {
    let header = message.header();
    let body = message.body();
    match header.member()?.as_str() {
        "JobNew" => {
            let (id, path, unit) = body.deserialize::<(u32, OwnedObjectPath, String)>().ok()?;
            is_unit_name(&unit).then_some(News::JobNew { id, path, unit })
        }
        "JobRemoved" => {
            let removed = body.deserialize::<(u32, OwnedObjectPath, String, String)>();
            let (id, _, unit, result) = removed.ok()?;
            (is_unit_name(&unit) && result.len() <= MAX_RESULT).then_some(News::JobRemoved(Job {
                manager,
                id,
                unit,
                job_type: None,
                result: Some(result),
            }))
        }
        "UnitRemoved" => {
            let (unit, _) = body.deserialize::<(String, OwnedObjectPath)>().ok()?;
            is_unit_name(&unit).then_some(News::Removed(unit))
        }
        "Reloading" => Some(News::Reloading(body.deserialize::<bool>().ok()?)),
        "PropertiesChanged" => {
            let unit = bus_label_unescape(header.path()?.as_str().strip_prefix(UNITS)?);
            let (properties, cut) = wanted(values::changed_properties(message)?);
            let changed = UnitProperties { manager, unit, properties };
            is_unit_name(&changed.unit).then_some(News::Changed(changed, cut))
        }
        _ => None,
    }
}

/// A signal of a service manager, from whichever connection.
pub fn signal(context: &Arc<Context>, manager: Manager, at: Moment, message: &Message) {
    match read_signal(manager, message) {
        Some(News::JobNew { id, path, unit }) => {
            if context.looks_up_newcomer(manager, &unit, at.boot_ns / S) {
                let context = Arc::clone(context);
                tokio::spawn(dossier::tell_conflicts(context, manager, unit.clone()));
            }
            if GOING_DOWN.contains(&unit.as_str()) {
                going_down(context, manager, at);
                // Nobody may have the time to wait for its type: the manager answers when it has made all the other jobs.
                let (unit, job_type, result) = (unit.clone(), None, None);
                let job = Job { manager, id, unit, job_type, result };
                context.outbox.say_at(at, Source::Bus, Fact::Job(job));
            }
            tokio::spawn(job_new(Arc::clone(context), manager, at, id, path, unit));
        }
        Some(News::JobRemoved(job)) => {
            if job.result.as_deref() == Some("timeout") {
                context.add_ended(manager, &job.unit, at.boot_ns);
            }
            refresh(context, manager, &job.unit);
            context.outbox.say_at(at, Source::Bus, Fact::Job(job));
        }
        Some(News::Changed(UnitProperties { unit, properties, .. }, cut)) => {
            tell_cut(context, &unit, &properties, &cut);
            let state = properties.get("ActiveState").and_then(Value::as_str);
            if matches!(state, Some("inactive" | "failed")) {
                context.add_ended(manager, &unit, at.boot_ns);
            }
            refresh(context, manager, &unit);
            // Not every program has the variable left that would have led there before.
            let changed = UnitProperties { manager, unit, properties };
            let runs_target =
                told_to_run(&changed).is_some_and(|(_, pids)| context.has_homeless(&pids));
            let UnitProperties { unit, properties, .. } = changed;
            if runs_target && context.watch(manager, &unit) {
                tokio::spawn(dossier::tell_unit(Arc::clone(context), manager, unit.clone()));
            }
            let properties = context.news(manager, &unit, properties);
            if !properties.is_empty() {
                let fact = Fact::Unit(UnitProperties { manager, unit, properties });
                context.outbox.say_at(at, Source::Bus, fact);
            }
        }
        Some(News::Removed(unit)) => context.unwatch(manager, &unit),
        Some(News::Reloading(true)) => context.reloads(manager, true),
        Some(News::Reloading(false)) => {
            context.reloads(manager, false);
            for unit in context.watched(manager) {
                tokio::spawn(dossier::tell_reread(Arc::clone(context), manager, unit, at));
            }
        }
        None => {}
    }
}

/// Targets that take everything down.
const GOING_DOWN: [&str; 7] = [
    "shutdown.target",
    "reboot.target",
    "poweroff.target",
    "halt.target",
    "kexec.target",
    "soft-reboot.target",
    "exit.target",
];

/// Everything goes down, journald and this program among it: what may be the reason is looked up at once.
fn going_down(context: &Arc<Context>, manager: Manager, at: Moment) {
    tokio::spawn(dossier::tell_ended(Arc::clone(context), manager, at));
    if manager == Manager::System {
        tokio::spawn(journal::look_back(Arc::clone(context)));
    }
}

/// A new job: its type has to be asked for, and quickly.
async fn job_new(
    context: Arc<Context>,
    manager: Manager,
    at: Moment,
    id: u32,
    path: OwnedObjectPath,
    unit: String,
) {
    let job_type = job_type(&context, manager, &path).await;
    refresh(&context, manager, &unit);
    let job = Job { manager, id, unit, job_type, result: None };
    context.outbox.say_at(at, Source::Bus, Fact::Job(job));
}

/// Tells a job that was there before its unit was looked at.
pub async fn tell_job(context: &Arc<Context>, manager: Manager, id: u32, path: &str, unit: &str) {
    let at = clock::now();
    let job_type = job_type(context, manager, path).await;
    let job = Job { manager, id, unit: unit.to_owned(), job_type, result: None };
    context.outbox.say_at(at, Source::BusProperty, Fact::Job(job));
}

async fn job_type(context: &Arc<Context>, manager: Manager, path: &str) -> Option<String> {
    let asked = property(context, manager, path, "org.freedesktop.systemd1.Job", "JobType");
    let kind = tokio::time::timeout(JOB_LIMIT, asked).await.ok().flatten()?;
    kind.as_str().map(str::to_owned)
}

fn is_wanted(property: &str) -> bool {
    READ.contains(&property) || SHOWN.contains(&property)
}

/// The properties that matter, as many as there is room for; and the names of the others that do.
fn wanted(
    all: impl IntoIterator<Item = (String, Value)>,
) -> (BTreeMap<String, Value>, Vec<String>) {
    let (mut kept, mut cut) = (BTreeMap::new(), Vec::new());
    let mut room = MAX_PROPERTIES;
    for (name, value) in all.into_iter().filter(|(name, _)| is_wanted(name)) {
        match room.checked_sub(weight(&value)) {
            Some(left) => {
                room = left;
                kept.insert(name, value);
            }
            None => cut.push(name),
        }
    }
    (kept, cut)
}

/// Says which properties of a unit are not told, or not as a whole.
fn tell_cut(context: &Context, unit: &str, told: &BTreeMap<String, Value>, cut: &[String]) {
    let parts = told.iter().filter(|(_, value)| values::may_be_cut(value));
    let parts: Vec<&str> = parts.map(|(name, _)| name.as_str()).collect();
    let why = if !cut.is_empty() {
        let room = MAX_PROPERTIES >> 10;
        format!("{} would take more than {room} KiB with the others", cut.join(", "))
    } else if !parts.is_empty() {
        format!("of {} only the beginning was read", parts.join(", "))
    } else {
        return;
    };
    context.outbox.unavailable(format!("properties of {unit}"), why);
}

/// Asks again for the properties of a target's unit, a moment after something was heard of it.
pub fn refresh(context: &Arc<Context>, manager: Manager, unit: &str) {
    if !context.plan_refresh(manager, unit) {
        return;
    }
    let (context, unit) = (Arc::clone(context), unit.to_owned());
    tokio::spawn(async move {
        tokio::time::sleep(REFRESH_AFTER).await;
        context.begin_refresh(manager, &unit);
        // Asking for a unit that is gone makes the manager load an empty one of that name.
        match unit_properties(&context, manager, &unit).await {
            Ok(properties) if dossier::is_not_found(&properties) => {
                dossier::tell_forgotten(&context, manager, &unit).await;
            }
            Ok(properties) => dossier::tell_again(&context, manager, &unit, &properties).await,
            Err(_) => {}
        }
    });
}

/// What matters of a unit's properties, as the manager has them now.
///
/// # Errors
/// Why they could not be asked.
pub async fn unit_properties(
    context: &Arc<Context>,
    manager: Manager,
    unit: &str,
) -> Result<BTreeMap<String, Value>, String> {
    let connection = connection(context, manager).await?;
    let path = format!("{UNITS}{}", bus_label_escape(unit));
    // The empty interface means all of them, as `systemctl show` asks.
    let call = connection.call_method(Some(SERVICE), path, Some(PROPERTIES), "GetAll", &"");
    let answered = tokio::time::timeout(ASK_LIMIT, call).await;
    let reply = answered.map_err(|_| "the service manager did not answer in time".to_owned())?;
    let reply = reply.map_err(|error| error.to_string())?;
    let (kept, cut) = read_properties(&reply)?;
    tell_cut(context, unit, &kept, &cut);
    Ok(kept)
}

/// What matters of all properties, as a manager answers with them; and the names of those that take too much to be told.
pub(super) fn read_properties(
    reply: &Message,
) -> Result<(BTreeMap<String, Value>, Vec<String>), String> {
    let body = reply.body();
    let all =
        body.deserialize::<BTreeMap<String, OwnedVariant>>().map_err(|error| error.to_string())?;
    let kept = all.iter().filter(|(name, _)| is_wanted(name));
    Ok(wanted(kept.map(|(name, value)| (name.clone(), values::json(value, 0)))))
}

/// The unit of PID 1's that has this invocation ID, 32 hexadecimal digits: of one that runs, or has last run, with it.
pub async fn unit_of_invocation(context: &Arc<Context>, invocation: &str) -> Option<String> {
    let id = invocation_id(invocation)?;
    loaded_unit(context, "GetUnitByInvocationID", &id.as_slice()).await
}

/// The name of the unit whose object PID 1 answers with.
async fn loaded_unit<B>(context: &Arc<Context>, method: &str, arguments: &B) -> Option<String>
where
    B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
{
    let connection = connection(context, Manager::System).await.ok()?;
    let call = connection.call_method(Some(SERVICE), PATH, Some(MANAGER), method, arguments);
    let reply = tokio::time::timeout(ASK_LIMIT, call).await.ok()?.ok()?;
    let path = reply.body().deserialize::<OwnedObjectPath>().ok()?;
    // The object may be called by the invocation (`unit_dbus_path_invocation_id`).
    let name = property(context, Manager::System, &path, UNIT, "Id").await?;
    name.as_str().map(str::to_owned)
}

/// The bytes of an ID of 128 bits as systemd writes it.
fn invocation_id(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| (0..text.len()).step_by(2).map(byte).collect()).flatten()
}

/// One property of an object of a manager.
async fn property(
    context: &Arc<Context>,
    manager: Manager,
    path: &str,
    interface: &str,
    name: &str,
) -> Option<Value> {
    let connection = connection(context, manager).await.ok()?;
    let arguments = (interface, name);
    let call = connection.call_method(Some(SERVICE), path, Some(PROPERTIES), "Get", &arguments);
    let reply = call.await.ok()?;
    let body = reply.body();
    let value = body.deserialize::<OwnedVariant>().ok()?;
    Some(values::json(&value, 0))
}

/// The best connection to a manager: its own socket, else for PID 1 the bus.
async fn connection(context: &Arc<Context>, manager: Manager) -> Result<Connection, String> {
    match link(context, manager).get().await {
        Ok(connection) => Ok(connection),
        Err(why) if manager == Manager::System => {
            context.system_bus.get().await.map_err(|bus| format!("{why}; {bus}"))
        }
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cgroups::Cgroups;
    use crate::system::outbox::Outbox;
    use crate::system::processes::Processes;
    use crate::system::sources::Sources;

    #[tokio::test]
    async fn what_is_said_before_the_first_answer_is_taken_as_it_comes() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let processes = Processes::new(Cgroups::detect());
        let context = Context::new(Outbox::new(sender), processes, Sources::connecting(&[]));
        let context = Arc::new(context);
        let (own, its) = UnixStream::pair().expect("a pair of sockets");
        let connected = async |socket| {
            let guid = zbus::Guid::generate();
            let builder = Builder::authenticated_socket(PrivateSocket(socket), guid);
            builder.p2p().build().await.expect("a connection")
        };
        let (own, its) = (connected(own).await, connected(its).await);
        let stream = MessageStream::from(&own);
        // It answers nothing.
        let job = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/7").expect("a path");
        let body = (7u32, job, "x.service", "done");
        its.emit_signal(None::<&str>, PATH, MANAGER, "JobRemoved", &body).await.expect("said");
        let begun = std::time::Instant::now();
        let heard = async {
            while let Some(evidence) = receiver.recv().await {
                if matches!(&evidence.fact, Fact::Job(job) if job.id == 7) {
                    break;
                }
            }
        };
        tokio::select! {
            ended = hear(&context, Manager::User(7), &own, stream) => panic!("{ended:?}"),
            () = heard => {}
        }
        assert!(begun.elapsed() < GREETING / 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn invocation_ids() {
        let id = invocation_id("000102030405060708090a0b0c0d0eff").expect("an ID");
        assert_eq!((id.len(), id[1], id[15]), (16, 1, 255));
        for text in ["", "00", "000102030405060708090a0b0c0d0e+f", "ä00102030405060708090a0b0c0d0e"]
        {
            assert_eq!(invocation_id(text), None, "{text}");
        }
    }
}
