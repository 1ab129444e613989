//! Writes the evidence file.
//!
//! Lines are collected and written in blocks: a block is written when it is large, when it is old, or
//! when asked for. Of a block that cannot be written whole, the lines that fit are kept where it is plain, and
//! none where it is compressed: the file always ends with a whole line or frame. The rest is counted as lost,
//! and tracing goes on.

use std::fs::{File, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::destination::Destination;
use crate::evidence::{Evidence, Fact, Header, LossPlace, Lost, Moment, Source};

use super::{RecordingError, RecordingLine};

/// Size at which a block is written.
const BLOCK: usize = 256 * 1024;
/// Age at which a plain block is written.
const AGE: Duration = Duration::from_millis(100);
/// Age at which a compressed block is written; longer, since small frames compress badly.
const AGE_COMPRESSED: Duration = Duration::from_secs(1);
/// How long to wait before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// zstd's default: its window of 2 MiB needs little memory in the reader.
const LEVEL: i32 = 3;

/// Keeps evidence in a file.
#[derive(Debug)]
pub struct Recorder {
    file: File,
    path: PathBuf,
    compressed: bool,
    /// Length of the file up to the end of its last whole block, where it is a file that has one.
    good: Option<u64>,
    /// It has a name, so that others can find it.
    named: bool,
    block: Vec<u8>,
    /// Pieces of evidence in `block`.
    pending: u64,
    /// When the eldest line of `block` came.
    since: Instant,
    failed: Option<Failure>,
}

/// Writing has failed and has not succeeded since.
#[derive(Debug)]
struct Failure {
    dropped: u64,
    tried: Instant,
}

impl Recorder {
    /// Makes the file, readable by its owner only, and writes the header. Under sudo it is given to
    /// the caller, who could not replay it otherwise.
    ///
    /// # Errors
    /// Where the file cannot be made or the header cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordingError> {
        let fail = |error| RecordingError::Create { path: path.to_owned(), error };
        let file = open(path).map_err(fail)?;
        let made = file.metadata().map_err(fail)?;
        let mut recorder = Self {
            file,
            path: path.to_owned(),
            compressed: path.extension().is_some_and(|extension| extension == "zst"),
            good: made.is_file().then_some(0),
            named: made.is_file() && made.nlink() > 0,
            block: Vec::new(),
            pending: 0,
            since: Instant::now(),
            failed: None,
        };
        let line = RecordingLine::Header(Box::new(header.clone()));
        recorder.push(&line).and_then(|()| recorder.write_block()).map_err(fail)?;
        Ok(recorder)
    }

    /// Keeps one piece of evidence. Gives a sentence for stderr and the loss to be traced, once, when
    /// writing begins to fail.
    pub fn evidence(&mut self, evidence: &Evidence) -> Option<(String, Evidence)> {
        if let Some(failure) = &mut self.failed {
            if failure.tried.elapsed() < RETRY {
                failure.dropped += 1;
                return None;
            }
            // What was lost goes first, so that the reader knows where the gap is.
            let lost = lost(
                evidence.at,
                failure.dropped,
                "the recording could not be written for a while",
            );
            failure.tried = Instant::now();
            let line = RecordingLine::Evidence(Box::new(lost));
            let told = self.push(&line).and_then(|()| self.write_block());
            let failure = self.failed.as_mut()?;
            if told.is_err() {
                self.block.clear();
                failure.dropped += 1;
                return None;
            }
            failure.dropped = 0;
        }
        let line = RecordingLine::Evidence(Box::new(evidence.clone()));
        let result = self.push(&line).and_then(|()| {
            self.pending += 1;
            if self.is_due() { self.write_block() } else { Ok(()) }
        });
        self.outcome(result, evidence.at)
    }

    /// Writes what is waiting. To be called when nothing has come for a while, and at the end; `now`
    /// is the time of a loss that it may have to tell of.
    pub fn flush(&mut self, now: Moment) -> Option<(String, Evidence)> {
        if self.block.is_empty() {
            return None;
        }
        let result = self.write_block();
        self.outcome(result, now)
    }

    fn is_due(&self) -> bool {
        let age = if self.compressed { AGE_COMPRESSED } else { AGE };
        self.failed.is_some() || self.block.len() >= BLOCK || self.since.elapsed() >= age
    }

    /// Turns a failed write into a loss, and tells of it the first time.
    fn outcome(&mut self, result: io::Result<()>, at: Moment) -> Option<(String, Evidence)> {
        let Err(error) = result else {
            if self.block.is_empty() {
                self.failed = None;
            }
            return None;
        };
        self.block.clear();
        let dropped = std::mem::take(&mut self.pending);
        if let Some(failure) = &mut self.failed {
            failure.dropped = failure.dropped.saturating_add(dropped);
            return None;
        }
        self.failed = Some(Failure { dropped, tried: Instant::now() });
        let path = self.path.display();
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "trace anew to have another",
            _ => "make room to have it continued",
        };
        let sentence = format!(
            "the recording {path} cannot be written ({error}): tracing goes on without it; {remedy}"
        );
        Some((sentence, lost(at, dropped, &format!("the recording cannot be written: {error}"))))
    }

    fn push(&mut self, line: &RecordingLine) -> io::Result<()> {
        if self.block.is_empty() {
            self.since = Instant::now();
        }
        let before = self.block.len();
        if let Err(error) = serde_json::to_writer(&mut self.block, line) {
            self.block.truncate(before);
            return Err(error.into());
        }
        self.block.push(b'\n');
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.named && self.file.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has been removed"));
        }
        let frame;
        let bytes = if self.compressed {
            frame = zstd::bulk::compress(&self.block, LEVEL)?;
            &frame
        } else {
            &self.block
        };
        let (written, result) = write_most(&mut self.file, bytes);
        let whole = match (&result, self.compressed) {
            (Ok(()), _) => self.block.len(),
            (Err(_), true) => 0,
            (Err(_), false) => {
                bytes[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
            }
        };
        if let Some(good) = &mut self.good {
            *good += if result.is_ok() { written } else { whole } as u64;
            // Where even this fails, the reader stops at the torn line by itself.
            if result.is_err()
                && self
                    .file
                    .set_len(*good)
                    .and_then(|()| self.file.seek(io::SeekFrom::Start(*good)))
                    .is_err()
            {
                tracing::debug!("the torn end of the recording could not be cut off");
            }
        }
        self.block.drain(..whole);
        let left = self.block.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.pending = self.pending.min(left);
        result
    }
}

/// Like [`Write::write_all`], but tells how many bytes were written before it failed.
fn write_most(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// A loss at the time of `at`.
fn lost(at: Moment, dropped: u64, detail: &str) -> Evidence {
    let lost = Lost { dropped, place: LossPlace::Recording, detail: Some(detail.to_owned()) };
    Fact::Lost(lost).at(at, Source::Tracer)
}

fn open(path: &Path) -> io::Result<File> {
    let found = Destination::create(path, 0o600)?;
    if found.is_new {
        give_to_caller(&found.file);
    } else if let Err(error) = keep_to_owner(&found.file) {
        tracing::warn!("others than its owner may read the recording: {error}");
    }
    Ok(found.file)
}

/// Takes others' rights away from a file that was there before.
fn keep_to_owner(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.is_file() && found.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(found.mode() & 0o700))?;
    }
    Ok(())
}

/// Gives a new file to the user who called sudo.
fn give_to_caller(file: &File) {
    let id = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if let Some(uid) = id("SUDO_UID")
        && let Err(error) = std::os::unix::fs::fchown(file, Some(uid), id("SUDO_GID"))
    {
        tracing::debug!("the recording stays with its maker: {error}");
    }
}
