//! Deaths by somebody's command or another program.

mod failed;
mod to_itself;

use self::failed::Failed;
pub(super) use self::to_itself::child_ended_alike;
use self::to_itself::to_itself;
use super::{Finding, Fit, Opinion, unit_remedies};
use crate::evidence::{CgroupOwner, Grade, Manager, Mechanism, Task, base_name, signal_name};
use crate::story::actor::{Actor, Place, asks_daemon, is_shell, is_titled, runs_shell};
use crate::story::case::Case;
use crate::story::decide::{Blow, Way};
use crate::story::init_script::InitScript;
use crate::story::manager::manager_of;
use crate::story::patience::HANDLED;
use crate::story::relay::{Relay, order_before, own_alarm};
use crate::story::signals;
use crate::story::told::is_by_unit;
use crate::story::unit_command::is_run_by;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, Outcome};
use crate::story::world::SeenSignal;
use crate::story::{mechanism, newborn, units, words};

/// Programs that people send signals by.
pub const KILLERS: [&str; 11] = [
    "kill",
    "pkill",
    "killall",
    "killall5",
    "skill",
    "xkill",
    "fuser",
    "slay",
    "htop",
    "top",
    "start-stop-daem",
];

/// Programs that write to the files that they are told.
const WRITERS: [&str; 5] = ["tee", "dd", "cp", "sponge", "busybox"];

/// Whether the blow was dealt by a process that asked for it, other than the victim.
pub(super) fn dealt(case: &Case<'_>) -> bool {
    case.blow.is_some_and(|blow| {
        !blow.mechanism.is_kernels_own() && blow.signal.value.sender.id != case.victim
    })
}

pub(super) fn way(case: &Case<'_>) -> String {
    let Some(blow) = case.blow else { return String::new() };
    let delay = words::span(case.exit.ns().saturating_sub(blow.signal.ns()));
    match blow.way {
        Way::CaughtThenExited => format!(" It caught the signal, and exited {delay} later."),
        Way::Reraised => {
            format!(" It caught the signal, and then sent it to itself to end, {delay} later.")
        }
        Way::Killed | Way::CutShort => String::new(),
    }
}

/// The sender claimed to be somebody else (`rt_sigqueueinfo` lets it).
fn forged(case: &Case<'_>) -> String {
    let Some(blow) = case.blow else { return String::new() };
    let shown = signals::signal(&blow.signal.value, blow.mechanism);
    let sender = &blow.signal.value.sender;
    let same_ns = sender.pid_ns == blow.signal.value.target.pid_ns;
    match shown.si_pid {
        Some(pid)
            if blow.mechanism == Mechanism::Sigqueue
                && same_ns
                && i64::from(pid) != i64::from(sender.ns_pid) =>
        {
            format!(" Its siginfo names pid {pid} as the sender, which is not true.")
        }
        _ => String::new(),
    }
}

/// kill, pkill, killall, a shell's builtin.
pub fn user_command(case: &Case<'_>) -> Option<Opinion> {
    if !dealt(case) {
        return None;
    }
    let blow = case.blow?;
    let sender = &blow.signal.value.sender;
    if manager_of(sender).is_some() {
        return None;
    }
    let process = case.task(sender);
    let shell = is_shell(&sender.comm) || runs_shell(&process);
    // All of a group that one call hits are told alike: it is what the sender had started.
    let above = case.world.people.parents(case.victim);
    let to_group = group_aimed_at(case).is_some_and(|group| group < -1);
    let own_child = above.first() == Some(&sender.id) || to_group && above.contains(&sender.id);
    let scripted = scripted(case, sender.id) && !own_child;
    // What writes what it is given where it is told to is somebody's command, too, where that is cgroup.kill.
    let wrote = blow.mechanism == Mechanism::CgroupKill && WRITERS.contains(&sender.comm.as_str());
    let asks = asks_daemon(&process) && !own_child;
    if !KILLERS.contains(&sender.comm.as_str()) && !shell && !scripted && !wrote && !asks {
        return None;
    }
    let signal = signal_name(blow.signal.value.number);
    let victim = words::name_pid(&case.victim_process());
    let name = words::name_pid(&process);
    let actor = Actor::behind(case, sender.id);
    let script = InitScript::above(case, sender.id);
    Finding::new(
        CauseId::UserCommand,
        Fit::Program,
        if script.is_some() { Grade::Inferred } else { actor.grade },
        format!(
            "{victim} got {signal} from {name}{}: {}.{}{}{}{}",
            kinship(case, sender),
            actor.told(),
            script.as_ref().map(InitScript::sentence).unwrap_or_default(),
            aim(case),
            forged(case),
            way(case)
        ),
    )
    .settings([service_line(case, &actor)])
    .links(units::command_links(case, &actor))
    .fixes(match script {
        Some(script) => Some(script.fix()),
        None => look_at_asker(case, &actor),
    })
    .answer()
}

