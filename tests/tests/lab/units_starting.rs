//! A start that takes too long: which command of it, what it was waited for, and which signal ends it.

use killtrace_tests::lab::{Killtrace, Lab, Options};

use crate::death::Death;
use crate::lab;
use crate::units::{unit, verdict};

const VICTIM: &str = "/etc/systemd/system/victim.service";

/// A lab with this service, which is being started.
fn starting(text: &str) -> Lab {
    let lab = lab(&unit(Options::default(), "victim.service", &format!("[Service]\n{text}")));
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("starting");
    lab
}

/// The end of its `sleep`.
fn end_of_start(lab: &Lab) -> Death {
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(lab, pid, || ());
    assert_eq!(death.cause(), "unit-start-timeout", "{death}");
    death.assert_killer(1, "systemd");
    death.fix_with("TimeoutStartSec=5min");
    death
}

/// `TimeoutStartFailureMode=`: not always SIGTERM.
#[test]
fn the_signal_is_that_for_a_start_that_fails() {
    for (mode, signal, said) in [("abort", "SIGABRT", "Aborting"), ("kill", "SIGKILL", "Killing")] {
        let lab = starting(&format!(
            "Type=notify\nTimeoutStartSec=3\nTimeoutStartFailureMode={mode}\nExecStart=/bin/sleep 1000\n"
        ));
        let death = end_of_start(&lab);
        assert_eq!(death.0["outcome"]["signal"], signal, "{death}");
        death.assert_setting("Type", "notify", VICTIM, 2);
        death.assert_setting("TimeoutStartSec", "3", VICTIM, 3);
        death.assert_setting("TimeoutStartFailureMode", mode, VICTIM, 4);
        let said = format!("start operation timed out. {said}.");
        death.assert_chain(&[("timeout", &said), ("signal", signal)]);
    }
}

/// The command that starts it has returned, and the file is not written.
#[test]
fn it_is_waited_for_a_pid_file() {
    let lab = lab(&unit(
        Options::default(),
        "victim.service",
        "[Service]\nType=forking\nPIDFile=/run/never.pid\nTimeoutStartSec=3\n\
         ExecStart=/bin/sh -c 'setsid sleep 1000 & exit 0'\n",
    ));
    // What its manager logs at the start is to be heard.
    let mut killtrace =
        Killtrace::start(&lab, &["--target", "unit:victim.service"]).expect("killtrace");
    lab.exec(&["systemctl", "start", "--no-block", "victim.service"]).expect("starting");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    killtrace.stop().expect("killtrace ends");
    assert_eq!(death.cause(), "unit-start-timeout", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGTERM", "{death}");
    death.assert_says(&["It was waiting for a PID file that was not written"]);
    death.assert_setting("PIDFile", "/run/never.pid", VICTIM, 3);
    death.assert_setting("TimeoutStartSec", "3", VICTIM, 4);
    death.assert_setting("Type", "forking", VICTIM, 2);
    death.assert_chain(&[
        ("unit-state", "Can't open PID file"),
        ("timeout", "start operation timed out"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("PIDFile= with the file that the program itself writes");
}

/// The program itself has not been started yet.
#[test]
fn a_command_before_it_takes_too_long() {
    let lab =
        starting("TimeoutStartSec=3\nExecStartPre=/bin/sleep 1000\nExecStart=/bin/sleep 2000\n");
    let death = end_of_start(&lab);
    death.assert_setting("TimeoutStartSec", "3", VICTIM, 2);
    death.assert_setting("ExecStartPre", "/bin/sleep 1000", VICTIM, 3);
    death.assert_chain(&[
        ("command", "for ExecStartPre= of victim.service"),
        ("timeout", "start-pre operation timed out"),
        ("signal", "SIGTERM"),
    ]);
}

/// The program runs, and goes with the command after it.
#[test]
fn a_command_after_it_takes_too_long() {
    let lab = starting(
        "TimeoutStartSec=3\nExecStart=/bin/sleep 1000\nExecStartPost=/usr/bin/tail -f /dev/null\n",
    );
    let death = end_of_start(&lab);
    death.assert_says(&["runs had not ended"]);
    death.assert_setting("TimeoutStartSec", "3", VICTIM, 2);
    death.assert_setting("ExecStartPost", "/usr/bin/tail -f /dev/null", VICTIM, 4);
    death.assert_chain(&[("timeout", "start-post operation timed out"), ("signal", "SIGTERM")]);
}
