//! Remedies where the time was up that somebody had given a command or a job.

use super::super::verdict::{DecidingSetting, Fix};
use super::unit_at::UnitAt;
use super::{fix, quoted, remark};

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
    let commands =
        vec![remark(&format!("with a longer time, or without the limit, {limit}: {command}"))];
    more_time(commands).see(match program {
        "php-fpm" => "https://www.php.net/manual/en/install.fpm.configuration.php",
        _ => "the manual of that program",
    })
}

/// A longer limit of sudo's: in the line that set it, where it is known which one did.
pub fn longer_limit_of_sudo(setting: Option<&DecidingSetting>) -> Fix {
    const INSTEAD: &str =
        "a longer time, or a Defaults!COMMAND line with another one for this command";
    let line = setting.and_then(|setting| Some((setting, setting.file.as_deref()?)));
    let commands = match line {
        Some((setting, file)) => {
            let line = setting.line.map(|line| format!(" in line {line}")).unwrap_or_default();
            vec![
                format!("sudo visudo -f {}", quoted(file)),
                remark(&format!("{}={}{line}: {INSTEAD}", setting.name, setting.value)),
            ]
        }
        None => vec![
            "sudo grep -rnE 'command_timeout|TIMEOUT=' /etc/sudoers /etc/sudoers.d".to_owned(),
            remark(&format!("in that file, by visudo -f FILE: {INSTEAD}")),
        ],
    };
    more_time(commands).see("sudoers(5), sudo(8)")
}

fn more_time(commands: Vec<String>) -> Fix {
    fix("give it more time", commands, "it is ended later, or not at all")
        .but("one that hangs is there for that much longer, and so is what waits for it")
        .check("the next run ends by itself")
}

/// A longer limit that stands in the line of a unit which starts what has it.
pub fn longer_limit_in(at: &UnitAt, limit: &str) -> Fix {
    let mut commands =
        at.edit("--full ", &format!("in ExecStart=: {limit} with a longer time, or without it"));
    commands.push(at.sudo(&at.about("restart")));
    fix("give it more time", commands, "it is ended later, or not at all")
        .but("one that hangs is there for that much longer, and so is what waits for it; the restart ends what is under way")
        .check(at.show("ExecStart"))
        .see("systemd.service(5), and the manual of that program")
}
