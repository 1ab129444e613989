//! Who had the killer kill: a signal that it had got itself just before, or a command that told it to.
//!
//! That both happened is observed; that the one is why the other is a conclusion, and said to be.

mod behind;
mod ordered;

use self::behind::{stopped_before, told_by_unit};
use self::ordered::Ordered;
use super::actor::Actor;
use super::case::Case;
use super::causes::containers::Asker;
use super::causes::{Finding, Fit, logind};
use super::decide::Blow;
use super::halts::stopped_at;
use super::manager::manager_of;
use super::patience::{is_caught, reached};
use super::stopping::Hanging;
use super::told::is_by_unit;
use super::units::command_links;
use super::upstream::{End, at_its_work};
use super::verdict::{CauseId, Link};
use super::world::{SeenSignal, World};
use super::{decide, mechanism, signals, words};
use crate::evidence::{Grade, MS, Mechanism, ProcessId, S, SignalSent, Task, sig, signal_name};

/// How long before a process did something a signal came to it that may have told it to do so. A handler acts at once; an
/// interpreter does between two commands (a shell's trap, Python's handlers), an event loop after what it is at: on a busy
/// machine that takes some tens of milliseconds.
const RIGHT_BEFORE: u64 = 100 * MS;

/// How long after it came a signal is still passed on: sudo, su and timeout do so at once, a shell when
/// what it waits for is over.
const PASSED_ON: u64 = 2 * S;

/// How long whoever was told to end takes to end its own by other means: su waits 2 s before SIGKILL,
/// supervisors mostly 10 s.
pub const FOLLOWED: u64 = 15 * S;

/// Stories in which a server may have acted for a client.
const ORDERED: [CauseId; 5] = [
    CauseId::BatchJobEnded,
    CauseId::UserCommand,
    CauseId::ProcessSignal,
    CauseId::SessionLeaderExited,
    CauseId::TerminalClosed,
];

/// How many times a signal is followed up.
const HOPS: usize = 8;

/// The signals that led, from process to process, to the one that decided.
#[derive(Debug)]
pub struct Relay<'a> {
    /// The signal that it begins with: the one that decided, or what had ended the leader of a session because of whose
    /// end the kernel sent that.
    start: &'a SeenSignal,
    /// Nearest to the victim first.
    hops: Vec<Hop<'a>>,
}

#[derive(Debug)]
struct Hop<'a> {
    /// The signal that the sender of `sent` had got.
    got: &'a SeenSignal,
    mechanism: Mechanism,
    /// What it sent then.
    sent: &'a SeenSignal,
    by_way_of: ByWayOf,
}

/// How the sender came to know of the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByWayOf {
    /// It had got it itself.
    Itself,
    /// It had got none itself, but the terminal that it ran on had hung up: `got` is what the leader of the session there
    /// was told of that.
    Terminal,
    /// sudo(8) runs a command on a terminal of its own by a child, which it tells over a socket.
    OuterSudo,
}

impl Hop<'_> {
    fn is_passed_on(&self) -> bool {
        let same = self.got.value.number == self.sent.value.number;
        same && !mechanism::of(&self.sent.value).is_kernels_own()
    }

    /// Whose end or act the kernel had answered by the signal that it had got.
    fn closer(&self) -> Option<&Task> {
        self.originator().filter(|_| self.mechanism.is_kernels_own())
    }

    /// Who is behind the signal that it had got; `None` for the kernel alone.
    fn originator(&self) -> Option<&Task> {
        signals::originator(&self.got.value, self.mechanism).1
    }
}

impl<'a> Relay<'a> {
    /// What the sender of the blow had got itself, where it had.
    pub fn of(case: &Case<'a>, blow: Blow<'a>) -> Option<Self> {
        Some(Self::trace(case, blow)).filter(|relay| !relay.hops.is_empty())
    }

