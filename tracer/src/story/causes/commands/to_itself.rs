//! Signals that a process sent to itself, or to its own process group.

use super::super::{Finding, Fit, Opinion};
use super::failed::REAPED;
use super::{aim, group_aimed_at, sent_by_shell};
use crate::evidence::{Grade, MS, Mechanism, S, sig, signal_name};
use crate::story::case::Case;
use crate::story::clients::Shutdown;
use crate::story::decide::Blow;
use crate::story::relay::own_alarm;
use crate::story::upstream::End;
use crate::story::verdict::CauseId;
use crate::story::world::SeenSignal;
use crate::story::{fixes, words};

/// It sent the signal to itself: perhaps since a time limit of its own was up, to end as its child had, or as its message
/// bus was gone.
pub(super) fn to_itself(case: &Case<'_>, blow: Blow<'_>) -> Option<Opinion> {
    let victim = words::name_pid(&case.victim_process());
    let signal = signal_name(blow.signal.value.number);
    let way = blow.mechanism.words();
    let child = child_ended_alike(case, blow);
    let alarm = own_alarm(case.world, case.victim, blow.signal.ns()).filter(|_| child.is_none());
    let bus = message_bus_gone(case, blow).filter(|_| child.is_none() && alarm.is_none());
    let command = Shutdown::of(case)
        .filter(|_| child.is_none() && alarm.is_none() && blow.signal.value.number != sig::SIGABRT);
    let lead = |ns: u64| words::span(blow.signal.ns().saturating_sub(ns));
    let why = if let Some(command) = &command {
        command.sentence(case)
    } else if let Some(child) = &child {
        format!(" So it seems to end as what it ran had ended: {}.", child.sentence(case))
    } else if let Some(alarm) = alarm {
        let lead = lead(alarm.ns());
        format!(" {lead} before, a timer of its own had run out (SIGALRM), which may be why.")
    } else if let Some(bus) = &bus {
        format!(
            " That may be since its message bus was gone: {} before, {}. Programs of GLib's (GTK, GNOME) end themselves \
             so when they lose that (exit-on-close of GDBus).",
            lead(bus.ns()),
            bus.sentence(case)
        )
    } else {
        String::new()
    };
    let before = own_group_before(case, blow);
    let group = before.and_then(|sent| sent.value.aim()).or_else(|| group_aimed_at(case));
    let what = match group {
        Some(-1) | None => format!("{victim} sent {signal} to itself ({way}).{}", aim(case)),
        Some(group) => to_own_group(case, &format!("{victim} sent {signal}"), group),
    };
    let script = group.is_some_and(|group| group != -1) && sent_by_shell(case);
    let concluded = child.is_some() || bus.is_some() || command.is_some();
    let grade = if concluded { Grade::Inferred } else { Grade::Observed };
    let ends = child.into_iter().chain(bus);
    Finding::new(CauseId::ProcessSignal, Fit::Fallback, grade, format!("{what}{why}"))
        .fixes(script.then(fixes::narrower_script))
        .links(alarm.map(|alarm| case.signal_link(alarm, Mechanism::Timer)))
        .links(command.map(|command| command.link(case)))
        .links(ends.flat_map(|end| end.links(case, blow.signal.at)))
        .answer()
}

/// The same signal, which it had sent to its own process group and caught itself right before: bash, which cleans up first,
/// then ends itself by it (`termsig_handler` in its sig.c).
fn own_group_before<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<&'a SeenSignal> {
    let (number, struck_ns) = (blow.signal.value.number, blow.signal.ns());
    case.world.signals_to(case.victim).iter().rev().find(|sent| {
        sent.value.number == number
            && sent.value.sender.id == case.victim
            && sent.value.aim().is_some_and(|aim| aim <= 0 && aim != -1)
            && sent.ns() < struck_ns
            && sent.ns() + S > struck_ns
    })
}

/// That a process signalled its own process group, and so was hit as well.
fn to_own_group(case: &Case<'_>, who: &str, group: i32) -> String {
    // `kill -15` would be a signal.
    let argument =
        if group == 0 { "0".to_owned() } else { format!("-- -{}", group.unsigned_abs()) };
    let script = if sent_by_shell(case) { ", as scripts often do in a trap on EXIT" } else { "" };
    format!(
        "{who} to its own whole process group, and so to itself and to what it had started there (kill {argument}){script}."
    )
}

/// The end of the user's or the system's message bus right before a process raised SIGTERM itself: `exit-on-close` of
/// GDBus, which is on by default (`on_worker_closed` of gio/gdbusconnection.c).
fn message_bus_gone<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<End<'a>> {
    /// GDBus hears of it at once, by a thread of its own.
    const HEARD: u64 = 200 * MS;
    let raised = matches!(blow.mechanism, Mechanism::Tgkill | Mechanism::Tkill);
    if !raised || blow.signal.value.number != sig::SIGTERM {
        return None;
    }
    let uid = blow.signal.value.sender.uid;
    let exit = case.world.exits.iter().rev().find(|exit| {
        let task = &exit.value.task;
        let is_bus = ["dbus-daemon", "dbus-broker"].contains(&task.comm.as_str());
        // The system's own runs as a user of the system's; a container has another one.
        let is_its = task.uid == uid || task.uid < 1000;
        let near = exit.ns() <= blow.signal.ns() && exit.ns() + HEARD >= blow.signal.ns();
        is_bus && is_its && near && case.task(task).container == case.victim_process().container
    })?;
    End::of(case, exit.value.task.id)
}

/// The child that had been killed by the same signal right before: timeout, sudo and their kind end as what they ran.
pub fn child_ended_alike<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<End<'a>> {
    let exit = case.world.exits.iter().rev().find(|exit| {
        exit.ns() <= blow.signal.ns()
            && exit.ns() + REAPED >= blow.signal.ns()
            && exit.value.killed_by() == Some(blow.signal.value.number)
            && case.world.people.parents(exit.value.task.id).first() == Some(&case.victim)
    })?;
    // What it ended itself it does not end as.
    let end = End::of(case, exit.value.task.id)?;
    end.killer().is_none_or(|killer| killer.id != case.victim).then_some(end)
}
