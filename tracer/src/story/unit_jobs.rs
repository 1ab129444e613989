//! Which job of a unit was under way when something happened to it, and of which type it was.
//!
//! A unit has one job at a time, and over its bus a manager tells of jobs and states in the order in which they came
//! about (`bus_unit_send_pending_change_signal` in `src/core/dbus-unit.c`). When it told of them is not known: they are
//! read some time after what the kernel saw. So of the jobs that were heard of only afterwards the first may have been
//! there, unless the unit had gone down before it was made.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::journal::from_manager;
use super::manager::began_unseen;
use super::windows::BUS_LAG;
use super::world::{Seen, World};
use crate::evidence::{Job, JournalLine, MS, Manager, S, Source};

/// How much later than its first signal a manager may have logged that it was stopping a unit, nanoseconds: it does
/// so next.
const NEXT: u64 = 50 * MS;

/// What a job is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Looked {
    /// Why a unit was stopped. `born_ns`: when the process that was ended had started.
    Stop {
        /// `CLOCK_BOOTTIME`, nanoseconds.
        born_ns: u64,
    },
    /// Anything else.
    Other,
}

/// The stop or restart job of a unit that was under way at a time. `born_ns`: when the process that was
/// ended had started.
pub fn stop_job<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
    born_ns: u64,
) -> Option<&'a Seen<Job>> {
    under_way(world, manager, unit, at_ns, Looked::Stop { born_ns }, |seen| {
        let kind = job_type(world, seen);
        // A restart's job turns into a start job when the unit has stopped, which may be before it was
        // asked for its type. A start job that ends what had been running before is such a one; what was born while
        // it was being heard of is what it started.
        // One that was there before its unit was looked at has not been told late: it has the type that it was asked for.
        let restarts = kind == Some("start")
            && seen.source != Source::BusProperty
            && born_ns.saturating_add(BUS_LAG) < seen.ns();
        restarts
            || !matches!(
                kind,
                Some("start" | "verify-active" | "reload" | "nop" | "reload-or-start")
            )
    })
}

/// The job that started a unit and was under way at a time.
pub fn start_job<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
) -> Option<&'a Seen<Job>> {
    under_way(world, manager, unit, at_ns, Looked::Other, |seen| {
        !matches!(job_type(world, seen), Some("stop" | "reload" | "nop" | "verify-active"))
    })
}

/// The reload job of a unit that was under way at a time; of a process that had been there before.
pub fn reload_job<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
    born_ns: u64,
) -> Option<&'a Seen<Job>> {
    under_way(world, manager, unit, at_ns, Looked::Other, |seen| {
        matches!(job_type(world, seen), Some("reload" | "reload-or-start")) && born_ns < seen.ns()
    })
}

/// The newest reload job of a unit that had been made by a time, whether or not it was over by then.
pub fn reload_of<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
) -> Option<&'a Seen<Job>> {
    let jobs = told(world, manager, unit);
    let is_reload = |job: &&Told<'a>| {
        job.made_ns <= at_ns
            && matches!(job_type(world, job.seen), Some("reload" | "reload-or-start"))
    };
    jobs.iter().rfind(is_reload).map(|job| job.seen)
}

/// The job of a unit that was under way at a time, of those that `fit`.
fn under_way<'a>(
    world: &'a World,
    manager: Manager,
    unit: &str,
    at_ns: u64,
    looked: Looked,
    fits: impl Fn(&Seen<Job>) -> bool,
) -> Option<&'a Seen<Job>> {
    let jobs = told(world, manager, unit);
    let mut were_there = jobs.iter().filter(|job| job.made_ns <= at_ns && !job.had_ended(at_ns));
    let open = were_there.rfind(|job| !job.was_over(at_ns, looked));
    // What it took the place of had begun the stop, and that goes on.
    let began = |open: &&Told<'_>| {
        let earlier = jobs.iter().filter(|job| job.made_ns < open.made_ns && job.cancelled);
        let mut acted = earlier.filter(|job| {
            !job.was_replaced_unused() && !job.was_over(at_ns, looked) && fits(job.seen)
        });
        acted.next()
    };
    let began = open.as_ref().filter(|_| matches!(looked, Looked::Stop { .. })).and_then(began);
    if let Some(began) = began {
        return Some(began.seen);
    }
    let late = jobs.iter().filter(|job| job.made_ns > at_ns && job.made_ns <= at_ns + BUS_LAG);
    let late = late.filter(|job| job.may_have_been(at_ns, looked));
    let possible: Vec<_> = open.into_iter().chain(late).filter(|job| fits(job.seen)).collect();
    let acted = possible.iter().find(|job| !job.was_replaced_unused());
    acted.or_else(|| possible.first()).map(|job| job.seen)
}

