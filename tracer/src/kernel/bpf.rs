//! The few `bpf(2)` commands that the loader gives itself.
//!
//! `aya::EbpfLoader` decodes the whole BTF of the kernel before it does anything, 20 to 60 ms that
//! raw tracepoints have no use for. The object is therefore read and relocated by `aya-obj`, maps are
//! made and used through `aya`, and what is left is here.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_info, bpf_prog_type,
};

/// Bytes kept of what the verifier says.
const LOG_BYTES: usize = 256 * 1024;
/// `BPF_OBJ_NAME_LEN`, with the terminating zero.
const NAME_BYTES: usize = 16;

/// A program that the kernel refused.
#[derive(Debug)]
pub struct Refused {
    /// The kernel's error.
    pub error: io::Error,
    /// What the verifier had to say.
    pub log: String,
}

/// Gives a command. Returns a file descriptor, or 0.
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is a whole `bpf_attr`; each caller sees to it that the addresses in it are valid
    // for as long as the call takes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives a command that returns a file descriptor.
fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd =
        i32::try_from(bpf(command, attr)?).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
    // SAFETY: the kernel has just made it for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A command's arguments, all zeros.
fn empty() -> bpf_attr {
    // SAFETY: a union of plain integers and arrays of them.
    unsafe { std::mem::zeroed() }
}

/// A descriptor as the attributes have it.
fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Writes the only value of an array map.
///
/// # Errors
/// The kernel's.
pub fn set_data(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = raw(map);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(&key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Makes a map read-only for good, which lets the verifier rely on its contents.
///
/// # Errors
/// The kernel's.
pub fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = raw(map);
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// A program, as it is loaded.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its license.
    pub license: &'a CStr,
    /// Its code.
    pub code: &'a [bpf_insn],
    /// What it is for.
    pub kind: Kind,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A raw tracepoint.
    RawTracepoint,
    /// A trace event (`event.rs`).
    Event,
    /// The entry of this function of the kernel, by its id in the kernel's types.
    Function(u32),
}

/// Loads a program; asks the verifier for its reasons only where it refuses.
///
/// # Errors
/// The kernel's, with the verifier's log.
pub fn load_program(program: Program<'_>) -> Result<OwnedFd, Refused> {
    let error = match try_load(program, &mut []) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    let mut log = vec![0; LOG_BYTES];
    match try_load(program, &mut log) {
        Ok(fd) => Ok(fd),
        Err(_) => {
            let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
            Err(Refused { error, log: String::from_utf8_lossy(text).into_owned() })
        }
    }
}

fn try_load(program: Program<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let Program { name, license, code, kind } = program;
    let mut attr = empty();
    attr.__bindgen_anon_3.prog_type = match kind {
        Kind::RawTracepoint => bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT as u32,
        Kind::Event => bpf_prog_type::BPF_PROG_TYPE_TRACEPOINT as u32,
        Kind::Function(_) => bpf_prog_type::BPF_PROG_TYPE_TRACING as u32,
    };
    if let Kind::Function(function) = kind {
        attr.__bindgen_anon_3.expected_attach_type = bpf_attach_type::BPF_TRACE_FENTRY as u32;
        attr.__bindgen_anon_3.attach_btf_id = function;
    }
    attr.__bindgen_anon_3.insns = code.as_ptr() as u64;
    attr.__bindgen_anon_3.insn_cnt =
        u32::try_from(code.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    attr.__bindgen_anon_3.license = license.as_ptr() as u64;
    let mut kernel_name = [0; NAME_BYTES];
    for (to, from) in kernel_name.iter_mut().zip(name.bytes().take(NAME_BYTES - 1)) {
        *to = from.cast_signed() as libc::c_char;
    }
    attr.__bindgen_anon_3.prog_name = kernel_name;
    if !log.is_empty() {
        attr.__bindgen_anon_3.log_level = 1;
        attr.__bindgen_anon_3.log_buf = log.as_mut_ptr() as u64;
        attr.__bindgen_anon_3.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
    }
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Attaches a program to a raw tracepoint, or where it was loaded for, for as long as the result lives.
///
/// # Errors
/// The kernel's: `ENOENT` where there is no such tracepoint.
pub fn attach(program: BorrowedFd<'_>, tracepoint: Option<&CStr>) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.raw_tracepoint.name = tracepoint.map_or(0, |name| name.as_ptr() as u64);
    attr.raw_tracepoint.prog_fd = raw(program);
    bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Runs a program once, on behalf of this thread; returns what it returns (5.10 and later).
///
/// # Errors
/// The kernel's.
pub fn run(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut attr = empty();
    attr.test.prog_fd = raw(program);
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel has filled in this member of the union.
    Ok(unsafe { attr.test.retval })
}

/// How often a program was not run since it was already running on that CPU (5.12 and later).
///
/// # Errors
/// The kernel's.
pub fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    info(program).map(|info| info.recursion_misses)
}

/// The kernel's number for a program.
///
/// # Errors
/// The kernel's.
pub fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    info(program).map(|info| info.id)
}

fn info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: plain integers and arrays of them.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = empty();
    attr.info.bpf_fd = raw(program);
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}
