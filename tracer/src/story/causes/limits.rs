//! Deaths at a limit of the kernel's on CPU time or on the size of a file, and who had set it.

use super::{Finding, Fit, Opinion};
use crate::evidence::{
    Grade, Limits, Mechanism, ProcessId, S, Setting, base_name, sig, signal_name,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::fixes::UnitAt;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link};
use crate::story::{fixes, units, words};

/// CPU time, file size.
pub fn limits(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let reached = Reached::of(case)?;
    let origin = Origin::of(case, &reached);
    Finding::new(
        reached.id,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got {} from the kernel: it {}{}.",
            case.victim_name(),
            signal_name(blow.signal.value.number),
            reached.what,
            origin.clause
        ),
    )
    .settings([origin.setting])
    .links(origin.links)
    .fixes(origin.fixes)
    .answer()
}

/// A limit that was reached.
struct Reached {
    id: CauseId,
    /// What the process did, as the end of a sentence.
    what: String,
    /// What it is called: by prlimit(1), by people, in a unit's file.
    option: &'static str,
    name: &'static str,
    property: &'static str,
    /// It was the hard one, else the soft one.
    hard: bool,
    /// Seconds of CPU time, microseconds of real-time scheduling, or bytes of a file.
    value: Option<u64>,
    /// There is no other limit that may have been it.
    is_only: bool,
}

impl Reached {
    fn of(case: &Case<'_>) -> Option<Self> {
        let blow = case.blow?;
        let limits = blow.signal.value.limits;
        let first = limits.and_then(|limits| limits.first);
        match blow.mechanism {
            Mechanism::RlimitCpu => {
                let hard = blow.signal.value.number != sig::SIGXCPU;
                let (option, name, property, value) = match limits {
                    Some(Limits { first: None, real_time }) => {
                        ("rttime", "the real-time limit", "LimitRTTIME", real_time)
                    }
                    _ => ("cpu", "the CPU time limit", "LimitCPU", first),
                };
                let what = cpu_time(if hard { "hard" } else { "soft" }, limits);
                let is_only =
                    first.is_none() || limits.is_some_and(|limits| limits.real_time.is_none());
                let id = CauseId::CpuLimit;
                Some(Self { id, what, option, name, property, hard, value, is_only })
            }
            Mechanism::RlimitFsize => {
                let size = first.map(words::bytes).map(|size| format!(", {size}"));
                Some(Self {
                    id: CauseId::FileSizeLimit,
                    what: format!(
                        "wrote past the largest file size it is allowed{} (RLIMIT_FSIZE)",
                        size.unwrap_or_default()
                    ),
                    option: "fsize",
                    name: "the file size limit",
                    property: "LimitFSIZE",
                    hard: false,
                    value: first,
                    is_only: true,
                })
            }
            _ => None,
        }
    }

    /// Of a soft and a hard limit that are set together the one that was reached.
    fn part<'v>(&self, value: &'v str) -> &'v str {
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        if self.hard { hard } else { soft }
    }

    /// How to raise it for what is started from a shell.
    fn raised(&self) -> Fix {
        if !self.is_only {
            return fixes::both_cpu_limits();
        }
        fixes::resource_limit(self.option, self.name, self.property)
    }
}

/// Where a limit came from.
#[derive(Default)]
struct Origin {
    /// It as the end of the sentence.
    clause: String,
    setting: Option<DecidingSetting>,
    links: Vec<Link>,
    fixes: Vec<Fix>,
}

impl Origin {
    fn of(case: &Case<'_>, reached: &Reached) -> Self {
        let known = || {
            Self::unit(case, reached)
                .or_else(|| Self::command(case, reached))
                .or_else(|| Self::login(case, reached))
        };
        // Which of two limits it was is not guessed by who set one of them.
        reached.is_only.then(known).flatten()
            .unwrap_or_else(|| Self {
                clause: ". It had set that limit, inherited it, or was given it by another process (prlimit(2))"
                    .to_owned(),
                fixes: vec![reached.raised()],
                ..Self::default()
            })
    }

    /// A line that sets a limit as high as the one that was reached: a process may have lowered its own.
    fn setting(setting: DecidingSetting, fixes: Vec<Fix>) -> Self {
        let clause = format!(" ({})", units::cited(&setting));
        Self { clause, setting: Some(setting), links: Vec::new(), fixes }
    }

    /// The line of the victim's unit.
    fn unit(case: &Case<'_>, reached: &Reached) -> Option<Self> {
        let (manager, unit) = case.unit()?;
        let setting = case.unit_setting(manager, unit, reached.property)?;
        let value = in_units_of_the_kernel(reached.property, reached.part(&setting.value))?;
        let at = UnitAt::of(case.world, manager, unit);
        let fix = fixes::unit_limit(&at, reached.property);
        (setting.file.is_some() && reached.value == Some(value))
            .then(|| Self::setting(setting, vec![fix, reached.raised()]))
    }

