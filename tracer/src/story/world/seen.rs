//! What was learned, with when and from where it was.

use std::collections::VecDeque;
use std::sync::Arc;

use super::KEPT;
use crate::evidence::{BusCall, Manager, Moment, SignalSent, Source};

/// A value with when and from where it was learned.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// When it happened.
    pub at: Moment,
    /// Where it comes from.
    pub source: Source,
    /// What was learned.
    pub value: T,
}

/// A signal that was seen. Shared with the evidence itself: in a flood, copying is what costs.
pub type SeenSignal = Seen<Arc<SignalSent>>;

impl<T> Seen<T> {
    /// `CLOCK_BOOTTIME` of it, nanoseconds.
    pub const fn ns(&self) -> u64 {
        possible(self.at.boot_ns)
    }
}

impl Seen<BusCall> {
    /// When the call began to have an effect, as far as is known: polkit may have asked for a password first.
    pub fn granted_ns(&self) -> u64 {
        self.value.granted_ns.map_or_else(|| self.ns(), possible)
    }

    /// Whether it had no answer by now, though whoever is asked answers at once: nothing came of it, or not yet, as
    /// where polkit asks for a password. Not where no answer was wanted: root's calls are granted.
    pub fn is_open(&self) -> bool {
        let call = &self.value;
        let unasked = || call.bus != Manager::System || call.sender.uid == Some(0);
        call.granted_ns.is_none() && !(call.no_reply && unasked())
    }
}

/// A time that a clock can show: what a recording makes up beyond that would overflow where a span is added to it.
const fn possible(boot_ns: u64) -> u64 {
    const LATEST: u64 = u64::MAX / 2;
    if boot_ns < LATEST { boot_ns } else { LATEST }
}

/// A bounded list in order of arrival.
#[derive(Debug)]
pub struct Recent<T>(pub(super) VecDeque<Seen<T>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Recent<T> {
    pub(super) fn push(&mut self, at: Moment, source: Source, value: T) {
        self.push_out(at, source, value);
    }

    /// Adds one; returns the oldest, where there was no room for it any more.
    pub(super) fn push_out(&mut self, at: Moment, source: Source, value: T) -> Option<Seen<T>> {
        let oldest = if self.0.len() == KEPT { self.0.pop_front() } else { None };
        self.0.push_back(Seen { at, source, value });
        oldest
    }

    /// Forgets the others.
    pub(super) fn retain(&mut self, is_kept: impl FnMut(&Seen<T>) -> bool) {
        self.0.retain(is_kept);
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Seen<T>> {
        self.0.iter()
    }
}
