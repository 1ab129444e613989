//! Whether a report in Markdown is what it was meant to be, whatever stands in it: read with a parser,
//! its tables, blocks and diagrams are where they belong, and nothing from outside has become markup.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use killtrace::story::verdict::{Death, Record};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;

/// The headings of a death, below its own.
const SECTIONS: [&str; 4] =
    ["How it came about", "What to do", "Not the cause", "What could not be known"];

/// HTML that the report writes itself.
const OWN_HTML: [&str; 4] = [
    "<details><summary>Versions</summary>",
    "<details><summary>Evidence</summary>",
    "</details>",
    "<!-- -->",
];

/// What a parser found.
#[derive(Default)]
struct Found {
    /// Level and text of each heading.
    headings: Vec<(u8, String)>,
    /// Language and content of each block of code.
    blocks: Vec<(String, String)>,
    /// Cells of each row of each table, the head included.
    rows: Vec<Vec<String>>,
}

/// Checks the report of these records.
///
/// # Errors
/// Where something is not as it should be: says what.
pub fn check(report: &str, records: &[Record]) -> Result<()> {
    let found = read(report)?;
    let deaths = records.iter().filter_map(|record| match record {
        Record::Death(death) => Some(&**death),
        _ => None,
    });
    let deaths: Vec<&Death> = deaths.collect();
    let titles = found.headings.iter().filter(|(level, _)| *level == 2).count();
    ensure!(titles == deaths.len(), "{titles} headings for {} deaths", deaths.len());
    for (_, section) in found.headings.iter().filter(|(level, _)| *level != 2) {
        ensure!(SECTIONS.contains(&section.as_str()), "a heading from outside: {section:?}");
    }
    let mut told = 0;
    for (section, death) in of_deaths(report).iter().zip(&deaths) {
        told += steps(&read(section)?, death, is_one_more(section))?;
    }
    let all = steps_of(&found).count();
    ensure!(all == told, "{} steps outside of deaths", all - told);
    let blocks = |language: &'static str| {
        found.blocks.iter().filter(move |(found, _)| found == language).map(|(_, text)| text)
    };
    blocks("mermaid").try_for_each(|diagram| self::diagram(diagram))?;
    for (json, death) in blocks("json").zip(&deaths) {
        let told: Value = serde_json::from_str(json).context("the evidence is no JSON")?;
        let meant = serde_json::to_value(Record::Death(Box::new((*death).clone())))?;
        ensure!(told == meant, "the evidence is that of another death");
    }
    ensure!(blocks("json").count() == deaths.len(), "not every death has its evidence");
    let whole = of_deaths(report).into_iter().zip(&deaths).filter(|(told, _)| !is_one_more(told));
    let commands: usize = whole.map(|(_, death)| with_commands(death)).sum();
    ensure!(blocks("sh").count() == commands, "not every remedy has its commands");
    Ok(())
}

fn with_commands(death: &Death) -> usize {
    death.fixes.iter().filter(|fix| !fix.commands.is_empty()).count()
}

/// What is said of each death.
fn of_deaths(report: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = report.match_indices("\n## ").map(|(at, _)| at + 1).collect();
    if report.starts_with("## ") {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([report.len()]);
    starts.iter().zip(ends).map(|(start, end)| &report[*start..end]).collect()
}

/// Whether it says no more than that one ended as another did: a verdict stands out.
fn is_one_more(section: &str) -> bool {
    section
        .lines()
        .skip(1)
        .find(|line| !line.is_empty())
        .is_some_and(|line| !line.starts_with("**"))
}

fn steps_of(found: &Found) -> impl Iterator<Item = &Vec<String>> {
    found.rows.iter().filter(|row| row.len() == 3 && row[0] != "time")
}

/// Each link of the chain is a row of its own, and says something; of one more like another those that are its own. How many
/// there are.
fn steps(found: &Found, death: &Death, one_more: bool) -> Result<usize> {
    let (told, links) = (steps_of(found).count(), death.chain.len());
    ensure!(told == links || one_more && told < links, "{told} steps for {links} links");
    for row in steps_of(found) {
        ensure!(row.iter().all(|cell| !cell.trim().is_empty()), "an empty cell in {row:?}");
    }
    Ok(told)
}

fn read(report: &str) -> Result<Found> {
    let mut found = Found::default();
    let mut text = String::new();
    for event in Parser::new_ext(report, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::Html(html) | Event::InlineHtml(html) => {
                ensure!(OWN_HTML.contains(&html.trim()), "HTML from outside: {html:?}");
            }
            Event::Start(tag) => begin(tag, &mut text, &mut found)?,
            Event::End(TagEnd::Heading(level)) => {
                found.headings.push((level as u8, std::mem::take(&mut text)));
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some((_, block)) = found.blocks.last_mut() {
                    *block = std::mem::take(&mut text);
                }
            }
            Event::End(TagEnd::TableCell) => {
                if let Some(row) = found.rows.last_mut() {
                    row.push(std::mem::take(&mut text));
                }
            }
            Event::Rule => bail!("a rule from outside"),
            _ => {}
        }
    }
    Ok(found)
}

