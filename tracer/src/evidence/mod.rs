//! The vocabulary: everything that killtrace learns is one value of [`Evidence`].
//!
//! Plain data. Nothing here reads a file, asks the kernel or decides anything; whatever the story
//! tells is computed from values of these types and from nothing else, so that a recording of them
//! repeats the verdict on any machine.

#![forbid(unsafe_code)]

mod cgroup_container;
pub mod cgroup_path;
mod facts;
mod glob;
mod header;
mod mapping;
mod process;
mod program_name;
mod signal;
mod time;
mod unit_name;

pub use cgroup_path::CgroupOwner;
pub use facts::*;
pub use glob::*;
pub use header::*;
pub use mapping::*;
pub use process::*;
pub use program_name::fits;
pub use signal::*;
pub use time::*;
pub use unit_name::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that was learned, with when and from where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// When it happened.
    #[serde(flatten)]
    pub at: Moment,
    /// Where it comes from.
    pub source: Source,
    /// What it says.
    pub fact: Fact,
}

/// Where a piece of evidence comes from; decides how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A hook of ours in the kernel, at the moment it happened.
    Kernel,
    /// A message seen on a D-Bus bus while it was sent.
    Bus,
    /// A D-Bus property that was asked for.
    BusProperty,
    /// The journal. Fields that begin with `_` are journald's own, the rest anybody can write.
    Journal,
    /// The kernel's log.
    KernelLog,
    /// `/proc`
    Proc,
    /// The cgroup file system.
    CgroupFs,
    /// A configuration or state file.
    File,
    /// killtrace itself: losses, targets, the end of the trace.
    Tracer,
}

impl Source {
    /// The grade that a link resting on this source alone can have.
    pub const fn grade(self) -> Grade {
        match self {
            Self::Kernel | Self::Bus | Self::Tracer => Grade::Observed,
            Self::BusProperty
            | Self::Journal
            | Self::KernelLog
            | Self::Proc
            | Self::CgroupFs
            | Self::File => Grade::Reported,
        }
    }
}

/// How well a statement is proven. The order is from weakest to strongest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// killtrace concludes it; the text says from what.
    Inferred,
    /// The journal, a D-Bus property or a file says so.
    Reported,
    /// A kernel event, or a message seen on the bus, while tracing.
    Observed,
}

impl Grade {
    /// The word for it in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inferred => "inferred",
            Self::Reported => "reported",
            Self::Observed => "observed",
        }
    }
}
