//! What is asked of a service manager over the bus: its methods, and which call led to what.

use crate::evidence::cgroup_path::bus_label_unescape;
use crate::evidence::{BusCall, Job, Manager, S};
use crate::story::unit_jobs::{Looked, may_have_been};
use crate::story::unit_names::Names;
use crate::story::windows::BUS_LAG;
use crate::story::wishes::Wish;
use crate::story::world::{Seen, World};

/// Methods of systemd's manager and units that stop something.
const STOPPING: [&str; 14] = [
    "StopUnit",
    "RestartUnit",
    "TryRestartUnit",
    "ReloadOrRestartUnit",
    "ReloadOrTryRestartUnit",
    "EnqueueUnitJob",
    "StopUnitWithFlags",
    "RestartUnitWithFlags",
    "Stop",
    "Restart",
    "TryRestart",
    "ReloadOrRestart",
    "ReloadOrTryRestart",
    "EnqueueJob",
];

/// Methods of systemd's manager and units that send a signal.
const SIGNALLING: [&str; 6] =
    ["KillUnit", "Kill", "KillUnitSubgroup", "KillSubgroup", "QueueSignalUnit", "QueueSignal"];

/// Methods of systemd's manager that start something, and of its units.
const STARTING: [&str; 15] = [
    "StartUnit",
    "StartUnitReplace",
    "StartUnitWithFlags",
    "StartTransientUnit",
    "RestartUnit",
    "RestartUnitWithFlags",
    "TryRestartUnit",
    "ReloadOrRestartUnit",
    "ReloadOrTryRestartUnit",
    "Start",
    "Restart",
    "TryRestart",
    "ReloadOrRestart",
    "ReloadOrTryRestart",
    "EnqueueUnitJob",
];

/// Methods of systemd's manager, and of its units, that reload something.
const RELOADING: [&str; 8] = [
    "ReloadUnit",
    "ReloadOrRestartUnit",
    "ReloadOrTryRestartUnit",
    "EnqueueUnitJob",
    "Reload",
    "ReloadOrRestart",
    "ReloadOrTryRestart",
    "EnqueueJob",
];

impl Wish {
    /// Whether a call asks for it.
    pub fn is_call(self, call: &BusCall, unit: &Names<'_>) -> bool {
        let said = |word: &str| call.args.iter().any(|arg| arg.as_str() == Some(word));
        match self {
            Self::Stop => stops_which(call).is_some_and(|stopped| unit.include(&stopped)),
            Self::Kill => signals_which(call).is_some_and(|struck| unit.include(&struck)),
            Self::Reload => {
                RELOADING.contains(&call.member.as_str())
                    && unit_of_call(call).is_some_and(|reloaded| unit.include(&reloaded))
            }
            Self::Start | Self::Isolate => {
                STARTING.contains(&call.member.as_str())
                    && (self == Self::Start || said("isolate"))
                    && unit_of_call(call).is_some_and(|started| unit.include(&started))
            }
        }
    }
}

/// Whether a call asks systemd to stop something, and which unit.
pub fn stops_which(call: &BusCall) -> Option<String> {
    STOPPING.contains(&call.member.as_str()).then(|| unit_of_call(call)).flatten()
}

/// Whether a call asks systemd to signal something, and which unit.
pub fn signals_which(call: &BusCall) -> Option<String> {
    SIGNALLING.contains(&call.member.as_str()).then(|| unit_of_call(call)).flatten()
}

/// The unit that a call to a service manager is about: its first argument, or the object.
pub fn unit_of_call(call: &BusCall) -> Option<String> {
    if call.path == "/org/freedesktop/systemd1" {
        return call.args.first()?.as_str().map(str::to_owned);
    }
    call.path.strip_prefix("/org/freedesktop/systemd1/unit/").map(bus_label_unescape)
}

/// The calls on a manager's bus, oldest first, that can have led to what happened at `at_ns`: their job may have been
/// there then and was made shortly before, or else they were granted then, as far as is known.
pub fn calls_before(
    world: &World,
    manager: Manager,
    at_ns: u64,
) -> impl DoubleEndedIterator<Item = &Seen<BusCall>> {
    let job_of = move |call: &BusCall| {
        let is_it = |job: &&Seen<Job>| {
            job.value.manager == manager
                && Some(job.value.id) == call.job
                && job.value.result.is_none()
        };
        world.jobs.iter().find(is_it)
    };
    world.calls_by(at_ns).filter(move |call| {
        let near =
            |from_ns: u64, until_ns: u64| from_ns <= at_ns + BUS_LAG && until_ns + 5 * S >= at_ns;
        let in_time = || match job_of(&call.value) {
            Some(job) => {
                let stops = stops_which(&call.value).is_some();
                let looked = if stops { Looked::Stop { born_ns: u64::MAX } } else { Looked::Other };
                near(job.ns(), job.ns()) && may_have_been(world, job, at_ns, looked)
            }
            None => near(call.granted_ns(), call.granted_ns()),
        };
        call.value.bus == manager && in_time()
    })
}

/// Of calls that ask for the same the one that led to what happened at `at_ns`: the first that was answered with its
/// `job`, else of those that were made by then the last that was granted, else the first that was heard of later. None that was answered with
/// another job.
pub fn likeliest_call<'a>(
    calls: impl Iterator<Item = &'a Seen<BusCall>>,
    job: Option<u32>,
    at_ns: u64,
) -> Option<&'a Seen<BusCall>> {
    let is_others = |asked: u32| job.is_some_and(|made| asked != made);
    let calls: Vec<_> = calls.filter(|call| !call.value.job.is_some_and(is_others)).collect();
    let first = |answered: bool| {
        let calls = calls.iter().copied().filter(|call| !answered || call.value.job == job);
        calls.min_by_key(|call| call.granted_ns())
    };
    job.and_then(|_| first(true))
        .or_else(|| {
            let by_then = calls.iter().copied().filter(|call| call.ns() <= at_ns);
            by_then.max_by_key(|call| call.granted_ns())
        })
        .or_else(|| first(false))
}

/// The bus call that asked for the stop of a unit, or for a signal to it. `job`: what was made for it.
pub fn request_for<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    began_ns: u64,
    job: Option<&Seen<Job>>,
) -> Option<&'a Seen<BusCall>> {
    let names = Names::of(world, manager, unit);
    let calls = calls_before(world, manager, began_ns).filter(|call| {
        let about = stops_which(&call.value).or_else(|| signals_which(&call.value));
        about.is_some_and(|about| names.include(&about))
    });
    likeliest_call(calls, job.map(|job| job.value.id), began_ns)
}
