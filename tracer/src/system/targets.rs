//! Which processes a `--target` means, among those that run now.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use thiserror::Error;

use super::cgroups::Cgroups;
use super::container_target::{ContainerTarget, UsersContainer, is_roots, users_container};
use super::processes::Processes;
use super::titles::is_titled;
use super::unit_target::UnitTarget;
use super::users;
use super::{as_user, containers};
use crate::evidence::cgroup_path::{CgroupOwner, slices, unescape};
use crate::evidence::{Container, Manager, ProcessSnapshot, UnitProperties, is_comm_of};

/// How many cgroups below a target's are looked for: more than the kernel side has room for, which tells that there are more.
const MAX_CGROUPS: usize = 2 * killtrace_ebpf::MAX_CGROUPS as usize;

/// What a target is named by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// Base name of the executable, `comm`, or what stands before the colon of a rewritten title.
    Name(String),
    /// Process id.
    Pid(u32),
    /// Unit of the system manager or of a user's.
    Unit(UnitTarget),
    /// Path of a cgroup; what is below it belongs to it.
    Cgroup(String),
    /// Name or number of a user.
    User(String),
    /// Name or beginning of the id of a container.
    Container(ContainerTarget),
}

/// What was found for a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its processes now; may be none for a name, a user or a unit that does not run yet.
    pub processes: Vec<ProcessSnapshot>,
    /// Ids of its cgroups (cgroup2) and of those below them, where the target is a cgroup of some kind.
    pub cgroups: Vec<u64>,
    /// Its uid, where the target is a user.
    pub uid: Option<u32>,
    /// Services of PID 1's that are in a slice that is the target, and whose cgroups are empty: PAM takes what they run
    /// elsewhere (`PAMName=`).
    pub empty_services: Vec<String>,
    /// Whether the container that is the target is root's.
    pub is_roots: bool,
    /// Users' own containers that have its name.
    pub of_users: BTreeSet<UsersContainer>,
    /// The users whose files did not answer when they were asked for the names of theirs.
    pub silent: BTreeSet<u32>,
}

/// Why there is no such target, and none can come.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoTarget {
    /// Nobody has this pid.
    #[error("there is no process {0}; see `ps -e` for those that run")]
    NoProcess(u32),
    /// It is a zombie.
    #[error(
        "process {pid} ({comm}) has ended already; it is a zombie until its parent, process {parent}, asks for its \
         exit status"
    )]
    Zombie {
        /// Its process id.
        pid: u32,
        /// Its name.
        comm: String,
        /// Its parent's process id.
        parent: u32,
    },
    /// Somebody has this pid, but `/proc` does not show it.
    #[error(
        "process {0} is another user's, and /proc hides it (hidepid); run killtrace as root, or give it \
         CAP_SYS_PTRACE"
    )]
    Hidden(u32),
    /// No unit can have this name.
    #[error(
        "no unit can be called {0}; see `systemctl list-units` (and `systemctl --user list-units`) for its name"
    )]
    NoUnit(String),
    /// No such user.
    #[error("there is no user {0}; give a name or a number that `getent passwd` knows")]
    NoUser(String),
    /// Several containers answer to it.
    #[error("{0} fits several containers; give more digits of the id")]
    AmbiguousContainer(String),
}

impl Matcher {
    /// Whether a process is meant. A container's name is compared with what its runtime says.
    pub fn matches(&self, process: &ProcessSnapshot) -> bool {
        let cgroup = || process.cgroup.as_deref();
        match self {
            Self::Name(name) => {
                let exe = process.exe.as_deref();
                is_called(name, &process.comm, exe, process.cmdline.first().map(String::as_str))
            }
            Self::Pid(pid) => process.pid == *pid,
            Self::Unit(_) | Self::Cgroup(_) | Self::Container(_) => {
                cgroup().is_some_and(|cgroup| self.owns(cgroup))
            }
            Self::User(user) => uid_of(user) == Some(process.uid),
        }
    }

