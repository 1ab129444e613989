//! Which case is made of what.

/// Scenes of the fixture program that are kept as cases, each under its own name.
pub const LIVE: &[&str] = &[
    "abort",
    "caught-then-exit",
    "cgroup-kill",
    "cgroup-oom",
    "ctrl-c",
    "exit-3",
    "handled-usr1-then-exit",
    "hostile-names",
    "ignored-then-exit",
    "kill-builtin",
    "kill-group",
    "kill-term",
    "kill-two-senders",
    "namespace-init-exit",
    "null-pointer",
    "orphaned-group",
    "parent-death-signal",
    "parent-thread-exit",
    "pidfd-send-signal",
    "pkill",
    "ptrace-exitkill",
    "pty-closed",
    "rlimit-cpu-soft",
    "rlimit-fsize",
    "seccomp-kill-process",
    "session-leader-exit",
    "shell-passes-status-on",
    "sigpipe",
    "sigqueue-forged",
    "stopped-then-killed",
    "supervisor",
    "timeout-command",
    "timer-term",
];

/// A case that a test of the lab records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabCase {
    /// Its name.
    pub name: &'static str,
    /// The test, `::` and all.
    pub test: &'static str,
}

/// Tests of the lab whose recordings are kept as cases.
pub const LAB: &[LabCase] = &[
    LabCase {
        name: "client-killed",
        test: "logout::a_killed_client_closes_the_connection_without_a_word",
    },
    LabCase { name: "dependency-over-another", test: "units_dependencies::over_another_unit" },
    LabCase { name: "kill-over-ssh", test: "commands::a_kill_typed_over_ssh_names_the_login" },
    LabCase {
        name: "logout",
        test: "logout::a_clean_logout_ends_tmux_where_logind_kills_user_processes",
    },
    LabCase {
        name: "mixed-kill-mode",
        test: "units_killing::mixed_kills_the_others_when_the_main_process_has_ended",
    },
    LabCase {
        name: "network-silent",
        test: "logout::a_silent_network_is_told_apart_from_a_client_that_left",
    },
    LabCase {
        name: "no-bus",
        test: "commands::without_a_bus_it_still_traces_and_says_what_it_misses",
    },
    LabCase {
        name: "pane-of-ended-server",
        test: "panes::a_pane_goes_when_logind_ends_its_server",
    },
    LabCase { name: "restart-by-sudo", test: "commands::a_restart_by_sudo_names_who_is_behind_it" },
    LabCase {
        name: "service-main-process-exited",
        test: "commands::a_service_cleans_up_after_its_main_process",
    },
    LabCase {
        name: "sshd-per-connection",
        test: "connections::one_unit_per_connection_as_debian_calls_it",
    },
    LabCase { name: "systemctl-stop", test: "commands::a_systemctl_stop_by_root_is_named" },
    LabCase { name: "term-then-kill", test: "logout::sigterm_then_sigkill_is_one_story" },
    LabCase {
        name: "terminate-session",
        test: "logout::a_terminated_session_names_who_had_it_terminated",
    },
    LabCase { name: "timer-pkill", test: "commands::a_pkill_from_a_timer_names_its_unit" },
    LabCase {
        name: "unit-command",
        test: "units_commands::a_command_before_the_start_ends_another_units_process",
    },
    LabCase {
        name: "user-manager-stopped",
        test: "last_session::the_user_manager_takes_its_units_along_after_the_last_logout",
    },
];

/// The same in labs of other releases, by what `$KILLTRACE_LAB_SUITE` was: systemd 257 and OpenSSH 10, systemd 262.
pub const OTHER_LABS: &[(&str, &[LabCase])] = &[("trixie", OF_13), ("sid", OF_SID)];

const OF_13: &[LabCase] = &[
    LabCase {
        name: "13-client-killed",
        test: "logout::a_killed_client_closes_the_connection_without_a_word",
    },
    LabCase { name: "13-slice-stopped", test: "requesters::the_stop_of_a_whole_slice" },
    LabCase {
        name: "13-sshd-per-connection",
        test: "connections::one_unit_per_connection_as_debian_calls_it",
    },
    LabCase {
        name: "13-user-manager-stopped",
        test: "last_session::the_user_manager_takes_its_units_along_after_the_last_logout",
    },
];

const OF_SID: &[LabCase] = &[
    LabCase {
        name: "262-logout",
        test: "logout::a_clean_logout_ends_tmux_where_logind_kills_user_processes",
    },
    LabCase { name: "262-machine-terminated", test: "requesters::a_machine_is_terminated" },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fixtures;

    #[test]
    fn each_name_stands_for_one_case() {
        let others = OTHER_LABS.iter().flat_map(|(_, cases)| cases.iter());
        let of_labs = LAB.iter().chain(others).map(|case| case.name);
        let names = LIVE.iter().copied().chain(of_labs);
        let different: BTreeSet<&str> = names.clone().collect();
        assert_eq!(different.len(), names.count());
    }

    #[test]
    fn each_scene_is_one_of_the_fixtures() {
        for scene in LIVE {
            assert!(fixtures::scene(scene).is_some(), "no scene is called {scene}");
        }
    }
}
