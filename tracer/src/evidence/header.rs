//! What begins every report and every recording: the machine, the options and the state of the hooks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Moment;

/// Version of the JSON output and of the evidence file. Raised when a field is renamed or dropped.
pub const SCHEMA: u32 = 1;

/// The state of a hook or source that is in place.
pub const ATTACHED: &str = "attached";

/// The state of a source that is not there yet.
pub const CONNECTING: &str = "connecting";

/// How the state of a hook begins that is left out since nothing needs it.
pub const NOT_NEEDED: &str = "not needed";

/// Whether the state of a hook or source means that something is missing that was wanted.
pub fn is_missing(state: &str) -> bool {
    state != ATTACHED && !state.starts_with(NOT_NEEDED)
}

/// The first record: which tracer, on which machine, with which eyes open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Version of killtrace.
    pub version: String,
    /// When every hook was attached.
    #[serde(flatten)]
    pub at: Moment,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Machine, as `uname -m`.
    pub arch: String,
    /// Host name.
    pub hostname: String,
    /// `/proc/sys/kernel/random/boot_id`
    pub boot_id: String,
    /// Version of systemd, where it runs this system.
    pub systemd: Option<String>,
    /// Targets as the user gave them.
    pub targets: Vec<String>,
    /// Kernel hook to `attached`, or why not.
    pub hooks: BTreeMap<String, String>,
    /// Source of system knowledge (`bus`, `journal`, …) to `attached`, or why not.
    pub sources: BTreeMap<String, String>,
    /// What decides which events are reported; replay needs it.
    pub options: TraceOptions,
    /// Seconds east of UTC of the tracing machine, for the clock times of the text report.
    pub utc_offset: i32,
}

/// The options of a trace that change what is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceOptions {
    /// Report every end, also of those that no signal preceded.
    pub exits: bool,
    /// Every death by signal on the machine is reported.
    pub all: bool,
    /// Numbers of the signals left out of the live lines.
    pub hidden_signals: Vec<u8>,
    /// Stop after the first death reported.
    pub once: bool,
}
