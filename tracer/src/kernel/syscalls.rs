//! Numbers and names of the system calls that can be under way when a signal is sent. A table; only
//! names that tell a reader something are in it.

use killtrace_ebpf::SyscallNumbers;

/// The 64-bit table of x86.
#[cfg(target_arch = "x86_64")]
const NATIVE: &[(i32, &str)] = &[
    (0, "read"),
    (1, "write"),
    (2, "open"),
    (3, "close"),
    (7, "poll"),
    (9, "mmap"),
    (10, "mprotect"),
    (11, "munmap"),
    (13, "rt_sigaction"),
    (14, "rt_sigprocmask"),
    (15, "rt_sigreturn"),
    (16, "ioctl"),
    (17, "pread64"),
    (18, "pwrite64"),
    (19, "readv"),
    (20, "writev"),
    (22, "pipe"),
    (23, "select"),
    (24, "sched_yield"),
    (28, "madvise"),
    (32, "dup"),
    (33, "dup2"),
    (34, "pause"),
    (35, "nanosleep"),
    (37, "alarm"),
    (38, "setitimer"),
    (40, "sendfile"),
    (41, "socket"),
    (42, "connect"),
    (43, "accept"),
    (44, "sendto"),
    (45, "recvfrom"),
    (46, "sendmsg"),
    (47, "recvmsg"),
    (48, "shutdown"),
    (56, "clone"),
    (57, "fork"),
    (58, "vfork"),
    (59, "execve"),
    (60, "exit"),
    (61, "wait4"),
    (62, "kill"),
    (72, "fcntl"),
    (74, "fsync"),
    (76, "truncate"),
    (77, "ftruncate"),
    (101, "ptrace"),
    (105, "setuid"),
    (109, "setpgid"),
    (112, "setsid"),
    (113, "setreuid"),
    (117, "setresuid"),
    (129, "rt_sigqueueinfo"),
    (130, "rt_sigsuspend"),
    (153, "vhangup"),
    (157, "prctl"),
    (160, "setrlimit"),
    (166, "umount2"),
    (169, "reboot"),
    (200, "tkill"),
    (202, "futex"),
    (209, "io_submit"),
    (223, "timer_settime"),
    (230, "clock_nanosleep"),
    (231, "exit_group"),
    (232, "epoll_wait"),
    (234, "tgkill"),
    (242, "mq_timedsend"),
    (247, "waitid"),
    (257, "openat"),
    (270, "pselect6"),
    (271, "ppoll"),
    (272, "unshare"),
    (275, "splice"),
    (276, "tee"),
    (278, "vmsplice"),
    (281, "epoll_pwait"),
    (285, "fallocate"),
    (288, "accept4"),
    (292, "dup3"),
    (295, "preadv"),
    (296, "pwritev"),
    (297, "rt_tgsigqueueinfo"),
    (298, "perf_event_open"),
    (302, "prlimit64"),
    (307, "sendmmsg"),
    (308, "setns"),
    (317, "seccomp"),
    (321, "bpf"),
    (322, "execveat"),
    (326, "copy_file_range"),
    (328, "pwritev2"),
    (424, "pidfd_send_signal"),
    (426, "io_uring_enter"),
    (434, "pidfd_open"),
    (435, "clone3"),
    (436, "close_range"),
    (440, "process_madvise"),
    (441, "epoll_pwait2"),
    (448, "process_mrelease"),
];

/// The 32-bit table of x86.
#[cfg(target_arch = "x86_64")]
const COMPAT: &[(i32, &str)] = &[
    (1, "exit"),
    (2, "fork"),
    (3, "read"),
    (4, "write"),
    (5, "open"),
    (6, "close"),
    (7, "waitpid"),
    (11, "execve"),
    (26, "ptrace"),
    (27, "alarm"),
    (29, "pause"),
    (37, "kill"),
    (54, "ioctl"),
    (63, "dup2"),
    (88, "reboot"),
    (111, "vhangup"),
    (120, "clone"),
    (146, "writev"),
    (172, "prctl"),
    (178, "rt_sigqueueinfo"),
    (181, "pwrite64"),
    (187, "sendfile"),
    (190, "vfork"),
    (238, "tkill"),
    (239, "sendfile64"),
    (240, "futex"),
    (252, "exit_group"),
    (270, "tgkill"),
    (313, "splice"),
    (330, "dup3"),
    (334, "pwritev"),
    (335, "rt_tgsigqueueinfo"),
    (358, "execveat"),
    (379, "pwritev2"),
    (424, "pidfd_send_signal"),
    (426, "io_uring_enter"),
    (435, "clone3"),
];

