//! Every kind of evidence, field by field.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::evidence::*;

use super::Redactor;

/// Writers of journal lines whose words are known; lines of others become `text-N`.
const WRITERS: &[&str] = &[
    "systemd",
    "systemd-logind",
    "systemd-oomd",
    "systemd-coredump",
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
/// Settings that list users.
const USER_SETTINGS: &[&str] = &[
    "KillExcludeUsers",
    "KillOnlyUsers",
    "AllowUsers",
    "DenyUsers",
    "User",
    "Group",
    "AllowGroups",
    "DenyGroups",
];
/// Properties and settings that hold words of anybody's choosing.
const FREE_TEXT: &[&str] = &[
    "Description",
    "StatusText",
    "Documentation",
    "Environment",
    "PassEnvironment",
    "ForceCommand",
    "Banner",
];
/// Environment variables that hold no name.
const PLAIN_ENVIRONMENT: &[&str] =
    &["SSH_TTY", "XDG_SESSION_ID", "INVOCATION_ID", "TMOUT", "SLURM_JOB_ID"];

impl Redactor {
    pub(super) fn fact(&mut self, fact: Fact) -> Fact {
        match fact {
            Fact::Signal(signal) => Fact::Signal(self.signal(Arc::unwrap_or_clone(signal)).into()),
            Fact::Exit(mut exit) => {
                exit.task = self.task(exit.task);
                exit.ancestors = self.ancestors(exit.ancestors);
                Fact::Exit(exit)
            }
            Fact::Exec(mut exec) => {
                exec.task = self.task(exec.task);
                exec.ancestors = self.ancestors(exec.ancestors);
                let program = exec.filename.clone();
                exec.filename = self.program(&exec.filename);
                exec.args = self.command_line_of(exec.args, &program);
                Fact::Exec(exec)
            }
            Fact::Fork(mut fork) => {
                fork.child = self.task(fork.child);
                Fact::Fork(fork)
            }
            Fact::OomVictim(mut oom) => {
                oom.trigger = self.task(oom.trigger);
                Fact::OomVictim(oom)
            }
            Fact::Mappings(mut mappings) => {
                let files = mappings.found.iter_mut().filter_map(|it| it.area.file.as_mut());
                for file in files {
                    file.path = self.program(&file.path);
                }
                Fact::Mappings(mappings)
            }
            Fact::Tcp(mut tcp) => {
                tcp.task = self.task(tcp.task);
                tcp.local = self.socket(tcp.local);
                tcp.remote = self.socket(tcp.remote);
                Fact::Tcp(tcp)
            }
            Fact::ManagerConnection(mut connection) => {
                connection.task = self.task(connection.task);
                connection.ancestors = self.ancestors(connection.ancestors);
                Fact::ManagerConnection(connection)
            }
            Fact::Cgroup(mut cgroup) => {
                cgroup.path = self.optional(cgroup.path);
                Fact::Cgroup(cgroup)
            }
            Fact::Process(process) => Fact::Process(Box::new(self.snapshot(*process))),
            Fact::BusCall(call) => Fact::BusCall(self.bus_call(call)),
            Fact::Job(mut job) => {
                job.unit = self.text(&job.unit);
                Fact::Job(job)
            }
            Fact::Unit(unit) => Fact::Unit(self.unit(unit)),
            Fact::Session(session) => Fact::Session(self.session(session)),
            Fact::User(user) => Fact::User(self.user_fact(user)),
            Fact::Setting(setting) => Fact::Setting(self.setting(setting)),
            Fact::Journal(line) => Fact::Journal(self.journal(line)),
            Fact::KernelLog(mut line) => {
                line.message = self.text(&line.message);
                Fact::KernelLog(line)
            }
            Fact::Container(mut found) => {
                found.cgroup = self.text(&found.cgroup);
                // Of some runtimes the name is the id.
                found.container.id = self.text(&found.container.id);
                found.container.name = self.optional(found.container.name);
                found.container.pod = self.optional(found.container.pod);
                found.container.namespace = self.optional(found.container.namespace);
                Fact::Container(found)
            }
            Fact::CgroupLimits(mut limits) => {
                limits.cgroup = self.text(&limits.cgroup);
                limits.limit_file = self.optional(limits.limit_file);
                Fact::CgroupLimits(limits)
            }
            Fact::Lost(mut lost) => {
                lost.detail = self.optional(lost.detail);
                Fact::Lost(lost)
            }
            Fact::Unavailable(mut missing) => {
                missing.what = self.text(&missing.what);
                missing.why = self.text(&missing.why);
                Fact::Unavailable(missing)
            }
            // Nothing but numbers, and words of our own or the kernel's.
            fact @ (Fact::Target(_)
            | Fact::Terminal(_)
            | Fact::BusReply(_)
            | Fact::Gone(_)
            | Fact::Settled(_)
            | Fact::Quiet
            | Fact::End(_)) => fact,
        }
    }

    fn signal(&mut self, mut signal: SignalSent) -> SignalSent {
        signal.sender = self.task(signal.sender);
        signal.target = self.task(signal.target);
        signal.ancestors = self.ancestors(signal.ancestors.to_vec()).into();
        let program = signal.sender.comm.clone();
        signal.sender_args = self.command_line_of(signal.sender_args, &program);
        signal.written_cgroup = self.optional(signal.written_cgroup);
        signal
    }

    fn task(&mut self, mut task: Task) -> Task {
        task.comm = self.text(&task.comm);
        task.cgroup = self.optional(task.cgroup);
        task
    }

    fn ancestors(&mut self, mut ancestors: Vec<Ancestor>) -> Vec<Ancestor> {
        for ancestor in &mut ancestors {
            ancestor.comm = self.text(&ancestor.comm);
        }
        ancestors
    }

    fn socket(&mut self, mut socket: SocketAddr) -> SocketAddr {
        socket.set_ip(self.names.address(socket.ip()));
        socket
    }

    fn snapshot(&mut self, mut process: ProcessSnapshot) -> ProcessSnapshot {
        process.comm = self.text(&process.comm);
        process.exe = process.exe.map(|exe| self.program(&exe));
        let program = process.exe.clone().unwrap_or_else(|| process.comm.clone());
        process.cmdline = self.command_line_of(process.cmdline, &program);
        process.cgroup = self.optional(process.cgroup);
        for (name, value) in &mut process.environment {
            *value = match name.as_str() {
                "SSH_CONNECTION" | "TMUX" => self.text(value),
                name if PLAIN_ENVIRONMENT.contains(&name) => self.text(value),
                "SUDO_USER" => self.user(value),
                "SUDO_COMMAND" => {
                    let words = value.split_whitespace().map(str::to_owned).collect();
                    self.command_line(words).join(" ")
                }
                // `1234.pts-0.host`, or a name of the user's choosing.
                "STY" => match value.split_once('.') {
                    Some((pid, name)) => format!("{pid}.{}", self.names.argument(name)),
                    None => self.names.argument(value),
                },
                _ => self.names.argument(value),
            };
        }
        process
    }

    fn bus_call(&mut self, mut call: BusCall) -> BusCall {
        for peer in [&mut call.sender, &mut call.destination] {
            peer.comm = self.optional(peer.comm.take());
            peer.well_known = self.optional(peer.well_known.take());
        }
        call.path = self.text(&call.path);
        let known = call.interface.as_deref().is_some_and(|interface| {
            [
                "org.freedesktop.systemd1",
                "org.freedesktop.login1",
                "org.freedesktop.machine1",
                "org.freedesktop.DBus",
            ]
            .iter()
            .any(|known| interface.starts_with(known))
        });
        call.interface = self.optional(call.interface);
        call.args = call.args.into_iter().map(|value| self.value(value, known)).collect();
        call
    }

    /// A value of the bus; of an interface that is not known, its strings are arguments.
    fn value(&mut self, value: Value, known: bool) -> Value {
        match value {
            Value::String(text) if known => Value::String(self.text(&text)),
            Value::String(text) if text.is_empty() => Value::String(text),
            Value::String(text) => Value::String(self.names.argument(&text)),
            Value::Array(values) => {
                Value::Array(values.into_iter().map(|value| self.value(value, known)).collect())
            }
            Value::Object(values) => Value::Object(
                values.into_iter().map(|(key, value)| (key, self.value(value, known))).collect(),
            ),
            plain => plain,
        }
    }

    fn unit(&mut self, mut unit: UnitProperties) -> UnitProperties {
        unit.unit = self.text(&unit.unit);
        for (name, value) in &mut unit.properties {
            *value = self.property(name, value.take());
        }
        unit
    }

    fn property(&mut self, name: &str, value: Value) -> Value {
        match value {
            value if name.starts_with("Exec") && !value.is_number() => self.value(value, false),
            // logind's and systemd's own descriptions of sessions and of user managers.
            Value::String(text) if name == "Description" && is_managers(&text) => {
                Value::String(self.message(&text, BEFORE_USER_SYSTEMD))
            }
            Value::String(text) if FREE_TEXT.contains(&name) && !text.is_empty() => {
                Value::String(self.names.unknown_text(&text))
            }
            value if FREE_TEXT.contains(&name) => self.value(value, false),
            Value::String(text) if USER_SETTINGS.contains(&name) && !text.is_empty() => {
                Value::String(self.user(&text))
            }
            value => self.value(value, true),
        }
    }

    fn session(&mut self, mut session: SessionState) -> SessionState {
        session.user = session.user.map(|user| match session.uid {
            // A user of the system, unless a person has the name as well.
            Some(uid) if uid < super::FIRST_PERSON => self.text(&user),
            _ => self.user(&user),
        });
        session.remote_host = session.remote_host.map(|host| self.host(&host));
        session.scope = self.optional(session.scope);
        session
    }

    fn user_fact(&mut self, mut user: User) -> User {
        if user.uid >= super::FIRST_PERSON && user.uid != super::NOBODY {
            user.name = self.user(&user.name);
            user.home = user.home.map(|_| format!("/home/{}", user.name));
        } else {
            user.name = self.text(&user.name);
            user.home = self.optional(user.home);
        }
        user
    }

    fn setting(&mut self, mut setting: Setting) -> Setting {
        setting.scope = self.text(&setting.scope);
        setting.file = setting.file.map(|file| self.settings_file(&file));
        setting.value = self.setting_value(&setting.name, &setting.value);
        if let Some(unread) = &mut setting.unread {
            unread.file = unread.file.take().map(|file| self.settings_file(&file));
            unread.value = self.setting_value(&setting.name, &unread.value);
        }
        setting
    }

    fn setting_value(&mut self, name: &str, value: &str) -> String {
        if USER_SETTINGS.contains(&name) {
            let users: Vec<_> = value.split_whitespace().map(|user| self.user(user)).collect();
            users.join(" ")
        } else if name.starts_with("Exec") || FREE_TEXT.contains(&name) {
            self.names.argument(value)
        } else if name == "FragmentPath" {
            self.settings_file(value)
        } else {
            self.text(value)
        }
    }

    fn journal(&mut self, mut line: JournalLine) -> JournalLine {
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

    pub(super) fn learn_from_call(&mut self, call: &BusCall) {
        // CreateSession(uid, pid, service, type, class, desktop, seat, vtnr, tty, display, remote,
        // remote_user, remote_host, properties), org.freedesktop.login1(5).
        if call.member == "CreateSession" || call.member == "CreateSessionWithPIDFD" {
            let text = |index: usize| {
                call.args.get(index).and_then(Value::as_str).filter(|text| !text.is_empty())
            };
            if let Some(user) = text(11) {
                self.learn_user(user, None, None);
            }
            if let Some(host) = text(12) {
                self.host(host);
            }
        }
    }
}

/// The places of users in a line, by who wrote it; `None` for an unknown writer.
fn before_user(line: &JournalLine) -> Option<&'static [&'static str]> {
    let name = line.comm.as_deref().or(line.identifier.as_deref())?;
    // Anybody can set the identifier; only both together are believed.
    let known = [line.comm.as_deref(), line.identifier.as_deref()]
        .into_iter()
        .flatten()
        .all(|name| WRITERS.contains(&name));
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

fn is_managers(description: &str) -> bool {
    ["Session ", "User Manager for UID ", "User Runtime Directory ", "User Slice of UID "]
        .iter()
        .any(|begin| description.starts_with(begin))
}
