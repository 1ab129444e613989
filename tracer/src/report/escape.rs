//! Makes text from outside harmless before it reaches a terminal, a JSON line, Markdown or Mermaid.
//!
//! Process names, arguments, unit names and log lines can hold any characters: sequences that drive
//! the terminal, newlines that forge lines of the report, marks that reverse the order of reading,
//! Markdown that turns into links. Each form of the report escapes everything it did not write itself.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest piece of outside text that the report shows, in characters.
pub const MAX_SHOWN: usize = 4096;

/// Whether a character could do more than be seen: control characters, line separators, marks of
/// direction, and what has no width at all.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether text is printable ASCII, as nearly all is. Without an early end, which lets the compiler look at
/// many bytes at once.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
}

/// For a terminal: control characters as strace writes them (`\n`, `\33`), others as `\u{202e}`.
///
/// A backslash stays as it is, so that `dev-disk-by\x2did.device` can be copied out of a report.
pub fn terminal(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_unsafe(c) {
            push_visible(&mut out, c, chars.peek().copied(), Braces::Around);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// How the number of a character is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Braces {
    /// `\u{202e}`, as it ends where it can be seen.
    Around,
    /// `\u202e`, as bash reads it.
    None,
}

/// Like [`terminal`], and cut to `max` characters, with `…` for the rest.
pub fn shortened(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => terminal(text).into_owned(),
        Some((at, _)) => format!("{}…", terminal(&text[..at])),
    }
}

/// One character as a visible escape; `next` decides whether an octal escape needs all its digits.
fn push_visible(out: &mut String, c: char, next: Option<char>, braces: Braces) {
    let done = match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\u{b}' => out.write_str("\\v"),
        '\u{c}' => out.write_str("\\f"),
        _ if c.is_ascii() && next.is_some_and(|next| next.is_digit(8)) => {
            write!(out, "\\{:03o}", u32::from(c))
        }
        _ if c.is_ascii() => write!(out, "\\{:o}", u32::from(c)),
        _ if braces == Braces::Around => write!(out, "\\u{{{:x}}}", u32::from(c)),
        _ if u32::from(c) <= 0xffff => write!(out, "\\u{:04x}", u32::from(c)),
        _ => write!(out, "\\U{:08x}", u32::from(c)),
    };
    debug_assert!(done.is_ok(), "a String takes everything");
}

