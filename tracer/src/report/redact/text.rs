//! Replaces what is known inside of a text, in one pass, so that no stand-in is replaced again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::names::{Names, Within, is_word};
use crate::evidence::cgroup_path::{bus_label_escape, bus_label_unescape};

/// What the paths of systemd's, logind's and machined's objects on the bus begin with.
const OBJECTS: &str = "/org/freedesktop/";
/// Bytes of a `\xNN`.
const ESCAPE: usize = 4;

/// The text with names, addresses and paths under home replaced.
pub fn replace(names: &mut Names, text: &str, within: Within) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    // Whether a word begins here.
    let mut begins = true;
    let mut before = None;
    while let Some(c) = text[at..].chars().next() {
        let found = if begins { known_at(names, &text[at..], before, within) } else { None };
        let length = match found {
            Some((length, stand_in)) => {
                out.push_str(&stand_in);
                length
            }
            None => {
                let length = if is_escape(&text[at..]) { ESCAPE } else { c.len_utf8() };
                out.push_str(&text[at..at + length]);
                length
            }
        };
        before = text[at..at + length].chars().next_back();
        begins = is_escape(&text[at..]) || !before.is_some_and(is_word);
        at += length;
    }
    out
}

/// Whether a text begins with a byte as unit names have it: `\x2d`, which ends a word and begins the next.
fn is_escape(text: &str) -> bool {
    text.strip_prefix(r"\x")
        .and_then(|rest| rest.as_bytes().get(..2))
        .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// The path of an object on the bus: what it is of is escaped there, and is replaced as it is elsewhere.
fn object_at(names: &mut Names, text: &str) -> (usize, String) {
    let length = text.find(|c: char| !(is_word(c) || c == '/')).unwrap_or(text.len());
    let label = |label: &str| {
        let real = bus_label_unescape(label);
        if bus_label_escape(&real) == label && !real.contains('/') {
            bus_label_escape(&replace(names, &real, Within::Any))
        } else {
            replace(names, label, Within::Any)
        }
    };
    (length, text[..length].split('/').map(label).collect::<Vec<_>>().join("/"))
}

/// What a text begins with, where it is to be replaced: its length, and the stand-in.
fn known_at(
    names: &mut Names,
    text: &str,
    before: Option<char>,
    within: Within,
) -> Option<(usize, String)> {
    if text.starts_with(OBJECTS) {
        return Some(object_at(names, text));
    }
    if text.starts_with('/')
        && let Some((length, home)) = names.home_at(text)
    {
        return Some(under_home(names, text, length, &home));
    }
    if before != Some('.')
        && let Some((length, stand_in)) = address_at(names, text)
    {
        return Some((length, stand_in));
    }
    // The fingerprint of a key tells who came as well as a name does.
    if let Some(print) = text.strip_prefix("SHA256:") {
        let end = print.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)));
        let end = end.unwrap_or(print.len());
        return Some(("SHA256:".len() + end, format!("SHA256:{}", names.argument(&print[..end]))));
    }
    names.name_at(text, within).map(|(length, stand_in)| (length, stand_in.to_owned()))
}

/// A path under a home directory, up to where a path ends in running text.
fn under_home(names: &mut Names, text: &str, home_length: usize, home: &str) -> (usize, String) {
    let rest = &text[home_length..];
    let end =
        rest.find(|c: char| c.is_whitespace() || "\"'`,;:()<>|".contains(c)).unwrap_or(rest.len());
    let inner = rest[..end].trim_matches('/');
    if inner.is_empty() {
        return (home_length + end, format!("{home}{}", &rest[..end]));
    }
    let stand_in = names.path(inner);
    (home_length + end, format!("{home}/{stand_in}"))
}

/// An address at the beginning of a text; a port behind it stays.
fn address_at(names: &mut Names, text: &str) -> Option<(usize, String)> {
    let run = |allowed: fn(&u8) -> bool| text.bytes().take_while(allowed).count();
    let dotted = text[..run(|b| b.is_ascii_digit() || *b == b'.')].trim_end_matches('.');
    if !text[dotted.len()..].starts_with(is_word)
        && let Ok(address) = dotted.parse::<Ipv4Addr>()
    {
        return Some((dotted.len(), names.address(address.into()).to_string()));
    }
    let length = run(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    let mut coloned = text[..length].trim_end_matches('.');
    if coloned.ends_with(':') && !coloned.ends_with("::") {
        coloned = &coloned[..coloned.len() - 1];
    }
    if text[coloned.len()..].starts_with(is_word) || coloned.matches(':').count() < 2 {
        return None;
    }
    let whole = coloned.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    // `2001:db8::1:22`: an address, or an address and a port. One that was seen before decides.
    let shorter = coloned.rsplit_once(':').and_then(|(head, port)| {
        port.parse::<u16>().ok()?;
        Some((head.len(), IpAddr::from(head.parse::<Ipv6Addr>().ok()?)))
    });
    let (length, address) = match (whole, shorter) {
        (Some(whole), Some((length, address))) if !names.knows(whole) && names.knows(address) => {
            (length, address)
        }
        (Some(whole), _) => (coloned.len(), whole),
        (None, Some(shorter)) => shorter,
        (None, None) => return None,
    };
    Some((length, names.address(address).to_string()))
}
