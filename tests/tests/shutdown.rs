//! The system is switched off under a trace: `cargo xtask vm` runs this in a virtual machine whose PID 1 is systemd, and
//! once more when every service has ended. It is ignored elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use killtrace_tests::death::Death;
use killtrace_tests::lab::{PATIENCE, wait_for};
use killtrace_tests::live::{keepsakes, program, run};
use killtrace_tests::{schema, vm};
use serde_json::Value;

const REPORT: &str = "/root/power-off.json";
const COMPLAINT: &str = "/root/power-off.stderr";

/// Where a failed test's recording is looked for.
fn recording() -> PathBuf {
    keepsakes().join("power_off.killtrace")
}

/// The report of a trace that the shutdown itself ends, and its recording, are whole, and tell why.
#[test]
#[ignore = "switches the system off: cargo xtask vm runs it"]
fn power_off() {
    if std::env::var_os(vm::AFTERWARDS).is_none() {
        ask();
        panic!("the system went on");
    }
    told();
}

/// Starts a trace and its victim as services of their own, and has the system switched off.
fn ask() {
    let recording = recording();
    // Nothing of an earlier attempt is left.
    for file in [Path::new(REPORT), Path::new(COMPLAINT), &recording] {
        let _ = fs::remove_file(file);
    }
    let killtrace = program("killtrace");
    let units = [
        // What stops in the reverse order started in this one.
        (
            "kt-victim",
            "[Unit]\nAfter=kt-trace.service\n[Service]\nExecStart=/bin/sleep 1000\n".to_owned(),
        ),
        (
            "kt-trace",
            format!(
                "[Service]\nExecStart={} --target unit:kt-victim.service --format json --record {} -o {REPORT}\n\
                 StandardError=file:{COMPLAINT}\n",
                killtrace.display(),
                recording.display()
            ),
        ),
    ];
    for (name, text) in units {
        let path = format!("/etc/systemd/system/{name}.service");
        fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    run(&["systemctl", "daemon-reload"]);
    run(&["systemctl", "start", "kt-trace", "kt-victim"]);
    wait_for("killtrace to trace", PATIENCE, || {
        let said = fs::read_to_string(COMPLAINT).unwrap_or_default();
        Ok(said.contains("killtrace: tracing").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {}", run(&["systemctl", "status", "kt-trace"])));
    run(&["systemctl", "poweroff"]);
    // This is ended, too.
    std::thread::sleep(2 * PATIENCE);
}

/// What was written while the system went down.
fn told() {
    let read =
        |file: &str| fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let report = read(REPORT);
    let complaint = read(COMPLAINT);
    let records: Vec<Value> = report
        .lines()
        .map(|line| {
            schema::check_report(line).unwrap_or_else(|error| panic!("{error:#}"));
            serde_json::from_str(line).expect("checked")
        })
        .collect();
    let whole = records.last().is_some_and(|last| last["type"] == "summary");
    assert!(whole, "no summary at the end of\n{report}\n{complaint}");
    let deaths: Vec<&Value> = records.iter().filter(|record| record["type"] == "death").collect();
    let [death] = deaths[..] else { panic!("not one verdict in\n{report}\n{complaint}") };
    let death = Death(death.clone());
    assert_eq!(death.cause(), "system-shutdown", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["victim"]["unit"], "kt-victim.service", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGTERM", "{death}");
    death.assert_chain(&[
        ("command", "systemctl poweroff"),
        ("job", "poweroff.target"),
        ("signal", "SIGTERM"),
    ]);

    let again = Command::new(program("killtrace"))
        .args(["replay", "--format", "json"])
        .arg(recording())
        .output()
        .expect("killtrace starts");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(String::from_utf8_lossy(&again.stdout), report, "replay tells it otherwise");
}
