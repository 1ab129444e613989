//! The evidence file: one JSON object a line, first the header, then the evidence in order of arrival.
//!
//! The file can be read up to its last whole line whatever happened to the writer. A name that ends
//! in `.zst` is compressed, in frames that each hold whole lines; readers look at the content, not
//! at the name.

#![forbid(unsafe_code)]

mod bounds;
mod reader;
mod writer;

use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, Header};

pub use reader::{Damage, MAX_LINE, MAX_LINES, Reader};
pub use writer::Recorder;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RecordingLine {
    /// The first line: the machine, the options and the state of the hooks.
    Header(Box<Header>),
    /// Every other line: one thing that was learned.
    Evidence(Box<Evidence>),
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be made.
    #[error("cannot write the recording {path}: {error}: choose another file with --record")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be opened or read.
    #[error("cannot read the recording {path}: {error}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Nothing is in it.
    #[error("{path} is empty: the tracer ended before anything was written")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{path} is no recording of killtrace ({why}): give a file made with --record")]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What is wrong with its first line.
        why: String,
    },
    /// It is a report.
    #[error(
        "{path} is a report in JSON, which has no evidence in it: give a file made with --record"
    )]
    Report {
        /// The file.
        path: PathBuf,
    },
    /// A later killtrace wrote it.
    #[error(
        "{path} has schema {found}, and this killtrace reads up to {known}: use the killtrace that wrote it ({version}), or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// Ours.
        known: u32,
        /// The version that wrote it.
        version: String,
    },
}

#[cfg(test)]
mod tests;
