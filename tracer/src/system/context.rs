//! What all witnesses share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use zbus::Connection;

use super::as_user::AsUser;
use super::outbox::Outbox;
use super::processes::Processes;
use super::settings::Root;
use super::sources::Sources;
use crate::evidence::{Manager, Setting, weight};

/// How long a question waits for a connection that is being made.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How many units are watched before none is added that a target merely depends on: asking for each costs its manager
/// some milliseconds.
const MAX_NEIGHBOURS: usize = 64;

/// Of how many units of a manager that get a job it is looked up in a second what they conflict with: a boot makes
/// hundreds of jobs at once, and is no reason of any stop.
const MAX_NEWCOMERS: u32 = 16;

/// How many invocation IDs of the processes of one user it is asked in a second which unit they belong to: anybody can make
/// them up, and to answer costs PID 1 some time.
const MAX_INVOCATIONS: u32 = 8;

/// Of how many units it is remembered what was heard.
const MAX_HEARD: usize = 4096;

/// And how many bytes of it. It is some KiB for each unit.
const MAX_HEARD_BYTES: usize = 32 << 20;

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
    /// For reading the files of users.
    pub user_files: AsUser,
    /// For connecting to the sockets of users.
    pub user_sockets: AsUser,
    /// A connection to the system bus to ask questions over.
    pub system_bus: Link,
    /// A direct connection to each service manager.
    managers: Mutex<HashMap<Manager, Link>>,
    /// Units of targets, of those who signal them and of what they depend on: every change of theirs is followed up.
    watched: Mutex<HashMap<(Manager, String), bool>>,
    /// What was last heard of each unit.
    heard: Mutex<Heard>,
    /// Pids of targets that live in no service's cgroup: a unit may turn out to run them.
    homeless: Mutex<HashSet<u32>>,
    /// What was last told of the settings of each unit.
    settings: Mutex<HashMap<(Manager, String), Vec<Setting>>>,
    /// How many units that got a job were looked up in a second.
    newcomers: Mutex<HashMap<Manager, InSecond>>,
    /// How many invocation IDs of a user's processes were asked for in a second.
    invocations: Mutex<HashMap<u32, InSecond>>,
}

/// How many there were in a second.
#[derive(Debug, Default)]
struct InSecond {
    /// Counted from boot.
    second: u64,
    count: u32,
}

impl InSecond {
    /// Whether one more is among the first so many in this second, counted from boot.
    const fn admits(&mut self, second: u64, most: u32) -> bool {
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}

/// What was last heard of units, and how many bytes it takes.
#[derive(Debug, Default)]
struct Heard {
    units: HashMap<(Manager, String), BTreeMap<String, Value>>,
    weight: usize,
}

impl Context {
    /// Nothing connected yet.
    pub fn new(outbox: Outbox, processes: Processes, sources: Sources) -> Self {
        Self {
            outbox,
            processes,
            root: Root::default(),
            sources,
            user_files: AsUser::default(),
            user_sockets: AsUser::default(),
            system_bus: Link::default(),
            managers: Mutex::default(),
            watched: Mutex::default(),
            heard: Mutex::default(),
            homeless: Mutex::default(),
            settings: Mutex::default(),
            newcomers: Mutex::default(),
            invocations: Mutex::default(),
        }
    }

    /// Leaves of a unit's properties those that are not what they were when last heard: a manager announces
    /// all of them together, whichever changed.
    pub fn news(
        &self,
        manager: Manager,
        unit: &str,
        mut properties: BTreeMap<String, Value>,
    ) -> BTreeMap<String, Value> {
        let mut heard = lock(&self.heard);
        if heard.units.len() >= MAX_HEARD || heard.weight >= MAX_HEARD_BYTES {
            *heard = Heard::default();
        }
        let known = heard.units.entry((manager, unit.to_owned())).or_default();
        properties.retain(|name, value| known.get(name) != Some(value));
        known.extend(properties.clone());
        heard.weight += properties.values().map(weight).sum::<usize>();
        properties
    }

