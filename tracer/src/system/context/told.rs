//! What was last heard of units, and told of their settings: only news are told.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::evidence::{Manager, Setting, weight};
use crate::system::dossier::OWN_FILE;

/// Of how many units it is remembered what was heard.
const MAX_HEARD: usize = 4096;

/// And how many bytes of it. It is some KiB for each unit.
const MAX_HEARD_BYTES: usize = 32 << 20;

/// How many bytes of the settings that were told are remembered: those of the files of 64 units that are as long as may be.
const MAX_SETTINGS_BYTES: usize = 16 << 20;

/// What was last heard of units, and how many bytes it takes.
#[derive(Debug, Default)]
pub struct Heard {
    units: HashMap<(Manager, String), BTreeMap<String, Value>>,
    weight: usize,
}

/// What was last told of the settings of units, and how many bytes it takes.
#[derive(Debug, Default)]
pub struct ToldSettings {
    units: HashMap<(Manager, String), Vec<Setting>>,
    weight: usize,
}

impl Heard {
    /// Leaves of a unit's properties those that are not what they were when last heard.
    pub fn news(
        &mut self,
        unit: (Manager, String),
        mut properties: BTreeMap<String, Value>,
    ) -> BTreeMap<String, Value> {
        if self.units.len() >= MAX_HEARD || self.weight >= MAX_HEARD_BYTES {
            *self = Self::default();
        }
        let known = self.units.entry(unit).or_default();
        properties.retain(|name, value| known.get(name) != Some(value));
        known.extend(properties.clone());
        self.weight += properties.values().map(weight).sum::<usize>();
        properties
    }
}

impl ToldSettings {
    /// Those of a unit.
    pub fn of(&self, unit: &(Manager, String)) -> Vec<Setting> {
        self.units.get(unit).cloned().unwrap_or_default()
    }

    /// Leaves of a unit's settings those that are not what they were when last told.
    pub fn news(&mut self, unit: (Manager, String), now: Vec<Setting>) -> Vec<Setting> {
        let before = self.replace(unit, now.clone());
        now.into_iter().filter(|setting| !before.contains(setting)).collect()
    }

    /// Remembers these of a unit in place of those that are returned.
    fn replace(&mut self, unit: (Manager, String), now: Vec<Setting>) -> Vec<Setting> {
        if self.units.len() >= MAX_HEARD || self.weight >= MAX_SETTINGS_BYTES {
            *self = Self::default();
        }
        self.weight += weight_of(&now);
        let before = self.units.insert(unit, now).unwrap_or_default();
        self.weight -= weight_of(&before);
        before
    }

    /// From now on those of a unit count as news, but for where its own file is: that it is there again is told where it
    /// was told to be gone.
    pub fn forget(&mut self, unit: &(Manager, String)) {
        if let Some(settings) = self.units.get_mut(unit) {
            self.weight -= weight_of(settings);
            settings.retain(|setting| setting.name == OWN_FILE);
            self.weight += weight_of(settings);
        }
    }
}

/// About how many bytes they take.
fn weight_of(settings: &[Setting]) -> usize {
    settings.iter().map(|setting| size_of::<Setting>() + setting.text_len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_of_units_take_no_more_than_there_is_room_for() {
        let mut told = ToldSettings::default();
        let setting = Setting {
            manager: Some(Manager::System),
            scope: "x.service".to_owned(),
            name: "Conflicts".to_owned(),
            value: "x".repeat(1 << 18),
            file: None,
            line: None,
            unread: None,
        };
        for number in 0..300 {
            let unit = (Manager::User(1000 + number % 3), format!("{number}.service"));
            for settings in [vec![setting.clone(); 2], vec![setting.clone()]] {
                told.news(unit.clone(), settings);
            }
            let weight: usize = told.units.values().map(|settings| weight_of(settings)).sum();
            assert_eq!(told.weight, weight);
            assert!(told.weight < MAX_SETTINGS_BYTES + (1 << 20), "{number}");
        }
    }
}
