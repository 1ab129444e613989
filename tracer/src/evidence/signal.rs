//! Signals: numbers and names, how they came about, what became of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Signal numbers that the code speaks of by name (the same on x86-64 and arm64).
pub mod sig {
    #![expect(missing_docs, reason = "the names are the documentation: signal(7)")]
    pub const SIGHUP: u8 = 1;
    pub const SIGINT: u8 = 2;
    pub const SIGQUIT: u8 = 3;
    pub const SIGILL: u8 = 4;
    pub const SIGTRAP: u8 = 5;
    pub const SIGABRT: u8 = 6;
    pub const SIGBUS: u8 = 7;
    pub const SIGFPE: u8 = 8;
    pub const SIGKILL: u8 = 9;
    pub const SIGUSR1: u8 = 10;
    pub const SIGSEGV: u8 = 11;
    pub const SIGUSR2: u8 = 12;
    pub const SIGPIPE: u8 = 13;
    pub const SIGALRM: u8 = 14;
    pub const SIGTERM: u8 = 15;
    pub const SIGSTKFLT: u8 = 16;
    pub const SIGCHLD: u8 = 17;
    pub const SIGCONT: u8 = 18;
    pub const SIGSTOP: u8 = 19;
    pub const SIGTSTP: u8 = 20;
    pub const SIGTTIN: u8 = 21;
    pub const SIGTTOU: u8 = 22;
    pub const SIGURG: u8 = 23;
    pub const SIGXCPU: u8 = 24;
    pub const SIGXFSZ: u8 = 25;
    pub const SIGVTALRM: u8 = 26;
    pub const SIGPROF: u8 = 27;
    pub const SIGWINCH: u8 = 28;
    pub const SIGIO: u8 = 29;
    pub const SIGPWR: u8 = 30;
    pub const SIGSYS: u8 = 31;
    /// Those that ask a process to end which catches them.
    pub const ASKING: [u8; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
    /// Those that stop a process that does not catch them.
    pub const STOPS: [u8; 4] = [SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU];
    /// First real-time signal as the kernel counts (libc keeps two for itself and calls 34 `SIGRTMIN`).
    pub const SIGRTMIN_KERNEL: u8 = 32;
    /// Last real-time signal.
    pub const SIGRTMAX: u8 = 64;
}

/// Names of the standard signals, by number minus one.
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// Name of a signal as strace prints it: `SIGTERM`, `SIGRT_3`; `SIG_99` for what is no signal.
pub fn signal_name(number: u8) -> String {
    match number {
        1..=31 => NAMES[usize::from(number) - 1].to_owned(),
        32..=64 => format!("SIGRT_{}", number - 32),
        _ => format!("SIG_{number}"),
    }
}

/// Number of a signal from its name, with or without `SIG`, in any case, or from its number.
///
/// Accepts `TERM`, `sigterm`, `15`, `RT_3`, `RTMIN+3` (libc's count), `CLD`, `IOT`, `POLL`.
pub fn signal_number(name: &str) -> Option<u8> {
    if let Ok(number) = name.parse::<u8>() {
        return (number <= 64).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = match bare {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        other => other,
    };
    if let Some(index) = NAMES.iter().position(|known| &known[3..] == alias) {
        return u8::try_from(index + 1).ok();
    }
    let real_time = |base: u8, rest: &str| {
        let offset: u8 = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        base.checked_add(offset).filter(|number| *number <= 64)
    };
    if let Some(rest) = alias.strip_prefix("RTMIN") {
        return real_time(34, rest);
    }
    alias.strip_prefix("RT_")?.parse::<u8>().ok()?.checked_add(32).filter(|number| *number <= 64)
}

/// A signal as the report shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// Number on this architecture.
    pub number: u8,
    /// Name, as strace writes it.
    pub name: String,
    /// `si_code` by name (`SI_USER`, `SI_KERNEL`, `SI_TKILL`, `SEGV_MAPERR`, …).
    pub si_code: String,
    /// Process id of the sender as the victim sees it; `null` where the kind of signal carries none.
    pub si_pid: Option<i32>,
    /// User id of the sender as the victim sees it.
    pub si_uid: Option<u32>,
    /// How the signal came about.
    pub mechanism: Mechanism,
    /// What became of it when it was sent.
    pub result: SignalResult,
    /// How the target stood towards it.
    pub disposition: Option<Disposition>,
    /// Kernel functions on the way, innermost first, where the kernel itself decided.
    pub kernel_path: Vec<String>,
}

/// How a signal came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the contract's words; docs/output.md explains each")]
pub enum Mechanism {
    Kill,
    Tkill,
    Tgkill,
    Sigqueue,
    PidfdSendSignal,
    CgroupKill,
    OomKill,
    TtyHangup,
    TtySignal,
    OrphanedPgrp,
    ParentDeathSignal,
    PidNamespaceExit,
    PtraceExitKill,
    Ptrace,
    RlimitCpu,
    RlimitFsize,
    Timer,
    Fault,
    Seccomp,
    Pipe,
    Sysrq,
    BpfSendSignal,
    MemoryFailure,
    AsyncIo,
    ThreadGroupExit,
    ChildStatus,
    UnknownKernel,
}

impl Mechanism {
    /// Whether the kernel decides such a signal, rather than a process that asks for it.
    pub const fn is_kernels_own(self) -> bool {
        !matches!(
            self,
            Self::Kill
                | Self::Tkill
                | Self::Tgkill
                | Self::Sigqueue
                | Self::PidfdSendSignal
                | Self::CgroupKill
                | Self::Ptrace
        )
    }

