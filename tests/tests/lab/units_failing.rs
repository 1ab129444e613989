//! Services that fail: at their start, and by the word of the watchdog. systemd ends them of its own accord.

use killtrace_tests::lab::{Killtrace, Lab, Options};

use crate::death::Death;
use crate::lab;
use crate::units::{start, unit, verdict};

const VICTIM: &str = "/etc/systemd/system/victim.service";
/// What leaves a helper running, and ends when told to.
const WITH_HELPER: &str = "setsid sleep 1000 & read end < /run/end";

fn with(text: &str) -> Lab {
    lab(&unit(Options::default(), "victim.service", &format!("[Service]\n{text}")))
}

/// The watchdog has a signal that the unit's own file chooses.
#[test]
fn the_watchdog_has_a_signal_of_its_own() {
    let lab = with(
        "Type=notify\nNotifyAccess=all\nWatchdogSec=2\nWatchdogSignal=SIGINT\n\
         ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 1000'\n",
    );
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-watchdog", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGINT", "{death}");
    death.assert_setting("WatchdogSec", "2", VICTIM, 4);
    death.assert_setting("WatchdogSignal", "SIGINT", VICTIM, 5);
    death.assert_chain(&[("timeout", "Watchdog timeout"), ("signal", "SIGINT")]);
    death.assert_ruled_out("unit-stop-requested");
    death.fix_with("WatchdogSec=5min");
}

/// One that does not heed the watchdog either has a while to think it over, and that is a second limit.
#[test]
fn what_ignores_the_watchdog_is_killed() {
    let lab = with(
        "Type=notify\nNotifyAccess=all\nWatchdogSec=2\nTimeoutAbortSec=500ms\n\
         ExecStartPre=/usr/bin/mkfifo /run/never\n\
         ExecStart=/bin/sh -c 'trap \"\" ABRT; systemd-notify --ready; while :; do read x < /run/never; done'\n",
    );
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-watchdog", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("WatchdogSec", "2", VICTIM, 4);
    death.assert_setting("TimeoutAbortSec", "500ms", VICTIM, 5);
    death.assert_chain(&[
        ("timeout", "Watchdog timeout"),
        ("signal", "SIGABRT"),
        ("timeout", "timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("WatchdogSec=5min");
    death.fix_with("TimeoutAbortSec=5min");
}

/// Starts the unit, lets what it waits for happen, and returns the verdict on the helper that it has left running.
fn helper_of(lab: &Lab) -> Death {
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("starting");
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    let mut killtrace = Killtrace::start(lab, &["-p", &pid.to_string()]).expect("killtrace");
    // Its state is asked for before it ends.
    killtrace.learns(&["\"unit\":\"victim.service\"", "\"properties\""]).expect("the unit");
    lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert!(killtrace.wait().expect("killtrace ends").status.success());
    assert_eq!(death.cause(), "unit-failed", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_ruled_out("unit-stop-requested");
    death
}

#[test]
fn a_command_before_the_start_fails() {
    let lab = with(&format!(
        "ExecStartPre=/usr/bin/mkfifo /run/end\nExecStartPre=/bin/sh -c '{WITH_HELPER}; exit 3'\n\
         ExecStart=/bin/true\n"
    ));
    let death = helper_of(&lab);
    let line = format!("/bin/sh -c '{WITH_HELPER}; exit 3'");
    death.assert_setting("ExecStartPre", &line, VICTIM, 3);
    death.assert_chain(&[
        ("command", "for ExecStartPre= of victim.service"),
        ("process-exit", "exited with 3"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("in ExecStartPre=, a - before the command");
}

/// Of `Type=forking`: what is to put the program into the background.
#[test]
fn the_command_that_starts_it_fails() {
    let lab = with(&format!(
        "Type=forking\nExecStartPre=/usr/bin/mkfifo /run/end\nExecStart=/bin/sh -c '{WITH_HELPER}; exit 3'\n"
    ));
    let death = helper_of(&lab);
    let line = format!("/bin/sh -c '{WITH_HELPER}; exit 3'");
    death.assert_setting("ExecStart", &line, VICTIM, 4);
    death.assert_chain(&[("process-exit", "exited with 3"), ("signal", "SIGTERM")]);
    death.fix_with("ExecStart= is what starts the program");
}

/// It ends without having said that it is ready.
#[test]
fn it_ends_before_it_is_ready() {
    let lab = with(&format!(
        "Type=notify\nExecStartPre=/usr/bin/mkfifo /run/end\nExecStart=/bin/sh -c '{WITH_HELPER}; exit 0'\n"
    ));
    let death = helper_of(&lab);
    death.assert_setting("Type", "notify", VICTIM, 2);
    death.assert_says(&["exited with 0", "before it had said that it is ready (READY=1)"]);
    death.assert_chain(&[
        ("process-exit", "exited with 0"),
        ("unit-state", "its result became protocol"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("NotifyAccess=all");
}
