//! The lab keeps its own promises: labs run side by side, and nothing is left of one.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use killtrace_tests::lab::{Options, seed};

use crate::lab;

/// Directories of the labs that a process runs.
fn directories_of(pid: u32) -> Vec<PathBuf> {
    let prefix = format!("{pid}-");
    let running = seed::lab_directory().join("running");
    std::fs::read_dir(running)
        .expect("the directory of running labs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        })
        .collect()
}

#[test]
fn labs_are_apart_from_each_other_and_from_the_machine() {
    let (one, other) = (lab(&Options::default()), lab(&Options::default()));
    one.write("/etc/only/here", "one\n").expect("written");
    assert_eq!(one.read("/etc/only/here").expect("read"), "one\n");
    assert!(other.read("/etc/only/here").is_err(), "another lab");
    assert!(!PathBuf::from("/etc/only/here").exists(), "the machine");
    assert_eq!(one.exec(&["cat", "/proc/1/comm"]).expect("read"), "systemd\n");
    assert!(one.exec(&["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]).is_err(), "a real setting");
    let mut login = other.login().expect("alice logs in to the second of two");
    assert_eq!(login.run("id -un").expect("asked"), "alice");
}

#[test]
fn a_lab_whose_owner_was_killed_is_cleared_away_by_the_next() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_killtrace-lab"))
        .args(["run", "sh", "-c", "echo up && exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a lab of another process");
    let mut line = String::new();
    let stdout = owner.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, "up\n");
    owner.kill().expect("killed");
    owner.wait().expect("gone");
    assert_eq!(directories_of(owner.id()).len(), 1, "it could not clear up");
    drop(lab(&Options::default()));
    assert_eq!(directories_of(owner.id()), Vec::<PathBuf>::new());
}
