//! Deaths since one of a unit's time limits ran out: for its start, its stop, its run time, its watchdog.

use std::collections::BTreeSet;

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, JournalLine, Process, S, Source, base_name, sig, signal_name};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::manager::{BUS_LAG, UnitStop};
use crate::story::requests::{Request, Wish};
use crate::story::stopping::{self, Overrun};
use crate::story::unit_command::UnitCommand;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, units, words};

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
    let said = case.world.journal.iter().filter_map(|line| {
        // It is logged right before the first signal; the journal hands it over a little later.
        let near = line.ns() <= stop.first.ns() + S && line.ns() + 2 * S >= stop.first.ns();
        if !near || !units::manager_said(&line.value, stop, &stop.unit) {
            return None;
        }
        let limit = LIMITS.iter().find(|limit| line.value.message.contains(limit.said))?;
        Some((line, limit))
    });
    // What that signal was to end may have a limit of its own, and a short one.
    let (line, limit) = said.min_by_key(|(line, _)| line.ns().abs_diff(stop.first.ns()))?;
    if limit.said == STOPPING && !ends_by_itself(case, stop) {
        return None;
    }
    // What was there before the stop ends with the stop, however long that takes; what was started to help
    // with it ran out of time.
    let helps = stop.job.is_none_or(|job| case.victim.start_ns.saturating_add(BUS_LAG) >= job.ns());
    (limit.id != CauseId::UnitStopTimeout || helps).then_some((line, limit))
}

/// Whether the manager had asked nothing of the unit before: neither by a job, nor by a signal to the victim or to a main
/// process, which is still there.
fn ends_by_itself(case: &Case<'_>, stop: &UnitStop<'_>) -> bool {
    let changes = stop.history.into_iter().flat_map(|history| history.changes.iter().rev());
    let mut mains = changes
        .filter(|change| change.ns() <= stop.first.ns())
        .filter_map(|change| change.value.get("MainPID")?.as_u64());
    let Some(main) = mains.next() else { return false };
    let main = u32::try_from(main).ok().and_then(|pid| case.world.people.at(pid, stop.first.ns()));
    let is_asked = |main| {
        case.world.signals_to(main).iter().any(|signal| {
            signal.value.sender.id == stop.first.value.sender.id
                && signal.value.number != sig::SIGCONT
                && signal.ns() < stop.first.ns()
        })
    };
    stop.job.is_none() && stop.main_end.is_none() && main.is_some_and(|main| !is_asked(main))
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
    let ran = own.as_ref().map(|own| own.link(case, 0, link.at));
    let no_pid_file =
        pid_file_missed(case, &stop, line).filter(|_| limit.name == "TimeoutStartSec");
    let pid_file = no_pid_file.and_then(|_| units::unit_setting(case, &stop, "PIDFile", "PIDFile"));
    let hanging = hanging_command(case, &stop, line).filter(|_| own.is_none());
    let waited_for = match (no_pid_file, &hanging) {
        (Some(_), _) => "a PID file that was not written",
        (None, Some(_)) => "a command of its own that had not ended",
        (None, None) => "",
    };
    let awaited = units::in_brackets(pid_file.as_ref().or(hanging.as_ref()));
    let waited_for = match waited_for {
        "" => String::new(),
        what => format!(" It was waiting for {what}{awaited}."),
    };
    let (made_by, made_link) = scope_made(case, &stop).unzip();
    // What a stop runs may be waited for long after it was asked for.
    let job = stop.job.filter(|_| limit.id == CauseId::UnitStopTimeout);
    let asked = job.and_then(|job| Request::for_job(case, Wish::Stop, job, job.ns()));
    let who = asked.and_then(|asked| asked.sentence(case));
    let who = who.map(|who| format!(" The stop was asked for: {who}.")).unwrap_or_default();
    let finding = Finding::new(
        limit.id,
        Fit::Exact,
        Grade::Reported,
        format!(
            "{} was ended by {}: {} {}{}{}.{waited_for}{who}",
            case.victim_name(),
            stop.manager_name(case),
            words::unit(&stop.unit),
            limit.words,
            units::in_brackets(setting.as_ref()),
            made_by.map(|made| format!("; {made}")).unwrap_or_default()
        ),
    );
    let ending = (limit.said == STOPPING).then(|| ending_link(case, &stop)).flatten();
    // That call is told with the stop.
    let call = stop.request.map(|call| {
        units::asking_link(case, call, stop.job.map(|job| job.value.id), stop.ordered_at())
    });
    let requesters = asked.iter().flat_map(|asked| asked.links(case, stop.ordered_at()));
    finding
        .links(requesters.filter(|link| Some(link) != call.as_ref()))
        .links(made_link)
        .links(ending)
        .fixes(no_pid_file.map(|_| fixes::fitting_type(&stop.at(), "forking")))
        .links(no_pid_file.map(|line| {
            let said = format!(
                "{} logged {}",
                stop.manager_name(case),
                words::quotation(&line.value.message)
            );
            case.link(line.at, LinkEvent::UnitState, line.source, None, said)
        }))
        .settings([pid_file, hanging])
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

/// The command before or after the start that had not ended when the time for it was up (`service_dispatch_timer`), where
/// there is only one.
fn hanging_command(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    timed_out: &Seen<JournalLine>,
) -> Option<DecidingSetting> {
    const STATES: [(&str, &str); 2] =
        [("start-pre operation", "ExecStartPre"), ("start-post operation", "ExecStartPost")];
    let said = |state: &str| timed_out.value.message.contains(state);
    let (_, name) = STATES.iter().find(|(state, _)| said(state))?;
    let scopes = [stop.unit.clone(), units::template(&stop.unit)];
    let all = case.world.setting_lines(stop.manager).map(|seen| &seen.value);
    let its = all.filter(|line| scopes.contains(&line.scope) && line.name == *name);
    let places: BTreeSet<_> = its.map(|line| (line.file.as_deref(), line.line)).collect();
    units::unit_setting(case, stop, name, name).filter(|_| places.len() == 1)
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
