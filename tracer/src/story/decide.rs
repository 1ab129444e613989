//! Which signal decided a death.

use super::journal::said_for_client;
use super::manager::manager_of;
use super::mechanism;
use super::patience::{
    HANDLED, Program, is_caught, is_everyday, is_own, patience, reached, said_so,
};
use super::servers;
use super::told::is_worker_of;
use super::world::{Seen, SeenSignal, World};
use crate::evidence::{Disposition, Exit, Grade, MS, Mechanism, ProcessId, S, SignalSent, sig};

/// How long a handler of a fault can take until it aborts: it writes a report (HotSpot's takes a second).
const ABORTS_WITHIN: u64 = 5 * S;

/// How soon after the fault before it a handler that looks around in the memory faults itself.
const FAULTS_AGAIN: u64 = 200 * MS;

/// How long it can take until it sends the same signal again, which is hardly done for another reason.
const RERAISES_WITHIN: u64 = 60 * S;

/// The same after SIGTERM, which leaves time to tidy up.
const TIDIES_WITHIN: u64 = 300 * S;

/// The signal that decided a death, and how it did.
#[derive(Clone, Copy, Debug)]
pub struct Blow<'a> {
    /// The signal that is to blame.
    pub signal: &'a SeenSignal,
    /// How it came about.
    pub mechanism: Mechanism,
    /// How it led to the end.
    pub way: Way,
    /// How well that link is proven.
    pub grade: Grade,
    /// The signal that ended it in the end, where that was another one.
    pub then: Option<&'a SeenSignal>,
    /// Another that it caught, of somebody else's, which can have been the reason as well.
    pub rival: Option<&'a SeenSignal>,
}

impl<'a> Blow<'a> {
    /// A signal that told a process something, as if it had ended by that.
    pub fn told(got: &'a SeenSignal) -> Self {
        blow(got, Way::Killed, Grade::Observed)
    }
}

/// How a signal led to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel ended the process with it.
    Killed,
    /// The process caught it, tidied up and sent the same signal to itself, or called abort(3).
    Reraised,
    /// The kernel was ending the process with it, and dumping its core, when SIGKILL came.
    CutShort,
    /// The process caught it (or waited for it) and exited by itself.
    CaughtThenExited,
}

/// Finds the signal that decided the end.
pub fn decide<'a>(world: &'a World, exit: &'a Seen<Exit>) -> Option<Blow<'a>> {
    likeliest(world, exit).filter(|blow| !may_be_another(world, exit, *blow))
}

/// The signal after which a process exited, where others were lost of which any may have been why.
pub fn undecided<'a>(world: &'a World, exit: &'a Seen<Exit>) -> Option<&'a SeenSignal> {
    likeliest(world, exit).filter(|blow| may_be_another(world, exit, *blow)).map(|blow| blow.signal)
}

/// Whether events were lost around a signal that need not ask anybody to end, and that a process caught which then exited.
fn may_be_another(world: &World, exit: &Seen<Exit>, blow: Blow<'_>) -> bool {
    let asks = rank(blow.signal.value.number) < rank(sig::SIGUSR1);
    let is_told = blow.way != Way::CaughtThenExited || blow.mechanism.is_kernels_own() || asks;
    // Losses are heard of a moment later.
    let around = blow.signal.ns().saturating_sub(S)..=exit.ns().saturating_add(S);
    let lost = || {
        world.losses.iter().any(|loss| {
            loss.value.dropped > 0 && loss.value.place.is_in_kernel() && around.contains(&loss.ns())
        })
    };
    !is_told && lost()
}

/// The likeliest of the signals that were seen.
fn likeliest<'a>(world: &'a World, exit: &'a Seen<Exit>) -> Option<Blow<'a>> {
    let id = exit.value.task.id;
    let mut signals: Vec<&SeenSignal> = world
        .signals_to(id)
        .iter()
        .filter(|signal| signal.ns() <= exit.ns() + MS)
        .filter(|signal| reached(&signal.value))
        .collect();
    signals.sort_by_key(|signal| signal.ns());
    if exit.value.unseen {
        // What condemned it has ended it; of all else it can have ended.
        let condemned = signals.into_iter().find(|signal| signal.value.fatal)?;
        return Some(blow(condemned, Way::Killed, Grade::Inferred));
    }
    let program = Program::of(world, &exit.value);
    if let Some(number) = exit.value.killed_by() {
        return killed(world, &signals, number, program);
    }
    // What was still waiting for it, it never took.
    signals.retain(|signal| !exit.value.pending.contains(&signal.value.number));
    let status = exit.value.exited_with();
    exited(&signals, OwnEnd { world, ns: exit.ns(), status, program })
}

