//! Who is behind a process: the command somebody typed, the person, the place.

mod place;
mod programs;
mod telling;

pub use self::place::Place;
use self::place::{Service, login_user, place, service};
use self::programs::{
    CONTAINER_CLIENTS, changes_user, interprets, is_outermost, is_roots, is_scheduler, is_updater,
    is_wrapper, lends_rights, runs_script,
};
pub use self::programs::{asks_daemon, is_interactive, is_shell, runs_shell};
use super::case::Case;
use super::started::{By, Started};
use super::verdict::{Link, LinkEvent};
use super::words;
use crate::evidence::{CgroupOwner, Grade, Mechanism, Process, ProcessId, Source, base_name, fits};

/// How many starts of units are followed up: one had another made, which had a third.
pub const STARTS: usize = 3;

/// Who is behind a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// The process itself.
    pub process: Process,
    /// What was run: the outermost command below the shell or the system's own process.
    pub command: Process,
    /// What its process had executed at first, where that executed the command in its place, to do what it was told:
    /// `postfix stop` is a shell script by then.
    was: Option<Process>,
    /// What between that and the process says what was wanted: the client of a container's runtime, the script that holds
    /// the line.
    pub script: Option<Process>,
    /// What had a shell run the command line that did it (`sh -c`, as system(3) has), where that was no shell itself.
    runner: Option<Process>,
    /// Those of all these, by pid, whose words are a title of their own making: see [`is_titled`].
    titled: Vec<u32>,
    /// When that command was executed (`CLOCK_BOOTTIME` nanoseconds), where it was seen.
    pub ran_ns: Option<u64>,
    /// When what it ran in its turn, and what did it, was: a script can have been at work for long before.
    acted_ns: Option<u64>,
    /// Whose doing that command is: the user that logged in, else its owner.
    pub user: Option<String>,
    /// Whom it had become by the time it did it, by a su(1) below that command; root where that is not told.
    acted_as: Option<String>,
    /// Where.
    pub place: Option<Place>,
    /// The shell it was run in.
    pub shell: Option<Process>,
    /// The programs between that install software, nearest first.
    pub updaters: Vec<String>,
    /// It sent no signal itself, but wrote `cgroup.kill`: of which cgroup, where that is known.
    killed_cgroup: Option<Option<String>>,
    /// The unit that the user had a service manager make and run the process in, and how well that is proven.
    through: Option<(String, Grade)>,
    /// The service that did it, where nobody ran it by hand.
    service: Option<Service>,
    /// What had started the unit that it ran in, as a clause.
    started: Option<String>,
    /// How well it is proven that this command led to what the process did.
    pub grade: Grade,
    /// What had the unit run that it ran in.
    pub links: Vec<Link>,
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
        let scheduled = own.place.as_ref().is_some_and(Place::is_job);
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
        let (command, was, ran_ns, acted_ns) = if typed {
            (self.command, self.was, self.ran_ns, self.acted_ns)
        } else {
            (who.command, who.was, who.ran_ns, who.acted_ns)
        };
        Self {
            process: self.process,
            command,
            was,
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
            runner: self.runner,
            titled: [self.titled, who.titled].concat(),
            killed_cgroup: self.killed_cgroup,
            grade,
            links,
        }
    }

    /// That a unit ran its command; none of what was typed into a shell there.
    fn run_in(&self, case: &Case<'_>, unit: &str) -> Option<Link> {
        let began_ns = self.ran_ns.filter(|_| self.shell.is_none())?;
        let text = format!("{unit} ran {}", self.said(&self.command));
        let at = case.exit.at.shifted(began_ns);
        let command = Some(self.command.clone());
        Some(case.link(at, LinkEvent::Command, Source::Kernel, command, text))
    }

    /// As far as the process and its parents tell by themselves.
    fn below_manager(case: &Case<'_>, id: ProcessId, at_ns: u64) -> Self {
        let people = &case.world.people;
        let process = as_executed(case, id, at_ns);
        let ids: Vec<_> = std::iter::once(id).chain(people.parents(id)).collect();
        // A parent may have executed another program since it made its child.
        let acts = std::iter::once(at_ns).chain(ids.iter().map(|id| id.made_by_ns().min(at_ns)));
        let acts: Vec<_> = ids.iter().copied().zip(acts).collect();
        let parents: Vec<_> =
            acts[1..].iter().map(|(id, ns)| as_executed(case, *id, *ns)).collect();
        let above = Above::of(&process, &parents);
        let by_hand = above.is_by_hand();
        let Above { command, shell, scheduler, updaters } = above;
        // Who ran what is shown: what is below a change of user is another's.
        let from = ids.iter().position(|id| id.pid == command.pid).unwrap_or(0);
        let between = &parents[..from];
        let user = login_user(case, &ids[from..], &command);
        let acted_as = process.user.clone().filter(|acted_as| {
            process.uid != Some(0)
                && user.as_ref() != Some(acted_as)
                && parents.iter().any(changes_user)
        });
        let (command_id, ran_at_ns) = acts[from];
        let killed_cgroup = case
            .blow_by(Mechanism::CgroupKill)
            .filter(|blow| blow.signal.value.sender.id == id)
            .map(|blow| blow.signal.value.written_cgroup.clone());
        let service = (!by_hand).then(|| service(case, &ids[from..], &command)).flatten();
        Self {
            script: script(&process, &command, between.split_last().map_or(&[], |it| it.1)),
            runner: parents
                .first()
                .filter(|parent| ids[1] != case.victim && is_runner(parent, &process))
                .cloned(),
            was: first_program(case, command_id, ran_at_ns),
            ran_ns: people.exec_ns_at(command_id, ran_at_ns),
            acted_ns: people.exec_ns_at(id, at_ns),
            place: place(case, &ids[from..], scheduler.as_deref()),
            titled: acts
                .iter()
                .filter(|(id, ns)| {
                    people.executed_at(*id, *ns).is_none() && is_titled(case, *id, *ns)
                })
                .map(|(id, _)| id.pid)
                .collect(),
            grade: service.as_ref().map_or(Grade::Observed, |service| service.grade),
            service,
            process,
            command,
            user,
            acted_as,
            shell,
            updaters,
            killed_cgroup,
            through: None,
            started: None,
            links: Vec::new(),
        }
    }
}

