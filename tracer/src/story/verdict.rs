//! What the story says: the records of the report, in the words of the published schema.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{
    Exit, Grade, Header, LossPlace, Manager, Moment, Process, Setting, Signal, Source, WaitStatus,
    Written,
};

/// One record of the report; one line of `--format json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    /// First: the machine and the hooks.
    Header(Box<Header>),
    /// A signal was sent to a target.
    Signal(Box<SignalRecord>),
    /// A target ended, raw.
    Exit(Box<ExitRecord>),
    /// The verdict on that end.
    Death(Box<Death>),
    /// Events were lost.
    Loss(LossRecord),
    /// Last: counts.
    Summary(Summary),
}

/// A signal was sent to a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalRecord {
    /// When.
    #[serde(flatten)]
    pub at: Moment,
    /// Who sent it; for a signal of the kernel's own, whose act led to it (`null` where nobody's did).
    pub sender: Option<Arc<Process>>,
    /// To whom.
    pub target: Arc<Process>,
    /// The thread, where it was sent to one only.
    pub target_tid: Option<u32>,
    /// The signal.
    pub signal: Signal,
    /// How many of the same between the same two were folded into this record after the first.
    pub repeated: u64,
}

/// A target ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExitRecord {
    /// When.
    #[serde(flatten)]
    pub at: Moment,
    /// Who.
    pub process: Process,
    /// How.
    pub outcome: Outcome,
    /// The deciding signal where one is known already, and how long before the end it came.
    pub after: Option<AfterSignal>,
}

/// An end that followed a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AfterSignal {
    /// Its name.
    pub signal: String,
    /// Its sender, as text: `systemd[1]`, or `the kernel`.
    pub from: String,
    /// From the signal to the end, nanoseconds.
    pub delay_ns: u64,
}

/// How a process ended, as `wait(2)` would tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    /// By a signal.
    Signaled {
        /// Its name.
        signal: String,
        /// A core was dumped.
        core_dumped: bool,
    },
    /// By itself.
    Exited {
        /// Exit code, 0 to 255.
        status: u8,
    },
    /// It is gone, and its end was not seen: it was among the events that were lost, or came before tracing began.
    Unknown,
}

impl Outcome {
    /// How this end was.
    pub fn of(exit: &Exit) -> Self {
        if exit.unseen { Self::Unknown } else { WaitStatus(exit.status).into() }
    }

    /// What is told after the name of who ended: `was killed by SIGKILL`, `exited with 0`.
    pub fn clause(&self) -> String {
        match self {
            Self::Signaled { signal, .. } => format!("was killed by {signal}"),
            Self::Exited { status } => format!("exited with {status}"),
            Self::Unknown => "was gone".to_owned(),
        }
    }
}

impl From<WaitStatus> for Outcome {
    fn from(status: WaitStatus) -> Self {
        match status.signal() {
            Some(number) => Self::Signaled {
                signal: crate::evidence::signal_name(number),
                core_dumped: status.dumped_core(),
            },
            None => Self::Exited { status: status.code() },
        }
    }
}

/// The verdict on the end of one target process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Death {
    /// When it ended.
    #[serde(flatten)]
    pub at: Moment,
    /// Who ended.
    pub victim: Process,
    /// How.
    pub outcome: Outcome,
    /// Who did it.
    pub killer: Killer,
    /// The signal that decided it.
    pub signal: Option<Signal>,
    /// Why.
    pub cause: Cause,
    /// Neighbouring causes, and why they are not it.
    pub considered: Vec<Considered>,
    /// How it came about: in order of time, from the earliest cause known to the death.
    pub chain: Vec<Link>,
    /// What to do about it, best first.
    pub fixes: Vec<Fix>,
    /// What could not be known.
    pub gaps: Vec<String>,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Killer {
    /// What kind of killer.
    pub kind: KillerKind,
    /// The process; for `kernel`, the one whose act or end led to it.
    pub process: Option<Process>,
}

/// What kind of killer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KillerKind {
    /// Another process sent the signal.
    Process,
    /// The kernel decided.
    Kernel,
    /// The victim itself.
    #[serde(rename = "self")]
    Itself,
    /// Nobody.
    None,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// Which story.
    pub id: CauseId,
    /// The story in a few words.
    pub title: String,
    /// One or two sentences for this very case: the verdict of the text report.
    pub explanation: String,
    /// How well it is proven.
    pub evidence: Grade,
    /// The settings that decided it.
    pub settings: Vec<DecidingSetting>,
}

/// A setting that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecidingSetting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file it stands in; `null`: the compiled-in default, or see `unread`.
    pub file: Option<String>,
    /// The line there.
    pub line: Option<u32>,
    /// What the files say by now, where whoever goes by them has not read them again since. Left out where they
    /// say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Written>,
}

impl DecidingSetting {
    /// Where it stands: `/etc/systemd/logind.conf:12`.
    pub fn place(&self) -> Option<String> {
        place(self.file.as_deref(), self.line)
    }
}

