//! Deaths by what a service manager runs for a unit when that is started, stopped or reloaded: the commands of its
//! file, not somebody's.

use super::{Finding, Fit, Opinion};
use crate::evidence::{Job, signal_name};
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::manager::main_process::main_end;
use crate::story::manager::{UnitStop, manager_of};
use crate::story::requests::{Request, Wish};
use crate::story::unit_command::UnitCommand;
use crate::story::unit_jobs::{reload_job, start_job, stop_job};
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, Link};
use crate::story::world::{Seen, UnitHistory};
use crate::story::{fixes, units, words};

/// `ExecStartPre=` and its kind, of whichever unit. What ends its own unit's processes for a stop or a reload
/// is told as that.
pub fn by_command(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|blow| !blow.mechanism.is_kernels_own())?;
    let sender = &blow.signal.value.sender;
    if sender.id == case.victim || manager_of(sender).is_some() {
        return None;
    }
    let command = UnitCommand::of(case, sender)?;
    // What it started itself it may end as it likes.
    if case.world.people.parents(case.victim).contains(&command.command)
        || UnitStop::of(case).is_some()
        || UnitStop::by_reload(case).is_some()
    {
        return None;
    }
    let occasion = Occasion::of(case, &command);
    let signal = signal_name(blow.signal.value.number);
    let victim = words::name_pid(&case.victim_process());
    // All that a oneshot service does is somebody's script, as a cron job is.
    let id = match command.setting {
        "ExecStart" => CauseId::UserCommand,
        _ => CauseId::UnitCommand,
    };
    let finding = Finding::new(
        id,
        Fit::Circumstance,
        command.grade,
        format!(
            "{victim} got {signal} from {}{} {}.",
            command.name(case),
            command.cited(),
            occasion.clause(case, &command)
        ),
    );
    let finding = match occasion.who(case) {
        Some(_) => finding,
        None if occasion.end.is_some() => finding,
        None => {
            finding.gap(format!("who or what {} {} was not seen", occasion.done(), command.unit))
        }
    };
    let began_ns = occasion.job.map_or(0, Seen::ns).min(command.ran_ns(case));
    finding
        .settings([command.line.clone()])
        .links(occasion.links(case, &command))
        .links([command.link(case, began_ns, blow.signal.at)])
        .fixes([fixes::narrower_command(&at(case, &command), &command)])
        .answer()
}

fn at(case: &Case<'_>, command: &UnitCommand<'_>) -> UnitAt {
    UnitAt::of(case.world, command.manager, &command.unit)
}

/// Why a command of a unit was run.
struct Occasion<'a> {
    wish: Wish,
    job: Option<&'a Seen<Job>>,
    request: Option<Request<'a>>,
    /// The timer, socket or path that the unit was started by.
    trigger: Option<String>,
    /// The unit's main process had ended by itself.
    end: Option<End<'a>>,
}

impl<'a> Occasion<'a> {
    fn of(case: &Case<'a>, command: &UnitCommand<'a>) -> Self {
        let (world, manager, unit) = (case.world, command.manager, command.unit.as_str());
        let ran_ns = command.command.start_ns;
        let wish = match command.setting {
            "ExecStop" | "ExecStopPost" => Wish::Stop,
            "ExecReload" => Wish::Reload,
            _ => Wish::Start,
        };
        // A command is run for a job that was there before; of one made later it knows nothing.
        let job = match wish {
            Wish::Stop => stop_job(world, manager, unit, ran_ns, case.victim.start_ns),
            Wish::Reload => reload_job(world, manager, unit, ran_ns, case.victim.start_ns),
            _ => start_job(world, manager, unit, ran_ns),
        };
        let asked_ns = job.map_or(ran_ns, |job| job.ns().min(ran_ns));
        let request = Request::find(case, wish, manager, unit, asked_ns);
        let history = world.unit_of(manager, unit);
        let trigger = history.filter(|_| wish == Wish::Start).and_then(UnitHistory::trigger);
        let end = (wish == Wish::Stop && job.is_none())
            .then(|| main_end(world, manager, unit, ran_ns, 0, &[case.victim, command.command]))
            .flatten()
            .and_then(|main| End::of(case, main.value.task.id));
        Self { wish, job, request, trigger, end }
    }

    const fn done(&self) -> &'static str {
        match self.wish {
            Wish::Stop => "stopped",
            Wish::Reload => "reloaded",
            _ => "started",
        }
    }

    /// Who asked for it, or what set it off.
    fn who(&self, case: &Case<'_>) -> Option<String> {
        let asked = self.request.and_then(|request| request.sentence(case));
        asked.or_else(|| self.trigger.as_ref().map(|trigger| format!("{trigger} set it off")))
    }

    fn clause(&self, case: &Case<'_>, command: &UnitCommand<'_>) -> String {
        if let Some(end) = &self.end {
            return format!("after its main process had ended: {}", end.sentence(case));
        }
        let done = self.done();
        match self.who(case) {
            Some(who) => format!("when that was {done}: {who}"),
            None => format!("when {} was {done}", command.unit),
        }
    }

    fn links(&self, case: &Case<'a>, command: &UnitCommand<'_>) -> Vec<Link> {
        let at = case.exit.at.shifted(command.ran_ns(case));
        let job = self.job.map(|job| units::job_link_before(case, job, at));
        let effect = job.as_ref().map_or(at, |job| job.at);
        let mut links: Vec<Link> = self.end.iter().flat_map(|end| end.links(case, at)).collect();
        links.extend(self.request.iter().flat_map(|request| request.links(case, effect)));
        links.extend(job);
        links
    }
}