/// Whether a job was there before its manager sent this signal to a process of the unit, and not only, as it seems,
/// told of late: it was heard of before, or the manager logged that it acted on it, or told of it before it told that
/// the unit was going down.
pub fn is_known_before(world: &World, job: &Seen<Job>, at_ns: u64) -> bool {
    let Job { manager, id, unit, .. } = &job.value;
    let Some(told) = told(world, *manager, unit).into_iter().find(|told| told.id == *id) else {
        return false;
    };
    let going_down = || {
        let until_ns = told.made_ns.saturating_add(BUS_LAG);
        let states = told.states((at_ns + 1)..=until_ns);
        states.into_iter().find(|(_, state)| *state != State::Up).map(|(heard_ns, _)| heard_ns)
    };
    told.made_ns <= at_ns
        || told.logged_stopping(at_ns)
        || going_down().is_some_and(|heard_ns| heard_ns > told.made_ns)
}

/// When a job was there at the latest: it was heard of, or its unit had begun to end when that was first looked at, and had
/// the job then.
pub fn made_by_ns(world: &World, job: &Seen<Job>) -> u64 {
    let Job { manager, id, unit, .. } = &job.value;
    let told = told(world, *manager, unit).into_iter().find(|told| told.id == *id);
    told.map_or(job.ns(), |told| told.made_ns.min(job.ns()))
}

/// The job that took the place of this one while the unit was being stopped: the stop goes on, what follows it is another's.
pub fn replacement<'a>(world: &'a World, job: &Seen<Job>, until_ns: u64) -> Option<&'a Seen<Job>> {
    let Job { manager, id, unit, .. } = &job.value;
    let jobs = told(world, *manager, unit);
    let mut later = jobs.iter().skip_while(|told| told.id != *id);
    let replaced = later.next().filter(|told| told.cancelled && told.had_ended(until_ns))?;
    let next = later.next().filter(|next| next.made_ns <= until_ns)?;
    (replaced.ended_ns?.abs_diff(next.made_ns) <= BUS_LAG).then_some(next.seen)
}

/// Whether a job that is known of may have been there at a time.
pub fn may_have_been(world: &World, job: &Seen<Job>, at_ns: u64, looked: Looked) -> bool {
    let Job { manager, id, unit, .. } = &job.value;
    let told = told(world, *manager, unit);
    told.iter().any(|told| {
        told.id == *id
            && (told.made_ns <= at_ns
                || told.made_ns <= at_ns + BUS_LAG && told.may_have_been(at_ns, looked))
    })
}

/// Whether who asked for something of a unit, in that time, and was gone at `at_ns`, had another answer than this job: an
/// earlier one, or none, as this was made only later. A client goes when it has its answer.
pub fn had_other_answer(
    world: &World,
    (manager, unit): (Manager, &str),
    job: u32,
    asked: Range<u64>,
    at_ns: u64,
) -> bool {
    told(world, manager, unit).iter().any(|told| {
        if told.id == job {
            // One that had been there when it was looked for may be much older.
            let was_heard = told.seen.source == Source::Bus;
            return was_heard && asked.end.saturating_add(BUS_LAG) < told.made_ns;
        }
        told.made_ns >= asked.start && !told.cancelled && told.had_ended(at_ns)
    })
}

/// The type of a job by the call that was answered with it.
pub fn type_by_call(world: &World, job: &Seen<Job>) -> Option<&'static str> {
    let asked = world
        .calls
        .iter()
        .find(|call| call.value.bus == job.value.manager && call.value.job == Some(job.value.id))?;
    const KINDS: [(&str, &str); 4] =
        [("Start", "start"), ("Stop", "stop"), ("Restart", "restart"), ("Reload", "reload")];
    // `ReloadOrRestartUnit` may be either.
    let member = asked.value.member.trim_end_matches("WithFlags").trim_end_matches("Replace");
    let member = member.trim_end_matches("Unit");
    KINDS.iter().find(|(method, _)| *method == member).map(|(_, kind)| *kind)
}

