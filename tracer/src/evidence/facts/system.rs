//! What userspace knows: processes, units, sessions, users, settings, logs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::evidence::{Container, Manager, ProcessId};

/// What `/proc/PID` said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessSnapshot {
    /// Process id.
    pub pid: u32,
    /// Start, nanoseconds of `CLOCK_BOOTTIME`, to the tick.
    pub start_ns: u64,
    /// Its parent.
    pub ppid: u32,
    /// Its name.
    pub comm: String,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Its arguments.
    pub cmdline: Vec<String>,
    /// Real user id.
    pub uid: u32,
    /// Process ids in each nested namespace, outermost first (`NSpid`).
    pub ns_pids: Vec<u32>,
    /// Path of its cgroup as systemd looks at it (cgroup2, or the `name=systemd` hierarchy).
    pub cgroup: Option<String>,
    /// Controlling terminal (`/dev/pts/0`), where it has one.
    pub tty: Option<String>,
    /// Leader of its session (`getsid`).
    pub session_leader: u32,
    /// Its process group.
    pub process_group: u32,
    /// Those of its environment variables that tell where it came from: `SSH_CONNECTION`, `SSH_TTY`,
    /// `XDG_SESSION_ID`, `INVOCATION_ID`, `SUDO_USER`, `SUDO_COMMAND`, `TMUX`, `TMUX_PANE`, `STY`,
    /// `SUPERVISOR_PROCESS_NAME`, `SUPERVISOR_GROUP_NAME`, `TMOUT`, `SLURM_JOB_ID`, `MONIT_SERVICE`,
    /// `MONIT_EVENT`; of what PM2 runs also `pm_id`, `name`,
    /// `namespace`, `kill_timeout`, `max_memory_restart`, `watch`, `cron_restart`.
    pub environment: BTreeMap<String, String>,
    /// Its parents as `/proc` has them, nearest first; each has a snapshot of its own.
    pub parents: Vec<ProcessId>,
    /// Signals that had been sent to it, or to its first thread, and that it had not taken yet (`ShdPnd`, `SigPnd`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<u8>,
    /// Of the signals that ask a process to end (SIGHUP, SIGINT, SIGQUIT, SIGTERM) those that it, or its first thread, caught or
    /// held up (`SigCgt`, `SigBlk`); `null` where the recording is of a version that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<u8>>,
}

impl ProcessSnapshot {
    /// Which process it is.
    pub const fn id(&self) -> ProcessId {
        ProcessId { pid: self.pid, start_ns: self.start_ns }
    }
}

/// Properties of a unit: those that changed, or those that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnitProperties {
    /// Whose unit.
    pub manager: Manager,
    /// Its name.
    pub unit: String,
    /// D-Bus name to value. Times in microseconds as systemd gives them.
    pub properties: BTreeMap<String, Value>,
}

/// About how many bytes a value takes.
#[must_use]
pub fn weight(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(weight).sum(),
        Value::Object(entries) => {
            entries.iter().map(|(name, value)| name.len() + weight(value)).sum()
        }
        _ => 0,
    };
    inner + size_of::<Value>()
}

/// A login session of logind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionState {
    /// Its id.
    pub id: String,
    /// Its user.
    pub uid: Option<u32>,
    /// Name of that user.
    pub user: Option<String>,
    /// Its scope unit.
    pub scope: Option<String>,
    /// The process that opened it.
    pub leader: Option<u32>,
    /// Where the user came from.
    pub remote_host: Option<String>,
    /// Its terminal.
    pub tty: Option<String>,
    /// PAM service.
    pub service: Option<String>,
    /// What kind of session: `user`, `background` (as a cron job has), `greeter`, since systemd 256 `manager` and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The seat that it is on, where it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<String>,
    /// `opening`, `online`, `active`, `closing`.
    pub state: Option<String>,
    /// logind said that it is gone.
    pub removed: bool,
}

/// A user of the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its name.
    pub name: String,
    /// Its home directory.
    pub home: Option<String>,
    /// Whether its user manager outlives its sessions (`loginctl enable-linger`).
    pub linger: Option<bool>,
}

