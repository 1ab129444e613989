//! What userspace sets: constants, switches and maps.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray, ProgramArray, RingBuf},
};
use killtrace_ebpf::{
    COMM_LEN, Config, Kin, MAX_CGROUPS, MAX_WATCHED, Offsets, RING_BYTES, Repeats, Switches, Watch,
    loss, mode,
};

/// Where kernel fields are. Frozen before the programs are loaded.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ABSENT;

/// What to look for. Frozen before the programs are loaded.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::NONE;

/// Switches, written by userspace while the programs run.
#[unsafe(no_mangle)]
pub static mut SWITCHES: Switches = Switches { modes: 0, woken: 0 };

/// Every record, in the order in which things happened.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Losses, by the indices of [`loss`] and by record kind.
#[map]
pub static LOSSES: PerCpuArray<[u64; loss::COUNT]> = PerCpuArray::with_max_entries(1, 0);

/// Each CPU's last signal, and how often it was repeated.
#[map]
pub static REPEATS: PerCpuArray<Repeats> = PerCpuArray::with_max_entries(1, 0);

/// Each CPU's last sender of a signal, and its ancestors.
#[map]
pub static KIN: PerCpuArray<Kin> = PerCpuArray::with_max_entries(1, 0);

/// At 0, the program that tells of a fault's mappings. A program of its own: inside the one on signals, the
/// verifier would walk through it once for each way that leads there.
#[map]
pub static MAPPINGS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Targets and witnesses, by process id in the tracer's pid namespace.
#[map]
pub static WATCHED: HashMap<u32, Watch> = HashMap::with_max_entries(MAX_WATCHED, 0);

/// Target names: the first 15 bytes, padded with zeros.
#[map]
pub static NAMES: HashMap<[u64; COMM_LEN / 8], u32> = HashMap::with_max_entries(64, 0);

/// Target cgroups, by id.
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_CGROUPS, 0);

/// Target users, by real user id.
#[map]
pub static USERS: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);

/// Local TCP ports whose connections are watched.
#[map]
pub static PORTS: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);

/// The offset of a field: a constant to the verifier.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: the static is initialised and never written by a program; the volatile read keeps
        // the compiler from using the value it was built with.
        unsafe { core::ptr::read_volatile(&raw const $crate::globals::OFFSETS.$field) }
    }};
}

/// Whether this kernel has a field: a constant to the verifier.
macro_rules! present {
    ($field:ident) => {
        $crate::globals::offset!($field) != killtrace_ebpf::ABSENT
    };
}

/// A member of the configuration: a constant to the verifier.
macro_rules! config {
    ($($field:ident).+) => {{
        // SAFETY: as for `offset!`.
        unsafe { core::ptr::read_volatile(&raw const $crate::globals::CONFIG.$($field).+) }
    }};
}

pub(crate) use {config, offset, present};

/// The switches of [`killtrace_ebpf::mode`].
#[inline(always)]
pub fn modes() -> u32 {
    // SAFETY: only the address is taken.
    let modes = unsafe { &raw const SWITCHES.modes };
    // SAFETY: an aligned word that userspace alone writes, at once. (eBPF has no atomic loads.)
    unsafe { core::ptr::read_volatile(modes) }
}

/// Whether it is on the caller to wake the sleeping reader: nobody else has done so. To be asked once a record is
/// reserved, and before it is submitted: whoever reads too early to see the record sees that it is being written.
#[inline(always)]
pub fn is_to_wake() -> bool {
    if modes() & mode::ASLEEP == 0 {
        return false;
    }
    // SAFETY: only the address is taken.
    let woken = unsafe { &raw mut SWITCHES.woken };
    // SAFETY: an aligned word; of two programs that see it unset at once both wake the reader.
    let by_another = unsafe { core::ptr::read_volatile(woken) } != 0;
    // SAFETY: as above; only ever set here.
    unsafe { core::ptr::write_volatile(woken, 1) };
    !by_another
}
