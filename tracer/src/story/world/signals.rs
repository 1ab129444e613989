//! Every signal that was seen, by whom it was sent to and by who sent it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{KEPT, Seen, SeenSignal, Steady};
use crate::evidence::{Moment, ProcessId, S, SignalSent, Source};
use crate::story::mechanism;
use crate::story::newborn::Newborns;
use crate::story::patience::is_everyday;

/// How many signals of one process are kept at most: the first and the newest, which can be to blame.
const SIGNALS_PER_PROCESS: usize = 256;

/// Signals, as many as are kept.
#[derive(Debug, Default)]
pub struct Signals {
    /// By the process they were sent to, each list in order of time.
    to: Steady<ProcessId, Vec<SeenSignal>>,
    /// The newest that each process has sent itself, at most [`KEPT`], without the everyday ones and signal 0, which only
    /// looks whether somebody is there: when, and to whom, in order of time.
    sent: HashMap<ProcessId, VecDeque<(u64, ProcessId)>>,
    /// How many were added to [`Self::sent`] since the old ones were last left out.
    sent_anew: usize,
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
        let says_nothing = signal.number == 0 || is_everyday(signal.number);
        if !says_nothing && !mechanism::of(signal).is_kernels_own() {
            // Of a newborn it may be another by now.
            let sender = self.to(target).get(place).map(|own| own.value.sender.id);
            self.keep_act(sender.unwrap_or(signal.sender.id), seen.ns(), target);
        }
        if let Some(list) = self.to.get_mut(&target).filter(|it| it.len() > SIGNALS_PER_PROCESS) {
            // A storm: what came first and what came last can decide, the middle cannot. Many at a time:
            // what is behind them has to be moved.
            let middle = SIGNALS_PER_PROCESS / 4..SIGNALS_PER_PROCESS * 3 / 4;
            *self.dropped.entry(target).or_default() += middle.len() as u64;
            list.drain(middle);
        }
    }

    fn keep_act(&mut self, sender: ProcessId, ns: u64, target: ProcessId) {
        let acts = self.sent.entry(sender).or_default();
        if acts.len() == KEPT {
            acts.pop_front();
        }
        let later = acts.iter().rev().take_while(|(at_ns, _)| *at_ns > ns).count();
        acts.insert(acts.len() - later, (ns, target));
        self.sent_anew += 1;
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
        if self.sent_anew > KEPT {
            self.sent.retain(|_, acts| acts.back().is_some_and(|(ns, _)| ns + OLD_NS > now_ns));
            self.sent_anew = 0;
        }
    }

    /// Those that were sent to a process, in order of time.
    pub fn to(&self, id: ProcessId) -> &[SeenSignal] {
        self.to.get(&id).map_or(&[], Vec::as_slice)
    }

    /// When a process sent signals from a time on, of the last minutes, and to whom; oldest first.
    pub fn sent_since(&self, sender: ProcessId, ns: u64) -> impl Iterator<Item = (u64, ProcessId)> {
        let acts = self.sent.get(&sender);
        let first = acts.map_or(0, |acts| acts.partition_point(|(sent, _)| *sent < ns));
        acts.into_iter().flat_map(move |acts| acts.range(first..)).copied()
    }

    /// How many to a process were seen and are not kept.
    pub fn dropped(&self, id: ProcessId) -> u64 {
        self.dropped.get(&id).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Task, Time};
    use crate::story::tests::scene::{signal, task};

    #[test]
    fn what_a_process_has_sent_is_found_by_it() {
        let mut signals = Signals::default();
        let senders = [task(10, "one"), task(11, "other")];
        let send = |signals: &mut Signals, sender: &Task, pid: u32, boot_ns: u64| {
            let at = Moment { time: Time::from_unix_ns(0), boot_ns };
            let sent = signal(15, sender.clone(), task(pid, "target"));
            signals.add(at, Source::Kernel, &Arc::new(sent));
        };
        let pids = 1000..1000 + 2 * u32::try_from(KEPT).expect("few") + 10;
        for pid in pids {
            let sender = &senders[usize::from(pid % 2 == 1)];
            send(&mut signals, sender, pid, u64::from(pid));
        }
        send(&mut signals, &senders[0], 1, 2_001);
        let sent = |signals: &Signals, sender: &Task, ns| -> Vec<_> {
            signals.sent_since(sender.id, ns).map(|(ns, target)| (ns, target.pid)).collect()
        };
        for sender in &senders {
            assert_eq!(sent(&signals, sender, 0).len(), KEPT);
        }
        let first = &sent(&signals, &senders[0], 2_000)[..3];
        assert_eq!(first, [(2_000, 2_000), (2_001, 1), (2_002, 2_002)]);
        assert!(sent(&signals, &senders[1], 1_000_000).is_empty());
        // What was sent long ago is asked by nobody.
        send(&mut signals, &senders[1], 2, 200 * S);
        signals.prune(200 * S, |_| false);
        assert!(sent(&signals, &senders[0], 0).is_empty());
        assert_eq!(sent(&signals, &senders[1], 100 * S), [(200 * S, 2)]);
    }
}
