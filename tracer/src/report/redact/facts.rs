//! Every kind of evidence, field by field.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::evidence::*;

use super::Redactor;
use super::journal::is_managers;

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
            Fact::Exit(exit) => Fact::Exit(self.exit(exit)),
            Fact::Exec(exec) => Fact::Exec(self.exec(exec)),
            Fact::Fork(fork) => Fact::Fork(Fork { child: self.task(fork.child), ..fork }),
            Fact::OomVictim(oom) => {
                Fact::OomVictim(OomVictim { trigger: self.task(oom.trigger), ..oom })
            }
            Fact::Mappings(mappings) => Fact::Mappings(self.mappings(mappings)),
            Fact::Tcp(tcp) => Fact::Tcp(self.tcp(tcp)),
            Fact::ManagerConnection(to) => {
                let (task, ancestors) = (self.task(to.task), self.ancestors(to.ancestors));
                Fact::ManagerConnection(ManagerConnection { task, ancestors, ..to })
            }
            Fact::EngineConnection(to) => {
                let (task, ancestors) = (self.task(to.task), self.ancestors(to.ancestors));
                Fact::EngineConnection(EngineConnection { task, ancestors, ..to })
            }
            Fact::Cgroup(cgroup) => {
                Fact::Cgroup(CgroupChange { path: self.optional(cgroup.path), ..cgroup })
            }
            Fact::Process(process) => Fact::Process(Box::new(self.snapshot(*process))),
            Fact::BusCall(call) => Fact::BusCall(self.bus_call(call)),
            Fact::Job(job) => Fact::Job(Job { unit: self.text(&job.unit), ..job }),
            Fact::Unit(unit) => Fact::Unit(self.unit(unit)),
            Fact::Session(session) => Fact::Session(self.session(session)),
            Fact::User(user) => Fact::User(self.user_fact(user)),
            Fact::Setting(setting) => Fact::Setting(self.setting(setting)),
            Fact::Journal(line) => Fact::Journal(self.journal(line)),
            Fact::KernelLog(line) => {
                Fact::KernelLog(KernelLogLine { message: self.text(&line.message) })
            }
            Fact::Container(found) => Fact::Container(self.container(found)),
            Fact::CgroupLimits(limits) => Fact::CgroupLimits(self.limits(limits)),
            Fact::Lost(lost) => Fact::Lost(Lost { detail: self.optional(lost.detail), ..lost }),
            Fact::Unavailable(missing) => Fact::Unavailable(self.unavailable(missing)),
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

    fn exit(&mut self, mut exit: Exit) -> Exit {
        exit.task = self.task(exit.task);
        exit.ancestors = self.ancestors(exit.ancestors);
        exit
    }

    fn exec(&mut self, mut exec: Exec) -> Exec {
        exec.task = self.task(exec.task);
        exec.ancestors = self.ancestors(exec.ancestors);
        let program = exec.filename.clone();
        exec.filename = self.program(&exec.filename);
        exec.args = self.command_line_of(exec.args, &program);
        exec
    }

    fn mappings(&mut self, mut mappings: Mappings) -> Mappings {
        for file in mappings.found.iter_mut().filter_map(|it| it.area.file.as_mut()) {
            file.path = self.program(&file.path);
        }
        mappings
    }

    fn tcp(&mut self, mut tcp: TcpChange) -> TcpChange {
        tcp.task = self.task(tcp.task);
        tcp.local = self.socket(tcp.local);
        tcp.remote = self.socket(tcp.remote);
        tcp
    }

    fn container(&mut self, mut found: ContainerFound) -> ContainerFound {
        found.cgroup = self.text(&found.cgroup);
        // Of some runtimes the name is the id.
        found.container.id = self.text(&found.container.id);
        found.container.name = self.optional(found.container.name);
        found.container.pod = self.optional(found.container.pod);
        found.container.namespace = self.optional(found.container.namespace);
        found
    }

    fn limits(&mut self, mut limits: CgroupLimits) -> CgroupLimits {
        limits.cgroup = self.text(&limits.cgroup);
        limits.limit_file = self.optional(limits.limit_file);
        limits
    }

    fn unavailable(&mut self, mut missing: Unavailable) -> Unavailable {
        missing.what = self.text(&missing.what);
        missing.why = self.text(&missing.why);
        missing
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
                Value::String(self.managers_description(&text))
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
        setting.scope = match setting.scope.strip_prefix(Setting::LOGIN_LIMITS) {
            Some(user) if user != "*" => Setting::login_limits_of(&self.user(user)),
            _ => self.text(&setting.scope),
        };
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
