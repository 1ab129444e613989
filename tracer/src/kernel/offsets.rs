//! Which kernel fields the programs read, under which names kernels have had them, and what is lost
//! without them. A table.

use killtrace_ebpf::Offsets;

use super::btf::Btf;

/// What an [`Offsets`] entry is taken from.
#[derive(Clone, Copy, Debug)]
enum From {
    /// A member of a structure, by the names it has had, newest first; and bytes to add.
    Member(&'static str, &'static [&'static str], u32),
    /// The size of a structure.
    Size(&'static str),
}

/// How badly a field is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing works without it.
    Required,
    /// Its absence costs what is said.
    Optional(&'static str),
    /// Only some kernels have it, and nothing is lost where it is missing.
    Extra,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
struct Want {
    name: &'static str,
    from: From,
    need: Need,
}

/// A field that a kernel does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The field, as the kernel names it: `task_struct.tgid`.
    pub field: String,
    /// What is lost without it; `None` where nothing works without it.
    pub without: Option<&'static str>,
}

const fn required(name: &'static str, of: &'static str, members: &'static [&'static str]) -> Want {
    Want { name, from: From::Member(of, members, 0), need: Need::Required }
}

const fn optional(
    name: &'static str,
    of: &'static str,
    members: &'static [&'static str],
    without: &'static str,
) -> Want {
    Want { name, from: From::Member(of, members, 0), need: Need::Optional(without) }
}

const fn extra(name: &'static str, of: &'static str, members: &'static [&'static str]) -> Want {
    Want { name, from: From::Member(of, members, 0), need: Need::Extra }
}

const fn size(name: &'static str, of: &'static str) -> Want {
    Want { name, from: From::Size(of), need: Need::Required }
}

const NO_LOGIN: &str = "login uid and audit session of a process (CONFIG_AUDIT)";
const NO_SYSCALL: &str = "the system call a sender was in";
const NO_PLACE: &str = "whether a fault was a stack overflow";
const NO_MAPPING: &str = "what a fault hit: the file, the heap, the code";
const NO_LIMITS: &str = "the value of a limit that was exceeded";
const NO_KILLED: &str = "which cgroup a write to cgroup.kill was for";
const NO_TCP: &str = "ends of TCP connections";
const NO_CONNECT: &str = "connections to systemd's private socket";

