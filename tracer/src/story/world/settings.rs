//! Every setting that was found, by what it is set for, within bounds: how many units there are, and what their files
//! say, others decide.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Recent, Seen};
use crate::evidence::{Manager, Moment, Setting, Source};

/// How many values of one setting are kept: it hardly ever changes.
const MAX_VALUES: usize = 8;

/// How much of the settings of one manager's units is kept, bytes. Those of a unit are some KiB.
const MOST: usize = 16 << 20;

/// The settings of each manager's units, and those that are of no unit.
#[derive(Debug, Default)]
pub struct Settings(BTreeMap<Option<Manager>, Known>);

/// Those of one manager's units.
#[derive(Debug, Default)]
struct Known {
    /// By scope and name, in the order in which they were learned.
    values: HashMap<String, Scope>,
    /// Every line of those of which every line is told.
    lines: Recent<Setting>,
    /// About how many bytes all of that takes.
    weight: usize,
    /// How many were learned.
    learned: u64,
    /// Of how many units they were forgotten.
    forgotten: usize,
}

/// Those of one unit.
#[derive(Debug, Default)]
struct Scope {
    values: HashMap<String, Vec<Seen<Setting>>>,
    weight: usize,
    /// Which of all that were learned was the last one.
    learned: u64,
}

impl Settings {
    /// Takes in one.
    pub fn add(&mut self, at: Moment, source: Source, setting: &Setting) {
        let known = self.0.entry(setting.manager).or_default();
        known.learned += 1;
        if setting.has_lines() {
            known.weight += weight(setting);
            let oldest = known.lines.push_out(at, source, setting.clone());
            known.weight -= oldest.map_or(0, |oldest| weight(&oldest.value));
        }
        let scope = known.values.entry(setting.scope.clone()).or_default();
        scope.learned = known.learned;
        let values = scope.values.entry(setting.name.clone()).or_default();
        let oldest = (values.len() == MAX_VALUES).then(|| values.remove(0));
        let (more, less) = (weight(setting), oldest.map_or(0, |oldest| weight(&oldest.value)));
        values.push(Seen { at, source, value: setting.clone() });
        scope.weight = scope.weight + more - less;
        known.weight = known.weight + more - less;
        if setting.manager.is_some() && known.weight > MOST {
            known.make_room();
        }
    }

    /// Forgets those of a manager's units.
    pub fn forget(&mut self, manager: Manager, units: &HashSet<String>) {
        if let Some(known) = self.0.get_mut(&Some(manager)) {
            known.forget(|scope| units.contains(scope));
        }
    }

    /// Of how many of a manager's units they were forgotten, though these may still be there.
    pub fn forgotten(&self, manager: Manager) -> usize {
        self.0.get(&Some(manager)).map_or(0, |known| known.forgotten)
    }

    /// A setting as it was at a time: what was learned last until then, else what was learned first.
    pub fn at(
        &self,
        manager: Option<Manager>,
        scope: &str,
        name: &str,
        ns: u64,
    ) -> Option<&Setting> {
        let known = self.0.get(&manager)?.values.get(scope)?.values.get(name)?;
        let seen = known.iter().rev().find(|seen| seen.ns() <= ns).or_else(|| known.first())?;
        Some(&seen.value)
    }

    /// The newest value of each setting of a unit, in the order of their names.
    pub fn of(&self, manager: Option<Manager>, unit: &str) -> impl Iterator<Item = &Setting> {
        let scope = self.0.get(&manager).and_then(|known| known.values.get(unit));
        let newest = scope.into_iter().flat_map(|scope| scope.values.values());
        let mut newest: Vec<_> = newest.filter_map(|values| Some(&values.last()?.value)).collect();
        newest.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        newest.into_iter()
    }

    /// Every line of those of which every line is told, oldest first.
    pub fn lines(
        &self,
        manager: Option<Manager>,
    ) -> impl DoubleEndedIterator<Item = &Seen<Setting>> {
        self.0.get(&manager).into_iter().flat_map(|known| known.lines.iter())
    }
}

impl Known {
    fn forget(&mut self, is_of: impl Fn(&str) -> bool) {
        self.values.retain(|scope, _| !is_of(scope));
        self.lines.retain(|line| !is_of(&line.value.scope));
        let of_lines: usize = self.lines.iter().map(|line| weight(&line.value)).sum();
        self.weight = of_lines + self.values.values().map(|scope| scope.weight).sum::<usize>();
    }

    /// Forgets the units of which nothing was learned for longest, until half of the room is free.
    fn make_room(&mut self) {
        let mut newest: Vec<_> =
            self.values.values().map(|scope| (scope.learned, scope.weight)).collect();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        // A line is there a second time.
        let mut room = MOST / 4;
        let fits = |(_, weight): &&(u64, usize)| {
            room = room.saturating_sub(*weight);
            room > 0
        };
        let kept_from = newest.iter().take_while(fits).last().map_or(u64::MAX, |(last, _)| *last);
        let gone: HashSet<String> = self
            .values
            .iter()
            .filter(|(_, scope)| scope.learned < kept_from)
            .map(|(name, _)| name.clone())
            .collect();
        self.forgotten += gone.len();
        self.forget(|scope| gone.contains(scope));
    }
}

/// About how many bytes it takes.
fn weight(setting: &Setting) -> usize {
    size_of::<Seen<Setting>>() + setting.text_len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Time;

    #[test]
    fn a_user_with_large_files_takes_no_more_than_there_is_room_for() {
        let mut settings = Settings::default();
        let at = Moment { time: Time::from_unix_ns(0), boot_ns: 1 };
        let setting = |manager, scope: &str, name: &str, value: &str| Setting {
            manager,
            scope: scope.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            file: None,
            line: None,
            unread: None,
        };
        let user = Some(Manager::User(1000));
        let large = "x".repeat(200 << 10);
        let own = setting(Some(Manager::System), "a.service", "KillMode", "mixed");
        settings.add(at, Source::File, &own);
        settings.add(at, Source::File, &setting(None, "logind.conf", "A", "b"));
        for number in 0..1000 {
            let unit = format!("{number}.service");
            settings.add(at, Source::File, &setting(user, &unit, "Conflicts", &large));
            let known = &settings.0[&user];
            assert!(known.weight <= MOST, "{number}");
            let lines: usize = known.lines.iter().map(|line| weight(&line.value)).sum();
            let values: usize = known.values.values().map(|scope| scope.weight).sum();
            assert_eq!(known.weight, lines + values);
        }
        let is_known = |manager, scope: &str, name| settings.at(manager, scope, name, 1).is_some();
        assert!(is_known(user, "999.service", "Conflicts"));
        assert!(!is_known(user, "0.service", "Conflicts"));
        assert!(is_known(Some(Manager::System), "a.service", "KillMode"));
        assert!(is_known(None, "logind.conf", "A"));
        assert!(settings.forgotten(Manager::User(1000)) > 0);
        assert_eq!(settings.forgotten(Manager::System), 0);
        let gone = HashSet::from(["999.service".to_owned()]);
        settings.forget(Manager::User(1000), &gone);
        assert!(settings.at(user, "999.service", "Conflicts", 1).is_none());
        assert!(settings.lines(user).all(|line| line.value.scope != "999.service"));
    }
}
