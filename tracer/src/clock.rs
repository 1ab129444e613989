//! The clocks, as the kernel's events count them.
//!
//! In a time namespace (time_namespaces(7)) `CLOCK_BOOTTIME`, `CLOCK_MONOTONIC` and mostly the start times in `/proc`
//! are shifted for whoever asks, and the kernel's events are not. All of killtrace counts as the events do.

use std::sync::LazyLock;

use crate::evidence::TICK_NS;

/// Wall clock, nanoseconds since the epoch.
pub fn wall_ns() -> i64 {
    read(libc::CLOCK_REALTIME)
}

/// `CLOCK_BOOTTIME`, nanoseconds: it goes on while the machine sleeps.
pub fn boot_ns() -> i64 {
    read(libc::CLOCK_BOOTTIME).saturating_sub(SHIFT.boot_ns)
}

/// `CLOCK_MONOTONIC`, nanoseconds: it stands still while the machine sleeps.
pub fn monotonic_ns() -> i64 {
    read(libc::CLOCK_MONOTONIC).saturating_sub(SHIFT.monotonic_ns)
}

/// How far `/proc` shifts the start times of processes, nanoseconds.
pub fn proc_shift_ns() -> i64 {
    *PROC_SHIFT
}

/// Kernels differ in whether they shift those (Linux 5.10 does not): this process's own is recent, one way or the
/// other.
static PROC_SHIFT: LazyLock<i64> = LazyLock::new(|| {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    own_start_ns(&stat)
        .map_or(SHIFT.boot_ns, |own| likelier_shift(SHIFT.boot_ns, own, read(libc::CLOCK_BOOTTIME)))
});

/// The start time in `/proc/PID/stat` (its 22nd field, in hundredths of a second), nanoseconds.
fn own_start_ns(stat: &str) -> Option<i64> {
    // The name before it may hold anything.
    let ticks: i64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks.saturating_mul(TICK_NS.cast_signed()))
}

/// The shift of a start time that is recent by a clock ahead by `shift`; 0 where it is more recent without.
const fn likelier_shift(shift: i64, start_ns: i64, now_ns: i64) -> i64 {
    let age = now_ns.saturating_sub(start_ns);
    if age.unsigned_abs() <= age.saturating_sub(shift).unsigned_abs() { shift } else { 0 }
}

/// How far this process's time namespace is ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shift {
    monotonic_ns: i64,
    boot_ns: i64,
}

static SHIFT: LazyLock<Shift> = LazyLock::new(|| {
    // Not there before Linux 5.5, nor in kernels without time namespaces: nothing is shifted then.
    Shift::parse(&std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
});

impl Shift {
    /// Lines of a clock's name, seconds and nanoseconds.
    fn parse(text: &str) -> Self {
        let of = |clock: &str| {
            text.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next()?;
                let (seconds, rest): (i64, i64) =
                    (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                let ns = seconds.saturating_mul(1_000_000_000).saturating_add(rest);
                (name == clock).then_some(ns)
            })
        };
        Self { monotonic_ns: of("monotonic").unwrap_or(0), boot_ns: of("boottime").unwrap_or(0) }
    }
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
    fn start_times_are_shifted_or_not() {
        const S: i64 = 1_000_000_000;
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(own_start_ns(stat), Some(47_110_000_000));
        assert_eq!(own_start_ns(""), None);
        for shift in [100_000 * S, -300 * S] {
            let now = 500 * S + shift;
            assert_eq!(likelier_shift(shift, 499 * S + shift, now), shift);
            assert_eq!(likelier_shift(shift, 499 * S, now), 0);
        }
        assert_eq!(likelier_shift(0, 499 * S, 500 * S), 0);
    }

    #[test]
    fn the_shift_of_a_time_namespace_is_read() {
        let text = "monotonic           0         0\nboottime       100000   5\n";
        let shift = Shift::parse(text);
        assert_eq!(shift, Shift { monotonic_ns: 0, boot_ns: 100_000_000_000_005 });
        assert_eq!(Shift::parse("monotonic -7 0\n").monotonic_ns, -7_000_000_000);
        assert_eq!(Shift::parse(""), Shift::default());
    }
}