/// The first program of a process that another took the place of, to do what that was told: its last argument is the same
/// (`postfix stop`, `service web stop`). What only changes how a program runs has that one's words as its own.
fn first_program(case: &Case<'_>, id: ProcessId, at_ns: u64) -> Option<Process> {
    let known = case.world.people.get(id)?;
    let command = as_executed(case, id, at_ns);
    let line = words::command_line(&command);
    let wanted = command.cmdline.as_deref().filter(|args| args.len() > 1)?.last();
    let earlier = known.earlier.iter().filter(|program| program.until_ns <= at_ns);
    let executed = earlier.filter(|program| program.exec_ns.is_some());
    let mut programs =
        executed.map(|program| as_executed(case, id, program.until_ns.saturating_sub(1)));
    programs.find(|program| {
        let comm = program.comm.as_deref().unwrap_or_default();
        let args = program.cmdline.as_deref().unwrap_or_default();
        let is_way = is_wrapper(comm) || lends_rights(comm) || changes_user(program);
        // What a shell is given to run it says itself.
        let is_own = !runs_shell(program) || runs_script(program);
        args.len() > 1
            && args.last() == wanted
            && is_own
            && !is_way
            && !words::command_line(program).contains(&line)
            && args != command.cmdline.as_deref().unwrap_or_default()
    })
}

/// What there is above a process, up to where a chain of parents stops being somebody's doing.
struct Above {
    /// What was run, of the process and its parents.
    command: Process,
    /// The shell that it was typed into.
    shell: Option<Process>,
    /// The name of what ran it at its time.
    scheduler: Option<String>,
    /// The programs between that install software, nearest first.
    updaters: Vec<String>,
}

impl Above {
    /// By the parents of a process, nearest first.
    fn of(process: &Process, parents: &[Process]) -> Self {
        let (mut shell, mut scheduler, mut updaters) = (None, None, Vec::new());
        let mut command = process;
        let mut outermost = process;
        let mut scripted = runs_shell(process);
        for (at, parent) in parents.iter().enumerate() {
            let comm = parent.comm.as_deref().unwrap_or_default();
            let below = at.checked_sub(1).map_or(process.pid, |below| parents[below].pid);
            if is_roots(parent) && is_scheduler(comm) {
                scheduler = Some(comm.to_owned());
                break;
            }
            if is_outermost(parent) {
                break;
            }
            // cron and at hand the job to a shell that has it on its standard input.
            let above = parents.get(at + 1).and_then(|above| above.comm.as_deref());
            let of_scheduler = above.is_some_and(is_scheduler);
            if is_shell(comm) && !runs_script(parent) && !of_scheduler {
                shell = Some(parent.clone());
                break;
            }
            if is_updater(parent) {
                updaters.push(comm.to_owned());
                command = parent;
                scripted = true;
            } else if scripted
                && (lends_rights(comm) || changes_user(parent))
                && command.pid == below
            {
                // By this the script could do it, or is another's.
                command = parent;
            } else if !scripted && (is_wrapper(comm) || runs_shell(parent)) {
                // The nearest script is what did it; what started that one is another story.
                scripted = runs_shell(parent);
                command = parent;
            }
            outermost = parent;
        }
        let mut above = Self { command: command.clone(), shell, scheduler, updaters };
        // Below a shell or cron, all that was run is somebody's one command. Without one, the chain ends in
        // some daemon, which is not what somebody has just run.
        if above.is_by_hand() {
            above.command = outermost.clone();
        } else if above.command.pid == process.pid
            && let Some(parent) = parents.first().filter(|parent| acts_by(process, parent))
        {
            above.command = parent.clone();
        }
        above
    }

