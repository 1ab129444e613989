//! The report for programs: one JSON object a line, as docs/output.md describes.

use std::io;

use crate::story::verdict::Record;

use super::escape;

/// One record as one line. What a terminal must not see is written as `\uXXXX`.
///
/// # Errors
/// Where a value has no form in JSON, which no record has.
pub fn record(record: &Record) -> io::Result<String> {
    let line = serde_json::to_string(record)?;
    let mut line = escape::json(&line).into_owned();
    line.push('\n');
    Ok(line)
}
