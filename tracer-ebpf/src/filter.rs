//! Who is a target, decided in the kernel so that nothing short-lived is missed.

use aya_ebpf::{bindings::BPF_ANY, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use killtrace_ebpf::{COMM_LEN, Watch, flag, loss, mode};

use crate::{
    emit,
    globals::{CGROUPS, NAMES, USERS, WATCHED, config, modes},
    memory::Address,
    task,
};

/// A name as the map of names has it: its first 15 bytes, padded with zeros. Words, so that it is
/// aligned.
pub type Name = [u64; COMM_LEN / 8];

/// [`flag::TARGET`], [`flag::FOLLOW`], [`flag::WITNESS`], [`flag::INHERITED_NAME`] as they apply to a
/// task with the process id `pid`.
#[inline(always)]
pub fn flags_of(task: Address, pid: u32) -> u32 {
    let mut flags = watched(task, pid);
    let modes = modes() & !mode::ASLEEP;
    if modes == 0 || flags & flag::TARGET != 0 {
        return flags;
    }
    if modes & mode::ALL != 0
        || modes & mode::CGROUPS != 0 && has_cgroup(task::cgroup_id(task))
        || modes & mode::USERS != 0 && has_user(task::user(task))
    {
        flags |= flag::TARGET;
    }
    flags
}

/// The flags that the map of targets has for a process.
#[inline(always)]
pub fn watched(task: Address, pid: u32) -> u32 {
    // SAFETY: the value is copied at once; entries are only removed when the process has ended.
    let Some(watch) = (unsafe { WATCHED.get(pid) }) else { return 0 };
    let (flags, ticks) = (watch.flags, watch.start_ticks);
    if ticks != 0 && ticks != task::start(task) / 10_000_000 {
        return 0;
    }
    flags
}

/// Remembers a target.
#[inline(always)]
pub fn remember(ctx: &RawTracePointContext, pid: u32, flags: u32) {
    let watch = Watch { flags, reserved: 0, start_ticks: 0 };
    if WATCHED.insert(pid, watch, u64::from(BPF_ANY)).is_err() {
        emit::lost(loss::TARGETS_FULL);
        // The count tells the user; the log tells whoever looks for the reason which process it was.
        debug!(ctx, "no room for process {} among the targets", pid);
    }
}

/// Forgets a target.
#[inline(always)]
pub fn forget(pid: u32) {
    // A process that was never a target is not an error.
    let _ = WATCHED.remove(pid);
}

/// The flags of a target that a name has made one.
#[inline(always)]
pub fn named() -> u32 {
    if config!(follow) == 1 { flag::TARGET | flag::FOLLOW } else { flag::TARGET }
}

/// Whether the map of names has entries.
#[inline(always)]
pub fn by_name() -> bool {
    modes() & mode::NAMES != 0
}

/// Whether a name is one of those asked for.
#[inline(always)]
pub fn has_name(name: &Name) -> bool {
    NAMES.get_ptr(name).is_some()
}

/// Reads the name of a task or file.
#[inline(always)]
pub fn name_at(address: Address) -> Name {
    let mut name = Name::default();
    address.text(&mut name);
    name
}

/// Whether a cgroup is a target.
#[inline(always)]
pub fn has_cgroup(id: u64) -> bool {
    CGROUPS.get_ptr(id).is_some()
}

/// Makes a cgroup a target.
#[inline(always)]
pub fn remember_cgroup(id: u64) {
    if CGROUPS.insert(id, 1, u64::from(BPF_ANY)).is_err() {
        emit::lost(loss::TARGETS_FULL);
    }
}

/// Forgets a cgroup.
#[inline(always)]
pub fn forget_cgroup(id: u64) {
    // One that was never a target is not an error.
    let _ = CGROUPS.remove(id);
}

/// Whether a user's processes are targets.
#[inline(always)]
fn has_user(uid: u32) -> bool {
    USERS.get_ptr(uid).is_some()
}
