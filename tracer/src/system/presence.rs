//! What this machine has and lets be seen, and in whose words its absence is told.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};

use super::settings::Root;

/// What is said of every source that is systemd's, where another program is PID 1.
pub const NOT_SYSTEMD: &str = "systemd does not run this machine";

/// What is said of the same where systemd is PID 1 and its sockets are in a mount namespace that is not this one.
pub const UNSEEN_SYSTEMD: &str =
    "systemd runs this machine, but its sockets in /run are not to be seen from here";

/// What is said of the bus to whoever is not root.
pub const BUS_TAKES_ROOT: &str = "reading along on the bus takes root";

/// What is said of the bus where there is none.
pub const NO_BUS: &str = "D-Bus is not running";

/// What is said of the journal where nothing is added to it.
pub const NO_JOURNALD: &str = "systemd-journald is not running";

/// What is said of the journal where journald has no file open.
pub const NO_JOURNAL_FILES: &str = "journald keeps no journal here";

/// What is said of the journal where it is others' to read.
pub const JOURNAL_NOT_READABLE: &str =
    "the journal is not readable for this user (it takes root, or the group systemd-journal)";

/// What is said of the journal where `/proc/sys/kernel/random/boot_id` is hidden, which journalctl asks for.
pub const NO_BOOT_ID: &str =
    "journalctl finds no id of this boot: /proc shows processes only (subset=pid)";

/// What is said where the processes of the rest of the machine have no pids.
pub const PRIVATE_PIDS: &str =
    "this is a private pid namespace: processes outside of it are not seen";

/// What is said where the cgroups of the rest of the machine are not to be seen.
pub const PRIVATE_CGROUPS: &str = "this is a private cgroup namespace: who comes into a unit, cgroup or container outside of it is not seen to";

/// What is said where PID 1, whose machine this is, has other files.
pub const OTHER_FILES: &str = "PID 1 has other files than are seen here: settings of units and defaults are told as this container has them";

/// Files and folders by which it is known whether the files here are the machine's.
const MACHINES_FILES: [&str; 3] = ["etc/passwd", "etc/systemd", "usr/lib/systemd"];

/// The initial pid namespace, as `/proc/PID/ns/pid` names it: `PROC_PID_INIT_INO` of `linux/proc_ns.h`.
const INITIAL_PIDS: &str = "pid:[4026531836]";

/// Where journald hears what programs log.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// Where journald keeps its files, in memory and on disk.
const JOURNALS: [&str; 2] = ["/run/log/journal", "/var/log/journal"];

/// Where an administrator masks units, for good or until the next boot.
const MASKS: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];

/// Where units are installed.
const INSTALLED: [&str; 3] = ["/usr/local/lib", "/usr/lib", "/lib"];

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
            "/proc hides some or all of the other users' processes (hidepid), which are neither found nor described",
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

/// Whether the files here are others than those of PID 1, as in a container with the machine's pids; `false` where
/// PID 1's must not be looked at, which takes `CAP_SYS_PTRACE`.
pub fn has_other_files() -> bool {
    are_others(Path::new("/"), Path::new("/proc/1/root"))
}

fn are_others(own: &Path, machine: &Path) -> bool {
    let identity = |path: PathBuf| fs::symlink_metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let differs = |name: &&str| identity(own.join(name)) != identity(machine.join(name));
    // It ends in `/.`: the link itself can be seen by everybody.
    fs::metadata(machine.join(".")).is_ok() && MACHINES_FILES.iter().any(differs)
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

/// What is said of a source that is systemd's where systemd is not seen to run this machine.
pub fn no_systemd() -> &'static str {
    let own_root = Path::new("/proc/1/root/run/systemd/system").is_dir();
    let is_systemd = || fs::read("/proc/1/comm").is_ok_and(|comm| comm == b"systemd\n");
    if own_root || is_systemd() { UNSEEN_SYSTEMD } else { NOT_SYSTEMD }
}

/// Whether this is a distribution in WSL2, by the kernel's release: Microsoft's own is named so, and others that are made for
/// it are by convention.
pub fn is_wsl() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_wsl_release(&release))
}

fn is_wsl_release(release: &str) -> bool {
    let release = release.to_ascii_lowercase();
    release.contains("microsoft") || release.contains("wsl2")
}

/// Whether `/proc` shows processes alone, as `ProcSubset=pid` has it for a unit.
pub fn is_proc_of_processes_alone() -> bool {
    Path::new("/proc/self").exists() && !Path::new("/proc/sys").exists()
}

