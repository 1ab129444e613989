//! Deaths for memory: the kernel's OOM killer, systemd-oomd, and its kind in userspace.

mod limited;

use self::limited::Limited;
pub use self::limited::fix_at;
use super::{Finding, Fit, Opinion};
use crate::evidence::cgroup_path::CgroupOwner;
use crate::evidence::{
    Grade, JournalLine, KernelLogLine, MS, Manager, Mechanism, OomVictim, S, Source, Task,
    cgroup_path, is_comm_of, sig,
};
use crate::story::case::Case;
use crate::story::decide::Blow;
use crate::story::verdict::{CauseId, DecidingSetting, Link, LinkEvent};
use crate::story::world::{Seen, SeenSignal, World};
use crate::story::{fixes, journal, words};

/// The kernel's own summary of one OOM kill (`oom_kill_process`, "oom-kill:constraint=…").
struct OomLine {
    memcg: bool,
    oom_memcg: Option<String>,
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
}

fn summary<'a>(case: &Case<'a>) -> Option<(&'a Seen<KernelLogLine>, OomLine)> {
    summary_at(case, case.struck_ns())
}

fn summary_at<'a>(case: &Case<'a>, ns: u64) -> Option<(&'a Seen<KernelLogLine>, OomLine)> {
    let line = near_log(case, ns, |message| message.contains("oom-kill:constraint="))?;
    let message = line.value.message.split_once("oom-kill:").map_or("", |(_, rest)| rest);
    let memcg = field(message, "constraint") == Some("CONSTRAINT_MEMCG");
    let oom_memcg = field(message, "oom_memcg").map(str::to_owned);
    Some((line, OomLine { memcg, oom_memcg }))
}

fn near_log<'a>(
    case: &Case<'a>,
    ns: u64,
    test: impl Fn(&str) -> bool,
) -> Option<&'a Seen<KernelLogLine>> {
    let mut lines = case.world.kernel_log.iter().rev();
    lines.find(|line| line.ns().abs_diff(ns) <= 500 * MS && test(&line.value.message))
}

/// Whether the kernel logged that the victim's cgroup, or one above it, ends as a whole. The first victim
/// does not die of that (`oom_kill_process` in mm/oom_kill.c), but it is why it does not die alone.
fn is_of_whole_group(case: &Case<'_>) -> bool {
    let Some(own) = case.victim_process().cgroup else { return false };
    let group = |message: &str| -> Option<bool> {
        let (_, rest) = message.split_once("Tasks in ")?;
        let (group, _) = rest.split_once(" are going to be killed due to memory.oom.group set")?;
        let below = own.strip_prefix(group)?;
        Some(below.is_empty() || below.starts_with('/'))
    };
    near_log(case, case.struck_ns(), |message| group(message) == Some(true)).is_some()
}

/// The mark that the OOM killer set right after the signal.
fn mark<'a>(case: &Case<'a>) -> Option<&'a Seen<OomVictim>> {
    case.world.oom_victims.iter().rev().find(|mark| {
        mark.value.global_tid == case.victim.pid && mark.ns().abs_diff(case.struck_ns()) <= 100 * MS
    })
}

/// The process that the OOM killer chose, where the victim was none of its choice: `__oom_kill_process` kills
/// along whoever shares the memory of the chosen, and marks the chosen alone.
fn chosen(case: &Case<'_>, blow: Blow<'_>) -> Option<String> {
    let mark = case.world.oom_victims.iter().rev().find(|mark| {
        mark.value.trigger.id == blow.signal.value.sender.id
            && mark.ns() <= blow.signal.ns()
            && mark.ns() + 100 * MS >= blow.signal.ns()
    })?;
    let id = case.world.people.at(mark.value.global_tid, mark.ns())?;
    Some(words::name_pid(&case.process(id)))
}

