//! What has to be true before anything is loaded, so that a refusal can be explained.

use std::ffi::CStr;
use std::{fs, io};

use super::AttachError;

/// This program's file, whatever it is called by now.
const OWN_FILE: &CStr = c"/proc/self/exe";

/// Where it is put to be found by everybody.
const INSTALLED: &str = "/usr/local/bin/killtrace";

/// Bits of the effective capability set (`linux/capability.h`).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Which CPUs there can be: where aya looks.
const PROCESSORS: &str = "/sys/devices/system/cpu/possible";

/// The command that runs the static program from a container with the machine's pids as if on the machine itself: with
/// PID 1's files, sockets and cgroups.
pub fn under_pid_1(arguments: &str) -> String {
    let program = program();
    format!("cp {program} /proc/1/root{INSTALLED} && nsenter -t 1 -m -C {INSTALLED} {arguments}")
}

/// Where this program is.
fn program() -> String {
    std::env::current_exe()
        .map_or_else(|_| "killtrace".to_owned(), |path| path.display().to_string())
}

/// How whoever runs this comes by capabilities that are not held.
pub fn privileged() -> String {
    if !is_root() && are_own_rights_refused() {
        return "run it as root (sudo killtrace …): its file has rights of its own, which do not count here (no_new_privs, \
                as NoNewPrivileges= of a unit sets it)"
            .to_owned();
    }
    if !is_root() {
        return format!(
            "run it as root (sudo killtrace …), or give it its rights once: {}",
            setcap()
        );
    }
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own_service(&cgroups).map_or_else(
        || {
            format!(
                "root is deprived here, as in a container: run killtrace on the host, or in a container with --privileged \
                 --pid=host, there by `{}`",
                under_pid_1("…")
            )
        },
        |unit| {
            format!(
                "root is deprived here by the settings of {unit}, or by a container around it: run killtrace outside of \
                 both, or without the unit's CapabilityBoundingSet=, ProtectKernelLogs=, PrivateDevices= and the like"
            )
        },
    )
}

/// The service in whose cgroup this runs, by the text of `/proc/self/cgroup`.
fn own_service(cgroups: &str) -> Option<&str> {
    let mut names = cgroups.lines().filter_map(|line| Some(line.rsplit_once('/')?.1));
    names.rfind(|name| name.ends_with(".service"))
}

/// The command that gives this program what it needs to be run by others than root, and what that means.
pub fn setcap() -> String {
    let (first, program) = if is_nosuid() {
        (format!("sudo cp {} {INSTALLED} && ", program()), INSTALLED.to_owned())
    } else {
        (String::new(), program())
    };
    let after = if is_nosuid() { "where it is now, nosuid forbids that; " } else { "" };
    format!(
        "{first}sudo setcap {}=ep {program} ({after}whoever may execute that file can then watch everybody's processes, and while it \
         traces it reads settings past the permissions of their files; replay and the other verbs but doctor have their \
         user's rights alone)",
        helpful(memory_counts_as_locked())
    )
}

/// Whether files on the file system that this program is on give nobody rights.
fn is_nosuid() -> bool {
    // SAFETY: a structure of integers, for all of which zero is a valid value.
    let mut about: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and the structure is valid for writes for the call.
    let told = unsafe { libc::statvfs(OWN_FILE.as_ptr(), &raw mut about) } == 0;
    told && about.f_flag & libc::ST_NOSUID != 0
}

/// Whether this program's file gives capabilities that are not held, though its file system would let it.
fn are_own_rights_refused() -> bool {
    let mut rights = [0; 24];
    // SAFETY: both names are C strings, and `rights` is valid for writes of its length.
    let length = unsafe {
        libc::getxattr(
            OWN_FILE.as_ptr(),
            c"security.capability".as_ptr(),
            rights.as_mut_ptr().cast(),
            rights.len(),
        )
    };
    let given = usize::try_from(length).ok().and_then(|length| permitted(rights.get(..length)?));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    !is_nosuid()
        && given.zip(set(&status, "CapPrm:")).is_some_and(|(given, held)| given & !held != 0)
}

/// The permitted set of a file (`struct vfs_cap_data` of `linux/capability.h`, from its second revision on).
fn permitted(rights: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_le_bytes(rights.get(at..at + 4)?.try_into().ok()?));
    Some(u64::from(word(4)?) | u64::from(word(12)?) << 32)
}

