//! A command of `ExecStop=` that failed, or that took long: the unit was not stopped by it, but by the signals that follow.

use crate::evidence::{Exit, S};
use crate::story::case::Case;
use crate::story::links::exit_link;
use crate::story::manager::UnitStop;
use crate::story::unit_command::UnitCommand;
use crate::story::upstream::End;
use crate::story::verdict::{DecidingSetting, Link};
use crate::story::windows::BUS_LAG;
use crate::story::words;
use crate::story::world::Seen;

/// Such a command, and its end.
#[derive(Debug)]
pub struct FailedStop<'a> {
    exit: &'a Seen<Exit>,
    command: UnitCommand<'a>,
    end: End<'a>,
}

impl<'a> FailedStop<'a> {
    /// The last one that failed before the manager's first signal; a "-" before a command means that it may.
    pub fn of(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<Self> {
        let stopping = stop.began_ns.saturating_sub(BUS_LAG)..=stop.first.ns();
        let failed = |exit: &&Seen<Exit>| {
            stopping.contains(&exit.ns())
                && exit.value.status != 0
                && exit.value.task.id != case.victim
        };
        let exits = case.world.exits.iter().rev().filter(failed);
        let mut exits = exits.take_while(|_| stop.by_command.is_none());
        let (exit, command) =
            exits.find_map(|exit| Some((exit, stop_command(case, stop, exit)?)))?;
        let may_fail = command.line.as_ref().is_some_and(|line| {
            line.value.chars().take_while(|letter| "-@:+!|".contains(*letter)).any(|it| it == '-')
        });
        let end = End::of(case, exit.value.task.id).filter(|_| !may_fail)?;
        Some(Self { exit, command, end })
    }

    /// How it reads, after the story of the stop.
    pub fn clause(&self, case: &Case<'_>) -> String {
        format!(
            " What it is stopped with had failed before ({}= of {}): {}{}.",
            self.command.setting,
            self.command.unit,
            self.end.sentence(case),
            self.command.cited()
        )
    }

    /// The line of the command.
    pub fn setting(&self) -> Option<DecidingSetting> {
        self.command.line.clone()
    }

    /// The command and its end.
    pub fn links(&self, case: &Case<'a>, stop: &UnitStop<'a>) -> Vec<Link> {
        let ran = self.command.link(case, stop.began_ns, self.exit.at);
        std::iter::once(ran).chain(self.end.links(case, stop.first.at)).collect()
    }
}

/// A command of `ExecStop=` that ran for so long that a reader wonders what happened until the first signal.
#[derive(Debug)]
pub struct LongStop<'a> {
    exit: &'a Seen<Exit>,
    command: UnitCommand<'a>,
    lasted_ns: u64,
}

impl<'a> LongStop<'a> {
    /// The one that took longest of those that had ended before the manager's first signal.
    pub fn of(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<Self> {
        const LONG: u64 = S;
        let stopping = stop.began_ns.saturating_sub(BUS_LAG)..=stop.first.ns();
        let exits = case.world.exits.iter().filter(|exit| {
            stopping.contains(&exit.ns())
                && exit.value.task.id != case.victim
                && exit.value.task.id.start_ns.saturating_add(LONG) <= exit.ns()
        });
        let commands = exits.take_while(|_| stop.by_command.is_none()).filter_map(|exit| {
            let command = stop_command(case, stop, exit)?;
            let lasted_ns = exit.ns().saturating_sub(command.ran_ns(case));
            Some(Self { exit, command, lasted_ns })
        });
        commands.max_by_key(|command| command.lasted_ns)
    }

    /// How it reads, after the story of the stop.
    pub fn clause(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> String {
        let ran = words::command_line(&case.process(self.command.command));
        format!(
            " Before its first signal, {} had run \"{ran}\" for {}= of {}, which took {}{}.",
            stop.manager_name(case),
            self.command.setting,
            self.command.unit,
            words::span(self.lasted_ns),
            self.command.cited()
        )
    }

    /// The line of the command.
    pub fn setting(&self) -> Option<DecidingSetting> {
        self.command.line.clone()
    }

    /// The command and its end.
    pub fn links(&self, case: &Case<'a>, stop: &UnitStop<'a>) -> Vec<Link> {
        let ran = self.command.link(case, stop.began_ns, self.exit.at);
        vec![ran, exit_link(case, self.exit)]
    }
}

/// The command of `ExecStop=` of the unit that was stopped, where this is the end of one.
fn stop_command<'a>(
    case: &Case<'a>,
    stop: &UnitStop<'a>,
    exit: &'a Seen<Exit>,
) -> Option<UnitCommand<'a>> {
    let command = UnitCommand::of(case, &exit.value.task)?;
    let is_it = command.command == exit.value.task.id
        && command.setting == "ExecStop"
        && (command.manager, command.unit.as_str()) == (stop.manager, stop.unit.as_str());
    is_it.then_some(command)
}
