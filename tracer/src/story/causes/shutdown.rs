//! Deaths since everything goes down: the system, or a user's service manager.

mod of_user;
mod reasons;
mod requests;
mod targets;

pub use self::of_user::user_manager;
use self::reasons::{
    EndAction, idle_action, is_of_a_job, reason_said, settings_behind, signaller, words_of,
};
use self::requests::{SCHEDULE, client_call, command, logind_call};
use self::targets::fate;
pub use self::targets::going_down;
use super::{Finding, Fit, Opinion, unit_remedies};
use crate::evidence::{BusCall, Grade, Job, JournalLine, Manager, Moment, ProcessId};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::fixes::{self, UnitAt};
use crate::story::links::call_link;
use crate::story::manager::{UnitStop, manager_of};
use crate::story::requests::{Request, by_arguments, who_called};
use crate::story::unit_jobs::job_type;
use crate::story::units;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, LinkEvent};
use crate::story::world::Seen;

/// Reboot, power-off, soft-reboot.
pub fn system(case: &Case<'_>) -> Option<Opinion> {
    let sender = case.sender()?;
    let broadcast = sender.id.pid == 1 && sender.comm == "systemd-shutdow";
    let by_manager = UnitStop::of(case).is_some() || manager_of(sender).is_some();
    if !broadcast && !by_manager {
        return None;
    }
    let job = going_down(case, Manager::System);
    if job.is_none() && !broadcast && !is_said_alone(case) {
        return None;
    }
    let behind = Behind::of(case, job);
    let fate = fate(job.map(|job| job.value.unit.as_str()));
    let unit = case.unit().map(|(_, unit)| format!(", and {unit} with it")).unwrap_or_default();
    let who = behind.who(case).map(|who| format!(": {who}")).unwrap_or_default();
    let struck = case.blow.map_or(case.exit.at, |blow| blow.signal.at);
    let effect = job.map_or(struck, |job| job.at).no_later_than(struck);
    let is_typed = |job| job_type(case.world, job).is_some();
    let seen = behind.is_on_bus() || job.is_some_and(is_typed);
    let grade = if seen { Grade::Observed } else { Grade::Inferred };
    let mut finding = Finding::new(
        CauseId::SystemShutdown,
        Fit::Exact,
        grade.min(behind.grade()),
        format!("{} was ended since the system {fate}{unit}{who}.", case.victim_name()),
    )
    .links(behind.links(case, effect))
    .links(job.map(|job| units::job_link(case, job)));
    if let Some(gap) = behind.gap(case) {
        finding = finding.gap(gap);
    }
    let remedies = remedies(case, &behind, fate);
    finding.settings(behind.settings.into_iter().map(Some)).fixes(remedies).answer()
}

/// What to do about it: take its reason away, hold it up, see who may, let the service survive where that can be.
fn remedies(case: &Case<'_>, behind: &Behind<'_>, fate: &str) -> Vec<Fix> {
    const POWER_OFF: &str = "org.freedesktop.login1.power-off";
    let actor = behind.actor.as_ref();
    let allowed = actor.and_then(|actor| unit_remedies::of_act(Some(actor), POWER_OFF));
    let service = case.unit().filter(|(manager, unit)| {
        *manager == Manager::System && unit.ends_with(".service") && fate.contains("soft-reboot")
    });
    let survives = service
        .map(|(manager, unit)| fixes::survive_soft_reboot(&UnitAt::of(case.world, manager, unit)));
    // What somebody has run can be run under a lock; a service is to be stopped in an orderly way.
    let of_user = case.placement.session.is_some() || case.placement.user_unit.is_some();
    let held = of_user.then(|| fixes::hold_up_shutdown(&case.program()));
    let reason = match (&behind.action, behind.said) {
        (Some(action), _) => Some(action.remedy()),
        (None, said) => said.and_then(|line| reasons::remedy(case, &line.value)),
    };
    let planned = behind.call.filter(|call| call.value.member == SCHEDULE);
    let cancelled = planned.map(|_| fixes::cancel_shutdown());
    let first = reason.into_iter().chain(cancelled);
    first.chain(survives).chain(held).chain(allowed).collect()
}

/// Whether all that was heard is a reason for the system to go down: PID 1, which had the victim's unit stopped without
/// another one, can have been too busy to tell of its jobs.
fn is_said_alone(case: &Case<'_>) -> bool {
    UnitStop::of(case).is_some_and(|stop| {
        stop.manager == Manager::System
            && stop.by_command.is_none()
            && stop.job.is_none()
            && stop.request.is_none()
            && stop.main_end.is_none()
            && reason_said(case, stop.began_ns).is_some_and(|line| line.value.pid == Some(1))
    })
}

/// Who or what had the system go down.
struct Behind<'a> {
    /// Who asked for it.
    actor: Option<Actor>,
    /// That it was this one is a conclusion from a command.
    concluded: bool,
    /// It sent a signal to PID 1 for it.
    by_signal: bool,
    /// The command of the one who asked, where no bus heard of it: it may have spoken to systemd's private socket.
    asked: Option<Request<'a>>,
    /// The call of the one who asked.
    call: Option<&'a Seen<BusCall>>,
    /// What logind then asked of systemd.
    logind: Option<&'a Seen<BusCall>>,
    /// The reason that was logged.
    said: Option<&'a Seen<JournalLine>>,
    /// The unit that has the system go down when it ends, where nothing else is known.
    action: Option<EndAction>,
    /// The settings behind the reason, or the action.
    settings: Vec<DecidingSetting>,
}

