//! What the kernel has on this very thread, read at the offsets that tracing will use.
//!
//! A process inside of a pid namespace is not told how deep that is nested; and type information of another
//! kernel would lead the programs astray without a word. A program of some dozen instructions, run once
//! without being attached to anything, reads in the kernel what is known here by other means.

use std::{fs, io, os::fd::AsFd as _};

use aya_obj::generated::{bpf_func_id, bpf_insn};
use killtrace_ebpf::Offsets;

use super::bpf;
use crate::clock;
use crate::evidence::TICK_NS;

/// Deepest nesting of pid namespaces (`MAX_PID_NS_LEVEL`).
const MAX_LEVEL: u32 = 32;
/// Where the program keeps what it reads, from its frame pointer.
const SLOT: i16 = -8;

/// Opcodes: class, size or operation, and where the operand comes from (`include/uapi/linux/bpf.h`).
mod op {
    /// `dst = imm`
    pub const MOVE: u8 = 0xb7;
    /// `dst = src`
    pub const MOVE_REGISTER: u8 = 0xbf;
    /// `dst += imm`
    pub const ADD: u8 = 0x07;
    /// `dst >>= imm`
    pub const SHIFT_RIGHT: u8 = 0x77;
    /// `dst = *(u64 *)(src + off)`
    pub const LOAD_64: u8 = 0x79;
    /// `*(u64 *)(dst + off) = src`
    pub const STORE_64: u8 = 0x7b;
    /// `dst = *(u32 *)(src + off)`
    pub const LOAD_32: u8 = 0x61;
    /// Calls a helper.
    pub const CALL: u8 = 0x85;
    /// Ends the program with what is in register 0.
    pub const EXIT: u8 = 0x95;
}