/// The line that has a service run who did so of its own accord.
fn service_line(case: &Case<'_>, actor: &Actor) -> Option<DecidingSetting> {
    let owner = CgroupOwner::of(actor.command.cgroup.as_deref()?);
    let (manager, unit) = owner.innermost_unit()?;
    // A daemon is no command, and does what it does for reasons that are not there.
    let task = &case.blow?.signal.value.sender;
    let of_manager = case.world.people.parents(task.id).first()?.pid == 1;
    let line = units::only_line(case, manager, unit, "ExecStart")?;
    // What a daemon's script has left behind is a child of PID 1 as well, but not what the line runs.
    let is_command = actor.is_of_service() && of_manager && is_run_by(case, task.id, &line);
    is_command.then_some(line)
}

/// To look at the job or the unit that did so of its own accord. Among its own processes a unit does as it likes.
fn look_at_asker(case: &Case<'_>, actor: &Actor) -> Option<Fix> {
    let own = case.unit().map(|(_, unit)| Place::Unit(unit.to_owned()));
    unit_remedies::of_signal(actor).filter(|_| own.is_none() || actor.place != own)
}

/// Somebody's command, which reached the victim through a program that passes on what it gets: sudo, su,
/// timeout, make, a wrapper script.
pub fn relayed_command(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| dealt(case))?;
    let relay = Relay::of(case, blow)?;
    let got = relay.far_end()?;
    let origin = &got.value.sender;
    let process = case.task(origin);
    let is_command = KILLERS.contains(&origin.comm.as_str())
        || is_shell(&origin.comm)
        || runs_shell(&process)
        || asks_daemon(&process);
    // What a service manager ran for a unit is no person's command.
    if !is_command || is_by_unit(case, got) {
        return None;
    }
    let signal = signal_name(blow.signal.value.number);
    let by = by_program(case, &blow.signal.value.sender);
    // How it got there is added to every story of a kill: `relay::tell`.
    Finding::new(
        CauseId::UserCommand,
        Fit::Program,
        Grade::Inferred,
        format!(
            "{} got {signal} from {by}.{}{}",
            words::name_pid(&case.victim_process()),
            aim(case),
            way(case)
        ),
    )
    .answer()
}

