//! The kernel's side: records of the ring buffer, and type information from a file.

use killtrace::evidence::Header;
use killtrace::kernel::entrances;

use super::scene;
use crate::cases;

/// Records, each behind its length in two bytes.
pub fn records(bytes: &[u8]) {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let [low, high, tail @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (record, after) = tail.split_at(len);
        records.push(record);
        rest = after;
    }
    let (mut evidence, _) = entrances::records(records);
    // Moments come from two clocks; what comes from one is enough, and is the same in every run.
    for one in &mut evidence {
        one.at.boot_ns = one.at.boot_ns.min(u64::MAX / 4);
    }
    if !evidence.is_empty() {
        scene::tell(&header(), evidence);
    }
}

/// A file of type information, as for `--btf`.
pub fn type_information(bytes: &[u8]) {
    if let Ok(missing) = entrances::type_information(bytes) {
        // A kernel has some megabytes of types; what fits in here is never all of them.
        assert!(missing > 0, "in {} bytes", bytes.len());
    }
}

fn header() -> Header {
    static HEADER: std::sync::LazyLock<Header> = std::sync::LazyLock::new(|| {
        let case = cases::all().expect("the cases").swap_remove(0);
        killtrace::recording::Reader::open(&case.recording).expect("a recording").0
    });
    HEADER.clone()
}