/// Whether the report itself writes such a part.
///
/// # Errors
/// Where it does not: says what it is.
pub fn is_ours(tag: &Tag<'_>) -> Result<()> {
    match tag {
        Tag::CodeBlock(CodeBlockKind::Fenced(language)) => {
            let known = ["", "sh", "json", "mermaid"].contains(&language.as_ref());
            ensure!(known, "a block of {language:?} from outside");
        }
        Tag::CodeBlock(CodeBlockKind::Indented) => bail!("an indented block from outside"),
        Tag::Link { .. } | Tag::Image { .. } => bail!("a link from outside"),
        Tag::Emphasis | Tag::Strikethrough => bail!("emphasis from outside"),
        _ => {}
    }
    Ok(())
}

fn begin(tag: Tag<'_>, text: &mut String, found: &mut Found) -> Result<()> {
    is_ours(&tag)?;
    match tag {
        Tag::Heading { .. } | Tag::TableCell => text.clear(),
        Tag::TableHead | Tag::TableRow => found.rows.push(Vec::new()),
        Tag::CodeBlock(CodeBlockKind::Fenced(language)) => {
            text.clear();
            found.blocks.push((language.into_string(), String::new()));
        }
        _ => {}
    }
    Ok(())
}

/// A diagram has participants, and arrows and notes between them, whose texts hold no syntax.
///
/// # Errors
/// Where it has anything else: says what.
pub fn diagram(diagram: &str) -> Result<()> {
    let mut lines = diagram.lines();
    let begun = [lines.next(), lines.next()];
    let wrapped = begun[0].is_some_and(|line| line.starts_with("%%{init:"));
    ensure!(wrapped && begun[1] == Some("sequenceDiagram"), "no diagram: {diagram}");
    let mut known = BTreeSet::new();
    for line in lines {
        let line = line.strip_prefix("    ").with_context(|| format!("not indented: {line:?}"))?;
        if let Some((name, label)) =
            line.strip_prefix("participant ").and_then(|rest| rest.split_once(" as "))
        {
            ensure!(is_harmless(label) && known.insert(name.to_owned()), "{line:?}");
            continue;
        }
        let (people, label) = line.split_once(": ").with_context(|| format!("{line:?}"))?;
        let people: Vec<&str> = match people.strip_prefix("Note over ") {
            Some(over) => over.split(',').collect(),
            None => people.split("->>").collect(),
        };
        ensure!(people.len() <= 2 && people.iter().all(|name| known.contains(*name)), "{line:?}");
        ensure!(is_harmless(label), "syntax in the label of {line:?}");
    }
    Ok(())
}

/// Mermaid reads `;` as the end of a line and `#` as the start of a code; `%%` would begin a comment.
fn is_harmless(label: &str) -> bool {
    let mut rest = label;
    while let Some((plain, code)) = rest.split_once('#') {
        let Some((digits, after)) = code.split_once(';') else { return false };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) || plain.contains([';', ':', '%']) {
            return false;
        }
        rest = after;
    }
    !label.trim().is_empty() && !rest.contains([';', ':', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_from_outside_is_found() {
        for (report, why) in [
            ("<b>x</b>", "HTML"),
            ("[x](http://x)", "link"),
            ("<http://x>", "link"),
            ("*x*", "emphasis"),
            ("```rust\nx\n```", "block"),
            ("x\n\n---\n", "rule"),
            ("### x", "heading"),
            ("| a | b | c |\n|---|---|---|\n| 1 | 2 | 3 |", "steps"),
        ] {
            let error = check(report, &[]).expect_err(report).to_string();
            assert!(error.contains(why), "{report}: {error}");
        }
        check("x \\*y\\* &lt;b&gt; :<!-- -->// `<b>`", &[]).expect("nothing but text");
    }

    #[test]
    fn diagrams_are_read() {
        let good =
            "%%{init: {}}%%\nsequenceDiagram\n    participant p0 as a#58; b\n    Note over p0: c";
        diagram(good).expect("a diagram");
        for (part, other) in [
            ("c", "c; d"),
            ("c", "#x;"),
            ("Note over p0", "Note over p1"),
            ("Note over p0", "p0->>p9"),
            ("a#58; b", "a: b"),
        ] {
            assert!(diagram(&good.replace(part, other)).is_err(), "{other}");
        }
    }
}
