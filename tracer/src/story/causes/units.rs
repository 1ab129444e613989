//! Deaths by a service manager: why it stopped the unit.

use super::isolation::{concluded_isolation, isolated};
use super::{Finding, Fit, Opinion, containers, is_not, unit_remedies, unit_timeouts};
use crate::evidence::{BusCall, Grade, Job, Manager, Moment, S, Source, sig};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::manager::main_process::main_end;
use crate::story::manager::{self, UnitStop, began_unseen};
use crate::story::pulls::{Happening, pull, starts_before};
use crate::story::requests::{Request, Wish, connection_link, only_connected, was_marked};
use crate::story::stopping::{Notice, Unheeded};
use crate::story::unit_jobs::{job_type, made_by_ns, replacement, stop_job};
use crate::story::verdict::{CauseId, Link, Outcome};
use crate::story::windows::BUS_LAG;
use crate::story::world::Seen;
use crate::story::{fixes, mechanism, units, words};

/// Somebody asked for the stop, the restart or the isolation.
pub fn stop_requested(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::UnitStopRequested;
    let stop = UnitStop::of(case)?;
    if stop.request.is_some_and(|call| call.value.is_by("org.freedesktop.login1")) {
        return None;
    }
    let asked = stop.asked_for(case).and_then(|asked| asked.call);
    let by_machined = asked.is_some_and(|call| call.value.is_by("org.freedesktop.machine1"));
    if by_machined && containers::machines_call(case).is_some() {
        return is_not(ID, "machined had it stopped, which had been asked to end the machine");
    }
    if let Some(because) = unit_timeouts::ran_out(case, &stop) {
        return is_not(ID, because);
    }
    let Some(job) = stop.job else { return without_job(case, &stop) };
    let verb = match job_type(case.world, job) {
        Some("restart" | "try-restart" | "start") => "restarted",
        _ => "stopped",
    };
    let name = stop.manager_name(case);
    let what = match stop.by_command {
        Some(_) => {
            format!("{} {} {name} when that was {verb}", case.victim_name(), case.was_ended())
        }
        None => format!(
            "{} {} {name}, which {verb} {}",
            case.victim_name(),
            case.was_ended(),
            words::unit(&stop.unit)
        ),
    };
    if let Some(request) = stop.asked_for(case) {
        return requested(case, &stop, request, &what)
            .links(units::stop_links(case, &stop))
            .and_told(replaced(case, &stop, job))
            .fixes(unit_remedies::of_request(case, &stop, request, verb == "stopped"))
            .answer();
    }
    let isolation = || concluded_isolation(case, &stop, job, &what);
    isolated(case, &stop, job, &what)
        .or_else(|| manager_stopped(case, &stop, &what))
        .or_else(|| manager_signalled(case, &stop, &what))
        .or_else(|| marked(case, &stop, job, &what))
        .or_else(isolation)
        .or_else(|| {
            let what = format!("{what} by job {}", job.value.id);
            let starts = starts_before(case, Happening::stop(&stop, &stop.unit, job));
            if !starts.is_empty() {
                return perhaps_pulled(case, &stop, &starts, &what);
            }
            let before = job.source == Source::BusProperty;
            let what = if before {
                format!("{what}, which was there before killtrace looked")
            } else {
                what
            };
            unseen(case, &stop, &what)
                .links(units::stop_links(case, &stop))
                .and_told(replaced(case, &stop, job))
                .fixes(fixes::look_at_unit(&stop.at()))
                .answer()
        })
}

/// That another job took the place of the one by which the stop had begun, before it was over: a sentence, and its link.
fn replaced(case: &Case<'_>, stop: &UnitStop<'_>, job: &Seen<Job>) -> Option<(String, Vec<Link>)> {
    let next = replacement(case.world, job, stop.first.ns())?;
    let kind = job_type(case.world, next).unwrap_or("new");
    let request = [Wish::Start, Wish::Stop]
        .iter()
        .find_map(|wish| Request::for_job(case, *wish, next, next.ns())?.sentence(case));
    let who = request.map(|who| format!(": {who}")).unwrap_or_default();
    let text = format!(
        " While it was being stopped a {kind} job ({}) took the place of that one{who}.",
        next.value.id
    );
    Some((text, vec![units::job_link_before(case, next, stop.first.at)]))
}

