//! By what name a service manager has a unit that somebody names: `sshd.service` is `ssh.service` on Debian.

use std::sync::Arc;

use serde_json::Value;

use super::{UNIT, UNITS, property, socket, unit_properties};
use crate::evidence::Manager;
use crate::evidence::cgroup_path::{bus_label_escape, is_unit_name};
use crate::system::context::Context;
use crate::system::unit_target::UnitAnswer;
use crate::system::{dossier, presence};

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
    let users = users_with_manager().into_iter().map(|uid| {
        let (context, name) = (Arc::clone(&context), name.clone());
        tokio::spawn(async move { answer(&context, Manager::User(uid), &name).await })
    });
    let users: Vec<_> = users.collect();
    let mut answers = Vec::new();
    for asked in users {
        answers.extend(asked.await.ok().flatten().filter(|it| it.load_state != NOT_FOUND));
    }
    if answers.is_empty() { of_system.into_iter().collect() } else { answers }
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
    Some(UnitAnswer { name: name.to_owned(), manager, id, load_state })
}

/// What the links among PID 1's files say, where it cannot be asked.
async fn by_files(context: &Arc<Context>, name: &str) -> Option<UnitAnswer> {
    let (root, alias) = (context.root.again(), name.to_owned());
    let read = move || root.unit_of_alias(Manager::System, None, &alias);
    let id = context.root_files.run(name, read).await.ok().flatten()?;
    let load_state = "loaded".to_owned();
    Some(UnitAnswer { name: name.to_owned(), manager: Manager::System, id, load_state })
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

/// Users whose service manager runs.
fn users_with_manager() -> Vec<u32> {
    let entries = std::fs::read_dir("/run/user").into_iter().flatten().flatten();
    let uids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    uids.filter(|uid| std::path::Path::new(&socket(Manager::User(*uid))).exists())
        .take(MAX_USERS)
        .collect()
}
