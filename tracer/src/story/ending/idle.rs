//! The time after which sshd closes a session in which nothing happens.

use crate::evidence::S;
use crate::story::case::Case;
use crate::story::verdict::DecidingSetting;

/// The setting by which sshd closes idle sessions, where it does.
pub fn channel_timeout(case: &Case<'_>) -> Option<DecidingSetting> {
    let setting = case.setting(&["sshd_config"], "ChannelTimeout");
    setting.filter(|setting| session_timeout(&setting.value).is_some())
}

/// The shortest time, nanoseconds, after which a value of `ChannelTimeout=` ends a session in which nothing happens:
/// `session:*=5m direct-tcpip=1h30m` (sshd_config(5), TIME FORMATS).
pub fn session_timeout(value: &str) -> Option<u64> {
    let limits = value.split_whitespace().filter_map(|pair| {
        let (kind, limit) = pair.trim_matches('"').split_once('=')?;
        let is_its = ["session", "*", "global"].iter().any(|start| kind.starts_with(start));
        ssh_span(limit).filter(|ns| is_its && *ns > 0)
    });
    limits.min()
}

/// `300`, `5m`, `1h30m`, nanoseconds.
fn ssh_span(text: &str) -> Option<u64> {
    let (mut sum, mut number) = (0_u64, None);
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            number = Some(number.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        let seconds = match letter.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        sum = sum.checked_add(number.take()?.checked_mul(seconds)?)?;
    }
    sum.checked_add(number.unwrap_or(0))?.checked_mul(S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_session_may_be_idle() {
        let of = |value: &str| session_timeout(value).map(|ns| ns / S);
        assert_eq!(of("session:*=3s direct-tcpip=1s"), Some(3));
        assert_eq!(of("*=300 session=1h30m"), Some(300));
        assert_eq!(of("session:shell=1h30m"), Some(5400));
        for value in ["none", "", "session=0", "x11-connection=5m", "session=5y", "session=m"] {
            assert_eq!(of(value), None, "{value}");
        }
        let _ = of(&format!("session={}", u64::MAX));
    }
}