    /// The terminals that hung up on that way, one after the other, the first one first.
    pub fn hangups(case: &Case<'a>, blow: Blow<'a>) -> Vec<&'a SeenSignal> {
        let Self { start, hops } = Self::trace(case, blow);
        let all = hops.iter().rev().map(|hop| hop.got).chain([start]);
        all.filter(|seen| mechanism::of(&seen.value) == Mechanism::TtyHangup).collect()
    }

    fn trace(case: &Case<'a>, blow: Blow<'a>) -> Self {
        let mut hops: Vec<Hop<'a>> = Vec::new();
        let mut known = vec![case.victim];
        // What had ended the leader of the session is told with its end.
        let start = leaders_own(case.world, blow.signal);
        if start.is_some() {
            known.push(blow.signal.value.sender.id);
        }
        let start = start.unwrap_or(blow.signal);
        let (mut sent, mut way) = (start, mechanism::of(&start.value));
        while hops.len() < HOPS && manager_of(&sent.value.sender).is_none() {
            known.push(sent.value.sender.id);
            let got = if is_act(&sent.value, way) {
                before(case.world, sent, &known)
            } else {
                leaders_own(case.world, sent)
            };
            let others = || {
                let terminal = own_terminal(case.world, sent).map(|got| (got, ByWayOf::Terminal));
                let outer = || outer_sudo(case.world, sent).map(|got| (got, ByWayOf::OuterSudo));
                terminal.or_else(outer)
            };
            let got = got.map(|got| (got, ByWayOf::Itself)).or_else(others);
            let Some((got, by_way_of)) = got else { break };
            // A manager's stop of whoever closed a terminal is told whole: `stopped_before`.
            let is_told = way.is_kernels_own() && manager_of(&got.value.sender).is_some();
            if is_told && case.world.exit_of(sent.value.sender.id).is_some() {
                break;
            }
            let mechanism = mechanism::of(&got.value);
            hops.push(Hop { got, mechanism, sent, by_way_of });
            (sent, way) = (got, mechanism);
        }
        Self { start, hops }
    }

    /// Whether it is one and the same signal all the way, sent by a process at its far end: as it was sent there.
    pub fn origin(&self) -> Option<&'a SeenSignal> {
        let last = self.hops.last().filter(|hop| !hop.mechanism.is_kernels_own())?;
        self.hops.iter().all(Hop::is_passed_on).then_some(last.got)
    }

    /// The signal of another process at its far end, whichever it was.
    pub fn far_end(&self) -> Option<&'a SeenSignal> {
        self.hops.last().filter(|hop| !hop.mechanism.is_kernels_own()).map(|hop| hop.got)
    }

    /// When the sender of the signal that it begins with had got one itself.
    pub fn heard_ns(&self) -> u64 {
        self.hops[0].got.ns()
    }

    /// Each of its steps as a sentence, with a space before it.
    pub fn sentence(&self, case: &Case<'_>) -> String {
        self.hops.iter().map(|hop| told(case, hop)).collect()
    }

    /// What had ended the holder of the terminal whose hangup is the far end, and that hangup; why a manager ended it is told
    /// as a story of its own.
    fn holder_struck(&self, case: &Case<'a>) -> Option<(End<'a>, &'a SeenSignal)> {
        let hop = self.hops.last().filter(|hop| hop.mechanism == Mechanism::TtyHangup)?;
        let holder = hop.closer().filter(|holder| holder.exiting)?;
        let end = End::of(case, holder.id)?;
        let by_person = end.killer().is_some_and(|killer| manager_of(killer).is_none());
        by_person.then_some((end, hop.got))
    }

    /// Its links: the signals, and the command behind the first of them.
    pub fn links(&self, case: &Case<'_>) -> Vec<Link> {
        let struck = self.hops.iter().map(|hop| case.signal_link(hop.got, hop.mechanism));
        let commands = self.hops.last().and_then(|hop| {
            // Whose terminal it was that the kernel hung up ran no command for that.
            let ran = |origin: &&Task| {
                !is_by_unit(case, hop.got)
                    && hop.mechanism != Mechanism::TtyHangup
                    && !runs_as_another(origin)
            };
            let origin = hop.originator().filter(ran)?;
            if logind::is_logind(origin) {
                return Some(logind::had_it_signal(case, hop.got).1);
            }
            if let Some(asker) = Asker::behind_daemon(case, hop.got) {
                return Some(asker.links(case, hop.got));
            }
            let actor = Actor::behind_at(case, origin.id, hop.got.ns());
            at_its_work(&actor, hop.got.ns()).is_none().then(|| command_links(case, &actor))
        });
        // At the same moment, what led to it was first.
        commands.into_iter().flatten().chain(struck).collect()
    }
}

