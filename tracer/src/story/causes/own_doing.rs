//! Deaths that a process brought on itself without a fault: aborts, forbidden calls, pipes, timers.

use super::commands::child_ended_alike;
use super::crashes::described;
use super::{Finding, Fit, Opinion};
use crate::evidence::{
    Exit, Grade, MS, Mechanism, Process, ProcessId, S, SignalInfo, sig, signal_name, unit_template,
};
use crate::story::actor::runs_shell;
use crate::story::case::Case;
use crate::story::decide::fault_lived_through;
use crate::story::ending::Ending;
use crate::story::fixes::UnitAt;
use crate::story::idle::{self, idle_alarm};
use crate::story::patience::Program;
use crate::story::stopping::{AskedToEnd, is_true};
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, Outcome};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, units, words};

pub(super) fn core(case: &Case<'_>) -> &'static str {
    match case.outcome {
        Outcome::Signaled { core_dumped: true, .. } => " A core was dumped.",
        _ => "",
    }
}

/// How to look into the core dump, or to have one the next time.
pub(super) fn core_fix(case: &Case<'_>) -> Fix {
    let pattern = case.setting(&["sysctl"], "kernel.core_pattern").map(|setting| setting.value);
    let dumped = matches!(case.outcome, Outcome::Signaled { core_dumped: true, .. });
    let process = case.victim_process();
    let program = process.exe.unwrap_or_else(|| case.program());
    let task = &case.exit.value.task;
    fixes::core_dump(&fixes::Core {
        program: &program,
        comm: &task.comm,
        pid: case.victim.pid,
        ns_pid: task.ns_pid,
        uid: Some(task.uid),
        signal: case.exit.value.killed_by(),
        dumped,
        pattern: pattern.as_deref(),
    })
}

/// SIGABRT to itself: by abort(3), or to end as its child had, which is no crash of its own.
pub fn abort(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let sent = &blow.signal.value;
    let as_child = sent.sender.id == case.victim && child_ended_alike(case, blow).is_some();
    if sent.number != sig::SIGABRT || sent.sender.id != case.victim || as_child {
        return None;
    }
    let stop = AskedToEnd::before(case);
    let stopped = stop.as_ref().map(|stop| stop.clause(case)).unwrap_or_default();
    let way = match blow.mechanism {
        // `raise` of glibc and musl, which abort(3) calls.
        Mechanism::Tgkill | Mechanism::Tkill => {
            "it sent SIGABRT to itself, as abort(3) and failed assertions do".to_owned()
        }
        other => format!("it sent SIGABRT to itself by {}", other.words()),
    };
    let fault = fault_lived_through(case.world, case.victim, blow.signal);
    let before = fault.map(|fault| fault_before_words(case, blow.signal.ns(), fault));
    Finding::new(
        CauseId::Abort,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} aborted itself: {way}.{}{}{stopped}",
            case.victim_name(),
            before.unwrap_or_default(),
            core(case)
        ),
    )
    .links(stop.iter().flat_map(|stop| stop.links(case)))
    .fixes([core_fix(case)])
    .answer()
}

/// That it had caught a fault a while before it aborted.
fn fault_before_words(case: &Case<'_>, aborted_ns: u64, fault: &SeenSignal) -> String {
    let lead = words::span(aborted_ns.saturating_sub(fault.ns()));
    let (what, signal) = (described(&fault.value), signal_name(fault.value.number));
    let often = if Program::of(case.world, &case.exit.value).runtime {
        ", as this runtime does in ordinary work"
    } else {
        ""
    };
    format!(" {lead} before, it had caught {signal} ({what}){often}; that may be why, or not.")
}

/// `SystemCallFilter=` of the victim's unit, its first line, and what to do about it.
fn unit_filter(case: &Case<'_>) -> Option<(DecidingSetting, String, Fix)> {
    let (manager, unit) = case.unit()?;
    let scopes = [unit.to_owned(), unit_template(unit)];
    let line = case
        .world
        .setting_lines(manager)
        .find(|line| scopes.contains(&line.value.scope) && line.value.name == "SystemCallFilter")?;
    let at = UnitAt::of(case.world, manager, unit);
    Some(((&line.value).into(), unit.to_owned(), fixes::system_call_fails(&at)))
}

