//! A container of runc's, made of the lab's own files: stopped the way every runtime does, and killed.

use killtrace_tests::lab::{Killtrace, Lab, Options};

use crate::death::Death;
use crate::lab;
use crate::units::verdict;

const BUNDLE: &str = "/run/bundle";
const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";

/// Starts a container whose init runs this; returns the init's pid.
fn start(lab: &Lab, script: &str) -> u32 {
    start_by("runc", lab, script)
}

fn start_by(runtime: &str, lab: &Lab, script: &str) -> u32 {
    let namespaces = ["pid", "mount", "ipc", "uts"];
    let namespaces: Vec<String> =
        namespaces.iter().map(|kind| format!("{{\"type\":\"{kind}\"}}")).collect();
    let config = format!(
        r#"{{"ociVersion":"1.0.2","hostname":"box","root":{{"path":"rootfs"}},
            "process":{{"terminal":false,"cwd":"/","user":{{"uid":0,"gid":0}},
            "env":["PATH=/usr/bin:/bin"],"args":["/bin/sh","-c","{script}"]}},
            "mounts":[{{"destination":"/proc","type":"proc","source":"proc"}}],
            "linux":{{"cgroupsPath":"/docker/{ID}","namespaces":[{}]}}}}"#,
        namespaces.join(",")
    );
    lab.write(&format!("{BUNDLE}/config.json"), &config).expect("a bundle");
    let run = format!(
        "mkdir -p {BUNDLE}/rootfs && mount --bind / {BUNDLE}/rootfs && \
         {runtime} run --detach --bundle {BUNDLE} --pid-file /run/box.pid {ID} </dev/null >/dev/null 2>/run/runc.log \
         || {{ cat /run/runc.log >&2; exit 1; }}"
    );
    lab.exec(&["sh", "-c", &run]).expect("the runtime runs");
    lab.read("/run/box.pid").expect("written").trim().parse().expect("a pid")
}

/// As `docker stop` does it: SIGTERM, a while, SIGKILL.
#[test]
fn an_init_that_does_not_care_about_sigterm_is_stopped() {
    let lab = lab(&Options::default());
    let pid = start(&lab, "while :; do sleep 1000; done");
    let death = verdict(&lab, pid, || {
        let stop = format!("runc kill {ID} TERM; sleep 1; runc kill {ID} KILL");
        lab.exec(&["sh", "-c", &stop]).expect("stopped");
    });
    assert_eq!(death.cause(), "container-stop", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "runc", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    assert_eq!(death.0["victim"]["container"]["id"], ID, "{death}");
    death.assert_chain(&[("command", "runc kill"), ("signal", "SIGTERM"), ("signal", "SIGKILL")]);
    let name = format!("when docker container {} was stopped: root ran", &ID[..12]);
    death.assert_says(&[&name, "runc kill", "first sent SIGTERM", "137"]);
    let again = format!("docker stop -t 60 {ID}");
    assert_eq!(death.fix_with("--init")["commands"][0], again, "{death}");
    death.fix_with(&format!("docker start {ID}"));
}

#[test]
fn an_init_that_ends_on_sigterm_is_stopped() {
    let lab = lab(&Options::default());
    let pid = start(&lab, "trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let death = verdict(&lab, pid, || {
        lab.exec(&["runc", "kill", ID, "TERM"]).expect("stopped");
    });
    assert_eq!(death.cause(), "container-stop", "{death}");
    assert_eq!(death.0["signal"]["name"], "SIGTERM", "{death}");
    assert_eq!(death.0["outcome"]["kind"], "exited", "{death}");
    death.assert_chain(&[("command", "runc kill"), ("signal", "SIGTERM")]);
    death.assert_says(&["was stopped: root ran", "runc kill"]);
    // It ended as it was asked to.
    assert!(!death.0["fixes"].to_string().contains("stop -t"), "{death}");
    death.fix_with(&format!("docker start {ID}"));
}

