//! Terminals: who holds the other end of a pseudoterminal.
//!
//! Each devpts instance, as containers have their own, numbers its terminals from 0: only the number and the instance
//! together say which one it is. The instance is read from the table of mounts, by the mount that a descriptor was opened
//! through: no file of anybody's is touched.

use std::fs;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::processes::Processes;
use crate::evidence::{Fact, ProcessId, Source, Terminal};

/// How many descriptors of one process are looked at: daemons may have very many.
const MAX_DESCRIPTORS: usize = 4096;

/// Tells who holds the master end of a terminal such as `/dev/pts/0`, once for each session on it: when that is over the name
/// is given to another terminal. `pid` is a process on it. Looks through the descriptors of every process; to be called
/// where that holds up nobody.
pub fn tell(context: &Context, tty: &str, session_leader: u32, pid: u32) {
    let Some(number) = tty.strip_prefix("/dev/pts/").and_then(|number| number.parse().ok()) else {
        return;
    };
    let leader = context.processes.identify(session_leader);
    let leader = leader.unwrap_or(ProcessId { pid: session_leader, start_ns: 0 });
    if !context.outbox.first_time(("terminal", tty, leader)) {
        return;
    }
    let search = Search::new(Path::new("/proc"), number, &[pid, session_leader]);
    let (holders, unsure) = search.holders(&context.processes);
    for holder in &holders {
        if let Ok(line) = context.processes.look_up(holder.pid) {
            for process in line {
                context.outbox.say(Source::Proc, Fact::Process(Box::new(process)));
            }
        }
    }
    let tty = format!("pts{number}");
    let terminal = Terminal { tty, session_leader: Some(leader), holders, unsure, watched: false };
    context.outbox.say(Source::Proc, Fact::Terminal(terminal));
}

/// A search for the masters of one terminal.
struct Search<'a> {
    proc: &'a Path,
    number: u32,
    /// Where mounts are looked up: those of the processes on the terminal, and the machine's.
    mounts: Vec<Mounts>,
    /// The devpts instance that the terminal is in, where it was found.
    instance: Option<String>,
}

impl<'a> Search<'a> {
    /// `on_it` are processes on the terminal.
    fn new(proc: &'a Path, number: u32, on_it: &[u32]) -> Self {
        let mounts = on_it.iter().chain(&[1]).map(|pid| Mounts::of(&proc.join(pid.to_string())));
        let mut search = Self { proc, number, mounts: mounts.collect(), instance: None };
        search.instance = on_it.iter().find_map(|pid| search.instance_of_slave(*pid));
        search
    }

    /// The instance of a descriptor of the terminal itself.
    fn instance_of_slave(&self, pid: u32) -> Option<String> {
        let process = self.proc.join(pid.to_string());
        let name = format!("/dev/pts/{}", self.number);
        let is_it = |link: &Path| link == Path::new(&name);
        descriptors(&process, is_it).find_map(|info| self.instance(&info, None))
    }

    /// Who has a master of that number in the same instance, and whether some may have another's.
    fn holders(&self, processes: &Processes) -> (Vec<ProcessId>, bool) {
        let mut unsure = false;
        let pids = processes.pids().into_iter();
        let holders = pids.filter_map(|pid| {
            let is_sure = self.is_held_by(pid)?;
            let holder = processes.identify(pid)?;
            unsure |= !is_sure;
            Some(holder)
        });
        (holders.collect(), unsure)
    }

    /// Whether a process surely has the terminal's master; `None`: it has none that can be that. `tty-index` of an open
    /// `/dev/ptmx` tells which terminal it is the master of (`pty_show_fdinfo`).
    fn is_held_by(&self, pid: u32) -> Option<bool> {
        let process = self.proc.join(pid.to_string());
        let is_master = |link: &Path| link.ends_with("ptmx") && link.starts_with("/dev");
        let masters =
            descriptors(&process, is_master).filter(|info| tty_index(info) == Some(self.number));
        let sure = masters.filter_map(|info| {
            let own = Mounts::of(&process);
            match (self.instance(&info, Some(&own)), &self.instance) {
                (Some(one), Some(other)) => (one == *other).then_some(true),
                _ => Some(false),
            }
        });
        sure.max()
    }

    /// The devpts instance, by its device's number, that a descriptor leads to: the one that it was opened in, or, where
    /// `/dev/ptmx` is a file of its own, the one that is mounted beside it (`devpts_acquire`).
    fn instance(&self, info: &str, own: Option<&Mounts>) -> Option<String> {
        let id = field(info, "mnt_id:")?;
        let mut tables = own.into_iter().chain(&self.mounts);
        let (table, mount) = tables.find_map(|table| Some((table, table.get(id)?)))?;
        if mount.is_devpts { Some(mount.device.clone()) } else { table.beside_ptmx() }
    }
}

