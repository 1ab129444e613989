//! Floods: a signal that is in every byte like the one before it is counted, not decoded again.
//!
//! Decoding a record costs microseconds, comparing it some nanoseconds; a sender in a loop can be followed
//! at full speed only so. Order is kept: what was counted is told before anything else is.

use killtrace_ebpf::{Header, kind};

use super::wire;

/// How many repeats in a row are told one by one: more than a reader is shown singly.
const TOLD: u32 = 16;
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
}

impl Repeats {
    /// True where a record is a repeat that need not be told by itself: it has been counted.
    pub fn counts(&mut self, record: &[u8]) -> bool {
        let Some((header, body, cpu)) = signal(record) else { return false };
        let Some(last) = self.cpus.get_mut(cpu).filter(|last| last.is(body)) else { return false };
        last.row = last.row.saturating_add(1);
        if last.row <= TOLD {
            return false;
        }
        last.untold += 1;
        last.boot_ns = header.boot_ns;
        self.untold = true;
        true
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
        let Some((_, body, cpu)) = signal(record) else { return };
        if self.cpus.len() <= cpu {
            self.cpus.resize_with(cpu + 1, Last::default);
        }
        if let Some(last) = self.cpus.get_mut(cpu).filter(|last| !last.is(body)) {
            last.record.clear();
            last.record.extend_from_slice(record);
            last.row = 0;
        }
    }
}

impl Last {
    /// Whether a record has the same body.
    fn is(&self, body: &[u8]) -> bool {
        self.record.get(size_of::<Header>()..) == Some(body)
    }
}

/// Header, body and CPU of a signal's record.
fn signal(record: &[u8]) -> Option<(Header, &[u8], usize)> {
    let (header, body) = wire::split(record)?;
    let cpu = usize::try_from(header.cpu).ok().filter(|cpu| *cpu < MAX_CPUS)?;
    (header.kind == kind::SIGNAL).then_some((header, body, cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of that CPU, time and content.
    fn record(kind: u32, cpu: u32, boot_ns: u64, content: u8) -> Vec<u8> {
        let mut bytes = [kind.to_ne_bytes(), cpu.to_ne_bytes()].concat();
        bytes.extend(boot_ns.to_ne_bytes());
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
        assert_eq!(told.len(), 1 + TOLD as usize + 1);
        assert_eq!(told.last(), Some(&(100, 100 - 1 - u64::from(TOLD))));
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

    #[test]
    fn each_cpu_has_its_own_row() {
        let flood: Vec<_> = (0..200)
            .map(|time| record(kind::SIGNAL, time % 2, u64::from(time), (time % 2) as u8))
            .collect();
        let told = told(&mut Repeats::default(), &flood);
        assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 200);
        assert_eq!(told.len(), 2 * (1 + TOLD as usize + 1));
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
