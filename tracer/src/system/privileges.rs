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

use super::machine::Machine;
use crate::kernel::version;

/// What is still needed, and for what.
const KEPT: [Capability; 4] = [
    // Executables and environments of other users' processes; `hidepid`.
    Capability::CAP_SYS_PTRACE,
    // Users' own directories and settings that only root may read.
    Capability::CAP_DAC_READ_SEARCH,
    // A user's bus admits that user only, and a user's files are read as that user: a thread becomes the user.
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
];

/// The first kernel on which whoever holds a map may change it without `CAP_BPF` (`__sys_bpf` in `kernel/bpf/syscall.c`).
const FREE_MAPS: (u32, u32) = (5, 19);

/// System calls that `CAP_SYS_PTRACE` would allow besides reading `/proc`.
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

/// What is needed on this kernel: new targets are put into its maps.
fn kept() -> impl Iterator<Item = Capability> {
    let are_free = version(&Machine::here().kernel).is_some_and(|kernel| kernel >= FREE_MAPS);
    KEPT.into_iter().chain((!are_free).then_some(Capability::CAP_BPF))
}

fn drop_capabilities() -> Result<(), caps::errors::CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: HashSet<Capability> = kept().filter(|capability| held.contains(capability)).collect();
    // journalctl as another user than root: what is neither inheritable nor ambient ends with exec.
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    // First what is used, then what may be.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// The system calls that reach into other processes are refused, and no more programs are loaded. Their memory and what
/// they have open could still be reached through `/proc/PID/mem` and `/proc/PID/fd`, which `CAP_SYS_PTRACE` opens as well
/// as what is read there: no filter tells paths apart.
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
    use crate::system::presence;

    /// In a thread of its own, which takes the losses with it.
    #[test]
    fn a_thread_is_left_with_what_tracing_needs() {
        let thread = std::thread::spawn(|| {
            give_up();
            std::fs::read_to_string("/proc/thread-self/status").expect("readable")
        });
        let status = thread.join().expect("it ends");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect("a field").trim().to_owned()
        };
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Seccomp:"), "2");
        let kept = kept().fold(0, |set, capability| set | capability.bitmask());
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            let held = u64::from_str_radix(&field(set), 16).expect("a set");
            assert_eq!(held & !kept, 0, "{set} {held:x}");
        }
    }

    /// By the filter alone: the capabilities stay, where there are any.
    #[test]
    fn each_call_that_is_over_is_refused() {
        let calls = || {
            let intrusions = INTRUSIONS.into_iter().map(|call| (call, -1));
            let commands = BPF_DONE.map(|command| libc::c_long::try_from(command).expect("small"));
            intrusions.chain(commands.map(|command| (libc::SYS_bpf, command)))
        };
        let error = |(call, first): (libc::c_long, libc::c_long)| {
            let none: libc::c_long = 0;
            // SAFETY: each is asked for nothing that there is: no process or descriptor -1, attributes of no length.
            let done = unsafe { libc::syscall(call, first, none, none, none, none, none) };
            (call, first, io::Error::last_os_error().raw_os_error().filter(|_| done == -1))
        };
        let thread = std::thread::spawn(move || {
            // SAFETY: PR_SET_NO_NEW_PRIVS takes integers only.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            forbid_intrusions().expect("it is forbidden");
            // Looking into a map is not over.
            let look_up = error((libc::SYS_bpf, 1));
            (calls().map(error).collect::<Vec<_>>(), look_up)
        });
        let (refused, look_up) = thread.join().expect("it ends");
        assert_eq!(refused.len(), INTRUSIONS.len() + BPF_DONE.len());
        for (call, first, error) in refused {
            assert_eq!(error, Some(libc::EPERM), "{call} {first}");
        }
        if presence::is_root() {
            assert_ne!(look_up.2, Some(libc::EPERM));
        }
    }
}
