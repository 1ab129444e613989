//! The verdict on one death: every cause is asked, the best proven one tells the story.

use std::collections::BTreeSet;

use super::case::Case;
use super::causes::{self, Finding, Opinion};
use super::decide::{self, Blow, Way};
use super::halts::stopped_at;
use super::manager::{UnitStop, manager_of};
use super::stopping::{self, AskedByOwnManager, Choice, FailedStop, Hanging, LongStop, Overrun};
use super::verdict::{Cause, CauseId, Considered, Death, Fix, Link, LinkEvent, Outcome};
use super::windows::LOOKED_BACK;
use super::world::{Seen, SeenSignal, World};
use super::{fixes, mechanism, monit, patience, relay, signals, unseen, words};
use crate::evidence::{
    ATTACHED, CONNECTING, Disposition, Exit, Grade, Header, MS, Manager, Mechanism, S, sig,
    signal_name,
};

/// The verdict on an end. `gaps` are those that the trace itself knows of (losses).
pub fn judge(world: &World, header: &Header, exit: &Seen<Exit>, gaps: Vec<String>) -> Death {
    let case = Case::new(world, exit);
    let Verdict { mut finding, others: findings, mut considered } = Verdict::on(&case);
    relay::tell(&case, &mut finding);
    monit::tell(&case, &mut finding);
    considered.extend(findings.iter().filter(|other| other.fit >= causes::Fit::Program).map(
        |other| Considered {
            id: other.id,
            ruled_out: false,
            because: format!("also fits, but tells less than {}", finding.id.as_str()),
        },
    ));
    considered.retain(|other| other.id != finding.id);
    let lost = !gaps.is_empty();
    let mut all_gaps = gaps;
    all_gaps.extend(finding.gaps.iter().cloned());
    all_gaps.extend(unseen::gaps(&case, &finding.links));
    all_gaps.extend(blind_spots(&case, header));
    tell(&case, finding, considered, all_gaps, lost)
}

/// What all causes say of a case.
pub struct Verdict {
    /// The best proven story.
    pub finding: Finding,
    /// The others that fit.
    others: Vec<Finding>,
    /// Those that do not.
    considered: Vec<Considered>,
}

impl Verdict {
    /// Asks every cause.
    pub fn on(case: &Case<'_>) -> Self {
        let mut others: Vec<Finding> = Vec::new();
        let mut considered: Vec<Considered> = Vec::new();
        for opinion in causes::ALL.iter().filter_map(|cause| cause(case)) {
            match opinion {
                Opinion::Is(finding) => others.push(*finding),
                Opinion::IsNot { id, because } => {
                    considered.push(Considered { id, ruled_out: true, because });
                }
            }
        }
        // The first of the best: `max_by_key` would take the last.
        let best = others
            .iter()
            .enumerate()
            .max_by_key(|(at, finding)| (finding.fit, finding.grade, std::cmp::Reverse(*at)))
            .map_or(0, |(at, _)| at);
        // `causes::nothing::unknown` always answers.
        let mut finding = others.swap_remove(best);
        tell_end(case, &mut finding);
        tell_escalation(case, &mut finding);
        causes::tell_login_without_session(case, &mut finding);
        causes::containers::tell_which(case, &mut finding);
        tell_unread(case, &mut finding);
        Self { finding, others, considered }
    }
}

/// How long after a signal an exit can be of its own accord, nanoseconds: sooner where it was an error, or where the
/// signal asks others to read their settings again.
fn may_be_its_own_after(case: &Case<'_>, blow: Blow<'_>) -> u64 {
    let fails = matches!(case.outcome, Outcome::Exited { status } if status != 0);
    let reloads = blow.signal.value.number == sig::SIGHUP && !blow.mechanism.is_kernels_own();
    if blow.way == Way::CaughtThenExited && (fails || reloads) { S } else { 5 * S }
}

