//! killtrace against the real systemd, logind, sshd and tmux: each test boots a lab of its own, brings a
//! death about, proves from the journal that it came about as meant, and reads the verdict.
//!
//! Needs root. `cargo xtask setup` installs what the lab needs.

mod commands;
mod connections;
mod containers;
mod doctor;
mod faults;
mod going_down;
mod hostile;
mod hostile_files;
mod itself;
mod last_session;
mod logout;
mod memory;
mod panes;
mod remedies;
mod requesters;
mod sessions;
mod settings;
mod targets;
mod units;
mod units_before;
mod units_commands;
mod units_dependencies;
mod units_ends;
mod units_failing;
mod units_killing;
mod units_of_users;
mod units_remedies;
mod units_signalled;
mod units_starting;
mod units_stopping;

use killtrace_tests::death;
use killtrace_tests::lab::{Lab, Login, Options};

/// Where the tests' own logind settings go, and the line that `KillUserProcesses=` is on.
const LOGIND_CONF: &str = "/etc/systemd/logind.conf.d/60-lab.conf";
const KILL_USER_PROCESSES_LINE: u32 = 4;

/// A system whose logind ends what a user leaves behind, or does not.
fn kill_user_processes(value: &str) -> Options {
    let text = format!(
        "# Settings of the lab.\n[Login]\n# Asked for by the test.\nKillUserProcesses={value}\n"
    );
    Options::default().file(LOGIND_CONF, &text)
}

/// A lab of these options. Where the machine cannot run one the test fails and says why.
fn lab(options: &Options) -> Lab {
    match Lab::start(options) {
        Ok(lab) => lab,
        Err(error) => panic!("no lab: {error:#}"),
    }
}

/// Has alice start a detached tmux; returns the pid of its server.
fn start_tmux(login: &mut Login) -> u32 {
    login.run("tmux new-session -d -s work").expect("tmux starts");
    let pid = login.run("tmux display-message -p '#{pid}'").expect("tmux answers");
    pid.parse().expect("tmux names its server's pid")
}

/// The id of alice's login session.
fn session_of(login: &mut Login) -> String {
    login.run("echo $XDG_SESSION_ID").expect("alice's session")
}
