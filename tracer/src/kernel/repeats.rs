//! Floods: a signal that is in every byte like the one before it is counted, not decoded again.
//!
//! Decoding a record costs microseconds, comparing it some nanoseconds; a sender in a loop can be followed
//! at full speed only so. The kernel counts, too (`tracer-ebpf/src/repeats.rs`): in a flood of equal signals it
//! makes one record a millisecond, and none where this side is behind. It says so in the next record of the CPU,
//! or in a map. Order is kept: what was counted is told before anything else is.

use killtrace_ebpf::{Header, REPEATS_TOLD};

use super::wire::{self, Counted};

/// CPUs whose last record is remembered; beyond that every record is told.
const MAX_CPUS: usize = 1024;

/// The last signal of each CPU, and how often it was repeated.
#[derive(Debug, Default)]
pub struct Repeats {
    cpus: Vec<Last>,
    /// Whether any repeat was counted and not told.
    untold: bool,
}

/// The last signal of one CPU.
#[derive(Debug, Default)]
struct Last {
    record: Vec<u8>,
    /// Repeats in a row so far.
    row: u32,
    /// Those that were counted and not told.
    untold: u64,
    /// When the last one was sent.
    boot_ns: u64,
    /// When the newest record came.
    recorded_ns: u64,
    /// How many the kernel has counted, of those that were taken in.
    counted: u64,
}

impl Repeats {
    /// True where a record is a repeat that need not be told by itself: it has been counted.
    pub fn counts(&mut self, record: &[u8]) -> bool {
        let Some((header, counted, body, cpu)) = signal(record) else { return false };
        let Some(last) = self.cpus.get_mut(cpu) else { return false };
        self.untold |= last.counts(counted);
        last.recorded_ns = header.boot_ns;
        if !last.is(body) {
            return false;
        }
        last.row = last.row.saturating_add(1);
        if last.row <= REPEATS_TOLD {
            return false;
        }
        last.untold = last.untold.saturating_add(1);
        last.boot_ns = header.boot_ns;
        self.untold = true;
        true
    }

    /// The kernel has counted repeats on a CPU of the record that it made there at `recorded_ns`. Taken in
    /// only where that record is known: else it is still to come, and says how many went before it.
    pub fn counted(&mut self, cpu: usize, recorded_ns: u64, counted: Counted) {
        if let Some(last) = self.cpus.get_mut(cpu).filter(|last| last.recorded_ns == recorded_ns) {
            self.untold |= last.counts(counted);
        }
    }

    /// Tells what was counted: for each CPU the record, when it was sent last, and how often. To be called
    /// before anything else is told.
    pub fn tell(&mut self, mut tell: impl FnMut(&[u8], u64, u64)) {
        if !std::mem::take(&mut self.untold) {
            return;
        }
        for last in &mut self.cpus {
            let count = std::mem::take(&mut last.untold);
            if count > 0 {
                tell(&last.record, last.boot_ns, count);
            }
        }
    }

    /// A record is told by itself: those that follow are compared with it.
    pub fn told(&mut self, record: &[u8]) {
        let Some((header, _, body, cpu)) = signal(record) else { return };
        if self.cpus.len() <= cpu {
            self.cpus.resize_with(cpu + 1, Last::default);
        }
        if let Some(last) = self.cpus.get_mut(cpu).filter(|last| !last.is(body)) {
            last.record.clear();
            last.record.extend_from_slice(record);
            last.row = 0;
            last.recorded_ns = header.boot_ns;
        }
    }
}

impl Last {
    /// Whether a record has the same body.
    fn is(&self, body: &[u8]) -> bool {
        self.record.get(size_of::<(Header, Counted)>()..) == Some(body)
    }

    /// Takes in what the kernel has counted; true where that is more than before.
    fn counts(&mut self, counted: Counted) -> bool {
        let more = counted.total.saturating_sub(self.counted);
        if more > 0 {
            self.counted = counted.total;
            self.untold = self.untold.saturating_add(more);
            self.boot_ns = counted.boot_ns;
        }
        more > 0
    }
}

/// Header, what the kernel has counted, body and CPU of a signal's record.
fn signal(record: &[u8]) -> Option<(Header, Counted, &[u8], usize)> {
    let (header, counted, body) = wire::split_signal(record)?;
    let cpu = usize::try_from(header.cpu).ok().filter(|cpu| *cpu < MAX_CPUS)?;
    Some((header, counted, body, cpu))
}

#[cfg(test)]
mod tests {
    use killtrace_ebpf::kind;

    use super::*;