/// The value of a setting, and which file decided it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// The manager whose unit it is of: two managers can have units of one name. `null` where it is of no unit, or
    /// where the recording is of a version that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<Manager>,
    /// Whose: `logind.conf`, `system.conf`, `sshd_config`, `sysctl`, `container ID`, or a unit's name.
    pub scope: String,
    /// Its name: `KillUserProcesses`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file that decided it; `null` where it is the compiled-in default.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
    /// What the files say by now, where whoever goes by them has not read them again: the value is then what it
    /// still goes by, and no file has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Written>,
}

impl Setting {
    /// How many bytes its texts take.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let file = self.file.as_ref().map_or(0, String::len);
        let unread = self.unread.as_ref().map_or(0, |unread| unread.value.len());
        self.scope.len() + self.name.len() + self.value.len() + file + unread
    }

    /// What the scope begins with of a limit that pam_limits(8) gives to the sessions of a user.
    pub const LOGIN_LIMITS: &'static str = "limits.conf ";

    /// The scope of the limits of a user's sessions: `limits.conf alice`; in older recordings of `*` that of anybody's but
    /// root's.
    #[must_use]
    pub fn login_limits_of(user: &str) -> String {
        format!("{}{user}", Self::LOGIN_LIMITS)
    }

    /// The scope of what the files set that every shell may read at its start.
    pub const SHELLS: &'static str = "shell";

    /// The scope of the same of a user's own files: `shell 1000`.
    #[must_use]
    pub fn shells_of(uid: u32) -> String {
        format!("{} {uid}", Self::SHELLS)
    }

    /// The scope of what a user's own record of systemd's says (`userdb`, systemd-homed): `user record 1000`.
    #[must_use]
    pub fn record_of_user(uid: u32) -> String {
        format!("user record {uid}")
    }

    /// The scope of what sudoers(5) sets; where that is for some alone, with whom: `sudoers :alice`.
    pub const SUDOERS: &'static str = "sudoers";

    /// Its scope where it says which distribution this is: `ID` and `ID_LIKE` of os-release(5).
    pub const OS_RELEASE: &'static str = "os-release";

    /// Those of no unit of which every line is told: which of them counts is decided when it matters.
    const EACH_LINE: [&'static str; 3] = ["TMOUT", "command_timeout", "TIMEOUT"];

    /// Whether every line of it is told, not only the one that counts.
    #[must_use]
    pub fn has_lines(&self) -> bool {
        let name = self.name.as_str();
        Self::ADDED_UP.contains(&name) || self.manager.is_none() && Self::EACH_LINE.contains(&name)
    }

    /// The scope of what docker keeps of a container, by its whole id: `container 4fa6…`.
    #[must_use]
    pub fn of_container(id: &str) -> String {
        format!("container {id}")
    }

    /// Those of units that add up over several lines, dependencies, commands and filters: each line is told.
    pub const ADDED_UP: [&'static str; 16] = [
        "BindsTo",
        "PartOf",
        "Requires",
        "Requisite",
        "Conflicts",
        "StopPropagatedFrom",
        "PropagatesStopTo",
        "RequiresMountsFor",
        "SystemCallFilter",
        "ExecCondition",
        "ExecStartPre",
        "ExecStart",
        "ExecStartPost",
        "ExecReload",
        "ExecStop",
        "ExecStopPost",
    ];

    /// The same setting, of a unit of this manager.
    #[must_use]
    pub fn of(self, manager: Manager) -> Self {
        Self { manager: Some(manager), ..self }
    }

    /// The same setting with the value that its reader still goes by, instead of this one, which it has not read.
    #[must_use]
    pub fn still(self, value: String) -> Self {
        let unread = Some(Written { value: self.value, file: self.file, line: self.line });
        Self { value, file: None, line: None, unread, ..self }
    }

    /// The same setting as its reader still goes by it, where the unit's file is gone.
    #[must_use]
    pub fn outlives(self, file: &str) -> Self {
        Self { file: None, line: None, unread: Some(Written::gone(file)), ..self }
    }
}

