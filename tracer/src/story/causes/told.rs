//! Workers that ended of their own accord, as it looks, when their server had been told something: it hands such things on
//! to them over pipes and sockets, which nobody hears.

use super::commands::{by_program, dealt, way};
use super::units::{UNSEEN, asker};
use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Job, Manager, sig, signal_name};
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::manager;
use crate::story::manager::main_process::{lives_in, was_named_main};
use crate::story::relay::{FOLLOWED, Relay};
use crate::story::requests::{Request, Wish};
use crate::story::told::{
    Generation, Told, asks, ended_with_others, hurries, is_by_unit, is_worker,
};
use crate::story::unit_jobs::{reload_of, stop_job};
use crate::story::verdict::{CauseId, DecidingSetting, Outcome};
use crate::story::windows::BUS_LAG;
use crate::story::world::Seen;
use crate::story::{decide, fixes, mechanism, signals, units, words};

/// It ended itself after its parent, whose program it runs, had caught a signal: right after that, or when new workers had been
/// started.
pub fn by_parent(case: &Case<'_>) -> Option<Opinion> {
    let ended = of_its_own_accord(case).filter(|_| is_worker(case))?;
    let recent = Told::parent(case);
    // One that is to end at once since, with all that it has, ends by that.
    let renewed = Generation::after(case)
        .filter(|it| recent.is_none_or(|got| !hurries(got) || got.ns() <= it.got.ns()));
    let got = renewed.as_ref().map(|it| it.got).or(recent)?;
    let reason = Told::why(case, got).reason;
    let parent = words::name_pid(&case.task(&got.value.target));
    let victim = case.victim_name();
    let together = renewed.as_ref().map_or_else(|| ended_with_others(case, got), |it| it.is_known);
    let seems = match &renewed {
        Some(Generation { begun, is_known, .. }) => format!(
            "then started {} while {victim} was there, which it {} to end as soon as its work is done: that is a conclusion",
            match begun {
                1 => "a new worker".to_owned(),
                begun => format!("{begun} new workers"),
            },
            if *is_known { "seems to have told" } else { "may have told" }
        ),
        None if together => "seems to have told it to end: that is a conclusion".to_owned(),
        None => "may have told it to end; as no other of its children was seen to end then, it may as well have ended by \
                 itself"
            .to_owned(),
    };
    let text = format!(
        "{victim} {ended}. {} before, its parent {parent} had got {} from {}, and {seems}, since how processes talk to each \
         other over pipes and sockets is not seen. {}",
        words::span(case.struck_ns().saturating_sub(got.ns())),
        signal_name(got.value.number),
        signals::from(case.world, &got.value),
        reason.explanation
    );
    let id = match reason.id {
        CauseId::ProcessSignal | CauseId::Unknown => CauseId::ExitedByItself,
        // Most programs make something else of that: they open their logs anew, say.
        _ if !together && (renewed.is_some() || !asks(got)) => CauseId::ExitedByItself,
        other => other,
    };
    let mut finding = Finding::new(id, Fit::Circumstance, Grade::Inferred, text)
        .links(reason.links)
        .links([case.signal_link(got, mechanism::of(&got.value))])
        .fixes(reason.fixes);
    finding.settings = reason.settings;
    finding.gaps = reason.gaps;
    finding.answer()
}

/// It ended itself right after its manager had begun to reload its unit: what the unit runs for that may have told it.
pub fn by_reload(case: &Case<'_>) -> Option<Opinion> {
    let ended = of_its_own_accord(case).filter(|_| is_worker(case))?;
    let (manager, unit) = case.unit()?;
    let ended_ns = case.struck_ns();
    let job = reload_of(case.world, manager, unit, ended_ns).filter(|job| {
        job.ns() + FOLLOWED >= ended_ns
            && case.victim.start_ns.saturating_add(BUS_LAG) < job.ns()
            && !was_named_main(case.world, manager, unit, case.victim)
    })?;
    let command = case.unit_setting(manager, unit, "ExecReload");
    let command = command.filter(|it| it.file.is_some() && !it.value.is_empty())?;
    let request = Request::for_job(case, Wish::Reload, job, job.ns());
    let text = format!(
        "{} {ended}. {} before, {} had begun to reload {unit} (job {}), and what that runs to be reloaded ({}) may have \
         told it to end; that the reload led to it is a conclusion: {}.",
        case.victim_name(),
        words::span(ended_ns.saturating_sub(job.ns())),
        manager::name_of(case.world, manager),
        job.value.id,
        units::cited(&command),
        asker(case, request, "the reload")
    );
    let link = units::job_link_before(case, job, case.exit.at);
    let finding = Finding::new(CauseId::UnitReload, Fit::Circumstance, Grade::Inferred, text);
    let finding = if request.is_some() { finding } else { finding.gap(UNSEEN) };
    finding
        .settings([Some(command)])
        .links(request.iter().flat_map(|request| request.links(case, link.at)))
        .links([link])
        .fixes([fixes::reload_of_workers(&UnitAt::of(case.world, manager, unit))])
        .answer()
}

