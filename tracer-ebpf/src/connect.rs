//! `security_unix_stream_connect`: who speaks to a service manager over its private socket, where no bus sees it, and to
//! the daemons behind containers.
//!
//! Called for every connection to a socket of `AF_UNIX`, once everything but a security module has agreed to
//! it. Of all others nothing more is read than where the listening socket was bound.

use aya_ebpf::{macros::fentry, programs::FEntryContext};
use killtrace_ebpf::{ConnectRecord, OF_SYSTEM, RING_WATERMARK, kind, listener};

use crate::{
    emit::{self, Wake},
    globals::{config, offset},
    memory::Address,
    pids, task,
};

/// Where PID 1 listens (`bus_init_private` in systemd's `src/core/dbus.c`).
const SYSTEM: [u8; 21] = *b"/run/systemd/private\0";
/// Where Docker's daemon does, by itself and by its `docker.socket`.
const DOCKER: [u8; 17] = *b"/run/docker.sock\0";
const DOCKER_BY_ITSELF: [u8; 21] = *b"/var/run/docker.sock\0";
/// Where Podman does, by its `podman.socket`.
const PODMAN: [u8; 24] = *b"/run/podman/podman.sock\0";
/// Where containerd does.
const CONTAINERD: [u8; 32] = *b"/run/containerd/containerd.sock\0";
/// Where what belongs to a user does, around the user id.
const RUNTIME: [u8; 10] = *b"/run/user/";
const PRIVATE_OF_USER: [u8; 17] = *b"/systemd/private\0";
const DOCKER_OF_USER: [u8; 13] = *b"/docker.sock\0";
const PODMAN_OF_USER: [u8; 20] = *b"/podman/podman.sock\0";

/// match-proto: security_unix_stream_connect(sock *sock, sock *other, sock *newsk)
#[fentry(function = "security_unix_stream_connect")]
pub fn security_unix_stream_connect(ctx: FEntryContext) -> i32 {
    let other = Address(ctx.arg(1));
    let name = other.follow(offset!(unix_addr)).add(offset!(unix_address_name));
    if let Some((listener, owner)) = listener_at(name.add(offset!(sockaddr_path)))
        && is_listening(listener, owner, other)
        // The tracer itself asks the managers about units.
        && pids::process(task::current()) != config!(tracer)
        && has_room()
        && let Some(mut entry) = emit::reserve::<ConnectRecord>()
    {
        entry.owner = owner;
        entry.listener = listener;
        task::describe(task::current(), &mut entry.task);
        task::describe_ancestors(task::current(), &mut entry.ancestors);
        // Who asks what is root's may be gone soon, and what it is can be looked up until then.
        entry.submit(if owner == OF_SYSTEM { Wake::Now } else { Wake::Later });
    }
    0
}

/// Whether there is room for what anybody can make any number of; where there is not, it is counted as lost.
#[inline(always)]
fn has_room() -> bool {
    let room = emit::waiting() < u64::from(RING_WATERMARK);
    if !room {
        emit::lost(kind::CONNECT as usize);
    }
    room
}

/// What listens at a path, and whose that is, by the path.
#[inline(always)]
fn listener_at(path: Address) -> Option<(u32, u32)> {
    let start: [u8; 32] = path.load(0);
    if !begins(&start, &RUNTIME) {
        let listener = if begins(&start, &SYSTEM) {
            listener::MANAGER
        } else if begins(&start, &DOCKER) || begins(&start, &DOCKER_BY_ITSELF) {
            listener::DOCKER
        } else if begins(&start, &PODMAN) {
            listener::PODMAN
        } else if begins(&start, &CONTAINERD) {
            listener::CONTAINERD
        } else {
            return None;
        };
        return Some((listener, OF_SYSTEM));
    }
    let (mut uid, mut end) = (0_u32, RUNTIME.len() as u32);
    for letter in &start[RUNTIME.len()..RUNTIME.len() + MAX_DIGITS] {
        if !letter.is_ascii_digit() {
            break;
        }
        uid = uid.wrapping_mul(10).wrapping_add(u32::from(letter - b'0'));
        end += 1;
    }
    let rest: [u8; 20] = path.load(end);
    let listener = if begins(&rest, &PRIVATE_OF_USER) {
        listener::MANAGER
    } else if begins(&rest, &DOCKER_OF_USER) {
        listener::DOCKER
    } else if begins(&rest, &PODMAN_OF_USER) {
        listener::PODMAN
    } else {
        return None;
    };
    Some((listener, uid))
}

/// Of a user id.
const MAX_DIGITS: usize = 11;

#[inline(always)]
fn begins(text: &[u8], start: &[u8]) -> bool {
    text.iter().zip(start).all(|(one, other)| one == other)
}

/// Whether it is that one itself that listens: in a mount namespace of one's own, anybody can at any path.
/// Who began to listen the kernel has noted (`init_peercred`); for what systemd starts when somebody connects, that is
/// the manager.
#[inline(always)]
fn is_listening(listener: u32, owner: u32, other: Address) -> bool {
    let pid = pids::of_own(other.follow(offset!(sock_peer_pid)));
    if listener == listener::MANAGER && owner == OF_SYSTEM {
        return pid == 1;
    }
    let user: u32 = other.follow(offset!(sock_peer_cred)).load(offset!(cred_euid));
    pid != pids::NONE && user == if owner == OF_SYSTEM { 0 } else { owner }
}