/// The process was ended by `number`: the first signal that condemned it.
fn killed<'a>(
    world: &'a World,
    signals: &[&'a SeenSignal],
    number: u8,
    program: Program,
) -> Option<Blow<'a>> {
    let same = || signals.iter().copied().filter(|signal| signal.value.number == number);
    let condemned = same().find(|signal| signal.value.fatal);
    // Core-dumping signals are not marked at once: default action, not held up.
    let by_default = || {
        same().find(|signal| {
            signal.value.disposition == Some(Disposition::Default) && !signal.value.blocked
        })
    };
    // A blocked one that was let in later; what came first stays pending. One that was to be caught ends nobody, unless
    // the handler was taken away meanwhile.
    let held_up = || {
        let caught = |signal: &&SeenSignal| signal.value.disposition == Some(Disposition::Handler);
        same().find(|signal| !caught(signal)).or_else(|| same().next())
    };
    let last = condemned.or_else(by_default).or_else(held_up)?;
    let grade = if condemned.is_some() || by_default().is_some() {
        Grade::Observed
    } else {
        Grade::Inferred
    };
    if number == sig::SIGKILL
        && let Some(crash) = dying_before(signals, last)
    {
        return Some(Blow { then: Some(last), ..blow(crash, Way::CutShort, grade) });
    }
    let by_itself = last.value.sender.id == last.value.target.id
        && !matches!(mechanism::of(&last.value), Mechanism::Fault | Mechanism::Seccomp);
    if by_itself {
        if let Some(fault) = fault_before(signals, last, program) {
            return Some(Blow { then: Some(last), ..blow(fault, Way::Reraised, Grade::Inferred) });
        }
        let end = OwnEnd { world, ns: last.ns(), status: None, program };
        if let Some((reason, rival)) = reraised(same(), last, end) {
            let blow = blow(reason, Way::Reraised, Grade::Inferred);
            return Some(Blow { then: Some(last), rival, ..blow });
        }
    }
    Some(blow(last, Way::Killed, grade))
}

fn blow(signal: &SeenSignal, way: Way, grade: Grade) -> Blow<'_> {
    Blow { signal, mechanism: mechanism::of(&signal.value), way, grade, then: None, rival: None }
}

/// The fault that the thread had caught which then sent this to itself: its handler re-raises it, or calls abort(3). It
/// can fault itself: the first of the row is what happened, and what it did then lies deeper in its stack.
fn fault_before<'a>(
    signals: &[&'a SeenSignal],
    last: &SeenSignal,
    program: Program,
) -> Option<&'a SeenSignal> {
    let patience = if last.value.number == sig::SIGABRT { ABORTS_WITHIN } else { RERAISES_WITHIN };
    let is_its = |fault: &SeenSignal| {
        mechanism::of(&fault.value) == Mechanism::Fault
            && fault.value.disposition == Some(Disposition::Handler)
            && fault.value.target.tid == last.value.sender.tid
            && matches!(last.value.number, number if number == fault.value.number || number == sig::SIGABRT)
    };
    let earlier = signals.iter().copied().filter(|it| it.ns() < last.ns() && is_its(it));
    // What catches faults in ordinary work aborts for other reasons, too: only one right before is its end.
    let newest = earlier.clone().next_back()?;
    if last.value.number == sig::SIGABRT
        && newest.ns() + FAULTS_AGAIN < last.ns()
        && lives_with_faults(signals, program)
    {
        return None;
    }
    let (mut first, mut outermost): (Option<&SeenSignal>, u64) = (None, 0);
    let mut next_ns = last.ns();
    for fault in earlier.rev() {
        if first.is_some() && fault.ns() + FAULTS_AGAIN < next_ns {
            break;
        }
        next_ns = fault.ns();
        let stack = fault.value.place.map_or(0, |place| place.stack);
        if first.is_none() || stack != 0 && stack >= outermost {
            first = Some(fault);
        }
        outermost = outermost.max(stack);
    }
    first.filter(|fault| fault.ns() + patience > last.ns())
}

