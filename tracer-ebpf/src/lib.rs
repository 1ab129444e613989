//! What crosses from the kernel side to userspace: records, configuration and map values.
//!
//! Rules of this file: `repr(C)`, fixed-width integers, explicit padding that is always written, no
//! `bool`, no enum, no pointer. Every size is asserted, so that neither side can drift. Userspace
//! makes evidence of records at one place only (`tracer/src/kernel/decode.rs`).

#![no_std]

mod config;
mod maps;

pub use config::*;
pub use maps::*;

/// Most targets and witnesses.
pub const MAX_WATCHED: u32 = 16384;
/// Most cgroups of targets.
pub const MAX_CGROUPS: u32 = 4096;

/// Length of `task_struct.comm`, including the terminating zero.
pub const COMM_LEN: usize = 16;
/// How many ancestors of a task are captured, nearest first.
pub const MAX_ANCESTORS: usize = 8;
/// How many bytes of a new program's arguments are captured at exec.
pub const ARGS_LEN: usize = 1024;
/// How many bytes of a sender's arguments are captured with its signal.
pub const SENDER_ARGS_LEN: usize = 256;
/// How many bytes of an exec'd file's path are captured.
pub const PATH_LEN: usize = 256;
/// How many bytes of a cgroup's own name (the last path component) are captured.
pub const CGROUP_NAME_LEN: usize = 256;
/// How many frames of a kernel stack are captured.
pub const MAX_STACK: usize = 24;
/// How many components of a mapped file's path are captured, those next to the file; crossing into a mount
/// takes one, too.
pub const PATH_DEPTH: usize = 12;
/// How many bytes of each are captured, including the terminating zero.
pub const COMPONENT_LEN: usize = 64;
/// Length of `tty_struct.name`.
pub const TTY_LEN: usize = 64;
/// Bytes of the ring buffer that carries every record. They count in the reader's memory.
pub const RING_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes that may wait in the ring buffer before userspace is woken up.
pub const RING_WATERMARK: u32 = RING_BYTES / 8;
/// Bytes of the ring buffer that signals which end nobody leave free: no flood of them costs an end, an
/// executed program or a fatal signal its place.
pub const RING_RESERVED: u32 = RING_BYTES / 4;
/// How many repeats of a signal in a row are told one by one, before the rest is only counted: more than a reader
/// is shown singly.
pub const REPEATS_TOLD: u32 = 16;

/// The kind of a record: the first field of every one of them.
pub mod kind {
    /// [`SignalRecord`](crate::SignalRecord)
    pub const SIGNAL: u32 = 1;
    /// [`ExitRecord`](crate::ExitRecord)
    pub const EXIT: u32 = 2;
    /// [`ExecRecord`](crate::ExecRecord)
    pub const EXEC: u32 = 3;
    /// [`ForkRecord`](crate::ForkRecord)
    pub const FORK: u32 = 4;
    /// [`OomRecord`](crate::OomRecord)
    pub const OOM: u32 = 5;
    /// [`TcpRecord`](crate::TcpRecord)
    pub const TCP: u32 = 6;
    /// [`CgroupRecord`](crate::CgroupRecord)
    pub const CGROUP: u32 = 7;
    /// [`RenameRecord`](crate::RenameRecord)
    pub const RENAME: u32 = 8;
    /// [`MappingRecord`](crate::MappingRecord)
    pub const MAPPING: u32 = 9;
    /// [`ConnectRecord`](crate::ConnectRecord)
    pub const CONNECT: u32 = 10;
}

/// Begins every record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// CPU that wrote the record.
    pub cpu: u32,
    /// `CLOCK_BOOTTIME` in nanoseconds (`bpf_ktime_get_boot_ns`).
    pub boot_ns: u64,
}

/// A task as the kernel saw it at the moment of the event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Process id in the tracer's pid namespace; 0 where it has none there.
    pub pid: u32,
    /// Thread id in the tracer's pid namespace; 0 where it has none there.
    pub tid: u32,
    /// Process id in the task's own (innermost) pid namespace.
    pub ns_pid: u32,
    /// Process id of `real_parent` in the tracer's pid namespace.
    pub ppid: u32,
    /// Process id in the initial pid namespace (`task->tgid`).
    pub global_pid: u32,
    /// Thread id in the initial pid namespace (`task->pid`).
    pub global_tid: u32,
    /// `group_leader->start_boottime` in nanoseconds: with `pid`, the identity of the process.
    pub start_ns: u64,
    /// Id of its cgroup in the cgroup2 hierarchy: the inode number of the cgroup's directory.
    pub cgroup_id: u64,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Audit login uid; `u32::MAX` where unset.
    pub login_uid: u32,
    /// Audit session id; `u32::MAX` where unset.
    pub audit_session: u32,
    /// Inode number of its pid namespace.
    pub pid_ns: u32,
    /// `task->flags` (`PF_*`).
    pub flags: u32,
    /// `task->comm`.
    pub comm: [u8; COMM_LEN],
}