/// Whether a process sent it of its own accord, or closed a terminal of its own accord, which the kernel then hung up.
fn is_act(sent: &SignalSent, mechanism: Mechanism) -> bool {
    let ended = mechanism::on_stack(sent, "disassociate_ctty");
    let closed = mechanism == Mechanism::TtyHangup && !ended;
    let closes = closed && !sent.sender.exiting && !sent.sender.kernel_thread;
    closes || !mechanism.is_kernels_own()
}

/// What runs a command as another user, at a terminal of its own, and hangs that up when its own one hangs up.
pub fn runs_as_another(task: &Task) -> bool {
    task.euid == 0 && ["sudo", "su"].contains(&task.comm.as_str())
}

/// The hangup, or the signal of another process, that had ended the leader of a session, where the kernel sent a signal since
/// that one ended.
fn leaders_own<'a>(world: &'a World, sent: &SeenSignal) -> Option<&'a SeenSignal> {
    let leader = &sent.value.sender;
    let of_end = mechanism::of(&sent.value) == Mechanism::TtyHangup
        && leader.exiting
        && mechanism::on_stack(&sent.value, "disassociate_ctty");
    let own = |got: &&SeenSignal| is_hangup_before(got, sent, PASSED_ON);
    let hangup = world.signals_to(leader.id).iter().rev().filter(|_| of_end).find(own);
    let struck = || {
        let ended = world.exit_of(leader.id).filter(|_| of_end)?;
        let blow = decide::decide(world, ended)?;
        let by_other = !blow.mechanism.is_kernels_own() && blow.signal.value.sender.id != leader.id;
        (by_other && blow.signal.ns() <= sent.ns()).then_some(blow.signal)
    };
    hangup.or_else(struck)
}

/// The hangup of the terminal that sudo or su had been started on, right before it hung up what it ran: it sees that by the
/// terminal itself, often before a signal reaches it.
fn own_terminal<'a>(world: &'a World, sent: &SeenSignal) -> Option<&'a SeenSignal> {
    let relay = &sent.value.sender;
    if sent.value.number != sig::SIGHUP || !runs_as_another(relay) {
        return None;
    }
    // The kernel tells the leader of the session there.
    let own = |got: &&SeenSignal| is_hangup_before(got, sent, RIGHT_BEFORE);
    let parents = world.people.parents(relay.id);
    parents.iter().find_map(|parent| world.signals_to(*parent).iter().rev().find(own))
}

/// What the sudo that somebody ran had caught right before the one below it sent the same.
fn outer_sudo<'a>(world: &'a World, sent: &SeenSignal) -> Option<&'a SeenSignal> {
    let inner = &sent.value.sender;
    let outer = *world.people.parents(inner.id).first()?;
    let is_sudo = world.people.get(outer)?.comm.as_deref() == Some("sudo") && inner.comm == "sudo";
    let mut caught = caught_before(world, outer, sent.ns(), RIGHT_BEFORE);
    caught.find(|got| {
        let is_others = ![outer, inner.id].contains(&got.value.sender.id);
        is_sudo && is_others && inner.euid == 0 && got.value.number == sent.value.number
    })
}

/// Whether another process let go of a terminal, and the kernel sent this because of that, so shortly before `sent`.
fn is_hangup_before(got: &SeenSignal, sent: &SeenSignal, within: u64) -> bool {
    let signal = &got.value;
    let way = mechanism::of(signal);
    signal.number == sig::SIGHUP
        && way == Mechanism::TtyHangup
        && !mechanism::on_stack(signal, "disassociate_ctty")
        && signal.sender.id != sent.value.sender.id
        && reached(signal)
        && got.ns() <= sent.ns()
        && sent.ns() - got.ns() <= within
}

/// What a process had caught no longer than that before a time, the newest first.
fn caught_before(
    world: &World,
    id: ProcessId,
    ns: u64,
    within: u64,
) -> impl Iterator<Item = &SeenSignal> {
    let signals = world.signals_to(id).iter().rev().skip_while(move |got| got.ns() > ns);
    let recent = signals.take_while(move |got| ns - got.ns() <= within);
    recent.filter(|got| is_caught(&got.value))
}

