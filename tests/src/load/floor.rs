//! The floor: a program that does nothing, on the tracepoint of signals. No tracer of them costs less.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// `BPF_PROG_LOAD`
const LOAD: libc::c_int = 5;
/// `BPF_RAW_TRACEPOINT_OPEN`, and `BPF_PROG_TYPE_RAW_TRACEPOINT`
const RAW_TRACEPOINT: libc::c_int = 17;
/// `r0 = 0; exit`
const NOTHING: [u64; 2] = [0xb7, 0x95];

/// The program, attached for as long as this lives.
pub struct Floor {
    _attached: OwnedFd,
}

impl Floor {
    /// Attaches it.
    ///
    /// # Errors
    /// The kernel's, where it refuses.
    pub fn attached() -> io::Result<Self> {
        // Type and number of instructions, instructions, licence: the beginning of `union bpf_attr`.
        let kind = RAW_TRACEPOINT as u64 | (NOTHING.len() as u64) << 32;
        let licence = c"GPL";
        let program = bpf(LOAD, &[kind, NOTHING.as_ptr() as u64, licence.as_ptr() as u64])?;
        let name = c"signal_generate";
        let fd = program.as_raw_fd();
        let attached = bpf(RAW_TRACEPOINT, &[name.as_ptr() as u64, u64::from(fd.cast_unsigned())])?;
        Ok(Self { _attached: attached })
    }
}

/// Gives a command that returns a file descriptor.
fn bpf<const N: usize>(command: libc::c_int, attributes: &[u64; N]) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as is said, and what they point to outlives the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes))
    };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
