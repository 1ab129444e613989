//! Durations as people write them: `30s`, `5m`, `1h30m`, `500ms`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It has another form.
    #[error("it is no duration: write 30s, 5m, 1h30m or 500ms")]
    Form,
    /// It is zero.
    #[error("it must be longer than nothing: write 30s, 5m, 1h30m or 500ms")]
    Zero,
    /// It does not fit.
    #[error("it is longer than killtrace can count: leave --duration out to trace without end")]
    TooLong,
}

/// Reads a duration: numbers with units `ms`, `s`, `m` (or `min`), `h`, `d`; a bare number is seconds.
///
/// # Errors
/// Where the text has another form, is zero, or does not fit 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return checked(seconds.checked_mul(1000));
    }
    if rest.is_empty() {
        return Err(DurationError::Form);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let factor = unit_ms(unit).ok_or(DurationError::Form)?;
        if number.is_empty() {
            return Err(DurationError::Form);
        }
        let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
        total = number
            .checked_mul(factor)
            .and_then(|part| total.checked_add(part))
            .ok_or(DurationError::TooLong)?;
        rest = tail.trim_start();
    }
    checked(Some(total))
}

/// Milliseconds of a unit.
fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

fn checked(milliseconds: Option<u64>) -> Result<Duration, DurationError> {
    match milliseconds {
        None => Err(DurationError::TooLong),
        Some(0) => Err(DurationError::Zero),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30min", 5_400_000),
            ("500ms", 500),
            ("2d", 172_800_000),
            ("45", 45_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "1x", "1h-3m", "-5s", "1.5s", "ms5", "5 5", "１s"] {
            assert_eq!(parse_duration(text), Err(DurationError::Form), "{text}");
        }
        assert_eq!(parse_duration("0s"), Err(DurationError::Zero));
        assert_eq!(parse_duration("0"), Err(DurationError::Zero));
        assert_eq!(parse_duration("18446744073709551615"), Err(DurationError::TooLong));
        assert_eq!(parse_duration("99999999999999999999s"), Err(DurationError::TooLong));
        assert_eq!(parse_duration("18446744073709551615ms1ms"), Err(DurationError::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_duration_or_refused(text in "([0-9]{0,22}(ms|s|m|h|d)?){0,4}|.{0,20}") {
            if let Ok(duration) = parse_duration(&text) {
                proptest::prop_assert!(!duration.is_zero());
            }
        }
    }
}