    /// The unit that is the target.
    pub fn unit(&self) -> Option<&UnitTarget> {
        match self {
            Self::Unit(unit) => Some(unit),
            _ => None,
        }
    }

    /// The same, to learn more of.
    pub fn unit_mut(&mut self) -> Option<&mut UnitTarget> {
        match self {
            Self::Unit(unit) => Some(unit),
            _ => None,
        }
    }

    /// The service of PID 1's whose cgroup this is, where the target is a slice that it is in.
    pub fn service_within(&self, cgroup: &str) -> Option<String> {
        let slice = self.unit().filter(|unit| unit.name.ends_with(".slice"))?;
        let is_own = |service: &String| {
            service.ends_with(".service")
                && cgroup.rsplit('/').next().map(unescape) == Some(service)
        };
        let service = CgroupOwner::of(cgroup).unit.filter(is_own)?;
        let is_within = slices(cgroup).iter().any(|it| slice.means(Some(Manager::System), it));
        is_within.then_some(service)
    }

    /// Whether a cgroup of this path belongs to the target, and whoever is in it.
    pub fn owns(&self, cgroup: &str) -> bool {
        let owner = || CgroupOwner::of(cgroup);
        match self {
            Self::Name(_) | Self::Pid(_) | Self::User(_) => false,
            Self::Unit(unit) => unit.owns(&owner()),
            Self::Cgroup(path) => is_below(cgroup, path),
            Self::Container(target) => target.owns(cgroup),
        }
    }

    /// The container that is the target.
    pub fn container(&self) -> Option<&ContainerTarget> {
        match self {
            Self::Container(container) => Some(container),
            _ => None,
        }
    }

    /// The same, to learn more of.
    pub fn container_mut(&mut self) -> Option<&mut ContainerTarget> {
        match self {
            Self::Container(container) => Some(container),
            _ => None,
        }
    }
}

/// The unit of PID 1's whose main and control processes this tells, and their pids. A user's manager is not believed: it
/// could name anybody's.
pub fn told_to_run(told: &UnitProperties) -> Option<(&str, Vec<u32>)> {
    let pid = |name: &str| u32::try_from(told.properties.get(name)?.as_u64()?).ok();
    let pids: Vec<u32> =
        ["MainPID", "ControlPID"].into_iter().filter_map(pid).filter(|pid| *pid > 1).collect();
    (told.manager == Manager::System && !pids.is_empty()).then_some((&told.unit, pids))
}

/// Looks for the processes of a target, its own tracer excepted.
///
/// # Errors
/// Where the target cannot exist: no such pid or user, no name of a unit. What may come yet, such as a unit
/// made by `systemd-run`, a cgroup or a container, is no error.
pub fn find(processes: &Processes, matcher: &Matcher) -> Result<Found, NoTarget> {
    match matcher {
        Matcher::Pid(pid) => {
            let found = processes.look(*pid).map_err(|_| gone_or_hidden(*pid))?;
            if has_ended(processes, &found) {
                let comm = found.comm.clone();
                return Err(NoTarget::Zombie { pid: *pid, comm, parent: found.ppid });
            }
            Ok(Found { processes: vec![found], ..Found::default() })
        }
        Matcher::User(user) => {
            let uid = uid_of(user).ok_or_else(|| NoTarget::NoUser(user.clone()))?;
            Ok(Found { uid: Some(uid), ..all(processes, matcher) })
        }
        Matcher::Name(_) => Ok(all(processes, matcher)),
        Matcher::Unit(unit) => of_unit(processes, matcher, unit),
        Matcher::Cgroup(path) => {
            let path = processes.cgroups().normalize(path);
            let cgroups = subtree(processes, &path);
            Ok(Found { cgroups, ..all(processes, &Matcher::Cgroup(path)) })
        }
        Matcher::Container(wanted) => of_container(processes, matcher, wanted),
    }
}

