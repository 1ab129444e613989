//! Sets of signals in strace's syntax: `-e signal=TERM,KILL`, `-e signal=!CHLD`.

use std::str::FromStr;

use crate::evidence::{sig, signal_number};

/// Signals that the live lines leave out unless `-e` says otherwise.
pub const HIDDEN_BY_DEFAULT: [u8; 5] = [0, sig::SIGCHLD, sig::SIGURG, sig::SIGWINCH, sig::SIGCONT];

/// The signals that the live lines show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalSet {
    /// Bit N: signal N is shown; bit 0 is signal 0, the probe.
    shown: u128,
}

/// Why a text is no set of signals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignalSetError {
    /// Not `signal=`.
    #[error("only signal=SET is understood here: write -e signal=TERM,KILL or -e signal=!CHLD")]
    Qualifier,
    /// No signal has that name.
    #[error(
        "there is no signal '{0}': write names as in kill -l, with or without SIG, or numbers up to 64"
    )]
    Unknown(String),
    /// Nothing after `signal=`.
    #[error("the set of signals is empty: name some, or write signal=none")]
    Empty,
}

/// All signals, and 0.
const ALL: u128 = (1 << 65) - 1;

impl SignalSet {
    /// Numbers of the signals that are left out.
    pub fn hidden(self) -> Vec<u8> {
        (0..=sig::SIGRTMAX).filter(|number| self.shown >> number & 1 == 0).collect()
    }
}

impl Default for SignalSet {
    fn default() -> Self {
        let hidden = HIDDEN_BY_DEFAULT.iter().fold(0, |bits, number| bits | 1 << number);
        Self { shown: ALL & !hidden }
    }
}

impl FromStr for SignalSet {
    type Err = SignalSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(("signal" | "signals" | "s", set)) = text.split_once('=') else {
            return Err(SignalSetError::Qualifier);
        };
        let (negated, names) = match set.strip_prefix('!') {
            Some(names) => (true, names),
            None => (false, set),
        };
        if names.is_empty() {
            return Err(SignalSetError::Empty);
        }
        let mut bits = 0;
        for name in names.split(',') {
            bits |= match name {
                "all" => ALL,
                "none" => 0,
                _ => {
                    1 << signal_number(name)
                        .ok_or_else(|| SignalSetError::Unknown(name.to_owned()))?
                }
            };
        }
        Ok(Self { shown: if negated { ALL & !bits } else { bits } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Vec<u8> {
        text.parse::<SignalSet>().expect("a set").hidden()
    }

    #[test]
    fn sets_are_read_as_strace_reads_them() {
        let all_but =
            |shown: &[u8]| -> Vec<u8> { (0..=64).filter(|n| !shown.contains(n)).collect() };
        assert_eq!(hidden("signal=TERM,KILL"), all_but(&[15, 9]));
        assert_eq!(hidden("signals=sigterm,9"), all_but(&[15, 9]));
        assert_eq!(hidden("s=RTMIN"), all_but(&[34]));
        assert_eq!(hidden("signal=!CHLD"), [17]);
        assert_eq!(hidden("signal=!CHLD,0"), [0, 17]);
        assert_eq!(hidden("signal=all"), [0u8; 0]);
        assert_eq!(hidden("signal=none"), all_but(&[]));
        assert_eq!(hidden("signal=!none"), [0u8; 0]);
    }

    #[test]
    fn without_a_set_the_chatter_is_left_out() {
        assert_eq!(SignalSet::default().hidden(), [0, 17, 18, 23, 28]);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let error = |text: &str| text.parse::<SignalSet>().expect_err("refused");
        assert_eq!(error("trace=kill"), SignalSetError::Qualifier);
        assert_eq!(error("TERM"), SignalSetError::Qualifier);
        assert_eq!(error("signal="), SignalSetError::Empty);
        assert_eq!(error("signal=!"), SignalSetError::Empty);
        assert_eq!(error("signal=TERM,"), SignalSetError::Unknown(String::new()));
        assert_eq!(error("signal=NOPE"), SignalSetError::Unknown("NOPE".to_owned()));
        assert_eq!(error("signal=65"), SignalSetError::Unknown("65".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_set_or_refused(text in "(signal=)?!?([A-Z0-9,+]{0,12}|.{0,40})") {
            if let Ok(set) = text.parse::<SignalSet>() {
                proptest::prop_assert!(set.hidden().iter().all(|number| *number <= 64));
            }
        }

        #[test]
        fn what_is_not_named_is_hidden(shown in proptest::collection::btree_set(0_u8..=64, 1..20)) {
            let names: Vec<String> = shown.iter().map(u8::to_string).collect();
            let hidden = hidden(&format!("signal={}", names.join(",")));
            proptest::prop_assert!((0..=64).all(|n| shown.contains(&n) != hidden.contains(&n)));
        }
    }
}
