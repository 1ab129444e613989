//! What userspace offers: the bus, the service manager, logind, the journal, the kernel's log, `/proc`.

use std::time::Duration;

use anyhow::Context as _;
use caps::Capability;
use tokio::sync::mpsc::unbounded_channel;

use super::check;
use crate::evidence::{ATTACHED, CONNECTING};
use crate::kernel::{privileged, under_pid_1};
use crate::report::checkup::{Check, State};
use crate::system::{NO_JOURNALCTL, Options, Witnesses, presence};

/// How long the sources may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A source of userspace.
struct Known {
    name: &'static str,
    /// What it is for.
    shows: &'static str,
    /// What is lost without it.
    cost: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        name: "bus",
        shows: "who asked the service manager or logind for what",
        cost: "who asked for a stop or ended a session is known only as far as the journal tells",
    },
    Known {
        name: "journal",
        shows: "what sshd, logind and the service manager say about an end",
        cost: "timeouts, watchdogs, disconnects and the OOM policy are concluded rather than reported",
    },
    Known {
        name: "kernel-log",
        shows: "the kernel's own words about out-of-memory kills",
        cost: "which limit an out-of-memory kill met, and how large its victim was, stays unknown",
    },
    Known {
        name: "systemd",
        shows: "units, their jobs and their settings",
        cost: "why a unit was stopped stays unknown",
    },
    Known {
        name: "logind",
        shows: "login sessions, users and lingering",
        cost: "whose session ended, and from where, stays unknown",
    },
    Known {
        name: "processes",
        shows: "names, arguments, programs and parents of every process",
        cost: "other users' processes are found by what they call themselves, not by their files' names, and \
               described in part",
    },
    Known {
        name: "pid-namespace",
        shows: "every process of the machine",
        cost: "what runs outside of it is no target, and who kills from there stays nameless",
    },
    Known {
        name: "files",
        shows: "settings, and users' names",
        cost: "settings may be told that are not the machine's, and who is in no file of PID 1's has no name",
    },
];

/// What it costs that `/proc` hides others' processes.
const HIDDEN: &str = "a target of another user is not found, and senders are described in part";

/// What is to be done where another program than systemd is PID 1.
const ELSEWHERE: &str = "nothing, unless this is a container: then run killtrace on its host";

/// And where systemd is, or PID 1's files are, outside of this mount namespace.
pub fn beside() -> String {
    format!("run the static program where PID 1 lives: {}", under_pid_1("doctor"))
}

/// The units by which D-Bus runs, whichever program is its service.
const BUS_UNITS: [&str; 2] = ["dbus.socket", "dbus.service"];
/// The program that may be its service.
const BROKER: &str = "dbus-broker.service";
const LOGIND_UNITS: [&str; 1] = ["systemd-logind.service"];
/// Without its other sockets journald still keeps a journal.
const JOURNALD_UNITS: [&str; 2] = ["systemd-journald.socket", "systemd-journald.service"];

/// Listens to everything for a moment.
///
/// # Errors
/// Where the system refuses even the means to listen.
pub fn checks() -> anyhow::Result<Vec<Check>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system refused an event loop")?;
    let states = runtime.block_on(async {
        // What is heard meanwhile is not asked for.
        let (sender, _heard) = unbounded_channel();
        let witnesses = Witnesses::start(sender, Options::default())?;
        witnesses.ready(PATIENCE).await;
        Ok::<_, anyhow::Error>(witnesses.sources())
    })?;
    runtime.shutdown_background();
    // That has a row with what the kernel offers.
    let states = states.iter().filter(|(name, _)| *name != "cgroup2");
    Ok(states.map(|(name, state)| source(name, state)).collect())
}

/// The same where there are no files and threads to listen with.
pub fn not_tried() -> impl Iterator<Item = Check> {
    let told = KNOWN.iter().filter(|known| !["pid-namespace", "files"].contains(&known.name));
    told.map(|known| {
        check(known.name, State::Missing, "not tried: the limits leave no room for it")
    })
}

fn source(name: &str, state: &str) -> Check {
    told(name, state, &masked(name, state))
}

/// The check of a source in this state. `masked`: those of its units that are.
fn told(name: &str, state: &str, masked: &[&str]) -> Check {
    let known = KNOWN.iter().find(|known| known.name == name);
    let works = state == ATTACHED;
    let detail = match (works, state) {
        (true, _) => known.map_or("listens", |known| known.shows).to_owned(),
        (false, CONNECTING) => "it does not answer".to_owned(),
        (false, _) if !masked.is_empty() => format!("masked: {}", masked.join(", ")),
        (false, why) => why.to_owned(),
    };
    let cost = known.map(|known| if state.contains("hidepid") { HIDDEN } else { known.cost });
    let remedy = match masked {
        [] => remedy(name, state),
        units => {
            let (all, start) = (units.join(" "), starter(name));
            Some(format!("systemctl unmask {all} && systemctl start {start}"))
        }
    };
    Check {
        cost: cost.map(str::to_owned),
        remedy,
        ..check(name, if works { State::Works } else { State::Missing }, &detail)
    }
}

/// Those units which are masked that keep a source away which does not work.
fn masked(name: &str, state: &str) -> Vec<&'static str> {
    if [ATTACHED, presence::NOT_SYSTEMD, presence::UNSEEN_SYSTEMD].contains(&state) {
        return Vec::new();
    }
    match name {
        // The bus is there for whoever may read along.
        "bus" if !state.contains(presence::BUS_TAKES_ROOT) => {
            let is_broker = presence::is_named_as(BUS_UNITS[1], BROKER);
            let units = BUS_UNITS.into_iter().chain(is_broker.then_some(BROKER));
            presence::masked(&units.collect::<Vec<_>>())
        }
        "logind" => presence::masked(&LOGIND_UNITS),
        "journal" if state == presence::NO_JOURNALD => presence::masked(&JOURNALD_UNITS),
        _ => Vec::new(),
    }
}

