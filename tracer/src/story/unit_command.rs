//! The commands that a service manager runs for a unit beside its main process: `ExecStartPre=`, `ExecStop=` and
//! their kind, and the one that all of a oneshot service consists of.

use serde_json::Value;

use super::actor::{is_shell, script_of};
use super::case::Case;
use super::manager::main_process::service_that_ran;
use super::manager::{self, is_manager};
use super::units::cited;
use super::verdict::{DecidingSetting, Link, LinkEvent};
use super::words;
use super::world::{Seen, UnitHistory};
use crate::evidence::{
    CgroupOwner, Grade, MS, Manager, Moment, Process, ProcessId, Setting, Source, Task, base_name,
    unit_template,
};

/// The settings, and the state in which a unit is while they run (`service_state_table` in
/// `src/basic/unit-def.c`).
const SETTINGS: [(&str, &str); 6] = [
    ("ExecCondition", "condition"),
    ("ExecStartPre", "start-pre"),
    ("ExecStartPost", "start-post"),
    ("ExecReload", "reload"),
    ("ExecStop", "stop"),
    ("ExecStopPost", "stop-post"),
];

/// What a oneshot service does, and how one of `Type=forking` is started.
const ONESHOT: &str = "ExecStart";

/// How long after a process its manager's word on it may be heard.
const HEARD_AFTER: u64 = 50 * MS;

/// A command that a manager ran for a unit, and a process of it.
#[derive(Clone, Debug)]
pub struct UnitCommand<'a> {
    /// The manager that ran it.
    pub manager: Manager,
    /// For which unit.
    pub unit: String,
    /// The setting that it stands in: `ExecStop`.
    pub setting: &'static str,
    /// The process that it is about: the command itself, or one that it started.
    pub task: &'a Task,
    /// The process that the manager started.
    pub command: ProcessId,
    /// The line that it stands in, where that is known.
    pub line: Option<DecidingSetting>,
    /// How it is known which setting it was: by what the manager said, or by the arguments.
    pub grade: Grade,
}

impl<'a> UnitCommand<'a> {
    /// The command that a process is part of; `None` of a unit's main process and its children, and of whatever
    /// no manager started for a unit.
    pub fn of(case: &Case<'a>, task: &'a Task) -> Option<Self> {
        let world = case.world;
        let mut line = vec![task.id];
        line.extend(world.people.parents(task.id));
        let below = line.iter().position(|id| is_manager(world, *id))?.checked_sub(1)?;
        let command = line[below];
        let said = || Some((Manager::System, service_that_ran(world, command)?));
        let (manager, unit) = home(task).or_else(said)?;
        let history = world.unit_of(manager, &unit);
        let programs: Vec<Process> =
            line[..=below].iter().rev().flat_map(|id| programs(case, *id)).collect();
        let found = Found { case, manager, unit: &unit, programs: &programs };
        let told = history.and_then(|history| setting_by_state(history, command));
        let (setting, line, grade) = match told {
            Some(setting) => (setting, found.line_of(setting), Grade::Reported),
            None => {
                let (setting, line) = found.by_arguments(history, command)?;
                // The manager says that it was the unit's main process, and the unit has one such line.
                let main = history.is_some_and(|history| was_main(history, command));
                (setting, Some(line), if main { Grade::Reported } else { Grade::Inferred })
            }
        };
        Some(Self { manager, unit, setting, task, command, line, grade })
    }

    /// The command that starts a service of `Type=forking`, in itself: its manager names it as the control process while
    /// the unit is in state `start` (`service_enter_start`). What it leaves running is the service.
    pub fn of_forking_start(case: &Case<'a>, task: &'a Task, until_ns: u64) -> Option<Self> {
        let (manager, unit) = home(task)?;
        let history = case.world.unit_of(manager, &unit)?;
        let starting = history.changes.iter().any(|change| {
            (task.id.start_ns..=until_ns).contains(&change.ns())
                && change.value.get("SubState").and_then(Value::as_str) == Some("start")
        });
        let is_it = starting
            && history.text("Type") == Some("forking")
            && was_control(history, task.id)
            && setting_by_state(history, task.id).is_none();
        let programs = programs(case, task.id);
        let found = Found { case, manager, unit: &unit, programs: &programs };
        let line = is_it.then(|| found.line_of(ONESHOT))?;
        let command = task.id;
        Some(Self { manager, unit, setting: ONESHOT, task, command, line, grade: Grade::Reported })
    }

