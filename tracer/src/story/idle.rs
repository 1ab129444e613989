//! Shells that end themselves since nobody types anything: by which timer, and what had set how long they wait.

use std::fmt;

use super::actor::{is_interactive, is_shell};
use super::case::Case;
use super::verdict::{DecidingSetting, Outcome};
use super::world::{Seen, SeenSignal};
use super::{mechanism, signals, units};
use crate::evidence::{Disposition, Exit, Mechanism, S, Setting, Task, sig};

/// The timer by which an interactive shell had ended itself: nobody typed anything for as long as `TMOUT` says (bash(1),
/// zshparam(1)). It catches SIGALRM, says so, and ends as by `exit`.
pub fn idle_alarm<'a>(case: &Case<'a>, exit: &Seen<Exit>) -> Option<&'a SeenSignal> {
    /// What a shell does at its end: its logout file, and writing its history.
    const ENDS: u64 = S;
    let task = &exit.value.task;
    let process = signals::task_at(case.world, task, exit.ns());
    let is_shell = process.comm.as_deref().is_some_and(is_shell) && is_interactive(&process);
    let exited = matches!(Outcome::of(&exit.value), Outcome::Exited { .. });
    let mut signals = case.world.signals_to(task.id).iter().rev();
    let ran_out = signals.find(|signal| {
        mechanism::of(&signal.value) == Mechanism::Timer
            && signal.value.number == sig::SIGALRM
            && signal.value.disposition == Some(Disposition::Handler)
            && signal.ns() <= exit.ns()
            && signal.ns() + ENDS >= exit.ns()
    });
    ran_out.filter(|_| is_shell && exited)
}

/// How long a shell waits for input, and what had set that, as far as the files tell that shells read at their start. Which
/// of these it had read, and whether it came by the line, they do not tell.
#[derive(Debug)]
pub struct Limit {
    /// The variable.
    pub name: &'static str,
    /// It had that value in its environment when it was started.
    inherited: Option<String>,
    /// The lines that can have set it.
    lines: Vec<DecidingSetting>,
}

impl Limit {
    /// That of a shell whose timer ran out.
    pub fn of(case: &Case<'_>, shell: &Task, ran_out: &SeenSignal) -> Self {
        const TMOUT: &str = "TMOUT";
        if shell.comm.trim_start_matches('-').ends_with("csh") {
            return Self { name: "autologout", inherited: None, lines: Vec::new() };
        }
        // It was no longer than the shell has been there.
        let waited_ns = ran_out.ns().saturating_sub(shell.id.start_ns);
        let can_be = |value: &str| match value.parse::<u64>() {
            Ok(seconds) => seconds > 0 && seconds.saturating_mul(S) <= waited_ns,
            // What it stands for is not known.
            Err(_) => !value.is_empty(),
        };
        let scopes = [Setting::SHELLS.to_owned(), Setting::shells_of(shell.uid)];
        let lines = case.world.lines_of_no_unit().filter(|line| {
            line.name == TMOUT
                && scopes.contains(&line.scope)
                && can_be(&line.value)
                && line.file.as_deref().is_some_and(|file| may_read(&shell.comm, file))
        });
        let known = case.world.people.get(shell.id);
        let inherited = known.and_then(|known| known.environment.get(TMOUT)).cloned();
        let inherited = inherited.filter(|value| can_be(value));
        Self { name: TMOUT, inherited, lines: lines.map(DecidingSetting::from).collect() }
    }

    /// The one line that can have set it, where no other value had come to the shell.
    pub fn line(&self) -> Option<&DecidingSetting> {
        let [line] = self.lines.as_slice() else { return None };
        self.inherited.as_ref().is_none_or(|value| *value == line.value).then_some(line)
    }
}

/// `as long as TMOUT says (TMOUT=900, set in /etc/profile:3, …)`
impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FILES: &str = "the files that shells read at their start";
        let name = self.name;
        write!(out, "as long as {name} says")?;
        let inherited = self
            .inherited
            .as_ref()
            .map(|value| format!("it had {name}={value} in its environment when it was started"));
        if let Some(line) = self.line() {
            let cited = units::cited(line);
            return write!(out, " ({cited}, the only such line in {FILES} that can be it)");
        }
        let inherited = inherited.into_iter();
        let lines = match self.lines.as_slice() {
            [] => None,
            [line] => Some(format!("a line in {FILES} sets it as well: {}", place(line))),
            [first, .., last] => Some(format!(
                "{} lines in {FILES} can have set it, from {} to {}; which one did is not known",
                self.lines.len(),
                place(first),
                place(last)
            )),
        };
        let told: Vec<String> = inherited.chain(lines).collect();
        if told.is_empty() { Ok(()) } else { write!(out, " ({})", told.join("; ")) }
    }
}

fn place(line: &DecidingSetting) -> String {
    line.place().unwrap_or_default()
}

/// Whether a shell of this name may read a file at its start: what is called after one kind of shell is for that.
fn may_read(shell: &str, file: &str) -> bool {
    const KINDS: [(&str, &str); 3] = [("bash", "bash"), ("z", "zsh"), ("ksh", "ksh")];
    let Some((directory, name)) = file.rsplit_once('/') else { return false };
    let name = name.trim_start_matches('.');
    let kind = KINDS.iter().find(|(begin, _)| name.starts_with(begin));
    directory.ends_with("/profile.d") || kind.is_none_or(|(_, kind)| shell.ends_with(kind))
}
