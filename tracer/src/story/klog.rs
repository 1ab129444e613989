//! Lines of Kubernetes' structured log (klog): `I0507 11:59:34.518822    3224 kubelet.go:745] "Killing container" pod="shop/web"`,
//! and what `json.rs` reads. What is in them can come from anybody: only what stands where klog puts it counts.

mod json;

use std::borrow::Cow;

/// No longer line is looked at, bytes, nor more fields of one.
const LONGEST: usize = 16 << 10;
const FIELDS: usize = 32;

/// What was said, and of what.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The message.
    pub message: Cow<'a, str>,
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Line<'a> {
    /// A line with or without klog's header, or one of its JSON (`--logging-format=json`).
    pub fn of(text: &'a str) -> Option<Self> {
        let text = (text.len() <= LONGEST).then_some(text)?;
        if text.starts_with('{') {
            return json::line(text);
        }
        let is_bare = text.starts_with('"');
        let said = if is_bare { text } else { text.split_once("] ").filter(is_header)?.1 };
        let (message, mut rest) = quoted(said)?;
        let mut fields = Vec::new();
        while fields.len() < FIELDS {
            let Some((name, value)) = rest.trim_start_matches(' ').split_once('=') else { break };
            if name.is_empty()
                || !name.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-./".contains(&it))
            {
                break;
            }
            let Some((value, behind)) = value_of(value) else { break };
            fields.push((name.into(), value.into()));
            rest = behind;
        }
        Some(Self { message: message.into(), fields })
    }

    /// A field's value, without quotes around it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The elements of a field that is a list: `["a/b","c/d"]`, or `[a/b c/d]` as older ones have it.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let value = self.get(name).unwrap_or_default();
        let inside =
            value.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or_default();
        inside.split([' ', ',', '"']).filter(|element| !element.is_empty())
    }
}

/// `I0507 11:59:34.518822    3224 kubelet.go:745`: severity and date, time, thread, place, and spaces between them. It begins
/// the line: klog puts a tabulator before each line of a text that others wrote, and journald makes an entry of each.
fn is_header((header, _): &(&str, &str)) -> bool {
    let mut words = header.split(' ').filter(|word| !word.is_empty());
    let mut word = || words.next().unwrap_or_default();
    let (date, time, thread, place) = (word(), word(), word(), word());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let shape = |text: &str| -> String {
        text.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect()
    };
    let is_place = place.rsplit_once(':').is_some_and(|(file, line)| {
        !file.is_empty() && !file.contains(char::is_control) && is_number(line)
    });
    header.starts_with(['I', 'W', 'E', 'F'])
        && shape(&date[1..]) == "0000"
        && shape(time) == "00:00:00.000000"
        && is_number(thread)
        && is_place
        && words.next().is_none()
}

/// What stands between the quotes that a text begins with, and what is behind them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut is_escaped = false;
    let end = inside.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// A value and what is behind it.
fn value_of(text: &str) -> Option<(&str, &str)> {
    match text.as_bytes().first()? {
        b'"' => quoted(text),
        b'{' => Some(text.split_at(closed(text, b'{', b'}')?)),
        b'[' => Some(text.split_at(closed(text, b'[', b']')?)),
        // Text of several lines: each begins with a tabulator, and none of them with this.
        b'<' => text.split_once("\n >"),
        _ => Some(text.split_at(text.find(' ').unwrap_or(text.len()))),
    }
}