/// Who may have set the filter that the victim has from its parents: the nearest that has an option for that, or always sets
/// one.
fn sandbox(case: &Case<'_>) -> Option<String> {
    let parents = case.world.people.parents(case.victim);
    let sets_one = |process: &Process| {
        // `firejail --seccomp.drop=CALL`, `bwrap --add-seccomp-fd N`, `docker run --security-opt seccomp=FILE`
        let is_option = |word: &String| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let by_name = name.starts_with('-') && name.contains("seccomp");
            by_name || word.starts_with("seccomp=") || value.starts_with("seccomp=")
        };
        let mut words = process.cmdline.iter().flatten();
        process.comm.as_deref() == Some("firejail") || words.any(is_option)
    };
    let process = parents.into_iter().map(|id| case.process(id)).find(sets_one)?;
    let (name, line) = (words::name_pid(&process), words::command_line(&process));
    Some(format!(" It ran below {name}, \"{line}\", which may have set that filter."))
}

/// A system call that seccomp forbids.
pub fn seccomp(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::SeccompViolation;
    if let Some(blow) = case.blow_by(Mechanism::Seccomp) {
        // `_sigsys`: call address, then the number of the system call and the architecture.
        let call = match (&blow.signal.value.syscall, blow.signal.value.info) {
            (Some(call), _) => Some(call.name.clone()),
            (None, SignalInfo::Real { fields, .. }) => Some(format!("number {}", fields[1] as u32)),
            (None, _) => None,
        };
        let which = call.map(|call| format!(" ({call})")).unwrap_or_default();
        let filter = unit_filter(case);
        let cited = filter.as_ref().map(|(setting, unit, _)| {
            format!(" {unit} has such a filter ({}).", units::cited(setting))
        });
        let set_by = cited.or_else(|| sandbox(case));
        return Finding::new(
            ID,
            Fit::Exact,
            Grade::Observed,
            format!(
                "{} made a system call{which} that its seccomp filter forbids, and the kernel ended it.{}{}",
                case.victim_name(),
                set_by.unwrap_or_default(),
                core(case)
            ),
        )
        .settings([filter.as_ref().map(|(setting, ..)| setting.clone())])
        .fixes(filter.map(|(.., fix)| fix))
        .answer();
    }
    if case.blow.is_some() {
        return None;
    }
    // Strict mode, and a filter that ends the last thread, kill without generating a signal: the kernel
    // marks the task dead (SECCOMP_MODE_DEAD, 5.17 and later); before that, only the mode is left.
    let killed = case.exit.value.killed_by();
    let dead = case.exit.value.seccomp == 3;
    let strict = case.exit.value.seccomp == 1 && killed == Some(sig::SIGKILL);
    let filtered = case.exit.value.seccomp == 2 && killed == Some(sig::SIGSYS);
    if killed.is_none() || !(dead || strict || filtered) {
        return None;
    }
    let grade = if dead { Grade::Observed } else { Grade::Inferred };
    Finding::new(
        ID,
        Fit::Circumstance,
        grade,
        format!(
            "{} ran under seccomp and was ended by it: nobody sent a signal, which is how the kernel \
             ends a process (or its last thread) for a forbidden system call.",
            case.victim_name()
        ),
    )
    .answer()
}

/// How long a process whose reader has ended may have had nothing to write.
const SILENT: u64 = 5 * S;