/// The kernel's OOM killer: which limit, who triggered it.
pub fn kernel_oom(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let marked = mark(case);
    let proven = blow.mechanism == Mechanism::OomKill;
    let fits = blow.signal.value.number == sig::SIGKILL
        && blow.mechanism == Mechanism::UnknownKernel
        && marked.is_some();
    if !proven && !fits {
        return None;
    }
    let stack = &blow.signal.value.stack;
    let by_stack = stack.iter().any(|frame| frame.contains("mem_cgroup_out_of_memory"));
    let whole_group =
        stack.iter().any(|frame| frame == "oom_kill_memcg_member") || is_of_whole_group(case);
    let log = summary(case);
    let memcg = log.as_ref().map_or(by_stack, |(_, summary)| summary.memcg);
    let trigger = case.task(&blow.signal.value.sender);
    let name = words::name_pid(&case.victim_process());
    let chosen = if marked.is_none() && proven { chosen(case, blow) } else { None };
    let along = chosen.as_ref().map(|it| format!(" along with {it}, whose memory it shares"));
    let killed =
        format!("{name} was killed by the kernel's OOM killer{}", along.unwrap_or_default());
    let trigger_name = words::name_pid(&trigger);
    let own = blow.signal.value.sender.id == case.victim;
    let by = if own {
        "its own request for memory".to_owned()
    } else {
        format!("a request by {trigger_name}")
    };
    let own_size = size(case);
    let text_of_size = own_size
        .map(|size| format!(" It used {} of memory that no file backs.", words::bytes(size)))
        .unwrap_or_default();
    let group = log.as_ref().and_then(|(_, summary)| summary.oom_memcg.as_deref());
    let limited = memcg.then(|| Limited::of(case, group));
    let (id, text) = if let Some(limited) = &limited {
        let whole = if whole_group {
            " Since memory.oom.group is set, every process of the group was killed."
        } else {
            ""
        };
        let reached = limited.clause(case);
        (
            CauseId::KernelOomCgroup,
            format!(
                "{killed}: {reached} when {by} could not be met.{whole}{text_of_size}{}",
                limited.rest(own_size)
            ),
        )
    } else {
        (
            CauseId::KernelOomGlobal,
            format!(
                "{killed}: the machine had no memory left ({by} could not be met), and {} was chosen as what frees \
                 the most.{text_of_size}",
                chosen.as_ref().unwrap_or(&name)
            ),
        )
    };
    let fix = limited.as_ref().map_or_else(fixes::more_memory, |limited| limited.fix(case));
    let mut finding = Finding::new(id, Fit::Exact, Grade::Observed, text)
        .settings([limited.and_then(|limited| limited.setting(case))])
        .links(oom_links(
            case,
            &trigger_name,
            marked,
            chosen.as_deref(),
            log.as_ref().map(|(line, _)| *line),
        ))
        .fixes([fix]);
    if log.is_none() && !by_stack {
        finding = finding.gap("the kernel's log was not seen: whether a cgroup's limit or the whole machine ran out is taken from the kernel's stack");
    }
    finding.answer()
}

/// How much memory of its own the victim had, bytes, by what the kernel logged (`__oom_kill_process`): `Killed process 42
/// (eater) total-vm:78008kB, anon-rss:20224kB, …`.
fn size(case: &Case<'_>) -> Option<u64> {
    let killed = format!("Killed process {} (", case.victim.pid);
    let line = near_log(case, case.struck_ns(), |message| message.contains(&killed))?;
    let (_, rest) = line.value.message.split_once("anon-rss:")?;
    let kib: u64 = rest.split_once("kB")?.0.parse().ok()?;
    kib.checked_mul(1024)
}

fn oom_links(
    case: &Case<'_>,
    trigger: &str,
    mark: Option<&Seen<OomVictim>>,
    chosen: Option<&str>,
    log: Option<&Seen<KernelLogLine>>,
) -> Vec<Link> {
    let victim = words::name_pid(&case.victim_process());
    let mut links = Vec::new();
    let at = case.blow.map_or(case.exit.at, |blow| blow.signal.at);
    let marked = if mark.is_some() { " and marked it as its victim" } else { "" };
    let chose = match chosen {
        Some(other) => format!("chose {other}, and killed {victim} along, which shares its memory"),
        None => format!("chose {victim}{marked}"),
    };
    let text = format!(
        "the kernel's OOM killer {chose}; {trigger} had asked for memory (it is not the killer)"
    );
    links.push(case.link(at, LinkEvent::Oom, Source::Kernel, None, text));
    if let Some(line) = log {
        let text = format!("the kernel logged {}", words::quotation(&line.value.message));
        links
            .push(case.link(line.at, LinkEvent::Oom, line.source, None, text).before(case.exit.at));
    }
    links
}

