//! Every remedy says all that there is to say of one.

use super::*;
use crate::evidence::{CgroupLimits, Written};
use crate::story::stopping::Choice;
use crate::story::verdict::DecidingSetting;

fn setting(name: &str, value: &str) -> DecidingSetting {
    DecidingSetting {
        name: name.to_owned(),
        value: value.to_owned(),
        file: Some("/etc/systemd/system/v.service".to_owned()),
        line: Some(4),
        unread: None,
    }
}

fn written(value: &str) -> Written {
    Written { value: value.to_owned(), file: None, line: None }
}

fn container(runtime: &str, pod: Option<&str>) -> Container {
    Container {
        runtime: runtime.to_owned(),
        id: "4fa6".to_owned(),
        name: Some("prod-db".to_owned()),
        pod: pod.map(str::to_owned),
        namespace: pod.map(|_| "shop".to_owned()),
        named_by: None,
    }
}

fn of_units(at: &UnitAt) -> Vec<Fix> {
    let asked =
        ["BindsTo", "PartOf", "Slice", "Conflicts"].map(|name| setting(name, "base.service"));
    let loosened = asked
        .iter()
        .map(|line| loosen_dependency(at, &line.name, line, ["v.service", "base.service"]));
    let unread = written("5s");
    let updaters = ["apt", "dnf", "zypper", "pacman", "apk", "needrestart"].map(str::to_owned);
    let installed = updaters.iter().flat_map(|updater| {
        let by = std::slice::from_ref(updater);
        [updates(at, by, None, None, Some("v")), install_again(at, by, None, None)]
    });
    let kept = [
        Kept::Free,
        Kept::Disabled,
        Kept::Masked { for_now: false },
        Kept::Deleted,
        Kept::OfConnection,
    ];
    let choices =
        [Choice::Mixed(setting("KillMode", "mixed")), Choice::Hangup(setting("SendSIGHUP", "yes"))];
    let mut all = vec![
        kill_mode_process(at),
        reload(at, "TimeoutStopSec", &unread),
        own_unit(at, "worker", "worker 7", Some("alice")),
        survivable_reload(at),
        survivable_reload_signal(at, "SIGHUP"),
        failing_command(at, "ExecStartPre"),
        failing_start(at),
        failing_stop(at),
        fitting_type(at, "notify"),
        fitting_type(at, "forking"),
        watchdog_request(at),
        stop_timeout(at, "SIGKILL"),
        init_in_front(at, "SIGTERM"),
        abort_timeout(at, "SIGKILL"),
        start_timeout(at),
        reload_timeout(at),
        runtime_max(at),
        watchdog(at),
        oom_policy(at),
        oomd_avoid(at),
        oomd_unwatched(at, "ManagedOOMSwap"),
        memory_limit(at, None),
        memory_limit(at, Some(24 << 20)),
        unit_limit(at, "LimitCPU"),
        system_call_fails(at),
        ignore_broken_pipes(at),
        other_slice(at, "my.slice"),
        direct_restart(at, "w.service"),
        keep_when_unneeded(at),
        ignore_on_isolate(at),
        refuse_manual_stop(at),
        no_end_action(at, "FailureAction"),
        longer_limit_in(at, "--timeout"),
        survive_soft_reboot(at),
    ];
    all.extend(loosened);
    all.extend(installed);
    all.extend(kept.map(|kept| start_again(at, kept)));
    all.extend(choices.iter().filter_map(|choice| other_choice(at, choice)));
    all.extend(look_at_unit(at));
    all.push(without_dependency(at, "PartOf", "base.service"));
    all
}

