//! The journal, followed through `journalctl -o json`: the stable interface, without linking libsystemd.

mod entry;

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::clock;
use super::context::Context;
use super::presence;
use crate::evidence::{
    ATTACHED, Evidence, Fact, KernelLogLine, LossPlace, Manager, Moment, Source,
};
use entry::Entry;

/// The programs whose words matter, by their `comm` (15 bytes at most): service managers, logind, sshd,
/// OOM daemons, schedulers, container runtimes, what runs commands for others.
const SPEAKERS: [&str; 40] = [
    "systemd",
    "systemd-logind",
    "systemd-oomd",
    "systemd-machine",
    "systemd-shutdow",
    "systemd-udevd",
    "systemd-homed",
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
    "monit",
    "k3s-server",
    "k3s-agent",
    "kubelite",
    "slurmd",
    "slurmstepd",
    "snapd",
    "needrestart",
    "unattended-upgr",
];

/// Speakers that are gone a moment after their last words, so that journald may find no `_COMM` of theirs any
/// more. By this name anybody can speak: `_PID`, which the kernel vouches for, says who it was.
const SHORT_LIVED: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

/// What is said of the journal where there is no program to read it with.
pub const NO_JOURNALCTL: &str = "journalctl is not installed";

/// Longest line that is read; a longer one is skipped and counted.
const MAX_LINE: usize = 4 << 20;

/// Pauses before starting `journalctl` again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// From where on the journal is read.
enum Place {
    /// What was written after this second of the wall clock.
    Since(i64),
    /// What comes after the entry with this cursor, however the clock was set meanwhile.
    After(String),
}