    /// A target lives in no service's cgroup.
    pub fn is_homeless(&self, pid: u32) {
        let mut homeless = lock(&self.homeless);
        if homeless.len() >= MAX_HEARD {
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
        lock(&self.settings).get(&(manager, unit.to_owned())).cloned().unwrap_or_default()
    }

    /// Leaves of a unit's settings those that are not what they were when last told.
    pub fn news_of_settings(
        &self,
        manager: Manager,
        unit: &str,
        now: Vec<Setting>,
    ) -> Vec<Setting> {
        let mut told = lock(&self.settings);
        if told.len() >= MAX_HEARD {
            told.clear();
        }
        let before = told.insert((manager, unit.to_owned()), now.clone()).unwrap_or_default();
        now.into_iter().filter(|setting| !before.contains(setting)).collect()
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

    /// From now on a unit is one of a target, or of who signals one. Returns whether that is new.
    pub fn watch(&self, manager: Manager, unit: &str) -> bool {
        lock(&self.watched).insert((manager, unit.to_owned()), false).is_none()
    }

    /// As [`Self::watch`], of a unit that a target's depends on, or that asks for something, as long as there is room for
    /// such. A user, who can make any number of units, takes none from the system's or another's.
    pub fn watch_neighbour(&self, manager: Manager, unit: &str) -> bool {
        let mut watched = lock(&self.watched);
        let room = watched.keys().filter(|(of, _)| *of == manager).count() < MAX_NEIGHBOURS;
        room && watched.insert((manager, unit.to_owned()), false).is_none()
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
        if invocations.len() >= MAX_HEARD {
            invocations.clear();
        }
        invocations.entry(uid).or_default().admits(second, MAX_INVOCATIONS)
    }

    /// Whether it is a watched unit whose properties should be asked again now. Until
    /// [`Context::refreshed`], others need not ask for the same.
    pub fn wants_refresh(&self, manager: Manager, unit: &str) -> bool {
        let mut watched = lock(&self.watched);
        watched
            .get_mut(&(manager, unit.to_owned()))
            .is_some_and(|busy| !std::mem::replace(busy, true))
    }

    /// The properties are about to be asked.
    pub fn refreshed(&self, manager: Manager, unit: &str) {
        if let Some(busy) = lock(&self.watched).get_mut(&(manager, unit.to_owned())) {
            *busy = false;
        }
    }
}

/// A lock whose content is valid even if somebody panicked while holding it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that is being made, is there, or cannot be had.
#[derive(Clone, Debug)]
pub struct Link(watch::Sender<LinkState>);

#[derive(Clone, Debug, Default)]
enum LinkState {
    #[default]
    Connecting,
    Up(Connection),
    Down(String),
}

impl Default for Link {
    fn default() -> Self {
        Self(watch::Sender::new(LinkState::Connecting))
    }
}

impl Link {
    /// It is there.
    pub fn up(&self, connection: Connection) {
        self.0.send_replace(LinkState::Up(connection));
    }

    /// It cannot be had, or is gone.
    pub fn down(&self, why: impl Into<String>) {
        self.0.send_replace(LinkState::Down(why.into()));
    }

    /// The connection; waits for one that is being made.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self) -> Result<Connection, String> {
        let mut state = self.0.subscribe();
        let ready = state.wait_for(|state| !matches!(state, LinkState::Connecting));
        match tokio::time::timeout(CONNECT_LIMIT, ready).await {
            Ok(Ok(state)) => match &*state {
                LinkState::Up(connection) => Ok(connection.clone()),
                LinkState::Down(why) => Err(why.clone()),
                LinkState::Connecting => Err("the connection is not made yet".to_owned()),
            },
            _ => Err(format!("no connection within {} s", CONNECT_LIMIT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cgroups::Cgroups;
    use super::*;

    fn context() -> Context {
        let outbox = Outbox::new(tokio::sync::mpsc::unbounded_channel().0);
        Context::new(outbox, Processes::new(Cgroups::default()), Sources::connecting(&[]))
    }

    #[test]
    fn a_user_who_makes_up_invocations_has_few_looked_up() {
        let context = context();
        let asked = |second| (0..100).filter(|_| context.asks_for_invocation(1000, second)).count();
        assert_eq!([asked(7), asked(7), asked(8)], [8, 0, 8]);
        assert!(context.asks_for_invocation(0, 8), "another user's");
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
}