fn of_no_unit() -> Vec<Fix> {
    let core = |pattern: Option<&'static str>| {
        core_dump(&Core {
            program: "/bin/v",
            comm: "v",
            pid: 7,
            ns_pid: 7,
            uid: Some(0),
            signal: Some(11),
            dumped: true,
            pattern,
        })
    };
    let limits = CgroupLimits {
        memory_max: Some(24 << 20),
        limit_file: Some("/sys/fs/cgroup/box/memory.max".to_owned()),
        ..CgroupLimits::default()
    };
    let unread = written("no");
    let mut all = vec![
        udev_unit(),
        look_at_slurm_job("7"),
        more_memory(),
        longer_limit("timeout 5 v"),
        longer_limit_of("uwsgi", "--harakiri", "uwsgi --harakiri 5"),
        cgroup_memory(None),
        cgroup_memory(Some(&limits)),
        lasting_init(),
        patient_probe(&container("containerd", Some("web-0")), "liveness"),
        who_may("org.freedesktop.login1.manage", None),
        who_may("org.freedesktop.login1.manage", Some("alice")),
        hold_up_shutdown("rsync"),
        cancel_shutdown(),
        linger_and_scope("alice", "tmux", "tmux"),
        system_unit_of_user("alice", "v", "v"),
        system_unit_of_user("alice", "tmux", "tmux new"),
        linger("alice"),
        keep_user_processes(Logind::OfSystemd),
        keep_user_processes(Logind::Elogind),
        keep_processes_of("alice", "/var/lib/systemd/home/alice.identity"),
        keep_processes_of("alice", "/etc/userdb/alice.user"),
        home_image("alice"),
        reload_logind("KillUserProcesses", &unread),
        exclude_user(Logind::OfSystemd, "alice"),
        no_idle_stop(),
        no_logind_action("IdleAction"),
        pam_systemd("ssh.service"),
        pam_systemd("sshd.service"),
        long_running_sshd("ssh.socket"),
        detach("v", "v", false),
        detach("v", "v", true),
        no_hangup_by_shell("v", "bash"),
        longer_idle("TMOUT", None),
        longer_idle("autologout", None),
        expect_eof(),
        output_to_file("v"),
        keep_alive(),
        idle_channels(),
        replace_file("/opt/a b"),
        resource_limit("cpu", "the CPU time limit", "LimitCPU"),
        both_cpu_limits(),
        narrower_script(),
        words_of_oom_daemon(7),
        longer_limit_of_sudo(None),
        thread_stack(),
        looked_at_sender(Some(Asker::Unit { unit: "v.service", user: None }), None),
        looked_at_sender(None, Some(&container("docker", None))),
        look_at_asker(&Asker::CronJob("true")),
        look_at_asker(&Asker::AtJob),
        look_at_asker(&Asker::Unit { unit: "v.service", user: None }),
        look_at_asker(&Asker::Unit { unit: "v.service", user: Some(whose()) }),
    ];
    all.extend(stack_limits());
    all.extend([Some("|"), Some("core"), Some("|/lib/systemd/systemd-coredump"), None].map(core));
    all.extend(["earlyoom", "nohang"].into_iter().filter_map(|it| oom_daemon_avoid(it, "v")));
    for runtime in ["docker", "podman", "nspawn", "lxc", "runc"] {
        let plain = container(runtime, None);
        all.extend([container_grace(&plain), container_memory(&plain, None)]);
        all.extend(container_again(&plain));
        let pods = container(runtime, Some("web-0"));
        all.extend([container_grace(&pods), container_memory(&pods, Some(24 << 20))]);
        all.extend(container_again(&pods));
    }
    all
}

fn looked_at_sender(unit: Option<Asker<'_>>, container: Option<&Container>) -> Fix {
    let at = crate::report::samples::at(0);
    let sender = Sender { pid: 7, unit, container, script: Some("/opt/v.sh"), at };
    look_at_sender(&sender).expect("something is known of it")
}

fn whose() -> Whose {
    Whose::called(1000, Some("alice"))
}

#[test]
fn a_remedy_says_what_it_brings_how_to_check_it_and_where_to_read_on() {
    let plain = UnitAt::of_system("v.service");
    let transient = UnitAt { transient: true, ..plain.clone() };
    let of_user = UnitAt { user: Some(whose()), ..plain.clone() };
    let lost = UnitAt { lost_file: Some("/etc/v.service".to_owned()), ..plain.clone() };
    let units = [plain, transient, of_user, lost];
    for fix in units.iter().flat_map(of_units).chain(of_no_unit()) {
        let told = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        assert!(!fix.title.is_empty() && !fix.effect.is_empty(), "{fix:#?}");
        assert!(!fix.commands.is_empty(), "{fix:#?}");
        assert!(told(&fix.side_effect) && told(&fix.verify) && told(&fix.reference), "{fix:#?}");
        // A line break would begin a command of its own.
        assert!(fix.commands.iter().all(|command| !command.contains('\n')), "{fix:#?}");
    }
}

