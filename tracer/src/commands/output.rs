//! Where the report goes, and how it looks there.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::{ColorChoice, Format, ReportArgs};
use crate::destination::Destination;
use crate::report::{ClockStyle, Layout, ReportForm, ReportOptions, Reporter, Verbosity};
use crate::story::verdict::Record;

use super::Failure;

/// Narrowest terminal that is believed; some say 0 or 1.
const MIN_WIDTH: u16 = 20;
/// Width of a terminal that does not tell.
const USUAL_WIDTH: u16 = 80;

/// The report, open for writing.
#[derive(Debug)]
pub struct Output {
    reporter: Reporter<BufWriter<Box<dyn Stream>>>,
    options: ReportOptions,
}

/// What a report can be written to.
trait Stream: Write + Send + std::fmt::Debug {}
impl<T: Write + Send + std::fmt::Debug> Stream for T {}

/// Whether somebody still reads the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as can be known.
    There,
    /// The pipe is closed: nothing is left to do.
    Gone,
}

impl Output {
    /// Opens standard output, or the file of `-o`.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub fn open(args: &ReportArgs) -> anyhow::Result<Self> {
        let path = args.output.as_deref().filter(|path| path.as_os_str() != "-");
        let (stream, terminal): (Box<dyn Stream>, bool) = match path {
            None => (Box::new(io::stdout()), io::stdout().is_terminal()),
            Some(path) => {
                let found = Destination::create(path, 0o666).with_context(|| {
                    format!(
                        "cannot write the report to {}, choose another file with -o",
                        path.display()
                    )
                })?;
                let terminal = found.file.is_terminal();
                (Box::new(found.file), terminal)
            }
        };
        let options = options(args, &Surroundings::here(terminal));
        Ok(Self { reporter: Reporter::new(BufWriter::new(stream), &options), options })
    }

    /// How the report looks.
    pub const fn options(&self) -> &ReportOptions {
        &self.options
    }

    /// Writes text that is no record.
    ///
    /// # Errors
    /// As [`records`](Self::records).
    pub fn text(&mut self, text: &str) -> anyhow::Result<Reader> {
        told(self.reporter.text(text).and_then(|()| self.reporter.flush()))
    }

    /// Writes records.
    ///
    /// # Errors
    /// Where they cannot be written though somebody may read, such as on a full disk.
    pub fn records(&mut self, records: &[Record]) -> anyhow::Result<Reader> {
        match self.collect(records)? {
            Reader::There => self.flush(),
            Reader::Gone => Ok(Reader::Gone),
        }
    }

    /// Writes records that nobody needs to see before [`flush`](Self::flush): a system call for each would
    /// cost more than the record does.
    ///
    /// # Errors
    /// As [`records`](Self::records).
    pub fn collect(&mut self, records: &[Record]) -> anyhow::Result<Reader> {
        for record in records {
            if told(self.reporter.record(record))? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::There)
    }

    /// Shows what has been collected.
    ///
    /// # Errors
    /// As [`records`](Self::records).
    pub fn flush(&mut self) -> anyhow::Result<Reader> {
        told(self.reporter.flush())
    }
}

/// A file, whether or not it is there already.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// By device and inode.
    There(u64, u64),
    /// By the folder that it will be in.
    Coming(PathBuf),
}

impl Identity {
    /// The regular file at this path; `None` for what can be written by several.
    fn of(path: &Path) -> Option<Self> {
        match path.metadata() {
            Ok(found) => Self::of_file(&found),
            Err(_) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
                Some(Self::Coming(folder.join(path.file_name()?)))
            }
        }
    }

    /// The regular file that is open there.
    fn of_open(stream: impl AsFd) -> Option<Self> {
        let file = File::from(stream.as_fd().try_clone_to_owned().ok()?);
        Self::of_file(&file.metadata().ok()?)
    }

    fn of_file(found: &Metadata) -> Option<Self> {
        found.is_file().then(|| Self::There(found.dev(), found.ino()))
    }
}

/// Checks that what is read, the recording that is written and the report are three files: to open one of the
/// latter empties it.
///
/// # Errors
/// Where two of them are the same.
pub fn are_distinct(input: Option<&Path>, args: &ReportArgs) -> Result<(), Failure> {
    let is_stream = |path: &&Path| path.as_os_str() == "-";
    let input = input.and_then(|path| match Some(path).filter(is_stream) {
        Some(_) => Identity::of_open(io::stdin()),
        None => Identity::of(path),
    });
    let refused = |sentence: &str| Err(Failure::Usage(sentence.to_owned()));
    if args.record.as_deref().filter(is_stream).is_some() {
        return refused(
            "--record - is no file, and standard output is the report's: give a name, or ./- for a file called -",
        );
    }
    let record = args.record.as_deref().and_then(Identity::of);
    let report = match args.output.as_deref().filter(|path| !is_stream(path)) {
        Some(path) => Identity::of(path),
        None => Identity::of_open(io::stdout()),
    };
    if record.is_some() && record == input {
        return refused(
            "the recording cannot be written over itself: choose another file with --record",
        );
    }
    if report.is_some() && report == input {
        return refused(
            "the report would be written over the recording: choose another file with -o",
        );
    }
    if report.is_some() && report == record {
        return refused(
            "report and recording would be written to one file: choose another with -o or --record",
        );
    }
    Ok(())
}

