//! Deaths since everything goes down: the system, or a user's service manager.

use super::logind::from_logind;
use super::{Finding, Fit, Opinion};
use crate::evidence::{BusCall, Grade, Job, JournalLine, Manager, ProcessId, S};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::ending::call_link;
use crate::story::manager::{UnitStop, manager_of};
use crate::story::pulls::TOGETHER;
use crate::story::requests::{Request, by_arguments, who_called};
use crate::story::unit_jobs::job_type;
use crate::story::verdict::{CauseId, DecidingSetting, Link, LinkEvent};
use crate::story::world::Seen;
use crate::story::{units, words};

/// How long before the first job of a shutdown the request for it is looked for.
const RECENT: u64 = 60 * S;

/// How long a request may wait until somebody has allowed it with a password.
const ALLOWED: u64 = 300 * S;

/// What takes everything down, and what it does to the system; the most telling come first.
const TARGETS: [(&str, &str); 8] = [
    ("reboot.target", "is being rebooted"),
    ("poweroff.target", "is being powered off"),
    ("halt.target", "is being halted"),
    ("kexec.target", "is being rebooted into another kernel (kexec)"),
    ("soft-reboot.target", "is being rebooted without its kernel (soft-reboot)"),
    ("shutdown.target", "is going down"),
    ("umount.target", "is going down"),
    ("final.target", "is going down"),
];

/// Methods of logind and of PID 1 that take the system down; the flags and times they may come with follow
/// the name.
const METHODS: [&str; 6] =
    ["PowerOff", "Reboot", "Halt", "KExec", "SoftReboot", "ScheduleShutdown"];

/// The one that takes a time.
const SCHEDULE: &str = "ScheduleShutdown";

/// What systemctl is told for it.
const VERBS: [&str; 5] = ["reboot", "poweroff", "halt", "kexec", "soft-reboot"];

/// Signals to PID 1 that take the system down, as it logs them (systemd(1), "Signals").
const SIGNALS: [&str; 6] =
    ["SIGINT", "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5", "SIGRTMIN+6", "SIGRTMIN+7"];