    /// The newest prlimit(1) that was run for the victim, or for a process that it has inherited its limits from.
    fn command(case: &Case<'_>, reached: &Reached) -> Option<Self> {
        let people = &case.world.people;
        let line: Vec<ProcessId> =
            std::iter::once(case.victim).chain(people.parents(case.victim)).collect();
        // A child is made with the limits that its parent has then.
        let until = |place: usize| {
            let child = place.checked_sub(1).map(|child| line[child].start_ns);
            child.unwrap_or_else(|| case.struck_ns())
        };
        let runs = people.iter().flat_map(|(id, known)| {
            let ran = known.earlier.iter().map(|program| program.exec_ns).chain([known.exec_ns]);
            ran.flatten().map(move |ran_ns| (id, ran_ns))
        });
        let sets = |&(client, ran_ns): &(ProcessId, u64)| {
            let args = people.executed_at(client, ran_ns).unwrap_or_default();
            let Some((pid, value)) = set_by(args, reached.option) else { return false };
            let is_meant =
                |id: &ProcessId| pid.map_or(*id == client, |pid| can_set(case, client, pid, *id));
            let place = line.iter().position(is_meant);
            let limit = reached.part(value).parse::<u64>().ok();
            place.is_some_and(|place| (line[place].start_ns..=until(place)).contains(&ran_ns))
                && limit.is_some_and(|limit| reached.value.is_none_or(|value| value == limit))
        };
        let (client, ran_ns) = runs.filter(sets).max_by_key(|(_, ran_ns)| *ran_ns)?;
        let actor = Actor::behind_at(case, client, ran_ns);
        let lead = words::span(case.struck_ns().saturating_sub(ran_ns));
        let links = units::command_links(case, &actor);
        Some(Self {
            clause: format!(
                ". {lead} before, {}, which seems to have set that limit",
                actor.sentence()
            ),
            links: links.into_iter().map(|it| Link { evidence: Grade::Inferred, ..it }).collect(),
            fixes: vec![fixes::commanded_limit(&words::whole_command_line(&actor.process))],
            ..Self::default()
        })
    }

    /// The line of pam_limits(8) that gives it to the sessions of the victim's user.
    fn login(case: &Case<'_>, reached: &Reached) -> Option<Self> {
        let process = case.victim_process();
        let logged_in = case.world.people.get(case.victim)?.login_uid.is_some();
        let user = process.user.filter(|_| logged_in || process.session.is_some())?;
        // What is lowered to a hard limit is the soft one, too.
        let kinds: &[&str] = if reached.hard { &["hard", "-"] } else { &["soft", "-", "hard"] };
        let factor = if reached.id == CauseId::CpuLimit { 60 } else { 1 << 10 };
        let anybody = (user != "root").then_some("*");
        let whose = || [user.as_str()].into_iter().chain(anybody);
        let line = |whose: &str, kind: &str| {
            let scope = Setting::login_limits_of(whose);
            case.setting(&[scope.as_str()], &format!("{kind} {}", reached.option))
        };
        let mut lines =
            whose().flat_map(|whose| kinds.iter().filter_map(move |kind| line(whose, kind)));
        let setting = lines.find(|line| {
            let limit = line.value.parse::<u64>().ok().and_then(|limit| limit.checked_mul(factor));
            limit.is_some() && limit == reached.value
        })?;
        // Of a soft and a hard limit the other one would be reached next.
        let is_limit = |line: &DecidingSetting| line.value.parse::<u64>().is_ok();
        let other = |kind: &str| whose().find_map(|whose| line(whose, kind)).filter(is_limit);
        let others = ["soft", "hard"].into_iter().filter_map(other);
        let mut raised = vec![setting.clone()];
        raised.extend(others.filter(|other| *other != setting));
        let fix = fixes::login_limit(&raised, reached.option);
        Some(Self::setting(setting, vec![fix, reached.raised()]))
    }
}

/// Whether a prlimit(1) that names a process by this number means that one, and may set its limits, as far as is known:
/// those of others root alone may (prlimit(2)), and in a pid namespace of its own it counts otherwise.
fn can_set(case: &Case<'_>, client: ProcessId, pid: u32, other: ProcessId) -> bool {
    let people = &case.world.people;
    let inside = |id: ProcessId| people.get(id).and_then(|known| known.ns_pid).unwrap_or(id.pid);
    let uid = |id: ProcessId| people.get(id).and_then(|known| known.uid);
    let is_it = if inside(client) == client.pid {
        other.pid == pid
    } else {
        let container = |id: ProcessId| case.process(id).container;
        inside(other) == pid && other.pid != pid && container(client) == container(other)
    };
    let failed = case.world.exit_of(client).is_some_and(|exit| exit.value.status != 0);
    is_it && !failed && (uid(client) == Some(0) || uid(client) == uid(other))
}