/// Whether a process goes on after faults that it catches: it is known to, or had caught two that were further apart
/// than those of one handler are.
fn lives_with_faults(signals: &[&SeenSignal], program: Program) -> bool {
    let mut caught = signals.iter().filter(|it| is_caught_fault(&it.value)).map(|it| it.ns());
    let first = caught.next().unwrap_or(u64::MAX);
    program.runtime || caught.any(|ns| first + FAULTS_AGAIN < ns)
}

fn is_caught_fault(signal: &SignalSent) -> bool {
    mechanism::of(signal) == Mechanism::Fault && signal.disposition == Some(Disposition::Handler)
}

/// The fault that a process had caught not long before it aborted, where nothing says that it aborted of that.
pub fn fault_lived_through<'a>(
    world: &'a World,
    victim: ProcessId,
    abort: &SeenSignal,
) -> Option<&'a SeenSignal> {
    world.signals_to(victim).iter().rfind(|fault| {
        fault.ns() < abort.ns()
            && fault.ns() + ABORTS_WITHIN > abort.ns()
            && is_caught_fault(&fault.value)
    })
}

/// The end of a process that ended itself after signals that it had caught.
#[derive(Clone, Copy)]
struct OwnEnd<'a> {
    world: &'a World,
    /// When it exited, or sent to itself what ended it.
    ns: u64,
    /// Its exit status; `None` where it sent itself the signal that it had caught.
    status: Option<u8>,
    program: Program,
}

impl OwnEnd<'_> {
    /// How long it went on after a signal.
    fn delay(&self, signal: &SeenSignal) -> u64 {
        self.ns.saturating_sub(signal.ns())
    }

    /// Whether the way in which it ended stands for that signal.
    fn names(&self, signal: &SeenSignal) -> bool {
        self.status.is_none_or(|status| said_so(signal.value.number, status))
    }

    /// Whether it signalled others on the heels of the second of two signals and not of the first.
    fn acted_on_the_second(&self, first: &SeenSignal, second: &SeenSignal) -> bool {
        let own = second.value.target.id;
        let acts = self.world.sent_since(own, first.ns()).filter(|(_, target)| *target != own);
        let mut acts = acts.map(|(ns, _)| ns).filter(|ns| *ns <= self.ns);
        acts.next().is_some_and(|act| act >= second.ns())
    }

    /// Whether it ended right on the heels of another that asks for the end, long after this one.
    fn is_overtaken(&self, named: &SeenSignal, asked: &[&SeenSignal]) -> bool {
        asked.iter().any(|later| {
            let lived = later.ns().saturating_sub(named.ns());
            let delay = self.delay(later);
            let asks = rank(later.value.number) < rank(sig::SIGUSR1) && !is_own(&later.value);
            asks && lived > ROW && is_brief(lived, delay) && delay < HANDLED && !self.names(later)
        })
    }

    /// When it started the last of its workers, where it is a server that ends by SIGQUIT when they have done what they are at
    /// (nginx, php-fpm), and ended with the last of them.
    fn waited_for_workers(&self, own: ProcessId) -> Option<u64> {
        const REAPED: u64 = 100 * MS;
        let people = &self.world.people;
        people.get(own).filter(|server| servers::waits_after_quit(server))?;
        let (mut born_ns, mut is_last) = (None, false);
        let children = people.iter().filter(|(_, child)| child.parents.first() == Some(&own));
        for (id, child) in children.filter(|(id, _)| is_worker_of(people, *id, own, self.ns)) {
            let ended = child.ended_ns.filter(|ended| *ended <= self.ns);
            is_last |= ended.is_some_and(|ended| ended + REAPED >= self.ns);
            born_ns = born_ns.max(Some(child.start_ns.max(id.start_ns)));
        }
        born_ns.filter(|_| is_last)
    }

    /// Whether a signal is SIGQUIT and came when it had all the workers that it then waited for; `born_ns`: when it had started
    /// the last of them. How long those take is up to them; but what came very long before may have had another answer.
    fn quits_after_workers(&self, signal: &SeenSignal, born_ns: u64) -> bool {
        const LONGEST: u64 = 600 * S;
        signal.value.number == sig::SIGQUIT
            && born_ns <= signal.ns()
            && self.delay(signal) <= LONGEST
            && !is_own(&signal.value)
            && !mechanism::of(&signal.value).is_kernels_own()
    }

    fn is_by_descendant(&self, signal: &SeenSignal) -> bool {
        let parents = self.world.people.parents(signal.value.sender.id);
        parents.contains(&signal.value.target.id)
    }
}

