//! What killtrace says of itself: targets, losses, the end of the trace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::ProcessId;

/// Why a process is a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetReason {
    /// Named by pid.
    Pid,
    /// Started by `killtrace -- CMD`.
    Command,
    /// It matched, and was already running when tracing began.
    Running,
    /// It matched later.
    Matched,
    /// A child of a followed target.
    Child,
}

/// A process is a target from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Which.
    #[serde(flatten)]
    pub id: ProcessId,
    /// Why.
    pub reason: TargetReason,
}

/// Where events can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossPlace {
    /// The kernel's ring buffer was full.
    RingBuffer,
    /// A hook was skipped since it was already running on that CPU.
    Recursion,
    /// The bus dropped the monitor or messages of it.
    Bus,
    /// The journal's stream broke.
    Journal,
    /// The kernel's log was overwritten before it was read, or had a record that was too long.
    KernelLog,
    /// A map in the kernel was full.
    Map,
    /// The recording could not be written.
    Recording,
}

impl LossPlace {
    /// The word for it in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RingBuffer => "ring-buffer",
            Self::Recursion => "recursion",
            Self::Bus => "bus",
            Self::Journal => "journal",
            Self::KernelLog => "kernel-log",
            Self::Map => "map",
            Self::Recording => "recording",
        }
    }

    /// Whether what was lost there are the kernel's own events: signals, ends.
    pub const fn is_in_kernel(self) -> bool {
        matches!(self, Self::RingBuffer | Self::Recursion)
    }
}

/// Events were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// How many since the last such report; 0 where it cannot be known.
    pub dropped: u64,
    /// Where.
    #[serde(rename = "where")]
    pub place: LossPlace,
    /// More, in words.
    pub detail: Option<String>,
}

/// Something could not be found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unavailable {
    /// What: `journal`, `bus`, `unit tmux.service`, `process 4242`.
    pub what: String,
    /// Why, in one clause.
    pub why: String,
}

/// A target was looked for after events had been lost, and was not there any more: `/proc` had no such process
/// with that start time, or only its remains, twice in a row a second apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gone {
    /// Who.
    #[serde(flatten)]
    pub id: ProcessId,
}

/// The verdict on an end is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settled {
    /// Whose end.
    #[serde(flatten)]
    pub id: ProcessId,
}

/// The trace ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// Why: `interrupted`, `terminated` (SIGTERM), `hung up` (SIGHUP), `nobody reads the report`, `once`, `duration`,
    /// `command ended`, `the command did not start`, `targets gone`.
    pub reason: String,
}

impl End {
    /// There was no such program, or it could not be executed: what would have become the command is no target.
    pub const NOT_STARTED: &str = "the command did not start";
}

#[cfg(test)]
mod tests {
    use super::LossPlace::{Bus, Journal, KernelLog, Map, Recording, Recursion, RingBuffer};

    #[test]
    fn places_have_the_words_that_are_written() {
        for place in [RingBuffer, Recursion, Bus, Journal, KernelLog, Map, Recording] {
            let written = serde_json::to_value(place).expect("a word");
            assert_eq!(written.as_str(), Some(place.as_str()));
        }
    }
}
