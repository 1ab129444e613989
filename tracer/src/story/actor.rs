//! Who is behind a process: the command somebody typed, the person, the place.

mod telling;

use super::case::Case;
use super::started::{By, Started};
use super::verdict::{Link, LinkEvent};
use super::{unseen, words};
use crate::evidence::{Grade, Mechanism, Process, ProcessId, Session, Source, base_name};

/// How many starts of units are followed up: one had another made, which had a third.
pub const STARTS: usize = 3;

const SHELLS: [&str; 12] =
    ["sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "ash", "csh", "tcsh", "busybox", "nu"];
const CHANGES_USER: [&str; 6] = ["sudo", "su", "doas", "pkexec", "runuser", "run0"];
const CRON: [&str; 5] = ["cron", "crond", "anacron", "fcron", "dcron"];
const AT: [&str; 1] = ["atd"];
/// The places of what schedulers run.
const JOBS: [&str; 2] = ["a cron job", "an at job"];
/// Where a chain of parents stops being somebody's doing and becomes the system's.
const ROOTS: [&str; 11] = [
    "systemd",
    "init",
    "sshd",
    "sshd-session",
    "login",
    "tmux: server",
    "screen",
    "containerd-shim",
    "conmon",
    "cron",
    // Under `killtrace -- CMD`, CMD is what was run.
    "killtrace",
];

/// What installs and updates software, and restarts services for it. Daemons among them: what is below them is
/// their doing.
const UPDATERS: [&str; 19] = [
    "apt",
    "apt-get",
    "aptitude",
    "dpkg",
    "unattended-upgr",
    "needrestart",
    "dnf",
    "dnf5",
    "yum",
    "rpm",
    "rpm-ostree",
    "microdnf",
    "zypper",
    "pacman",
    "apk",
    "packagekitd",
    "snapd",
    "snap",
    "flatpak",
];

/// What people, and what runs containers for them, call to have a runtime act.
const CONTAINER_CLIENTS: [&str; 8] =
    ["podman", "docker", "nerdctl", "buildah", "crictl", "ctr", "kubelet", "lxc"];

/// Whether a name is that of a shell (a login shell's leading `-` included).
pub fn is_shell(comm: &str) -> bool {
    SHELLS.contains(&comm.trim_start_matches('-'))
}

/// Whether a process is a shell, or a shell's script. busybox is one where it was called as one: `busybox killall` is
/// a command.
pub fn runs_shell(process: &Process) -> bool {
    let comm = process.comm.as_deref().unwrap_or_default();
    let applet = process.cmdline.as_ref().and_then(|args| args.get(1));
    is_shell_script(process)
        || is_shell(comm) && (comm != "busybox" || applet.is_some_and(|applet| is_shell(applet)))
}

/// Whether a process is a shell that took its name from the script that it was started by (`#!/bin/sh`, execve(2)).
fn is_shell_script(process: &Process) -> bool {
    let (Some(comm), Some(args)) = (&process.comm, &process.cmdline) else { return false };
    // The kernel keeps 15 bytes of a name. `#!` may have given the shell an option.
    let is_named =
        |arg: &String| base_name(arg).as_bytes().chunks(15).next() == Some(comm.as_bytes());
    args.first().is_some_and(|shell| is_shell(base_name(shell)))
        && args.iter().skip(1).take(2).any(is_named)
}

/// Who is behind a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// The process itself.
    pub process: Process,
    /// What was run: the outermost command below the shell or the system's own process.
    pub command: Process,
    /// What between that and the process says what was wanted: the client of a container's runtime, the script that holds
    /// the line.
    pub script: Option<Process>,
    /// When that command was executed (`CLOCK_BOOTTIME` nanoseconds), where it was seen.
    pub ran_ns: Option<u64>,
    /// When what it ran in its turn, and what did it, was: a script can have been at work for long before.
    acted_ns: Option<u64>,
    /// Whose doing that command is: the user that logged in, else its owner.
    pub user: Option<String>,
    /// Whom it had become by the time it did it, by a su(1) below that command; root where that is not told.
    acted_as: Option<String>,
    /// Where: `ssh session 7 from 203.0.113.9`, `a cron job`, `unit backup.service`.
    pub place: Option<String>,
    /// The shell it was run in.
    pub shell: Option<Process>,
    /// The programs between that install software, nearest first.
    pub updaters: Vec<String>,
    /// It sent no signal itself, but wrote `cgroup.kill`: of which cgroup, where that is known.
    killed_cgroup: Option<Option<String>>,
    /// The unit that the user had a service manager make and run the process in, and how well that is proven.
    through: Option<(String, Grade)>,
    /// The system's service that did it, where nobody ran it by hand.
    service: Option<Service>,
    /// What had started the unit that it ran in, as a clause.
    started: Option<String>,
    /// How well it is proven that this command led to what the process did.
    pub grade: Grade,
    /// What had the unit run that it ran in.
    pub links: Vec<Link>,
}

