//! The time at which userspace learns something.

use std::sync::{Mutex, PoisonError};

use crate::clock::{boot_ns, monotonic_ns, wall_ns};
use crate::evidence::{Moment, Time};

/// Differences between clocks that are smaller than this come from reading one after the other.
const JITTER_NS: i64 = 1_000_000;

/// How far `CLOCK_BOOTTIME` has been ahead of `CLOCK_MONOTONIC`: further after each time that the machine slept.
static SLEPT: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// Now, on both clocks.
pub fn now() -> Moment {
    note_sleep();
    let time = Time::from_unix_ns(i128::from(wall_ns()));
    Moment { time, boot_ns: boot_ns().unsigned_abs() }
}

/// The moment of a wall-clock time, nanoseconds since the epoch, as the clocks stand to each other now.
pub fn at_unix_ns(unix_ns: i64) -> Moment {
    let behind = wall_ns().saturating_sub(unix_ns);
    let boot_ns = boot_ns().saturating_sub(behind).max(0).unsigned_abs();
    Moment { time: Time::from_unix_ns(i128::from(unix_ns)), boot_ns }
}

/// The moment of a `CLOCK_MONOTONIC` time at which the wall clock showed `unix_ns`.
///
/// The monotonic clock alone decides unless the machine has slept meanwhile, since the other may have been set.
pub fn at_monotonic_ns(monotonic_ns: i64, unix_ns: i64) -> Moment {
    note_sleep();
    let ahead = wall_ns().saturating_sub(boot_ns());
    let slept = SLEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let boot_ns = placed(monotonic_ns, unix_ns.saturating_sub(ahead), &slept);
    Moment { time: Time::from_unix_ns(i128::from(unix_ns)), boot_ns: boot_ns.max(0).unsigned_abs() }
}

/// The time since boot of a time on the monotonic clock, that is nearest to `about_ns` of those that there are
/// when the machine slept once or more.
fn placed(monotonic_ns: i64, about_ns: i64, slept: &[i64]) -> i64 {
    let places = slept.iter().map(|slept| monotonic_ns.saturating_add(*slept));
    places.min_by_key(|place| place.abs_diff(about_ns)).unwrap_or(monotonic_ns)
}

/// Takes note of how long the machine has slept so far.
fn note_sleep() {
    let before = monotonic_ns();
    let boot = boot_ns();
    let between = before.midpoint(monotonic_ns());
    let now = boot.saturating_sub(between);
    let mut slept = SLEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if slept.last().is_none_or(|last| now.saturating_sub(*last) > JITTER_NS) {
        slept.push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn both_clocks_describe_the_same_moment() {
        let before = now();
        let unix_ns = i64::try_from(before.time.unix_ns()).expect("this century");
        let again = at_unix_ns(unix_ns);
        assert!(again.boot_ns.abs_diff(before.boot_ns) < 50_000_000, "{before:?} {again:?}");
        let again = at_monotonic_ns(monotonic_ns(), unix_ns);
        assert!(again.boot_ns.abs_diff(before.boot_ns) < 50_000_000, "{before:?} {again:?}");
    }

    #[test]
    fn a_clock_that_was_set_moves_nothing() {
        for wrong in [-3600 * S, 0, 3600 * S] {
            assert_eq!(placed(100 * S, 107 * S + wrong, &[7 * S]), 107 * S);
        }
        let set = at_monotonic_ns(monotonic_ns(), wall_ns() - 3600 * S);
        assert!(set.boot_ns.abs_diff(now().boot_ns) < 50_000_000, "{set:?}");
    }

    #[test]
    fn what_was_before_a_sleep_stays_before_it() {
        // It slept for an hour at 100 s, and for another at 200 s.
        let slept = [0, 3600 * S, 7200 * S];
        assert_eq!(placed(99 * S, 99 * S, &slept), 99 * S);
        assert_eq!(placed(101 * S, 3701 * S, &slept), 3701 * S);
        assert_eq!(placed(201 * S, 7401 * S, &slept), 7401 * S);
        assert_eq!(placed(5, 5, &[]), 5);
    }
}
