//! The bus, the journal and the service manager break or restart under a trace: what comes after is told as well
//! as before, and the gap is told. And systems that have another bus, or no journal.

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
    let report = killtrace.wait().expect("killtrace ends");
    assert!(report.status.success());
    assert!(report.of_type("loss").is_empty(), "nothing of the journal is missed: {report:?}");
    assert_eq!(report.of_type("death")[0]["gaps"], serde_json::json!([]), "{report:?}");
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
    lab.pid_of("journalctl").expect("started");
    is_told_as_a_timeout(&lab, &mut killtrace, pid);
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// Some systems keep no journal. The kernel and the service manager tell enough, and what is missing is told.
#[test]
fn a_system_without_a_journal() {
    let units = ["", "-audit", "-dev-log"].map(|kind| match kind {
        "" => "systemd-journald.service".to_owned(),
        kind => format!("systemd-journald{kind}.socket"),
    });
    // dbus-broker does not start without journald.
    let options = Options::default()
        .link("/etc/systemd/system/dbus.service", "/lib/systemd/system/dbus.service")
        .file("/etc/systemd/system/stubborn.service", STUBBORN)
        .mask("systemd-journald.socket")
        .mask("systemd-journal-flush.service");
    let lab = lab(&units.iter().fold(options, |options, unit| options.mask(unit)));
    assert!(lab.pid_now("systemd-journal").is_err(), "there is no journald");
    let pid = start(&lab, "stubborn.service");
    let mut killtrace = killtrace(&lab, &[pid]);
    lab.exec(&["systemctl", "stop", "stubborn.service"]).expect("stopped");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    let command = "systemctl stop stubborn.service";
    death.assert_chain(&[("command", command), ("signal", "SIGTERM"), ("signal", "SIGKILL")]);
    let gaps = death.0["gaps"].to_string();
    assert!(gaps.contains("systemd-journald is not running"), "{death}");
    let report = killtrace.wait().expect("killtrace ends");
    let header = report.of_type("header")[0];
    assert_eq!(header["sources"]["journal"], "systemd-journald is not running", "{header}");
    assert!(report.stderr.contains("journal"), "{}", report.stderr);
}

/// What journald wrote before it was stopped is still there to be read, and nothing follows.
#[test]
fn a_system_whose_journald_was_stopped() {
    let lab = lab(&Options::default());
    let stop = "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket \
                systemd-journald-audit.socket systemd-journald.service";
    lab.exec(&["sh", "-c", stop]).expect("stopped");
    let rows = lab.exec(&["/opt/killtrace/killtrace", "doctor", "--format", "json"]);
    let rows = rows.expect("tracing works all the same");
    let row = rows.lines().find(|line| line.contains("\"name\":\"journal\"")).expect("a row");
    assert!(
        row.contains("\"missing\"") && row.contains("systemd-journald is not running"),
        "{row}"
    );
    assert!(row.contains("systemctl start systemd-journald"), "{row}");
}

/// What another implementation of the bus carries is read as well, also after it has been restarted.
#[test]
fn dbus_broker_carries_the_bus() {
    let unit = "/lib/systemd/system/dbus-broker.service";
    let lab = lab(&victims().link("/etc/systemd/system/dbus.service", unit));
    lab.pid_of("dbus-broker").expect("the broker runs");
    assert!(lab.pid_now("dbus-daemon").is_err(), "and nothing else does");
    let pids = [1, 2, 3].map(|number| start(&lab, &format!("victim{number}.service")));
    let mut killtrace = killtrace(&lab, &pids);
    let mut stopped = |number: usize| {
        let unit = format!("victim{number}.service");
        stop_over_the_bus(&lab, &unit);
        let death = Death(killtrace.death_of(pids[number - 1]).expect("a verdict"));
        assert_eq!(death.cause(), "unit-stop-requested", "{death}");
        death
    };
    let death = stopped(1);
    death.assert_chain(&[("bus-call", "StopUnit(\"victim1.service\""), ("signal", "SIGTERM")]);
    let caller = death.chain().iter().find(|link| link["event"] == "bus-call");
    assert_eq!(caller.expect("asserted")["actor"]["comm"], "busctl", "{death}");
    lab.exec(&["systemctl", "restart", "dbus-broker.service"]).expect("restarted");
    stopped(2);
    let again = stopped(3);
    assert!(again.chain().iter().any(|link| link["event"] == "bus-call"), "read again: {again}");
    let report = killtrace.wait().expect("killtrace ends");
    assert!(report.records.iter().any(|record| is_loss(record, "bus")), "the gap is told");
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

/// alice's service manager hangs. What one of its units ends has to wait for it for a while; what others end has not.
#[test]
fn a_users_manager_that_hangs_holds_up_no_other() {
    let lab = lab(&victims());
    let other = start(&lab, "victim1.service");
    let mut login = lab.login().expect("alice logs in");
    let own = login.run("(sleep 1000 >/dev/null 2>&1 & echo $!)").expect("a process of hers");
    let own: u32 = own.parse().expect("its pid");
    let script = format!("mkfifo ~/go; read go < ~/go; kill -TERM {own}; sleep 1000");
    login
        .run(&format!("systemd-run --user --quiet --unit=sender sh -c '{script}'"))
        .expect("a unit of hers");
    wait_for("the unit to wait", PATIENCE, || {
        Ok(lab.output(&["test", "-p", "/home/alice/go"])?.status.success().then_some(()))
    })
    .expect("it does");
    let manager = lab.exec(&["systemctl", "show", "-p", "MainPID", "--value", "user@1000"]);
    let manager = manager.expect("asked").trim().to_owned();
    let mut killtrace = killtrace(&lab, &[own, other]);
    lab.exec(&["kill", "-STOP", &manager]).expect("it hangs");
    lab.exec(&["sh", "-c", "echo now > /home/alice/go"]).expect("told to");
    lab.wait_until_gone(own).expect("it has ended");
    lab.exec(&["kill", "-KILL", &other.to_string()]).expect("killed");
    killtrace.death_of(own).expect("a verdict");
    killtrace.death_of(other).expect("a verdict");
    lab.exec(&["kill", "-CONT", &manager]).expect("it goes on");
    let report = killtrace.wait().expect("killtrace ends");
    let order: Vec<u64> = report
        .of_type("death")
        .iter()
        .filter_map(|death| death["victim"]["pid"].as_u64())
        .collect();
    assert_eq!(order, [other, own].map(u64::from), "the one that ended first waits for longer");
}
