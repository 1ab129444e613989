//! Deaths since everything goes down: the system, or a user's service manager.

use super::{Finding, Fit, Opinion};
use crate::evidence::{BusCall, Grade, JournalLine, Manager, ProcessId};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::ending::call_link;
use crate::story::manager::{UnitStop, job_type, manager_of};
use crate::story::requests::{by_arguments, caller};
use crate::story::verdict::{CauseId, LinkEvent};
use crate::story::world::Seen;
use crate::story::{units, words};

const S: u64 = 1_000_000_000;

/// How long before the first job of a shutdown the request for it is looked for.
const RECENT: u64 = 60 * S;

/// How long a request may wait until somebody has allowed it with a password.
const ALLOWED: u64 = 300 * S;

/// The most telling come first.
const TARGETS: [&str; 8] = [
    "reboot.target",
    "poweroff.target",
    "halt.target",
    "kexec.target",
    "soft-reboot.target",
    "shutdown.target",
    "umount.target",
    "final.target",
];

/// Methods of logind and of PID 1 that take the system down; the flags and times they may come with follow
/// the name.
const METHODS: [&str; 6] =
    ["PowerOff", "Reboot", "Halt", "KExec", "SoftReboot", "ScheduleShutdown"];

/// What does the same from the command line; of systemctl the verbs.
const COMMANDS: [&str; 7] =
    ["reboot", "poweroff", "halt", "shutdown", "kexec", "soft-reboot", "telinit"];

/// Reboot, power-off, soft-reboot.
pub fn system(case: &Case<'_>) -> Option<Opinion> {
    let sender = case.sender()?;
    let broadcast = sender.id.pid == 1 && sender.comm == "systemd-shutdow";
    let by_manager = UnitStop::of(case).is_some() || manager_of(sender).is_some();
    if !broadcast && !by_manager {
        return None;
    }
    let job = going_down(case, Manager::System);
    if job.is_none() && !broadcast {
        return None;
    }
    let began_ns = job.map_or(case.struck_ns(), Seen::ns).min(case.struck_ns());
    let call = request(case, began_ns);
    let by_root = call.is_none_or(|call| call.value.sender.uid.is_none_or(|uid| uid == 0));
    // What logind does is somebody else's wish.
    let known = call.filter(|call| !is_logind(&call.value)).map(|call| caller(case, call));
    let (process, concluded) = match known {
        // The verbs of these commands are not made of the methods' names.
        None | Some((None, _)) if by_root => (command(case, began_ns), true),
        Some(known) => known,
        None => (None, true),
    };
    let actor = process.map(|id| Actor::behind(case, id));
    let said = reason_said(case, began_ns).filter(|_| actor.is_none());
    let who = match (&actor, said) {
        (Some(actor), _) if concluded => {
            format!(": {}{}", actor.sentence(), by_arguments(call.is_some()))
        }
        (Some(actor), _) => format!(": {}", actor.sentence()),
        (None, Some(line)) => format!(": systemd logged \"{}\"", line.value.message),
        (None, None) => String::new(),
    };
    let unit = case.unit().map(|(_, unit)| format!(", and {unit} with it")).unwrap_or_default();
    let mut finding = Finding::new(
        CauseId::SystemShutdown,
        Fit::Exact,
        if call.is_some() || job.is_some_and(|job| job_type(case.world, job).is_some()) {
            Grade::Observed
        } else {
            Grade::Inferred
        },
        format!("{} was ended since the system is going down{unit}{who}.", victim(case)),
    )
    .links(actor.iter().filter_map(|actor| units::command_link(case, actor)))
    .links(call.map(|call| call_link(case, call)))
    .links(said.map(|line| {
        let text = format!("systemd logged \"{}\"", line.value.message);
        let mut link = case.link(line.at, LinkEvent::UnitState, line.source, None, text);
        link.at.boot_ns = link.at.boot_ns.min(began_ns);
        link
    }))
    .links(job.map(|job| units::job_link(case, job)));
    if actor.is_none() && said.is_none() {
        finding = finding.gap("who asked for the shutdown was not seen");
    }
    finding.answer()
}

/// The start of the target that takes everything down. A manager that has just made jobs for all of its units is often
/// too busy to say of which type each is; of these targets there are hardly others.
pub fn going_down<'a>(case: &Case<'a>, manager: Manager) -> Option<&'a Seen<crate::evidence::Job>> {
    let rank = |unit: &str| TARGETS.iter().position(|target| *target == unit);
    let starts = case.world.jobs.iter().filter(|job| {
        job.value.manager == manager
            && job_type(case.world, job).is_none_or(|kind| kind == "start")
            && job.ns() <= case.struck_ns() + S
    });
    let ranked = starts.filter_map(|job| Some((rank(&job.value.unit)?, job)));
    ranked.min_by_key(|(rank, job)| (*rank, job.ns())).map(|(_, job)| job)
}