/// Whether it has ended: at most its entry is left.
fn has_ended(processes: &Processes, process: &ProcessSnapshot) -> bool {
    processes.is_gone(process.id())
}

/// Why a process cannot be seen.
fn gone_or_hidden(pid: u32) -> NoTarget {
    let Ok(number) = libc::pid_t::try_from(pid) else { return NoTarget::NoProcess(pid) };
    // SAFETY: signal 0 is none; the kernel only says whether there is such a process.
    let asked = unsafe { libc::kill(number, 0) };
    let error = io::Error::last_os_error().raw_os_error();
    let there = asked == 0 || error == Some(libc::EPERM);
    if there && !Path::new(&format!("/proc/{pid}")).exists() {
        NoTarget::Hidden(pid)
    } else {
        NoTarget::NoProcess(pid)
    }
}

fn all(processes: &Processes, matcher: &Matcher) -> Found {
    let own = std::process::id();
    let pids = processes
        .pids()
        .into_iter()
        .filter(|pid| *pid != own && may_match(processes, matcher, *pid));
    let looked = pids.filter_map(|pid| processes.look(pid).ok());
    Found {
        processes: looked
            .filter(|process| matcher.matches(process) && !has_ended(processes, process))
            .collect(),
        ..Found::default()
    }
}

/// A first sieve that reads less than a whole look at the process.
fn may_match(processes: &Processes, matcher: &Matcher, pid: u32) -> bool {
    let Matcher::Name(name) = matcher else {
        return true;
    };
    let Some(comm) = processes.comm(pid) else {
        return false;
    };
    is_called(
        name,
        &comm,
        processes.exe(pid).as_deref(),
        processes.cmdline(pid).first().map(String::as_str),
    )
}

fn of_unit(processes: &Processes, matcher: &Matcher, unit: &UnitTarget) -> Result<Found, NoTarget> {
    if !unit.can_be() {
        return Err(NoTarget::NoUnit(unit.name.clone()));
    }
    let slice = slice_path(&unit.name);
    let mut found = all(processes, matcher);
    let paths: BTreeSet<String> = found
        .processes
        .iter()
        .filter_map(|process| up_to(process.cgroup.as_deref()?, unit))
        .chain(slice.clone())
        .collect();
    found.cgroups = paths.iter().flat_map(|path| subtree(processes, path)).collect();
    found.empty_services =
        slice.map(|path| empty_services(processes, matcher, &path)).unwrap_or_default();
    Ok(found)
}

/// Where PID 1 has a slice (systemd.slice(5)): `/my.slice/my-x.slice`.
fn slice_path(unit: &str) -> Option<String> {
    let stem = unit.strip_suffix(".slice").filter(|stem| *stem != "-")?;
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    Some(ends.map(|end| format!("/{}.slice", &stem[..end])).collect())
}

/// The services below a slice in whose cgroups nothing runs.
fn empty_services(processes: &Processes, matcher: &Matcher, slice: &str) -> Vec<String> {
    let Some(top) = processes.cgroups().unified_directory(slice) else {
        return Vec::new();
    };
    let is_empty = |directory: &Path| {
        let events = fs::read_to_string(directory.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "populated 0")
    };
    let mut services = Vec::new();
    let mut left = vec![(top, slice.to_owned())];
    for _ in 0..MAX_CGROUPS {
        let Some((directory, path)) = left.pop() else { break };
        match matcher.service_within(&path) {
            Some(service) if is_empty(&directory) => services.push(service),
            Some(_) => {}
            None => {
                let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
                let below =
                    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                left.extend(below.filter_map(|entry| {
                    let path = format!("{path}/{}", entry.file_name().to_str()?);
                    Some((entry.path(), path))
                }));
            }
        }
    }
    services
}

