//! The bus, the journal and the service manager break or restart under a trace: what comes after is told as well
//! as before, and the gap is told.

use killtrace_tests::lab::{Killtrace, Lab, Options, PATIENCE, wait_for};
use serde_json::Value;

use crate::death::Death;
use crate::lab;

/// Three services to be stopped one after the other.
fn victims() -> Options {
    (1..=3).fold(Options::default(), |options, number| {
        options.file(
            &format!("/etc/systemd/system/victim{number}.service"),
            "[Service]\nExecStart=/bin/sleep 1000\n",
        )
    })
}

fn start(lab: &Lab, unit: &str) -> u32 {
    lab.exec(&["systemctl", "start", unit]).expect("it starts");
    let pid = lab.exec(&["systemctl", "show", "-p", "MainPID", "--value", unit]).expect("asked");
    pid.trim().parse().expect("its pid")
}

fn killtrace<'lab>(lab: &'lab Lab, pids: &[u32]) -> Killtrace<'lab> {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let args: Vec<&str> = pids.iter().flat_map(|pid| ["-p", pid]).collect();
    Killtrace::start(lab, &args).expect("killtrace")
}

fn is_loss(record: &Value, place: &str) -> bool {
    record["type"] == "loss" && record["where"] == place
}

/// Has a client of the bus stop it.
fn stop_over_the_bus(lab: &Lab, unit: &str) {
    let systemd = "org.freedesktop.systemd1";
    let manager = format!("{systemd}.Manager");
    let object = "/org/freedesktop/systemd1";
    let call = ["busctl", "call", systemd, object, &manager, "StopUnit", "ss", unit, "replace"];
    wait_for("systemd to be on the bus again", PATIENCE, || {
        Ok(lab.output(&call)?.status.success().then_some(()))
    })
    .expect("stopped");
}

#[test]
fn the_bus_restarts() {
    let lab = lab(&victims());
    let pids = [1, 2, 3].map(|number| start(&lab, &format!("victim{number}.service")));
    let mut killtrace = killtrace(&lab, &pids);
    lab.exec(&["systemctl", "restart", "dbus.service"]).expect("restarted");
    killtrace.wait_for_record("a loss on the bus", |record| is_loss(record, "bus")).expect("told");
    // When the bus is read again depends on when it is back: the first of these may come before that.
    let mut heard = false;
    for (pid, number) in pids.into_iter().zip(1..) {
        let unit = format!("victim{number}.service");
        stop_over_the_bus(&lab, &unit);
        let death = Death(killtrace.death_of(pid).expect("a verdict"));
        assert_eq!(death.cause(), "unit-stop-requested", "{death}");
        death.assert_killer(1, "systemd");
        heard = death.chain().iter().any(|link| link["event"] == "bus-call");
        let told = death.0["gaps"].to_string();
        assert!(number > 1 || told.contains("bus"), "the gap is told: {death}");
    }
    assert!(heard, "in the end the bus is read again");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// systemd executes itself anew and closes its connections.
#[test]
fn the_service_manager_executes_itself_anew() {
    let lab = lab(&victims());
    let pids = [1, 2].map(|number| start(&lab, &format!("victim{number}.service")));
    let mut killtrace = killtrace(&lab, &pids);
    lab.exec(&["systemctl", "daemon-reexec"]).expect("done");
    for (pid, unit) in pids.into_iter().zip(["victim1.service", "victim2.service"]) {
        lab.exec(&["systemctl", "stop", unit]).expect("stopped");
        let death = Death(killtrace.death_of(pid).expect("a verdict"));
        assert_eq!(death.cause(), "unit-stop-requested", "{death}");
        death.assert_killer(1, "systemd");
        let command = format!("systemctl stop {unit}");
        death.assert_chain(&[("command", &command), ("signal", "SIGTERM")]);
    }
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// A service that does not care about SIGTERM and is killed half a second later; only the journal says why.
const STUBBORN: &str = "[Service]\nTimeoutStopSec=500ms\n\
                        ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'\n";

fn is_told_as_a_timeout(lab: &Lab, killtrace: &mut Killtrace<'_>, pid: u32) {
    lab.exec(&["systemctl", "stop", "stubborn.service"]).expect("stopped");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_chain(&[("timeout", "timed out"), ("signal", "SIGKILL")]);
}

#[test]
fn journald_is_killed() {
    let lab = lab(&Options::default().file("/etc/systemd/system/stubborn.service", STUBBORN));
    let pid = start(&lab, "stubborn.service");
    let mut killtrace = killtrace(&lab, &[pid]);
    lab.exec(&["systemctl", "kill", "-s", "KILL", "systemd-journald.service"]).expect("killed");
    is_told_as_a_timeout(&lab, &mut killtrace, pid);
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// journalctl is started again and told from where: nothing of the journal is missed.
#[test]
fn journalctl_is_killed() {
    let lab = lab(&Options::default().file("/etc/systemd/system/stubborn.service", STUBBORN));
    let pid = start(&lab, "stubborn.service");
    let mut killtrace = killtrace(&lab, &[pid]);
    let journalctl = lab.pid_of("journalctl").expect("killtrace's reader");
    lab.exec(&["kill", "-KILL", &journalctl.to_string()]).expect("killed");
    killtrace
        .wait_for_record("a loss in the journal", |record| is_loss(record, "journal"))
        .expect("told");
    wait_for("another journalctl", PATIENCE, || Ok(lab.pid_of("journalctl").ok()))
        .expect("started");
    is_told_as_a_timeout(&lab, &mut killtrace, pid);
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// However it ends, nobody is left behind.
#[test]
fn a_killed_tracer_takes_its_reader_along() {
    let lab = lab(&victims());
    let pid = start(&lab, "victim1.service");
    let mut killtrace = killtrace(&lab, &[pid]);
    let journalctl = lab.pid_of("journalctl").expect("killtrace's reader");
    let status = lab.read(&format!("/proc/{journalctl}/status")).expect("readable");
    assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    killtrace.kill().expect("killed");
    lab.wait_until_gone(journalctl).expect("it ends with its parent");
    assert!(lab.is_alive(pid), "nobody else does");
}
