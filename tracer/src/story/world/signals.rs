//! Every signal that was seen, by whom it was sent to and by who sent it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use super::{KEPT, Seen, SeenSignal, Steady};
use crate::evidence::{Moment, ProcessId, S, SignalSent, Source};
use crate::story::newborn::Newborns;

/// How many signals of one process are kept at most: the first and the newest, which can be to blame.
const SIGNALS_PER_PROCESS: usize = 256;

/// Signals, as many as are kept.
#[derive(Debug, Default)]
pub struct Signals {
    /// By the process they were sent to, each list in order of time.
    to: Steady<ProcessId, Vec<SeenSignal>>,
    /// Whom each process has signalled, those among them of whom the signals are forgotten, too.
    signalled_by: Steady<ProcessId, HashSet<ProcessId, BuildHasherDefault<DefaultHasher>>>,
    /// How many were added to [`Self::signalled_by`] since the forgotten ones were last left out.
    signalled_anew: usize,
    /// Processes of which nothing more is to be told, oldest first; at most [`KEPT`].
    retired: VecDeque<ProcessId>,
    /// How many fell out of [`Self::to`], by process.
    dropped: HashMap<ProcessId, u64>,
    newborns: Newborns,
}

impl Signals {
    /// Takes in one signal.
    pub fn add(&mut self, at: Moment, source: Source, signal: &Arc<SignalSent>) {
        let target = signal.target.id;
        let seen = Seen { at, source, value: Arc::clone(signal) };
        let list = self.to.entry(target).or_default();
        // They are heard of in the order of time, but for a few that come from several processors at once.
        let place = list.len() - list.iter().rev().take_while(|it| it.ns() > seen.ns()).count();
        list.insert(place, seen.clone());
        if Newborns::concerns(signal) {
            self.newborns.observe(&seen, &mut self.to);
        }
        // Of a newborn it may be another by now.
        let sender = self.to(target).get(place).map(|own| own.value.sender.id);
        let new = self.signalled_by.entry(sender.unwrap_or(signal.sender.id)).or_default();
        self.signalled_anew += usize::from(new.insert(target));
        if let Some(list) = self.to.get_mut(&target).filter(|it| it.len() > SIGNALS_PER_PROCESS) {
            // A storm: what came first and what came last can decide, the middle cannot. Many at a time:
            // what is behind them has to be moved.
            let middle = SIGNALS_PER_PROCESS / 4..SIGNALS_PER_PROCESS * 3 / 4;
            *self.dropped.entry(target).or_default() += middle.len() as u64;
            list.drain(middle);
        }
    }

    /// Keeps of a process of which nothing more is to be told what others may have ended for, as long as its end is kept:
    /// the signals to it, without the middle of many.
    pub fn retire(&mut self, id: ProcessId) {
        const EDGE: usize = 8;
        if let Some(list) = self.to.get_mut(&id).filter(|list| list.len() > 2 * EDGE) {
            list.drain(EDGE..list.len() - EDGE);
            list.shrink_to_fit();
        }
        if self.retired.len() == KEPT
            && let Some(oldest) = self.retired.pop_front()
        {
            self.to.remove(&oldest);
        }
        self.retired.push_back(id);
        self.dropped.remove(&id);
    }

    /// Forgets the signals to a process.
    pub fn forget(&mut self, id: ProcessId) {
        self.retired.retain(|retired| *retired != id);
        self.to.remove(&id);
        self.dropped.remove(&id);
    }

    /// Signals to witnesses pile up: forgets those whose newest is long before `now_ns`.
    pub fn prune(&mut self, now_ns: u64, is_target: impl Fn(ProcessId) -> bool) {
        const OLD_NS: u64 = 120 * S;
        if self.to.len() > KEPT {
            self.to.retain(|id, list| {
                is_target(*id) || list.last().is_some_and(|last| last.ns() + OLD_NS > now_ns)
            });
        }
        if self.signalled_anew > KEPT {
            let known = &self.to;
            self.signalled_by.retain(|_, targets| {
                targets.retain(|target| known.contains_key(target));
                !targets.is_empty()
            });
            self.signalled_anew = 0;
        }
    }

    /// Those that were sent to a process, in order of time.
    pub fn to(&self, id: ProcessId) -> &[SeenSignal] {
        self.to.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The signals that a process has sent, in no order.
    pub fn of(&self, sender: ProcessId) -> impl Iterator<Item = &SeenSignal> {
        let targets = self.signalled_by.get(&sender).into_iter().flatten();
        let sent = targets.flat_map(|target| self.to(*target));
        sent.filter(move |signal| signal.value.sender.id == sender)
    }

    /// How many to a process were seen and are not kept.
    pub fn dropped(&self, id: ProcessId) -> u64 {
        self.dropped.get(&id).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Time;
    use crate::story::tests::scene::{signal, task};

    #[test]
    fn what_a_process_has_sent_is_found_by_it() {
        let mut signals = Signals::default();
        let at = Moment { time: Time::from_unix_ns(0), boot_ns: 1 };
        let senders = [task(10, "one"), task(11, "other")];
        let pids = 1000..1000 + 2 * u32::try_from(KEPT).expect("few");
        for (number, pid) in pids.clone().enumerate() {
            let sent = signal(15, senders[number % 2].clone(), task(pid, "target"));
            signals.add(at, Source::Kernel, &Arc::new(sent));
        }
        for sender in &senders {
            assert_eq!(signals.of(sender.id).count(), KEPT);
        }
        for pid in pids.skip(1) {
            signals.forget(task(pid, "target").id);
        }
        signals.prune(1, |_| false);
        assert_eq!(senders.map(|sender| signals.of(sender.id).count()), [1, 0]);
        assert_eq!(signals.signalled_by.values().map(HashSet::len).sum::<usize>(), 1);
    }
}