/// What speaks against the signal as the reason of the end: the process went on for long after it, got another one, or
/// had faulted before.
fn tell_end(case: &Case<'_>, finding: &mut Finding) {
    let Some(blow) = case.blow else { return };
    let number = blow.signal.value.number;
    let ended_ns = blow.then.map_or(case.exit.ns(), Seen::ns);
    let delay = ended_ns.saturating_sub(blow.signal.ns());
    let said_so =
        matches!(case.outcome, Outcome::Exited { status } if patience::said_so(number, status));
    let own = match blow.way {
        Way::CaughtThenExited if !said_so => Some("ended by itself"),
        Way::Reraised if blow.mechanism != Mechanism::Fault => {
            Some("sent it to itself for another reason")
        }
        _ => None,
    };
    if let Some(rival) = blow.rival {
        tell_rival(case, blow, rival, finding);
    }
    tell_earlier(case, blow, finding);
    let nearest = blow.rival.filter(|rival| rival.ns() > blow.signal.ns()).unwrap_or(blow.signal);
    let since = ended_ns.saturating_sub(nearest.ns());
    if let Some(own) = own.filter(|_| since >= may_be_its_own_after(case, blow))
        && !is_stopped(case)
    {
        let span = words::span(delay);
        finding.explanation.push_str(&format!(
            " Having gone on for {span} after {}, it may as well have {own}.",
            signal_name(number)
        ));
    }
    // An end that was lost is heard of late.
    let is_late = delay >= S && !case.exit.value.unseen;
    if blow.way == Way::Killed && number == sig::SIGKILL && is_late {
        finding.explanation.push_str(&format!(
            " It ended only {} after that: it was frozen (a cgroup's freezer), waited in the kernel for something (a disk, \
             a network file system), had much memory to give back, or the machine was very busy.",
            words::span(delay)
        ));
    }
    if blow.way == Way::Killed
        && let Some(fault) = decide::fault_in_hand(case.world, case.exit, blow)
    {
        let signal = signal_name(fault.value.number);
        let span = words::span(blow.signal.ns().saturating_sub(fault.ns()));
        finding.explanation.push_str(&format!(
            " {span} before, it had faulted ({}) and caught the {signal}: where it was still ending of that, \
             SIGKILL only cut it short.",
            causes::fault_words(&fault.value),
        ));
        finding.links.push(case.signal_link(fault, mechanism::of(&fault.value)));
    }
}

/// The other signal that it had caught: which of the two ended it is not certain.
fn tell_rival(case: &Case<'_>, blow: Blow<'_>, rival: &SeenSignal, finding: &mut Finding) {
    let signal = signal_name(rival.value.number);
    let from = signals::from(case.world, &rival.value);
    if rival.ns() < blow.signal.ns() {
        let lead = words::span(blow.signal.ns().saturating_sub(rival.ns()));
        finding.explanation.push_str(&format!(
            " {lead} before, it had caught {signal} from {from} as well, and gone on."
        ));
    } else {
        let lead = words::span(case.exit.ns().saturating_sub(rival.ns()));
        let ended = if blow.way == Way::CaughtThenExited { "exited" } else { "ended" };
        finding.explanation.push_str(&format!(
            " {lead} before it {ended}, it had caught {signal} from {from} as well, which may be why."
        ));
    }
    finding.links.push(case.signal_link(rival, mechanism::of(&rival.value)));
}

