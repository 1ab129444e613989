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
    /// SIGHUP.
    pub hangup: Signal,
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
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for one of two.
pub async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