    /// A record of that CPU, time and content.
    fn record(kind: u32, cpu: u32, boot_ns: u64, content: u8) -> Vec<u8> {
        let mut bytes = [kind.to_ne_bytes(), cpu.to_ne_bytes()].concat();
        bytes.extend(boot_ns.to_ne_bytes());
        bytes.extend([0; size_of::<Counted>()]);
        bytes.extend([content; 8]);
        bytes
    }

    /// Takes records in; what is told, as time and count.
    fn told(repeats: &mut Repeats, records: &[Vec<u8>]) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        for record in records {
            if !repeats.counts(record) {
                repeats.tell(|_, boot_ns, count| out.push((boot_ns, count)));
                repeats.told(record);
                out.push((signal(record).map_or(0, |(header, ..)| header.boot_ns), 1));
            }
        }
        repeats.tell(|_, boot_ns, count| out.push((boot_ns, count)));
        out
    }

    #[test]
    fn the_first_repeats_are_told_and_the_rest_is_counted() {
        let flood: Vec<_> = (1..=100).map(|time| record(kind::SIGNAL, 0, time, 7)).collect();
        let told = told(&mut Repeats::default(), &flood);
        assert_eq!(told.len(), 1 + REPEATS_TOLD as usize + 1);
        assert_eq!(told.last(), Some(&(100, 100 - 1 - u64::from(REPEATS_TOLD))));
    }

    #[test]
    fn what_differs_is_told_after_what_was_counted() {
        let mut repeats = Repeats::default();
        let mut records: Vec<_> = (1..=50).map(|time| record(kind::SIGNAL, 0, time, 7)).collect();
        told(&mut repeats, &records);
        records = vec![
            record(kind::SIGNAL, 0, 51, 7),
            record(kind::SIGNAL, 0, 52, 8),
            record(kind::SIGNAL, 0, 53, 7),
        ];
        assert_eq!(told(&mut repeats, &records), [(51, 1), (52, 1), (53, 1)]);
    }

    /// The same, when the kernel has counted so many.
    fn after(mut record: Vec<u8>, total: u64, boot_ns: u64) -> Vec<u8> {
        let counted = [total.to_ne_bytes(), boot_ns.to_ne_bytes()].concat();
        record[size_of::<Header>()..][..counted.len()].copy_from_slice(&counted);
        record
    }

    #[test]
    fn what_the_kernel_counted_is_told_before_the_next_and_once() {
        let mut repeats = Repeats::default();
        let first = record(kind::SIGNAL, 0, 1, 7);
        let other = after(record(kind::SIGNAL, 0, 9, 8), 5, 6);
        assert_eq!(told(&mut repeats, &[first, other]), [(1, 1), (6, 5), (9, 1)]);
        let third = after(record(kind::SIGNAL, 0, 10, 9), 5, 6);
        assert_eq!(told(&mut repeats, &[third]), [(10, 1)]);
    }

    #[test]
    fn what_the_kernel_counts_belongs_to_the_record_that_it_made_last() {
        let mut repeats = Repeats::default();
        told(&mut repeats, &[record(kind::SIGNAL, 0, 1, 7)]);
        // Of a record that has not been read yet.
        repeats.counted(0, 2, Counted { total: 4, boot_ns: 3 });
        assert_eq!(told(&mut repeats, &[]), []);
        repeats.counted(0, 1, Counted { total: 3, boot_ns: 2 });
        assert_eq!(told(&mut repeats, &[]), [(2, 3)]);
        repeats.counted(0, 1, Counted { total: 3, boot_ns: 2 });
        assert_eq!(told(&mut repeats, &[]), []);
    }

    #[test]
    fn each_cpu_has_its_own_row() {
        let flood: Vec<_> = (0..200)
            .map(|time| record(kind::SIGNAL, time % 2, u64::from(time), (time % 2) as u8))
            .collect();
        let told = told(&mut Repeats::default(), &flood);
        assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 200);
        assert_eq!(told.len(), 2 * (1 + REPEATS_TOLD as usize + 1));
    }

    #[test]
    fn other_records_and_broken_ones_are_never_counted() {
        let mut repeats = Repeats::default();
        let exits = vec![record(kind::EXIT, 0, 1, 7); 100];
        assert_eq!(told(&mut repeats, &exits).len(), 100);
        assert!(!repeats.counts(&[1, 0, 0]));
        let far = vec![record(kind::SIGNAL, u32::MAX, 1, 7); 100];
        assert_eq!(told(&mut repeats, &far).len(), 100);
    }
}
