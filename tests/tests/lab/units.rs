//! What the tests of units share: starting one, tracing one of its processes, ending it; reading what is said of it.

use killtrace_tests::lab::{Killtrace, Lab, Options};
use serde_json::Value;

use crate::death::Death;

/// A unit file of the system.
pub fn unit(options: Options, name: &str, text: &str) -> Options {
    options.file(&format!("/etc/systemd/system/{name}"), text)
}

/// A drop-in of a unit of the system.
pub fn drop_in(options: Options, name: &str, text: &str) -> Options {
    options.file(&format!("/etc/systemd/system/{name}.d/60-lab.conf"), text)
}

/// Starts units and returns the main process of the first.
pub fn start(lab: &Lab, units: &[&str]) -> u32 {
    let mut argv = vec!["systemctl", "start"];
    argv.extend(units);
    lab.exec(&argv).expect("the units start");
    main_pid(lab, units[0])
}

/// The main process of a unit.
pub fn main_pid(lab: &Lab, unit: &str) -> u32 {
    let pid = lab.exec(&["systemctl", "show", "-p", "MainPID", "--value", unit]).expect("asked");
    pid.trim().parse().expect("its pid")
}

/// Traces a process while `end` brings its end about; returns the verdict.
pub fn verdict(lab: &Lab, pid: u32, end: impl FnOnce()) -> Death {
    let mut killtrace = Killtrace::start(lab, &["-p", &pid.to_string()]).expect("killtrace");
    end();
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert!(killtrace.wait().expect("killtrace ends").status.success());
    death
}

/// Asserts that a setting decided it that no file sets.
pub fn assert_default(death: &Death, name: &str, value: &str) {
    let found = death.setting(name);
    assert_eq!(found["value"], value, "{death}");
    assert_eq!((&found["file"], &found["line"]), (&Value::Null, &Value::Null), "{death}");
}

/// The number of the only line of a file of the lab that begins like this.
pub fn line_of(lab: &Lab, file: &str, begin: &str) -> u32 {
    let text = lab.read(file).expect("the file");
    let found: Vec<u32> = (1..)
        .zip(text.lines())
        .filter_map(|(at, it)| it.starts_with(begin).then_some(at))
        .collect();
    assert_eq!(found.len(), 1, "{begin} in {text}");
    found[0]
}
