//! A unit as somebody named it: by its name, by another name that its manager knows it by, or by a pattern.

use crate::evidence::cgroup_path::{CgroupOwner, is_unit_name};
use crate::evidence::{Manager, UnitProperties, glob, is_unit_pattern};

/// How many units one name is kept to mean: PID 1's, and those of users that have it as another name.
const MAX_IDS: usize = 64;

/// A unit that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitTarget {
    /// As it was asked for: complete with suffix, or a pattern as systemctl takes it.
    pub name: String,
    /// What it is called in truth, where the name is another one of it (`Alias=`), and by whom. A cgroup has that name alone.
    ids: Vec<(Manager, String)>,
}

/// What a manager says of a name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitAnswer {
    /// As it was asked for.
    pub name: String,
    /// Who says it.
    pub manager: Manager,
    /// The name that the unit has in truth.
    pub id: String,
    /// `loaded`, `not-found`, `masked` and so on.
    pub load_state: String,
    /// Where PID 1 does not know it: the manager of every user who is logged in was asked too, and does not either.
    pub unknown_to_all: bool,
}

impl UnitTarget {
    /// A unit of this name, or those that a pattern fits.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ids: Vec::new() }
    }

    /// Whether any unit can be called so.
    pub fn can_be(&self) -> bool {
        is_unit_name(&self.name) || self.is_pattern()
    }

    /// Whether it is a pattern, which is compared with the names that units have in truth, as systemctl does.
    pub fn is_pattern(&self) -> bool {
        is_unit_pattern(&self.name)
    }

    /// Whether a manager's unit is meant; of a slice or a capsule's unit, whose manager is not known, by name alone.
    pub fn means(&self, manager: Option<Manager>, unit: &str) -> bool {
        let is_id = |(of, id): &(Manager, String)| {
            id == unit && manager.is_none_or(|manager| manager == *of)
        };
        self.name == unit
            || self.is_pattern() && glob(self.name.as_bytes(), unit.as_bytes())
            || self.ids.iter().any(is_id)
    }

    /// Whether the processes of a cgroup are meant.
    pub fn owns(&self, owner: &CgroupOwner) -> bool {
        let unowned = [&owner.user_unit, &owner.slice].into_iter().flatten();
        let is_users = |unit: &&String| owner.user_unit.as_ref() == Some(*unit);
        owner.units().any(|(manager, unit)| self.means(Some(manager), unit))
            || unowned
                .filter(|unit| owner.owner_uid.is_none() || !is_users(unit))
                .any(|unit| self.means(None, unit))
    }

    /// Takes note that a manager knows one of its units by this name too. Returns whether that is new.
    pub fn is_other_name_of(&mut self, manager: Manager, id: &str) -> bool {
        let own = (manager, id.to_owned());
        let is_new = id != self.name && is_unit_name(id) && !self.ids.contains(&own);
        let is_taken = is_new && !self.is_pattern() && self.ids.len() < MAX_IDS;
        if is_taken {
            self.ids.push(own);
        }
        is_taken
    }

    /// The same, where a manager tells all names of a unit. What a user's manager says is true of its own units alone.
    pub fn is_among_names_of(&mut self, told: &UnitProperties) -> bool {
        let names = told.properties.get("Names").and_then(|names| names.as_array());
        let is_one = names.is_some_and(|names| names.iter().any(|name| *name == *self.name));
        is_one && self.is_other_name_of(told.manager, &told.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/real.service";

    fn told(manager: Manager, unit: &str, names: &[&str]) -> UnitProperties {
        let names = serde_json::Value::from(names);
        let properties = [("Names".to_owned(), names)].into();
        UnitProperties { manager, unit: unit.to_owned(), properties }
    }

    #[test]
    fn another_name_of_a_unit_means_it() {
        let owns = |target: &UnitTarget, path: &str| target.owns(&CgroupOwner::of(path));
        let mut target = UnitTarget::new("sshd.service");
        assert!(!owns(&target, "/system.slice/ssh.service"));
        assert!(!target.is_among_names_of(&told(Manager::System, "x.service", &["x.service"])));
        let ssh = told(Manager::System, "ssh.service", &["ssh.service", "sshd.service"]);
        assert!(target.is_among_names_of(&ssh));
        assert!(!target.is_among_names_of(&ssh), "it is known");
        for path in ["/system.slice/ssh.service", "/system.slice/sshd.service"] {
            assert!(owns(&target, path), "{path}");
        }
        // The name is PID 1's: a user's unit that is called so is another one.
        assert!(!owns(&target, &USERS.replace("real", "ssh")));
    }

    #[test]
    fn what_a_users_manager_says_is_of_its_own_units() {
        let owns = |target: &UnitTarget, path: &str| target.owns(&CgroupOwner::of(path));
        let mut target = UnitTarget::new("web.service");
        let names = ["real.service", "web.service"];
        assert!(target.is_among_names_of(&told(Manager::User(1000), "real.service", &names)));
        assert!(owns(&target, USERS));
        assert!(!owns(&target, &USERS.replace("1000", "1001")));
        assert!(!owns(&target, "/system.slice/real.service"));
    }

    #[test]
    fn no_unit_is_called_so() {
        assert!(UnitTarget::new("a*").can_be() && UnitTarget::new("a.scope").can_be());
        assert!(!UnitTarget::new("a/b.service").can_be());
        assert!(!UnitTarget::new("@.service").can_be());
    }

    #[test]
    fn a_pattern_means_what_it_fits() {
        let target = UnitTarget::new("real*");
        assert!(target.owns(&CgroupOwner::of(USERS)));
        assert!(target.owns(&CgroupOwner::of("/system.slice/really.socket")));
        assert!(!target.owns(&CgroupOwner::of("/system.slice/unreal.service")));
        let every = UnitTarget::new("getty@*.service");
        let path = "/system.slice/system-getty.slice/getty@tty1.service";
        assert!(every.owns(&CgroupOwner::of(path)));
    }
}