/// The table.
const WANTED: &[Want] = &[
    required("task_tgid", "task_struct", &["tgid"]),
    required("task_pid", "task_struct", &["pid"]),
    required("task_real_parent", "task_struct", &["real_parent"]),
    required("task_parent", "task_struct", &["parent"]),
    required("task_group_leader", "task_struct", &["group_leader"]),
    required("task_comm", "task_struct", &["comm"]),
    required("task_start_boottime", "task_struct", &["start_boottime", "real_start_time"]),
    required("task_exit_code", "task_struct", &["exit_code"]),
    required("task_pdeath_signal", "task_struct", &["pdeath_signal"]),
    required("task_real_cred", "task_struct", &["real_cred"]),
    required("task_signal", "task_struct", &["signal"]),
    required("task_sighand", "task_struct", &["sighand"]),
    required("task_thread_pid", "task_struct", &["thread_pid"]),
    required("task_cgroups", "task_struct", &["cgroups"]),
    required("task_mm", "task_struct", &["mm"]),
    required("task_flags", "task_struct", &["flags"]),
    required("task_ptrace", "task_struct", &["ptrace"]),
    required("task_stack", "task_struct", &["stack"]),
    required("task_blocked", "task_struct", &["blocked"]),
    required("task_real_blocked", "task_struct", &["real_blocked"]),
    required("task_pending", "task_struct", &["pending"]),
    optional("task_files", "task_struct", &["files"], NO_KILLED),
    optional("task_sessionid", "task_struct", &["sessionid"], NO_LOGIN),
    optional("task_loginuid", "task_struct", &["loginuid"], NO_LOGIN),
    optional(
        "task_seccomp",
        "task_struct",
        &["seccomp"],
        "whether seccomp was on (CONFIG_SECCOMP)",
    ),
    extra("task_ti_status", "task_struct", &["thread_info.status"]),
    required("signal_live", "signal_struct", &["live"]),
    required("signal_flags", "signal_struct", &["flags"]),
    required("signal_group_exit_code", "signal_struct", &["group_exit_code"]),
    required("signal_shared_pending", "signal_struct", &["shared_pending"]),
    required("sigpending_signal", "sigpending", &["signal"]),
    required("signal_tty", "signal_struct", &["tty"]),
    optional("signal_rlim", "signal_struct", &["rlim"], NO_LIMITS),
    required("sighand_action", "sighand_struct", &["action"]),
    size("k_sigaction_size", "k_sigaction"),
    required("tty_name", "tty_struct", &["name"]),
    required("cred_uid", "cred", &["uid"]),
    required("cred_euid", "cred", &["euid"]),
    required("css_set_dfl_cgrp", "css_set", &["dfl_cgrp"]),
    required("cgroup_kn", "cgroup", &["kn"]),
    required("cgroup_root", "cgroup", &["root"]),
    required("cgroup_level", "cgroup", &["level"]),
    required("cgroup_root_hierarchy_id", "cgroup_root", &["hierarchy_id"]),
    required("kernfs_id", "kernfs_node", &["id"]),
    required("kernfs_name", "kernfs_node", &["name"]),
    // Renamed in 6.15.
    required("kernfs_parent", "kernfs_node", &["__parent", "parent"]),
    required("pid_level", "pid", &["level"]),
    required("pid_numbers", "pid", &["numbers"]),
    required("upid_ns", "upid", &["ns"]),
    size("upid_size", "upid"),
    required("pid_namespace_inum", "pid_namespace", &["ns.inum"]),
    required("mm_arg_start", "mm_struct", &["arg_start"]),
    required("mm_arg_end", "mm_struct", &["arg_end"]),
    optional("mm_start_brk", "mm_struct", &["start_brk"], NO_MAPPING),
    optional("mm_brk", "mm_struct", &["brk"], NO_MAPPING),
    optional("mm_start_stack", "mm_struct", &["start_stack"], NO_MAPPING),
    // The tree of mappings: a maple tree since 6.1, a red-black tree before.
    extra("mm_maple_root", "mm_struct", &["mm_mt.ma_root"]),
    extra("range_pivots", "maple_range_64", &["pivot"]),
    extra("range_slots", "maple_range_64", &["slot"]),
    extra("arange_pivots", "maple_arange_64", &["pivot"]),
    extra("arange_slots", "maple_arange_64", &["slot"]),
    extra("mm_rb_root", "mm_struct", &["mm_rb.rb_node"]),
    extra("rb_left", "rb_node", &["rb_left"]),
    extra("rb_right", "rb_node", &["rb_right"]),
    extra("vma_rb", "vm_area_struct", &["vm_rb"]),
    optional("vma_start", "vm_area_struct", &["vm_start"], NO_MAPPING),
    optional("vma_end", "vm_area_struct", &["vm_end"], NO_MAPPING),
    optional("vma_flags", "vm_area_struct", &["vm_flags"], NO_MAPPING),
    optional("vma_pgoff", "vm_area_struct", &["vm_pgoff"], NO_MAPPING),
    optional("vma_file", "vm_area_struct", &["vm_file"], NO_MAPPING),
    required("bprm_file", "linux_binprm", &["file"]),
    required("bprm_filename", "linux_binprm", &["filename"]),
    required("file_dentry", "file", &["f_path.dentry"]),
    optional("file_mount", "file", &["f_path.mnt"], NO_MAPPING),
    optional("mount_mnt", "mount", &["mnt"], NO_MAPPING),
    optional("mount_root", "mount", &["mnt.mnt_root"], NO_MAPPING),
    optional("mount_parent", "mount", &["mnt_parent"], NO_MAPPING),
    optional("mount_point", "mount", &["mnt_mountpoint"], NO_MAPPING),
    // Where an overlay has mapped a file of one of its layers: before 6.8 that had the path in the overlay itself.
    extra("mount_sb", "mount", &["mnt.mnt_sb"]),
    extra("backing_dentry", "backing_file", &["user_path.dentry"]),
    extra("backing_mount", "backing_file", &["user_path.mnt"]),
    required("dentry_name", "dentry", &["d_name.name", "__d_name.name"]),
    optional("dentry_parent", "dentry", &["d_parent"], NO_KILLED),
    optional("dentry_inode", "dentry", &["d_inode"], NO_KILLED),
    optional("dentry_sb", "dentry", &["d_sb"], NO_KILLED),
    optional("inode_size", "inode", &["i_size"], NO_MAPPING),
    optional("inode_links", "inode", &["i_nlink"], NO_MAPPING),
    optional("inode_private", "inode", &["i_private"], NO_KILLED),
    optional("super_block_magic", "super_block", &["s_magic"], NO_KILLED),
    optional("files_fdt", "files_struct", &["fdt"], NO_KILLED),
    optional("fdtable_fd", "fdtable", &["fd"], NO_KILLED),
    optional("fdtable_max_fds", "fdtable", &["max_fds"], NO_KILLED),
    optional("sock_family", "sock_common", &["skc_family"], NO_TCP),
    optional("sock_local_port", "inet_sock", &["inet_sport"], NO_TCP),
    optional("sock_remote_port", "sock_common", &["skc_dport"], NO_TCP),
    optional("sock_local_v4", "sock_common", &["skc_rcv_saddr"], NO_TCP),
    optional("sock_remote_v4", "sock_common", &["skc_daddr"], NO_TCP),
    extra("sock_local_v6", "sock_common", &["skc_v6_rcv_saddr"]),
    extra("sock_remote_v6", "sock_common", &["skc_v6_daddr"]),
    optional("sock_err", "sock", &["sk_err"], NO_TCP),
    optional("sock_protocol", "sock", &["sk_protocol"], NO_TCP),
    optional("sock_peer_pid", "sock", &["sk_peer_pid"], NO_CONNECT),
    optional("sock_peer_cred", "sock", &["sk_peer_cred"], NO_CONNECT),
    optional("unix_addr", "unix_sock", &["addr"], NO_CONNECT),
    optional("unix_address_name", "unix_address", &["name"], NO_CONNECT),
    optional("sockaddr_path", "sockaddr_un", &["sun_path"], NO_CONNECT),
];

