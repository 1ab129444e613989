//! Made-up evidence, with as few words as possible.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::evidence::{
    self, BusCall, BusPeer, BusReply, Disposition, EngineConnection, Evidence, Exec, Exit, Fact,
    Header, Job, LossPlace, Lost, Manager, ManagerConnection, Moment, ProcessId, ProcessSnapshot,
    SessionState, Setting, Settled, SignalInfo, SignalResult, SignalSent, Source, Syscall, Target,
    TargetReason, Task, TcpChange, TcpState, Time, TraceOptions, UnitProperties, User,
};
use crate::story::Engine;
use crate::story::verdict::{Death, Record};

const MS: u64 = 1_000_000;

/// The moment so many milliseconds into the scene.
pub fn at(ms: u64) -> Moment {
    let boot_ns = 1_000_000 * MS + ms * MS;
    Moment { time: Time::from_unix_ns(1_700_000_000_000_000_000 + i128::from(ms * MS)), boot_ns }
}

/// A process of uid 1000 that has run for a while.
pub fn task(pid: u32, comm: &str) -> Task {
    Task {
        id: ProcessId { pid, start_ns: u64::from(pid) * 10 * MS },
        tid: pid,
        ns_pid: pid,
        ppid: 1,
        comm: comm.to_owned(),
        uid: 1000,
        euid: 1000,
        login_uid: None,
        audit_session: None,
        cgroup: None,
        pid_ns: 1,
        kernel_thread: false,
        exiting: false,
        io_worker: false,
    }
}

/// What `/proc` tells of a process with this value of `SSH_CONNECTION` in its environment.
pub fn with_connection(task: &Task, connection: &str) -> ProcessSnapshot {
    ProcessSnapshot {
        pid: task.id.pid,
        start_ns: task.id.start_ns,
        comm: task.comm.clone(),
        uid: task.uid,
        cgroup: task.cgroup.clone(),
        environment: [("SSH_CONNECTION".to_owned(), connection.to_owned())].into(),
        ..ProcessSnapshot::default()
    }
}

/// The same, of root's.
pub fn root(task: Task) -> Task {
    Task { uid: 0, euid: 0, ..task }
}

/// systemd-logind, as the bus names it.
pub fn logind() -> BusPeer {
    BusPeer {
        name: ":1.7".to_owned(),
        process: Some(ProcessId { pid: 640, start_ns: 6_400_000_000 }),
        uid: Some(0),
        comm: Some("systemd-logind".to_owned()),
        well_known: Some("org.freedesktop.login1".to_owned()),
        ..BusPeer::default()
    }
}

/// A process, as the bus names it.
pub fn by(task: &Task) -> BusPeer {
    BusPeer { process: Some(task.id), uid: Some(task.uid), ..BusPeer::default() }
}

/// The same in a cgroup.
pub fn task_in(pid: u32, comm: &str, cgroup: &str) -> Task {
    Task { cgroup: Some(cgroup.to_owned()), ..task(pid, comm) }
}

/// PID 1.
pub fn systemd() -> Task {
    Task { uid: 0, euid: 0, ppid: 0, ..task_in(1, "systemd", "/init.scope") }
}

/// A signal by kill(2), deadly, to a target.
pub fn signal(number: u8, sender: Task, target: Task) -> SignalSent {
    let pid = u64::from(sender.ns_pid);
    SignalSent {
        number,
        ancestors: [].into(),
        sender_args: Vec::new(),
        is_target: true,
        to_process: true,
        info: SignalInfo::Real { code: 0, errno: 0, fields: [pid, 0] },
        result: SignalResult::Delivered,
        disposition: Some(Disposition::Default),
        blocked: false,
        fatal: true,
        ptraced: false,
        namespace_init: false,
        syscall: Some(Syscall { name: "kill".to_owned(), args: [0; 3] }),
        written_cgroup: None,
        parent_death_signal: 0,
        tty: None,
        stack: Vec::new(),
        place: None,
        limits: None,
        repeats: 0,
        sender,
        target,
    }
}

/// The same, caught by a handler.
pub fn caught(number: u8, sender: Task, target: Task) -> SignalSent {
    SignalSent {
        disposition: Some(Disposition::Handler),
        fatal: false,
        ..signal(number, sender, target)
    }
}

/// The evidence of a scene.
#[derive(Clone, Default)]
pub struct Scene {
    evidence: Vec<Evidence>,
    options: TraceOptions,
    sources: BTreeMap<String, String>,
    hooks: BTreeMap<String, String>,
}

impl Scene {
    pub fn add(mut self, ms: u64, source: Source, fact: Fact) -> Self {
        self.evidence.push(fact.at(at(ms), source));
        self
    }

