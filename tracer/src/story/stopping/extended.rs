//! Time limits that a unit's own processes had put off.

use crate::story::manager::UnitStop;
use crate::story::words;

/// A manager may be late, and more so on a busy machine.
const LATE_US: u64 = 1_000_000;

/// That a unit was given longer than the limit with this property says, as a sentence after a space: what runs in it can ask for
/// that (`service_extend_timeout`), where it is listened to.
pub fn extended(stop: &UnitStop<'_>, took_us: u64, property: &str) -> Option<String> {
    let history = stop.history?;
    let access = history.text("NotifyAccess").filter(|access| *access != "none")?;
    let limit_us = history.now.get(property)?.as_u64().filter(|limit| *limit != u64::MAX)?;
    let over_us = took_us.checked_sub(limit_us).filter(|over| *over >= LATE_US)?;
    let span = |micros: u64| words::span(micros.saturating_mul(1_000));
    Some(format!(
        " It was given {}, {} more than that limit: a process of its own may have asked for more time \
         (EXTEND_TIMEOUT_USEC=, sd_notify(3); NotifyAccess={access}), or the machine slept meanwhile.",
        span(took_us),
        span(over_us)
    ))
}
