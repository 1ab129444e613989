//! Lines of the journal: what a known writer says of whom is kept, but for the names.

use crate::evidence::{JournalLine, is_comm_of};

use super::Redactor;

/// Writers of journal lines whose words are known; lines of others become `text-N`.
const WRITERS: &[&str] = &[
    "systemd",
    "systemd-logind",
    "systemd-oomd",
    "systemd-homed",
    "systemd-shutdown",
    "(systemd)",
    "(sd-pam)",
    "kernel",
    "sshd",
    "sshd-session",
    "sshd-auth",
    "login",
    "earlyoom",
    "oomd",
    "nohang",
    "dockerd",
    "containerd",
    "crio",
    "kubelet",
    "slurmd",
    "slurmstepd",
    "init",
    "killtrace",
];
/// What stands before a user's name in lines of sshd and of PAM.
const BEFORE_USER_SSHD: &[&str] = &[
    "for invalid user ",
    "invalid user ",
    "Invalid user ",
    "authenticating user ",
    "for user ",
    "from user ",
    "by user ",
    "User ",
    "user ",
    "for ",
];
/// What sshd says of a connection that ended, before the user, or the address and the port (`packet.c`, `serverloop.c`).
const END_OF_CONNECTION: &[&str] =
    &["Received disconnect from ", "Disconnected from user ", "Connection closed by "];
/// What clients say when they end one (`clientloop.c` of OpenSSH).
const KNOWN_REASONS: &[&str] = &["disconnected by user"];
/// What stands before a user's name in lines of systemd and logind.
const BEFORE_USER_SYSTEMD: &[&str] = &["of user '", "of user ", "of User ", "User "];
/// How many users of one line are told apart.
const MAX_USERS: usize = 8;
/// Words that can stand there without being a user.
const NO_USER: &[&str] =
    &["Manager", "user", "invalid", "unknown", "root", "port", "the", "UID", "Runtime", "Slice"];

impl Redactor {
    pub(super) fn journal(&mut self, mut line: JournalLine) -> JournalLine {
        let unit = line.about_unit.as_deref();
        let described = unit.and_then(|unit| super::status::description(&line.message, unit));
        line.message = match (before_user(&line), described) {
            (Some(before), Some(at)) if !is_managers(&line.message[at.clone()]) => {
                let own_words = self.names.unknown_text(&line.message[at.clone()]);
                let (begin, end) = (&line.message[..at.start], &line.message[at.end..]);
                format!("{}{own_words}{}", self.message(begin, before), self.message(end, before))
            }
            (Some(before), _) => self.message(&line.message, before),
            (None, _) if is_sshds(&line) => self.end_of_connection(&line.message),
            (None, _) => self.names.unknown_text(&line.message),
        };
        line.comm = self.optional(line.comm);
        line.identifier = self.optional(line.identifier);
        line.from_unit = self.optional(line.from_unit);
        line.about_unit = self.optional(line.about_unit);
        for (name, value) in &mut line.fields {
            *value = match name.as_str() {
                "COMMAND" | "CMDLINE" => self.names.argument(value),
                _ => self.text(value),
            };
        }
        line
    }

    /// What sshd says at the end of a connection, of which its process that runs as the user writes some itself. That
    /// a user can write the same costs nothing: of these words nothing is that user's own but what is replaced.
    fn end_of_connection(&mut self, message: &str) -> String {
        let Some(said) = END_OF_CONNECTION.iter().find(|said| message.starts_with(**said)) else {
            return self.names.unknown_text(message);
        };
        let mut words = message[said.len()..].split(' ');
        let user = if said.ends_with("user ") { words.next() } else { None };
        let (Some(Ok(address)), Some("port"), Some(port)) =
            (words.next().map(str::parse), words.next(), words.next())
        else {
            return self.names.unknown_text(message);
        };
        // Behind the port: a code, and the words of the client.
        let (port, code) =
            port.split_once(':').map_or((port, None), |(port, code)| (port, Some(code)));
        let code = code.map(|code| code.strip_suffix(':').unwrap_or(code));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(port) || code.is_some_and(|code| !is_number(code)) {
            return self.names.unknown_text(message);
        }
        let why = words.collect::<Vec<_>>().join(" ");
        let user = user.map(|user| match user {
            "root" => "root ".to_owned(),
            user => self.names.user_here(user) + " ",
        });
        let user = user.unwrap_or_default();
        let mut out = format!("{said}{user}{} port {port}", self.names.address(address));
        if let Some(code) = code {
            out.push_str(&format!(":{code}:"));
        }
        if !why.is_empty() {
            let known = KNOWN_REASONS.contains(&why.as_str());
            out.push(' ');
            out.push_str(&if known { why } else { self.names.unknown_text(&why) });
        }
        out
    }

