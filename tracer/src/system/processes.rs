//! `/proc`: what a process is right now. Nothing in it is trusted: names and arguments are any bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cgroups::Cgroups;
use crate::clock;
use crate::evidence::{ProcessId, ProcessSnapshot, TICK_NS, sig};

/// How much of `cmdline` and `environ` is read.
const MAX_TEXT: u64 = 32 << 10;

/// How many parents are followed.
const MAX_PARENTS: usize = 32;

/// The variables of [`ProcessSnapshot::environment`].
const VARIABLES: [&str; 15] = [
    "SSH_CONNECTION",
    "SSH_TTY",
    "XDG_SESSION_ID",
    "INVOCATION_ID",
    "SUDO_USER",
    "SUDO_COMMAND",
    "TMUX",
    "TMUX_PANE",
    "SUPERVISOR_PROCESS_NAME",
    "SUPERVISOR_GROUP_NAME",
    "MONIT_SERVICE",
    "MONIT_EVENT",
    "STY",
    "TMOUT",
    "SLURM_JOB_ID",
];

/// The same of what PM2 runs, which has `pm_id`; elsewhere these can be anything.
const OF_PM2: [&str; 7] =
    ["pm_id", "name", "namespace", "kill_timeout", "max_memory_restart", "watch", "cron_restart"];

/// The process file system.
#[derive(Clone, Debug)]
pub struct Processes {
    root: PathBuf,
    cgroups: Cgroups,
}

/// The fields of `/proc/PID/stat` that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    ppid: u32,
    process_group: u32,
    session: u32,
    tty: Option<String>,
    start_ns: u64,
    /// It has ended, with all of its threads, and its parent has not taken note yet.
    zombie: bool,
}

impl Processes {
    /// The one at `/proc`.
    pub fn new(cgroups: Cgroups) -> Self {
        Self::at("/proc", cgroups)
    }

    /// One that is mounted elsewhere.
    pub fn at(root: impl Into<PathBuf>, cgroups: Cgroups) -> Self {
        Self { root: root.into(), cgroups }
    }

