//! What has to be true before anything is loaded, so that a refusal can be explained.

use std::fs;

use super::AttachError;

/// Bits of the effective capability set (`linux/capability.h`).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Checks for the capabilities that loading takes.
///
/// `CAP_BPF` makes maps, `CAP_PERFMON` lets programs read kernel memory, `CAP_SYS_ADMIN` is both.
///
/// # Errors
/// [`AttachError::NotPermitted`] with what is missing.
pub fn capabilities() -> Result<(), AttachError> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // Where /proc cannot be read, the kernel's own refusal has to do.
    let Some(set) = effective(&status) else { return Ok(()) };
    let missing = missing(set);
    if !missing.is_empty() {
        return Err(AttachError::NotPermitted { missing: missing.join(" and ") });
    }
    if !is_initial_user_namespace(&uid_map) {
        return Err(AttachError::UserNamespace);
    }
    Ok(())
}

/// The effective set of `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
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

/// Raises the limit of locked memory: before 5.11 maps count against it. Harmless elsewhere.
pub fn raise_memlock_limit() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is valid for the call. A failure shows when a map is made.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let set = |bits: &[u32]| bits.iter().fold(0_u64, |set, bit| set | 1 << bit);
        assert_eq!(missing(0), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(set(&[CAP_BPF])), ["CAP_PERFMON"]);
        assert!(missing(set(&[CAP_BPF, CAP_PERFMON])).is_empty());
        assert!(missing(set(&[CAP_SYS_ADMIN])).is_empty());
    }

    #[test]
    fn the_effective_set_is_found() {
        assert_eq!(
            effective("CapPrm:\t0000000000000001\nCapEff:\t000000c000000000\n"),
            Some(3 << 38)
        );
        assert_eq!(effective("CapEff:\tnonsense\n"), None);
        assert_eq!(effective(""), None);
    }

    #[test]
    fn a_user_namespace_is_told_from_the_initial_one() {
        assert!(is_initial_user_namespace("         0          0 4294967295\n"));
        assert!(!is_initial_user_namespace("         0       1000          1\n"));
    }
}
