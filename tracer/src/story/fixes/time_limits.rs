//! Remedies where the time was up that somebody had given a command or a job.

use super::super::verdict::Fix;
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