/// One step up the parent chain of a sender.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ancestor {
    /// Process id in the tracer's pid namespace; 0 ends the list.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// `group_leader->start_boottime`, nanoseconds.
    pub start_ns: u64,
    /// `comm` of the thread-group leader.
    pub comm: [u8; COMM_LEN],
}

/// What `info` pointed at in `signal_generate`.
pub mod info {
    /// `SEND_SIG_NOINFO`
    pub const NONE: u32 = 0;
    /// `SEND_SIG_PRIV`
    pub const PRIVILEGED: u32 = 1;
    /// A real `kernel_siginfo`.
    pub const REAL: u32 = 2;
}

/// How the target stood towards the signal when it was sent.
pub mod disposition {
    /// `SIG_DFL`
    pub const DEFAULT: u32 = 0;
    /// `SIG_IGN`
    pub const IGNORE: u32 = 1;
    /// A handler of its own.
    pub const HANDLER: u32 = 2;
    /// Could not be read.
    pub const UNKNOWN: u32 = 3;
}

/// Bits of the `flags` of every record that has some, and of the value of the target map.
pub mod flag {
    /// The task (a signal's receiver) is one of the targets.
    pub const TARGET: u32 = 1 << 0;
    /// Children of this target become targets.
    pub const FOLLOW: u32 = 1 << 1;
    /// Not a target: watched since its fate can explain a target's.
    pub const WITNESS: u32 = 1 << 2;
    /// The kernel had already condemned the whole group with this very signal
    /// (`SIGNAL_GROUP_EXIT` and `group_exit_code == sig`).
    pub const FATAL: u32 = 1 << 3;
    /// The signal was blocked by the receiving thread, or the thread was waiting for it (sigwait(3)).
    pub const BLOCKED: u32 = 1 << 4;
    /// The target was being ptraced.
    pub const PTRACED: u32 = 1 << 5;
    /// A kernel stack follows (`stack_len` is not 0).
    pub const STACK: u32 = 1 << 6;
    /// The signal went to the process, not to one thread (`group` argument).
    pub const GROUP: u32 = 1 << 7;
    /// The syscall number is that of a 32-bit (compat) caller.
    pub const COMPAT: u32 = 1 << 8;
    /// The last thread of the process is gone: the process has ended.
    pub const GROUP_DEAD: u32 = 1 << 9;
    /// The status was read from `signal->group_exit_code`, so it holds for the whole process.
    pub const GROUP_STATUS: u32 = 1 << 10;
    /// More arguments followed than fitted.
    pub const TRUNCATED: u32 = 1 << 11;
    /// A name of the target list matched at this exec.
    pub const NAME_MATCHED: u32 = 1 << 12;
    /// `signal->flags & SIGNAL_UNKILLABLE`: init of a pid namespace.
    pub const UNKILLABLE: u32 = 1 << 13;
    /// `task->seccomp.mode` was 1 (strict).
    pub const SECCOMP_STRICT: u32 = 1 << 14;
    /// The cgroup was removed rather than made.
    pub const REMOVED: u32 = 1 << 15;
    /// `task->seccomp.mode` was 3 (`SECCOMP_MODE_DEAD`, 5.17 and later): seccomp itself ended the task.
    pub const SECCOMP_DEAD: u32 = 1 << 20;
    /// `task->seccomp.mode` was 2 (filter).
    pub const SECCOMP_FILTER: u32 = 1 << 16;
    /// A target only since it inherited a matching name at fork: no longer one when it executes
    /// something of another name.
    pub const INHERITED_NAME: u32 = 1 << 17;
}

