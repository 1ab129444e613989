//! Secure shell: on which ports it listens, and so which connections to watch.

use std::collections::BTreeSet;
use std::fs;

use super::processes::Processes;
use super::settings::Root;

/// State of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// The local ports of ssh connections: those that the configuration names, and those that a running sshd
/// listens on (it may have been started with `-p`, or with another file).
pub fn ports(root: &Root, processes: &Processes) -> Vec<u16> {
    let mut ports: BTreeSet<u16> = root.sshd_ports().into_iter().collect();
    let servers =
        processes.pids().into_iter().filter(|pid| processes.comm(*pid).as_deref() == Some("sshd"));
    let sockets: BTreeSet<u64> = servers.flat_map(|pid| processes.sockets(pid)).collect();
    if !sockets.is_empty() {
        for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let table = fs::read_to_string(file).unwrap_or_default();
            ports.extend(listening(&table, &sockets));
        }
    }
    ports.into_iter().collect()
}

/// The ports of those listening sockets of the table that are among the inodes (proc_net_tcp.rst).
fn listening<'t>(table: &'t str, sockets: &'t BTreeSet<u64>) -> impl Iterator<Item = u16> + 't {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens =
            fields.get(3) == Some(&LISTEN) && sockets.contains(&fields.get(9)?.parse().ok()?);
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        if listens { u16::from_str_radix(port, 16).ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_are_found_by_socket() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n\
            1: 0100007F:0016 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n\
            2: 0100007F:0017 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 x\n";
        let sockets = BTreeSet::from([4711, 4712]);
        assert_eq!(listening(table, &sockets).collect::<Vec<_>>(), [2222]);
    }
}
