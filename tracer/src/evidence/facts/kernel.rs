//! What the hooks in the kernel see.

use std::net::SocketAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{Ancestor, Disposition, Manager, ProcessId, SignalResult, Task};

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

impl SignalSent {
    /// Whether the sender was making a child when it was sent.
    pub fn is_in_fork(&self) -> bool {
        let call = self.syscall.as_ref().map(|call| call.name.as_str());
        matches!(call, Some("clone" | "clone3" | "fork" | "vfork"))
    }

    /// Whom it was aimed at by kill(2), as the sender counts: a process, minus a process group, 0 for the sender's own
    /// group, -1 for everybody. `None` where it was sent otherwise.
    pub fn aim(&self) -> Option<i32> {
        let call = self.syscall.as_ref().filter(|call| call.name == "kill")?;
        Some((call.args[0] as u32).cast_signed())
    }
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
    /// The end itself was not seen: it was concluded from a fact `gone`, and `status` means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

impl Exit {
    /// The signal that ended it; `None` where it exited by itself, or its end was not seen.
    pub const fn killed_by(&self) -> Option<u8> {
        if self.unseen { None } else { WaitStatus(self.status).signal() }
    }

    /// The exit code; `None` where a signal ended it, or its end was not seen.
    pub const fn exited_with(&self) -> Option<u8> {
        let status = WaitStatus(self.status);
        if self.unseen || status.signal().is_some() { None } else { Some(status.code()) }
    }
}

/// How a process ended, as `wait(2)` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStatus(pub u32);

impl WaitStatus {
    /// The signal that ended it; `None` where it exited by itself.
    pub const fn signal(self) -> Option<u8> {
        match (self.0 & 0x7f) as u8 {
            0 => None,
            number => Some(number),
        }
    }

    /// A core was dumped.
    pub const fn dumped_core(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// The exit code; 0 where a signal ended it.
    pub const fn code(self) -> u8 {
        (self.0 >> 8 & 0xff) as u8
    }
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
    /// It, or the file, is called like a target that was named, as far as the kernel compares names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_named: bool,
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

/// A process connected to the socket at which a daemon that runs containers takes requests; what it asked for there is not
/// known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineConnection {
    /// What listens.
    pub engine: Engine,
    /// The user whose it is, where it is not the whole system's.
    pub owner: Option<u32>,
    /// Who connected.
    pub task: Task,
    /// Its parents, nearest first.
    pub ancestors: Vec<Ancestor>,
}

/// Daemons that run containers for whoever may use their socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// `dockerd`, at `docker.sock`.
    Docker,
    /// `podman system service`, at `podman.sock`.
    Podman,
    /// `containerd`, at `containerd.sock`.
    Containerd,
}

impl Engine {
    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
        }
    }
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
