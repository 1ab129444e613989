//! What a process was told by a signal that it caught, and went on or ended later: the verdict on that signal, as if the
//! process had ended by it. So whoever it ended in its turn has the same cause as it has, or would have, itself.

use super::case::Case;
use super::causes::Finding;
use super::decide;
use super::judge::Verdict;
use super::manager::{is_manager, manager_of};
use super::people::{Known, People};
use super::relay::{FOLLOWED, is_order, order_before};
use super::servers;
use super::unit_command::UnitCommand;
use super::world::{Seen, SeenSignal};
use crate::evidence::{Exit, MS, ProcessId, S, sig};

/// How soon after a signal that need not ask for any end a worker ends by what its parent made of it.
const AT_ONCE: u64 = 2 * S;

/// A signal that a process caught, and how it came about.
#[derive(Debug)]
pub struct Told<'a> {
    /// The signal.
    pub got: &'a SeenSignal,
    /// The story of the signal, about the process that got it.
    pub reason: Finding,
}

impl<'a> Told<'a> {
    /// Why a process had got a signal that another led to, which this case is about.
    pub fn why(case: &Case<'_>, got: &'a SeenSignal) -> Self {
        let target = &got.value.target;
        let ended = case.world.exit_of(target.id).filter(|exit| {
            let blow = decide::decide(case.world, exit);
            blow.is_some_and(|blow| is_same(blow.signal, got))
        });
        let reason = if let Some(exit) = ended {
            Verdict::on(&Case::new(case.world, exit)).finding
        } else {
            let exit = as_if_ended(case, got);
            Verdict::on(&Case::of_told(case.world, &exit, got)).finding
        };
        Self { got, reason }
    }