/// What of that signal a process had caught which then sent it to itself to end, and a rival.
fn reraised<'a>(
    same: impl Iterator<Item = &'a SeenSignal>,
    last: &SeenSignal,
    end: OwnEnd<'_>,
) -> Option<(&'a SeenSignal, Option<&'a SeenSignal>)> {
    let within = if last.value.number == sig::SIGTERM { TIDIES_WITHIN } else { RERAISES_WITHIN };
    let caught: Vec<&SeenSignal> = same
        .filter(|signal| {
            signal.ns() < last.ns()
                && signal.value.sender.id != signal.value.target.id
                && is_caught(&signal.value)
        })
        .collect();
    let asked: Vec<_> =
        caught.iter().copied().filter(|signal| end.delay(signal) < within).collect();
    reason(&asked, &caught, end)
}

/// The process exited by itself: the signal it had caught before, if it was one that asks for it.
fn exited<'a>(signals: &[&'a SeenSignal], end: OwnEnd<'_>) -> Option<Blow<'a>> {
    let caught: Vec<&SeenSignal> =
        signals.iter().copied().filter(|signal| is_caught(&signal.value)).collect();
    let all: Vec<(u64, u8)> =
        caught.iter().map(|signal| (signal.ns(), signal.value.number)).collect();
    let status = end.status.unwrap_or_default();
    let quit = caught.iter().find(|it| status == 0 && it.value.number == sig::SIGQUIT);
    let waited = quit.and_then(|quit| end.waited_for_workers(quit.value.target.id));
    let in_time = |signal: &SeenSignal| {
        end.delay(signal) < patience(&signal.value, signal.ns(), status, end.program, &all)
            || waited.is_some_and(|born_ns| end.quits_after_workers(signal, born_ns))
    };
    let asked: Vec<_> = caught.iter().copied().filter(|signal| in_time(signal)).collect();
    let (signal, rival) = reason(&asked, &caught, end)?;
    Some(Blow { rival, ..blow(signal, Way::CaughtThenExited, Grade::Inferred) })
}

/// Signals that are no further apart than this are of one and the same row of attempts: whoever waits for an end asks
/// again within that time, and what came longer before had been answered otherwise.
const ROW: u64 = 30 * S;