/// A service of the system that acts by itself.
#[derive(Clone, Debug, PartialEq)]
struct Service {
    unit: String,
    /// The program of it that ran the command: `monit[868]`.
    program: Option<String>,
    /// Whom it runs as, where that is not root.
    user: Option<String>,
}

impl Actor {
    /// Looks up the chain of parents of a process, as it was when the victim was struck.
    pub fn behind(case: &Case<'_>, id: ProcessId) -> Self {
        Self::behind_at(case, id, case.struck_ns())
    }

    /// The same for an act at another time (`CLOCK_BOOTTIME` nanoseconds): a shell that killed may be another
    /// program by the time the victim is struck.
    pub fn behind_at(case: &Case<'_>, id: ProcessId, at_ns: u64) -> Self {
        Self::within(case, id, at_ns, STARTS)
    }

    /// The same with no more than so many starts of units followed up.
    pub fn within(case: &Case<'_>, id: ProcessId, at_ns: u64, hops: usize) -> Self {
        let own = Self::below_manager(case, id, at_ns);
        let line: Vec<_> = std::iter::once(id).chain(case.world.people.parents(id)).collect();
        // What a scheduler runs is told by that.
        let scheduled = own.place.as_deref().is_some_and(|place| JOBS.contains(&place));
        let started = (!scheduled).then(|| Started::of(case, &line, at_ns, hops)).flatten();
        match started {
            Some(Started { by: By::Person { actor, unit, through, grade }, links }) => {
                let inner = own.run_in(case, &unit);
                let links = links.into_iter().chain(inner).collect();
                own.had_run_by(*actor, (through, grade), links)
            }
            Some(Started { by: By::Cause(clause), links }) => {
                Self { started: Some(clause), links, ..own }
            }
            None => own,
        }
    }

    /// It is part of what somebody had a service manager run: that one is behind it, as behind what sudo(8) runs.
    fn had_run_by(self, who: Self, through: (String, Grade), links: Vec<Link>) -> Self {
        let is_other = self.process.uid != Some(0) && self.process.user != who.user;
        let acted_as = self.acted_as.or_else(|| self.process.user.clone().filter(|_| is_other));
        // Below a shell all is what was typed there; else it is the one command.
        let typed = self.shell.is_some();
        let grade = who.grade.min(through.1);
        let links = who.links.into_iter().chain(links).collect();
        // The script that the unit ran is still what holds the line.
        let in_unit = [self.command.clone()];
        let scripted = !typed && self.script.is_none() && self.command.pid != self.process.pid;
        let script = scripted.then(|| script(&self.process, &who.command, &in_unit)).flatten();
        let script = self.script.or(script);
        let (command, ran_ns, acted_ns) = if typed {
            (self.command, self.ran_ns, self.acted_ns)
        } else {
            (who.command, who.ran_ns, who.acted_ns)
        };
        Self {
            process: self.process,
            command,
            ran_ns,
            acted_ns,
            acted_as,
            shell: self.shell.or(who.shell),
            updaters: [self.updaters, who.updaters].concat(),
            user: who.user,
            place: who.place,
            service: who.service,
            started: who.started,
            through: Some(through),
            script,
            killed_cgroup: self.killed_cgroup,
            grade,
            links,
        }
    }

