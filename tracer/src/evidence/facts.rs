//! What a piece of evidence can say: one variant of [`Fact`] a kind.

mod bus;
mod kernel;
mod system;
mod trace;

use std::sync::Arc;

pub use bus::*;
pub use kernel::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use system::*;
pub use trace::*;

use super::{Mappings, Moment};

/// What was learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fact {
    /// A signal was generated.
    Signal(Arc<SignalSent>),
    /// A process ended.
    Exit(Exit),
    /// A program was executed.
    Exec(Exec),
    /// A followed target made a child.
    Fork(Fork),
    /// The kernel's OOM killer marked a victim.
    OomVictim(OomVictim),
    /// What a process that faulted had mapped where it faulted.
    Mappings(Mappings),
    /// A TCP connection changed state.
    Tcp(TcpChange),
    /// A process connected to a service manager's private socket.
    ManagerConnection(ManagerConnection),
    /// A process connected to the socket of a daemon that runs containers.
    EngineConnection(EngineConnection),
    /// A cgroup was made or removed.
    Cgroup(CgroupChange),
    /// What `/proc` said of a process when it was looked at.
    Process(Box<ProcessSnapshot>),
    /// A process is a target from now on.
    Target(Target),
    /// A D-Bus method call.
    BusCall(BusCall),
    /// The answer to a call that had been told without one.
    BusReply(BusReply),
    /// A job of a service manager.
    Job(Job),
    /// Properties of a unit.
    Unit(UnitProperties),
    /// A login session.
    Session(SessionState),
    /// A user of the system.
    User(User),
    /// The value of a setting, and which file decided it.
    Setting(Setting),
    /// A line of the journal.
    Journal(JournalLine),
    /// A line of the kernel's log.
    KernelLog(KernelLogLine),
    /// A container.
    Container(ContainerFound),
    /// A cgroup's limits and usage at the time.
    CgroupLimits(CgroupLimits),
    /// A terminal.
    Terminal(Terminal),
    /// Events were lost.
    Lost(Lost),
    /// Something could not be found out.
    Unavailable(Unavailable),
    /// A target is not there any more, and its end was not seen.
    Gone(Gone),
    /// Late witnesses were waited for: the verdict on this end is due now.
    Settled(Settled),
    /// Nothing has followed a row of equal signals: what was folded of it is due to be shown.
    Quiet,
    /// The trace ended.
    End(End),
}

impl Fact {
    /// Wraps the fact with its time and source.
    pub const fn at(self, at: Moment, source: super::Source) -> super::Evidence {
        super::Evidence { at, source, fact: self }
    }
}