/// SIGPIPE.
pub fn pipe(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::Pipe)?;
    let reader = likely_reader(case, blow.signal.ns());
    let struck = reader.filter(|exit| exit.value.killed_by().is_some());
    let struck = struck.and_then(|exit| End::of(case, exit.value.task.id));
    let who = reader.map(|exit| {
        let name = words::name_pid(&case.task(&exit.value.task));
        let when = match blow.signal.ns().saturating_sub(exit.ns()) {
            0 => "was ending".to_owned(),
            lead => format!("had ended {} before", words::span(lead)),
        };
        format!(" (perhaps {name}, which had been started right after it and {when})")
    });
    let by_whom = struck.as_ref().map(|end| format!(" {}.", end.sentence(case)));
    // At a terminal it writes to that.
    let has_terminal = case.world.people.get(case.victim).is_none_or(|known| known.tty.is_some());
    let login = login_above(case, blow.signal.ns()).filter(|_| reader.is_none() && !has_terminal);
    let login = login.and_then(|login| Some((login.clause()?, login)));
    let over = login.as_ref().map(|(clause, _)| format!(" (perhaps its ssh login's: {clause})"));
    let unit = unit_ends_by_pipe(case);
    let journal = journald_gone(case, blow.signal.ns()).filter(|_| unit.is_some());
    let journal = journal.map(|exit| {
        let name = words::name_pid(&case.task(&exit.value.task));
        let lead = words::span(blow.signal.ns().saturating_sub(exit.ns()));
        format!(
            " (perhaps that was {name}, to which services write what they print, and which had ended {lead} before)"
        )
    });
    let child = ended_child(case, blow.signal.ns()).map(|exit| {
        let name = words::name_pid(&case.task(&exit.value.task));
        let lead = words::span(blow.signal.ns().saturating_sub(exit.ns()));
        format!(" (perhaps that was {name}, its child, which had ended {lead} before)")
    });
    let allowed = unit.as_ref().map(|(setting, at)| {
        format!(" {} has its processes end by that ({}).", at.instance, units::cited(setting))
    });
    let ends = struck.iter().flat_map(|end| end.links(case, blow.signal.at));
    let links = login.iter().flat_map(|(_, login)| login.links(case, blow.signal.at)).chain(ends);
    Finding::new(
        CauseId::BrokenPipe,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got SIGPIPE: it wrote to a pipe or socket whose reader was gone{}.{}{}",
            case.victim_name(),
            who.or(over).or(journal).or(child).unwrap_or_default(),
            by_whom.unwrap_or_default(),
            allowed.unwrap_or_default()
        ),
    )
    .settings([unit.as_ref().map(|(setting, _)| setting.clone())])
    .fixes(unit.map(|(_, at)| fixes::ignore_broken_pipes(&at)))
    .links(links.map(|link| Link { evidence: Grade::Inferred, ..link }))
    .fixes(login.is_some().then(|| fixes::output_to_file(&case.program())))
    .answer()
}

/// `IgnoreSIGPIPE=no` of the victim's unit, without which a broken pipe is an error that its programs are told of, and where
/// that unit is.
fn unit_ends_by_pipe(case: &Case<'_>) -> Option<(DecidingSetting, UnitAt)> {
    let (manager, unit) = case.unit()?;
    let setting = case.unit_setting(manager, unit, "IgnoreSIGPIPE")?;
    let at = UnitAt::of(case.world, manager, unit);
    (!is_true(&setting.value)).then_some((setting, at))
}

/// The end of the victim's only child to end not long before that time (nanoseconds): made to read from it, perhaps. Shells
/// have children all the time.
fn ended_child<'a>(case: &Case<'a>, ns: u64) -> Option<&'a Seen<Exit>> {
    let mut ended = case.world.exits.iter().filter(|exit| {
        let task = &exit.value.task;
        let is_child = task.ppid == case.victim.pid && task.id.start_ns >= case.victim.start_ns;
        is_child && exit.ns() <= ns && exit.ns() + SILENT >= ns
    });
    let only = ended.next().filter(|_| ended.next().is_none())?;
    (!runs_shell(&case.victim_process())).then_some(only)
}

/// The end of the journal's daemon, not long before that time (nanoseconds).
fn journald_gone<'a>(case: &Case<'a>, ns: u64) -> Option<&'a Seen<Exit>> {
    case.world.exits.iter().rev().find(|exit| {
        let task = &exit.value.task;
        task.comm == "systemd-journal"
            && task.uid == 0
            && exit.ns() <= ns
            && exit.ns() + SILENT >= ns
            && case.task(task).container == case.victim_process().container
    })
}

/// The end of the ssh login that the victim had been started in, by that time (nanoseconds).
pub(super) fn login_above<'a>(case: &Case<'a>, struck_ns: u64) -> Option<Ending<'a>> {
    let people = &case.world.people;
    let is_sshd = |id: &ProcessId| {
        let comm = people.get(*id).and_then(|known| known.comm.as_deref());
        comm.is_some_and(|comm| comm.starts_with("sshd"))
    };
    let mut above = people.parents(case.victim).into_iter().filter(is_sshd).peekable();
    let sshd = *above.peek()?;
    // A name anybody can take: one of them has to be root's.
    let of_root = above.any(|id| people.get(id).is_some_and(|known| known.uid == Some(0)));
    let ending = of_root.then(|| Ending::of_terminal(case, sshd, struck_ns))?;
    (ending.tcp.is_some() || !ending.sshd.is_empty()).then_some(ending)
}