    /// What was added last is from the moment of boot: only who wrote the recording can have it so.
    pub fn at_boot(mut self) -> Self {
        self.evidence.last_mut().expect("something was added").at.boot_ns = 0;
        self
    }

    /// With root, alice (1000) and bob (1001), and a target that had been running.
    pub fn watching(victim: &Task) -> Self {
        let scene = Self::default().user(0, "root").user(1000, "alice").user(1001, "bob");
        scene.target(victim, TargetReason::Running)
    }

    /// The story of the victim's end by SIGTERM at 5 s.
    pub fn ended_by(self, killer: Task, victim: Task) -> Death {
        self.signal(5000, signal(evidence::sig::SIGTERM, killer, victim.clone()))
            .exit(5003, victim, 15, true)
            .death()
    }

    pub fn options(mut self, options: TraceOptions) -> Self {
        self.options = options;
        self
    }

    /// A source is missing from the start.
    pub fn without(mut self, source: &str, why: &str) -> Self {
        self.sources.insert(source.to_owned(), why.to_owned());
        self
    }

    /// A hook is in place.
    pub fn attached(mut self, hook: &str) -> Self {
        self.hooks.insert(hook.to_owned(), "attached".to_owned());
        self
    }

    pub fn target(self, task: &Task, reason: TargetReason) -> Self {
        self.add(0, Source::Tracer, Fact::Target(Target { id: task.id, reason }))
    }

    pub fn signal(self, ms: u64, signal: SignalSent) -> Self {
        self.add(ms, Source::Kernel, Fact::Signal(signal.into()))
    }

    pub fn exit(self, ms: u64, task: Task, status: u32, is_target: bool) -> Self {
        let exit = Exit {
            task,
            ancestors: Vec::new(),
            is_target,
            status,
            ptracer: None,
            seccomp: 0,
            pending: Vec::new(),
            unseen: false,
        };
        self.add(ms, Source::Kernel, Fact::Exit(exit))
    }

    pub fn exec(self, ms: u64, task: Task, args: &[&str], ancestors: &[&Task]) -> Self {
        let ancestors = ancestors
            .iter()
            .map(|parent| evidence::Ancestor {
                id: parent.id,
                comm: parent.comm.clone(),
                uid: parent.uid,
            })
            .collect();
        let exec = Exec {
            filename: format!("/usr/bin/{}", task.comm),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            truncated: false,
            is_target: false,
            is_named: false,
            ancestors,
            task,
        };
        self.add(ms, Source::Kernel, Fact::Exec(exec))
    }

    pub fn connects_to(self, ms: u64, task: Task, engine: evidence::Engine) -> Self {
        let connection = EngineConnection { engine, owner: None, task, ancestors: Vec::new() };
        self.add(ms, Source::Kernel, Fact::EngineConnection(connection))
    }

    pub fn connects(self, ms: u64, task: Task, manager: Manager) -> Self {
        let connection = ManagerConnection { manager, task, ancestors: Vec::new() };
        self.add(ms, Source::Kernel, Fact::ManagerConnection(connection))
    }

    pub fn setting(self, scope: &str, name: &str, value: &str, place: Option<(&str, u32)>) -> Self {
        let setting = Setting {
            manager: None,
            scope: scope.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            file: place.map(|(file, _)| file.to_owned()),
            line: place.map(|(_, line)| line),
            unread: None,
        };
        self.add(0, Source::File, Fact::Setting(setting))
    }

    pub fn user(self, uid: u32, name: &str) -> Self {
        let user = User { uid, name: name.to_owned(), home: None, linger: Some(false) };
        self.add(0, Source::File, Fact::User(user))
    }

    pub fn session(self, id: &str, leader: u32) -> Self {
        let session = SessionState {
            id: id.to_owned(),
            uid: Some(1000),
            user: Some("alice".to_owned()),
            scope: Some(format!("session-{id}.scope")),
            leader: Some(leader),
            remote_host: Some("203.0.113.5".to_owned()),
            service: Some("sshd".to_owned()),
            ..SessionState::default()
        };
        self.add(0, Source::BusProperty, Fact::Session(session))
    }

    pub fn call(self, ms: u64, sender: BusPeer, member: &str, args: &[&str]) -> Self {
        let granted = |call: &mut BusCall| call.granted_ns = Some(at(ms).boot_ns);
        self.call_as(ms, sender, (member, args), granted)
    }

