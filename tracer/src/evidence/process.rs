//! Processes: what an event says of them, and what a report shows of them.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length of a clock tick in `/proc/PID/stat` (`USER_HZ` is 100 on every supported architecture).
pub const TICK_NS: u64 = 10_000_000;

/// The last part of a path, which is what a program is called by; all of what has no `/`.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Bytes of a name in the kernel, `comm` (`TASK_COMM_LEN` less the NUL); longer ones are cut.
pub const COMM_LEN: usize = 15;

/// Whether the kernel calls a process so that has this name.
#[must_use]
pub fn is_comm_of(comm: &str, name: &str) -> bool {
    let name = name.as_bytes();
    !name.is_empty() && name.get(..COMM_LEN).unwrap_or(name) == comm.as_bytes()
}

/// A name as it stands in a sentence: in quotes where it could be read as more than a name, as `systemd[1], whose` could.
#[must_use]
pub fn set_off(name: &str) -> Cow<'_, str> {
    let is_more = name.contains(['[', ']', ',', ';', '"']) || name.contains("  ");
    if is_more { format!("\"{}\"", name.replace('"', "\\\"")).into() } else { name.into() }
}

/// Identity of a process: a pid alone can be used again.
///
/// `/proc` knows start times in ticks of 10 ms only, the kernel's events in nanoseconds; two
/// identities are therefore equal where pid and tick are.
#[derive(Clone, Copy, Debug, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessId {
    /// Process id in the tracer's pid namespace.
    pub pid: u32,
    /// When it started: `CLOCK_BOOTTIME`, nanoseconds.
    pub start_ns: u64,
}

impl ProcessId {
    /// Start time in clock ticks.
    pub const fn start_ticks(self) -> u64 {
        self.start_ns / TICK_NS
    }

    /// When it had been made at the latest, `CLOCK_BOOTTIME` nanoseconds: where only the tick is known, at its end.
    pub const fn made_by_ns(self) -> u64 {
        if self.start_ns.is_multiple_of(TICK_NS) {
            self.start_ns.saturating_add(TICK_NS)
        } else {
            self.start_ns
        }
    }
}

impl PartialEq for ProcessId {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid && self.start_ticks() == other.start_ticks()
    }
}

impl std::hash::Hash for ProcessId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.pid.hash(state);
        self.start_ticks().hash(state);
    }
}

/// A task as a kernel event saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// The process.
    #[serde(flatten)]
    pub id: ProcessId,
    /// The thread, as in the tracer's pid namespace.
    pub tid: u32,
    /// Process id as the process sees itself.
    pub ns_pid: u32,
    /// Its parent, as in the tracer's pid namespace; 0 where unseen.
    pub ppid: u32,
    /// Name of the thread (at most 15 bytes).
    pub comm: String,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Audit login uid, where set.
    pub login_uid: Option<u32>,
    /// Audit session, where set. systemd-logind names its sessions after it.
    pub audit_session: Option<u32>,
    /// Path of its cgroup (cgroup2, from the root of the mount), where known.
    pub cgroup: Option<String>,
    /// Inode number of its pid namespace.
    pub pid_ns: u32,
    /// A thread of the kernel.
    pub kernel_thread: bool,
    /// It was already in `do_exit`.
    pub exiting: bool,
    /// A kernel worker that acts for a process: io_uring or vhost.
    pub io_worker: bool,
}

/// A parent of a task as a kernel event saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ancestor {
    /// The process.
    #[serde(flatten)]
    pub id: ProcessId,
    /// Its name.
    pub comm: String,
    /// Its real user id.
    pub uid: u32,
}

/// A process as the report shows it: everything known of it at the time of the verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id in the tracer's pid namespace; 0 where it has none there.
    pub pid: u32,
    /// Process id as the process sees itself.
    pub ns_pid: Option<u32>,
    /// `CLOCK_BOOTTIME` of its start, nanoseconds.
    pub start_ns: Option<u64>,
    /// Its name: `comm`, at most 15 bytes.
    pub comm: Option<String>,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Its arguments, as last seen.
    pub cmdline: Option<Vec<String>>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Name of that user.
    pub user: Option<String>,
    /// Its parent.
    pub ppid: Option<u32>,
    /// Path of its cgroup.
    pub cgroup: Option<String>,
    /// systemd unit of the system manager.
    pub unit: Option<String>,
    /// systemd unit of a user manager.
    pub user_unit: Option<String>,
    /// systemd slice.
    pub slice: Option<String>,
    /// Login session.
    pub session: Option<Session>,
    /// Container.
    pub container: Option<Container>,
    /// Job of a batch system.
    pub job: Option<BatchJob>,
    /// Its parents, nearest first.
    pub ancestors: Vec<AncestorProcess>,
}

/// How many bytes there can be of a letter of which the rest was cut off.
const MAX_PART: usize = 3;

