//! Ends that something from before the trace led to: a stop of the unit that was under way when that was first looked at, a
//! signal that was waiting for the process.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, S, Source, sig, signal_name};
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::manager::began_unseen;
use crate::story::manager::main_process::was_named_main;
use crate::story::requests::{Request, Wish};
use crate::story::unit_command::UnitCommand;
use crate::story::unit_jobs::stop_job;
use crate::story::verdict::{CauseId, LinkEvent, Outcome};
use crate::story::world::SeenSignal;
use crate::story::{decide, fixes, mechanism, relay, units, words};

/// It exited, and no signal since tracing began decided it, but its unit had begun to end before.
pub fn asked_before(case: &Case<'_>) -> Option<Opinion> {
    let Outcome::Exited { status } = case.outcome else { return None };
    if case.blow.is_some() || decide::undecided(case.world, case.exit).is_some() {
        return None;
    }
    let (manager, unit) = case.unit()?;
    let history = case.world.unit_of(manager, unit)?;
    let began = began_unseen(history, case.exit.ns())?;
    // What the stop itself runs ends by itself. It may have been started a moment before the unit's state said so.
    let helps = || {
        let command = UnitCommand::of(case, &case.exit.value.task);
        command.is_some_and(|command| command.setting.starts_with("ExecStop"))
    };
    if case.victim.start_ns >= began.boot_ns || helps() {
        return None;
    }
    let since = words::span(case.exit.ns().saturating_sub(began.boot_ns));
    let job = stop_job(case.world, manager, unit, case.exit.ns(), case.victim.start_ns);
    let request = job.and_then(|job| Request::for_job(case, Wish::Stop, job, case.exit.ns()));
    let who = request.and_then(|request| request.sentence(case));
    let why = match (job, &who) {
        (Some(job), Some(who)) => format!(", by job {}: {who}", job.value.id),
        (Some(job), None) => {
            format!(", by job {}; who had asked for that was not seen", job.value.id)
        }
        (None, _) => "; why was not seen".to_owned(),
    };
    // A stop asks the main process; others may have ended for a reason of their own.
    let is_main = was_named_main(case.world, manager, unit, case.victim);
    let (id, asked) = match job {
        Some(_) if is_main => {
            (CauseId::UnitStopRequested, "what seems to have asked the process to end")
        }
        _ => (CauseId::ExitedByItself, "whether anything had asked the process to end"),
    };
    let text = format!("{unit} was ending already");
    let link = case.link(began, LinkEvent::UnitState, Source::BusProperty, None, text);
    Finding::new(
        id,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} exited with status {status}. {} had been ending for {since} at least{why}. That had begun before killtrace \
             first looked at the unit: {asked} is not in this trace.",
            case.victim_name(),
            words::unit(unit),
        ),
    )
    .links([link.said_over(manager)])
    .links(job.map(|job| units::job_link(case, job)))
    .links(request.iter().flat_map(|request| request.links(case, case.exit.at)))
    .fixes(fixes::look_at_unit(&UnitAt::of(case.world, manager, unit)))
    .gap(format!("what had happened to {unit} before killtrace looked at it first was not seen"))
    .answer()
}

/// A signal that waited for a process when that was first looked at, and whose sending was not seen.
struct Waiting<'a> {
    number: u8,
    /// When it was found waiting: `CLOCK_BOOTTIME`, nanoseconds.
    found_ns: u64,
    /// What had the process, which was stopped, go on, and so let the signal in.
    woken: Option<&'a SeenSignal>,
}

impl<'a> Waiting<'a> {
    /// How long a process may take to tidy up after it was asked to end.
    const TIDIES_WITHIN: u64 = 10 * S;

    fn of(case: &Case<'a>) -> Option<Self> {
        let found = case.world.people.get(case.victim)?.at_first.as_ref()?;
        let signals = || case.world.signals_to(case.victim).iter();
        let was_unseen = |number: u8| {
            let is_it = |seen: &SeenSignal| seen.value.number == number && seen.ns() <= found.ns;
            found.pending.contains(&number) && !signals().any(is_it)
        };
        let number = match case.outcome {
            Outcome::Signaled { .. } => {
                case.exit.value.killed_by().filter(|number| was_unseen(*number))?
            }
            Outcome::Exited { .. } => {
                let never_taken = &case.exit.value.pending;
                // SIGTERM is the plainest.
                let asks = [sig::SIGTERM, sig::SIGINT];
                let mut asking = asks.into_iter();
                asking.find(|number| !never_taken.contains(number) && was_unseen(*number))?
            }
            Outcome::Unknown => return None,
        };
        let woken = signals().find(|seen| {
            seen.value.number == sig::SIGCONT && (found.ns..=case.exit.ns()).contains(&seen.ns())
        });
        let let_in_ns = woken.map_or(found.ns, SeenSignal::ns);
        let is_soon = case.exit.ns().saturating_sub(let_in_ns) < Self::TIDIES_WITHIN;
        let is_killed = matches!(case.outcome, Outcome::Signaled { .. });
        (is_killed || is_soon).then_some(Self { number, found_ns: found.ns, woken })
    }

    /// Who let it in, as a sentence after a space.
    fn let_in(&self, case: &Case<'_>) -> String {
        let Some(woken) = self.woken else { return String::new() };
        let span = words::span(case.exit.ns().saturating_sub(woken.ns()));
        let from = relay::from(case, woken, mechanism::of(&woken.value), "");
        format!(
            " SIGCONT, which lets a stopped process go on, came {span} before its end, from {from}."
        )
    }
}

/// A signal that would end it, or ask it to, was waiting for it when it was first looked at: it had been stopped, say, or held
/// the signal up.
pub fn waited_before(case: &Case<'_>) -> Option<Opinion> {
    if case.blow.is_some() || decide::undecided(case.world, case.exit).is_some() {
        return None;
    }
    let waiting = Waiting::of(case)?;
    let (victim, signal) = (case.victim_name(), signal_name(waiting.number));
    let span = words::span(case.exit.ns().saturating_sub(waiting.found_ns));
    let seems = match case.outcome {
        Outcome::Exited { .. } => ", which seems to be why it ended",
        _ => "",
    };
    let text = format!(
        "{victim} {}. {signal} was waiting for it already when killtrace first looked at it, {span} before its end{seems}; \
         who had sent that was not seen.{}",
        case.outcome.clause(),
        waiting.let_in(case),
    );
    let at = case.exit.at.shifted(waiting.found_ns);
    let told = format!("{signal} was waiting for {victim}");
    Finding::new(CauseId::Unknown, Fit::Program, Grade::Inferred, text)
        .links([case.link(at, LinkEvent::Signal, Source::Proc, None, told)])
        .links(waiting.woken.map(|woken| case.signal_link(woken, mechanism::of(&woken.value))))
        .gap(format!("who sent {signal} to {victim} was not seen: that was before it was traced"))
        .answer()
}
