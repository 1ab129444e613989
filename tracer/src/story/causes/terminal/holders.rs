//! Who held the other end of a terminal that hung up, and what became of it.

use super::{ENDS, HANGS_UP, LetGo, ended_words, tty};
use crate::evidence::{Exit, Moment, ProcessId, Task};
use crate::story::case::Case;
use crate::story::decide::Blow;
use crate::story::upstream::End;
use crate::story::verdict::{Link, Outcome};
use crate::story::words;
use crate::story::world::Seen;

/// The end of what had closed a terminal, right after that, and not by a signal that was seen: it was at its end.
pub(super) struct OwnEnd<'a> {
    exit: &'a Seen<Exit>,
    /// A signal to it would have been seen, also one that it caught.
    is_watched: bool,
}

impl<'a> OwnEnd<'a> {
    pub(super) fn after(case: &Case<'a>, holder: ProcessId, closed_ns: u64) -> Option<Self> {
        let exit = case.world.exit_of(holder)?;
        let is_after = exit.ns() >= closed_ns && exit.ns() < closed_ns + ENDS;
        let by_itself = End::of(case, holder).is_some_and(|end| end.is_by_itself());
        let parents = case.world.people.parents(case.victim);
        let is_watched = exit.value.is_target
            || parents.contains(&holder)
            || case.world.is_watched_holder(holder);
        (is_after && by_itself).then_some(Self { exit, is_watched })
    }

    /// How it reads, after what it did: `, and ended itself (it exited with 0, 1 ms later)`
    pub(super) fn clause(&self, closed_ns: u64) -> String {
        if self.is_watched {
            return format!(", and ended itself{}", ended_words(self.exit, closed_ns));
        }
        let delay = words::span(self.exit.ns().saturating_sub(closed_ns));
        let how = Outcome::of(&self.exit.value).clause();
        format!(", and {how}, {delay} later (whether a signal had told it to was not watched)")
    }
}

/// A hangup of a shell that was not seen: it hung up its jobs and ended by SIGHUP, so that it had got that itself.
pub(super) struct UnseenHangup<'a> {
    shell: &'a Seen<Exit>,
    /// What had held the other end of its terminal, and its end right before.
    holder: Option<(&'a Task, End<'a>)>,
}

impl<'a> UnseenHangup<'a> {
    pub(super) fn of(case: &Case<'a>, blow: Blow<'_>, let_go: &LetGo<'a>) -> Option<Self> {
        let shell = let_go.ended.filter(|_| let_go.by_hangup && let_go.hung_up.is_none())?;
        Some(Self { shell, holder: holder_ended(case, blow) })
    }

    /// What had held the other end, where its end was seen.
    pub(super) fn holder(&self) -> Option<&'a Task> {
        self.holder.as_ref().map(|(task, _)| *task)
    }

    /// How it reads, after the story of what the shell did.
    pub(super) fn sentence(&self, case: &Case<'_>, blow: Blow<'_>) -> String {
        let name = words::name_pid(&case.task(&blow.signal.value.sender));
        let delay = words::span(self.shell.ns().saturating_sub(blow.signal.ns()));
        let why = self.holder.as_ref().map(|(task, end)| {
            let holder = words::name_pid(&case.task(task));
            let lead = words::span(blow.signal.ns().saturating_sub(end.ns()));
            let by_whom = end.by_whom(case);
            format!(
                ", and {holder}{by_whom}, which held the other end of {}, had ended {lead} before",
                tty(case)
            )
        });
        let unknown = "; who or what had done that was not seen".to_owned();
        format!(
            " {name} seems to have been hung up itself: it ended by SIGHUP {delay} later{}.",
            why.unwrap_or(unknown)
        )
    }

    /// What had ended the holder, and that end.
    pub(super) fn links(&self, case: &Case<'a>, effect: Moment) -> Vec<Link> {
        self.holder.as_ref().map(|(_, end)| end.links(case, effect)).unwrap_or_default()
    }
}

/// What held the other end of the victim's terminal, and had ended right before a shell there hung up its jobs.
fn holder_ended<'a>(case: &Case<'a>, blow: Blow<'_>) -> Option<(&'a Task, End<'a>)> {
    let sent = &blow.signal.value;
    // What has been hung up is nobody's terminal any more: it is found by the leader of the session on it.
    let mut known = case.world.terminals.values().flatten();
    let by_leader = known.find(|it| it.session_leader == Some(sent.sender.id));
    let by_name = || case.world.terminal(sent.tty.as_deref()?, case.victim);
    let terminal = by_leader.or_else(by_name).filter(|it| !it.unsure)?;
    let before = blow.signal.ns().saturating_sub(HANGS_UP)..=blow.signal.ns();
    let exits = terminal.holders.iter().filter_map(|id| case.world.exit_of(*id));
    let exit = exits.filter(|exit| before.contains(&exit.ns())).max_by_key(|exit| exit.ns())?;
    Some((&exit.value.task, End::of(case, exit.value.task.id)?))
}
