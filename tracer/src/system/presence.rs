//! What this machine has and lets be seen, and in whose words its absence is told.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};

/// What is said of every source that is systemd's, where another program is PID 1.
pub const NOT_SYSTEMD: &str = "systemd does not run this machine";

/// What is said of the journal where nothing is added to it.
pub const NO_JOURNALD: &str = "systemd-journald is not running";

/// What is said where the processes of the rest of the machine have no pids.
pub const PRIVATE_PIDS: &str =
    "this is a private pid namespace: processes outside of it are not seen";

/// The initial pid namespace, as `/proc/PID/ns/pid` names it: `PROC_PID_INIT_INO` of `linux/proc_ns.h`.
const INITIAL_PIDS: &str = "pid:[4026531836]";

/// Where journald hears what programs log.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// Where journald keeps its files, in memory and on disk.
const JOURNALS: [&str; 2] = ["/run/log/journal", "/var/log/journal"];

/// The system bus, where `DBUS_SYSTEM_BUS_ADDRESS` says nothing else.
const BUS_SOCKETS: [&str; 2] = ["/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"];

/// Why `/proc` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcTrouble {
    /// It is not there.
    #[error("/proc is not mounted; `mount -t proc proc /proc` does that")]
    NotMounted,
    /// It belongs to another pid namespace: its numbers are not the ones that count here.
    #[error(
        "/proc shows another pid namespace than this one; mount this one's own (`mount -t proc proc \
         /proc`, `unshare --mount-proc`), or run killtrace where /proc belongs to (`nsenter -t PID -p -m`)"
    )]
    OtherNamespace,
}

/// Whether `/proc` is there and shows the pids of this process's own pid namespace.
///
/// # Errors
/// What is the matter with it, and what to do.
pub fn proc_works() -> Result<(), ProcTrouble> {
    proc_at(Path::new("/proc"), std::process::id())
}

fn proc_at(proc: &Path, own: u32) -> Result<(), ProcTrouble> {
    match fs::read_link(proc.join("self")) {
        Ok(link) if link == Path::new(&own.to_string()) => Ok(()),
        Ok(_) => Err(ProcTrouble::OtherNamespace),
        // From outside of its namespace the link leads nowhere.
        Err(_) if proc.join("version").exists() => Err(ProcTrouble::OtherNamespace),
        Err(_) => Err(ProcTrouble::NotMounted),
    }
}

/// What cannot be seen of other users' processes, where something cannot.
pub fn hidden_processes() -> Option<&'static str> {
    if !Path::new("/proc/1").exists() {
        return Some(
            "/proc hides other users' processes (hidepid), which are neither found nor described",
        );
    }
    (!has(Capability::CAP_SYS_PTRACE)).then_some(
        "without CAP_SYS_PTRACE the programs and environments of other users' processes cannot be read",
    )
}

/// Whether the pids of this process's namespace are only some of the machine's, as in a container.
pub fn has_private_pids() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name != Path::new(INITIAL_PIDS))
}

/// Whether this thread has a capability.
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Whether systemd is PID 1 here, as `sd_booted(3)` decides it.
pub fn is_run_by_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Why there is no journal to be read, where that is plain.
pub fn no_journal() -> Option<&'static str> {
    // Its files stay when it is stopped. Where systemd is not, they may be another machine's.
    if is_run_by_systemd() && !is_listened_to(Path::new(JOURNALD)) {
        return Some(NO_JOURNALD);
    }
    match readable_journal(&JOURNALS.map(PathBuf::from)) {
        Some(true) => None,
        Some(false) => Some(
            "the journal is not readable for this user (it takes root, or the group systemd-journal)",
        ),
        None if is_run_by_systemd() => Some("journald keeps no journal here"),
        None => Some(NOT_SYSTEMD),
    }
}

/// Whether somebody has a datagram socket at this path open. The file outlives whoever made it.
fn is_listened_to(socket: &Path) -> bool {
    let asked = UnixDatagram::unbound().and_then(|own| own.connect(socket));
    !asked.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    })
}

/// Whether one of the system's journals can be read; `None` where there is none.
fn readable_journal(folders: &[PathBuf]) -> Option<bool> {
    let machines = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let files = machines.flatten().map(|machine| machine.path().join("system.journal"));
    files.filter(|file| file.exists()).map(|file| File::open(file).is_ok()).max()
}

/// Why there is no system bus, where that is plain.
pub fn no_bus() -> Option<&'static str> {
    let elsewhere = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some();
    if elsewhere || BUS_SOCKETS.iter().any(|socket| Path::new(socket).exists()) {
        return None;
    }
    Some(if is_run_by_systemd() { "D-Bus is not running" } else { NOT_SYSTEMD })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_the_one_of_this_namespace() {
        assert_eq!(proc_works(), Ok(()));
        let own = std::process::id();
        assert_eq!(proc_at(Path::new("/proc"), own + 1), Err(ProcTrouble::OtherNamespace));
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(proc_at(folder.path(), own), Err(ProcTrouble::NotMounted));
        fs::write(folder.path().join("version"), "Linux").expect("written");
        assert_eq!(proc_at(folder.path(), own), Err(ProcTrouble::OtherNamespace));
    }

    #[test]
    fn a_socket_outlives_whoever_listened() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("socket");
        assert!(!is_listened_to(&path));
        let socket = UnixDatagram::bind(&path).expect("bound");
        assert!(is_listened_to(&path));
        drop(socket);
        assert!(path.exists() && !is_listened_to(&path));
    }

    #[test]
    fn a_journal_is_looked_for_below_the_machine_s_id() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let folders = [folder.path().to_owned(), folder.path().join("none")];
        assert_eq!(readable_journal(&folders), None);
        let machine = folder.path().join("0123");
        fs::create_dir(&machine).expect("made");
        assert_eq!(readable_journal(&folders), None);
        fs::write(machine.join("system.journal"), "").expect("written");
        assert_eq!(readable_journal(&folders), Some(true));
    }
}