/// Which of the signals that a process had `caught` brought about its end, and a rival that can have done so as well.
/// `asked` are those of them of which the end is soon enough to be their doing, both oldest first.
///
/// - What the end itself names is it: the signal that was raised again, or that for which the status stands (128 and its
///   number). A shell's status may be that of what it ran, and a service manager's stop is one thing whatever else comes;
///   and who had set the status long ago and got stuck ends right on the heels of a later request.
/// - Of the last row of attempts, the signal that asks most plainly ([`rank`]): after a reload by SIGHUP, SIGTERM is why.
/// - Of those that ask alike, the first. Its handler sets a flag, and the program takes its time to tidy up (shutdown hooks of
///   Java, a shell's trap that waits for what runs in the foreground) before it exits or raises the signal again; what comes
///   meanwhile finds the flag set, and changes nothing.
/// - But a later one where that has clearly cut this short, as a second Ctrl-C does: the end came on its heels, when the
///   process had lived with the other for many times as long ([`is_brief`]). SIGTERM is what programs tidy up longest for,
///   so that something else often comes meanwhile. Another request to end cuts that short, by its handler alone; and so does
///   a signal of another kind, the first of it, on the heels of which the process signalled others when it had done nothing
///   of the kind since SIGTERM: that it comes within some milliseconds of all that is hardly by chance.
fn reason<'a>(
    asked: &[&'a SeenSignal],
    caught: &[&'a SeenSignal],
    end: OwnEnd<'_>,
) -> Option<(&'a SeenSignal, Option<&'a SeenSignal>)> {
    let is_telling = !end.program.is_shell()
        && asked.iter().any(|signal| end.names(signal) && !end.is_overtaken(signal, asked))
        && !asked.iter().any(|signal| is_by_manager(signal));
    let candidates: Vec<_> =
        asked.iter().copied().filter(|signal| !is_telling || end.names(signal)).collect();
    let mut first = candidates.last()?.ns();
    for signal in candidates.iter().rev() {
        first = if signal.ns() + ROW >= first { signal.ns() } else { break };
    }
    let in_row = candidates.into_iter().filter(|signal| signal.ns() >= first);
    let best = in_row.min_by_key(|signal| (rank(signal.value.number), signal.ns()))?;
    let Some(later) = Later::of(caught, best, end) else {
        return Some((best, as_plain(asked, best, end.world)));
    };
    let nearer = later.signal;
    let asks = rank(nearer.value.number) < rank(sig::SIGUSR1);
    let is_new =
        || caught.iter().all(|it| it.value.number != nearer.value.number || it.ns() >= nearer.ns());
    let cuts_short = rank(best.value.number) > 0
        || end.delay(nearer) < HANDLED
            && (asks || is_new() && end.acted_on_the_second(best, nearer));
    let is_named = end.names(best) && !end.names(nearer);
    if later.is_clear && cuts_short && !is_named && !is_of_stop(end.world, best) {
        return Some((nearer, Some(best)));
    }
    Some((best, Some(nearer)))
}

/// The newest of the others that asked as plainly for the end as the one that is taken for its reason.
fn as_plain<'a>(
    asked: &[&'a SeenSignal],
    best: &SeenSignal,
    world: &World,
) -> Option<&'a SeenSignal> {
    let newest = asked.iter().copied().rfind(|signal| {
        rank(signal.value.number) <= rank(best.value.number)
            && !is_own(&signal.value)
            && !is_one_request(world, signal, best)
    });
    newest.filter(|_| !is_of_stop(world, best))
}

/// Whether a signal is another of the same request: sent again by the same one, or come by two ways.
fn is_one_request(world: &World, signal: &SeenSignal, other: &SeenSignal) -> bool {
    // A manager sends what several ask for.
    let by_one = || {
        is_by_same(signal, other) && (!is_by_manager(signal) || is_one_stop(world, signal, other))
    };
    signal.value.number == other.value.number
        && (signal.ns().abs_diff(other.ns()) < ONE_REQUEST || by_one())
}

fn is_by_same(one: &SeenSignal, other: &SeenSignal) -> bool {
    let (sent, also) = (&one.value, &other.value);
    let way = mechanism::of(sent);
    // A bystander may stand for the kernel.
    sent.sender.id == also.sender.id || way.is_kernels_own() && way == mechanism::of(also)
}

fn is_by_manager(signal: &SeenSignal) -> bool {
    manager_of(&signal.value.sender).is_some()
}

/// Whether a manager stopped the process, rather than sent what a client had asked for.
fn is_of_stop(world: &World, signal: &SeenSignal) -> bool {
    is_by_manager(signal) && said_for_client(world, signal).is_none()
}

/// Whether a manager sent both for one stop, as it sends SIGHUP along (`SendSIGHUP=`).
fn is_one_stop(world: &World, one: &SeenSignal, other: &SeenSignal) -> bool {
    is_by_same(one, other) && is_of_stop(world, one) && is_of_stop(world, other)
}

/// Which of several caught signals is the likelier reason; smaller is likelier.
const fn rank(number: u8) -> u8 {
    match number {
        sig::SIGTERM => 0,
        sig::SIGINT | sig::SIGQUIT => 1,
        sig::SIGHUP => 2,
        _ => 3,
    }
}

/// How much longer than from the second of two signals to its end a process has to have lived with the first, for the
/// second to be why.
const LONGER: u64 = 10;

