//! The journal, followed through `journalctl -o json`: the stable interface, without linking libsystemd.

mod entry;

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::context::Context;
use super::presence;
use super::sources::ATTACHED;
use crate::evidence::{Fact, KernelLogLine, LossPlace, Source};

/// The programs whose words matter, by their `comm` (15 bytes at most): service managers, logind, sshd,
/// OOM daemons, schedulers, container runtimes, what runs commands for others.
const SPEAKERS: [&str; 36] = [
    "systemd",
    "systemd-logind",
    "systemd-oomd",
    "systemd-machine",
    "systemd-shutdow",
    "systemd-udevd",
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dropbear",
    "login",
    "sudo",
    "su",
    "doas",
    "polkitd",
    "pkexec",
    "cron",
    "crond",
    "atd",
    "earlyoom",
    "nohang",
    "dockerd",
    "containerd",
    "containerd-shim",
    "runc",
    "crun",
    "podman",
    "conmon",
    "crio",
    "kubelet",
    "k3s-server",
    "slurmd",
    "slurmstepd",
    "snapd",
    "needrestart",
    "unattended-upgr",
];

/// Speakers that are gone a moment after their last words, so that journald may find no `_COMM` of theirs any
/// more. By this name anybody can speak: `_PID`, which the kernel vouches for, says who it was.
const SHORT_LIVED: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

/// Longest line that is read; a longer one is skipped and counted.
const MAX_LINE: usize = 4 << 20;

/// Pauses before starting `journalctl` again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// Follows the journal for as long as the trace lasts. What is written after `since_unix_s` is not missed,
/// however long `journalctl` takes to start.
pub async fn follow(context: Arc<Context>, since_unix_s: i64) {
    let mut since = since_unix_s;
    let mut pause = RETRY_FIRST;
    let mut listened = false;
    loop {
        let started = match presence::no_journal() {
            Some(why) => Err(io::Error::other(why)),
            None => start(since, context.sources.is_attached("kernel-log")),
        };
        let why = match started {
            Ok(mut child) => {
                context.sources.set("journal", ATTACHED);
                if read(&context, &mut child, &mut since).await > 0 {
                    pause = RETRY_FIRST;
                }
                listened = true;
                ended(&mut child).await
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = "journalctl is not installed".to_owned();
                context.sources.set("journal", why.clone());
                context.outbox.unavailable("journal", why);
                return;
            }
            Err(error) => error.to_string(),
        };
        context.sources.set("journal", why.clone());
        if listened {
            context.outbox.lost(LossPlace::Journal, 0, why);
        } else {
            context.outbox.unavailable("journal", why);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

fn start(since: i64, kernel_log_attached: bool) -> io::Result<Child> {
    let mut command = Command::new("journalctl");
    command.args(["-o", "json", "--follow", "--all", "--no-tail", "--quiet", "--no-pager"]);
    command.arg(format!("--since=@{since}"));
    // Matches of one field are alternatives, "+" begins another alternative: journald's index does the work.
    command.args(SPEAKERS.iter().map(|comm| format!("_COMM={comm}")));
    command.arg("+").args(SHORT_LIVED.iter().map(|name| format!("SYSLOG_IDENTIFIER={name}")));
    if !kernel_log_attached {
        command.args(["+", "_TRANSPORT=kernel"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // SAFETY: between fork and exec only two system calls are made, without locks or allocation.
    unsafe { command.pre_exec(become_child) };
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => error,
        kind => io::Error::new(kind, format!("journalctl cannot be started: {error}")),
    })
}

/// In the child: it ends with the thread that started it, however that ends, and needs none of its haste.
fn become_child() -> io::Result<()> {
    // SAFETY: setpriority takes integers only; 0 is the calling process, and more niceness is always allowed.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    // SAFETY: setpgid takes integers only. Ctrl-C is meant for killtrace, and goes to its process group.
    unsafe { libc::setpgid(0, 0) };
    // SAFETY: PR_SET_PDEATHSIG takes a signal number; no memory is involved.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads lines until the stream ends; returns how many there were. `since` moves along.
async fn read(context: &Context, child: &mut Child, since: &mut i64) -> u64 {
    let Some(stdout) = child.stdout.take() else {
        return 0;
    };
    let begin = *since;
    let mut reader = BufReader::with_capacity(64 << 10, stdout);
    let mut line = Vec::new();
    let mut lines = 0;
    loop {
        match read_line(&mut reader, &mut line).await {
            Ok(Line::Whole) => {}
            Ok(Line::TooLong) => {
                context.outbox.lost(
                    LossPlace::Journal,
                    1,
                    "an entry of the journal was too long to be read",
                );
                continue;
            }
            Ok(Line::End) | Err(_) => return lines,
        }
        lines += 1;
        let Some(entry) = entry::parse(&line) else {
            continue;
        };
        *since = (*since).max(entry.realtime_us / 1_000_000);
        if entry.realtime_us / 1_000_000 < begin || !entry.is_wanted() {
            continue;
        }
        if entry.from_kernel {
            let fact = KernelLogLine { message: entry.line.message };
            if super::kernel_log::is_wanted(&fact.message) {
                context.outbox.say_at(entry.at, Source::Journal, Fact::KernelLog(fact));
            }
        } else {
            context.outbox.say_at(entry.at, Source::Journal, Fact::Journal(entry.into_line()));
        }
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads up to and without the next newline, never more than [`MAX_LINE`] into memory.
async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<Line> {
    line.clear();
    let mut too_long = false;
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(Line::End);
        }
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..newline.unwrap_or(buffer.len())];
        too_long |= line.len() + part.len() > MAX_LINE;
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = newline.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if newline.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole });
        }
    }
}

/// Why `journalctl` ended: its own last words, or its status.
async fn ended(child: &mut Child) -> String {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // It has ended, or is about to; a few lines are enough.
        let _ = stderr.take(4096).read_to_end(&mut words).await;
    }
    let words = String::from_utf8_lossy(&words);
    let last = words.lines().rev().find(|line| !line.trim().is_empty());
    match (last, child.wait().await) {
        (Some(last), _) => format!("journalctl ended: {}", last.trim()),
        (None, Ok(status)) => format!("journalctl ended: {status}"),
        (None, Err(error)) => format!("journalctl ended: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let mut text = vec![b'x'; MAX_LINE + 1];
        text.extend_from_slice(b"\nshort\n\ncut");
        let mut reader = BufReader::new(&text[..]);
        let mut line = Vec::new();
        assert!(matches!(read_line(&mut reader, &mut line).await, Ok(Line::TooLong)));
        assert!(matches!(read_line(&mut reader, &mut line).await, Ok(Line::Whole)));
        assert_eq!(line, b"short");
        assert!(matches!(read_line(&mut reader, &mut line).await, Ok(Line::Whole)));
        assert!(line.is_empty());
        assert!(matches!(read_line(&mut reader, &mut line).await, Ok(Line::End)));
    }
}
