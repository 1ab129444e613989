//! The report: records of the story in, text, JSON or Markdown out. Nothing here looks at the machine.

#![forbid(unsafe_code)]

mod alike;
pub mod checkup;
pub mod escape;
mod json;
mod markdown;
pub mod redact;
#[cfg(test)]
pub(crate) mod samples;
pub mod schema;
#[cfg(test)]
mod tests;
mod text;
pub mod words;

use std::io::{self, Write};

use crate::story::verdict::Record;

pub use text::{ClockStyle, Layout, Line, Tone};

use json::Json;
use markdown::Markdown;
use text::Text;

/// How much to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Verdicts and losses.
    Quiet,
    /// Live lines as well.
    #[default]
    Normal,
    /// Full command lines, kernel paths, sources as well.
    Verbose,
}

/// The form of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportForm {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// For an issue or a wiki.
    Markdown,
}

/// How to write the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// Its form.
    pub form: ReportForm,
    /// How times are shown in text.
    pub clock: ClockStyle,
    /// How much to tell in text.
    pub verbosity: Verbosity,
    /// Width and colour of text.
    pub layout: Layout,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            form: ReportForm::default(),
            clock: ClockStyle::default(),
            verbosity: Verbosity::default(),
            layout: Layout { width: None, colour: false },
        }
    }
}

/// Writes records to a stream, one by one. Whoever reads sees them when it is flushed.
#[derive(Debug)]
pub struct Reporter<W> {
    out: W,
    renderer: Renderer,
}

#[derive(Debug)]
enum Renderer {
    Text(Box<Text>),
    Json(Box<Json>),
    Markdown(Box<Markdown>),
}

impl<W: Write> Reporter<W> {
    /// A report that has not begun.
    pub fn new(out: W, options: &ReportOptions) -> Self {
        let renderer = match options.form {
            ReportForm::Text => Renderer::Text(Box::new(Text::new(options))),
            ReportForm::Json => Renderer::Json(Box::default()),
            ReportForm::Markdown => Renderer::Markdown(Box::default()),
        };
        Self { out, renderer }
    }

    /// Writes one record.
    ///
    /// # Errors
    /// What the stream fails with; [`io::ErrorKind::BrokenPipe`] means that nobody reads any more.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        let text = match &mut self.renderer {
            Renderer::Text(text) => text.record(record),
            Renderer::Json(json) => json.record(record)?,
            Renderer::Markdown(markdown) => markdown.record(record),
        };
        self.write(&text)
    }

    /// Writes text that is no record, such as that of [`checkup::show`].
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.write(text)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Lets a reader see what has been written.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
