//! A unit's own end: its main process, its time limits, its watchdog.

use killtrace_tests::lab::Options;

use crate::death::Death;
use crate::lab;
use crate::units::{assert_default, drop_in, line_of, main_pid, start, unit, verdict};

const VICTIM: &str = "/etc/systemd/system/victim.service";
const DROP_IN: &str = "/etc/systemd/system/victim.service.d/60-lab.conf";
/// A main process that ends when told to, and a helper that does not.
const WITH_HELPER: &str = "ExecStartPre=/usr/bin/mkfifo /run/end\n\
     ExecStart=/bin/sh -c 'setsid sleep 1000 & read end < /run/end'\n";
const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";
/// Does not care about SIGTERM.
const STUBBORN: &str = "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do read x < /run/never; done'\n\
     ExecStartPre=/usr/bin/mkfifo /run/never\n";

/// The end of the helper of a service with these lines, when its main process has ended by itself.
fn leftover(lines: &str) -> Death {
    let text = format!("[Service]\n{lines}\n{WITH_HELPER}");
    let lab = lab(&unit(Options::default(), "victim.service", &text));
    start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    });
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");
    death.assert_killer(1, "systemd");
    death
}

#[test]
fn leftovers_of_a_mixed_service_are_killed_at_once() {
    let death = leftover("KillMode=mixed");
    death.assert_setting("KillMode", "mixed", VICTIM, 2);
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_chain(&[("process-exit", "sh"), ("signal", "SIGKILL")]);
    death.assert_no_link("job");
    death.assert_ruled_out("unit-stop-requested");
    death.fix_with("sudo systemd-run --unit=my-job sleep 1000");
    death.fix_with("KillMode=process");
}

#[test]
fn leftovers_of_a_oneshot() {
    let text = format!("[Service]\nType=oneshot\n{WITH_HELPER}");
    let lab = lab(&unit(Options::default(), "victim.service", &text));
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("started");
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    });
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");
    death.assert_chain(&[("process-exit", "sh"), ("signal", "SIGTERM")]);
    death.assert_says(&[
        "the oneshot service victim.service",
        "KillMode=control-group, the default",
    ]);
    assert_default(&death, "KillMode", "control-group");
    death.fix_with("KillMode=process");
}

/// What it left behind is no part of the service that is started again.
#[test]
fn leftovers_of_a_service_that_is_restarted() {
    let death = leftover("Restart=always\nRestartSec=1h");
    death.assert_chain(&[("process-exit", "exited with 0"), ("signal", "SIGTERM")]);
    death.assert_no_link("job");
    assert_default(&death, "KillMode", "control-group");
    death.fix_with("KillMode=process");
}

#[test]
fn a_killed_main_process_takes_the_rest_along() {
    let text = format!("[Service]\n{WITH_HELPER}");
    let lab = lab(&unit(Options::default(), "victim.service", &text));
    let main = start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["/bin/kill", "-KILL", &main.to_string()]).expect("killed");
    });
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");
    let kill = format!("/bin/kill -KILL {main}");
    assert!(death.0["cause"]["explanation"].to_string().contains(&kill), "{death}");
    death.assert_chain(&[
        ("command", &kill),
        ("signal", "SIGKILL"),
        ("process-exit", "sh"),
        ("signal", "SIGTERM"),
    ]);
    assert_default(&death, "KillMode", "control-group");
    death.fix_with("KillMode=process");
}

#[test]
fn the_start_takes_too_long() {
    let options = unit(Options::default(), "victim.service", &format!("{SLEEPS}Type=notify\n"));
    let lab = lab(&drop_in(options, "victim.service", "[Service]\nTimeoutStartSec=2s\n"));
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("starting");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-start-timeout", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("TimeoutStartSec", "2s", DROP_IN, 2);
    death.assert_chain(&[("timeout", "start operation timed out"), ("signal", "SIGTERM")]);
    assert!(death.0["cause"]["explanation"].to_string().contains("READY=1"), "{death}");
    death.fix_with("NotifyAccess=");
    death.fix_with("TimeoutStartSec=");
}

/// The service itself is there and does its work.
#[test]
fn what_runs_after_the_start_takes_too_long() {
    let text = "[Service]\nTimeoutStartSec=3\nExecStart=/usr/bin/tail -f /dev/null\nExecStartPost=/bin/sleep 1000\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("starting");
    let pid = lab.pid_of("tail").expect("its pid");
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-start-timeout", "{death}");
    death.assert_setting("TimeoutStartSec", "3", VICTIM, 2);
    death.assert_setting("ExecStartPost", "/bin/sleep 1000", VICTIM, 4);
    death.fix_with("ExecStartPost=");
}

