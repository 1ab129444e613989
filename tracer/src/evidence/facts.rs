//! What a piece of evidence can say: one variant of [`Fact`] a kind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Ancestor, Container, Disposition, Grade, Mappings, Moment, ProcessId, SignalResult, Task,
};

/// What was learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fact {
    /// A signal was generated.
    Signal(Arc<SignalSent>),
    /// A process ended.
    Exit(Exit),
    /// A program was executed.
    Exec(Exec),
    /// A followed target made a child.
    Fork(Fork),
    /// The kernel's OOM killer marked a victim.
    OomVictim(OomVictim),
    /// What a process that faulted had mapped where it faulted.
    Mappings(Mappings),
    /// A TCP connection changed state.
    Tcp(TcpChange),
    /// A process connected to a service manager's private socket.
    ManagerConnection(ManagerConnection),
    /// A cgroup was made or removed.
    Cgroup(CgroupChange),
    /// What `/proc` said of a process when it was looked at.
    Process(Box<ProcessSnapshot>),
    /// A process is a target from now on.
    Target(Target),
    /// A D-Bus method call.
    BusCall(BusCall),
    /// The answer to a call that had been told without one.
    BusReply(BusReply),
    /// A job of a service manager.
    Job(Job),
    /// Properties of a unit.
    Unit(UnitProperties),
    /// A login session.
    Session(SessionState),
    /// A user of the system.
    User(User),
    /// The value of a setting, and which file decided it.
    Setting(Setting),
    /// A line of the journal.
    Journal(JournalLine),
    /// A line of the kernel's log.
    KernelLog(KernelLogLine),
    /// A container.
    Container(ContainerFound),
    /// A cgroup's limits and usage at the time.
    CgroupLimits(CgroupLimits),
    /// A terminal.
    Terminal(Terminal),
    /// Events were lost.
    Lost(Lost),
    /// Something could not be found out.
    Unavailable(Unavailable),
    /// A target is not there any more, and its end was not seen.
    Gone(Gone),
    /// Late witnesses were waited for: the verdict on this end is due now.
    Settled(Settled),
    /// Nothing has followed a row of equal signals: what was folded of it is due to be shown.
    Quiet,
    /// The trace ended.
    End(End),
}

/// A signal as `signal_generate` saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalSent {
    /// Its number.
    pub number: u8,
    /// `current`: the sender, where somebody sent it; a bystander where the kernel decided in an interrupt.
    pub sender: Task,
    /// The sender's parents, nearest first, as they were at most a millisecond before.
    pub ancestors: Arc<[Ancestor]>,
    /// The sender's arguments, as far as they could be taken; empty for a thread of the kernel.
    #[serde(default)]
    pub sender_args: Vec<String>,
    /// To whom.
    pub target: Task,
    /// The receiver is one of the targets; else it is a witness.
    pub is_target: bool,
    /// Sent to the whole process, not to one thread.
    pub to_process: bool,
    /// What the kernel was given as siginfo.
    pub info: SignalInfo,
    /// What became of it.
    pub result: SignalResult,
    /// How the target stood towards it.
    pub disposition: Option<Disposition>,
    /// The receiving thread blocked it, or waited for it (sigwait, signalfd).
    pub blocked: bool,
    /// The kernel condemned the whole process with this very signal.
    pub fatal: bool,
    /// The target was being ptraced.
    pub ptraced: bool,
    /// The target is the init of a pid namespace (`SIGNAL_UNKILLABLE`).
    pub namespace_init: bool,
    /// The system call the sender was in.
    pub syscall: Option<Syscall>,
    /// The cgroup whose control file the sender was writing.
    pub written_cgroup: Option<String>,
    /// Signal that the target asked to get when its parent ends (`PR_SET_PDEATHSIG`); 0: none.
    pub parent_death_signal: u8,
    /// Controlling terminal of the target, as the kernel names it (`pts0`, `tty1`).
    pub tty: Option<String>,
    /// Kernel functions on the stack, innermost first, without offsets; empty where no stack was taken.
    pub stack: Vec<String>,
    /// Where the process was in its own code, for a fault that is its own doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<CodePlace>,
    /// The limits that a signal can tell of, for those that tell of limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How many more signals like it, alike in everything told here, came right before it and are not told
    /// one by one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u64,
}

/// Where a process was in its own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodePlace {
    /// The instruction's address.
    pub instruction: u64,
    /// The stack pointer.
    pub stack: u64,
}

/// Resource limits as they were when a signal told of one: soft ones for SIGXCPU and SIGXFSZ, hard ones for
/// SIGKILL. `None` where there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// `RLIMIT_CPU` in seconds; with SIGXFSZ `RLIMIT_FSIZE` in bytes.
    pub first: Option<u64>,
    /// `RLIMIT_RTTIME` in microseconds.
    pub real_time: Option<u64>,
}

