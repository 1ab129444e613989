//! Remedies against the stop of another unit that takes a unit along.

use super::super::verdict::{DecidingSetting, Fix};
use super::unit_at::{UnitAt, Whose};
use super::{LOOKS, fix, operand, quoted, remark};
use crate::evidence::base_name;

/// Who starts and stops this unit; none of one that was made by a program, which nothing is known of when it has
/// been stopped.
pub fn look_at_unit(at: &UnitAt) -> Option<Fix> {
    let cat = at.lost_file.is_none().then(|| at.about("cat"));
    let dependencies = at.about("list-dependencies --reverse --all");
    let commands = cat.into_iter().chain([dependencies]).collect();
    (!at.transient).then(|| {
        fix(
            "see what the unit is bound to",
            commands,
            "shows the dependencies through which a stop spreads to it",
        )
        .but(LOOKS)
        .check(at.show("PartOf,BindsTo,Requires,Conflicts,StopPropagatedFrom"))
        .see("systemd.unit(5)")
    })
}

/// What the job of a scheduler, or a unit, says that had something done to this one.
pub fn look_at_asker(asker: &Asker<'_>) -> Fix {
    const WHERE: &str = "shows where it comes from, and so where it can be changed";
    let looks = match asker {
        Asker::CronJob(command) => fix(
            "see the cron job that does so",
            vec![format!(
                "sudo grep -srnF -e {} /etc/*cron* /var/spool/cron",
                quoted(command)
            )],
            WHERE,
        )
        // cronie, as on Fedora and Arch, calls itself CROND there.
        .check("journalctl -t CRON -t CROND -n 20; grep -s CRON /var/log/syslog /var/log/cron")
        .see("crontab(5), cron(8)"),
        Asker::AtJob => fix(
            "see what else is planned for later",
            vec![
                "sudo atq".to_owned(),
                remark("for each number that it lists: sudo at -c NUMBER shows the script, sudo atrm NUMBER takes it out"),
            ],
            "the job that did it ran once and is over; shows those that are still to come",
        )
        .check("sudo atq")
        .see("at(1)"),
        // It may be one that a program made, which has no file.
        Asker::Unit { unit, user } => {
            let systemctl = |rest: &str| match user {
                Some(user) => user.systemctl(rest),
                None => format!("systemctl {rest}"),
            };
            let journal = match user {
                Some(user) => user.journal(unit),
                None => format!("journalctl -u {} -n 50", quoted(unit)),
            };
            let name = operand(unit);
            let cat = systemctl(&format!("cat {name}"));
            let file = remark(&format!("where it has a file: {cat}"));
            fix(
                "see what the unit that does so is for",
                vec![journal, file],
                WHERE,
            )
            .check(format!(
                "{}; {}",
                systemctl("list-timers --all"),
                systemctl(&format!("status {name}"))
            ))
            .see("journalctl(1), systemctl(1)")
        }
    };
    looks.but(LOOKS)
}