/// The signal of another process by which one had been told, no longer than that before, to do what it did then: any may stand for that
/// (SIGTTOU, SIGWINCH: fewer workers). What the kernel sends, and what tells of a child, is no order.
pub fn order_before<'a>(
    world: &'a World,
    id: ProcessId,
    ns: u64,
    within: u64,
    is_by: &dyn Fn(ProcessId) -> bool,
) -> Option<&'a SeenSignal> {
    caught_before(world, id, ns, within).find(|got| is_order(got) && is_by(got.value.sender.id))
}

/// Whether a process caught a signal that another sent it by its own choice, and that tells of no child.
pub fn is_order(got: &SeenSignal) -> bool {
    is_caught(&got.value)
        && !matches!(got.value.number, sig::SIGCHLD | sig::SIGURG | sig::SIGCONT)
        && !mechanism::of(&got.value).is_kernels_own()
        && got.value.sender.id != got.value.target.id
}

/// The timer of its own that a process had caught right before it did something: a time limit of its own, as a database
/// has for statements. One that runs out time and again is a clock.
pub fn own_alarm(world: &World, id: ProcessId, ns: u64) -> Option<&SeenSignal> {
    /// So many in this time are a clock.
    const TICKS: (usize, u64) = (3, S);
    let is_alarm = |got: &&SeenSignal| {
        got.value.number == sig::SIGALRM && mechanism::of(&got.value) == Mechanism::Timer
    };
    let last = caught_before(world, id, ns, RIGHT_BEFORE).find(is_alarm)?;
    let ticks = caught_before(world, id, last.ns(), TICKS.1).filter(is_alarm).count();
    (ticks < TICKS.0).then_some(last)
}

/// The signal that the sender of `sent` had caught before and may have answered by it: what came right before, or else
/// what asks for it.
fn before<'a>(world: &'a World, sent: &SeenSignal, known: &[ProcessId]) -> Option<&'a SeenSignal> {
    let relay = sent.value.sender.id;
    let candidates = |within: u64| {
        let caught = caught_before(world, relay, sent.ns(), within);
        caught.filter(|got| !known.contains(&got.value.sender.id))
    };
    // Which signal a hangup is was not the closer's choice: what asks for its end most plainly is meant.
    let is_hangup = mechanism::of(&sent.value) == Mechanism::TtyHangup;
    let number = if is_hangup { sig::SIGTERM } else { sent.value.number };
    let same = |within| candidates(within).find(|got| got.value.number == number);
    let asking = |within| {
        candidates(within).find(|got| {
            asks_for_end(got.value.number)
                && (asks_for_end(sent.value.number) || sent.value.number == sig::SIGKILL)
        })
    };
    // What children tell is no order.
    let is_other =
        |by: ProcessId| !known.contains(&by) && !world.people.parents(by).contains(&relay);
    let other =
        || order_before(world, relay, sent.ns(), RIGHT_BEFORE, &is_other).filter(|_| !is_hangup);
    let at_once = same(RIGHT_BEFORE).or_else(|| asking(RIGHT_BEFORE)).or_else(other);
    // Its own time limit is the reason then; of SIGKILL it may be the one that followed a request to end.
    let timed = sent.value.number != sig::SIGKILL && own_alarm(world, relay, sent.ns()).is_some();
    if at_once.is_some() || timed {
        return at_once;
    }
    // Nobody tells a process to end what it has not started yet.
    let born_ns = job_began(world, sent);
    same(PASSED_ON).or_else(|| asking(FOLLOWED)).filter(|got| got.ns() >= born_ns)
}

/// When the job that a signal was sent to had begun: its target, or what that belongs to, as the sender's child that it
/// descends from and the leader of the process group that was meant.
fn job_began(world: &World, sent: &SeenSignal) -> u64 {
    let SignalSent { sender, target, .. } = &*sent.value;
    let parents = world.people.parents(target.id);
    let below = parents.iter().zip(parents.iter().skip(1)).find(|(_, above)| **above == sender.id);
    // In a pid namespace of its own it counts otherwise.
    let aim = sent.value.aim().filter(|_| sender.ns_pid == sender.id.pid);
    let group = aim.filter(|aim| *aim < -1);
    let leader = group.and_then(|group| world.people.at(group.unsigned_abs(), sent.ns()));
    let above = below.map(|(child, _)| *child).into_iter().chain(leader);
    above.map(|id| id.start_ns).fold(target.id.start_ns, u64::min)
}