/// What is started for a source to be there.
fn starter(name: &str) -> &'static str {
    match name {
        "bus" => "dbus.socket dbus.service",
        "journal" => "systemd-journald",
        _ => "systemd-logind",
    }
}

/// What to do about a source that does not work, in one of these states.
fn remedy(name: &str, state: &str) -> Option<String> {
    let root = presence::is_root();
    let text = match (name, state) {
        (_, presence::NOT_SYSTEMD) => ELSEWHERE,
        (_, presence::UNSEEN_SYSTEMD | presence::OTHER_FILES) => return Some(beside()),
        ("bus", _) if state.contains(presence::BUS_TAKES_ROOT) => "run killtrace as root",
        ("bus", _) if !presence::is_installed(&[BUS_UNITS[1], BROKER]) => {
            "install D-Bus (package dbus or dbus-broker), then systemctl start dbus.socket"
        }
        ("bus", _) => "systemctl start dbus.socket dbus.service, as root",
        ("journal", _) => return Some(journal_remedy(state)),
        ("kernel-log", _) if !root || !presence::has(Capability::CAP_SYSLOG) => {
            return Some(privileged());
        }
        ("kernel-log", _) => {
            "in a container, run it with --device /dev/kmsg; in a unit, without PrivateDevices= and ProtectKernelLogs="
        }
        ("systemd", _) if root => {
            "see whether systemd answers (systemctl is-system-running); systemctl daemon-reexec opens its socket anew"
        }
        ("systemd", _) => "run killtrace as root: systemd's own socket admits nobody else",
        // logind is asked over the bus.
        ("logind", _) if presence::no_bus().is_some() || is_bus_refused(state) => {
            "start the bus first (see bus), then systemctl restart systemd-logind"
        }
        ("logind", _) => "systemctl restart systemd-logind",
        ("processes", _) if state.contains("hidepid") => {
            "mount -o remount,hidepid=0 /proc, as root"
        }
        ("processes", _) => return Some(privileged()),
        ("pid-namespace", _) if presence::is_wsl() => {
            "nothing: WSL2 has every distribution in a pid namespace of its own, and what lies outside is WSL2's"
        }
        ("pid-namespace", _) => "run killtrace on the host, or the container with --pid=host",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Whether logind was not reached because there is nobody at the bus's socket.
fn is_bus_refused(state: &str) -> bool {
    state.starts_with("cannot connect")
}

fn journal_remedy(state: &str) -> String {
    if let Some((file, line)) = presence::journal_unwanted()
        && state.starts_with(presence::NO_JOURNAL_FILES)
    {
        return format!(
            "sed -i '{line}s/.*/Storage=volatile/' {file} && systemctl restart systemd-journald (as root; it is kept in \
             memory then)"
        );
    }
    let text = match state {
        presence::NO_JOURNALD => "systemctl start systemd-journald",
        presence::NO_JOURNAL_FILES => "systemctl restart systemd-journald",
        presence::JOURNAL_NOT_READABLE => {
            "run killtrace as root or in the group systemd-journal (usermod -aG systemd-journal USER)"
        }
        NO_JOURNALCTL => "install journalctl, which is in the package systemd",
        presence::NO_BOOT_ID => {
            "run killtrace where all of /proc is to be seen: in a unit, without ProcSubset=pid"
        }
        _ if presence::is_root() => "see what `journalctl -n 1` says",
        _ => "run killtrace as root",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_source_tells_its_cost_and_its_remedy() {
        let source = |name, state| told(name, state, &[]);
        let check = source("journal", "journalctl is not installed");
        assert_eq!(
            (check.state, check.detail.as_str()),
            (State::Missing, "journalctl is not installed")
        );
        assert!(check.cost.is_some_and(|cost| cost.contains("timeouts")));
        assert!(check.remedy.is_some_and(|remedy| remedy.starts_with("install journalctl")));
        assert_eq!(source("bus", ATTACHED).state, State::Works);
        assert_eq!(source("bus of user 1000", CONNECTING).detail, "it does not answer");
        let remedy = source("systemd", presence::NOT_SYSTEMD).remedy;
        assert!(remedy.is_some_and(|remedy| remedy.contains("on its host")));
        let remedy = source("bus", presence::UNSEEN_SYSTEMD).remedy;
        assert!(remedy.is_some_and(|remedy| remedy.contains("nsenter -t 1 -m -C ")));
        let refused = format!("{}, and was refused: AccessDenied", presence::BUS_TAKES_ROOT);
        assert_eq!(source("bus", &refused).remedy.as_deref(), Some("run killtrace as root"));
        let hidden = source("processes", "/proc hides other users' processes (hidepid)").cost;
        assert!(hidden.is_some_and(|cost| cost.contains("is not found")));
        let remedy = source("journal", presence::NO_JOURNALD).remedy;
        assert_eq!(remedy.as_deref(), Some("systemctl start systemd-journald"));
    }

    #[test]
    fn what_is_masked_is_unmasked_and_started() {
        let check = told("journal", presence::NO_JOURNALD, &["systemd-journald.socket"]);
        assert_eq!(check.detail, "masked: systemd-journald.socket");
        let command =
            "systemctl unmask systemd-journald.socket && systemctl start systemd-journald";
        assert_eq!(check.remedy.as_deref(), Some(command));
        assert!(!JOURNALD_UNITS.contains(&"systemd-journald-audit.socket"), "it is not needed");
    }
}