/// One argument as a shell would need it: bare where that is safe, else in quotes.
pub fn argument(text: &str) -> String {
    let text = match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    };
    let bare = |c: char| c.is_alphanumeric() || "-_=+./:,@%^…".contains(c);
    if !text.is_empty() && text.chars().all(|c| bare(c) && !is_unsafe(c)) {
        text.into_owned()
    } else if text.contains(is_unsafe) {
        format!("$'{}'", ansi_quoted(&text))
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// What stands between `$'` and `'` for bash (bash(1), QUOTING).
fn ansi_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_unsafe(c) {
            push_visible(&mut out, c, chars.peek().copied(), Braces::None);
        } else {
            if matches!(c, '\\' | '\'') {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

/// A command line as a shell would need it, cut to `max` characters.
pub fn command_line<S: AsRef<str>>(arguments: &[S], max: usize) -> String {
    let mut out = String::new();
    for argument_text in arguments {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&argument(argument_text.as_ref()));
        if let Some((at, _)) = out.char_indices().nth(max) {
            out.truncate(at);
            out.push('…');
            break;
        }
    }
    out
}

/// For JSON text: what a terminal must not see, as `\uXXXX`.
///
/// Such characters stand inside strings only, so the value stays the same.
pub fn json(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let done = write!(out, "\\u{unit:04x}");
                debug_assert!(done.is_ok(), "a String takes everything");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// For the running text of Markdown: nothing in it is markup, a link, a mention or an issue number.
pub fn markdown(text: &str) -> String {
    let text = shortened(text, MAX_SHOWN);
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' => out.push_str("&#124;"),
            // GitHub looks for mentions and issue numbers after it has undone escapes.
            // `user@1000.service` would become a mail address.
            '@' => out.push_str("@<!-- -->"),
            '#' if next.is_ascii_digit() => out.push_str("\\#<!-- -->"),
            ':' if next == '/' => out.push_str(":<!-- -->"),
            '.' if out.ends_with("www") => out.push_str("<!-- -->."),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '!' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // At the beginning of a line blanks would begin a block of code.
            ' ' if out.is_empty() => out.push_str("&#32;"),
            // And these would begin a list or a rule.
            '-' | '+' | '=' if out.is_empty() => {
                out.push('\\');
                out.push(c);
            }
            '.' | ')'
                if next == ' ' && !out.is_empty() && out.bytes().all(|b| b.is_ascii_digit()) =>
            {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// For Markdown outside of tables, where a pipe would end the cell: in a code span that holds any
/// backticks.
pub fn markdown_code(text: &str) -> String {
    let text = shortened(text, MAX_SHOWN);
    let fence = "`".repeat(longest_run(&text, '`') + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A block of code whose fence nothing inside can close.
///
/// `text` keeps its newlines and is escaped line by line.
pub fn markdown_block(language: &str, text: &str) -> String {
    let fence = "`".repeat((longest_run(text, '`') + 1).max(3));
    let mut out = format!("{fence}{language}\n");
    for line in text.lines() {
        out.push_str(&terminal(line));
        out.push('\n');
    }
    out.push_str(&fence);
    out.push('\n');
    out
}

/// For a label in a Mermaid diagram: all but letters, digits and harmless marks as `#NN;`. Quotation marks
/// become single ones: where Mermaid wraps a line it may break it inside of a code.
pub fn mermaid(text: &str) -> String {
    let text = shortened(text, 120);
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c == '"' {
            out.push('\'');
        } else if c.is_alphanumeric() || " .,/_=-()[]'@…".contains(c) {
            out.push(c);
        } else {
            let done = write!(out, "#{};", u32::from(c));
            debug_assert!(done.is_ok(), "a String takes everything");
        }
    }
    out
}

fn longest_run(text: &str, wanted: char) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == wanted { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_drives_a_terminal_becomes_visible() {
        assert_eq!(terminal("plain ünïcode 名"), "plain ünïcode 名");
        assert_eq!(terminal("a\u{1b}[31mb\u{7}"), "a\\33[31mb\\7");
        assert_eq!(terminal("\u{1b}7\u{1}x\0"), "\\0337\\1x\\0");
        assert_eq!(terminal("line\nforged\r\ttab"), "line\\nforged\\r\\ttab");
        assert_eq!(terminal("\u{9b}31m\u{7f}"), "\\u{9b}31m\\177");
        assert_eq!(terminal("gnp\u{202e}.exe\u{2066}"), "gnp\\u{202e}.exe\\u{2066}");
        assert_eq!(terminal("a\u{200b}b\u{feff}\u{e0041}"), "a\\u{200b}b\\u{feff}\\u{e0041}");
        assert_eq!(terminal(r"dev-disk\x2did"), r"dev-disk\x2did");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äöü…");
        assert_eq!(command_line(&["ab", "cd", "ef"], 4), "ab c…");
    }

    #[test]
    fn arguments_can_be_pasted_into_a_shell() {
        assert_eq!(command_line(&["pkill", "-f", "tmux: server"], 99), "pkill -f 'tmux: server'");
        assert_eq!(argument(""), "''");
        assert_eq!(argument("it's"), "'it'\\''s'");
        assert_eq!(argument("a\nb'\\"), "$'a\\nb\\'\\\\'");
        assert_eq!(argument("$(reboot)"), "'$(reboot)'");
        assert_eq!(argument("a\u{202e}1\u{e0041}"), "$'a\\u202e1\\U000e0041'");
    }

    #[test]
    fn markdown_stays_text() {
        assert_eq!(markdown("a_b *c* `d` [x](y)"), "a\\_b \\*c\\* \\`d\\` \\[x\\](y)");
        assert_eq!(markdown("<img src=x>|&"), "&lt;img src=x&gt;&#124;&amp;");
        assert_eq!(markdown("@root user@1000.service"), "@<!-- -->root user@<!-- -->1000.service");
        assert_eq!(
            markdown("#12 https://x www.x"),
            "\\#<!-- -->12 https:<!-- -->//x www<!-- -->.x"
        );
        assert_eq!(markdown("1. a"), "1\\. a");
        assert_eq!(markdown("    a  b"), "&#32;   a  b");
        assert_eq!(markdown("- a\n# b"), "\\- a\\\\n\\# b");
    }

    #[test]
    fn code_spans_hold_backticks() {
        assert_eq!(markdown_code("a`b``c"), "```a`b``c```");
        assert_eq!(markdown_code("`"), "`` ` ``");
        assert!(markdown_block("json", "x\n````\ny").starts_with("`````json\nx\n````\ny\n`````"));
    }

    #[test]
    fn mermaid_labels_hold_no_syntax() {
        assert_eq!(mermaid("systemd[1]: a;b%%"), "systemd[1]#58; a#59;b#37;#37;");
        assert_eq!(mermaid("a\nend->>b"), "a#92;nend-#62;#62;b");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in any::<String>()) {
            for shown in [terminal(&text).into_owned(), json(&text).into_owned(), markdown(&text),
                          markdown_code(&text), mermaid(&text), argument(&text)] {
                prop_assert!(!shown.contains(is_unsafe), "{shown:?}");
            }
        }

        #[test]
        fn json_text_keeps_its_value(text in any::<String>()) {
            let line = serde_json::to_string(&text).expect("a string");
            let back: String = serde_json::from_str(&json(&line)).expect("still JSON");
            prop_assert_eq!(back, text);
        }
    }
}
