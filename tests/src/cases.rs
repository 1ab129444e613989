//! The golden cases: recorded evidence, and what killtrace must say of it, in `tests/cases/NAME/`.
//!
//! Here they are found, replayed and tidied up. `killtrace-cases` records them, `tests/replay.rs`
//! replays them.

mod table;
mod tidy;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use killtrace::recording::Reader;
use killtrace::report::{Layout, ReportForm, ReportOptions, Reporter};
use killtrace::story::Engine;
use killtrace::story::verdict::Record;

pub use table::{LAB, LIVE, LabCase, OTHER_LABS};
pub use tidy::{of_lab, tidy};

/// What a recording is called in the directory of its case, plain or compressed.
const NAMES: [&str; 2] = ["evidence.jsonl", "evidence.jsonl.zst"];
/// From this size on a recording is kept compressed.
const LARGE: usize = 64 << 10;
/// zstd's highest usual level: a case is written once and read for years.
const LEVEL: i32 = 19;

/// Where the cases are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// One recorded case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name: that of its directory.
    pub name: String,
    /// Its directory, where the snapshots are as well.
    pub folder: PathBuf,
    /// Its recording.
    pub recording: PathBuf,
}

/// Every case, by name.
///
/// # Errors
/// Where the directory cannot be read, or one in it has no recording.
pub fn all() -> Result<Vec<Case>> {
    let folder = folder();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut cases = Vec::new();
    for entry in entries {
        let folder = entry.context("cannot read the directory of the cases")?.path();
        let recording = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        let recording = recording
            .with_context(|| format!("{} has no {}", folder.display(), NAMES.join(" and no ")))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cases.push(Case { name, folder, recording });
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cases)
}

/// The records of a recording, as `killtrace replay` computes them.
///
/// # Errors
/// Where it is no recording, or a damaged one.
pub fn records(recording: &Path) -> Result<Vec<Record>> {
    let (header, mut reader) = Reader::open(recording)?;
    let mut records = vec![Record::Header(Box::new(header.clone()))];
    let mut engine = Engine::new(header);
    while let Some(evidence) = reader.next_evidence().map_err(anyhow::Error::msg)? {
        records.extend(engine.observe(&evidence));
    }
    records.extend(engine.finish());
    Ok(records)
}

/// The report in that form; text is as on a terminal without colour, of that width.
///
/// # Errors
/// None is to be expected: it is written to memory.
pub fn report(records: &[Record], form: ReportForm, width: Option<usize>) -> Result<String> {
    let mut bytes = Vec::new();
    let options =
        ReportOptions { form, layout: Layout { width, colour: false }, ..ReportOptions::default() };
    let mut reporter = Reporter::new(&mut bytes, &options);
    for record in records {
        reporter.record(record)?;
    }
    String::from_utf8(bytes).context("the report is not UTF-8")
}

/// Keeps a recording, tidied up, as the case of that name.
///
/// # Errors
/// Where it holds what must not leave this machine, or the file cannot be written.
pub fn keep(name: &str, recording: &str) -> Result<()> {
    let text = tidy(recording).with_context(|| format!("the recording of {name}"))?;
    let folder = folder().join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in NAMES {
        // It may have been of the other kind before.
        let _ = fs::remove_file(folder.join(name));
    }
    let (name, bytes) = if text.len() < LARGE {
        (NAMES[0], text.into_bytes())
    } else {
        (NAMES[1], zstd::bulk::compress(text.as_bytes(), LEVEL)?)
    };
    let file = folder.join(name);
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