    /// Who did it, as the subject of a sentence: `kill[99], a command that systemd[1] ran for ExecStop= of x.service`.
    pub fn name(&self, case: &Case<'_>) -> String {
        let name = words::name_pid(&case.task(self.task));
        let manager = manager::name_of(case.world, self.manager);
        let part = if self.task.id == self.command {
            "a command that".to_owned()
        } else {
            let command = case.process(self.command);
            format!("part of \"{}\", which", words::command_line(&command))
        };
        format!("{name}, {part} {manager} ran for {}= of {}", self.setting, self.unit)
    }

    /// Its line, in brackets: ` (ExecStop=/bin/kill $MAINPID, set in FILE:LINE)`; empty where that is not known.
    pub fn cited(&self) -> String {
        self.line.as_ref().map(|line| format!(" ({})", cited(line))).unwrap_or_default()
    }

    /// When it was executed, where that was seen; else when its process was made.
    pub fn ran_ns(&self, case: &Case<'_>) -> u64 {
        let known = case.world.people.get(self.command);
        known.and_then(|known| known.exec_ns).unwrap_or(self.command.start_ns)
    }

    /// Its link of the chain, no later than what it did and no earlier than what it was run for.
    pub fn link(&self, case: &Case<'_>, after_ns: u64, effect: Moment) -> Link {
        let process = case.process(self.command);
        let seen = case.world.people.get(self.command).and_then(|known| known.exec_ns).is_some();
        let source = if seen { Source::Kernel } else { Source::Proc };
        let manager = manager::name_of(case.world, self.manager);
        let command = words::command_line(&process);
        let text = format!("{manager} ran \"{command}\" for {}= of {}", self.setting, self.unit);
        let at_ns = self.ran_ns(case).max(after_ns).min(effect.boot_ns);
        let at = case.exit.at.shifted(at_ns);
        let mut link = case.link(at, LinkEvent::Command, source, Some(process), text);
        // That it ran was seen; what for is not the kernel's word.
        link.evidence = link.evidence.min(self.grade);
        link
    }
}

/// The unit that a process lives in, where it is one that runs commands, and whose it is.
fn home(task: &Task) -> Option<(Manager, String)> {
    let owner = CgroupOwner::of(task.cgroup.as_deref()?);
    let (manager, unit) = owner.innermost_unit()?;
    unit.ends_with(".service").then(|| (manager, unit.to_owned()))
}

/// Every program that a process ran until the victim was struck, the newest last.
fn programs(case: &Case<'_>, id: ProcessId) -> Vec<Process> {
    let earlier =
        case.world.people.get(id).map(|known| known.earlier.as_slice()).unwrap_or_default();
    let times = earlier.iter().map(|program| program.until_ns.saturating_sub(1));
    times.chain([case.struck_ns()]).map(|at_ns| case.process_at(id, at_ns)).collect()
}

/// What the manager said: the unit's control process was this one, and the unit was in this state.
fn setting_by_state(history: &UnitHistory, command: ProcessId) -> Option<&'static str> {
    let control = |change: &Seen<std::collections::BTreeMap<String, Value>>| {
        change.value.get("ControlPID").and_then(Value::as_u64)
    };
    let state = |change: &Seen<std::collections::BTreeMap<String, Value>>| {
        change.value.get("SubState").and_then(Value::as_str).map(str::to_owned)
    };
    let at = history.changes.iter().position(|change| {
        control(change) == Some(u64::from(command.pid))
            && change.ns() + HEARD_AFTER >= command.start_ns
    })?;
    // The unit's own interface follows the service's; what is as it was is not said again.
    let near = history.changes[at].ns() + HEARD_AFTER;
    let after =
        history.changes.range(at..).take_while(|change| change.ns() <= near).find_map(state);
    let state = after.or_else(|| history.changes.range(..at).rev().find_map(state))?;
    SETTINGS.iter().find(|(_, name)| *name == state).map(|(setting, _)| *setting)
}

