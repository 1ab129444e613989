//! The targets: what was asked for, what runs of it, what matches later.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::cli::TargetSpec;
use crate::commands::Failure;
use crate::commands::plan::Plan;
use crate::evidence::cgroup_path::{cgroup_of_container, unit_of_cgroup};
use crate::evidence::{
    COMM_LEN, Exec, Fact, Manager, ProcessId, ProcessSnapshot, TargetReason, base_name, sig,
};
use crate::kernel::Selection;
use crate::system::{
    ContainerTarget, Found, Matcher, NoTarget, Titles, UnitAnswer, UnitTarget, UsersContainer,
    running_processes, told_to_run, users,
};

use super::heirs::Heirs;
use super::{hints, one_line};

/// How many services of slices that are targets are kept.
const MAX_WITHIN: usize = 4096;

/// A process that runs when tracing begins.
#[derive(Debug)]
pub struct Running {
    /// Which.
    pub id: ProcessId,
    /// Why it is a target.
    pub reason: TargetReason,
    /// What it looked like where a `--target` found it.
    pub found: Option<ProcessSnapshot>,
}

/// A main or control process of a target's unit.
#[derive(Debug)]
struct UnitProcess {
    /// The target: the unit, or the slice that it is in.
    unit: String,
    /// It lives elsewhere, and is followed with all that it forks.
    is_followed: bool,
}

/// What was asked for.
#[derive(Debug)]
pub struct Wanted {
    /// Each `--target`, as given and as it is looked for.
    specs: Vec<(String, Matcher)>,
    /// Processes of `-p`.
    pub pids: Vec<ProcessId>,
    /// The command after `--`.
    pub command: Option<ProcessId>,
    /// What the specs meant when the trace was prepared.
    first: Vec<Found>,
    /// Titles that are looked for.
    pub titles: Titles,
    /// Positions of the specs that nothing has matched yet.
    waiting: Vec<usize>,
    /// Main and control processes of units that are targets.
    unit_processes: HashMap<ProcessId, UnitProcess>,
    /// Services, and the slice that is a target and has them.
    within: HashMap<String, String>,
    /// What services run of which it is not known yet that such a slice has them: the bus may be read before the kernel.
    perhaps_within: HashMap<String, Vec<u32>>,
    /// Units whose manager was asked by what other names it has them.
    asked_names: HashSet<(Manager, String)>,
    /// What is to be said of containers among those that run.
    pub of_containers: OfContainers,
    /// Users whose containers the targets turned out to be, and that was told.
    told_users: HashSet<(String, u32)>,
    /// What processes fork that match by their file's name alone.
    pub heirs: Heirs,
    follow: bool,
}

impl Wanted {
    /// Looks everything up.
    ///
    /// # Errors
    /// Where a target cannot exist: no such pid or user, no name of a unit.
    pub fn new(plan: &Plan, command: Option<u32>) -> Result<Self, Failure> {
        let specs: Vec<_> =
            plan.targets.iter().map(|spec| (spec.to_string(), matcher(spec))).collect();
        // One line, whatever is in a name.
        let told = |error: NoTarget| anyhow::anyhow!(one_line(&error.to_string()));
        let find = |matcher: &Matcher| running_processes(matcher).map_err(told);
        let first: Vec<Found> =
            specs.iter().map(|(_, matcher)| find(matcher)).collect::<Result<_, _>>()?;
        let identify = |pid: u32| -> Result<ProcessId, anyhow::Error> {
            let found = find(&Matcher::Pid(pid))?;
            found
                .processes
                .first()
                .map(ProcessSnapshot::id)
                .ok_or_else(|| anyhow::anyhow!("process {pid} ended before it could be traced"))
        };
        let mut within = HashMap::new();
        for ((_, matcher), found) in specs.iter().zip(&first) {
            let services = found.empty_services.iter().cloned();
            within.extend(
                services.filter_map(|service| Some((service, matcher.unit()?.name.clone()))),
            );
        }
        let only_names = plan.pids.is_empty() && command.is_none() && !plan.follow;
        let only_names = only_names && names(&specs).count() == specs.len();
        let named = names(&specs).filter(|_| only_names).map(str::to_owned);
        Ok(Self {
            heirs: Heirs::new(named.collect()),
            within,
            perhaps_within: HashMap::new(),
            pids: plan.pids.iter().map(|pid| identify(*pid)).collect::<Result<_, _>>()?,
            command: command.map(identify).transpose()?,
            titles: Titles::new(names(&specs).map(str::to_owned).collect()),
            specs,
            first,
            waiting: Vec::new(),
            unit_processes: HashMap::new(),
            asked_names: HashSet::new(),
            of_containers: OfContainers::default(),
            told_users: HashSet::new(),
            follow: plan.follow,
        })
    }

