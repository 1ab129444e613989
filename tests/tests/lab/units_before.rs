//! What came before: a stop that had begun before tracing did, and what an earlier run of the unit was asked or told.

use std::process::{Child, Stdio};

use killtrace_tests::lab::{Killtrace, Lab, Options, PATIENCE, wait_for};

use crate::death::Death;
use crate::lab;
use crate::units::{main_pid, start, unit, verdict};

const VICTIM: &str = "/etc/systemd/system/victim.service";

/// Does not care about SIGTERM.
const STUBBORN: &str = "ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 0.2; done'\n";

fn with(text: &str) -> Lab {
    lab(&unit(Options::default(), "victim.service", text))
}

/// Begins something with the unit, waits until it is ending, and traces it from then on.
fn traced_late(lab: &Lab, begin: impl FnOnce() -> Option<Child>) -> Death {
    start(lab, &["victim.service"]);
    let pid = main_pid(lab, "victim.service");
    // Its shell does not care about SIGTERM, or catches it, once it has come to its trap.
    wait_for("its trap", PATIENCE, || {
        let status = lab.exec(&["cat", &format!("/proc/{pid}/status")])?;
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
        };
        const SIGTERM: u64 = 1 << 14;
        Ok(((mask("SigIgn:") | mask("SigCgt:")) & SIGTERM != 0).then_some(()))
    })
    .expect("it comes to its trap");
    let begun = begin();
    let state = ["systemctl", "show", "-P", "ActiveState", "victim.service"];
    wait_for("the unit to be ending", PATIENCE, || {
        Ok((lab.exec(&state)?.trim() == "deactivating").then_some(()))
    })
    .expect("it ends");
    let mut killtrace =
        Killtrace::start(lab, &["--target", "unit:victim.service"]).expect("killtrace");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    killtrace.stop().expect("killtrace ends");
    if let Some(mut child) = begun {
        child.wait().expect("it is a child");
    }
    death
}

/// Somebody asked for it, and still waits for that.
#[test]
fn a_stop_that_was_asked_for_before() {
    let lab = with(&format!("[Service]\nTimeoutStopSec=8\n{STUBBORN}"));
    let death = traced_late(&lab, || {
        let mut stop = lab.command(&["systemctl", "stop", "victim.service"]);
        Some(stop.stdout(Stdio::null()).spawn().expect("systemctl"))
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["cause"]["evidence"], "inferred", "{death}");
    death.assert_says(&["systemctl stop victim.service", "TimeoutStopSec=8"]);
    death.assert_setting("TimeoutStopSec", "8", VICTIM, 2);
    death.assert_chain(&[
        ("job", "stop victim.service was under way already"),
        ("signal", "SIGKILL"),
    ]);
}

/// It has caught the signal, which nobody saw, and ends now.
#[test]
fn an_end_that_was_asked_for_before() {
    let lab = with(
        "[Service]\nExecStart=/bin/sh -c 'trap \"sleep 20; exit 0\" TERM; while :; do sleep 0.2; done'\n",
    );
    let death = traced_late(&lab, || {
        lab.exec(&["systemctl", "stop", "--no-block", "victim.service"]).expect("stopping");
        None
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["cause"]["evidence"], "inferred", "{death}");
    assert_eq!(death.0["killer"]["kind"], "none", "{death}");
    death.assert_says(&["had been ending for", "who had asked for that was not seen"]);
    death.assert_chain(&[("unit-state", "was ending already"), ("job", "under way already")]);
}

/// The manager says why in its log alone, and had said so before.
#[test]
fn a_time_limit_that_ran_out_before() {
    let lab = with(&format!("[Service]\nRuntimeMaxSec=1\nTimeoutStopSec=8\n{STUBBORN}"));
    let death = traced_late(&lab, || None);
    assert_eq!(death.cause(), "unit-runtime-max", "{death}");
    death.assert_setting("RuntimeMaxSec", "1", VICTIM, 2);
    death.assert_chain(&[("timeout", "reached runtime time limit"), ("signal", "SIGKILL")]);
}

/// The unit is started again at once, and then somebody stops it.
#[test]
fn a_time_limit_of_the_run_before() {
    let lab = with(
        "[Service]\nRuntimeMaxSec=2\nRestart=always\nRestartSec=0\nExecStart=/bin/sleep 1000\n",
    );
    start(&lab, &["victim.service"]);
    let first = main_pid(&lab, "victim.service");
    lab.wait_until_gone(first).expect("its time is over");
    let second = wait_for("the next run", PATIENCE, || {
        Ok(Some(main_pid(&lab, "victim.service")).filter(|pid| *pid != 0 && *pid != first))
    })
    .expect("it is started again");
    let death = verdict(&lab, second, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_says(&["systemctl stop victim.service"]);
}

/// Who had it restarted a moment ago has no part in what another unit's stop brings with it.
#[test]
fn a_request_of_a_moment_ago() {
    let options = unit(
        Options::default(),
        "victim.service",
        "[Unit]\nBindsTo=other.service\nAfter=other.service\n[Service]\nExecStart=/bin/sleep 1000\n",
    );
    let lab = lab(&unit(options, "other.service", "[Service]\nExecStart=/bin/sleep 2000\n"));
    start(&lab, &["victim.service"]);
    let mut killtrace =
        Killtrace::start(&lab, &["--target", "unit:victim.service"]).expect("killtrace");
    lab.exec(&["systemctl", "restart", "victim.service"]).expect("restarted");
    let pid = main_pid(&lab, "victim.service");
    lab.exec(&["systemctl", "stop", "other.service"]).expect("stopped");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    killtrace.stop().expect("killtrace ends");
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_says(&["BindsTo=other.service", "systemctl stop other.service"]);
}
