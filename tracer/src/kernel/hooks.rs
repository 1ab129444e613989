//! The kernel hooks: a table, read by the loader and by `killtrace doctor`.

/// One hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The raw tracepoint, and the program in the object that is for it.
    pub tracepoint: &'static str,
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

/// Every hook, in the order in which they are attached: what tells about new processes first, what
/// tells about signals and ends last, so that nobody is reported who was not seen coming.
pub const HOOKS: &[Hook] = &[
    Hook {
        tracepoint: "cgroup_mkdir",
        since: "4.20",
        required: false,
        shows: "new cgroups",
        without: "cgroups made while tracing have no path, and units started later are missed",
        names_only: false,
    },
    Hook {
        tracepoint: "cgroup_rmdir",
        since: "4.20",
        required: false,
        shows: "removed cgroups",
        without: "when a cgroup was removed stays unknown",
        names_only: false,
    },
    Hook {
        tracepoint: "sched_process_fork",
        since: "4.17",
        required: true,
        shows: "new processes",
        without: "children of targets are missed",
        names_only: false,
    },
    Hook {
        tracepoint: "task_rename",
        since: "4.17",
        required: false,
        shows: "processes that change their name",
        without: "a process that takes a target's name by itself is missed",
        names_only: true,
    },
    Hook {
        tracepoint: "sched_process_exec",
        since: "4.17",
        required: true,
        shows: "executed programs and their arguments",
        without: "short-lived senders stay unknown, and targets that start later are missed",
        names_only: false,
    },
    Hook {
        tracepoint: "mark_victim",
        since: "4.17",
        required: false,
        shows: "victims of the OOM killer",
        without: "an OOM kill is known by its kernel stack and log alone",
        names_only: false,
    },
    Hook {
        tracepoint: "inet_sock_set_state",
        since: "4.17",
        required: false,
        shows: "ends of TCP connections",
        without: "whether the other end closed an ssh connection is known from sshd's log alone",
        names_only: false,
    },
    Hook {
        tracepoint: "sched_process_exit",
        since: "4.17",
        required: true,
        shows: "ends of processes",
        without: "deaths are missed",
        names_only: false,
    },
    Hook {
        tracepoint: "signal_generate",
        since: "4.17",
        required: true,
        shows: "signals and their senders",
        without: "who sent a signal stays unknown",
        names_only: false,
    },
];

/// The hook whose program is attached twice where programs can be preempted, which Linux lets happen to those of
/// tracepoints since 7.0 (`include/linux/tracepoint.h` holds SRCU there instead of disabling preemption).
/// While a preempted program waits for its CPU, the kernel skips every other run of it there: whole
/// series of ends would be missed. What one of the two misses the other sees; second records are dropped.
pub const ATTACHED_TWICE: &str = "sched_process_exit";

/// The word for a hook that is in place.
pub const ATTACHED: &str = "attached";