    /// What the victim's parent had been told shortly before the victim ended of its own accord. Programs hand such things on
    /// to their workers over pipes and sockets, which nobody hears.
    pub fn parent(case: &Case<'a>) -> Option<&'a SeenSignal> {
        let parent = *case.world.people.parents(case.victim).first()?;
        // A manager is no server of what it runs.
        if is_manager(case.world, parent) {
            return None;
        }
        // What the victim and its siblings tell is mostly about themselves.
        let is_other =
            |by: ProcessId| by != case.victim && !case.world.people.parents(by).contains(&parent);
        let within = |within: u64| {
            let ended_ns = case.struck_ns();
            let got = order_before(case.world, parent, ended_ns, within, &is_other)?;
            (case.victim.start_ns < got.ns()).then_some(got)
        };
        within(AT_ONCE).or_else(|| within(FOLLOWED).filter(|got| asks(got)))
    }

    /// What had asked a worker's parent to end in the hour before, where that has begun to: such a server waits until its workers
    /// have done what they are at.
    pub fn parent_to_end(case: &Case<'a>) -> Option<&'a SeenSignal> {
        const LONGEST: u64 = 3600 * S;
        let parent = *case.world.people.parents(case.victim).first().filter(|_| is_worker(case))?;
        let got = case.world.signals_to(parent).iter().rev().find(|got| {
            (case.victim.start_ns..=case.struck_ns()).contains(&got.ns())
                && got.ns() + LONGEST >= case.struck_ns()
                && (hurries(got) || got.value.number == sig::SIGQUIT)
                && is_order(got)
        })?;
        is_ending(case, parent, got.ns()).then_some(got)
    }
}

/// Whether a server that had been told something ended with the victim, or has let others of its workers end since and started
/// no new ones: else it went on.
fn is_ending(case: &Case<'_>, server: ProcessId, told_ns: u64) -> bool {
    const WITHIN: u64 = 5 * S;
    let people = &case.world.people;
    let ended = people.get(server).and_then(|server| server.ended_ns);
    if ended.is_some_and(|ended| ended <= case.exit.ns().saturating_add(WITHIN)) {
        return true;
    }
    let (mut others_ended, mut started) = (false, false);
    for (id, child) in people.iter().filter(|(_, it)| it.parents.first() == Some(&server)) {
        if id != case.victim && is_worker_of(people, id, server, case.exit.ns()) {
            others_ended |= child.ended_ns.is_some_and(|ended| ended > told_ns);
            started |= child.start_ns > told_ns;
        }
    }
    others_ended && !started
}

/// Whether a signal asks for an end at once: SIGQUIT lets nginx's workers do first what they are at.
pub fn hurries(got: &SeenSignal) -> bool {
    matches!(got.value.number, sig::SIGINT | sig::SIGTERM)
}

/// New workers that a server started beside those that it had, when it had been told something, whereupon the old ones ended: so
/// a server does that reads its settings anew without breaking off what its workers are at (nginx, gunicorn). How long the old
/// ones have to do then is up to them.
#[derive(Debug)]
pub struct Generation<'a> {
    /// What the server had got.
    pub got: &'a SeenSignal,
    /// How many it started.
    pub begun: usize,
    /// Whether the server is known to do so by that signal.
    pub is_known: bool,
}

impl<'a> Generation<'a> {
    /// The first that came after the victim.
    pub fn after(case: &Case<'a>) -> Option<Self> {
        let people = &case.world.people;
        let parent = *people.parents(case.victim).first()?;
        if !is_worker(case) || is_manager(case.world, parent) {
            return None;
        }
        let ended_ns = case.exit.ns();
        let born_ns = people.get(case.victim)?.start_ns;
        let server = people.get(parent)?;
        let is_known = |got: &SeenSignal| servers::renews(server, got.value.number);
        let renews = |got: &&SeenSignal| {
            let longest = if is_known(got) { LONGEST_KNOWN } else { LONGEST_OTHER };
            (is_known(got) || matches!(got.value.number, sig::SIGHUP | sig::SIGUSR2))
                && (born_ns..=ended_ns).contains(&got.ns())
                && got.ns() + longest >= ended_ns
                && is_order(got)
        };
        let mut told = case.world.signals_to(parent).iter().filter(renews).peekable();
        told.peek()?;
        let workers: Vec<&Known> = people
            .iter()
            .filter(|(id, known)| {
                let is_child = known.parents.first() == Some(&parent);
                is_child && is_worker_of(people, *id, parent, ended_ns)
            })
            .map(|(_, known)| known)
            .collect();
        told.find_map(|got| {
            let begun = begun_beside(&workers, born_ns, got.ns(), ended_ns)?;
            let is_known = is_known(got);
            old_ended(&workers, got.ns(), ended_ns, is_known).then_some(Self {
                got,
                begun,
                is_known,
            })
        })
    }
}

/// How long a worker of a server that is known to renew them may be at something: downloads and open sockets take hours.
const LONGEST_KNOWN: u64 = 24 * 3600 * S;

/// The same of any other server.
const LONGEST_OTHER: u64 = 3600 * S;

/// Whether others that were there when a server was told something have ended since, as a whole generation does, and were not
/// replaced one by one, as those are that have served enough. One that had been alone is judged by itself where its server is
/// known to renew its workers so.
fn old_ended(workers: &[&Known], told_ns: u64, ended_ns: u64, is_known: bool) -> bool {
    let mut begun: Vec<u64> =
        workers.iter().map(|it| start(it)).filter(|it| *it > told_ns).collect();
    begun.sort_unstable();
    let is_replaced = |ended: u64| {
        let next = begun.get(begun.partition_point(|it| *it < ended));
        next.is_some_and(|next| *next <= ended.saturating_add(S))
    };
    let mut old = workers
        .iter()
        .filter(|it| start(it) <= told_ns && it.ended_ns.is_none_or(|ended| ended > told_ns));
    let until_ns = ended_ns.saturating_add(FOLLOWED);
    let has_ended = |ended: u64| ended <= until_ns && !is_replaced(ended);
    // The victim is one of them.
    let ended = old.clone().filter(|it| it.ended_ns.is_some_and(has_ended)).count();
    let is_alone = old.nth(1).is_none();
    !is_replaced(ended_ns) && (ended > 1 || is_alone && is_known)
}

/// How many workers were started right after that time beside those that were there, where that is a new generation of them:
/// some for those that end are a server's everyday, and so are some for each client. `born_ns`: when the victim was started,
/// and with it, it may be, all of its own generation.
fn begun_beside(workers: &[&Known], born_ns: u64, told_ns: u64, until_ns: u64) -> Option<usize> {
    let born =
        |from: u64, to: u64| workers.iter().filter(move |it| (from..to).contains(&start(it)));
    let new = || born(told_ns, until_ns.min(told_ns.saturating_add(FOLLOWED)));
    let last_ns = new().map(|it| start(it)).max()?;
    let began_before = born(0, told_ns);
    let had: Vec<_> =
        began_before.filter(|it| it.ended_ns.is_none_or(|ended| ended > told_ns)).collect();
    let ended = had.iter().filter(|it| it.ended_ns.is_some_and(|ended| ended <= last_ns)).count();
    let mut before = born(told_ns.saturating_sub(FOLLOWED), told_ns);
    let is_everyday = before.any(|it| it.start_ns.abs_diff(born_ns) > S);
    let begun = new().count();
    (!is_everyday && begun > ended && begun * 2 >= had.len()).then_some(begun)
}

/// When a process can have been started at the latest: `/proc` rounds down.
const fn start(known: &Known) -> u64 {
    const TICK: u64 = 10 * MS;
    known.start_ns + if known.start_ns.is_multiple_of(TICK) { TICK - 1 } else { 0 }
}

/// Whether a signal is one of those that ask for an end, or for a new beginning.
pub fn asks(got: &SeenSignal) -> bool {
    matches!(got.value.number, sig::SIGHUP | sig::SIGINT | sig::SIGQUIT | sig::SIGTERM)
}

/// Whether another child of the victim's parent ended as the victim did, after the parent had got this signal: one alone may
/// have ended for a reason of its own.
pub fn ended_with_others(case: &Case<'_>, got: &SeenSignal) -> bool {
    let parent = Some(got.value.target.id);
    let until_ns = case.struck_ns().saturating_add(FOLLOWED);
    case.world.exits.iter().any(|exit| {
        let id = exit.value.task.id;
        id != case.victim
            && (got.ns()..=until_ns).contains(&exit.ns())
            && case.world.people.parents(id).first().copied() == parent
    })
}

/// Whether the victim was forked from its parent and ran no program of its own, in the same unit, as the workers of a server
/// do: it is no job that ends when it is done, and no session of somebody's.
pub fn is_worker(case: &Case<'_>) -> bool {
    let people = &case.world.people;
    let parent = people.parents(case.victim).first().copied();
    parent.is_some_and(|parent| is_worker_of(people, case.victim, parent, case.exit.ns()))
}

/// The same of any process and its parent, at a time.
pub fn is_worker_of(people: &People, id: ProcessId, parent_id: ProcessId, at_ns: u64) -> bool {
    let Some((own, parent)) = people.get(id).zip(people.get(parent_id)) else { return false };
    let differ = |own: Option<&String>, parent: Option<&String>| {
        own.zip(parent).is_some_and(|(own, parent)| own != parent)
    };
    let executed = [id, parent_id].map(|id| people.executed_at(id, at_ns));
    let ran_another = match executed {
        [Some(own), Some(parent)] => own != parent,
        [Some(_), None] => true,
        [None, _] => false,
    };
    own.comm.is_some()
        && own.comm == parent.comm
        && !differ(own.exe.as_ref(), parent.exe.as_ref())
        && !differ(own.cgroup.as_ref(), parent.cgroup.as_ref())
        && !ran_another
}

/// Whether the sender of a signal is a service manager or a command that one ran for a unit: their reasons are told by
/// [`Told::why`].
pub fn is_by_unit(case: &Case<'_>, got: &SeenSignal) -> bool {
    let sender = &got.value.sender;
    manager_of(sender).is_some() || UnitCommand::of(case, sender).is_some()
}

fn is_same(one: &SeenSignal, other: &SeenSignal) -> bool {
    one.ns() == other.ns()
        && one.value.number == other.value.number
        && one.value.sender.id == other.value.sender.id
}

/// The end that a process would have had by a signal, at the time of the victim's.
fn as_if_ended(case: &Case<'_>, got: &SeenSignal) -> Seen<Exit> {
    let exit = Exit {
        task: got.value.target.clone(),
        ancestors: Vec::new(),
        is_target: false,
        status: u32::from(got.value.number),
        ptracer: None,
        seccomp: 0,
        pending: Vec::new(),
        unseen: false,
    };
    Seen { at: case.exit.at, source: got.source, value: exit }
}
