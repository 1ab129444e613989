//! Command lines: the program stays, its arguments go, but for those that say whom a command ended.

use super::Redactor;
use super::telling::{self, Reading, Shown};
use crate::evidence::base_name;

/// Words that stay in a rewritten title.
const TITLE: &[&str] = &[
    "server",
    "client",
    "master",
    "worker",
    "process",
    "[priv]",
    "[net]",
    "[listener]",
    "[accepted]",
    "[pam]",
    "[session-auth]",
    "listener",
];

impl Redactor {
    /// The command line of a process that runs this program (a path, or a name of at most 15 bytes). The
    /// first argument is the caller's to choose: what is not the program's name goes like any other.
    pub(super) fn command_line_of(
        &mut self,
        mut arguments: Vec<String>,
        program: &str,
    ) -> Vec<String> {
        let Some(first) = arguments.first() else { return arguments };
        let named = if is_title(first) { first.split([':', ' ']).next() } else { Some(&**first) };
        let called = base_name(named.unwrap_or_default().trim_start_matches('-')).to_owned();
        let runs = base_name(program);
        let alike = !called.is_empty()
            && !runs.is_empty()
            && (called.starts_with(runs) || runs.starts_with(&called));
        if alike || telling::is_shell(&called) {
            return self.command_line(arguments);
        }
        let hidden = self.names.argument(&arguments.remove(0));
        std::iter::once(hidden).chain(self.arguments_of(runs, arguments)).collect()
    }

    /// A command line.
    pub(super) fn command_line(&mut self, mut arguments: Vec<String>) -> Vec<String> {
        if arguments.is_empty() {
            return arguments;
        }
        let first = arguments.remove(0);
        let (shown, program) = if is_title(&first) {
            // What is left behind it is of the command line that it was written over.
            (self.title(&first), String::new())
        } else {
            (self.program(&first), base_name(&first).to_owned())
        };
        std::iter::once(shown).chain(self.arguments_of(&program, arguments)).collect()
    }

    /// The arguments of a program of this name.
    fn arguments_of(&mut self, program: &str, arguments: Vec<String>) -> Vec<String> {
        let mut reading = Reading::of(program);
        let shown = |argument: String| match (reading.next(&argument), argument.split_once('=')) {
            (Shown::Whole, _) => self.text(&argument),
            (Shown::User, _) => self.user(&argument),
            (Shown::Option, Some((option, value))) => {
                format!("{option}={}", self.names.argument(value))
            }
            _ => self.names.argument(&argument),
        };
        arguments.into_iter().map(shown).collect()
    }

    /// The path of a program: its own name stays, as it is the process's.
    pub(super) fn program(&mut self, path: &str) -> String {
        let shown = self.text(path);
        match path.rsplit_once('/') {
            // Nobody knows what it was relative to: it may have been a home directory.
            Some((folder, base)) if !path.starts_with('/') => {
                let named = |part: &&str| !["", ".", ".."].contains(part);
                let inner: Vec<&str> = folder.split('/').filter(named).collect();
                let base = self.text(base);
                if inner.is_empty() {
                    return format!("{folder}/{base}");
                }
                format!("{}/{base}", self.names.path(&inner.join("/")))
            }
            // A path under home, whose name would have gone with the rest.
            Some((_, base)) if shown != path && !base.is_empty() && shown.starts_with('/') => {
                let base = self.text(base);
                let folder = shown.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{base}")
            }
            _ => shown,
        }
    }

    /// A title that a process gave itself: `sshd-session: alice@pts/0`.
    fn title(&mut self, title: &str) -> String {
        let Some((program, rest)) = title.split_once(": ") else {
            return self.untitled(title);
        };
        // `sshd: alice@pts/0`, `sshd: alice [priv]`, but `sshd: /usr/sbin/sshd -D [listener] …`.
        let sshd = base_name(program).starts_with("sshd");
        let words: Vec<_> = rest
            .split(' ')
            .enumerate()
            .map(|(number, word)| match word.split_once('@') {
                _ if word.is_empty() || TITLE.contains(&word) => word.to_owned(),
                Some((user, tty)) if sshd && number == 0 && is_terminal(tty) => {
                    format!("{}@{tty}", self.user(user))
                }
                None if sshd && number == 0 && word == "unknown" => word.to_owned(),
                None if sshd && number == 0 && !word.contains('/') => self.user(word),
                _ => self.names.argument(word),
            })
            .collect();
        format!("{}: {}", self.program(program), words.join(" "))
    }

    /// A title without a colon: the first word is the program.
    fn untitled(&mut self, title: &str) -> String {
        let mut words = title.split(' ');
        let mut out = self.program(words.next().unwrap_or_default());
        for word in words {
            out.push(' ');
            let telling = word.is_empty() || TITLE.contains(&word);
            out.push_str(&if telling { word.to_owned() } else { self.names.argument(word) });
        }
        out
    }
}

/// Whether a first argument is a title that the process gave itself: `sshd: alice@pts/0`.
fn is_title(first: &str) -> bool {
    first.contains(": ") || first.contains(' ')
}

fn is_terminal(text: &str) -> bool {
    text == "notty"
        || text.split(',').all(|one| {
            ["pts/", "tty"].iter().any(|prefix| {
                one.strip_prefix(prefix)
                    .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()))
            })
        })
}
