//! The network connection of a login, and how it ended.

use std::net::{IpAddr, SocketAddr};

use super::{S, WINDOW};
use crate::evidence::{CgroupOwner, Exit, JournalLine, ProcessId, TcpChange, TcpState};
use crate::story::case::Case;
use crate::story::verdict::{Link, LinkEvent};
use crate::story::words;
use crate::story::world::Seen;

/// Errors of `include/uapi/asm-generic/errno.h` that end a connection.
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;

/// The other end of a login's connection by what sshd logged at its end: `Received disconnect from 203.0.113.5 port
/// 44368:11: …`, `Disconnected from user alice 203.0.113.5 port 44368`.
pub fn peer_in(said: &[&Seen<JournalLine>]) -> Option<String> {
    said.iter().find_map(|line| {
        let (before, after) = line.value.message.split_once(" port ")?;
        let address: IpAddr = before.rsplit(' ').next()?.parse().ok()?;
        let port: u16 = after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(SocketAddr::new(address, port).to_string())
    })
}

/// The other end of the login's connection: from the unit's own name (`sshd@0-LOCAL-REMOTE.service`),
/// or from `SSH_CONNECTION` of whoever lived there. Without a unit it is the victim's own login.
///
/// Whoever has that variable can give it any value: what sshd itself started is believed first, then the nearest to that of
/// the victim and its parents, and others only where all of them say the same.
pub fn peer(case: &Case<'_>, unit: &str, session: Option<&str>) -> Option<String> {
    if let Some(instance) = unit.split_once('@').and_then(|(_, rest)| rest.strip_suffix(".service"))
        && let Some((_, remote)) = instance.rsplit_once('-')
        && remote.contains(':')
    {
        return Some(remote.to_owned());
    }
    let people = &case.world.people;
    // Of another login's end its own says nothing: a user's manager runs on from one to the next.
    let is_of_login = unit.is_empty() || case.placement.unit.as_deref() == Some(unit);
    let own = std::iter::once(case.victim).chain(people.parents(case.victim));
    let own = own.filter(|_| is_of_login);
    let others = people.iter().filter(|(_, known)| {
        let owner = known.cgroup.as_deref().map(CgroupOwner::of);
        owner.is_some_and(|owner| {
            owner.unit.as_deref() == Some(unit)
                && (session.is_none() || owner.session.as_deref() == session)
        })
    });
    let own: Vec<ProcessId> = own.collect();
    let others: Vec<ProcessId> = others.map(|(id, _)| id).collect();
    let said = |id: &ProcessId| {
        let variable = people.get(*id)?.environment.get("SSH_CONNECTION")?;
        let mut parts = variable.split(' ');
        let (host, port) = (parts.next()?, parts.next()?);
        Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    };
    let all = || own.iter().chain(&others);
    let let_in = only(all().filter(|id| is_let_in(case, **id)).filter_map(said));
    let_in
        .or_else(|| own.iter().rev().find_map(said))
        .or_else(|| only(others.iter().filter_map(said)))
}

/// What all of them say.
fn only(mut said: impl Iterator<Item = String>) -> Option<String> {
    let first = said.next()?;
    said.all(|other| other == first).then_some(first)
}

/// Whether sshd itself had started a process for the user whom it let in: its parent is one of sshd's that root's sshd had
/// started, or is root's.
fn is_let_in(case: &Case<'_>, id: ProcessId) -> bool {
    let people = &case.world.people;
    let is_sshd = |id: &ProcessId, of_root: bool| {
        people.get(*id).is_some_and(|known| {
            let named = known.comm.as_ref().is_some_and(|comm| comm.starts_with("sshd"));
            named && (!of_root || known.uid == Some(0))
        })
    };
    let parents = people.parents(id);
    let above = |at: usize, of_root| parents.get(at).is_some_and(|id| is_sshd(id, of_root));
    !is_sshd(&id, false) && above(0, false) && (above(0, true) || above(1, true))
}

/// Whether a connection left `ESTABLISHED` by this change, not long before that time.
fn left(change: &Seen<TcpChange>, began_ns: u64) -> bool {
    change.value.from == TcpState::Established
        && change.ns() <= began_ns
        && change.ns() + WINDOW >= began_ns
}

/// The change by which the connection to this address did.
pub fn of_peer<'a>(case: &Case<'a>, peer: &str, began_ns: u64) -> Option<&'a Seen<TcpChange>> {
    let mut changes = case.world.tcp.iter().filter(|change| left(change, began_ns));
    changes.find(|change| change.value.remote.to_string() == peer)
}

/// The change of state by which the connection left `ESTABLISHED`.
pub fn connection<'a>(
    case: &Case<'a>,
    peer: Option<&str>,
    sshd: &[&Seen<Exit>],
    began_ns: u64,
) -> Option<&'a Seen<TcpChange>> {
    let found = peer.and_then(|peer| of_peer(case, peer, began_ns));
    if found.is_some() {
        return found;
    }
    let left = |change: &&Seen<TcpChange>| left(change, began_ns);
    // The address is not known: a connection that this login's own sshd closed, or the only one there was.
    let by_sshd = case
        .world
        .tcp
        .iter()
        .filter(left)
        .find(|change| sshd.iter().any(|exit| exit.value.task.id == change.value.task.id));
    by_sshd.or_else(|| {
        let mut all = case.world.tcp.iter().filter(left).filter(|change| {
            sshd.first()
                .is_some_and(|exit| change.ns() <= exit.ns() && change.ns() + 2 * S >= exit.ns())
        });
        match (all.next(), all.next()) {
            (Some(only), None) if peer.is_none() => Some(only),
            _ => None,
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Peer,
    Reset,
    TimedOut,
    /// By a process here that has the right to, as `ss -K` (`tcp_abort` in `net/ipv4/tcp.c`).
    Aborted,
    Here,
}

pub fn said(change: &TcpChange) -> Ended {
    match (change.to, change.error) {
        (_, ECONNRESET) => Ended::Reset,
        (_, ETIMEDOUT) => Ended::TimedOut,
        (_, ECONNABORTED) => Ended::Aborted,
        (TcpState::CloseWait, _) => Ended::Peer,
        _ => Ended::Here,
    }
}

pub fn tcp_link(case: &Case<'_>, tcp: &Seen<TcpChange>) -> Link {
    let remote = tcp.value.remote;
    let (text, actor) = match said(&tcp.value) {
        Ended::Peer => (format!("{remote} closed the connection (FIN)"), None),
        Ended::Reset => (format!("{remote} reset the connection (RST)"), None),
        Ended::TimedOut => (format!("the connection to {remote} timed out"), None),
        how @ (Ended::Aborted | Ended::Here) => {
            let actor = case.task(&tcp.value.task);
            let name = words::name_pid(&actor);
            let did = if how == Ended::Here { "closed" } else { "destroyed" };
            (format!("{name} {did} the connection to {remote}"), Some(actor))
        }
    };
    case.link(tcp.at, LinkEvent::TcpClosed, tcp.source, actor, text)
}
