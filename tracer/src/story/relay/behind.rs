//! The story behind a story: why a service manager had ended, or told, whoever did it.

use super::{ByWayOf, FOLLOWED, Hop};
use crate::evidence::{Grade, Task};
use crate::story::case::Case;
use crate::story::causes::Finding;
use crate::story::decide::Blow;
use crate::story::judge::Verdict;
use crate::story::manager::manager_of;
use crate::story::mechanism;
use crate::story::told::{Told, is_by_unit};
use crate::story::verdict::CauseId;

/// Whoever did it had been told to by a service manager, or by what one ran for a unit: that story is the reason for this
/// one, and its cause is this one's, too. Whether it was so.
pub(super) fn told_by_unit(case: &Case<'_>, hop: &Hop<'_>, finding: &mut Finding) -> bool {
    if hop.mechanism.is_kernels_own()
        || hop.by_way_of == ByWayOf::Terminal
        || !is_by_unit(case, hop.got)
    {
        return false;
    }
    adopt(Told::why(case, hop.got), case, finding);
    true
}

/// Adds a story to the one that it led to.
fn adopt(told: Told<'_>, case: &Case<'_>, finding: &mut Finding) {
    let reason = told.reason;
    finding.explanation.push(' ');
    finding.explanation.push_str(&reason.explanation);
    // That a signal was passed on is a conclusion.
    finding.grade = finding.grade.min(reason.grade).min(Grade::Inferred);
    if matches!(finding.id, CauseId::ProcessSignal | CauseId::UserCommand)
        && reason.id != CauseId::Unknown
    {
        finding.id = reason.id;
    }
    finding.settings.extend(reason.settings);
    finding.links.extend(reason.links);
    // At the same moment, what led to it was first.
    finding.links.push(case.signal_link(told.got, mechanism::of(&told.got.value)));
    finding.gaps.extend(reason.gaps);
    // What keeps that one from being ended helps this one, too.
    finding.fixes.splice(0..0, reason.fixes);
}

/// Whoever did it, or whose end it came from, was being ended by a service manager at that time: that story is the
/// reason for this one. Whether there was one.
pub(super) fn stopped_before(
    case: &Case<'_>,
    moved: &Task,
    blow: Blow<'_>,
    finding: &mut Finding,
) -> bool {
    if moved.id == case.victim || manager_of(moved).is_some() {
        return false;
    }
    let Some(exit) = case.world.exit_of(moved.id) else { return false };
    let above = Case::new(case.world, exit);
    // Nobody runs what holds a login's terminal by hand.
    let is_login = moved.comm.starts_with("sshd") || moved.comm == "login";
    let above = if is_login { above.on_behalf_of(case) } else { above };
    let by_manager = |sender: &Task| manager_of(sender).is_some();
    let Some(struck) = above.blow.filter(|struck| by_manager(&struck.signal.value.sender)) else {
        return false;
    };
    let lead = blow.signal.ns().checked_sub(struck.signal.ns());
    if lead.is_none_or(|lead| lead > FOLLOWED) {
        return false;
    }
    let reason = Verdict::on(&above).finding;
    finding.explanation.push(' ');
    finding.explanation.push_str(&reason.explanation);
    // No better proven than what it rests on.
    finding.grade = finding.grade.min(reason.grade);
    finding.settings.extend(reason.settings);
    finding.links.extend(reason.links);
    // At the same moment, what led to it was first.
    finding.links.push(above.signal_link(struck.signal, struck.mechanism));
    finding.gaps.extend(reason.gaps);
    // What keeps that one from being ended helps this one, too.
    finding.fixes.splice(0..0, reason.fixes);
    true
}
