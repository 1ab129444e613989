//! What had a service manager run the processes of a unit: somebody's request for a unit made for that, a timer, the
//! failure of another unit.
//!
//! Such a process is the manager's child. Who is behind it is no parent of it, but whoever asked the manager.

use std::net::SocketAddr;

use super::actor::Actor;
use super::case::Case;
use super::links::call_link;
use super::manager::calls::unit_of_call;
use super::manager::is_manager;
use super::manager::main_process::{main_end, service_that_ran};
use super::pulls::{Happening, Pull, pull};
use super::requests::{Request, Wish};
use super::unit_jobs::job_type;
use super::units::job_link;
use super::upstream::End;
use super::verdict::{Link, LinkEvent};
use super::windows::{AT_START, BUS_LAG, ONE_TRANSACTION};
use super::words;
use super::world::{Seen, UnitHistory};
use crate::evidence::{
    BusCall, CgroupOwner, Grade, Job, JournalLine, MS, Manager, Moment, ProcessId, S,
};

/// What had the unit of a process run.
#[derive(Debug)]
pub struct Started {
    /// Who or what.
    pub by: By,
    /// What proves it.
    pub links: Vec<Link>,
}

/// Who or what had a unit run.
#[derive(Debug)]
pub enum By {
    /// Somebody had the manager make this unit and run something in it, as sudo(8) runs something below itself.
    Person {
        /// Who.
        actor: Box<Actor>,
        /// The unit.
        unit: String,
        /// That, or the timer that was made with it.
        through: String,
        /// How well it is proven that this request led to it.
        grade: Grade,
    },
    /// Something had it start a unit that has its own settings, as a clause: `started by rot.timer`.
    Cause(String),
}

impl Started {
    /// What had the unit of a process run. `line`: the process and its parents, nearest first; `at_ns`: when it acted;
    /// `hops`: how many such starts are followed up at most.
    pub fn of(case: &Case<'_>, line: &[ProcessId], at_ns: u64, hops: usize) -> Option<Self> {
        let hops = hops.checked_sub(1)?;
        let run = Run::of(case, line, at_ns)?;
        let history = case.world.unit_of(run.manager, &run.unit);
        // What had triggered an earlier start may still be told of this one, which somebody asked for.
        let timer =
            history.and_then(|history| run.trigger(history)).filter(|_| !run.is_asked_for());
        let own = Some(run.unit.as_str()).filter(|_| !run.is_later());
        let made = own.into_iter().chain(timer.as_ref().map(|(unit, _)| &**unit));
        let by_person = made.filter_map(|unit| run.by_person(unit, hops)).next();
        let by_person = by_person.map(|started| match &timer {
            Some((unit, at)) => run.over_timer(started, unit, *at),
            None => started,
        });
        by_person
            .or_else(|| timer.as_ref().map(|(unit, at)| run.by_trigger(unit, *at)))
            .or_else(|| run.by_job(hops))
            .or_else(|| run.by_connection())
    }

    /// The unit of a process where something had just started it for what it did, by the jobs that were seen.
    pub fn just_begun(case: &Case<'_>, line: &[ProcessId], at_ns: u64) -> Option<String> {
        let run = Run::of(case, line, at_ns)?;
        let has_begun = run.starts().next_back().is_some_and(|job| run.has_just_begun(job));
        has_begun.then_some(run.unit)
    }
}

/// A process that a manager ran for a unit.
struct Run<'c, 'a> {
    case: &'c Case<'a>,
    manager: Manager,
    unit: String,
    /// The process that the manager started.
    first: ProcessId,
    /// When something of it acted.
    at_ns: u64,
}

impl<'c, 'a> Run<'c, 'a> {
    /// The service that a process is part of: by which one its manager says it ran, else by its cgroup. PAM moves what
    /// it opens a session for out of its unit's cgroup.
    fn of(case: &'c Case<'a>, line: &[ProcessId], at_ns: u64) -> Option<Self> {
        let people = &case.world.people;
        let above = line.iter().position(|id| is_manager(case.world, *id))?;
        let first = *line.get(above.checked_sub(1)?)?;
        let cgroup = people.get(first)?.cgroup.as_deref()?;
        let owner = CgroupOwner::of(cgroup);
        let home = owner.innermost_unit();
        let manager = home.map_or(Manager::System, |(manager, _)| manager);
        let placed = home.map(|(_, unit)| unit.to_owned()).filter(|it| it.ends_with(".service"));
        let said = || service_that_ran(case.world, first).filter(|_| line[above].pid == 1);
        let unit = placed.or_else(said)?;
        Some(Self { case, manager, unit, first, at_ns })
    }

