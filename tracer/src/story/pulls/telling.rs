//! How a dependency is told, and the line that made it.

use super::Pull;
use crate::evidence::{Manager, Written, unit_template};
use crate::story::case::Case;
use crate::story::requests::Wish;
use crate::story::unit_names::Names;
use crate::story::verdict::DecidingSetting;
use crate::story::{units, words};

impl Pull<'_> {
    /// The line that made the dependency.
    pub fn setting(
        &self,
        case: &Case<'_>,
        manager: Manager,
        unit: &str,
    ) -> Option<DecidingSetting> {
        let other = self.trigger.unit.as_str();
        let find = |of: &str, name: &str, named: &str| {
            let named = Names::of(case.world, manager, named);
            let scopes = Names::of(case.world, manager, of);
            let template = unit_template(of);
            let scopes: Vec<&str> = scopes.0.into_iter().chain([template.as_str()]).collect();
            units::setting_naming(case, manager, &scopes, name, &named.0)
        };
        let own = self.relation.own.and_then(|name| find(unit, name, other));
        let for_path = || {
            let requires = self.relation.own == Some("Requires");
            requires.then(|| find(unit, "RequiresMountsFor", other)).flatten()
        };
        own.or_else(for_path)
            .or_else(|| find(other, self.relation.others?, unit))
            .or_else(|| self.no_longer_set(case, manager, unit))
    }

    /// The setting as the manager still goes by it, where it says itself that the files of one of the two have changed
    /// since it read them.
    fn no_longer_set(
        &self,
        case: &Case<'_>,
        manager: Manager,
        unit: &str,
    ) -> Option<DecidingSetting> {
        let other = self.trigger.unit.as_str();
        let is_stale = |unit: &str| {
            let history = case.world.unit_of(manager, unit)?;
            let before = history.changes.iter().rev().filter(|it| it.ns() <= case.struck_ns());
            before.into_iter().find_map(|change| change.value.get("NeedDaemonReload")?.as_bool())
        };
        let stale = [unit, other].into_iter().any(|unit| is_stale(unit) == Some(true));
        let needs_line = self.name() != "Slice" && self.relation.then == Wish::Stop;
        let value = if self.relation.own.is_some() { other } else { unit };
        (stale && needs_line).then(|| DecidingSetting {
            name: self.name().to_owned(),
            value: value.to_owned(),
            file: None,
            line: None,
            unread: Some(Written { value: String::new(), file: None, line: None }),
        })
    }

    /// The name of the setting.
    const fn name(&self) -> &'static str {
        match (self.relation.own, self.relation.others) {
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => self.relation.property,
        }
    }

    /// The dependency in words, of a unit that is called so.
    pub fn why(&self, unit: &str, setting: Option<&DecidingSetting>) -> String {
        let other = self.trigger.unit.as_str();
        let (from, to) = match self.relation.property {
            "ConflictedBy" => (words::unit(other), unit),
            _ => (unit.to_owned(), other),
        };
        let by_setting = match setting {
            Some(setting) => format!(" ({})", units::cited(setting)),
            // That a unit is in a slice needs no line, and what another wants is mostly said by a link in a directory.
            None if self.name() == "Slice" || self.relation.then == Wish::Start => String::new(),
            // By a file that was not read, by another setting that means it, too, or by a program.
            None => format!(" ({}=; the line that says so was not found)", self.name()),
        };
        format!("{from} {} {to}{by_setting}", self.relation.words)
    }
}