/// As [`stop_requested`], where the job was not seen: by a command that names the unit, and nothing else that can have
/// ended it.
fn without_job(case: &Case<'_>, stop: &UnitStop<'_>) -> Option<Opinion> {
    let command = stop.asked_for(case).filter(|asked| asked.call.is_none());
    let Some(command) = command.filter(|_| stop.main_exit.is_none()) else {
        let because = || format!("no stop job for {} was seen", stop.unit);
        return stop
            .request
            .is_none()
            .then(because)
            .and_then(|why| is_not(CauseId::UnitStopRequested, why));
    };
    let what = format!(
        "{} {} {}, which stopped {}",
        case.victim_name(),
        case.was_ended(),
        stop.manager_name(case),
        words::unit(&stop.unit)
    );
    requested(case, stop, command, &what)
        .links(units::stop_links(case, stop))
        .gap(format!("the job of {} was not seen", stop.unit))
        .fixes(fixes::look_at_unit(&stop.at()))
        .answer()
}

/// Somebody had whatever was marked for it restarted, as upgrades of packages do. A dependency that was seen tells more.
fn marked(case: &Case<'_>, stop: &UnitStop<'_>, job: &Seen<Job>, what: &str) -> Option<Opinion> {
    // That makes restarts alone.
    if job_type(case.world, job) == Some("stop") {
        return None;
    }
    let request = Request::for_marked(case, stop.manager, stop.began_ns)?;
    let unit = &stop.unit;
    let whether = if was_marked(case, stop.manager, unit, stop.began_ns) {
        format!("{unit} had been marked for that")
    } else {
        format!("that {unit} was is a conclusion")
    };
    let finding = requested(case, stop, request, what);
    let explanation = format!(
        "{} That had whatever was marked for it restarted (systemctl reload-or-restart --marked, or enqueue-marked), and {whether}.",
        finding.explanation
    );
    let grade = finding.grade.min(Grade::Inferred);
    Finding { fit: Fit::Circumstance, grade, explanation, ..finding }
        .links(units::stop_links(case, stop))
        .fixes(unit_remedies::of_request(case, stop, request, false))
        .answer()
}

