//! The report to paste into an issue: verdict, chain, diagram, remedy, and the evidence folded away.

use std::collections::VecDeque;

use crate::evidence::{Header, is_missing};
use crate::story::verdict::{
    Death, DecidingSetting, Fix, Link, LossRecord, Record, SignalRecord, Summary, contradicted,
};

use super::alike::{self, Told};
use super::text::{Clock, ClockStyle};
use super::{escape, json, words};

mod diagram;

/// How many signals are kept to be shown with the next death.
const MAX_SIGNALS: usize = 100;

/// Writes records as Markdown.
#[derive(Debug, Default)]
pub struct Markdown {
    header: Option<Box<Header>>,
    /// The last signals, of all targets.
    signals: VecDeque<SignalRecord>,
    told: Told,
}

impl Markdown {
    /// The text for one record; may be empty.
    pub fn record(&mut self, record: &Record) -> String {
        match record {
            Record::Header(header) => {
                self.header = Some(header.clone());
                String::new()
            }
            Record::Signal(signal) => {
                if self.signals.len() == MAX_SIGNALS {
                    self.signals.pop_front();
                }
                self.signals.push_back(signal.as_ref().clone());
                String::new()
            }
            Record::Exit(_) => String::new(),
            Record::Death(death) => self.death(death),
            Record::Loss(loss) => lost(loss),
            Record::Summary(summary) => self.summary(summary),
        }
    }

    fn clock(&self) -> Clock {
        Clock::new(
            ClockStyle::Milliseconds,
            self.header.as_ref().map_or(0, |header| header.utc_offset),
        )
    }

    fn death(&mut self, death: &Death) -> String {
        let victim = escape::markdown_code(&words::process(&death.victim));
        let mut out =
            format!("## {victim} {}\n\n", escape::markdown(&words::outcome(&death.outcome)));
        if let Some(told) = self.told.like(death) {
            out.push_str(&format!("{}\n\n", escape::markdown(&alike::sentence(told, death))));
            out.push_str(&self.chain(death, alike::own_links(told, death)));
            out.push_str(&self.evidence(death));
            return out;
        }
        self.told.remember(death);
        out.push_str(&format!("**{}**\n\n", escape::markdown(&words::explanation(death))));
        out.push_str(&facts(death));
        if !death.chain.is_empty() {
            out.push_str("\n### How it came about\n\n");
            out.push_str(&self.chain(death, &death.chain));
            out.push('\n');
            out.push_str(&diagram::sequence(death));
        }
        if !death.fixes.is_empty() {
            out.push_str("\n### What to do\n\n");
            out.extend(death.fixes.iter().enumerate().map(|(n, fix)| remedy(n, fix)));
        }
        if !death.considered.is_empty() {
            out.push_str("\n### Not the cause\n\n");
            for other in &death.considered {
                let because = escape::markdown(&other.because);
                let doubt = if other.ruled_out { "ruled out" } else { "unlikely" };
                out.push_str(&format!("- `{}` ({doubt}): {because}\n", other.id.as_str()));
            }
        }
        if !death.gaps.is_empty() {
            out.push_str("\n### What could not be known\n\n");
            out.extend(death.gaps.iter().map(|gap| format!("- {}\n", escape::markdown(gap))));
        }
        out.push_str(&self.machine());
        out.push_str(&self.evidence(death));
        out
    }