    /// A description of a unit that its manager made up itself.
    pub(super) fn managers_description(&mut self, text: &str) -> String {
        self.message(text, BEFORE_USER_SYSTEMD)
    }

    /// A message of a known writer: users where they stand, then whatever else is known.
    fn message(&mut self, message: &str, before: &[&str]) -> String {
        let mut out = String::new();
        let mut rest = message;
        // The nearest place where a user's name stands; what is longest there names it best.
        for _ in 0..MAX_USERS {
            let Some((at, user)) = named_user(rest, before) else {
                out.push_str(&self.text(rest));
                return out;
            };
            out.push_str(&self.text(&rest[..at]));
            out.push_str(&if user == "root" {
                user.to_owned()
            } else {
                self.names.user_here(user)
            });
            rest = &rest[at + user.len()..];
        }
        out.push_str(&self.names.unknown_text(rest));
        out
    }

    /// Makes the users known that a line of root's names. What others write would have their words replaced all over
    /// the report, and so would the names with which strangers try to log in.
    pub(super) fn learn_from_journal(&mut self, line: &JournalLine) {
        let Some(before) = before_user(line).filter(|_| line.uid == Some(0)) else { return };
        let mut rest = line.message.as_str();
        for _ in 0..MAX_USERS {
            let Some((at, user)) = named_user(rest, before) else { return };
            if !rest[..at].ends_with("nvalid user ") {
                self.learn_user(user, None, None);
            }
            rest = &rest[at + user.len()..];
        }
    }
}

/// The places of users in a line, by who wrote it; `None` for an unknown writer.
fn before_user(line: &JournalLine) -> Option<&'static [&'static str]> {
    let name = line.comm.as_deref().or(line.identifier.as_deref())?;
    // Anybody can set the identifier; only both together are believed.
    let is_called = |comm: &str| WRITERS.iter().any(|writer| is_comm_of(comm, writer));
    let known = line.comm.as_deref().is_none_or(is_called)
        && line.identifier.as_deref().is_none_or(|name| WRITERS.contains(&name));
    let sshd = name.starts_with("sshd") || name == "login";
    // Who calls a program of theirs sshd is not believed; a user's service manager is, but names nobody.
    let root = line.uid == Some(0);
    match sshd {
        _ if !known => None,
        true => root.then_some(BEFORE_USER_SSHD),
        false => Some(if root { BEFORE_USER_SYSTEMD } else { &[] }),
    }
}

/// Whether a line says itself that sshd wrote it.
fn is_sshds(line: &JournalLine) -> bool {
    [&line.comm, &line.identifier].into_iter().all(|name| {
        name.as_deref().is_some_and(|name| name.starts_with("sshd") && WRITERS.contains(&name))
    })
}

/// Where the next user's name stands in a message.
fn named_user<'m>(message: &'m str, before: &[&str]) -> Option<(usize, &'m str)> {
    let mut places: Vec<usize> = before
        .iter()
        .flat_map(|words| message.match_indices(words).map(|(at, _)| at + words.len()))
        .collect();
    places.sort_unstable();
    places.into_iter().find_map(|at| {
        let rest = &message[at..];
        let end =
            rest.find(|c: char| !(c.is_alphanumeric() || "_-.$".contains(c))).unwrap_or(rest.len());
        let user = rest[..end].trim_end_matches('.');
        let number = user.bytes().all(|byte| byte.is_ascii_digit());
        (!number && !NO_USER.contains(&user)).then_some((at, user))
    })
}

/// Whether a description is logind's or systemd's own, of a session or of what runs for a user.
pub(super) fn is_managers(description: &str) -> bool {
    ["Session ", "User Manager for UID ", "User Runtime Directory ", "User Slice of UID "]
        .iter()
        .any(|begin| description.starts_with(begin))
}