/// Reboot, power-off, soft-reboot.
pub fn system(case: &Case<'_>) -> Option<Opinion> {
    let sender = case.sender()?;
    let broadcast = sender.id.pid == 1 && sender.comm == "systemd-shutdow";
    let by_manager = UnitStop::of(case).is_some() || manager_of(sender).is_some();
    if !broadcast && !by_manager {
        return None;
    }
    let job = going_down(case, Manager::System);
    if job.is_none() && !broadcast {
        return None;
    }
    let began_ns = job.map_or(case.struck_ns(), Seen::ns).min(case.struck_ns());
    let said = reason_said(case, began_ns);
    // Of a request before the reason that was logged nothing had come: it was refused, say.
    let call =
        client_call(case, began_ns).filter(|call| said.is_none_or(|line| line.ns() <= call.ns()));
    let by_root = call.is_none_or(|call| call.value.sender.uid.is_none_or(|uid| uid == 0));
    let by_signal = said.and_then(|line| signaller(case, line));
    let (process, concluded) = match call.map(|call| who_called(case, call)) {
        None if said.is_some() => (by_signal, false),
        // The verbs of these commands are not made of the methods' names.
        None | Some((None, _)) if by_root => (command(case, began_ns), true),
        Some(known) => known,
        None => (None, true),
    };
    let actor = process.map(|id| Actor::behind(case, id));
    let logind = logind_call(case, began_ns);
    let said = said.filter(|_| actor.is_none() || by_signal.is_some());
    // Over systemd's private socket no bus sees it.
    let asked = process.filter(|_| concluded && call.is_none());
    let asked = asked.map(|id| Request::by_command(case, id, Manager::System, began_ns));
    let untold = actor.is_none() && said.is_none() && call.is_none() && logind.is_none();
    let action = job.filter(|_| untold).and_then(|job| EndAction::before(case, job));
    let settings = match (said, &action) {
        (Some(line), _) => settings_behind(case, &line.value),
        (None, Some(action)) => vec![action.setting.clone()],
        (None, None) => Vec::new(),
    };
    let who = match (&actor, said) {
        (None, Some(line)) if !settings.is_empty() => {
            let cited: Vec<_> = settings.iter().map(units::cited).collect();
            format!(": {} ({})", words_of(line), cited.join("; "))
        }
        (None, None) if action.is_some() => {
            action.as_ref().map(|action| format!(": {}", action.clause())).unwrap_or_default()
        }
        (Some(actor), Some(line)) => {
            format!(": {} ({})", actor.sentence(), words_of(line))
        }
        (Some(actor), None) => match &asked {
            Some(asked) => format!(": {}", asked.sentence(case).unwrap_or_default()),
            None if concluded => format!(": {}{}", actor.sentence(), by_arguments(true)),
            None => format!(": {}", actor.sentence()),
        },
        (None, Some(line)) => format!(": {}", words_of(line)),
        (None, None) if logind.is_some() => ": systemd-logind asked for it".to_owned(),
        (None, None) => String::new(),
    };
    let fate = job.and_then(|job| TARGETS.iter().find(|(target, _)| *target == job.value.unit));
    let fate = fate.map_or("is going down", |(_, fate)| fate);
    let unit = case.unit().map(|(_, unit)| format!(", and {unit} with it")).unwrap_or_default();
    let struck = case.blow.map_or(case.exit.at, |blow| blow.signal.at);
    let effect = job.map_or(struck, |job| job.at).no_later_than(struck);
    let commands = actor.as_ref().map(|actor| units::command_links(case, actor));
    let command = commands.into_iter().flatten();
    let seen =
        call.or(logind).is_some() || job.is_some_and(|job| job_type(case.world, job).is_some());
    let grade = if seen { Grade::Observed } else { Grade::Inferred };
    let by_whom = match (&asked, by_signal) {
        (Some(asked), _) => asked.grade(),
        (None, Some(_)) => Grade::Reported,
        (None, None) if concluded && actor.is_some() || action.is_some() => Grade::Inferred,
        (None, None) => Grade::Observed,
    };
    let mut finding = Finding::new(
        CauseId::SystemShutdown,
        Fit::Exact,
        grade.min(by_whom),
        format!("{} was ended since the system {fate}{unit}{who}.", case.victim_name()),
    )
    .settings(settings.into_iter().map(Some))
    .links(action.as_ref().map(|action| action.link.clone().before(effect)))
    .links(command.map(|link| link.before(effect)))
    .links(asked.and_then(|asked| asked.connection_link(case)).map(|link| link.before(effect)))
    .links(call.into_iter().chain(logind).map(|call| call_link(case, call).before(effect)))
    .links(said.map(|line| {
        let event = LinkEvent::UnitState;
        case.link(line.at, event, line.source, None, words_of(line)).before(effect)
    }))
    .links(job.map(|job| units::job_link(case, job)));
    if actor.is_none() && said.is_none() && action.is_none() {
        finding = finding.gap(match logind {
            Some(_) => format!(
                "who or what had systemd-logind ask for it was not seen{}",
                idle_action(case).map(|idle| format!("; {idle}")).unwrap_or_default()
            ),
            None => "who asked for the shutdown was not seen".to_owned(),
        });
    }
    finding.answer()
}

/// What takes the system down, as the settings say it that can have it done.
const ACTIONS: [&str; 5] = ["poweroff", "reboot", "halt", "kexec", "soft-reboot"];

/// That logind would do so when nobody is active, where it is set so.
fn idle_action(case: &Case<'_>) -> Option<String> {
    let setting = case.setting(LOGIND, "IdleAction")?;
    let is_it = ACTIONS.contains(&setting.value.as_str());
    is_it.then(|| format!("{}, has it do so when nobody is active", units::cited(&setting)))
}

const LOGIND: &[&str] = &["logind.conf"];