/// What `fdinfo` says of those descriptors of a process that link to such a file.
fn descriptors(process: &Path, is_it: impl Fn(&Path) -> bool) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let infos: PathBuf = process.join("fdinfo");
    entries.take(MAX_DESCRIPTORS).filter_map(move |descriptor| {
        let link = fs::read_link(descriptor.path()).ok()?;
        is_it(&link).then(|| fs::read_to_string(infos.join(descriptor.file_name())).ok())?
    })
}

/// The mounts that a process sees.
struct Mounts(Vec<Mount>);

struct Mount {
    /// Unlike any other's on the machine.
    id: String,
    /// `0:24`
    device: String,
    point: String,
    is_devpts: bool,
}

impl Mounts {
    fn of(process: &Path) -> Self {
        Self::parse(&fs::read_to_string(process.join("mountinfo")).unwrap_or_default())
    }

    /// `29 26 0:26 / /dev/pts rw,relatime shared:3 - devpts devpts rw,mode=600` (proc_pid_mountinfo(5)).
    fn parse(text: &str) -> Self {
        let mount = |line: &str| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut words = mount.split(' ');
            let (id, device) = (words.next()?.to_owned(), words.nth(1)?.to_owned());
            let point = words.nth(1)?.to_owned();
            Some(Mount { id, device, point, is_devpts: kind.starts_with("devpts ") })
        };
        Self(text.lines().filter_map(mount).collect())
    }

    fn get(&self, id: &str) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// The instance beside `/dev/ptmx`. Of several in one place the last covers the others.
    fn beside_ptmx(&self) -> Option<String> {
        let there = self.0.iter().rfind(|mount| mount.point == "/dev/pts")?;
        there.is_devpts.then(|| there.device.clone())
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()))
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
        let search = Search::new(Path::new("/proc"), number, &[]);
        let (found, unsure) = search.holders(&Processes::new(Cgroups::detect()));
        // SAFETY: the descriptor is ours and is not used again.
        unsafe { libc::close(master) };
        assert!(found.iter().any(|holder| holder.pid == std::process::id()), "{found:?}");
        assert!(unsure, "which instance the terminal is in was not known");
    }

    /// A process with these mounts, and descriptors that link to such files with that `fdinfo`.
    fn make(proc: &Path, pid: u32, mounts: &str, descriptors: &[(&str, &str)]) {
        let process = proc.join(pid.to_string());
        for directory in ["fd", "fdinfo"] {
            fs::create_dir_all(process.join(directory)).expect("directory");
        }
        fs::write(process.join("mountinfo"), mounts).expect("mountinfo");
        for (number, (link, info)) in descriptors.iter().enumerate() {
            let number = number.to_string();
            std::os::unix::fs::symlink(link, process.join("fd").join(&number)).expect("link");
            fs::write(process.join("fdinfo").join(&number), info).expect("fdinfo");
        }
    }

    #[test]
    fn a_terminal_of_that_number_in_another_instance_is_another() {
        const HOST: &str =
            "24 1 0:5 / /dev rw - devtmpfs none rw\n26 24 0:24 / /dev/pts rw - devpts devpts rw\n";
        const CONTAINER: &str =
            "40 1 0:60 / /dev rw - tmpfs tmpfs rw\n41 40 0:61 / /dev/pts rw - devpts devpts rw\n";
        let tree = tempfile::tempdir().expect("temporary directory");
        let proc = tree.path();
        let master = |mount: u32, index: u32| format!("mnt_id:\t{mount}\ntty-index:\t{index}\n");
        let [of_host, of_container, other] = [master(24, 0), master(41, 0), master(24, 1)];
        let slave = |mount: u32| format!("mnt_id:\t{mount}\n");
        let [on_host, in_container, gone] = [slave(26), slave(41), slave(99)];
        make(proc, 1, HOST, &[]);
        make(proc, 10, HOST, &[("/dev/null", "mnt_id:\t24\n"), ("/dev/pts/0", &on_host)]);
        make(proc, 11, CONTAINER, &[("/dev/pts/0", &in_container)]);
        make(proc, 12, CONTAINER, &[("/dev/pts/0", &gone)]);
        make(proc, 20, HOST, &[("/dev/ptmx", &other), ("/dev/ptmx", &of_host)]);
        make(proc, 21, CONTAINER, &[("/dev/pts/ptmx", &of_container)]);
        // As a container's runtime has it, which is outside.
        make(proc, 22, HOST, &[("/dev/pts/ptmx", &of_container)]);
        make(proc, 23, HOST, &[("/dev/ptmx", &other)]);
        let held = |on_it: u32| {
            let search = Search::new(proc, 0, &[on_it]);
            [20, 21, 22, 23].map(|pid| search.is_held_by(pid))
        };
        assert_eq!(held(11), [None, Some(true), Some(true), None]);
        // No mount of the container's is known there.
        assert_eq!(held(10), [Some(true), None, Some(false), None]);
        assert_eq!(held(12), [Some(false), Some(false), Some(false), None]);
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
