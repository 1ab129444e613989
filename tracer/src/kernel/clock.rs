//! From the clock of kernel events to the clock on the wall.

use crate::clock::{boot_ns, wall_ns};
use crate::evidence::{Moment, Time};

/// Differences smaller than this are left alone: they are jitter, or a clock that is being slewed.
const STEP_NS: i128 = 1_000_000;

/// How far the wall clock is ahead of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_ns: i128,
}

impl Clock {
    /// Measures it.
    pub fn new() -> Self {
        Self { offset_ns: measure() }
    }

    /// Measures it again, and follows where the wall clock was set.
    pub fn refresh(&mut self) {
        let offset_ns = measure();
        if (offset_ns - self.offset_ns).abs() >= STEP_NS {
            self.offset_ns = offset_ns;
        }
    }

    /// The moment of a kernel event.
    pub fn moment(&self, boot_ns: u64) -> Moment {
        Moment { time: Time::from_unix_ns(i128::from(boot_ns) + self.offset_ns), boot_ns }
    }

    /// Now.
    pub fn now(&mut self) -> Moment {
        self.refresh();
        self.moment(boot_ns().unsigned_abs())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn measure() -> i128 {
    let before = boot_ns();
    let wall = wall_ns();
    let after = boot_ns();
    i128::from(wall) - i128::from(before.midpoint(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_the_distance_of_events() {
        let clock = Clock { offset_ns: 1_700_000_000_000_000_000 };
        let (early, late) = (clock.moment(5), clock.moment(1_000_000_005));
        assert_eq!(late.time.unix_ns() - early.time.unix_ns(), 1_000_000_000);
        assert_eq!(early.time.unix_ns(), 1_700_000_000_000_000_005);
    }

    #[test]
    fn a_clock_that_was_set_is_followed_and_jitter_is_not() {
        let mut clock = Clock::new();
        let measured = clock.offset_ns;
        clock.refresh();
        assert_eq!(clock.offset_ns, measured);
        clock.offset_ns -= 3_600_000_000_000;
        clock.refresh();
        assert!((clock.offset_ns - measured).abs() < STEP_NS);
    }
}
