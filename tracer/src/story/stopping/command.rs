//! A command of `ExecStop=` that failed, or that took long: the unit was not stopped by it, but by the signals that follow.

use super::timeout_setting;
use crate::evidence::{Exit, JournalLine, S};
use crate::story::case::Case;
use crate::story::fixes;
use crate::story::journal::said_of_run;
use crate::story::links::exit_link;
use crate::story::manager::UnitStop;
use crate::story::unit_command::UnitCommand;
use crate::story::units::in_brackets;
use crate::story::upstream::End;
use crate::story::verdict::{DecidingSetting, Fix, Link, LinkEvent};
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
        // What one had started was part of it.
        let parents = case.world.people.parents(case.victim);
        let is_other = |command: &UnitCommand<'_>| !parents.contains(&command.command);
        let (exit, command) = exits
            .find_map(|exit| Some((exit, stop_command(case, stop, exit).filter(is_other)?)))?;
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
    /// It had not ended by the first signal, and that its time was up is what the manager logged.
    timed_out: Option<&'a Seen<JournalLine>>,
}

impl<'a> LongStop<'a> {
    /// The one that took longest until the manager's first signal.
    pub fn of(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<Self> {
        const LONG: u64 = S;
        let first_ns = stop.first.ns();
        let began_ns = stop.began_ns.saturating_sub(BUS_LAG);
        let said = case.world.journal.iter().find(|line| {
            said_of_run(line, stop)
                && line.value.message.contains("Stopping timed out")
                && line.ns().abs_diff(first_ns) <= S
        });
        // What the signal goes to as well ends only after it.
        let until_ns = if said.is_some() { first_ns.saturating_add(S) } else { first_ns };
        let exits = case.world.exits.iter().filter(|exit| {
            (began_ns..=until_ns).contains(&exit.ns())
                && exit.value.task.id != case.victim
                && exit.value.task.id.start_ns.saturating_add(LONG) <= exit.ns().min(first_ns)
        });
        let commands = exits.take_while(|_| stop.by_command.is_none()).filter_map(|exit| {
            let command = stop_command(case, stop, exit)?;
            if case.world.people.parents(case.victim).contains(&command.command) {
                return None;
            }
            let lasted_ns = exit.ns().min(first_ns).saturating_sub(command.ran_ns(case));
            let timed_out = said.filter(|_| exit.ns() >= first_ns);
            Some(Self { exit, command, lasted_ns, timed_out })
        });
        commands.max_by_key(|command| command.lasted_ns)
    }

    /// How it reads, after the story of the stop.
    pub fn clause(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> String {
        let ran = words::command_line(&case.process(self.command.command));
        let (manager, lasted) = (stop.manager_name(case), words::span(self.lasted_ns));
        let UnitCommand { setting, unit, .. } = &self.command;
        let cited = self.command.cited();
        if self.timed_out.is_none() {
            return format!(
                " Before its first signal, {manager} had run \"{ran}\" for {setting}= of {unit}, which took {lasted}{cited}."
            );
        }
        format!(
            " {manager} had run \"{ran}\" for {setting}= of {unit}{cited}; it had not ended {lasted} later, when its time \
             was up{}, so signals followed.",
            in_brackets(timeout_setting(case, stop).as_ref())
        )
    }

    /// The line of the command, and the limit that it ran into.
    pub fn settings(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<DecidingSetting> {
        let limit = self.timed_out.and_then(|_| timeout_setting(case, stop));
        self.command.line.iter().cloned().chain(limit).collect()
    }

    /// The command and its end, or that its time was up.
    pub fn links(&self, case: &Case<'a>, stop: &UnitStop<'a>) -> Vec<Link> {
        let end = match self.timed_out {
            Some(line) => {
                let manager = stop.manager_name(case);
                let text = format!("{manager} logged {}", words::quotation(&line.value.message));
                let link = case.link(line.at, LinkEvent::Timeout, line.source, None, text);
                link.before(stop.first.at)
            }
            None => exit_link(case, self.exit),
        };
        vec![self.command.link(case, stop.began_ns, end.at), end]
    }

    /// How to have it end in time, where it did not.
    pub fn fix(&self, stop: &UnitStop<'_>) -> Option<Fix> {
        self.timed_out.map(|_| fixes::lasting_command(&stop.at(), self.command.setting))
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
