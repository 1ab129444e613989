//! Targets that are named otherwise than they are called: by an alias, by a pattern, before they are there.

use killtrace_tests::lab::{Killtrace, Lab, Login, Report};

use crate::units::main_pid;
use crate::{kill_user_processes, lab};

const UNITS: &str = "/etc/systemd/system";
const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// A system with a service `real.service`, which goes by the name of `other.service` too.
fn with_alias() -> Lab {
    let options = kill_user_processes("no").file(&format!("{UNITS}/real.service"), SLEEPS);
    let lab = lab(&options);
    lab.exec(&["ln", "-s", "real.service", &format!("{UNITS}/other.service")]).expect("linked");
    lab.exec(&["systemctl", "daemon-reload"]).expect("read again");
    lab
}

/// One unit is stopped, and its end is told.
fn stopped(lab: &Lab, mut tracer: Killtrace<'_>, pid: u32, unit: &str) -> Report {
    lab.exec(&["systemctl", "stop", unit]).expect("stopped");
    let death = tracer.death_of(pid).expect("its end is told");
    assert_eq!(death["cause"]["id"], "unit-stop-requested", "{death}");
    tracer.stop().expect("it ends, and a replay agrees")
}

#[test]
fn an_alias_of_a_unit_that_runs() {
    let lab = with_alias();
    lab.exec(&["systemctl", "start", "real"]).expect("started");
    let pid = main_pid(&lab, "real.service");
    let tracer = Killtrace::start(&lab, &["--target", "unit:other"]).expect("it traces");
    let report = stopped(&lab, tracer, pid, "other");
    assert!(report.stderr.contains("unit:other.service is real.service here"), "{}", report.stderr);
    assert!(!report.stderr.contains("nothing matches"), "{}", report.stderr);
}

#[test]
fn an_alias_of_a_unit_that_starts_later() {
    let lab = with_alias();
    let tracer = Killtrace::start(&lab, &["--target", "unit:other.service"]).expect("it traces");
    tracer.hear("unit:other.service is real.service here").expect("it says so");
    lab.exec(&["systemctl", "start", "other"]).expect("started");
    let pid = main_pid(&lab, "real.service");
    stopped(&lab, tracer, pid, "real");
}

/// Neither the unit nor its other name is there when tracing begins.
#[test]
fn an_alias_that_is_made_later() {
    let lab = lab(&kill_user_processes("no"));
    let tracer = Killtrace::start(&lab, &["--target", "unit:other.service"]).expect("it traces");
    tracer.hear("systemd has no unit other.service here").expect("it says so");
    lab.write(&format!("{UNITS}/real.service"), SLEEPS).expect("written");
    lab.exec(&["ln", "-s", "real.service", &format!("{UNITS}/other.service")]).expect("linked");
    lab.exec(&["systemctl", "daemon-reload"]).expect("read again");
    lab.exec(&["systemctl", "start", "real"]).expect("started");
    tracer.hear("unit:other.service is real.service here").expect("it has come");
    let pid = main_pid(&lab, "real.service");
    stopped(&lab, tracer, pid, "real");
}

#[test]
fn a_template_means_all_that_is_made_of_it() {
    let options = kill_user_processes("no").file(&format!("{UNITS}/many@.service"), SLEEPS);
    let lab = lab(&options);
    let tracer = Killtrace::start(&lab, &["--target", "unit:many@.service"]).expect("it traces");
    lab.exec(&["systemctl", "start", "many@a", "many@b"]).expect("started");
    let pid = main_pid(&lab, "many@b.service");
    tracer.hear("unit:many@*.service appeared").expect("it has come");
    stopped(&lab, tracer, pid, "many@b");
}

#[test]
fn an_alias_in_a_users_manager() {
    const DIRECTORY: &str = "/home/alice/.config/systemd/user";
    let lab = lab(&kill_user_processes("no"));
    lab.write(&format!("{DIRECTORY}/real.service"), SLEEPS).expect("written");
    lab.exec(&["ln", "-s", "real.service", &format!("{DIRECTORY}/other.service")]).expect("linked");
    lab.exec(&["chown", "-R", "alice:", "/home/alice/.config"]).expect("they are hers");
    let mut login = lab.login().expect("alice logs in");
    login.run("systemctl --user start other").expect("started");
    let pid = login.run("systemctl --user show -p MainPID --value real").expect("asked");
    let pid: u32 = pid.parse().expect("a pid");
    let mut tracer = Killtrace::start(&lab, &["--target", "unit:other"]).expect("it traces");
    tracer
        .hear("unit:other.service is real.service here, a unit of user 1000")
        .expect("it says so");
    login.run("systemctl --user stop other").expect("stopped");
    let death = tracer.death_of(pid).expect("its end is told");
    assert_eq!(death["cause"]["id"], "unit-stop-requested", "{death}");
    tracer.stop().expect("it ends, and a replay agrees");
}