/// Who may have read what the victim wrote: of the same parent's children the one started next after it, as shells
/// start the parts of a pipeline, where that one had ended by then.
fn likely_reader<'a>(case: &Case<'a>, struck_ns: u64) -> Option<&'a Seen<Exit>> {
    /// How far apart the parts of a pipeline are started at most.
    const ONE_PIPELINE: u64 = 100 * MS;
    /// How long after a process has closed its files its end is seen: newer kernels tell of it after that.
    const CLOSING: u64 = 5 * MS;
    let people = &case.world.people;
    let parent = *people.parents(case.victim).first()?;
    let order = |id: ProcessId| (id.start_ticks(), id.pid);
    let is_next = |id: &ProcessId| {
        order(*id) > order(case.victim)
            && id.start_ns <= case.victim.start_ns.saturating_add(ONE_PIPELINE)
            && people.parents(*id).first() == Some(&parent)
    };
    let next = people.iter().map(|(id, _)| id).filter(is_next).min_by_key(|id| order(*id))?;
    // Whoever was started between the two and has done nothing that is seen may be the reader.
    let is_known =
        |pid: u32| people.at(pid, struck_ns).is_some_and(|id| order(id) > order(case.victim));
    if !(case.victim.pid.saturating_add(1)..next.pid).all(is_known) {
        return None;
    }
    case.world
        .exit_of(next)
        .filter(|exit| exit.ns() <= struck_ns + CLOSING && exit.ns() + SILENT >= struck_ns)
}

/// alarm(2), setitimer(2), timer_create(2).
pub fn timer(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::Timer)?;
    let signal = signal_name(blow.signal.value.number);
    let which = match blow.signal.value.number {
        sig::SIGALRM if blow.signal.value.info == SignalInfo::Privileged => {
            "alarm(2) or setitimer(2)"
        }
        sig::SIGVTALRM | sig::SIGPROF => "setitimer(2)",
        _ => "timer_create(2)",
    };
    let of_sshd = blow.signal.value.number == sig::SIGALRM
        && blow.signal.value.target.uid == 0
        && blow.signal.value.target.comm.starts_with("sshd");
    let grace = case.setting(&["sshd_config"], "LoginGraceTime").filter(|_| of_sshd);
    let limits = if of_sshd {
        let cited = grace.as_ref().map_or_else(|| "LoginGraceTime".to_owned(), units::cited);
        format!(" sshd sets one for a client that has yet to log in ({cited}).")
    } else {
        String::new()
    };
    Finding::new(
        CauseId::TimerExpired,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got {signal} from a timer of its own that ran out ({which}).{limits}{}",
            case.victim_name(),
            before_exec(case, blow.signal.value.info)
        ),
    )
    .settings([grace])
    .answer()
}

/// An interactive shell whose own timer ran out exits.
pub fn idle_shell(case: &Case<'_>) -> Option<Opinion> {
    let Outcome::Exited { status } = case.outcome else { return None };
    let ran_out = idle_alarm(case, case.exit).filter(|_| case.blow.is_none())?;
    let limit = idle::Limit::of(case, &case.exit.value.task, ran_out);
    Finding::new(
        CauseId::TimerExpired,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} exited with status {status} by itself, {} after SIGALRM from a timer of its own: as an interactive shell \
             does that got no input for {limit}.",
            case.victim_name(),
            words::span(case.exit.ns().saturating_sub(ran_out.ns())),
        ),
    )
    .settings([limit.line().cloned()])
    .links([case.signal_link(ran_out, Mechanism::Timer)])
    .fixes([fixes::longer_idle(limit.name, limit.line())])
    .answer()
}

/// Timers of alarm(2) and setitimer(2) outlive execve(2), those of timer_create(2) do not: another program may have set
/// it.
fn before_exec(case: &Case<'_>, info: SignalInfo) -> String {
    let ran =
        case.world.people.get(case.victim).into_iter().flat_map(|ran| ran.earlier.iter().rev());
    // A child is not given its parent's timers.
    let started = case.victim.start_ns;
    let mut own = ran.filter(|program| program.exec_ns.is_some_and(|ns| ns > started));
    let Some(before) = own.next() else { return String::new() };
    if info != SignalInfo::Privileged {
        return String::new();
    }
    let before = before.comm.as_deref().unwrap_or("another program");
    format!(
        " It, or {before}, which it had been before execve(2), had set it: such a timer goes on across that."
    )
}
