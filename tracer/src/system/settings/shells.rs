//! Which lines set `TMOUT` in the files that shells read at their start: after so many seconds without input an interactive
//! one ends (bash(1), zshparam(1), ksh(1)).

use super::{MAX_FILES, Root};
use crate::evidence::Setting;

/// Those of the system, of one kind of shell or another; and what pam_env(8) and others take variables from.
const OF_SYSTEM: [&str; 11] = [
    "/etc/environment",
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/bashrc",
    "/etc/ksh.kshrc",
    "/etc/zsh/zshenv",
    "/etc/zsh/zprofile",
    "/etc/zsh/zshrc",
    "/etc/zshenv",
    "/etc/zprofile",
    "/etc/zshrc",
];

/// `/etc/profile` reads every `*.sh` there.
const DIRECTORY: &str = "/etc/profile.d";

/// Those in a user's home directory.
const OF_USER: [&str; 8] = [
    ".bash_profile",
    ".bash_login",
    ".profile",
    ".bashrc",
    ".kshrc",
    ".zshenv",
    ".zprofile",
    ".zshrc",
];

/// How many lines are told.
const MAX_LINES: usize = 20;

/// How much of a value is kept, letters.
const MAX_VALUE: usize = 64;

const NAME: &str = "TMOUT";

impl Root {
    /// The lines that set `TMOUT` for every shell; scope `shell`. Whether a line is come by, no file tells.
    pub fn idle_limits(&self) -> Vec<Setting> {
        let listed = self.list(DIRECTORY).into_iter().filter(|name| name.ends_with(".sh"));
        let scripts = listed.map(|name| format!("{DIRECTORY}/{name}")).take(MAX_FILES);
        let files = OF_SYSTEM.map(str::to_owned).into_iter().chain(scripts);
        self.idle_limits_in(Setting::SHELLS, files)
    }

    /// The lines that set it in a user's own files, which are read with the rights of whoever calls; scope `shell UID`.
    pub fn own_idle_limits(&self, uid: u32, home: &str) -> Vec<Setting> {
        let files = OF_USER.iter().map(|name| format!("{home}/{name}"));
        self.idle_limits_in(&Setting::shells_of(uid), files)
    }

    fn idle_limits_in(&self, scope: &str, files: impl Iterator<Item = String>) -> Vec<Setting> {
        let mut found = Vec::new();
        for file in files {
            let Ok(text) = self.read(&file) else { continue };
            let lines = text.lines().zip(1..).filter_map(|(text, line)| {
                Some(Setting {
                    manager: None,
                    scope: scope.to_owned(),
                    name: NAME.to_owned(),
                    value: value(text)?.chars().take(MAX_VALUE).collect(),
                    file: Some(file.clone()),
                    line: Some(line),
                    unread: None,
                })
            });
            found.extend(lines.take(MAX_LINES + 1 - found.len()));
            if found.len() > MAX_LINES {
                self.miss(format!("{file}: {NAME} is set too often"));
                found.truncate(MAX_LINES);
                break;
            }
        }
        found
    }
}

/// What a line of a shell's file sets it to: `TMOUT=900; readonly TMOUT`, `export TMOUT=900`, `: ${TMOUT:=900}`.
fn value(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with('#') {
        return None;
    }
    let default = ["${TMOUT:=", "${TMOUT="].iter().find_map(|begin| {
        let (_, value) = line.split_once(begin)?;
        value.split('}').next()
    });
    let assigned = line.split([';', '&', '|', '(', ')', '{', '}']).filter_map(assigned).next_back();
    assigned.or(default)
}

/// The same of one command.
fn assigned(command: &str) -> Option<&str> {
    const BEGIN: [&str; 3] = ["then", "do", "else"];
    const DECLARE: [&str; 6] = ["export", "readonly", "declare", "typeset", "local", "integer"];
    let mut words = command.split_whitespace().peekable();
    while words.next_if(|word| BEGIN.contains(word)).is_some() {}
    let declares = words.next_if(|word| DECLARE.contains(word)).is_some();
    let mut value = None;
    for word in words.take_while(|word| !word.starts_with('#')) {
        let set = word.split_once('=');
        if let Some((NAME, set)) = set {
            value = Some(set.trim_matches(['"', '\'']));
        }
        let is_set = set.is_some_and(|(name, _)| {
            name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        });
        // What is set before a command is set for that alone.
        if !declares && !is_set {
            return None;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;
    use super::*;

    #[test]
    fn every_line_that_sets_it_is_told() {
        let (_tree, root) = root(&[
            ("etc/profile", "# TMOUT=1\nif x; then TMOUT=900; readonly TMOUT; fi\n"),
            ("etc/profile.d/b.sh", "export TMOUT=\"300\" # five minutes\n"),
            ("etc/profile.d/note", "TMOUT=2\n"),
            ("home/alice/.bashrc", "TMOUT=60 sleep 5\nTMOUT=$LONG\n"),
        ]);
        let brief = |told: Vec<Setting>| {
            let told = told.into_iter();
            told.map(|it| (it.scope, it.value, it.file.expect("a file"), it.line.expect("a line")))
                .collect::<Vec<_>>()
        };
        let line = |scope: &str, value: &str, file: &str, line| {
            (scope.to_owned(), value.to_owned(), file.to_owned(), line)
        };
        assert_eq!(
            brief(root.idle_limits()),
            [
                line("shell", "900", "/etc/profile", 2),
                line("shell", "300", "/etc/profile.d/b.sh", 1),
            ]
        );
        assert_eq!(
            brief(root.own_idle_limits(1000, "/home/alice")),
            [line("shell 1000", "$LONG", "/home/alice/.bashrc", 2)]
        );
    }

    #[test]
    fn what_sets_it_for_the_shell_itself() {
        for (text, set) in [
            ("TMOUT=900", Some("900")),
            ("  declare -xr TMOUT='900'", Some("900")),
            (": ${TMOUT:=900}", Some("900")),
            ("A=b TMOUT=900 C=d", Some("900")),
            ("TMOUT=1; TMOUT=", Some("")),
            ("[ -n \"$SSH_TTY\" ] && TMOUT=600", Some("600")),
            ("echo TMOUT=900 >>/etc/profile", None),
            ("TMOUT=900 bash", None),
            ("unset TMOUT", None),
            ("readonly TMOUT", None),
            ("MY_TMOUT=5", None),
        ] {
            assert_eq!(value(text), set, "{text}");
        }
    }

    #[test]
    fn too_many_lines_are_not_told() {
        let (_tree, root) = root(&[("etc/profile", &"TMOUT=1\n".repeat(MAX_LINES + 5))]);
        assert_eq!(root.idle_limits().len(), MAX_LINES);
        assert_eq!(root.missed().as_deref(), Some("/etc/profile: TMOUT is set too often"));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in ".*") {
            let _ = value(&line);
        }
    }
}
