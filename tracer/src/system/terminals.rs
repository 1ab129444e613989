//! Terminals: who holds the other end of a pseudoterminal.

use std::fs;
use std::path::Path;

use super::context::Context;
use super::processes::Processes;
use crate::evidence::{Fact, ProcessId, Source, Terminal};

/// How many descriptors of one process are looked at: daemons may have very many.
const MAX_DESCRIPTORS: usize = 4096;

/// Tells who holds the master end of a terminal such as `/dev/pts/0`, once for each session on it: when that is over the name
/// is given to another terminal. Looks through the descriptors of every process; to be called where that holds up nobody.
pub fn tell(context: &Context, tty: &str, session_leader: u32) {
    let Some(number) = tty.strip_prefix("/dev/pts/").and_then(|number| number.parse().ok()) else {
        return;
    };
    if !context.outbox.first_time(("terminal", tty, session_leader)) {
        return;
    }
    let holders = holders(&context.processes, Path::new("/proc"), number);
    for holder in &holders {
        if let Ok(line) = context.processes.look_up(holder.pid) {
            for process in line {
                context.outbox.say(Source::Proc, Fact::Process(Box::new(process)));
            }
        }
    }
    let terminal = Terminal { tty: format!("pts{number}"), holders };
    context.outbox.say(Source::Proc, Fact::Terminal(terminal));
}

fn holders(processes: &Processes, proc: &Path, number: u32) -> Vec<ProcessId> {
    let holds = |pid: &u32| holds_master(&proc.join(pid.to_string()), number);
    processes.pids().into_iter().filter(holds).filter_map(|pid| processes.identify(pid)).collect()
}

/// `tty-index` of an open `/dev/ptmx` tells which terminal it is the master of (`pty_show_fdinfo`).
fn holds_master(process: &Path, number: u32) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().take(MAX_DESCRIPTORS).any(|descriptor| {
        let is_master = fs::read_link(descriptor.path())
            .is_ok_and(|link| link.ends_with("ptmx") && link.starts_with("/dev"));
        is_master
            && fs::read_to_string(process.join("fdinfo").join(descriptor.file_name()))
                .is_ok_and(|info| tty_index(&info) == Some(number))
    })
}

pub(super) fn tty_index(info: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix("tty-index:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cgroups::Cgroups;

    #[test]
    fn the_index_of_a_terminal_is_read_from_fdinfo() {
        assert_eq!(tty_index("pos:\t0\nflags:\t02\ntty-index:\t7\n"), Some(7));
        assert_eq!(tty_index("pos:\t0\n"), None);
        assert_eq!(tty_index("tty-index:\tx\n"), None);
    }

    #[test]
    fn this_process_holds_the_master_that_it_opened() {
        // SAFETY: opens a new pseudoterminal; the descriptor is closed below.
        let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) };
        assert!(master >= 0, "no pseudoterminals here");
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{master}")).expect("fdinfo");
        let number = tty_index(&info).expect("an index");
        let found = holders(&Processes::new(Cgroups::detect()), Path::new("/proc"), number);
        // SAFETY: the descriptor is ours and is not used again.
        unsafe { libc::close(master) };
        assert!(found.iter().any(|holder| holder.pid == std::process::id()), "{found:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_fdinfo_is_survived(before in "([a-z]{1,8}:\t.{0,10}\n){0,4}", number: u32, junk in ".{0,20}") {
            let _ = tty_index(&junk);
            let found = tty_index(&format!("{before}tty-index:\t{number}\n{junk}"));
            proptest::prop_assert!(found == Some(number) || before.contains("tty-index"));
        }
    }
}
