//! Deaths by the unit's own end: its main process is gone, its time ran out, memory ran short in it.

use super::{Finding, Fit, Opinion, is_not};
use crate::evidence::{
    Exit, Grade, JournalLine, Mechanism, OomVictim, Process, S, Source, Task, base_name, sig,
    signal_name,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::ending::{exit_link, lived_in};
use crate::story::manager::main_process::main_end;
use crate::story::manager::{BUS_LAG, UnitStop};
use crate::story::stopping::{self, Overrun, Unheeded};
use crate::story::unit_command::UnitCommand;
use crate::story::unit_jobs;
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, LinkEvent, Outcome};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, mechanism, units, words};

/// The user whose service manager a unit is: what ran in it were that one's own units, and `KillMode=` of all users'
/// managers is no remedy.
fn users_manager(case: &Case<'_>, unit: &str) -> Option<String> {
    let uid = unit.strip_prefix("user@")?.strip_suffix(".service")?;
    let user = uid.parse().ok().and_then(|uid| case.world.user(uid));
    Some(user.map_or_else(|| uid.to_owned(), |user| user.name.clone()))
}

/// The main process ended and the manager cleaned up the rest.
pub fn main_process_exited(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitMainProcessExited;
    let stop = UnitStop::of(case)?;
    if stop.unit.ends_with(".scope") {
        return None;
    }
    if let Some(job) = stop.job {
        // One that was only heard of afterwards may have been made afterwards: where no main process had ended there is
        // nothing for it to rule out.
        let known = unit_jobs::is_known_before(case.world, job, stop.first.ns());
        let said = || is_not(ID, format!("a job for {} was under way", stop.unit));
        return (known || stop.main_end.is_some()).then(said).flatten();
    }
    if let Some(because) = ran_out(case, &stop) {
        return is_not(ID, because);
    }
    let main = stop.main_exit?;
    let name = words::name_pid(&case.task(&main.value.task));
    let end = End::of(case, main.value.task.id);
    let reload = reload_of(case, main);
    let how_ended = match (&reload, &end) {
        (Some(reload), _) => reload.explanation.trim_end_matches('.').to_owned(),
        (None, Some(end)) => end.sentence(case),
        (None, None) => format!("{name} ended"),
    };
    let mode = units::unit_setting(case, &stop, "KillMode", "KillMode");
    let oneshot = stop.history.and_then(|history| history.text("Type")) == Some("oneshot");
    let kind = if oneshot { "oneshot " } else { "" };
    let at_once = match mode.as_ref().map(|mode| mode.value.as_str()) {
        Some("mixed") => ", with SIGKILL at once,",
        _ => "",
    };
    let process = case.victim_process();
    let program = process.comm.unwrap_or_else(|| "PROGRAM".to_owned());
    let user = process.user.filter(|_| process.uid != Some(0));
    let at = stop.at();
    let mut ended: Vec<Link> = end.iter().flat_map(|end| end.links(case, stop.first.at)).collect();
    if let Some(reload) = &reload {
        // What the reload ran is told as that.
        ended.retain(|link| link.event != LinkEvent::Command);
        ended.splice(..0, reload.links.iter().cloned());
    }
    let mut finding = Finding::new(
        ID,
        Fit::Circumstance,
        Grade::Observed,
        format!(
            "{} was ended by {}: the main process of the {kind}service {} was gone ({how_ended}), and \
             systemd cleaned up{at_once} what was left in the unit{}.",
            case.victim_name(),
            stop.manager_name(case),
            stop.unit,
            units::in_brackets(mode.as_ref())
        ),
    )
    .settings([mode])
    .settings(reload.iter().flat_map(|reload| reload.settings.iter().cloned().map(Some)))
    .links(ended)
    .links([units::cleanup_link(case, &stop, main)])
    .links(units::stop_links(case, &stop))
    .fixes(reload.iter().flat_map(|reload| reload.fixes.first().cloned()))
    .fixes(match users_manager(case, &stop.unit) {
        Some(user) => vec![fixes::system_unit_of_user(&user, &program)],
        None => vec![fixes::own_unit(&at, &program, user.as_deref()), fixes::kill_mode_process(&at)],
    });
    for gap in reload.into_iter().flat_map(|reload| reload.gaps) {
        finding = finding.gap(gap);
    }
    finding.answer()
}

