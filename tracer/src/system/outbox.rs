//! Where every witness hands in what it learned.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc::UnboundedSender;

use super::clock;
use super::context::lock;
use crate::evidence::{Evidence, Fact, LossPlace, Lost, Moment, Source, Unavailable};

/// How many different statements are remembered as said; beyond that they may be repeated.
const MAX_SAID: usize = 1 << 16;

/// Sends evidence to the trace, and says what need not be repeated only once.
#[derive(Clone, Debug)]
pub struct Outbox {
    sender: UnboundedSender<Evidence>,
    said: Arc<Mutex<HashSet<u64>>>,
}

impl Outbox {
    /// An outbox in front of the channel of the trace.
    pub fn new(sender: UnboundedSender<Evidence>) -> Self {
        Self { sender, said: Arc::default() }
    }

    /// Hands in a fact learned just now.
    pub fn say(&self, source: Source, fact: Fact) {
        self.say_at(clock::now(), source, fact);
    }

    /// Hands in a fact of a known time. After the end of the trace nobody listens; that is no error.
    pub fn say_at(&self, at: Moment, source: Source, fact: Fact) {
        let _ = self.sender.send(fact.at(at, source));
    }

    /// Whether this is the first time that something is said under this key.
    pub fn first_time(&self, key: impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let mut said = self.said();
        if said.len() >= MAX_SAID {
            said.clear();
        }
        said.insert(hasher.finish())
    }

    /// Says once that something could not be found out.
    pub fn unavailable(&self, what: impl Into<String>, why: impl Into<String>) {
        let unavailable = Unavailable { what: what.into(), why: why.into() };
        if self.first_time(("unavailable", &unavailable.what)) {
            self.say(Source::Tracer, Fact::Unavailable(unavailable));
        }
    }

    /// Says that events were lost; `dropped` is 0 where it cannot be known how many.
    pub fn lost(&self, place: LossPlace, dropped: u64, detail: impl Into<String>) {
        let detail = Some(detail.into());
        self.say(Source::Tracer, Fact::Lost(Lost { dropped, place, detail }));
    }

    fn said(&self) -> MutexGuard<'_, HashSet<u64>> {
        lock(&self.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_once() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let outbox = Outbox::new(sender);
        outbox.unavailable("journal", "no journalctl");
        outbox.unavailable("journal", "no journalctl, again");
        outbox.unavailable("bus", "no socket");
        let mut what = Vec::new();
        while let Ok(evidence) = receiver.try_recv() {
            if let Fact::Unavailable(unavailable) = evidence.fact {
                what.push(unavailable.what);
            }
        }
        assert_eq!(what, ["journal", "bus"]);
    }
}