/// Whether there is nothing to write of a count.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The `info` argument of `signal_generate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SignalInfo {
    /// `SEND_SIG_NOINFO`: the kernel fills in `SI_USER` and `current`.
    None,
    /// `SEND_SIG_PRIV`: `SI_KERNEL`.
    Privileged,
    /// A real `siginfo`.
    Real {
        /// `si_code`
        code: i32,
        /// `si_errno`
        errno: i32,
        /// The first 16 bytes of the union, as two little-endian words: `si_pid` and `si_uid`, or
        /// `si_addr`, and so on, as `code` says.
        fields: [u64; 2],
    },
}

/// A system call under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Syscall {
    /// Its name, as in strace; `syscall_NNN` where the table has none.
    pub name: String,
    /// Its first three arguments.
    pub args: [u64; 3],
}

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// Who ended.
    pub task: Task,
    /// Its parents, nearest first.
    pub ancestors: Vec<Ancestor>,
    /// It is one of the targets.
    pub is_target: bool,
    /// As `wait(2)` would report it: signal in bits 0 to 6, core dumped in bit 7, exit code in bits 8 to 15.
    pub status: u32,
    /// It was being ptraced, by this process.
    pub ptracer: Option<u32>,
    /// Its seccomp mode: 0 none, 1 strict, 2 filter, 3 ended by seccomp.
    pub seccomp: u8,
    /// Signals that were still waiting for it: it never took them.
    #[serde(default)]
    pub pending: Vec<u8>,
    /// The end itself was not seen: it was concluded from [`Gone`], and `status` means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// A program was executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exec {
    /// Who, with its new name.
    pub task: Task,
    /// Its parents, nearest first.
    pub ancestors: Vec<Ancestor>,
    /// The file, as it was named.
    pub filename: String,
    /// The arguments.
    pub args: Vec<String>,
    /// There were more than could be taken.
    pub truncated: bool,
    /// It is one of the targets.
    pub is_target: bool,
}

/// A followed target made a child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fork {
    /// The child.
    pub child: Task,
    /// Its parent.
    pub parent: ProcessId,
    /// The child is a target.
    pub is_target: bool,
}

/// The kernel's OOM killer marked a victim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OomVictim {
    /// Thread id of the victim in the initial pid namespace.
    pub global_tid: u32,
    /// Whose allocation triggered it. Not the killer.
    pub trigger: Task,
}

/// A TCP connection changed state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TcpChange {
    /// This machine's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// State before.
    pub from: TcpState,
    /// State after.
    pub to: TcpState,
    /// errno behind the change (`ECONNRESET`, `ETIMEDOUT`), 0 where none.
    pub error: i32,
    /// `current`; who closed, where this end closed, and a bystander elsewhere.
    pub task: Task,
}

/// A process connected to the private socket at which a service manager takes requests beside the bus; what it
/// asked for there is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ManagerConnection {
    /// Which manager.
    pub manager: Manager,
    /// Who connected.
    pub task: Task,
    /// Its parents, nearest first.
    pub ancestors: Vec<Ancestor>,
}

/// States of a TCP connection, as `enum tcp_state` in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "RFC 9293 explains each")]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

/// A cgroup was made or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupChange {
    /// Its id: the inode number of its directory.
    pub id: u64,
    /// Its path from the root of the mount, where known.
    pub path: Option<String>,
    /// Removed rather than made.
    pub removed: bool,
}

/// What `/proc/PID` said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessSnapshot {
    /// Process id.
    pub pid: u32,
    /// Start, nanoseconds of `CLOCK_BOOTTIME`, to the tick.
    pub start_ns: u64,
    /// Its parent.
    pub ppid: u32,
    /// Its name.
    pub comm: String,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Its arguments.
    pub cmdline: Vec<String>,
    /// Real user id.
    pub uid: u32,
    /// Process ids in each nested namespace, outermost first (`NSpid`).
    pub ns_pids: Vec<u32>,
    /// Path of its cgroup as systemd looks at it (cgroup2, or the `name=systemd` hierarchy).
    pub cgroup: Option<String>,
    /// Controlling terminal (`/dev/pts/0`), where it has one.
    pub tty: Option<String>,
    /// Leader of its session (`getsid`).
    pub session_leader: u32,
    /// Its process group.
    pub process_group: u32,
    /// Those of its environment variables that tell where it came from: `SSH_CONNECTION`, `SSH_TTY`,
    /// `XDG_SESSION_ID`, `INVOCATION_ID`, `SUDO_USER`, `SUDO_COMMAND`, `TMUX`, `TMUX_PANE`, `STY`,
    /// `SUPERVISOR_PROCESS_NAME`, `SUPERVISOR_GROUP_NAME`, `TMOUT`, `SLURM_JOB_ID`.
    pub environment: BTreeMap<String, String>,
    /// Its parents as `/proc` has them, nearest first; each has a snapshot of its own.
    pub parents: Vec<ProcessId>,
}