/// The story of a main process that did not survive a reload of its unit.
fn reload_of(case: &Case<'_>, main: &Seen<Exit>) -> Option<Finding> {
    let ended = Case::new(case.world, main);
    match super::units::reloaded(&ended)? {
        Opinion::Is(finding) => Some(*finding),
        Opinion::IsNot { .. } => None,
    }
}

/// It exited, and no signal had made it, right after the unit's main process had ended: workers notice that by
/// a pipe or a socket, often before the manager has got to them.
pub fn exited_after_main(case: &Case<'_>) -> Option<Opinion> {
    /// What is later than that has other reasons.
    const AT_ONCE: u64 = 2 * S;
    let Outcome::Exited { status } = case.outcome else { return None };
    if case.blow.is_some() {
        return None;
    }
    let (manager, unit) = case.unit().filter(|(_, unit)| unit.ends_with(".service"))?;
    let ended_ns = case.exit.ns();
    let main = main_end(case.world, manager, unit, ended_ns, case.victim.start_ns, &[case.victim])?;
    // What was started when the main process was gone is no worker of its.
    if main.ns() + AT_ONCE < ended_ns || case.victim.start_ns >= main.ns() {
        return None;
    }
    let end = End::of(case, main.value.task.id)?;
    let unheeded = Unheeded::since(case, main.ns()).map(|unheeded| unheeded.clause(case));
    let signal = unheeded.unwrap_or_else(|| "no signal had reached it".to_owned());
    Finding::new(
        CauseId::ExitedByItself,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} exited by itself with status {status}, {} after the main process of {unit} had ended ({}); {signal}, so that \
             the one led to the other is a conclusion.",
            case.victim_name(),
            words::span(ended_ns.saturating_sub(main.ns())),
            end.sentence(case)
        ),
    )
    .links(end.links(case, case.exit.at))
    .answer()
}

