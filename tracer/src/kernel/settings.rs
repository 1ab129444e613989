//! What the programs are told before they are loaded: from the kernel's type information, the
//! selection and this process's place in the system.

use std::{collections::HashMap, fs, io, path::Path};

use killtrace_ebpf::{ABSENT, Config, Offsets, arch};

use super::{
    AttachError, HOOKS, Hook, Place, Selection, btf::Btf, current, hooks::CONNECTIONS, offsets,
    offsets::Missing, syscalls, types,
};
use crate::evidence::NOT_NEEDED;

/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u32 = 0xefff_fffc;
/// Bytes of a kernel stack on x86-64 and, with pages of 4 KiB, on arm64 (`THREAD_SIZE`, without KASAN).
const THREAD_SIZE: u32 = 16 * 1024;

/// What the programs are told before they are loaded, and where they belong.
pub struct Settings {
    /// Where fields are.
    pub offsets: Offsets,
    /// What to look for.
    pub config: Config,
    /// Fields that this kernel does not have.
    pub lacking: Vec<Missing>,
    /// The functions that there are hooks for, by name: their ids in the running kernel's types. A file's are its
    /// own, and would have a program put anywhere.
    pub functions: HashMap<&'static str, u32>,
}

/// Finds out what the programs are told.
pub fn settings(selection: &Selection, btf: Option<&Path>) -> Result<Settings, AttachError> {
    let given = btf;
    let (path, data) = types::read(given)?;
    let mut wanted = offsets::structures();
    wanted.extend(["bpf_func_id", "btf_trace_sched_process_exit", "btf_trace_mark_victim"]);
    wanted.extend(functions());
    let btf = Btf::scan(&data, &wanted)
        .map_err(|error| AttachError::BadBtf { path: path.clone(), error })?;

    let (offsets, lacking) = offsets::resolve(&btf);
    let required: Vec<&str> =
        lacking.iter().filter(|m| m.without.is_none()).map(|m| m.field.as_str()).collect();
    if !required.is_empty() {
        return Err(AttachError::MissingFields {
            kernel: kernel_release(),
            fields: required.join(", "),
        });
    }
    // What the kernel itself shows is its own; a file may be another kernel's.
    if given.is_some() && !current::is_described_by(&offsets) {
        return Err(AttachError::ForeignBtf { path, kernel: kernel_release() });
    }
    let pid_namespace = pid_namespace()?;
    let pid_namespace_level = match pid_namespace {
        INITIAL_PID_NAMESPACE => 0,
        _ => current::level(&offsets).map_err(|error| AttachError::System {
            what: "find out how deep this pid namespace is nested",
            error,
        })?,
    };
    let config = Config {
        muted: selection.muted,
        pid_namespace,
        pid_namespace_level,
        follow: u32::from(selection.follow),
        exit_has_group_dead: u32::from(btf.tracepoint_args("sched_process_exit") == Some(2)),
        victim_is_task: u32::from(btf.tracepoint_args("mark_victim") == Some(2)),
        has_task_pt_regs: u32::from(btf.has_enumerator("bpf_func_id", "BPF_FUNC_task_pt_regs")),
        arch: architecture(&offsets),
        thread_size: THREAD_SIZE,
        tracer: std::process::id(),
        reserved: 0,
        syscalls: syscalls::numbers(),
    };
    let functions = functions()
        .filter(|_| given.is_none())
        .filter_map(|name| Some((name, btf.function(name)?)))
        .collect();
    Ok(Settings { offsets, config, lacking, functions })
}

/// The functions that there are hooks for.
fn functions() -> impl Iterator<Item = &'static str> {
    HOOKS.iter().filter(|hook| hook.place == Place::Function).map(|hook| hook.name)
}

/// The architecture, where its registers can be read.
fn architecture(offsets: &Offsets) -> u32 {
    let registers = [
        offsets.regs_size,
        offsets.regs_syscall,
        offsets.regs_arg0,
        offsets.regs_arg1,
        offsets.regs_arg2,
        offsets.regs_mode,
    ];
    if registers.contains(&ABSENT) {
        arch::OTHER
    } else if cfg!(target_arch = "x86_64") {
        arch::X86_64
    } else if cfg!(target_arch = "aarch64") {
        arch::ARM64
    } else {
        arch::OTHER
    }
}

/// Whether a hook is wanted here, or why not.
pub fn applies(hook: &Hook, selection: &Selection, offsets: &Offsets) -> Result<(), String> {
    if hook.names_only && selection.names.is_empty() {
        return Err(format!("{NOT_NEEDED}: no target is given by name"));
    }
    let sockets = [
        offsets.sock_family,
        offsets.sock_local_port,
        offsets.sock_remote_port,
        offsets.sock_local_v4,
        offsets.sock_remote_v4,
        offsets.sock_err,
        offsets.sock_protocol,
    ];
    let addresses = [
        offsets.sock_peer_pid,
        offsets.sock_peer_cred,
        offsets.unix_addr,
        offsets.unix_address_name,
        offsets.sockaddr_path,
    ];
    let fields: &[u32] = match hook.name {
        "inet_sock_set_state" => &sockets,
        CONNECTIONS => &addresses,
        _ => &[],
    };
    if fields.contains(&ABSENT) {
        return Err("the kernel's type information lacks fields of sockets".to_owned());
    }
    Ok(())
}

/// Inode number of this process's pid namespace.
fn pid_namespace() -> Result<u32, AttachError> {
    let system = |error| AttachError::System { what: "find the pid namespace", error };
    let link = fs::read_link("/proc/self/ns/pid").map_err(system)?;
    let text = link.to_string_lossy();
    text.strip_prefix("pid:[")
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| system(io::Error::from(io::ErrorKind::InvalidData)))
}

/// `uname -r`
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown release".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_for_names_is_for_names() {
        let rename = HOOKS.iter().find(|hook| hook.names_only).expect("there is one");
        let mut selection = Selection::default();
        assert!(applies(rename, &selection, &Offsets::ABSENT).is_err());
        selection.names.push("tmux".to_owned());
        assert!(applies(rename, &selection, &Offsets::ABSENT).is_ok());
    }

    #[test]
    fn registers_that_are_not_known_are_not_read() {
        assert_eq!(architecture(&Offsets::ABSENT), arch::OTHER);
    }
}