#[test]
fn a_container_is_killed() {
    let lab = lab(&Options::default());
    let pid = start(&lab, "while :; do sleep 1000; done");
    let death = verdict(&lab, pid, || {
        lab.exec(&["runc", "kill", ID, "KILL"]).expect("killed");
    });
    assert_eq!(death.cause(), "container-kill", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "runc", "{death}");
    death.assert_chain(&[("command", "runc kill"), ("signal", "SIGKILL")]);
    death.assert_says(&["was killed: root ran", "runc kill", "no sign of too little memory"]);
    death.fix_with(&format!("docker start {ID}"));
}

/// Its name is what docker calls it, and what the remedy needs. As `docker rm -f` does it.
#[test]
fn a_named_container_is_removed() {
    let state = format!("/var/lib/docker/containers/{ID}/config.v2.json");
    let lab = lab(&Options::default().file(&state, "{\"ID\":\"\",\"Name\":\"/prod-db\"}\n"));
    let pid = start(&lab, "while :; do sleep 1000; done");
    let death = verdict(&lab, pid, || {
        lab.exec(&["runc", "delete", "--force", ID]).expect("removed");
    });
    assert_eq!(death.cause(), "container-kill", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "runc", "{death}");
    assert_eq!(death.0["victim"]["container"]["name"], "prod-db", "{death}");
    death.assert_says(&[
        "when docker container prod-db was killed: root ran",
        "runc delete --force",
    ]);
    death.assert_chain(&[("command", "runc delete --force"), ("signal", "SIGKILL")]);
    death.fix_with("docker start prod-db");
}

/// One that is removed leaves nothing to read: what it is called is read before anything happens to it.
#[test]
fn a_container_that_is_removed_at_once_has_its_name() {
    let directory = format!("/var/lib/docker/containers/{ID}");
    let state = format!("{directory}/config.v2.json");
    let lab = lab(&Options::default().file(&state, "{\"ID\":\"\",\"Name\":\"/quick\"}\n"));
    let mut killtrace = Killtrace::start(&lab, &["--all"]).expect("killtrace");
    let pid = start_by("crun", &lab, "while :; do sleep 1000; done");
    killtrace.learns(&["\"kind\":\"container\"", "\"name\":\"quick\""]).expect("its name");
    lab.exec(&["rm", "-r", &directory]).expect("its state is gone");
    lab.exec(&["crun", "kill", ID, "KILL"]).expect("killed");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    killtrace.stop().expect("it ends");
    assert_eq!(death.0["victim"]["container"]["name"], "quick", "{death}");
    death.assert_says(&["when docker container quick was killed: root ran"]);
}

/// Everything that is in it at once.
#[test]
fn all_of_a_container_is_killed() {
    let lab = lab(&Options::default());
    start_by("crun", &lab, "tail -f /dev/null & while :; do sleep 1000; done");
    let pid = lab.pid_of("tail").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["crun", "kill", "--all", ID, "KILL"]).expect("killed");
    });
    assert_eq!(death.cause(), "container-kill", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "crun", "{death}");
    death.assert_says(&["was killed: root ran", "crun kill --all"]);
    death.assert_chain(&[("command", "crun kill --all"), ("signal", "SIGKILL")]);
}

/// podman's usual runtime signals through a pidfd.
#[test]
fn crun_stops_a_container() {
    let lab = lab(&Options::default());
    let pid = start_by("crun", &lab, "while :; do sleep 1000; done");
    let death = verdict(&lab, pid, || {
        let stop = format!("crun kill {ID} TERM; sleep 1; crun kill {ID} KILL");
        lab.exec(&["sh", "-c", &stop]).expect("stopped");
    });
    assert_eq!(death.cause(), "container-stop", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "crun", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("137") && explanation.contains("143"), "{death}");
    death.assert_chain(&[("command", "crun kill"), ("signal", "SIGTERM"), ("signal", "SIGKILL")]);
    death.assert_says(&["was stopped: root ran", "crun kill"]);
    death.fix_with("--init");
}

