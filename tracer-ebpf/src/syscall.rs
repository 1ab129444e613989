//! The system call that the current task is in, and what it writes to.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use killtrace_ebpf::{SignalRecord, arch, flag};

use crate::{
    globals::{config, offset, present},
    memory::{self, Address},
    task::{PF_IO_WORKER, PF_KTHREAD, PF_USER_WORKER},
};

/// `CGROUP2_SUPER_MAGIC`
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// x86: code segment of 64-bit user code (`__USER_CS`).
const USER_CS: u32 = 0x33;
/// x86: code segment of 32-bit user code (`__USER32_CS`).
const USER32_CS: u32 = 0x23;
/// x86: `thread_info.status`, entered by a 32-bit system call.
const TS_COMPAT: u32 = 2;
/// x86: marks the x32 variant of a 64-bit system call.
const X32_BIT: i32 = 0x4000_0000;
/// arm64: `pstate` of 32-bit code.
const PSR_MODE32: u32 = 0x10;

/// A system call under way.
#[derive(Clone, Copy)]
pub struct Syscall {
    /// Its number; -1 where the task is in none.
    pub number: i32,
    /// It is one of the 32-bit table.
    pub compat: bool,
    /// Its first three arguments.
    pub args: [u64; 3],
    /// The caller's instruction pointer, also where it is in no system call; 0 where unknown.
    pub ip: u64,
    /// The caller's stack pointer, likewise.
    pub sp: u64,
}

impl Syscall {
    /// No system call.
    pub const NONE: Self = Self { number: -1, compat: false, args: [0; 3], ip: 0, sp: 0 };

    /// The system call of the current task.
    ///
    /// Kernel threads have no registers to speak of (they read as system call 0), and io_uring's
    /// workers carry a stale copy of their maker's.
    #[inline(always)]
    pub fn current(current: Address, flags: u32) -> Self {
        if config!(arch) == arch::OTHER || flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER) != 0
        {
            return Self::NONE;
        }
        let registers = registers(current);
        if registers.is_null() {
            return Self::NONE;
        }
        let Entry { mut number, mode, ip, sp, args } = Entry::read(registers);
        if number < 0 {
            return Self { ip, sp, ..Self::NONE };
        }
        let compat = if config!(arch) == arch::X86_64 {
            number &= !X32_BIT;
            mode & 0xffff == USER32_CS
                || present!(task_ti_status)
                    && current.load::<u32>(offset!(task_ti_status)) & TS_COMPAT != 0
        } else {
            mode & PSR_MODE32 != 0
        };
        Self { number, compat, args, ip, sp }
    }
}

/// The registers that matter.
#[derive(Clone, Copy)]
struct Entry {
    number: i32,
    mode: u32,
    ip: u64,
    sp: u64,
    args: [u64; 3],
}

impl Entry {
    /// x86-64 has them one behind the other: dx, si, di, the system call, ip, cs, flags and sp.
    #[inline(always)]
    fn read(registers: Address) -> Self {
        let first = offset!(regs_arg2);
        let behind = |offset: u32| offset.wrapping_sub(first);
        if behind(offset!(regs_arg1)) == 8
            && behind(offset!(regs_arg0)) == 16
            && behind(offset!(regs_syscall)) == 24
            && behind(offset!(regs_ip)) == 32
            && behind(offset!(regs_mode)) == 40
            && behind(offset!(regs_sp)) == 56
        {
            let [third, second, first, number, ip, mode, _, sp]: [u64; 8] = registers.load(first);
            let args = [first, second, third];
            return Self { number: number as i32, mode: mode as u32, ip, sp, args };
        }
        Self {
            number: registers.load(offset!(regs_syscall)),
            mode: registers.load(offset!(regs_mode)),
            ip: registers.load(offset!(regs_ip)),
            sp: registers.load(offset!(regs_sp)),
            args: [
                registers.load(offset!(regs_arg0)),
                registers.load(offset!(regs_arg1)),
                registers.load(offset!(regs_arg2)),
            ],
        }
    }
}

/// Whether the current task is executing a program.
#[inline(always)]
pub fn is_exec(current: Address) -> bool {
    let syscall = Syscall::current(current, current.load(offset!(task_flags)));
    syscall.number >= 0
        && !syscall.compat
        && (syscall.number == config!(syscalls.execve)
            || syscall.number == config!(syscalls.execveat))
}