/// The level of this process's pid namespace; 0 is the initial one.
///
/// # Errors
/// The kernel's.
pub fn level(offsets: &Offsets) -> io::Result<u32> {
    let level = read(&[(offsets.task_thread_pid, 8), (offsets.pid_level, 4)])?;
    if level <= MAX_LEVEL { Ok(level) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether the kernel has at these offsets what it must have there of this thread. Where it cannot be asked,
/// it will refuse the other programs as well, and say why.
pub fn is_described_by(offsets: &Offsets) -> bool {
    let agrees =
        |chain: &[(u32, i32)], value: u32| read(chain).map_or(true, |found| found == value);
    agrees(&[(offsets.task_comm, 4)], own_name())
        && own_arguments().is_none_or(|address| {
            agrees(&[(offsets.task_mm, 8), (offsets.mm_arg_start, 4)], address)
        })
        && level(offsets).map_or_else(|error| error.kind() != io::ErrorKind::InvalidData, |_| true)
        && is_identified_by(offsets)
}

/// Whether they say who this process is, when it began and who its parent is: by these a target is recognised.
fn is_identified_by(offsets: &Offsets) -> bool {
    let (Ok(own), Ok(found)) = (own_process(), read(&[(offsets.task_tgid, 4)])) else {
        return true;
    };
    // In a pid namespace of its own the parent's number is another one here, or none.
    let has_global_pids = own == std::process::id();
    own == found && (!has_global_pids || knows_parent(offsets)) && knows_start(offsets)
}

/// Whether the parent is there; one that ends meanwhile is replaced.
fn knows_parent(offsets: &Offsets) -> bool {
    let before = std::os::unix::process::parent_id();
    let found = read(&[(offsets.task_real_parent, 8), (offsets.task_tgid, 4)]);
    found.map_or(true, |found| found == before) || before != std::os::unix::process::parent_id()
}

/// Whether this thread began when `/proc` says so, to a hundredth of a second.
fn knows_start(offsets: &Offsets) -> bool {
    let half = |at| read(&[(offsets.task_start_boottime + at, 4)]).map(u64::from);
    let (Some(own), Ok(low), Ok(high)) = (own_start_ns(), half(0), half(4)) else { return true };
    (high << 32 | low).abs_diff(own) < 2 * TICK_NS
}

/// When this thread began, as the kernel counts, nanoseconds (field 22 of `stat`).
fn own_start_ns() -> Option<u64> {
    let stat = fs::read_to_string("/proc/thread-self/stat").ok()?;
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(TICK_NS)?.checked_add_signed(-clock::proc_shift_ns())
}

/// The pid of this process in the initial namespace, which a helper tells without any offset.
fn own_process() -> io::Result<u32> {
    let call = bpf_func_id::BPF_FUNC_get_current_pid_tgid as i32;
    run(&[
        instruction(op::CALL, 0, 0, 0, call),
        instruction(op::SHIFT_RIGHT, 0, 0, 0, 32),
        instruction(op::EXIT, 0, 0, 0, 0),
    ])
}

/// The first four bytes of this thread's name.
fn own_name() -> u32 {
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes at most 16 bytes, the terminating zero among them.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    u32::from_le_bytes([name[0], name[1], name[2], name[3]])
}

/// The low half of the address at which this process's arguments begin (field 48 of `stat`).
fn own_arguments() -> Option<u32> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let address: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(45)?.parse().ok()?;
    u32::try_from(address & 0xffff_ffff).ok()
}

/// Follows pointers from the current task: at each offset so many bytes are read. The last are the result.
fn read(chain: &[(u32, i32)]) -> io::Result<u32> {
    run(&program(chain))
}

/// Runs a program once, on behalf of this thread.
fn run(code: &[bpf_insn]) -> io::Result<u32> {
    let program = bpf::load_program(bpf::Program {
        name: "current",
        license: c"GPL",
        code,
        kind: bpf::Kind::RawTracepoint,
    })
    .map_err(|refused| refused.error)?;
    bpf::run(program.as_fd())
}

/// `return *(u32 *)(*(void **)(current + first) + second);` for two of them.
fn program(chain: &[(u32, i32)]) -> Vec<bpf_insn> {
    let call = |helper: bpf_func_id| instruction(op::CALL, 0, 0, 0, helper as i32);
    let mut code = vec![
        call(bpf_func_id::BPF_FUNC_get_current_task),
        instruction(op::MOVE_REGISTER, 3, 0, 0, 0),
        // The verifier wants the whole slot written before it is read.
        instruction(op::MOVE, 0, 0, 0, 0),
        instruction(op::STORE_64, 10, 0, SLOT, 0),
    ];
    for (offset, size) in chain {
        code.extend([
            instruction(op::ADD, 3, 0, 0, offset.cast_signed()),
            instruction(op::MOVE_REGISTER, 1, 10, 0, 0),
            instruction(op::ADD, 1, 0, 0, i32::from(SLOT)),
            instruction(op::MOVE, 2, 0, 0, *size),
            call(bpf_func_id::BPF_FUNC_probe_read_kernel),
            instruction(op::LOAD_64, 3, 10, SLOT, 0),
        ]);
    }
    code.extend([instruction(op::LOAD_32, 0, 10, SLOT, 0), instruction(op::EXIT, 0, 0, 0, 0)]);
    code
}

fn instruction(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(to, from),
        off,
        imm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_reads_at_the_offsets() {
        let code = program(&[(1234, 8), (4, 4)]);
        let added: Vec<i32> =
            code.iter().filter(|i| i.code == op::ADD && i.dst_reg() == 3).map(|i| i.imm).collect();
        assert_eq!(added, [1234, 4]);
        assert_eq!(code.last().map(|i| i.code), Some(op::EXIT));
    }

    #[test]
    fn this_thread_is_known_here() {
        let name = std::thread::Builder::new().name("abcdefgh".to_owned());
        let name = name.spawn(own_name).expect("a thread").join().expect("its name");
        assert_eq!(name, u32::from_le_bytes(*b"abcd"));
        assert!(own_arguments().is_some_and(|address| address != 0));
        let began = own_start_ns().expect("a start time");
        let now = u64::try_from(clock::boot_ns()).expect("after the boot");
        assert!(began <= now && now - began < 3600 * 1_000_000_000, "{began} {now}");
    }
}
