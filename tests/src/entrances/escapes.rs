//! Text from outside on its way into a report.

use anyhow::Result;
use killtrace::report::escape;
use pulldown_cmark::{Event, Options, Parser};

use super::text as read;
use crate::{markdown, shell};

/// A name, an argument or a line of a log.
pub fn text(bytes: &[u8]) {
    let text = read(bytes);
    let shown = escape::shortened(&text, escape::MAX_SHOWN);
    let argument = escape::argument(&text);
    for escaped in [
        &escape::terminal(&text),
        &*escape::json(&text),
        &shown,
        &argument,
        &escape::markdown(&text),
        &escape::markdown_code(&text),
        &escape::mermaid(&text),
    ] {
        let harmful = escaped.chars().find(|c| escape::is_unsafe(*c));
        assert_eq!(harmful, None, "{escaped:?}");
    }
    let json = serde_json::to_string(&text).expect("a string");
    let back: String = serde_json::from_str(&escape::json(&json)).expect("still JSON");
    assert_eq!(back, text);
    if text.chars().count() <= escape::MAX_SHOWN {
        let words = shell::words(&argument).unwrap_or_else(|error| panic!("{error}: {argument:?}"));
        assert_eq!(words, [text.as_str()], "{argument:?}");
    }
    is_text_in_markdown(&text, &shown);
    is_label(&escape::mermaid(&text));
}

/// Wherever it stands in Markdown, it is the text that it was, and nothing else.
fn is_text_in_markdown(text: &str, shown: &str) {
    let (plain, code) = (escape::markdown(text), escape::markdown_code(text));
    let wanted = normal(shown);
    if wanted.is_empty() {
        return;
    }
    for (place, prefix, suffix) in [
        ("heading", "## ", "\n"),
        ("paragraph", "", "\n"),
        ("behind a word", "x ", "\n"),
        ("bold", "**x ", " x**\n"),
        ("item", "- ", "\n"),
        ("quotation", "> **Lost:** ", "\n"),
        ("cell", "| a |\n|---|\n| ", " |\n"),
        ("hard break", "1. a\n\n   See: ", "  \n"),
    ] {
        let found = texts(&format!("{prefix}{plain}{suffix}"));
        let found = found.unwrap_or_else(|error| panic!("{place}: {error} in {plain:?}"));
        assert!(normal(&found).contains(&wanted), "{place}: {found:?} of {plain:?}");
    }
    // Code in a table is cut at pipes, and so never stands there.
    let found = texts(&format!("x {code}\n")).unwrap_or_else(|error| panic!("{error} in {code:?}"));
    assert!(normal(&found).ends_with(&wanted), "{found:?} of {code:?}");
    let block = escape::markdown_block("", text);
    let found = texts(&block).unwrap_or_else(|error| panic!("{error} in {block:?}"));
    let lines: Vec<_> = text.lines().map(escape::terminal).collect();
    assert_eq!(found.trim_end_matches('\n'), lines.join("\n").trim_end_matches('\n'));
}

/// All text of a document without any markup that was not put there here.
fn texts(document: &str) -> Result<String> {
    let mut found = String::new();
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    for event in Parser::new_ext(document, options) {
        match event {
            Event::Text(part) | Event::Code(part) => found.push_str(&part),
            Event::Html(html) | Event::InlineHtml(html) if html.trim() == "<!-- -->" => {}
            Event::Start(tag) => markdown::is_ours(&tag)?,
            Event::End(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(found)
}

/// Markdown takes blanks from both ends of a line.
fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_label(label: &str) {
    if label.trim().is_empty() {
        return;
    }
    let diagram = format!(
        "%%{{init: {{}}}}%%\nsequenceDiagram\n    participant p0 as {label}\n    Note over p0: {label}"
    );
    markdown::diagram(&diagram).unwrap_or_else(|error| panic!("{error}"));
}
