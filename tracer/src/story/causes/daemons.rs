//! Daemons of the system that end what others have left running: udev.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, S, sig};
use crate::story::case::Case;
use crate::story::verdict::{CauseId, LinkEvent};
use crate::story::{fixes, journal, words};

/// udev ends what a rule's `RUN` started: at once when it took too long, and when udev has nothing more to do, whatever
/// is left in its cgroup (`cg_kill` in `src/udev/udevd.c`, of which it logs nothing).
pub fn udev(case: &Case<'_>) -> Option<Opinion> {
    const SERVICE: &str = "systemd-udevd.service";
    // A rule's own pkill(1) lives there as well.
    const NAMES: [&str; 3] = ["systemd-udevd", "(udev-worker)", "udevadm"];
    let sender = case.sender().filter(|sender| sender.euid == 0)?;
    if case.blow?.signal.value.number != sig::SIGKILL || !NAMES.contains(&sender.comm.as_str()) {
        return None;
    }
    if !case.is_struck_from(SERVICE) || case.placement.unit.as_deref() != Some(SERVICE) {
        return None;
    }
    let name = case.victim_name();
    let udev = words::name_pid(&case.task(sender));
    let pid = format!("[{}]", case.victim.pid);
    let said = case.world.journal.iter().rev().find(|line| {
        journal::from_daemon(&line.value, "systemd-udevd")
            && line.value.message.contains(&pid)
            && line.value.message.contains("timed out")
            && line.ns().abs_diff(case.struck_ns()) <= 5 * S
    });
    let (grade, text) = match said {
        Some(line) => (
            Grade::Reported,
            format!(
                "{name} was ended by {udev}: a rule for a device had started it, and it took too long: {}.",
                words::quotation(&line.value.message)
            ),
        ),
        None => (
            Grade::Inferred,
            format!(
                "{name} was ended by {udev}: it lived in {SERVICE}, so a rule for a device must have started it, and \
                 udev kills whatever its rules leave running as soon as it has nothing more to do."
            ),
        ),
    };
    let link = said.map(|line| {
        let text = format!("systemd-udevd logged {}", words::quotation(&line.value.message));
        case.link(line.at, LinkEvent::Timeout, line.source, None, text).before(case.exit.at)
    });
    Finding::new(CauseId::UdevCleanup, Fit::Exact, grade, text)
        .links(link)
        .fixes([fixes::udev_unit()])
        .answer()
}
