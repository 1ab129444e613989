//! Deaths by somebody's command or another program.

use super::{Finding, Fit, Opinion, unit_remedies};
use crate::evidence::{
    CgroupOwner, Exit, Grade, MS, Manager, Mechanism, Moment, S, Task, base_name, sig, signal_name,
};
use crate::story::actor::{Actor, Place, asks_daemon, is_shell, is_titled, runs_shell};
use crate::story::case::Case;
use crate::story::clients::Shutdown;
use crate::story::decide::{Blow, Way, decide};
use crate::story::init_script::InitScript;
use crate::story::manager::manager_of;
use crate::story::patience::HANDLED;
use crate::story::relay::{Relay, order_before, own_alarm};
use crate::story::signals;
use crate::story::told::is_by_unit;
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, Outcome};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, mechanism, newborn, units, words};

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
    let is_command =
        actor.is_of_service() && case.world.people.get(task.id)?.parents.first()?.pid == 1;
    is_command.then(|| units::only_line(case, manager, unit, "ExecStart")).flatten()
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
    // What it calls itself is no program where its executable says otherwise.
    let command = if is_titled(case, sender.id, case.struck_ns()) {
        actor.said(&actor.process)
    } else {
        format!("\"{}\"", words::command_line(&process))
    };
    let owner = process.user.map(|user| format!(" of {user}")).unwrap_or_default();
    let owner = owner + words::lent_rights(sender);
    let by = format!("{name}{relation}, the program {command}{owner} {}", actor.whereabouts());
    by.trim_end().to_owned()
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

/// It sent the signal to itself: perhaps since a time limit of its own was up, to end as its child had, or as its message
/// bus was gone.
fn to_itself(case: &Case<'_>, blow: Blow<'_>) -> Option<Opinion> {
    let victim = words::name_pid(&case.victim_process());
    let signal = signal_name(blow.signal.value.number);
    let way = blow.mechanism.words();
    let child = child_ended_alike(case, blow);
    let alarm = own_alarm(case.world, case.victim, blow.signal.ns()).filter(|_| child.is_none());
    let bus = message_bus_gone(case, blow).filter(|_| child.is_none() && alarm.is_none());
    let command = Shutdown::of(case)
        .filter(|_| child.is_none() && alarm.is_none() && blow.signal.value.number != sig::SIGABRT);
    let lead = |ns: u64| words::span(blow.signal.ns().saturating_sub(ns));
    let why = if let Some(command) = &command {
        command.sentence(case)
    } else if let Some(child) = &child {
        format!(" So it seems to end as what it ran had ended: {}.", child.sentence(case))
    } else if let Some(alarm) = alarm {
        let lead = lead(alarm.ns());
        format!(" {lead} before, a timer of its own had run out (SIGALRM), which may be why.")
    } else if let Some(bus) = &bus {
        format!(
            " That may be since its message bus was gone: {} before, {}. Programs of GLib's (GTK, GNOME) end themselves \
             so when they lose that (exit-on-close of GDBus).",
            lead(bus.ns()),
            bus.sentence(case)
        )
    } else {
        String::new()
    };
    let before = own_group_before(case, blow);
    let group = before.and_then(|sent| sent.value.aim()).or_else(|| group_aimed_at(case));
    let what = match group {
        Some(-1) | None => format!("{victim} sent {signal} to itself ({way}).{}", aim(case)),
        Some(group) => to_own_group(case, &format!("{victim} sent {signal}"), group),
    };
    let script = group.is_some_and(|group| group != -1) && sent_by_shell(case);
    let concluded = child.is_some() || bus.is_some() || command.is_some();
    let grade = if concluded { Grade::Inferred } else { Grade::Observed };
    let ends = child.into_iter().chain(bus);
    Finding::new(CauseId::ProcessSignal, Fit::Fallback, grade, format!("{what}{why}"))
        .fixes(script.then(fixes::narrower_script))
        .links(alarm.map(|alarm| case.signal_link(alarm, Mechanism::Timer)))
        .links(command.map(|command| command.link(case)))
        .links(ends.flat_map(|end| end.links(case, blow.signal.at)))
        .answer()
}

/// The same signal, which it had sent to its own process group and caught itself right before: bash, which cleans up first,
/// then ends itself by it (`termsig_handler` in its sig.c).
fn own_group_before<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<&'a SeenSignal> {
    let (number, struck_ns) = (blow.signal.value.number, blow.signal.ns());
    case.world.signals_to(case.victim).iter().rev().find(|sent| {
        sent.value.number == number
            && sent.value.sender.id == case.victim
            && sent.value.aim().is_some_and(|aim| aim <= 0 && aim != -1)
            && sent.ns() < struck_ns
            && sent.ns() + S > struck_ns
    })
}

/// That a process signalled its own process group, and so was hit as well.
fn to_own_group(case: &Case<'_>, who: &str, group: i32) -> String {
    // `kill -15` would be a signal.
    let argument =
        if group == 0 { "0".to_owned() } else { format!("-- -{}", group.unsigned_abs()) };
    let script = if sent_by_shell(case) { ", as scripts often do in a trap on EXIT" } else { "" };
    format!(
        "{who} to its own whole process group, and so to itself and to what it had started there (kill {argument}){script}."
    )
}

