//! The report for programs: one JSON object a line, as docs/output.md describes.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::evidence::{Moment, Process, Signal};
use crate::story::verdict::{Record, SignalRecord};

use super::escape;

/// One record as one line. What a terminal must not see is written as `\uXXXX`.
///
/// # Errors
/// Where a value has no form in JSON, which no record has.
pub fn record(record: &Record) -> io::Result<String> {
    line(record)
}

/// Writes one record after the other. The two processes of a signal are mostly those of the one before, and
/// most of its text: that is kept.
#[derive(Debug, Default)]
pub struct Json {
    sender: Kept,
    target: Kept,
}

impl Json {
    /// As [`record`](record()).
    ///
    /// # Errors
    /// As there.
    pub fn record(&mut self, record: &Record) -> io::Result<String> {
        let Record::Signal(signal) = record else { return line(record) };
        let SignalRecord { at, sender, target, target_tid, signal, repeated } = &**signal;
        let sender = sender.as_ref().map(|sender| self.sender.text(sender)).transpose()?;
        let target = self.target.text(target)?;
        let (kind, target_tid, repeated) = ("signal", *target_tid, *repeated);
        line(&SignalLine { kind, at, sender, target, target_tid, signal, repeated })
    }
}

/// A [`SignalRecord`] whose processes are JSON already.
#[derive(Serialize)]
struct SignalLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    at: &'a Moment,
    sender: Option<&'a RawValue>,
    target: &'a RawValue,
    target_tid: Option<u32>,
    signal: &'a Signal,
    repeated: u64,
}

/// The process that was written last, and its text.
#[derive(Debug, Default)]
struct Kept(Option<(Arc<Process>, Box<RawValue>)>);

impl Kept {
    fn text(&mut self, process: &Arc<Process>) -> io::Result<&RawValue> {
        let same = |kept: &Arc<Process>| Arc::ptr_eq(kept, process) || kept == process;
        let kept = self.0.take().filter(|(kept, _)| same(kept));
        let kept = match kept {
            Some(kept) => kept,
            None => (Arc::clone(process), to_raw_value(process)?),
        };
        Ok(&self.0.insert(kept).1)
    }
}

fn line(value: &impl Serialize) -> io::Result<String> {
    let mut line = serde_json::to_string(value)?;
    if let std::borrow::Cow::Owned(escaped) = escape::json(&line) {
        line = escaped;
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn what_is_kept_changes_no_byte() {
        let mut json = Json::default();
        let mut signal = samples::signal();
        let mut same = |signal: &SignalRecord| {
            let wanted = Record::Signal(Box::new(signal.clone()));
            assert_eq!(json.record(&wanted).expect("JSON"), record(&wanted).expect("JSON"));
        };
        same(&signal);
        same(&signal);
        Arc::make_mut(&mut signal.target).comm = Some("another\u{7f}".to_owned());
        signal.repeated = 3;
        same(&signal);
        signal.sender = None;
        signal.target_tid = Some(7);
        same(&signal);
        signal.sender = Some(signal.target.clone());
        same(&signal);
    }
}
