//! What service managers and their buses say: calls, answers, jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::evidence::{Grade, ProcessId};

/// A peer on a D-Bus bus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BusPeer {
    /// Unique name (`:1.7`), empty for the private socket.
    pub name: String,
    /// Its process, where it was still there to be looked at.
    pub process: Option<ProcessId>,
    /// Its process id, where the bus could tell in time.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its `comm`.
    pub comm: Option<String>,
    /// A well-known name that it owns (`org.freedesktop.login1`).
    pub well_known: Option<String>,
}

/// Which service manager: the system's, or a user's.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// PID 1.
    #[default]
    System,
    /// `systemd --user` of this uid.
    User(u32),
}

impl Manager {
    /// What cannot be told ([`super::Unavailable::what`]) where there are too many units that its units depend on, and where
    /// too many of its units ask for something.
    #[must_use]
    pub fn unknown_units(self) -> [String; 2] {
        let whose = self.whose();
        [
            format!("what {whose} units depend on"),
            format!("which of {whose} units asked for something"),
        ]
    }

    /// Whose its units are.
    #[must_use]
    pub fn whose(self) -> String {
        match self {
            Self::System => "the system's".to_owned(),
            Self::User(uid) => format!("user {uid}'s"),
        }
    }

    /// How well that is proven which a manager or its bus says, seen as it is said. What is a user's own, that user can
    /// have say anything.
    pub const fn grade(self) -> Grade {
        match self {
            Self::System => Grade::Observed,
            Self::User(_) => Grade::Reported,
        }
    }
}

/// A D-Bus method call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BusCall {
    /// Which bus.
    pub bus: Manager,
    /// Who called.
    pub sender: BusPeer,
    /// Whom.
    pub destination: BusPeer,
    /// Object path.
    pub path: String,
    /// Interface.
    pub interface: Option<String>,
    /// Method.
    pub member: String,
    /// The arguments, as far as they are strings, numbers or booleans.
    pub args: Vec<Value>,
    /// The caller's own number of it.
    #[serde(default)]
    pub serial: u32,
    /// The caller wanted no answer, and there was none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_reply: bool,
    /// When it was granted: `CLOCK_BOOTTIME`, nanoseconds; `null` where that was not seen, or only
    /// later (a fact `bus-reply`).
    #[serde(default)]
    pub granted_ns: Option<u64>,
    /// The job that systemd made for it, by its answer.
    #[serde(default)]
    pub job: Option<u32>,
}

impl BusCall {
    /// Whether it is a request to logind. Those come over the system bus alone: on their own, users can give
    /// themselves its name.
    pub fn is_to_logind(&self) -> bool {
        self.is_below("/org/freedesktop/login1")
    }

    /// Whether it is a request to machined, likewise.
    pub fn is_to_machined(&self) -> bool {
        self.is_below("/org/freedesktop/machine1")
    }

    /// Whether the caller owns this name on the system bus.
    pub fn is_by(&self, service: &str) -> bool {
        self.bus == Manager::System && self.sender.well_known.as_deref() == Some(service)
    }

    fn is_below(&self, path: &str) -> bool {
        let rest = self.path.strip_prefix(path).filter(|_| self.bus == Manager::System);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The answer to a method call that had been told without one: polkit may wait for a password first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BusReply {
    /// Which bus.
    pub bus: Manager,
    /// Unique name of the caller.
    pub caller: String,
    /// [`BusCall::serial`]
    pub serial: u32,
    /// Whether it was done, rather than refused.
    pub granted: bool,
    /// [`BusCall::job`]
    pub job: Option<u32>,
}

/// A job of a service manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Whose job.
    pub manager: Manager,
    /// Its number.
    pub id: u32,
    /// Its unit.
    pub unit: String,
    /// `start`, `stop`, `restart`, …; `null` where the job was gone before it could be asked.
    pub job_type: Option<String>,
    /// `null` when it was made, `done`, `canceled`, `timeout`, … when it was removed.
    pub result: Option<String>,
}