    /// What the kernel side looks for.
    pub fn selection(&self, plan: &Plan) -> Selection {
        let names = names(&self.specs).map(str::to_owned);
        let running =
            self.first.iter().flat_map(|found| found.processes.iter().map(ProcessSnapshot::id));
        let pids = self.pids.iter().copied().chain(self.command).chain(running);
        Selection {
            names: names.collect(),
            pids: pids.collect(),
            cgroups: self.first.iter().flat_map(|found| found.cgroups.iter().copied()).collect(),
            uids: self.first.iter().filter_map(|found| found.uid).collect(),
            all: plan.options.all,
            follow: plan.follow,
            muted: muted(plan),
            tcp_ports: vec![22],
        }
    }

    /// The processes that run, each once, with why they are targets; and the cgroups that are there.
    pub fn running(&mut self) -> (Vec<Running>, Vec<u64>) {
        let mut known = HashSet::new();
        let given = |reason| move |id: &ProcessId| Running { id: *id, reason, found: None };
        let named = self.pids.iter().map(given(TargetReason::Pid));
        let command = self.command.iter().map(given(TargetReason::Command));
        // Once more: what has come since the first look was missed by it, and may have been there
        // before the hooks were.
        let found: Vec<Found> = self
            .specs
            .iter()
            .map(|(_, matcher)| running_processes(matcher).unwrap_or_default())
            .collect();
        let of_containers = &mut self.of_containers;
        for ((spec, matcher), found) in self.specs.iter_mut().zip(&found) {
            of_containers.silent.extend(&found.silent);
            let Some(container) = matcher.container_mut() else { continue };
            let new = container.learn(found.is_roots, &found.of_users);
            let told = new.iter().filter_map(|its| is_whose(spec, its, &mut self.told_users));
            of_containers.told.extend(told);
        }
        let (processes, cgroups): (Vec<_>, Vec<_>) =
            found.into_iter().map(|found| (found.processes, found.cgroups)).unzip();
        let found = processes.into_iter().flatten().map(|process| Running {
            id: process.id(),
            reason: TargetReason::Running,
            found: Some(process),
        });
        let running = named.chain(command).chain(found).filter(|it| known.insert(it.id));
        (running.collect(), cgroups.concat())
    }

    /// Waits for the specs that nothing matches among these processes; tells them, and what may be wrong with them.
    pub fn wait(&mut self, running: &[Running]) -> Vec<(&str, Option<String>)> {
        let matches = |matcher: &Matcher| {
            let unit = matcher.unit();
            let is_its = |it: &UnitProcess| unit.is_some_and(|unit| it.unit == unit.name);
            let runs = self.unit_processes.values().any(is_its);
            let mut found = running.iter().filter_map(|it| it.found.as_ref());
            runs || found.any(|process| matcher.matches(process))
        };
        let unmatched = self.specs.iter().enumerate().filter(|(_, (_, matcher))| !matches(matcher));
        self.waiting = unmatched.map(|(at, _)| at).collect();
        let waiting = self.waiting.iter().map(|at| &self.specs[*at]);
        waiting.map(|(spec, matcher)| (spec.as_str(), hints::of(matcher))).collect()
    }

    /// The specs that were waited for and are matched now, each told once.
    pub fn arrived(&mut self, is_it: impl Fn(&Matcher) -> bool) -> Vec<String> {
        let specs = &self.specs;
        let come = self.waiting.extract_if(.., |at| is_it(&specs[*at].1));
        come.map(|at| specs[at].0.clone()).collect()
    }

    /// The names of units that are targets, and services that run elsewhere in slices that are.
    pub fn units(&self) -> Vec<String> {
        self.unit_names().chain(self.within.keys()).cloned().collect()
    }

    /// The names of units that are targets; what fits a pattern is no name.
    fn unit_names(&self) -> impl Iterator<Item = &String> {
        let named = self.specs.iter().filter_map(|(_, matcher)| matcher.unit());
        named.filter(|unit| !unit.is_pattern()).map(|unit| &unit.name)
    }

