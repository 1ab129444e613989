//! Folds storms: many of the same signal between the same two become one line with a count.

use std::collections::HashMap;

use crate::evidence::{Mechanism, Process, SignalResult};
use crate::story::verdict::SignalRecord;

/// How many of the same are shown in a window before the rest is counted only.
const SHOWN: u64 = 3;
/// Length of a window, nanoseconds of `CLOCK_BOOTTIME`.
const WINDOW_NS: u64 = 1_000_000_000;
/// How many pairs are watched at once; beyond that the eldest are let go.
const MAX_RUNS: usize = 256;

/// What makes two signals the same.
type Key = (Option<(u32, Option<u64>)>, (u32, Option<u64>), u8, SignalResult, Mechanism);

/// Signals of one kind in one window.
#[derive(Debug)]
struct Run {
    begun_ns: u64,
    seen: u64,
    /// The last one that was not shown, counting in `repeated` those before it that were not.
    hidden: Option<SignalRecord>,
}

/// What is being folded.
#[derive(Debug, Default)]
pub struct Fold {
    runs: HashMap<Key, Run>,
}

/// What to show for a signal: a count that is due, then the signal itself.
#[derive(Debug, Default)]
pub struct Folded {
    /// Those left out before, as one record: `repeated` more than itself.
    pub due: Vec<SignalRecord>,
    /// Whether to show this signal.
    pub show: bool,
}

impl Fold {
    /// Takes a signal in and says what to show.
    pub fn take(&mut self, record: &SignalRecord) -> Folded {
        let now = record.at.boot_ns;
        let mut folded = Folded { due: Vec::new(), show: true };
        if self.runs.len() >= MAX_RUNS {
            folded.due = self.drain();
        }
        let fresh = || Run { begun_ns: now, seen: 0, hidden: None };
        let run = self.runs.entry(key(record)).or_insert_with(fresh);
        if now.saturating_sub(run.begun_ns) >= WINDOW_NS {
            folded.due.extend(run.hidden.take());
            *run = fresh();
        }
        run.seen += 1;
        if run.seen > SHOWN {
            let before = run.hidden.as_ref().map_or(0, |hidden| hidden.repeated.saturating_add(1));
            let mut hidden = record.clone();
            hidden.repeated = hidden.repeated.saturating_add(before);
            run.hidden = Some(hidden);
            folded.show = false;
        } else {
            // What is shown stands in order of time: what was left out before it comes first.
            folded.due.extend(self.runs.values_mut().filter_map(|run| run.hidden.take()));
        }
        in_order(&mut folded.due);
        folded
    }

    /// Ends every run; gives what was left out, in order of time.
    pub fn drain(&mut self) -> Vec<SignalRecord> {
        let mut due: Vec<_> = self.runs.drain().filter_map(|(_, run)| run.hidden).collect();
        in_order(&mut due);
        due
    }
}

fn in_order(records: &mut [SignalRecord]) {
    records.sort_by_key(|record| (record.at.boot_ns, record.target.pid, record.signal.number));
}

fn key(record: &SignalRecord) -> Key {
    let id = |process: &Process| (process.pid, process.start_ns);
    let signal = &record.signal;
    (
        record.sender.as_ref().map(id),
        id(&record.target),
        signal.number,
        signal.result,
        signal.mechanism,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn at(ms: u64) -> SignalRecord {
        let mut record = samples::signal();
        record.at.boot_ns = ms * 1_000_000;
        record
    }

    #[test]
    fn a_few_are_shown_and_a_storm_is_counted() {
        let mut fold = Fold::default();
        let shown = (0..1000).filter(|ms| fold.take(&at(*ms)).show).count();
        assert_eq!(shown, 3);
        let next = fold.take(&at(1000));
        assert!(next.show);
        assert_eq!(next.due.iter().map(|record| record.repeated + 1).sum::<u64>(), 997);
        assert!(fold.drain().is_empty(), "all were accounted for");
    }

    #[test]
    fn others_are_not_mixed_in_and_none_is_forgotten() {
        let mut fold = Fold::default();
        let mut shown = 0;
        let mut due = 0;
        for pid in 0..2000u32 {
            for _ in 0..5 {
                let mut record = at(u64::from(pid));
                record.target.pid = pid;
                record.repeated = 1;
                let folded = fold.take(&record);
                shown += u64::from(folded.show) * 2;
                due += folded.due.iter().map(|record| record.repeated + 1).sum::<u64>();
            }
            assert!(fold.runs.len() <= MAX_RUNS);
        }
        due += fold.drain().iter().map(|record| record.repeated + 1).sum::<u64>();
        assert_eq!(shown + due, 2000 * 5 * 2);
        // Letting runs go may show a few more of the pair at hand.
        assert!((12_000..12_100).contains(&shown), "{shown}");
    }
}