/// Follows the journal for as long as the trace lasts, which began at `begin`. What is written after that is not
/// missed, however long `journalctl` takes to start.
pub async fn follow(context: Arc<Context>, begin: Moment) {
    let second = i64::try_from(begin.time.unix_ns() / 1_000_000_000).unwrap_or(0);
    let mut place = Place::Since(second);
    let mut pause = RETRY_FIRST;
    let mut listened = false;
    loop {
        let started = match presence::no_journal() {
            Some(why) => Err(io::Error::other(why)),
            None => start(&place, context.sources.is_attached("kernel-log")),
        };
        let why = match started {
            Ok(mut child) => {
                let pid = child.id();
                let reading = read(&context, &mut child, begin, &mut place);
                let (lines, ()) = tokio::join!(reading, attach_when_asleep(&context, pid));
                if lines > 0 {
                    pause = RETRY_FIRST;
                }
                listened = true;
                ended(&mut child).await
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = NO_JOURNALCTL.to_owned();
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

/// Says that the journal is listened to once `journalctl` has nothing left to tell and sleeps: it first opens all files, which
/// can take seconds where they are many, or the machine is busy.
async fn attach_when_asleep(context: &Context, pid: Option<u32>) {
    const LOOKS: Duration = Duration::from_millis(5);
    let Some(pid) = pid else { return };
    let mut slept = false;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        slept = match state_of(&stat) {
            // Once alone it may be waiting for its output to be read.
            Some('S') if !slept => true,
            // Or nothing can be known of it here.
            Some('S') | None => return context.sources.set("journal", ATTACHED),
            // It has ended: whoever reads its output says so.
            Some('Z' | 'X') => return,
            Some(_) => false,
        };
        tokio::time::sleep(LOOKS).await;
    }
}

/// The state of a process by its `/proc/PID/stat`, whatever it calls itself.
fn state_of(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

fn start(place: &Place, kernel_log_attached: bool) -> io::Result<Child> {
    let mut command = Command::new("journalctl");
    command.args(["-o", "json", "--follow", "--all", "--no-tail", "--quiet", "--no-pager"]);
    command.arg("--boot");
    match place {
        Place::Since(second) => command.arg(format!("--since=@{second}")),
        Place::After(cursor) => command.arg(format!("--after-cursor={cursor}")),
    };
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

/// Reads lines until the stream ends; returns how many there were. `place` moves along.
async fn read(context: &Context, child: &mut Child, begin: Moment, place: &mut Place) -> u64 {
    let Some(stdout) = child.stdout.take() else {
        return 0;
    };
    // The journal is asked for whole seconds.
    let begin_ns = begin.boot_ns.saturating_sub(1_000_000_000);
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
        let Some(mut entry) = entry::parse(&line) else {
            continue;
        };
        if let Some(cursor) = entry.cursor.take() {
            *place = Place::After(cursor);
        }
        if entry.at.boot_ns >= begin_ns {
            tell(context, entry, place);
        }
    }
}

/// Tells an entry that was not told before.
fn tell(context: &Context, entry: Entry, place: &Place) {
    let is_new = match place {
        Place::After(cursor) => context.add_entry(cursor),
        Place::Since(_) => true,
    };
    if let Some(Evidence { at, source, fact }) = told(entry).filter(|_| is_new) {
        context.outbox.say_at(at, source, fact);
    }
}

/// Reads at once what PID 1 and logind have written in the last seconds. Who follows the journal is told of new entries only
/// 250 ms later (`POST_CHANGE_TIMER_INTERVAL_USEC` in `src/journal/journald-server.c`), when journald may have been ended.
pub async fn look_back(context: Arc<Context>) {
    const LOOKED_BACK: i128 = 5;
    let since = clock::now().time.unix_ns() / 1_000_000_000 - LOOKED_BACK;
    let of_managers = ["_PID=1", "+", "_COMM=systemd-logind"].map(str::to_owned);
    read_since(&context, since, &of_managers).await;
}

/// Reads what a manager has written of a unit since a time, microseconds since 1970, and right before that.
pub async fn look_back_on(context: &Arc<Context>, manager: Manager, unit: &str, since_us: u64) {
    let of_unit = match manager {
        Manager::System => ["_PID=1".to_owned(), format!("UNIT={unit}")],
        Manager::User(uid) => [format!("_UID={uid}"), format!("USER_UNIT={unit}")],
    };
    read_since(context, i128::from(since_us / 1_000_000) - 1, &of_unit).await;
}

/// Reads the entries since a second that these matches of journalctl(1) find.
async fn read_since(context: &Arc<Context>, since: i128, matches: &[String]) {
    const LIMIT: Duration = Duration::from_secs(2);
    if !context.sources.is_wanted("journal") {
        return;
    }
    let mut command = Command::new("journalctl");
    command.args(["-o", "json", "--all", "--quiet", "--no-pager", "--boot"]);
    // Of a unit that makes many words the last are wanted.
    command.args([format!("--since=@{since}"), "--lines=1000".to_owned()]).args(matches);
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let Ok(Ok(read)) = tokio::time::timeout(LIMIT, command.output()).await else { return };
    for line in read.stdout.split(|byte| *byte == b'\n') {
        if let Some(mut entry) = entry::parse(line)
            && let Some(cursor) = entry.cursor.take()
        {
            tell(context, entry, &Place::After(cursor));
        }
    }
}

/// What an entry tells; `None` where it is from nobody who knows, or about nothing that matters.
fn told(entry: Entry) -> Option<Evidence> {
    if !entry.is_wanted() {
        return None;
    }
    let at = entry.at;
    let fact = if entry.from_kernel {
        let message = Some(entry.line.message).filter(|text| super::kernel_log::is_wanted(text));
        Fact::KernelLog(KernelLogLine { message: message? })
    } else {
        Fact::Journal(entry.into_line())
    };
    Some(fact.at(at, Source::Journal))
}

/// What a line of journalctl's output tells.
pub(super) fn read_entry(line: &[u8]) -> Option<Evidence> {
    told(entry::parse(line)?)
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

    #[test]
    fn the_state_of_a_process_is_told_whatever_its_name() {
        assert_eq!(state_of("42 (journalctl) S 1 42"), Some('S'));
        assert_eq!(state_of("42 (a) S 1) R 1 42"), Some('R'));
        assert_eq!(state_of(""), None);
        let own = std::fs::read_to_string("/proc/thread-self/stat").expect("this thread");
        assert_eq!(state_of(&own), Some('R'));
    }

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