    /// Takes note of what a service manager calls a unit that is a target. Returns a sentence about it where whoever named
    /// it would want to know.
    pub fn answered(&mut self, answer: &UnitAnswer) -> Option<String> {
        let UnitAnswer { name, manager, id, load_state, unknown_to_all } = answer;
        let units = self.specs.iter_mut().filter_map(|(_, matcher)| matcher.unit_mut());
        let mut named = units.filter(|unit| unit.name == *name).peekable();
        named.peek()?;
        let mut is_other = false;
        for unit in named {
            is_other |= unit.is_other_name_of(*manager, id);
        }
        match load_state.as_str() {
            "not-found" => Some(unknown(name, *unknown_to_all)),
            "masked" => {
                Some(format!("{id} is masked here: nothing starts it before it is unmasked"))
            }
            _ => is_other.then(|| is_called(name, *manager, id)),
        }
    }

    /// Where this tells that a target is only another name of a unit: sentences about that, and what to look for now.
    pub fn is_named_by(&mut self, fact: &Fact) -> Vec<(String, Matcher)> {
        let Fact::Unit(told) = fact else { return Vec::new() };
        let mut found = Vec::new();
        for (_, matcher) in &mut self.specs {
            if let Some(unit) = matcher.unit_mut()
                && unit.is_among_names_of(told)
            {
                let sentence = is_called(&unit.name, told.manager, &told.unit);
                found.push((sentence, matcher.clone()));
            }
        }
        found
    }

    /// A cgroup has been made: where it is a unit's, and targets are still waited for that may be other names of it, the
    /// unit and those names. Each unit once.
    pub fn may_be_named_otherwise(&mut self, path: &str) -> Option<(Manager, String, Vec<String>)> {
        let waiting = self.waiting.iter().filter_map(|at| self.specs[*at].1.unit());
        let names = waiting.filter(|unit| !unit.is_pattern()).map(|unit| unit.name.clone());
        let names: Vec<String> = names.collect();
        let unit = unit_of_cgroup(path).filter(|_| !names.is_empty())?;
        if self.asked_names.len() >= MAX_WITHIN || !self.asked_names.insert(unit.clone()) {
            return None;
        }
        let (manager, unit) = unit;
        Some((manager, unit, names))
    }

    /// A cgroup has been made: a service in a slice that is a target may run elsewhere. What it is known to run comes
    /// back, with that target.
    fn has_made(&mut self, cgroup: &str) -> Option<(String, Vec<u32>)> {
        let of = |matcher: &Matcher| {
            Some((matcher.service_within(cgroup)?, matcher.unit()?.name.clone()))
        };
        let (service, slice) = self.specs.iter().find_map(|(_, matcher)| of(matcher))?;
        let runs = self.perhaps_within.remove(&service);
        if self.within.len() < MAX_WITHIN {
            self.within.insert(service, slice.clone());
        }
        Some((slice, runs?))
    }

    /// What a unit runs is kept where a slice is a target and may turn out to have it.
    fn may_be_within(&mut self, unit: &str, pids: Vec<u32>) {
        let is_slice =
            |matcher: &Matcher| matcher.unit().is_some_and(|it| it.name.ends_with(".slice"));
        if self.specs.iter().any(|(_, matcher)| is_slice(matcher)) {
            if self.perhaps_within.len() >= MAX_WITHIN {
                self.perhaps_within.clear();
            }
            self.perhaps_within.insert(unit.to_owned(), pids);
        }
    }

    /// The target that a unit is, or is in.
    fn target_of(&self, unit: &str) -> Option<String> {
        let mut named = self.specs.iter().filter_map(|(_, matcher)| matcher.unit());
        let named = named.find(|it| it.means(Some(Manager::System), unit));
        named.map(|unit| unit.name.clone()).or_else(|| self.within.get(unit).cloned())
    }