    /// Whether somebody typed it, or had it run at its time.
    const fn is_by_hand(&self) -> bool {
        self.shell.is_some() || self.scheduler.is_some()
    }
}

/// Whether a command is what its parent did of its own accord: a daemon or a script in the background. A service is told as
/// that, a shell with what had run it.
fn acts_by(process: &Process, parent: &Process) -> bool {
    let in_service = |it: &Process| {
        let owner = CgroupOwner::of(it.cgroup.as_deref().unwrap_or_default());
        owner.user_unit.or(owner.unit).is_some_and(|unit| unit.ends_with(".service"))
    };
    let comm = parent.comm.as_deref().unwrap_or_default();
    let is_way = is_outermost(parent) || is_scheduler(comm) || changes_user(parent);
    let in_container = process.container.is_some() || parent.container.is_some();
    !is_way && !runs_shell(process) && !in_container && !in_service(process) && !in_service(parent)
}

/// Whether the words that a process shows are neither those that it was executed with nor name the program that it runs,
/// which the kernel knows: it can have written anything over them. Of a script `exe` may be its own file.
pub fn is_titled(case: &Case<'_>, id: ProcessId, at_ns: u64) -> bool {
    let process = case.process_at(id, at_ns);
    let (Some(exe), Some(shown)) = (&process.exe, &process.cmdline) else { return false };
    let Some(first) = shown.first() else { return false };
    let program = base_name(exe.trim_end_matches(" (deleted)")).to_lowercase();
    let names = |word: &str| {
        let word = base_name(word);
        word.contains(char::is_alphanumeric) && fits(word, &program)
    };
    let is_login_shell = first.starts_with('-') && is_shell(&program);
    let is_named = is_login_shell || names(first) || first.split(' ').next().is_some_and(names);
    let is_script =
        shown.iter().skip(1).take(2).any(|word| base_name(word).to_lowercase() == program);
    let as_executed = case.world.people.executed_at(id, at_ns) == Some(shown.as_slice());
    !as_executed && !is_named && !is_script
}

/// The script that a command line has an interpreter run: what follows the options, where it is a path.
pub fn script_of(args: &[String]) -> Option<&str> {
    const INTERPRETERS: [&str; 8] =
        ["python", "perl", "ruby", "node", "php", "lua", "tclsh", "pwsh"];
    let (program, rest) = args.split_first()?;
    let program = base_name(program).trim_start_matches('-');
    let by_shell = is_shell(program);
    let is_interpreter = by_shell || INTERPRETERS.iter().any(|known| program.starts_with(known));
    let script = rest.iter().find(|arg| !arg.starts_with(['-', '+']))?;
    // Code of its own (`-c`, `-e`), or a module by its name (`-m`).
    let code: &[char] = if by_shell { &['c', 's'] } else { &['c', 'e', 'm', 'r'] };
    let mut options = rest.iter().take_while(|arg| *arg != script);
    let is_code = options.any(|arg| !arg.starts_with("--") && arg.contains(code));
    (is_interpreter && !is_code && script.contains('/')).then_some(script.as_str())
}

/// A process with the arguments that it was executed with: nobody ran the title that it may have written over them.
fn as_executed(case: &Case<'_>, id: ProcessId, at_ns: u64) -> Process {
    let process = case.process_at(id, at_ns);
    let executed = case.world.people.executed_at(id, at_ns).map(<[String]>::to_vec);
    Process { cmdline: executed.or(process.cmdline), ..process }
}

/// Whether a process is what had a shell run a command line: no shell itself, no daemon that does so for others, and
/// nothing whose own words are the same.
fn is_runner(parent: &Process, shell: &Process) -> bool {
    let comm = parent.comm.as_deref().unwrap_or_default();
    let [said, line] = [parent, shell].map(|it| it.cmdline.as_deref().unwrap_or_default());
    let words = line.get(1..).unwrap_or_default();
    let is_line = words.iter().any(|word| word == "-c");
    let is_others = is_outermost(parent) || is_scheduler(comm) || changes_user(parent);
    runs_shell(shell) && is_line && !runs_shell(parent) && !is_others && !said.ends_with(words)
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
    let script = || between.iter().find(|it| runs_shell(it) || interprets(it));
    client.filter(is_new).or_else(|| script().filter(is_new)).cloned()
}
