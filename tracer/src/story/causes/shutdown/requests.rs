//! Who asked for the system to go down: calls on the bus, and commands.

use super::targets::{is_target, is_way};
use crate::evidence::{BusCall, Manager, ProcessId, S};
use crate::story::case::Case;
use crate::story::causes::logind::from_logind;
use crate::story::world::Seen;

/// How long before the first job of a shutdown the request for it is looked for.
pub const ASKED_BEFORE: u64 = 60 * S;

/// How long a request may wait until somebody has allowed it with a password.
const ALLOWED: u64 = 300 * S;

/// Methods of logind and of PID 1 that take the system down; the flags and times they may come with follow
/// the name.
const METHODS: [&str; 6] =
    ["PowerOff", "Reboot", "Halt", "KExec", "SoftReboot", "ScheduleShutdown"];

/// The one that takes a time.
pub const SCHEDULE: &str = "ScheduleShutdown";

/// The request of whoever is behind it, rather than what logind then asks of systemd. A shutdown can have been
/// scheduled long ago.
pub fn client_call<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<BusCall>> {
    let calls = || case.world.calls_by(began_ns).rev().filter(|call| call.ns() <= began_ns + S);
    let recent = calls().find(|call| {
        asks(&call.value)
            && call.value.member != SCHEDULE
            && call.granted_ns() + ALLOWED >= began_ns
            && !from_logind(case, &call.value)
    });
    let to_logind = |member: &str| {
        calls().find(|call| call.value.is_to_logind() && call.value.member == member)
    };
    let cancelled = to_logind("CancelScheduledShutdown");
    let scheduled = to_logind(SCHEDULE);
    recent.or_else(|| {
        scheduled.filter(|call| cancelled.is_none_or(|cancelled| cancelled.ns() < call.ns()))
    })
}

/// What logind asked of systemd.
pub fn logind_call<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<BusCall>> {
    let mut calls = case.world.calls.iter().rev().filter(|call| asks(&call.value));
    calls.find(|call| {
        call.ns() <= began_ns + S
            && call.granted_ns() + ASKED_BEFORE >= began_ns
            && from_logind(case, &call.value)
    })
}

fn asks(call: &BusCall) -> bool {
    if call.bus != Manager::System {
        return false;
    }
    let first = call.args.first().and_then(|arg| arg.as_str());
    METHODS.iter().any(|method| call.member.starts_with(method))
        || (call.member.starts_with("StartUnit") && first.is_some_and(is_target))
}

/// root's systemctl may speak to systemd without a bus, and a client may be gone before it can be asked. Only
/// root can do without the bus; anybody can call a program of his own `reboot`.
pub fn command(case: &Case<'_>, before_ns: u64) -> Option<ProcessId> {
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let at = known
            .exec_ns?
            .saturating_add(asks_by(known.comm.as_deref()?, known.cmdline.as_deref()?)?);
        let may = known.uid == Some(0);
        (may && at <= before_ns + S && at + ASKED_BEFORE >= before_ns).then_some((at, id))
    });
    found.max_by_key(|(at, _)| *at).map(|(_, id)| id)
}

/// In how many nanoseconds a command, by its arguments, has the system go down; `None` where that is not what it asks for.
fn asks_by(comm: &str, args: &[String]) -> Option<u64> {
    let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let says = |words: &[&str]| args.iter().any(|arg| words.contains(arg));
    // Only told, only written down, or for another machine or another time.
    if says(&["--help", "-w", "--wtmp-only", "--dry-run", "-H", "-M"])
        || args
            .iter()
            .any(|arg| ["--host", "--machine", "--when"].iter().any(|it| arg.starts_with(it)))
    {
        return None;
    }
    match comm {
        "systemctl" => {
            let (at, verb) = verb(&args)?;
            let starts = matches!(verb, "start" | "isolate" | "restart" | "reload-or-restart");
            let asks = is_way(verb) || starts && args[at + 1..].iter().any(|arg| is_target(arg));
            asks.then_some(0)
        }
        "reboot" | "poweroff" | "halt" => Some(0),
        "init" | "telinit" => says(&["0", "6"]).then_some(0),
        "shutdown" if says(&["-c", "-k", "--show"]) => None,
        "shutdown" => {
            let time = args.iter().find(|arg| !arg.starts_with('-'));
            match time.map(|time| time.trim_start_matches('+')) {
                None => Some(60 * S),
                Some("now") => Some(0),
                // A time of the day is kept by logind, which is asked over the bus.
                Some(minutes) => {
                    Some(minutes.parse::<u32>().ok()?.into()).map(|it: u64| it * 60 * S)
                }
            }
        }
        _ => None,
    }
}

/// What systemctl is told to do, and where that stands: the first word that is no option, and none's value.
fn verb<'a>(args: &[&'a str]) -> Option<(usize, &'a str)> {
    const WITH_VALUE: [&str; 20] = [
        "-t",
        "--type",
        "-p",
        "--property",
        "-P",
        "-n",
        "--lines",
        "-o",
        "--output",
        "-s",
        "--signal",
        "-C",
        "--state",
        "--job-mode",
        "--kill-whom",
        "--kill-who",
        "--root",
        "--message",
        "--check-inhibitors",
        "--preset-mode",
    ];
    let is_value = |at: usize| at > 0 && WITH_VALUE.contains(&args[at - 1]);
    let mut words =
        args.iter().enumerate().filter(|(at, arg)| !arg.starts_with('-') && !is_value(*at));
    words.next().map(|(at, arg)| (at, *arg))
}
