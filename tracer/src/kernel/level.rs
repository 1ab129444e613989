//! How deep this process's pid namespace is below the initial one.
//!
//! No file tells: `/proc` speaks of the namespaces from its own mount inwards, and ioctls do not lead out
//! of it. The kernel knows (`pid->level`), so a program of a dozen instructions looks it up, run once on
//! this very task by `BPF_PROG_TEST_RUN` (raw tracepoints: 5.10 and later).

use std::io;
use std::os::fd::AsFd as _;

use aya_obj::generated::{
    BPF_ALU64, BPF_CALL, BPF_DW, BPF_EXIT, BPF_JMP, BPF_K, BPF_LDX, BPF_MEM, BPF_MOV, BPF_W, BPF_X,
    bpf_insn,
};
use killtrace_ebpf::Offsets;

use super::bpf;

const GET_CURRENT_TASK: i32 = 35;
const PROBE_READ_KERNEL: i32 = 113;

/// The level of this process's pid namespace: 0 for the initial one.
///
/// # Errors
/// The kernel's, where it refuses the program.
pub fn level(offsets: &Offsets) -> io::Result<u32> {
    let code = program(offsets.task_thread_pid, offsets.pid_level)?;
    let program = bpf::load_program("killtrace_level", c"GPL", &code).map_err(|no| no.error)?;
    bpf::test_run(program.as_fd())
}

/// `current->thread_pid->level`
fn program(thread_pid: u32, level: u32) -> io::Result<Vec<bpf_insn>> {
    let offset = |offset: u32| i32::try_from(offset).map_err(io::Error::other);
    let mut code = vec![call(GET_CURRENT_TASK), copy(3, 0)];
    code.extend(read(8, offset(thread_pid)?));
    code.push(load(BPF_DW, 3, -8));
    code.extend(read(4, offset(level)?));
    code.extend([load(BPF_W, 0, -8), insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)]);
    Ok(code)
}

/// Copies `size` bytes at register 3 plus an offset to the stack, where it is 8 bytes deep.
fn read(size: i32, offset: i32) -> [bpf_insn; 5] {
    [
        insn(BPF_ALU64 | BPF_K, 3, 0, 0, offset),
        copy(1, 10),
        insn(BPF_ALU64 | BPF_K, 1, 0, 0, -8),
        insn(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, size),
        call(PROBE_READ_KERNEL),
    ]
}

fn call(helper: i32) -> bpf_insn {
    insn(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
}

fn copy(to: u8, from: u8) -> bpf_insn {
    insn(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0)
}

/// Loads from the stack.
fn load(size: u32, to: u8, depth: i16) -> bpf_insn {
    insn(BPF_LDX | BPF_MEM | size, to, 10, depth, 0)
}

fn insn(code: u32, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        // Operation codes are bytes; the constants are wider than they.
        code: code.to_le_bytes()[0],
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(to, from),
        off,
        imm,
    }
}
