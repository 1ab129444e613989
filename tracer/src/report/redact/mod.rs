//! `--redact`: users, hosts, addresses, arguments and paths under home become stable stand-ins.
//!
//! It works on the evidence before the story or a file sees it, so that nothing can leak through a
//! sentence. The same thing always gets the same stand-in within one report, so that the story stays
//! the same: `user-1`, `host-1`, `192.0.2.1` (an address reserved for documentation), `arg-7`.
//!
//! What stays: names of programs, units, cgroups, containers and system users, uids, pids, settings,
//! and those arguments of commands such as `kill` and `systemctl` that say what they did.

mod arguments;
mod facts;
mod journal;
mod names;
mod status;
mod telling;
mod text;

#[cfg(test)]
mod tests;

use crate::evidence::{Evidence, Fact, Header};

use names::{Names, Within};

/// First uid of people, by the convention of every distribution; lower ones belong to the system.
const FIRST_PERSON: u32 = 1000;
/// Uid of `nobody`.
const NOBODY: u32 = 65534;

/// Replaces what tells who and where.
#[derive(Debug, Default)]
pub struct Redactor {
    names: Names,
}

impl Redactor {
    /// One that knows nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a user known, so that the name is replaced wherever it stands. A live trace begins with
    /// all users of the system; a replay reads the whole recording first.
    pub fn learn_user(&mut self, name: &str, uid: Option<u32>, home: Option<&str>) {
        let of_system = uid.is_some_and(|uid| uid < FIRST_PERSON || uid == NOBODY);
        if of_system || name == "root" {
            return;
        }
        let user = self.names.user(name);
        if let Some(home) = home {
            self.names.home(home, &user);
        }
    }

    /// Makes known what a piece of evidence tells of users and hosts.
    pub fn learn(&mut self, evidence: &Evidence) {
        match &evidence.fact {
            Fact::User(user) => self.learn_user(&user.name, Some(user.uid), user.home.as_deref()),
            Fact::Session(session) => {
                if let Some(user) = &session.user {
                    self.learn_user(user, session.uid, None);
                }
                if let Some(host) = &session.remote_host {
                    self.host(host);
                }
            }
            Fact::Process(process) => {
                if let Some(user) = process.environment.get("SUDO_USER") {
                    self.learn_user(user, None, None);
                }
            }
            Fact::Journal(line) => self.learn_from_journal(line),
            Fact::BusCall(call) => self.learn_from_call(call),
            _ => {}
        }
    }

    /// The header without the machine's name.
    pub fn header(&mut self, mut header: Header) -> Header {
        self.learn_header(&header);
        header.hostname = self.host(&header.hostname);
        // It tells one machine's reports from another's as well as a name does.
        header.boot_id = "00000000-0000-0000-0000-000000000000".to_owned();
        for target in &mut header.targets {
            *target = match target.strip_prefix("-- ") {
                Some(command) => {
                    let words = command.split_whitespace().map(str::to_owned).collect();
                    format!("-- {}", self.command_line(words).join(" "))
                }
                None => self.text(target),
            };
        }
        // Whoever builds kernels may put a name into theirs.
        header.kernel = self.text(&header.kernel);
        for state in header.hooks.values_mut().chain(header.sources.values_mut()) {
            *state = self.text(state);
        }
        header
    }

    /// Makes the machine's names known.
    pub fn learn_header(&mut self, header: &Header) {
        for target in &header.targets {
            if let Some(user) =
                target.strip_prefix("user:").filter(|user| user.parse::<u32>().is_err())
            {
                self.learn_user(user, None, None);
            }
        }
        self.names.host(&header.hostname);
        if let Some((short, _)) = header.hostname.split_once('.') {
            self.names.host(short);
        }
    }

    /// The same evidence with stand-ins.
    pub fn evidence(&mut self, evidence: Evidence) -> Evidence {
        self.learn(&evidence);
        Evidence { fact: self.fact(evidence.fact), ..evidence }
    }

    /// Replaces what is known in a text: names, addresses, paths under home.
    pub(super) fn text(&mut self, text: &str) -> String {
        text::replace(&mut self.names, text, Within::Any)
    }

    /// The path of a file of settings, where a host's name is not looked for: the file is what has to be changed.
    fn settings_file(&mut self, path: &str) -> String {
        text::replace(&mut self.names, path, Within::SettingsFile)
    }

    fn optional(&mut self, text: Option<String>) -> Option<String> {
        text.map(|text| self.text(&text))
    }

    /// A host, by name or address.
    fn host(&mut self, host: &str) -> String {
        match host.parse() {
            Ok(address) => self.names.address(address).to_string(),
            Err(_) => self.names.host(host),
        }
    }

    /// A user's name that stands where only such a name can stand.
    fn user(&mut self, name: &str) -> String {
        if name == "root" { name.to_owned() } else { self.names.user(name) }
    }
}
