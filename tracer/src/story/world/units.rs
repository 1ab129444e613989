//! What was ever said of each unit.

use std::collections::{BTreeMap, HashSet, VecDeque};

use serde_json::Value;

use super::remembered::{self, Remembered};
use super::settings::Settings;
use super::{Seen, Steady};
use crate::evidence::{Manager, Moment, Source, UnitProperties, weight};
use crate::story::windows::LOOKED_BACK;

/// How much of the units of a manager is remembered, bytes: a user's can tell of units without end, and PID 1 makes new
/// ones for as long as the trace lasts.
const UNITS_KEPT: usize = 32 << 20;

/// How many changes of a unit are remembered.
const CHANGES_KEPT: usize = 64;

/// What a unit and each of its changes take beside the properties, bytes, generously.
const UNIT: usize = 512;

/// What was ever said of one unit.
#[derive(Debug, Default)]
pub struct UnitHistory {
    /// Newest value of every property.
    pub now: BTreeMap<String, Value>,
    /// Changes, oldest first.
    pub changes: VecDeque<Seen<BTreeMap<String, Value>>>,
    /// About how many bytes it takes.
    weight: usize,
    /// Which of all the things that were heard of units was the last one of it.
    heard: u64,
}

impl UnitHistory {
    fn take(&mut self, change: Seen<BTreeMap<String, Value>>) {
        for (name, value) in &change.value {
            self.weight += name.len() + weight(value);
            let before = self.now.insert(name.clone(), value.clone());
            let freed = before.map_or(0, |before| name.len() + weight(&before));
            self.weight = self.weight.saturating_sub(freed);
        }
        let size = |change: &Seen<BTreeMap<String, Value>>| {
            let properties = change.value.iter();
            UNIT + properties.map(|(name, value)| name.len() + weight(value)).sum::<usize>()
        };
        self.weight += size(&change);
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_KEPT
            && let Some(oldest) = self.changes.pop_front()
        {
            self.weight = self.weight.saturating_sub(size(&oldest));
        }
    }

    /// What has to be known of it to forget it. What was last heard is as old as anything that is heard of it now.
    fn remembered(&self, now_ns: u64) -> Remembered {
        let is_over = matches!(self.text("ActiveState"), Some("inactive" | "failed"))
            || self.text("LoadState") == Some("not-found");
        let last_ns = self.changes.back().map_or(0, Seen::ns);
        let is_done = is_over && last_ns.saturating_add(LOOKED_BACK) < now_ns;
        Remembered { heard: self.heard, weight: self.weight, is_done }
    }

    /// A string property.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.now.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Whether a property is known, be it empty: older managers do not have all of them.
    pub fn has(&self, name: &str) -> bool {
        self.now.contains_key(name)
    }

    /// All that a list-of-strings property ever held: a dependency on a unit is forgotten with that unit.
    pub fn ever_listed(&self, name: &str) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let before = self.changes.iter().filter_map(|change| change.value.get(name));
        for value in before.chain(self.now.get(name)) {
            match value {
                Value::Array(items) => {
                    all.extend(items.iter().filter_map(Value::as_str));
                }
                Value::String(one) if !one.is_empty() => all.push(one),
                _ => {}
            }
        }
        let mut known = HashSet::new();
        all.retain(|one| known.insert(*one));
        all
    }

    /// The unit that set off the last start of this one, where the manager says so: a timer, a socket, a path.
    pub fn trigger(&self) -> Option<String> {
        Self::trigger_in(&self.now)
    }

    /// The same by these properties.
    pub fn trigger_in(properties: &BTreeMap<String, Value>) -> Option<String> {
        let details = properties.get("ActivationDetails")?.as_array()?;
        let pairs = details.iter().filter_map(Value::as_array);
        let named =
            |pair: &&Vec<Value>| pair.first().and_then(Value::as_str) == Some("trigger_unit");
        pairs.into_iter().find(named)?.get(1)?.as_str().map(str::to_owned)
    }
}

/// The units of all managers.
#[derive(Debug, Default)]
pub struct Units {
    histories: Steady<(Manager, String), UnitHistory>,
    /// About how many bytes is remembered of each manager's.
    weight: BTreeMap<Manager, usize>,
    /// How many things were heard of units.
    heard: u64,
    /// How many of each manager's were forgotten for which a verdict may ask.
    forgotten: BTreeMap<Manager, usize>,
}

impl Units {
    /// Takes in what was said of a unit. Where there is no room for it, others are forgotten, and their `settings`.
    pub fn add(
        &mut self,
        at: Moment,
        source: Source,
        unit: &UnitProperties,
        settings: &mut Settings,
    ) {
        self.heard += 1;
        let history =
            self.histories.entry((unit.manager, unit.unit.clone())).or_insert_with(|| {
                let weight = UNIT + 2 * unit.unit.len();
                *self.weight.entry(unit.manager).or_default() += weight;
                UnitHistory { weight, ..UnitHistory::default() }
            });
        let before = history.weight;
        history.heard = self.heard;
        history.take(Seen { at, source, value: unit.properties.clone() });
        let total = self.weight.entry(unit.manager).or_default();
        *total = (*total + history.weight).saturating_sub(before);
        if *total > UNITS_KEPT {
            let gone = self.forget(unit.manager, at.boot_ns);
            settings.forget(unit.manager, &gone);
        }
    }

