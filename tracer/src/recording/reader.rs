//! Reads the evidence file, line by line and within fixed bounds, whatever is in it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::evidence::{Evidence, Header, SCHEMA};

use super::{RecordingError, RecordingLine, bounds};

/// Longest line that is read, bytes.
pub const MAX_LINE: usize = 8 * 1024 * 1024;
/// How many lines are read.
pub const MAX_LINES: u64 = 50_000_000;
/// Largest window that a zstd frame may ask for, as a power of two: what the zstd program allows.
const MAX_WINDOW_LOG: u32 = 27;
/// What a zstd frame begins with (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Gives the evidence of a recording, in order.
pub struct Reader {
    input: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    done: bool,
}

/// Where and how a recording is damaged. What came before is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The line, counted from one.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the recording is damaged at line {}: {}", self.line, self.why)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("number", &self.number).field("done", &self.done).finish()
    }
}

impl Reader {
    /// Opens a recording; `-` is standard input. Gives its header, and the rest to be read.
    ///
    /// # Errors
    /// Where it cannot be read, is no recording, or is one of a later schema.
    pub fn open(path: &Path) -> Result<(Header, Self), RecordingError> {
        let fail = |error| RecordingError::Open { path: path.to_owned(), error };
        if path.as_os_str() == "-" {
            return Self::new(io::stdin(), path);
        }
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Self::new(file, path)
    }

    /// Reads a recording from a stream; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(
        mut input: impl Read + 'static,
        path: &Path,
    ) -> Result<(Header, Self), RecordingError> {
        let fail = |error| RecordingError::Open { path: path.to_owned(), error };
        let mut begin = Vec::new();
        input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut begin).map_err(fail)?;
        let compressed = begin == ZSTD_MAGIC;
        let input = io::Cursor::new(begin).chain(input);
        let input: Box<dyn BufRead> = if compressed {
            let mut decoder = zstd::Decoder::new(input).map_err(fail)?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(fail)?;
            Box::new(BufReader::new(decoder))
        } else {
            Box::new(BufReader::new(input))
        };
        let mut reader = Self { input, line: Vec::new(), number: 0, done: false };
        let header = reader.header(path)?;
        Ok((header, reader))
    }

    fn header(&mut self, path: &Path) -> Result<Header, RecordingError> {
        let path = path.to_owned();
        match self.read_line() {
            Ok(true) => {}
            Ok(false) => return Err(RecordingError::Empty { path }),
            Err(why) => return Err(RecordingError::NotARecording { path, why }),
        }
        let not =
            |why: &str| RecordingError::NotARecording { path: path.clone(), why: why.to_owned() };
        // The schema first: a later one may have another shape.
        let head: Head = serde_json::from_slice(&self.line).map_err(|error| {
            let is_cut = error.is_eof() && self.line.starts_with(b"{");
            not(if is_cut { "its first line is cut off" } else { "its first line is no header" })
        })?;
        if head.kind != "header" {
            return Err(not("its first line is no header"));
        }
        if head.schema > u64::from(SCHEMA) {
            let version = head.version.unwrap_or_else(|| "unknown".to_owned());
            let version = crate::report::escape::shortened(&version, 32);
            return Err(RecordingError::Newer { path, found: head.schema, known: SCHEMA, version });
        }
        match parsed(&self.line) {
            Ok(RecordingLine::Header(header)) => Ok(*header),
            Ok(RecordingLine::Evidence(_)) => Err(not("its first line is no header")),
            Err(error) => Err(not(&format!("its header is damaged: {}", told(&error)))),
        }
    }

    /// The next piece of evidence; `None` at the end.
    ///
    /// # Errors
    /// Where the file is damaged; nothing comes after that.
    pub fn next_evidence(&mut self) -> Result<Option<Evidence>, Damage> {
        if self.done {
            return Ok(None);
        }
        let result = self.read_line().and_then(|more| {
            if !more {
                return Ok(None);
            }
            if self.number > MAX_LINES {
                return Err(format!(
                    "there are more than {MAX_LINES} lines, which is as many as are read"
                ));
            }
            match parsed(&self.line) {
                Ok(RecordingLine::Evidence(evidence)) => Ok(Some(*evidence)),
                Ok(RecordingLine::Header(_)) => Err("a second header stands there".to_owned()),
                Err(_) if self.line.last() != Some(&b'\n') => {
                    Err("the file ends in the middle of it".to_owned())
                }
                Err(error) => Err(told(&error)),
            }
        });
        self.done = !matches!(result, Ok(Some(_)));
        result.map_err(|why| Damage { line: self.number, why })
    }

    /// Whether the file is a report rather than a recording: its line after the header is a record.
    ///
    /// To be asked after damage at line 2.
    pub fn at_report(&self) -> bool {
        let kind = serde_json::from_slice::<Kind>(&self.line).ok().map(|line| line.kind);
        matches!(kind.as_deref(), Some("signal" | "exit" | "death" | "loss" | "summary"))
    }

    /// Reads one line with its newline into `self.line`; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, String> {
        self.line.clear();
        self.number += 1;
        let limit = MAX_LINE as u64 + 1;
        match self.input.by_ref().take(limit).read_until(b'\n', &mut self.line) {
            Ok(0) => Ok(false),
            Ok(_) if self.line.len() > MAX_LINE => {
                self.line = Vec::new();
                Err(format!("it is longer than {MAX_LINE} bytes"))
            }
            Ok(_) => Ok(true),
            Err(error) => Err(format!("it cannot be read ({error})")),
        }
    }
}

/// A line, cut where it says more than live evidence can. One that is short says no more.
fn parsed(line: &[u8]) -> serde_json::Result<RecordingLine> {
    if line.len() <= bounds::TEXT {
        serde_json::from_slice(line)
    } else {
        serde_json::from_value(bounds::cut(line)?)
    }
}

/// A line, as far as its kind.
#[derive(serde::Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

/// A header, as far as is needed to know whether the rest can be understood.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    schema: u64,
    version: Option<String>,
}

/// An error of the JSON parser without its own line number, which is always one here.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let text = crate::report::escape::shortened(text, 200);
    match error.column() {
        0 => text,
        column => format!("{text} (column {column})"),
    }
}
