//! What ended the process whose end led to this one: one step further up the chain.

use super::case::Case;
use super::decide::{self, Blow};
use super::ending::exit_link;
use super::signals;
use super::verdict::Link;
use super::words;
use super::world::Seen;
use crate::evidence::{Exit, Moment, ProcessId, signal_name};

/// The end of another process, told as something that led to this case.
#[derive(Debug)]
pub struct End<'a> {
    exit: &'a Seen<Exit>,
    blow: Option<Blow<'a>>,
}

impl<'a> End<'a> {
    /// The end of a process, where it was seen.
    pub fn of(case: &Case<'a>, id: ProcessId) -> Option<Self> {
        let exit = case.world.exit_of(id)?;
        Some(Self { exit, blow: decide::decide(case.world, exit) })
    }

    /// When it ended, `CLOCK_BOOTTIME` nanoseconds.
    pub const fn ns(&self) -> u64 {
        self.exit.ns()
    }

    /// Its links: the signal that ended it, where one did, and the end itself. None is later than
    /// what it led to.
    pub fn links(&self, case: &Case<'a>, effect: Moment) -> Vec<Link> {
        let struck = self.blow.map(|blow| case.signal_link(blow.signal, blow.mechanism));
        let mut links: Vec<Link> = struck.into_iter().chain([exit_link(case, self.exit)]).collect();
        for link in &mut links {
            link.at = link.at.no_later_than(effect);
        }
        links
    }

    /// Who had ended it, as a clause that follows its name: ` (which kill[90] had sent SIGKILL)`; empty
    /// where nobody had.
    pub fn by_whom(&self, case: &Case<'_>) -> String {
        let Some(blow) = self.blow else { return String::new() };
        let signal = signal_name(blow.signal.value.number);
        let (_, originator) = signals::originator(&blow.signal.value, blow.mechanism);
        if signals::is_kernels_own(blow.mechanism) {
            return format!(" (to which the kernel had sent {signal})");
        }
        match originator {
            Some(task) if task.id != self.exit.value.task.id => {
                format!(" (to which {} had sent {signal})", words::name_pid(&case.task(task)))
            }
            _ => String::new(),
        }
    }
}
