//! One entry of the journal, from journalctl's JSON.
//!
//! A field is a string; an array of numbers where it is not UTF-8; `null` where it was too large; an array of
//! those where the entry has it several times (systemd's `docs/JOURNAL_EXPORT_FORMATS.md`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::clock;
use crate::evidence::cgroup_path::uid_of_manager_unit;
use crate::evidence::{JournalLine, Moment};

/// Longest message and longest other field that are kept, bytes.
const MAX_MESSAGE: usize = 8 << 10;
const MAX_FIELD: usize = 1 << 10;

/// How long journald may have taken to get to an entry; a source time further back is not believed.
const MAX_DELAY_US: i64 = 10_000_000;

/// The fields of [`JournalLine::fields`] that the story reads.
const READ: [&str; 4] = ["JOB_ID", "JOB_TYPE", "JOB_RESULT", "SESSION_ID"];

/// Those of which nothing is concluded: they are there for whoever reads a recording.
const SHOWN: [&str; 13] = [
    "USER_ID",
    "LEADER",
    "EXIT_CODE",
    "EXIT_STATUS",
    "UNIT_RESULT",
    "CODE_FUNC",
    "N_PROCESSES",
    "N_RESTARTS",
    "COMMAND",
    "SHUTDOWN",
    "OPERATOR",
    "INVOCATION_ID",
    "USER_INVOCATION_ID",
];

/// A parsed entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was written.
    pub at: Moment,
    /// Where it is in the journal.
    pub cursor: Option<String>,
    /// It is the kernel's.
    pub from_kernel: bool,
    /// It was passed on for a container by its runtime.
    from_container: bool,
    /// `_SYSTEMD_USER_UNIT`
    user_unit: Option<String>,
    /// What it says.
    pub line: JournalLine,
}

/// Reads one line of journalctl's output; `None` where it is no entry.
pub(super) fn parse(line: &[u8]) -> Option<Entry> {
    let Value::Object(all) = serde_json::from_slice(line).ok()? else {
        return None;
    };
    let short = |name: &str| text(&all, name, MAX_FIELD);
    let realtime_us = number(&all, "__REALTIME_TIMESTAMP")?;
    let fields: BTreeMap<String, String> = READ
        .iter()
        .chain(&SHOWN)
        .filter_map(|name| Some(((*name).to_owned(), short(name)?)))
        .collect();
    Some(Entry {
        at: moment(&all, realtime_us),
        cursor: short("__CURSOR"),
        from_kernel: short("_TRANSPORT").as_deref() == Some("kernel"),
        from_container: all.contains_key("CONTAINER_ID") || all.contains_key("CONTAINER_NAME"),
        user_unit: short("_SYSTEMD_USER_UNIT"),
        line: JournalLine {
            message: text(&all, "MESSAGE", MAX_MESSAGE)?,
            identifier: short("SYSLOG_IDENTIFIER"),
            pid: number(&all, "_PID").and_then(|pid| u32::try_from(pid).ok()),
            uid: number(&all, "_UID").and_then(|uid| u32::try_from(uid).ok()),
            comm: short("_COMM"),
            from_unit: short("_SYSTEMD_UNIT"),
            about_unit: short("UNIT").or_else(|| short("USER_UNIT")),
            message_id: short("MESSAGE_ID"),
            fields,
        },
    })
}

impl Entry {
    /// Whether it is from one who knows. `_COMM` is whatever a process called itself, so an ordinary user's
    /// process that goes by systemd's name is not believed; neither are words passed on for a container.
    pub(super) fn is_wanted(&self) -> bool {
        if self.from_kernel {
            return true;
        }
        let Some(comm) = self.line.comm.as_deref() else {
            let name = self.line.identifier.as_deref().unwrap_or_default();
            return super::SHORT_LIVED.contains(&name) && !self.from_container;
        };
        let by_root = self.line.uid.is_none_or(|uid| uid == 0);
        let trusted = match comm {
            "systemd" => by_root || self.is_by_user_manager(),
            "systemd-oomd" | "polkitd" => self.in_own_service(),
            _ if comm.starts_with("systemd-") => by_root,
            // Matched by its identifier alone: it is another program.
            _ => super::SPEAKERS.contains(&comm),
        };
        trusted && !self.from_container
    }