/// SIGKILL after a first signal that did not help belongs to every story of a stop, as do the settings that
/// chose the signals.
fn tell_escalation(case: &Case<'_>, finding: &mut Finding) {
    let by_manager = UnitStop::of(case).filter(|_| finding.id != CauseId::SystemctlKill);
    let Some(stop) = by_manager else {
        if let Some(hanging) = Hanging::of(case) {
            finding.explanation.push_str(&hanging.clause(case));
            finding.links.extend(hanging.links(case));
        }
        return;
    };
    finding.settings.extend(stopping::settings(case, &stop));
    if let Some(failed) = FailedStop::of(case, &stop) {
        finding.explanation.push_str(&failed.clause(case));
        finding.settings.extend(failed.setting());
        finding.links.extend(failed.links(case, &stop));
        finding.fixes.push(fixes::failing_stop(&stop.at()));
    } else if let Some(long) = LongStop::of(case, &stop) {
        finding.explanation.push_str(&long.clause(case, &stop));
        finding.settings.extend(long.settings(case, &stop));
        finding.links.extend(long.links(case, &stop));
        finding.fixes.extend(long.fix(&stop));
    }
    let overrun = Overrun::of(case, &stop);
    // That story has said it already; and where the time ran out, that is why.
    let choice = Choice::of(case, &stop)
        .filter(|_| finding.id != CauseId::UnitMainProcessExited && overrun.is_none());
    if let Some(choice) = choice {
        finding.explanation.push_str(&choice.clause(&stop));
        finding.settings.push(choice.setting().clone());
        finding.links.extend(choice.links(case, &stop));
        // It keeps the same stop from being so harsh: before what only shows where to look.
        let place = finding.fixes.len().min(1);
        // A user's manager ends its units itself, in their order: signals to them all would get in its way.
        let fix = (!ends_units_itself(&stop)).then(|| fixes::other_choice(&stop.at(), &choice));
        finding.fixes.splice(place..place, fix.flatten());
    }
    let ran_out = overrun.is_some();
    let halt = overrun.as_ref().and_then(|overrun| overrun.halt(case));
    if let Some(overrun) = overrun.filter(|_| finding.id != CauseId::UnitStopTimeout) {
        finding.explanation.extend(overrun.clause(case, &stop));
        finding.explanation.extend(overrun.extended(case, &stop));
        finding.settings.extend(overrun.settings(case, &stop));
        finding.fixes.extend(overrun.fixes(case, &stop));
    }
    // It may have kept it from what it was to do before, too.
    if let Some(halt) = halt.filter(|halt| !halt.is_told(&finding.links)) {
        finding.explanation.push_str(&halt.sentence(case));
        finding.links.extend(halt.links(case));
    }
    if let Some(inner) = AskedByOwnManager::of(case, &stop).filter(|_| ran_out) {
        finding.explanation.push_str(&inner.clause(case));
        finding.links.push(inner.link(case));
    }
}

/// Whether the unit is a user's service manager, which has units of its own.
fn ends_units_itself(stop: &UnitStop<'_>) -> bool {
    stop.manager == Manager::System && stop.unit.starts_with("user@")
}

/// Where a setting is not what its files say by now, whoever changed them will want that: it comes first.
fn tell_unread(case: &Case<'_>, finding: &mut Finding) {
    let Some((name, unread)) = finding.settings.iter().find_map(|setting| {
        setting.unread.as_ref().map(|unread| (setting.name.clone(), unread.clone()))
    }) else {
        return;
    };
    let of_logind = case.setting(&["logind.conf"], &name);
    let fix = if of_logind.is_some_and(|setting| setting.unread.is_some()) {
        Some(fixes::reload_logind(&name, &unread))
    } else {
        UnitStop::of(case).map(|stop| fixes::reload(&stop.at(), &name, &unread))
    };
    finding.fixes.splice(..0, fix);
}

fn tell(
    case: &Case<'_>,
    finding: Finding,
    considered: Vec<Considered>,
    gaps: Vec<String>,
    lost: bool,
) -> Death {
    let mut settings = finding.settings;
    let mut known = std::collections::HashSet::new();
    settings.retain(|setting| known.insert((setting.name.clone(), setting.value.clone())));
    Death {
        at: case.exit.at,
        victim: case.victim_process(),
        outcome: case.outcome.clone(),
        killer: case.killer(),
        signal: case.blow.map(|blow| signals::signal(&blow.signal.value, blow.mechanism)),
        cause: Cause {
            id: finding.id,
            title: finding.id.title().to_owned(),
            explanation: finding.explanation,
            evidence: grade(case, finding.grade, lost),
            settings,
        },
        considered,
        chain: chain(case, finding.links),
        fixes: distinct(finding.fixes),
        gaps,
    }
}

