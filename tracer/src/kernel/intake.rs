//! From records to evidence, one record after the other: repeats are counted, the rest is decoded.

use super::{decode::Decoder, repeats::Repeats, wire::Counted};
use crate::evidence::Evidence;

/// What has been taken in, as far as the next record depends on it.
pub struct Intake {
    /// Turns records into evidence.
    pub decoder: Decoder,
    repeats: Repeats,
    malformed: u64,
}

impl Intake {
    /// Nothing has come yet.
    pub fn new(decoder: Decoder) -> Self {
        Self { decoder, repeats: Repeats::default(), malformed: 0 }
    }

    /// Whether a record is a repeat that need not be taken: it has been counted.
    pub fn counts(&mut self, record: &[u8]) -> bool {
        self.repeats.counts(record)
    }

    /// Takes in how many repeats the kernel has counted on a CPU of the record that it made there at
    /// `recorded_ns`.
    pub fn counted(&mut self, cpu: usize, recorded_ns: u64, counted: Counted) {
        self.repeats.counted(cpu, recorded_ns, counted);
    }

    /// Takes a record, and before it what was counted.
    pub fn take(&mut self, record: &[u8], out: &mut Vec<Evidence>) {
        self.tell(out);
        self.repeats.told(record);
        match self.decoder.decode(record) {
            Ok(evidence) => out.extend(evidence),
            Err(_) => self.malformed = self.malformed.saturating_add(1),
        }
    }

    /// Tells of the signals that were only counted.
    pub fn tell(&mut self, out: &mut Vec<Evidence>) {
        let Self { decoder, repeats, malformed } = self;
        repeats.tell(|record, boot_ns, count| {
            match decoder.decode_repeats(record, boot_ns, count) {
                Ok(evidence) => out.extend(evidence),
                Err(_) => *malformed = malformed.saturating_add(count),
            }
        });
    }

    /// How many records made no sense since the last time this was asked.
    pub const fn malformed(&mut self) -> u64 {
        std::mem::replace(&mut self.malformed, 0)
    }
}

#[cfg(test)]
mod tests {
    use killtrace_ebpf::{SignalRecord, kind};

    use super::super::{cgroups::Cgroups, clock::Clock, symbols::Symbols};
    use super::*;

    #[test]
    fn repeats_of_what_makes_no_sense_are_all_counted_as_lost() {
        let decoder = Decoder::new(Clock::new(), Cgroups::default(), Symbols::default());
        let mut intake = Intake::new(decoder);
        let mut record = vec![0; size_of::<SignalRecord>()];
        record[..4].copy_from_slice(&kind::SIGNAL.to_ne_bytes());
        let mut out = Vec::new();
        for _ in 0..100 {
            if !intake.counts(&record) {
                intake.take(&record, &mut out);
            }
        }
        intake.tell(&mut out);
        assert_eq!((out, intake.malformed()), (Vec::new(), 100), "there is no signal 0");
        assert_eq!(intake.malformed(), 0, "they are told once");
    }

    #[test]
    fn a_made_up_count_of_what_makes_no_sense_does_not_overflow() {
        let decoder = Decoder::new(Clock::new(), Cgroups::default(), Symbols::default());
        let mut intake = Intake::new(decoder);
        let mut record = vec![0; size_of::<SignalRecord>()];
        record[..4].copy_from_slice(&kind::SIGNAL.to_ne_bytes());
        let mut out = Vec::new();
        intake.take(&record, &mut out);
        let made_up = Counted { total: u64::MAX, boot_ns: 1 };
        intake.counted(0, 0, made_up);
        for _ in 0..20 {
            if !intake.counts(&record) {
                intake.take(&record, &mut out);
            }
        }
        intake.tell(&mut out);
        assert_eq!((out, intake.malformed()), (Vec::new(), u64::MAX));
    }
}
