//! `cargo xtask lab [-- COMMAND…]`: the lab for a person.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, run as run_command};

/// What to run in the lab.
#[derive(clap::Args)]
pub struct Arguments {
    /// Command to run as root in the lab; a shell where none is given. killtrace is in /opt/killtrace there.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Boots a lab, runs the command in it, and takes the lab down.
pub fn run(arguments: &Arguments) -> Result<()> {
    let words: Vec<&str> = arguments.command.iter().map(String::as_str).collect();
    start("run", &words)
}

/// Where programs are that root calls; the PATH of a user's may lack the last two.
const FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// What the lab calls on the machine, beside what every Debian has: a program, and the package it comes from.
const NEEDED: [(&str, &str); 4] = [
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ssh-keygen", "openssh-client"),
];

/// Builds killtrace and starts the lab program with one of its verbs.
///
/// # Errors
/// Before anything is compiled: without root, or without the programs that the lab takes.
pub fn start(verb: &str, words: &[&str]) -> Result<()> {
    // /proc/self belongs to the effective user.
    if fs::metadata("/proc/self").context("cannot read /proc/self")?.uid() != 0 {
        bail!("the lab needs root for its namespaces: run this with sudo, or as root");
    }
    let missing =
        missing(|program| FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file()));
    if !missing.is_empty() {
        let packages = missing.join(" ");
        bail!(
            "the lab needs what is not installed here: `apt-get install {packages}` (Debian) first"
        );
    }
    writeln!(
        std::io::stderr(),
        "xtask: compiling, which takes some minutes the first time; then the lab's system is installed, once"
    )?;
    run_command(&mut cargo(&["build", "--quiet", "--package", "killtrace"]))?;
    let program = ["run", "--quiet", "--package", "killtrace-tests", "--bin", "killtrace-lab"];
    run_command(cargo(&program).arg("--").arg(verb).args(words))
}

/// The packages of the programs that are not there.
fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let absent = NEEDED.iter().filter(|(program, _)| !is_there(program));
    absent.map(|(_, package)| *package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_package() {
        assert_eq!(missing(|_| true), [""; 0]);
        assert_eq!(
            missing(|program| program == "nsenter"),
            ["debootstrap", "iproute2", "openssh-client"]
        );
    }
}
