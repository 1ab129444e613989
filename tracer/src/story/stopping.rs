//! How a unit is stopped: the signals that its settings choose, the commands that it runs for it, and what
//! follows where the time for it runs out.

use super::case::Case;
use super::ending::lived_in;
use super::manager::{self, BUS_LAG, UnitStop, manager_of};
use super::mechanism;
use super::requests::{Request, Wish};
use super::unit_jobs::{job_type, stop_job};
use super::units::{
    cited, job_link_before, manager_said, property_setting, unit_setting, units_that_ran,
};
use super::upstream::End;
use super::verdict::{DecidingSetting, Fix, Link, LinkEvent};
use super::world::{Seen, SeenSignal};
use super::{fixes, patience, signals, words};
use crate::evidence::{
    Grade, Job, JournalLine, MS, S, SignalResult, Source, Task, sig, signal_name,
};

/// A unit that was not stopped in time.
#[derive(Debug)]
pub struct Overrun<'a> {
    /// The signal that had not helped: to the victim itself, or only to the unit's main process.
    first: Option<&'a SeenSignal>,
    /// The signal that was to abort it when the first had not helped, and did not help either.
    abort: Option<&'a SeenSignal>,
    /// Which limit had run out when the deciding signal came.
    limit: Limit,
    /// What the manager said of it.
    said: Option<&'a Seen<JournalLine>>,
}

/// A limit on how long a unit may take to end (`service_arm_timer` in `src/core/service.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// `TimeoutStopSec=`, after the signal that asks it to end.
    Stop,
    /// `TimeoutAbortSec=`, after the signal that aborts it: the watchdog's, or that of a time-out which aborts.
    Abort,
}