/// SIGKILL after `TimeoutStopSec=`, where nothing more specific says why the stop was begun.
pub fn stop_timeout(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitStopTimeout;
    let stop = UnitStop::of(case)?;
    let overrun = Overrun::of(case, &stop).filter(|_| stop.escalated)?;
    Finding::new(
        ID,
        Fit::Mechanism,
        Grade::Observed,
        format!(
            "{} was killed by {}: {} was being stopped, and it {}.",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            overrun.hung(case, &stop)
        ),
    )
    .settings(overrun.settings(case, &stop).into_iter().map(Some))
    .links(units::stop_links(case, &stop))
    .fixes(overrun.fixes(case, &stop))
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
                // By default a start that takes too long ends by SIGTERM.
                let mode = setting("TimeoutStartFailureMode")
                    .filter(|mode| mode.value != "terminate" && number != sig::SIGTERM);
                let kind = setting("Type").filter(|kind| GETS_READY.contains(&kind.value.as_str()));
                vec![kind, mode]
            }
            CauseId::UnitRuntimeMax => {
                let extra = setting("RuntimeRandomizedExtraSec");
                vec![extra.filter(|extra| extra.file.is_some())]
            }
            _ => Vec::new(),
        }
    }

    fn fix(&self, stop: &UnitStop<'_>) -> Fix {
        let (at, then) = (stop.at(), signal_name(stop.first.value.number));
        match self.id {
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

/// The values of `Type=` by which a service is started only when it is ready.
const GETS_READY: [&str; 4] = ["notify", "notify-reload", "forking", "dbus"];

/// `service_force_watchdog`
const REQUEST: &str = "Watchdog request";

/// `service_dispatch_timer`, `scope_dispatch_timer`, `service_dispatch_watchdog`; of several the first counts.
const LIMITS: [Limit; 10] = [
    Limit::start("Reload operation timed out", "took longer to reload than it may"),
    // start, start-pre, start-post, condition
    Limit::start("operation timed out", "took longer to start than it may"),
    Limit::stop(
        "Stopping timed out",
        "was being stopped, and what ExecStop= runs took longer than it may",
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
    let (line, limit) = case.world.journal.iter().rev().find_map(|line| {
        // It is logged right before the first signal; the journal hands it over a little later.
        let near = line.ns() <= stop.first.ns() + S && line.ns() + 2 * S >= stop.first.ns();
        if !near || !units::manager_said(&line.value, stop, &stop.unit) {
            return None;
        }
        let limit = LIMITS.iter().find(|limit| line.value.message.contains(limit.said))?;
        Some((line, limit))
    })?;
    // What was there before the stop ends with the stop, however long that takes; what was started to help
    // with it ran out of time.
    let helps = stop.job.is_none_or(|job| case.victim.start_ns.saturating_add(BUS_LAG) >= job.ns());
    (limit.id != CauseId::UnitStopTimeout || helps).then_some((line, limit))
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
    let ran = own.as_ref().map(|own| own.link(case, 0, link.at));
    let no_pid_file =
        pid_file_missed(case, &stop, line).filter(|_| limit.name == "TimeoutStartSec");
    let pid_file = no_pid_file.and_then(|_| units::unit_setting(case, &stop, "PIDFile", "PIDFile"));
    let waited_for = no_pid_file.map_or_else(String::new, |_| {
        format!(
            " It was waiting for a PID file that was not written{}.",
            units::in_brackets(pid_file.as_ref())
        )
    });
    let (made_by, made_link) = scope_made(case, &stop).unzip();
    let finding = Finding::new(
        limit.id,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: {} {}{}{}.{waited_for}",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            limit.words,
            units::in_brackets(setting.as_ref()),
            made_by.map(|made| format!("; {made}")).unwrap_or_default()
        ),
    );
    finding
        .links(made_link)
        .fixes(no_pid_file.map(|_| fixes::fitting_type(&stop.at(), "forking")))
        .links(no_pid_file.map(|line| {
            let said = format!(
                "{} logged {}",
                stop.manager_name(case),
                words::quotation(&line.value.message)
            );
            case.link(line.at, LinkEvent::UnitState, line.source, None, said)
        }))
        .settings([pid_file])
        .settings([setting, own.and_then(|own| own.line)])
        .settings(limit.others(case, &stop))
        .links(ran)
        .links([link])
        .links(units::stop_links(case, &stop))
        .fixes([limit.fix(&stop)])
        .answer()
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
            && line.ns() + 600 * S >= timed_out.ns()
            && line.value.message.contains("Can't open PID file")
            && units::manager_said(&line.value, stop, &stop.unit)
    })
}

