//! The signals that end a trace.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::Failure;

/// The signals that end a trace in order. Caught before anybody is told that it has begun.
pub struct Stops {
    /// `Ctrl-C`.
    pub interrupt: Signal,
    /// `Ctrl-\`.
    pub quit: Signal,
    /// SIGTERM.
    pub terminate: Signal,
    /// SIGHUP; `None` where it was ignored before this program began, as nohup(1) has it.
    pub hangup: Option<Signal>,
}

impl Stops {
    /// Catches them from now on.
    ///
    /// # Errors
    /// Where a handler cannot be set.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if is_ignored(libc::SIGHUP) {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
        })
    }
}

/// Whether a signal is ignored now.
fn is_ignored(number: libc::c_int) -> bool {
    // SAFETY: a structure of integers and a set of bits, for all of which zero is a valid value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set; the structure is valid for writes for the call.
    let told = unsafe { libc::sigaction(number, std::ptr::null(), &raw mut now) } == 0;
    told && now.sa_sigaction == libc::SIG_IGN
}

/// Waits for one, for ever where there is none.
pub async fn perhaps(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Waits for one of two.
pub async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
