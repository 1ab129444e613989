//! What the kernel saw. Alone knows aya.
//!
//! ```text
//! preflight ─▶ offsets (from btf) ─▶ load ─▶ attach     the kernel side is running
//! ring buffer ─▶ stream ─▶ wire ─▶ decode ─▶ Evidence   with clock, cgroups, symbols, syscalls
//! ```

use std::{io, path::PathBuf};

use crate::evidence::ProcessId;

mod attach;
mod bpf;
mod btf;
mod cgroups;
mod clock;
mod contents;
mod decode;
mod hooks;
mod level;
mod load;
mod losses;
mod offsets;
mod preflight;
mod programs_log;
mod repeats;
mod ring;
mod settings;
mod stream;
mod symbols;
mod syscalls;
mod wire;

pub use attach::Kernel;
pub use btf::BtfError;
pub use clock::Clock;
pub use hooks::{ATTACHED, HOOKS, Hook};
pub use offsets::Missing;

/// What to trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Processes that execute, or call themselves, one of these names. The kernel compares the first
    /// 15 bytes.
    pub names: Vec<String>,
    /// Processes that are running. A start time of 0 stands for any.
    pub pids: Vec<ProcessId>,
    /// Processes in these cgroups and in what is made below them, by cgroup2 id.
    pub cgroups: Vec<u64>,
    /// Processes of these users.
    pub uids: Vec<u32>,
    /// Every process.
    pub all: bool,
    /// Children of targets become targets.
    pub follow: bool,
    /// Signals that are not looked at: bit `n - 1` for signal `n`.
    pub muted: u64,
    /// Local TCP ports whose connections' ends are wanted.
    pub tcp_ports: Vec<u16>,
}

/// Why tracing cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Capabilities are missing.
    #[error(
        "killtrace may not load kernel programs: {missing} missing; run it as root (sudo killtrace …), \
         or give the binary CAP_BPF and CAP_PERFMON"
    )]
    NotPermitted {
        /// Their names.
        missing: String,
    },
    /// Root, but in a user namespace.
    #[error(
        "killtrace may not load kernel programs from inside a user namespace; run it on the host, or in \
         a privileged container without user namespace"
    )]
    UserNamespace,
    /// Kernel lockdown.
    #[error(
        "the kernel is locked down (confidentiality) and lets nobody read its memory; boot without \
         lockdown=confidentiality (Secure Boot may have switched it on)"
    )]
    Lockdown,
    /// The BTF file cannot be read.
    #[error(
        "cannot read the kernel's type information {}: {error}; it takes a kernel with \
         CONFIG_DEBUG_INFO_BTF=y, or a file made for this very kernel: --btf FILE",
        path.display()
    )]
    NoBtf {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The BTF file is not what it should be.
    #[error("cannot use the kernel's type information {}: {error}", path.display())]
    BadBtf {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: BtfError,
    },
    /// Fields that every supported kernel has.
    #[error(
        "this kernel ({kernel}) has no {fields}; killtrace supports Linux 5.10 and later, and needs the \
         type information of the running kernel"
    )]
    MissingFields {
        /// `uname -r`
        kernel: String,
        /// Their names.
        fields: String,
    },
    /// The kernel refused a map.
    #[error("the kernel refused the map {name}: {error}; killtrace supports Linux 5.10 and later")]
    Map {
        /// Which.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The kernel refused a required program.
    #[error("the kernel refused the program for {hook}: {error}; please report this:\n{log}")]
    Program {
        /// Which.
        hook: &'static str,
        /// Why.
        error: io::Error,
        /// What the verifier said last.
        log: String,
    },
    /// The kernel has no such hook, or does not let it be used.
    #[error(
        "cannot attach to the kernel's tracepoint {hook}: {error}; killtrace supports Linux 5.10 and later"
    )]
    Hook {
        /// Which.
        hook: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The built-in programs are not what this binary expects.
    #[error("the built-in kernel programs are damaged: {0}; build or install killtrace again")]
    Object(String),
    /// The ring buffer or the pid namespace.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}
