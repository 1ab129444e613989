//! Why a system, or a user's manager, goes down though nobody asked for it: what was logged of that, and the settings behind it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::targets::is_way;
use crate::evidence::{Job, JournalLine, Manager, ProcessId, S};
use crate::story::case::Case;
use crate::story::fixes::{self, UnitAt};
use crate::story::verdict::{DecidingSetting, Fix, Link, LinkEvent};
use crate::story::windows::ONE_TRANSACTION;
use crate::story::world::{Seen, UnitHistory};
use crate::story::{journal, units, words};

/// What a manager told of a unit at one time.
type Change = Seen<BTreeMap<String, Value>>;

/// Why systemd takes the system down of its own accord (`src/core/emergency-action.c`): `FailureAction=`,
/// `StartLimitAction=`, `JobTimeoutAction=` and their kind; for a signal (`manager_dispatch_signal_fd`); or logind, for a
/// key or the lid (`src/login/logind-button.c`), or when nobody has been active (`manager_dispatch_idle_action`).
pub fn reason_said<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<JournalLine>> {
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
            || journal::from_daemon(&line.value, "systemd-logind")
                && (starts(&line.value, &KEYS)
                    || starts(&line.value, &MAY) && !settings_behind(case, &line.value).is_empty()))
            && line.ns() <= began_ns + S
            && line.ns() + 10 * S >= began_ns
    })
}

pub fn words_of(line: &Seen<JournalLine>) -> String {
    let daemon = line.value.comm.as_deref().unwrap_or("systemd");
    format!("{daemon} logged {}", words::quotation(&line.value.message))
}

/// Signals to PID 1 that take the system down, as it logs them (systemd(1), "Signals").
const SIGNALS: [&str; 6] =
    ["SIGINT", "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5", "SIGRTMIN+6", "SIGRTMIN+7"];

/// What follows the signal in systemd's `Received SIGRTMIN+4 from PID 42 (kill).`, where that takes the system down
/// (`log_received_signal`).
fn signal_said(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("Received ")?;
    let (signal, rest) = rest.trim_end_matches('.').split_once(' ').unwrap_or((rest, ""));
    SIGNALS.contains(&signal.trim_end_matches('.')).then_some(rest)
}

/// Who sent that signal.
pub fn signaller(case: &Case<'_>, line: &Seen<JournalLine>) -> Option<ProcessId> {
    let rest = signal_said(&line.value.message)?.strip_prefix("from PID ")?;
    let pid = rest.split_whitespace().next()?.parse().ok()?;
    let id = case.world.people.at(pid, line.ns())?;
    let known = case.world.people.get(id)?;
    // The pid may have been another's before, and nobody may have looked at who had it now.
    let named = known.comm.as_deref().is_some_and(|comm| rest.contains(&format!("({comm})")));
    let there = known.ended_ns.is_none_or(|ended| ended + S >= line.ns());
    (named && there).then_some(id)
}

const LOGIND: &[&str] = &["logind.conf"];

/// The settings behind what was logged: logind's for a key, the lid or when nobody is active, those of the unit that is
/// named for what systemd does of its own accord (`unit_notify` and `unit_test_start_limit` in `src/core/unit.c`).
pub fn settings_behind(case: &Case<'_>, line: &JournalLine) -> Vec<DecidingSetting> {
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
    let fits = all.first().is_some_and(|first| is_way(&first.value));
    if fits { all } else { Vec::new() }
}

/// What to do about it: the setting behind it, made to do nothing.
pub fn remedy(case: &Case<'_>, line: &JournalLine) -> Option<Fix> {
    let setting = settings_behind(case, line).into_iter().next()?;
    Some(match unit_named(&line.message) {
        Some((unit, _)) => {
            fixes::no_end_action(&unit_at(case, Manager::System, unit), &setting.name)
        }
        None => fixes::no_logind_action(&setting.name),
    })
}

fn unit_at(case: &Case<'_>, manager: Manager, unit: &str) -> UnitAt {
    UnitAt::of(case.world, manager, unit)
}