/// The end of the user's or the system's message bus right before a process raised SIGTERM itself: `exit-on-close` of
/// GDBus, which is on by default (`on_worker_closed` of gio/gdbusconnection.c).
fn message_bus_gone<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<End<'a>> {
    /// GDBus hears of it at once, by a thread of its own.
    const HEARD: u64 = 200 * MS;
    let raised = matches!(blow.mechanism, Mechanism::Tgkill | Mechanism::Tkill);
    if !raised || blow.signal.value.number != sig::SIGTERM {
        return None;
    }
    let uid = blow.signal.value.sender.uid;
    let exit = case.world.exits.iter().rev().find(|exit| {
        let task = &exit.value.task;
        let is_bus = ["dbus-daemon", "dbus-broker"].contains(&task.comm.as_str());
        // The system's own runs as a user of the system's; a container has another one.
        let is_its = task.uid == uid || task.uid < 1000;
        let near = exit.ns() <= blow.signal.ns() && exit.ns() + HEARD >= blow.signal.ns();
        is_bus && is_its && near && case.task(task).container == case.victim_process().container
    })?;
    End::of(case, exit.value.task.id)
}

/// The child that had been killed by the same signal right before: timeout, sudo and their kind end as what they ran.
pub(super) fn child_ended_alike<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<End<'a>> {
    let exit = case.world.exits.iter().rev().find(|exit| {
        exit.ns() <= blow.signal.ns()
            && exit.ns() + REAPED >= blow.signal.ns()
            && exit.value.killed_by() == Some(blow.signal.value.number)
            && case.world.people.parents(exit.value.task.id).first() == Some(&case.victim)
    })?;
    // What it ended itself it does not end as.
    let end = End::of(case, exit.value.task.id)?;
    end.killer().is_none_or(|killer| killer.id != case.victim).then_some(end)
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

/// How soon whoever waits for its children has acted on the end of one, by ending the others or itself: the waking takes
/// less than 2 ms (GNU parallel, a shell's `wait -n`, Python's pools), but some look only every 10 to 40 ms.
const REAPED: u64 = 50 * MS;

/// Another child of whoever ended the victim, its parent, too, that had failed before without being ended by it: runners
/// of several jobs end the others then. It is no reason to end one that was started only after that.
struct Failed<'a> {
    exit: &'a Seen<Exit>,
    /// It came right before, so that it may be why; else it is only told.
    right_before: bool,
}

impl<'a> Failed<'a> {
    fn before(case: &Case<'a>, sender: &Task) -> Option<Self> {
        const BEFORE: u64 = 500 * MS;
        /// What runs for less is a command that was asked something, rather than a job.
        const JOB: u64 = S;
        let parents = case.world.people.parents(case.victim);
        if !parents.contains(&sender.id) {
            return None;
        }
        let struck_ns = case.struck_ns();
        let by_sender = |exit: &Seen<Exit>| {
            let blow = decide(case.world, exit);
            blow.is_some_and(|blow| blow.signal.value.sender.id == sender.id)
        };
        let is_child = |exit: &Seen<Exit>| {
            let own = case.world.people.parents(exit.value.task.id);
            own.first() == Some(&sender.id)
        };
        let exit = case.world.exits.iter().rev().find(|exit| {
            let id = exit.value.task.id;
            exit.ns() <= struck_ns
                && exit.ns() + BEFORE >= struck_ns
                && case.victim.start_ns <= exit.ns()
                && exit.value.status != 0
                && !exit.value.unseen
                && id != case.victim
                && !parents.contains(&id)
                && is_child(exit)
                && !by_sender(exit)
        })?;
        let right_before = exit.ns() + REAPED >= acted_after(case, sender, exit.ns());
        let ran = exit.ns().saturating_sub(exit.value.task.id.start_ns);
        let was_job = ran >= JOB || exit.value.killed_by().is_some();
        (right_before || was_job).then_some(Self { exit, right_before })
    }

    fn sentence(&self, case: &Case<'_>) -> String {
        let sibling = case.task(&self.exit.value.task);
        let how = match Outcome::of(&self.exit.value) {
            Outcome::Exited { status } => format!("exited with {status}"),
            Outcome::Signaled { signal, .. } => format!("been killed by {signal}"),
            Outcome::Unknown => "ended".to_owned(),
        };
        let lead = words::span(case.struck_ns().saturating_sub(self.exit.ns()));
        let (name, command) = (words::name_pid(&sibling), words::command_line(&sibling));
        let why = if self.right_before { ", which may be why" } else { "" };
        // Who had done that is the beginning of this story.
        let end = End::of(case, self.exit.value.task.id).filter(|end| end.killer().is_some());
        let (how, by) = match end.filter(|_| self.right_before) {
            Some(end) => ("ended".to_owned(), format!(": {}", end.sentence(case))),
            None => (how, String::new()),
        };
        format!(" {lead} before that, its sibling {name}, \"{command}\", had {how}{why}{by}.")
    }

    /// What ended it, and its end: that was seen, whether or not it is why.
    fn links(&self, case: &Case<'a>, effect: Moment) -> Vec<Link> {
        let end = End::of(case, self.exit.value.task.id).filter(|_| self.right_before);
        end.map(|end| end.links(case, effect)).unwrap_or_default()
    }
}

/// When the sender of the blow first signalled a child of its after that time: it may end one after the other, or repeat
/// what it sends.
fn acted_after(case: &Case<'_>, sender: &Task, ns: u64) -> u64 {
    let is_child = |id| case.world.people.parents(id).contains(&sender.id);
    let mut acts = case.world.sent_since(sender.id, ns);
    acts.find(|(_, target)| is_child(*target)).map_or_else(|| case.struck_ns(), |(sent, _)| sent)
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