/// Why a process is a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetReason {
    /// Named by pid.
    Pid,
    /// Started by `killtrace -- CMD`.
    Command,
    /// It matched, and was already running when tracing began.
    Running,
    /// It matched later.
    Matched,
    /// A child of a followed target.
    Child,
}

/// A process is a target from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Which.
    #[serde(flatten)]
    pub id: ProcessId,
    /// Why.
    pub reason: TargetReason,
}

/// A peer on a D-Bus bus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BusPeer {
    /// Unique name (`:1.7`), empty for the private socket.
    pub name: String,
    /// Its process, where it was still there to be looked at.
    pub process: Option<ProcessId>,
    /// Its process id, where the bus could tell in time.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its `comm`.
    pub comm: Option<String>,
    /// A well-known name that it owns (`org.freedesktop.login1`).
    pub well_known: Option<String>,
}

/// Which service manager: the system's, or a user's.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// PID 1.
    #[default]
    System,
    /// `systemd --user` of this uid.
    User(u32),
}

impl Manager {
    /// How well that is proven which a manager or its bus says, seen as it is said. What is a user's own, that user can
    /// have say anything.
    pub const fn grade(self) -> Grade {
        match self {
            Self::System => Grade::Observed,
            Self::User(_) => Grade::Reported,
        }
    }
}

/// A D-Bus method call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BusCall {
    /// Which bus.
    pub bus: Manager,
    /// Who called.
    pub sender: BusPeer,
    /// Whom.
    pub destination: BusPeer,
    /// Object path.
    pub path: String,
    /// Interface.
    pub interface: Option<String>,
    /// Method.
    pub member: String,
    /// The arguments, as far as they are strings, numbers or booleans.
    pub args: Vec<Value>,
    /// The caller's own number of it.
    #[serde(default)]
    pub serial: u32,
    /// When it was granted: `CLOCK_BOOTTIME`, nanoseconds; `null` where that was not seen, or only
    /// [later](Fact::BusReply).
    #[serde(default)]
    pub granted_ns: Option<u64>,
    /// The job that systemd made for it, by its answer.
    #[serde(default)]
    pub job: Option<u32>,
}

impl BusCall {
    /// Whether it is a request to logind. Those come over the system bus alone: on their own, users can give
    /// themselves its name.
    pub fn is_to_logind(&self) -> bool {
        self.is_below("/org/freedesktop/login1")
    }

    /// Whether it is a request to machined, likewise.
    pub fn is_to_machined(&self) -> bool {
        self.is_below("/org/freedesktop/machine1")
    }

    /// Whether the caller owns this name on the system bus.
    pub fn is_by(&self, service: &str) -> bool {
        self.bus == Manager::System && self.sender.well_known.as_deref() == Some(service)
    }

    fn is_below(&self, path: &str) -> bool {
        let rest = self.path.strip_prefix(path).filter(|_| self.bus == Manager::System);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The answer to a method call that had been told without one: polkit may wait for a password first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BusReply {
    /// Which bus.
    pub bus: Manager,
    /// Unique name of the caller.
    pub caller: String,
    /// [`BusCall::serial`]
    pub serial: u32,
    /// Whether it was done, rather than refused.
    pub granted: bool,
    /// [`BusCall::job`]
    pub job: Option<u32>,
}

/// A job of a service manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Whose job.
    pub manager: Manager,
    /// Its number.
    pub id: u32,
    /// Its unit.
    pub unit: String,
    /// `start`, `stop`, `restart`, …; `null` where the job was gone before it could be asked.
    pub job_type: Option<String>,
    /// `null` when it was made, `done`, `canceled`, `timeout`, … when it was removed.
    pub result: Option<String>,
}

/// Properties of a unit: those that changed, or those that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnitProperties {
    /// Whose unit.
    pub manager: Manager,
    /// Its name.
    pub unit: String,
    /// D-Bus name to value. Times in microseconds as systemd gives them.
    pub properties: BTreeMap<String, Value>,
}

/// A login session of logind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionState {
    /// Its id.
    pub id: String,
    /// Its user.
    pub uid: Option<u32>,
    /// Name of that user.
    pub user: Option<String>,
    /// Its scope unit.
    pub scope: Option<String>,
    /// The process that opened it.
    pub leader: Option<u32>,
    /// Where the user came from.
    pub remote_host: Option<String>,
    /// Its terminal.
    pub tty: Option<String>,
    /// PAM service.
    pub service: Option<String>,
    /// The seat that it is on, where it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<String>,
    /// `opening`, `online`, `active`, `closing`.
    pub state: Option<String>,
    /// logind said that it is gone.
    pub removed: bool,
}

