//! Daemons of the system that end what others have left running: udev, homed.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, sig};
use crate::story::case::Case;
use crate::story::verdict::{CauseId, LinkEvent};
use crate::story::{fixes, units, words};

const S: u64 = 1_000_000_000;

/// udev ends what a rule's `RUN` started: at once when it took too long, and when udev has nothing more to do, whatever
/// is left in its cgroup (`cg_kill` in `src/udev/udevd.c`, of which it logs nothing).
pub fn udev(case: &Case<'_>) -> Option<Opinion> {
    const SERVICE: &str = "systemd-udevd.service";
    let sender = case.sender().filter(|sender| sender.euid == 0)?;
    if !units::struck_from(case, SERVICE) || case.placement.unit.as_deref() != Some(SERVICE) {
        return None;
    }
    let name = case.victim_name();
    let udev = words::name_pid(&case.task(sender));
    let pid = format!("[{}]", case.victim.pid);
    let said = case.world.journal.iter().rev().find(|line| {
        units::from_daemon(&line.value, "systemd-udevd")
            && line.value.message.contains(&pid)
            && line.value.message.contains("timed out")
            && line.ns().abs_diff(case.struck_ns()) <= 5 * S
    });
    let (grade, text) = match said {
        Some(line) => (
            Grade::Reported,
            format!(
                "{name} was ended by {udev}: a rule for a device had started it, and it took too long: \"{}\".",
                line.value.message
            ),
        ),
        None => (
            Grade::Inferred,
            format!(
                "{name} was ended by {udev}, in whose unit it lived: a rule for a device must have started it, and udev \
                 kills whatever its rules leave running as soon as it has nothing more to do."
            ),
        ),
    };
    let link = said.map(|line| {
        let text = format!("systemd-udevd logged \"{}\"", line.value.message);
        case.link(line.at, LinkEvent::Timeout, line.source, None, text).before(case.exit.at)
    });
    Finding::new(CauseId::UdevCleanup, Fit::Exact, grade, text)
        .links(link)
        .fixes([fixes::udev_unit()])
        .answer()
}

/// homed ends the processes of a user whose home it is to lock away (`home_killall` in `src/home/homed-home.c`): by
/// a child that becomes that user and kills all that it may.
pub fn homed(case: &Case<'_>) -> Option<Opinion> {
    let sender = case.sender()?;
    let number = case.blow?.signal.value.number;
    if number != sig::SIGKILL
        || sender.comm != "(sd-killer)"
        || !units::struck_from(case, "systemd-homed.service")
    {
        return None;
    }
    let user = case
        .world
        .user(sender.uid)
        .map_or_else(|| sender.uid.to_string(), |user| user.name.clone());
    Finding::new(
        CauseId::HomedDeactivation,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} was killed by systemd-homed, by way of {}: it locked the home of {user} away after the last logout, and \
             ended whatever {user} had left running.",
            case.victim_name(),
            words::name_pid(&case.task(sender))
        ),
    )
    .fixes([fixes::homed_keep(&user)])
    .answer()
}
