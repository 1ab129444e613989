//! What PM2 ends: at somebody's request, or by itself.

use super::super::commands::{aim, by_program, dealt, way};
use super::super::{Finding, Fit, Opinion};
use super::with_rights_of;
use crate::evidence::{Grade, MS, S, Task, sig, signal_name};
use crate::story::case::Case;
use crate::story::clients::{first_of, pm2, supervised};
use crate::story::decide::Blow;
use crate::story::relay::{Relay, order_before};
use crate::story::verdict::{CauseId, Fix};
use crate::story::{fixes, words};

/// How much later than that PM2 sends SIGKILL: it looks ten times a second.
const LATE: u64 = S;

/// A variable that PM2 has given to what it runs.
fn variable<'a>(case: &Case<'a>, name: &str) -> Option<&'a str> {
    case.world.people.get(case.victim)?.environment.get(name).map(String::as_str)
}

/// By what name PM2 knows the victim, or by its number: one that can stand in a command.
fn name<'a>(case: &Case<'a>) -> Option<&'a str> {
    let id = variable(case, "pm_id")?;
    let is_number = |id: &&str| !id.is_empty() && id.bytes().all(|it| it.is_ascii_digit());
    let name = variable(case, "name").filter(|name| !name.is_empty() && !name.starts_with('-'));
    name.or_else(|| Some(id).filter(is_number))
}

/// ` as "web"`; empty where that is not known, or it is no PM2.
pub(super) fn called(case: &Case<'_>, sender: &Task) -> String {
    let name = name(case).filter(|_| pm2::is_daemon(&sender.comm));
    name.map(|name| format!(" as {}", words::quotation(name))).unwrap_or_default()
}

/// How long PM2 waits before SIGKILL: what the variable says, else what it has compiled in.
fn patience_ms(case: &Case<'_>) -> Option<u64> {
    variable(case, "kill_timeout")?.parse().ok()
}

/// That it got SIGKILL since it had not ended by the first signal in time, and whose the time is; the verdict tells that one.
pub(super) fn patience(case: &Case<'_>, blow: Blow<'_>) -> String {
    let first = first_of(case, blow.signal);
    let sent = &blow.signal.value;
    if first.ns() == blow.signal.ns() || !pm2::is_daemon(&sent.sender.comm) {
        return String::new();
    }
    let waited = blow.signal.ns().saturating_sub(first.ns());
    let known = patience_ms(case).filter(|ms| {
        let least = ms.saturating_mul(MS);
        (least..=least.saturating_add(LATE)).contains(&waited)
    });
    let whose = match known {
        Some(ms) => format!("kill_timeout, which is {ms} ms for it"),
        None => "kill_timeout: 1600 ms where nothing else is set".to_owned(),
    };
    format!(" PM2 sends SIGKILL to what has not ended in time ({whose}).")
}

/// pm2 as it asks this daemon.
fn command(case: &Case<'_>, daemon: &Task) -> Option<String> {
    let home = pm2::home(case.world, daemon)?;
    let asks = format!("env PM2_HOME={} pm2", fixes::quoted(home));
    Some(with_rights_of(case, daemon, &asks))
}

/// To start it again where it was stopped, to give it more time where that ran out.
pub(super) fn remedies(case: &Case<'_>, daemon: &Task, args: &[&str], escalated: bool) -> Vec<Fix> {
    let Some((name, command)) = name(case).zip(command(case, daemon)) else { return Vec::new() };
    let is_stopped = pm2::verb(args).is_some_and(|(verb, _)| verb == "stop");
    let patience = escalated.then(|| fixes::pm2_patience(&command, name));
    let again = is_stopped.then(|| fixes::pm2_again(&command, name));
    patience.into_iter().chain(again).collect()
}

/// PM2 ended what it runs, and no command that asks for that was seen.
pub fn unasked(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| dealt(case))?;
    let daemon = &blow.signal.value.sender;
    let first = first_of(case, blow.signal);
    let runs_it = case.world.people.parents(case.victim).contains(&daemon.id)
        && variable(case, "pm_id").is_some();
    let told = || order_before(case.world, daemon.id, first.ns(), 100 * MS, &|_| true).is_some();
    if !pm2::is_daemon(&daemon.comm)
        || !runs_it
        || !supervised(case, daemon, first.ns()).is_empty()
        || Relay::of(case, blow).is_some()
        || told()
    {
        return None;
    }
    let log = pm2::home(case.world, daemon).map(|home| format!("{home}/pm2.log"));
    let look = log.as_ref().map(|log| {
        let look = format!("tail -n 50 {}", fixes::quoted(log));
        fixes::pm2_log(&with_rights_of(case, daemon, &look))
    });
    let limit = variable(case, "max_memory_restart").and_then(|it| it.parse().ok());
    let more = limit.zip(name(case).zip(command(case, daemon)));
    let more = more.map(|(_, (name, command)): (u64, _)| fixes::pm2_memory(&command, name));
    let escalated = first.ns() < blow.signal.ns() && blow.signal.value.number == sig::SIGKILL;
    let patience_fix = name(case).zip(command(case, daemon)).filter(|_| escalated);
    let patience_fix = patience_fix.map(|(name, command)| fixes::pm2_patience(&command, name));
    Finding::new(
        CauseId::ProcessSignal,
        Fit::Program,
        Grade::Observed,
        format!(
            "{} got {} from {}, which supervises it{}.{}{}{} No pm2 command that asks for that was seen: {}",
            words::name_pid(&case.victim_process()),
            signal_name(blow.signal.value.number),
            by_program(case, daemon),
            called(case, daemon),
            patience(case, blow),
            aim(case),
            way(case),
            reasons(case, limit),
        ),
    )
    .fixes(look.into_iter().chain(more).chain(patience_fix))
    .gap("why PM2 ended it was not seen: its log says it")
    .answer()
}

/// Why PM2 ends by itself what it runs, as far as that is set for the victim.
fn reasons(case: &Case<'_>, limit: Option<u64>) -> String {
    let set = |name: &str| variable(case, name).filter(|value| !["", "false", "0"].contains(value));
    let memory = limit.map(|bytes| {
        format!(
            "when it uses more memory than {bytes} bytes (max_memory_restart, looked at every 30 s)"
        )
    });
    let watch = set("watch").map(|_| "when a file changes (watch)".to_owned());
    let cron = set("cron_restart")
        .map(|times| format!("at its times (cron_restart, {})", words::quotation(times)));
    let known: Vec<String> = [memory, watch, cron].into_iter().flatten().collect();
    if known.is_empty() {
        return "nothing is known to be set by which PM2 ends it by itself (max_memory_restart, watch, cron_restart), and another \
                program may have asked over PM2's socket."
            .to_owned();
    }
    format!(
        "PM2 is set to restart it by itself {}; or another program asked over PM2's socket.",
        words::list(&known)
    )
}