/// systemd stopped the unit since the kernel's OOM killer had struck in it.
pub fn oom_policy(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitOomPolicy;
    /// How long after it has heard of the kill its manager acts at most: a thrashing machine is slow.
    const AT_ONCE: u64 = 5 * S;
    let stop = UnitStop::of(case)?;
    let near = |ns: u64| ns <= stop.first.ns() + S && ns + AT_ONCE >= stop.first.ns();
    let message = case.world.journal.iter().rev().find(|line| {
        units::manager_said(&line.value, &stop, &stop.unit)
            && line.value.message.contains("killed by the OOM killer")
            && near(line.ns())
    });
    let result = stop.history.and_then(|history| {
        history.changes.iter().find(|change| {
            let result = change.value.get("Result").and_then(serde_json::Value::as_str);
            result == Some("oom-kill") && near(change.ns())
        })
    });
    if message.is_none() && result.is_none() {
        return None;
    }
    let policy = stopping::own_or_default(case, &stop, "OOMPolicy", "OOMPolicy");
    if policy.is_some_and(|policy| policy.value == "continue") {
        return is_not(ID, format!("{} goes on after such a kill (OOMPolicy=continue)", stop.unit));
    }
    // The manager acts on it at once: for a job that was there before it would have been ending the unit already.
    let asked_first = stop.job.is_some_and(|job| message.is_none_or(|line| job.ns() <= line.ns()));
    if asked_first {
        return is_not(ID, format!("a job for {} was under way", stop.unit));
    }
    let first_victim = FirstVictim::of(case, &stop);
    let setting = stopping::own_or_default(case, &stop, "OOMPolicy", "OOMPolicy");
    let other = first_victim.as_ref().map_or_else(
        || "another process of the unit".to_owned(),
        |first| words::name_pid(&case.task(first.task())),
    );
    let reported: Option<Link> = message.map(|line| {
        let text =
            format!("{} logged {}", stop.manager_name(case), words::quotation(&line.value.message));
        case.link(line.at, LinkEvent::Oom, line.source, None, text).before(stop.begun)
    });
    let at = stop.at();
    Finding::new(
        ID,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: the kernel's OOM killer had killed {other}, and systemd then stopped \
             the whole of {}{}.",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            units::in_brackets(setting.as_ref())
        ),
    )
    .settings([setting])
    .links(first_victim.map(|first| first.link(case)))
    .links(reported)
    .links(units::stop_links(case, &stop))
    .fixes([fixes::oom_policy(&at), fixes::memory_limit(Some(&at), None)])
    .answer()
}

/// The process of the unit that the kernel's OOM killer took, because of which the manager stopped the rest.
enum FirstVictim<'a> {
    /// The killer's signal to it.
    Struck(&'a SeenSignal),
    /// Its end, where that signal was not seen, and the kernel's choice.
    Ended { exit: &'a Seen<Exit>, mark: Option<&'a Seen<OomVictim>> },
}

impl<'a> FirstVictim<'a> {
    fn of(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<Self> {
        const RECENT: u64 = 5 * S;
        let stopped = stop.first.ns();
        let recent = |ns: u64| ns <= stopped && ns + RECENT >= stopped;
        let of_unit = |task: &Task| task.id != case.victim && lived_in(case, task, &stop.unit);
        // The manager hears of the kill before the victim has ended, and may have ended others by then.
        let struck = case.world.signals().filter(|signal| {
            recent(signal.ns())
                && of_unit(&signal.value.target)
                && mechanism::of(&signal.value) == Mechanism::OomKill
        });
        if let Some(first) = struck.min_by_key(|signal| signal.ns()) {
            return Some(Self::Struck(first));
        }
        let mark = case.world.oom_victims.iter().rev().find(|mark| recent(mark.ns()));
        let fits = |exit: &Seen<Exit>| match mark {
            Some(mark) => (mark.ns()..=case.exit.ns()).contains(&exit.ns()),
            None => recent(exit.ns()),
        };
        let exit = case.world.exits.iter().find(|exit| {
            fits(exit)
                && exit.value.status & 0x7f == u32::from(sig::SIGKILL)
                && of_unit(&exit.value.task)
        })?;
        Some(Self::Ended { exit, mark })
    }

    fn task(&self) -> &'a Task {
        match self {
            Self::Struck(signal) => &signal.value.target,
            Self::Ended { exit, .. } => &exit.value.task,
        }
    }

    /// The kernel's choice where it was seen, else the end alone.
    fn link(&self, case: &Case<'_>) -> Link {
        let (at, source, by) = match self {
            Self::Struck(signal) => (signal.at, signal.source, ""),
            Self::Ended { exit, mark: None } => return exit_link(case, exit),
            // In a pid namespace of its own a process has another number than the kernel's.
            Self::Ended { exit, mark: Some(mark) } => {
                let same = mark.value.global_tid == exit.value.task.id.pid;
                let by = " (inferred: it was the unit's first to be killed after that)";
                (mark.at, mark.source, if same { "" } else { by })
            }
        };
        let victim = case.task(self.task());
        let text = format!("the kernel's OOM killer chose {}{by}", words::name_pid(&victim));
        case.link(at, LinkEvent::Oom, source, Some(victim), text)
    }
}