/// Its server ended it while their unit was being stopped or reloaded: what that runs for it may have had the server do so, over
/// a socket, say.
pub fn by_server(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| dealt(case) && !case.is_told())?;
    let sender = &blow.signal.value.sender;
    let (manager, unit) = case.unit()?;
    let is_server = case.world.people.parents(case.victim).contains(&sender.id)
        && lives_in(case.world, sender, manager).as_deref() == Some(unit);
    // What the server had been told by a signal is told with that.
    if !is_server || Relay::of(case, blow).is_some() || is_by_unit(case, blow.signal) {
        return None;
    }
    let (job, wish, command) = server_asked(case, manager, unit)?;
    let (id, what) = match wish {
        Wish::Reload => (CauseId::UnitReload, "reload"),
        _ => (CauseId::UnitStopRequested, "stop"),
    };
    let request = Request::for_job(case, wish, job, job.ns());
    let text = format!(
        "{} got {} from {}.{} {} before, {} had begun to {what} {unit} (job {}), and what that runs for it ({}) may have had \
         {} do so; that the {what} led to it is a conclusion: {}.",
        case.victim_name(),
        signal_name(blow.signal.value.number),
        by_program(case, sender),
        way(case),
        words::span(blow.signal.ns().saturating_sub(job.ns())),
        manager::name_of(case.world, manager),
        job.value.id,
        units::cited(&command),
        words::name_pid(&case.task(sender)),
        asker(case, request, &format!("the {what}"))
    );
    let at = UnitAt::of(case.world, manager, unit);
    let link = units::job_link_before(case, job, blow.signal.at);
    let fixes = match wish {
        Wish::Reload => vec![fixes::reload_of_workers(&at)],
        _ => fixes::look_at_unit(&at).into_iter().collect(),
    };
    let finding = Finding::new(id, Fit::Circumstance, Grade::Inferred, text);
    let finding = if request.is_some() { finding } else { finding.gap(UNSEEN) };
    finding
        .settings([Some(command)])
        .links(request.iter().flat_map(|request| request.links(case, link.at)))
        .links([link])
        .fixes(fixes)
        .answer()
}

/// The job of the victim's unit that was under way, or had just been, for which that has a command in its file, and the command.
fn server_asked<'a>(
    case: &Case<'a>,
    manager: Manager,
    unit: &str,
) -> Option<(&'a Seen<Job>, Wish, DecidingSetting)> {
    let (struck_ns, born_ns) = (case.struck_ns(), case.victim.start_ns);
    let was_there =
        |job: &&Seen<Job>| born_ns.saturating_add(BUS_LAG) < job.ns() && job.ns() <= struck_ns;
    let command = |name: &str| {
        let command = case.unit_setting(manager, unit, name);
        command.filter(|it| it.file.is_some() && !it.value.is_empty())
    };
    let stop = stop_job(case.world, manager, unit, struck_ns, born_ns).filter(was_there);
    let stop = stop.and_then(|job| Some((job, Wish::Stop, command("ExecStop")?)));
    stop.or_else(|| {
        let recent = |job: &&Seen<Job>| was_there(job) && job.ns() + FOLLOWED >= struck_ns;
        let job = reload_of(case.world, manager, unit, struck_ns).filter(recent)?;
        Some((job, Wish::Reload, command("ExecReload")?))
    })
}

/// How it ended, where that was well and no signal of another's doing.
fn of_its_own_accord(case: &Case<'_>) -> Option<String> {
    if case.is_told() || decide::undecided(case.world, case.exit).is_some() {
        return None;
    }
    let Some(blow) = case.blow else {
        // What failed has other reasons.
        let well = matches!(case.outcome, Outcome::Exited { status: 0 });
        return well.then(|| "exited with status 0, and no signal had made it".to_owned());
    };
    // What it had got itself before tells more.
    let own = !blow.mechanism.is_kernels_own()
        && blow.signal.value.sender.id == case.victim
        && Relay::of(case, blow).is_none();
    let number = blow.signal.value.number;
    let asks = matches!(number, sig::SIGTERM | sig::SIGINT | sig::SIGHUP | sig::SIGQUIT)
        || number == sig::SIGKILL;
    (own && asks).then(|| format!("ended itself by {}", signal_name(number)))
}

/// What the parent of one that exited by itself had been told shortly before, as a sentence with a space before it.
pub fn told_parent(case: &Case<'_>) -> Option<String> {
    let got = Told::parent(case).or_else(|| Told::parent_to_end(case))?;
    Some(format!(
        " {} before, its parent {} had caught {} from {}; whether it was told to end then was not seen.",
        words::span(case.struck_ns().saturating_sub(got.ns())),
        words::name_pid(&case.task(&got.value.target)),
        signal_name(got.value.number),
        signals::from(case.world, &got.value)
    ))
}
