//! A kernel that is locked down for real: there is no way back, so this comes last in its virtual machine.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use killtrace_tests::live::{program, run};
use serde_json::Value;

const STATE: &str = "/sys/kernel/security/lockdown";

fn killtrace(arguments: &[&str]) -> Output {
    let output = Command::new(program("killtrace")).args(arguments).output();
    output.unwrap_or_else(|error| panic!("cannot start killtrace: {error}"))
}

fn lock(state: &str) {
    fs::write(STATE, state).unwrap_or_else(|error| panic!("{STATE}: {error}"));
}

/// Under `integrity` all is as usual; under `confidentiality` no program reads the kernel's memory, and both
/// killtrace and doctor say that this is why.
#[test]
#[ignore = "locks the kernel down: cargo xtask vm runs it"]
fn locked_down() {
    if !Path::new("/sys/kernel/security")
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        run(&["mount", "-t", "securityfs", "securityfs", "/sys/kernel/security"]);
    }
    assert!(
        Path::new(STATE).exists(),
        "this kernel has no lockdown (CONFIG_SECURITY_LOCKDOWN_LSM)"
    );
    let confidential =
        || fs::read_to_string(STATE).is_ok_and(|state| state.contains("[confidentiality]"));
    // Not so where this is a second attempt.
    if !confidential() {
        lock("integrity");
        let traced = killtrace(&["-q", "--", "sh", "-c", "kill -KILL $$; :"]);
        let said = String::from_utf8_lossy(&traced.stderr);
        assert_eq!(traced.status.code(), Some(137), "{said}");
        assert!(String::from_utf8_lossy(&traced.stdout).contains("SIGKILL"), "{said}");
        lock("confidentiality");
    }
    assert!(confidential());
    let refused = killtrace(&["--", "true"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("the kernel is locked down (confidentiality)"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let doctor = killtrace(&["doctor", "--format", "json"]);
    assert_eq!(doctor.status.code(), Some(1));
    let text = String::from_utf8_lossy(&doctor.stdout);
    let mut rows = text.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error} in {line}"))
    });
    let row =
        rows.find(|row| row["state"] == "fails").unwrap_or_else(|| panic!("all is well: {text}"));
    assert_eq!(row["name"], "lockdown", "{text}");
    let remedy = row["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("boot without lockdown=confidentiality"), "{text}");
}