/// The call that asked for it: the last one, but rather one of logind's client than what logind then asks of systemd.
fn request<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<BusCall>> {
    let scheduled = |call: &BusCall| call.member.starts_with("Schedule");
    let calls = || {
        case.world.calls.iter().rev().filter(move |call| {
            let in_time = call.ns() + ALLOWED >= began_ns || scheduled(&call.value);
            asks(&call.value) && call.ns() <= began_ns + S && in_time
        })
    };
    calls().find(|call| !is_logind(&call.value)).or_else(|| calls().next())
}

/// Whether logind makes the call, as the bus knows it.
fn is_logind(call: &BusCall) -> bool {
    call.sender.well_known.as_deref() == Some("org.freedesktop.login1")
}

fn asks(call: &BusCall) -> bool {
    let first = call.args.first().and_then(|arg| arg.as_str());
    METHODS.iter().any(|method| call.member.starts_with(method))
        || (call.member.starts_with("StartUnit")
            && first.is_some_and(|unit| TARGETS.contains(&unit)))
}

/// root's systemctl may speak to systemd without a bus, and a client may be gone before it can be asked. Only
/// root can do without the bus; anybody can call a program of his own `reboot`.
fn command(case: &Case<'_>, before_ns: u64) -> Option<ProcessId> {
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let comm = known.comm.as_deref()?;
        let says = |args: &[String]| {
            args.iter()
                .skip(1)
                .any(|arg| COMMANDS.contains(&arg.as_str()) || TARGETS.contains(&arg.as_str()))
        };
        let asks = COMMANDS.contains(&comm)
            || comm == "systemctl" && known.cmdline.as_deref().is_some_and(says);
        let may = known.uid == Some(0);
        (asks && may && at <= before_ns + S && at + RECENT >= before_ns).then_some((at, id))
    });
    found.max_by_key(|(at, _)| *at).map(|(_, id)| id)
}

/// Why systemd takes the system down of its own accord (`src/core/emergency-action.c`): `FailureAction=`,
/// `StartLimitAction=`, `JobTimeoutAction=` and their kind.
fn reason_said<'a>(case: &Case<'a>, began_ns: u64) -> Option<&'a Seen<JournalLine>> {
    const WORDS: [&str; 7] = [
        "Rebooting",
        "Powering off",
        "Forcibly rebooting",
        "Forcibly powering off",
        "Exiting",
        "Soft-rebooting",
        "Halting",
    ];
    case.world.journal.iter().rev().find(|line| {
        line.value.pid == Some(1)
            && WORDS.iter().any(|word| line.value.message.starts_with(word))
            && line.ns() <= began_ns + S
            && line.ns() + 10 * S >= began_ns
    })
}

/// A user's whole service manager went down by itself: it was told to exit.
pub fn user_manager(case: &Case<'_>) -> Option<Opinion> {
    const TARGETS: [&str; 2] = ["exit.target", "shutdown.target"];
    let stop = UnitStop::of(case)?;
    let Manager::User(uid) = stop.manager else { return None };
    let job = case.world.jobs.iter().find(|job| {
        job.value.manager == stop.manager
            && TARGETS.contains(&job.value.unit.as_str())
            && job.ns() <= case.struck_ns() + S
    })?;
    let asked = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let args = known.cmdline.as_deref()?;
        let said = |word: &str| args.iter().any(|arg| arg == word);
        let fits = known.comm.as_deref() == Some("systemctl")
            && known.uid.is_none_or(|own| own == uid || own == 0)
            && said("--user")
            && (said("exit") || said("exit.target"));
        (fits && at <= job.ns() + S && at + RECENT >= job.ns()).then_some((at, id))
    });
    let (_, process) = asked.max_by_key(|(at, _)| *at)?;
    let actor = Actor::behind(case, process);
    let effect = job.at.no_later_than(stop.begun);
    let mut command = units::command_link(case, &actor);
    if let Some(link) = &mut command {
        link.at = link.at.no_later_than(effect);
    }
    let mut above = units::job_link(case, job);
    above.at = effect;
    Finding::new(
        CauseId::UnitStopRequested,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{} was ended by {}, which was told to exit and stopped all of its units, {} among them: {}{}.",
            victim(case),
            stop.manager_name(case),
            stop.unit,
            actor.sentence(),
            by_arguments(false)
        ),
    )
    .links(command)
    .links([above])
    .links(units::stop_links(case, &stop))
    .answer()
}

fn victim(case: &Case<'_>) -> String {
    words::name_pid(&case.victim_process())
}