/// The value that these arguments of prlimit(1) give to a limit, and the process that it is for: itself, and so what it goes
/// on as, where they name none.
fn set_by<'a>(args: &'a [String], option: &str) -> Option<(Option<u32>, &'a str)> {
    const LETTERS: [(&str, &str); 3] = [("cpu", "t"), ("fsize", "f"), ("rttime", "y")];
    let (program, args) = args.split_first()?;
    let letter = LETTERS.iter().find(|(known, _)| *known == option)?.1;
    let (mut pid, mut value) = (None, None);
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next().filter(|arg| arg.starts_with('-') && *arg != "--") {
        let (name, given) = match arg.strip_prefix("--") {
            Some(long) => long.split_once('=').unwrap_or((long, "")),
            None => arg[1..].split_at(arg[1..].chars().next()?.len_utf8()),
        };
        match name {
            "pid" | "p" => {
                let own = if given.is_empty() { args.next()? } else { given };
                pid = Some(own.parse().ok()?);
            }
            "output" | "o" if given.is_empty() => {
                args.next();
            }
            _ if (name == option || name == letter) && !given.is_empty() => value = Some(given),
            _ => {}
        }
    }
    (base_name(program) == "prlimit").then_some((pid, value?))
}

/// A limit of CPU time in seconds, of real-time scheduling in microseconds, of a file's size in bytes, as a unit's file says
/// it; `None` of what is written with more words than one.
fn in_units_of_the_kernel(property: &str, value: &str) -> Option<u64> {
    // What has no unit is in the kernel's (`rlimit_parse_sec`, `rlimit_parse_usec`).
    let second = if property == "LimitRTTIME" { 1_000_000 } else { 1 };
    let value = value.trim();
    let digits = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let factor = match unit.trim() {
        "" => 1,
        "us" | "ms" if second == 1 => return None,
        "us" => 1,
        "ms" => 1000,
        "s" | "sec" => second,
        "min" | "m" => 60 * second,
        "h" | "hr" => 3600 * second,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// What used up a limit of CPU time. Both limits end in the same place of the kernel: which one it was is known
/// where there is only one.
fn cpu_time(which: &str, limits: Option<Limits>) -> String {
    let cpu = limits.and_then(|limits| limits.first).map(|s| words::span(s.saturating_mul(S)));
    let real_time =
        limits.and_then(|limits| limits.real_time).map(|us| words::span(us.saturating_mul(1_000)));
    match (cpu, real_time) {
        (Some(cpu), None) => format!("used up its {which} limit of {cpu} of CPU time (RLIMIT_CPU)"),
        (None, Some(time)) => format!(
            "ran with real-time scheduling for longer than its {which} limit of {time} without a pause \
             (RLIMIT_RTTIME)"
        ),
        (Some(cpu), Some(time)) => format!(
            "used up its {which} limit of CPU time: {cpu} in all (RLIMIT_CPU), or {time} without a pause with \
             real-time scheduling (RLIMIT_RTTIME)"
        ),
        (None, None) => format!(
            "used up its {which} limit of CPU time (RLIMIT_CPU, or RLIMIT_RTTIME for real-time scheduling)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prlimit_sets() {
        let told = |line: &str, option: &str| {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            set_by(&args, option).map(|(pid, value)| (pid, value.to_owned()))
        };
        let set = |pid: Option<u32>, value: &str| Some((pid, value.to_owned()));
        assert_eq!(told("prlimit --pid 42 --cpu=1:1", "cpu"), set(Some(42), "1:1"));
        assert_eq!(told("/usr/bin/prlimit -p42 -t5 --fsize=500", "cpu"), set(Some(42), "5"));
        assert_eq!(told("prlimit -o RESOURCE --fsize=500 x --fsize=7", "fsize"), set(None, "500"));
        assert_eq!(told("prlimit --pid=42 --fsize", "fsize"), None);
        assert_eq!(told("prlimit --pid x --fsize=1", "fsize"), None);
        assert_eq!(told("ulimit --fsize=1", "fsize"), None);
        assert_eq!(told("prlimit - --fsize=1", "fsize"), None);
    }

    #[test]
    fn limits_of_units_have_units_of_their_own() {
        let of = in_units_of_the_kernel;
        assert_eq!((of("LimitCPU", "5"), of("LimitRTTIME", "5")), (Some(5), Some(5)));
        assert_eq!((of("LimitCPU", "5min"), of("LimitRTTIME", "5s")), (Some(300), Some(5_000_000)));
        assert_eq!((of("LimitCPU", "5ms"), of("LimitRTTIME", "200ms")), (None, Some(200_000)));
        assert_eq!((of("LimitFSIZE", "1G"), of("LimitCPU", "infinity")), (Some(1 << 30), None));
    }
}
