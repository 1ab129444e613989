//! Signals through a service manager: `systemctl kill`, and whatever a user's own manager does.

use killtrace_tests::lab::{Killtrace, Lab, Login, PATIENCE, wait_for};

use crate::death::Death;
use crate::units::{main_pid, start, unit, verdict};
use crate::{kill_user_processes, lab};

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

fn victim() -> (Lab, u32) {
    let lab = lab(&unit(kill_user_processes("no"), "victim.service", SLEEPS));
    let pid = start(&lab, &["victim.service"]);
    (lab, pid)
}

#[test]
fn systemctl_kill_by_root() {
    let (lab, pid) = victim();
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "kill", "-s", "KILL", "victim.service"]).expect("killed");
    });
    assert_eq!(death.cause(), "systemctl-kill", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_chain(&[
        ("command", "systemctl kill -s KILL victim.service"),
        ("unit-state", "on client request"),
        ("signal", "SIGKILL"),
    ]);
    death.assert_says(&["victim.service: root ran \"systemctl kill -s KILL victim.service\""]);
    death.assert_ruled_out("unit-stop-requested");
    // Root may, and nothing of the unit's refuses a signal.
    death.assert_no_fix();
}

/// A signal whose purpose is not to end a process ends one that does not handle it.
#[test]
fn systemctl_kill_by_a_person() {
    let (lab, pid) = victim();
    let mut login = lab.login().expect("alice logs in");
    let death = verdict(&lab, pid, || {
        login.run("sudo systemctl kill --signal=USR1 victim").expect("killed");
    });
    assert_eq!(death.cause(), "systemctl-kill", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGUSR1", "{death}");
    let command = "sudo systemctl kill --signal=USR1 victim";
    death.assert_says(&["victim.service: alice ran", command, "in ssh session"]);
    death.assert_chain(&[
        ("command", command),
        ("unit-state", "on client request"),
        ("signal", "SIGUSR1"),
    ]);
    death.assert_ruled_out("unit-stop-requested");
    death.fix_with("sudo -l -U alice");
}

/// As logrotate has a daemon open its log anew, and somebody stops it later.
#[test]
fn a_stop_after_a_signal_that_was_asked_for() {
    const HEEDS: &str =
        "[Service]\nExecStart=/bin/bash -c 'trap : HUP; while :; do read -t 60 <> <(:); done'\n";
    let lab = lab(&unit(kill_user_processes("no"), "victim.service", HEEDS));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "kill", "-s", "HUP", "victim.service"]).expect("signalled");
        std::thread::sleep(std::time::Duration::from_secs(1));
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_says(&["root ran \"systemctl stop victim.service\""]);
}

