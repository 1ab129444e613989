//! `cgroup.kill` also kills who is born in the cgroup meanwhile: `cgroup_post_fork` sends the signal from
//! within the parent's clone(2), microseconds before or after the writer's first. The killer is who wrote.

use std::collections::VecDeque;
use std::sync::Arc;

use super::mechanism;
use super::world::{SeenSignal, Steady};
use crate::evidence::{Mechanism, ProcessId, S, SignalInfo, SignalSent, sig};

/// How far apart a write and the death of a newborn can be that belong together.
const WRITE_TO_DEATH: u64 = S;

/// How many writes and how many orphaned newborns are remembered.
const KEPT: usize = 256;

/// Signals by the process they were sent to.
type Signals = Steady<ProcessId, Vec<SeenSignal>>;

/// Who wrote `cgroup.kill`, and who was killed at birth before that was seen.
#[derive(Debug, Default)]
pub struct Newborns {
    writes: VecDeque<SeenSignal>,
    waiting: VecDeque<ProcessId>,
}

impl Newborns {
    /// Whether a signal can be of a write or of a newborn.
    pub fn concerns(sent: &SignalSent) -> bool {
        sent.number == sig::SIGKILL
            && sent.info == SignalInfo::None
            && (sent.written_cgroup.is_some() || is_at_birth(sent))
    }

    /// Takes in a signal that was just added to `signals`.
    pub fn observe(&mut self, signal: &SeenSignal, signals: &mut Signals) {
        let sent = &signal.value;
        if sent.written_cgroup.is_some() {
            self.write(signal, signals);
        } else {
            let born = sent.target.id;
            let write = self.writes.iter().rev().find(|write| reaches(write, signal));
            match write {
                Some(write) => attribute(born, write, signals),
                None => push(&mut self.waiting, born),
            }
        }
    }

    /// One write makes many signals: one of them stands for all.
    fn write(&mut self, signal: &SeenSignal, signals: &mut Signals) {
        let same = |write: &SeenSignal| {
            write.value.sender.id == signal.value.sender.id
                && write.value.written_cgroup == signal.value.written_cgroup
                && write.ns() + WRITE_TO_DEATH >= signal.ns()
        };
        if self.writes.iter().any(same) {
            return;
        }
        self.waiting.retain(|born| {
            let at_birth = signals.get(born).and_then(|list| {
                list.iter().find(|sent| is_at_birth(&sent.value) && reaches(signal, sent))
            });
            let found = at_birth.is_some();
            if found {
                attribute(*born, signal, signals);
            }
            !found
        });
        push(&mut self.writes, signal.clone());
    }
}

/// Whether it was sent within the clone(2) that made its target.
pub fn is_at_birth(sent: &SignalSent) -> bool {
    sent.is_in_fork() && mechanism::of(sent) == Mechanism::CgroupKill
}

/// Whether that write is what killed the newborn.
fn reaches(write: &SeenSignal, born: &SeenSignal) -> bool {
    let lived = born.value.target.cgroup.as_deref();
    let inside = lived.zip(write.value.written_cgroup.as_deref()).is_some_and(|(lived, killed)| {
        lived
            .strip_prefix(killed.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    inside && write.ns().abs_diff(born.ns()) <= WRITE_TO_DEATH
}

/// Names the writer as the sender.
fn attribute(born: ProcessId, write: &SeenSignal, signals: &mut Signals) {
    let list = signals.entry(born).or_default();
    for signal in list.iter_mut().filter(|signal| is_at_birth(&signal.value)) {
        let write = SignalSent::clone(&write.value);
        let signal = Arc::make_mut(&mut signal.value);
        signal.sender = write.sender;
        signal.sender_args = write.sender_args;
        signal.ancestors = write.ancestors;
        signal.syscall = write.syscall;
        signal.written_cgroup = write.written_cgroup;
    }
}

fn push<T>(list: &mut VecDeque<T>, value: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(value);
}
