//! What a process had mapped (mmap(2)).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ProcessId;

/// What a process that faulted had mapped where it faulted. Follows the signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mappings {
    /// The process.
    pub id: ProcessId,
    /// Where the code was, and what it touched, as far as something is mapped there.
    pub found: Vec<Mapping>,
}

/// What is mapped at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mapping {
    /// The address.
    pub address: u64,
    /// What is there.
    pub area: Area,
}

/// A mapping of a process (mmap(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Area {
    /// As in the second column of `/proc/PID/maps`: `r-xp`.
    pub permissions: String,
    /// It is the heap of brk(2).
    pub heap: bool,
    /// It is the stack of the process's first thread.
    pub stack: bool,
    /// What file is mapped; `None` where it is memory alone.
    pub file: Option<MappedFile>,
}

/// The file behind a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MappedFile {
    /// Its path from the root of the process's mount namespace; begins with `…` where it is longer than could
    /// be taken.
    pub path: String,
    /// It has been deleted.
    pub deleted: bool,
    /// Where in it the address lies, in bytes.
    pub offset: u64,
    /// Bytes it had when the fault happened.
    pub size: u64,
}
