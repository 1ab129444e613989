//! What the eBPF programs log themselves, for whoever develops them: `KILLTRACE_LOG=killtrace=debug`.
//!
//! Off otherwise: the level is a constant to the verifier, which removes what would be logged.

use std::os::fd::BorrowedFd;

use aya_log::{EbpfLogger, Level};

use super::bpf;

/// Hands the programs' messages to `tracing`.
#[derive(Debug)]
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        is_on()
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(program = record.target(), "{}", record.args());
    }

    fn flush(&self) {}
}

/// The programs' log.
pub struct ProgramsLog(EbpfLogger<ToTracing>);

impl ProgramsLog {
    /// The log of a program that is loaded, where it is wanted and can be opened (CAP_SYS_ADMIN).
    pub fn of(program: BorrowedFd<'_>) -> Option<Self> {
        if !is_on() {
            return None;
        }
        let id = bpf::program_id(program).ok()?;
        match EbpfLogger::init_from_id_with_logger(id, ToTracing) {
            Ok(logger) => Some(Self(logger)),
            Err(error) => {
                tracing::debug!("the programs' own log cannot be read: {error}");
                None
            }
        }
    }

    /// Passes on what has come.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

fn is_on() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// What the programs log from, for the constant in the object.
pub fn level() -> u8 {
    if is_on() { Level::Debug as u8 } else { 0 }
}
