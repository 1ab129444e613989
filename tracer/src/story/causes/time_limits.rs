//! Programs that run a command, or serve requests, with a time limit: `timeout` and its kind, GNU parallel, sudo, uWSGI.

mod sudoers;

use super::commands::{aim, by_program, dealt, group_aimed_at, way};
use super::{Finding, Fit, Opinion};
use crate::evidence::{
    CgroupOwner, Grade, Mechanism, Process, ProcessId, S, Task, base_name, sig, signal_name,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::relay::{Relay, own_alarm};
use crate::story::verdict::{CauseId, DecidingSetting, Fix};
use crate::story::world::SeenSignal;
use crate::story::{fixes, units, words};

/// coreutils `timeout` and its kind.
pub fn timeout(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|_| dealt(case))?;
    // timeout passes on signals that it gets itself, and others pass on what they get of timeout.
    if let Some(relay) = Relay::of(case, blow) {
        return passed_on(case, relay.origin()?);
    }
    let limited = Limited::of(case, blow.signal)?;
    let runs = match limited.limit {
        Some(limit) if limit.of_requests => "which runs it with a time limit on each request",
        _ if limited.runs_it => "which runs it with a time limit",
        _ => "which ends its whole process group at its time limit",
    };
    let signal = signal_name(blow.signal.value.number);
    let after = limited.elapsed_ns.map(|elapsed| format!(" after {}", words::span(elapsed)));
    let started = limited.started_by.as_ref().map(|(_, line)| line);
    let place = started.and_then(DecidingSetting::place).map(|it| format!("in ExecStart= of {it}"));
    let name = limited.limit.map(|limit| limit.name.to_owned());
    let told: Vec<String> = name.into_iter().chain(place).collect();
    let name = match &limited.setting {
        Some(setting) => units::in_brackets(Some(setting)),
        None if told.is_empty() => String::new(),
        None => format!(" ({})", told.join(", ")),
    };
    Finding::new(
        CauseId::TimeoutCommand,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{} got {signal} from {}{}, {runs}{}: \"{}\".{}{}",
            words::name_pid(&case.victim_process()),
            words::name_pid(&limited.process),
            after.unwrap_or_default(),
            name,
            words::command_line(&limited.process),
            limited.limit.map(|_| aim(case)).unwrap_or_default(),
            way(case)
        ),
    )
    .settings([limited.setting.clone(), started.cloned()])
    .links(limited.alarm.map(|alarm| case.signal_link(alarm, Mechanism::Timer)))
    .links(units::command_links(case, &Actor::behind(case, blow.signal.value.sender.id)))
    .fixes([limited.fix()])
    .answer()
}

/// What was at its time limit passed the signal on to the victim: sudo, su, script, a shell. How it got there is added to
/// every story of a kill: `relay::tell`.
fn passed_on(case: &Case<'_>, origin: &SeenSignal) -> Option<Opinion> {
    let blow = case.blow?;
    let limited = Limited::of(case, origin)?;
    let after = limited.elapsed_ns.map(|elapsed| format!(", up after {}", words::span(elapsed)));
    Finding::new(
        CauseId::TimeoutCommand,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{} got {} from {}, which ran under the time limit of {}{}.{}{}",
            words::name_pid(&case.victim_process()),
            signal_name(blow.signal.value.number),
            by_program(case, &blow.signal.value.sender),
            words::name_pid(&limited.process),
            after.unwrap_or_default(),
            aim(case),
            way(case)
        ),
    )
    .fixes([limited.fix()])
    .answer()
}

/// The time limit of a program that can have other reasons to end what it runs.
#[derive(Clone, Copy, Debug)]
struct LimitOf {
    /// What the program's name begins with: php-fpm8.2.
    program: &'static str,
    /// What the limit is called.
    name: &'static str,
    /// The option that gives it; else it is written in a file.
    option: Option<&'static str>,
    /// The signals that come when it is over, in their order, without another before them.
    sent: &'static [u8],
    /// It is one of each request, not of all that the process does.
    of_requests: bool,
    /// By a timer of its own the program is told that it is over, and by that of nothing else.
    by_alarm: bool,
}

