//! Counting what was missed.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::maps::{MapData, PerCpuArray};
use killtrace_ebpf::{kind, loss};

use super::bpf;
use crate::evidence::{LossPlace, Lost};

/// Names of the record kinds, for people.
const KINDS: &[(u32, &str)] = &[
    (kind::SIGNAL, "signals"),
    (kind::EXIT, "ends of processes"),
    (kind::EXEC, "executed programs"),
    (kind::FORK, "new processes"),
    (kind::OOM, "OOM victims"),
    (kind::TCP, "TCP connections"),
    (kind::CGROUP, "cgroups"),
    (kind::RENAME, "names"),
    (kind::MAPPING, "mappings of faults"),
    (kind::CONNECT, "connections to service managers"),
];

/// What there may be no room for in the kernel side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// A cgroup that is a target's.
    Cgroup,
    /// A process that is one.
    Process,
}

/// The targets that found no room, since the last report.
#[derive(Default)]
struct Unplaced {
    cgroups: u64,
    processes: u64,
}

impl Unplaced {
    const fn add(&mut self, what: LeftOut) {
        match what {
            LeftOut::Cgroup => self.cgroups += 1,
            LeftOut::Process => self.processes += 1,
        }
    }

    fn report(&mut self) -> impl Iterator<Item = Lost> + use<> {
        let Self { cgroups, processes } = std::mem::take(self);
        let what = [
            (cgroups, "cgroups of targets that do not fit, with what is made below them"),
            (processes, "more targets than fit"),
        ];
        let what = what.into_iter().filter(|(count, _)| *count > 0);
        what.map(|(count, detail)| entry(count, LossPlace::Map, detail.to_owned()))
    }
}

/// The counters, and what of them has been reported.
pub struct Losses {
    counters: PerCpuArray<MapData, [u64; loss::COUNT]>,
    programs: Vec<(&'static str, OwnedFd)>,
    reported: [u64; loss::COUNT],
    reported_misses: u64,
    unplaced: Unplaced,
}

impl Losses {
    /// Counters of the kernel side, and the programs that can miss runs.
    pub fn new(
        counters: PerCpuArray<MapData, [u64; loss::COUNT]>,
        programs: Vec<(&'static str, OwnedFd)>,
    ) -> Self {
        Self {
            counters,
            programs,
            reported: [0; loss::COUNT],
            reported_misses: 0,
            unplaced: Unplaced::default(),
        }
    }

    /// Takes note of a target that found no room and that the kernel side has not counted.
    pub const fn left_out(&mut self, what: LeftOut) {
        self.unplaced.add(what);
    }

    /// What was lost since the last time, and so many records that could not be decoded.
    ///
    /// # Errors
    /// Where the counters cannot be read.
    pub fn new_ones(&mut self, malformed: u64) -> io::Result<Vec<Lost>> {
        let mut lost = Vec::new();
        let now = self.read()?;
        for (number, name) in KINDS {
            let index = usize::try_from(*number).unwrap_or(usize::MAX);
            if let Some(dropped) = grown(&self.reported, &now, index) {
                lost.push(entry(dropped, LossPlace::RingBuffer, (*name).to_owned()));
            }
        }
        if let Some(dropped) = grown(&self.reported, &now, loss::TARGETS_FULL) {
            lost.push(entry(dropped, LossPlace::Map, "more targets than fit".to_owned()));
        }
        lost.extend(self.unplaced.report());
        self.reported = now;
        if malformed > 0 {
            lost.push(entry(
                malformed,
                LossPlace::RingBuffer,
                "records that make no sense".to_owned(),
            ));
        }
        self.misses(&mut lost)?;
        Ok(lost)
    }

    /// Runs that were missed since a program was already running on the CPU.
    fn misses(&mut self, lost: &mut Vec<Lost>) -> io::Result<()> {
        // Of two programs on one hook both have to miss a run for it to be lost: no more than the fewer.
        let mut fewest = BTreeMap::<&str, u64>::new();
        for (hook, program) in &self.programs {
            let misses = bpf::recursion_misses(program.as_fd())?;
            fewest.entry(hook).and_modify(|least| *least = misses.min(*least)).or_insert(misses);
        }
        fewest.retain(|_, misses| *misses > 0);
        let total: u64 = fewest.values().sum();
        let hooks: Vec<&str> = fewest.into_keys().collect();
        let dropped = total.saturating_sub(self.reported_misses);
        if dropped > 0 {
            self.reported_misses = total;
            lost.push(entry(dropped, LossPlace::Recursion, hooks.join(", ")));
        }
        Ok(())
    }

    /// The counters, over all CPUs.
    fn read(&self) -> io::Result<[u64; loss::COUNT]> {
        let values = self.counters.get(&0, 0).map_err(io::Error::other)?;
        let mut sums = [0_u64; loss::COUNT];
        for cpu in values.iter() {
            for (sum, value) in sums.iter_mut().zip(cpu) {
                *sum = sum.wrapping_add(*value);
            }
        }
        Ok(sums)
    }
}

fn grown(before: &[u64], now: &[u64], index: usize) -> Option<u64> {
    let difference = now.get(index)?.wrapping_sub(*before.get(index)?);
    (difference > 0).then_some(difference)
}

const fn entry(dropped: u64, place: LossPlace, detail: String) -> Lost {
    Lost { dropped, place, detail: Some(detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_found_no_room_is_reported_once() {
        let mut unplaced = Unplaced::default();
        assert_eq!(unplaced.report().count(), 0);
        for what in [LeftOut::Cgroup, LeftOut::Process, LeftOut::Cgroup] {
            unplaced.add(what);
        }
        let told: Vec<Lost> = unplaced.report().collect();
        let counts: Vec<_> = told.iter().map(|lost| (lost.dropped, lost.place)).collect();
        assert_eq!(counts, [(2, LossPlace::Map), (1, LossPlace::Map)]);
        assert!(told[0].detail.as_ref().is_some_and(|detail| detail.starts_with("cgroups")));
        assert_eq!(unplaced.report().count(), 0);
    }
}