impl<'a> Overrun<'a> {
    /// Where the deciding signal is the last resort of a stop that took too long.
    pub fn of(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<Self> {
        let blow = case.blow.filter(|_| stop.by_command.is_none())?;
        let said = case.world.journal.iter().rev().find(|line| {
            manager_said(&line.value, stop, &stop.unit)
                && line.value.message.contains("timed out")
                && line.ns() <= case.exit.ns()
                && line.ns() + 2 * S >= blow.signal.ns()
        });
        let limit =
            if is_aborted(stop, said, blow.signal.ns()) { Limit::Abort } else { Limit::Stop };
        if stop.escalated {
            let waited = blow.signal.ns().saturating_sub(stop.first.ns());
            // Before the time is up, it was not the manager's own patience that ended.
            let early = limit_ns(stop).is_some_and(|limit| waited.saturating_add(SLACK) < limit);
            let is_it = said.is_some() || !early;
            let abort = aborting_signal(case, stop).filter(|_| limit == Limit::Abort);
            return is_it.then_some(Self { first: Some(stop.first), abort, limit, said });
        }
        // With KillMode=mixed only the main process is asked first; the last resort is all that the others get, and what
        // was born meanwhile.
        let timed_out = said?.value.message.contains("State 'stop-sigterm' timed out");
        let number = blow.signal.value.number;
        let last = number == sig::SIGKILL || manager::is_last_resort(stop.history, number);
        (timed_out && stop.job.is_some() && last).then_some(Self {
            first: None,
            abort: None,
            limit,
            said,
        })
    }

    /// How long the last signal but one had been given.
    fn waited(&self, case: &Case<'_>) -> Option<String> {
        let blow = case.blow?;
        let asked = self.abort.or(self.first)?;
        Some(words::span(blow.signal.ns().saturating_sub(asked.ns())))
    }

    /// The limit that ran out.
    fn setting(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Option<DecidingSetting> {
        match self.limit {
            Limit::Stop => timeout_setting(case, stop),
            Limit::Abort => abort_timeout_setting(case, stop),
        }
    }

    /// What decided when and by which signal it was to end in the end.
    pub fn settings(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<DecidingSetting> {
        let mut found = Vec::new();
        if self.abort.is_some() {
            found.extend(timeout_setting(case, stop));
            found.extend(aborts(case, stop, "TimeoutStopFailureMode"));
        }
        found.extend(self.setting(case, stop));
        let last = case.blow.map(|blow| blow.signal.value.number);
        let chosen = last.filter(|last| *last != sig::SIGKILL && self.first.is_none());
        found.extend(chosen.and_then(|last| signal_setting(case, stop, "FinalKillSignal", last)));
        if self.limit == Limit::Abort {
            let aborting = self.abort.or(self.first);
            let number = aborting.map(|signal| signal.value.number);
            found.extend(number.and_then(|it| signal_setting(case, stop, "WatchdogSignal", it)));
        }
        found
    }

    /// How to give it more time.
    pub fn fixes(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<Fix> {
        let Some(last) = case.blow.map(|blow| name(blow.signal)) else { return Vec::new() };
        let at = stop.at();
        match (self.limit, self.abort) {
            (Limit::Stop, _) => vec![fixes::stop_timeout(&at, &last)],
            (Limit::Abort, None) => vec![fixes::abort_timeout(&at, &last)],
            (Limit::Abort, Some(abort)) => {
                vec![fixes::stop_timeout(&at, &name(abort)), fixes::abort_timeout(&at, &last)]
            }
        }
    }

    /// How it reads: ` It had not ended 90 s after SIGTERM, so SIGKILL followed (TimeoutStopSec=1min 30s, …).`
    pub fn clause(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Option<String> {
        let last = signal_name(case.blow?.signal.value.number);
        let limit = in_brackets(self.setting(case, stop));
        Some(match (self.first, self.abort, self.waited(case)) {
            (Some(first), Some(abort), Some(waited)) => format!(
                " It had not ended {} after {}, so {} followed{}, nor {waited} after that, so {last} did{limit}.",
                span_between(first, abort),
                name(first),
                name(abort),
                in_brackets(timeout_setting(case, stop)),
            ),
            (Some(first), None, Some(waited)) => {
                format!(
                    " It had not ended {waited} after {}, so {last} followed{limit}.",
                    name(first)
                )
            }
            _ => format!(
                " The unit's main process had not ended in the time that it had to stop, so {last} went to \
                 everything in the unit{limit}."
            ),
        })
    }

    /// That it hung, in the middle of a sentence: `had not ended 90 s after SIGTERM (TimeoutStopSec=…)`
    pub fn hung(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> String {
        let waited = self.waited(case).unwrap_or_default();
        let limit = in_brackets(self.setting(case, stop));
        let first = self.first.unwrap_or(stop.first);
        match self.abort {
            Some(abort) => format!(
                "had not ended {} after {}{}, nor {waited} after {}{limit}",
                span_between(first, abort),
                name(first),
                in_brackets(timeout_setting(case, stop)),
                name(abort),
            ),
            None => format!("had not ended {waited} after {}{limit}", name(first)),
        }
    }

    fn links(&self, case: &Case<'a>, stop: &UnitStop<'a>) -> Vec<Link> {
        let Some(blow) = case.blow else { return Vec::new() };
        let asked = [self.first, self.abort].into_iter().flatten();
        let mut links: Vec<Link> =
            asked.map(|signal| case.signal_link(signal, mechanism::of(&signal.value))).collect();
        let waited = self.waited(case);
        match self.said {
            Some(line) => {
                let later = waited.map(|waited| format!(", {waited} later")).unwrap_or_default();
                let text =
                    format!("systemd logged {}{later}", words::quotation(&line.value.message));
                let link = case.link(line.at, LinkEvent::Timeout, line.source, None, text);
                links.push(link.before(blow.signal.at));
            }
            None => {
                let waited = waited.unwrap_or_default();
                let which = if self.abort.is_some() { "second" } else { "first" };
                let text = format!("{} had not ended {waited} after the {which} signal", stop.unit);
                let at = blow.signal.at;
                let mut link = case.link(at, LinkEvent::Timeout, Source::Kernel, None, text);
                link.evidence = Grade::Inferred;
                links.push(link);
            }
        }
        links
    }
}

fn name(signal: &SeenSignal) -> String {
    signal_name(signal.value.number)
}

fn span_between(first: &SeenSignal, second: &SeenSignal) -> String {
    words::span(second.ns().saturating_sub(first.ns()))
}

/// ` (TimeoutStopSec=1, set in FILE:LINE)`; empty where the setting is unknown.
fn in_brackets(setting: Option<DecidingSetting>) -> String {
    setting.map(|setting| format!(" ({})", cited(&setting))).unwrap_or_default()
}

/// How much earlier than its limit a time-out may seem to come.
const SLACK: u64 = 50 * MS;

/// The shortest time after which the manager resorts to more than asking, nanoseconds, as it says itself.
fn limit_ns(stop: &UnitStop<'_>) -> Option<u64> {
    let micros = |name: &str| stop.history?.now.get(name)?.as_u64();
    let limits = ["TimeoutStopUSec", "TimeoutAbortUSec"].map(micros);
    limits.into_iter().flatten().min().map(|micros| micros.saturating_mul(1_000))
}

/// Whether the unit was being aborted when its time ran out: by what the manager logged, else by the state in which it
/// last was.
fn is_aborted(stop: &UnitStop<'_>, said: Option<&Seen<JournalLine>>, struck_ns: u64) -> bool {
    const STATES: [&str; 2] = ["stop-watchdog", "final-watchdog"];
    if let Some(line) = said {
        return STATES.iter().any(|state| line.value.message.contains(&format!("'{state}'")));
    }
    let changes = stop.history.into_iter().flat_map(|history| history.changes.iter().rev());
    let mut states = changes
        .filter(|change| change.ns() < struck_ns)
        .filter_map(|change| change.value.get("SubState")?.as_str());
    states.next().is_some_and(|state| STATES.contains(&state))
}

/// The manager's last signal to the victim between its first one and the deciding one, where that has another number:
/// it was to abort what the first had not ended.
fn aborting_signal<'a>(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<&'a SeenSignal> {
    let blow = case.blow?;
    let plain = [stop.first.value.number, blow.signal.value.number, sig::SIGCONT, sig::SIGHUP];
    case.world.signals_to(case.victim).iter().rev().find(|signal| {
        signal.value.sender.id == blow.signal.value.sender.id
            && (stop.first.ns()..blow.signal.ns()).contains(&signal.ns())
            && !plain.contains(&signal.value.number)
    })
}

/// This setting, where it has a unit that takes too long aborted.
fn aborts(case: &Case<'_>, stop: &UnitStop<'_>, name: &str) -> Option<DecidingSetting> {
    unit_setting(case, stop, name, name).filter(|mode| mode.value == "abort")
}

/// A stop of the victim's unit that was under way, and had not ended it, when something else did.
#[derive(Debug)]
pub struct Hanging<'a> {
    /// What had asked the victim to end.
    first: &'a SeenSignal,
    job: &'a Seen<Job>,
    request: Option<Request<'a>>,
}

impl<'a> Hanging<'a> {
    /// Where its manager had asked the victim to end for a job that was still there; `blow` was not of that stop's
    /// making.
    pub fn of(case: &Case<'a>) -> Option<Self> {
        let blow = case.blow?;
        let (manager, unit) = case.unit()?;
        let struck_ns = blow.signal.ns();
        let first = case.world.signals_to(case.victim).iter().find(|signal| {
            signal.ns() < struck_ns
                && signal.value.number != sig::SIGCONT
                && manager_of(&signal.value.sender) == Some(manager)
        })?;
        let job = stop_job(case.world, manager, unit, struck_ns, case.victim.start_ns)?;
        // The signal was of this job, as far as is known.
        let of_job = job.ns() <= first.ns().saturating_add(BUS_LAG);
        let ordered_ns = job.ns().min(first.ns());
        let request = Request::for_job(case, Wish::Stop, job, ordered_ns);
        of_job.then_some(Self { first, job, request })
    }

    /// How it reads, after the story of what did end it.
    pub fn clause(&self, case: &Case<'_>) -> String {
        let Job { manager, unit, id, .. } = &self.job.value;
        let signal = signal_name(self.first.value.number);
        let waited = words::span(case.struck_ns().saturating_sub(self.first.ns()));
        let by = manager::name_of(case.world, *manager);
        let who = self.request.and_then(|request| request.sentence(case));
        let who = who.map(|who| format!(": {who}")).unwrap_or_default();
        format!(
            " {by} was stopping {unit} meanwhile (job {id}{who}), and {signal} had not ended it in {waited}."
        )
    }

    /// The request, the job and the signal.
    pub fn links(&self, case: &Case<'a>) -> Vec<Link> {
        let job = job_link_before(case, self.job, self.first.at);
        let signal = case.signal_link(self.first, mechanism::of(&self.first.value));
        let asked = self.request.iter().flat_map(|request| request.links(case, job.at));
        asked.chain([job.clone(), signal]).collect()
    }
}

/// The links of a stop that took too long; none where it did not.
pub fn links<'a>(case: &Case<'a>, stop: &UnitStop<'a>) -> Vec<Link> {
    Overrun::of(case, stop).map(|overrun| overrun.links(case, stop)).unwrap_or_default()
}

/// A setting by which this process of the unit got another signal than the one that asks it to end.
#[derive(Debug)]
pub enum Choice {
    /// `KillMode=mixed`: only the main process is asked, the others are killed when it has ended.
    Mixed(DecidingSetting),
    /// `SendSIGHUP=yes`: SIGHUP comes right after the signal that asks, which did not end it.
    Hangup(DecidingSetting),
}

impl Choice {
    /// Where the deciding signal is such a one.
    pub fn of(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Self> {
        let number = case.blow.filter(|_| stop.by_command.is_none())?.signal.value.number;
        let first = stop.first.value.number;
        if number == sig::SIGKILL && first == sig::SIGKILL {
            stop.main_end.filter(|main| main.value.task.id != case.victim)?;
            let mode = unit_setting(case, stop, "KillMode", "KillMode")?;
            return (mode.value == "mixed").then_some(Self::Mixed(mode));
        }
        if number == sig::SIGHUP && first != sig::SIGHUP {
            let hangup = unit_setting(case, stop, "SendSIGHUP", "SendSIGHUP")?;
            return is_true(&hangup.value).then_some(Self::Hangup(hangup));
        }
        None
    }

    /// The setting.
    pub const fn setting(&self) -> &DecidingSetting {
        match self {
            Self::Mixed(setting) | Self::Hangup(setting) => setting,
        }
    }

    /// What had happened before that signal: the end of the main process.
    pub fn links<'a>(&self, case: &Case<'a>, stop: &UnitStop<'a>) -> Vec<Link> {
        let main = stop.main_end.filter(|_| matches!(self, Self::Mixed(_)));
        let end = main.and_then(|main| End::of(case, main.value.task.id));
        end.map(|end| end.links(case, stop.first.at)).unwrap_or_default()
    }

    /// How it reads, after the story of the stop.
    pub fn clause(&self, stop: &UnitStop<'_>) -> String {
        match self {
            Self::Mixed(setting) => format!(
                " Of {} only the main process is asked to end ({}); when it had, SIGKILL went to the rest.",
                stop.unit,
                cited(setting)
            ),
            Self::Hangup(setting) => format!(
                " {} had not ended it, SIGHUP right after that did ({}).",
                signal_name(stop.first.value.number),
                cited(setting)
            ),
        }
    }
}

/// What had asked the victim to end before it did so in another way: a stop of its unit, and the manager's signal.
#[derive(Debug)]
pub struct AskedToEnd<'a> {
    unit: &'a str,
    job: &'a Seen<Job>,
    signal: &'a SeenSignal,
    request: Option<Request<'a>>,
}

impl<'a> AskedToEnd<'a> {
    /// The stop that was under way when the victim struck itself.
    pub fn before(case: &'a Case<'a>) -> Option<Self> {
        let (manager, unit) = case.unit()?;
        let struck_ns = case.struck_ns();
        let job = stop_job(case.world, manager, unit, struck_ns, case.victim.start_ns)?;
        // The bus is heard a moment late.
        let of_stop = |signal: &&SeenSignal| {
            manager_of(&signal.value.sender) == Some(manager)
                && signal.value.number != sig::SIGCONT
                && signal.ns() <= struck_ns
                && signal.ns() + BUS_LAG >= job.ns()
        };
        let signal = case.world.signals_to(case.victim).iter().find(of_stop)?;
        let at_ns = job.ns().min(signal.ns());
        let request = Request::for_job(case, Wish::Stop, job, at_ns);
        Some(Self { unit, job, signal, request })
    }

    /// The circumstances as a sentence, after the story.
    pub fn clause(&self, case: &Case<'_>) -> String {
        let manager = words::name_pid(&case.task(&self.signal.value.sender));
        let waited = words::span(case.struck_ns().saturating_sub(self.signal.ns()));
        let asked = self.request.and_then(|request| request.sentence(case));
        let asked = asked.map(|asked| format!(" ({asked})")).unwrap_or_default();
        format!(
            " {waited} before, {manager} had sent it {} to stop {}{asked}.",
            signal_name(self.signal.value.number),
            self.unit
        )
    }

    /// What led to that signal, and the signal.
    pub fn links(&self, case: &Case<'a>) -> Vec<Link> {
        let effect = self.signal.at;
        let mut links = self.request.map(|asked| asked.links(case, effect)).unwrap_or_default();
        links.push(job_link_before(case, self.job, effect));
        links.push(case.signal_link(self.signal, mechanism::of(&self.signal.value)));
        links
    }
}

/// A signal that the victim had got and did not end by.
#[derive(Clone, Copy, Debug)]
pub struct Unheeded<'a>(&'a SeenSignal);

impl<'a> Unheeded<'a> {
    /// The last one that asks for anything, from that time on.
    pub fn since(case: &Case<'a>, since_ns: u64) -> Option<Self> {
        let mut signals = case.world.signals_to(case.victim).iter().rev();
        let asks = |signal: &&SeenSignal| {
            (since_ns..=case.exit.ns()).contains(&signal.ns())
                && signal.value.number != 0
                && signal.value.result != SignalResult::Lost
                && !patience::is_everyday(signal.value.number)
        };
        signals.find(asks).map(Self)
    }

    /// How it reads: `SIGTERM from systemd[1], which it had got 300 ms before, it ignored`
    pub fn clause(&self, case: &Case<'_>) -> String {
        let sent = &self.0.value;
        let number = sent.number;
        let how = match sent.result {
            SignalResult::Ignored => "ignored",
            _ if case.exit.value.pending.contains(&number) => "held up",
            _ if patience::is_caught(sent) => "caught, and went on",
            _ => "did not end by",
        };
        format!(
            "{} from {}, which it had got {} before, it {how}",
            signal_name(number),
            signals::from(case.world, sent),
            words::span(case.exit.ns().saturating_sub(self.0.ns()))
        )
    }
}

/// What may have told a process that its unit was being stopped, where no signal made it end.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A process of the unit that the stop had ended right before: its child, or one at the other end of a pipe or socket.
    End {
        /// That end.
        end: End<'a>,
        /// The victim was its parent.
        child: bool,
    },
    /// What the unit runs to be stopped.
    Command(DecidingSetting),
}

impl<'a> Notice<'a> {
    /// For the `job` that was stopping the victim's unit. What did not heed a signal of it, only waits for its children and
    /// for what a main process is asked.
    pub fn of(case: &Case<'a>, unit: &str, job: &Seen<Job>, unheeded: bool) -> Option<Self> {
        let ends = Self::end(case, unit, job, unheeded);
        let is_main = || {
            let mut ran = units_that_ran(case.world, case.victim, case.exit.ns());
            ran.any(|(_, main_of)| main_of == unit)
        };
        ends.or_else(|| {
            let command = case.unit_setting(job.value.manager, unit, "ExecStop");
            let command = command.filter(|it| it.file.is_some() && !it.value.is_empty());
            command.filter(|_| !unheeded || is_main()).map(Self::Command)
        })
    }