    fn chain<'l>(&self, death: &Death, links: impl IntoIterator<Item = &'l Link>) -> String {
        let clock = self.clock();
        let mut out = String::from("| time | evidence | what happened |\n|---|---|---|\n");
        let mut day = clock.date(death.at);
        for link in links {
            let date = clock.date(link.at);
            let time = clock.show(link.at, None);
            let shown = if date == day {
                time
            } else {
                format!("{} {time}", date.as_deref().unwrap_or_default())
            };
            day = date;
            let text = escape::markdown(&link.text);
            out.push_str(&format!("| {shown} | {} | {text} |\n", link.evidence.as_str()));
        }
        out
    }

    /// Versions, and what could not be watched.
    fn machine(&self) -> String {
        let Some(header) = &self.header else { return String::new() };
        let mut rows = vec![
            ("killtrace", header.version.clone()),
            ("kernel", format!("{} {}", header.kernel, header.arch)),
            ("systemd", header.systemd.clone().unwrap_or_else(|| "none".to_owned())),
            ("traced", header.targets.join(", ")),
        ];
        let missing: Vec<_> =
            header.hooks.iter().chain(&header.sources).filter(|(_, s)| is_missing(s)).collect();
        rows.extend(
            missing.iter().map(|(name, state)| ("not attached", format!("{name}: {state}"))),
        );
        let mut out = String::from("\n<details><summary>Versions</summary>\n\n| | |\n|---|---|\n");
        for (name, value) in rows {
            out.push_str(&format!("| {name} | {} |\n", escape::markdown(&value)));
        }
        out.push_str("\n</details>\n");
        out
    }

    /// The verdict as JSON and the signals of this victim.
    fn evidence(&mut self, death: &Death) -> String {
        let mut out = String::from("\n<details><summary>Evidence</summary>\n\n");
        let clock = self.clock();
        let (own, others) =
            self.signals.drain(..).partition(|s| words::same(&s.target, &death.victim));
        self.signals = others;
        let own: VecDeque<SignalRecord> = own;
        let mut log = String::new();
        for signal in &own {
            let (sender, because) = words::sender(signal);
            let because = because.map(|by| format!(", after {by}")).unwrap_or_default();
            log.push_str(&format!(
                "{} {sender} --{}--> {}  {}{because}, {}\n",
                clock.show(signal.at, None),
                escape::shortened(&signal.signal.name, 32),
                words::process(&signal.target),
                words::mechanism_of(&signal.signal),
                words::fate(&signal.signal),
            ));
        }
        if !log.is_empty() {
            out.push_str(&escape::markdown_block("", &log));
            out.push('\n');
        }
        let record = Record::Death(Box::new(death.clone()));
        if let Ok(line) = json::record(&record) {
            out.push_str(&escape::markdown_block("json", &line));
        }
        out.push_str("\n</details>\n\n");
        out
    }

    fn summary(&self, summary: &Summary) -> String {
        if summary.deaths > 0 {
            return String::new();
        }
        format!(
            "No target ended ({} still alive; {}).\n{}",
            words::count(summary.alive),
            escape::markdown(&summary.reason),
            self.machine()
        )
    }
}

/// Who, why and which setting, as a list.
fn facts(death: &Death) -> String {
    let mut out = format!("- killer: {}\n", escape::markdown(&words::killer(&death.killer)));
    if let Some(signal) = &death.signal {
        out.push_str(&format!(
            "- signal: {}, {}, {}\n",
            escape::markdown(&signal.name),
            escape::markdown(&words::mechanism_of(signal)),
            escape::markdown(&words::fate(signal))
        ));
    }
    out.push_str(&format!(
        "- cause: `{}`, {}\n",
        death.cause.id.as_str(),
        death.cause.evidence.as_str()
    ));
    out.extend(
        death.cause.settings.iter().map(|setting| format!("- setting: {}\n", deciding(setting))),
    );
    out
}

fn deciding(setting: &DecidingSetting) -> String {
    let value = escape::markdown_code(&format!("{}={}", setting.name, setting.value));
    match (&setting.unread, setting.place()) {
        (Some(unread), _) => {
            format!("{value}, {}", escape::markdown(&contradicted(&setting.name, unread)))
        }
        (None, Some(place)) => format!("{value} in {}", escape::markdown_code(&place)),
        (None, None) => format!("{value}, the built-in default"),
    }
}

fn remedy(number: usize, fix: &Fix) -> String {
    let mut out = format!("{}. {}\n", number + 1, escape::markdown(&fix.title));
    let mut inner = String::new();
    if !fix.commands.is_empty() {
        let commands: Vec<_> = fix.commands.iter().map(|c| escape::terminal(c)).collect();
        inner.push_str(&escape::markdown_block("sh", &commands.join("\n")));
        inner.push('\n');
    }
    let parts = [
        ("", Some(&fix.effect)),
        ("But: ", fix.drawback()),
        ("Check: ", fix.verify.as_ref()),
        ("See: ", fix.reference.as_ref()),
    ];
    for (label, text) in parts {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            inner.push_str(&format!("{label}{}  \n", escape::markdown(text)));
        }
    }
    out.push('\n');
    for line in inner.lines() {
        out.push_str(&format!("{}{line}\n", if line.is_empty() { "" } else { "   " }));
    }
    out.push('\n');
    out
}

fn lost(loss: &LossRecord) -> String {
    let detail =
        loss.detail.as_ref().map(|d| format!(": {}", escape::markdown(d))).unwrap_or_default();
    let number =
        if loss.dropped == 0 { "events".to_owned() } else { words::counted(loss.dropped, "event") };
    format!("> **Lost:** {number} {}{detail}\n\n", words::place(loss.place))
}
