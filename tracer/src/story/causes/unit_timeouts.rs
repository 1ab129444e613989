//! Deaths since one of a unit's time limits ran out: for its start, its stop, its run time, its watchdog.

use super::units::request_links;
use super::{Finding, Fit, Opinion};
use crate::evidence::{
    Grade, JournalLine, Moment, Process, ProcessId, S, Source, base_name, sig, signal_name,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::halts::Halt;
use crate::story::manager::UnitStop;
use crate::story::requests::{Request, Wish};
use crate::story::stopping::{self, Overrun};
use crate::story::unit_command::UnitCommand;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, LinkEvent};
use crate::story::windows::{BUS_LAG, LONGEST_JOB};
use crate::story::world::Seen;
use crate::story::{fixes, journal, units, words};

/// SIGKILL after `TimeoutStopSec=`, where nothing more specific says why the stop was begun.
pub fn stop_timeout(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitStopTimeout;
    let stop = UnitStop::of(case)?;
    let overrun = Overrun::of(case, &stop)?;
    if let Some(began) = stop.began_unseen.filter(|_| stop.job.is_none()) {
        return begun_unseen(case, &stop, &overrun, began);
    }
    let overrun = Some(overrun).filter(|_| stop.escalated)?;
    Finding::new(
        ID,
        Fit::Mechanism,
        Grade::Observed,
        format!(
            "{} was killed by {}: {} was being stopped, and it {}.{}",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            overrun.hung(case, &stop),
            overrun.extended(case, &stop).unwrap_or_default()
        ),
    )
    .settings(overrun.settings(case, &stop).into_iter().map(Some))
    .links(units::stop_links(case, &stop))
    .fixes(overrun.fixes(case, &stop))
    .answer()
}

/// The same where the unit had begun to end before it was looked at, and no job of it was there any more.
fn begun_unseen(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    overrun: &Overrun<'_>,
    began: Moment,
) -> Option<Opinion> {
    let since = words::span(case.struck_ns().saturating_sub(began.boot_ns));
    let text = format!("{} was ending already, {since} before", stop.unit);
    let began_link = case
        .link(began, LinkEvent::UnitState, Source::BusProperty, None, text)
        .said_over(stop.manager);
    Finding::new(
        CauseId::UnitStopTimeout,
        Fit::Mechanism,
        Grade::Reported,
        format!(
            "{} was killed by {}: {} was ending already when killtrace looked at it first, and why was not seen.{}",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            overrun.clause(case, stop).unwrap_or_default(),
        ),
    )
    .settings(overrun.settings(case, stop).into_iter().map(Some))
    .links([began_link])
    .links(overrun.links(case, stop))
    .gap(format!("why {} had begun to end, before killtrace looked at it first, was not seen", stop.unit))
    .fixes(fixes::look_at_unit(&stop.at()))
    .fixes(overrun.fixes(case, stop))
    .answer()
}

/// One of the manager's time limits.
struct Limit {
    /// Words of its log when it ran out.
    said: &'static str,
    id: CauseId,
    /// The setting, and the property with its value.
    name: &'static str,
    property: &'static str,
    /// What happened, between the unit's name and the setting.
    words: &'static str,
}

impl Limit {
    const fn start(said: &'static str, words: &'static str) -> Self {
        let (name, property) = ("TimeoutStartSec", "TimeoutStartUSec");
        Self { said, id: CauseId::UnitStartTimeout, name, property, words }
    }

    const fn stop(said: &'static str, words: &'static str) -> Self {
        let (name, property) = ("TimeoutStopSec", "TimeoutStopUSec");
        Self { said, id: CauseId::UnitStopTimeout, name, property, words }
    }

    const fn abort(said: &'static str, words: &'static str) -> Self {
        let (name, property) = ("TimeoutAbortSec", "TimeoutAbortUSec");
        Self { said, id: CauseId::UnitStopTimeout, name, property, words }
    }