fn place(file: Option<&str>, line: Option<u32>) -> Option<String> {
    let file = file?;
    Some(line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
}

/// That the value of a setting is not what the files say: `/etc/systemd/logind.conf:12 says no, but has not been read again
/// yet`
pub fn contradicted(name: &str, unread: &Written) -> String {
    let Written { value, file, line } = unread;
    if counts_from_start(name) && unread.gone_file().is_none() {
        return place(file.as_deref(), *line).map_or_else(
            || "no file sets it any more, but it was when the unit was started".to_owned(),
            |place| {
                format!("{place} says {value}, but that counts only from the unit's next start on")
            },
        );
    }
    if let Some(file) = unread.gone_file() {
        return format!(
            "no file sets it any more, since {file} is gone, but they have not been read again yet"
        );
    }
    place(file.as_deref(), *line).map_or_else(
        || "no file sets it any more, but they have not been read again yet".to_owned(),
        |place| format!("{place} says {value}, but has not been read again yet"),
    )
}

/// Whether a service goes by what a setting was when it was started, whatever its manager has read since: what it was started
/// with is in its environment (`watchdog_original_usec` in `src/core/service.h`).
pub fn counts_from_start(name: &str) -> bool {
    name == "WatchdogSec"
}

impl From<&Setting> for DecidingSetting {
    fn from(setting: &Setting) -> Self {
        let Setting { name, value, file, line, unread, .. } = setting.clone();
        Self { name, value, file, line, unread }
    }
}

/// A neighbouring cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Considered {
    /// Which.
    pub id: CauseId,
    /// It is proven not to be it; else it is merely less well supported.
    pub ruled_out: bool,
    /// What speaks against it.
    pub because: String,
}

/// One step of the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// When.
    #[serde(flatten)]
    pub at: Moment,
    /// What kind of event.
    pub event: LinkEvent,
    /// Who acted.
    pub actor: Option<Process>,
    /// The event in words.
    pub text: String,
    /// How well it is proven.
    pub evidence: Grade,
    /// Where it comes from.
    pub source: Source,
    /// How much later than what it led to it was heard of, nanoseconds, where nothing tells that it was earlier but that
    /// it led to that; not yet part of the text.
    #[serde(skip)]
    pub late_ns: Option<u64>,
}

impl Link {
    /// One that is as well proven as what comes from there.
    pub fn new(
        at: Moment,
        event: LinkEvent,
        source: Source,
        actor: Option<Process>,
        text: impl Into<String>,
    ) -> Self {
        let evidence = source.grade();
        Self { at, event, actor, text: text.into(), evidence, source, late_ns: None }
    }

    /// Said by a service manager or over its bus: no better proven than such words are.
    #[must_use]
    pub fn said_over(mut self, manager: Manager) -> Self {
        self.evidence = self.evidence.min(manager.grade());
        self
    }

    /// Shown no later than what it led to, however late it was read. The kernel's own time is never late.
    #[must_use]
    pub fn before(mut self, effect: Moment) -> Self {
        if self.source != Source::Kernel {
            self.at = self.at.no_later_than(effect);
        }
        self
    }

    /// The same, where nothing but that tells that it was earlier: what was heard of only later is then a conclusion.
    #[must_use]
    pub fn concluded_before(mut self, effect: Moment) -> Self {
        let late_ns = self.at.boot_ns.saturating_sub(effect.boot_ns);
        if late_ns > 0 && self.source != Source::Kernel {
            self.late_ns = Some(late_ns);
            self.evidence = Grade::Inferred;
        }
        self.before(effect)
    }

    /// Says in its text how late it was heard of.
    pub fn tell_lateness(&mut self) {
        if let Some(late_ns) = self.late_ns.take() {
            self.text.push_str(&format!(" (heard of {} later)", super::words::span(late_ns)));
        }
    }
}

/// Kinds of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the contract's words; docs/output.md explains each")]
pub enum LinkEvent {
    TcpClosed,
    SshDisconnect,
    ProcessExit,
    SessionClosed,
    BusCall,
    ManagerConnection,
    EngineConnection,
    Job,
    UnitState,
    Timeout,
    Oom,
    Terminal,
    Command,
    Signal,
    Death,
}

/// Something to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// In a few words.
    pub title: String,
    /// Exact commands, to be run in this order.
    pub commands: Vec<String>,
    /// What they bring about.
    pub effect: String,
    /// What else they bring about; `none: …` where that is nothing, and why.
    pub side_effect: Option<String>,
    /// How to see that it took.
    pub verify: Option<String>,
    /// Where it is documented.
    pub reference: Option<String>,
}

impl Fix {
    /// The side effect, where there is one to think about first.
    pub fn drawback(&self) -> Option<&String> {
        self.side_effect.as_ref().filter(|text| !text.starts_with("none:"))
    }
}

/// Events were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossRecord {
    /// When it was noticed.
    #[serde(flatten)]
    pub at: Moment,
    /// How many.
    pub dropped: u64,
    /// Where.
    #[serde(rename = "where")]
    pub place: LossPlace,
    /// More, in words.
    pub detail: Option<String>,
}

