//! What all witnesses share.

mod in_second;
mod link;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use self::in_second::InSecond;
pub use self::link::Link;
use self::told::{Heard, ToldSettings};
use super::as_user::AsUser;
use super::aside::Aside;
use super::outbox::Outbox;
use super::processes::Processes;
use super::settings::Root;
use super::sources::Sources;
use super::user_names::UserNames;
use crate::evidence::{Manager, Setting};

/// How many units of a manager are watched that a target merely depends on: asking for each costs it some milliseconds.
const MAX_NEIGHBOURS: usize = 64;

/// How many units of a manager are watched since they asked for something: then the one goes that is watched for longest.
const MAX_ASKERS: usize = 64;

/// How many units of a manager that ask for something are looked up in a second: anybody can have new ones ask.
const MAX_ASKED: u32 = 16;

/// And of all users' managers.
const MAX_USERS_ASKED: u32 = 64;

/// Of how many units of a manager that get a job it is looked up in a second what they conflict with: a boot makes
/// hundreds of jobs at once, and is no reason of any stop.
const MAX_NEWCOMERS: u32 = 16;

/// How many invocation IDs of the processes of one user it is asked in a second which unit they belong to: anybody can make
/// them up, and to answer costs PID 1 some time.
const MAX_INVOCATIONS: u32 = 8;

/// And of all users but root: one can have the ids of many (`/etc/subuid`).
const MAX_USERS_INVOCATIONS: u32 = 64;

/// How often in a second it is looked whether a user has a bus: it takes a thread with the user's rights.
const MAX_BUS_LOOKS: u32 = 8;

/// How many units that have ended are remembered.
const MAX_ENDED: usize = 16;

/// How many pids, and uids, are remembered.
const MAX_KNOWN: usize = 4096;

/// How many entries of the journal are remembered as told.
const MAX_ENTRIES: usize = 256;

/// Shared by the witnesses; cheap to reach, never locked across an await.
#[derive(Debug)]
pub struct Context {
    /// Where evidence goes.
    pub outbox: Outbox,
    /// `/proc` and the cgroups.
    pub processes: Processes,
    /// The configuration.
    pub root: Root,
    /// Who listens.
    pub sources: Sources,
    /// For reading root's own files.
    pub root_files: Aside,
    /// For reading the files of users.
    pub user_files: AsUser,
    /// For connecting to the sockets of users.
    pub user_sockets: AsUser,
    /// Who users are.
    pub user_names: UserNames,
    /// A connection to the system bus to ask questions over.
    pub system_bus: Link,
    /// A direct connection to each service manager.
    managers: Mutex<HashMap<Manager, Link>>,
    /// Units of targets, of those who signal them and of what they depend on: every change of theirs is followed up.
    watched: Mutex<HashMap<(Manager, String), Watched>>,
    /// Those among them that are watched since they asked for something, the first ones first.
    askers: Mutex<HashMap<Manager, VecDeque<String>>>,
    /// How many units that asked for something were looked up in a second, of a manager and of all users'.
    asked: Mutex<HashMap<Option<Manager>, InSecond>>,
    /// What was last heard of each unit.
    heard: Mutex<Heard>,
    /// Pids of targets that live in no service's cgroup: a unit may turn out to run them. Those that ended stay for a while:
    /// who has such a pid next is looked at in vain.
    homeless: Mutex<HashSet<u32>>,
    /// What was last told of the settings of each unit.
    settings: Mutex<ToldSettings>,
    /// How many units that got a job were looked up in a second.
    newcomers: Mutex<HashMap<Manager, InSecond>>,
    /// How many invocation IDs of a user's processes were asked for in a second, and of all users'.
    invocations: Mutex<HashMap<Option<u32>, InSecond>>,
    /// How often it was looked in a second whether a user has a bus.
    bus_looks: Mutex<HashMap<u32, InSecond>>,
    /// The managers that are about to read all files again.
    reloading: Mutex<HashSet<Manager>>,
    /// The units that ended last, of whichever manager, and when (`CLOCK_BOOTTIME` nanoseconds).
    ended: Mutex<VecDeque<(Manager, String, u64)>>,
    /// The entries of the journal that were told last, by their cursors.
    entries: Mutex<VecDeque<String>>,
}