/// The cause is no better proven than that the signal led to the end at all, and nothing that rests
/// on an absence is called observed where events were lost.
fn grade(case: &Case<'_>, found: Grade, lost: bool) -> Grade {
    let no_signal = case.blow.is_none();
    // That a caught signal led to the exit is a conclusion; where a service manager was stopping the
    // whole unit meanwhile, it is what was to come.
    let link = case.blow.filter(|_| !is_stopped(case)).map_or(Grade::Observed, |blow| blow.grade);
    if lost && no_signal { Grade::Inferred } else { found.min(link) }
}

/// A service manager was stopping the whole unit.
fn is_stopped(case: &Case<'_>) -> bool {
    UnitStop::of(case).is_some_and(|stop| stop.job.is_some() || stop.main_exit.is_some())
}

fn chain(case: &Case<'_>, mut links: Vec<Link>) -> Vec<Link> {
    if let Some(blow) = case.blow {
        let told =
            links.iter().any(|link| link.event == LinkEvent::Signal && link.at == blow.signal.at);
        if !told {
            let mut link = case.signal_link(blow.signal, blow.mechanism);
            if blow.way == Way::Reraised {
                link.text.push_str(", which it caught");
            }
            links.push(link);
        }
        links.extend(blow.then.map(|then| case.signal_link(then, mechanism::of(&then.value))));
        let tried = earlier_blows(case, blow);
        links.extend(tried.map(|it| case.signal_link(it, mechanism::of(&it.value))));
        links.extend(asked_by_others(case, blow));
    }
    let struck = case.blow.map_or(case.exit.at, |blow| blow.signal.at);
    for link in links.iter_mut().filter(|link| is_read_late(link.event)) {
        link.at = link.at.no_later_than(struck);
    }
    links.retain(|link| link.at.boot_ns <= case.exit.ns());
    links.sort_by_key(|link| link.at.boot_ns);
    let mut links = one_link_a_fact(links);
    links.iter_mut().for_each(Link::tell_lateness);
    links.dedup_by(|later, link| {
        let more = later.text.strip_prefix(&link.text);
        let goes_on = more.is_some_and(|more| more.starts_with(" (") && link.at == later.at);
        if goes_on {
            std::mem::swap(link, later);
        }
        goes_on || later.text == link.text
    });
    links.push(case.death_link());
    links
}

/// How many earlier signals of the same sender are told.
const EARLIER: usize = 3;

/// What the same sender had tried before, in vain: SIGTERM before SIGKILL. The newest first.
fn earlier_blows<'a>(case: &Case<'a>, blow: Blow<'a>) -> impl Iterator<Item = &'a SeenSignal> {
    let sender = blow.signal.value.sender.id;
    let is_others = !blow.mechanism.is_kernels_own() && sender != case.victim;
    let before = case.world.signals_to(case.victim).iter().rev().filter(move |signal| {
        signal.ns() < blow.signal.ns()
            && signal.ns() + LOOKED_BACK > blow.signal.ns()
            && signal.value.sender.id == sender
            && matches!(
                signal.value.number,
                sig::SIGTERM | sig::SIGINT | sig::SIGQUIT | sig::SIGHUP | sig::SIGABRT
            )
    });
    before.take(if is_others { EARLIER } else { 0 })
}