    /// When the manager had its process run the first program that was seen: `/proc` counts its start by hundredths of a
    /// second, and so too early.
    fn began_ns(&self) -> u64 {
        let known = self.case.world.people.get(self.first);
        let first = known.and_then(|known| {
            let earlier = known.earlier.iter().filter_map(|program| program.exec_ns);
            earlier.chain(known.exec_ns).min()
        });
        first.unwrap_or(0).min(self.at_ns).max(self.first.start_ns)
    }

    /// The jobs that started the unit until the process was there, oldest first.
    fn starts(&self) -> impl DoubleEndedIterator<Item = &'a Seen<Job>> {
        let until_ns = self.first.start_ns.saturating_add(BUS_LAG);
        self.case.world.jobs.iter().filter(move |job| {
            job.value.manager == self.manager
                && job.value.unit == self.unit
                && job.value.result.is_none()
                && job.ns() <= until_ns
                && matches!(job_type(self.case.world, job), Some("start" | "restart") | None)
                && !self.was_asked_for_later(job)
        })
    }

    /// Whether a job that was heard of when the process was there had been asked for only then: it is no late news.
    fn was_asked_for_later(&self, job: &Seen<Job>) -> bool {
        /// `/proc` counts starts by hundredths of a second.
        const TICK: u64 = 10 * MS;
        let began_ns = self.first.start_ns.saturating_add(TICK);
        let request = || Request::for_job(self.case, Wish::Start, job, job.ns());
        let ran_ns = || request().and_then(|request| request.ran_ns(self.case));
        job.ns() > began_ns && ran_ns().is_some_and(|ran_ns| ran_ns > began_ns)
    }

    /// Whether somebody had asked for this start.
    fn is_asked_for(&self) -> bool {
        let (case, wish) = (self.case, Wish::Start);
        let request = match self.starts().next_back() {
            Some(job) => Request::for_job(case, wish, job, job.ns()),
            None => Request::find(case, wish, self.manager, &self.unit, self.began_ns()),
        };
        request.is_some()
    }

    /// Whether the unit had been started before, or was started by a request of its own: whoever made it did not have this
    /// run of it then.
    fn is_later(&self) -> bool {
        let last = self.starts().next_back().map(|job| job.value.id);
        let asked = self.case.world.calls.iter().any(|call| {
            call.value.bus == self.manager
                && call.value.member != "StartTransientUnit"
                && call.value.job.is_some_and(|job| Some(job) == last)
        });
        asked || self.starts().any(|job| Some(job.value.id) != last)
    }

    /// The timer, socket or path that had started the unit for this run, and when that was heard of.
    fn trigger(&self, history: &UnitHistory) -> Option<(String, Moment)> {
        let told = history.changes.iter().rfind(|change| {
            change.value.contains_key("ActivationDetails")
                && change.ns() <= self.at_ns.saturating_add(BUS_LAG)
        })?;
        // What was said with an earlier start is of an earlier run.
        let started_ns = self.starts().next_back().map_or(self.first.start_ns, Seen::ns);
        if told.ns().saturating_add(ONE_TRANSACTION) < started_ns {
            return None;
        }
        Some((UnitHistory::trigger_in(&told.value)?, told.at))
    }

    /// Somebody had this unit made to run something.
    fn by_person(&self, unit: &str, hops: usize) -> Option<Started> {
        let case = self.case;
        let request = self.made(unit)?;
        let call = request.call;
        let asked_ns = call.map_or(self.first.start_ns, Seen::ns);
        let actor = Actor::within(case, request.process?, asked_ns.min(self.at_ns), hops);
        let grade = request.grade().min(self.manager.grade());
        let links = request.connection_link(case).into_iter();
        // The bus may be heard late; what names the unit came before anything ran in it.
        let links = links.chain(call.map(|call| {
            let begun = call.at.no_later_than(call.at.shifted(self.began_ns()));
            call_link(case, call).before(begun)
        }));
        let by = By::Person {
            actor: Box::new(actor),
            unit: self.unit.clone(),
            through: unit.to_owned(),
            grade,
        };
        Some(Started { by, links: links.collect() })
    }

    /// The request for this unit, which nobody but its maker has a file for.
    fn made(&self, unit: &str) -> Option<Request<'a>> {
        let case = self.case;
        let until_ns = self.first.start_ns.saturating_add(BUS_LAG);
        let call = case.world.calls.iter().rfind(|call| {
            call.value.bus == self.manager
                && call.value.member == "StartTransientUnit"
                && unit_of_call(&call.value).as_deref() == Some(unit)
                && call.ns() <= until_ns
        });
        match call {
            Some(call) if call.value.is_by("org.freedesktop.machine1") => self.shell(call),
            // What a daemon has run it answers for itself.
            Some(call) if call.value.sender.well_known.is_some() => None,
            Some(call) => Some(Request::of_call(case, call, call.value.job)),
            None => Request::for_transient(case, self.manager, unit, self.first),
        }
    }

    /// The request for a shell that machined had this unit made for: the only one that it had not answered yet.
    fn shell(&self, made: &Seen<BusCall>) -> Option<Request<'a>> {
        const OPENING: [&str; 4] =
            ["OpenMachineShell", "OpenMachineLogin", "OpenShell", "OpenLogin"];
        let mut pending = self.case.world.calls.iter().filter(|call| {
            call.value.is_to_machined()
                && OPENING.contains(&call.value.member.as_str())
                && call.ns() <= made.ns()
                && call.value.granted_ns.is_none_or(|granted| granted >= made.ns())
                && call.ns().saturating_add(90 * S) >= made.ns()
        });
        let call = pending.next_back()?;
        pending.next().is_none().then(|| Request::of_call(self.case, call, call.value.job))
    }

    /// The same where the timer that was made with the unit had it run.
    fn over_timer(&self, started: Started, timer: &str, at: Moment) -> Started {
        let Started { mut by, mut links } = started;
        if let By::Person { through, .. } = &mut by {
            timer.clone_into(through);
        }
        links.push(self.trigger_link(timer, at));
        Started { by, links }
    }

    fn by_trigger(&self, trigger: &str, at: Moment) -> Started {
        let by = By::Cause(format!("started by {trigger}"));
        Started { by, links: vec![self.trigger_link(trigger, at)] }
    }

    /// A socket that starts an instance for each connection (`Accept=yes`): its name has both ends.
    fn by_connection(&self) -> Option<Started> {
        let (socket, peer) = connection_of(&self.unit)?;
        // A name that a user has chosen tells nothing.
        if self.manager != Manager::System {
            return None;
        }
        let begun = self.case.exit.at.shifted(self.began_ns());
        let text = format!("{socket} started {} for a connection from {peer}", self.unit);
        let source = crate::evidence::Source::Kernel;
        let mut link = self.case.link(begun, LinkEvent::UnitState, source, None, text);
        link.evidence = Grade::Inferred;
        let clause = format!("started by {socket}, it seems, for a connection from {peer}");
        Some(Started { by: By::Cause(clause), links: vec![link] })
    }

    fn trigger_link(&self, trigger: &str, at: Moment) -> Link {
        let text = format!("{trigger} started {}", self.unit);
        let source = crate::evidence::Source::Bus;
        let link = self.case.link(at, LinkEvent::UnitState, source, None, text);
        link.said_over(self.manager).before(at.shifted(self.began_ns()))
    }

    /// What the job that started the unit was made for.
    fn by_job(&self, hops: usize) -> Option<Started> {
        let case = self.case;
        let job = self.starts().next_back()?;
        let begun = job.at.no_later_than(job.at.shifted(self.began_ns()));
        // Who asked for this very unit just before is likelier than a unit of which it is not known what it triggers.
        let of_job = |request: &Request<'_>| {
            let just_ran = |ran: u64| ran.saturating_add(ONE_TRANSACTION) >= job.ns();
            request.call.is_some_and(|call| call.value.job == Some(job.value.id))
                || request.ran_ns(case).is_some_and(just_ran)
        };
        let request = Request::for_job(case, Wish::Start, job, job.ns());
        if !request.as_ref().is_some_and(of_job)
            && let Some(failure) = Failure::before(case, job)
        {
            return Some(self.by_failure(&failure, job, hops));
        }
        if !self.has_just_begun(job) {
            return None;
        }
        let Some(request) = request else { return self.by_pull(job, hops) };
        let asked_ns = job.ns().min(self.at_ns);
        let actor = Actor::within(case, request.process?, asked_ns, hops);
        // A unit that was asked for by something in it explains nothing.
        if request.process == Some(self.first) {
            return None;
        }
        let mut links = request.links(case, begun);
        links.push(job_link(case, job).before(begun));
        let by = By::Cause(started_as(&actor, &request));
        Some(Started { by, links })
    }

    /// Whether what the unit did is what that job had started it for.
    fn has_just_begun(&self, job: &Seen<Job>) -> bool {
        job.ns().saturating_add(AT_START) >= self.at_ns
    }

    /// Another unit that was started, and that has this one started along with it: a target, say.
    fn by_pull(&self, job: &Seen<Job>, hops: usize) -> Option<Started> {
        let case = self.case;
        let happening = Happening {
            manager: self.manager,
            unit: &self.unit,
            what: Wish::Start,
            job: job.value.id,
            ns: job.ns(),
            begun_ns: self.began_ns(),
        };
        let history = case.world.unit_of(self.manager, &self.unit);
        let pull = pull(case, happening, history)?;
        let begun = job.at.no_later_than(job.at.shifted(self.began_ns()));
        let (clause, mut links) = self.pulled(&pull, begun, hops);
        links.push(job_link(case, job).before(begun));
        Some(Started { by: By::Cause(clause), links })
    }

    /// What had it started along, as a clause and with its links: `wanted by my.target, which was started as alice ran …`.
    fn pulled(&self, pull: &Pull<'a>, begun: Moment, hops: usize) -> (String, Vec<Link>) {
        let (case, trigger) = (self.case, &pull.trigger);
        let asked_ns = trigger.at.boot_ns.min(self.at_ns);
        let asked = trigger.request.and_then(|request| {
            let actor = Actor::within(case, request.process?, asked_ns, hops);
            let who = format!("which was {}", started_as(&actor, &request));
            Some((who, request.links(case, begun)))
        });
        let (why, mut links) = match (asked, &trigger.because, &trigger.activated_by) {
            (Some(asked), ..) => asked,
            (None, Some(above), _) => self.pulled(above, begun, hops),
            (None, None, Some(other)) => (format!("which was started by {other}"), Vec::new()),
            (None, None, None) => {
                ("which was started then, by whom was not seen".to_owned(), Vec::new())
            }
        };
        links.extend(trigger.job.map(|job| job_link(case, job).before(begun)));
        let words = pull.relation.words.trim_start_matches("is ");
        (format!("{words} {}, {why}", trigger.unit), links)
    }

    fn by_failure(&self, failure: &Failure<'a>, job: &Seen<Job>, hops: usize) -> Started {
        let case = self.case;
        let begun = job.at.no_later_than(job.at.shifted(self.began_ns()));
        let mut links = failure.links(case, begun, hops);
        links.push(job_link(case, job).before(begun));
        let what = format!("started{} by {}", failure.seems(), failure.sentence(case, hops));
        let by = By::Cause(what);
        Started { by, links }
    }
}