    /// Every process id there is now. Under `hidepid` only those that may be seen.
    pub fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Vec::new();
        };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Who has this pid now.
    pub fn identify(&self, pid: u32) -> Option<ProcessId> {
        self.stat(pid).ok().map(|stat| ProcessId { pid, start_ns: stat.start_ns })
    }

    /// Whether a process has ended. One that `/proc` hides has not.
    pub fn is_gone(&self, id: ProcessId) -> bool {
        match self.stat(id.pid) {
            Ok(stat) => {
                let now = ProcessId { pid: id.pid, start_ns: stat.start_ns };
                stat.zombie || now != id
            }
            Err(_) => {
                let Ok(pid) = libc::pid_t::try_from(id.pid) else { return true };
                // SAFETY: signal 0 is sent to nobody.
                let sent = unsafe { libc::kill(pid, 0) };
                sent != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
            }
        }
    }

    /// Looks at one process, without its parents.
    ///
    /// # Errors
    /// `NotFound` when it is gone, or hidden by `hidepid`; others as the kernel gives them.
    pub fn look(&self, pid: u32) -> io::Result<ProcessSnapshot> {
        let stat = self.stat(pid)?;
        let status = self.text(pid, "status");
        let (uid, ns_pids) = parse_status(&status).ok_or(io::ErrorKind::NotFound)?;
        let cgroup = self.cgroups.systemd_path(&self.text(pid, "cgroup"));
        let snapshot = ProcessSnapshot {
            pid,
            start_ns: stat.start_ns,
            ppid: stat.ppid,
            comm: stat.comm,
            exe: self.exe(pid),
            cmdline: self.cmdline(pid),
            uid,
            ns_pids,
            cgroup,
            tty: stat.tty,
            session_leader: stat.session,
            process_group: stat.process_group,
            environment: parse_environment(&self.bytes(pid, "environ")),
            parents: Vec::new(),
            pending: signals_in(&status, ["ShdPnd:", "SigPnd:"]),
            answers: Some(answered(&status)),
        };
        // What was read in between belongs to the same process only if that still has the pid.
        let still = self.stat(pid)?;
        if still.start_ns == snapshot.start_ns {
            Ok(snapshot)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Looks at a process and all its parents, itself first; every one carries its own parents' ids.
    ///
    /// # Errors
    /// As [`Processes::look`], for the process itself. Parents that vanish meanwhile end the list.
    pub fn look_up(&self, pid: u32) -> io::Result<Vec<ProcessSnapshot>> {
        let mut line = vec![self.look(pid)?];
        while let Some(parent) = line.last().map(|child| child.ppid).filter(|ppid| *ppid != 0)
            && line.len() <= MAX_PARENTS
            && line.iter().all(|seen| seen.pid != parent)
            && let Ok(snapshot) = self.look(parent)
        {
            line.push(snapshot);
        }
        let ids: Vec<_> =
            line.iter().map(|it| ProcessId { pid: it.pid, start_ns: it.start_ns }).collect();
        for (at, snapshot) in line.iter_mut().enumerate() {
            snapshot.parents = ids[at + 1..].to_vec();
        }
        Ok(line)
    }

    /// The children of a process that have its name, as the workers of a server do; some of them where they are many.
    pub fn workers(&self, parent: ProcessId) -> Vec<ProcessSnapshot> {
        const MANY: usize = 64;
        let Ok(line) = self.look_up(parent.pid) else { return Vec::new() };
        if line[0].id() != parent {
            return Vec::new();
        }
        let parents: Vec<ProcessId> = line.iter().map(ProcessSnapshot::id).collect();
        let is_worker = |pid: &u32| {
            let stat = self.stat(*pid);
            stat.is_ok_and(|stat| stat.ppid == parent.pid && stat.comm == line[0].comm)
        };
        let children = self.children(parent.pid).unwrap_or_else(|| self.pids());
        let workers = children.into_iter().filter(is_worker).take(MANY);
        let looked_at = workers.filter_map(|pid| self.look(pid).ok());
        let is_still = |child: &ProcessSnapshot| child.ppid == parent.pid;
        let looked_at = looked_at.filter(is_still);
        looked_at.map(|child| ProcessSnapshot { parents: parents.clone(), ..child }).collect()
    }

    /// Those that each of its threads has forked; `None` where the kernel does not list them (`CONFIG_PROC_CHILDREN`).
    fn children(&self, pid: u32) -> Option<Vec<u32>> {
        let threads = fs::read_dir(self.root.join(pid.to_string()).join("task")).ok()?;
        let mut children = Vec::new();
        let mut are_listed = false;
        for thread in threads.flatten() {
            match fs::read_to_string(thread.path().join("children")) {
                Ok(listed) => {
                    are_listed = true;
                    children.extend(
                        listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
                    );
                }
                // The thread has ended meanwhile: its children are another's.
                Err(error) if error.kind() == io::ErrorKind::NotFound && thread.path().exists() => {
                    return None;
                }
                Err(_) => {}
            }
        }
        are_listed.then_some(children)
    }

    /// A process and those that it has forked, and so on, as far as they are there: itself first.
    pub fn with_children(&self, pid: u32) -> Vec<u32> {
        let parent = |pid: u32| self.stat(pid).ok().map(|stat| (pid, stat.ppid));
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (child, parent) in self.pids().into_iter().filter_map(parent) {
            // One that was given anew meanwhile can have any parent.
            if child != pid {
                children.entry(parent).or_default().push(child);
            }
        }
        let mut found = vec![pid];
        let mut at = 0;
        while let Some(parent) = found.get(at) {
            found.extend(children.remove(parent).unwrap_or_default());
            at += 1;
        }
        found
    }

    /// Processes outside of its line of parents whose end would be its own: its ptrace tracer, and the init
    /// of its pid namespace where that is not the one of `/proc`.
    pub fn relatives(&self, pid: u32) -> Vec<u32> {
        let status = self.text(pid, "status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let tracer = field("TracerPid:").and_then(|text| text.trim().parse().ok());
        let nested = field("NSpid:").is_some_and(|pids| pids.split_whitespace().count() > 1);
        let init = if nested { self.namespace_init(pid) } else { None };
        tracer.into_iter().chain(init).filter(|relative| *relative != 0).collect()
    }

    fn namespace_init(&self, pid: u32) -> Option<u32> {
        let namespace = fs::read_link(self.file(pid, "ns/pid")).ok()?;
        self.pids().into_iter().find(|other| {
            fs::read_link(self.file(*other, "ns/pid")).is_ok_and(|its| its == namespace)
                && parse_status(&self.text(*other, "status"))
                    .is_some_and(|(_, ns_pids)| ns_pids.last() == Some(&1))
        })
    }

    /// Path of the cgroup that limits the memory of a process.
    pub fn memory_cgroup(&self, pid: u32) -> Option<String> {
        self.cgroups.memory_path(&self.text(pid, "cgroup"))
    }

    /// The mounted hierarchies.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Path of the executable; `None` for kernel threads and where it must not be seen.
    pub fn exe(&self, pid: u32) -> Option<String> {
        let by_thread = || fs::read_link(self.living_thread(pid)?.join("exe")).ok();
        let path = fs::read_link(self.file(pid, "exe")).ok().or_else(by_thread)?;
        let text = path.to_string_lossy();
        Some(text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned())
    }

    /// Its name.
    pub fn comm(&self, pid: u32) -> Option<String> {
        self.stat(pid).ok().map(|stat| stat.comm)
    }

    /// Its arguments.
    pub fn cmdline(&self, pid: u32) -> Vec<String> {
        let of_process = parse_cmdline(&self.bytes(pid, "cmdline"));
        if !of_process.is_empty() {
            return of_process;
        }
        let thread = self.living_thread(pid).map(|thread| thread.join("cmdline"));
        parse_cmdline(&thread.and_then(|file| read_limited(&file).ok()).unwrap_or_default())
    }

    /// Another thread of the process. When the first one has ended before the others, the process's own
    /// files are empty, and theirs still tell.
    fn living_thread(&self, pid: u32) -> Option<PathBuf> {
        let threads = fs::read_dir(self.file(pid, "task")).ok()?;
        let others = threads.flatten().filter(|thread| thread.file_name() != *pid.to_string());
        others.map(|thread| thread.path()).next()
    }

    /// Inode numbers of the sockets it has open.
    pub fn sockets(&self, pid: u32) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.file(pid, "fd")) else {
            return Vec::new();
        };
        let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let inode = |link: PathBuf| {
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        };
        links.filter_map(inode).collect()
    }

    fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }

    fn stat(&self, pid: u32) -> io::Result<Stat> {
        let bytes = read_limited(&self.file(pid, "stat"))?;
        parse_stat(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A variable of the environment that a process was executed with; `None` also where it has written over that.
    pub fn variable(&self, pid: u32, name: &str) -> Option<String> {
        let environment = self.bytes(pid, "environ");
        let mut entries = environment.split(|byte| *byte == 0);
        let value = entries.find_map(|it| it.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn bytes(&self, pid: u32, name: &str) -> Vec<u8> {
        read_limited(&self.file(pid, name)).unwrap_or_default()
    }

    fn text(&self, pid: u32, name: &str) -> String {
        String::from_utf8_lossy(&self.bytes(pid, name)).into_owned()
    }
}

/// The process that a thread belongs to; `None` for a process's own id, and for what `/proc` does not show.
pub fn process_of_thread(id: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{id}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let process =
        status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    (process != id).then_some(process)
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    // Room for most files at once: each call is one more that the traced machine pays for.
    let mut bytes = Vec::with_capacity(4096);
    let result = File::open(path)?.take(MAX_TEXT).read_to_end(&mut bytes);
    match result {
        Ok(_) => Ok(bytes),
        // The process went away between opening and reading.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            Err(io::ErrorKind::NotFound.into())
        }
        Err(error) => Err(error),
    }
}

/// `proc_pid_stat(5)`. The name stands in parentheses and may itself hold parentheses, blanks and newlines.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')').filter(|close| *close > open)?;
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3, the state, is the first here.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let unsigned = |field: usize| number(field).and_then(|value| u32::try_from(value).ok());
    Some(Stat {
        comm: String::from_utf8_lossy(&bytes[open + 1..close]).into_owned(),
        ppid: unsigned(4)?,
        process_group: unsigned(5).unwrap_or(0),
        session: unsigned(6).unwrap_or(0),
        tty: number(7).and_then(tty_name),
        start_ns: start_ns(u64::try_from(number(22)?).ok()?, clock::proc_shift_ns()),
        // Of a process whose first thread alone has ended, other threads are left.
        zombie: fields.first().is_some_and(|state| matches!(*state, "Z" | "X"))
            && number(20).is_some_and(|threads| threads <= 1),
    })
}

/// The start of a process as the kernel's events have it. `/proc` shows it as this time namespace counts.
fn start_ns(ticks: u64, shift_ns: i64) -> u64 {
    let shown = i64::try_from(ticks.saturating_mul(TICK_NS)).unwrap_or(i64::MAX);
    shown.saturating_sub(shift_ns).max(0).unsigned_abs()
}

/// The device file of a terminal, from its number (Documentation/admin-guide/devices.txt).
fn tty_name(device: i64) -> Option<String> {
    let device = u32::try_from(device).ok()?;
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    match major {
        136..=143 => Some(format!("/dev/pts/{}", (major - 136) * 256 + minor)),
        4 if minor < 64 => Some(format!("/dev/tty{minor}")),
        4 => Some(format!("/dev/ttyS{}", minor - 64)),
        229 => Some(format!("/dev/hvc{minor}")),
        _ => None,
    }
}

/// Real uid and the pids in every namespace; the name in the first line has its newlines escaped.
fn parse_status(text: &str) -> Option<(u32, Vec<u32>)> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let uid = field("Uid:").split_ascii_whitespace().next()?.parse().ok()?;
    let ns_pids = field("NSpid:").split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    Some((uid, ns_pids.collect()))
}