/// The capabilities that somebody needs who is not root. `counts`: maps are locked memory, and the limit of that
/// is not raised without `CAP_SYS_RESOURCE`.
const fn helpful(counts: bool) -> &'static str {
    if counts {
        "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog,cap_sys_resource"
    } else {
        "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog"
    }
}

/// Checks for the capabilities that loading takes.
///
/// `CAP_BPF` makes maps, `CAP_PERFMON` lets programs read kernel memory, `CAP_SYS_ADMIN` is both.
///
/// # Errors
/// [`AttachError::NotPermitted`] with what is missing.
pub fn capabilities() -> Result<(), AttachError> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // In a user namespace no capability helps, though all may be there.
    if !is_initial_user_namespace(&uid_map) {
        return Err(AttachError::UserNamespace);
    }
    // Where /proc cannot be read, the kernel's own refusal has to do.
    let Some(set) = set(&status, "CapEff:") else { return Ok(()) };
    let missing = missing(set);
    if missing.is_empty() {
        return Ok(());
    }
    let are = if missing.len() == 1 { "is" } else { "are" };
    Err(AttachError::NotPermitted {
        missing: format!("{} {are}", missing.join(" and ")),
        remedy: privileged(),
    })
}

/// Checks that the CPUs can be counted, as whoever reads a map with a value for each has to.
///
/// # Errors
/// [`AttachError::NoSys`] where they cannot.
pub fn processors() -> Result<(), AttachError> {
    fs::read(PROCESSORS)
        .map(drop)
        .map_err(|error| AttachError::NoSys { path: PROCESSORS.into(), error })
}

/// What it means that the kernel did not make a map.
pub fn refused_map(name: &str, error: io::Error) -> AttachError {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => AttachError::NoBpf,
        // The capabilities have been looked at: it is a limit, or somebody else who forbids it.
        Some(libc::EPERM | libc::EACCES) => match locked_memory_limit() {
            Some(limit) if memory_counts_as_locked() => AttachError::LockedMemory {
                limit: size(limit),
                remedy: more_locked_memory(is_root()),
            },
            _ => AttachError::Forbidden { error },
        },
        _ => AttachError::Map { name: name.to_owned(), error },
    }
}

/// The limits of locked memory, in bytes.
fn locked_memory() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for the call.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (result == 0).then_some(limit)
}

/// The limit that counts, in bytes; `None`: unlimited.
fn locked_memory_limit() -> Option<u64> {
    locked_memory().map(|limit| limit.rlim_cur).filter(|bytes| *bytes != libc::RLIM_INFINITY)
}

/// `64 KiB`; bytes where it is no whole number of those.
fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{bytes} bytes")
    }
}

/// How the limit of locked memory is raised. It takes `CAP_SYS_RESOURCE`, which an ordinary user's own `ulimit -l`
/// lacks; a container's root may lack it as well.
fn more_locked_memory(root: bool) -> String {
    // The limit is the user's in all, and maps with a value for each CPU grow with their number.
    let enough = "some 16 MiB are enough where no other program of this user's has locked memory";
    if root {
        format!(
            "give the container --ulimit memlock=-1 or --cap-add=SYS_RESOURCE, the service \
             LimitMEMLOCK=infinity ({enough})"
        )
    } else {
        format!(
            "raise this shell's with `sudo prlimit --pid $$ --memlock=unlimited` ({enough}), or run killtrace as root \
             (sudo killtrace …), or give it its rights once: {}",
            setcap()
        )
    }
}

fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether this kernel counts maps as locked memory, as all did before 5.11.
fn memory_counts_as_locked() -> bool {
    version(&super::settings::kernel_release()).is_some_and(|version| version < (5, 11))
}

/// Whether the programs of this kernel's tracepoints can be preempted, as since 7.0.
pub fn programs_are_preemptible() -> bool {
    version(&super::settings::kernel_release()).is_some_and(|version| version >= (7, 0))
}

/// The first two numbers of a release; `7.0-rc3` and the like have only those.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A set of capabilities in `/proc/PID/status`.
fn set(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Names of the capabilities that are wanting.
fn missing(set: u64) -> Vec<&'static str> {
    let has = |bit: u32| set & (1 << bit) != 0;
    if has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)]
        .into_iter()
        .filter_map(|(name, bit)| (!has(bit)).then_some(name))
        .collect()
}

