//! A container that is a target: whose it is, and by what name.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::cgroups::Cgroups;
use super::containers;
use crate::evidence::cgroup_path::{CgroupOwner, cgroup_of_container};
use crate::evidence::{Container, ContainerFound};

/// Shortest beginning of a container's id that is taken for one.
pub const MIN_CONTAINER_ID: usize = 4;

/// How many containers of users are known by their name.
const MOST: usize = 256;

/// A container of a user's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsersContainer {
    /// Whose it is.
    pub uid: u32,
    /// What runs it.
    pub runtime: String,
    /// Its id.
    pub id: String,
}

/// A container that is a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerTarget {
    /// As it was named: its name, or the beginning of its id.
    pub named: String,
    /// Root has, or had, one of that name: users' are others.
    is_roots: bool,
    /// Those of users that have the name, as these users' own files say. That is learned by and by: it is not waited for.
    of_users: BTreeSet<UsersContainer>,
}

impl ContainerTarget {
    /// A target that nothing is known of.
    pub fn new(named: &str) -> Self {
        Self { named: named.to_owned(), is_roots: false, of_users: BTreeSet::new() }
    }

    /// Whether a cgroup of this path is the container's, or below it. Nothing of a user's is looked at for that.
    pub fn owns(&self, cgroup: &str) -> bool {
        let owner = CgroupOwner::of(cgroup);
        let Some(container) = owner.innermost_container() else { return false };
        if self.is_id(&container.id) {
            return true;
        }
        match namer(cgroup) {
            Some(None) => {
                let name = containers::describe(container, None).0.name;
                name.as_deref() == Some(self.named.as_str())
            }
            Some(Some(uid)) => {
                self.of_users.iter().any(|known| known.uid == uid && known.id == container.id)
            }
            None => false,
        }
    }

    /// Takes note that a cgroup which it owns is there.
    pub fn has_come(&mut self, cgroup: &str) {
        self.is_roots |= is_roots(cgroup);
    }

    /// Whether a user's container of that name would be meant.
    pub const fn takes_users(&self) -> bool {
        !self.is_roots
    }

    /// Takes note of what a look at all that runs has found. Those of users that are new come back.
    pub fn learn(
        &mut self,
        is_roots: bool,
        of_users: &BTreeSet<UsersContainer>,
    ) -> Vec<UsersContainer> {
        self.is_roots |= is_roots;
        let new = of_users.iter().filter(|it| self.add((*it).clone())).cloned();
        new.collect()
    }

    /// Takes note of what a container is called, which its user's files tell. Comes back where it is meant and was not known.
    pub fn is_called(&mut self, told: &ContainerFound) -> Option<UsersContainer> {
        let Container { runtime, id, name, named_by, .. } = &told.container;
        let uid = (*named_by)?;
        let is_meant = name.as_ref() == Some(&self.named) && !self.is_id(id) && self.takes_users();
        let its = UsersContainer { uid, runtime: runtime.clone(), id: id.clone() };
        (is_meant && self.add(its.clone())).then_some(its)
    }

    fn add(&mut self, its: UsersContainer) -> bool {
        self.of_users.len() < MOST && self.of_users.insert(its)
    }

    fn is_id(&self, id: &str) -> bool {
        let is_beginning = self.named.len() >= MIN_CONTAINER_ID && id.len() == 64;
        id == self.named || is_beginning && id.starts_with(&self.named)
    }
}

/// The container that a cgroup is of, where it is a user's own.
pub fn users_container(cgroup: &str) -> Option<(u32, Container)> {
    let uid = namer(cgroup)??;
    CgroupOwner::of(cgroup).innermost_container().map(|container| (uid, container.clone()))
}

/// Whether only root could choose the name of a container's cgroup.
pub fn is_roots(cgroup: &str) -> bool {
    namer(cgroup) == Some(None)
}

/// The user, not root, who could choose the name of a container's cgroup; `None` where that is not to be seen.
fn namer(cgroup: &str) -> Option<Option<u32>> {
    static CGROUPS: LazyLock<Cgroups> = LazyLock::new(Cgroups::detect);
    let user = cgroup_of_container(cgroup).map(|own| CGROUPS.named_by(&own));
    match user {
        Some(Ok(user)) => Some(user),
        // What the path alone tells.
        _ => {
            let owner = CgroupOwner::of(cgroup);
            let uid = owner.rootless_uid();
            owner.told_container().map(|told| told.named_by.or(uid))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> String {
        digit.repeat(64)
    }

    fn path(uid: u32, id: &str) -> String {
        format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/docker-{id}.scope")
    }

    fn told(uid: Option<u32>, id: &str, name: &str) -> ContainerFound {
        let cgroup =
            uid.map_or_else(|| format!("/system.slice/docker-{id}.scope"), |uid| path(uid, id));
        let container = CgroupOwner::of(&cgroup).container.expect("a container");
        let container = Container { name: Some(name.to_owned()), named_by: uid, ..container };
        ContainerFound { cgroup, container }
    }

    #[test]
    fn a_users_container_is_meant_once_its_name_is_known() {
        let mut web = ContainerTarget::new("web");
        let (one, other) = (id("a"), id("b"));
        assert!(!web.owns(&path(4001, &one)));
        assert_eq!(web.is_called(&told(Some(4001), &other, "db")), None);
        let its = web.is_called(&told(Some(4001), &one, "web")).expect("it is meant");
        assert_eq!((its.uid, its.runtime.as_str()), (4001, "docker"));
        assert_eq!(web.is_called(&told(Some(4001), &one, "web")), None, "once");
        assert!(web.owns(&path(4001, &one)) && web.owns(&format!("{}/sub", path(4001, &one))));
        // Another of the user's, and another user's of the same id.
        assert!(!web.owns(&path(4001, &other)) && !web.owns(&path(4002, &one)));
        // What is root's is looked up by root's own files.
        assert_eq!(web.is_called(&told(None, &other, "web")), None);
    }

    #[test]
    fn a_users_container_does_not_join_roots() {
        let found = BTreeSet::from([UsersContainer {
            uid: 4001,
            runtime: "docker".to_owned(),
            id: id("a"),
        }]);
        let mut web = ContainerTarget::new("web");
        web.learn(true, &BTreeSet::new());
        assert!(!web.takes_users());
        assert_eq!(web.is_called(&told(Some(4001), &id("a"), "web")), None);
        assert!(!web.owns(&path(4001, &id("a"))));
        // Root's may come later; it is root's from then on.
        let mut web = ContainerTarget::new("web");
        assert_eq!(web.learn(false, &found).len(), 1);
        assert_eq!(web.learn(false, &found).len(), 0, "once");
        web.has_come(&path(4001, &id("a")));
        assert!(web.takes_users());
        web.has_come(&format!("/system.slice/docker-{}.scope", id("c")));
        assert_eq!(web.is_called(&told(Some(4002), &id("b"), "web")), None);
    }
}