/// A unit that is watched.
#[derive(Debug)]
struct Watched {
    why: Why,
    /// That its properties are asked for is planned: whatever is heard of it until then changes nothing.
    refresh_planned: bool,
}

impl Watched {
    const fn since(why: Why) -> Self {
        Self { why, refresh_planned: false }
    }
}

/// Why a unit is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It is a target's, or of somebody who has signalled one.
    Concerned,
    /// One of those depends on it.
    Neighbour,
    /// It has asked for something.
    Asker,
}

impl Context {
    /// Nothing connected yet.
    pub fn new(outbox: Outbox, processes: Processes, sources: Sources) -> Self {
        Self {
            outbox,
            processes,
            root: Root::default(),
            sources,
            root_files: Aside::default(),
            user_files: AsUser::default(),
            user_sockets: AsUser::default(),
            user_names: UserNames::default(),
            system_bus: Link::default(),
            managers: Mutex::default(),
            watched: Mutex::default(),
            askers: Mutex::default(),
            asked: Mutex::default(),
            heard: Mutex::default(),
            homeless: Mutex::default(),
            settings: Mutex::default(),
            newcomers: Mutex::default(),
            invocations: Mutex::default(),
            bus_looks: Mutex::default(),
            reloading: Mutex::default(),
            ended: Mutex::default(),
            entries: Mutex::default(),
        }
    }

    /// Leaves of a unit's properties those that are not what they were when last heard: a manager announces
    /// all of them together, whichever changed.
    pub fn news(
        &self,
        manager: Manager,
        unit: &str,
        properties: BTreeMap<String, Value>,
    ) -> BTreeMap<String, Value> {
        lock(&self.heard).news((manager, unit.to_owned()), properties)
    }

    /// Makes known that a unit has ended, or that its job has timed out.
    pub fn add_ended(&self, manager: Manager, unit: &str, ns: u64) {
        let mut ended = lock(&self.ended);
        if ended.len() >= MAX_ENDED {
            ended.pop_front();
        }
        ended.push_back((manager, unit.to_owned(), ns));
    }

    /// The units of a manager that have ended since then, among the last ones.
    pub fn ended_since(&self, manager: Manager, since_ns: u64) -> BTreeSet<String> {
        let ended = lock(&self.ended);
        let those = ended.iter().filter(|(of, _, ns)| *of == manager && *ns >= since_ns);
        those.map(|(_, unit, _)| unit.clone()).collect()
    }

    /// Makes known that an entry of the journal is told. Returns whether it is the first time, among the last ones.
    pub fn add_entry(&self, cursor: &str) -> bool {
        let mut entries = lock(&self.entries);
        if entries.iter().rev().any(|known| known == cursor) {
            return false;
        }
        if entries.len() >= MAX_ENTRIES {
            entries.pop_front();
        }
        entries.push_back(cursor.to_owned());
        true
    }

    /// Makes known that a target lives in no service's cgroup.
    pub fn add_homeless(&self, pid: u32) {
        let mut homeless = lock(&self.homeless);
        if homeless.len() >= MAX_KNOWN {
            homeless.clear();
        }
        homeless.insert(pid);
    }

    /// Whether any of these is a target that lives in no service's cgroup.
    pub fn has_homeless(&self, pids: &[u32]) -> bool {
        let homeless = lock(&self.homeless);
        pids.iter().any(|pid| homeless.contains(pid))
    }

    /// The settings of a unit as they were last told.
    pub fn told_settings(&self, manager: Manager, unit: &str) -> Vec<Setting> {
        lock(&self.settings).of(&(manager, unit.to_owned()))
    }

    /// Leaves of a unit's settings those that are not what they were when last told.
    pub fn news_of_settings(
        &self,
        manager: Manager,
        unit: &str,
        now: Vec<Setting>,
    ) -> Vec<Setting> {
        lock(&self.settings).news((manager, unit.to_owned()), now)
    }

