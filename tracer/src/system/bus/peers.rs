//! Who is behind the names on a bus.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::OnceCell;
use zbus::zvariant::DynamicType;
use zbus::{Connection, Variant};

use super::super::context::lock;
use super::super::processes::Processes;
use crate::evidence::{BusPeer, Manager};

/// How many peers are remembered; then those that left are forgotten.
const MAX_PEERS: usize = 8192;

/// How many of those that were there before are got to know.
const MAX_FIRST: usize = 512;

/// How long the bus may take to say who a peer is.
const ASK_LIMIT: Duration = Duration::from_millis(500);

/// The services whose names matter: they are recognised from the start.
pub const SERVICES: [&str; 5] = [
    "org.freedesktop.systemd1",
    "org.freedesktop.login1",
    "org.freedesktop.machine1",
    "org.freedesktop.oom1",
    "org.freedesktop.PolicyKit1",
];

/// The peers of one bus.
#[derive(Debug)]
pub struct Peers {
    connection: Connection,
    bus: Manager,
    processes: Processes,
    known: Mutex<HashMap<String, Peer>>,
    /// Well-known name to unique name.
    owners: Mutex<HashMap<String, String>>,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    identity: Arc<OnceCell<BusPeer>>,
    gone: bool,
}

impl Peers {
    /// Of the bus at the other end of this connection.
    pub fn new(connection: Connection, bus: Manager, processes: Processes) -> Self {
        Self { connection, bus, processes, known: Mutex::default(), owners: Mutex::default() }
    }

    /// Finds out who owns the names that matter.
    pub async fn prime(&self) {
        for service in SERVICES {
            let asked = ask(&self.connection, "GetNameOwner", &service).await;
            let owner = asked.and_then(|reply| reply.body().deserialize::<String>().ok());
            if let Some(owner) = owner {
                lock(&self.owners).insert(service.to_owned(), owner.clone());
                self.identify(&owner).await;
            }
        }
    }

    /// Gets to know those who are there already: whoever acts as it ends is gone before the bus could name it.
    pub async fn get_to_know(&self) {
        let asked = ask(&self.connection, "ListNames", &()).await;
        let names = asked.and_then(|reply| reply.body().deserialize::<Vec<String>>().ok());
        let unique = names.into_iter().flatten().filter(|name| name.starts_with(':'));
        for name in unique.take(MAX_FIRST) {
            self.identify(&name).await;
        }
    }

    /// Takes note of `NameOwnerChanged`. Returns the unique name of a peer that has just come.
    pub fn changed(&self, name: &str, new: &str) -> Option<String> {
        if !name.starts_with(':') {
            let mut owners = lock(&self.owners);
            if new.is_empty() {
                owners.remove(name);
            } else if SERVICES.contains(&name) || owners.len() < MAX_PEERS {
                owners.insert(name.to_owned(), new.to_owned());
            }
            return None;
        }
        let mut known = lock(&self.known);
        if known.len() >= MAX_PEERS {
            known.retain(|_, peer| !peer.gone);
        }
        if new.is_empty() {
            if let Some(peer) = known.get_mut(name) {
                peer.gone = true;
            }
            return None;
        }
        Some(name.to_owned())
    }

    /// Whether this peer owns the well-known name. Anybody may send a signal that looks like systemd's.
    pub fn is_owner(&self, service: &str, unique: &str) -> bool {
        lock(&self.owners).get(service).is_some_and(|owner| owner == unique)
    }

    /// Who a name belongs to, unique or well-known. What cannot be found out stays `None`.
    pub async fn identify(&self, name: &str) -> BusPeer {
        let (unique, named) = self.resolve(name);
        let Some(unique) = unique else {
            return BusPeer { name: String::new(), well_known: named, ..BusPeer::default() };
        };
        let cell = self.cell(&unique);
        let peer = cell.get_or_init(|| self.ask_credentials(&unique)).await.clone();
        BusPeer { well_known: named, ..peer }
    }

