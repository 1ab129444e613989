//! The report for people: live lines like strace's, and under them the verdict as a short story.

mod clock;
mod line;
mod live;
mod verdict;

pub use clock::{Clock, ClockStyle};
pub use line::{Layout, Line, Tone};

use crate::evidence::Moment;
use crate::report::alike::Told;
use crate::report::{ReportOptions, Verbosity, words};
use crate::story::verdict::{Death, Record, SignalRecord, Summary};

/// Writes records as text.
#[derive(Debug)]
pub struct Text {
    layout: Layout,
    verbosity: Verbosity,
    style: ClockStyle,
    clock: Clock,
    /// Time of the last live line, on `CLOCK_BOOTTIME`.
    previous: Option<u64>,
    names: live::Names,
    told: Told,
    /// The last line written was empty, or nothing has been written.
    after_gap: bool,
}

impl Text {
    /// A writer that has written nothing yet.
    pub fn new(options: &ReportOptions) -> Self {
        Self {
            layout: options.layout,
            verbosity: options.verbosity,
            style: options.clock,
            clock: Clock::new(options.clock, 0),
            previous: None,
            names: live::Names::default(),
            told: Told::default(),
            after_gap: true,
        }
    }

    /// The text for one record; may be empty.
    pub fn record(&mut self, record: &Record) -> String {
        let mut out = String::new();
        match record {
            Record::Header(header) => {
                self.clock = Clock::new(self.style, header.utc_offset);
                self.previous = Some(header.at.boot_ns);
                if self.verbosity == Verbosity::Verbose {
                    self.live(&mut out, header.at, live::header(header));
                }
            }
            Record::Signal(signal) => self.signal(&mut out, signal),
            Record::Exit(exit) => {
                if self.verbosity != Verbosity::Quiet {
                    self.live(&mut out, exit.at, live::exit(exit));
                }
            }
            Record::Death(death) => {
                self.death(&mut out, death);
            }
            Record::Loss(loss) => {
                self.live(&mut out, loss.at, live::loss(loss));
            }
            Record::Summary(summary) => {
                self.summary(&mut out, summary);
            }
        }
        out
    }

    fn signal(&mut self, out: &mut String, record: &SignalRecord) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let line = live::signal(record, &mut self.names);
        self.live(out, record.at, line);
        if self.verbosity == Verbosity::Verbose {
            let indent = self.time_width(record.at);
            for line in live::signal_details(record) {
                let mut padded = Line::default().with(Tone::Plain, " ".repeat(indent));
                padded.append(line);
                padded.write(out, self.layout, indent + 2);
            }
        }
    }

    /// One line with its time before it.
    fn live(&mut self, out: &mut String, at: Moment, rest: Line) {
        let time = self.clock.show(at, self.previous);
        let indent = (time.len() + 1).min(self.layout.width.unwrap_or(80) / 4);
        let mut line = Line::default().with(Tone::Faint, time).with(Tone::Plain, " ");
        line.append(rest);
        line.write(out, self.layout, indent);
        self.previous = Some(at.boot_ns);
        self.after_gap = false;
    }

    /// Columns of a time and the space behind it.
    fn time_width(&self, at: Moment) -> usize {
        self.clock.show(at, None).len() + 1
    }

    fn death(&mut self, out: &mut String, death: &Death) {
        if !self.after_gap {
            out.push('\n');
        }
        let scene =
            verdict::Scene { layout: self.layout, verbosity: self.verbosity, clock: &self.clock };
        match self.told.like(death).filter(|_| self.verbosity != Verbosity::Verbose) {
            Some(told) => scene.one_more(out, told, death),
            None => {
                scene.death(out, death);
                self.told.remember(death);
            }
        }
        out.push('\n');
        self.after_gap = true;
    }

    /// Only where it says something that the lines before did not.
    fn summary(&mut self, out: &mut String, summary: &Summary) {
        let telling = summary.deaths == 0 || summary.losses > 0;
        let wanted = match self.verbosity {
            Verbosity::Quiet => summary.losses > 0,
            Verbosity::Normal => telling,
            Verbosity::Verbose => true,
        };
        if wanted {
            self.live(out, summary.at, live::summary(summary));
        }
    }
}

/// A process with its user where that is known: `tmux: server[2041] (alice)`.
fn process_and_user(process: &crate::evidence::Process) -> String {
    let name = words::process(process);
    match (&process.user, process.uid) {
        (Some(user), _) => format!("{name} ({})", super::escape::shortened(user, 64)),
        (None, Some(uid)) => format!("{name} (uid {uid})"),
        (None, None) => name,
    }
}
