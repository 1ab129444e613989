//! What `killtrace doctor` finds missing on a whole system, and that what it says to do brings it back.

use killtrace_tests::lab::{Killtrace, Lab, Options, PATIENCE, wait_for};
use serde_json::Value;

use crate::death::Death;
use crate::lab;

const DOCTOR: &str = "/opt/killtrace/killtrace doctor --format json";

/// The row of that name, as doctor says it when it is run by these words of a shell.
fn row_by(lab: &Lab, words: &str, name: &str) -> Value {
    let output = lab.exec(&["sh", "-c", words]).unwrap_or_else(|error| panic!("{error:#}"));
    let mut rows = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let row = rows.find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("no {name} in {output}"))
}

fn row(lab: &Lab, name: &str) -> Value {
    row_by(lab, DOCTOR, name)
}

fn remedy(row: &Value) -> String {
    assert_eq!(row["state"], "missing", "{row:#}");
    row["remedy"].as_str().expect("what to do").to_owned()
}

/// Does what is said, and waits for the source to be there.
fn heals(lab: &Lab, name: &str, remedy: &str) {
    lab.exec(&["sh", "-ec", remedy]).unwrap_or_else(|error| panic!("{remedy}: {error:#}"));
    wait_for(&format!("{name} after {remedy}"), PATIENCE, || {
        Ok((row(lab, name)["state"] == "works").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn a_masked_logind() {
    let lab = lab(&Options::default());
    lab.exec(&["systemctl", "mask", "--now", "systemd-logind.service"]).expect("masked");
    let logind = row(&lab, "logind");
    assert!(logind["detail"].as_str().is_some_and(|why| why.starts_with("masked")), "{logind:#}");
    heals(&lab, "logind", &remedy(&logind));
}

#[test]
fn a_masked_bus() {
    let lab = lab(&Options::default());
    // By its own name: where dbus-broker is the bus, dbus.service is a link to its unit.
    let service = lab.exec(&["systemctl", "show", "--property=Id", "--value", "dbus.service"]);
    let service = service.expect("a bus");
    lab.exec(&["systemctl", "mask", "--now", "dbus.socket", service.trim()]).expect("masked");
    let bus = row(&lab, "bus");
    assert!(bus["detail"].as_str().is_some_and(|why| why.starts_with("masked")), "{bus:#}");
    assert!(remedy(&row(&lab, "logind")).contains("start the bus first"));
    heals(&lab, "bus", &remedy(&bus));
    let logind = row(&lab, "logind");
    if logind["state"] != "works" {
        heals(&lab, "logind", &remedy(&logind));
    }
}

#[test]
fn a_stopped_bus() {
    let lab = lab(&Options::default());
    lab.exec(&["systemctl", "stop", "dbus.socket", "dbus.service"]).expect("stopped");
    lab.exec(&["rm", "-f", "/run/dbus/system_bus_socket"]).expect("removed");
    let remedy = remedy(&row(&lab, "bus"));
    let command = remedy.strip_suffix(", as root").expect("a command");
    heals(&lab, "bus", command);
}

/// Another user is not told of D-Bus's rules, nor to start what runs.
#[test]
fn the_bus_is_roots() {
    let lab = lab(&Options::default());
    let words = format!(
        "setpriv --reuid=alice --regid=alice --clear-groups --inh-caps=+bpf,+perfmon --ambient-caps=+bpf,+perfmon {DOCTOR}"
    );
    let bus = row_by(&lab, &words, "bus");
    assert_eq!(remedy(&bus), "run killtrace as root");
    assert!(bus["detail"].as_str().is_some_and(|why| why.len() < 120), "{bus:#}");
}

/// Journald runs and is listened to, and there is an old journal: nothing comes any more.
#[test]
fn journald_keeps_nothing() {
    let options = Options::default()
        .file("/etc/systemd/journald.conf.d/none.conf", "# Small.\n[Journal]\nStorage=none\n")
        .file(
            "/etc/systemd/system/stubborn.service",
            "[Service]\nExecStart=/bin/sh -c 'trap : TERM; while :; do sleep 0.1; done'\nTimeoutStopSec=1\n",
        );
    let lab = lab(&options);
    let script = "d=/var/log/journal/$(cat /etc/machine-id); mkdir -p $d; touch $d/system.journal; \
                  systemctl start stubborn; systemctl show -P MainPID stubborn";
    let pid = lab.exec(&["sh", "-c", script]).expect("it starts");
    let pid: u32 = pid.trim().parse().expect("its pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["systemctl", "stop", "stubborn"]).expect("stopped");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert!(death.0["gaps"].to_string().contains("Storage=none"), "{death}");
    killtrace.wait().expect("killtrace ends");
    let journal = row(&lab, "journal");
    let place = "(Storage=none, /etc/systemd/journald.conf.d/none.conf:3)";
    assert!(journal["detail"].as_str().is_some_and(|why| why.ends_with(place)), "{journal:#}");
    let remedy = remedy(&journal);
    let command = remedy.split(" (as root").next().expect("a command");
    heals(&lab, "journal", command);
}

/// A container with the pids of the machine, and with neither its `/run` nor its journal, in a cgroup namespace of its
/// own.
#[test]
fn a_container_beside_systemd() {
    let lab = lab(&Options::default());
    let inside = |words: &str| {
        format!(
            "mkdir -p /sys/fs/cgroup/container && echo $$ > /sys/fs/cgroup/container/cgroup.procs && \
             unshare -mC sh -ec 'mount -t tmpfs none /run; mount -t tmpfs none /var/log; \
             umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; {words}'"
        )
    };
    let cgroup2 = row_by(&lab, &inside(DOCTOR), "cgroup2");
    assert!(cgroup2["detail"].as_str().is_some_and(|why| why.contains("private cgroup namespace")));
    for name in ["bus", "journal", "logind", "systemd"] {
        let row = row_by(&lab, &inside(DOCTOR), name);
        let why = row["detail"].as_str().unwrap_or_default();
        assert!(why.starts_with("systemd runs this machine, but"), "{row:#}");
    }
    let remedy = remedy(&row_by(&lab, &inside(DOCTOR), "bus"));
    assert_eq!(cgroup2["remedy"], remedy, "one is right for all");
    let (_, command) = remedy.split_once(": ").expect("a command");
    let command = command.replace("doctor", "doctor --format json");
    for name in ["bus", "journal", "logind", "systemd", "cgroup2"] {
        let row = row_by(&lab, &inside(&command), name);
        assert_eq!(row["state"], "works", "{row:#}");
    }
}

/// Root without rights is not always in a container.
#[test]
fn a_hardened_unit() {
    let lab = lab(&Options::default());
    let words = format!(
        "systemd-run -q --wait --pipe --unit=hardened -p ProcSubset=pid -p ProtectKernelLogs=yes -p PrivateDevices=yes {DOCTOR}"
    );
    let remedy_of = |name: &str| remedy(&row_by(&lab, &words, name));
    for name in ["CAP_SYSLOG", "kernel-log"] {
        let remedy = remedy_of(name);
        let unit = remedy.contains("hardened.service") && remedy.contains("ProtectKernelLogs=");
        assert!(unit && !remedy.contains("--privileged"), "{remedy}");
    }
    for name in ["kallsyms", "journal"] {
        assert!(remedy_of(name).contains("ProcSubset=pid"), "{}", remedy_of(name));
    }
}