/// How much longer than the kernel's a name is shown.
const MAX_NAME: usize = 64;

/// Whether a name has such letters, and no sentence.
fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || "._+-".contains(letter)
}

impl Process {
    /// Its name: `comm`, and where the kernel cut that off, the executable's, which goes on from there. Whoever calls a
    /// program so chooses the rest of it as well: only what looks like a name, and no sentence, is taken from there.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let comm = self.comm.as_deref().filter(|comm| !comm.is_empty())?;
        let exe = self.exe.as_deref().map(base_name).unwrap_or_default();
        let whole = exe.strip_suffix(" (deleted)").unwrap_or(exe);
        if self.is_called_by_number(comm, whole) {
            return Some(whole);
        }
        // It can have been cut within a letter: then up to three bytes of that are left, and are told as one.
        let begin = comm.strip_suffix(char::REPLACEMENT_CHARACTER).unwrap_or(comm);
        let rest = whole.strip_prefix(begin);
        let is_name = |rest: &str| rest.chars().all(is_of_name);
        let is_cut =
            comm.len() >= COMM_LEN && begin.len() >= COMM_LEN - MAX_PART && whole.len() <= MAX_NAME;
        Some(if is_cut && rest.is_some_and(is_name) { whole } else { comm })
    }

    /// Whether a name is that of the file descriptor by which a program was executed (fexecve(3)), before Linux 6.14: its first
    /// argument and the kernel agree on another.
    fn is_called_by_number(&self, comm: &str, exe: &str) -> bool {
        let first = self.cmdline.iter().flatten().next().map(|first| base_name(first));
        comm.bytes().all(|byte| byte.is_ascii_digit())
            && !exe.is_empty()
            && exe.len() <= MAX_NAME
            && exe.chars().all(is_of_name)
            && first == Some(exe)
    }

    /// What its program is called by whoever starts it: its name where that is the program's or one of the words that it was
    /// started by, as of a script; else it has given itself that name, as the first thread of Node (`MainThread`) and the
    /// server of tmux do, and its executable's counts.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        /// The interpreter of a script, an option of that, the script.
        const WORDS: usize = 3;
        let name = self.name()?;
        let exe = self.exe.as_deref().map(base_name).filter(|exe| !exe.is_empty());
        let exe = exe.map(|exe| exe.strip_suffix(" (deleted)").unwrap_or(exe));
        let words = self.cmdline.iter().flatten().take(WORDS);
        let words = words.map(|word| base_name(word.trim_start_matches('-')));
        let comm = self.comm.as_deref().unwrap_or_default();
        let is_given = exe.into_iter().chain(words).any(|word| is_comm_of(comm, word));
        Some(exe.filter(|_| !is_given).unwrap_or(name))
    }
}

/// A parent as the report shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AncestorProcess {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its arguments, where they were seen.
    pub cmdline: Option<Vec<String>>,
}

/// A login session of systemd-logind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its id: `3`, `c2`.
    pub id: String,
    /// Whose it is.
    pub user: Option<String>,
    /// Where the user came from.
    pub remote_host: Option<String>,
    /// Its terminal.
    pub tty: Option<String>,
    /// PAM service that opened it: `sshd`, `login`, …
    pub service: Option<String>,
}

/// A container, or a virtual machine's payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// `docker`, `podman`, `containerd`, `cri-o`, `lxc`, `nspawn`, `runc`, …
    pub runtime: String,
    /// Its id.
    pub id: String,
    /// Its name, where the runtime tells.
    pub name: Option<String>,
    /// Kubernetes pod (its name, or else its uid).
    pub pod: Option<String>,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// The user, not root, who could choose the name of the cgroup that this is read from: that it is a container is then
    /// that user's word alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_by: Option<u32>,
}

impl Container {
    /// The pod that Kubernetes runs it in; podman has pods of its own.
    #[must_use]
    pub fn kubernetes_pod(&self) -> Option<&str> {
        self.pod.as_deref().filter(|_| self.runtime != "podman")
    }

    /// Whose word it is that this is a container, before it is called so: `what user 1000 calls `. Empty where it is
    /// no user's.
    pub fn by_whose_word(&self) -> String {
        self.named_by.map(|uid| format!("what user {uid} calls ")).unwrap_or_default()
    }
}

