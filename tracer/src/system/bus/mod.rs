//! The D-Bus buses: one connection that reads along, one to ask over; both made again when they break.

pub(super) mod monitor;
mod peers;
pub mod values;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use zbus::connection::Builder;
use zbus::{Connection, MessageStream};

use super::context::Context;
use super::presence;
use super::sources::ATTACHED;
use crate::evidence::{LossPlace, Manager};
use monitor::Monitor;
use peers::Peers;

/// How many messages may wait here before the bus has to hold them back.
const MAX_QUEUED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(65_536).unwrap();

/// Longest time that one step of connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait before connecting again: the bus may be restarting, or not be there for long.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// Listens to a bus for as long as the trace lasts, or a user's bus exists.
pub async fn listen(context: Arc<Context>, bus: Manager) {
    let mut pause = RETRY_FIRST;
    let mut was_attached = false;
    loop {
        let why = match connect(&context, bus).await {
            Ok((monitor, stream)) => {
                context.sources.set(&source(bus), ATTACHED);
                (was_attached, pause) = (true, RETRY_FIRST);
                read_along(&monitor, stream).await
            }
            Err(why) => why,
        };
        context.sources.set(&source(bus), why.clone());
        if bus == Manager::System {
            context.system_bus.down(why.clone());
        }
        if was_attached && bus != Manager::System {
            // A user's bus ends with the user's last session: nothing more is to be heard there.
            tracing::debug!(why, "the bus of a user ended");
        } else if was_attached {
            context.outbox.lost(
                LossPlace::Bus,
                0,
                format!("the connection to the bus broke: {why}"),
            );
        } else {
            context.outbox.unavailable(source(bus), why);
        }
        was_attached = false;
        if matches!(bus, Manager::User(uid) if !Path::new(&user_socket(uid)).exists()) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

/// Where a user's bus listens.
pub fn user_socket(uid: u32) -> String {
    format!("/run/user/{uid}/bus")
}

/// Its name among the sources.
fn source(bus: Manager) -> String {
    match bus {
        Manager::System => "bus".to_owned(),
        Manager::User(uid) => format!("bus of user {uid}"),
    }
}

/// Hands every message to the monitor until the connection breaks; says why it did.
async fn read_along(monitor: &Arc<Monitor>, mut stream: MessageStream) -> String {
    while let Some(message) = stream.next().await {
        match message {
            Ok(message) => monitor.take(&message),
            Err(error) => return error.to_string(),
        }
    }
    "the bus closed the connection".to_owned()
}

async fn connect(
    context: &Arc<Context>,
    bus: Manager,
) -> Result<(Arc<Monitor>, MessageStream), String> {
    let questions = open(bus).await?;
    let own = questions.unique_name().map(ToString::to_string).unwrap_or_default();
    if bus == Manager::System {
        context.system_bus.up(questions.clone());
    }
    let peers = Arc::new(Peers::new(questions, bus, context.processes.clone()));
    let connection = open(bus).await?;
    // The stream is there before the bus begins to copy messages, so that none is missed.
    let stream = MessageStream::from(&connection);
    become_monitor(&connection).await?;
    peers.prime().await;
    Ok((Arc::new(Monitor::new(Arc::clone(context), bus, peers, own)), stream))
}

async fn become_monitor(connection: &Connection) -> Result<(), String> {
    let bus = "org.freedesktop.DBus";
    let rules: Vec<&str> = monitor::RULES.to_vec();
    let arguments = (rules, 0u32);
    let call = connection.call_method(
        Some(bus),
        "/org/freedesktop/DBus",
        Some("org.freedesktop.DBus.Monitoring"),
        "BecomeMonitor",
        &arguments,
    );
    match tokio::time::timeout(CONNECT_LIMIT, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            Err(format!("reading along on the bus takes root, and was refused: {error}"))
        }
        Err(_) => Err("the bus did not answer in time".to_owned()),
    }
}

async fn open(bus: Manager) -> Result<Connection, String> {
    let builder = match bus {
        Manager::System => match presence::no_bus() {
            Some(why) => return Err(why.to_owned()),
            None => Builder::system(),
        },
        Manager::User(uid) => {
            // A user's bus admits that user only, not even root.
            let stream = connect_as(uid, user_socket(uid)).await;
            Builder::unix_stream(stream.map_err(|error| error.to_string())?).user_id(uid)
        }
    };
    let connection = builder.max_queued(MAX_QUEUED).method_timeout(CONNECT_LIMIT).build();
    match tokio::time::timeout(CONNECT_LIMIT, connection).await {
        Ok(connection) => connection.map_err(|error| format!("cannot connect: {error}")),
        Err(_) => Err("the bus did not answer in time".to_owned()),
    }
}

/// Connects to a socket with a user's effective id, which the socket remembers as its peer's. What is a
/// user's own is then open whatever capabilities are left.
///
/// # Errors
/// Where the id cannot be taken on, or the socket does not let it in.
pub async fn connect_as(uid: u32, path: String) -> io::Result<UnixStream> {
    let connect = move || {
        // A thread of its own: the raw system call changes the ids of one thread only, and that one ends here.
        let connecting = std::thread::spawn(move || {
            // SAFETY: setresuid takes three integers and touches no memory; -1 leaves an id as it is.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, -1i32, uid, -1i32) };
            if result == 0 { UnixStream::connect(path) } else { Err(io::Error::last_os_error()) }
        });
        connecting
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the connecting thread panicked")))
    };
    tokio::task::spawn_blocking(connect).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