/// That the victim itself had started who then signalled it, as a clause; empty where it had not.
fn kinship(case: &Case<'_>, sender: &Task) -> &'static str {
    let parents = case.world.people.parents(sender.id);
    match parents.iter().position(|parent| *parent == case.victim) {
        Some(0) => ", its own child, which it had started itself",
        Some(_) => ", a descendant of its own",
        None => "",
    }
}

/// A program, as the sender of a signal.
pub(super) fn by_program(case: &Case<'_>, sender: &Task) -> String {
    let actor = Actor::behind(case, sender.id);
    let process = case.task(sender);
    let name = words::name_pid(&process);
    let parent = case.world.people.parents(case.victim).first() == Some(&sender.id);
    let relation = if parent { ", its parent" } else { kinship(case, sender) };
    // What it calls itself is no program where its executable says otherwise, or was not seen.
    let executed = case.world.people.executed_at(sender.id, case.struck_ns());
    let line = words::command_line(&process);
    let was_unseen = process.exe.is_none() && executed.is_none() && !sender.kernel_thread;
    let command = if is_titled(case, sender.id, case.struck_ns()) {
        format!("the program {}", actor.said(&actor.process))
    } else if was_unseen {
        format!("which called itself \"{line}\" (what it ran was not seen)")
    } else {
        format!("the program \"{line}\"")
    };
    let owner = process.user.map(|user| format!(" of {user}")).unwrap_or_default();
    let whose = format!("{owner}{} {}", words::lent_rights(sender), actor.whereabouts());
    let whose = whose.trim_end();
    let comma = if was_unseen && !whose.is_empty() { "," } else { "" };
    format!("{name}{relation}, {command}{comma}{whose}")
}

/// Who else kill(2) was aimed at: a process group, or everybody. Only its argument tells.
pub(super) fn aim(case: &Case<'_>) -> String {
    let contained = |sender: &Task| sender.ns_pid != sender.id.pid;
    match group_aimed_at(case) {
        Some(-1) if case.sender().is_some_and(contained) => {
            " It went to every process that the sender may signal in its own pid namespace (kill -1).".to_owned()
        }
        Some(-1) => " It went to every process that the sender may signal (kill -1).".to_owned(),
        Some(0) => {
            let often = if sent_by_shell(case) { ", which scripts often have in a trap on EXIT" } else { "" };
            format!(" It went to the sender's whole process group (kill 0{often}).")
        }
        Some(group) if group < -1 => {
            format!(" It went to the whole process group {}.", group.unsigned_abs())
        }
        _ => String::new(),
    }
}

/// Whether a shell sent it.
fn sent_by_shell(case: &Case<'_>) -> bool {
    case.sender().is_some_and(|sender| is_shell(&sender.comm) || runs_shell(&case.task(sender)))
}

/// The first argument of kill(2), where it is no single process's id.
pub(super) fn group_aimed_at(case: &Case<'_>) -> Option<i32> {
    let blow = case.blow_by(Mechanism::Kill)?;
    blow.signal.value.aim().filter(|aim| *aim <= 0)
}

/// An interpreter that was told on its command line what to do (`python3 -c …`), typed by somebody. It may call itself
/// otherwise since.
fn scripted(case: &Case<'_>, id: crate::evidence::ProcessId) -> bool {
    const INTERPRETERS: [&str; 5] = ["python", "perl", "ruby", "node", "lua"];
    let is_interpreter = |name: &str| INTERPRETERS.iter().any(|known| name.starts_with(known));
    let is_told = |args: &[String]| args.iter().any(|arg| arg == "-c" || arg == "-e");
    let process = case.process(id);
    let shown = process.comm.as_deref().is_some_and(is_interpreter)
        && process.cmdline.as_deref().is_some_and(is_told);
    let executed = case.world.people.executed_at(id, case.struck_ns()).unwrap_or_default();
    let program = executed.first().map(|name| base_name(name));
    shown || program.is_some_and(is_interpreter) && is_told(executed)
}

/// Another program did it by itself.
pub fn process_signal(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    if blow.mechanism.is_kernels_own() {
        return None;
    }
    let sender = &blow.signal.value.sender;
    let victim = words::name_pid(&case.victim_process());
    let signal = signal_name(blow.signal.value.number);
    if sender.id == case.victim {
        return to_itself(case, blow);
    }
    if let Some(manager) = manager_of(sender) {
        return by_manager(case, sender, manager);
    }
    if newborn::is_at_birth(&blow.signal.value) {
        return Finding::new(
            CauseId::ProcessSignal,
            Fit::Mechanism,
            Grade::Observed,
            format!(
                "{victim} was killed as it was made, since somebody was killing its whole cgroup (cgroup.kill)."
            ),
        )
        .gap("who wrote cgroup.kill was not seen")
        .answer();
    }
    let actor = Actor::behind(case, sender.id);
    let by = by_program(case, sender);
    let alone = Relay::of(case, blow).is_none();
    let told = told_before(case, blow).filter(|_| alone);
    let failed = Failed::before(case, sender).filter(|_| alone);
    let failed = failed.filter(|failed| told.is_none_or(|told| told.ns() < failed.exit.ns()));
    let told = told.filter(|_| failed.is_none()).map(|told| after_told(case, blow, told));
    let (told, told_link) = told.unzip();
    let because = if blow.mechanism == Mechanism::CgroupKill {
        let cgroup = blow.signal.value.written_cgroup.as_ref();
        let of = cgroup.map(|path| format!(" of {path}")).unwrap_or_default();
        format!(" It wrote cgroup.kill{of}, which kills a whole cgroup.")
    } else if mechanism::is_pidfd_closed(&blow.signal.value) {
        " It closed its last pidfd, or ended, and the process had been made to end then (CLONE_PIDFD_AUTOKILL).".to_owned()
    } else {
        String::new()
    };
    Finding::new(
        CauseId::ProcessSignal,
        Fit::Mechanism,
        Grade::Observed,
        format!(
            "{victim} got {signal} from {by}.{because}{}{}{}{}",
            aim(case),
            forged(case),
            way(case),
            told.or_else(|| failed.as_ref().map(|it| it.sentence(case))).unwrap_or_default()
        ),
    )
    .links(units::command_links(case, &actor))
    .fixes(unit_remedies::of_sender(case, &actor))
    .links(told_link)
    .links(failed.iter().flat_map(|failed| failed.links(case, blow.signal.at)))
    .answer()
}

/// What had told the sender to do it right before: its own timer, or a signal that no relay explains, as one of a child of
/// its own, the victim itself among them. What children tell is mostly about themselves, and no order: it is only told where
/// the sender did this on its heels.
fn told_before<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<&'a SeenSignal> {
    let sender = blow.signal.value.sender.id;
    let order = order_before(case.world, sender, blow.signal.ns(), HANDLED, &|_| true);
    order.or_else(|| own_alarm(case.world, sender, blow.signal.ns()))
}

