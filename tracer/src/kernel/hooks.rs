//! The kernel hooks: a table, read by the loader and by `killtrace doctor`.

/// One hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The tracepoint or function, and the program in the object that is for it.
    pub name: &'static str,
    /// What the name is of.
    pub place: Place,
    /// The first kernel release that has it.
    pub since: &'static str,
    /// Tracing is pointless without it.
    pub required: bool,
    /// What it shows.
    pub shows: &'static str,
    /// What is lost without it.
    pub without: &'static str,
    /// Attached only where target names were given.
    pub names_only: bool,
}

/// Where in the kernel a hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A raw tracepoint.
    Tracepoint,
    /// The entry of a function (fentry): found by the kernel's own type information alone.
    Function,
}

/// Every hook, in the order in which they are attached: what tells about new processes first, what
/// tells about signals and ends last, so that nobody is reported who was not seen coming.
pub const HOOKS: &[Hook] = &[
    Hook {
        name: "cgroup_mkdir",
        place: Place::Tracepoint,
        since: "4.20",
        required: false,
        shows: "new cgroups",
        without: "cgroups made while tracing have no path, and units started later are missed",
        names_only: false,
    },
    Hook {
        name: "cgroup_rmdir",
        place: Place::Tracepoint,
        since: "4.20",
        required: false,
        shows: "removed cgroups",
        without: "when a cgroup was removed stays unknown",
        names_only: false,
    },
    Hook {
        name: "sched_process_fork",
        place: Place::Tracepoint,
        since: "4.17",
        required: true,
        shows: "new processes",
        without: "children of targets are missed",
        names_only: false,
    },
    Hook {
        name: "task_rename",
        place: Place::Tracepoint,
        since: "4.17",
        required: false,
        shows: "processes that change their name",
        without: "a process that takes a target's name by itself is missed",
        names_only: true,
    },
    Hook {
        name: "sched_process_exec",
        place: Place::Tracepoint,
        since: "4.17",
        required: true,
        shows: "executed programs and their arguments",
        without: "short-lived senders stay unknown, and targets that start later are missed",
        names_only: false,
    },
    Hook {
        name: "mark_victim",
        place: Place::Tracepoint,
        since: "4.17",
        required: false,
        shows: "victims of the OOM killer",
        without: "an OOM kill is known by its kernel stack and log alone",
        names_only: false,
    },
    Hook {
        name: "inet_sock_set_state",
        place: Place::Tracepoint,
        since: "4.17",
        required: false,
        shows: "ends of TCP connections",
        without: "whether the other end closed an ssh connection is known from sshd's log alone",
        names_only: false,
    },
    Hook {
        name: CONNECTIONS,
        place: Place::Function,
        since: "5.5 (arm64: 6.4)",
        required: false,
        shows: "connections to systemd's private socket and to those of docker, podman and containerd",
        without: "who asked systemd for something over its private socket, as root's systemctl does, or docker over \
                  its socket, is concluded from the arguments of commands",
        names_only: false,
    },
    Hook {
        name: "sched_process_exit",
        place: Place::Tracepoint,
        since: "4.17",
        required: true,
        shows: "ends of processes",
        without: "deaths are missed",
        names_only: false,
    },
    Hook {
        name: "signal_generate",
        place: Place::Tracepoint,
        since: "4.17",
        required: true,
        shows: "signals and their senders",
        without: "who sent a signal stays unknown",
        names_only: false,
    },
];

/// The hook whose program is attached twice where programs can be preempted, which Linux lets happen to those of
/// raw tracepoints since 7.0 (`include/linux/tracepoint.h` holds SRCU there instead of disabling preemption).
/// While a preempted program waits for its CPU, the kernel skips every other run of it there: whole
/// series of ends would be missed. The second is on the trace event (`event.rs`), which is not preempted, or where
/// tracefs does not show that, on the raw tracepoint again: what one of the two misses the other sees. Second records
/// are dropped.
pub const ATTACHED_TWICE: &str = "sched_process_exit";
/// The group of tracefs that it is in.
pub const ATTACHED_TWICE_GROUP: &str = "sched";

/// The hook on connections to the private sockets of service managers, and to daemons that run containers.
pub const CONNECTIONS: &str = "security_unix_stream_connect";