    /// The units of a manager that are watched.
    pub fn watched(&self, manager: Manager) -> Vec<String> {
        let watched = lock(&self.watched);
        watched.keys().filter(|(of, _)| *of == manager).map(|(_, unit)| unit.clone()).collect()
    }

    /// The connection to a service manager, and whether it is asked for the first time: then somebody
    /// has to make it.
    pub fn manager(&self, manager: Manager) -> (Link, bool) {
        let mut managers = lock(&self.managers);
        let first = !managers.contains_key(&manager);
        (managers.entry(manager).or_default().clone(), first)
    }

    /// From now on a unit is one of a target, or of who signals one. Returns whether it was not watched before.
    pub fn watch(&self, manager: Manager, unit: &str) -> bool {
        self.now_watch((manager, unit.to_owned()), Why::Concerned, &mut lock(&self.watched))
    }

    /// Watches a unit. Where it was not watched before, what was told of its settings is told again: it may be forgotten.
    fn now_watch(
        &self,
        unit: (Manager, String),
        why: Why,
        watched: &mut HashMap<(Manager, String), Watched>,
    ) -> bool {
        let is_new = !watched.contains_key(&unit);
        if is_new {
            lock(&self.settings).forget(&unit);
        }
        watched.insert(unit, Watched::since(why));
        is_new
    }

    /// As [`Self::watch`], of a unit that a target's depends on, as long as there is room for such: that there is none is
    /// told. A user, who can make any number of units, takes none from the system's or another's.
    pub fn watch_neighbour(&self, manager: Manager, unit: &str) -> bool {
        let key = (manager, unit.to_owned());
        let mut watched = lock(&self.watched);
        if watched.contains_key(&key) {
            return false;
        }
        let is_neighbour = |watched: &Watched| watched.why == Why::Neighbour;
        let own = watched.iter().filter(|((of, _), unit)| *of == manager && is_neighbour(unit));
        if own.count() >= MAX_NEIGHBOURS {
            let why = format!("there are more than {MAX_NEIGHBOURS}, the others are not looked up");
            let [what, _] = manager.unknown_units();
            self.outbox.unavailable(what, why);
            return false;
        }
        self.now_watch(key, Why::Neighbour, &mut watched)
    }

    /// As [`Self::watch`], of a unit that asks for something, where there were not too many of them in this second,
    /// counted from boot: that there were is told.
    pub fn watch_asker(&self, manager: Manager, unit: &str, second: u64) -> bool {
        let key = (manager, unit.to_owned());
        let mut watched = lock(&self.watched);
        if watched.contains_key(&key) {
            return false;
        }
        let mut asked = lock(&self.asked);
        let most = if !asked.entry(Some(manager)).or_default().admits(second, MAX_ASKED) {
            Some(MAX_ASKED)
        } else if manager == Manager::System
            || asked.entry(None).or_default().admits(second, MAX_USERS_ASKED)
        {
            None
        } else {
            Some(MAX_USERS_ASKED)
        };
        if let Some(most) = most {
            let why = format!("there were more than {most} in a second");
            let [_, what] = manager.unknown_units();
            self.outbox.unavailable(what, why);
            return false;
        }
        let mut askers = lock(&self.askers);
        let askers = askers.entry(manager).or_default();
        if askers.len() >= MAX_ASKERS
            && let Some(first) = askers.pop_front()
        {
            let first = (manager, first);
            // It may be a target's by now.
            if watched.get(&first).is_some_and(|unit| unit.why == Why::Asker) {
                watched.remove(&first);
            }
        }
        askers.push_back(unit.to_owned());
        self.now_watch(key, Why::Asker, &mut watched)
    }

    /// A manager begins, or has ceased, to read all files again.
    pub fn reloads(&self, manager: Manager, begins: bool) {
        let mut reloading = lock(&self.reloading);
        if begins {
            reloading.insert(manager);
        } else {
            reloading.remove(&manager);
        }
    }

    /// A manager has no unit of that name any more. Where it comes back it is looked at anew. While it reads all files again
    /// it says so of every unit.
    pub fn unwatch(&self, manager: Manager, unit: &str) {
        if lock(&self.reloading).contains(&manager) {
            return;
        }
        lock(&self.watched).remove(&(manager, unit.to_owned()));
        if let Some(askers) = lock(&self.askers).get_mut(&manager) {
            askers.retain(|asker| asker != unit);
        }
    }