fn of_container(
    processes: &Processes,
    matcher: &Matcher,
    target: &ContainerTarget,
) -> Result<Found, NoTarget> {
    let mut found = all(processes, matcher);
    // What a user gave the same id or name does not stand in the way of the system's.
    let cgroup = |process: &ProcessSnapshot| process.cgroup.clone().unwrap_or_default();
    let (roots, mut others): (Vec<_>, Vec<_>) = std::mem::take(&mut found.processes)
        .into_iter()
        .partition(|process| is_roots(&cgroup(process)));
    found.is_roots = !roots.is_empty();
    if !found.is_roots && target.takes_users() {
        others.extend(called_by_users(processes, target, &mut found));
    }
    found.processes = if found.is_roots { roots } else { others };
    let mut ids = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for process in &found.processes {
        let path = process.cgroup.as_deref().unwrap_or_default();
        if let Some(container) = CgroupOwner::of(path).innermost_container() {
            paths.extend(up_to_containing(path, &container.id));
            ids.insert(container.id.clone());
        }
    }
    if ids.len() > 1 {
        return Err(NoTarget::AmbiguousContainer(target.named.clone()));
    }
    found.cgroups = paths.iter().flat_map(|path| subtree(processes, path)).collect();
    Ok(found)
}

/// The processes of users' own containers that these call so, which their files tell; those are waited for, each user's for a
/// moment. Nothing is being traced yet.
fn called_by_users(
    processes: &Processes,
    target: &ContainerTarget,
    found: &mut Found,
) -> Vec<ProcessSnapshot> {
    let mut names: HashMap<(u32, String), Option<String>> = HashMap::new();
    let mut called = Vec::new();
    let own = std::process::id();
    let looked = processes.pids().into_iter().filter(|pid| *pid != own);
    for process in looked.filter_map(|pid| processes.look(pid).ok()) {
        let path = process.cgroup.as_deref().unwrap_or_default();
        if target.owns(path) || has_ended(processes, &process) {
            continue;
        }
        let Some((uid, container)) = users_container(path) else { continue };
        let name = names.entry((uid, container.id.clone())).or_insert_with(|| {
            // What is late may have that name.
            name_by_user(uid, &container).unwrap_or_else(|_| {
                found.silent.insert(uid);
                None
            })
        });
        if name.as_deref() == Some(target.named.as_str()) {
            let Container { runtime, id, .. } = container;
            found.of_users.insert(UsersContainer { uid, runtime, id });
            called.push(process);
        }
    }
    called
}

/// What a user's own runtime calls a container, by the user's own files, which are read with that user's rights.
fn name_by_user(uid: u32, container: &Container) -> io::Result<Option<String>> {
    let container = Container { named_by: Some(uid), ..container.clone() };
    as_user::run_at_once(uid, move || {
        let home = users::by_uid(uid)?.home?;
        containers::describe(&container, Some(&home)).0.name
    })
}

/// The processes in a cgroup and in those below it, and their ids.
pub fn inside(processes: &Processes, path: &str) -> Found {
    let mut found = Found::default();
    let mut left: Vec<_> = processes.cgroups().unified_directory(path).into_iter().collect();
    while let Some(directory) = left.pop().filter(|_| found.cgroups.len() < MAX_CGROUPS) {
        let pids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        let pids = pids.lines().filter_map(|pid| pid.parse().ok());
        found.processes.extend(pids.filter_map(|pid| processes.look(pid).ok()));
        found.cgroups.extend(fs::metadata(&directory).ok().map(|metadata| metadata.ino()));
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.map(|entry| entry.path()));
    }
    found
}

/// Ids of a cgroup and of all below it.
fn subtree(processes: &Processes, path: &str) -> Vec<u64> {
    let Some(top) = processes.cgroups().unified_directory(path) else {
        return Vec::new();
    };
    let mut ids = Vec::new();
    let mut left = vec![top];
    while let Some(directory) = left.pop().filter(|_| ids.len() < MAX_CGROUPS) {
        ids.extend(fs::metadata(&directory).ok().map(|metadata| metadata.ino()));
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.map(|entry| entry.path()));
    }
    ids
}