    /// The processes of a target's unit whose place has to be looked at, and the target: PID 1 says that it runs them for it,
    /// or they execute what they are for. PAM takes them to another cgroup in between (`PAMName=`).
    pub fn run_by_unit(&mut self, fact: &Fact) -> Option<(String, Vec<u32>)> {
        match fact {
            Fact::Exec(exec) => {
                let process = self.unit_processes.get(&exec.task.id)?;
                let pids = vec![exec.task.id.pid];
                (!process.is_followed).then(|| (process.unit.clone(), pids))
            }
            Fact::Exit(exit) => {
                self.unit_processes.remove(&exit.task.id);
                None
            }
            Fact::Unit(told) => {
                let Some((unit, pids)) = told_to_run(told) else {
                    // Of PID 1's alone is it known which processes they run.
                    if told.manager == Manager::System && told.properties.contains_key("MainPID") {
                        self.perhaps_within.remove(&told.unit);
                    }
                    return None;
                };
                let Some(target) = self.target_of(unit) else {
                    self.may_be_within(unit, pids);
                    return None;
                };
                Some((target, pids))
            }
            Fact::Cgroup(change) if !change.removed => self.has_made(change.path.as_deref()?),
            _ => None,
        }
    }

    /// Makes known that a process is a main or control one of a target's unit. Returns whether it is followed already.
    pub fn add_unit_process(&mut self, id: ProcessId, unit: &str) -> bool {
        let new = || UnitProcess { unit: unit.to_owned(), is_followed: false };
        self.unit_processes.entry(id).or_insert_with(new).is_followed
    }

    /// From now on a process of a target's unit is followed, wherever it goes.
    pub fn follows(&mut self, id: ProcessId) {
        if let Some(process) = self.unit_processes.get_mut(&id) {
            process.is_followed = true;
        }
    }

    /// Whether the kernel, which compares 15 bytes, took a program for a target that is none.
    pub fn is_mistaken(&self, exec: &Exec) -> bool {
        let names: Vec<&str> = names(&self.specs).collect();
        let only_names = names.len() == self.specs.len() && self.pids.is_empty();
        let long = names.iter().any(|name| name.len() > COMM_LEN);
        if !long || !only_names || self.follow || self.command.is_some() {
            return false;
        }
        let called: [&str; 2] = [base_name(&exec.filename), &exec.task.comm];
        !names.iter().any(|name| called.contains(name))
    }

    /// Whether a program that the kernel took for none of the targets has the title of one.
    pub fn is_titled(&self, exec: &Exec) -> bool {
        exec.args.first().is_some_and(|title| self.titles.has(title))
    }

    /// Whether a cgroup that has just been made belongs to a target.
    pub fn has_cgroup(&self, path: &str) -> bool {
        self.specs.iter().any(|(_, matcher)| matcher.owns(path))
    }

    /// Takes note that a target's cgroup is there.
    pub fn has_come(&mut self, path: &str) {
        let containers = self.specs.iter_mut().filter_map(|(_, matcher)| matcher.container_mut());
        containers.filter(|it| it.owns(path)).for_each(|container| container.has_come(path));
    }

    /// Whether it matters what users call their containers.
    pub fn takes_users_containers(&self) -> bool {
        let mut containers = self.specs.iter().filter_map(|(_, matcher)| matcher.container());
        containers.any(ContainerTarget::takes_users)
    }

    /// Where this tells that a user's container has the name of a target: its cgroup, and a sentence where that is news.
    pub fn is_users_container(&mut self, fact: &Fact) -> Option<(String, Option<String>)> {
        let Fact::Container(told) = fact else { return None };
        let mut of_target = None;
        for (spec, matcher) in &mut self.specs {
            if let Some(its) = matcher.container_mut().and_then(|it| it.is_called(told)) {
                of_target = Some(is_whose(spec, &its, &mut self.told_users));
            }
        }
        let cgroup = cgroup_of_container(&told.cgroup)?;
        of_target.map(|sentence| (cgroup, sentence))
    }

    /// Whether the trace is over when these processes have ended: `-p` and nothing else.
    pub fn only_pids(&self) -> bool {
        self.specs.is_empty() && self.command.is_none() && !self.pids.is_empty()
    }
}

/// What is to be said of containers that are targets.
#[derive(Debug, Default)]
pub struct OfContainers {
    /// Sentences.
    pub told: Vec<String>,
    /// Users whose files did not tell in time what they call theirs.
    pub silent: BTreeSet<u32>,
}

/// `container:web is alice's (podman)`: a user's own has the name, once for each user.
fn is_whose(spec: &str, its: &UsersContainer, told: &mut HashSet<(String, u32)>) -> Option<String> {
    let is_new = told.insert((spec.to_owned(), its.uid));
    is_new.then(|| {
        let whose = users::name_in_file(its.uid).unwrap_or_else(|| format!("user {}", its.uid));
        one_line(&format!("{spec} is {whose}'s ({})", its.runtime))
    })
}