    /// One that has no answer yet, but for what is changed in it.
    pub fn call_as(
        self,
        ms: u64,
        sender: BusPeer,
        (member, args): (&str, &[&str]),
        change: impl FnOnce(&mut BusCall),
    ) -> Self {
        let path = if member.ends_with("Unit") {
            "/org/freedesktop/systemd1"
        } else {
            "/org/freedesktop/login1"
        };
        let mut call = BusCall {
            bus: Manager::System,
            sender,
            destination: BusPeer { comm: Some("systemd".to_owned()), ..BusPeer::default() },
            path: path.to_owned(),
            interface: None,
            member: member.to_owned(),
            args: args.iter().map(|arg| Value::from(*arg)).collect(),
            serial: 7,
            ..BusCall::default()
        };
        change(&mut call);
        self.add(ms, Source::Bus, Fact::BusCall(call))
    }

    /// The same of logind, granted at once.
    pub fn calls_logind(self, ms: u64, sender: BusPeer, member: &str, args: Vec<Value>) -> Self {
        let call = BusCall {
            bus: Manager::System,
            sender,
            path: "/org/freedesktop/login1".to_owned(),
            member: member.to_owned(),
            args,
            granted_ns: Some(at(ms).boot_ns),
            ..BusCall::default()
        };
        self.add(ms, Source::Bus, Fact::BusCall(call))
    }

    /// The answer to the call of this caller.
    pub fn reply(self, ms: u64, caller: &str, granted: bool, job: Option<u32>) -> Self {
        let bus = Manager::System;
        let reply = BusReply { bus, caller: caller.to_owned(), serial: 7, granted, job };
        self.add(ms, Source::Bus, Fact::BusReply(reply))
    }

    pub fn job(self, ms: u64, id: u32, kind: &str, unit: &str) -> Self {
        self.job_of_type(ms, id, Some(kind), unit)
    }

    pub fn job_of_type(self, ms: u64, id: u32, kind: Option<&str>, unit: &str) -> Self {
        let job = Job {
            manager: Manager::System,
            id,
            unit: unit.to_owned(),
            job_type: kind.map(str::to_owned),
            result: None,
        };
        self.add(ms, Source::Bus, Fact::Job(job))
    }

    pub fn unit(self, ms: u64, unit: &str, properties: &[(&str, Value)]) -> Self {
        let properties: BTreeMap<String, Value> =
            properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let unit = UnitProperties { manager: Manager::System, unit: unit.to_owned(), properties };
        self.add(ms, Source::BusProperty, Fact::Unit(unit))
    }

    pub fn tcp_closed_by_peer(self, ms: u64, bystander: Task) -> Self {
        let tcp = TcpChange {
            local: ([10, 0, 0, 1], 22).into(),
            remote: ([203, 0, 113, 5], 51276).into(),
            from: TcpState::Established,
            to: TcpState::CloseWait,
            error: 0,
            task: bystander,
        };
        self.add(ms, Source::Kernel, Fact::Tcp(tcp))
    }

    pub fn lost(self, ms: u64, dropped: u64) -> Self {
        let lost = Lost { dropped, place: LossPlace::RingBuffer, detail: None };
        self.add(ms, Source::Tracer, Fact::Lost(lost))
    }

    fn header(&self) -> Header {
        Header {
            schema: 1,
            version: "test".to_owned(),
            at: at(0),
            kernel: "6.1".to_owned(),
            arch: "x86_64".to_owned(),
            hostname: "host".to_owned(),
            boot_id: "boot".to_owned(),
            systemd: Some("252".to_owned()),
            targets: vec!["tmux".to_owned()],
            hooks: self.hooks.clone(),
            sources: self.sources.clone(),
            options: self.options.clone(),
            utc_offset: 0,
        }
    }

    /// All records.
    pub fn records(&self) -> Vec<Record> {
        let (mut engine, mut records) = self.played();
        records.extend(engine.finish());
        records
    }

    /// The records before the end.
    pub fn told(&self) -> Vec<Record> {
        self.played().1
    }

    pub fn played(&self) -> (Engine, Vec<Record>) {
        let mut engine = Engine::new(self.header());
        let records = self.evidence.iter().flat_map(|evidence| engine.observe(evidence)).collect();
        (engine, records)
    }

    /// The deaths alone.
    pub fn deaths(&self) -> Vec<Death> {
        let deaths = self.records().into_iter().filter_map(|record| match record {
            Record::Death(death) => Some(*death),
            _ => None,
        });
        deaths.collect()
    }

    /// The only death.
    pub fn death(&self) -> Death {
        let mut deaths = self.deaths();
        assert_eq!(deaths.len(), 1, "{deaths:#?}");
        deaths.remove(0)
    }

    pub fn settled(self, ms: u64, task: &Task) -> Self {
        self.add(ms, Source::Tracer, Fact::Settled(Settled { id: task.id }))
    }
}