    /// Whether a unit that has just got a job is to be looked up: it can stop one that is watched, and is none of them;
    /// and there is still room for it in this second, counted from boot.
    pub fn looks_up_newcomer(&self, manager: Manager, unit: &str, second: u64) -> bool {
        let watched = lock(&self.watched);
        let mut others = watched.keys().filter(|(of, _)| *of == manager).peekable();
        if others.peek().is_none() || others.any(|(_, other)| other == unit) {
            return false;
        }
        let mut newcomers = lock(&self.newcomers);
        newcomers.entry(manager).or_default().admits(second, MAX_NEWCOMERS)
    }

    /// Whether there is still room in this second, counted from boot, to ask which unit one more process of a user belongs
    /// to.
    pub fn asks_for_invocation(&self, uid: u32, second: u64) -> bool {
        let mut invocations = lock(&self.invocations);
        if invocations.len() >= MAX_KNOWN {
            invocations.retain(|uid, _| uid.is_none());
        }
        invocations.entry(Some(uid)).or_default().admits(second, MAX_INVOCATIONS)
            && (uid == 0
                || invocations.entry(None).or_default().admits(second, MAX_USERS_INVOCATIONS))
    }

    /// Whether it is to be looked once more in this second, counted from boot, whether a user has a bus.
    pub fn looks_for_bus(&self, uid: u32, second: u64) -> bool {
        let mut looks = lock(&self.bus_looks);
        if looks.len() >= MAX_KNOWN {
            looks.clear();
        }
        looks.entry(uid).or_default().admits(second, MAX_BUS_LOOKS)
    }

    /// Plans to ask for the properties of a watched unit again. Returns whether that was not planned yet.
    pub fn plan_refresh(&self, manager: Manager, unit: &str) -> bool {
        let mut watched = lock(&self.watched);
        watched
            .get_mut(&(manager, unit.to_owned()))
            .is_some_and(|unit| !std::mem::replace(&mut unit.refresh_planned, true))
    }

    /// The properties are asked for now: what is heard from here on needs another time.
    pub fn begin_refresh(&self, manager: Manager, unit: &str) {
        if let Some(unit) = lock(&self.watched).get_mut(&(manager, unit.to_owned())) {
            unit.refresh_planned = false;
        }
    }
}