/// The settings behind what was logged: logind's for a key, the lid or when nobody is active, those of the unit that is
/// named for what systemd does of its own accord (`unit_notify` and `unit_test_start_limit` in `src/core/unit.c`).
fn settings_behind(case: &Case<'_>, line: &JournalLine) -> Vec<DecidingSetting> {
    let message = line.message.as_str();
    let long = message.contains("long");
    let names: &[&str] = match message {
        _ if message.starts_with("System idle") => &["IdleAction", "IdleActionSec"],
        _ if message.starts_with("Power key") && long => &["HandlePowerKeyLongPress"],
        _ if message.starts_with("Power key") => &["HandlePowerKey"],
        _ if message.starts_with("Reboot key") && long => &["HandleRebootKeyLongPress"],
        _ if message.starts_with("Reboot key") => &["HandleRebootKey"],
        _ if message.starts_with("Lid closed") => &["HandleLidSwitch"],
        _ => {
            let action = |(unit, failed)| end_action(case, Manager::System, unit, failed);
            return unit_named(message).and_then(action).into_iter().collect();
        }
    };
    let all: Vec<_> = names.iter().filter_map(|name| case.setting(LOGIND, name)).collect();
    // Where it says something else, logind may not have read it, or acted by another one.
    let fits = all.first().is_some_and(|first| ACTIONS.contains(&first.value.as_str()));
    if fits { all } else { Vec::new() }
}

/// The unit in `Rebooting: unit bad.service failed`, and whether it failed.
fn unit_named(message: &str) -> Option<(&str, bool)> {
    let (_, rest) = message.split_once(": unit ")?;
    let (unit, how) = rest.split_once(' ')?;
    Some((unit, how.starts_with("failed")))
}

/// What a unit's settings have its manager do when it ends.
fn end_action(
    case: &Case<'_>,
    manager: Manager,
    unit: &str,
    failed: bool,
) -> Option<DecidingSetting> {
    let names: &[&str] =
        if failed { &["FailureAction", "StartLimitAction"] } else { &["SuccessAction"] };
    let set = names.iter().filter_map(|name| case.unit_setting(manager, unit, name));
    let mut set = set.filter(|setting| setting.file.is_some() && setting.value != "none");
    // Which of the two it was is not told.
    set.next().filter(|_| set.next().is_none())
}

/// A unit that had just ended when everything began to go down, and that has a setting for that: of `SuccessAction=`
/// nothing is logged.
struct EndAction {
    unit: String,
    setting: DecidingSetting,
    link: Link,
}

impl EndAction {
    /// The only such unit that its manager told to have ended when it made this job, and that had no job of its own then.
    fn before(case: &Case<'_>, job: &Seen<Job>) -> Option<Self> {
        let mut found = case.world.units().filter_map(|((manager, unit), history)| {
            let has_job = || {
                case.world.jobs.iter().any(|other| {
                    other.value.manager == *manager
                        && other.value.unit == *unit
                        && other.value.id > job.value.id
                })
            };
            let states = history
                .changes
                .iter()
                .filter_map(|change| Some((change, change.value.get("ActiveState")?.as_str()?)));
            let is_down = |state: &str| ["inactive", "failed"].contains(&state);
            let (change, state) = states
                .skip_while(|(_, state)| is_down(state))
                .filter(|(_, state)| is_down(state))
                .find(|(change, _)| change.ns().abs_diff(job.ns()) <= TOGETHER)?;
            let failed = state == "failed";
            let setting = end_action(case, *manager, unit, failed)?;
            if *manager != job.value.manager || has_job() {
                return None;
            }
            let text = format!("{unit} {}", if failed { "failed" } else { "had ended" });
            let link = case.link(change.at, LinkEvent::UnitState, change.source, None, text);
            Some(Self { unit: unit.clone(), setting, link: link.said_over(*manager) })
        });
        found.next().filter(|_| found.next().is_none())
    }

    fn clause(&self) -> String {
        format!(
            "{} had just ended, which seems to be why ({})",
            self.unit,
            units::cited(&self.setting)
        )
    }
}