    /// The setting as it is for the unit.
    fn setting(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Option<DecidingSetting> {
        match self.name {
            "TimeoutAbortSec" => stopping::abort_timeout_setting(case, stop),
            name => stopping::own_or_default(case, stop, name, self.property),
        }
    }

    /// What else of the unit's settings decided how it was ended when the time was up.
    fn others(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<Option<DecidingSetting>> {
        let number = stop.first.value.number;
        let setting = |name: &str| units::unit_setting(case, stop, name, name);
        match self.id {
            CauseId::UnitWatchdog => {
                vec![stopping::signal_setting(case, stop, "WatchdogSignal", number)]
            }
            CauseId::UnitStartTimeout => {
                vec![setting("Type").filter(|kind| GETS_READY.contains(&kind.value.as_str()))]
            }
            CauseId::UnitRuntimeMax => {
                let extra = setting(EXTRA);
                vec![extra.filter(|extra| extra.file.is_some())]
            }
            _ => Vec::new(),
        }
    }

    fn fix(&self, stop: &UnitStop<'_>) -> Fix {
        let (at, then) = (stop.at(), signal_name(stop.first.value.number));
        match self.id {
            CauseId::UnitStartTimeout if self.said == RELOAD => fixes::reload_timeout(&at),
            CauseId::UnitStartTimeout => fixes::start_timeout(&at),
            CauseId::UnitStopTimeout if self.name == "TimeoutAbortSec" => {
                fixes::abort_timeout(&at, &then)
            }
            CauseId::UnitStopTimeout => fixes::stop_timeout(&at, &then),
            CauseId::UnitWatchdog if self.said == REQUEST => fixes::watchdog_request(&at),
            CauseId::UnitWatchdog => fixes::watchdog(&at),
            _ => fixes::runtime_max(&at),
        }
    }
}

/// By how much the run time may be longer than its limit, at random.
const EXTRA: &str = "RuntimeRandomizedExtraSec";

/// The values of `Type=` by which a service is started only when it is ready.
const GETS_READY: [&str; 4] = ["notify", "notify-reload", "forking", "dbus"];

/// Logged in capitals where another operation is not.
const RELOAD: &str = "Reload operation timed out";

/// `service_force_watchdog`
const REQUEST: &str = "Watchdog request";

/// After the signal that asks a unit to end, or with none where it began to end by itself (`service_enter_stop_by_notify`).
const STOPPING: &str = "State 'stop-sigterm' timed out";

/// `service_dispatch_timer`, `scope_dispatch_timer`, `service_dispatch_watchdog`; of several the first counts.
const LIMITS: [Limit; 11] = [
    Limit::start(RELOAD, "took longer to reload than it may"),
    // start, start-pre, start-post, condition
    Limit::start("operation timed out", "took longer to start than it may"),
    Limit::stop(
        "Stopping timed out",
        "was being stopped, and what ExecStop= runs took longer than it may",
    ),
    Limit::stop(
        STOPPING,
        "was ending though nothing was seen to ask it to (it had said STOPPING=1, it seems), and took longer for that \
         than it may",
    ),
    Limit::stop(
        "State 'stop-post' timed out",
        "had ended, and what ExecStopPost= runs took longer than it may",
    ),
    Limit::stop(
        "State 'final-sigterm' timed out",
        "had ended, and cleaning up after it took too long",
    ),
    Limit::abort(
        "State 'stop-watchdog' timed out",
        "was aborted, and took longer for it than it may",
    ),
    Limit::abort(
        "State 'final-watchdog' timed out",
        "had ended, and aborting what was left of it took too long",
    ),
    Limit {
        said: "reached runtime time limit",
        id: CauseId::UnitRuntimeMax,
        name: "RuntimeMaxSec",
        property: "RuntimeMaxUSec",
        words: "had run for as long as it may",
    },
    // `WATCHDOG=trigger` of sd_notify(3): no time has run out.
    Limit {
        said: REQUEST,
        id: CauseId::UnitWatchdog,
        name: "",
        property: "",
        words: "was aborted as a process of its own had asked for it (WATCHDOG=trigger)",
    },
    Limit {
        said: "Watchdog timeout",
        id: CauseId::UnitWatchdog,
        name: "WatchdogSec",
        property: "WatchdogUSec",
        words: "had given no sign of life for as long as its watchdog allows",
    },
];

/// What the manager logged when a time limit of the unit ran out, before this stop.
fn limit_said<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'_>,
) -> Option<(&'a Seen<JournalLine>, &'static Limit)> {
    if stop.by_command.is_some() {
        return None;
    }
    // It is logged right before the first signal, and the journal hands it over a little later. Where that was sent before
    // anybody looked, it is somewhere in the unit's present run.
    let first_ns = stop.first.ns();
    let distance = |line: &Seen<JournalLine>| {
        let near = line.ns() + 2 * S >= first_ns || stop.began_unseen.is_some();
        (near && line.ns() <= first_ns + S).then(|| line.ns().abs_diff(first_ns))
    };
    let said = case.world.journal.iter().filter_map(|line| {
        let distance = distance(line).filter(|_| journal::said_of_run(line, stop))?;
        let limit = LIMITS.iter().find(|limit| line.value.message.contains(limit.said))?;
        let is_why = stop.began_unseen.is_none() || limit.said != STOPPING;
        is_why.then_some((distance, line, limit))
    });
    // What that signal was to end may have a limit of its own, and a short one.
    let (_, line, limit) = said.min_by_key(|(distance, ..)| *distance)?;
    if limit.said == STOPPING && !ends_by_itself(case, stop) {
        return None;
    }
    // What was there before the stop ends with the stop, however long that takes; what was started to help
    // with it ran out of time.
    let asked_ns = stop.began_unseen.map(|began| began.boot_ns).or(stop.job.map(Seen::ns));
    let helps = asked_ns.is_none_or(|asked| case.victim.start_ns.saturating_add(BUS_LAG) >= asked);
    (limit.id != CauseId::UnitStopTimeout || helps).then_some((line, limit))
}

/// Whether the manager had asked nothing of the unit before: neither by a job, nor by a signal to the victim or to a main
/// process, which is still there.
fn ends_by_itself(case: &Case<'_>, stop: &UnitStop<'_>) -> bool {
    let changes = stop.history.into_iter().flat_map(|history| history.changes.iter().rev());
    let mut mains = changes
        .filter(|change| change.ns() <= stop.first.ns())
        .filter_map(|change| change.value.get("MainPID")?.as_u64().filter(|pid| *pid != 0));
    let Some(main) = mains.next() else { return false };
    let main = u32::try_from(main).ok().and_then(|pid| case.world.people.at(pid, stop.first.ns()));
    let is_asked = |main| {
        case.world.signals_to(main).iter().any(|signal| {
            signal.value.sender.id == stop.first.value.sender.id
                && signal.value.number != sig::SIGCONT
                && signal.ns() < stop.first.ns()
        })
    };
    let was_seen = stop.job.is_none() && stop.began_unseen.is_none();
    was_seen && stop.main_end.is_none() && main.is_some_and(|main| !is_asked(main))
}

/// That the unit was ending by itself when its time ran out, as its manager told it.
fn ending_link(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Link> {
    let changes = stop.history?.changes.iter().rev();
    let mut known = changes.filter(|change| change.ns() < stop.first.ns());
    let is_it = |value: &serde_json::Value| value.as_str() == Some("stop-sigterm");
    let change = known
        .by_ref()
        .take_while(|change| change.value.get("SubState").is_none_or(is_it))
        .filter(|change| change.value.contains_key("SubState"))
        .last()?;
    let text = format!("{} began to end (its state became stop-sigterm)", stop.unit);
    let link = case.link(change.at, LinkEvent::UnitState, change.source, None, text);
    Some(link.said_over(stop.manager))
}

/// Whether a time limit, not the stop itself, ended the victim.
pub fn ran_out(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<String> {
    limit_said(case, stop)
        .map(|(line, _)| format!("systemd logged {} first", words::quotation(&line.value.message)))
}

/// Start timeout, run-time limit, watchdog, the commands of a stop.
pub fn time_ran_out(case: &Case<'_>) -> Option<Opinion> {
    let stop = UnitStop::of(case)?;
    let (line, limit) = limit_said(case, &stop)?;
    let setting = limit.setting(case, &stop);
    let said =
        format!("{} logged {}", stop.manager_name(case), words::quotation(&line.value.message));
    let link = case.link(line.at, LinkEvent::Timeout, line.source, None, said).before(stop.begun);
    // Where it is such a command that took too long, its line says which.
    let own = UnitCommand::of(case, &case.exit.value.task);
    let ran = own.as_ref().map(|own| own.link(case, job_heard_late(case, &stop, own), link.at));
    let command = waited_for(case, &stop, line, own.as_ref());
    let own_line = own.and_then(|own| own.line).filter(|_| command.is_none());
    let details = [
        not_ready(case, &stop, line),
        command,
        failure_mode(case, &stop, limit, line),
        asked_for(case, &stop, limit),
        halted(case, &stop, limit, line),
        extended(case, &stop, limit, line),
    ];
    let (made_by, made_link) = scope_made(case, &stop).unzip();
    let told: String = details.iter().flatten().map(|detail| detail.text.as_str()).collect();
    let mut finding = Finding::new(
        limit.id,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: {} {}{}{}.{told}",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            limit.words,
            units::in_brackets(setting.as_ref()),
            made_by.map(|made| format!("; {made}")).unwrap_or_default()
        ),
    )
    .settings([setting, own_line])
    .settings(limit.others(case, &stop));
    for detail in details.into_iter().flatten() {
        finding = finding.settings([detail.setting]).links(detail.links).fixes(detail.fix);
    }
    let ending = (limit.said == STOPPING).then(|| ending_link(case, &stop)).flatten();
    finding
        .links(made_link)
        .links(ending)
        .links([link])
        .links(units::stop_links(case, &stop))
        .links(ran)
        .fixes([limit.fix(&stop)])
        .answer()
}

/// When the job was heard of that a command is run for, where that was a moment after the command had begun; 0 otherwise.
fn job_heard_late(case: &Case<'_>, stop: &UnitStop<'_>, command: &UnitCommand<'_>) -> u64 {
    let ran_ns = command.ran_ns(case);
    let is_its = |job: &u64| (ran_ns..ran_ns.saturating_add(BUS_LAG)).contains(job);
    stop.job.map(Seen::ns).filter(is_its).unwrap_or_default()
}

/// What else there is to tell of a limit that ran out.
#[derive(Default)]
struct Detail {
    /// A sentence, after a space.
    text: String,
    setting: Option<DecidingSetting>,
    links: Vec<Link>,
    fix: Option<Fix>,
}

/// What had not happened that the unit's `Type=` has its manager wait for.
fn not_ready(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    timed_out: &Seen<JournalLine>,
) -> Option<Detail> {
    // In the states before and after that commands are run.
    if !timed_out.value.message.contains(": start operation timed out") {
        return None;
    }
    if let Some(line) = pid_file_missed(case, stop, timed_out) {
        let said =
            format!("{} logged {}", stop.manager_name(case), words::quotation(&line.value.message));
        let file = units::unit_setting(case, stop, "PIDFile", "PIDFile");
        return Some(Detail {
            text: format!(
                " It was waiting for a PID file that was not written{}.",
                units::in_brackets(file.as_ref())
            ),
            setting: file,
            links: vec![case.link(line.at, LinkEvent::UnitState, line.source, None, said)],
            fix: Some(fixes::fitting_type(&stop.at(), "forking")),
        });
    }
    let kind = units::unit_setting(case, stop, "Type", "Type")?.value;
    let runs = is_control_running(stop, timed_out);
    if kind == "forking" && runs == Some(false) {
        let file = units::unit_setting(case, stop, "PIDFile", "PIDFile")?;
        let cited = units::cited(&file);
        return Some(Detail {
            text: format!(
                " The command that starts it had returned: it was waiting for a PID file, it seems ({cited})."
            ),
            setting: Some(file),
            fix: Some(fixes::fitting_type(&stop.at(), "forking")),
            ..Detail::default()
        });
    }
    let missed = match kind.as_str() {
        "notify" | "notify-reload" => "Nothing had said that it was ready (READY=1, sd_notify(3))",
        "dbus" => "It had not taken its name on the bus",
        "forking" if runs == Some(true) => "The command that starts it had not returned",
        _ => return None,
    };
    let text = format!(" {missed}, as Type={kind} has it do.");
    let fix = Some(fixes::fitting_type(&stop.at(), &kind));
    Some(Detail { text, fix, ..Detail::default() })
}

/// Whether a command of the unit's was still running when its time was up; `None` where that was not heard of.
fn is_control_running(stop: &UnitStop<'_>, timed_out: &Seen<JournalLine>) -> Option<bool> {
    let changes = stop.history?.changes.iter().rev();
    let mut before = changes.filter(|change| change.ns() <= timed_out.ns());
    let pid = before.find_map(|change| change.value.get("ControlPID")?.as_u64())?;
    Some(pid != 0)
}

/// The commands that a manager waits for, by what it logs when that takes too long (`service_dispatch_timer`).
const WAITED_FOR: [(&str, &str); 6] = [
    ("condition operation timed out", "ExecCondition"),
    ("start-pre operation timed out", "ExecStartPre"),
    ("start-post operation timed out", "ExecStartPost"),
    (RELOAD, "ExecReload"),
    ("Stopping timed out", "ExecStop"),
    ("State 'stop-post' timed out", "ExecStopPost"),
];

/// The command that had not ended, where one was waited for; `own` is the one that the victim is part of.
fn waited_for(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    timed_out: &Seen<JournalLine>,
    own: Option<&UnitCommand<'_>>,
) -> Option<Detail> {
    let message = &timed_out.value.message;
    let (_, name) = WAITED_FOR.into_iter().find(|(said, _)| message.contains(said))?;
    let own = own.filter(|own| own.setting == name).and_then(|own| own.line.clone());
    let line = own.or_else(|| units::only_line(case, stop.manager, &stop.unit, name));
    // A reload may be waiting for the service itself; what is run for a stop the limit's own words tell.
    let is_told = name.starts_with("ExecStop");
    if line.is_none() && (is_told || name == "ExecReload") {
        return None;
    }
    let cited = units::in_brackets(line.as_ref());
    let text = format!(" What {name}= runs had not ended{cited}.");
    let fix = Some(fixes::lasting_command(&stop.at(), name));
    let text = if is_told { String::new() } else { text };
    Some(Detail { text, setting: line, fix, ..Detail::default() })
}

/// What had another signal sent than the usual one when the time was up, by what the manager logged that it would do. A
/// reload has no such mode, and after the signal that asks to end SIGKILL comes in any case (`service_dispatch_timer`).
fn failure_mode(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    limit: &Limit,
    timed_out: &Seen<JournalLine>,
) -> Option<Detail> {
    let name = match limit.name {
        _ if limit.said == RELOAD => return None,
        "TimeoutStartSec" => "TimeoutStartFailureMode",
        "TimeoutStopSec" => "TimeoutStopFailureMode",
        _ => return None,
    };
    let (number, message) = (stop.first.value.number, &timed_out.value.message);
    let is_it = |mode: &DecidingSetting| match mode.value.as_str() {
        "abort" => message.contains("timed out. Aborting"),
        "kill" => message.contains("timed out. Killing") && !message.contains("-sigterm' timed"),
        _ => false,
    };
    let mode = units::unit_setting(case, stop, name, name);
    let mode = mode.filter(|mode| is_it(mode) && number != sig::SIGTERM)?;
    let text = format!(" So {} came ({}).", signal_name(number), units::cited(&mode));
    Some(Detail { text, setting: Some(mode), ..Detail::default() })
}

/// Who had asked for the stop that took too long.
fn asked_for(case: &Case<'_>, stop: &UnitStop<'_>, limit: &Limit) -> Option<Detail> {
    let request = stop.job.filter(|_| limit.id == CauseId::UnitStopTimeout)?;
    let request = Request::for_job(case, Wish::Stop, request, stop.began_ns)?;
    let text = format!(" The stop was asked for: {}.", request.sentence(case)?);
    let links = request_links(case, stop, request);
    Some(Detail { text, links, ..Detail::default() })
}

/// That somebody had stopped the process whose sign of life, word or end was waited for: the victim, or the unit's main
/// process. No other limit than that of its run time counts on what a process does.
fn halted(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    limit: &Limit,
    ran_out: &Seen<JournalLine>,
) -> Option<Detail> {
    if limit.id == CauseId::UnitRuntimeMax || limit.said == REQUEST {
        return None;
    }
    // It is logged right before the signal, and may be read late.
    let until_ns = ran_out.ns().min(stop.first.ns());
    let main = main_at(case, stop, until_ns).filter(|main| *main != case.victim);
    let halt = Halt::of(case, [Some(case.victim), main].into_iter().flatten(), until_ns)?;
    let (text, links) = (halt.sentence(case), halt.links(case));
    Some(Detail { text, links, ..Detail::default() })
}

/// The main process that a unit had at this time, by the word of its manager.
fn main_at(case: &Case<'_>, stop: &UnitStop<'_>, ns: u64) -> Option<ProcessId> {
    let mut changes = stop.history?.changes.iter().rev().filter(|change| change.ns() <= ns);
    let pid = changes.find_map(|change| change.value.get("MainPID")?.as_u64())?;
    case.world.people.at(u32::try_from(pid).ok().filter(|pid| *pid != 0)?, ns)
}

/// That the limit had been put off, where it is known from when on it counts: of what was started while it was traced. A time
/// of day may be another's by the end, where the clock was set.
fn extended(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    limit: &Limit,
    ran_out: &Seen<JournalLine>,
) -> Option<Detail> {
    let history = stop.history?;
    let is_started = ran_out.value.message.contains(": start operation timed out");
    // Of the other types a command starts it.
    let gets_ready = || matches!(history.text("Type"), Some("notify" | "notify-reload" | "dbus"));
    let is_it = limit.id == CauseId::UnitStartTimeout && is_started && gets_ready();
    let main = main_at(case, stop, stop.first.ns()).filter(|_| is_it)?;
    let took_ns = stop.first.ns().checked_sub(main.start_ns)?;
    let text = stopping::extended(stop, took_ns / 1_000, limit.property)?;
    Some(Detail { text, ..Detail::default() })
}

/// Who had a scope made by systemd-run(1), and the link of it: that goes on as the first process of the scope, by executing
/// what it is to run, maybe as another user.
fn scope_made(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<(String, Link)> {
    if !stop.unit.ends_with(".scope") {
        return None;
    }
    let people = &case.world.people;
    let mut line = std::iter::once(case.victim).chain(people.parents(case.victim));
    let (id, ran_ns) = line.find_map(|id| {
        let mut ran = people.get(id)?.earlier.iter().filter_map(|program| program.exec_ns);
        let makes = |ran_ns: &u64| {
            let args = people.executed_at(id, *ran_ns).unwrap_or_default();
            let name = args.first().map(|name| base_name(name));
            name == Some("systemd-run") && args.iter().any(|arg| arg == "--scope")
        };
        Some((id, ran.find(makes)?))
    })?;
    let command = people.executed_at(id, ran_ns)?.to_vec();
    let made = Process { cmdline: Some(command), ..Process::default() };
    // Its own user is the one that it has become since.
    let parent = *people.parents(id).first()?;
    let user = Actor::within(case, parent, ran_ns, 0).user?;
    let told = format!("{user} ran \"{}\"", words::command_line(&made));
    let at = case.exit.at.shifted(ran_ns);
    let link = case.link(at, LinkEvent::Command, Source::Kernel, None, told.clone());
    Some((told, link))
}

/// What the manager logged when it did not find the PID file of a unit that it was starting (`service_load_pid_file`).
fn pid_file_missed<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'_>,
    timed_out: &Seen<JournalLine>,
) -> Option<&'a Seen<JournalLine>> {
    case.world.journal.iter().rev().find(|line| {
        line.ns() <= timed_out.ns()
            && line.ns() + LONGEST_JOB >= timed_out.ns()
            && line.value.message.contains("Can't open PID file")
            && journal::manager_said(&line.value, stop, &stop.unit)
    })
}