impl LimitOf {
    const fn of_job(
        program: &'static str,
        name: &'static str,
        option: Option<&'static str>,
        sent: &'static [u8],
    ) -> Self {
        Self { program, name, option, sent, of_requests: false, by_alarm: false }
    }

    const fn of_requests(
        program: &'static str,
        name: &'static str,
        option: Option<&'static str>,
        sent: &'static [u8],
    ) -> Self {
        Self { of_requests: true, ..Self::of_job(program, name, option, sent) }
    }
}

/// `terminate_command` of sudo, `murder_workers` of Gunicorn, `fpm_request_check_timed_out` of PHP,
/// `uwsgi_master_check_workers_deadline` of uWSGI: what is to end for other reasons is asked by other signals.
const OTHERS: [LimitOf; 5] = [
    LimitOf {
        by_alarm: true,
        ..LimitOf::of_job(
            "sudo",
            "command_timeout in sudoers, or sudo -T",
            None,
            &[sig::SIGHUP, sig::SIGTERM, sig::SIGKILL],
        )
    },
    LimitOf::of_job("firejail", "--timeout", Some("--timeout"), &[sig::SIGTERM, sig::SIGKILL]),
    LimitOf::of_requests("uwsgi", "--harakiri", Some("--harakiri"), &[sig::SIGKILL]),
    LimitOf::of_requests("gunicorn", "--timeout", Some("--timeout"), &[sig::SIGABRT, sig::SIGKILL]),
    LimitOf::of_requests(
        "php-fpm",
        "request_terminate_timeout",
        None,
        &[sig::SIGTERM, sig::SIGKILL],
    ),
];

/// A program that ended what it runs when its time was up.
struct Limited<'a> {
    process: Process,
    /// It runs what it ended; else that is in its process group only.
    runs_it: bool,
    /// How long it, or the one of its jobs, had run; nanoseconds.
    elapsed_ns: Option<u64>,
    /// Which limit that is, where the program has other reasons as well.
    limit: Option<&'static LimitOf>,
    /// The setting that gives it.
    setting: Option<DecidingSetting>,
    /// The timer that told it.
    alarm: Option<&'a SeenSignal>,
    /// The line of a unit that starts it with that limit, and the unit.
    started_by: Option<(UnitAt, DecidingSetting)>,
}

impl<'a> Limited<'a> {
    /// The sender of this signal, where it is such a program, and the time was up.
    fn of(case: &Case<'a>, sent: &SeenSignal) -> Option<Self> {
        const PROGRAMS: [&str; 4] = ["timeout", "timelimit", "gtimeout", "chrt-timeout"];
        let (sender, target) = (&sent.value.sender, &sent.value.target);
        let process = case.task(sender);
        let beside = is_busybox_timeout(&process, &case.task(target));
        let parents = case.world.people.parents(target.id);
        let place = parents.iter().position(|parent| *parent == sender.id);
        let job_since = match place {
            Some(0) => Some(target.id.start_ns),
            Some(place) => Some(parents[place - 1].start_ns),
            None => None,
        };
        let elapsed = |since: u64| sent.ns().saturating_sub(since);
        let parallel = is_parallel_with_limit(&process, job_since.map_or(0, elapsed));
        if !PROGRAMS.contains(&sender.comm.as_str()) && !parallel && !beside {
            return Self::of_another(case, sent, elapsed(job_since?));
        }
        // It ends what it has started, which is below it, and whatever else is in its process group.
        let runs_it = beside || place.is_some();
        if !runs_it && group_aimed_at(case) != Some(0) {
            return None;
        }
        let executed = case.world.people.exec_ns_at(sender.id, sent.ns());
        let since = job_since.filter(|_| parallel).or(executed);
        let elapsed_ns = since.map(elapsed);
        // It has run no longer than since its birth.
        let at_most = elapsed_ns.unwrap_or_else(|| sent.ns().saturating_sub(sender.id.start_ns));
        let is_up = !is_early(limit_ns(&process), at_most);
        let (limit, setting, alarm) = (None, None, None);
        let started_by = start_line(case, sender, &sender.comm);
        is_up.then_some(Self { process, runs_it, elapsed_ns, limit, setting, alarm, started_by })
    }

