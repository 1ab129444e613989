//! Once at the start, and after events were lost: are the targets still there? The end of one may have been missed.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::evidence::{Fact, ProcessId};

/// Between a loss and the first look, and between that and the second: an end that was not lost comes meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// Who was looked for, and when the next look is due.
#[derive(Debug, Default)]
pub struct RollCall {
    due: Option<Instant>,
    absent: HashSet<ProcessId>,
    /// Whom alone to look for; `None`: everybody.
    only: Option<HashSet<ProcessId>>,
}

impl RollCall {
    /// With a first look due for these: who was found as a target may have ended before the hooks were in place.
    pub fn starting(now: Instant, found: impl Iterator<Item = ProcessId>) -> Self {
        Self { due: Some(now + PAUSE), only: Some(found.collect()), ..Self::default() }
    }

    /// Takes note of a loss in the kernel.
    pub fn consider(&mut self, fact: &Fact, now: Instant) {
        if let Fact::Lost(lost) = fact
            && lost.place.is_in_kernel()
        {
            self.due.get_or_insert(now + PAUSE);
            self.only = None;
        }
    }

    /// Whether a look is due before anything else happens.
    pub const fn waits(&self) -> bool {
        self.due.is_some()
    }

    /// Those among the living who were not there twice in a row, where a look is due.
    pub fn gone(
        &mut self,
        now: Instant,
        alive: impl Iterator<Item = ProcessId>,
        is_gone: impl Fn(ProcessId) -> bool,
    ) -> Vec<ProcessId> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let before = std::mem::take(&mut self.absent);
        let wanted = |id: &ProcessId| self.only.as_ref().is_none_or(|only| only.contains(id));
        let absent = alive.filter(wanted).filter(|id| is_gone(*id));
        let (twice, once): (Vec<_>, Vec<_>) = absent.partition(|id| before.contains(id));
        self.due = (!once.is_empty()).then(|| now + PAUSE);
        self.absent = once.into_iter().collect();
        twice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{LossPlace, Lost};

    const ONE: ProcessId = ProcessId { pid: 1, start_ns: 10_000_000 };
    const TWO: ProcessId = ProcessId { pid: 2, start_ns: 20_000_000 };

    #[test]
    fn who_was_gone_before_the_hooks_were_there_is_gone() {
        let start = Instant::now();
        let mut roll = RollCall::starting(start, [ONE].into_iter());
        let look = |roll: &mut RollCall, seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            roll.gone(now, [ONE, TWO].into_iter(), |_| true)
        };
        assert_eq!(look(&mut roll, 1), []);
        assert_eq!(look(&mut roll, 2), [ONE]);
        assert!(!roll.waits());
    }

    #[test]
    fn who_is_absent_twice_after_a_loss_is_gone() {
        let start = Instant::now();
        let mut roll = RollCall::default();
        let look = |roll: &mut RollCall, seconds: u64, absent: &[ProcessId]| {
            let now = start + Duration::from_secs(seconds);
            roll.gone(now, [ONE, TWO].into_iter(), |id| absent.contains(&id))
        };
        assert_eq!(look(&mut roll, 0, &[ONE]), [], "nothing was lost");
        let lost = |place| Fact::Lost(Lost { dropped: 1, place, detail: None });
        roll.consider(&lost(LossPlace::Journal), start);
        assert_eq!(look(&mut roll, 5, &[ONE]), [], "the journal tells of no ends");
        roll.consider(&lost(LossPlace::RingBuffer), start + Duration::from_secs(10));
        assert_eq!(look(&mut roll, 10, &[ONE]), [], "too soon");
        assert_eq!(look(&mut roll, 11, &[ONE]), []);
        assert_eq!(look(&mut roll, 12, &[ONE, TWO]), [ONE]);
        assert_eq!(look(&mut roll, 13, &[TWO]), [TWO]);
        assert_eq!(look(&mut roll, 14, &[]), []);
        assert_eq!(look(&mut roll, 20, &[ONE]), [], "nothing was lost since");
    }
}