const fn asks_for_end(number: u8) -> bool {
    matches!(number, sig::SIGTERM | sig::SIGINT | sig::SIGHUP | sig::SIGQUIT)
}

fn told(case: &Case<'_>, hop: &Hop<'_>) -> String {
    let relay = words::name_pid(&case.task(&hop.sent.value.sender));
    let signal = signal_name(hop.got.value.number);
    let waited = hop.sent.ns().saturating_sub(hop.got.ns());
    let lead = words::span(waited);
    let on = match hop.is_passed_on() {
        true if waited < S => ", and seems to have passed it on",
        true => ", and may have passed it on",
        false => "",
    };
    if hop.by_way_of == ByWayOf::Terminal {
        let told = words::name_pid(&case.task(&hop.got.value.target));
        let from = from(case, hop.got, hop.mechanism, "");
        return format!(
            " {relay}'s own terminal had hung up {lead} before: {told} got {signal} from {from}."
        );
    }
    let from = from(case, hop.got, hop.mechanism, on);
    if hop.by_way_of == ByWayOf::OuterSudo {
        let outer = words::name_pid(&case.task(&hop.got.value.target));
        return format!(" {outer}, its parent, had got {signal} {lead} before from {from}.");
    }
    format!(" {relay} had itself got {signal} {lead} before from {from}.")
}

/// Where a signal came from, in words that end a sentence; `on` follows the name.
pub fn from(case: &Case<'_>, got: &SeenSignal, mechanism: Mechanism, on: &str) -> String {
    let originator = signals::originator(&got.value, mechanism).1;
    let way = mechanism::words(&got.value, mechanism);
    match (originator, mechanism.is_kernels_own()) {
        (None, _) => format!("the kernel ({way}){on}"),
        (Some(through), true) => {
            format!("the kernel ({way}, through {}){on}", words::name_pid(&case.task(through)))
        }
        // Why a manager did it, or what it ran, is told at the end. Who had sudo run something did not have it send this.
        (Some(origin), false) if is_by_unit(case, got) || runs_as_another(origin) => {
            format!("{}{on}", words::name_pid(&case.task(origin)))
        }
        (Some(origin), false) if logind::is_logind(origin) => {
            let name = words::name_pid(&case.task(origin));
            format!("{name}{on}{}", logind::had_it_signal(case, got).0)
        }
        (Some(origin), false) => {
            let name = words::name_pid(&case.task(origin));
            if let Some(asker) = Asker::behind_daemon(case, got) {
                return format!("{name}{on}{}", asker.clause(case, got));
            }
            let actor = Actor::behind_at(case, origin.id, got.ns());
            match at_its_work(&actor, got.ns()) {
                Some(unit) => {
                    format!("{name} of {unit}{on} (what had it do so was not seen)")
                }
                None => format!("{name}{on}: {}", actor.told()),
            }
        }
    }
}

/// Why a signal had no effect at first: the victim was stopped, and somebody let it go on later.
fn tell_wait(case: &Case<'_>, blow: Blow<'_>, finding: &mut Finding) {
    let number = blow.signal.value.number;
    if number == sig::SIGKILL || blow.mechanism.is_kernels_own() {
        return;
    }
    let stopped = stopped_at(case.world, case.victim, blow.signal.ns());
    let Some(stop) = stopped else { return };
    let woken = case.world.signals_to(case.victim).iter().find(|seen| {
        seen.value.number == sig::SIGCONT
            && seen.ns() > blow.signal.ns()
            && seen.ns() <= case.exit.ns()
    });
    let Some(woken) = woken else { return };
    let lead = words::span(blow.signal.ns().saturating_sub(stop.ns()));
    let wait = words::span(woken.ns().saturating_sub(blow.signal.ns()));
    let whence = |seen: &SeenSignal, told: &SeenSignal| {
        let way = mechanism::of(&seen.value);
        let sender = &seen.value.sender;
        if !way.is_kernels_own() && sender.id == told.value.sender.id {
            format!("the same {}", words::name_pid(&case.task(sender)))
        } else {
            from(case, seen, way, "")
        }
    };
    let known = if woken.value.sender.id == stop.value.sender.id { stop } else { blow.signal };
    finding.explanation.push_str(&format!(
        " It was stopped then: {lead} before, it had got {} from {}. The signal waited until SIGCONT came, \
         {wait} later, from {}.",
        signal_name(stop.value.number),
        whence(stop, blow.signal),
        whence(woken, known),
    ));
    let links = [stop, woken].map(|seen| case.signal_link(seen, mechanism::of(&seen.value)));
    finding.links.extend(links);
}

