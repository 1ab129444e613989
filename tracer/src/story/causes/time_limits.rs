//! Programs that run a command with a time limit: `timeout` and its kind, GNU parallel.

use super::commands::{aim, by_program, dealt, group_aimed_at, way};
use super::{Finding, Fit, Opinion};
use crate::evidence::{Grade, Process, S, base_name, signal_name};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::relay::Relay;
use crate::story::verdict::CauseId;
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
    let runs = if limited.runs_it {
        "which runs it with a time limit"
    } else {
        "which ends its whole process group at its time limit"
    };
    let signal = signal_name(blow.signal.value.number);
    let after = limited.elapsed_ns.map(|elapsed| format!(" after {}", words::span(elapsed)));
    Finding::new(
        CauseId::TimeoutCommand,
        Fit::Exact,
        Grade::Inferred,
        format!(
            "{} got {signal} from {}{}, {runs}: \"{}\".{}",
            words::name_pid(&case.victim_process()),
            words::name_pid(&limited.process),
            after.unwrap_or_default(),
            words::command_line(&limited.process),
            way(case)
        ),
    )
    .links(units::command_links(case, &Actor::behind(case, blow.signal.value.sender.id)))
    .fixes([fixes::longer_limit(&words::command_line(&limited.process))])
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
    .fixes([fixes::longer_limit(&words::command_line(&limited.process))])
    .answer()
}

/// A program that ended what it runs when its time was up.
struct Limited {
    process: Process,
    /// It runs what it ended; else that is in its process group only.
    runs_it: bool,
    /// How long it, or the one of its jobs, had run; nanoseconds.
    elapsed_ns: Option<u64>,
}

impl Limited {
    /// The sender of this signal, where it is such a program, and the time was up.
    fn of(case: &Case<'_>, sent: &SeenSignal) -> Option<Self> {
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
            return None;
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
        (!is_early(&process, at_most)).then_some(Self { process, runs_it, elapsed_ns })
    }
}

/// Whether the time limit on its command line was not over yet after so long, nanoseconds. Clocks differ a little.
fn is_early(process: &Process, elapsed_ns: u64) -> bool {
    limit_ns(process).is_some_and(|limit| elapsed_ns < limit - limit / 100)
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

/// `1.5`, `90s`, `2m`, `1h`, `1d`, nanoseconds; 0, which stands for no limit, is `None`.
fn duration_ns(text: &str) -> Option<u64> {
    const S: f64 = 1e9;
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