/// The type of a job: as it was seen on the bus, else as the manager logged it (a job may be gone
/// before it can be asked).
pub fn job_type<'a>(world: &'a World, job: &'a Seen<Job>) -> Option<&'a str> {
    let by_bus = job.value.job_type.as_deref();
    // A restart's job is a start job by the time it is asked.
    if by_bus.is_some_and(|kind| kind != "start") {
        return by_bus;
    }
    let id = job.value.id.to_string();
    let logged = || {
        let lines = world.journal.iter().filter(|line| {
            line.value.fields.get("JOB_ID") == Some(&id)
                && line.value.about_unit.as_deref() == Some(&job.value.unit)
                && from_manager(&line.value, job.value.manager)
                && line.ns().abs_diff(job.ns()) < 90 * S
        });
        lines.filter_map(|line| line.value.fields.get("JOB_TYPE").map(String::as_str))
    };
    let known = |wanted: &str| logged().find(|kind| *kind == wanted);
    // One job that first stops and then starts; the journal may not have come to the second yet.
    let starts = by_bus.is_some() || known("start").is_some();
    let both = (known("stop").is_some() && starts).then_some("restart");
    known("restart")
        .or(both)
        .or_else(|| known("stop"))
        .or(by_bus)
        .or_else(|| logged().next())
        .or_else(|| type_by_state(world, job))
}

/// The type of a job by what its unit did first while it was there; where that is over, and was seen.
fn type_by_state(world: &World, job: &Seen<Job>) -> Option<&'static str> {
    let Job { manager, id, unit, .. } = &job.value;
    let removed = world.jobs.iter().find(|seen| {
        let it = &seen.value;
        it.result.is_some() && it.id == *id && it.manager == *manager && it.unit == *unit
    })?;
    let mut states = world
        .unit_of(*manager, unit)?
        .changes
        .iter()
        .filter(|change| (job.ns()..=removed.ns()).contains(&change.ns()))
        .filter_map(|change| change.value.get("ActiveState")?.as_str());
    // A start that fails ends in a stop, too.
    let first = states.find(|state| ["activating", "deactivating", "reloading"].contains(state))?;
    Some(match first {
        "activating" => "start",
        "reloading" => "reload",
        _ if states.any(|state| state == "activating") => "restart",
        _ => "stop",
    })
}

/// How a unit is, by what its manager says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It runs, or is being started.
    Up,
    /// It is being stopped, or cleaned up.
    GoingDown,
    /// Nothing of it is left to be stopped.
    Down,
}

impl State {
    /// By the properties that were told; none where they do not say.
    fn of(properties: &BTreeMap<String, Value>) -> Option<Self> {
        let text = |name: &str| properties.get(name).and_then(Value::as_str);
        // A service that waits to be restarted is `activating`, whatever it has been before.
        let waits = text("SubState").is_some_and(|state| state.contains("auto-restart"));
        match text("ActiveState")? {
            "inactive" | "failed" => Some(Self::Down),
            _ if waits => Some(Self::Down),
            "deactivating" => Some(Self::GoingDown),
            _ => Some(Self::Up),
        }
    }
}

/// All that was told of one job.
struct Told<'a> {
    world: &'a World,
    manager: Manager,
    id: u32,
    /// As it was made, with its type where that was learned.
    seen: &'a Seen<Job>,
    /// When it was there at the latest: it was first heard of, or had been there before its unit was looked at.
    made_ns: u64,
    /// When its end was heard of.
    ended_ns: Option<u64>,
    /// It ended since it was cancelled: another took its place.
    cancelled: bool,
}

/// The jobs of a unit in the order in which they were made.
fn told<'a>(world: &'a World, manager: Manager, unit: &str) -> Vec<Told<'a>> {
    let mut all: Vec<Told<'a>> = Vec::new();
    let of_unit = |seen: &&Seen<Job>| seen.value.manager == manager && seen.value.unit == unit;
    for seen in world.jobs.iter().filter(of_unit) {
        let id = seen.value.id;
        let known = all.iter_mut().find(|job| job.id == id && job.seen.value.result.is_none());
        // A job may be told twice: first as it was seen, then with its type.
        match (&seen.value.result, known) {
            (None, Some(job)) => {
                job.made_ns = job.made_ns.min(seen.ns());
                if seen.value.job_type.is_some() || job.seen.source == Source::BusProperty {
                    job.seen = seen;
                }
            }
            (None, None) => {
                let made_ns = seen.ns();
                all.push(Told {
                    world,
                    manager,
                    id,
                    seen,
                    made_ns,
                    ended_ns: None,
                    cancelled: false,
                });
            }
            (Some(_), _) => {}
        }
    }
    // What is looked up of a job may have come to hand when its end had been told.
    for job in &mut all {
        let end = world.jobs.iter().filter(of_unit).find(|seen| {
            seen.value.id == job.id && seen.value.result.is_some() && seen.ns() >= job.made_ns
        });
        job.ended_ns = end.map(Seen::ns);
        job.cancelled = end.is_some_and(|end| end.value.result.as_deref() == Some("canceled"));
    }
    let began = |until_ns| began_unseen(world.unit_of(manager, unit)?, until_ns);
    for job in all.iter_mut().filter(|job| job.seen.source == Source::BusProperty) {
        let looked_ns = job.made_ns.saturating_add(BUS_LAG);
        job.made_ns = began(looked_ns).map_or(job.made_ns, |at| at.boot_ns.min(job.made_ns));
    }
    all.sort_by_key(|job| (job.made_ns, job.id));
    all
}

