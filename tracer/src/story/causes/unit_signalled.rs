//! Deaths by a signal that a client had a service manager send to a unit: `systemctl kill` and its methods.

use super::{Finding, Fit, Opinion, containers, is_not, logind, unit_remedies};
use crate::evidence::{
    BusCall, Grade, JournalLine, MS, Manager, Mechanism, Process, S, signal_name,
};
use crate::story::case::Case;
use crate::story::links::call_link;
use crate::story::manager::UnitStop;
use crate::story::requests::{Request, Wish};
use crate::story::verdict::{CauseId, Fix, Link, LinkEvent};
use crate::story::windows::BUS_LAG;
use crate::story::world::Seen;
use crate::story::{journal, units, words};

/// `systemctl kill` and its methods.
pub fn killed_by_client(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::SystemctlKill;
    let stop = UnitStop::of(case).filter(|stop| stop.by_command.is_none())?;
    let signal = case.blow?.signal;
    let order = Order::of(case, &stop, signal.value.number)?;
    let who = order.request.and_then(|request| request.sentence(case));
    let by_others = order.is_by_nspawn(case) || order.is_by_machined();
    if (who.is_none() || by_others) && containers::machines_call(case).is_some() {
        // systemd-nspawn itself has its unit killed when it ends (seen on 262), and may be gone before it can be looked at.
        return is_not(ID, "machined had been asked to end the machine");
    }
    if order.is_by_nspawn(case) && containers::unit_stopped(case).is_some() {
        return is_not(ID, "systemd-nspawn had it sent, whose unit or machine was being stopped");
    }
    if who.is_none() && logind::is_asked_by_command(case, &stop) {
        // What it asks PID 1 for may fail, since somebody was gone already, and have reached the victim all the same.
        return is_not(ID, "logind had it sent, which had been asked to (loginctl)");
    }
    let who = who.unwrap_or_else(|| "a client asked for it".to_owned());
    let actor = order.request.and_then(|request| request.actor(case));
    let connection = order.request.and_then(|request| request.connection_link(case));
    let told = order.told(case);
    // A user's manager takes orders of that user, and of nobody else but root.
    let of_system = stop.manager == Manager::System;
    let outside = order.outside(case).filter(|_| of_system);
    let remedy =
        of_system.then(|| unit_remedies::of_act(actor.as_ref(), unit_remedies::MANAGE_UNITS));
    Finding::new(
        ID,
        Fit::Exact,
        order.grade(case, connection.is_some()),
        format!(
            "{} got {} from {}, which passed it on to {}: {who}.",
            case.victim_name(),
            signal_name(signal.value.number),
            stop.manager_name(case),
            order.unit
        ),
    )
    .links(actor.iter().flat_map(|actor| units::command_links(case, actor)))
    .links(connection.map(|link| link.before(signal.at)))
    .links(told)
    .fixes(outside)
    .fixes(remedy.flatten())
    .answer()
}

/// systemd-nspawn, where it had the manager send the deciding signal to its machine, and its call.
pub fn ordered_by_nspawn(case: &Case<'_>) -> Option<(Process, Vec<Link>)> {
    let stop = UnitStop::of(case).filter(|stop| stop.by_command.is_none())?;
    let order = Order::of(case, &stop, case.blow?.signal.value.number)?;
    let nspawn = order.request.and_then(|request| request.process)?;
    let is_it = order.is_by_nspawn(case);
    is_it.then(|| (case.process_at(nspawn, case.struck_ns()), order.told(case)))
}

/// What is known of a client that had a manager send the deciding signal.
struct Order<'a> {
    /// The unit that it was to go to.
    unit: String,
    /// Who asked for it.
    request: Option<Request<'a>>,
    /// That the manager passed it on, as it logged.
    said: Option<&'a Seen<JournalLine>>,
    /// It went to a whole cgroup at once. A stop signals one process after the other (`unit_kill_context`).
    at_once: bool,
}

