//! Giving up what is not needed once the hooks are attached.
//!
//! Capabilities, `no_new_privs` and seccomp filters belong to threads and are inherited by those that they
//! start, and by programs that these execute. So the main thread gives up here, the thread of the witnesses
//! where it begins, and journalctl starts with what they have kept. The command of `-- CMD` was forked before
//! all this and has lost nothing.

use std::collections::{BTreeMap, HashSet};
use std::io;

use caps::{CapSet, Capability};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// What is still needed, and for what.
const KEPT: [Capability; 5] = [
    // New targets are put into the kernel's maps; before 5.19 that took it.
    Capability::CAP_BPF,
    // Executables and environments of other users' processes; `hidepid`.
    Capability::CAP_SYS_PTRACE,
    // Users' own directories and settings that only root may read.
    Capability::CAP_DAC_READ_SEARCH,
    // A user's bus admits that user only, and a user's files are read as that user: a thread becomes the user.
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
];

/// What `CAP_SYS_PTRACE` would allow besides reading `/proc`.
const INTRUSIONS: [libc::c_long; 4] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
];

/// Commands of bpf(2) that are over: `BPF_MAP_CREATE`, `BPF_PROG_LOAD`, `BPF_RAW_TRACEPOINT_OPEN`.
const BPF_DONE: [u64; 3] = [0, 5, 17];

/// Leaves this thread, and what it starts from now on, with what tracing still needs. What the system does
/// not let be given up is kept: that is no reason not to trace.
pub fn give_up() {
    if let Err(error) = drop_capabilities() {
        tracing::info!("the capabilities cannot be given up: {error}");
    }
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers only.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if set != 0 {
        tracing::info!("new privileges cannot be refused: {}", io::Error::last_os_error());
        return;
    }
    if let Err(error) = forbid_intrusions() {
        tracing::info!("system calls cannot be filtered: {error}");
    }
}

/// Leaves this program with its user's own rights: it reads and writes files for its user, who may have been lent
/// capabilities for tracing with it (setcap(8)). Root has its own.
///
/// # Errors
/// Where the system does not let them be given up.
pub fn give_up_lent() -> io::Result<()> {
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return Ok(());
    }
    [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted]
        .into_iter()
        .try_for_each(|set| caps::clear(None, set))
        .map_err(io::Error::other)
}

fn drop_capabilities() -> Result<(), caps::errors::CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: HashSet<Capability> =
        KEPT.into_iter().filter(|capability| held.contains(capability)).collect();
    // journalctl as another user than root: what is neither inheritable nor ambient ends with exec.
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    // First what is used, then what may be.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// Others' memory and descriptors cannot be touched, and no more programs loaded.
fn forbid_intrusions() -> Result<(), Box<dyn std::error::Error>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        INTRUSIONS.iter().map(|call| (*call, Vec::new())).collect();
    let command = |number| {
        let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number)?;
        SeccompRule::new(vec![is])
    };
    let done = BPF_DONE.into_iter().map(command).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_bpf, done);
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, which takes the losses with it.
    #[test]
    fn a_thread_is_left_with_what_tracing_needs() {
        let thread = std::thread::spawn(|| {
            give_up();
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("readable");
            // SAFETY: asks for the memory of nobody: pid 0 is none.
            let read =
                unsafe { libc::process_vm_readv(0, std::ptr::null(), 0, std::ptr::null(), 0, 0) };
            (status, read, io::Error::last_os_error().raw_os_error())
        });
        let (status, read, error) = thread.join().expect("it ends");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect("a field").trim().to_owned()
        };
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Seccomp:"), "2");
        assert_eq!((read, error), (-1, Some(libc::EPERM)));
        let kept = KEPT.iter().fold(0, |set, capability| set | capability.bitmask());
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            let held = u64::from_str_radix(&field(set), 16).expect("a set");
            assert_eq!(held & !kept, 0, "{set} {held:x}");
        }
    }
}