/// With a value, which systemd takes since 254: it is queued, and not sent as by kill(2).
#[test]
fn a_signal_with_a_value() {
    const COMMAND: &str = "systemctl kill -s RTMIN+1 --kill-value=7 victim.service";
    let (lab, pid) = victim();
    let help = lab.exec(&["systemctl", "--help"]).expect("its help");
    if !help.contains("--kill-value") {
        let output = lab.output(&COMMAND.split(' ').collect::<Vec<_>>()).expect("asked");
        assert!(!output.status.success(), "{output:?}");
        return;
    }
    let death = verdict(&lab, pid, || drop(lab.exec(&["sh", "-c", COMMAND]).expect("killed")));
    assert_eq!(death.cause(), "systemctl-kill", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGRT_3", "{death}");
    death.assert_says(&["victim.service: root ran", COMMAND]);
    death.assert_chain(&[
        ("command", COMMAND),
        ("unit-state", "on client request"),
        ("signal", "SIGRT_3"),
    ]);
}

/// A program that speaks to the bus itself, as desktops and configuration tools do.
#[test]
fn a_client_of_the_bus_stops_a_unit() {
    let (lab, pid) = victim();
    let death = verdict(&lab, pid, || {
        lab.exec(&[
            "busctl",
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            "StopUnit",
            "ss",
            "victim.service",
            "replace",
        ])
        .expect("asked");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    // Who called is observed where the bus can still ask, else concluded from the arguments.
    assert!(death.0["cause"]["explanation"].to_string().contains("root ran"), "{death}");
    death.assert_chain(&[
        ("command", "busctl"),
        ("bus-call", "StopUnit"),
        ("job", "stop"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("sudo systemctl start victim.service");
}

/// alice's login, and a unit of hers.
fn worker(lab: &Lab, how: &str) -> (Login, u32) {
    let mut login = lab.login().expect("alice logs in");
    login.run(&format!("systemd-run --user --quiet {how}")).expect("a unit of hers");
    let pid = lab.pid_of("sleep").expect("its pid");
    (login, pid)
}

fn manager(lab: &Lab) -> u32 {
    main_pid(lab, "user@1000.service")
}

#[test]
fn a_unit_of_a_user_is_stopped() {
    let lab = lab(&kill_user_processes("no"));
    let (mut login, pid) = worker(&lab, "--unit=worker sleep 1000");
    let death = verdict(&lab, pid, || {
        login.run("systemctl --user stop worker").expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(manager(&lab), "systemd");
    assert_eq!(death.0["victim"]["user_unit"], "worker.service", "{death}");
    death.assert_chain(&[
        ("command", "systemctl --user stop worker"),
        ("job", "stop worker.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["stopped worker.service: alice ran", "in ssh session"]);
    death.assert_ruled_out("logind-user-stopped");
    // systemd-run had made it, and it is gone.
    death.assert_no_fix();
}

#[test]
fn a_unit_of_a_user_gets_a_signal() {
    let lab = lab(&kill_user_processes("no"));
    let (mut login, pid) = worker(&lab, "--unit=worker sleep 1000");
    let death = verdict(&lab, pid, || {
        login.run("systemctl --user kill -s INT worker").expect("killed");
    });
    assert_eq!(death.cause(), "systemctl-kill", "{death}");
    death.assert_killer(manager(&lab), "systemd");
    let command = "systemctl --user kill -s INT worker";
    death.assert_chain(&[
        ("command", command),
        ("unit-state", "on client request"),
        ("signal", "SIGINT"),
    ]);
    death.assert_says(&["worker.service: alice ran", command, "in ssh session"]);
    // Her own manager obeys her.
    death.assert_no_fix();
}

#[test]
fn a_scope_of_a_user_is_stopped() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let pid: u32 = login
        .run("(systemd-run --user --scope --quiet --unit=job sleep 1000 & echo $!)")
        .expect("a scope of hers")
        .parse()
        .expect("its pid");
    wait_for("the scope", PATIENCE, || {
        Ok(lab.read(&format!("/proc/{pid}/cgroup"))?.contains("job.scope").then_some(()))
    })
    .expect("in its scope");
    let death = verdict(&lab, pid, || {
        login.run("systemctl --user stop job.scope").expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(manager(&lab), "systemd");
    assert_eq!(death.0["victim"]["user_unit"], "job.scope", "{death}");
    death.assert_chain(&[
        ("command", "systemctl --user stop job.scope"),
        ("job", "stop job.scope"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["stopped job.scope: alice ran", "in ssh session"]);
    death.assert_no_fix();
}

/// Not logind, not the last logout: somebody stopped all that is alice's.
#[test]
fn a_users_whole_manager_is_stopped_by_root() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pid) = worker(&lab, "--unit=worker sleep 1000");
    let manager = manager(&lab);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "user@1000.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(manager, "systemd");
    death.assert_chain(&[
        ("command", "systemctl stop user@1000.service"),
        ("job", "stop user@1000.service"),
        ("job", "stop worker.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["it was itself stopped (user@1000.service): root ran"]);
    death.assert_ruled_out("logind-user-stopped");
    death.fix_with("sudo systemd-run --uid=alice --unit=my-job /usr/bin/sleep 1000");
}

/// So it is of the slice that the unit is in, whether it ran before or comes later.
#[test]
fn a_slice_has_what_its_services_run_elsewhere() {
    let text =
        "[Service]\nUser=alice\nPAMName=login\nSlice=my-own.slice\nExecStart=/bin/sleep 1000\n";
    let options = unit(kill_user_processes("no"), "first.service", text);
    let lab = lab(&unit(options, "second.service", text));
    let is_elsewhere = |pid: u32| {
        let cgroup = lab.read(&format!("/proc/{pid}/cgroup"))?;
        Ok(cgroup.contains("/session-").then_some(()))
    };
    let first = start(&lab, &["first.service"]);
    wait_for("its session", PATIENCE, || is_elsewhere(first)).expect("PAM has moved it");
    let mut killtrace = Killtrace::start(&lab, &["--target", "unit:my.slice"]).expect("killtrace");
    let second = start(&lab, &["second.service"]);
    wait_for("its session", PATIENCE, || is_elsewhere(second)).expect("PAM has moved it");
    killtrace.learns(&["\"target\"", &format!("\"pid\":{second},")]).expect("a target");
    lab.exec(&["systemctl", "stop", "my.slice"]).expect("stopped");
    for pid in [first, second] {
        let death = Death(killtrace.death_of(pid).expect("a verdict"));
        assert_eq!(death.cause(), "unit-dependency", "{death}");
        death.assert_chain(&[("command", "systemctl stop my.slice"), ("signal", "SIGTERM")]);
    }
    killtrace.stop().expect("killtrace ends");
}

/// `PAMName=` opens a session for what a unit runs: it lives in that session's scope, and is the unit's all the same.
#[test]
fn a_unit_that_runs_elsewhere_is_a_target() {
    const FILE: &str = "/etc/systemd/system/victim.service";
    let text = "[Unit]\nBindsTo=base.service\nAfter=base.service\n[Service]\nUser=alice\nPAMName=login\n\
                Restart=on-failure\nRestartSec=100ms\nExecStart=/bin/sleep 1000\n";
    let options =
        unit(unit(kill_user_processes("no"), "base.service", SLEEPS), "victim.service", text);
    let lab = lab(&options);
    let first = start(&lab, &["victim.service", "base.service"]);
    let is_elsewhere = |pid: u32| {
        let cgroup = lab.read(&format!("/proc/{pid}/cgroup"))?;
        Ok(cgroup.contains("/session-").then_some(()))
    };
    wait_for("its session", PATIENCE, || is_elsewhere(first)).expect("PAM has moved it");
    let mut killtrace =
        Killtrace::start(&lab, &["--target", "unit:victim.service"]).expect("killtrace");
    lab.exec(&["systemctl", "kill", "-s", "KILL", "victim.service"]).expect("killed");
    let death = Death(killtrace.death_of(first).expect("a verdict"));
    assert_eq!(death.cause(), "systemctl-kill", "{death}");
    death.assert_chain(&[
        ("command", "systemctl kill -s KILL victim.service"),
        ("unit-state", "on client request"),
        ("signal", "SIGKILL"),
    ]);
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("passed it on to victim.service"), "{death}");
    assert_eq!(death.0["gaps"], serde_json::json!([]), "{death}");

    let next = || Some(main_pid(&lab, "victim.service")).filter(|pid| ![0, first].contains(pid));
    let second = wait_for("another main process", PATIENCE, || Ok(next())).expect("restarted");
    killtrace.learns(&["\"target\"", &format!("\"pid\":{second},")]).expect("a target");
    wait_for("its session", PATIENCE, || is_elsewhere(second)).expect("PAM has moved it");
    killtrace.learns(&["base.service", "\"BindsTo\"", "\"line\":2"]).expect("the dependency");
    lab.exec(&["systemctl", "stop", "base.service"]).expect("stopped");
    let death = Death(killtrace.death_of(second).expect("a verdict"));
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("BindsTo", "base.service", FILE, 2);
    death.assert_chain(&[
        ("command", "systemctl stop base.service"),
        ("job", "stop base.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    killtrace.stop().expect("killtrace ends");
}