    fn end(case: &Case<'a>, unit: &str, job: &Seen<Job>, unheeded: bool) -> Option<Self> {
        /// What is later than that has other reasons.
        const AT_ONCE: u64 = S;
        let manager = job.value.manager;
        let ended_ns = case.exit.ns();
        let is_stopped = |task: &Task| {
            case.world.signals_to(task.id).iter().any(|signal| {
                manager_of(&signal.value.sender) == Some(manager)
                    && signal.ns() + BUS_LAG >= job.ns()
            })
        };
        let is_child = |task: &Task| task.ppid == case.victim.pid;
        let exits = case.world.exits.iter().rev().filter(|exit| {
            let task = &exit.value.task;
            task.id != case.victim
                && exit.ns() <= ended_ns
                && exit.ns() + AT_ONCE >= ended_ns
                && (!unheeded || is_child(task))
                && lived_in(case, task, unit)
                && is_stopped(task)
        });
        let exits: Vec<_> = exits.collect();
        let child = exits.iter().find(|exit| is_child(&exit.value.task));
        let exit = child.or_else(|| exits.first())?;
        let end = End::of(case, exit.value.task.id)?;
        Some(Self::End { end, child: child.is_some() })
    }

    /// How it reads: `its child sleep[5] was killed by …, 3 ms before`
    pub fn clause(&self, case: &Case<'_>) -> String {
        match self {
            Self::End { end, child } => format!(
                "{} had ended {} before ({})",
                if *child { "its child" } else { "another process of the unit" },
                words::span(case.exit.ns().saturating_sub(end.ns())),
                end.sentence(case)
            ),
            Self::Command(line) => {
                format!("what the unit runs to be stopped ({}) may have told it", cited(line))
            }
        }
    }

