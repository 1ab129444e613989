//! What a process was told by a signal that it caught, and went on or ended later: the verdict on that signal, as if the
//! process had ended by it. So whoever it ended in its turn has the same cause as it has, or would have, itself.

use super::case::Case;
use super::causes::Finding;
use super::decide;
use super::judge::Verdict;
use super::manager::{is_manager, manager_of};
use super::relay::{FOLLOWED, order_before};
use super::unit_command::UnitCommand;
use super::world::{Seen, SeenSignal};
use crate::evidence::{Exit, ProcessId, S, sig};

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
    let ended_ns = case.exit.ns();
    let Some(parent_id) = people.parents(case.victim).first().copied() else { return false };
    let Some((own, parent)) = people.get(case.victim).zip(people.get(parent_id)) else {
        return false;
    };
    let differ = |own: Option<&String>, parent: Option<&String>| {
        own.zip(parent).is_some_and(|(own, parent)| own != parent)
    };
    let executed = [case.victim, parent_id].map(|id| people.executed_at(id, ended_ns));
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