/// The story of a stop that nobody was seen to ask for, when other units were being started: any of them may conflict with
/// the victim's.
fn perhaps_pulled(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    starts: &[&Seen<Job>],
    what: &str,
) -> Option<Opinion> {
    /// So many are named; the nearer ones are the likelier.
    const NAMED: usize = 3;
    let named = starts.iter().take(NAMED).map(|job| {
        let Job { unit, id, .. } = &job.value;
        let request = Request::for_job(case, Wish::Start, job, stop.began_ns);
        let who = request.and_then(|request| request.sentence(case));
        format!("{unit} (job {id}{})", who.map(|who| format!(": {who}")).unwrap_or_default())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = starts.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!(
        "{what}; why is not known: nobody was seen to ask for it. Right before, there were jobs of other units that may have \
         started them: {named}{more}. What it depends on, or conflicts with, can have led to that."
    );
    let effect = stop.ordered_at();
    let jobs = starts.iter().take(NAMED).map(|job| units::job_link_before(case, job, effect));
    Finding::new(CauseId::Unknown, unasked(stop), Grade::Inferred, text)
        .gap(UNSEEN)
        .links(jobs)
        .links(units::stop_links(case, stop))
        .fixes(fixes::look_at_unit(&stop.at()))
        .answer()
}

/// How specific the story of a stop is that nobody was seen to ask for. That what the unit itself runs for its stop ended it
/// tells more than which program that is.
const fn unasked(stop: &UnitStop<'_>) -> Fit {
    if stop.by_command.is_some() { Fit::Circumstance } else { Fit::Mechanism }
}

/// The story of a request that was not seen, and of nobody whose arguments tell of one. Whoever alone had just
/// spoken to the manager may have made it.
fn unseen(case: &Case<'_>, stop: &UnitStop<'_>, what: &str) -> Finding {
    let possible = only_connected(case, stop.manager, stop.began_ns);
    let text = match possible {
        None => format!("{what}; who asked for it was not seen."),
        Some(seen) => {
            let actor = Actor::behind(case, seen.value.task.id);
            format!(
                "{what}; who asked for it was not seen. Only {} had just connected to systemd's private socket ({}); what \
                 it asked for is not known.",
                words::name_pid(&actor.process),
                actor.sentence()
            )
        }
    };
    let link = possible.map(|seen| connection_link(case, seen).before(stop.ordered_at()));
    Finding::new(CauseId::UnitStopRequested, unasked(stop), Grade::Inferred, text)
        .gap(UNSEEN)
        .links(link)
}

/// The story of a request that was seen.
fn requested(case: &Case<'_>, stop: &UnitStop<'_>, request: Request<'_>, what: &str) -> Finding {
    const ID: CauseId = CauseId::UnitStopRequested;
    let Some(who) = request.sentence(case) else {
        let who = request.call.map(|call| nameless_caller(case, &call.value));
        let who = who.unwrap_or_else(|| "a client".to_owned());
        return Finding::new(
            ID,
            Fit::Exact,
            request.grade().min(stop.job_grade(case)),
            format!("{what}: {who} asked for it over the bus."),
        )
        .gap("which process asked could not be learned from the bus: it was gone too soon, or not one that the bus can be believed of");
    };
    let links = request_links(case, stop, request);
    let parents = request.process.map(|id| case.world.people.parents(id)).unwrap_or_default();
    let itself = if parents.contains(&case.victim) {
        format!(" It was {} itself that had it done.", words::name_pid(&case.victim_process()))
    } else {
        String::new()
    };
    let text = format!("{what}: {who}.{itself}");
    Finding::new(ID, Fit::Exact, request.grade().min(stop.job_grade(case)), text).links(links)
}

/// The links of a request for a stop but for its call, which is told with the stop.
pub(super) fn request_links(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    request: Request<'_>,
) -> Vec<Link> {
    let mut links = request.links(case, stop.first.at);
    let call = request.call.map(|call| units::asking_link(case, call, request.job, stop.first.at));
    links.retain(|link| Some(link) != call.as_ref());
    links
}

/// A caller whose process is not known: its name, else its user.
pub(super) fn nameless_caller(case: &Case<'_>, call: &BusCall) -> String {
    let user = call.sender.uid.map(|uid| format!("a process of {}", case.world.user_name(uid)));
    call.sender.comm.clone().or(user).unwrap_or_else(|| "a client".to_owned())
}

/// The user's whole service manager was stopped, by somebody else than logind, or what that depends on was.
fn manager_stopped(case: &Case<'_>, stop: &UnitStop<'_>, what: &str) -> Option<Opinion> {
    let Manager::User(uid) = stop.manager else { return None };
    let own = format!("user@{uid}.service");
    let job = stop_job(case.world, Manager::System, &own, stop.first.ns(), u64::MAX)?;
    let asked_for = |job| Some((job, Request::for_job(case, Wish::Stop, job, job.ns())?));
    // What it is in takes it along, whatever is known of its dependencies.
    let slices = [format!("user-{uid}.slice"), "user.slice".to_owned()];
    let with_slice = || {
        let ns = stop.first.ns();
        let mut jobs = slices
            .iter()
            .filter_map(|slice| stop_job(case.world, Manager::System, slice, ns, u64::MAX));
        jobs.find_map(asked_for)
    };
    let (asked, request) =
        asked_for(job).or_else(with_slice).or_else(|| pulled_by(case, stop, &own, job))?;
    // Why logind does so is a story of its own.
    if request.call.is_some_and(|call| super::logind::from_logind(case, &call.value)) {
        return None;
    }
    let who = request.sentence(case)?;
    let effect = stop.ordered_at();
    let above = units::job_link_before(case, job, effect);
    let other = (asked.value.id != job.value.id).then_some(asked);
    let with = other.map(|other| format!(" with {}, which it depends on", other.value.unit));
    let other_link = other.map(|other| units::job_link_before(case, other, above.at));
    let grade = if other.is_some() { Grade::Inferred } else { request.grade() };
    let text =
        format!("{what} since it was itself stopped ({own}){}: {who}.", with.unwrap_or_default());
    Finding::new(CauseId::UnitStopRequested, Fit::Exact, request.grade().min(grade), text)
        .links(request.links(case, other_link.as_ref().map_or(above.at, |link| link.at)))
        .links(other_link)
        .links([above])
        .links(units::stop_links(case, stop))
        .fixes(super::logind::outside_manager(case))
        .fixes(unit_remedies::of_act(request.actor(case).as_ref(), unit_remedies::MANAGE_UNITS))
        .answer()
}

/// The job that somebody asked for by which a user's manager, which is this unit, was stopped, too.
fn pulled_by<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'a>,
    unit: &str,
    job: &'a Seen<Job>,
) -> Option<(&'a Seen<Job>, Request<'a>)> {
    let manager = Manager::System;
    let (ns, begun_ns) = (job.ns(), stop.first.ns());
    let happening = Happening { manager, unit, what: Wish::Stop, job: job.value.id, ns, begun_ns };
    let mut trigger = pull(case, happening, case.world.unit_of(manager, unit))?.trigger;
    while let Some(because) = trigger.because.take() {
        trigger = because.trigger;
    }
    Some((trigger.job?, trigger.request?))
}

/// What a signal has a user's service manager do to its units (systemd(1), "Signals").
fn order_by_signal(number: u8) -> Option<&'static str> {
    // SIGRTMIN of glibc; the kernel's two before it are the threads library's.
    const SIGRTMIN: u8 = 34;
    match number {
        sig::SIGTERM | sig::SIGINT => Some("to stop all its units and exit"),
        SIGRTMIN => Some("to isolate default.target"),
        number if number == SIGRTMIN + 1 => Some("to isolate rescue.target"),
        number if number == SIGRTMIN + 2 => Some("to isolate emergency.target"),
        _ => None,
    }
}