/// systemd-oomd chose the cgroup.
pub fn oomd(case: &Case<'_>) -> Option<Opinion> {
    let sender = case.sender()?;
    if !case.is_struck_from("systemd-oomd.service") {
        return None;
    }
    let said = case.world.journal.iter().rev().find(|line| {
        journal::from_daemon(&line.value, "systemd-oomd")
            && line.value.message.starts_with("Killed ")
            && line.ns().abs_diff(case.struck_ns()) <= 5 * S
    });
    let why = said
        .map_or_else(String::new, |line| format!(": {}", words::quotation(&line.value.message)));
    let link = said.map(|line| {
        let text = format!("systemd-oomd logged {}", words::quotation(&line.value.message));
        case.link(line.at, LinkEvent::Oom, line.source, None, text).before(case.exit.at)
    });
    let watched = said.and_then(|line| Watched::of(case, &line.value.message));
    let victim_unit =
        case.unit_around().map_or_else(|| "its cgroup".to_owned(), |(_, unit)| unit.to_owned());
    let avoid = case.unit_around().and_then(|(manager, unit)| {
        let heeded = manager == Manager::System || watched.as_ref().is_some_and(Watched::is_users);
        let at = fixes::UnitAt::of(case.world, manager, unit);
        heeded.then(|| fixes::oomd_avoid(&at))
    });
    let mut finding = Finding::new(
        CauseId::SystemdOomd,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} was killed by systemd-oomd[{}], which chose {victim_unit}{why}.",
            words::name_pid(&case.victim_process()),
            sender.id.pid
        ),
    )
    .links(link)
    .fixes(avoid);
    match watched {
        Some(watched) => {
            let Watched { manager, unit, .. } = &watched;
            let at = fixes::UnitAt::of(case.world, *manager, unit);
            finding.settings.extend(watched.settings(case));
            finding = finding.fixes([fixes::oomd_unwatched(&at, watched.switch())]);
        }
        None => finding = finding.gap("why systemd-oomd killed is in no line of its journal"),
    }
    finding.fixes([fixes::more_memory()]).answer()
}

/// What systemd-oomd watched when it killed, by its own words (`src/oom/oomd-manager.c`).
struct Watched {
    manager: Manager,
    unit: String,
    /// It was about swap, not about memory pressure.
    swap: bool,
}

impl Watched {
    fn of(case: &Case<'_>, message: &str) -> Option<Self> {
        let root = || (Manager::System, "-.slice".to_owned());
        if let Some((_, rest)) = message.split_once(" due to memory pressure for ") {
            let (cgroup, _) = rest.split_once(" being ")?;
            let around = cgroup_path::units_around(cgroup).last();
            let (manager, unit) = around.unwrap_or_else(root);
            return Some(Self { manager, unit, swap: false });
        }
        // Of swap it does not say whose setting had it look: the nearest that asks for it.
        message.split_once(" due to memory used ")?;
        let cgroup = case.victim_process().cgroup?;
        let units = std::iter::once(root()).chain(cgroup_path::units_around(&cgroup));
        let asks = |(manager, unit): &(Manager, String)| {
            case.unit_setting(*manager, unit, "ManagedOOMSwap")
                .is_some_and(|setting| setting.value == "kill")
        };
        units.filter(asks).last().map(|(manager, unit)| Self { manager, unit, swap: true })
    }

    /// Whether it is a user's own, and watched for memory pressure: systemd-oomd then heeds the preferences of what the
    /// same user owns below it (`oomd_fetch_cgroup_oom_preference` in `src/oom/oomd-util.c`). Of what root owns, and for
    /// swap, it heeds those of root alone.
    fn is_users(&self) -> bool {
        let of_user = matches!(self.manager, Manager::User(_))
            || cgroup_path::uid_of_manager_unit(&self.unit).is_some();
        !self.swap && of_user
    }

    /// The setting that has systemd-oomd look at all.
    fn switch(&self) -> &'static str {
        if self.swap { "ManagedOOMSwap" } else { "ManagedOOMMemoryPressure" }
    }

    fn settings(&self, case: &Case<'_>) -> Vec<DecidingSetting> {
        let own = |name: &str| case.unit_setting(self.manager, &self.unit, name);
        let general = |name: &str| case.setting(&["oomd.conf"], name);
        let limits = if self.swap {
            vec![general("SwapUsedLimit")]
        } else {
            ["MemoryPressureLimit", "MemoryPressureDurationSec"]
                .map(|name| {
                    own(&format!("ManagedOOM{name}")).or_else(|| general(&format!("Default{name}")))
                })
                .into()
        };
        std::iter::once(own(self.switch())).chain(limits).flatten().collect()
    }
}