/// A signal was generated (`signal_generate`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SignalRecord {
    /// Kind [`kind::SIGNAL`].
    pub header: Header,
    /// Those like the record before on this CPU that were only counted: [`Repeats::counted`] by now.
    pub counted: u64,
    /// [`Repeats::counted_ns`] by now.
    pub counted_ns: u64,
    /// Signal number.
    pub signal: u32,
    /// `TRACE_SIGNAL_*`: 0 delivered, 1 ignored, 2 already pending, 3 overflow (lost), 4 info lost.
    pub result: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// One of [`info`].
    pub info: u32,
    /// `si_code`; meaningful where `info` is [`info::REAL`].
    pub si_code: i32,
    /// `si_errno`
    pub si_errno: i32,
    /// First 16 bytes of `_sifields`: `si_pid` and `si_uid`, or `si_addr`, as `si_code` says.
    pub si_fields: [u64; 2],
    /// One of [`disposition`].
    pub disposition: u32,
    /// System call that the sender is in; -1 where none (interrupt, exception, kernel thread).
    pub syscall: i32,
    /// Its first three arguments.
    pub syscall_args: [u64; 3],
    /// Where a write to a cgroup file was under way: that cgroup's id; else 0.
    pub written_cgroup: u64,
    /// `target->pdeath_signal`
    pub pdeath_signal: u32,
    /// Frames in `stack`.
    pub stack_len: u32,
    /// `current`: who sent it, where somebody did.
    pub sender: Task,
    /// Who it was sent to.
    pub target: Task,
    /// The sender's parents, nearest first, as they were at most a millisecond before.
    pub ancestors: [Ancestor; MAX_ANCESTORS],
    /// Controlling terminal of the target (`pts/0` as `tty_struct.name`, e.g. `pts0`); empty where none.
    pub tty: [u8; TTY_LEN],
    /// Kernel return addresses, innermost first.
    pub stack: [u64; MAX_STACK],
    /// For a fault of the target's own: its instruction pointer; else 0.
    pub user_ip: u64,
    /// Its stack pointer then; else 0.
    pub user_sp: u64,
    /// For the signals that tell of limits: the target's `RLIMIT_CPU` or `RLIMIT_FSIZE`, and its
    /// `RLIMIT_RTTIME`; soft or hard as the signal says. Else `RLIM_INFINITY`.
    pub limits: [u64; 2],
    /// Bytes of `args` that are used.
    pub args_len: u32,
    /// Always 0.
    pub reserved: u32,
    /// The sender's arguments, each ended by a zero byte; the first of them, where they do not fit.
    pub args: [u8; SENDER_ARGS_LEN],
}

/// A process ended: its last thread did, as far as that thread could see (`sched_process_exit`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExitRecord {
    /// Kind [`kind::EXIT`].
    pub header: Header,
    /// As `wait(2)` would report it: signal in bits 0 to 6, core dumped in bit 7, exit code in bits 8 to 15.
    pub status: u32,
    /// `task->exit_code` of the thread itself, same layout.
    pub thread_status: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// `PTRACE` tracer's process id in the tracer's pid namespace; 0 where none.
    pub ptracer: u32,
    /// Signals still waiting for the process: bit `n - 1` for signal `n`. It never took them.
    pub pending: u64,
    /// The task that ended.
    pub task: Task,
    /// Its parents, nearest first.
    pub ancestors: [Ancestor; MAX_ANCESTORS],
}

/// A program was executed (`sched_process_exec`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecRecord {
    /// Kind [`kind::EXEC`].
    pub header: Header,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Bytes of `args` that are used.
    pub args_len: u32,
    /// The task, with its new `comm`.
    pub task: Task,
    /// Its parents, nearest first.
    pub ancestors: [Ancestor; MAX_ANCESTORS],
    /// `bprm->filename`, zero-terminated unless it fills the array.
    pub filename: [u8; PATH_LEN],
    /// The arguments, each ended by a zero byte.
    pub args: [u8; ARGS_LEN],
}

/// A target that is followed made a child (`sched_process_fork`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ForkRecord {
    /// Kind [`kind::FORK`].
    pub header: Header,
    /// Bits of [`flag`], those of the child.
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
    /// The new process.
    pub child: Task,
    /// Its parent.
    pub parent: Ancestor,
}

/// The OOM killer chose a victim (`mark_victim`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OomRecord {
    /// Kind [`kind::OOM`].
    pub header: Header,
    /// Thread id of the victim in the initial pid namespace.
    pub victim_global_tid: u32,
    /// Always 0.
    pub reserved: u32,
    /// `current`: whose allocation triggered it. Not the killer.
    pub trigger: Task,
}

/// A TCP connection changed state (`inet_sock_set_state`), on a watched local port.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TcpRecord {
    /// Kind [`kind::TCP`].
    pub header: Header,
    /// 2 for IPv4, 10 for IPv6.
    pub family: u32,
    /// `TCP_*` state before.
    pub old_state: u32,
    /// `TCP_*` state after.
    pub new_state: u32,
    /// `sk->sk_err`: errno behind the change, 0 where none.
    pub error: u32,
    /// Local port, host order.
    pub local_port: u32,
    /// Remote port, host order.
    pub remote_port: u32,
    /// Local address, network order; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Remote address, likewise.
    pub remote: [u8; 16],
    /// `current`; unrelated to the connection where the change came from the network.
    pub task: Task,
}

