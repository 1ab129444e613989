//! What a stop that was under way had to do with an end that was not of its making.

use crate::evidence::{Job, Manager, S, SignalResult, Task, sig, signal_name};
use crate::story::case::Case;
use crate::story::ending::lived_in;
use crate::story::manager::main_process::units_that_ran;
use crate::story::manager::{self, UnitStop, manager_of};
use crate::story::requests::{Request, Wish};
use crate::story::unit_jobs::stop_job;
use crate::story::units::{cited, job_link_before};
use crate::story::upstream::End;
use crate::story::verdict::{DecidingSetting, Link};
use crate::story::windows::BUS_LAG;
use crate::story::world::{Seen, SeenSignal};
use crate::story::{mechanism, patience, signals, words};

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

/// What the service manager of a user, while that was stopped itself, had sent to a process of one of its units: that did
/// not end by it, so that the system's manager had to.
#[derive(Debug)]
pub struct AskedByOwnManager<'a> {
    unit: &'a str,
    manager: Manager,
    signal: &'a SeenSignal,
}

impl<'a> AskedByOwnManager<'a> {
    /// Where the system's manager ended all of the user's, whose time had run out.
    pub fn of(case: &'a Case<'_>, stop: &UnitStop<'_>) -> Option<Self> {
        let (manager, unit) = case.unit_around()?;
        let struck_ns = case.struck_ns();
        let signal = case.world.signals_to(case.victim).iter().find(|signal| {
            (stop.began_ns.saturating_sub(BUS_LAG)..struck_ns).contains(&signal.ns())
                && signal.value.number != sig::SIGCONT
                && manager_of(&signal.value.sender) == Some(manager)
        })?;
        // What is of that manager itself ends with it.
        (manager != stop.manager && unit != "init.scope").then_some(Self { unit, manager, signal })
    }

    /// How it reads, after the story of the stop.
    pub fn clause(&self, case: &Case<'_>) -> String {
        let how = match self.signal.value.result {
            SignalResult::Ignored => "which it ignored",
            _ if patience::is_caught(&self.signal.value) => "which it caught, and went on",
            _ => "which did not end it",
        };
        format!(
            " {} before, {} had sent it {} to stop {}, {how}.",
            words::span(case.struck_ns().saturating_sub(self.signal.ns())),
            manager::name_of(case.world, self.manager),
            signal_name(self.signal.value.number),
            self.unit
        )
    }

    /// The signal.
    pub fn link(&self, case: &Case<'_>) -> Link {
        case.signal_link(self.signal, mechanism::of(&self.signal.value))
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