/// The same in words, and its link.
fn after_told(case: &Case<'_>, blow: Blow<'_>, got: &SeenSignal) -> (String, Link) {
    let lead = words::span(blow.signal.ns().saturating_sub(got.ns()));
    let name = words::name_pid(&case.task(&blow.signal.value.sender));
    let signal = signal_name(got.value.number);
    let way = mechanism::of(&got.value);
    let what = if way.is_kernels_own() {
        format!("a timer of {name} had run out ({signal})")
    } else if got.value.sender.id == case.victim {
        let told = Actor::behind_at(case, case.victim, got.ns()).told();
        format!("{} had itself sent {name} {signal}: {told}", case.victim_name())
    } else {
        let told = Actor::behind_at(case, got.value.sender.id, got.ns()).told();
        let from = words::name_pid(&case.task(&got.value.sender));
        format!("{name} had caught {signal} from {from}: {told}")
    };
    (format!(" {lead} before, {what}, which may be why."), case.signal_link(got, way))
}

/// A service manager did it, and no reason of its was seen.
fn by_manager(case: &Case<'_>, sender: &Task, manager: Manager) -> Option<Opinion> {
    let blow = case.blow?;
    let unit = case.unit_around().map(|(_, unit)| format!(" in {unit}")).unwrap_or_default();
    let whose = match manager {
        Manager::System => "the system's service manager",
        Manager::User(_) => "a user's service manager",
    };
    Finding::new(
        CauseId::ProcessSignal,
        Fit::Fallback,
        Grade::Observed,
        format!(
            "{}{unit} got {} from {}, {whose}; why was not seen.{}",
            words::name_pid(&case.victim_process()),
            signal_name(blow.signal.value.number),
            words::name_pid(&case.task(sender)),
            way(case)
        ),
    )
    .gap("no job, no bus call, no journal line and no ended main process explains it")
    .answer()
}

/// A ptrace tracer put a signal in: the only one who can without sending it.
pub fn injected(case: &Case<'_>) -> Option<Opinion> {
    let tracer = case.injector()?;
    let Outcome::Signaled { signal, .. } = &case.outcome else {
        return None;
    };
    Finding::new(
        CauseId::ProcessSignal,
        Fit::Mechanism,
        Grade::Inferred,
        format!(
            "{} was ended by {signal}, which nobody had sent: {}, its ptrace tracer, must have put it in \
             (or replaced another signal by it).",
            words::name_pid(&case.victim_process()),
            words::name_pid(&case.process(tracer))
        ),
    )
    .gap("a signal that a debugger injects is not generated in the kernel and cannot be seen")
    .answer()
}