/// Signals of one kind that are no further apart are one request, which came by two ways.
const ONE_REQUEST: u64 = 20 * MS;

/// A signal right before the end, when the process had lived through the likeliest one for a while.
struct Later<'a> {
    signal: &'a SeenSignal,
    /// The time from it to the end is small beside the time that the other had had no effect; and it is no other than its
    /// children's, or one that asks for the end: what they tell it else is no request.
    is_clear: bool,
}

impl<'a> Later<'a> {
    fn of(caught: &[&'a SeenSignal], best: &SeenSignal, end: OwnEnd<'_>) -> Option<Self> {
        let lived = |signal: &SeenSignal| signal.ns().saturating_sub(best.ns());
        let is_no_other = |signal: &SeenSignal| {
            is_everyday(signal.value.number)
                || is_own(&signal.value)
                || is_one_request(end.world, signal, best)
                || is_one_stop(end.world, signal, best)
        };
        let mut others =
            caught.iter().copied().filter(|signal| lived(signal) > 0 && !is_no_other(signal));
        let is_clear = |signal: &SeenSignal| {
            is_brief(lived(signal), end.delay(signal))
                && (rank(signal.value.number) < rank(sig::SIGUSR1) || !end.is_by_descendant(signal))
        };
        let clear = others.clone().filter(|signal| is_clear(signal));
        if let Some(signal) = clear.min_by_key(|signal| (rank(signal.value.number), signal.ns())) {
            return Some(Self { signal, is_clear: true });
        }
        let last = others.rfind(|it| {
            let is_near = end.delay(it) < HANDLED && end.delay(it) <= lived(it);
            // A broken pipe may come of its tidying up.
            is_near && mechanism::of(&it.value) != Mechanism::Pipe
        })?;
        Some(Self { signal: last, is_clear: false })
    }
}

/// Whether a process that had lived with a signal for so long, and ended so long after another, has clearly ended by that.
fn is_brief(lived: u64, delay: u64) -> bool {
    lived >= ONE_REQUEST && delay <= (lived / LONGER).min(S)
}

/// The fault or abort of the process itself that was ending it when SIGKILL came: it takes time to dump a core, and
/// SIGKILL is all that can cut that short. Such a signal strikes the thread that it is for at once.
fn dying_before<'a>(signals: &[&'a SeenSignal], killed: &SeenSignal) -> Option<&'a SeenSignal> {
    signals.iter().copied().find(|signal| {
        let sent = &signal.value;
        signal.ns() < killed.ns()
            && sent.disposition == Some(Disposition::Default)
            && !(sent.blocked || sent.ptraced || sent.namespace_init)
            && sent.sender.id == sent.target.id
            && match mechanism::of(sent) {
                Mechanism::Fault | Mechanism::Seccomp => true,
                own => sent.number == sig::SIGABRT && !own.is_kernels_own(),
            }
    })
}

/// A fault that the process had caught not long before a SIGKILL: it may have been ending of that already.
pub fn fault_in_hand<'a>(
    world: &'a World,
    exit: &Seen<Exit>,
    blow: Blow<'_>,
) -> Option<&'a SeenSignal> {
    const MAY_TAKE: u64 = 5 * S;
    if blow.signal.value.number != sig::SIGKILL || Program::of(world, &exit.value).runtime {
        return None;
    }
    // Debuggers try out what the kernel can do on a child that they have not had execute anything.
    let sent = &blow.signal.value;
    let is_trial = sent.ptraced
        && sent.sender.comm == sent.target.comm
        && world.people.parents(exit.value.task.id).first() == Some(&sent.sender.id);
    if is_trial {
        return None;
    }
    let mut faults = world.signals_to(exit.value.task.id).iter().filter(|signal| {
        signal.ns() < blow.signal.ns()
            && is_caught(&signal.value)
            && mechanism::of(&signal.value) == Mechanism::Fault
    });
    // One that had caught another before goes on after such.
    let fault = faults.next()?;
    let only = faults.all(|other| {
        other.value.target.tid == fault.value.target.tid && other.ns() < fault.ns() + HANDLED
    });
    (only && fault.ns() + MAY_TAKE > blow.signal.ns()).then_some(fault)
}