/// What a unit is called that somebody names otherwise.
fn is_called(name: &str, manager: Manager, id: &str) -> String {
    let whose = match manager {
        Manager::System => String::new(),
        Manager::User(uid) => format!(", a unit of user {uid}"),
    };
    format!("unit:{name} is {id} here{whose}")
}

/// No service manager that was asked has a unit of this name.
fn unknown(name: &str, to_all: bool) -> String {
    let users = if to_all {
        "nor has the service manager of a user who is logged in"
    } else {
        "and not every user's service manager could be asked"
    };
    format!(
        "systemd has no unit {name} here, {users}: if that is no slip, it is waited for \
         (`systemctl list-unit-files` and `systemctl --user list-unit-files` have the names)"
    )
}

/// The names among what is looked for.
fn names(specs: &[(String, Matcher)]) -> impl Iterator<Item = &str> {
    specs.iter().filter_map(|(_, matcher)| match matcher {
        Matcher::Name(name) => Some(name.as_str()),
        _ => None,
    })
}

fn matcher(spec: &TargetSpec) -> Matcher {
    match spec {
        TargetSpec::Name(name) => Matcher::Name(name.clone()),
        TargetSpec::Pid(pid) => Matcher::Pid(*pid),
        TargetSpec::Unit(name) => Matcher::Unit(UnitTarget::new(name)),
        TargetSpec::Cgroup(path) => Matcher::Cgroup(path.clone()),
        TargetSpec::User(name) => Matcher::User(name.clone()),
        TargetSpec::Container(name) => Matcher::Container(ContainerTarget::new(name)),
    }
}

