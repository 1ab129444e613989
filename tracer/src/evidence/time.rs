//! Time: the wall clock for people, `CLOCK_BOOTTIME` for order.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;
/// Nanoseconds of a second.
pub const S: u64 = 1_000 * MS;

/// A point in time on both clocks.
///
/// `boot_ns` orders events and survives steps of the wall clock; `time` is what the clock on the
/// wall showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// UTC wall-clock time.
    pub time: Time,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    #[serde(deserialize_with = "boot_ns")]
    pub boot_ns: u64,
}

/// No machine runs for 146 years. What is read from a file is held to that, so that a span of time can
/// be added to any moment.
const LAST_BOOT_NS: u64 = u64::MAX / 4;

fn boot_ns<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let ns = u64::deserialize(deserializer)?;
    if ns > LAST_BOOT_NS {
        return Err(serde::de::Error::custom(format_args!("boot_ns {ns} is later than any clock")));
    }
    Ok(ns)
}

/// UTC wall-clock time with nanoseconds; RFC 3339 in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("format" = "date-time"))]
pub struct Time(pub Timestamp);

impl Time {
    /// From nanoseconds since the Unix epoch; values outside of jiff's range are clamped to it.
    pub fn from_unix_ns(ns: i128) -> Self {
        Self(Timestamp::from_nanosecond(ns).unwrap_or(if ns < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        }))
    }

    /// Nanoseconds since the Unix epoch.
    pub fn unix_ns(self) -> i128 {
        self.0.as_nanosecond()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Moment {
    /// The earlier of the two: a cause that was read later than its effect is shown at it.
    #[must_use]
    pub const fn no_later_than(self, effect: Self) -> Self {
        if self.boot_ns > effect.boot_ns { effect } else { self }
    }

    /// Another moment of the same boot, by its `boot_ns`, with the wall clock read as now.
    pub fn shifted(self, boot_ns: u64) -> Self {
        let delta = i128::from(boot_ns) - i128::from(self.boot_ns);
        Self { time: Time::from_unix_ns(self.time.unix_ns() + delta), boot_ns }
    }
}

/// A span that systemd gives in microseconds, as its own tools write it (`1min 30s`).
pub fn systemd_span(micros: u64) -> String {
    if micros == u64::MAX {
        return "infinity".to_owned();
    }
    const UNITS: [(u64, &str); 5] = [
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
        (1_000, "ms"),
    ];
    let mut left = micros;
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        if left >= size {
            parts.push(format!("{}{unit}", left / size));
            left %= size;
        }
    }
    if parts.is_empty() { format!("{micros}us") } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_spans_read_as_systemd_writes_them() {
        assert_eq!(systemd_span(90_000_000), "1min 30s");
        assert_eq!(systemd_span(u64::MAX), "infinity");
        assert_eq!(systemd_span(0), "0us");
    }
}