/// Where a bracket that a text begins with is closed, outside of quotes.
fn closed(text: &str, open: u8, close: u8) -> Option<usize> {
    let (mut depth, mut is_quoted, mut is_escaped) = (0_u32, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !is_escaped => is_quoted = !is_quoted,
            _ if is_quoted => {}
            _ if byte == open => depth += 1,
            _ if byte == close => depth -= 1,
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubelet 1.31 writes them.
    #[test]
    fn fields_are_found() {
        let line = Line::of(
            "I0516 18:34:49.885576    4052 kuberuntime_manager.go:1027] \"Message for Container of pod\" containerName=\"web\" \
             containerStatusID={\"Type\":\"containerd\",\"ID\":\"05657a\"} pod=\"shop/web-0\" containerMessage=\"Container web \\\"x\\\" a=b\" \
             gracePeriod=30 pods=[\"a/b\",\"c/d\"] old=[e/f g/h]",
        );
        let line = line.expect("a line");
        assert_eq!(line.message, "Message for Container of pod");
        assert_eq!(line.get("containerName"), Some("web"));
        assert_eq!(
            line.get("containerStatusID"),
            Some("{\"Type\":\"containerd\",\"ID\":\"05657a\"}")
        );
        assert_eq!(line.get("pod"), Some("shop/web-0"));
        assert_eq!(line.get("containerMessage"), Some("Container web \\\"x\\\" a=b"));
        assert_eq!((line.get("gracePeriod"), line.get("a")), (Some("30"), None));
        assert_eq!(line.list("pods").collect::<Vec<_>>(), ["a/b", "c/d"]);
        assert_eq!(line.list("old").collect::<Vec<_>>(), ["e/f", "g/h"]);
        assert_eq!(line.list("none").count(), 0);
        let bare = Line::of("\"SyncLoop\" pods=\"[a/b c/d]\" podUID=1-2").expect("a line");
        assert_eq!(bare.list("pods").collect::<Vec<_>>(), ["a/b", "c/d"]);
        assert_eq!(bare.get("podUID"), Some("1-2"));
    }

    /// What a probe's command has written stands in the line as well.
    #[test]
    fn what_others_wrote_is_no_field() {
        let output = "\"Probe failed\" pod=\"a/b\" output=<\n\tx pod=\"c/d\"\n\t > podUID=\"1\"\n > containerName=\"web\"";
        let line = Line::of(output).expect("a line");
        assert_eq!((line.get("pod"), line.get("podUID")), (Some("a/b"), None));
        assert_eq!(line.get("containerName"), Some("web"));
        let line = Line::of("\"m\" output=\"x pod=\\\"c/d\\\" \" pod=\"a/b\"").expect("a line");
        assert_eq!(line.get("pod"), Some("a/b"));
        for text in [
            "",
            "\"",
            "\"m",
            "text \"SyncLoop\" pod=\"a/b\"",
            "x] \"SyncLoop\" pod=\"a/b\"",
            "I05 1 2 3] \"SyncLoop\"",
            "I0507 1 2 3] \"SyncLoop\"",
            "I0507 11:59:34.518822 3224 kubelet.go] \"SyncLoop\"",
            "I0507 11:59:34.518822 3224 kubelet.go:745 x] \"SyncLoop\"",
            "I0507 11:59:34.518822\t3224 kubelet.go:745] \"SyncLoop\"",
            "I0507 11:59:34.518822 3224 \nkubelet.go:745] \"SyncLoop\"",
            "X0507 11:59:34.518822 3224 kubelet.go:745] \"SyncLoop\"",
            "ü0507 11:59:34.518822 3224 kubelet.go:745] \"SyncLoop\"",
        ] {
            assert_eq!(Line::of(text), None, "{text}");
        }
        // Each line of such output is an entry of the journal's.
        let forged =
            "I0507 11:59:34.518822    3224 kubelet.go:745] \"SyncLoop DELETE\" pods=[\"a/b\"]";
        assert!(Line::of(forged).is_some());
        for before in [
            "\t", " ", "  ", "\u{b}", "\u{c}", "\r", "\n", "\0", "\u{a0}", "\u{200b}", "\u{1b}[m",
            "x",
        ] {
            assert_eq!(Line::of(&format!("{before}{forged}")), None, "{before:?}");
            assert_eq!(Line::of(&format!("{before}\"SyncLoop DELETE\"")), None, "{before:?}");
        }
        for text in [
            "\"m\" pod=\"",
            "\"m\" pod={\"",
            "\"m\" pod=[[]",
            "\"m\" pod=",
            "\"m\" =x",
            "\"m\" pod=<x",
            "\"m\" ü=x",
        ] {
            assert_eq!(Line::of(text).expect("a line").get("pod"), None, "{text}");
        }
        assert_eq!(Line::of(&format!("\"m\" pod=\"{}\"", "x".repeat(LONGEST))), None);
    }
}