/// The user's service manager had been told by a signal, which PID 1 had not sent, to stop what it runs.
fn manager_signalled(case: &Case<'_>, stop: &UnitStop<'_>, what: &str) -> Option<Opinion> {
    /// How long after the signal the stop has begun: its jobs are made at once, but it may be busy with something else.
    const BEGUN: u64 = 2 * S;
    let Manager::User(uid) = stop.manager else { return None };
    let signals = case.world.signals_to(stop.first.value.sender.id).iter().rev();
    let mut recent = signals
        .filter(|got| got.ns() <= stop.begun.boot_ns && got.ns() + BEGUN >= stop.begun.boot_ns);
    let (got, order) = recent.find_map(|got| Some((got, order_by_signal(got.value.number)?)))?;
    let mechanism = mechanism::of(&got.value);
    let sender = &got.value.sender;
    if mechanism.is_kernels_own() {
        return None;
    }
    let signal = crate::evidence::signal_name(got.value.number);
    // What PID 1 passes on for a client (`systemctl kill`) is that one's doing; else it is a stop of this manager.
    let (actor, told) = if manager::manager_of(sender) == Some(Manager::System) {
        let own = format!("user@{uid}.service");
        let asked = Request::find(case, Wish::Kill, Manager::System, &own, got.ns())?;
        let who = asked.sentence(case)?;
        (asked.actor(case)?, format!("which passed it on: {who}"))
    } else {
        let actor = Actor::behind_at(case, sender.id, got.ns());
        let told = actor.told();
        (actor, told)
    };
    let text = format!(
        "{what} since it had been told {order}: {} before, it had got {signal} from {}{} {told}.",
        words::span(stop.first.ns().saturating_sub(got.ns())),
        words::name_pid(&case.task(sender)),
        if told.starts_with("which") { "," } else { ":" },
    );
    let effect = stop.ordered_at();
    Finding::new(CauseId::UnitStopRequested, Fit::Exact, Grade::Inferred, text)
        .links(units::command_links(case, &actor).into_iter().map(|link| link.before(effect)))
        .links([case.signal_link(got, mechanism).before(effect)])
        .links(units::stop_links(case, stop))
        .fixes(super::logind::outside_manager(case))
        .fixes(unit_remedies::of_signal(&actor))
        .answer()
}