/// The signals that ask a process to end which it catches or holds up.
fn answered(status: &str) -> Vec<u8> {
    let taken = signals_in(status, ["SigCgt:", "SigBlk:"]);
    taken.into_iter().filter(|number| sig::ASKING.contains(number)).collect()
}

/// Signals in either of two masks whose lowest bit is signal 1, in order of number.
fn signals_in(status: &str, masks: [&str; 2]) -> Vec<u8> {
    let mask = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        u64::from_str_radix(mask.trim(), 16).unwrap_or_default()
    };
    let both = masks.map(mask).into_iter().fold(0, |both, mask| both | mask);
    (1..=sig::SIGRTMAX).filter(|number| both >> (number - 1) & 1 == 1).collect()
}

/// Arguments end in NUL; a rewritten title leaves many empty ones behind it.
fn parse_cmdline(bytes: &[u8]) -> Vec<String> {
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
        return Vec::new();
    };
    bytes[..=last]
        .split(|byte| *byte == 0)
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect()
}

fn parse_environment(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = variables(bytes, &VARIABLES).collect();
    let of_pm2: BTreeMap<String, String> = variables(bytes, &OF_PM2).collect();
    if of_pm2.contains_key("pm_id") {
        found.extend(of_pm2);
    } else if let Some((_, cluster)) = variables(bytes, &["pm2_env"]).next() {
        found.extend(variables_of_cluster(&cluster));
    }
    found
}