/// A cgroup2 directory was made or removed (`cgroup_mkdir`, `cgroup_rmdir`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupRecord {
    /// Kind [`kind::CGROUP`].
    pub header: Header,
    /// [`flag::REMOVED`], [`flag::TARGET`] or 0.
    pub flags: u32,
    /// Depth below the root.
    pub level: u32,
    /// The cgroup's id.
    pub id: u64,
    /// Its parent's id.
    pub parent_id: u64,
    /// Its own name, the last component of its path.
    pub name: [u8; CGROUP_NAME_LEN],
}

/// A process gave itself a name that makes it a target (`task_rename`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RenameRecord {
    /// Kind [`kind::RENAME`].
    pub header: Header,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
    /// The process, with its old `comm`.
    pub task: Task,
    /// Its new name.
    pub name: [u8; COMM_LEN],
}

/// What a process that faulted has mapped where it faulted: follows the signal's record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MappingRecord {
    /// Kind [`kind::MAPPING`].
    pub header: Header,
    /// Process id in the tracer's pid namespace.
    pub pid: u32,
    /// Always 0.
    pub reserved: u32,
    /// `group_leader->start_boottime` in nanoseconds.
    pub start_ns: u64,
    /// `mm_struct.start_brk`
    pub heap_start: u64,
    /// `mm_struct.brk`
    pub heap_end: u64,
    /// `mm_struct.start_stack`
    pub stack_start: u64,
    /// Where the code was, and what it touched.
    pub places: [Place; 2],
}

/// What a process has mapped at an address.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The address; 0 where it is unknown.
    pub address: u64,
    /// First address of the mapping, and the one behind its last. Nothing is mapped where the address is not
    /// between them.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// `vm_area_struct.vm_flags`
    pub flags: u64,
    /// Where in the file the mapping begins, in pages.
    pub page_offset: u64,
    /// Bytes of the file now.
    pub file_size: u64,
    /// Hard links of the file: 0 where it has been deleted.
    pub links: u32,
    /// 1: a file is mapped.
    pub is_file: u32,
    /// 1: the path reaches the root of the process's mount namespace.
    pub is_whole: u32,
    /// Always 0.
    pub reserved: u32,
    /// Components of the file's path, the file's own name first, each zero-terminated; the tops of mounts, called
    /// `/`, and empty ones are none.
    pub path: [[u8; COMPONENT_LEN]; PATH_DEPTH],
}

/// [`ConnectRecord::owner`] of what belongs to the whole system: no user has this id.
pub const OF_SYSTEM: u32 = u32::MAX;

/// Values of [`ConnectRecord::listener`].
pub mod listener {
    /// A service manager, at its private socket.
    pub const MANAGER: u32 = 0;
    /// Docker's daemon.
    pub const DOCKER: u32 = 1;
    /// Podman's service, which speaks as Docker's daemon does, too.
    pub const PODMAN: u32 = 2;
    /// containerd.
    pub const CONTAINERD: u32 = 3;
}

/// A process connected to the socket of what ends processes when it is asked to (`security_unix_stream_connect`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ConnectRecord {
    /// Kind [`kind::CONNECT`].
    pub header: Header,
    /// Whose it is that listens: a user id, or [`OF_SYSTEM`].
    pub owner: u32,
    /// What it is: see [`listener`].
    pub listener: u32,
    /// Who connected.
    pub task: Task,
    /// Its parents, nearest first.
    pub ancestors: [Ancestor; MAX_ANCESTORS],
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 80);
    assert!(size_of::<Ancestor>() == 32);
    assert!(size_of::<SignalRecord>() == 112 + 8 + 2 * 80 + 8 * 32 + 64 + 24 * 8 + 32 + 8 + 256);
    assert!(size_of::<ExitRecord>() == 40 + 80 + 8 * 32);
    assert!(size_of::<ExecRecord>() == 24 + 80 + 8 * 32 + 256 + 1024);
    assert!(size_of::<ForkRecord>() == 24 + 80 + 32);
    assert!(size_of::<OomRecord>() == 24 + 80);
    assert!(size_of::<TcpRecord>() == 40 + 32 + 80);
    assert!(size_of::<CgroupRecord>() == 40 + 256);
    assert!(size_of::<RenameRecord>() == 24 + 80 + 16);
    assert!(size_of::<ConnectRecord>() == 24 + 80 + 8 * 32);
    assert!(size_of::<Place>() == 6 * 8 + 16 + 12 * 64);
    assert!(size_of::<MappingRecord>() == 24 + 4 * 8 + 2 * (64 + 12 * 64));
};