/// A value as the files have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// The value.
    pub value: String,
    /// The file; `null` where none sets it and this is the compiled-in default. With no value and no line: the unit's
    /// own file, which is gone.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
}

impl Written {
    /// Nothing any more: the unit's file is gone.
    #[must_use]
    pub fn gone(file: &str) -> Self {
        Self { value: String::new(), file: Some(file.to_owned()), line: None }
    }

    /// The unit's file, where it is gone.
    #[must_use]
    pub fn gone_file(&self) -> Option<&str> {
        self.file.as_deref().filter(|_| self.value.is_empty() && self.line.is_none())
    }
}

/// A line of the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalLine {
    /// `MESSAGE`
    pub message: String,
    /// `SYSLOG_IDENTIFIER`: anybody can set it.
    pub identifier: Option<String>,
    /// `_PID`: who really wrote it.
    pub pid: Option<u32>,
    /// `_UID`
    pub uid: Option<u32>,
    /// `_COMM`
    pub comm: Option<String>,
    /// `_SYSTEMD_UNIT`: where the writer lived.
    pub from_unit: Option<String>,
    /// `UNIT` or `USER_UNIT`: what a service manager's line is about.
    pub about_unit: Option<String>,
    /// `MESSAGE_ID`
    pub message_id: Option<String>,
    /// Others that matter: `JOB_ID`, `JOB_TYPE`, `JOB_RESULT`, `SESSION_ID`, `USER_ID`, `LEADER`,
    /// `EXIT_CODE`, `EXIT_STATUS`, `UNIT_RESULT`, `CODE_FUNC`, `N_PROCESSES`.
    pub fields: BTreeMap<String, String>,
}

/// A line of the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelLogLine {
    /// Its text, without the prefix.
    pub message: String,
}

/// A container, and the cgroup by which it was recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerFound {
    /// Its cgroup.
    pub cgroup: String,
    /// What is known of it.
    pub container: Container,
}

/// A cgroup's limits and usage at the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupLimits {
    /// Path of the cgroup in the hierarchy that limits it.
    pub cgroup: String,
    /// `memory.max` (v1: `memory.limit_in_bytes`), bytes; `null`: no limit.
    pub memory_max: Option<u64>,
    /// `memory.current` (v1: `memory.usage_in_bytes`), bytes.
    pub memory_current: Option<u64>,
    /// `memory.oom.group`
    pub oom_group: Option<bool>,
    /// The file in which the limit is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_file: Option<String>,
}

/// A terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terminal {
    /// The kernel's name for it: `pts0`. Each devpts instance, as containers have, numbers its own.
    pub tty: String,
    /// The leader of the session on it, whose name it is; with 0 as its start where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "process_or_pid")]
    pub session_leader: Option<ProcessId>,
    /// Who holds its master end, where found.
    pub holders: Vec<ProcessId>,
    /// Of some of them, or of the terminal itself, the devpts instance was not found: it can be another's of that name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// Every signal to them is reported from now on, though they are no targets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watched: bool,
}

/// A process, of which older recordings have the pid alone.
fn process_or_pid<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ProcessId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Process(ProcessId),
        Pid(u32),
    }
    let told = Option::<Told>::deserialize(from)?;
    Ok(told.map(|told| match told {
        Told::Process(id) => id,
        Told::Pid(pid) => ProcessId { pid, start_ns: 0 },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_of_an_older_recording_is_read() {
        let read = |leader: &str| {
            let text = format!(r#"{{"tty":"pts1","holders":[]{leader}}}"#);
            serde_json::from_str::<Terminal>(&text).expect("a terminal").session_leader
        };
        assert_eq!(read(""), None);
        assert_eq!(read(r#","session_leader":7"#), Some(ProcessId { pid: 7, start_ns: 0 }));
        let leader = ProcessId { pid: 7, start_ns: 20_000_000 };
        assert_eq!(read(r#","session_leader":{"pid":7,"start_ns":20000000}"#), Some(leader));
    }
}
