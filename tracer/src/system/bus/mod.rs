//! The D-Bus buses: one connection that reads along, one to ask over; both made again when they break.

pub(super) mod limited;
pub(super) mod monitor;
mod peers;
pub mod values;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::runtime::Handle;
use zbus::connection::Builder;
use zbus::{Connection, DBusError as _, MessageStream};

use super::context::Context;
use super::presence;
use super::systemd::private_socket::BusSocket;
use crate::evidence::{ATTACHED, LossPlace, Manager};
use limited::{Ended, Limited};
use monitor::Monitor;
use peers::Peers;

/// How many messages may wait here before the bus has to hold them back.
const MAX_QUEUED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(65_536).unwrap();
const MAX_QUEUED_OF_USER: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1024).unwrap();

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
                match read_along(&monitor, stream).await {
                    Ended::Closed(why) => why,
                    // Of a user's bus: it would say the same again.
                    Ended::TooMuch(why) => {
                        context.sources.set(&source(bus), why.clone());
                        return context.outbox.lost(
                            LossPlace::Bus,
                            0,
                            format!("{}: {why}", source(bus)),
                        );
                    }
                }
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
        if let Manager::User(uid) = bus
            && !is_there(&context, uid, user_socket(uid)).await
        {
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

/// Whether a user's socket is there, as that user can see: the way to it may lead to a file system that never answers. It may
/// be there as well where that cannot be said.
pub async fn is_there(context: &Context, uid: u32, path: String) -> bool {
    let look = move || Path::new(&path).exists();
    context.user_sockets.run(uid, look).await.unwrap_or(true)
}

/// Its name among the sources.
pub fn source(bus: Manager) -> String {
    match bus {
        Manager::System => "bus".to_owned(),
        Manager::User(uid) => format!("bus of user {uid}"),
    }
}

/// Hands every message to the monitor until the connection breaks.
async fn read_along(monitor: &Arc<Monitor>, mut stream: MessageStream) -> Ended {
    while let Some(message) = stream.next().await {
        match message {
            Ok(message) => monitor.take(&message),
            Err(error) => return Ended::by(&error),
        }
    }
    Ended::Closed("the bus closed the connection".to_owned())
}

async fn connect(
    context: &Arc<Context>,
    bus: Manager,
) -> Result<(Arc<Monitor>, MessageStream), String> {
    let questions = open(context, bus).await?;
    let own = questions.unique_name().map(ToString::to_string).unwrap_or_default();
    if bus == Manager::System {
        context.system_bus.up(questions.clone());
    }
    let peers = Arc::new(Peers::new(questions, bus, context.processes.clone()));
    let connection = open(context, bus).await?;
    // The stream is there before the bus begins to copy messages, so that none is missed.
    let stream = MessageStream::from(&connection);
    become_monitor(&connection).await?;
    peers.prime().await;
    tokio::spawn({
        let peers = Arc::clone(&peers);
        async move { peers.get_to_know().await }
    });
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
            let why = match error {
                // Its own words about it are a page.
                zbus::Error::MethodError(name, ..) => name.to_string(),
                zbus::Error::FDO(error) => error.name().to_string(),
                other => other.to_string(),
            };
            Err(format!("{}, and was refused: {why}", presence::BUS_TAKES_ROOT))
        }
        Err(_) => Err("the bus did not answer in time".to_owned()),
    }
}

async fn open(context: &Context, bus: Manager) -> Result<Connection, String> {
    let builder = match bus {
        Manager::System => match presence::no_bus() {
            Some(why) => return Err(why.to_owned()),
            None => Builder::system(),
        },
        Manager::User(uid) => {
            // A user's bus admits that user only, not even root.
            let stream = connect_as(context, uid, user_socket(uid)).await;
            let stream = stream.and_then(tokio::net::UnixStream::from_std);
            let socket = BusSocket(stream.map_err(|error| error.to_string())?);
            let (outbox, source) = (context.outbox.clone(), source(bus));
            Builder::socket(Limited { socket, outbox, source }).user_id(uid)
        }
    };
    let queued = if bus == Manager::System { MAX_QUEUED } else { MAX_QUEUED_OF_USER };
    let connection = builder.max_queued(queued).method_timeout(CONNECT_LIMIT).build();
    match tokio::time::timeout(CONNECT_LIMIT, connection).await {
        Ok(connection) => connection.map_err(|error| format!("cannot connect: {error}")),
        Err(_) => Err("the bus did not answer in time".to_owned()),
    }
}

/// Connects to a socket with a user's rights, and the user's id, which the socket remembers as its peer's. What is a
/// user's own is then open whatever capabilities are left. The stream does not block.
///
/// # Errors
/// Where the user's rights cannot be had, or the socket does not let it in at once.
pub async fn connect_as(context: &Context, uid: u32, path: String) -> io::Result<UnixStream> {
    let runtime = Handle::current();
    // std's own would wait for as long as others stand in the queue of a socket that nobody serves.
    let connect = move || runtime.block_on(tokio::net::UnixStream::connect(path))?.into_std();
    context.user_sockets.run(uid, connect).await?
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::system::cgroups::Cgroups;
    use crate::system::outbox::Outbox;
    use crate::system::processes::Processes;
    use crate::system::sources::Sources;

    /// What root sees is not asked: a user can have root wait for a file system of the user's.
    #[tokio::test]
    async fn whether_a_socket_is_there_is_seen_by_its_user() {
        let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
        let processes = Processes::new(Cgroups::detect());
        let context = Context::new(Outbox::new(sender), processes, Sources::connecting(&[]));
        let tree = tempfile::tempdir().expect("temporary directory");
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        let closed = tree.path().join("closed");
        std::fs::create_dir(&closed).expect("directory");
        for file in [closed.join("bus"), tree.path().join("bus")] {
            std::fs::write(file, "").expect("a file");
        }
        std::fs::set_permissions(tree.path(), mode(0o755)).expect("open to all");
        std::fs::set_permissions(&closed, mode(0o000)).expect("closed to all");
        // SAFETY: geteuid takes nothing and cannot fail.
        let uid = match unsafe { libc::geteuid() } {
            0 => 65534,
            own => own,
        };
        for (name, is_seen) in [("bus", true), ("closed/bus", false), ("none", false)] {
            let path = tree.path().join(name).to_string_lossy().into_owned();
            assert_eq!(is_there(&context, uid, path).await, is_seen, "{name}");
        }
        std::fs::set_permissions(&closed, mode(0o700)).expect("open again");
    }

    #[tokio::test]
    async fn a_socket_that_lets_nobody_in_is_not_waited_for() {
        let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
        let processes = Processes::new(Cgroups::detect());
        let context = Context::new(Outbox::new(sender), processes, Sources::connecting(&[]));
        let tree = tempfile::tempdir().expect("temporary directory");
        let path = tree.path().join("bus");
        let listener = UnixListener::bind(&path).expect("a socket");
        // SAFETY: listen takes two integers; the socket listens already and now has room for one only.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        // SAFETY: geteuid takes nothing and cannot fail.
        let uid = unsafe { libc::geteuid() };
        let path = path.to_string_lossy().into_owned();
        let first = connect_as(&context, uid, path.clone()).await;
        assert!(first.is_ok(), "{first:?}");
        let second = connect_as(&context, uid, path).await;
        assert_eq!(second.map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
    }
}