/// A job of a batch system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchJob {
    /// `slurm`, `cron`, `at`, …
    pub manager: String,
    /// Its id there.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_reads_as_more_is_set_off() {
        for name in ["tmux: server", "(sd-pam)", "kworker/1:2H-kb", "systemd", "-bash"] {
            assert_eq!(set_off(name), name);
        }
        assert_eq!(set_off("systemd[1]"), "\"systemd[1]\"");
        assert_eq!(set_off("systemd, whose"), "\"systemd, whose\"");
        assert_eq!(set_off("a\" of root"), "\"a\\\" of root\"");
        assert_eq!(set_off("a  observed"), "\"a  observed\"");
    }

    #[track_caller]
    fn called(comm: &str, exe: &str, name: &str) {
        let process = Process {
            comm: Some(comm.to_owned()),
            exe: Some(exe.to_owned()),
            ..Process::default()
        };
        assert_eq!(process.name(), Some(name));
    }

    #[test]
    fn a_name_that_the_kernel_cut_goes_on_as_the_executables() {
        called("gnome-session-b", "/usr/libexec/gnome-session-binary", "gnome-session-binary");
        called("systemd-shutdow", "/lib/systemd/systemd-shutdown (deleted)", "systemd-shutdown");
        called("exactly-fifteen", "/bin/exactly-fifteen", "exactly-fifteen");
        // Cut within a letter of two bytes.
        called(
            "a\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            "/a\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}x",
            "a\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}x",
        );
        called(
            "ab\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{fffd}",
            "/ab\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            "ab\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        );
        // Nothing was cut: bytes that are no letters count three each here.
        let none = "\u{fffd}".repeat(5);
        called(&none, "/tmp/systemd", &none);
        let few = format!("sys{}", "\u{fffd}".repeat(4));
        called(&few, "/tmp/systemd", &few);
    }

    #[test]
    fn a_program_that_a_descriptor_was_executed_of_has_its_own_name() {
        let called = |comm: &str, exe: &str, first: &str| {
            let process = Process {
                comm: Some(comm.to_owned()),
                exe: Some(exe.to_owned()),
                cmdline: Some(vec![first.to_owned(), "--deserialize".to_owned()]),
                ..Process::default()
            };
            process.name().map(str::to_owned)
        };
        let executor = "/usr/lib/systemd/systemd-executor";
        assert_eq!(called("8", executor, executor).as_deref(), Some("systemd-executor"));
        // By a link of that name, and by what nobody says.
        assert_eq!(called("8", executor, "/tmp/8").as_deref(), Some("8"));
        assert_eq!(called("8", "/tmp/8", "/tmp/8").as_deref(), Some("8"));
        let sentence = "/tmp/x was ended by root";
        assert_eq!(called("8", sentence, sentence).as_deref(), Some("8"));
        assert_eq!(called("8x", executor, executor).as_deref(), Some("8x"));
    }

    #[test]
    fn a_program_is_called_as_whoever_starts_it_does() {
        let called = |comm: &str, exe: &str, line: &str| {
            let words = line.split(' ').map(str::to_owned).collect();
            let process = Process {
                comm: Some(comm.to_owned()),
                exe: Some(exe.to_owned()).filter(|exe| !exe.is_empty()),
                cmdline: Some(words),
                ..Process::default()
            };
            process.program().map(str::to_owned)
        };
        for (comm, exe, line, program) in [
            ("MainThread", "/usr/bin/node", "node /srv/app.js", "node"),
            ("tmux: server", "/usr/bin/tmux (deleted)", "tmux new -d", "tmux"),
            ("sh", "/usr/bin/dash", "/bin/sh -c x", "sh"),
            ("bash", "/usr/bin/bash", "-bash", "bash"),
            ("sleep", "/bin/busybox", "sleep 5", "sleep"),
            ("job.py", "/usr/bin/python3.11", "/usr/bin/python3 -u /srv/job.py", "job.py"),
            ("sshd", "/usr/sbin/sshd", "sshd: alice@pts/0", "sshd"),
            ("gnome-session-b", "/usr/libexec/gnome-session-binary", "x", "gnome-session-binary"),
            ("MainThread", "", "node x.js", "MainThread"),
        ] {
            assert_eq!(called(comm, exe, line).as_deref(), Some(program), "{line}");
        }
        assert_eq!(Process::default().program(), None);
    }

    #[test]
    fn a_name_is_cut_after_fifteen_bytes() {
        assert!(is_comm_of("sh", "sh") && is_comm_of("systemd-shutdow", "systemd-shutdown"));
        assert!(!is_comm_of("systemd-shut", "systemd-shutdown") && !is_comm_of("sh", "s"));
    }

    #[test]
    fn no_other_name_and_no_sentence_is_taken_for_it() {
        called("sh", "/bin/sh-with-a-long-name", "sh");
        let nothing = "\u{fffd}".repeat(5);
        called(&nothing, "/tmp/systemd", &nothing);
        called("a-script-with-a", "/usr/bin/dash", "a-script-with-a");
        called("was-ended-by-ro", "/home/a/was-ended-by-root: kill -9", "was-ended-by-ro");
        let endless = format!("/home/a/{}", "a".repeat(200));
        called(&"a".repeat(COMM_LEN), &endless, &"a".repeat(COMM_LEN));
        assert_eq!(Process::default().name(), None);
    }
}