const BOXES: [&str; 3] = [
    "ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12",
    "cd34cd34cd34cd34cd34cd34cd34cd34cd34cd34cd34cd34cd34cd34cd34cd34",
    "ef56ef56ef56ef56ef56ef56ef56ef56ef56ef56ef56ef56ef56ef56ef56ef56",
];

/// A system in which alice's podman calls those of these ids `box`.
fn with_boxes(ids: &[&str]) -> Lab {
    const STORAGE: &str = "/home/alice/.local/share/containers/storage/overlay-containers";
    let lab = lab(&kill_user_processes("no"));
    let list: Vec<_> = ids.iter().map(|id| format!(r#"{{"id":"{id}","names":["box"]}}"#)).collect();
    let list = format!("[{}]", list.join(","));
    lab.write(&format!("{STORAGE}/containers.json"), &list).expect("written");
    lab.exec(&["chown", "-R", "alice:", "/home/alice/.local"]).expect("they are hers");
    lab.exec(&["chmod", "700", "/home/alice"]).expect("nobody else's");
    lab
}

/// Starts alice's container of that id.
fn run_box(login: &mut Login, id: &str) -> u32 {
    let scope = format!("systemd-run --user --scope --quiet --unit=libpod-{id} sleep 1000");
    let told = login.run(&format!("{scope} >/dev/null 2>&1 & echo $!")).expect("started");
    // The shell tells the number of the job before.
    let pid = told.split_whitespace().last().unwrap_or_default();
    let is_in = format!("until grep -q libpod-{id} /proc/{pid}/cgroup; do sleep 0.1; done");
    login.run(&is_in).expect("it is in its scope");
    pid.parse().expect("a pid")
}

/// What a user's own podman runs, by the name that it has in that user's files: one that runs already, and one that comes.
#[test]
fn a_users_container_by_its_name() {
    let lab = with_boxes(&BOXES[..2]);
    let mut login = lab.login().expect("alice logs in");
    let one = run_box(&mut login, BOXES[0]);
    let mut tracer = Killtrace::start(&lab, &["--target", "container:box"]).expect("it traces");
    for pid in [one, run_box(&mut login, BOXES[1])] {
        lab.exec(&["kill", "-9", &pid.to_string()]).expect("killed");
        let death = tracer.death_of(pid).expect("its end is told");
        assert_eq!(death["victim"]["container"]["name"], "box", "{death}");
        assert_eq!(death["victim"]["container"]["named_by"], 1000, "{death}");
    }
    let report = tracer.stop().expect("it ends, and a replay agrees");
    assert!(!report.stderr.contains("nothing matches"), "{}", report.stderr);
    // Root has none of that name, or this would not be it.
    let told = report.stderr.matches("container:box is alice's (podman)").count();
    assert_eq!(told, 1, "{}", report.stderr);
}

/// Root's container of the name is meant, and a user's joins it neither before nor later.
#[test]
fn a_users_container_does_not_join_roots() {
    let lab = with_boxes(&BOXES[..2]);
    let [_, _, roots] = BOXES;
    let state = format!("/var/lib/docker/containers/{roots}/config.v2.json");
    lab.exec(&["mkdir", "-p", &format!("/var/lib/docker/containers/{roots}")]).expect("made");
    lab.write(&state, r#"{"ID":"","Name":"/box"}"#).expect("written");
    let scope = format!("systemd-run --scope --quiet --unit=docker-{roots} sleep 1000");
    let script = format!(
        "{scope} >/dev/null 2>&1 & until grep -q docker-{roots} /proc/$!/cgroup; do sleep 0.1; done; echo $!"
    );
    let pid = lab.exec(&["sh", "-c", &script]).expect("started");
    let pid: u32 = pid.trim().parse().expect("a pid");
    let mut login = lab.login().expect("alice logs in");
    let hers = run_box(&mut login, BOXES[0]);
    let mut tracer = Killtrace::start(&lab, &["--target", "container:box"]).expect("it traces");
    let later = run_box(&mut login, BOXES[1]);
    for pid in [hers, later, pid] {
        lab.exec(&["kill", "-9", &pid.to_string()]).expect("killed");
    }
    let death = tracer.death_of(pid).expect("its end is told");
    assert_eq!(death["victim"]["container"]["name"], "box", "{death}");
    let report = tracer.stop().expect("it ends, and a replay agrees");
    assert_eq!(report.of_type("death").len(), 1, "{:?}", report.records);
    assert!(!report.stderr.contains("alice"), "{}", report.stderr);
}