/// Whether what a process had got, before it struck itself, is the signal of a stop that is told with that already.
fn is_told_as_a_stop(case: &Case<'_>, blow: Blow<'_>, relay: &Relay<'_>) -> bool {
    let by_manager = manager_of(&relay.hops[0].got.value.sender).is_some();
    blow.signal.value.sender.id == case.victim && by_manager && Hanging::of(case).is_some()
}

/// Adds to a story of a kill what had made the killer do it, and to one of a process whose end or whose act the
/// kernel answered by a signal what had ended that one.
pub fn tell(case: &Case<'_>, finding: &mut Finding) {
    const TELLING: [CauseId; 10] = [
        CauseId::BatchJobEnded,
        CauseId::UserCommand,
        CauseId::ProcessSignal,
        CauseId::TimeoutCommand,
        CauseId::SessionLeaderExited,
        CauseId::TerminalClosed,
        CauseId::OrphanedProcessGroup,
        CauseId::ParentDied,
        CauseId::PidNamespaceInitExited,
        CauseId::TracerExited,
    ];
    let Some(blow) = case.blow.filter(|_| TELLING.contains(&finding.id)) else { return };
    tell_wait(case, blow, finding);
    // What its parent had been told is the whole story of one that ended itself on that.
    let is_whole = blow.signal.value.sender.id == case.victim && finding.fit == Fit::Circumstance;
    let ordered = ORDERED.contains(&finding.id) && !is_whole;
    // What had ended the leader of the session was somebody's act, its own end was not.
    let act = leaders_own(case.world, blow.signal).unwrap_or(blow.signal);
    let own = Ordered::of(case, act, mechanism::of(&act.value)).filter(|_| ordered);
    // Of a signal and a command the later one is the reason.
    let relay = Relay::of(case, blow)
        .filter(|relay| own.as_ref().is_none_or(|own| relay.hops[0].got.ns() > own.ran_ns()))
        .filter(|relay| !is_told_as_a_stop(case, blow, relay));
    if let Some(relay) = &relay {
        finding.explanation.push_str(&relay.sentence(case));
        let struck = relay.holder_struck(case);
        if let Some((end, got)) = &struck {
            finding.explanation.push_str(&format!(" {}.", end.sentence(case)));
            finding.links.extend(end.links(case, got.at));
        }
        finding.links.extend(relay.links(case));
        if relay.hops.iter().any(|hop| hop.by_way_of == ByWayOf::Terminal || hop.is_passed_on()) {
            finding.grade = finding.grade.min(Grade::Inferred);
        }
    }
    let last = relay.as_ref().and_then(|relay| relay.hops.last());
    if last.is_some_and(|hop| told_by_unit(case, hop, finding)) {
        return;
    }
    let moved = match last {
        Some(hop) => [Some(&hop.sent.value.sender), hop.closer()],
        None => [signals::originator(&blow.signal.value, blow.mechanism).1, None],
    };
    for moved in moved.into_iter().flatten() {
        let first = End::of(case, moved.id).map_or(moved, |end| end.first());
        if stopped_before(case, first, blow, finding) {
            return;
        }
    }
    let above = match last {
        Some(hop) => Ordered::of(case, hop.got, hop.mechanism).filter(|_| ordered),
        None => own,
    };
    if let Some(above) = above {
        above.tell(case, finding);
    }
}