/// The cgroups whose path ends in this one, where there is none of this path; `None` where there is, or none is to be seen.
pub fn cgroups_ending(path: &str) -> Option<Vec<String>> {
    let cgroups = Cgroups::detect();
    let path = cgroups.normalize(path);
    if cgroups.unified_directory(&path)?.is_dir() {
        return None;
    }
    let top = cgroups.unified_directory("/")?;
    let mut found = Vec::new();
    let mut left = vec![(top, String::new())];
    for _ in 0..MAX_CGROUPS {
        let Some((directory, its)) = left.pop() else { break };
        if its.ends_with(&path) {
            found.push(its.clone());
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.filter_map(|entry| {
            Some((entry.path(), format!("{its}/{}", entry.file_name().to_str()?)))
        }));
    }
    found.sort();
    Some(found)
}

/// The path as far as the component that is the unit.
fn up_to(path: &str, unit: &UnitTarget) -> Option<String> {
    cut(path, |part| unit.means(None, unescape(part)))
}

fn up_to_containing(path: &str, id: &str) -> Option<String> {
    cut(path, |part| part.contains(id))
}

fn cut(path: &str, is_end: impl Fn(&str) -> bool) -> Option<String> {
    let mut taken = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        taken.push('/');
        taken.push_str(part);
        if is_end(part) {
            return Some(taken);
        }
    }
    None
}

fn is_called(name: &str, comm: &str, exe: Option<&str>, title: Option<&str>) -> bool {
    let base = exe.and_then(|exe| Path::new(exe).file_name()).and_then(|base| base.to_str());
    let titled = title.is_some_and(|title| is_titled(name, title));
    base == Some(name) || is_comm_of(comm, name) || titled
}