    /// The same of a program that can have other reasons, and ended by the signals of its limit a job that it has had for so
    /// many nanoseconds.
    fn of_another(case: &Case<'a>, sent: &SeenSignal, elapsed_ns: u64) -> Option<Self> {
        const ENDING: [u8; 6] =
            [sig::SIGHUP, sig::SIGINT, sig::SIGQUIT, sig::SIGABRT, sig::SIGKILL, sig::SIGTERM];
        /// uWSGI ends by the same signal what takes too much memory.
        const OTHER_REASONS: &str = "--evil-reload";
        let (sender, people) = (&sent.value.sender, &case.world.people);
        let limit = OTHERS.iter().find(|it| sender.comm.starts_with(it.program))?;
        let mut told = case.world.signals_to(sent.value.target.id).iter().filter(|signal| {
            signal.value.sender.id == sender.id && ENDING.contains(&signal.value.number)
        });
        let first = told.next()?;
        if Some(&first.value.number) != limit.sent.first()
            || !limit.sent.contains(&sent.value.number)
        {
            return None;
        }
        // On a terminal of its own sudo(8) has a child of it do so.
        let above = people.parents(sender.id).first().copied();
        let is_same = |id: &ProcessId| {
            people.get(*id).is_some_and(|known| known.comm.as_ref() == Some(&sender.comm))
        };
        let timed = [Some(sender.id), above.filter(is_same)].into_iter().flatten();
        let alarm = timed
            .filter(|_| limit.by_alarm && sender.euid == 0)
            .find_map(|id| own_alarm(case.world, id, first.ns()));
        if limit.by_alarm && alarm.is_none() {
            return None;
        }
        // It may go by a title of its own.
        let process = case.task(sender);
        let executed = people.executed_at(sender.id, sent.ns()).map(<[String]>::to_vec);
        let process = Process { cmdline: executed.or(process.cmdline), ..process };
        if let Some(option) = limit.option {
            let given = duration_ns(value(&process, option)?)?;
            let may_be_other =
                process.cmdline.iter().flatten().any(|arg| arg.starts_with(OTHER_REASONS));
            if may_be_other || is_early(Some(given), elapsed_ns) {
                return None;
            }
        }
        let is_given = |arg: &String| arg.starts_with("-T") || is_option(arg, "--command-timeout");
        let is_written = alarm.is_some() && !process.cmdline.iter().flatten().any(is_given);
        let setting = is_written.then(|| {
            let command = case.task(&sent.value.target);
            let ran_ns = elapsed_ns.saturating_sub(sent.ns().saturating_sub(first.ns()));
            sudoers::Run::of(case, sender, &process, &command).deciding(case, ran_ns)
        });
        let setting = setting.flatten();
        let elapsed_ns = (!limit.of_requests).then_some(elapsed_ns);
        let started_by = limit.option.and_then(|option| start_line(case, sender, option));
        let limit = Some(limit);
        Some(Self { process, runs_it: true, elapsed_ns, limit, setting, alarm, started_by })
    }

    fn fix(&self) -> Fix {
        if let Some((at, _)) = &self.started_by {
            let program = self.process.name().unwrap_or("the program");
            return fixes::longer_limit_in(at, self.limit.map_or(program, |limit| limit.name));
        }
        // What matters may stand at its end.
        let command = words::whole_command_line(&self.process);
        let is_given = |arg: &String| arg.starts_with("-T") || is_option(arg, "--command-timeout");
        match self.limit {
            Some(limit)
                if limit.program == "sudo"
                    && self.process.cmdline.iter().flatten().any(is_given) =>
            {
                fixes::longer_limit_of("sudo -T", "-T (sudoers may set a shorter one)", &command)
            }
            Some(limit) if limit.program == "sudo" => {
                fixes::longer_limit_of_sudo(self.setting.as_ref())
            }
            Some(limit) => fixes::longer_limit_of(limit.program, limit.name, &command),
            None => fixes::longer_limit(&command),
        }
    }
}