/// Those among these units of the system that are masked.
pub fn masked<'u>(units: &[&'u str]) -> Vec<&'u str> {
    let is_masked = |unit: &&&str| MASKS.iter().any(|folder| masks(&Path::new(folder).join(unit)));
    units.iter().filter(is_masked).copied().collect()
}

/// An empty file does it as well (systemd.unit(5)).
fn masks(file: &Path) -> bool {
    fs::read_link(file).is_ok_and(|to| to == Path::new("/dev/null"))
        || fs::metadata(file).is_ok_and(|it| it.is_file() && it.len() == 0)
}

/// Whether a name of a unit of the system is a link to another one.
pub fn is_named_as(name: &str, unit: &str) -> bool {
    let installed = INSTALLED.iter().map(|tree| Path::new(tree).join("systemd/system"));
    let mut folders = MASKS.iter().map(Into::into).chain(installed);
    folders.any(|folder| leads_to(&folder.join(name), unit))
}

fn leads_to(link: &Path, unit: &str) -> bool {
    fs::read_link(link).is_ok_and(|to| to.file_name().is_some_and(|name| name == unit))
}

/// Whether one of these units of the system is installed.
pub fn is_installed(units: &[&str]) -> bool {
    let is_there = |unit: &&str| {
        let folders = INSTALLED.iter().map(|tree| Path::new(tree).join("systemd/system"));
        folders.chain(["/etc/systemd/system".into()]).any(|folder| folder.join(unit).exists())
    };
    units.iter().any(is_there)
}

/// Why there is no journal to be read, where that is plain.
pub fn no_journal() -> Option<String> {
    // Its files stay when it is stopped. Where systemd is not, they may be another machine's.
    if is_run_by_systemd() {
        if !is_listened_to(Path::new(JOURNALD)) {
            return Some(NO_JOURNALD.to_owned());
        }
        if let Some((file, line)) = journal_unwanted().filter(|_| !writes_journal()) {
            return Some(format!("{NO_JOURNAL_FILES} (Storage=none, {file}:{line})"));
        }
    }
    let why = match readable_journal(&JOURNALS.map(PathBuf::from)) {
        Some(true) if is_proc_of_processes_alone() => NO_BOOT_ID,
        Some(true) => return None,
        Some(false) => JOURNAL_NOT_READABLE,
        None if is_run_by_systemd() => NO_JOURNAL_FILES,
        None => no_systemd(),
    };
    Some(why.to_owned())
}

/// File and line that tell journald to keep nothing.
pub fn journal_unwanted() -> Option<(String, u32)> {
    let storage = Root::new("/").journal_storage().filter(|storage| storage.value == "none")?;
    storage.file.zip(storage.line)
}

/// Whether journald has a journal open all the same: it may run for longer than that setting is there.
fn writes_journal() -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|it| it.path());
    let is_journald = |folder: &PathBuf| {
        // The name is cut off by the kernel.
        fs::read(folder.join("comm")).is_ok_and(|comm| comm == b"systemd-journal\n")
            && fs::metadata(folder).is_ok_and(|it| it.uid() == 0)
    };
    let files = |folder: PathBuf| fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
    processes.filter(is_journald).flat_map(files).any(|file| {
        let path = fs::read_link(file.path()).unwrap_or_default();
        path.extension().is_some_and(|extension| extension == "journal")
    })
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
    Some(if is_run_by_systemd() { NO_BUS } else { no_systemd() })
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
    fn the_files_of_another_tree_are_others() {
        assert!(!are_others(Path::new("/"), Path::new("/")));
        assert!(!are_others(Path::new("/"), Path::new("/no/such/root")), "it cannot be told");
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert!(are_others(folder.path(), Path::new("/")));
        let empty = tempfile::tempdir().expect("a temporary directory");
        assert!(!are_others(folder.path(), empty.path()), "neither has any");
    }

    #[test]
    fn wsl_is_known_by_its_kernel() {
        assert!(is_wsl_release("5.15.167.4-microsoft-standard-WSL2\n"));
        assert!(is_wsl_release("6.6.36-custom-WSL2+\n") && !is_wsl_release("6.12.9-amd64\n"));
    }

    #[test]
    fn a_unit_is_masked_by_a_link_to_nothing_or_an_empty_file() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("/dev/null", file("link")).expect("a link");
        fs::write(file("empty"), "").expect("written");
        fs::write(file("unit"), "[Service]\n").expect("written");
        assert!(masks(&file("link")) && masks(&file("empty")));
        assert!(!masks(&file("unit")) && !masks(&file("none")));
        std::os::unix::fs::symlink("/usr/lib/systemd/system/b.service", file("a")).expect("a link");
        assert!(leads_to(&file("a"), "b.service") && !leads_to(&file("unit"), "unit"));
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
