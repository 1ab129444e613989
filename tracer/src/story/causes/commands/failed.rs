//! Another child that had failed before its parent ended this one.

use crate::evidence::{Exit, MS, Moment, S, Task};
use crate::story::case::Case;
use crate::story::decide::decide;
use crate::story::upstream::End;
use crate::story::verdict::{Link, Outcome};
use crate::story::words;
use crate::story::world::Seen;

/// How soon whoever waits for its children has acted on the end of one, by ending the others or itself: the waking takes
/// less than 2 ms (GNU parallel, a shell's `wait -n`, Python's pools), but some look only every 10 to 40 ms.
pub(super) const REAPED: u64 = 50 * MS;

/// Another child of whoever ended the victim, its parent, too, that had failed before without being ended by it: runners
/// of several jobs end the others then. It is no reason to end one that was started only after that.
pub(super) struct Failed<'a> {
    pub(super) exit: &'a Seen<Exit>,
    /// It came right before, so that it may be why; else it is only told.
    right_before: bool,
}

impl<'a> Failed<'a> {
    pub(super) fn before(case: &Case<'a>, sender: &Task) -> Option<Self> {
        const BEFORE: u64 = 500 * MS;
        /// What runs for less is a command that was asked something, rather than a job.
        const JOB: u64 = S;
        let parents = case.world.people.parents(case.victim);
        if !parents.contains(&sender.id) {
            return None;
        }
        let struck_ns = case.struck_ns();
        let by_sender = |exit: &Seen<Exit>| {
            let blow = decide(case.world, exit);
            blow.is_some_and(|blow| blow.signal.value.sender.id == sender.id)
        };
        let is_child = |exit: &Seen<Exit>| {
            let own = case.world.people.parents(exit.value.task.id);
            own.first() == Some(&sender.id)
        };
        let exit = case.world.exits.iter().rev().find(|exit| {
            let id = exit.value.task.id;
            exit.ns() <= struck_ns
                && exit.ns() + BEFORE >= struck_ns
                && case.victim.start_ns <= exit.ns()
                && exit.value.status != 0
                && !exit.value.unseen
                && id != case.victim
                && !parents.contains(&id)
                && is_child(exit)
                && !by_sender(exit)
        })?;
        let right_before = exit.ns() + REAPED >= acted_after(case, sender, exit.ns());
        let ran = exit.ns().saturating_sub(exit.value.task.id.start_ns);
        let was_job = ran >= JOB || exit.value.killed_by().is_some();
        (right_before || was_job).then_some(Self { exit, right_before })
    }

    pub(super) fn sentence(&self, case: &Case<'_>) -> String {
        let sibling = case.task(&self.exit.value.task);
        let how = match Outcome::of(&self.exit.value) {
            Outcome::Exited { status } => format!("exited with {status}"),
            Outcome::Signaled { signal, .. } => format!("been killed by {signal}"),
            Outcome::Unknown => "ended".to_owned(),
        };
        let lead = words::span(case.struck_ns().saturating_sub(self.exit.ns()));
        let (name, command) = (words::name_pid(&sibling), words::command_line(&sibling));
        let why = if self.right_before { ", which may be why" } else { "" };
        // Who had done that is the beginning of this story.
        let end = End::of(case, self.exit.value.task.id).filter(|end| end.killer().is_some());
        let (how, by) = match end.filter(|_| self.right_before) {
            Some(end) => ("ended".to_owned(), format!(": {}", end.sentence(case))),
            None => (how, String::new()),
        };
        format!(" {lead} before that, its sibling {name}, \"{command}\", had {how}{why}{by}.")
    }

    /// What ended it, and its end: that was seen, whether or not it is why.
    pub(super) fn links(&self, case: &Case<'a>, effect: Moment) -> Vec<Link> {
        let end = End::of(case, self.exit.value.task.id).filter(|_| self.right_before);
        end.map(|end| end.links(case, effect)).unwrap_or_default()
    }
}

/// When the sender of the blow first signalled a child of its after that time: it may end one after the other, or repeat
/// what it sends.
fn acted_after(case: &Case<'_>, sender: &Task, ns: u64) -> u64 {
    let is_child = |id| case.world.people.parents(id).contains(&sender.id);
    let mut acts = case.world.sent_since(sender.id, ns);
    acts.find(|(_, target)| is_child(*target)).map_or_else(|| case.struck_ns(), |(sent, _)| sent)
}