/// The line of `ExecStart=` of the service that a process lives in, where its unit has one alone and it has this word: where
/// its limit can be changed.
fn start_line(case: &Case<'_>, task: &Task, word: &str) -> Option<(UnitAt, DecidingSetting)> {
    let owner = CgroupOwner::of(task.cgroup.as_deref()?);
    let (manager, unit) = owner.innermost_unit()?;
    let line = units::only_line(case, manager, unit, "ExecStart")?;
    let is_word = |part: &str| {
        base_name(part) == word || part.strip_prefix(word).is_some_and(|rest| rest.starts_with('='))
    };
    let says_so = line.file.is_some() && line.value.split_whitespace().any(is_word);
    says_so.then(|| (UnitAt::of(case.world, manager, unit), line))
}

/// Whether a time limit, where one is known, was not over yet after so long, nanoseconds. Clocks differ a little.
fn is_early(limit_ns: Option<u64>, elapsed_ns: u64) -> bool {
    limit_ns.is_some_and(|limit| elapsed_ns < limit - limit / 100)
}

/// The time limit that its command line gives, nanoseconds; `None` where it gives none that is understood.
fn limit_ns(process: &Process) -> Option<u64> {
    const WITH_VALUE: [&str; 4] = ["-k", "--kill-after", "-s", "--signal"];
    let args = process.cmdline.as_ref()?;
    let after = |at: usize| duration_ns(args.get(at + 1)?);
    match process.comm.as_deref() {
        Some("parallel") => return duration_ns(value(process, "--timeout")?),
        Some("timelimit") => return args.iter().position(|arg| arg == "-t").and_then(after),
        _ => {}
    }
    let applet = base_name(args.first()?) == "busybox";
    let mut args = args.iter().skip(1 + usize::from(applet)).map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            // `-t`: busybox of old.
            "-t" | "--" => return duration_ns(args.next()?),
            _ if WITH_VALUE.contains(&arg) => {
                args.next();
            }
            _ if arg.starts_with('-') => {}
            _ => return duration_ns(arg),
        }
    }
    None
}

/// `1.5`, `90s`, `2m`, `1h`, `1d`, `00:01:30`, nanoseconds; 0, which stands for no limit, is `None`.
fn duration_ns(text: &str) -> Option<u64> {
    const S: f64 = 1e9;
    if text.contains(':') {
        return clock_ns(text);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = digits.parse().ok().filter(|number| *number > 0.0)?;
    // What is too much for the type is cut off, which is as good as for ever.
    Some((number * unit * S) as u64)
}

/// `00:01:30`, hours first, nanoseconds.
fn clock_ns(text: &str) -> Option<u64> {
    let add = |sum: u64, part: &str| Some(sum * 60 + u64::from(part.parse::<u32>().ok()?));
    let seconds = text.split(':').take(4).try_fold(0, add)?;
    seconds.checked_mul(S).filter(|ns| *ns > 0)
}

/// busybox's timeout becomes the command itself, and has a child of it watch the time: the victim's own command line
/// is then the end of the sender's.
fn is_busybox_timeout(process: &Process, victim: &Process) -> bool {
    let (Some(args), Some(command)) = (&process.cmdline, &victim.cmdline) else { return false };
    let applet = args.iter().take(2).any(|arg| base_name(arg) == "timeout");
    let runs = !command.is_empty() && args.len() > command.len() + 1 && args.ends_with(command);
    matches!(process.comm.as_deref(), Some("busybox" | "timeout")) && applet && runs
}

/// GNU parallel with a time limit for its jobs, and without the other reasons for which it ends them. A limit of so many
/// per cent is one of the time that its jobs took so far, which is not known: what it ends at its start are the processes
/// by which it finds out how many it may start.
fn is_parallel_with_limit(process: &Process, elapsed_ns: u64) -> bool {
    const OTHER_REASONS: [&str; 2] = ["--memfree", "--memsuspend"];
    const AT_ITS_START: u64 = S;
    if process.comm.as_deref() != Some("parallel") {
        return false;
    }
    let has = |option: &str| process.cmdline.iter().flatten().any(|arg| is_option(arg, option));
    let is_share = |limit: &str| limit.ends_with('%');
    let halts = ["--halt", "--halt-on-error"].iter().any(|it| halts_at_once(value(process, it)));
    let limit = value(process, "--timeout");
    limit.is_some_and(|limit| !is_share(limit) || elapsed_ns >= AT_ITS_START)
        && !halts
        && !OTHER_REASONS.iter().any(|option| has(option))
}

/// Whether it ends the jobs that run, by what `--halt` says: `soon` and `never`, of old 1 and 0, do not.
fn halts_at_once(halt: Option<&str>) -> bool {
    let when = halt.and_then(|halt| halt.split(',').next());
    when.is_some_and(|when| !matches!(when, "soon" | "never" | "0" | "1"))
}

/// The value of a long option, whichever way it is given.
fn value<'a>(process: &'a Process, option: &str) -> Option<&'a str> {
    let args = process.cmdline.as_ref()?;
    let at = args.iter().position(|arg| is_option(arg, option))?;
    let beside = args[at].split_once('=').map(|(_, value)| value);
    beside.or_else(|| args.get(at + 1).map(String::as_str))
}