/// A user of the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its name.
    pub name: String,
    /// Its home directory.
    pub home: Option<String>,
    /// Whether its user manager outlives its sessions (`loginctl enable-linger`).
    pub linger: Option<bool>,
}

/// The value of a setting, and which file decided it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Whose: `logind.conf`, `system.conf`, `sshd_config`, `sysctl`, or a unit's name.
    pub scope: String,
    /// Its name: `KillUserProcesses`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file that decided it; `null` where it is the compiled-in default.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
    /// What the files say by now, where whoever goes by them has not read them again: the value is then what it
    /// still goes by, and no file has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Written>,
}

impl Setting {
    /// The same setting with the value that its reader still goes by, instead of this one, which it has not read.
    #[must_use]
    pub fn still(self, value: String) -> Self {
        let Self { scope, name, value: written, file, line, .. } = self;
        let unread = Some(Written { value: written, file, line });
        Self { scope, name, value, file: None, line: None, unread }
    }
}

/// A value as the files have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// The value.
    pub value: String,
    /// The file; `null` where none sets it and this is the compiled-in default.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
}

/// A line of the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalLine {
    /// `MESSAGE`
    pub message: String,
    /// `SYSLOG_IDENTIFIER`: anybody can set it.
    pub identifier: Option<String>,
    /// `_PID`: who really wrote it.
    pub pid: Option<u32>,
    /// `_UID`
    pub uid: Option<u32>,
    /// `_COMM`
    pub comm: Option<String>,
    /// `_SYSTEMD_UNIT`: where the writer lived.
    pub from_unit: Option<String>,
    /// `UNIT` or `USER_UNIT`: what a service manager's line is about.
    pub about_unit: Option<String>,
    /// `MESSAGE_ID`
    pub message_id: Option<String>,
    /// Others that matter: `JOB_ID`, `JOB_TYPE`, `JOB_RESULT`, `SESSION_ID`, `USER_ID`, `LEADER`,
    /// `EXIT_CODE`, `EXIT_STATUS`, `UNIT_RESULT`, `CODE_FUNC`, `N_PROCESSES`.
    pub fields: BTreeMap<String, String>,
}

/// A line of the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelLogLine {
    /// Its text, without the prefix.
    pub message: String,
}

/// A container, and the cgroup by which it was recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerFound {
    /// Its cgroup.
    pub cgroup: String,
    /// What is known of it.
    pub container: Container,
}

/// A cgroup's limits and usage at the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupLimits {
    /// Path of the cgroup in the hierarchy that limits it.
    pub cgroup: String,
    /// `memory.max` (v1: `memory.limit_in_bytes`), bytes; `null`: no limit.
    pub memory_max: Option<u64>,
    /// `memory.current` (v1: `memory.usage_in_bytes`), bytes.
    pub memory_current: Option<u64>,
    /// `memory.oom.group`
    pub oom_group: Option<bool>,
}

/// A terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terminal {
    /// The kernel's name for it: `pts0`.
    pub tty: String,
    /// Who holds its master end, where found.
    pub holders: Vec<ProcessId>,
}

/// Where events can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossPlace {
    /// The kernel's ring buffer was full.
    RingBuffer,
    /// A hook was skipped since it was already running on that CPU.
    Recursion,
    /// The bus dropped the monitor or messages of it.
    Bus,
    /// The journal's stream broke.
    Journal,
    /// A map in the kernel was full.
    Map,
    /// The recording could not be written.
    Recording,
}

impl LossPlace {
    /// Whether what was lost there are the kernel's own events: signals, ends.
    pub const fn is_in_kernel(self) -> bool {
        matches!(self, Self::RingBuffer | Self::Recursion)
    }
}

/// Events were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// How many since the last such report; 0 where it cannot be known.
    pub dropped: u64,
    /// Where.
    #[serde(rename = "where")]
    pub place: LossPlace,
    /// More, in words.
    pub detail: Option<String>,
}

/// Something could not be found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unavailable {
    /// What: `journal`, `bus`, `unit tmux.service`, `process 4242`.
    pub what: String,
    /// Why, in one clause.
    pub why: String,
}

/// A target was looked for after events had been lost, and was not there any more: `/proc` had no such process
/// with that start time, or only its remains, twice in a row a second apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gone {
    /// Who.
    #[serde(flatten)]
    pub id: ProcessId,
}

/// The verdict on an end is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settled {
    /// Whose end.
    #[serde(flatten)]
    pub id: ProcessId,
}

/// The trace ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// Why: `interrupted`, `duration`, `once`, `targets-gone`, `command-ended`.
    pub reason: String,
}

impl Fact {
    /// Wraps the fact with its time and source.
    pub const fn at(self, at: Moment, source: super::Source) -> super::Evidence {
        super::Evidence { at, source, fact: self }
    }
}
