//! The cgroup whose memory limit was reached, and who sets that limit.

use super::{near_log, summary_at};
use crate::evidence::cgroup_path::{cgroup_of_container, unit_of_cgroup};
use crate::evidence::{CgroupLimits, CgroupOwner, Container, Manager, base_name};
use crate::story::case::Case;
use crate::story::fixes::{self, UnitAt};
use crate::story::verdict::{DecidingSetting, Fix};
use crate::story::{units, words};

/// What had used as much memory as it may.
pub struct Limited<'a> {
    /// The cgroup, where it is known.
    group: Option<String>,
    limits: Option<&'a CgroupLimits>,
    /// The slice, service or scope that it was made for, and whose manager it is one of.
    owner: Option<(Manager, String)>,
    /// The container that it was made for instead.
    container: Option<Container>,
}

impl<'a> Limited<'a> {
    /// `group`: the cgroup by the kernel's own words; without these it is the nearest with a limit.
    pub fn of(case: &Case<'a>, group: Option<&str>) -> Self {
        let limits = limits(case, group);
        let group = group.map(str::to_owned).or_else(|| limits.map(|it| it.cgroup.clone()));
        let container = group.as_deref().and_then(|group| container(case, group));
        let owner = group.as_deref().and_then(unit_of_cgroup).filter(|_| container.is_none());
        Self { group, limits, owner, container }
    }

    /// Which limit it was, as the subject of a sentence: `cgroup /box had reached its memory limit of 24 MiB`.
    pub fn clause(&self, case: &Case<'_>) -> String {
        let group = self.group.as_deref();
        let group =
            group.map_or_else(|| "its cgroup".to_owned(), |group| format!("cgroup {group}"));
        let max = self.limits.and_then(|limits| limits.memory_max);
        let limit = max.map(|max| format!(" of {}", words::bytes(max))).unwrap_or_default();
        let set = units::in_brackets(self.unit_setting(case).as_ref());
        format!("{group} had reached its memory limit{limit}{set}")
    }

    /// Where the memory may be, as a sentence, where the victim's own is less than half of what the group may have.
    pub fn rest(&self, own: Option<u64>) -> &'static str {
        let max = self.limits.and_then(|limits| limits.memory_max);
        if own.zip(max).is_some_and(|(own, max)| own < max / 2) {
            " The rest is that of others in the group, or of files in memory (tmpfs, as /dev/shm), which count as well."
        } else {
            ""
        }
    }

    /// The line that sets the limit; where no unit has one, the kernel's own file, which anybody may have written to.
    pub fn setting(&self, case: &Case<'_>) -> Option<DecidingSetting> {
        let by_file = || {
            let limits = self.limits?;
            let file = limits.limit_file.clone()?;
            Some(DecidingSetting {
                name: base_name(&file).to_owned(),
                value: limits.memory_max?.to_string(),
                file: Some(file),
                line: None,
                unread: None,
            })
        };
        self.unit_setting(case).or_else(by_file)
    }

    fn unit_setting(&self, case: &Case<'_>) -> Option<DecidingSetting> {
        let (manager, unit) = self.owner.as_ref()?;
        let is_limit = |it: &DecidingSetting| !["", "infinity"].contains(&it.value.as_str());
        case.unit_setting(*manager, unit, "MemoryMax").filter(is_limit)
    }

    /// A higher limit, where the present one is set.
    pub fn fix(&self, case: &Case<'_>) -> Fix {
        let max = self.limits.and_then(|limits| limits.memory_max);
        if let Some(container) = &self.container {
            return fixes::container_memory(container, max);
        }
        match &self.owner {
            Some((manager, unit)) => {
                let at = UnitAt::of(case.world, *manager, unit);
                // A template of user managers is for every user.
                let at = match *manager {
                    Manager::System if unit.starts_with("user@") => at.alone(),
                    _ => at,
                };
                fixes::memory_limit(&at, max)
            }
            None => fixes::cgroup_memory(self.limits),
        }
    }
}

/// What to do about a lack of memory of which a unit's manager heard at that time: a higher limit where one was reached.
pub fn fix_at(case: &Case<'_>, ns: u64, unit: &UnitAt) -> (Option<DecidingSetting>, Fix) {
    match summary_at(case, ns) {
        Some((_, summary)) if summary.memcg => {
            let limited = Limited::of(case, summary.oom_memcg.as_deref());
            (limited.setting(case), limited.fix(case))
        }
        Some(_) => (None, fixes::more_memory()),
        None if near_log(case, ns, |message| message.contains("Out of memory: Killed"))
            .is_some() =>
        {
            (None, fixes::more_memory())
        }
        None => (None, fixes::memory_limit(unit, None)),
    }
}

fn limits<'a>(case: &Case<'a>, group: Option<&str>) -> Option<&'a CgroupLimits> {
    if let Some(group) = group {
        return case.world.limits.get(group).map(|seen| &seen.value);
    }
    let own = case.victim_process().cgroup?;
    let above = |path: &&String| own.starts_with(path.as_str());
    let nearest = case
        .world
        .limits
        .iter()
        .filter(|(path, seen)| above(path) && seen.value.memory_max.is_some());
    nearest.max_by_key(|(path, _)| path.len()).map(|(_, seen)| &seen.value)
}

/// The container that a cgroup was made for, or of whose pod.
fn container(case: &Case<'_>, group: &str) -> Option<Container> {
    let of_victim = case.victim_process().container;
    let is_pods = group.contains("/kubepods")
        && (base_name(group).starts_with("pod") || base_name(group).contains("-pod"));
    if cgroup_of_container(group).as_deref() != Some(group) {
        return of_victim.filter(|container| is_pods && container.kubernetes_pod().is_some());
    }
    let owner = CgroupOwner::of(group);
    let named = owner.innermost_container()?;
    let known = of_victim.filter(|container| container.id == named.id);
    known.or_else(|| Some(named.clone()))
}