/// What is learned of packages on the machine is of its own package manager.
#[test]
fn packages_are_held_by_what_installs_them() {
    let at = UnitAt::of_system("v.service");
    let by = |updaters: &[&str], os: Option<&str>| {
        let updaters: Vec<String> = updaters.iter().map(|it| (*it).to_owned()).collect();
        let file = Some("/usr/lib/systemd/system/v.service");
        updates(&at, &updaters, os, file, None).commands.join("\n")
    };
    for (updaters, os, finds, holds) in [
        (&["apt"][..], None, "dpkg -S /usr", "apt-mark hold"),
        (&["rpm", "dnf"], None, "rpm -qf /usr", "dnf versionlock"),
        (&["rpm", "zypper"], None, "rpm -qf /usr", "zypper addlock"),
        (&["pacman"], None, "pacman -Qo /usr", "IgnorePkg"),
        (&["apk"], None, "apk info --who-owns /usr", "apk add"),
        // PackageKit and its kind are everywhere: what the distribution has counts.
        (&["packagekitd"], Some("nobara rhel fedora"), "rpm -qf /usr", "dnf versionlock"),
        (&["packagekitd"], Some("debian"), "dpkg -S /usr", "apt-mark hold"),
        (&["packagekitd"], Some("nixos"), "|| pacman -Qo /usr", "IgnorePkg"),
        (&["dnf5daemon-serv"], Some("debian"), "rpm -qf /usr", "dnf versionlock"),
    ] {
        let commands = by(updaters, os);
        assert!(commands.contains(finds) && commands.contains(holds), "{commands}");
    }
    let known = updates(&at, &["apt".to_owned()], None, None, Some("v"));
    assert_eq!(known.commands, ["sudo apt-mark hold v"]);
}

#[test]
fn a_remark_has_one_line() {
    assert_eq!(remark("write Wants=a\nreboot"), "# write Wants=a reboot");
}

/// Both take effect, though they are written to the same directory.
#[test]
fn needrestart_is_told_of_each_unit_by_a_file_of_its_own() {
    let file = |unit: &str| {
        let by = ["needrestart".to_owned()];
        let told = updates(&UnitAt::of_system(unit), &by, None, None, Some("v"));
        told.commands[0].rsplit(' ').next().map(str::to_owned)
    };
    let one = Some("/etc/needrestart/conf.d/50-killtrace-a.service.conf".to_owned());
    assert_eq!(file("a.service"), one);
    assert_ne!(file("b.service"), one);
}

/// A multiplexer goes to the background, and has no terminal there.
#[test]
fn a_multiplexer_is_a_unit_of_the_systems_without_a_terminal() {
    let run = |program: &str| {
        let command = format!("/opt/{program} --do it");
        system_unit_of_user("alice", program, &command).commands[0].clone()
    };
    let tmux =
        "sudo systemd-run --uid=alice --unit=my-job --service-type=forking tmux new-session -d";
    assert_eq!(run("tmux"), tmux);
    assert_eq!(run("tmux: server"), tmux);
    assert!(run("screen").ends_with("--service-type=forking screen -d -m"));
    let worker = "sudo systemd-run --uid=alice --unit=my-job /opt/worker --do it";
    assert_eq!(run("worker"), worker);
}

/// systemd replaces variables in what a service runs, but not in what a scope does.
#[test]
fn what_systemd_is_to_run_keeps_its_dollar_signs() {
    let command = "sh -c 'echo ${HOME} $$'";
    let of_system = system_unit_of_user("alice", "sh", command);
    let own = own_unit(&UnitAt::of_system("v.service"), "sh", command, None);
    for fix in [of_system, own] {
        assert!(fix.commands[0].ends_with("sh -c 'echo $${HOME} $$$$'"), "{:?}", fix.commands);
    }
    let scope = linger_and_scope("alice", "sh", command);
    assert!(scope.commands[1].ends_with(command), "{:?}", scope.commands);
}
