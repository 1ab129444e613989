//! What to do about it: every remedy that is ever suggested, in one place.
//!
//! Remedies fit the case (real unit, user and signal names) and are never dangerous by default: none
//! kills, deletes or weakens security silently, and each says what else it brings about.

mod containers;
mod crashes;
mod dependencies;
mod memory;
mod permissions;
mod scripts;
mod senders;
mod sessions;
mod starting;
mod supervisors;
mod time_limits;
mod unit_at;
mod units;

use super::verdict::Fix;
use crate::evidence::Container;
pub use containers::*;
pub use crashes::*;
pub use dependencies::*;
pub use memory::*;
pub use permissions::*;
pub use scripts::*;
pub use senders::*;
pub use sessions::*;
pub use starting::*;
pub use supervisors::*;
pub use time_limits::*;
pub use unit_at::*;
pub use units::*;

/// The side effect of commands that change nothing.
const LOOKS: &str = "none: it only shows";

fn fix(title: &str, commands: Vec<String>, effect: &str) -> Fix {
    Fix {
        title: title.to_owned(),
        commands,
        effect: effect.to_owned(),
        side_effect: None,
        verify: None,
        reference: None,
    }
}

impl Fix {
    fn but(mut self, side_effect: &str) -> Self {
        self.side_effect = Some(side_effect.to_owned());
        self
    }

    fn check(mut self, verify: impl Into<String>) -> Self {
        self.verify = Some(verify.into());
        self
    }

    fn see(mut self, reference: &str) -> Self {
        self.reference = Some(reference.to_owned());
        self
    }
}

/// Quotes a word for the shell where it needs it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A shell's words for what systemd-run(1) is to have a service run: `$` begins a variable there, also in quotes.
fn run_by_systemd(command: &str) -> String {
    command.replace('$', "$$")
}

/// The last word of a command, which is no option even where it looks like one.
pub fn operand(word: &str) -> String {
    let dashes = if word.starts_with('-') { "-- " } else { "" };
    format!("{dashes}{}", quoted(word))
}

/// A remark for a reader, in one line whatever is in it: what came after it would be a command.
fn remark(text: &str) -> String {
    format!("# {}", text.replace(char::is_control, " "))
}

/// A longer grace period of a container, or an init that ends on SIGTERM.
pub fn container_grace(container: &Container) -> Fix {
    const EFFECT: &str = "SIGKILL follows later, or is not needed: process 1 of a container ignores SIGTERM unless it handles it";
    let title = "give the container more time, or an init that handles SIGTERM";
    let name = quoted(container.name.as_deref().unwrap_or(&container.id));
    let runtime = container.runtime.as_str();
    if let Some(pod) = container.kubernetes_pod() {
        let namespace = container.namespace.as_ref().map(|it| format!(" -n {}", quoted(it)));
        return fix(
            title,
            vec![
                "# in the pod's template, spec:  terminationGracePeriodSeconds: 120".to_owned(),
                "# in its image, have the program be process 1 itself (exec form) or start it by tini".to_owned(),
            ],
            EFFECT,
        )
        .but("deleting the pod and rolling out a new version may take that long")
        .check(format!(
            "kubectl get pod {}{} -o jsonpath='{{.spec.terminationGracePeriodSeconds}}'",
            quoted(pod),
            namespace.unwrap_or_default()
        ))
        .see("the Kubernetes documentation on the termination of pods");
    }
    let (commands, check) = match runtime {
        "docker" | "podman" => (
            vec![
                format!("{runtime} stop -t 60 {name}"),
                format!("# for good: {runtime} run --stop-timeout 60 --init …, or in a compose file: stop_grace_period: 60s"),
            ],
            format!("{runtime} inspect -f '{{{{.Config.StopTimeout}}}} {{{{.Config.StopSignal}}}}' {name}"),
        ),
        _ => (
            vec!["# start it with a small init (tini, --init), and have what stops it wait longer before it kills".to_owned()],
            "in the container: cat /proc/1/comm; grep SigCgt /proc/1/status".to_owned(),
        ),
    };
    fix(title, commands, EFFECT)
        .but("stopping the container may take that long")
        .check(check)
        .see("docker-stop(1), podman-stop(1), systemd.service(5) for TimeoutStopSec= of a unit around it")
}

/// `live-restore`: docker's containers outlive its daemon.
pub fn live_restore() -> Fix {
    fix(
        "have docker's containers go on while its daemon is stopped or restarted",
        vec![
            remark("in /etc/docker/daemon.json, among what is there:  \"live-restore\": true"),
            "sudo systemctl reload docker".to_owned(),
        ],
        "a restart of docker.service, be it for an upgrade, leaves containers running",
    )
    .but("not with swarm; while the daemon is away nothing restarts a container that ends, and what it writes may wait")
    .check("docker info --format '{{.LiveRestoreEnabled}}'")
    .see("https://docs.docker.com/engine/daemon/live-restore/")
}

#[cfg(test)]
mod tests;