    /// That a unit ran its command; none of what was typed into a shell there.
    fn run_in(&self, case: &Case<'_>, unit: &str) -> Option<Link> {
        let began_ns = self.ran_ns.filter(|_| self.shell.is_none())?;
        let text = format!("{unit} ran \"{}\"", words::command_line(&self.command));
        let at = case.exit.at.shifted(began_ns);
        let command = Some(self.command.clone());
        Some(case.link(at, LinkEvent::Command, Source::Kernel, command, text))
    }

    fn below_manager(case: &Case<'_>, id: ProcessId, at_ns: u64) -> Self {
        let process = as_executed(case, id, at_ns);
        let mut command = process.clone();
        let mut outermost = process.clone();
        let mut shell = None;
        let mut cron = None;
        let mut updaters = Vec::new();
        let mut scripted = runs_shell(&process);
        let parents: Vec<Process> = case
            .world
            .people
            .parents(id)
            .into_iter()
            .map(|id| as_executed(case, id, at_ns))
            .collect();
        for (at, parent) in parents.iter().enumerate() {
            let comm = parent.comm.clone().unwrap_or_default();
            if is_roots(parent) && is_scheduler(&comm) {
                cron = Some(comm);
                break;
            }
            if parent.pid <= 1 || ROOTS.iter().any(|root| comm.starts_with(root)) {
                break;
            }
            // cron and at hand the job to a shell that has it on its standard input.
            let above = parents.get(at + 1).and_then(|above| above.comm.as_deref());
            let of_scheduler = above.is_some_and(is_scheduler);
            if is_shell(&comm) && !runs_script(parent) && !of_scheduler {
                shell = Some(parent.clone());
                break;
            }
            if UPDATERS.contains(&comm.as_str()) && (is_roots(parent) || is_anybodys(&comm)) {
                updaters.push(comm);
                command = parent.clone();
                scripted = true;
            } else if !scripted && (is_wrapper(&comm) || runs_shell(parent)) {
                // The nearest script is what did it; what started that one is another story.
                scripted = runs_shell(parent);
                command = parent.clone();
            }
            outermost = parent.clone();
        }
        // Below a shell or cron, all that was run is somebody's one command. Without one, the chain ends in
        // some daemon, which is not what somebody has just run.
        if shell.is_some() || cron.is_some() {
            command = outermost;
        }
        let ran_ns = command.start_ns.and_then(|start_ns| {
            let id = ProcessId { pid: command.pid, start_ns };
            case.world.people.exec_ns_at(id, at_ns)
        });
        // Who ran what is shown: what is below a change of user is another's.
        let ids: Vec<_> = std::iter::once(id).chain(case.world.people.parents(id)).collect();
        let from = ids.iter().position(|id| id.pid == command.pid).unwrap_or(0);
        let user = login_user(case, &ids[from..], &command);
        let place = place(case, &ids[from..], cron.as_deref());
        let between = &parents[..from];
        let acted_as = process.user.clone().filter(|acted_as| {
            process.uid != Some(0)
                && user.as_ref() != Some(acted_as)
                && between.iter().any(changes_user)
        });
        let killed_cgroup = case
            .blow_by(Mechanism::CgroupKill)
            .filter(|blow| blow.signal.value.sender.id == id)
            .map(|blow| blow.signal.value.written_cgroup.clone());
        let script = script(&process, &command, between.split_last().map_or(&[], |it| it.1));
        // A shell is somebody's, as is what there is a login behind.
        let by_hand = shell.is_some() || cron.is_some();
        let service = (!by_hand).then(|| service(case, &ids[from..], &command)).flatten();
        Self {
            process,
            command,
            script,
            ran_ns,
            acted_ns: case.world.people.exec_ns_at(id, at_ns),
            user,
            acted_as,
            place,
            shell,
            updaters,
            killed_cgroup,
            service,
            through: None,
            started: None,
            grade: Grade::Observed,
            links: Vec::new(),
        }
    }
}

/// A process with the arguments that it was executed with: nobody ran the title that it may have written over them.
fn as_executed(case: &Case<'_>, id: ProcessId, at_ns: u64) -> Process {
    let process = case.process_at(id, at_ns);
    let executed = case.world.people.executed_at(id, at_ns).map(<[String]>::to_vec);
    Process { cmdline: executed.or(process.cmdline), ..process }
}

