//! The machine itself: kernel, architecture, name, boot, clock.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::presence;
use crate::evidence::Setting;

/// What a header says of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Architecture, as `uname -m`.
    pub arch: String,
    /// Host name.
    pub hostname: String,
    /// Id of this boot; empty where `/proc` does not tell.
    pub boot_id: String,
    /// Seconds east of UTC, now.
    pub utc_offset: i32,
}

impl Machine {
    /// Asks the system.
    pub fn here() -> Self {
        // SAFETY: zeros are a valid value of this structure of character arrays.
        let mut names: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is valid for writes; on failure it stays zeros, that is empty strings.
        unsafe { libc::uname(&raw mut names) };
        let text = |field: &[libc::c_char]| {
            // SAFETY: uname(2) ends each with a zero, and zeros are what is there without it.
            unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned()
        };
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            kernel: text(&names.release),
            arch: text(&names.machine),
            hostname: text(&names.nodename),
            boot_id: boot_id.trim().to_owned(),
            utc_offset: utc_offset(),
        }
    }
}

/// Where the kernel puts core dumps (core(5)); `None` where `/proc` does not tell. What `kernel.core_uses_pid` adds to it is
/// part of it.
pub fn core_pattern() -> Option<Setting> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    let uses_pid = read("core_uses_pid").is_some_and(|set| set.trim() != "0");
    let pattern = with_pid(read("core_pattern")?.trim_end(), uses_pid);
    Some(Setting {
        manager: None,
        scope: "sysctl".to_owned(),
        name: "kernel.core_pattern".to_owned(),
        value: pattern,
        file: None,
        line: None,
        unread: None,
    })
}

/// The pattern that works as this one does with `kernel.core_uses_pid` (`format_corename` in `fs/coredump.c`).
fn with_pid(pattern: &str, uses_pid: bool) -> String {
    let has_pid = || {
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            if letter == '%' && letters.next() == Some('p') {
                return true;
            }
        }
        false
    };
    let adds = uses_pid && !pattern.starts_with('|') && !has_pid();
    if adds { format!("{pattern}.%p") } else { pattern.to_owned() }
}

/// Seconds east of UTC, now. From the C library, which reads one file for that; the time zone database
/// would be searched from end to end, which the start of a trace need not wait for.
fn utc_offset() -> i32 {
    // SAFETY: takes a place for the result, which may be none.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    // SAFETY: zeros are a value of this structure of integers and one pointer.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both structures are valid for the call; where it fails, the result stays zeros.
    unsafe { libc::localtime_r(&raw const now, &raw mut local) };
    i32::try_from(local.tm_gmtoff).unwrap_or(0)
}

/// The version of the systemd that is installed, from the name of its shared library; `None` where
/// systemd does not run this system.
pub fn systemd_version() -> Option<String> {
    if !presence::is_run_by_systemd() {
        return None;
    }
    // Debian keeps it below the directory of the architecture.
    let multiarch = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let multiarch = multiarch.map(|entry| entry.path().join("systemd"));
    let usual = ["/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"].map(PathBuf::from);
    usual.into_iter().chain(multiarch).find_map(|folder| shared_library_version(&folder))
}

/// The version in the name of systemd's shared library, where this directory has it.
fn shared_library_version(folder: &Path) -> Option<String> {
    fs::read_dir(folder).ok()?.filter_map(Result::ok).find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("libsystemd-shared-")?.strip_suffix(".so")?;
        Some(version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_names() {
        let machine = Machine::here();
        assert!(!machine.kernel.is_empty() && !machine.arch.is_empty());
        assert!(machine.utc_offset.abs() <= 26 * 3600);
    }

    #[test]
    fn the_version_of_systemd_is_in_a_file_name() {
        let folder = tempfile::tempdir().expect("a directory");
        assert_eq!(shared_library_version(folder.path()), None);
        for name in ["libsystemd-core-252.so", "libsystemd-shared-252.so", "systemd"] {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        assert_eq!(shared_library_version(folder.path()).as_deref(), Some("252"));
    }

    #[test]
    fn a_pid_is_added_to_a_pattern_without_one() {
        assert_eq!(with_pid("core", true), "core.%p");
        assert_eq!(with_pid("core.%P.100%%p", true), "core.%P.100%%p.%p");
        for pattern in ["core.%p", "|/bin/catch"] {
            assert_eq!(with_pid(pattern, true), pattern);
        }
        assert_eq!(with_pid("core", false), "core");
    }
}
