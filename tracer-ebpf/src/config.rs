//! What userspace tells the programs before they are loaded: where fields are, and what to look for.
//!
//! Both structures live in the object's read-only data, which is frozen before the programs are
//! loaded: the verifier knows every value and removes the code of what is switched off.

/// An [`Offsets`] entry for a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Declares [`Offsets`] and the list of its fields' names, in order.
macro_rules! offsets {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// Byte offsets of kernel structure fields, from the running kernel's BTF.
        ///
        /// [`ABSENT`] where the kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets {
            $($(#[$meta])* pub $name: u32,)*
        }

        impl Offsets {
            /// Names of the fields, in the order in which they lie in memory.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Every field absent.
            pub const ABSENT: Self = Self { $($name: ABSENT),* };

            /// Sets the field of that name; false where there is none.
            pub fn set(&mut self, name: &str, value: u32) -> bool {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return false,
                }
                true
            }

            /// The value of the field of that name.
            pub fn get(&self, name: &str) -> Option<u32> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

offsets! {
    /// `task_struct.tgid`
    task_tgid,
    /// `task_struct.pid`
    task_pid,
    /// `task_struct.real_parent`
    task_real_parent,
    /// `task_struct.parent`
    task_parent,
    /// `task_struct.group_leader`
    task_group_leader,
    /// `task_struct.comm`
    task_comm,
    /// `task_struct.start_boottime`
    task_start_boottime,
    /// `task_struct.exit_code`
    task_exit_code,
    /// `task_struct.pdeath_signal`
    task_pdeath_signal,
    /// `task_struct.real_cred`
    task_real_cred,
    /// `task_struct.signal`
    task_signal,
    /// `task_struct.sighand`
    task_sighand,
    /// `task_struct.thread_pid`
    task_thread_pid,
    /// `task_struct.cgroups`
    task_cgroups,
    /// `task_struct.mm`
    task_mm,
    /// `task_struct.flags`
    task_flags,
    /// `task_struct.ptrace`
    task_ptrace,
    /// `task_struct.stack`
    task_stack,
    /// `task_struct.files`
    task_files,
    /// `task_struct.blocked`
    task_blocked,
    /// `task_struct.real_blocked`: what is blocked but for a sigwait(3) under way
    task_real_blocked,
    /// `task_struct.pending`
    task_pending,
    /// `task_struct.sessionid`; needs `CONFIG_AUDIT`
    task_sessionid,
    /// `task_struct.loginuid`; needs `CONFIG_AUDIT`
    task_loginuid,
    /// `task_struct.seccomp`, whose first member is the mode; needs `CONFIG_SECCOMP`
    task_seccomp,
    /// `thread_info.status` inside of `task_struct`; x86 only
    task_ti_status,
    /// `signal_struct.live`
    signal_live,
    /// `signal_struct.flags`
    signal_flags,
    /// `signal_struct.group_exit_code`
    signal_group_exit_code,
    /// `signal_struct.shared_pending`
    signal_shared_pending,
    /// `sigpending.signal`
    sigpending_signal,
    /// `signal_struct.tty`
    signal_tty,
    /// `signal_struct.rlim`
    signal_rlim,
    /// `sighand_struct.action`
    sighand_action,
    /// Size of `k_sigaction`, whose first member is the handler
    k_sigaction_size,
    /// `tty_struct.name`
    tty_name,
    /// `cred.uid`
    cred_uid,
    /// `cred.euid`
    cred_euid,
    /// `css_set.dfl_cgrp`
    css_set_dfl_cgrp,
    /// `cgroup.kn`
    cgroup_kn,
    /// `cgroup.root`
    cgroup_root,
    /// `cgroup.level`
    cgroup_level,
    /// `cgroup_root.hierarchy_id`
    cgroup_root_hierarchy_id,
    /// `kernfs_node.id`
    kernfs_id,
    /// `kernfs_node.name`
    kernfs_name,
    /// `kernfs_node.parent`, since 6.15 `__parent`
    kernfs_parent,
    /// `pid.level`
    pid_level,
    /// `pid.numbers`
    pid_numbers,
    /// `upid.ns`; `upid.nr` is the first member
    upid_ns,
    /// Size of `upid`
    upid_size,
    /// `pid_namespace.ns.inum`
    pid_namespace_inum,
    /// `mm_struct.arg_start`
    mm_arg_start,
    /// `mm_struct.arg_end`
    mm_arg_end,
    /// `mm_struct.start_brk`
    mm_start_brk,
    /// `mm_struct.brk`
    mm_brk,
    /// `mm_struct.start_stack`
    mm_start_stack,
    /// `mm_struct.mm_mt.ma_root`: the tree of mappings, 6.1 and later
    mm_maple_root,
    /// `mm_struct.mm_rb`: the tree of mappings, before 6.1
    mm_rb_root,
    /// `maple_range_64.pivot`
    range_pivots,
    /// `maple_range_64.slot`
    range_slots,
    /// `maple_arange_64.pivot`
    arange_pivots,
    /// `maple_arange_64.slot`
    arange_slots,
    /// `rb_node.rb_left`
    rb_left,
    /// `rb_node.rb_right`
    rb_right,
    /// `vm_area_struct.vm_start`
    vma_start,
    /// `vm_area_struct.vm_end`
    vma_end,
    /// `vm_area_struct.vm_flags`
    vma_flags,
    /// `vm_area_struct.vm_pgoff`
    vma_pgoff,
    /// `vm_area_struct.vm_file`
    vma_file,
    /// `vm_area_struct.vm_rb`, before 6.1
    vma_rb,
    /// `linux_binprm.file`
    bprm_file,
    /// `linux_binprm.filename`
    bprm_filename,
    /// `file.f_path.dentry`
    file_dentry,
    /// `file.f_path.mnt`
    file_mount,
    /// `mount.mnt`
    mount_mnt,
    /// `mount.mnt.mnt_root`: its address is relative to that of the whole
    mount_root,
    /// `mount.mnt_parent`
    mount_parent,
    /// `mount.mnt_mountpoint`
    mount_point,
    /// `mount.mnt.mnt_sb`
    mount_sb,
    /// `backing_file.user_path.dentry`, since 6.8
    backing_dentry,
    /// `backing_file.user_path.mnt`
    backing_mount,
    /// `dentry.d_name.name`
    dentry_name,
    /// `dentry.d_parent`
    dentry_parent,
    /// `dentry.d_inode`
    dentry_inode,
    /// `dentry.d_sb`
    dentry_sb,
    /// `inode.i_size`
    inode_size,
    /// `inode.i_nlink`
    inode_links,
    /// `inode.i_private`
    inode_private,
    /// `super_block.s_magic`
    super_block_magic,
    /// `files_struct.fdt`
    files_fdt,
    /// `fdtable.fd`
    fdtable_fd,
    /// `fdtable.max_fds`
    fdtable_max_fds,
    /// `sock_common.skc_family`
    sock_family,
    /// `inet_sock.inet_sport`, the local port in network order. `skc_num` is already 0 when a connection
    /// is closed at once.
    sock_local_port,
    /// `sock_common.skc_dport`, the remote port in network order
    sock_remote_port,
    /// `sock_common.skc_rcv_saddr`
    sock_local_v4,
    /// `sock_common.skc_daddr`
    sock_remote_v4,
    /// `sock_common.skc_v6_rcv_saddr`; needs `CONFIG_IPV6`
    sock_local_v6,
    /// `sock_common.skc_v6_daddr`; needs `CONFIG_IPV6`
    sock_remote_v6,
    /// `sock.sk_err`
    sock_err,
    /// `sock.sk_protocol`
    sock_protocol,
    /// `sock.sk_peer_pid`: of a socket that is listened at, who began to listen
    sock_peer_pid,
    /// `sock.sk_peer_cred`, likewise
    sock_peer_cred,
    /// `unix_sock.addr`
    unix_addr,
    /// `unix_address.name`
    unix_address_name,
    /// `sockaddr_un.sun_path`
    sockaddr_path,
    /// Size of `pt_regs`
    regs_size,
    /// x86: `pt_regs.orig_ax`; arm64: `pt_regs.syscallno`
    regs_syscall,
    /// x86: `pt_regs.di`; arm64: `pt_regs.orig_x0`
    regs_arg0,
    /// x86: `pt_regs.si`; arm64: `pt_regs.regs[1]`
    regs_arg1,
    /// x86: `pt_regs.dx`; arm64: `pt_regs.regs[2]`
    regs_arg2,
    /// x86: `pt_regs.ip`; arm64: `pt_regs.pc`
    regs_ip,
    /// `pt_regs.sp`
    regs_sp,
    /// x86: `pt_regs.cs`; arm64: `pt_regs.pstate`
    regs_mode,
}

/// Architectures whose registers the programs can read.
pub mod arch {
    /// None of the below: the system call of a sender stays unknown.
    pub const OTHER: u32 = 0;
    /// x86-64
    pub const X86_64: u32 = 1;
    /// arm64
    pub const ARM64: u32 = 2;
}

/// Numbers of the system calls that the programs tell apart; -1 where the architecture has none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the system calls'")]
pub struct SyscallNumbers {
    pub kill: i32,
    pub tkill: i32,
    pub tgkill: i32,
    pub rt_sigqueueinfo: i32,
    pub rt_tgsigqueueinfo: i32,
    pub pidfd_send_signal: i32,
    pub write: i32,
    pub pwrite64: i32,
    pub writev: i32,
    pub pwritev: i32,
    pub pwritev2: i32,
    pub sendfile: i32,
    pub splice: i32,
    pub execve: i32,
    pub execveat: i32,
    /// Always 0.
    pub reserved: i32,
}

impl SyscallNumbers {
    /// No system call is known.
    pub const NONE: Self = Self {
        kill: -1,
        tkill: -1,
        tgkill: -1,
        rt_sigqueueinfo: -1,
        rt_tgsigqueueinfo: -1,
        pidfd_send_signal: -1,
        write: -1,
        pwrite64: -1,
        writev: -1,
        pwritev: -1,
        pwritev2: -1,
        sendfile: -1,
        splice: -1,
        execve: -1,
        execveat: -1,
        reserved: 0,
    };
}

/// What does not change while a trace runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Signals that no record is made of: bit `n - 1` for signal `n`.
    pub muted: u64,
    /// Inode number of the tracer's pid namespace.
    pub pid_namespace: u32,
    /// How deep it is nested: 0 is the initial one, where pids need no translation.
    pub pid_namespace_level: u32,
    /// 1: children of targets matched by name become targets.
    pub follow: u32,
    /// 1: `sched_process_exit` has the argument `group_dead` (6.16 and later).
    pub exit_has_group_dead: u32,
    /// 1: `mark_victim` has the task as its first argument (6.8, and stable kernels), else the pid.
    pub victim_is_task: u32,
    /// 1: the helper `bpf_task_pt_regs` exists (5.15 and later).
    pub has_task_pt_regs: u32,
    /// One of [`arch`].
    pub arch: u32,
    /// Bytes of a kernel stack, where the registers have to be found without the helper.
    pub thread_size: u32,
    /// The tracer's own process id.
    pub tracer: u32,
    /// Always 0.
    pub reserved: u32,
    /// System call numbers of this architecture.
    pub syscalls: SyscallNumbers,
}

impl Config {
    /// Nothing switched on.
    pub const NONE: Self = Self {
        muted: 0,
        pid_namespace: 0,
        pid_namespace_level: 0,
        follow: 0,
        exit_has_group_dead: 0,
        victim_is_task: 0,
        has_task_pt_regs: 0,
        arch: arch::OTHER,
        thread_size: 0,
        tracer: 0,
        reserved: 0,
        syscalls: SyscallNumbers::NONE,
    };
}

/// Bits of [`Switches::modes`], which userspace may change while a trace runs.
pub mod mode {
    /// Every process is a target.
    pub const ALL: u32 = 1 << 0;
    /// The map of names has entries.
    pub const NAMES: u32 = 1 << 1;
    /// The map of cgroups has entries.
    pub const CGROUPS: u32 = 1 << 2;
    /// The map of users has entries.
    pub const USERS: u32 = 1 << 3;
    /// The map of TCP ports has entries.
    pub const PORTS: u32 = 1 << 4;
    /// The reader sleeps: the next record wakes it up. See [`Switches::woken`](crate::Switches::woken).
    pub const ASLEEP: u32 = 1 << 5;
}

/// What is switched while the programs run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Bits of [`mode`].
    pub modes: u32,
    /// A program has woken the sleeping reader: until it is asleep anew, no other need do so. Cleared by userspace
    /// with every change of the modes.
    pub woken: u32,
}

const _: () = assert!(size_of::<Switches>() == 8);

/// Indices of the per-CPU loss counters: records of a [`kind`](crate::kind) that found the ring buffer full are counted
/// at the kind's number.
pub mod loss {
    /// Targets that could not be remembered since the map of them was full.
    pub const TARGETS_FULL: usize = 0;
    /// How many counters there are.
    pub const COUNT: usize = 16;
}

const _: () = {
    assert!(size_of::<Offsets>() == 4 * Offsets::NAMES.len());
    assert!(size_of::<SyscallNumbers>() == 64);
    assert!(size_of::<Config>() == 112);
};