impl<'a> Behind<'a> {
    /// `job`: the start of the target that takes everything down.
    fn of(case: &Case<'a>, job: Option<&Seen<Job>>) -> Self {
        let began_ns = job.map_or(case.struck_ns(), Seen::ns).min(case.struck_ns());
        let said = reason_said(case, began_ns);
        // Of a request before the reason that was logged nothing had come: it was refused, say.
        let call = client_call(case, began_ns)
            .filter(|call| said.is_none_or(|line| line.ns() <= call.ns()));
        let signaller = said.and_then(|line| signaller(case, line));
        let (process, concluded) = match call {
            None if said.is_some() => (signaller, false),
            _ => asker(case, call, began_ns),
        };
        let actor = process.map(|id| Actor::behind(case, id));
        let logind = logind_call(case, began_ns);
        let said = said.filter(|_| actor.is_none() || signaller.is_some());
        let by_command = process.filter(|_| concluded && call.is_none());
        let asked = by_command.map(|id| Request::by_command(case, id, Manager::System, began_ns));
        let untold = actor.is_none() && said.is_none() && call.is_none() && logind.is_none();
        let of_a_job = said.is_some_and(|line| is_of_a_job(&line.value));
        let action =
            job.filter(|_| untold || of_a_job).and_then(|job| EndAction::before(case, job));
        let settings = match (said, &action) {
            (Some(line), None) => settings_behind(case, &line.value),
            (_, action) => action.iter().map(|action| action.setting.clone()).collect(),
        };
        let by_signal = signaller.is_some();
        Self { actor, concluded, by_signal, asked, call, logind, said, action, settings }
    }

    /// Whether a bus told of it.
    const fn is_on_bus(&self) -> bool {
        self.call.is_some() || self.logind.is_some()
    }

    /// How well it is proven that it was this one.
    fn grade(&self) -> Grade {
        match &self.asked {
            Some(asked) => asked.grade(),
            None if self.by_signal => Grade::Reported,
            None if self.concluded && self.actor.is_some() || self.action.is_some() => {
                Grade::Inferred
            }
            None => Grade::Observed,
        }
    }

    /// How it reads; nothing where nobody and no reason is known.
    fn who(&self, case: &Case<'_>) -> Option<String> {
        match (&self.actor, self.said) {
            (Some(actor), Some(line)) => Some(format!("{} ({})", actor.sentence(), words_of(line))),
            (Some(actor), None) => Some(match &self.asked {
                Some(asked) => asked.sentence(case).unwrap_or_default(),
                None if self.concluded => format!("{}{}", actor.sentence(), by_arguments(true)),
                None => actor.sentence(),
            }),
            (None, Some(line)) if self.action.is_some() => {
                let action = self.action.as_ref().map(EndAction::clause);
                Some(format!("{}; {}", words_of(line), action.unwrap_or_default()))
            }
            (None, Some(line)) if self.settings.is_empty() => Some(words_of(line)),
            (None, Some(line)) => {
                let cited: Vec<_> = self.settings.iter().map(units::cited).collect();
                Some(format!("{} ({})", words_of(line), cited.join("; ")))
            }
            (None, None) => {
                let by_logind = || "systemd-logind asked for it".to_owned();
                let action = self.action.as_ref().map(EndAction::clause);
                action.or_else(|| self.logind.map(|_| by_logind()))
            }
        }
    }

    /// What led to the start of the target, which was then, or to the signal.
    fn links(&self, case: &Case<'_>, effect: Moment) -> Vec<Link> {
        let action = self.action.iter().map(|action| action.link.clone());
        let commands = self.actor.iter().flat_map(|actor| units::command_links(case, actor));
        let connection = self.asked.and_then(|asked| asked.connection_link(case));
        let calls = self.call.into_iter().chain(self.logind).map(|call| call_link(case, call));
        let said = self.said.map(|line| {
            case.link(line.at, LinkEvent::UnitState, line.source, None, words_of(line))
        });
        let all = action.chain(commands).chain(connection).chain(calls).chain(said);
        all.map(|link| link.before(effect)).collect()
    }

    /// What was not seen of it.
    fn gap(&self, case: &Case<'_>) -> Option<String> {
        if self.actor.is_some() || self.said.is_some() || self.action.is_some() {
            return None;
        }
        if self.logind.is_none() {
            return Some("who asked for the shutdown was not seen".to_owned());
        }
        let idle = idle_action(case).map(|idle| format!("; {idle}")).unwrap_or_default();
        Some(format!("who or what had systemd-logind ask for it was not seen{idle}"))
    }
}

/// Who asked for it, and whether that is a conclusion from a command.
fn asker(
    case: &Case<'_>,
    call: Option<&Seen<BusCall>>,
    began_ns: u64,
) -> (Option<ProcessId>, bool) {
    let by_root = call.is_none_or(|call| call.value.sender.uid.is_none_or(|uid| uid == 0));
    match call.map(|call| who_called(case, call)) {
        // The verbs of these commands are not made of the methods' names.
        None | Some((None, _)) if by_root => (command(case, began_ns), true),
        Some(known) => known,
        None => (None, true),
    }
}