/// earlyoom and its kind: root's, or what lives in the service that is called after it. Its words about memory are told,
/// and where none were heard, that it goes by the name.
pub fn userspace_oom(case: &Case<'_>) -> Option<Opinion> {
    let sender = oom_daemon(case)?;
    let name = words::name_pid(&case.task(sender));
    let said = said_by(case.world, sender, case.struck_ns());
    let look = said.is_none().then(|| fixes::words_of_oom_daemon(sender.id.pid));
    let why = match said {
        Some(said) => {
            let words = words::quotation(&said.value.message);
            format!("a daemon that kills when memory runs short: {words}")
        }
        None => {
            "by its name a daemon that kills when memory runs short; that memory was short was not seen, nor had any word of \
             its about that been heard when this was told"
                .to_owned()
        }
    };
    // That memory is short comes before the kill; journald may hear of it a moment later.
    let struck = case.blow.map_or(case.exit.at, |blow| blow.signal.at);
    let link = said.map(|said| {
        let text = format!("{name} logged {}", words::quotation(&said.value.message));
        case.link(said.at, LinkEvent::Oom, said.source, None, text).before(struck)
    });
    Finding::new(
        CauseId::UserspaceOom,
        Fit::Program,
        // The name could be anybody's.
        Grade::Inferred,
        format!("{} was ended by {name}, {why}.", words::name_pid(&case.victim_process())),
    )
    .links(link)
    .fixes(look)
    .fixes(fixes::oom_daemon_avoid(&sender.comm, &case.exit.value.task.comm))
    .fixes([fixes::more_memory()])
    .answer()
}

/// The sender, where it has the name of a daemon that kills when memory runs short, and is not a user's.
fn oom_daemon<'a>(case: &Case<'a>) -> Option<&'a Task> {
    case.sender().filter(|sender| sender.id != case.victim && is_oom_daemon(sender))
}

fn is_oom_daemon(task: &Task) -> bool {
    const DAEMONS: [&str; 7] =
        ["earlyoom", "nohang", "oomd", "bustd", "low-memory-moni", "lmkd", "psi-notify"];
    let is_its = |unit: String| {
        let stem = unit.split(['.', '@']).next().unwrap_or_default();
        is_comm_of(&task.comm, stem)
    };
    // What a user runs under such a name may have root's rights by its file.
    let is_roots = task.uid == 0 && task.euid == 0;
    let unit = || CgroupOwner::of(task.cgroup.as_deref().unwrap_or_default()).unit;
    DAEMONS.contains(&task.comm.as_str()) && (is_roots || unit().is_some_and(is_its))
}

/// Whether a daemon that kills when memory runs short sent this signal, and its words about it are still to come: journald
/// is slow where memory is short.
pub fn awaits_word(world: &World, signal: &SeenSignal) -> bool {
    let sender = &signal.value.sender;
    is_oom_daemon(sender) && said_by(world, sender, signal.ns()).is_none()
}

/// What it logged about memory when it killed, by the pid that the kernel told journald.
fn said_by<'a>(world: &'a World, sender: &Task, struck_ns: u64) -> Option<&'a Seen<JournalLine>> {
    /// How much later than the kill its words before that may have been heard, nanoseconds; what it logs after the kill is
    /// later: earlyoom looks again after 100 ms.
    const HEARD: u64 = 50 * MS;
    let about = |words: &[&str]| {
        let lines = world.journal.iter().rev().filter(|line| {
            // Its own name may be in what it says of other things.
            let message = line.value.message.to_lowercase().replace(&sender.comm, "");
            line.value.pid == Some(sender.id.pid)
                && line.ns().abs_diff(struck_ns) <= 5 * S
                && words.iter().any(|word| message.contains(word))
        });
        let lines: Vec<_> = lines.collect();
        let before = lines.iter().find(|line| line.ns() <= struck_ns + HEARD);
        before.or(lines.last()).copied()
    };
    // Why, rather than whom: that is told with its `oom_score`.
    about(&["mem", "swap", "psi"]).or_else(|| about(&["oom"]))
}
