//! Ends that take a whole system with memory control: `cargo xtask vm` runs these in a virtual machine whose
//! PID 1 is systemd. They are ignored elsewhere.

use std::fs;
use std::process::Command;

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, Death, KillerKind};
use killtrace_tests::live::Trace;

/// Runs a command of the system, which must succeed; what it printed.
fn run(argv: &[&str]) -> String {
    let output = Command::new(argv[0]).args(&argv[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {argv:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{argv:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Writes a service in which one process uses up the unit's memory, once there is a file; another only sits there.
fn hungry_service(name: &str, policy: &str) -> String {
    let file = format!("/etc/systemd/system/{name}.service");
    let unit = format!(
        "[Service]\nMemoryMax=48M\nMemorySwapMax=0\nOOMPolicy={policy}\n\
         ExecStart=/bin/bash -c 'sleep 1000 & until [ -e /run/{name} ]; do sleep 0.1; done; \
         tail /dev/zero & wait %%1'\n"
    );
    fs::write(&file, unit).unwrap_or_else(|error| panic!("{file}: {error}"));
    // Nothing of an earlier attempt is left.
    let _ = fs::remove_file(format!("/run/{name}"));
    run(&["systemctl", "daemon-reload"]);
    run(&["systemctl", "start", name]);
    file
}

/// The three processes of the service end; their verdicts, by name.
fn hunger(name: &str) -> Vec<Death> {
    let target = format!("unit:{name}.service");
    let mut trace = Trace::start(name, &["--target".to_owned(), target]);
    fs::write(format!("/run/{name}"), "").expect("a file in /run");
    let mut deaths = Vec::new();
    while !["bash", "tail", "sleep"].iter().all(|comm| find(&deaths, comm).is_some()) {
        let death = trace.next_death();
        // The sleeps that waited for the file are none of this.
        if death.signal.is_some() {
            deaths.push(death);
        }
    }
    trace.stop();
    deaths
}

fn find<'d>(deaths: &'d [Death], comm: &str) -> Option<&'d Death> {
    deaths.iter().find(|death| death.victim.comm.as_deref() == Some(comm))
}

/// One story: the kernel kills the hungry one for memory, therefore systemd stops the unit.
#[test]
#[ignore = "needs systemd with the memory controller of cgroup2: cargo xtask vm runs it"]
fn oom_policy_stop() {
    let file = hungry_service("kt-stop", "stop");
    let deaths = hunger("kt-stop");
    let hungry = find(&deaths, "tail").expect("waited for");
    assert_eq!(hungry.cause.id, CauseId::KernelOomCgroup, "{hungry:#?}");
    assert_eq!(hungry.killer.kind, KillerKind::Kernel, "{hungry:#?}");
    for comm in ["sleep", "bash"] {
        let other = find(&deaths, comm).expect("waited for");
        assert_eq!(other.cause.id, CauseId::UnitOomPolicy, "{other:#?}");
        let killer = other.killer.process.as_ref().map(|process| process.pid);
        assert_eq!(killer, Some(1), "{other:#?}");
        let setting = other.cause.settings.iter().find(|setting| setting.name == "OOMPolicy");
        let setting = setting.unwrap_or_else(|| panic!("no OOMPolicy: {other:#?}"));
        assert_eq!(
            (setting.value.as_str(), setting.file.as_deref()),
            ("stop", Some(file.as_str()))
        );
        assert!(setting.line == Some(4), "{other:#?}");
        let named = format!("tail[{}]", hungry.victim.pid);
        assert!(other.cause.explanation.contains(&named), "{other:#?}");
        assert!(!other.fixes.is_empty(), "{other:#?}");
    }
}

/// The kernel kills them all, since systemd has asked for it by `memory.oom.group`.
#[test]
#[ignore = "needs systemd with the memory controller of cgroup2: cargo xtask vm runs it"]
fn oom_policy_kill() {
    hungry_service("kt-kill", "kill");
    let deaths = hunger("kt-kill");
    for comm in ["tail", "sleep", "bash"] {
        let death = find(&deaths, comm).expect("waited for");
        assert_eq!(death.cause.id, CauseId::KernelOomCgroup, "{death:#?}");
        let how = death.signal.as_ref().map(|signal| signal.mechanism);
        assert_eq!(how, Some(Mechanism::OomKill), "{death:#?}");
        assert!(death.cause.explanation.contains("memory.oom.group"), "{death:#?}");
    }
}