/// A command of the unit's `ExecReload=` ended it, or its `ReloadSignal=`: a reload that the program does not survive.
pub fn reloaded(case: &Case<'_>) -> Option<Opinion> {
    let stop = UnitStop::by_reload(case)?;
    let job = stop.job?;
    let request = Request::for_job(case, Wish::Reload, job, stop.began_ns);
    let signal = crate::evidence::signal_name(case.blow?.signal.value.number);
    let asked = asker(case, request, "the reload");
    let Some(command) = &stop.by_command else {
        return reloaded_by_manager(case, &stop, request, &asked);
    };
    let setting = command.line.clone();
    let cited = setting.as_ref().map(|it| format!(" ({})", units::cited(it))).unwrap_or_default();
    let finding = Finding::new(
        CauseId::UnitReload,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got {signal} from {}{cited}{}: {asked}.",
            case.victim_name(),
            stop.manager_name(case),
            survived(case),
        ),
    );
    let finding = if request.is_some() { finding } else { finding.gap(UNSEEN) };
    let at = stop.at();
    let remedies = if case.is_told() {
        vec![fixes::reload_of_workers(&at)]
    } else {
        std::iter::once(fixes::survivable_reload(&at)).chain(fixes::look_at_unit(&at)).collect()
    };
    finding
        .settings([setting])
        .links(request.iter().flat_map(|request| request.links(case, job.at)))
        .links(units::stop_links(case, &stop))
        .fixes(remedies)
        .answer()
}

/// The reload signal of `Type=notify-reload`, which its manager sends itself.
fn reloaded_by_manager(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    request: Option<Request<'_>>,
    asked: &str,
) -> Option<Opinion> {
    let job = stop.job?;
    let signal = crate::evidence::signal_name(case.blow?.signal.value.number);
    let kind = units::unit_setting(case, stop, "Type", "Type");
    let cited = kind.as_ref().map_or_else(|| "Type=notify-reload".to_owned(), units::cited);
    let chosen = case.unit_setting(stop.manager, &stop.unit, "ReloadSignal");
    // Which signal it is its manager may not have said.
    let said = stop.history.is_some_and(|history| history.now.contains_key("ReloadSignal"));
    let finding = Finding::new(
        CauseId::UnitReload,
        Fit::Exact,
        if said { Grade::Reported } else { Grade::Inferred },
        format!(
            "{} got {signal} from {}, which reloads {} by that signal ({cited}){}: {asked}.",
            case.victim_name(),
            stop.manager_name(case),
            stop.unit,
            survived(case),
        ),
    );
    let finding = if request.is_some() { finding } else { finding.gap(UNSEEN) };
    let fix = if case.is_told() {
        fixes::reload_of_workers(&stop.at())
    } else {
        fixes::survivable_reload_signal(&stop.at(), &signal)
    };
    finding
        .settings([kind, chosen])
        .links(request.iter().flat_map(|request| request.links(case, job.at)))
        .links(units::stop_links(case, stop))
        .fixes([fix])
        .answer()
}

/// Whether the one that was reloaded lived on, as the end of a clause: who only told others to end did, as far as is known.
const fn survived(case: &Case<'_>) -> &'static str {
    if case.is_told() { "" } else { ", and did not survive it" }
}

/// Why a request may be missing.
pub(super) const UNSEEN: &str = "no request was seen on the bus: root's systemctl uses a private socket, and a dependency needs no request";

/// Who asked for something, as the end of a sentence.
pub(super) fn asker(case: &Case<'_>, request: Option<Request<'_>>, what: &str) -> String {
    let Some(request) = request else { return format!("who asked for {what} was not seen") };
    match (request.sentence(case), request.call) {
        (Some(who), _) => who,
        (None, Some(call)) => format!("{} asked for {what}", nameless_caller(case, &call.value)),
        (None, None) => format!("who asked for {what} was not seen"),
    }
}

/// The job by which the unit was being stopped as the victim ended, or had been, in words: `while {by} was stopping`.
fn job_meanwhile<'a>(
    case: &Case<'a>,
    manager: Manager,
    unit: &str,
) -> Option<(&'a Seen<Job>, &'static str)> {
    /// How long after the end of a main process others have noticed that and ended; later ends have other reasons.
    const NOTICED: u64 = S;
    let (ended_ns, born_ns) = (case.exit.ns(), case.victim.start_ns);
    let at = |ns: u64| stop_job(case.world, manager, unit, ns, born_ns);
    if let Some(job) = at(ended_ns) {
        return Some((job, "while {by} was stopping"));
    }
    // What the manager leaves alone (`KillMode=process`) may hear of the stop when that is over.
    let main = main_end(case.world, manager, unit, ended_ns, born_ns, &[case.victim])?;
    let job = (main.ns() + NOTICED >= ended_ns).then(|| at(main.ns())).flatten()?;
    Some((job, "right after {by} had stopped"))
}