    /// What it says. Whom it is about, which job and the like is taken from those alone who cannot be ordinary
    /// users: every client of journald writes what it likes into such fields.
    pub(super) fn into_line(self) -> JournalLine {
        let believed = self.line.uid.is_none_or(|uid| uid == 0) || self.is_by_user_manager();
        if believed {
            return self.line;
        }
        JournalLine { about_unit: None, message_id: None, fields: BTreeMap::new(), ..self.line }
    }

    fn is_by_user_manager(&self) -> bool {
        self.line.comm.as_deref() == Some("systemd")
            && self.user_unit.as_deref() == Some("init.scope")
            && self.line.from_unit.as_deref().and_then(uid_of_manager_unit) == self.line.uid
    }

    /// Daemons with a user of their own live in a service of the system.
    fn in_own_service(&self) -> bool {
        self.line
            .from_unit
            .as_deref()
            .is_some_and(|unit| unit.ends_with(".service") && uid_of_manager_unit(unit).is_none())
    }
}

/// When it was written: as the source stamped it, where that is plausible, else as journald received it.
fn moment(all: &Map<String, Value>, realtime_us: i64) -> Moment {
    let source = number(all, "_SOURCE_REALTIME_TIMESTAMP");
    let delay = source.map_or(0, |source| realtime_us.saturating_sub(source));
    let delay = if (0..=MAX_DELAY_US).contains(&delay) { delay } else { 0 };
    let unix_ns = realtime_us.saturating_sub(delay).saturating_mul(1000);
    match number(all, "__MONOTONIC_TIMESTAMP") {
        Some(monotonic_us) => {
            let monotonic_ns = monotonic_us.saturating_sub(delay).saturating_mul(1000);
            clock::at_monotonic_ns(monotonic_ns, unix_ns)
        }
        None => clock::at_unix_ns(unix_ns),
    }
}

fn number(all: &Map<String, Value>, name: &str) -> Option<i64> {
    match all.get(name)? {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64(),
        _ => None,
    }
}

