//! Values of maps.

use crate::{Ancestor, MAX_ANCESTORS};

/// The last signal that a CPU has recorded, and how often it was repeated after that in a flood or while the
/// reader was behind: value of the map of repeats.
///
/// In an order that userspace relies on: whoever copies it while it changes sees a count together with
/// the record that it belongs to, or with a later one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeats {
    /// Repeats that were counted and not recorded, of all records so far.
    pub counted: u64,
    /// When the last of them was sent: `CLOCK_BOOTTIME`, nanoseconds.
    pub counted_ns: u64,
    /// `header.boot_ns` of the record.
    pub recorded_ns: u64,
    /// How many records before that one were like it.
    pub row: u64,
    /// What tells the signal from others.
    pub key: RepeatKey,
}

/// What a signal has to have in common with the one before to be its repeat.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RepeatKey {
    /// Process and thread id of the sender in the initial pid namespace (`bpf_get_current_pid_tgid`).
    pub sender: u64,
    /// `current->mm`: the program that the sender executes.
    pub program: u64,
    /// `task_struct` of the receiver.
    pub target: u64,
    /// Its handler.
    pub handler: u64,
    /// Signal number; from bit 32 on, result; from bit 62 on, one of [`crate::info`].
    pub signal: u64,
    /// [`crate::SignalRecord::flags`] and, from bit 32 on, `si_code`.
    pub flags: u64,
    /// [`crate::SignalRecord::si_fields`]
    pub si_fields: [u64; 2],
}

/// Value of the target map, whose key is the process id in the tracer's pid namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// [`crate::flag::TARGET`], [`crate::flag::FOLLOW`], [`crate::flag::WITNESS`].
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
    /// Start time in clock ticks (10 ms of `CLOCK_BOOTTIME`) that the process must have; 0: any.
    pub start_ticks: u64,
}

const _: () = {
    assert!(size_of::<Repeats>() == 32 + 8 * 8);
    assert!(size_of::<Watch>() == 16);
};

/// A sender of signals and its ancestors, as they were a moment ago. Only the kernel side uses it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Kin {
    /// Process id of the sender in the initial pid namespace.
    pub global_pid: u64,
    /// When its process started: `CLOCK_BOOTTIME`, nanoseconds.
    pub start_ns: u64,
    /// `task_struct` of its parent.
    pub parent: u64,
    /// When its ancestors were looked at: `CLOCK_BOOTTIME`, nanoseconds.
    pub read_ns: u64,
    /// Its ancestors, nearest first.
    pub ancestors: [Ancestor; MAX_ANCESTORS],
}