/// It exited, and no signal had made it, while its unit was being stopped: told by what the unit runs to stop, or by the
/// end of another of its processes, or of its own accord. Nobody killed it; that the stop led to it is a conclusion.
pub fn exited_meanwhile(case: &Case<'_>) -> Option<Opinion> {
    let Outcome::Exited { status } = case.outcome else { return None };
    if case.blow.is_some() {
        return None;
    }
    let (manager, unit) = case.unit()?;
    let ended_ns = case.exit.ns();
    let born_ns = case.victim.start_ns;
    // What had reached it before tracing began was not seen.
    let began = case.world.unit_of(manager, unit).and_then(|it| began_unseen(it, ended_ns));
    if began.is_some_and(|began| born_ns < began.boot_ns) {
        return None;
    }
    let (job, stopping) = job_meanwhile(case, manager, unit)?;
    let request = Request::for_job(case, Wish::Stop, job, job.ns());
    let ran = request.and_then(|request| request.ran_ns(case));
    let heard_ns =
        request.and_then(|request| request.call).map_or(job.ns(), Seen::ns).min(job.ns());
    // What the manager started for the stop ends when it has done its work; and where the end came first, by
    // all that is known, the stop may have been its consequence.
    let was_there = ran
        .map_or(born_ns.saturating_add(BUS_LAG) < made_by_ns(case.world, job), |ran| born_ns < ran);
    if !was_there || ran.unwrap_or(heard_ns) > ended_ns {
        return None;
    }
    let stopping = stopping.replace("{by}", &manager::name_of(case.world, manager));
    let unheeded = Unheeded::since(case, heard_ns.saturating_sub(BUS_LAG));
    let notice = Notice::of(case, unit, job, unheeded.is_some());
    let id = match (request, &notice) {
        (Some(_), Some(_)) => CauseId::UnitStopRequested,
        _ => CauseId::ExitedByItself,
    };
    let victim = case.victim_name();
    let asked = asker(case, request, "the stop");
    let number = job.value.id;
    let signal = unheeded.map(|unheeded| unheeded.clause(case));
    let signal = signal.unwrap_or_else(|| "no signal had reached it".to_owned());
    let text = match &notice {
        Some(notice) => format!(
            "{victim} exited with status {status} {stopping} {unit} (job {number}); {signal}, but {}; that the \
             stop led to it is a conclusion: {asked}.",
            notice.clause(case)
        ),
        None => format!(
            "{victim} exited by itself with status {status} {stopping} {unit} (job {number}: {asked}); nobody \
             killed it: {signal}. Whether the stop had to do with it is not known."
        ),
    };
    let finding = Finding::new(id, Fit::Circumstance, Grade::Inferred, text);
    let finding = if request.is_some() { finding } else { finding.gap(UNSEEN) };
    // What did not heed the stop, and was told of it by nothing else, does not come of it.
    if unheeded.is_some() && notice.is_none() {
        return finding.answer();
    }
    let noticed: Vec<_> = notice.iter().flat_map(|notice| notice.links(case)).collect();
    let effects = noticed.iter().map(|link| link.at);
    let effect = effects.fold(case.exit.at, Moment::no_later_than);
    let link = units::job_link_before(case, job, effect);
    let command = match &notice {
        Some(Notice::Command(line)) => Some(line.clone()),
        _ => None,
    };
    finding
        .settings([command])
        .links(request.iter().flat_map(|request| request.links(case, link.at)))
        .links([link])
        .links(noticed)
        .answer()
}
