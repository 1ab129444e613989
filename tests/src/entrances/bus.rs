//! D-Bus: what comes over a connection, whoever is at the other end.

use std::cell::LazyCell;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use killtrace::evidence::{Fact, Source, weight};
use killtrace::system::entrances;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::files;
use super::scene::{SERVICE, SESSION, TERMINATED};

/// More than this a socket may not hold while nobody reads.
const MOST: usize = 64 << 10;

thread_local! {
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
}

/// Messages, one behind the other.
pub fn messages(bytes: &[u8]) {
    let facts = RUNTIME.with(|runtime| runtime.block_on(listen(&bytes[..bytes.len().min(MOST)])));
    let scene = if bytes.len().is_multiple_of(2) { &SERVICE } else { &TERMINATED };
    scene.tell(facts.into_iter().map(|fact| (Source::Bus, fact)));
}

/// What a program says that stands where a user's service manager should: the handshake, then messages.
pub fn users(bytes: &[u8]) {
    let facts = of_users(bytes);
    SESSION.tell(facts.into_iter().map(|fact| (Source::Bus, fact)));
}

fn of_users(bytes: &[u8]) -> Vec<Fact> {
    let bytes = &bytes[..bytes.len().min(MOST)];
    let cut = |size| entrances::users_messages(bytes.chunks(size)).map_err(|it| it.to_string());
    // What is taken is the same however reads happen to cut it.
    let whole = cut(MOST);
    for size in [1, 7, 16, 61] {
        assert_eq!(cut(size), whole, "in parts of {size}");
    }
    let facts = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (stream, _theirs) = said(bytes);
            entrances::users_manager(stream, 1000).await.unwrap_or_default()
        })
    });
    let messages = whole.as_ref().map_or(usize::MAX, |number| *number);
    assert!(facts.len() <= messages.saturating_mul(2), "{} of {messages}", facts.len());
    facts.iter().for_each(is_bounded);
    facts
}

async fn listen(bytes: &[u8]) -> Vec<Fact> {
    let (stream, _theirs) = said(bytes);
    entrances::bus(stream).await.unwrap_or_default()
}

/// A socket over which these bytes come, and the other end of it.
fn said(bytes: &[u8]) -> (tokio::net::UnixStream, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    theirs.write_all(bytes).expect("written");
    theirs.shutdown(Shutdown::Write).expect("shut down");
    ours.set_nonblocking(true).expect("set");
    (tokio::net::UnixStream::from_std(ours).expect("registered"), theirs)
}

const LOGIN: &str = "org.freedesktop.login1.Manager";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const SYSTEMD: &str = "/org/freedesktop/systemd1";
const UNIT: &str = "/org/freedesktop/systemd1/unit/victim_2eservice";

/// Messages that are read: kind (`dbus_message_get_type`), path, interface, member, and the signature of what is in them.
const READ: [(u8, &str, &str, &str, &str); 9] = [
    (4, UNIT, PROPERTIES, "PropertiesChanged", "sa{sv}as"),
    (2, UNIT, PROPERTIES, "GetAll", "a{sv}"),
    (4, SYSTEMD, MANAGER, "JobNew", "uos"),
    (4, SYSTEMD, MANAGER, "JobRemoved", "uoss"),
    (4, SYSTEMD, MANAGER, "UnitRemoved", "so"),
    (4, SYSTEMD, MANAGER, "Reloading", "b"),
    (4, "/org/freedesktop/login1/session/_33", PROPERTIES, "PropertiesChanged", "sa{sv}as"),
    (4, "/org/freedesktop/login1", LOGIN, "SessionRemoved", "so"),
    (1, SYSTEMD, MANAGER, "StopUnit", "ss"),
];

/// What is in a message: a byte for which of those that are read it is, a signature of its own where there is one, and
/// the values.
pub fn values(bytes: &[u8]) {
    let facts = of_values(bytes);
    let scene = if bytes.len().is_multiple_of(2) { &SERVICE } else { &TERMINATED };
    scene.tell(facts.into_iter().map(|fact| (Source::BusProperty, fact)));
}

fn of_values(bytes: &[u8]) -> Vec<Fact> {
    let Some((which, rest)) = bytes.split_first() else { return Vec::new() };
    let (kind, path, interface, member, signature) = READ[usize::from(*which) % READ.len()];
    let [own, values] = files(rest);
    let own = std::str::from_utf8(own).ok().filter(|own| !own.is_empty() && own.len() < 256);
    let (signature, values) = (own.unwrap_or(signature), &values[..values.len().min(MOST / 2)]);
    let mut header = vec![b'l', kind, 0, 1];
    for number in [values.len(), 9, 0] {
        header.extend((number as u32).to_le_bytes());
    }
    let texts = [(1, "o", path), (2, "s", interface), (3, "s", member), (7, "s", ":1.5")];
    for (field, of, text) in texts {
        header.extend(vec![0; header.len().next_multiple_of(8) - header.len()]);
        header.extend([field, 1, of.as_bytes()[0], 0]);
        header.extend((text.len() as u32).to_le_bytes());
        header.extend([text.as_bytes(), &[0]].concat());
    }
    header.extend(vec![0; header.len().next_multiple_of(8) - header.len()]);
    // Which message it answers.
    header.extend([5, 1, b'u', 0, 1, 0, 0, 0]);
    header.extend([8, 1, b'g', 0, signature.len() as u8]);
    header.extend([signature.as_bytes(), &[0]].concat());
    let fields = (header.len() - 16) as u32;
    header[12..16].copy_from_slice(&fields.to_le_bytes());
    header.extend(vec![0; header.len().next_multiple_of(8) - header.len()]);
    let message = [&header, values].concat();
    let facts = RUNTIME.with(|runtime| runtime.block_on(listen(&message)));
    facts.iter().for_each(is_bounded);
    facts
}

/// What is told of a unit takes no more than there is room for.
fn is_bounded(fact: &Fact) {
    let Fact::Unit(unit) = fact else { return };
    let all: usize = unit.properties.values().map(weight).sum();
    assert!(all <= 64 << 10, "{all} bytes");
    for value in unit.properties.values() {
        is_small(value, 0);
    }
}

fn is_small(value: &Value, depth: usize) {
    assert!(depth <= 5, "{value}");
    match value {
        Value::String(text) => assert!(text.len() <= 4096, "{text}"),
        Value::Array(all) => {
            assert!(all.len() <= 256, "{value}");
            all.iter().for_each(|one| is_small(one, depth + 1));
        }
        Value::Object(all) => {
            assert!(all.len() <= 256, "{value}");
            all.values().for_each(|one| is_small(one, depth + 1));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::entrances::corpora;

    #[test]
    fn what_is_kept_gets_in() {
        let told = |of: fn(&[u8]) -> Vec<Fact>, kept: &str| {
            of(&fs::read(corpora().join(kept)).expect("it is kept")).len()
        };
        assert_eq!(told(of_users, "users/changed"), 2);
        assert_eq!(told(of_users, "users/stop"), 1);
        assert_eq!(told(of_users, "users/shaken"), 0);
        for kept in ["all", "changed", "removed", "session", "gone", "stop"] {
            assert_eq!(told(of_values, &format!("values/{kept}")), 1, "{kept}");
        }
    }
}