/// Which of those between a process and the command that it is part of, nearest first, says what was wanted; none where
/// that command's words, or the process's own, say it already.
fn script(process: &Process, command: &Process, between: &[Process]) -> Option<Process> {
    let said = [process, command].map(words::command_line);
    let is_new = |it: &&Process| {
        let args = it.cmdline.as_deref().unwrap_or_default();
        let line = words::command_line(it);
        // What was run as `sudo /x.sh` is shown by the kernel as `/bin/sh /x.sh`.
        let file = args.get(1).filter(|file| args.len() == 2 && file.starts_with('/'));
        let has = |said: &String| {
            let named = file.is_some_and(|file| said.split(' ').any(|word| word == file));
            named || said.contains(line.as_str())
        };
        !args.is_empty() && !said.iter().any(has)
    };
    let comm = |it: &Process| it.comm.clone().unwrap_or_default();
    let client = between.iter().rev().find(|it| CONTAINER_CLIENTS.contains(&comm(it).as_str()));
    let script = || between.iter().find(|it| runs_shell(it));
    client.filter(is_new).or_else(|| script().filter(is_new)).cloned()
}

/// Whether a process is root's: anybody can give a program of theirs any name.
fn is_roots(process: &Process) -> bool {
    process.uid == Some(0)
}

/// Whether it is what users run themselves to install software for themselves.
fn is_anybodys(updater: &str) -> bool {
    ["flatpak", "snap"].contains(&updater)
}

/// Whether a name is that of a program that runs jobs at their time.
fn is_scheduler(comm: &str) -> bool {
    // Debian's cron calls its children CRON.
    CRON.contains(&comm.to_ascii_lowercase().as_str()) || AT.contains(&comm)
}

/// Programs that only run another one.
fn is_wrapper(comm: &str) -> bool {
    const WRAPPERS: [&str; 9] =
        ["env", "nice", "nohup", "setsid", "xargs", "time", "timeout", "parallel", "chroot"];
    WRAPPERS.contains(&comm) || CHANGES_USER.contains(&comm)
}

/// `bash script.sh` and `sh -c …` act for whoever started them; a bare shell is somebody typing.
fn runs_script(shell: &Process) -> bool {
    shell
        .cmdline
        .as_ref()
        .is_some_and(|args| args.iter().skip(1).any(|arg| !arg.starts_with('-') || arg == "-c"))
}

/// Whether a shell can be one that somebody types into, by its words: what is given a script or a command is none
/// unless it was told so.
pub fn is_interactive(shell: &Process) -> bool {
    const WITH_VALUE: [&str; 6] = ["--rcfile", "--init-file", "-o", "+o", "-O", "+O"];
    let mut args = shell.cmdline.iter().flatten().skip(1);
    while let Some(arg) = args.next() {
        let letters = arg.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
        if letters.is_some_and(|letters| letters.contains('i')) {
            return true;
        }
        if WITH_VALUE.contains(&arg.as_str()) {
            args.next();
        } else if !arg.starts_with(['-', '+']) {
            // The script, or what follows `-c`.
            return false;
        }
    }
    true
}

/// Whether a process runs another one as another user.
fn changes_user(process: &Process) -> bool {
    process.comm.as_deref().is_some_and(|comm| CHANGES_USER.contains(&comm))
}

/// The user behind a command: of it and its parents, nearest first.
fn login_user(case: &Case<'_>, ids: &[ProcessId], command: &Process) -> Option<String> {
    let people = &case.world.people;
    let login = ids.iter().find_map(|id| people.get(*id)?.login_uid);
    if let Some(user) = login.and_then(|uid| case.world.user(uid)) {
        return Some(user.name.clone());
    }
    // Without an audit login uid: whoever stood behind the outermost change of user, by the word of root's process.
    let mut changed = ids.iter().filter_map(|id| {
        let known = people.get(*id).filter(|known| known.uid == Some(0))?;
        let comm = known.comm.as_deref()?;
        CHANGES_USER.contains(&comm).then(|| known.environment.get("SUDO_USER").cloned()).flatten()
    });
    if let Some(user) = changed.next_back() {
        return Some(user);
    }
    let session = ids.iter().filter_map(|id| session_come_from(case, *id)?.user).next();
    let roots = || is_roots(command).then(|| "root".to_owned());
    session.or_else(|| command.user.clone()).or_else(roots)
}

