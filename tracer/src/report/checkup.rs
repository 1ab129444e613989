//! The report of `killtrace doctor`: what this machine offers, and what each missing thing costs.

use serde::Serialize;

use super::text::{Line, Tone};
use super::{Layout, ReportForm, ReportOptions, escape};

/// Widest column of names.
const MAX_NAME: usize = 40;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there, or it passed.
    Works,
    /// It is not there; tracing goes on without it.
    Missing,
    /// It is not there, and nothing goes without it; or it failed.
    Fails,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Missing => "missing",
            Self::Fails => "FAILS",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Works => Tone::Observed,
            Self::Missing => Tone::Warning,
            Self::Fails => Tone::Fatal,
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name: a hook, a source, a capability, a test.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// What it is for where it works, and why it does not where it does not.
    pub detail: String,
    /// What is lost without it.
    pub cost: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// What the checks come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conclusion {
    /// Nothing failed.
    pub works: bool,
    /// How many things are missing.
    pub missing: usize,
    /// How many failed.
    pub failed: usize,
    /// The same in words.
    pub text: String,
}

/// The last line; in JSON an object with `type` `conclusion`.
pub fn conclusion(conclusion: &Conclusion, form: ReportForm) -> String {
    match form {
        ReportForm::Json => json("conclusion", conclusion),
        ReportForm::Text | ReportForm::Markdown => format!("\n{}\n", conclusion.text),
    }
}

/// Columns that the names of these checks take.
pub fn widest<'n>(names: impl IntoIterator<Item = &'n str>) -> usize {
    names.into_iter().map(|name| name.chars().count()).max().unwrap_or(0).min(MAX_NAME)
}

/// Writes the checks, their names in so many columns; in JSON one object a line, with `type` `check`.
pub fn show(checks: &[Check], widest: usize, options: &ReportOptions) -> String {
    match options.form {
        ReportForm::Text => text(checks, widest, options.layout),
        ReportForm::Json => checks.iter().map(|check| json("check", check)).collect(),
        ReportForm::Markdown => {
            escape::markdown_block("", &text(checks, widest, Layout { width: None, colour: false }))
        }
    }
}

fn json(r#type: &'static str, value: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Tagged<'v, V: Serialize> {
        r#type: &'static str,
        #[serde(flatten)]
        value: &'v V,
    }
    // Strings, numbers and words only: there is always a form in JSON.
    let line = serde_json::to_string(&Tagged { r#type, value }).unwrap_or_default();
    format!("{}\n", escape::json(&line))
}

fn text(checks: &[Check], widest: usize, layout: Layout) -> String {
    let mut out = String::new();
    for check in checks {
        let mut line = Line::default()
            .with(Tone::Plain, "  ")
            .with(check.state.tone(), format!("{:<7}", check.state.word()))
            .with(Tone::Plain, format!("  {:<widest$}  ", escape::shortened(&check.name, 64)));
        let indent = match layout.width {
            Some(width) if width < widest + 40 => 11,
            _ => line.width(),
        };
        line.push(Tone::Plain, escape::shortened(&check.detail, 1000));
        line.write(&mut out, layout, indent);
        let more = [("without it", &check.cost), ("do", &check.remedy)];
        for (label, text) in more {
            if let Some(text) = text.as_ref().filter(|_| check.state != State::Works) {
                let text =
                    format!("{}{label}: {}", " ".repeat(indent), escape::shortened(text, 1000));
                Line::default().with(Tone::Faint, text).write(&mut out, layout, indent + 2);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        let check =
            |name: &str, state, detail: &str, cost: Option<&str>, remedy: Option<&str>| Check {
                name: name.into(),
                state,
                detail: detail.into(),
                cost: cost.map(str::to_owned),
                remedy: remedy.map(str::to_owned),
            };
        vec![
            check(
                "signal_generate",
                State::Works,
                "signals and their senders",
                Some("who sent it is unknown"),
                None,
            ),
            check(
                "journal",
                State::Missing,
                "journalctl is not installed",
                Some("what sshd and the service manager said about an end is unknown"),
                Some("install systemd's journalctl"),
            ),
            check(
                "privileges",
                State::Fails,
                "CAP_BPF\u{1b} is missing",
                None,
                Some("run it with sudo"),
            ),
        ]
    }

    #[test]
    fn checks_are_shown_to_people_and_programs() {
        let shown = |form, width| {
            show(
                &checks(),
                15,
                &ReportOptions {
                    form,
                    layout: Layout { width, colour: false },
                    ..ReportOptions::default()
                },
            )
        };
        insta::assert_snapshot!(
            [
                shown(ReportForm::Text, Some(70)),
                shown(ReportForm::Text, Some(40)),
                shown(ReportForm::Json, None),
                shown(ReportForm::Markdown, None),
            ]
            .join("\n")
        );
    }
}