/// Whether an argument is this long option, with or without its value.
fn is_option(arg: &str, option: &str) -> bool {
    arg.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_of_command_lines() {
        let limit = |comm: &str, line: &str| {
            let cmdline = Some(line.split(' ').map(str::to_owned).collect());
            let process = Process { comm: Some(comm.to_owned()), cmdline, ..Process::default() };
            limit_ns(&process).map(|ns| ns / 1_000_000)
        };
        assert_eq!(limit("timeout", "timeout 1 sleep 5"), Some(1_000));
        assert_eq!(
            limit("timeout", "timeout -k 5 --signal=INT -s KILL 0.5m sleep 5"),
            Some(30_000)
        );
        assert_eq!(limit("timeout", "timeout --foreground -k5 -- 1d sleep"), Some(86_400_000));
        assert_eq!(limit("busybox", "busybox timeout 2 sleep 5"), Some(2_000));
        assert_eq!(limit("timelimit", "timelimit -T 1 -t 3 sleep 5"), Some(3_000));
        assert_eq!(limit("timelimit", "timelimit sleep 5"), None);
        assert_eq!(limit("timeout", "timeout 0 sleep 5"), None);
        assert_eq!(limit("parallel", "perl /bin/parallel --timeout 100 x"), Some(100_000));
        assert_eq!(limit("parallel", "perl /bin/parallel --timeout=2h x"), Some(7_200_000));
        assert_eq!(limit("parallel", "perl /bin/parallel --timeout 200% x"), None);
        assert_eq!(limit("timeout", "timeout inf sleep"), None);
        assert_eq!(duration_ns("01:00:02"), Some(3_602_000_000_000));
        assert_eq!((duration_ns("0:0:0"), duration_ns("1:x")), (None, None));
    }

    #[test]
    fn parallel_has_other_reasons_than_its_time_limit() {
        let is_limit = |line: &str, ms: u64| {
            let cmdline = Some(line.split(' ').map(str::to_owned).collect());
            let comm = Some("parallel".to_owned());
            let process = Process { comm, cmdline, ..Process::default() };
            is_parallel_with_limit(&process, ms * 1_000_000)
        };
        assert!(is_limit("perl parallel --timeout 1 --halt soon,fail=1 x", 10));
        assert!(is_limit("perl parallel --timeout=1 --halt=1 x", 10));
        assert!(!is_limit("perl parallel --timeout 1 --halt now,fail=1 x", 10));
        assert!(!is_limit("perl parallel --timeout 1 --halt-on-error 2 x", 10));
        assert!(!is_limit("perl parallel --timeout 200% x", 10));
        assert!(is_limit("perl parallel --timeout 200% x", 2_000));
        assert!(!is_limit("perl parallel x", 10));
    }
}