/// The recorded system call's number; -1 where there is none, or where it is one of the 32-bit table,
/// whose numbers mean something else.
#[inline(always)]
fn native_number(record: &SignalRecord) -> i32 {
    if memory::reload(&record.flags) & flag::COMPAT != 0 {
        return -1;
    }
    memory::reload(&record.syscall)
}

/// Whether the recorded system call is one by which a process sends signals.
#[inline(always)]
pub fn sends_signals(record: &SignalRecord) -> bool {
    let number = native_number(record);
    number >= 0
        && (number == config!(syscalls.kill)
            || number == config!(syscalls.tgkill)
            || number == config!(syscalls.tkill)
            || number == config!(syscalls.rt_sigqueueinfo)
            || number == config!(syscalls.rt_tgsigqueueinfo)
            || number == config!(syscalls.pidfd_send_signal))
}

/// The file descriptor that the recorded system call writes to; -1 where it is no write.
#[inline(always)]
fn written_fd(record: &SignalRecord) -> i32 {
    let number = native_number(record);
    if number < 0 {
        -1
    } else if number == config!(syscalls.write)
        || number == config!(syscalls.pwrite64)
        || number == config!(syscalls.writev)
        || number == config!(syscalls.pwritev)
        || number == config!(syscalls.pwritev2)
        || number == config!(syscalls.sendfile)
    {
        record.syscall_args[0] as i32
    } else if number == config!(syscalls.splice) {
        record.syscall_args[2] as i32
    } else {
        -1
    }
}

/// Id of the cgroup whose `cgroup.kill` the recorded system call writes to; 0 where it does not.
#[inline(always)]
pub fn killed_cgroup(record: &SignalRecord, current: Address) -> u64 {
    let fd = written_fd(record);
    let table = current.follow(offset!(task_files)).follow(offset!(files_fdt));
    if !present!(files_fdt) || fd < 0 || fd as u32 >= table.load::<u32>(offset!(fdtable_max_fds)) {
        return 0;
    }
    let files = table.follow(offset!(fdtable_fd));
    let file = files.follow((fd as u32).wrapping_mul(8));
    let entry = file.follow(offset!(file_dentry));
    if !is_cgroup_kill(entry) {
        return 0;
    }
    let inode = entry.follow(offset!(dentry_parent)).follow(offset!(dentry_inode));
    inode.follow(offset!(inode_private)).load(offset!(kernfs_id))
}

/// Whether a directory entry is `cgroup.kill` of a cgroup2 mount.
#[inline(always)]
fn is_cgroup_kill(entry: Address) -> bool {
    let name: [u8; 12] = entry.follow(offset!(dentry_name)).load(0);
    let [a, b, c, d, e, f, g, h, i, j, k, l] = name;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) == u64::from_le_bytes(*b"cgroup.k")
        && u32::from_le_bytes([i, j, k, l]) == u32::from_le_bytes(*b"ill\0")
        && entry.follow(offset!(dentry_sb)).load::<u64>(offset!(super_block_magic)) == CGROUP2_MAGIC
}

/// Where the registers are with which the current task entered the kernel; null where unknown.
#[inline(always)]
fn registers(current: Address) -> Address {
    if config!(has_task_pt_regs) == 1 {
        // SAFETY: the helper takes no arguments; 5.11 and later have it, as has the next one's kernel.
        let task = unsafe { bpf_get_current_task_btf() };
        // SAFETY: the current task, as the helper asks for.
        return Address(unsafe { bpf_task_pt_regs(task) } as u64);
    }
    // They lie at the top of the stack, below what is left free there: 16 bytes with
    // `CONFIG_X86_FRED` (6.9 and later).
    let top =
        current.load::<u64>(offset!(task_stack)).wrapping_add(u64::from(config!(thread_size)));
    let registers = Address(top.wrapping_sub(u64::from(offset!(regs_size))));
    if config!(arch) != arch::X86_64 || from_user(registers) {
        return registers;
    }
    let padded = Address(registers.0.wrapping_sub(16));
    if from_user(padded) { padded } else { Address(0) }
}

/// x86: whether these are registers of user code.
#[inline(always)]
fn from_user(registers: Address) -> bool {
    let segment = registers.load::<u32>(offset!(regs_mode)) & 0xffff;
    segment == USER_CS || segment == USER32_CS
}