/// Where a command is looked for by what it runs.
struct Found<'c, 'a> {
    case: &'c Case<'a>,
    manager: Manager,
    unit: &'c str,
    /// The programs of the command, and of what it started.
    programs: &'c [Process],
}

/// How well a line and a program agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    /// The same program.
    Program,
    /// The same arguments.
    Arguments,
}

impl<'a> Found<'_, 'a> {
    fn lines(&self) -> impl Iterator<Item = &'a Setting> {
        let scopes = [self.unit.to_owned(), unit_template(self.unit)];
        let all = self.case.world.setting_lines(self.manager).map(|seen| &seen.value);
        all.filter(move |line| scopes.contains(&line.scope))
    }

    fn fit(&self, line: &Setting) -> Option<Match> {
        let commands = split(&line.value);
        let fits = |process: &Process| {
            let args = process.cmdline.as_deref().unwrap_or_default();
            commands.iter().filter_map(|words| fit(words, args)).max()
        };
        self.programs.iter().filter_map(fits).max()
    }

    /// The line of this setting that the command comes from: the one that says so, else the only one.
    fn line_of(&self, setting: &str) -> Option<DecidingSetting> {
        let lines: Vec<&Setting> = self.lines().filter(|line| line.name == setting).collect();
        let best =
            lines.iter().filter_map(|line| Some((self.fit(line)?, line))).max_by_key(|it| it.0);
        let found = best.map(|(_, line)| *line);
        found
            .or_else(|| lines.first().copied().filter(|_| lines.len() == 1))
            .map(DecidingSetting::from)
    }

    /// `Type=` of the unit: by the word of its manager, else by its file, which may have been read before.
    fn kind(&self, history: Option<&UnitHistory>) -> Option<String> {
        let told = history.and_then(|history| history.text("Type")).map(str::to_owned);
        told.or_else(|| Some(self.case.unit_setting(self.manager, self.unit, "Type")?.value))
    }

    /// The only setting whose lines agree best; the start of a long-running service is none.
    fn by_arguments(
        &self,
        history: Option<&UnitHistory>,
        command: ProcessId,
    ) -> Option<(&'static str, DecidingSetting)> {
        let names = SETTINGS.iter().map(|(name, _)| *name).chain([ONESHOT]);
        let mut fits: Vec<(Match, &'static str, &Setting)> = names
            .flat_map(|name| {
                self.lines()
                    .filter(move |line| line.name == name)
                    .filter_map(move |line| Some((self.fit(line)?, name, line)))
            })
            .collect();
        let main = history.is_some_and(|history| was_main(history, command));
        let oneshot = self.kind(history).as_deref() == Some("oneshot");
        if main {
            fits.retain(|(_, name, _)| *name == ONESHOT);
        }
        let best = fits.iter().map(|(fit, ..)| *fit).max()?;
        fits.retain(|(fit, ..)| *fit == best);
        let (_, name, line) = *fits.first()?;
        let unique = fits.iter().all(|(_, other, _)| *other == name);
        (unique && (name != ONESHOT || oneshot)).then(|| (name, line.into()))
    }
}

/// Whether the manager said that a process was the unit's control process: one that a setting of it has run.
pub fn was_control(history: &UnitHistory, id: ProcessId) -> bool {
    history.changes.iter().any(|change| {
        change.value.get("ControlPID").and_then(Value::as_u64) == Some(u64::from(id.pid))
            && change.ns() + HEARD_AFTER >= id.start_ns
    })
}