/// What runs after the start fails, and the service goes with it.
#[test]
fn the_start_fails_after_it_began() {
    let text = "[Service]\nExecStart=/bin/sleep 1000\nExecStartPost=/bin/sh -c 'read end < /run/end; exit 3'\n\
                ExecStartPre=/usr/bin/mkfifo /run/end\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("starting");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    });
    assert_eq!(death.cause(), "unit-failed", "{death}");
    death.assert_killer(1, "systemd");
    let setting = death.setting("ExecStartPost");
    assert_eq!((&setting["file"], &setting["line"]), (&VICTIM.into(), &3.into()), "{death}");
    death.assert_chain(&[
        ("command", "for ExecStartPost= of victim.service"),
        ("process-exit", "exited with 3"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_ruled_out("unit-stop-requested");
    death.fix_with("in ExecStartPost=, a - before the command");
}

/// A condition that says no is no failure, whatever its command has left running.
#[test]
fn the_condition_says_no() {
    let text = "[Service]\nExecCondition=/bin/sh -c 'mkfifo /run/end; setsid sleep 1000 & read end < /run/end; exit 1'\n\
                ExecStart=/bin/true\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("starting");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    });
    assert_eq!(death.cause(), "unit-failed", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("its condition said no, which is no failure"), "{death}");
    let setting = death.setting("ExecCondition");
    assert_eq!((&setting["file"], &setting["line"]), (&VICTIM.into(), &2.into()), "{death}");
    death.assert_chain(&[("process-exit", "exited with 1"), ("signal", "SIGTERM")]);
    death.fix_with("ExecCondition");
}

/// It says that it is stopping, of its own accord, and hangs.
#[test]
fn a_service_that_says_that_it_is_stopping_hangs() {
    let text = "[Service]\nTimeoutStopSec=2\nNotifyAccess=all\nExecStartPre=/usr/bin/mkfifo /run/end\n\
                ExecStart=/bin/sh -c 'read end < /run/end; systemd-notify STOPPING=1; exec sleep 1000'\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to stop");
    });
    assert_eq!(death.cause(), "unit-stop-timeout", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("TimeoutStopSec", "2", VICTIM, 2);
    death.assert_chain(&[
        ("unit-state", "began to end"),
        ("timeout", "State 'stop-sigterm' timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.assert_no_link("job");
    death.fix_with("TimeoutStopSec=");
}

/// `ExecStop=` fails, and the unit is stopped by a signal.
#[test]
fn what_is_to_stop_it_fails() {
    let text = "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sh -c 'exit 3'\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    let setting = death.setting("ExecStop");
    assert_eq!((&setting["file"], &setting["line"]), (&VICTIM.into(), &3.into()), "{death}");
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("process-exit", "exited with 3"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["root ran \"systemctl stop victim.service\"", "had failed before"]);
    death.fix_with("systemctl start victim.service");
    death.fix_with("ExecStop= is what asks the program to end");
}

/// The kernel keeps the limit, the unit's file set it.
#[test]
fn the_units_own_limit_of_cpu_time() {
    let text = "[Service]\nExecStart=/bin/sh -c 'while :; do :; done'\nLimitCPU=1\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "cpu-limit", "{death}");
    death.assert_setting("LimitCPU", "1", VICTIM, 3);
    death.fix_with("LimitCPU=");
}

#[test]
fn a_service_runs_too_long() {
    let options = unit(Options::default(), "victim.service", SLEEPS);
    let lab = lab(&drop_in(options, "victim.service", "[Service]\nRuntimeMaxSec=2\n"));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-runtime-max", "{death}");
    death.assert_setting("RuntimeMaxSec", "2", DROP_IN, 2);
    death.assert_chain(&[("timeout", "runtime time limit"), ("signal", "SIGTERM")]);
    death.fix_with("RuntimeMaxSec=");
}

#[test]
fn a_scope_runs_too_long() {
    let lab = lab(&Options::default());
    let script = "systemd-run --scope --unit=job -p RuntimeMaxSec=3 sleep 1000 >/dev/null 2>&1 &";
    lab.exec(&["sh", "-c", script]).expect("started");
    let pid = lab.pid_of("sleep").expect("its pid");
    let file = "/run/systemd/transient/job.scope";
    let line = line_of(&lab, file, "RuntimeMaxSec=");
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-runtime-max", "{death}");
    assert_eq!(death.0["victim"]["unit"], "job.scope", "{death}");
    death.assert_setting("RuntimeMaxSec", "3s", file, line);
    death.assert_chain(&[("timeout", "runtime time limit"), ("signal", "SIGTERM")]);
    // No file of it is to be changed.
    death.fix_with("systemd-run --scope -p RuntimeMaxSec=infinity");
}

#[test]
fn the_watchdog_is_not_fed() {
    let text = "[Service]\nType=notify\nNotifyAccess=all\nTimeoutAbortSec=2\nWatchdogSec=2\n\
                ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 1000'\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-watchdog", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("WatchdogSec", "2", VICTIM, 5);
    assert_eq!(death.0["signal"]["name"], "SIGABRT", "{death}");
    death.assert_chain(&[("timeout", "Watchdog timeout"), ("signal", "SIGABRT")]);
    death.assert_ruled_out("unit-stop-requested");
    death.fix_with("WatchdogSec=");
}

/// The stop was asked for; that it ended in SIGKILL was the time limit's doing.
#[test]
fn a_stubborn_service_is_stopped() {
    let options = unit(Options::default(), "victim.service", STUBBORN);
    let lab = lab(&drop_in(options, "victim.service", "[Service]\n\nTimeoutStopSec=1500ms\n"));
    start(&lab, &["victim.service"]);
    let pid = main_pid(&lab, "victim.service");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("TimeoutStopSec", "1500ms", DROP_IN, 3);
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
        ("timeout", "timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("TimeoutStopSec=");
}