/// The 64-bit table of arm64.
#[cfg(target_arch = "aarch64")]
const NATIVE: &[(i32, &str)] = &[
    (2, "io_submit"),
    (22, "epoll_pwait"),
    (23, "dup"),
    (24, "dup3"),
    (25, "fcntl"),
    (29, "ioctl"),
    (39, "umount2"),
    (45, "truncate"),
    (46, "ftruncate"),
    (47, "fallocate"),
    (56, "openat"),
    (57, "close"),
    (58, "vhangup"),
    (63, "read"),
    (64, "write"),
    (65, "readv"),
    (66, "writev"),
    (67, "pread64"),
    (68, "pwrite64"),
    (69, "preadv"),
    (70, "pwritev"),
    (71, "sendfile"),
    (72, "pselect6"),
    (73, "ppoll"),
    (75, "vmsplice"),
    (76, "splice"),
    (77, "tee"),
    (82, "fsync"),
    (93, "exit"),
    (94, "exit_group"),
    (95, "waitid"),
    (97, "unshare"),
    (98, "futex"),
    (101, "nanosleep"),
    (103, "setitimer"),
    (110, "timer_settime"),
    (115, "clock_nanosleep"),
    (117, "ptrace"),
    (124, "sched_yield"),
    (129, "kill"),
    (130, "tkill"),
    (131, "tgkill"),
    (133, "rt_sigsuspend"),
    (134, "rt_sigaction"),
    (135, "rt_sigprocmask"),
    (138, "rt_sigqueueinfo"),
    (139, "rt_sigreturn"),
    (142, "reboot"),
    (145, "setreuid"),
    (146, "setuid"),
    (147, "setresuid"),
    (154, "setpgid"),
    (157, "setsid"),
    (164, "setrlimit"),
    (167, "prctl"),
    (182, "mq_timedsend"),
    (198, "socket"),
    (202, "accept"),
    (203, "connect"),
    (206, "sendto"),
    (207, "recvfrom"),
    (210, "shutdown"),
    (211, "sendmsg"),
    (212, "recvmsg"),
    (215, "munmap"),
    (220, "clone"),
    (221, "execve"),
    (222, "mmap"),
    (226, "mprotect"),
    (233, "madvise"),
    (240, "rt_tgsigqueueinfo"),
    (241, "perf_event_open"),
    (242, "accept4"),
    (260, "wait4"),
    (261, "prlimit64"),
    (268, "setns"),
    (269, "sendmmsg"),
    (277, "seccomp"),
    (280, "bpf"),
    (281, "execveat"),
    (285, "copy_file_range"),
    (287, "pwritev2"),
    (424, "pidfd_send_signal"),
    (426, "io_uring_enter"),
    (434, "pidfd_open"),
    (435, "clone3"),
    (436, "close_range"),
    (440, "process_madvise"),
    (441, "epoll_pwait2"),
    (448, "process_mrelease"),
];

/// The 32-bit table of arm.
#[cfg(target_arch = "aarch64")]
const COMPAT: &[(i32, &str)] = &[
    (1, "exit"),
    (2, "fork"),
    (3, "read"),
    (4, "write"),
    (5, "open"),
    (6, "close"),
    (11, "execve"),
    (26, "ptrace"),
    (29, "pause"),
    (37, "kill"),
    (54, "ioctl"),
    (63, "dup2"),
    (88, "reboot"),
    (111, "vhangup"),
    (120, "clone"),
    (146, "writev"),
    (172, "prctl"),
    (178, "rt_sigqueueinfo"),
    (190, "vfork"),
    (238, "tkill"),
    (240, "futex"),
    (248, "exit_group"),
    (268, "tgkill"),
    (424, "pidfd_send_signal"),
    (426, "io_uring_enter"),
    (435, "clone3"),
];

/// Other architectures: no names.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NATIVE: &[(i32, &str)] = &[];
/// Other architectures: no names.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const COMPAT: &[(i32, &str)] = &[];

/// Name of a system call, as in strace; `syscall_NNN` where the table has none. `compat`: of the
/// 32-bit table.
pub fn name(number: i32, compat: bool) -> String {
    let table = if compat { COMPAT } else { NATIVE };
    match table.binary_search_by_key(&number, |(number, _)| *number) {
        Ok(index) => table[index].1.to_owned(),
        Err(_) => format!("syscall_{number}"),
    }
}

/// The numbers that the programs have to know.
pub fn numbers() -> SyscallNumbers {
    let of = |wanted: &str| {
        NATIVE.iter().find_map(|(number, name)| (*name == wanted).then_some(*number)).unwrap_or(-1)
    };
    SyscallNumbers {
        kill: of("kill"),
        tkill: of("tkill"),
        tgkill: of("tgkill"),
        rt_sigqueueinfo: of("rt_sigqueueinfo"),
        rt_tgsigqueueinfo: of("rt_tgsigqueueinfo"),
        pidfd_send_signal: of("pidfd_send_signal"),
        write: of("write"),
        pwrite64: of("pwrite64"),
        writev: of("writev"),
        pwritev: of("pwritev"),
        pwritev2: of("pwritev2"),
        sendfile: of("sendfile"),
        splice: of("splice"),
        execve: of("execve"),
        execveat: of("execveat"),
        reserved: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order() {
        for table in [NATIVE, COMPAT] {
            assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn names_follow_the_callers_table() {
        assert_eq!(name(62, false), "kill");
        assert_eq!(name(37, true), "kill");
        assert_eq!(name(9999, false), "syscall_9999");
        assert_eq!(name(-7, false), "syscall_-7");
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_numbers_are_those_of_the_c_library() {
        let found = numbers();
        let libc = [
            (found.kill, libc::SYS_kill),
            (found.tkill, libc::SYS_tkill),
            (found.tgkill, libc::SYS_tgkill),
            (found.rt_sigqueueinfo, libc::SYS_rt_sigqueueinfo),
            (found.rt_tgsigqueueinfo, libc::SYS_rt_tgsigqueueinfo),
            (found.pidfd_send_signal, libc::SYS_pidfd_send_signal),
            (found.write, libc::SYS_write),
            (found.pwrite64, libc::SYS_pwrite64),
            (found.writev, libc::SYS_writev),
            (found.pwritev, libc::SYS_pwritev),
            (found.pwritev2, libc::SYS_pwritev2),
            (found.sendfile, libc::SYS_sendfile),
            (found.splice, libc::SYS_splice),
            (found.execve, libc::SYS_execve),
            (found.execveat, libc::SYS_execveat),
        ];
        for (ours, theirs) in libc {
            assert_eq!(libc::c_long::from(ours), theirs);
        }
    }
}