    /// The end of the other process.
    pub fn links(&self, case: &Case<'a>) -> Vec<Link> {
        match self {
            Self::End { end, .. } => end.links(case, case.exit.at),
            Self::Command(_) => Vec::new(),
        }
    }
}

/// A boolean as systemd reads it (`parse_boolean`).
pub fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "yes" | "true" | "on" | "1" | "y" | "t")
}

/// What the unit's own settings had to do with how it was stopped: the signals that are not the usual ones,
/// the command of `ExecStop=`.
pub fn settings(case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<DecidingSetting> {
    if let Some(command) = &stop.by_command {
        return command.line.iter().cloned().collect();
    }
    let mut found = Vec::new();
    let first = stop.first.value.number;
    if first != sig::SIGTERM {
        let restarts = stop.job.and_then(|job| job_type(case.world, job)) == Some("restart");
        let names: &[&str] = if restarts {
            &["RestartKillSignal", "KillSignal", "WatchdogSignal"]
        } else {
            &["KillSignal", "WatchdogSignal"]
        };
        found.extend(names.iter().find_map(|name| signal_setting(case, stop, name, first)));
    }
    let last = case.blow.map_or(first, |blow| blow.signal.value.number);
    if stop.escalated && last != sig::SIGKILL {
        found.extend(aborts(case, stop, "TimeoutStopFailureMode"));
        found.extend(signal_setting(case, stop, "WatchdogSignal", last));
        found.extend(signal_setting(case, stop, "FinalKillSignal", last));
    }
    found
}

/// A setting that chose this signal, where a file has it.
pub fn signal_setting(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    name: &str,
    number: u8,
) -> Option<DecidingSetting> {
    let signal = signal_name(number);
    let setting = case.unit_setting(stop.manager, &stop.unit, name)?;
    let means = |value: &str| {
        value == signal || format!("SIG{value}") == signal || value == number.to_string()
    };
    (setting.file.is_some() && means(&setting.value)).then_some(setting)
}

/// The link of the command that the manager ran to stop or reload the unit, where one dealt the blow.
pub fn command_link(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Link> {
    // The job may have been heard of a moment late.
    stop.by_command.as_ref().map(|command| command.link(case, stop.began_ns, stop.first.at))
}

/// `TimeoutStopSec=` of the unit, or the manager's default under its own name.
pub fn timeout_setting(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<DecidingSetting> {
    own_or_default(case, stop, "TimeoutStopSec", "TimeoutStopUSec")
}

/// `TimeoutAbortSec=` of the unit; `TimeoutStopSec=` counts where that is not set.
pub fn abort_timeout_setting(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<DecidingSetting> {
    let micros = |name: &str| stop.history?.now.get(name)?.as_u64();
    let own = case.unit_setting(stop.manager, &stop.unit, "TimeoutAbortSec");
    own.filter(|it| it.file.is_some() && !it.value.is_empty())
        .or_else(|| {
            // The manager's own default for all units.
            let differs = micros("TimeoutAbortUSec") != micros("TimeoutStopUSec");
            differs.then(|| property_setting(stop, "TimeoutAbortUSec")).flatten()
        })
        .or_else(|| timeout_setting(case, stop))
}

/// A setting of the unit: what its files say, else the manager's `Default…=` for all units, else what the
/// manager reports.
pub fn own_or_default(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    name: &str,
    property: &str,
) -> Option<DecidingSetting> {
    let told = |name: &str| case.unit_setting(stop.manager, &stop.unit, name);
    let configured = |name: &str| told(name).filter(|it| it.file.is_some() || it.unread.is_some());
    configured(name)
        .or_else(|| configured(&format!("Default{name}")))
        // Without its file a unit's settings were compared with what the manager has.
        .or_else(|| stop.lost_file.as_ref().and_then(|_| told(name)))
        .or_else(|| property_setting(stop, property))
        .or_else(|| told(name))
}