    /// Where it is remembered who a peer is, as long as there is room.
    fn cell(&self, unique: &str) -> Arc<OnceCell<BusPeer>> {
        let mut known = lock(&self.known);
        if !known.contains_key(unique) && known.len() >= MAX_PEERS {
            known.retain(|_, peer| !peer.gone);
            if known.len() >= MAX_PEERS {
                return Arc::default();
            }
        }
        known.entry(unique.to_owned()).or_default().identity.clone()
    }

    /// Unique and well-known name of what is either.
    fn resolve(&self, name: &str) -> (Option<String>, Option<String>) {
        let owners = lock(&self.owners);
        if name.starts_with(':') {
            let mut names: Vec<&String> =
                owners.iter().filter(|(_, owner)| *owner == name).map(|(known, _)| known).collect();
            // A peer may own several names; those that matter come first.
            names.sort_by_key(|known| (!SERVICES.contains(&known.as_str()), (*known).clone()));
            (Some(name.to_owned()), names.first().map(|known| (*known).clone()))
        } else {
            (owners.get(name).cloned(), Some(name.to_owned()))
        }
    }

    async fn ask_credentials(&self, unique: &str) -> BusPeer {
        let mut peer = BusPeer { name: unique.to_owned(), ..BusPeer::default() };
        let Some(reply) = ask(&self.connection, "GetConnectionCredentials", &unique).await else {
            return peer;
        };
        let body = reply.body();
        let Ok(credentials) = body.deserialize::<HashMap<String, Variant<'_>>>() else {
            return peer;
        };
        let number = |name: &str| match credentials.get(name) {
            Some(Variant::U32(number)) => Some(*number),
            _ => None,
        };
        let (uid, pid) = (number("UnixUserID"), number("ProcessID"));
        if pid.is_some_and(|pid| self.can_be_of_another(pid)) {
            return peer;
        }
        (peer.uid, peer.pid) = (uid, pid);
        if let Some(pid) = peer.pid {
            peer.process = self.processes.identify(pid);
            peer.comm = self.processes.comm(pid);
        }
        peer
    }

    /// Whether a process is not one of the user whose bus this is: such a bus lets nobody else in, and the user can
    /// have it say anything.
    fn can_be_of_another(&self, pid: u32) -> bool {
        match self.bus {
            Manager::System => false,
            Manager::User(owner) => {
                self.processes.look(pid).map_or(true, |process| process.uid != owner)
            }
        }
    }
}

/// One question to the bus itself; `None` where it has no answer in time.
async fn ask(
    connection: &Connection,
    method: &str,
    arguments: &(impl Serialize + DynamicType + Sync),
) -> Option<zbus::Message> {
    let bus = "org.freedesktop.DBus";
    let call =
        connection.call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), method, arguments);
    tokio::time::timeout(ASK_LIMIT, call).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;
    use zbus::Guid;
    use zbus::connection::Builder;

    use super::super::super::cgroups::Cgroups;
    use super::super::super::systemd::private_socket::PrivateSocket;
    use super::*;

    #[tokio::test]
    async fn a_users_bus_is_believed_of_that_users_processes() {
        let (ours, _) = UnixStream::pair().expect("a pair of sockets");
        let builder = Builder::authenticated_socket(PrivateSocket(ours), Guid::generate());
        let connection = builder.p2p().build().await.expect("a connection");
        let own = std::process::id();
        // SAFETY: it takes nothing and cannot fail.
        let uid = unsafe { libc::getuid() };
        for (bus, believed) in
            [(Manager::System, true), (Manager::User(uid), true), (Manager::User(uid + 1), false)]
        {
            let processes = Processes::at("/proc", Cgroups::of_mounts(""));
            let peers = Peers::new(connection.clone(), bus, processes);
            assert_eq!(!peers.can_be_of_another(own), believed, "{bus:?}");
        }
    }
}
