//! Without rights: those of another user, of some capabilities alone, or of the program's own file.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn a_user_namespace() {
    Machine::of(&["unshare", "-Ur"]).refuses("capabilities", &["user namespace", "on the host"]);
}

#[test]
fn no_capabilities() {
    let words = ["CAP_BPF and CAP_PERFMON", "sudo", "setcap"];
    Machine::of(&NOBODY).refuses("capabilities", &words);
    let root = Machine::of(&["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
    root.refuses("capabilities", &["container", "--privileged"]);
}

/// The two capabilities without root.
#[test]
fn two_capabilities() {
    let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&AMBIENT);
    let said =
        machine.traces(&["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG", "root", "bus"]);
    assert!(said.contains("not all is seen here") && said.contains("CAP_SYS_PTRACE"), "{said}");
    assert!(said.contains("\nkilltrace: kallsyms: without CAP_SYSLOG"), "{said}");
    // What is missing has a line each, and none is a page.
    assert!(said.lines().all(|line| line.len() < 160) && !said.contains("setcap"), "{said}");
}

/// The usual limits before systemd 240, and of a login today: since 5.11 nobody asks. Before, killtrace raises the soft
/// limit itself as far as it may, and what it says to do where that is not enough works.
#[test]
fn little_locked_memory() {
    let limited = |limit: &str| Machine::of(&["prlimit", &format!("--memlock={limit}")]);
    let counts = kernel_release() < (5, 11);
    for limit in ["65536:65536", "8388608:8388608"] {
        let machine = limited(limit).and(&NOBODY).and(&AMBIENT);
        if counts {
            let size = if limit.starts_with('6') { "64 KiB" } else { "8192 KiB" };
            let remedies =
                ["sudo prlimit --pid $$ --memlock=unlimited", "cap_sys_resource=ep", "16 MiB"];
            machine.refuses("locked memory", &[&[size], remedies.as_slice()].concat());
        } else {
            machine.traces(&[]);
        }
    }
    // A container's root, who may not raise it.
    let root = limited("65536:65536").and(&["setpriv", "--bounding-set=-sys_resource"]);
    if !counts {
        root.traces(&[]);
        return;
    }
    root.refuses("locked memory", &["64 KiB", "--ulimit memlock=-1", "LimitMEMLOCK=infinity"]);
    limited("65536:16777216").and(&NOBODY).and(&AMBIENT).traces(&[]);
    // The remedies.
    let script = "prlimit --pid $$ --memlock=unlimited; exec \"$@\"";
    limited("65536:65536").and(&["sh", "-ec", script, "sh"]).and(&NOBODY).and(&AMBIENT).traces(&[]);
    let resource =
        ["--inh-caps=+bpf,+perfmon,+sys_resource", "--ambient-caps=+bpf,+perfmon,+sys_resource"];
    limited("65536:65536").and(&NOBODY).and(&resource).traces(&[]);
}

/// One who may trace may not be allowed to become another user.
#[test]
fn a_user_whom_nobody_cannot_become() {
    let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&AMBIENT);
    let refused = machine.run(&["-u", "root", "--", "id"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot run id as another user"), "{said}");
}

/// Whoever was lent capabilities for tracing reads no more files with them than before.
#[test]
fn a_recording_that_is_another_users() {
    const READS_ALL: [&str; 2] = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("evidence.jsonl");
    fs::write(&file, include_str!("../../../cases/kill-term/evidence.jsonl")).expect("a recording");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("root's alone");
    let path = file.to_str().expect("a path in UTF-8");
    let machine = Machine::of(&NOBODY).and(&READS_ALL);
    let mut reads = Command::new(NOBODY[0]);
    reads.args(&NOBODY[1..]).args(READS_ALL).args(["cat", path]);
    assert!(reads.output().expect("setpriv runs").status.success(), "the capability has its use");
    let refused = machine.run(&["replay", path]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}

/// Nor a file of types, nor what there is in a folder that is closed to them.
#[test]
fn types_that_are_another_users() {
    const LENT: [&str; 2] = [
        "--inh-caps=+bpf,+perfmon,+dac_read_search",
        "--ambient-caps=+bpf,+perfmon,+dac_read_search",
    ];
    let place = tempfile::tempdir().expect("a directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("root's alone");
    for name in ["types", "no-such-file"] {
        fs::write(place.path().join("types"), "secret").expect("written");
        let path = place.path().join(name);
        let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&LENT);
        machine.with(&["--btf", text(&path)]).refuses("BTF", &["Permission denied"]);
    }
    for name in ["report", "no-such-folder/report"] {
        let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&LENT);
        let refused = machine.run(&["-o", text(&place.path().join(name)), "--", "true"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("Permission denied"), "{said}");
    }
}

/// Rights that belong to the program's file (setcap(8)), as is said to who has none; its command has none of them.
#[test]
fn rights_of_the_file() {
    // Where everybody may look: the place of the programs.
    let place = tempfile::tempdir_in(keepsakes()).expect("a directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("everybody's");
    let copy = place.path().join("killtrace");
    let copied = Command::new("cp").arg(program("killtrace")).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy of killtrace");
    let machine = |before: Machine| Machine { program: Some(copy.clone()), ..before.and(&NOBODY) };
    let refused = machine(Machine::mounts(ROOMY)).run(&["--", "true"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    let remedy = format!(
        "sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog=ep {}",
        text(&copy)
    );
    assert!(said.contains(&remedy) || kernel_release() < (5, 11), "{said}");
    give_rights(&copy);
    machine(Machine::mounts(ROOMY)).traces(&["root", "bus"]);
    let status = machine(Machine::mounts(ROOMY)).run(&[
        "-q",
        "-o",
        "/dev/null",
        "--",
        "cat",
        "/proc/self/status",
    ]);
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    let (rows, code) = machine(Machine::mounts(ROOMY)).doctor_with(&["--self-test"]);
    assert_eq!(code, Some(0), "{rows:#?}");
    let remedy = remedy_of(&rows, "died with the init of its pid namespace");
    assert!(!remedy.contains("setcap"), "what unshare(1) takes is not among them: {remedy}");
    let words = ["which do not count here", "no_new_privs"];
    let refusing = machine(Machine::default()).and(&["setpriv", "--no-new-privs"]);
    refusing.refuses("capabilities", &words);
    let nosuid =
        format!("mount --bind {0} {0}; mount -o remount,bind,nosuid {0}", text(place.path()));
    let words = ["nosuid forbids that", "=ep /usr/local/bin/killtrace"];
    machine(Machine::mounts(&nosuid)).refuses("capabilities", &words);
}

/// As setcap(8) gives `cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog=ep` (`struct vfs_cap_data` of
/// `linux/capability.h`).
fn give_rights(file: &Path) {
    let set: u64 = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 2 | 1 << 34;
    let [low, high] = [set & u64::from(u32::MAX), set >> 32].map(|half| half as u32);
    // The second revision, with the effective bit.
    let rights = [0x0200_0001, low, 0, high, 0].map(u32::to_le_bytes).concat();
    let path = std::ffi::CString::new(text(file)).expect("a path");
    let name = c"security.capability".as_ptr();
    // SAFETY: the names are C strings, and `rights` has as many bytes as is said.
    let set =
        unsafe { libc::setxattr(path.as_ptr(), name, rights.as_ptr().cast(), rights.len(), 0) };
    assert_eq!(set, 0, "{}: {}", file.display(), io::Error::last_os_error());
}

/// A container's seccomp profile, a security module; a kernel without bpf(2).
#[test]
fn bpf_is_forbidden() {
    let machine = |error| Machine { no_bpf: Some((error, None)), ..Machine::default() };
    machine(libc::EPERM).refuses("kernel", &["forbidden", "seccomp"]);
    machine(libc::ENOSYS).refuses("kernel", &["CONFIG_BPF_SYSCALL"]);
}

/// Under lockdown=confidentiality no program that reads kernel memory loads.
#[test]
fn lockdown() {
    const BPF_PROG_LOAD: u64 = 5;
    let script = "types=$(mktemp) && cp /sys/kernel/btf/vmlinux \"$types\" && \
                  mount -t tmpfs none /sys/kernel && mkdir /sys/kernel/security /sys/kernel/btf && \
                  mv \"$types\" /sys/kernel/btf/vmlinux && \
                  echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    let machine =
        Machine { no_bpf: Some((libc::EINVAL, Some(BPF_PROG_LOAD))), ..Machine::mounts(script) };
    machine.refuses("lockdown", &["lockdown=confidentiality"]);
}