/// That a program or a person had asked it to end before they killed it: where a manager or a runtime does so, that is told
/// with the setting which makes it.
fn tell_earlier(case: &Case<'_>, blow: Blow<'_>, finding: &mut Finding) {
    let is_plain = matches!(finding.id, CauseId::ProcessSignal | CauseId::UserCommand);
    let is_last_resort = blow.way == Way::Killed && blow.signal.value.number == sig::SIGKILL;
    let mut tried = earlier_blows(case, blow);
    // SIGHUP has many read their settings anew, SIGQUIT has others tell what they are at.
    let asks = |tried: &&SeenSignal| matches!(tried.value.number, sig::SIGTERM | sig::SIGINT);
    let asked = tried.find(asks);
    let Some(asked) = asked.filter(|_| is_plain && is_last_resort) else {
        return;
    };
    let sent = &asked.value;
    let had_time = asked.ns() + HAD_TIME <= blow.signal.ns() && !was_stopped(case, asked, blow);
    let outcome = match sent.disposition {
        _ if sent.blocked => ", which it held up",
        Some(Disposition::Handler) if had_time => ", for which it had a handler; it went on",
        Some(Disposition::Ignore) => ", which it ignores",
        _ => "",
    };
    finding.explanation.push_str(&format!(
        " {} before, the same {} had sent it {}{outcome}.",
        words::span(blow.signal.ns().saturating_sub(asked.ns())),
        words::name_pid(&case.task(&sent.sender)),
        signal_name(sent.number),
    ));
}

/// How long before its end somebody else can have asked a process to end and still be told: the grace that most who
/// wait for that give (`TimeoutStopSec=` is 90 s, others have less).
const ASKED_BEFORE: u64 = 90 * S;

/// How long before its end a request has to have come for it to be told that the process went on: what comes with the blow
/// has had no time to be followed.
const HAD_TIME: u64 = 100 * MS;

/// The newest requests of others to end that a process had a handler for, before it was killed. They did not end it:
/// whoever reads the story has to know that somebody had wanted it gone.
fn asked_by_others(case: &Case<'_>, blow: Blow<'_>) -> Vec<Link> {
    if blow.way != Way::Killed {
        return Vec::new();
    }
    let sender = blow.signal.value.sender.id;
    let asks = |signal: &&SeenSignal| {
        let sent = &signal.value;
        let is_order = matches!(sent.number, sig::SIGTERM | sig::SIGINT | sig::SIGQUIT)
            // A daemon reads its settings again when somebody sends that.
            || sent.number == sig::SIGHUP && mechanism::of(sent).is_kernels_own();
        let is_others = sent.sender.id != sender && sent.sender.id != case.victim;
        let could_run = sent.disposition == Some(Disposition::Handler)
            && !sent.blocked
            && !was_stopped(case, signal, blow);
        // A key is meant for whatever is in the foreground.
        let is_typed = mechanism::of(sent) == Mechanism::TtySignal;
        let is_near = signal.ns() + HAD_TIME <= blow.signal.ns()
            && signal.ns() + ASKED_BEFORE > blow.signal.ns();
        is_order && !is_typed && is_others && could_run && is_near && patience::reached(sent)
    };
    let newest = case.world.signals_to(case.victim).iter().rev().filter(asks).take(EARLIER);
    let told = |signal: &SeenSignal| {
        let mut link = case.signal_link(signal, mechanism::of(&signal.value));
        let later = words::span(blow.signal.ns().saturating_sub(signal.ns()));
        link.text
            .push_str(&format!(", for which it had a handler; it was still there {later} later"));
        link
    };
    newest.map(told).collect()
}

/// Whether a process had been stopped when a signal came, and nothing let it go on before the blow, as far as the signals
/// tell: no handler of its ran.
fn was_stopped(case: &Case<'_>, came: &SeenSignal, blow: Blow<'_>) -> bool {
    let struck_ns = blow.signal.ns().saturating_sub(1);
    let stopped = stopped_at(case.world, case.victim, struck_ns);
    stopped.is_some_and(|stop| stop.ns() <= came.ns())
}

