//! What userspace offers: the bus, the service manager, logind, the journal, the kernel's log, `/proc`.

use std::time::Duration;

use anyhow::Context as _;
use caps::Capability;
use tokio::sync::mpsc::unbounded_channel;

use super::check;
use crate::kernel::AS_ROOT;
use crate::report::checkup::{Check, State};
use crate::system::{ATTACHED, CONNECTING, Options, Witnesses, presence};

/// How long the sources may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A source of userspace.
struct Known {
    name: &'static str,
    /// What it is for.
    shows: &'static str,
    /// What is lost without it.
    cost: &'static str,
    /// How to get it.
    remedy: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        name: "bus",
        shows: "who asked the service manager or logind for what",
        cost: "who asked for a stop or ended a session is known only as far as the journal tells",
        remedy: "run killtrace as root, and D-Bus (package dbus or dbus-broker): systemctl start dbus",
    },
    Known {
        name: "journal",
        shows: "what sshd, logind and the service manager say about an end",
        cost: "timeouts, watchdogs, disconnects and the OOM policy are concluded rather than reported",
        remedy: "run killtrace as root or in the group systemd-journal, with journalctl installed and \
                 systemd-journald running",
    },
    Known {
        name: "kernel-log",
        shows: "the kernel's own words about out-of-memory kills",
        cost: "which limit an out-of-memory kill met, and how large its victim was, stays unknown",
        remedy: "run killtrace as root or with CAP_SYSLOG; in a container, give it /dev/kmsg",
    },
    Known {
        name: "systemd",
        shows: "units, their jobs and their settings",
        cost: "why a unit was stopped stays unknown",
        remedy: "run killtrace as root: systemd's own socket admits nobody else",
    },
    Known {
        name: "logind",
        shows: "login sessions, users and lingering",
        cost: "whose session ended, and from where, stays unknown",
        remedy: "systemctl start systemd-logind, and D-Bus",
    },
    Known {
        name: "processes",
        shows: "names, arguments, programs and parents of every process",
        cost: "other users' processes are found by what they call themselves, not by their files' names, and \
               described in part",
        remedy: "run killtrace as root, or give it CAP_SYS_PTRACE",
    },
    Known {
        name: "pid-namespace",
        shows: "every process of the machine",
        cost: "what runs outside of it is no target, and who kills from there stays nameless",
        remedy: "run killtrace on the host, or the container with --pid=host",
    },
];

/// What it costs that `/proc` hides others' processes.
const HIDDEN: &str = "a target of another user is not found, and senders are described in part";

/// What is to be done where another program than systemd is PID 1.
const ELSEWHERE: &str = "nothing, unless this is a container: then run killtrace on its host";

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
    Ok(states.iter().map(|(name, state)| source(name, state)).collect())
}

/// The same where there are no files and threads to listen with.
pub fn not_tried() -> impl Iterator<Item = Check> {
    let told = KNOWN.iter().filter(|known| known.name != "pid-namespace");
    told.map(|known| {
        check(known.name, State::Missing, "not tried: the limits leave no room for it")
    })
}

fn source(name: &str, state: &str) -> Check {
    let known = KNOWN.iter().find(|known| known.name == name);
    let works = state == ATTACHED;
    let detail = match (works, state) {
        (true, _) => known.map_or("listens", |known| known.shows),
        (false, CONNECTING) => "it does not answer",
        (false, why) => why,
    };
    let masked = state.contains("UnitMasked") || state.contains("is masked");
    let detail = if masked { "its unit is masked" } else { detail };
    let cost = known.map(|known| if state.contains("hidepid") { HIDDEN } else { known.cost });
    let remedy = known.map(|known| match (state, name) {
        (presence::NOT_SYSTEMD, _) => ELSEWHERE,
        (presence::NO_JOURNALD, _) => "systemctl start systemd-journald",
        (_, "logind") if masked => {
            "systemctl unmask systemd-logind && systemctl start systemd-logind"
        }
        (_, "processes") if presence::is_root() => AS_ROOT,
        (_, "kernel-log") if presence::is_root() && !presence::has(Capability::CAP_SYSLOG) => {
            AS_ROOT
        }
        (_, "kernel-log") if presence::is_root() => "in a container, give it /dev/kmsg",
        (_, "systemd") if presence::is_root() => {
            "see whether systemd answers (systemctl is-system-running); systemctl daemon-reexec opens its socket anew"
        }
        _ => known.remedy,
    });
    Check {
        cost: cost.map(str::to_owned),
        remedy: remedy.map(str::to_owned),
        ..check(name, if works { State::Works } else { State::Missing }, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_source_tells_its_cost_and_its_remedy() {
        let check = source("journal", "journalctl is not installed");
        assert_eq!(
            (check.state, check.detail.as_str()),
            (State::Missing, "journalctl is not installed")
        );
        assert!(check.cost.is_some_and(|cost| cost.contains("timeouts")));
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("systemd-journal")));
        assert_eq!(source("bus", ATTACHED).state, State::Works);
        assert_eq!(source("bus of user 1000", CONNECTING).detail, "it does not answer");
        let remedy = source("systemd", presence::NOT_SYSTEMD).remedy;
        assert!(remedy.is_some_and(|remedy| remedy.contains("on its host")));
        let masked = "org.freedesktop.systemd1.UnitMasked: Unit dbus-org.freedesktop.login1.service is masked.";
        let check = source("logind", masked);
        assert_eq!(check.detail, "its unit is masked");
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("systemctl unmask")));
        let hidden = source("processes", "/proc hides other users' processes (hidepid)").cost;
        assert!(hidden.is_some_and(|cost| cost.contains("is not found")));
        let remedy = source("journal", presence::NO_JOURNALD).remedy;
        assert_eq!(remedy.as_deref(), Some("systemctl start systemd-journald"));
    }
}
