//! How a unit is stopped: the settings that choose the signals, the time and the commands for it. What follows where the time
//! runs out is in `overrun`, what a stop has to do with an end of another making in `meanwhile`.

mod command;
mod extended;
mod meanwhile;
mod overrun;

pub use self::command::{FailedStop, LongStop};
pub use self::extended::extended;
pub use self::meanwhile::{AskedByOwnManager, AskedToEnd, Hanging, Notice, Unheeded};
pub use self::overrun::Overrun;
use super::case::Case;
use super::manager::UnitStop;
use super::manager::main_process::was_named_main;
use super::unit_jobs::job_type;
use super::units::{cited, property_setting, unit_setting};
use super::upstream::End;
use super::verdict::{DecidingSetting, Link};
use super::world::UnitHistory;
use crate::evidence::{sig, signal_name};

/// This setting, where it has a unit that takes too long aborted.
fn aborts(case: &Case<'_>, stop: &UnitStop<'_>, name: &str) -> Option<DecidingSetting> {
    unit_setting(case, stop, name, name).filter(|mode| mode.value == "abort")
}

/// A setting by which this process of the unit got another signal than the one that asks it to end.
#[derive(Debug)]
pub enum Choice {
    /// `KillMode=mixed`: only the main process is asked, the others are killed when it has ended.
    Mixed(DecidingSetting),
    /// `KillMode=control-group` that a file says: what the main process had started is asked to end with it.
    Group(DecidingSetting),
    /// `SendSIGHUP=yes`: SIGHUP comes right after the signal that asks, which did not end it.
    Hangup(DecidingSetting),
}

/// Whether its manager has said which process a unit's main one is.
fn knows_main(history: &UnitHistory) -> bool {
    let named = |pid: &serde_json::Value| pid.as_u64().is_some_and(|pid| pid != 0);
    history.changes.iter().any(|change| change.value.get("MainPID").is_some_and(named))
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
        let is_other = case.world.unit_of(stop.manager, &stop.unit).is_some_and(knows_main)
            && !was_named_main(case.world, stop.manager, &stop.unit, case.victim);
        if number == first && is_other {
            let mode = unit_setting(case, stop, "KillMode", "KillMode")?;
            let is_chosen = mode.value == "control-group" && mode.file.is_some();
            // What was started to help with the stop is asked to end for its own time.
            let was_there = case.victim.start_ns < stop.began_ns;
            return (is_chosen && was_there).then_some(Self::Group(mode));
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
            Self::Mixed(setting) | Self::Group(setting) | Self::Hangup(setting) => setting,
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
            Self::Group(setting) => {
                format!(
                    " Whatever {} has started is ended with it ({}).",
                    stop.unit,
                    cited(setting)
                )
            }
            Self::Hangup(setting) => format!(
                " {} had not ended it, SIGHUP right after that did ({}).",
                signal_name(stop.first.value.number),
                cited(setting)
            ),
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

/// A setting that chose this signal, where a file has it, or had when the manager last read it.
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
    let is_chosen = setting.file.is_some() || setting.unread.is_some();
    (is_chosen && means(&setting.value)).then_some(setting)
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