/// Signals that the kernel side need not even record: those that end nobody and that nobody asked to
/// see. They come in floods (SIGCHLD, Go's SIGURG).
fn muted(plan: &Plan) -> u64 {
    [sig::SIGCHLD, sig::SIGURG, sig::SIGWINCH]
        .into_iter()
        .filter(|number| plan.options.hidden_signals.contains(number))
        .fold(0, |mask, number| mask | 1 << (number - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{CgroupChange, Container, ContainerFound, UnitProperties};

    /// Of one unit, which is waited for.
    fn wanted(unit: &str) -> Wanted {
        Wanted {
            specs: vec![(format!("unit:{unit}"), Matcher::Unit(UnitTarget::new(unit)))],
            pids: Vec::new(),
            command: None,
            first: Vec::new(),
            titles: Titles::new(Vec::new()),
            waiting: vec![0],
            unit_processes: HashMap::new(),
            within: HashMap::new(),
            perhaps_within: HashMap::new(),
            asked_names: HashSet::new(),
            of_containers: OfContainers::default(),
            told_users: HashSet::new(),
            heirs: Heirs::new(Vec::new()),
            follow: false,
        }
    }

    #[test]
    fn a_unit_by_another_name_is_told_once_and_found() {
        let answer = |id: &str, load_state: &str| UnitAnswer {
            name: "sshd.service".to_owned(),
            manager: Manager::System,
            id: id.to_owned(),
            load_state: load_state.to_owned(),
            unknown_to_all: false,
        };
        let mut of_alias = wanted("sshd.service");
        let told = of_alias.answered(&answer("ssh.service", "loaded"));
        assert_eq!(told.as_deref(), Some("unit:sshd.service is ssh.service here"));
        assert!(of_alias.has_cgroup("/system.slice/ssh.service"));
        assert_eq!(of_alias.answered(&answer("ssh.service", "loaded")), None);
        assert_eq!(of_alias.answered(&answer("sshd.service", "loaded")), None);
        let unknown = of_alias.answered(&answer("sshd.service", "not-found"));
        let unknown = unknown.unwrap_or_default();
        let words = "systemd has no unit sshd.service here, and not every user's service manager could be asked: \
                     if that is no slip, it is waited for (";
        assert!(unknown.starts_with(words), "{unknown}");
        let to_all = UnitAnswer { unknown_to_all: true, ..answer("sshd.service", "not-found") };
        let unknown = of_alias.answered(&to_all).unwrap_or_default();
        assert!(unknown.contains("nor has the service manager of a user"), "{unknown}");
        assert!(!unknown.contains("  "), "{unknown}");
        let masked = of_alias.answered(&answer("sshd.service", "masked"));
        assert!(masked.is_some_and(|it| it.contains("masked")));
        let mut other = wanted("x.service");
        assert_eq!(other.answered(&answer("ssh.service", "loaded")), None, "not asked for");
    }

    #[test]
    fn a_unit_that_comes_later_may_have_the_name_too() {
        let mut late = wanted("web.service");
        let path = "/system.slice/nginx.service";
        let asked = late.may_be_named_otherwise(path);
        let names = vec!["web.service".to_owned()];
        assert_eq!(asked, Some((Manager::System, "nginx.service".to_owned(), names)));
        assert_eq!(late.may_be_named_otherwise(path), None, "it was asked for");
        assert_eq!(late.may_be_named_otherwise("/system.slice/nginx.service/sub"), None);
        assert!(!late.has_cgroup(path));
        let properties = [("Names".to_owned(), vec!["nginx.service", "web.service"].into())];
        let unit = "nginx.service".to_owned();
        let told = Fact::Unit(UnitProperties {
            manager: Manager::System,
            unit,
            properties: properties.into(),
        });
        let found = late.is_named_by(&told);
        assert_eq!(found[0].0, "unit:web.service is nginx.service here");
        assert!(late.has_cgroup(path) && late.is_named_by(&told).is_empty());
        late.waiting.clear();
        assert_eq!(late.may_be_named_otherwise("/system.slice/other.service"), None);
    }

    #[test]
    fn whose_container_it_is_is_told_once_its_name_is_known() {
        let mut wanted = wanted("x.service");
        let web = Matcher::Container(ContainerTarget::new("web"));
        wanted.specs = vec![("container:web".to_owned(), web)];
        let id = |digit: &str| digit.repeat(64);
        let cgroup = |id: &str| {
            let user = "/user.slice/user-4001.slice/user@4001.service/user.slice";
            format!("{user}/libpod-{id}.scope")
        };
        let told = |id: &str, name: &str| {
            let container = Container {
                runtime: "podman".to_owned(),
                id: id.to_owned(),
                name: Some(name.to_owned()),
                named_by: Some(4001),
                ..Container::default()
            };
            let cgroup = format!("{}/container", cgroup(id));
            Fact::Container(ContainerFound { cgroup, container })
        };
        assert!(wanted.takes_users_containers() && !wanted.has_cgroup(&cgroup(&id("a"))));
        assert_eq!(wanted.is_users_container(&told(&id("b"), "db")), None);
        let sentence = Some("container:web is user 4001's (podman)".to_owned());
        let its = wanted.is_users_container(&told(&id("a"), "web"));
        assert_eq!(its, Some((cgroup(&id("a")), sentence)));
        assert!(wanted.has_cgroup(&cgroup(&id("a"))));
        let its = wanted.is_users_container(&told(&id("c"), "web"));
        assert_eq!(its, Some((cgroup(&id("c")), None)), "it has been told of this user");
        // Root's has come: users' are others.
        let roots = format!("/docker/{}", id("d"));
        let by_id = Matcher::Container(ContainerTarget::new(&id("d")));
        wanted.specs.push(("container:d".to_owned(), by_id));
        wanted.has_come(&roots);
        assert!(wanted.takes_users_containers(), "of another target");
        wanted.specs.remove(0);
        assert!(!wanted.takes_users_containers());
    }

    #[test]
    fn a_users_manager_takes_back_nothing_that_pid_1_said() {
        let mut wanted = wanted("app.slice");
        let told = |manager, pid: u32| {
            let properties = [("MainPID".to_owned(), pid.into())].into();
            Fact::Unit(UnitProperties { manager, unit: "x.service".to_owned(), properties })
        };
        let path = Some("/app.slice/x.service".to_owned());
        let made = Fact::Cgroup(CgroupChange { id: 1, path, removed: false });
        let runs = Some(("app.slice".to_owned(), vec![7]));
        for (manager, pid, runs) in [(Manager::User(1000), 9, runs), (Manager::System, 0, None)] {
            assert_eq!(wanted.run_by_unit(&told(Manager::System, 7)), None);
            assert_eq!(wanted.run_by_unit(&told(manager, pid)), None);
            assert_eq!(wanted.run_by_unit(&made), runs, "{manager:?}");
            wanted.within.clear();
        }
    }
}
