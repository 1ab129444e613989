//! `inet_sock_set_state`: the end of a connection on a watched port.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{TcpRecord, mode};

use crate::{
    emit::{self, Wake},
    globals::{PORTS, modes, offset, present},
    memory::Address,
    task,
};

/// `TCP_ESTABLISHED`
const ESTABLISHED: u32 = 1;
/// `TCP_FIN_WAIT1`
const FIN_WAIT1: u32 = 4;
/// `TCP_CLOSE`
const CLOSE: u32 = 7;
/// `TCP_CLOSE_WAIT`
const CLOSE_WAIT: u32 = 8;
/// `TCP_LAST_ACK`
const LAST_ACK: u32 = 9;
const IPPROTO_TCP: u16 = 6;
const AF_INET6: u16 = 10;

/// match-proto: inet_sock_set_state(const sock *sk, const int oldstate, const int newstate)
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    if modes() & mode::PORTS == 0 {
        return 0;
    }
    let (old, new) = (ctx.arg::<u32>(1), ctx.arg::<u32>(2));
    if old != ESTABLISHED && !matches!(new, FIN_WAIT1 | CLOSE | CLOSE_WAIT | LAST_ACK) {
        return 0;
    }
    let socket = Address(ctx.arg(0));
    let port = u32::from(u16::from_be(socket.load(offset!(sock_local_port))));
    if PORTS.get_ptr(port).is_some() && socket.load::<u16>(offset!(sock_protocol)) == IPPROTO_TCP {
        record(socket, old, new, port);
    }
    0
}

/// Makes the record.
#[inline(always)]
fn record(socket: Address, old: u32, new: u32, port: u32) {
    let Some(mut entry) = emit::reserve::<TcpRecord>() else { return };
    let family: u16 = socket.load(offset!(sock_family));
    entry.family = u32::from(family);
    entry.old_state = old;
    entry.new_state = new;
    entry.error = socket.load(offset!(sock_err));
    entry.local_port = port;
    entry.remote_port = u32::from(u16::from_be(socket.load(offset!(sock_remote_port))));
    if family == AF_INET6 && present!(sock_local_v6) && present!(sock_remote_v6) {
        entry.local = socket.load(offset!(sock_local_v6));
        entry.remote = socket.load(offset!(sock_remote_v6));
    } else {
        let local: [u8; 4] = socket.load(offset!(sock_local_v4));
        let remote: [u8; 4] = socket.load(offset!(sock_remote_v4));
        [entry.local[0], entry.local[1], entry.local[2], entry.local[3]] = local;
        [entry.remote[0], entry.remote[1], entry.remote[2], entry.remote[3]] = remote;
    }
    task::describe(task::current(), &mut entry.task);
    entry.submit(Wake::Later);
}