/// The start of the target that takes everything down. A manager that has just made jobs for all of its units is often
/// too busy to say of which type each is; of these targets there are hardly others.
pub fn going_down<'a>(case: &Case<'a>, manager: Manager) -> Option<&'a Seen<Job>> {
    let rank = |unit: &str| TARGETS.iter().position(|(target, _)| *target == unit);
    let starts = case.world.jobs.iter().filter(|job| {
        job.value.manager == manager
            && job.value.result.is_none()
            && job_type(case.world, job).is_none_or(|kind| kind == "start")
            && job.ns() <= case.struck_ns() + S
            && !is_over(case, job)
    });
    let ranked = starts.filter_map(|job| Some((rank(&job.value.unit)?, job)));
    ranked.min_by_key(|(rank, job)| (*rank, job.ns())).map(|(_, job)| job)
}

/// Whether nothing goes down any more when the victim is struck: the job was cancelled, say, or the target it had reached
/// was stopped again.
fn is_over(case: &Case<'_>, start: &Seen<Job>) -> bool {
    let Job { manager, id, unit, .. } = &start.value;
    case.world.jobs.iter().any(|seen| {
        let it = &seen.value;
        let about = it.manager == *manager && it.unit == *unit && seen.ns() >= start.ns();
        let ended = match it.result.as_deref() {
            // A time-out of the job itself is followed by what `JobTimeoutAction=` says.
            Some(result) => it.id == *id && !matches!(result, "done" | "timeout"),
            None => it.id != *id && job_type(case.world, seen) == Some("stop"),
        };
        about && ended && seen.ns() < case.struck_ns()
    })
}

/// Whether it is one of these targets, or another name of one.
fn is_target(unit: &str) -> bool {
    const OTHER_NAMES: [&str; 3] = ["ctrl-alt-del.target", "runlevel0.target", "runlevel6.target"];
    OTHER_NAMES.contains(&unit) || TARGETS.iter().any(|(target, _)| *target == unit)
}