/// That logind would do so when nobody is active, where it is set so.
pub fn idle_action(case: &Case<'_>) -> Option<String> {
    let setting = case.setting(LOGIND, "IdleAction")?;
    let is_it = is_way(&setting.value);
    is_it.then(|| format!("{}, has it do so when nobody is active", units::cited(&setting)))
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

/// The units by which a manager goes down when their targets are asked for (`systemd-exit.service`, systemd.special(7)):
/// the means, and not why.
const MEANS: [&str; 6] = [
    "systemd-exit.service",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "systemd-halt.service",
    "systemd-kexec.service",
    "systemd-soft-reboot.service",
];

/// A unit that had just ended when everything began to go down, or a job that had timed out, and a setting that has its
/// manager do so then: of `SuccessAction=` nothing is logged.
pub struct EndAction {
    /// The unit.
    at: UnitAt,
    /// What happened to it.
    happened: String,
    /// What has its manager do so.
    pub setting: DecidingSetting,
    /// That it had ended.
    pub link: Link,
}

impl EndAction {
    /// The only such unit that its manager told of when it made this job, and that had no job of its own then.
    pub fn before(case: &Case<'_>, job: &Seen<Job>) -> Option<Self> {
        let ended = case.world.units().filter_map(|((manager, unit), history)| {
            let (change, state) =
                just_ended(history, job).filter(|_| !MEANS.contains(&unit.as_str()))?;
            let failed = state == "failed";
            let setting = end_action(case, *manager, unit, failed)?;
            if *manager != job.value.manager || has_job_after(case, *manager, unit, job) {
                return None;
            }
            let text = format!("{unit} {}", if failed { "failed" } else { "had ended" });
            let link = case.link(change.at, LinkEvent::UnitState, change.source, None, text);
            let at = unit_at(case, *manager, unit);
            let happened = format!("{unit} had just ended");
            Some(Self { at, happened, setting, link: link.said_over(*manager) })
        });
        let mut found = ended.chain(Self::timed_out(case, job));
        found.next().filter(|_| found.next().is_none())
    }

    /// The jobs that had timed out then, of units that have a setting for that.
    fn timed_out<'c>(case: &'c Case<'_>, job: &'c Seen<Job>) -> impl Iterator<Item = Self> + 'c {
        let manager = job.value.manager;
        let removed = case.world.jobs.iter().filter(move |other| {
            other.value.manager == manager
                && other.value.result.as_deref() == Some("timeout")
                && other.ns().abs_diff(job.ns()) <= ONE_TRANSACTION
        });
        removed.filter_map(move |other| {
            let unit = &other.value.unit;
            let set = case.unit_setting(manager, unit, "JobTimeoutAction");
            let setting = set.filter(|it| it.file.is_some() && it.value != "none")?;
            let text = format!("job {} for {unit} timed out", other.value.id);
            let link = case.link(other.at, LinkEvent::Timeout, other.source, None, text);
            let at = unit_at(case, manager, unit);
            let happened = format!("the job for {unit} had just timed out");
            Some(Self { at, happened, setting, link: link.said_over(manager) })
        })
    }

    /// What to do about it.
    pub fn remedy(&self) -> Fix {
        fixes::no_end_action(&self.at, &self.setting.name)
    }

    /// How it reads: `x.service had just ended, which seems to be why (FailureAction=reboot, set in FILE:LINE)`
    pub fn clause(&self) -> String {
        format!("{}, which seems to be why ({})", self.happened, units::cited(&self.setting))
    }
}

/// Whether a line says that a job took too long, without which it was.
pub fn is_of_a_job(line: &JournalLine) -> bool {
    line.message.ends_with(": job timed out")
}

/// The change by which a unit had ended when this job was made, and its state then.
fn just_ended<'a>(history: &'a UnitHistory, job: &Seen<Job>) -> Option<(&'a Change, &'a str)> {
    let mut was_up = false;
    history.changes.iter().find_map(|change| {
        let state = change.value.get("ActiveState")?.as_str()?;
        let is_down = ["inactive", "failed"].contains(&state);
        let just = change.ns().abs_diff(job.ns()) <= ONE_TRANSACTION;
        let ended = is_down && just && (was_up || changed_then(change));
        was_up |= !is_down;
        ended.then_some((change, state))
    })
}

/// Whether the unit's state had changed when its manager told so.
fn changed_then(change: &Change) -> bool {
    let changed_us = change.value.get("StateChangeTimestamp").and_then(Value::as_u64);
    changed_us.is_some_and(|us| {
        let told_us = change.at.time.unix_ns() / 1_000;
        told_us.abs_diff(i128::from(us)) <= u128::from(ONE_TRANSACTION / 1_000)
    })
}

/// Whether a unit got a job later than that one.
fn has_job_after(case: &Case<'_>, manager: Manager, unit: &str, job: &Seen<Job>) -> bool {
    case.world.jobs.iter().any(|other| {
        other.value.manager == manager
            && other.value.unit == unit
            && other.value.id > job.value.id
            && other.value.result.is_none()
    })
}