/// A lab with what stands for docker's daemon, which sends its container this signal when it is itself stopped.
fn lab_with_dockerd(signal: &str) -> Lab {
    let daemon = format!(
        "#!/bin/bash\ntrap 'runc kill {ID} {signal}; sleep 0.3; exit 0' TERM\n\
         while :; do sleep 2000 & wait $!; done\n"
    );
    let service = "[Service]\nExecStart=/usr/bin/dockerd\nKillMode=process\n";
    let options = Options::default()
        .file("/usr/bin/dockerd", &daemon)
        .file("/etc/systemd/system/docker.service", service);
    let lab = lab(&options);
    lab.exec(&["chmod", "755", "/usr/bin/dockerd"]).expect("a program");
    lab
}

/// An init in the container passes on what it gets (`docker run --init`).
#[test]
fn dockers_daemon_is_stopped_and_an_init_passes_that_on() {
    let lab = lab_with_dockerd("TERM");
    start(&lab, "tail -f /dev/null & child=$!; trap 'kill $child; exit 0' TERM; wait");
    lab.exec(&["systemctl", "start", "docker.service"]).expect("started");
    let pid = lab.pid_of("tail").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "docker.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "container-stop", "{death}");
    death.assert_says(&["passed it on, as docker.service was stopped: root ran"]);
    death.assert_chain(&[
        ("command", "systemctl stop docker.service"),
        ("job", "docker.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("live-restore");
    death.fix_with("sudo systemctl start docker.service");
}

/// Without `live-restore` docker's daemon stops its containers when it is itself stopped; what their init had started goes
/// along.
#[test]
fn dockers_daemon_is_restarted() {
    let lab = lab_with_dockerd("KILL");
    start(&lab, "tail -f /dev/null & while :; do sleep 1000; done");
    lab.exec(&["systemctl", "start", "docker.service"]).expect("started");
    let pid = lab.pid_of("tail").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "restart", "docker.service"]).expect("restarted");
    });
    assert_eq!(death.cause(), "container-kill", "{death}");
    let explanation = death.0["cause"]["explanation"].as_str().unwrap_or_default();
    for words in ["systemctl restart docker.service", "137"] {
        assert!(explanation.contains(words), "{words}: {death}");
    }
    death.assert_chain(&[
        ("command", "systemctl restart"),
        ("job", "docker.service"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("live-restore");
    death.fix_with(&format!("docker start {ID}"));
}

/// A machine of `machinectl start`, ended by machined, is started again as the remedy has it.
#[test]
fn a_machine_of_machinectls_is_started_again() {
    // As systemd's own, with a program in place of a whole system.
    let service = "[Service]\nKillMode=mixed\nSlice=machine.slice\nDelegate=yes\n\
        ExecStart=/usr/bin/systemd-nspawn --quiet --keep-unit -M %i --as-pid2 /bin/sleep 1000\n";
    let options = Options::default().file("/etc/systemd/system/systemd-nspawn@.service", service);
    let lab = lab(&options);
    let make = "for d in usr bin sbin lib lib64 etc; do mkdir -p /var/lib/machines/box/$d && \
                mount --bind /$d /var/lib/machines/box/$d || exit 1; done; \
                cd /var/lib/machines/box && mkdir -p proc sys dev run tmp var root && machinectl start box";
    lab.exec(&["sh", "-c", make]).expect("a machine");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["machinectl", "terminate", "box"]).expect("terminated");
    });
    assert_eq!(death.cause(), "container-stop", "{death}");
    assert_eq!(death.0["victim"]["container"]["name"], "box", "{death}");
    death.assert_says(&[
        "nspawn container box was terminated: root ran \"machinectl terminate box\"",
    ]);
    death.assert_chain(&[
        ("command", "machinectl terminate box"),
        ("bus-call", "TerminateMachine"),
        ("signal", "SIG"),
    ]);
    crate::remedies::carried_out(&lab, death.fix_with("sudo machinectl start box"));
    lab.pid_of("sleep").expect("it runs again");
}
