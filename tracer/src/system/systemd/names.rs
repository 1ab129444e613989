//! By what name a service manager has a unit that somebody names: `sshd.service` is `ssh.service` on Debian.

use std::sync::Arc;

use serde_json::Value;

use super::{UNIT, UNITS, property, socket, unit_properties};
use crate::evidence::Manager;
use crate::evidence::cgroup_path::{bus_label_escape, is_unit_name};
use crate::system::context::Context;
use crate::system::unit_target::UnitAnswer;
use crate::system::{bus, dossier, presence};

/// How many users' managers are asked for a unit.
const MAX_USERS: usize = 64;

/// Word of a manager for a unit that it has no file of (`unit_load_state_table`).
pub const NOT_FOUND: &str = "not-found";

/// What PID 1 says of a name and, where it knows no such unit, those users' managers that know one.
pub async fn look_up(context: Arc<Context>, name: String) -> Vec<UnitAnswer> {
    let of_system = answer(&context, Manager::System, &name).await;
    if of_system.as_ref().is_none_or(|answer| answer.load_state != NOT_FOUND) {
        return of_system.into_iter().collect();
    }
    let (users, are_all) = users_with_manager(&context).await;
    let users = users.into_iter().map(|uid| {
        let (context, name) = (Arc::clone(&context), name.clone());
        tokio::spawn(async move { answer(&context, Manager::User(uid), &name).await })
    });
    let users: Vec<_> = users.collect();
    let mut answers = Vec::new();
    for asked in users {
        answers.push(asked.await.ok().flatten());
    }
    told(of_system, answers, are_all)
}

/// What users' managers say of a name that PID 1 does not know, `None` where one did not answer; or that nobody knows it.
/// `are_all`: there is no other user's manager.
fn told(
    of_system: Option<UnitAnswer>,
    of_users: Vec<Option<UnitAnswer>>,
    are_all: bool,
) -> Vec<UnitAnswer> {
    let unknown_to_all = are_all && of_users.iter().all(Option::is_some);
    let known = of_users.into_iter().flatten().filter(|it| it.load_state != NOT_FOUND);
    let known: Vec<UnitAnswer> = known.collect();
    if known.is_empty() {
        of_system.map(|it| UnitAnswer { unknown_to_all, ..it }).into_iter().collect()
    } else {
        known
    }
}

/// What one manager says; `None` where it cannot be asked.
async fn answer(context: &Arc<Context>, manager: Manager, name: &str) -> Option<UnitAnswer> {
    let properties = match unit_properties(context, manager, name).await {
        Ok(properties) => properties,
        Err(_) if manager == Manager::System && presence::is_run_by_systemd() => {
            return by_files(context, name).await;
        }
        Err(_) => return None,
    };
    let text = |property: &str| properties.get(property).and_then(Value::as_str);
    let id = text("Id").filter(|id| is_unit_name(id))?.to_owned();
    let load_state = text("LoadState")?.to_owned();
    if load_state != NOT_FOUND && context.watch(manager, &id) {
        dossier::tell_unit(Arc::clone(context), manager, id.clone()).await;
    }
    Some(UnitAnswer { name: name.to_owned(), manager, id, load_state, unknown_to_all: false })
}

/// What the links among PID 1's files say, where it cannot be asked.
async fn by_files(context: &Arc<Context>, name: &str) -> Option<UnitAnswer> {
    let (root, alias) = (context.root.again(), name.to_owned());
    let read = move || root.unit_of_alias(Manager::System, None, &alias);
    let id = context.root_files.run(name, read).await.ok().flatten()?;
    let load_state = "loaded".to_owned();
    let (name, manager) = (name.to_owned(), Manager::System);
    Some(UnitAnswer { name, manager, id, load_state, unknown_to_all: false })
}

/// Tells of a unit where it has one of these names beside its own.
pub async fn tell_if_called(
    context: Arc<Context>,
    manager: Manager,
    unit: String,
    wanted: Vec<String>,
) {
    let path = format!("{UNITS}{}", bus_label_escape(&unit));
    let names = property(&context, manager, &path, UNIT, "Names").await;
    let Some(Value::Array(names)) = names else { return };
    if names.iter().any(|name| wanted.iter().any(|it| *name == **it)) {
        context.watch(manager, &unit);
        dossier::tell_unit(context, manager, unit).await;
    }
}

/// Users whose service manager runs, and whether those are all.
async fn users_with_manager(context: &Arc<Context>) -> (Vec<u32>, bool) {
    let directory = std::fs::read_dir("/run/user");
    let is_read =
        directory.as_ref().err().is_none_or(|error| error.kind() == std::io::ErrorKind::NotFound);
    let entries = directory.into_iter().flatten().flatten();
    let uids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let look = |uid| {
        let context = Arc::clone(context);
        let path = socket(Manager::User(uid));
        tokio::spawn(async move { bus::is_there(&context, uid, path).await.then_some(uid) })
    };
    let looks: Vec<_> = uids.map(look).collect();
    let mut uids = Vec::new();
    for look in looks {
        uids.extend(look.await.ok().flatten());
    }
    let are_all = is_read && uids.len() <= MAX_USERS;
    uids.truncate(MAX_USERS);
    (uids, are_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_knows_a_unit_only_where_all_were_asked() {
        let answer = |manager: Manager, load_state: &str| UnitAnswer {
            name: "x.service".to_owned(),
            manager,
            id: "x.service".to_owned(),
            load_state: load_state.to_owned(),
            unknown_to_all: false,
        };
        let nobody = |users: Vec<Option<UnitAnswer>>, are_all: bool| {
            let all = told(Some(answer(Manager::System, NOT_FOUND)), users, are_all);
            assert_eq!(all.len(), 1);
            (all[0].manager, all[0].unknown_to_all)
        };
        let user = |load_state: &str| Some(answer(Manager::User(1000), load_state));
        assert_eq!(nobody(vec![], true), (Manager::System, true));
        assert_eq!(nobody(vec![user(NOT_FOUND)], true), (Manager::System, true));
        assert_eq!(nobody(vec![user(NOT_FOUND), None], true), (Manager::System, false));
        assert_eq!(nobody(vec![user(NOT_FOUND)], false), (Manager::System, false));
        assert_eq!(nobody(vec![None, user("loaded")], true), (Manager::User(1000), false));
    }
}
