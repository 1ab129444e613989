//! Limits for what users run: `limits.conf` of pam_limits(8), and how long sudo(8) lets a command run.

use super::{MAX_FILE, MAX_FILES, Root};
use crate::evidence::Setting;
use crate::system::files;

const MAIN: &str = "/etc/security/limits.conf";
const DIRECTORY: &str = "/etc/security/limits.d";

const SUDOERS: &str = "/etc/sudoers";
const SUDOERS_DIRECTORY: &str = "/etc/sudoers.d";

/// How many entries are told.
const MAX_ENTRIES: usize = 1000;

impl Root {
    /// The limits that end whoever reaches them, CPU time and the size of files, in the units of limits.conf(5); scope
    /// `limits.conf USER`, names as `hard fsize`. Of several for one user the last counts. Those of groups are left out.
    pub fn login_limits(&self) -> Vec<Setting> {
        let drop_ins = self.drop_ins(&[DIRECTORY.to_owned()]);
        let mut found = Vec::new();
        for file in std::iter::once(MAIN.to_owned()).chain(drop_ins) {
            let Ok(text) = self.read(&file) else { continue };
            let entries = text.lines().zip(1..).filter_map(|(text, line)| {
                let (user, name, value) = entry(text)?;
                Some(Setting {
                    manager: None,
                    scope: Setting::login_limits_of(user),
                    name,
                    value: value.to_owned(),
                    file: Some(file.clone()),
                    line: Some(line),
                    unread: None,
                })
            });
            found.extend(entries.take(MAX_ENTRIES + 1 - found.len()));
            if found.len() > MAX_ENTRIES {
                self.miss(format!("{file}: too much is set"));
                found.truncate(MAX_ENTRIES);
                break;
            }
        }
        found
    }
}

impl Root {
    /// The time limit that sudo(8) has for all that it runs, where sudoers(5) sets one, and that can be read; scope `sudoers`.
    /// What is for some users, hosts or commands alone is left out.
    pub fn sudo_timeout(&self) -> Option<Setting> {
        let names = self.list(SUDOERS_DIRECTORY).into_iter();
        let read = names.filter(|name| !name.contains('.') && !name.ends_with('~'));
        let included = read.map(|name| format!("{SUDOERS_DIRECTORY}/{name}")).take(MAX_FILES);
        let found = std::iter::once(SUDOERS.to_owned()).chain(included).filter_map(|file| {
            // That it is for root alone is no gap.
            let text = files::read(&self.real(&file), MAX_FILE).ok()?;
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().zip(1..);
            let (value, line) = lines.filter_map(|(it, line)| Some((timeout(it)?, line))).last()?;
            Some(Setting {
                manager: None,
                scope: "sudoers".to_owned(),
                name: "command_timeout".to_owned(),
                value: value.to_owned(),
                file: Some(file),
                line: Some(line),
                unread: None,
            })
        });
        found.last()
    }
}

/// The time limit that a line of sudoers(5) sets for everything.
fn timeout(line: &str) -> Option<&str> {
    let settings = line.split('#').next()?.trim_start().strip_prefix("Defaults")?;
    let mut settings = settings.strip_prefix([' ', '\t'])?.split(',');
    settings.find_map(|setting| {
        let (name, value) = setting.split_once('=')?;
        (name.trim() == "command_timeout").then(|| value.trim().trim_matches('"'))
    })
}

/// The user, the name and the value of a line: `alice hard fsize 10`.
fn entry(line: &str) -> Option<(&str, String, &str)> {
    let mut words = line.split('#').next()?.split_whitespace();
    let (user, kind, item) = (words.next()?, words.next()?, words.next()?);
    let value = words.next().filter(|_| words.next().is_none())?;
    // A group, or a range of ids.
    let is_user = !user.starts_with(['@', '%']) && !user.contains(':');
    let is_limit = ["soft", "hard", "-"].contains(&kind) && ["cpu", "fsize"].contains(&item);
    (is_user && is_limit).then(|| (user, format!("{kind} {item}"), value))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn limits_of_users_and_where_they_stand() {
        let tree = tempfile::tempdir().expect("temporary directory");
        let directory = tree.path().join("etc/security/limits.d");
        fs::create_dir_all(&directory).expect("directories");
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).expect("file");
        write("../limits.conf", "# alice hard fsize 1\n*\t-  cpu 5 # minutes\n@staff hard cpu 1\n");
        write("90-size.conf", "alice hard nofile 9\nalice hard fsize 10\n");
        write("note.txt", "bob hard fsize 10\n");
        let told = Root::new(tree.path()).login_limits().into_iter();
        let told: Vec<_> = told.map(|it| (it.scope, it.name, it.value, it.file, it.line)).collect();
        let of = |scope: &str, name: &str, value: &str, file: &str, line| {
            let file = Some(format!("/etc/security/{file}"));
            (scope.to_owned(), name.to_owned(), value.to_owned(), file, Some(line))
        };
        assert_eq!(
            told,
            [
                of("limits.conf *", "- cpu", "5", "limits.conf", 2),
                of("limits.conf alice", "hard fsize", "10", "limits.d/90-size.conf", 2),
            ]
        );
    }

    #[test]
    fn too_many_limits_are_not_told() {
        let tree = tempfile::tempdir().expect("temporary directory");
        fs::create_dir_all(tree.path().join("etc/security")).expect("directories");
        let text = "alice hard fsize 10\n".repeat(MAX_ENTRIES + 5);
        fs::write(tree.path().join("etc/security/limits.conf"), text).expect("file");
        let root = Root::new(tree.path());
        assert_eq!(root.login_limits().len(), MAX_ENTRIES);
        assert_eq!(root.missed().as_deref(), Some("/etc/security/limits.conf: too much is set"));
    }

    #[test]
    fn the_time_limit_of_sudo_and_where_it_stands() {
        let tree = tempfile::tempdir().expect("temporary directory");
        fs::create_dir_all(tree.path().join("etc/sudoers.d")).expect("directories");
        let write = |name: &str, text: &str| fs::write(tree.path().join(name), text).expect("file");
        let told = || {
            let set = Root::new(tree.path()).sudo_timeout()?;
            Some((set.value, set.file?, set.line?))
        };
        assert_eq!(told(), None);
        write("etc/sudoers", "Defaults env_reset\nDefaults\tuse_pty, command_timeout = 90 # s\n");
        let set = |value: &str, file: &str, line| Some((value.to_owned(), file.to_owned(), line));
        assert_eq!(told(), set("90", "/etc/sudoers", 2));
        write("etc/sudoers.d/zz", "#Defaults command_timeout=1\nDefaults command_timeout=2\n");
        write("etc/sudoers.d/zz.old", "Defaults command_timeout=3\n");
        write("etc/sudoers.d/zzz", "Defaults:alice command_timeout=4\n");
        assert_eq!(told(), set("2", "/etc/sudoers.d/zz", 2));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in ".*") {
            let _ = entry(&line);
            let _ = timeout(&line);
        }
    }
}
