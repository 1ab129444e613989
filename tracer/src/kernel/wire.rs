//! Records as they come out of the ring buffer: bytes until their length has been checked.

use killtrace_ebpf::{
    CgroupRecord, ConnectRecord, ExecRecord, ExitRecord, ForkRecord, Header, MappingRecord,
    OomRecord, RenameRecord, SignalRecord, TcpRecord, flag, kind,
};

/// Types of which every bit pattern is a value.
///
/// # Safety
/// Implementors are `repr(C)` and consist of integers and arrays of them.
unsafe trait Wire: Copy {}
// SAFETY: made of integers, as is each below; `killtrace_ebpf` says so and asserts their sizes.
unsafe impl Wire for Header {}
// SAFETY: see above.
unsafe impl Wire for SignalRecord {}
// SAFETY: see above.
unsafe impl Wire for ExitRecord {}
// SAFETY: see above.
unsafe impl Wire for ExecRecord {}
// SAFETY: see above.
unsafe impl Wire for ForkRecord {}
// SAFETY: see above.
unsafe impl Wire for OomRecord {}
// SAFETY: see above.
unsafe impl Wire for TcpRecord {}
// SAFETY: see above.
unsafe impl Wire for CgroupRecord {}
// SAFETY: see above.
unsafe impl Wire for RenameRecord {}
// SAFETY: see above.
unsafe impl Wire for MappingRecord {}
// SAFETY: see above.
unsafe impl Wire for ConnectRecord {}

/// A record, by kind.
#[derive(Debug)]
pub enum Record {
    /// [`kind::SIGNAL`]
    Signal(SignalRecord),
    /// [`kind::EXIT`]
    Exit(ExitRecord),
    /// [`kind::EXEC`]
    Exec(ExecRecord),
    /// [`kind::FORK`]
    Fork(ForkRecord),
    /// [`kind::OOM`]
    Oom(OomRecord),
    /// [`kind::TCP`]
    Tcp(TcpRecord),
    /// [`kind::CGROUP`]
    Cgroup(CgroupRecord),
    /// [`kind::RENAME`]
    Rename(RenameRecord),
    /// [`kind::MAPPING`]
    Mapping(MappingRecord),
    /// [`kind::CONNECT`]
    Connect(ConnectRecord),
}

impl Record {
    /// Reads a record; `None` where it is too short, or of no known kind.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(match value::<Header>(bytes)?.kind {
            kind::SIGNAL => Self::Signal(value(bytes)?),
            kind::EXIT => Self::Exit(value(bytes)?),
            kind::EXEC => Self::Exec(value(bytes)?),
            kind::FORK => Self::Fork(value(bytes)?),
            kind::OOM => Self::Oom(value(bytes)?),
            kind::TCP => Self::Tcp(value(bytes)?),
            kind::CGROUP => Self::Cgroup(value(bytes)?),
            kind::RENAME => Self::Rename(value(bytes)?),
            kind::MAPPING => Self::Mapping(value(bytes)?),
            kind::CONNECT => Self::Connect(value(bytes)?),
            _ => return None,
        })
    }
}

fn value<T: Wire>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, any bytes are a value of `T`, and the read needs no alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Whether a record tells of a target's end.
pub fn ends_target(bytes: &[u8]) -> bool {
    value::<Header>(bytes).is_some_and(|header| header.kind == kind::EXIT)
        && value::<ExitRecord>(bytes).is_some_and(|exit| exit.flags & flag::TARGET != 0)
}

/// The header of a signal's record, how many the kernel has counted on this CPU and when the last of them
/// came, and what follows it. `None` where it is no signal.
pub fn split_signal(bytes: &[u8]) -> Option<(Header, Counted, &[u8])> {
    let header: Header = value(bytes)?;
    if header.kind != kind::SIGNAL {
        return None;
    }
    let counted = value(bytes.get(size_of::<Header>()..)?)?;
    Some((header, counted, bytes.get(size_of::<Header>() + size_of::<Counted>()..)?))
}

/// Repeats that the kernel has counted on a CPU: [`SignalRecord::counted`] and what follows it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// How many, ever.
    pub total: u64,
    /// When the last one was sent.
    pub boot_ns: u64,
}
// SAFETY: integers.
unsafe impl Wire for Counted {}

/// The text of a field: up to the first zero, or all of it.
pub fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(text_bytes(field)).into_owned()
}

/// Whether that is the text of a field.
pub fn is_text(field: &[u8], text: &str) -> bool {
    text_bytes(field) == text.as_bytes()
}

fn text_bytes(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