/// Whether a uid map is the initial user namespace's: everything, onto itself.
fn is_initial_user_namespace(uid_map: &str) -> bool {
    uid_map.is_empty() || uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether kernel lockdown forbids programs to read kernel memory.
pub fn locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|state| state.contains("[confidentiality]"))
}

/// Raises the limit of locked memory, without end or as far as one may: before 5.11 maps count against it. Harmless
/// elsewhere.
pub fn raise_memlock_limit() {
    let raise = |limit: libc::rlimit| {
        // SAFETY: the structure is valid for the call. A failure shows when a map is made.
        unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0 }
    };
    let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    if !raise(all)
        && let Some(limit) = locked_memory()
    {
        let _ = raise(libc::rlimit { rlim_cur: limit.rlim_max, ..limit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert_eq!(version("7.3.4+deb13-cloud-amd64"), Some((7, 3)));
        assert_eq!(version("7.0-rc3"), Some((7, 0)));
        assert_eq!(version("5.10.0-32-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("unknown release"), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let set = |bits: &[u32]| bits.iter().fold(0_u64, |set, bit| set | 1 << bit);
        assert_eq!(missing(0), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(set(&[CAP_BPF])), ["CAP_PERFMON"]);
        assert!(missing(set(&[CAP_BPF, CAP_PERFMON])).is_empty());
        assert!(missing(set(&[CAP_SYS_ADMIN])).is_empty());
    }

    #[test]
    fn refusals_are_explained() {
        let refused = |number| refused_map("RECORDS", io::Error::from_raw_os_error(number));
        assert!(refused(libc::ENOSYS).to_string().contains("CONFIG_BPF_SYSCALL"));
        assert!(refused(libc::EINVAL).to_string().contains("RECORDS"));
        let forbidden = refused(libc::EPERM).to_string();
        // Which of them depends on the kernel that the test runs on: the live tests ask for one.
        assert!(forbidden.contains("seccomp") || forbidden.contains("memlock"), "{forbidden}");
    }

    #[test]
    fn the_limit_of_locked_memory_is_raised_by_whoever_may() {
        assert_eq!((size(64 << 10), size(1000)), ("64 KiB".to_owned(), "1000 bytes".to_owned()));
        assert!(helpful(true).ends_with(",cap_sys_resource"));
        assert!(!helpful(false).contains("cap_sys_resource"));
        let user = more_locked_memory(false);
        assert!(user.contains("sudo prlimit --pid $$ --memlock=unlimited"), "{user}");
        assert!(user.contains("setcap") && user.contains("16 MiB"), "{user}");
        let root = more_locked_memory(true);
        assert!(root.contains("--ulimit memlock=-1") && !root.contains("sudo"), "{root}");
    }

    /// As `setcap cap_bpf,cap_syslog=ep` has them (both above 31).
    #[test]
    fn the_rights_of_a_file_are_read() {
        let mut rights = [0; 20];
        rights[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
        rights[12..16].copy_from_slice(&(1_u32 << (39 - 32) | 1 << (34 - 32)).to_le_bytes());
        assert_eq!(permitted(&rights), Some(1 << 39 | 1 << 34));
        rights[4] = 4;
        assert_eq!(permitted(&rights), Some(1 << 39 | 1 << 34 | 1 << 2));
        assert_eq!(permitted(&rights[..12]), None, "of the first revision, or cut off");
    }

    #[test]
    fn a_hardened_unit_is_told_from_a_container() {
        assert_eq!(
            own_service("1:name=systemd:/\n0::/system.slice/a.service\n"),
            Some("a.service")
        );
        assert_eq!(own_service("0::/user.slice/user-0.slice/session-1.scope\n"), None);
        assert_eq!(own_service("0::/system.slice/docker-0123.scope\n"), None);
        assert_eq!(own_service("0::/\n"), None);
        assert_eq!(own_service(""), None);
    }

    #[test]
    fn sets_of_capabilities_are_found() {
        let status = "CapPrm:\t0000000000000001\nCapEff:\t000000c000000000\n";
        assert_eq!((set(status, "CapEff:"), set(status, "CapPrm:")), (Some(3 << 38), Some(1)));
        assert_eq!(set("CapEff:\tnonsense\n", "CapEff:"), None);
        assert_eq!(set("", "CapEff:"), None);
    }

    #[test]
    fn a_user_namespace_is_told_from_the_initial_one() {
        assert!(is_initial_user_namespace("         0          0 4294967295\n"));
        assert!(!is_initial_user_namespace("         0       1000          1\n"));
    }
}