/// A closed pipe is no failure.
fn told(result: io::Result<()>) -> anyhow::Result<Reader> {
    match result {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("cannot write the report, choose another place with -o"),
    }
}

/// What decides on colour and width.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    terminal: bool,
    /// `NO_COLOR` is set and not empty (no-color.org).
    no_colour: bool,
    /// `TERM=dumb`
    dumb: bool,
    columns: Option<u16>,
}

impl Surroundings {
    fn here(terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            terminal,
            no_colour: set("NO_COLOR").is_some(),
            dumb: set("TERM").is_some_and(|term| term == "dumb"),
            columns: terminal_size::terminal_size().map(|(width, _)| width.0),
        }
    }
}

fn options(args: &ReportArgs, around: &Surroundings) -> ReportOptions {
    let colour = match args.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => around.terminal && !around.no_colour && !around.dumb,
    };
    let columns = around.columns.filter(|columns| *columns >= MIN_WIDTH).unwrap_or(USUAL_WIDTH);
    ReportOptions {
        form: match args.format {
            Format::Text => ReportForm::Text,
            Format::Json => ReportForm::Json,
            Format::Markdown => ReportForm::Markdown,
        },
        clock: match (args.relative, args.time) {
            (true, _) => ClockStyle::Relative,
            (false, 0) => ClockStyle::Milliseconds,
            (false, 1) => ClockStyle::Seconds,
            (false, 2) => ClockStyle::Microseconds,
            (false, _) => ClockStyle::Epoch,
        },
        verbosity: match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        },
        // What is not a terminal gets whole lines, for grep and for editors that wrap by themselves.
        layout: Layout { width: around.terminal.then_some(usize::from(columns)), colour },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(color: ColorChoice, around: Surroundings) -> (Option<usize>, bool) {
        let args = ReportArgs { color, ..ReportArgs::default() };
        let layout = options(&args, &around).layout;
        (layout.width, layout.colour)
    }

    #[test]
    fn colour_and_width_are_for_terminals() {
        let terminal =
            Surroundings { terminal: true, no_colour: false, dumb: false, columns: Some(132) };
        let pipe = Surroundings { terminal: false, ..terminal };
        assert_eq!(layout(ColorChoice::Auto, terminal), (Some(132), true));
        assert_eq!(layout(ColorChoice::Auto, pipe), (None, false));
        assert_eq!(layout(ColorChoice::Always, pipe), (None, true));
        assert_eq!(layout(ColorChoice::Never, terminal), (Some(132), false));
        assert_eq!(
            layout(ColorChoice::Auto, Surroundings { no_colour: true, ..terminal }),
            (Some(132), false)
        );
        assert_eq!(
            layout(ColorChoice::Always, Surroundings { no_colour: true, ..terminal }),
            (Some(132), true)
        );
        assert_eq!(
            layout(ColorChoice::Auto, Surroundings { dumb: true, ..terminal }),
            (Some(132), false)
        );
        assert_eq!(
            layout(ColorChoice::Auto, Surroundings { columns: Some(0), ..terminal }),
            (Some(80), true)
        );
    }

    #[test]
    fn no_file_is_written_over_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| Some(folder.path().join(name));
        std::fs::write(path("here").expect("a path"), "").expect("written");
        std::fs::hard_link(path("here").expect("a path"), path("twin").expect("a path"))
            .expect("linked");
        let says = |input: Option<&str>, output: Option<&str>, record: Option<&str>| {
            let path = |name: Option<&str>| name.and_then(path);
            let args =
                ReportArgs { output: path(output), record: path(record), ..ReportArgs::default() };
            are_distinct(path(input).as_deref(), &args).err().map(|failure| failure.sentence())
        };
        assert_eq!(says(Some("here"), Some("new"), Some("newer")), None);
        for (input, output, record, word) in [
            (Some("here"), None, Some("twin"), "over itself"),
            (Some("here"), Some("twin"), None, "over the recording"),
            (None, Some("twin"), Some("here"), "one file"),
            (None, Some("new"), Some("new"), "one file"),
        ] {
            let said = says(input, output, record);
            assert!(said.as_deref().is_some_and(|said| said.contains(word)), "{said:?}");
        }
        let device = Some(PathBuf::from("/dev/null"));
        let args = ReportArgs { output: device.clone(), record: device, ..ReportArgs::default() };
        assert!(are_distinct(None, &args).is_ok());
        let args = ReportArgs { record: Some("-".into()), ..ReportArgs::default() };
        assert!(are_distinct(None, &args).is_err());
    }

    #[test]
    fn a_report_file_that_cannot_be_made_is_told() {
        let args = ReportArgs { output: Some("/no/such/folder/x".into()), ..ReportArgs::default() };
        let error = format!("{:#}", Output::open(&args).expect_err("no such folder"));
        assert!(error.contains("/no/such/folder/x") && error.contains("-o"), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_and_a_closed_pipe_is_not() {
        let record = Record::Signal(Box::new(crate::report::samples::signal()));
        let args = ReportArgs { output: Some("/dev/full".into()), ..ReportArgs::default() };
        let mut output = Output::open(&args).expect("/dev/full");
        assert!(output.records(std::slice::from_ref(&record)).is_err());
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let stream: Box<dyn Stream> = Box::new(writer);
        let options = ReportOptions::default();
        let reporter = Reporter::new(BufWriter::new(stream), &options);
        let mut output = Output { reporter, options };
        assert_eq!(output.records(&[record]).expect("no failure"), Reader::Gone);
    }
}
