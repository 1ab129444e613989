//! What the kernel saw. Alone knows aya.
//!
//! ```text
//! preflight ─▶ offsets (from btf) ─▶ load ─▶ attach     the kernel side is running
//! ring buffer ─▶ stream ─▶ intake (with repeats) ─▶ wire ─▶ decode ─▶ Evidence
//!                          with clock, cgroups, symbols, syscalls
//! ```

use std::{io, path::PathBuf};

use crate::evidence::ProcessId;

mod attach;
mod bpf;
mod btf;
mod cgroups;
mod clock;
mod contents;
mod current;
mod decode;
pub mod entrances;
mod event;
mod hooks;
mod intake;
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
mod types;
mod wire;

pub use attach::Kernel;
pub use btf::BtfError;
pub use clock::Clock;
pub use hooks::{HOOKS, Hook, Place};
pub use load::event_on_ends;
pub use losses::LeftOut;
pub use offsets::Missing;
pub use preflight::{capabilities, privileged, under_pid_1, version};
pub use symbols::{Nameless, function_names};
pub use types::KERNEL_BTF;

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
    #[error("not permitted to load programs into the kernel: {missing} missing; {remedy}")]
    NotPermitted {
        /// Their names.
        missing: String,
        /// How to come by them, which is another thing for root.
        remedy: String,
    },
    /// Root, but in a user namespace.
    #[error(
        "no programs can be loaded into the kernel from inside a user namespace, whatever its root may do; \
         run killtrace on the host, or in a privileged container that has no user namespace"
    )]
    UserNamespace,
    /// Kernel lockdown.
    #[error(
        "the kernel is locked down (confidentiality) and lets nobody read its memory; boot without \
         lockdown=confidentiality (lockdown=integrity does not disturb)"
    )]
    Lockdown,
    /// Something forbids bpf(2) to one who has the capabilities.
    #[error(
        "bpf(2) is forbidden here ({error}) though the capabilities are there, as a container's seccomp \
         profile or a security module does; run killtrace on the host, or the container with \
         --privileged or --security-opt seccomp=unconfined"
    )]
    Forbidden {
        /// The kernel's.
        error: io::Error,
    },
    /// The kernel was built without.
    #[error("this kernel has no bpf(2); killtrace needs one built with CONFIG_BPF_SYSCALL=y")]
    NoBpf,
    /// Before 5.11 maps are locked memory.
    #[error("the limit of locked memory is too low for the kernel's maps ({limit}); {remedy}")]
    LockedMemory {
        /// What it is, with its unit.
        limit: String,
        /// How it is raised.
        remedy: String,
    },
    /// What aya counts the CPUs by is not there.
    #[error(
        "/sys is not mounted, or hidden, so that the CPUs cannot be counted ({}: {error}); mount -t sysfs \
         sysfs /sys",
        path.display()
    )]
    NoSys {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel does not show its types.
    #[error(
        "this kernel does not tell its types ({}: {error}); boot one built with CONFIG_DEBUG_INFO_BTF=y, \
         as distributions build theirs, or give a file made for exactly {kernel} with --btf FILE: BTFHub \
         has many (github.com/aquasecurity/btfhub-archive), and `pahole --btf_encode_detached FILE \
         vmlinux` makes one from the vmlinux of the kernel's debug package",
        path.display()
    )]
    NoBtf {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
        /// `uname -r`
        kernel: String,
    },
    /// The file of `--btf` cannot be read.
    #[error(
        "cannot read {}, given with --btf: {error}; give a file that is there, or leave --btf out where the kernel \
         tells its types itself",
        path.display()
    )]
    NoBtfFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The BTF file is not what it should be.
    #[error("cannot use the type information of {}: {error}", path.display())]
    BadBtf {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: BtfError,
    },
    /// The BTF file was made for another kernel.
    #[error(
        "{} does not describe the running kernel; --btf takes the file made for exactly {kernel}",
        path.display()
    )]
    ForeignBtf {
        /// Which file.
        path: PathBuf,
        /// `uname -r`
        kernel: String,
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
        "cannot attach to the kernel's tracepoint {hook}: {error}; killtrace supports Linux 5.10 and \
         later, built with CONFIG_BPF_EVENTS=y"
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