/// The socket that a unit was started by for one connection, and its other end, by the unit's name:
/// `ks@0-127.0.0.1:7777-127.0.0.1:50964.service` (`instance_from_socket` in `src/core/socket.c`).
fn connection_of(unit: &str) -> Option<(String, SocketAddr)> {
    let (prefix, instance) = unit.strip_suffix(".service")?.split_once('@')?;
    let mut parts = instance.split('-');
    let (number, local, remote) = (parts.next()?, parts.next()?, parts.next()?);
    let is_it = parts.next().is_none() && number.parse::<u64>().is_ok() && end(local).is_some();
    is_it.then_some((format!("{prefix}.socket"), end(remote)?))
}

/// One end of a connection as such a name has it: an IPv6 address stands there without brackets.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

/// Who had a unit started, as a clause that stands in brackets itself.
fn started_as(actor: &Actor, request: &Request<'_>) -> String {
    let seems = if request.grade() == Grade::Inferred { ", it seems," } else { "" };
    format!("started{seems} as {}", actor.aside())
}

/// A unit that had others started as its own state changed.
#[derive(Debug)]
pub struct Failure<'a> {
    /// The unit.
    pub unit: &'a str,
    setting: &'static str,
    said: &'a Seen<JournalLine>,
    /// The manager says that the other one is what it has started then.
    is_named: bool,
    /// The end of its main process.
    end: Option<End<'a>>,
}