/// Whether a line of a unit has this process run, by what it has executed: the line's program, or the interpreter of
/// the script that the line names. A shell may have executed the last command of its line in its own place.
pub fn is_run_by(case: &Case<'_>, id: ProcessId, line: &DecidingSetting) -> bool {
    let commands = split(&line.value);
    let is_it = |process: &Process| {
        let args = process.cmdline.as_deref().unwrap_or_default();
        let script = script_of(args);
        commands.iter().any(|words| {
            let Some(program) = words.first() else { return false };
            // Every other line of a shell's is run by the same program.
            let is_shell = is_shell(base_name(program));
            let least = if is_shell { Match::Arguments } else { Match::Program };
            script == Some(program.as_str()) || fit(words, args) >= Some(least)
        })
    };
    programs(case, id).iter().any(is_it)
}

/// Whether a process was the unit's main one.
fn was_main(history: &UnitHistory, id: ProcessId) -> bool {
    let named = |name: &str| {
        let pids = history.changes.iter().filter_map(|change| change.value.get(name)?.as_u64());
        pids.into_iter().any(|pid| pid == u64::from(id.pid))
    };
    named("MainPID") || named("ExecMainPID")
}

/// The commands of a line as words, without the quotes and without the prefixes of systemd.service(5).
fn split(value: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for words in unquoted(value).split(|word| word == ";") {
        let Some((first, rest)) = words.split_first() else { continue };
        let path = first.trim_start_matches(['-', '@', ':', '+', '!', '|']);
        let mut words = vec![path.to_owned()];
        words.extend_from_slice(rest);
        // With @ the second word is what the program is called.
        let prefix = &first[..first.len() - path.len()];
        if prefix.contains('@') && words.len() > 1 {
            words.remove(1);
        }
        commands.push(words);
    }
    commands
}

/// Words, quoted or not (systemd.syntax(7)).
fn unquoted(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Whether a process with these arguments was executed from these words. What variables and specifiers stand for
/// is not known: from the first of them on the rest may be anything.
fn fit(words: &[String], args: &[String]) -> Option<Match> {
    let (program, words) = words.split_first()?;
    let (own, args) = args.split_first()?;
    if base_name(program) != base_name(own) {
        return None;
    }
    let known = words.iter().position(|word| word.contains(['$', '%'])).unwrap_or(words.len());
    let same = args.len() >= known && words[..known] == args[..known];
    let all = known < words.len() || args.len() == words.len();
    Some(if same && all { Match::Arguments } else { Match::Program })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_split_as_systemd_does() {
        assert_eq!(split("-/bin/kill  -INT $MAINPID"), [words("/bin/kill -INT $MAINPID")]);
        assert_eq!(split("@/bin/sh shell -c true"), [words("/bin/sh -c true")]);
        assert_eq!(split("+!/bin/a ; /bin/b c"), [words("/bin/a"), words("/bin/b c")]);
        let quoted = split("/bin/sh -c 'pkill -x \"a b\"; true'");
        assert_eq!(quoted, [["/bin/sh", "-c", "pkill -x \"a b\"; true"]]);
        assert_eq!(split(""), Vec::<Vec<String>>::new());
        assert_eq!(split("\"\""), [[""]]);
    }

    #[test]
    fn lines_and_arguments_agree_or_do_not() {
        let fit = |line: &str, args: &str| fit(&split(line)[0], &words(args));
        assert_eq!(fit("/usr/bin/pkill -x a", "pkill -x a"), Some(Match::Arguments));
        assert_eq!(fit("/bin/kill -INT $MAINPID", "/bin/kill -INT 42"), Some(Match::Arguments));
        assert_eq!(fit("/bin/x $OPTIONS", "/bin/x"), Some(Match::Arguments));
        assert_eq!(fit("/bin/x", "/bin/x more"), Some(Match::Program));
        assert_eq!(fit("/bin/kill -INT $MAINPID", "/bin/kill -TERM 42"), Some(Match::Program));
        assert_eq!(fit("/bin/kill 1", "/bin/pkill 1"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in ".*", args in proptest::collection::vec(".*", 0..4)) {
            for words in split(&line) {
                let _ = fit(&words, &args);
            }
        }
    }
}
