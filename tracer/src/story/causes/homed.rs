//! Deaths that systemd-homed brings about: it ends all that a user runs when the image of the home directory is gone.

use super::{Finding, Fit, Opinion};
use crate::evidence::{CgroupOwner, Grade, JournalLine, S, sig};
use crate::story::case::Case;
use crate::story::verdict::{CauseId, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, journal, words};

const SERVICE: &str = "systemd-homed.service";

/// `home_killall` in `src/home/homed-home.c`: a child that has become the user kills everything it may. It has no other
/// caller than who finds that the image of an active home directory has disappeared (`manager_revalidate_image`).
pub fn home_image_gone(case: &Case<'_>) -> Option<Opinion> {
    const NAME: &str = "(sd-killer)";
    let sender = case.sender().filter(|sender| sender.comm == NAME)?;
    let unit = sender.cgroup.as_deref().and_then(|cgroup| CgroupOwner::of(cgroup).unit);
    if unit.as_deref() != Some(SERVICE) || case.blow?.signal.value.number != sig::SIGKILL {
        return None;
    }
    let user = case.world.user_name(sender.uid);
    let killer = words::name_pid(&case.task(sender));
    let said = case.world.journal.iter().rev().find(|line| said_so(line, &user, case.struck_ns()));
    let why = match said {
        Some(_) => format!("since the image of {user}'s home directory was gone, as it logged"),
        None => format!(
            "as it does where the image of a home directory in use, {user}'s here, has disappeared; that it had was not seen"
        ),
    };
    let link = said.map(|line| {
        let text = format!("systemd-homed logged {}", words::quotation(&line.value.message));
        case.link(line.at, LinkEvent::UnitState, line.source, None, text).before(case.exit.at)
    });
    Finding::new(
        CauseId::HomedImageGone,
        Fit::Exact,
        if said.is_some() { Grade::Reported } else { Grade::Inferred },
        format!(
            "{} was killed by {killer} of systemd-homed, which ended everything that runs as {user}, {why}.",
            case.victim_name()
        ),
    )
    .links(link)
    .fixes([fixes::home_image(&user)])
    .answer()
}

fn said_so(line: &Seen<JournalLine>, user: &str, struck_ns: u64) -> bool {
    const SHORTLY: u64 = 10 * S;
    let message = &line.value.message;
    journal::from_daemon(&line.value, "systemd-homed")
        && message.starts_with("Backing image disappeared")
        && message.split([' ', ',']).any(|word| word == user)
        && line.ns() <= struck_ns + S
        && line.ns() + SHORTLY >= struck_ns
}
