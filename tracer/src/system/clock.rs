//! The time at which userspace learns something.

use crate::evidence::{Moment, Time};

/// Now, on both clocks.
pub fn now() -> Moment {
    let time = i128::from(read(libc::CLOCK_REALTIME));
    Moment { time: Time::from_unix_ns(time), boot_ns: read(libc::CLOCK_BOOTTIME).unsigned_abs() }
}

/// The moment of a wall-clock time, nanoseconds since the epoch, as the clocks stand to each other now.
pub fn at_unix_ns(unix_ns: i64) -> Moment {
    let behind = read(libc::CLOCK_REALTIME).saturating_sub(unix_ns);
    let boot_ns = read(libc::CLOCK_BOOTTIME).saturating_sub(behind).max(0).unsigned_abs();
    Moment { time: Time::from_unix_ns(i128::from(unix_ns)), boot_ns }
}

/// The moment of a `CLOCK_MONOTONIC` time, nanoseconds, as the clocks stand to each other now.
pub fn at_monotonic_ns(monotonic_ns: i64) -> Moment {
    let behind = read(libc::CLOCK_MONOTONIC).saturating_sub(monotonic_ns);
    at_unix_ns(read(libc::CLOCK_REALTIME).saturating_sub(behind))
}

/// One clock, nanoseconds; 0 where the kernel does not have it.
fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes for the whole call, and the kernel keeps no pointer to it.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result == 0 {
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_describe_the_same_moment() {
        let before = now();
        let again = at_unix_ns(i64::try_from(before.time.unix_ns()).expect("this century"));
        assert!(again.boot_ns.abs_diff(before.boot_ns) < 50_000_000, "{before:?} {again:?}");
    }
}