/// The part of the table that differs between architectures.
#[cfg(target_arch = "x86_64")]
const REGISTERS: &[Want] = &[
    size("regs_size", "pt_regs"),
    optional("regs_syscall", "pt_regs", &["orig_ax"], NO_SYSCALL),
    optional("regs_arg0", "pt_regs", &["di"], NO_SYSCALL),
    optional("regs_arg1", "pt_regs", &["si"], NO_SYSCALL),
    optional("regs_arg2", "pt_regs", &["dx"], NO_SYSCALL),
    optional("regs_ip", "pt_regs", &["ip"], NO_PLACE),
    optional("regs_sp", "pt_regs", &["sp"], NO_PLACE),
    optional("regs_mode", "pt_regs", &["cs"], NO_SYSCALL),
];
/// The part of the table that differs between architectures.
#[cfg(target_arch = "aarch64")]
const REGISTERS: &[Want] = &[
    size("regs_size", "pt_regs"),
    optional("regs_syscall", "pt_regs", &["syscallno"], NO_SYSCALL),
    optional("regs_arg0", "pt_regs", &["orig_x0"], NO_SYSCALL),
    Want {
        name: "regs_arg1",
        from: From::Member("pt_regs", &["regs"], 8),
        need: Need::Optional(NO_SYSCALL),
    },
    Want {
        name: "regs_arg2",
        from: From::Member("pt_regs", &["regs"], 16),
        need: Need::Optional(NO_SYSCALL),
    },
    optional("regs_ip", "pt_regs", &["pc"], NO_PLACE),
    optional("regs_sp", "pt_regs", &["sp"], NO_PLACE),
    optional("regs_mode", "pt_regs", &["pstate"], NO_SYSCALL),
];
/// The part of the table that differs between architectures.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REGISTERS: &[Want] = &[];

/// Names of the structures that the table speaks of.
pub fn structures() -> Vec<&'static str> {
    let mut names: Vec<_> = table()
        .map(|want| match want.from {
            From::Member(of, ..) | From::Size(of) => of,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn table() -> impl Iterator<Item = &'static Want> {
    WANTED.iter().chain(REGISTERS)
}

/// Looks everything up; says what is missing. What is missing stays absent.
pub fn resolve(btf: &Btf<'_>) -> (Offsets, Vec<Missing>) {
    let mut offsets = Offsets::ABSENT;
    let mut missing = Vec::new();
    for want in table() {
        let (found, field) = match want.from {
            From::Member(of, members, add) => (
                members.iter().find_map(|member| btf.member(of, member)?.checked_add(add)),
                format!("{of}.{}", members.first().unwrap_or(&"")),
            ),
            From::Size(of) => (btf.size_of(of), of.to_owned()),
        };
        match (found, want.need) {
            (Some(found), _) => {
                offsets.set(want.name, found);
            }
            (None, Need::Required) => missing.push(Missing { field, without: None }),
            (None, Need::Optional(without)) => {
                missing.push(Missing { field, without: Some(without) });
            }
            (None, Need::Extra) => {}
        }
    }
    (offsets, missing)
}

#[cfg(test)]
mod tests {
    use killtrace_ebpf::ABSENT;

    use super::*;

    #[test]
    fn the_table_has_every_offset_once() {
        let mut offsets = Offsets::ABSENT;
        for want in table() {
            assert_eq!(offsets.get(want.name), Some(ABSENT), "{} is there twice", want.name);
            assert!(offsets.set(want.name, 0), "{} is no offset", want.name);
        }
        for name in Offsets::NAMES {
            assert!(
                name.starts_with("regs_") || offsets.get(name) == Some(0),
                "nothing sets {name}"
            );
        }
    }

    #[test]
    fn a_kernel_without_anything_is_told_what_it_lacks() {
        let header: Vec<u8> = [0xeb9f_u32 | 1 << 16, 24, 0, 0, 0, 0]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let btf = Btf::scan(&header, &structures()).expect("an empty BTF is one");
        let (offsets, missing) = resolve(&btf);
        assert_eq!(offsets, Offsets::ABSENT);
        assert!(missing.iter().any(|m| m.field == "task_struct.tgid" && m.without.is_none()));
        assert!(missing.iter().any(|m| m.field == "task_struct.loginuid" && m.without.is_some()));
    }

    #[test]
    fn the_running_kernel_has_everything_that_is_required() {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let btf = Btf::scan(&data, &structures()).expect("the kernel's own BTF");
        let (offsets, missing) = resolve(&btf);
        let required: Vec<_> = missing.iter().filter(|m| m.without.is_none()).collect();
        assert!(required.is_empty(), "{required:?}");
        // Fixed by the user ABI and by the head of a structure.
        assert_eq!(offsets.sock_remote_v4, 0);
        assert_eq!(offsets.upid_size, 16);
        assert_ne!(offsets.task_tgid, offsets.task_pid);
    }
}
