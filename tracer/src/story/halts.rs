//! Signals that had stopped a process: until SIGCONT comes it does nothing, takes no signal but SIGKILL, and lets time limits
//! run out.

use super::actor::Actor;
use super::case::Case;
use super::patience::reached;
use super::verdict::{Link, LinkEvent};
use super::world::{SeenSignal, World};
use super::{mechanism, relay, signals, units, words};
use crate::evidence::{Disposition, ProcessId, S, SignalSent, sig, signal_name};

/// A process that was stopped when something was waited for that it was to do.
#[derive(Clone, Copy, Debug)]
pub struct Halt<'a> {
    id: ProcessId,
    signal: &'a SeenSignal,
    until_ns: u64,
}

impl<'a> Halt<'a> {
    /// The first of these that was stopped at that time.
    pub fn of(
        case: &Case<'a>,
        ids: impl IntoIterator<Item = ProcessId>,
        until_ns: u64,
    ) -> Option<Self> {
        let halted =
            |id| Some(Self { id, signal: stopped_at(case.world, id, until_ns)?, until_ns });
        ids.into_iter().find_map(halted)
    }

    /// How it reads, after a space.
    pub fn sentence(&self, case: &Case<'_>) -> String {
        let who = if self.id == case.victim {
            case.victim_name()
        } else {
            format!("The unit's main process {}", words::name_pid(&case.process(self.id)))
        };
        format!(
            " {who} was stopped then, and could do nothing: {} before, it had got {} from {}.",
            words::span(self.until_ns.saturating_sub(self.signal.ns())),
            signal_name(self.signal.value.number),
            relay::from(case, self.signal, mechanism::of(&self.signal.value), ""),
        )
    }

    /// Whether these tell of the signal.
    pub fn is_told(&self, links: &[Link]) -> bool {
        links.iter().any(|link| link.event == LinkEvent::Signal && link.at == self.signal.at)
    }

    /// Who stopped it, and the signal.
    pub fn links(&self, case: &Case<'_>) -> Vec<Link> {
        let mechanism = mechanism::of(&self.signal.value);
        let sender = signals::originator(&self.signal.value, mechanism).1;
        let actor = sender.map(|task| Actor::behind_at(case, task.id, self.signal.ns()));
        let ran = actor.iter().flat_map(|actor| units::command_links(case, actor));
        ran.chain([case.signal_link(self.signal, mechanism)]).collect()
    }
}

/// The signal by which a process was stopped at this time, as far as the signals tell: nothing had let it go on by then, and
/// no event was lost since, which may have been that.
pub fn stopped_at(world: &World, id: ProcessId, ns: u64) -> Option<&SeenSignal> {
    let mut before = world.signals_to(id).iter().rev().filter(|seen| seen.ns() <= ns);
    let newest = before.find(|seen| seen.value.number == sig::SIGCONT || stops(&seen.value))?;
    let is_heard = !world.losses.iter().any(|loss| {
        let since = newest.ns()..=ns.saturating_add(S);
        loss.value.dropped > 0 && loss.value.place.is_in_kernel() && since.contains(&loss.ns())
    });
    (newest.value.number != sig::SIGCONT && is_heard).then_some(newest)
}

/// Whether a signal stopped the process that it was sent to.
fn stops(signal: &SignalSent) -> bool {
    let has_effect = || {
        signal.number == sig::SIGSTOP
            || signal.disposition == Some(Disposition::Default) && !signal.blocked
    };
    // A tracer (gdb, gcore) lets it go on without a signal.
    sig::STOPS.contains(&signal.number) && !signal.ptraced && reached(signal) && has_effect()
}
