//! The report of `killtrace doctor`: what this machine offers, and what each missing thing costs.

use serde::Serialize;

use super::text::{Line, Tone};
use super::{Layout, ReportForm, ReportOptions, escape};

/// Widest column of names.
const MAX_NAME: usize = 40;

/// A remedy of more bytes is told once, and referred to after that.
const LONG: usize = 60;

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

impl Check {
    /// Without cost and remedy where it works: nothing is lost, and nothing is to be done.
    pub fn settled(self) -> Self {
        match self.state {
            State::Works => Self { cost: None, remedy: None, ..self },
            State::Missing | State::Fails => self,
        }
    }
}

/// Which program looked at which machine; the names are those of a report's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heading {
    /// Version of the form.
    pub schema: u32,
    /// Version of killtrace.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Architecture.
    pub arch: String,
    /// Version of systemd; `None` where systemd is not seen to run the machine.
    pub systemd: Option<String>,
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

/// The first line; in JSON an object with `type` `header`.
pub fn heading(heading: &Heading, form: ReportForm) -> String {
    let systemd = heading.systemd.as_ref();
    let systemd = systemd
        .map_or_else(|| "without systemd".to_owned(), |version| format!("systemd {version}"));
    let Heading { version, kernel, arch, .. } = heading;
    let text = format!("killtrace {version} on Linux {kernel} ({arch}), {systemd}");
    match form {
        ReportForm::Json => json("header", heading),
        ReportForm::Text => format!("{}\n\n", escape::terminal(&text)),
        ReportForm::Markdown => format!("{}\n\n", escape::markdown(&text)),
    }
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
    // What is long is told once.
    let mut told: Vec<(&str, &str)> = Vec::new();
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
        let more = [("without it", check.cost.clone()), ("do", remedy(check, &mut told))];
        for (label, text) in more {
            if let Some(text) = text.filter(|_| check.state != State::Works) {
                let text =
                    format!("{}{label}: {}", " ".repeat(indent), escape::shortened(&text, 1000));
                Line::default().with(Tone::Faint, text).write(&mut out, layout, indent + 2);
            }
        }
    }
    out
}

/// What to do, or which of the rows before says it; `told`: what is long among those, and the name of the row.
fn remedy<'c>(check: &'c Check, told: &mut Vec<(&'c str, &'c str)>) -> Option<String> {
    let text = check.remedy.as_deref()?;
    if let Some((_, name)) = told.iter().find(|(known, _)| *known == text) {
        return Some(format!("as for {name}"));
    }
    if text.len() > LONG {
        told.push((text, &check.name));
    }
    Some(text.to_owned())
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
    fn a_long_remedy_is_told_once() {
        let row = |name: &str| Check {
            name: name.to_owned(),
            state: State::Missing,
            detail: String::new(),
            cost: None,
            remedy: Some("run it as root, ".repeat(10)),
        };
        let options = ReportOptions { form: ReportForm::Text, ..ReportOptions::default() };
        let shown = show(&[row("first"), row("second")], 6, &options);
        assert_eq!(shown.matches("do: run it").count(), 1, "{shown}");
        assert!(shown.contains("do: as for first"), "{shown}");
    }

    #[test]
    fn what_works_wants_nothing() {
        let [works, missing, _] = <[Check; 3]>::try_from(checks()).expect("three");
        assert_eq!(works.settled().cost, None);
        assert_eq!(missing.clone().settled(), missing);
    }

    #[test]
    fn the_machine_is_named_in_every_form() {
        let machine = Heading {
            schema: 1,
            version: "0.1.0".to_owned(),
            kernel: "6.1".to_owned(),
            arch: "x86_64".to_owned(),
            systemd: None,
        };
        let json = "{\"type\":\"header\",\"schema\":1,\"version\":\"0.1.0\",\"kernel\":\"6.1\",\"arch\":\"x86_64\",\
                    \"systemd\":null}\n";
        assert_eq!(heading(&machine, ReportForm::Json), json);
        for form in [ReportForm::Text, ReportForm::Markdown] {
            let text = heading(&machine, form);
            assert!(text.contains("6.1") && text.contains("without systemd"), "{text}");
        }
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
