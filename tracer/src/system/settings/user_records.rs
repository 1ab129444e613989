//! What a user's record says that logind goes by: systemd-homed has one for each of its users, and others may have one in a
//! file (`docs/USER_RECORD.md` of systemd's sources, nss-systemd(8)).

use serde_json::Value;

use super::Root;
use crate::evidence::Setting;

/// Where records are, and how the names of their files end.
const PLACES: [(&str, &str); 6] = [
    ("/var/lib/systemd/home", "identity"),
    ("/etc/userdb", "user"),
    ("/run/userdb", "user"),
    ("/run/host/userdb", "user"),
    ("/usr/local/lib/userdb", "user"),
    ("/usr/lib/userdb", "user"),
];

/// Whether logind ends what is left of the user's sessions, whatever `logind.conf` says.
const KILL: &str = "killProcesses";

impl Root {
    /// Whether the user's record says that processes are ended at logout, or that they are not; scope `user record UID`.
    pub fn user_record(&self, name: &str, uid: u32) -> Option<Setting> {
        if name.starts_with('.') || name.contains('/') {
            return None;
        }
        PLACES.iter().find_map(|(directory, ending)| {
            let file = format!("{directory}/{name}.{ending}");
            let text = self.read(&file).ok()?;
            let Ok(record) = serde_json::from_str::<Value>(&text) else {
                self.miss(format!("{file}: it is no JSON"));
                return None;
            };
            let kills = self.kills(&record)?;
            let mut lines = text.lines().zip(1..).filter(|(text, _)| text.contains(KILL));
            let line = lines.next().map(|(_, line)| line).filter(|_| lines.next().is_none());
            Some(Setting {
                manager: None,
                scope: Setting::record_of_user(uid),
                name: KILL.to_owned(),
                value: kills.to_string(),
                file: Some(file),
                line,
                unread: None,
            })
        })
    }

    /// What is said of this machine counts, the last such entry over the others, then what is said of all
    /// (`dispatch_per_machine` of `src/shared/user-record.c`; of entries that name hosts, those that name the machine's id
    /// are read alone).
    fn kills(&self, record: &Value) -> Option<bool> {
        let machine = self.read("/etc/machine-id").unwrap_or_default();
        let entries = record.get("perMachine").and_then(Value::as_array).into_iter().flatten();
        let of_machine = entries.filter(|entry| match entry.get("matchMachineId") {
            Some(Value::String(id)) => id == machine.trim(),
            Some(Value::Array(ids)) => ids.iter().any(|id| id.as_str() == Some(machine.trim())),
            _ => false,
        });
        let says = |part: &Value| part.get(KILL).and_then(Value::as_bool);
        of_machine.filter_map(says).next_back().or_else(|| says(record))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;

    fn said(record: &str, name: &str) -> Option<(String, Option<u32>)> {
        let (_tree, root) = root(&[
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("etc/userdb/carol.user", record),
        ]);
        let found = root.user_record(name, 1000)?;
        assert_eq!(
            (found.scope.as_str(), found.name.as_str()),
            ("user record 1000", "killProcesses")
        );
        Some((found.value, found.line))
    }

    #[test]
    fn a_record_may_say_that_processes_are_ended_at_logout() {
        let says = |record| said(record, "carol");
        assert_eq!(
            says("{\"userName\":\"carol\",\n\"killProcesses\" : true}"),
            Some(("true".into(), Some(2)))
        );
        assert_eq!(says("{\"killProcesses\":false}"), Some(("false".into(), Some(1))));
        for silent in ["{}", "{\"killProcesses\":null}", "[]", "7", "no JSON", ""] {
            assert_eq!(says(silent), None, "{silent}");
        }
        assert_eq!(said("{\"killProcesses\":true}", "../userdb/carol"), None);
    }

    #[test]
    fn what_it_says_of_this_machine_comes_first() {
        let entry = |id: &str, kills: bool| {
            format!("{{\"matchMachineId\":{id},\"killProcesses\":{kills}}}")
        };
        let record = |entries: &[String]| {
            format!("{{\"killProcesses\":false,\n\"perMachine\":[{}]}}", entries.join(","))
        };
        let own = "\"0123456789abcdef0123456789abcdef\"";
        let listed = format!("[\"ffff\",{own}]");
        let others = entry("\"ffff\"", true);
        let says = |entries: &[String]| said(&record(entries), "carol").map(|(value, _)| value);
        assert_eq!(says(&[entry(own, true), others.clone()]), Some("true".into()));
        assert_eq!(says(&[entry(&listed, true)]), Some("true".into()));
        assert_eq!(says(&[entry(own, true), entry(own, false)]), Some("false".into()));
        assert_eq!(says(&[others]), Some("false".into()));
    }
}