/// A field as text, cut to at most so many bytes; of several values the first.
fn text(all: &Map<String, Value>, name: &str, limit: usize) -> Option<String> {
    let value = all.get(name)?;
    let value = match value {
        Value::Array(several) if several.iter().any(|it| !it.is_number()) => several.first()?,
        one => one,
    };
    match value {
        Value::String(text) => Some(text[..text.floor_char_boundary(limit)].to_owned()),
        Value::Array(bytes) => {
            let byte = |value: &Value| u8::try_from(value.as_u64()?).ok();
            let bytes: Option<Vec<u8>> = bytes.iter().take(limit).map(byte).collect();
            Some(String::from_utf8_lossy(&bytes?).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPING: &str = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1700000000123456","__MONOTONIC_TIMESTAMP":"5000000",
        "_SOURCE_REALTIME_TIMESTAMP":"1700000000123000","_PID":"1","_UID":"0","_COMM":"systemd",
        "_SYSTEMD_UNIT":"init.scope","SYSLOG_IDENTIFIER":"systemd","UNIT":"session-3.scope","JOB_ID":"687",
        "JOB_TYPE":"stop","MESSAGE_ID":"de5b426a63be47a7b6ac3eaac82e2f6f","CODE_FUNC":["job_emit_start_message","x"],
        "MESSAGE":"Stopping session-3.scope - Session 3 of User alice..."}"#;

    #[test]
    fn an_entry_of_systemd_is_understood() {
        let entry = parse(STOPPING.as_bytes()).expect("an entry");
        assert!(entry.is_wanted() && !entry.from_kernel);
        assert_eq!(entry.line.pid, Some(1));
        assert_eq!(entry.line.about_unit.as_deref(), Some("session-3.scope"));
        assert_eq!(entry.line.fields["JOB_ID"], "687");
        assert_eq!(entry.line.fields["CODE_FUNC"], "job_emit_start_message");
        assert_eq!(entry.at.time.unix_ns(), 1_700_000_000_123_000_000);
        assert_eq!(entry.cursor.as_deref(), Some("s=1;i=2"));
    }

    #[test]
    fn who_only_calls_itself_systemd_is_not_believed() {
        let fake = STOPPING.replace(r#""_UID":"0""#, r#""_UID":"1000""#);
        assert!(!parse(fake.as_bytes()).expect("an entry").is_wanted());
        let unit = r#""_SYSTEMD_UNIT":"user@1000.service","_SYSTEMD_USER_UNIT":"init.scope""#;
        let manager = fake.replace(r#""_SYSTEMD_UNIT":"init.scope""#, unit);
        assert!(parse(manager.as_bytes()).expect("an entry").is_wanted());
        let app = manager
            .replace(r#""_SYSTEMD_USER_UNIT":"init.scope""#, r#""_SYSTEMD_USER_UNIT":"x.service""#);
        assert!(!parse(app.as_bytes()).expect("an entry").is_wanted());
    }

    #[test]
    fn last_words_of_who_is_gone_are_kept_where_their_pid_can_tell_who_it_was() {
        let gone = STOPPING.replace(r#""_COMM":"systemd","#, "");
        assert!(!parse(gone.as_bytes()).expect("an entry").is_wanted());
        let sshd =
            gone.replace(r#""SYSLOG_IDENTIFIER":"systemd""#, r#""SYSLOG_IDENTIFIER":"sshd""#);
        assert!(parse(sshd.as_bytes()).expect("an entry").is_wanted());
        let other = sshd.replace(r#""_UID":"0""#, r#""_UID":"1000","_COMM":"logger""#);
        assert!(!parse(other.as_bytes()).expect("an entry").is_wanted());
    }

    #[test]
    fn what_an_ordinary_user_says_of_units_is_left_out() {
        let as_sshd =
            STOPPING.replace(r#""_UID":"0","_COMM":"systemd""#, r#""_UID":"1000","_COMM":"sshd""#);
        let entry = parse(as_sshd.as_bytes()).expect("an entry");
        assert!(entry.is_wanted(), "sshd speaks as the user after the login");
        let line = entry.into_line();
        assert_eq!((line.about_unit, line.message_id, line.fields), (None, None, BTreeMap::new()));
        assert!(line.message.starts_with("Stopping"));
        let own = parse(STOPPING.as_bytes()).expect("an entry").into_line();
        assert_eq!(own.about_unit.as_deref(), Some("session-3.scope"));
    }

    #[test]
    fn binary_repeated_and_missing_fields() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105,255],"_COMM":["sshd","x"],"UNIT":null}"#;
        let entry = parse(line.as_bytes()).expect("an entry");
        assert_eq!(entry.line.message, "hi\u{fffd}");
        assert_eq!(entry.line.comm.as_deref(), Some("sshd"));
        assert_eq!(entry.line.about_unit, None);
        assert!(parse(br#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":null}"#).is_none());
        assert!(parse(br#"{"MESSAGE":"x"}"#).is_none());
        assert!(parse(b"[]").is_none() && parse(b"").is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_value_of_a_field_is_survived(message in "\\PC*", time in proptest::num::i64::ANY, mono in proptest::num::i64::ANY) {
            let line = serde_json::json!({
                "__REALTIME_TIMESTAMP": time.to_string(), "__MONOTONIC_TIMESTAMP": mono.to_string(),
                "_SOURCE_REALTIME_TIMESTAMP": mono, "MESSAGE": message, "_PID": [[1], 2],
            });
            let entry = parse(line.to_string().as_bytes()).expect("an entry");
            proptest::prop_assert!(message.starts_with(&entry.line.message));
        }
    }
}
