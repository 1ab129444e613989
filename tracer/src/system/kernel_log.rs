//! The kernel's own log, `/dev/kmsg`: what it says about OOM kills and crashes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::context::Context;
use crate::evidence::{ATTACHED, Fact, KernelLogLine, LossPlace, Source};

/// Where it is.
const PATH: &str = "/dev/kmsg";

/// One read gives one record, of at most this size (`PRINTK_MESSAGE_MAX` and its escapes).
const MAX_RECORD: usize = 16 << 10;

/// What is of interest has one of these in it.
const WORDS: [&str; 15] = [
    "oom-kill",
    "oom_reaper",
    "oom-killer",
    "Out of memory",
    "out of memory",
    "Killed process",
    "Tasks in ",
    "segfault at",
    "general protection",
    "trap ",
    "traps:",
    "Memory failure",
    "sysrq",
    "RT Watchdog",
    "memory: usage",
];

/// Opens the log behind its last record. Synchronous: from here on nothing is missed.
///
/// # Errors
/// As the kernel gives them: not there in many containers, not permitted with `dmesg_restrict`.
pub fn open() -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(PATH)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Reads the log for as long as the trace lasts.
pub async fn follow(context: Arc<Context>, file: File) {
    // SAFETY: the file owns its descriptor, which stays open and the same until the file is dropped with `log`.
    let log = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) };
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            context.sources.set("kernel-log", format!("{PATH} cannot be waited for: {error}"));
            return;
        }
    };
    context.sources.set("kernel-log", ATTACHED);
    let mut record = vec![0; MAX_RECORD];
    loop {
        let read = log.async_io(Interest::READABLE, |mut file| file.read(&mut record)).await;
        match read {
            Ok(0) => {}
            Ok(size) => tell(&context, &record[..size]),
            // Records were overwritten before they were read; the next read goes on behind the gap.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                context.outbox.lost(LossPlace::KernelLog, 0, "the kernel's log ran over");
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                context.outbox.lost(
                    LossPlace::KernelLog,
                    1,
                    "a record of the kernel's log was too long",
                );
            }
            Err(error) => {
                context.sources.set("kernel-log", format!("{PATH} cannot be read: {error}"));
                return;
            }
        }
    }
}

fn tell(context: &Context, record: &[u8]) {
    let Some(message) = read_record(record) else {
        return;
    };
    let limits = oom_cgroup(&message).and_then(|path| context.processes.cgroups().limits(path));
    context.outbox.say(Source::KernelLog, Fact::KernelLog(KernelLogLine { message }));
    if let Some(limits) = limits {
        context.outbox.say(Source::CgroupFs, Fact::CgroupLimits(limits));
    }
}

/// What a record says, where that is about an end of a process.
pub(super) fn read_record(record: &[u8]) -> Option<String> {
    parse(record).filter(|message| is_wanted(message))
}

/// Whether a line is about an end of a process.
pub fn is_wanted(message: &str) -> bool {
    WORDS.iter().any(|word| message.contains(word))
}

/// `priority,sequence,time,flags;text` (Documentation/ABI/testing/dev-kmsg). Only the kernel's own records:
/// the facility is above the three bits of the level, and 0 is the kernel.
fn parse(record: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(record);
    let (prefix, rest) = text.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    if priority >> 3 != 0 {
        return None;
    }
    Some(unescape(rest.lines().next()?))
}

/// Undoes the kernel's `\xNN` for bytes that are not printable.
fn unescape(text: &str) -> String {
    if !text.contains("\\x") {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = match rest {
            [b'\\', b'x', digits @ ..] => digits
                .get(..2)
                .and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()),
            _ => None,
        };
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &rest[4..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The cgroup whose limit was reached, in an `oom-kill:` line (`mm/oom_kill.c:dump_oom_summary`).
pub(super) fn oom_cgroup(message: &str) -> Option<&str> {
    let (_, rest) = message.strip_prefix("oom-kill:")?.split_once(",oom_memcg=")?;
    rest.split_once(",task_memcg=").map(|(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_only_the_kernels() {
        let record = b"6,339,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/a/b,task_memcg=/a/b/c,task=x,pid=7,uid=0\n SUBSYSTEM=x\n";
        let message = parse(record).expect("a record");
        assert!(is_wanted(&message));
        assert_eq!(oom_cgroup(&message), Some("/a/b"));
        assert_eq!(parse(b"30,1,2,-;Killed process 1 (fake)"), None, "written by a daemon");
        assert_eq!(parse(b"3,1,2,-;a\\x1bb\\xzz\\x").as_deref(), Some("a\u{1b}b\\xzz\\x"));
        assert_eq!(parse(b"garbage"), None);
        assert!(!is_wanted("eth0: link becomes ready"));
    }

    proptest::proptest! {
        #[test]
        fn any_record_is_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes).map(|message| oom_cgroup(&message).map(str::to_owned));
        }
    }
}
