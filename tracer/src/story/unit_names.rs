//! The names that a service manager knows a unit by, and what means one of them in a command.

use super::world::World;
use crate::evidence::{Manager, glob, unit_of_file};

/// The names of a unit: its own first, then the other ones that its manager knows it by.
#[derive(Clone, Debug)]
pub struct Names<'n>(pub Vec<&'n str>);

impl<'n> Names<'n> {
    /// Of a unit of this manager.
    pub fn of(world: &'n World, manager: Manager, unit: &'n str) -> Self {
        let history = world.unit_of(manager, unit);
        let known = history.map(|history| history.ever_listed("Names")).unwrap_or_default();
        let others = known.into_iter().filter(|name| *name != unit);
        Self(std::iter::once(unit).chain(others).collect())
    }

    /// Whether this is one of them.
    pub fn include(&self, said: &str) -> bool {
        self.0.iter().any(|name| same_unit(said, name))
    }

    /// Whether an argument of systemctl means it: one of its names, the path of what it mounts, or a pattern, which
    /// is compared with its own name alone.
    pub fn are_meant_by(&self, arg: &str) -> bool {
        let by_path = || {
            let unit = arg.starts_with('/').then(|| unit_of_file(arg));
            unit.is_some_and(|unit| self.include(&unit))
        };
        let own = self.0.first().map(|name| name.as_bytes()).unwrap_or_default();
        let is_pattern = arg.contains(['*', '?', '[']);
        self.include(arg) || by_path() || is_pattern && glob(arg.as_bytes(), own)
    }
}

/// `nginx` and `nginx.service` are the same to systemctl.
fn same_unit(said: &str, unit: &str) -> bool {
    said == unit || (!said.contains('.') && unit.strip_suffix(".service") == Some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_paths() {
        assert!(Names(vec!["m.mount"]).are_meant_by("/m"));
    }
}
