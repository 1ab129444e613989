//! Every setting that was found, by what it is set for.

use std::collections::{BTreeMap, HashMap};

use super::{Recent, Seen};
use crate::evidence::{Manager, Moment, Setting, Source};

/// Settings that add up over several lines: each line is told.
const ADDED_UP: [&str; 16] = [
    "BindsTo",
    "PartOf",
    "Requires",
    "Requisite",
    "Conflicts",
    "StopPropagatedFrom",
    "PropagatesStopTo",
    "RequiresMountsFor",
    "SystemCallFilter",
    "ExecCondition",
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

/// How many values of one setting are kept: it hardly ever changes.
const MAX_VALUES: usize = 8;

/// Settings as they were learned.
#[derive(Debug, Default)]
pub struct Settings {
    /// By manager, scope and name, in the order in which they were learned.
    values: HashMap<(Option<Manager>, String, String), Vec<Seen<Setting>>>,
    /// Every line of those that add up over several lines, by manager.
    lines: BTreeMap<Option<Manager>, Recent<Setting>>,
}

impl Settings {
    /// Takes in what was learned.
    pub fn add(&mut self, at: Moment, source: Source, setting: &Setting) {
        if ADDED_UP.contains(&setting.name.as_str()) {
            let lines = self.lines.entry(setting.manager).or_default();
            lines.push(at, source, setting.clone());
        }
        let key = (setting.manager, setting.scope.clone(), setting.name.clone());
        let known = self.values.entry(key).or_default();
        if known.len() == MAX_VALUES {
            known.remove(0);
        }
        known.push(Seen { at, source, value: setting.clone() });
    }

    /// A setting as it was at a time: what was learned last until then, else what was learned first.
    pub fn at(
        &self,
        manager: Option<Manager>,
        scope: &str,
        name: &str,
        ns: u64,
    ) -> Option<&Setting> {
        let known = self.values.get(&(manager, scope.to_owned(), name.to_owned()))?;
        let seen = known.iter().rev().find(|seen| seen.ns() <= ns).or_else(|| known.first())?;
        Some(&seen.value)
    }

    /// Every line of those that add up, oldest first.
    pub fn lines(&self, manager: Manager) -> impl DoubleEndedIterator<Item = &Seen<Setting>> {
        let of = |whose| self.lines.get(&whose).into_iter().flat_map(Recent::iter);
        of(None).chain(of(Some(manager)))
    }
}