/// Those of these names, and their values.
fn variables(bytes: &[u8], names: &[&str]) -> impl Iterator<Item = (String, String)> {
    bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        let name = names.iter().find(|name| name.as_bytes() == &entry[..at])?;
        Some(((*name).to_owned(), String::from_utf8_lossy(&entry[at + 1..]).into_owned()))
    })
}

/// The same of what PM2 runs in its cluster mode: it hands them over as one JSON object.
fn variables_of_cluster(text: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Vec::new() };
    let value = |name: &str| match object.get(name)? {
        Value::String(text) => Some(text.clone()),
        it @ (Value::Bool(_) | Value::Number(_)) => Some(it.to_string()),
        _ => None,
    };
    OF_PM2.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    /// `name` and `watch` are anybody's, but for what PM2 runs, which has them as variables or, in a cluster, as an object.
    #[test]
    fn what_pm2_runs_is_told_by_its_variables() {
        let told = |bytes: &[u8]| -> Vec<String> {
            let found = parse_environment(bytes).into_iter();
            found.map(|(name, value)| format!("{name}={value}")).collect()
        };
        let own = b"name=web\0watch=true\0pm_id=3\0kill_timeout=2500\0secret=x\0";
        assert_eq!(told(own), ["kill_timeout=2500", "name=web", "pm_id=3", "watch=true"]);
        assert!(told(b"name=web\0namespace=x\0watch=true\0").is_empty());
        let cluster = br#"pm2_env={"name":"web","pm_id":3,"watch":["a"],"env":{"secret":"x"},"kill_timeout":2500}"#;
        assert_eq!(told(cluster), ["kill_timeout=2500", "name=web", "pm_id=3"]);
        for text in ["pm2_env={", "pm2_env=[1]", "pm2_env="] {
            assert!(told(text.as_bytes()).is_empty());
        }
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let proc = tempfile::tempdir().expect("a directory");
        fs::create_dir(proc.path().join("7")).expect("a process");
        let environment = b"XWATCHDOG_USEC=1\0WATCHDOG_USEC_=2\0WATCHDOG_USEC=30000000\0A=\0";
        fs::write(proc.path().join("7/environ"), environment).expect("an environment");
        let processes = Processes::at(proc.path(), Cgroups::default());
        let of = |name: &str| processes.variable(7, name);
        assert_eq!(of("WATCHDOG_USEC").as_deref(), Some("30000000"));
        assert_eq!((of("A").as_deref(), of("B")), (Some(""), None));
        assert_eq!(processes.variable(8, "A"), None);
    }

    fn stat(comm: &[u8]) -> Vec<u8> {
        let mut line = b"4242 (".to_vec();
        line.extend_from_slice(comm);
        line.extend_from_slice(
            b") S 1 4242 4240 34817 4242 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1\n",
        );
        line
    }

    #[test]
    fn children_and_theirs_are_found() {
        let processes = Processes::new(Cgroups::detect());
        let own = std::process::id();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a child");
        let mut line = [0];
        Read::read_exact(child.stdout.as_mut().expect("its output"), &mut line).expect("it runs");
        let found = processes.with_children(child.id());
        assert_eq!((found[0], found.len()), (child.id(), 2), "{found:?}");
        assert!(found.iter().all(|pid| processes.with_children(own).contains(pid)));
        for pid in found {
            let pid = libc::pid_t::try_from(pid).expect("a process id");
            // SAFETY: a signal to this test's own children.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        child.wait().expect("it has ended");
    }

    /// A shell's subshells have its name, and what it runs has another.
    #[test]
    fn workers_are_children_of_the_same_name() {
        let processes = Processes::new(Cgroups::detect());
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "w() { sleep 1000; :; }; w & w & sleep 1000 & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            // A subshell may be just about to fork: all of it ends together.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let mut line = [0];
        Read::read_exact(shell.stdout.as_mut().expect("its output"), &mut line).expect("it runs");
        let id = processes.identify(shell.id()).expect("it is there");
        let mut workers = processes.workers(id);
        // What is to be another program may still be a subshell.
        for _ in 0..500 {
            if workers.len() <= 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            workers = processes.workers(id);
        }
        let other = ProcessId { start_ns: id.start_ns + 1_000_000_000, ..id };
        let of_other = processes.workers(other);
        let children = processes.children(shell.id());
        let has_list = Path::new("/proc/thread-self/children").exists();
        let group = libc::pid_t::try_from(shell.id()).expect("a process id");
        // SAFETY: a signal to the group of this test's own children.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        shell.wait().expect("it has ended");
        assert_eq!(workers.len(), 2, "{workers:#?}");
        assert_eq!(children.map(|it| it.len()), has_list.then_some(3));
        assert!(workers.iter().all(|worker| worker.parents[0] == id), "{workers:#?}");
        assert!(of_other.is_empty(), "who had the pid before has no children by now");
    }

    #[test]
    fn a_name_may_hold_anything() {
        for comm in [&b"tmux: server"[..], b"a) S 7 (b", b"new\nline", b")", b"", b"\xff\xfe"] {
            let parsed = parse_stat(&stat(comm)).expect("a stat line");
            assert_eq!(parsed.comm, String::from_utf8_lossy(comm));
            assert_eq!(
                (parsed.ppid, parsed.session, parsed.start_ns),
                (1, 4240, 1_234_560_000_000)
            );
            assert_eq!(parsed.tty.as_deref(), Some("/dev/pts/1"));
        }
        assert_eq!(parse_stat(b"4242 (x"), None);
        assert_eq!(parse_stat(b")("), None);
    }

    #[test]
    fn start_times_are_those_of_the_kernel_in_any_time_namespace() {
        assert_eq!(start_ns(123_456, 0), 1_234_560_000_000);
        assert_eq!(start_ns(123_456, 1_000_000_000_000), 234_560_000_000);
        assert_eq!(start_ns(0, -1_000_000_000_000), 1_000_000_000_000);
        assert_eq!(start_ns(u64::MAX, 0), i64::MAX.unsigned_abs());
    }

    #[test]
    fn arguments_titles_and_variables() {
        assert_eq!(parse_cmdline(b"sh\0-c\0\0echo\0"), ["sh", "-c", "", "echo"]);
        assert_eq!(parse_cmdline(b"sshd: alice@pts/0\0\0\0\0"), ["sshd: alice@pts/0"]);
        assert_eq!(parse_cmdline(b"\0\0"), Vec::<String>::new());
        let environment = parse_environment(
            b"HOME=/root\0TMUX=/tmp/x,1,0\0SSH_CONNECTION=1.2.3.4 5 6.7.8.9 22\0noequals\0",
        );
        assert_eq!(environment.keys().collect::<Vec<_>>(), ["SSH_CONNECTION", "TMUX"]);
    }

    #[test]
    fn signals_that_wait_or_are_caught_are_read() {
        let status = "Name:\tx\nSigQ:\t1/7\nSigPnd:\t0000000000000001\nShdPnd:\t8000000000004000\n";
        let pending = |status: &str| signals_in(status, ["ShdPnd:", "SigPnd:"]);
        assert_eq!(pending(status), [sig::SIGHUP, sig::SIGTERM, 64]);
        assert_eq!(pending("SigPnd:\tx\n"), Vec::<u8>::new());
        // SIGCHLD is caught as well, which asks nobody to end.
        let status =
            "SigBlk:\t0000000000000002\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000014000\n";
        assert_eq!(answered(status), [sig::SIGINT, sig::SIGTERM]);
    }

    #[test]
    fn terminals_are_named() {
        assert_eq!(tty_name(0), None);
        assert_eq!(tty_name(136 << 8).as_deref(), Some("/dev/pts/0"));
        assert_eq!(tty_name(137 << 8 | 1).as_deref(), Some("/dev/pts/257"));
        assert_eq!(tty_name(4 << 8 | 1).as_deref(), Some("/dev/tty1"));
        assert_eq!(tty_name(4 << 8 | 64).as_deref(), Some("/dev/ttyS0"));
        assert_eq!(tty_name(-1), None);
    }

    #[test]
    fn this_process_is_found_with_its_parents() {
        let processes = Processes::new(Cgroups::detect());
        let line = processes.look_up(std::process::id()).expect("this process");
        assert_eq!(line[0].pid, std::process::id());
        assert_eq!(line[0].parents.len(), line.len() - 1);
        assert!(line[0].exe.is_some() && !line[0].cmdline.is_empty());
        assert_eq!(line[0].ns_pids.last().copied(), Some(std::process::id()));
        assert!(processes.pids().contains(&std::process::id()));
        assert!(processes.look(u32::MAX).is_err());
    }

    #[test]
    fn a_thread_is_told_from_a_process() {
        let own = std::process::id();
        assert_eq!(process_of_thread(own), None);
        assert_eq!(process_of_thread(u32::MAX), None);
        let of_living = std::thread::spawn(|| {
            // SAFETY: takes nothing.
            process_of_thread(unsafe { libc::gettid() }.cast_unsigned())
        });
        assert_eq!(of_living.join().expect("its process"), Some(own));
    }

    proptest::proptest! {
        #[test]
        fn any_stat_line_is_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_stat(&bytes);
            let _ = parse_cmdline(&bytes);
            let _ = parse_environment(&bytes);
        }
    }
}