/// What came over the bus or from the journal has the time at which it was read, which may be after what
/// it led to.
const fn is_read_late(event: LinkEvent) -> bool {
    matches!(
        event,
        LinkEvent::BusCall | LinkEvent::Job | LinkEvent::SshDisconnect | LinkEvent::SessionClosed
    )
}

/// What several stories that were joined tell, once: in `links`, which are in order of time. What is read late is told
/// with the time of what it led to in each story, of which the earliest is right. The kernel's own time is the same each
/// time; at one moment, what led to a signal was put before it by the story that knows it.
fn one_link_a_fact(links: Vec<Link>) -> Vec<Link> {
    let mut kept: Vec<Link> = Vec::new();
    for link in links {
        let same = kept.iter().position(|before| is_same_fact(before, &link));
        match same {
            Some(before) if !is_read_late(link.event) => {
                kept.remove(before);
                kept.push(link);
            }
            Some(_) => {}
            None => kept.push(link),
        }
    }
    kept
}

fn is_same_fact(one: &Link, other: &Link) -> bool {
    let at_once = one.at == other.at || is_read_late(one.event);
    at_once && one.event == other.event && one.source == other.source && one.text == other.text
}

fn distinct(fixes: Vec<Fix>) -> Vec<Fix> {
    let mut titles = std::collections::HashSet::new();
    fixes.into_iter().filter(|fix| titles.insert(fix.title.clone())).collect()
}

/// Sources that were closed although this case would have needed them.
fn blind_spots(case: &Case<'_>, header: &Header) -> Vec<String> {
    let mut gaps = Vec::new();
    let why_not = |what: &str| {
        let mut newest = case.world.unavailable.iter().rev();
        newest.find(|gone| gone.value.what == what).map(|gone| gone.value.why.clone())
    };
    let by_manager = case.sender().is_some_and(|sender| manager_of(sender).is_some());
    if by_manager {
        let settings = case.unit().map(|(_, unit)| format!("settings of {unit}"));
        gaps.extend(settings.and_then(|what| Some(format!("{what}: {}", why_not(&what)?))));
        for source in ["bus", "journal"] {
            let seen_later = why_not(source);
            let at_start = header.sources.get(source).filter(|state| *state != ATTACHED);
            let at_start = at_start.filter(|state| *state != CONNECTING).cloned();
            if let Some(why) = seen_later.or(at_start) {
                gaps.push(format!("{source} not readable: {why}"));
            }
        }
    }
    // Told where they are not as they have to be only.
    gaps.extend(["cgroup2", "files"].iter().filter_map(|name| header.sources.get(*name)).cloned());
    let unexplained = case.blow.is_some_and(|blow| {
        blow.mechanism == Mechanism::UnknownKernel && blow.signal.value.stack.is_empty()
    });
    let names = header.sources.get("kallsyms").filter(|state| *state != ATTACHED);
    if let Some(why) = names.filter(|_| unexplained) {
        gaps.push(format!("how the kernel came to send the signal cannot be told: {why}"));
    }
    let dropped = case.world.signals_dropped(case.victim);
    if dropped > 0 {
        gaps.push(format!(
            "{dropped} signals in the middle of a storm to this process were counted but not kept"
        ));
    }
    let managers = [Some(Manager::System), case.unit().map(|(manager, _)| manager)];
    let managers: BTreeSet<Manager> = managers.into_iter().flatten().collect();
    for manager in managers {
        let unknown = manager.unknown_units().into_iter().filter(|_| by_manager);
        gaps.extend(unknown.filter_map(|what| Some(format!("{what}: {}", why_not(&what)?))));
        let forgotten = case.world.units_forgotten(manager);
        if forgotten > 0 {
            let whose = manager.whose();
            gaps.push(format!(
                "more was heard of {whose} units than can be remembered: {forgotten} were forgotten that may matter"
            ));
        }
    }
    gaps
}
