//! What a report tells to do about a unit is done, word for word, and the same does not end it again.

use std::time::Duration;

use killtrace_tests::lab::{Lab, Options, PATIENCE, wait_for};
use serde_json::Value;

use crate::lab;
use crate::units::{main_pid, start, unit, verdict};

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// Does what a fix says, as root at a terminal who pastes it there and changes in the editor what it says to change.
/// Returns what its check prints then.
fn follow(lab: &Lab, fix: &Value) -> String {
    let lines = fix["commands"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let lines: Vec<&str> = lines.collect();
    let change = change(&lines);
    // The file is its last argument.
    let editor = format!("#!/bin/sh\nfor file; do :; done\nexec sed -i '{change}' \"$file\"\n");
    // Where sudo looks as well (secure_path).
    lab.write("/usr/bin/editor", &editor).expect("an editor");
    lab.exec(&["chmod", "755", "/usr/bin/editor"]).expect("an editor");
    lab.write("/run/fix", &format!("{}\n", lines.join("\n"))).expect("written");
    let terminal = ["script", "--quiet", "--return", "--command", "sh -e /run/fix", "/dev/null"];
    lab.exec(&terminal).expect("done as told");
    let check = fix["verify"].as_str().expect("a check");
    lab.exec(&["sh", "-c", check]).expect("checked as told")
}

/// What an editor is to do, as a script of sed(1), by the remark of a fix that says so.
fn change(lines: &[&str]) -> String {
    let there = lines.iter().find_map(|line| line.strip_prefix("# there, ")).unwrap_or_default();
    if let Some(line) = there.strip_prefix("take out ") {
        return format!("/^{line}$/d");
    }
    let words = there.strip_prefix("write ").and_then(|words| words.split_once(" instead of "));
    words.map(|(new, old)| format!("s/^{old}$/{new}/")).unwrap_or_default()
}

fn show(lab: &Lab, unit: &str, property: &str) -> String {
    let shown = lab.exec(&["systemctl", "show", "-p", property, "--value", unit]).expect("asked");
    shown.trim().to_owned()
}

fn assert_goes_on(lab: &Lab, pid: u32) {
    assert_eq!(show(lab, "victim.service", "ActiveState"), "active");
    assert_eq!(main_pid(lab, "victim.service"), pid, "the same process");
}

/// These units run, and this command takes the victim down by its dependency on another, until that is loosened.
fn loosened(relation: &str, running: &[&str], command: &[&str]) {
    let victim = format!("[Unit]\n{relation}=base.service\n{SLEEPS}");
    let options = unit(Options::default(), "base.service", SLEEPS);
    let lab = lab(&unit(options, "victim.service", &victim));
    let pid = start(&lab, running);
    let death = verdict(&lab, pid, || drop(lab.exec(command).expect("done")));
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    let shown = follow(&lab, death.fix_with(&format!("loosen the dependency {relation}=")));
    assert!(!shown.contains("base.service"), "{shown}");
    lab.exec(&["systemctl", "stop", "base.service"]).expect("stopped");
    let pid = start(&lab, running);
    lab.exec(command).expect("done");
    assert_goes_on(&lab, pid);
}

#[test]
fn part_of() {
    let running = ["victim.service", "base.service"];
    loosened("PartOf", &running, &["systemctl", "stop", "base.service"]);
}

#[test]
fn binds_to() {
    let running = ["victim.service", "base.service"];
    loosened("BindsTo", &running, &["systemctl", "stop", "base.service"]);
}

#[test]
fn conflicts() {
    loosened("Conflicts", &["victim.service"], &["systemctl", "start", "base.service"]);
}

/// A helper outlives the main process: both in its unit and in one of its own.
#[test]
fn leftovers() {
    let text = "[Service]\nExecStart=/bin/sh -c 'setsid sleep 1000 & read end < /run/end'\n";
    let fifo = "p /run/end 0600 root root -\n";
    let options = unit(Options::default(), "victim.service", text);
    let lab = lab(&options.file("/etc/tmpfiles.d/lab.conf", fifo));
    let end = || drop(lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end"));
    start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    let death = verdict(&lab, pid, end);
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");

    let shown = follow(&lab, death.fix_with("KillMode=process"));
    assert_eq!(shown, "KillMode=process\n");
    start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    end();
    wait_for("the end of victim.service", PATIENCE, || {
        Ok((show(&lab, "victim.service", "ActiveState") == "inactive").then_some(()))
    })
    .expect("its main process has ended");
    assert!(lab.is_alive(pid), "it was left alone");

    let shown = follow(&lab, death.fix_with("systemd-run --unit=my-job"));
    assert!(shown.contains("active (running)"), "{shown}");
    let own = main_pid(&lab, "my-job.service");
    let line = lab.read(&format!("/proc/{own}/cmdline")).expect("the job's command line");
    assert!(line.ends_with("sleep\u{0}1000\u{0}"), "{line:?}");
    let cgroup = lab.read(&format!("/proc/{own}/cgroup")).expect("its cgroup");
    assert!(cgroup.contains("/my-job.service"), "{cgroup}");
}

/// It takes longer to end than it has time for.
#[test]
fn the_time_for_a_stop() {
    let text = "[Service]\nTimeoutStopSec=1\nRuntimeDirectory=victim\nExecStart=/bin/sh -c \
                'trap \"trap : TERM; sleep 2; sleep 2; exit 0\" TERM; mkfifo /run/victim/ready; while :; do read x < /run/victim/ready; done'\n\
                ExecStopPost=/bin/sh -c 'echo $$EXIT_CODE $$EXIT_STATUS $$SERVICE_RESULT > /run/how'\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    let started = || {
        let pid = start(&lab, &["victim.service"]);
        wait_for("the service to be ready", PATIENCE, || {
            let there = lab.output(&["test", "-p", "/run/victim/ready"])?;
            Ok(there.status.success().then_some(()))
        })
        .expect("it handles SIGTERM");
        pid
    };
    let stop = || drop(lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped"));
    let death = verdict(&lab, started(), stop);
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    assert_eq!(lab.read("/run/how").expect("how it ended"), "killed KILL timeout\n");

    let shown = follow(&lab, death.fix_with("TimeoutStopSec=5min"));
    assert_eq!(shown, "TimeoutStopUSec=5min\n");
    started();
    stop();
    assert_eq!(lab.read("/run/how").expect("how it ended"), "exited 0 success\n");
}

#[test]
fn the_time_to_run() {
    let text = format!("{SLEEPS}RuntimeMaxSec=2\n");
    let lab = lab(&unit(Options::default(), "victim.service", &text));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-runtime-max", "{death}");
    let shown = follow(&lab, death.fix_with("RuntimeMaxSec=infinity"));
    assert_eq!(shown, "RuntimeMaxUSec=infinity\n");
    let pid = start(&lab, &["victim.service"]);
    std::thread::sleep(Duration::from_millis(2500));
    assert_goes_on(&lab, pid);
}

#[test]
fn isolation() {
    let quiet = "[Unit]\nRequires=basic.target dbus.service systemd-journald.service\n\
                 Wants=systemd-logind.service ssh.service\nAllowIsolate=yes\n";
    let options = unit(Options::default(), "victim.service", SLEEPS);
    let lab = lab(&unit(options, "quiet.target", quiet));
    let isolate = || drop(lab.exec(&["systemctl", "isolate", "quiet.target"]).expect("isolated"));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, isolate);
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    let shown = follow(&lab, death.fix_with("IgnoreOnIsolate=yes"));
    assert_eq!(shown, "IgnoreOnIsolate=yes\n");
    let pid = start(&lab, &["victim.service"]);
    isolate();
    assert_goes_on(&lab, pid);
}
