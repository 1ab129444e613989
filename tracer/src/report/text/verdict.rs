//! The verdict: what happened, how it came about with what proves each step, and what to do.

use crate::evidence::{Grade, Process};
use crate::report::{Verbosity, alike, escape, words};
use crate::story::verdict::{
    Considered, Death, DecidingSetting, Fix, KillerKind, Link, contradicted,
};

use super::Clock;
use super::line::{Layout, Line, Tone};
use super::live;

/// How many neighbouring causes are shown without `-v`.
const CONSIDERED: usize = 5;
/// How many remedies are shown without `-v`.
const FIXES: usize = 3;
/// Columns before the text of a row: two of margin, a label of up to nine, two between.
const ROW_INDENT: usize = 13;
/// Below this width the chain's text does not hang under its own column, to leave room to read.
const NARROW: usize = 72;

/// What a verdict is written with.
pub struct Scene<'c> {
    /// Width and colour.
    pub layout: Layout,
    /// How much to tell.
    pub verbosity: Verbosity,
    /// How times are shown.
    pub clock: &'c Clock,
}

impl Scene<'_> {
    /// Writes the verdict on one death.
    pub fn death(&self, out: &mut String, death: &Death) {
        let explanation = escape::shortened(&words::explanation(death), escape::MAX_SHOWN);
        Line::default().with(Tone::Verdict, explanation).write(out, self.layout, 0);
        if !death.chain.is_empty() {
            out.push('\n');
            self.chain(out, death);
        }
        out.push('\n');
        self.facts(out, death);
        self.considered(out, &death.considered);
        self.fixes(out, &death.fixes);
        for (number, gap) in death.gaps.iter().enumerate() {
            let gap = escape::shortened(gap, escape::MAX_SHOWN);
            self.row(
                out,
                if number == 0 { "gaps" } else { "" },
                Line::default().with(Tone::Warning, gap),
            );
        }
    }

    /// Writes the verdict on a death of which one told before says the same: what is its own alone.
    pub fn one_more(&self, out: &mut String, told: &Death, death: &Death) {
        let sentence = alike::sentence(told, death);
        Line::default().with(Tone::Verdict, sentence).write(out, self.layout, 0);
        out.push('\n');
        let mut previous = None;
        for link in alike::own_links(told, death) {
            self.link(out, link, previous);
            previous = Some(link.at.boot_ns);
        }
    }

    /// What happened when, with what proves it.
    fn chain(&self, out: &mut String, death: &Death) {
        let today = self.clock.date(death.at);
        let mut day = today.clone();
        // A chain that began on another day says so wherever the day changes.
        if let Some(first) = death.chain.first() {
            let began = self.clock.date(first.at);
            if began != today {
                self.day(out, began.as_deref());
                day = began;
            }
        }
        let mut previous = None;
        let mut introduced = Vec::new();
        for link in &death.chain {
            let date = self.clock.date(link.at);
            if date != day {
                self.day(out, date.as_deref());
                day = date;
            }
            let indent = self.link(out, link, previous);
            previous = Some(link.at.boot_ns);
            if self.verbosity == Verbosity::Verbose
                && let Some(actor) = &link.actor
            {
                self.introduce(out, actor, indent, &mut introduced);
            }
        }
    }

    fn day(&self, out: &mut String, date: Option<&str>) {
        let date = date.unwrap_or_default();
        Line::default().with(Tone::Faint, format!("  {date}")).write(out, self.layout, 2);
    }

    /// Writes one link; gives the column of its text.
    fn link(&self, out: &mut String, link: &Link, previous: Option<u64>) -> usize {
        let tone = match link.evidence {
            Grade::Observed => Tone::Observed,
            Grade::Reported => Tone::Reported,
            Grade::Inferred => Tone::Inferred,
        };
        let mut line = Line::default()
            .with(Tone::Faint, format!("  {}  ", self.clock.show(link.at, previous)))
            .with(tone, link.evidence.as_str())
            .with(Tone::Plain, "  ");
        let indent = match self.layout.width {
            Some(width) if width < NARROW => 6,
            _ => line.width(),
        };
        line.push(Tone::Plain, escape::shortened(&link.text, escape::MAX_SHOWN));
        if self.verbosity == Verbosity::Verbose {
            line.push(Tone::Faint, format!("  [{}]", source(link)));
        }
        line.write(out, self.layout, indent);
        indent
    }

    /// What is known of somebody who acts, when they first do and where it says more than the name.
    fn introduce(&self, out: &mut String, actor: &Process, indent: usize, known: &mut Vec<String>) {
        let described = live::described(actor);
        if described == words::process(actor) || known.contains(&described) {
            return;
        }
        let text = format!("{}{described}", " ".repeat(indent));
        Line::default().with(Tone::Faint, text).write(out, self.layout, indent + 2);
        known.push(described);
    }

    /// The cause by its id, the settings, and with `-v` who was who.
    fn facts(&self, out: &mut String, death: &Death) {
        let cause = &death.cause;
        self.row(
            out,
            "cause",
            Line::default()
                .with(Tone::Plain, format!("{}, {}", cause.id.as_str(), cause.evidence.as_str())),
        );
        for (number, setting) in cause.settings.iter().enumerate() {
            self.row(out, if number == 0 { "setting" } else { "" }, setting_line(setting));
        }
        if self.verbosity != Verbosity::Verbose {
            return;
        }
        let plain = |text: String| Line::default().with(Tone::Plain, text);
        self.row(out, "victim", plain(live::described(&death.victim)));
        let killer = match (death.killer.kind, &death.killer.process) {
            (KillerKind::Process, Some(by)) => live::described(by),
            (KillerKind::Kernel, Some(by)) => format!("the kernel, after {}", live::described(by)),
            _ => words::killer(&death.killer),
        };
        self.row(out, "killer", plain(killer));
        if let Some(signal) = &death.signal {
            let mechanism = words::mechanism_of(signal);
            let text = format!("{}, {mechanism}, {}", live::codes(signal), words::fate(signal));
            self.row(out, "signal", plain(text));
            if !signal.kernel_path.is_empty() {
                self.row(out, "path", plain(live::kernel_path(signal)));
            }
        }
    }

    fn considered(&self, out: &mut String, considered: &[Considered]) {
        let shown =
            if self.verbosity == Verbosity::Verbose { considered.len() } else { CONSIDERED };
        // First what is proven not to be it.
        for wanted in [true, false] {
            let mut label = if wanted { "ruled out" } else { "unlikely" };
            for (_, other) in considered
                .iter()
                .enumerate()
                .filter(|(n, other)| *n < shown && other.ruled_out == wanted)
            {
                let because = escape::shortened(&other.because, escape::MAX_SHOWN);
                let line = Line::default()
                    .with(Tone::Plain, other.id.as_str())
                    .with(Tone::Faint, format!(": {because}"));
                self.row(out, label, line);
                label = "";
            }
        }
        self.more(out, considered.len().saturating_sub(shown));
    }

    fn fixes(&self, out: &mut String, fixes: &[Fix]) {
        let shown = if self.verbosity == Verbosity::Verbose { fixes.len() } else { FIXES };
        for (number, fix) in fixes.iter().take(shown).enumerate() {
            self.fix(out, if number == 0 { "fix" } else { "or" }, fix);
        }
        self.more(out, fixes.len().saturating_sub(shown));
    }

    fn fix(&self, out: &mut String, label: &str, fix: &Fix) {
        let show = |text: &str| escape::shortened(text, escape::MAX_SHOWN);
        self.row(out, label, Line::default().with(Tone::Plain, show(&fix.title)));
        for command in &fix.commands {
            // On a line of its own and never wrapped, to be copied as it is.
            let line = Line::default()
                .with(Tone::Plain, " ".repeat(ROW_INDENT + 2))
                .with(Tone::Command, show(command));
            line.write(out, Layout { width: None, ..self.layout }, 0);
        }
        let parts = [
            ("Effect", Some(&fix.effect)),
            ("But", fix.drawback()),
            ("Check", fix.verify.as_ref()),
            ("See", fix.reference.as_ref()),
        ];
        for (name, text) in parts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                self.row(
                    out,
                    "",
                    Line::default().with(Tone::Faint, format!("{name}: {}", show(text))),
                );
            }
        }
    }

    fn more(&self, out: &mut String, number: usize) {
        if number > 0 {
            self.row(
                out,
                "",
                Line::default().with(Tone::Faint, format!("… {number} more with -v")),
            );
        }
    }

    /// `  label      text`, the text hanging under itself.
    fn row(&self, out: &mut String, label: &str, text: Line) {
        let mut line = Line::default()
            .with(Tone::Plain, "  ")
            .with(Tone::Label, label.to_owned())
            .with(Tone::Plain, " ".repeat(ROW_INDENT - 2 - label.len().min(ROW_INDENT - 3)));
        line.append(text);
        line.write(out, self.layout, ROW_INDENT);
    }
}

/// `KillUserProcesses=yes  /etc/systemd/logind.conf:12`
fn setting_line(setting: &DecidingSetting) -> Line {
    let show = |text: &str| escape::shortened(text, 512);
    let place = match (&setting.unread, setting.place()) {
        (Some(unread), _) => show(&contradicted(&setting.name, unread)),
        (None, Some(place)) => show(&place),
        (None, None) => "the built-in default".to_owned(),
    };
    Line::default()
        .with(Tone::Command, format!("{}={}", show(&setting.name), show(&setting.value)))
        .with(Tone::Plain, format!("  {place}"))
}

/// The word for a link's source, as in JSON.
fn source(link: &Link) -> String {
    match serde_json::to_value(link.source) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    }
}