impl<'a> Order<'a> {
    /// Where the signal, of this number, was no doing of the stop's own.
    fn of(case: &Case<'a>, stop: &UnitStop<'a>, number: u8) -> Option<Self> {
        // A signal to a slice goes to everything in it.
        let slices = if stop.manager == Manager::System { case.units_around() } else { Vec::new() };
        let around: Vec<_> = std::iter::once(stop.unit.clone()).chain(slices).collect();
        let asked = around.iter().find_map(|unit| {
            Some((unit, Request::find(case, Wish::Kill, stop.manager, unit, case.struck_ns())?))
        });
        // A reload by `systemctl kill -s HUP` a moment ago is another story.
        let asked = asked.filter(|(_, request)| request.signal(case).is_none_or(|it| it == number));
        // The signals of a job are near, too.
        let near = if stop.job.is_some() { 100 * MS } else { 2 * S };
        let said = journal::said_for_client(case.world, case.blow?.signal).filter(|line| {
            around.iter().any(|unit| journal::manager_said(&line.value, stop, unit))
                && line.ns().abs_diff(case.struck_ns()) <= near
        });
        let at_once = case.blow_by(Mechanism::CgroupKill).is_some();
        // A command alone proves nothing where a job was under way, or the main process was gone: those have signals of
        // their own. Nor does a call that was heard of only later: it may have been made then.
        let proven = said.is_some() || at_once;
        if stop.main_exit.is_some() && !proven {
            return None;
        }
        let by_call = |request: &Request<'_>| request.call.is_some() && !is_late(case, request);
        // What is called for is sent at once.
        let is_old = |call: &Seen<BusCall>| call.granted_ns() + BUS_LAG < case.struck_ns();
        let asked = asked
            .filter(|(_, it)| !it.call.is_some_and(is_old))
            .filter(|(_, it)| proven || stop.job.is_none() || by_call(it));
        let (unit, request) = asked.unzip();
        let unit = unit.unwrap_or(&stop.unit).clone();
        (proven || request.is_some()).then_some(Self { unit, request, said, at_once })
    }

    /// How well it is proven; `connected`: the kernel saw who asked connect to the manager.
    fn grade(&self, case: &Case<'_>, connected: bool) -> Grade {
        let late = self.request.is_some_and(|request| is_late(case, &request));
        match (self.request.and_then(|request| request.call), self.said) {
            (Some(_), None) if late && !self.at_once => Grade::Inferred,
            (Some(call), _) => call.value.bus.grade(),
            (None, _) if connected => Grade::Observed,
            (None, Some(_)) => Grade::Reported,
            (None, None) => Grade::Inferred,
        }
    }

    /// To have the victim outside of what was signalled, where that was a login session, or all that is a user's.
    fn outside(&self, case: &Case<'_>) -> Option<Fix> {
        let unit = self.unit.as_str();
        let session = unit.strip_prefix("session-").and_then(|rest| rest.strip_suffix(".scope"));
        if let Some(session) = session {
            return Some(logind::outside_session(case, session));
        }
        let of_user =
            unit.starts_with("user@") || unit.starts_with("user-") || unit == "user.slice";
        logind::outside_manager(case).filter(|_| of_user)
    }

    /// Whether root's systemd-nspawn asked: its name alone anybody can take.
    fn is_by_nspawn(&self, case: &Case<'_>) -> bool {
        let process = self.request.and_then(|request| request.process);
        process.map(|id| case.process_at(id, case.struck_ns())).is_some_and(|client| {
            client.comm.as_deref() == Some("systemd-nspawn") && client.uid == Some(0)
        })
    }

    fn is_by_machined(&self) -> bool {
        let call = self.request.and_then(|request| request.call);
        call.is_some_and(|call| call.value.is_by("org.freedesktop.machine1"))
    }

    /// The call, and what the manager logged.
    fn told(&self, case: &Case<'_>) -> Vec<Link> {
        let Some(struck) = case.blow.map(|blow| blow.signal.at) else { return Vec::new() };
        let call = self.request.and_then(|request| request.call).map(|call| {
            let link = call_link(case, call);
            let proven = self.said.is_some() || self.at_once;
            if proven { link.before(struck) } else { link.concluded_before(struck) }
        });
        let said = self.said.map(|line| {
            let text = format!("systemd logged {}", words::quotation(&line.value.message));
            case.link(line.at, LinkEvent::UnitState, line.source, None, text).before(struck)
        });
        call.into_iter().chain(said).collect()
    }
}

/// Whether its call was heard of only when the signal had been sent.
fn is_late(case: &Case<'_>, request: &Request<'_>) -> bool {
    request.call.is_some_and(|call| call.ns() > case.struck_ns())
}
