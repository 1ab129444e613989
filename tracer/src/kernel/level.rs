//! How deep this process's pid namespace is nested.
//!
//! A process inside of a pid namespace is not told. The kernel knows, and a program of a dozen
//! instructions, run once without being attached to anything, reads it there.

use std::{io, os::fd::AsFd as _};

use aya_obj::generated::{bpf_func_id, bpf_insn};
use killtrace_ebpf::Offsets;

use super::bpf;

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
    /// `dst = *(u64 *)(src + off)`
    pub const LOAD_64: u8 = 0x79;
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
pub fn of_this_process(offsets: &Offsets) -> io::Result<u32> {
    let program =
        bpf::load_program("level", c"GPL", &program(offsets)).map_err(|refused| refused.error)?;
    let level = bpf::run(program.as_fd())?;
    if level <= MAX_LEVEL { Ok(level) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// `return current->thread_pid->level;`
fn program(offsets: &Offsets) -> Vec<bpf_insn> {
    let call = |helper: bpf_func_id| instruction(op::CALL, 0, 0, 0, helper as i32);
    let mut code = vec![
        call(bpf_func_id::BPF_FUNC_get_current_task),
        instruction(op::MOVE_REGISTER, 3, 0, 0, 0),
    ];
    for (offset, size) in [(offsets.task_thread_pid, 8), (offsets.pid_level, 4)] {
        code.extend([
            instruction(op::ADD, 3, 0, 0, offset.cast_signed()),
            instruction(op::MOVE_REGISTER, 1, 10, 0, 0),
            instruction(op::ADD, 1, 0, 0, i32::from(SLOT)),
            instruction(op::MOVE, 2, 0, 0, size),
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
        let mut offsets = Offsets::ABSENT;
        (offsets.task_thread_pid, offsets.pid_level) = (1234, 4);
        let code = program(&offsets);
        let added: Vec<i32> =
            code.iter().filter(|i| i.code == op::ADD && i.dst_reg() == 3).map(|i| i.imm).collect();
        assert_eq!(added, [1234, 4]);
        assert_eq!(code.last().map(|i| i.code), Some(op::EXIT));
    }
}
