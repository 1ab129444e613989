//! Where bytes that others wrote come in, each as a function of those bytes alone: for fuzzers, and for the
//! tests that repeat what those found. Settings are read from any directory by [`super::settings::Root`].

use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc::unbounded_channel;
use zbus::message::Type;
use zbus::{Guid, MessageStream, connection::Builder};

use super::bus::limited::{Limited, messages_in};
use super::bus::monitor;
use super::cgroups::Cgroups;
use super::outbox::Outbox;
use super::processes::Processes;
use super::systemd::private_socket::PrivateSocket;
use super::{containers, journal, kernel_log, logind, systemd, terminals};
use crate::evidence::{
    Container, Evidence, Fact, KernelLogLine, Manager, SessionState, UnitProperties,
};

/// What a line of `journalctl -o json` tells.
pub fn journal_line(line: &[u8]) -> Option<Evidence> {
    journal::read_entry(line)
}

/// What a record of `/dev/kmsg` tells, and the cgroup whose memory it speaks of.
pub fn kernel_log_record(record: &[u8]) -> Option<(Fact, Option<String>)> {
    let message = kernel_log::read_record(record)?;
    let cgroup = kernel_log::oom_cgroup(&message).map(str::to_owned);
    Some((Fact::KernelLog(KernelLogLine { message }), cgroup))
}

/// The session of that id as a state file of logind has it.
pub fn session_file(id: &str, text: &str) -> SessionState {
    logind::parse_state(id, text)
}

/// What the runtimes' state below that directory, and then a user's in `home`, tells of a container.
pub fn container_state(root: &Path, home: PathBuf, container: &Container) -> Container {
    let (by_system, _) = containers::describe_in(root, None, container);
    containers::describe_in(root, Some(home), &by_system).0
}

/// The terminal that a file in `/proc/PID/fdinfo` is the master of.
pub fn terminal_of(fdinfo: &str) -> Option<u32> {
    terminals::tty_index(fdinfo)
}

/// A process and its parents by the files of a process file system that is mounted there, and where it lives in
/// the hierarchy that limits memory. `mounts` is what `/proc/self/mountinfo` would say.
///
/// # Errors
/// Where there is no such process.
pub fn processes(root: &Path, mounts: &str, pid: u32) -> io::Result<(Vec<Fact>, Option<String>)> {
    let processes = Processes::at(root, Cgroups::of_mounts(mounts));
    let line = processes.look_up(pid)?;
    let facts = line.into_iter().map(|process| Fact::Process(Box::new(process))).collect();
    for relative in processes.relatives(pid) {
        processes.identify(relative);
    }
    processes.sockets(pid);
    Ok((facts, processes.memory_cgroup(pid)))
}

/// What the messages tell that come over a connection to a bus or a service manager, until it breaks or
/// something comes that is no message.
///
/// # Errors
/// Where no connection can be made of the stream.
pub async fn bus(stream: UnixStream) -> zbus::Result<Vec<Fact>> {
    let socket = PrivateSocket(stream);
    let builder = Builder::authenticated_socket(socket, Guid::generate());
    told(Manager::System, builder).await
}

/// The same of what stands where a user's service manager should, from the handshake on and within bounds.
///
/// # Errors
/// As [`bus`]; also where there is no handshake.
pub async fn users_manager(stream: UnixStream, uid: u32) -> zbus::Result<Vec<Fact>> {
    let manager = Manager::User(uid);
    let outbox = Outbox::new(unbounded_channel().0);
    let socket = Limited { socket: PrivateSocket(stream), outbox, source: manager.whose() };
    told(manager, Builder::socket(socket).user_id(uid)).await
}

/// How many messages are taken to begin in what comes over a user's socket, cut like that.
///
/// # Errors
/// Where it is more than is taken.
pub fn users_messages<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> io::Result<usize> {
    messages_in(parts)
}

async fn told(manager: Manager, builder: Builder<'_>) -> zbus::Result<Vec<Fact>> {
    /// The unit whose properties an answer has.
    const ASKED: &str = "victim.service";
    let connection = builder.p2p().build().await?;
    let mut messages = MessageStream::from(&connection);
    let mut facts = Vec::new();
    while let Some(Ok(message)) = messages.next().await {
        match message.message_type() {
            Type::MethodCall => {
                facts.extend(monitor::read_call(manager, &message).map(Fact::BusCall));
                continue;
            }
            Type::MethodReturn => {
                let read = systemd::read_properties(&message).ok();
                facts.extend(read.map(|(properties, _)| {
                    let unit = ASKED.to_owned();
                    Fact::Unit(UnitProperties { manager, unit, properties })
                }));
                continue;
            }
            _ => {}
        }
        facts.extend(match systemd::read_signal(manager, &message) {
            Some(systemd::News::JobRemoved(job)) => Some(Fact::Job(job)),
            Some(systemd::News::Changed(unit, _)) => Some(Fact::Unit(unit)),
            Some(
                systemd::News::JobNew { .. }
                | systemd::News::Removed(_)
                | systemd::News::Reloading(_),
            )
            | None => None,
        });
        facts.extend(match logind::read_signal(&message) {
            Some(logind::News::Changed(session)) => Some(Fact::Session(*session)),
            Some(logind::News::Opened(_)) | None => None,
        });
    }
    Ok(facts)
}
