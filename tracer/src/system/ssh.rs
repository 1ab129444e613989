//! Secure shell: on which ports it listens, and so which connections to watch.

use std::collections::BTreeSet;

use procfs::net::{self, TcpNetEntry, TcpState};

use super::processes::Processes;
use super::settings::Root;

/// The local ports of ssh connections: those that the configuration names, and those that a running sshd
/// listens on (it may have been started with `-p`, or with another file).
pub fn ports(root: &Root, processes: &Processes) -> Vec<u16> {
    let mut ports: BTreeSet<u16> = root.sshd_ports().into_iter().collect();
    let servers =
        processes.pids().into_iter().filter(|pid| processes.comm(*pid).as_deref() == Some("sshd"));
    let sockets: BTreeSet<u64> = servers.flat_map(|pid| processes.sockets(pid)).collect();
    if !sockets.is_empty() {
        ports.extend(listening(&sockets));
    }
    ports.into_iter().collect()
}

/// The ports of those listening sockets that are among the inodes; none where `/proc/net` is unreadable.
fn listening(sockets: &BTreeSet<u64>) -> impl Iterator<Item = u16> {
    let tables = [net::tcp(), net::tcp6()];
    tables
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry: &TcpNetEntry| {
            entry.state == TcpState::Listen && sockets.contains(&entry.inode)
        })
        .map(|entry| entry.local_address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cgroups::Cgroups;

    #[test]
    fn listening_ports_are_found_by_socket() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let own = Processes::new(Cgroups::detect()).sockets(std::process::id());
        let sockets: BTreeSet<u64> = own.into_iter().collect();
        assert!(listening(&sockets).any(|found| found == port));
        assert!(!listening(&BTreeSet::new()).any(|found| found == port));
    }
}