    /// Forgets some of a manager's units, until half of what may be remembered is left, and returns them.
    fn forget(&mut self, manager: Manager, now_ns: u64) -> HashSet<String> {
        let own = self.histories.iter().filter(|((of, _), _)| *of == manager);
        let own = own.map(|(_, history)| history.remembered(now_ns)).collect();
        let (kept, missed) = remembered::kept(own, UNITS_KEPT / 2);
        let goes = |history: &UnitHistory| !kept.contains(&history.heard);
        let gone = self.histories.extract_if(|(of, _), history| *of == manager && goes(history));
        let mut total = self.weight.remove(&manager).unwrap_or_default();
        let gone = gone.map(|((_, unit), history)| {
            total = total.saturating_sub(history.weight);
            unit
        });
        let gone = gone.collect();
        self.weight.insert(manager, total);
        *self.forgotten.entry(manager).or_default() += missed;
        gone
    }

    /// How many of a manager's units were forgotten for which a verdict may ask.
    pub fn forgotten(&self, manager: Manager) -> usize {
        self.forgotten.get(&manager).copied().unwrap_or_default()
    }

    /// What is known of a unit.
    pub fn get(&self, manager: Manager, unit: &str) -> Option<&UnitHistory> {
        self.histories.get(&(manager, unit.to_owned()))
    }

    /// All units, each with its manager.
    pub fn iter(&self) -> impl Iterator<Item = (&(Manager, String), &UnitHistory)> {
        self.histories.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{S, Time};

    /// A user's manager, or what stands where it should, tells of one unit after the other.
    #[test]
    fn of_a_users_units_what_was_heard_of_last_is_remembered() {
        let mut units = Units::default();
        let mut tell = |manager: Manager, unit: &str, size: usize| {
            let text = Value::from("x".repeat(size));
            let properties = BTreeMap::from([("Description".to_owned(), text)]);
            let unit = unit.to_owned();
            let at = Moment { time: Time::from_unix_ns(0), boot_ns: 0 };
            let unit = UnitProperties { manager, unit, properties };
            units.add(at, Source::Bus, &unit, &mut Settings::default());
            units.weight.clone()
        };
        let (user, size) = (Manager::User(1000), 60 << 10);
        tell(Manager::System, "a.service", size);
        tell(Manager::User(1001), "a.service", size);
        // The same again and again takes no more.
        for _ in 0..2000 {
            assert!(tell(user, "a.service", size)[&user] < 2 * CHANGES_KEPT * size);
        }
        for number in 0..2000 {
            assert!(tell(user, &format!("{number}.service"), size)[&user] <= UNITS_KEPT);
        }
        assert!(units.forgotten(user) > 0 && units.forgotten(Manager::System) == 0);
        let is_known = |manager, unit: &str| units.get(manager, unit).is_some();
        assert!(is_known(user, "1999.service") && !is_known(user, "0.service"));
        for manager in [Manager::System, Manager::User(1001)] {
            assert!(is_known(manager, "a.service"));
        }
        let weight: usize = units.histories.values().map(|history| history.weight).sum();
        assert_eq!(weight, units.weight.values().sum::<usize>());
    }

    /// Sessions come and go for weeks; what runs all the time says nothing.
    #[test]
    fn of_the_systems_units_those_that_are_over_are_forgotten() {
        let mut units = Units::default();
        let minutes = |minutes: u64| minutes * 60 * S;
        let mut tell = |unit: &str, state: &str, boot_ns: u64| {
            let properties = [("ActiveState", state), ("Description", &"x".repeat(20 << 10))];
            let properties = properties.map(|(name, value)| (name.to_owned(), Value::from(value)));
            let properties = BTreeMap::from(properties);
            let unit =
                UnitProperties { manager: Manager::System, unit: unit.to_owned(), properties };
            let at = Moment { time: Time::from_unix_ns(0), boot_ns };
            units.add(at, Source::Bus, &unit, &mut Settings::default());
            assert!(units.weight[&Manager::System] <= UNITS_KEPT);
        };
        tell("nginx.service", "active", 1);
        for session in 0..2000 {
            let scope = format!("session-{session}.scope");
            tell(&scope, "active", minutes(session));
            tell(&scope, "inactive", minutes(session));
        }
        let is_known = |unit: &str| units.get(Manager::System, unit).is_some();
        assert!(is_known("nginx.service") && is_known("session-1999.scope"));
        assert!(!is_known("session-0.scope"));
        assert_eq!(units.forgotten(Manager::System), 0);
    }
}