/// What, without anybody at a keyboard, had something done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker<'n> {
    /// A cron job, by its command.
    CronJob(&'n str),
    /// An at job.
    AtJob,
    /// A unit, of the system or of a user's service manager.
    Unit { unit: &'n str, user: Option<Whose> },
}

/// A unit that a program made with a dependency on another, which stopped one of the two: there is no line to change.
pub fn without_dependency(at: &UnitAt, name: &str, other: &str) -> Fix {
    let (option, side_effect) = match name {
        "Slice" => (format!("--slice={other}"), "its resource limits change with its slice"),
        _ => (format!("-p {name}={other}"), "each has to cope with what the other does"),
    };
    let made = remark(&format!(
        "the unit is made anew each time; where {} makes it, leave out {option}",
        at.run()
    ));
    fix(
        &format!("make {} without {name}={other}", at.instance),
        vec![made],
        &format!(
            "what happens to one of {} and {other} no longer takes the other down",
            at.instance
        ),
    )
    .but(side_effect)
    .check(at.show(name))
    .see("systemd-run(1), systemd.unit(5)")
}

/// A dependency that stops a unit, made one that does not, where this line made it. A drop-in cannot take a dependency
/// back. `property`: where the manager lists it; `unit`: the one that is stopped; `other`: the one that it goes with.
pub fn loosen_dependency(
    at: &UnitAt,
    property: &str,
    line: &DecidingSetting,
    [unit, other]: [&str; 2],
) -> Fix {
    let name = line.name.as_str();
    let (effect, side_effect) = match name {
        "Conflicts" => (
            "the two can run side by side".to_owned(),
            "they may have been kept apart for a reason: a port, a device or a file that both use",
        ),
        "Slice" => (
            format!("the stop of {other} no longer takes it down"),
            "its resource limits change with its slice",
        ),
        "PropagatesStopTo" | "StopPropagatedFrom" => (
            format!("the stop of {other} no longer stops {unit}"),
            "whoever stops the one to be rid of both has to stop the other as well",
        ),
        "PartOf" => (
            format!("{other} may stop or be restarted without taking it down"),
            "it is no longer restarted with the other, and has to cope with its absence",
        ),
        "Requisite" => (
            format!("{other} may stop without taking it down"),
            "it then also starts where the other does not run",
        ),
        "RequiresMountsFor" => (
            format!("{other} may go without taking it down"),
            "what it writes may then end up in the directory below; nothing is mounted for it at its start any more",
        ),
        _ => (
            format!("{other} is still started with it, but may stop without taking it down"),
            "it has to cope with the other's absence",
        ),
    };
    let mut commands: Vec<String> = at.restored().into_iter().collect();
    match (line.file.as_deref(), line.line) {
        // A link beside the units: it is the dependency.
        (Some(link), None) if link.contains(".requires/") => {
            commands.push(at.about_file("rm", link));
        }
        (file, _) => {
            let there = remark(&format!("there, {}", instead(line, [unit, other])));
            commands.extend([open(at, file), there]);
        }
    }
    commands.push(at.sudo(&at.systemctl("daemon-reload")));
    fix(&format!("loosen the dependency {name}="), commands, &effect)
        .but(side_effect)
        .check(at.show(property))
        .see("systemd.unit(5)")
}

/// The command that opens a file of a unit. A drop-in is a file of its own; a unit file that a package owns is copied
/// by `edit --full`.
fn open(at: &UnitAt, file: Option<&str>) -> String {
    let edit = |unit: &str| at.sudo(&at.systemctl(&format!("edit --full {}", operand(unit))));
    match file {
        Some(file) if file.ends_with(".conf") => at.about_file("editor", file),
        Some(file) => edit(base_name(file)),
        None => edit(&at.unit),
    }
}

/// What to do about a line that makes a dependency between two units.
fn instead(line: &DecidingSetting, units: [&str; 2]) -> String {
    let (name, value) = (line.name.as_str(), line.value.as_str());
    if name == "Slice" {
        return format!("choose another slice instead of Slice={value}");
    }
    // These alone start the other as well.
    let wants = ["BindsTo", "Requires"].contains(&name);
    if value.split_whitespace().count() == 1 {
        return if wants {
            format!("write Wants={value} instead of {name}={value}")
        } else {
            format!("take out {name}={value}")
        };
    }
    let word = value.split_whitespace().find(|word| units.contains(word));
    let word = word.unwrap_or("what means it");
    let add = if wants { format!(", and add Wants={word}") } else { String::new() };
    format!("take {word} out of {name}={value}{add}")
}

/// Another slice for a unit whose files name none.
pub fn other_slice(at: &UnitAt, slice: &str) -> Fix {
    let there = format!("under [{}]: Slice= with another slice than {slice}", at.section());
    let mut commands = at.edit("", &there);
    commands.push(at.sudo(&at.systemctl("daemon-reload")));
    fix(
        "put it into another slice",
        commands,
        &format!("the stop of {slice} no longer takes it down"),
    )
    .but("its resource limits change with its slice")
    .check(at.show("Slice"))
    .see("systemd.resource-control(5)")
}

/// `RestartMode=direct` for the unit that another one depends on.
pub fn direct_restart(at: &UnitAt, dependent: &str) -> Fix {
    let other = &at.instance;
    fix(
        &format!("have {other} restarted without stopping what depends on it"),
        at.set("Service", "RestartMode=direct"),
        &format!("when systemd itself restarts {other}, {dependent} goes on; a stop or restart that is asked for still takes it down"),
    )
    .but(&format!("{dependent} has to cope with the other's absence meanwhile, and OnFailure= of {other} waits until it is no longer restarted"))
    .check(at.show("RestartMode"))
    .see("systemd.service(5)")
}

/// `StopWhenUnneeded=no`
pub fn keep_when_unneeded(at: &UnitAt) -> Fix {
    fix(
        "let it run when no other unit needs it",
        at.set("Unit", "StopWhenUnneeded=no"),
        "it stays until it is stopped by itself",
    )
    .but("it goes on using what it uses; something has to stop it")
    .check(at.show("StopWhenUnneeded"))
    .see("systemd.unit(5)")
}

/// `IgnoreOnIsolate=yes`
pub fn ignore_on_isolate(at: &UnitAt) -> Fix {
    fix(
        "let it survive when another target is isolated",
        at.set("Unit", "IgnoreOnIsolate=yes"),
        "systemctl isolate leaves the unit alone",
    )
    .but("it then also runs in rescue mode")
    .check(at.show("IgnoreOnIsolate"))
    .see("systemd.unit(5)")
}
