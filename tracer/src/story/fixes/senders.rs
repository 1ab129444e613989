//! Remedies where a program sent a signal of its own accord: what it is, and what it said when it did so.

use super::super::verdict::Fix;
use super::{Asker, LOOKS, fix, operand, quoted, remark};
use crate::evidence::{Container, Moment};

/// How long before a signal what led to it is looked for, and how long after it, seconds.
const BEFORE: i128 = 60;
const AFTER: i128 = 10;

/// A program that sent a signal by itself.
#[derive(Debug)]
pub struct Sender<'n> {
    /// Its process id.
    pub pid: u32,
    /// The unit that it is part of.
    pub unit: Option<Asker<'n>>,
    /// The container that it is in.
    pub container: Option<&'n Container>,
    /// The script that it runs, as it was given to the interpreter.
    pub script: Option<&'n str>,
    /// When it sent the signal.
    pub at: Moment,
}

/// What it said around that time, and where it is written what it does. `None` where neither is known.
pub fn look_at_sender(sender: &Sender<'_>) -> Option<Fix> {
    let second = sender.at.time.unix_ns().div_euclid(1_000_000_000);
    let (since, until) = (second - BEFORE, second + AFTER);
    let span = format!("--since @{since} --until @{until}");
    let mut commands = Vec::new();
    let mut check = format!("ps -o pid,lstart,user,args -p {}", sender.pid);
    let mut see = "ps(1)";
    if let Some(Asker::Unit { unit, user }) = &sender.unit {
        let systemctl = |rest: &str| match user {
            Some(user) => user.systemctl(rest),
            None => format!("systemctl {rest}"),
        };
        let name = operand(unit);
        commands.push(match user {
            Some(user) => user.journal_within(unit, &span),
            None => format!("journalctl -u {} {span}", quoted(unit)),
        });
        commands
            .push(remark(&format!("where it has a file: {}", systemctl(&format!("cat {name}")))));
        check =
            format!("{}; {}", systemctl("list-timers --all"), systemctl(&format!("status {name}")));
        see = "journalctl(1), systemctl(1)";
    } else if let Some(container) = sender.container.filter(|it| it.named_by.is_none())
        && let "docker" | "podman" = container.runtime.as_str()
    {
        let (runtime, name) = (&container.runtime, container.name.as_ref());
        let name = quoted(name.unwrap_or(&container.id));
        commands.push(format!("sudo {runtime} logs --since {since} --until {until} {name}"));
        check = format!("sudo {runtime} inspect {name}");
        see = "docker-logs(1), podman-logs(1)";
    }
    let has_log = !commands.is_empty();
    let script = sender.script.map(|script| remark(&format!("the script that did it: {script}")));
    commands.extend(script);
    let effect = if has_log {
        "shows what it said around that moment, and where it is written what it does"
    } else {
        "what it does, and when, is written there"
    };
    if let Some(file) = sender.script.filter(|file| !has_log && file.starts_with('/')) {
        check = format!("ls -l {}", quoted(file));
        see = "ls(1)";
    }
    (!commands.is_empty()).then(|| {
        fix("see why the program that sent it did so", commands, effect)
            .but(LOOKS)
            .check(check)
            .see(see)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Whose;
    use super::*;
    use crate::report::samples;

    fn looked_at<'n>(change: impl FnOnce(&mut Sender<'n>)) -> Option<Vec<String>> {
        let at = Moment {
            time: crate::evidence::Time::from_unix_ns(1_700_000_060_900_000_000),
            ..samples::at(0)
        };
        let mut sender = Sender { pid: 70, unit: None, container: None, script: None, at };
        change(&mut sender);
        look_at_sender(&sender).map(|fix| fix.commands)
    }

    #[test]
    fn what_a_sender_said_is_where_it_says_it() {
        const SPAN: &str = "--since @1700000000 --until @1700000070";
        assert_eq!(looked_at(|_| ()), None, "nothing is known of it");
        let unit = |unit| looked_at(|it| it.unit = Some(unit)).expect("a remedy");
        let of_system = unit(Asker::Unit { unit: "dog.service", user: None });
        assert_eq!(
            of_system,
            [
                format!("journalctl -u dog.service {SPAN}"),
                "# where it has a file: systemctl cat dog.service".to_owned()
            ]
        );
        let alice = Whose::called(1000, Some("alice"));
        let of_user = unit(Asker::Unit { unit: "dog.service", user: Some(alice) });
        assert_eq!(
            of_user[0],
            format!(
                "journalctl {SPAN} _UID=1000 _SYSTEMD_USER_UNIT=dog.service + _UID=1000 USER_UNIT=dog.service"
            )
        );
        assert!(
            of_user[1]
                .contains("sudo -u alice XDG_RUNTIME_DIR=/run/user/1000 systemctl --user cat")
        );
        let script = looked_at(|it| it.script = Some("/opt/dog\n.py")).expect("a remedy");
        assert_eq!(script, ["# the script that did it: /opt/dog .py"]);
        let at = samples::at(0);
        let known = Sender { pid: 70, unit: None, container: None, script: Some("/opt/dog"), at };
        let fix = look_at_sender(&known).expect("a remedy");
        assert_eq!(
            (fix.effect.as_str(), fix.verify.as_deref()),
            ("what it does, and when, is written there", Some("ls -l /opt/dog"))
        );
    }

    #[test]
    fn a_container_has_a_log_of_its_own() {
        let container = |runtime: &str, named_by| Container {
            runtime: runtime.to_owned(),
            id: "4fa6".to_owned(),
            name: Some("dog house".to_owned()),
            named_by,
            ..Container::default()
        };
        let logs = |it: Container| {
            looked_at(|sender| sender.container = Some(&it)).map(|it| it[0].clone())
        };
        let docker =
            Some("sudo docker logs --since 1700000000 --until 1700000070 'dog house'".to_owned());
        assert_eq!(logs(container("docker", None)), docker);
        assert_eq!(logs(container("containerd", None)), None);
        // Root's podman knows none of a user's.
        assert_eq!(logs(container("podman", Some(1000))), None);
    }
}