/// The request of whoever is behind it, rather than what logind then asks of systemd. A shutdown can have been
/// scheduled long ago.
fn client_call<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<BusCall>> {
    let calls = || case.world.calls.iter().rev().filter(|call| call.ns() <= began_ns + S);
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
fn logind_call<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<BusCall>> {
    let mut calls = case.world.calls.iter().rev().filter(|call| asks(&call.value));
    calls.find(|call| {
        call.ns() <= began_ns + S
            && call.granted_ns() + RECENT >= began_ns
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
fn command(case: &Case<'_>, before_ns: u64) -> Option<ProcessId> {
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let at = known
            .exec_ns?
            .saturating_add(asks_by(known.comm.as_deref()?, known.cmdline.as_deref()?)?);
        let may = known.uid == Some(0);
        (may && at <= before_ns + S && at + RECENT >= before_ns).then_some((at, id))
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
            let asks =
                VERBS.contains(&verb) || starts && args[at + 1..].iter().any(|arg| is_target(arg));
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

/// Why systemd takes the system down of its own accord (`src/core/emergency-action.c`): `FailureAction=`,
/// `StartLimitAction=`, `JobTimeoutAction=` and their kind; for a signal (`manager_dispatch_signal_fd`); or logind, for a
/// key or the lid (`src/login/logind-button.c`), or when nobody has been active (`manager_dispatch_idle_action`).
fn reason_said<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<JournalLine>> {
    const WORDS: [&str; 7] = [
        "Rebooting",
        "Powering off",
        "Forcibly rebooting",
        "Forcibly powering off",
        "Exiting",
        "Soft-rebooting",
        "Halting",
    ];
    const KEYS: [&str; 4] = [
        "Power key pressed",
        "Reboot key pressed",
        "Power key long pressed",
        "Reboot key long pressed",
    ];
    // Mostly the machine is only put to sleep then.
    const MAY: [&str; 2] = ["System idle", "Lid closed"];
    let starts = |line: &JournalLine, words: &[&str]| {
        words.iter().any(|word| line.message.starts_with(word))
    };
    case.world.journal.iter().rev().find(|line| {
        (line.value.pid == Some(1)
            && (starts(&line.value, &WORDS) || signal_said(&line.value.message).is_some())
            || units::from_daemon(&line.value, "systemd-logind")
                && (starts(&line.value, &KEYS)
                    || starts(&line.value, &MAY) && !settings_behind(case, &line.value).is_empty()))
            && line.ns() <= began_ns + S
            && line.ns() + 10 * S >= began_ns
    })
}

/// What follows the signal in systemd's `Received SIGRTMIN+4 from PID 42 (kill).`, where that takes the system down
/// (`log_received_signal`).
fn signal_said(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("Received ")?;
    let (signal, rest) = rest.trim_end_matches('.').split_once(' ').unwrap_or((rest, ""));
    SIGNALS.contains(&signal.trim_end_matches('.')).then_some(rest)
}

/// Who sent that signal.
fn signaller(case: &Case<'_>, line: &Seen<JournalLine>) -> Option<ProcessId> {
    let rest = signal_said(&line.value.message)?.strip_prefix("from PID ")?;
    let pid = rest.split_whitespace().next()?.parse().ok()?;
    let id = case.world.people.at(pid, line.ns())?;
    let known = case.world.people.get(id)?;
    // The pid may have been another's before, and nobody may have looked at who had it now.
    let named = known.comm.as_deref().is_some_and(|comm| rest.contains(&format!("({comm})")));
    let there = known.ended_ns.is_none_or(|ended| ended + S >= line.ns());
    (named && there).then_some(id)
}

fn words_of(line: &Seen<JournalLine>) -> String {
    let daemon = line.value.comm.as_deref().unwrap_or("systemd");
    format!("{daemon} logged {}", words::quotation(&line.value.message))
}

/// A user's whole service manager went down by itself: it was told to exit.
pub fn user_manager(case: &Case<'_>) -> Option<Opinion> {
    const TARGETS: [&str; 2] = ["exit.target", "shutdown.target"];
    let stop = UnitStop::of(case)?;
    let Manager::User(uid) = stop.manager else { return None };
    let job = case.world.jobs.iter().find(|job| {
        job.value.manager == stop.manager
            && TARGETS.contains(&job.value.unit.as_str())
            && job.ns() <= case.struck_ns() + S
    })?;
    let asked = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let args = known.cmdline.as_deref()?;
        let said = |word: &str| args.iter().any(|arg| arg == word);
        let fits = known.comm.as_deref() == Some("systemctl")
            && known.uid.is_none_or(|own| own == uid || own == 0)
            && said("--user")
            && (said("exit") || said("exit.target"));
        (fits && at <= job.ns() + S && at + RECENT >= job.ns()).then_some((at, id))
    });
    let Some((_, process)) = asked.max_by_key(|(at, _)| *at) else {
        return exited_by_setting(case, &stop, job);
    };
    let request = Request::by_command(case, process, stop.manager, job.ns());
    let effect = job.at.no_later_than(stop.begun);
    let mut above = units::job_link(case, job);
    above.at = effect;
    Finding::new(
        CauseId::UnitStopRequested,
        Fit::Exact,
        request.grade(),
        format!(
            "{} was ended by {}, which was told to exit and stopped all of its units, {} among them: {}.",
            case.victim_name(),
            stop.manager_name(case),
            stop.unit,
            request.sentence(case)?
        ),
    )
    .links(request.links(case, effect))
    .links([above])
    .links(units::stop_links(case, &stop))
    .answer()
}

/// A unit of the user's had ended that has its manager exit then.
fn exited_by_setting(case: &Case<'_>, stop: &UnitStop<'_>, job: &Seen<Job>) -> Option<Opinion> {
    let action = EndAction::before(case, job)?;
    let effect = job.at.no_later_than(stop.begun);
    Finding::new(
        CauseId::UnitStopRequested,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{} was ended by {}, which exited and stopped all of its units, {} among them: {}.",
            case.victim_name(),
            stop.manager_name(case),
            stop.unit,
            action.clause()
        ),
    )
    .settings([Some(action.setting.clone())])
    .links([action.link.before(effect)])
    .links([units::job_link(case, job).before(effect)])
    .links(units::stop_links(case, stop))
    .answer()
}