impl<'a> Failure<'a> {
    /// The only unit that logged that it did so right before this job of the system's manager was made, and that the started
    /// one names (`OnFailureOf=`, since systemd 249). Where no names are known: none that was being stopped itself since,
    /// which may be what that job led to; and none where another unit was started first, which it may be that the line is
    /// about.
    pub fn before(case: &Case<'a>, job: &Seen<Job>) -> Option<Self> {
        let Job { manager, unit, .. } = &job.value;
        let history = case.world.unit_of(*manager, unit);
        let history = history.filter(|history| history.has("OnFailureOf"));
        let mut said = case.world.journal.iter().filter_map(|line| {
            let about = line.value.about_unit.as_deref().filter(|about| about != unit)?;
            let is_near =
                line.ns().abs_diff(job.ns()) <= ONE_TRANSACTION && line.value.pid == Some(1);
            let setting = triggers(&line.value.message).filter(|_| is_near)?;
            let [name, named_by] = setting;
            let names = |history: &UnitHistory| history.ever_listed(named_by).contains(&about);
            history.is_none_or(names).then_some((about, name, line))
        });
        let (unit, setting, said) = said.next().filter(|(unit, ..)| {
            *manager == Manager::System && said.all(|(about, ..)| about == *unit)
        })?;
        let is_named = history.is_some();
        // The line may be about a start before this one.
        let is_again = case.world.jobs.iter().any(|other| {
            let Job { manager, unit, id, result, .. } = &other.value;
            let same = (manager, unit) == (&job.value.manager, &job.value.unit);
            same && *id < job.value.id && result.is_none() && other.ns() >= said.ns()
        });
        let is_other = is_again || !is_named && is_otherwise_explained(case, job, unit, said.ns());
        if said.ns() > job.ns() || is_other {
            return None;
        }
        let main = main_end(case.world, *manager, unit, said.ns(), 0, &[case.victim]);
        let end = main.and_then(|main| End::of(case, main.value.task.id));
        Some(Self { unit, setting, said, is_named, end })
    }

