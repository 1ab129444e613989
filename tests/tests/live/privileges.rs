//! What a running killtrace may still do, and what its command may.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use killtrace_tests::live::{Stage, Trace, kernel_release, program, require_root};

/// `CAP_DAC_READ_SEARCH`, `CAP_SETGID`, `CAP_SETUID`, `CAP_SYS_PTRACE` (`linux/capability.h`).
const KEPT: u64 = 1 << 2 | 1 << 6 | 1 << 7 | 1 << 19;

/// Before 5.19, to put new targets into the kernel's maps.
const CAP_BPF: u64 = 1 << 39;

/// The fields of a `status` file.
fn status(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(":\t")).collect()
}

fn capabilities(fields: &BTreeMap<&str, &str>, set: &str) -> u64 {
    let digits = fields.get(set).unwrap_or_else(|| panic!("no {set}"));
    u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{set} {digits}: {error}"))
}

/// Every thread of it, once the trace is under way; and it traces all the same.
#[test]
fn a_running_killtrace_keeps_what_it_needs() {
    let mut stage = Stage::open("kill-other-user");
    let victim = stage.pid("victim");
    let mut trace = Trace::of(&stage, &["--all"]);
    let pid = trace.pid();
    stage.begin();
    stage.victims_end();
    let death = trace.death_of(victim);
    // The killer has capabilities that killtrace gave up: to look at it takes CAP_SYS_PTRACE.
    let killer = death.killer.process.as_ref();
    assert!(killer.is_some_and(|killer| killer.exe.is_some()), "{death:#?}");
    let kept = if kernel_release() < (5, 19) { KEPT | CAP_BPF } else { KEPT };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let mut count = 0;
    for thread in threads.flatten() {
        let text = fs::read_to_string(thread.path().join("status")).expect("its status");
        let fields = status(&text);
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            let held = capabilities(&fields, set);
            assert_eq!(held & !kept, 0, "{set} of thread {}", fields["Name"]);
        }
        assert_eq!(fields["NoNewPrivs"], "1", "thread {}", fields["Name"]);
        assert_eq!(fields["Seccomp"], "2", "thread {}", fields["Name"]);
        count += 1;
    }
    assert!(count >= 2, "the main thread and the one that listens: {count}");
    trace.stop();
    stage.close();
}

/// Its command has everything that its caller had.
#[test]
fn the_command_loses_nothing() {
    require_root();
    let output = Command::new(program("killtrace"))
        .args(["-q", "-o", "/dev/null", "--", "cat", "/proc/self/status"])
        .output()
        .unwrap_or_else(|error| panic!("cannot start killtrace: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let own = fs::read_to_string("/proc/self/status").expect("readable");
    let (command, own) = (status(&text), status(&own));
    for field in ["CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"] {
        assert_eq!(command.get(field), own.get(field), "{field}");
    }
}