    /// It in the words of a manual page.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Kill => "kill(2)",
            Self::Tkill => "tkill(2)",
            Self::Tgkill => "tgkill(2)",
            Self::Sigqueue => "sigqueue(3)",
            Self::PidfdSendSignal => "pidfd_send_signal(2)",
            Self::CgroupKill => "cgroup.kill",
            Self::OomKill => "out of memory",
            Self::TtyHangup => "terminal hangup",
            Self::TtySignal => "typed at the terminal",
            Self::OrphanedPgrp => "orphaned process group",
            Self::ParentDeathSignal => "parent died (PR_SET_PDEATHSIG)",
            Self::PidNamespaceExit => "init of its pid namespace ended",
            Self::Ptrace => "ptrace(2)",
            Self::PtraceExitKill => "tracer ended (PTRACE_O_EXITKILL)",
            Self::RlimitCpu => "CPU time limit (RLIMIT_CPU)",
            Self::RlimitFsize => "file size limit (RLIMIT_FSIZE)",
            Self::Timer => "timer expired",
            Self::Fault => "fault",
            Self::Seccomp => "seccomp filter",
            Self::Pipe => "broken pipe",
            Self::Sysrq => "magic SysRq key",
            Self::BpfSendSignal => "bpf_send_signal() of a BPF program",
            Self::MemoryFailure => "memory failure",
            Self::AsyncIo => "asynchronous input/output",
            Self::ThreadGroupExit => "its process ended",
            Self::ChildStatus => "a child changed its state",
            Self::UnknownKernel => "reason unknown",
        }
    }
}

/// What became of a signal when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignalResult {
    /// Queued, and the target was told.
    Delivered,
    /// Dropped: the target ignores it, or is the init of its pid namespace.
    Ignored,
    /// The same signal was already waiting; this one adds nothing.
    AlreadyPending,
    /// Queued, but the target blocks it.
    Blocked,
    /// Not sent: the queue was full (`RLIMIT_SIGPENDING`).
    Lost,
}

/// What a process does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    /// `SIG_DFL`
    Default,
    /// A handler of its own.
    Handler,
    /// `SIG_IGN`
    Ignore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_name_leads_back_to_its_number() {
        for number in 1..=64 {
            assert_eq!(signal_number(&signal_name(number)), Some(number));
        }
    }

    #[test]
    fn signal_names_are_read_as_strace_reads_them() {
        assert_eq!(signal_number("term"), Some(15));
        assert_eq!(signal_number("SIGCLD"), Some(17));
        assert_eq!(signal_number("RTMIN+3"), Some(37));
        assert_eq!(signal_number("0"), Some(0));
        assert_eq!(signal_number("RTMIN+99"), None);
        assert_eq!(signal_number("65"), None);
        assert_eq!(signal_number("NOSUCH"), None);
    }
}