impl<'a> Told<'a> {
    /// Whether its end had been heard of.
    fn had_ended(&self, at_ns: u64) -> bool {
        self.ended_ns.is_some_and(|ended_ns| ended_ns < at_ns)
    }

    /// Whether another job took its place before its manager had acted on it.
    fn was_replaced_unused(&self) -> bool {
        let Some(ended_ns) = self.ended_ns.filter(|_| self.cancelled) else { return false };
        let states = self.states(self.made_ns..=ended_ns);
        !states.iter().any(|(_, state)| *state != State::Up) && !self.logged_stopping(ended_ns)
    }

    /// Whether what it stops had been stopped: a restart's job goes on as that of the start.
    fn was_over(&self, at_ns: u64, looked: Looked) -> bool {
        let Looked::Stop { .. } = looked else { return false };
        let went_down = || {
            self.states((self.made_ns + 1)..=at_ns).iter().any(|(_, state)| *state == State::Down)
        };
        let logged = self.lines().any(|line| {
            let fields = &line.value.fields;
            let stopped =
                fields.get("JOB_TYPE").is_some_and(|kind| kind == "stop" || kind == "restart");
            stopped && fields.contains_key("JOB_RESULT") && line.ns() <= at_ns
        });
        logged || went_down() || self.next_had_started(at_ns)
    }

    /// Whether the unit had got its next main process.
    fn next_had_started(&self, at_ns: u64) -> bool {
        let history = self.world.unit_of(self.manager, &self.seen.value.unit);
        let changes = history.into_iter().flat_map(|history| &history.changes);
        changes.filter(|change| (self.made_ns..=at_ns).contains(&change.ns())).any(|change| {
            // 0 is none, and also whoever has no number in the tracer's pid namespace.
            let main = change.value.get("MainPID").and_then(Value::as_u64).filter(|pid| *pid != 0);
            let main = main.and_then(|pid| self.world.people.at(u32::try_from(pid).ok()?, at_ns));
            main.is_some_and(|main| main.start_ns > self.made_ns)
        })
    }

    /// Whether it may have been there at a time, though it was heard of only after that.
    fn may_have_been(&self, at_ns: u64, looked: Looked) -> bool {
        let Looked::Stop { born_ns } = looked else { return true };
        if self.logged_stopping(at_ns) {
            return true;
        }
        let states = self.states((at_ns + 1)..=self.made_ns);
        let was_down = states.iter().any(|(_, state)| *state == State::Down);
        let is_down = states.last().is_some_and(|(_, state)| *state == State::Down);
        // What had only just been started may have come up after that, and this was heard of late, too.
        let young = born_ns.saturating_add(BUS_LAG) >= at_ns;
        !is_down && (!was_down || young)
    }

    /// Whether the manager logged that it began to stop the unit for this job, and did so by then.
    fn logged_stopping(&self, at_ns: u64) -> bool {
        self.lines().any(|line| {
            let fields = &line.value.fields;
            fields.get("JOB_TYPE").is_some_and(|kind| kind == "stop")
                && !fields.contains_key("JOB_RESULT")
                && line.ns() <= at_ns + NEXT
        })
    }

    /// What the manager logged of it.
    fn lines(&self) -> impl Iterator<Item = &'a Seen<JournalLine>> {
        let (manager, unit, made_ns) = (self.manager, self.seen.value.unit.as_str(), self.made_ns);
        let id = self.id.to_string();
        self.world.journal.iter().filter(move |line| {
            line.value.about_unit.as_deref() == Some(unit)
                && line.value.fields.get("JOB_ID") == Some(&id)
                && from_manager(&line.value, manager)
                // Numbers come again when the machine has been restarted.
                && line.ns() + BUS_LAG >= made_ns
        })
    }

    /// The states of its unit that were heard of in a span, in order.
    fn states(&self, span: std::ops::RangeInclusive<u64>) -> Vec<(u64, State)> {
        let history = self.world.unit_of(self.manager, &self.seen.value.unit);
        let changes = history.into_iter().flat_map(|history| &history.changes);
        let heard = changes.filter(|change| span.contains(&change.ns()));
        let mut states: Vec<_> =
            heard.filter_map(|change| Some((change.ns(), State::of(&change.value)?))).collect();
        states.sort_by_key(|(heard_ns, _)| *heard_ns);
        states
    }
}