fn is_below(path: &str, top: &str) -> bool {
    let top = top.trim_end_matches('/');
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn uid_of(user: &str) -> Option<u32> {
    user.parse().ok().or_else(|| users::named_on_machine(user).map(|user| user.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(comm: &str, exe: &str, title: &str, cgroup: &str) -> ProcessSnapshot {
        ProcessSnapshot {
            comm: comm.to_owned(),
            exe: Some(exe.to_owned()),
            cmdline: vec![title.to_owned()],
            cgroup: Some(cgroup.to_owned()),
            ..ProcessSnapshot::default()
        }
    }

    #[test]
    fn names_match_executable_comm_and_title() {
        let tmux = process("tmux: server", "/usr/bin/tmux", "tmux new", "/");
        assert!(Matcher::Name("tmux".to_owned()).matches(&tmux));
        assert!(Matcher::Name("tmux: server".to_owned()).matches(&tmux));
        assert!(!Matcher::Name("tmu".to_owned()).matches(&tmux));
        let worker = process("php", "/usr/sbin/php-fpm8.2", "php-fpm: pool www", "/");
        assert!(Matcher::Name("php-fpm".to_owned()).matches(&worker));
        let long = process("gnome-session-b", "/usr/libexec/x", "", "/");
        assert!(Matcher::Name("gnome-session-binary".to_owned()).matches(&long));
        assert!(!Matcher::Name("gnome-session-".to_owned()).matches(&long));
    }

    #[test]
    fn units_cgroups_and_containers_match_by_path() {
        let id = "ab12".repeat(16);
        let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service";
        let one = process("x", "/x", "x", user);
        for unit in ["x.service", "user@1000.service", "user-1000.slice"] {
            assert!(Matcher::Unit(UnitTarget::new(unit)).matches(&one), "{unit}");
        }
        assert!(!Matcher::Unit(UnitTarget::new("x")).matches(&one));
        assert!(Matcher::Cgroup("/user.slice/user-1000.slice".to_owned()).matches(&one));
        assert!(!Matcher::Cgroup("/user.slice/user-100".to_owned()).matches(&one));
        let contained = process("x", "/x", "x", &format!("/system.slice/docker-{id}.scope/sub"));
        assert!(Matcher::Container(ContainerTarget::new(&id[..12])).matches(&contained));
        assert!(!Matcher::Container(ContainerTarget::new(&id[..3])).matches(&contained));
        assert_eq!(up_to(user, &UnitTarget::new("x.service")).as_deref(), Some(user));
        assert_eq!(
            up_to_containing("/a/docker-7.scope/b", "7").as_deref(),
            Some("/a/docker-7.scope")
        );
    }

    #[test]
    fn a_slice_has_the_services_in_it() {
        assert_eq!(slice_path("my-x.slice").as_deref(), Some("/my.slice/my-x.slice"));
        assert_eq!((slice_path("-.slice"), slice_path("my.service")), (None, None));
        let within =
            |slice: &str, path: &str| Matcher::Unit(UnitTarget::new(slice)).service_within(path);
        let path = "/my.slice/my-x.slice/own.service";
        for slice in ["my.slice", "my-x.slice"] {
            assert_eq!(within(slice, path).as_deref(), Some("own.service"));
        }
        // Another slice's, what is below it, and a user's.
        assert_eq!(within("other.slice", path), None);
        assert_eq!(within("my.slice", &format!("{path}/sub")), None);
        assert_eq!(within("own.service", path), None);
        let users = "/user.slice/user-1000.slice/user@1000.service/app.slice/own.service";
        assert_eq!(within("app.slice", users), None);
        assert_eq!(within("user.slice", users), None);
    }

    #[test]
    fn what_a_unit_runs_is_its_managers_word() {
        let told = |manager, properties: &[(&str, u32)]| {
            let properties =
                properties.iter().map(|(name, pid)| ((*name).to_owned(), (*pid).into()));
            let unit = "x.service".to_owned();
            UnitProperties { manager, unit, properties: properties.collect() }
        };
        let both = [("MainPID", 70), ("ControlPID", 0), ("NRestarts", 2)];
        let fact = told(Manager::System, &both);
        assert_eq!(told_to_run(&fact), Some(("x.service", vec![70])));
        assert_eq!(told_to_run(&told(Manager::System, &[("MainPID", 0)])), None);
        // A user's manager could name anybody's.
        assert_eq!(told_to_run(&told(Manager::User(1000), &both)), None);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let processes = Processes::new(Cgroups::detect());
        let error = |matcher| find(&processes, &matcher).expect_err("cannot exist");
        assert_eq!(error(Matcher::Pid(u32::MAX)), NoTarget::NoProcess(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let id = child.id();
        while !fs::read_to_string(format!("/proc/{id}/stat"))
            .expect("it is not waited for")
            .contains(") Z ")
        {
            std::thread::yield_now();
        }
        let zombie =
            NoTarget::Zombie { pid: id, comm: "true".to_owned(), parent: std::process::id() };
        assert_eq!(error(Matcher::Pid(id)), zombie);
        let named = find(&processes, &Matcher::Name("true".to_owned())).expect("a name can be");
        assert!(!named.processes.iter().any(|it| it.pid == id), "{named:?}");
        child.wait().expect("it has ended");
        let user = "no such user".to_owned();
        assert_eq!(error(Matcher::User(user.clone())), NoTarget::NoUser(user));
        assert_eq!(
            error(Matcher::Unit(UnitTarget::new("no such/"))),
            NoTarget::NoUnit("no such/".to_owned())
        );
    }

    #[test]
    fn what_may_come_yet_is_waited_for() {
        let processes = Processes::new(Cgroups::detect());
        let name = || "no-such-name".to_owned();
        for matcher in [
            Matcher::Name(name()),
            Matcher::Unit(UnitTarget::new("no-such-name.service")),
            Matcher::Cgroup(name()),
            Matcher::Container(ContainerTarget::new(&name())),
        ] {
            assert_eq!(find(&processes, &matcher), Ok(Found::default()), "{matcher:?}");
        }
    }
}
