//! `security_unix_stream_connect`: who speaks to a service manager over its private socket, where no bus sees it.
//!
//! Called for every connection to a socket of `AF_UNIX`, once everything but a security module has agreed to
//! it. Of all but a service manager's nothing more is read than where the listening socket was bound.

use aya_ebpf::{macros::fentry, programs::FEntryContext};
use killtrace_ebpf::{ConnectRecord, RING_WATERMARK, SYSTEM_MANAGER, kind};

use crate::{
    emit::{self, Wake},
    globals::{config, offset},
    memory::Address,
    pids, task,
};

/// Where PID 1 listens (`bus_init_private` in systemd's `src/core/dbus.c`).
const SYSTEM: [u8; 21] = *b"/run/systemd/private\0";
/// Where a user's manager does, around the user id.
const RUNTIME: [u8; 10] = *b"/run/user/";
const PRIVATE: [u8; 17] = *b"/systemd/private\0";

/// match-proto: security_unix_stream_connect(sock *sock, sock *other, sock *newsk)
#[fentry(function = "security_unix_stream_connect")]
pub fn security_unix_stream_connect(ctx: FEntryContext) -> i32 {
    let listener = Address(ctx.arg(1));
    let name = listener.follow(offset!(unix_addr)).add(offset!(unix_address_name));
    if let Some(manager) = manager_at(name.add(offset!(sockaddr_path)))
        && is_listening(manager, listener)
        // The tracer itself asks the managers about units.
        && pids::process(task::current()) != config!(tracer)
        && has_room()
        && let Some(mut entry) = emit::reserve::<ConnectRecord>()
    {
        entry.manager = manager;
        task::describe(task::current(), &mut entry.task);
        task::describe_ancestors(task::current(), &mut entry.ancestors);
        // Who asks PID 1 may be gone soon, and what it is can be looked up until then.
        entry.submit(if manager == SYSTEM_MANAGER { Wake::Now } else { Wake::Later });
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

/// Whose manager listens at a path, by the path.
#[inline(always)]
fn manager_at(path: Address) -> Option<u32> {
    let start: [u8; 21] = path.load(0);
    if begins(&start, &SYSTEM) {
        return Some(SYSTEM_MANAGER);
    }
    if !begins(&start, &RUNTIME) {
        return None;
    }
    let (mut uid, mut end) = (0_u32, RUNTIME.len() as u32);
    for letter in &start[RUNTIME.len()..] {
        if !letter.is_ascii_digit() {
            break;
        }
        uid = uid.wrapping_mul(10).wrapping_add(u32::from(letter - b'0'));
        end += 1;
    }
    let rest: [u8; 17] = path.load(end);
    begins(&rest, &PRIVATE).then_some(uid)
}

#[inline(always)]
fn begins(text: &[u8], start: &[u8]) -> bool {
    text.iter().zip(start).all(|(one, other)| one == other)
}

/// Whether it is that manager itself that listens: in a mount namespace of one's own, anybody can at any path.
/// Who began to listen the kernel has noted (`init_peercred`).
#[inline(always)]
fn is_listening(manager: u32, listener: Address) -> bool {
    let pid = pids::of_own(listener.follow(offset!(sock_peer_pid)));
    if manager == SYSTEM_MANAGER {
        return pid == 1;
    }
    let user: u32 = listener.follow(offset!(sock_peer_cred)).load(offset!(cred_euid));
    pid != pids::NONE && user == manager
}
