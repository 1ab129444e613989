//! Who wrote a line of the journal, by what journald says of the writer, and what service managers log.

use super::manager::UnitStop;
use super::world::{Seen, SeenSignal, World};
use crate::evidence::{JournalLine, Manager, ProcessId, S, SignalSent};

/// How long after an end what was logged before it may be heard, nanoseconds.
const LOGGED: u64 = 2 * S;

/// Whether a journal line was written by a daemon of the system: by what journald says of the
/// writer, not by the identifier, which anybody can choose.
pub fn from_daemon(line: &JournalLine, comm: &str) -> bool {
    let own = line.from_unit.as_deref().and_then(|unit| unit.strip_suffix(".service"));
    // A service's processes cannot leave its cgroup, but any of them can take another's name; only root's is believed.
    let short = comm.get(..15).unwrap_or(comm);
    own == Some(comm) || (line.uid == Some(0) && line.comm.as_deref() == Some(short))
}

/// Whether a line of the journal is a service manager's own, by what journald says of the writer.
pub fn from_manager(line: &JournalLine, manager: Manager) -> bool {
    match manager {
        Manager::System => line.pid == Some(1),
        Manager::User(uid) => line.uid == Some(uid) && line.comm.as_deref() == Some("systemd"),
    }
}

/// Whether a journal line comes from the service manager that made this stop, and is about this unit: by the
/// pid that the kernel told journald. Whose it says that it is anybody can write.
pub fn manager_said(line: &JournalLine, stop: &UnitStop<'_>, unit: &str) -> bool {
    line.pid == Some(stop.first.value.sender.id.pid) && line.about_unit.as_deref() == Some(unit)
}

/// Whether a journal line comes from the service manager that made this stop, and is about its unit and the run of it that
/// was stopped: one that is started again at once may have ended a moment ago for a reason of that time.
pub fn said_of_run(line: &Seen<JournalLine>, stop: &UnitStop<'_>) -> bool {
    line.ns() >= stop.run_began_ns && manager_said(&line.value, stop, &stop.unit)
}

/// Whether a manager logged that it passed this signal on to a process of these numbers, or to the whole unit: `Sent
/// signal SIGKILL to main process 108 (x) on client request.`, `Killed unit cgroup 'x' with SIGKILL on client request.`
fn passed_on(message: &str, number: u8, process: &[Option<u32>]) -> bool {
    // systemd counts real-time signals as glibc does, which keeps two of the kernel's for itself.
    const SIGRTMIN: u8 = 34;
    let signal = match number.checked_sub(SIGRTMIN) {
        Some(above) => format!("SIGRTMIN+{above}"),
        None => crate::evidence::signal_name(number),
    };
    let mut words = message.split([' ', ',']);
    let named = words.clone().any(|word| word == signal);
    let pid = words.by_ref().find(|word| *word == "process").and_then(|_| words.next());
    let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
    let is_it = pid.is_none_or(|pid| process.contains(&Some(pid)));
    named && message.contains("on client request") && is_it
}

/// What a manager logged when it sent this very signal for a client: of several alike the line is about the nearest.
pub fn said_for_client<'a>(world: &'a World, sent: &SeenSignal) -> Option<&'a Seen<JournalLine>> {
    let SignalSent { number, sender, target, .. } = &*sent.value;
    let own = [Some(target.id.pid), Some(target.ns_pid)];
    let alike = world
        .signals_to(target.id)
        .iter()
        .filter(|other| other.value.number == *number && other.value.sender.id == sender.id);
    world.journal.iter().rev().find(|line| {
        let apart_ns = line.ns().abs_diff(sent.ns());
        line.value.pid == Some(sender.id.pid)
            && apart_ns <= LOGGED
            && passed_on(&line.value.message, *number, &own)
            && alike.clone().all(|other| other.ns().abs_diff(line.ns()) >= apart_ns)
    })
}

/// The unit for whose main or control process PID 1 logged that it passed a signal on to it, while that was there: `Sent
/// signal SIGINT to main process 108 (x) on client request.`
pub fn unit_signalled_for(world: &World, process: ProcessId, ended_ns: u64) -> Option<&str> {
    let alive = process.start_ns..=ended_ns.saturating_add(LOGGED);
    let lines = world.journal.iter().filter(|line| line.value.pid == Some(1));
    let mut about = lines.filter(|line| {
        let message = line.value.message.as_str();
        let words = || message.split([' ', ',']);
        let names = |kind: &str| {
            let pid = words().skip_while(|word| *word != kind).skip(1);
            let mut pid = pid.skip_while(|word| *word != "process").skip(1);
            pid.next().and_then(|pid| pid.parse().ok()) == Some(process.pid)
        };
        alive.contains(&line.ns())
            && message.contains("Sent signal ")
            && ["main", "control"].into_iter().any(names)
    });
    about.find_map(|line| line.value.about_unit.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of the web server's may call itself what it likes.
    #[test]
    fn lines_of_daemons() {
        let line = |comm: &str, uid, unit: &str| JournalLine {
            comm: Some(comm.to_owned()),
            uid: Some(uid),
            from_unit: Some(unit.to_owned()),
            ..JournalLine::default()
        };
        let from = |line: JournalLine| from_daemon(&line, "systemd-logind");
        assert!(from(line("systemd-logind", 0, "systemd-logind.service")));
        assert!(from(line("systemd-logind", 0, "init.scope")));
        assert!(from(line("(d-logind)", 101, "systemd-logind.service")));
        assert!(!from(line("systemd-logind", 33, "apache2.service")));
        assert!(!from(line("systemd-logind", 1000, "user@1000.service")));
        assert!(!from(line("apache2", 0, "apache2.service")));
    }
}
