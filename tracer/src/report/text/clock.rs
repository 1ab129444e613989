//! Times of the text report, with strace's choices.

use jiff::tz::Offset;

use crate::evidence::Moment;

/// How times are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockStyle {
    /// Time of day in milliseconds.
    #[default]
    Milliseconds,
    /// `-t`: time of day in seconds.
    Seconds,
    /// `-tt`: time of day in microseconds.
    Microseconds,
    /// `-ttt`: seconds since 1970, with microseconds.
    Epoch,
    /// `-r`: seconds since the line before, with microseconds.
    Relative,
}

/// Shows times in the zone of the machine that traced.
#[derive(Clone, Debug)]
pub struct Clock {
    style: ClockStyle,
    offset: Offset,
}

impl Clock {
    /// `utc_offset` is in seconds east of UTC; one that no place on earth has counts as UTC.
    pub fn new(style: ClockStyle, utc_offset: i32) -> Self {
        let offset = Offset::from_seconds(utc_offset).unwrap_or(Offset::UTC);
        Self { style, offset }
    }

    /// The time of a line; `previous` is the line before, on `CLOCK_BOOTTIME`.
    pub fn show(&self, at: Moment, previous: Option<u64>) -> String {
        match self.style {
            ClockStyle::Milliseconds => self.of_day(at, 3),
            ClockStyle::Seconds => self.of_day(at, 0),
            ClockStyle::Microseconds => self.of_day(at, 6),
            ClockStyle::Epoch => {
                let ns = at.time.unix_ns().max(0);
                format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
            }
            ClockStyle::Relative => {
                let passed = at.boot_ns.saturating_sub(previous.unwrap_or(at.boot_ns));
                format!("{:>6}.{:06}", passed / 1_000_000_000, passed % 1_000_000_000 / 1000)
            }
        }
    }

    /// The date, where the style does not tell it.
    pub fn date(&self, at: Moment) -> Option<String> {
        match self.style {
            ClockStyle::Epoch | ClockStyle::Relative => None,
            _ => Some(self.offset.to_datetime(at.time.0).date().to_string()),
        }
    }

    /// The time of day with so many digits after the point. There is one at each line, so it is calculated, not
    /// formatted by a pattern.
    fn of_day(&self, at: Moment, digits: usize) -> String {
        let (time, offset) = (at.time.0, i64::from(self.offset.seconds()));
        // Before 1970 the rest counts backwards.
        let ns = i64::from(time.subsec_nanosecond()).rem_euclid(1_000_000_000);
        let begun = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
        let seconds = (begun + offset).rem_euclid(86_400);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match digits {
            0 => format!("{hours:02}:{minutes:02}:{seconds:02}"),
            3 => format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", ns / 1_000_000 % 1000),
            _ => format!("{hours:02}:{minutes:02}:{seconds:02}.{:06}", ns / 1000 % 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Time;

    #[test]
    fn times_are_shown_as_strace_shows_them() {
        let at =
            Moment { time: Time::from_unix_ns(1_790_838_128_912_345_678), boot_ns: 5_000_001_000 };
        let show = |style| Clock::new(style, 7200).show(at, Some(1_999_999_000));
        assert_eq!(show(ClockStyle::Milliseconds), "09:02:08.912");
        assert_eq!(show(ClockStyle::Seconds), "09:02:08");
        let before = Moment { time: Time::from_unix_ns(-1_500_000), boot_ns: 0 };
        let shown = Clock::new(ClockStyle::Milliseconds, -3600).show(before, None);
        assert_eq!(shown, "22:59:59.998");
        assert_eq!(show(ClockStyle::Microseconds), "09:02:08.912345");
        assert_eq!(show(ClockStyle::Epoch), "1790838128.912345");
        assert_eq!(show(ClockStyle::Relative), "     3.000002");
    }

    #[test]
    fn impossible_times_and_offsets_do_no_harm() {
        for ns in [i128::MIN, -1, i128::MAX] {
            let at = Moment { time: Time::from_unix_ns(ns), boot_ns: u64::MAX };
            for style in [ClockStyle::Milliseconds, ClockStyle::Epoch, ClockStyle::Relative] {
                for offset in [i32::MIN, 0, 93_599, i32::MAX] {
                    assert!(!Clock::new(style, offset).show(at, Some(0)).is_empty());
                }
            }
        }
    }
}