/// A lock whose content is valid even if somebody panicked while holding it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::cgroups::Cgroups;
    use super::super::dossier::OWN_FILE;
    use super::*;
    use crate::evidence::Fact;

    fn context() -> Context {
        telling(Outbox::new(tokio::sync::mpsc::unbounded_channel().0))
    }

    fn telling(outbox: Outbox) -> Context {
        Context::new(outbox, Processes::new(Cgroups::default()), Sources::connecting(&[]))
    }

    #[test]
    fn a_user_who_makes_up_invocations_has_few_looked_up() {
        let context = context();
        let asked = |second| (0..100).filter(|_| context.asks_for_invocation(1000, second)).count();
        assert_eq!([asked(7), asked(7), asked(8)], [8, 0, 8]);
        assert!(context.asks_for_invocation(0, 8), "another user's");
        // With as many ids as a user can have.
        let of_all = (100_000..165_536).filter(|uid| context.asks_for_invocation(*uid, 9));
        assert_eq!(of_all.count(), 64);
        assert!(context.asks_for_invocation(0, 9), "root's");
    }

    #[test]
    fn a_user_with_many_processes_takes_few_threads() {
        let context = context();
        let looks = |second| (0..100).filter(|_| context.looks_for_bus(1000, second)).count();
        assert_eq!([looks(7), looks(7), looks(8)], [8, 0, 8]);
        assert!(context.looks_for_bus(1001, 8), "another user's");
    }

    #[test]
    fn a_user_with_many_units_leaves_room_for_others() {
        let context = context();
        let users = (0..2 * MAX_NEIGHBOURS).map(|number| format!("run-{number}.service"));
        let watched = users.filter(|unit| context.watch_neighbour(Manager::User(1000), unit));
        assert_eq!(watched.count(), MAX_NEIGHBOURS);
        assert!(context.watch_neighbour(Manager::System, "base.service"));
        assert!(context.watch_neighbour(Manager::User(1001), "base.service"));
        assert!(!context.watch_neighbour(Manager::User(1001), "base.service"), "it is watched");
    }

    #[test]
    fn who_asks_takes_no_room_from_what_a_target_depends_on() {
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let context = telling(Outbox::new(sender));
        let mut told = || -> Vec<String> {
            let facts = std::iter::from_fn(|| told.try_recv().ok());
            let what = facts.map(|evidence| match evidence.fact {
                Fact::Unavailable(gone) => gone.what,
                other => panic!("{other:?}"),
            });
            what.collect()
        };
        let jobs = |count: u64| (0..count).map(|number| (number, format!("job-{number}.service")));
        let ask = |second, unit: &str| context.watch_asker(Manager::System, unit, second);
        for (number, unit) in jobs(1000) {
            assert!(ask(number, &unit) && !ask(number, &unit), "{unit}");
        }
        assert_eq!(context.watched(Manager::System).len(), MAX_ASKERS);
        assert!(told().is_empty());
        assert_eq!(jobs(100).filter(|(_, unit)| ask(5000, unit)).count(), 16);
        assert_eq!(told(), ["which of the system's units asked for something"]);
        for (_, unit) in jobs(2 * MAX_NEIGHBOURS as u64) {
            context.watch_neighbour(Manager::System, &format!("of-{unit}"));
        }
        assert_eq!(context.watched(Manager::System).len(), MAX_ASKERS + MAX_NEIGHBOURS);
        assert_eq!(told(), ["what the system's units depend on"]);
        assert!(context.watch(Manager::System, "target.service"), "there is always room for it");
    }

    /// A setting of the file of `x.service`.
    fn setting(name: &str, value: &str) -> Setting {
        let (scope, name, value) = ("x.service".to_owned(), name.to_owned(), value.to_owned());
        let manager = Some(Manager::System);
        Setting { manager, scope, name, value, file: None, line: None, unread: None }
    }

    #[test]
    fn settings_of_a_unit_that_comes_back_are_told_again() {
        let context = context();
        let settings = || vec![setting("Conflicts", "base.service"), setting(OWN_FILE, "/x")];
        let news = || context.news_of_settings(Manager::System, "x.service", settings());
        assert!(context.watch(Manager::System, "x.service"));
        assert_eq!((news().len(), news().len()), (2, 0));
        assert!(!context.watch(Manager::System, "x.service"));
        assert!(news().is_empty(), "they were told");
        context.unwatch(Manager::System, "x.service");
        assert!(context.watch_neighbour(Manager::System, "x.service"));
        assert_eq!(news(), settings()[..1]);
    }

    #[test]
    fn users_who_ask_are_looked_up_as_often_as_four_of_them() {
        let context = context();
        let ask = |manager, unit: u32| context.watch_asker(manager, &format!("{unit}.service"), 7);
        let users = (1000..1100).flat_map(|uid| (0..20).map(move |unit| (uid, unit)));
        let looked_up = users.filter(|(uid, unit)| ask(Manager::User(*uid), *unit));
        assert_eq!(looked_up.count(), 64);
        assert!(ask(Manager::System, 1), "the system's");
    }

    #[test]
    fn units_that_are_gone_take_no_room() {
        let context = context();
        for number in 0..3 * MAX_NEIGHBOURS {
            let unit = format!("run-{number}.service");
            assert!(context.watch_neighbour(Manager::System, &unit), "{unit}");
            assert!(context.watch_asker(Manager::System, &format!("a-{unit}"), number as u64));
            context.unwatch(Manager::System, &unit);
            context.unwatch(Manager::System, &format!("a-{unit}"));
        }
        assert!(context.watched(Manager::System).is_empty());
        context.watch(Manager::System, "a.service");
        context.reloads(Manager::System, true);
        context.unwatch(Manager::System, "a.service");
        context.reloads(Manager::System, false);
        assert_eq!(context.watched(Manager::System), ["a.service"]);
    }
}