/// The last record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// When.
    #[serde(flatten)]
    pub at: Moment,
    /// Signals sent to targets, as far as they were shown.
    pub signals: u64,
    /// Deaths reported.
    pub deaths: u64,
    /// Ends of targets that no signal had preceded, and that are reported with `--exits` alone.
    #[serde(default)]
    pub untold: u64,
    /// Events lost.
    pub losses: u64,
    /// Targets still alive at the end.
    pub alive: u64,
    /// Why the trace ended.
    pub reason: String,
}

macro_rules! cause_ids {
    ($($variant:ident = $word:literal, $title:literal;)*) => {
        /// Which story: the vocabulary of `cause.id`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum CauseId {
            $(#[doc = $title] #[serde(rename = $word)] $variant,)*
        }

        impl CauseId {
            /// Every cause, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it in every output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The story in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }
        }
    };
}

cause_ids! {
    LogindKillUserProcesses = "logind-kill-user-processes", "logind ended the session's processes at logout";
    LogindUserStopped = "logind-user-stopped", "the user's service manager was stopped after the last logout";
    SshdPerConnectionUnit = "sshd-per-connection-unit", "systemd cleaned up the unit of one ssh connection";
    LogindTerminate = "logind-terminate", "somebody had logind terminate the session or the user";
    LogindIdleStop = "logind-idle-stop", "logind stopped the idle session";
    UnitStopRequested = "unit-stop-requested", "somebody asked for the unit to be stopped";
    UnitDependency = "unit-dependency", "another unit pulled this one down";
    UnitMainProcessExited = "unit-main-process-exited", "the unit's main process ended and the rest was cleaned up";
    UnitStartTimeout = "unit-start-timeout", "the unit took too long to start";
    UnitStopTimeout = "unit-stop-timeout", "the unit took too long to stop";
    UnitRuntimeMax = "unit-runtime-max", "the unit reached its maximum run time";
    UnitWatchdog = "unit-watchdog", "the unit missed its watchdog";
    UnitOomPolicy = "unit-oom-policy", "systemd stopped the unit after an out-of-memory kill in it";
    SystemdOomd = "systemd-oomd", "systemd-oomd chose the cgroup";
    UnitReload = "unit-reload", "what the unit runs to reload ended it";
    UnitCommand = "unit-command", "a command of a unit, run for its start, stop or reload, sent the signal";
    UnitFailed = "unit-failed", "the unit failed, and its manager ended what was left of it";
    UdevCleanup = "udev-cleanup", "udev ended what a device's rule had started";
    HomedImageGone = "homed-image-gone", "systemd-homed ended all of a user's: the home directory's image was gone";
    SystemctlKill = "systemctl-kill", "a signal was sent through the service manager";
    SystemShutdown = "system-shutdown", "the system is going down";
    KernelOomGlobal = "kernel-oom-global", "the machine ran out of memory";
    KernelOomCgroup = "kernel-oom-cgroup", "a cgroup reached its memory limit";
    UserspaceOom = "userspace-oom", "an out-of-memory daemon chose it";
    TerminalClosed = "terminal-closed", "its terminal hung up";
    TerminalInterrupt = "terminal-interrupt", "somebody typed an interrupt key";
    SessionLeaderExited = "session-leader-exited", "the leader of its terminal session ended";
    ParentDied = "parent-died", "its parent ended (PR_SET_PDEATHSIG)";
    PidNamespaceInitExited = "pid-namespace-init-exited", "the init of its pid namespace ended";
    TracerExited = "tracer-exited", "its ptrace tracer ended";
    ContainerStop = "container-stop", "its container was stopped";
    ContainerKill = "container-kill", "its container was killed";
    BatchJobEnded = "batch-job-ended", "its batch job ended or was cancelled";
    TimeoutCommand = "timeout-command", "a timeout command ended it";
    CpuLimit = "cpu-limit", "it used up its CPU time limit";
    FileSizeLimit = "file-size-limit", "it wrote past its file size limit";
    UserCommand = "user-command", "somebody ran a kill command";
    ProcessSignal = "process-signal", "another program sent the signal";
    Crash = "crash", "it crashed";
    Abort = "abort", "it aborted itself";
    SeccompViolation = "seccomp-violation", "it made a forbidden system call";
    BrokenPipe = "broken-pipe", "it wrote to a pipe nobody reads";
    TimerExpired = "timer-expired", "its own timer expired";
    OrphanedProcessGroup = "orphaned-process-group", "its stopped job was orphaned";
    AsyncIo = "async-io", "an input/output event signalled it";
    Sysrq = "sysrq", "somebody used the magic SysRq key";
    BpfProgram = "bpf-program", "a BPF program signalled it";
    HardwareMemoryError = "hardware-memory-error", "a page of its memory failed";
    ExitedByItself = "exited-by-itself", "nobody killed it";
    Unknown = "unknown", "what ended it is unknown";
}
