//! A signal that is like the one before is counted, not recorded: while the reader is behind, and in a flood but for one
//! each [`COUNTED_FOR_NS`].
//!
//! A flood fills the ring buffer faster than anybody can read it. The reader looks at bytes and finds repeats by itself
//! (`tracer/src/kernel/repeats.rs`); here only what makes a signal another one is compared.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use killtrace_ebpf::{REPEATS_TOLD, RepeatKey, Repeats, SignalRecord};

use crate::globals::REPEATS;

/// In a flood, how long repeats are only counted before one is recorded again, nanoseconds.
const COUNTED_FOR_NS: u64 = 1_000_000;

/// The last signal of this CPU.
#[inline(always)]
pub fn last() -> Option<&'static mut Repeats> {
    let last = REPEATS.get_ptr_mut(0)?;
    // SAFETY: the map has one value for each CPU; nothing else refers to it while the program runs.
    Some(unsafe { &mut *last })
}

/// Counts a repeat: where the reader is `behind`, or in a flood. False where it is none, or has to be recorded.
#[inline(always)]
pub fn counts(last: &mut Repeats, key: &RepeatKey, behind: bool) -> bool {
    if last.recorded_ns == 0 || differs(&last.key, key) {
        return false;
    }
    // SAFETY: the helper takes no arguments and only returns a number.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let flood =
        last.row >= u64::from(REPEATS_TOLD) && now.wrapping_sub(last.recorded_ns) < COUNTED_FOR_NS;
    if !behind && !flood {
        return false;
    }
    last.counted += 1;
    last.counted_ns = now;
    true
}

/// What comes next is compared with this record.
#[inline(always)]
pub fn recorded(last: &mut Repeats, key: &RepeatKey, entry: &mut SignalRecord) {
    entry.counted = last.counted;
    entry.counted_ns = last.counted_ns;
    last.recorded_ns = entry.header.boot_ns;
    last.row = if differs(&last.key, key) { 0 } else { last.row + 1 };
    last.key = *key;
}

/// Without a branch for each member: the verifier would walk through the rest once for every one.
#[inline(always)]
fn differs(one: &RepeatKey, other: &RepeatKey) -> bool {
    (one.sender ^ other.sender)
        | (one.program ^ other.program)
        | (one.target ^ other.target)
        | (one.handler ^ other.handler)
        | (one.signal ^ other.signal)
        | (one.flags ^ other.flags)
        | (one.si_fields[0] ^ other.si_fields[0])
        | (one.si_fields[1] ^ other.si_fields[1])
        != 0
}
