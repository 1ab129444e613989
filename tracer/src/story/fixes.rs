//! What to do about it: every remedy that is ever suggested, in one place.
//!
//! Remedies fit the case (real unit, user and signal names) and are never dangerous by default: none
//! kills, deletes or weakens security silently, and each says what else it brings about.

mod containers;
mod crashes;
mod dependencies;
mod memory;
mod permissions;
mod sessions;
mod starting;
mod unit_at;
mod units;

use super::verdict::Fix;
use crate::evidence::Container;
pub use containers::*;
pub use crashes::*;
pub use dependencies::*;
pub use memory::*;
pub use permissions::*;
pub use sessions::*;
pub use starting::*;
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

/// The last word of a command, which is no option even where it looks like one.
pub fn operand(word: &str) -> String {
    let dashes = if word.starts_with('-') { "-- " } else { "" };
    format!("{dashes}{}", quoted(word))
}

/// A remark for a reader, in one line whatever is in it: what came after it would be a command.
fn remark(text: &str) -> String {
    format!("# {}", text.replace(char::is_control, " "))
}

/// What a device needs running is a service of its own.
pub fn udev_unit() -> Fix {
    fix(
        "have the device's rule start a service instead",
        vec![
            "grep -rns 'RUN' /etc/udev/rules.d /run/udev/rules.d /usr/lib/udev/rules.d".to_owned(),
            remark("in that rule, for a NAME.service of yours in place of RUN: TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"NAME.service\""),
            "sudo udevadm control --reload".to_owned(),
        ],
        "systemd runs it in a unit of its own, which outlives udev's work on the device",
    )
    .but("udev no longer waits for it, and it is not started again while it runs")
    .check("systemctl status NAME.service")
    .see("udev(7), systemd.device(5)")
}

/// Where systemd does not start services; `is_openrcs`: OpenRC does.
pub fn start_service_again(service: &str, is_openrcs: bool) -> Fix {
    let name = operand(service);
    let (program, manual) =
        if is_openrcs { ("rc-service", "rc-service(8)") } else { ("service", "service(8)") };
    fix(
        "start the service again",
        vec![format!("sudo {program} {name} start")],
        &format!("{service} runs again, as its init script starts it"),
    )
    .check(format!("{program} {name} status"))
    .see(manual)
}

/// `sacct -j 5`
pub fn look_at_slurm_job(id: &str) -> Fix {
    let id = quoted(id);
    fix(
        "see why the job ended, and give it more time if that was it",
        vec![
            format!("sacct -j {id} --format=JobID,State,ExitCode,Elapsed,Timelimit,Reason"),
            remark("for the next one: sbatch --time=HH:MM:SS, and --signal=B:TERM@60 to be warned a minute before"),
        ],
        "shows whether it was cancelled, ran out of time or failed",
    )
    .but("a longer job is started later, and holds what it uses for longer")
    .check(format!("scontrol show job {id}"))
    .see("sbatch(1), scancel(1), slurm.conf(5) KillWait")
}

/// A longer limit of `timeout` and its kind.
pub fn longer_limit(command: &str) -> Fix {
    fix(
        "give it more time, where that command is written",
        vec![remark(&format!("with a longer time, or without the limit: {command}"))],
        "it is ended later, or not at all",
    )
    .but("one that hangs is there for that much longer, and so is what waits for it")
    .check("the next run ends by itself, with another status than 124")
    .see("timeout(1)")
}

/// A longer limit of a program that has one for what it runs, as one of its options or in its settings.
pub fn longer_limit_of(program: &str, limit: &str, command: &str) -> Fix {
    let commands = match program {
        "sudo" => vec![
            "sudo grep -rnE 'command_timeout|TIMEOUT=' /etc/sudoers /etc/sudoers.d".to_owned(),
            remark(
                "in that file, by visudo -f FILE: a longer time, or a Defaults!COMMAND line with another one for this command",
            ),
        ],
        _ => vec![remark(&format!("with a longer time, or without the limit, {limit}: {command}"))],
    };
    fix("give it more time", commands, "it is ended later, or not at all")
        .but("one that hangs is there for that much longer, and so is what waits for it")
        .check("the next run ends by itself")
        .see(match program {
            "sudo" => "sudoers(5), sudo(8)",
            "php-fpm" => "https://www.php.net/manual/en/install.fpm.configuration.php",
            _ => "the manual of that program",
        })
}

/// A longer grace period of a container, or an init that ends on SIGTERM.
pub fn container_grace(container: &Container) -> Fix {
    const EFFECT: &str = "SIGKILL follows later, or is not needed: process 1 of a container ignores SIGTERM unless it handles it";
    let title = "give the container more time, or an init that handles SIGTERM";
    let name = quoted(container.name.as_deref().unwrap_or(&container.id));
    let runtime = container.runtime.as_str();
    if let Some(pod) = &container.pod {
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