/// The login session that a process came from: not the one that su(1) opened for whom it runs something as, and whose
/// leader it then is.
fn session_come_from(case: &Case<'_>, id: ProcessId) -> Option<Session> {
    let process = case.process(id);
    let session = process.session.clone()?;
    let leader = case.world.session(&session.id).and_then(|state| state.leader);
    let opened = changes_user(&process)
        && match leader {
            Some(leader) => leader == id.pid,
            // Not told: sudo(8) stays in the session that it was started in.
            None => process.comm.as_deref() != Some("sudo") && process.user != session.user,
        };
    (!opened).then_some(session)
}

/// Where a command was run: of it and its parents, nearest first.
fn place(case: &Case<'_>, ids: &[ProcessId], cron: Option<&str>) -> Option<String> {
    if let Some(cron) = cron {
        let [job, at_job] = JOBS;
        let kind = if AT.contains(&cron) { at_job } else { job };
        return Some(kind.to_owned());
    }
    let process = case.process(*ids.first()?);
    if let Some(container) = &process.container {
        return Some(words::container(container));
    }
    if let Some(session) = ids.iter().find_map(|id| session_come_from(case, *id)) {
        let remote = session.remote_host.clone().or_else(|| ssh_peer(case, ids));
        let kind = if session.service.as_deref() == Some("sshd") || remote.is_some() {
            "ssh session"
        } else {
            "session"
        };
        let from = remote.map(|host| format!(" from {host}"));
        let on = session.tty.filter(|_| from.is_none()).map(|tty| format!(" on {tty}"));
        let opened = unseen::opened(case, ids, &session.id).map(|opened| opened.clause());
        return Some(format!(
            "{kind} {}{}{}",
            session.id,
            from.or(on).unwrap_or_default(),
            opened.unwrap_or_default()
        ));
    }
    if let Some(peer) = ssh_peer(case, ids) {
        return Some(format!("an ssh login from {peer}"));
    }
    // Of a process that opened a session: where it came from is not known any more.
    let unit = process.user_unit.or(process.unit).filter(|_| process.session.is_none());
    unit.filter(|unit| unit != "init.scope").map(|unit| match unit.strip_suffix(".service") {
        Some("cron" | "crond" | "cronie" | "anacron") => JOBS[0].to_owned(),
        Some("atd") => JOBS[1].to_owned(),
        _ => format!("unit {unit}"),
    })
}

/// The system's service that a command is part of, of it and its parents, nearest first: none where there is a login
/// behind it, or another place than that unit.
fn service(case: &Case<'_>, ids: &[ProcessId], command: &Process) -> Option<Service> {
    let people = &case.world.people;
    let logged_in = |id: &ProcessId| people.get(*id).is_some_and(|known| known.login_uid.is_some());
    let unit = command.unit.clone().filter(|unit| unit.ends_with(".service"))?;
    let place = place(case, ids, None)?;
    if ids.iter().any(logged_in) || place != format!("unit {unit}") {
        return None;
    }
    let above = ids
        .get(1)
        .map(|id| case.process(*id))
        .filter(|above| above.pid > 1 && above.comm.as_deref() != Some("systemd"));
    let program = above.as_ref().map(words::name_pid);
    let user = command.user.clone().filter(|_| !is_roots(command));
    Some(Service { unit, program, user })
}

/// The other end of an ssh login, by the variable that sshd sets: what has it can give it any value.
fn ssh_peer(case: &Case<'_>, ids: &[ProcessId]) -> Option<String> {
    ids.iter().find_map(|id| {
        let connection = case.world.people.get(*id)?.environment.get("SSH_CONNECTION")?;
        let address: std::net::IpAddr = connection.split(' ').next()?.parse().ok()?;
        Some(format!("{address} (by SSH_CONNECTION in its environment)"))
    })
}