    /// `, it seems,` where the manager does not say that it starts the other one.
    pub fn seems(&self) -> &'static str {
        if self.is_named { "" } else { ", it seems," }
    }

    /// In words: `OnFailure= of bad.service: sleep[637] was killed by SIGKILL: …`.
    pub fn sentence(&self, case: &Case<'a>, hops: usize) -> String {
        format!("{} of {}{}", self.setting, self.unit, self.why(case, hops))
    }

    /// What ended its main process, as the end of a sentence; empty where that was not seen.
    pub fn why(&self, case: &Case<'a>, hops: usize) -> String {
        let end = self.end.as_ref().map(|end| format!(": {}", end.sentence_within(case, hops)));
        end.unwrap_or_default()
    }

    /// What ended its main process, and what was logged then; none later than what it led to.
    pub fn links(&self, case: &Case<'a>, effect: Moment, hops: usize) -> Vec<Link> {
        let Self { said, end, .. } = self;
        let text = format!("systemd logged {}", words::quotation(&said.value.message));
        let logged = case.link(said.at, LinkEvent::UnitState, said.source, None, text);
        let ends = end.iter().flat_map(|end| end.links_within(case, effect, hops));
        ends.chain([logged.concluded_before(effect)]).collect()
    }
}

/// Whether a job may have been made for something else than what a unit logged that failed right before: that unit was being
/// stopped, or another was started first.
fn is_otherwise_explained(case: &Case<'_>, job: &Seen<Job>, failed: &str, said_ns: u64) -> bool {
    let same_manager = |other: &&Seen<Job>| {
        other.value.manager == job.value.manager && other.value.result.is_none()
    };
    case.world.jobs.iter().filter(same_manager).any(|other| {
        let kind = job_type(case.world, other);
        let is_start = matches!(kind, Some("start" | "restart") | None);
        let between = other.value.id < job.value.id
            && other.ns() > said_ns
            && other.value.unit != job.value.unit;
        let near = other.ns().abs_diff(job.ns()) <= ONE_TRANSACTION;
        let stopped =
            kind == Some("stop") || kind != Some("start") && other.value.id > job.value.id;
        between && is_start || other.value.unit == failed && near && stopped
    })
}

/// The setting by which a unit starts others as its state changes, where its manager logs that it does
/// (`unit_start_on_failure`), and the property in which those others name it.
fn triggers(message: &str) -> Option<[&'static str; 2]> {
    let settings = [["OnFailure=", "OnFailureOf"], ["OnSuccess=", "OnSuccessOf"]];
    let logs =
        |[name, _]: &[&str; 2]| message.ends_with(&format!(": Triggering {name} dependencies."));
    settings.into_iter().find(logs)
}
