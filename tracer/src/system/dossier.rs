//! What is gathered about a process that matters, in the background, while it still lives: its user and
//! session, its units with their settings, its container.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::context::Context;
use super::settings::truth;
use super::settings::units::UnitFiles;
use super::{bus, containers, logind, systemd, terminals, users};
use crate::evidence::cgroup_path::{CgroupOwner, slices};
use crate::evidence::{
    ContainerFound, Fact, Manager, ProcessSnapshot, Setting, Source, UnitProperties, User,
};

/// Gathers about one who sent a signal, or whose end led to one: who it is.
pub async fn witness(context: Arc<Context>, process: ProcessSnapshot) {
    let owner = CgroupOwner::of(process.cgroup.as_deref().unwrap_or_default());
    let uids: BTreeSet<u32> = std::iter::once(process.uid).chain(owner.owner_uid).collect();
    for uid in uids {
        user(&context, uid).await;
    }
    container(&context, &process, &owner).await;
    if let Some(session) = owner.session.filter(|id| context.outbox.first_time(("session", id))) {
        logind::tell(context, session).await;
    }
}

/// Gathers about a target: all that a verdict on its end may need.
pub async fn target(context: Arc<Context>, process: ProcessSnapshot) {
    let owner = CgroupOwner::of(process.cgroup.as_deref().unwrap_or_default());
    machine_settings(&context);
    if process.environment.contains_key("SSH_CONNECTION") {
        ssh_settings(&context);
    }
    if let Some(tty) = process.tty.clone() {
        let context = Arc::clone(&context);
        tokio::task::spawn_blocking(move || terminals::tell(&context, &tty));
    }
    let mut units = Vec::new();
    units.extend(owner.unit.clone().map(|unit| (Manager::System, unit)));
    if let Some(uid) = owner.owner_uid {
        units.push((Manager::System, format!("user@{uid}.service")));
        units.extend(owner.user_unit.map(|unit| (Manager::User(uid), unit)));
        listen_to_user_bus(&context, uid);
    }
    for (manager, unit) in units {
        if context.watch(manager, &unit) {
            tokio::spawn(tell_unit(Arc::clone(&context), manager, unit));
        }
    }
    if is_oomd_there(&context) {
        if context.outbox.first_time("oomd settings") {
            tell_settings(&context, context.root.oomd());
        }
        // Which of them it watches, and how closely, is a setting of theirs.
        for slice in slices(process.cgroup.as_deref().unwrap_or_default()) {
            if context.outbox.first_time(("neighbour", Manager::System, &slice)) {
                tokio::spawn(tell_neighbour(Arc::clone(&context), Manager::System, slice));
            }
        }
    }
    if context.outbox.first_time("running logind") {
        tokio::spawn(compare_with_logind(Arc::clone(&context)));
    }
    witness(context, process).await;
}

/// Tells who a user is, once. The lookup may go over the network, so it has a thread of its own.
pub async fn user(context: &Arc<Context>, uid: u32) -> Option<User> {
    let user = tokio::task::spawn_blocking(move || users::by_uid(uid)).await.ok().flatten();
    if context.outbox.first_time(("user", uid)) {
        match user.clone() {
            Some(user) => context.outbox.say(Source::File, Fact::User(user)),
            None => context
                .outbox
                .unavailable(format!("user {uid}"), "no name is known for this number"),
        }
    }
    user
}

async fn container(context: &Arc<Context>, process: &ProcessSnapshot, owner: &CgroupOwner) {
    let (Some(container), Some(cgroup)) =
        (owner.innermost_container().cloned(), process.cgroup.clone())
    else {
        return;
    };
    if !context.outbox.first_time(("container", &cgroup)) {
        return;
    }
    let home =
        user(context, owner.owner_uid.unwrap_or(process.uid)).await.and_then(|user| user.home);
    let describing =
        tokio::task::spawn_blocking(move || containers::describe(&container, home.as_deref()));
    if let Ok(container) = describing.await {
        context.outbox.say(Source::CgroupFs, Fact::Container(ContainerFound { cgroup, container }));
    }
}

/// The settings of logind and of PID 1, once.
fn machine_settings(context: &Context) {
    if context.outbox.first_time("machine settings") {
        let settings =
            context.root.logind().into_iter().chain([context.root.default_timeout_stop()]);
        tell_settings(context, settings);
    }
}

/// Whether systemd-oomd runs. It is found by its cgroup, as it is when it kills.
fn is_oomd_there(context: &Context) -> bool {
    let cgroup = "/system.slice/systemd-oomd.service";
    context.processes.cgroups().unified_directory(cgroup).is_some_and(|place| place.is_dir())
}

/// The settings of sshd, once.
pub fn ssh_settings(context: &Context) {
    if context.outbox.first_time("ssh settings") {
        tell_settings(context, context.root.sshd());
    }
}

fn tell_settings(context: &Context, settings: impl IntoIterator<Item = Setting>) {
    for setting in settings {
        context.outbox.say(Source::File, Fact::Setting(setting));
    }
}

/// The running logind may have read other files than those that are there now. What it runs with counts.
async fn compare_with_logind(context: Arc<Context>) {
    const NAME: &str = "KillUserProcesses";
    let Some(running) = logind::running_kill_user_processes(&context).await else {
        return;
    };
    let written = context.root.logind().into_iter().find(|setting| setting.name == NAME);
    let agrees = written.as_ref().and_then(|setting| truth(&setting.value)) == Some(running);
    if agrees {
        return;
    }
    if let Some(Setting { value, file: Some(file), line: Some(line), .. }) = written {
        let why = format!("{file}:{line} says {value}, but systemd-logind has not read that yet");
        context.outbox.unavailable(format!("file that set {NAME}"), why);
    }
    let value = if running { "yes" } else { "no" }.to_owned();
    let setting = Setting {
        scope: "logind.conf".to_owned(),
        name: NAME.to_owned(),
        value,
        file: None,
        line: None,
    };
    context.outbox.say(Source::BusProperty, Fact::Setting(setting));
}

/// Tells a unit's properties, and what its files set.
pub async fn tell_unit(context: Arc<Context>, manager: Manager, unit: String) {
    let asked = systemd::unit_properties(&context, manager, &unit).await;
    let files = match &asked {
        Ok(properties) => files_of(properties),
        Err(_) => None,
    };
    match asked {
        Ok(properties) => {
            neighbours(&context, manager, &properties);
            let unit = unit.clone();
            let fact = Fact::Unit(UnitProperties { manager, unit, properties });
            context.outbox.say(Source::BusProperty, fact);
        }
        Err(why) => context.outbox.unavailable(format!("unit {unit}"), why),
    }
    tell_files(&context, manager, &unit, files).await;
}

/// Tells what the files of those units set that can take this one down by a line of their own.
pub fn neighbours(
    context: &Arc<Context>,
    manager: Manager,
    properties: &std::collections::BTreeMap<String, Value>,
) {
    const DECLARED_THERE: [&str; 2] = ["ConflictedBy", "StopPropagatedFrom"];
    /// More than these are hardly anybody's intention.
    const MOST: usize = 16;
    let listed = DECLARED_THERE.iter().filter_map(|name| properties.get(*name)?.as_array());
    let units = listed.flatten().filter_map(|unit| unit.as_str());
    for unit in units.filter(|unit| *unit != "shutdown.target").take(MOST) {
        if context.outbox.first_time(("neighbour", manager, unit)) {
            tokio::spawn(tell_neighbour(Arc::clone(context), manager, unit.to_owned()));
        }
    }
}

async fn tell_neighbour(context: Arc<Context>, manager: Manager, unit: String) {
    let files = systemd::unit_properties(&context, manager, &unit).await;
    let files = files.ok().as_ref().and_then(files_of);
    tell_files(&context, manager, &unit, files).await;
}

/// Tells what a unit's files set: those that the manager names, else those that it would find.
async fn tell_files(
    context: &Arc<Context>,
    manager: Manager,
    unit: &str,
    files: Option<UnitFiles>,
) {
    let home = match manager {
        Manager::User(uid) => user(context, uid).await.and_then(|user| user.home),
        Manager::System => None,
    };
    let files = files.unwrap_or_else(|| context.root.unit_files(manager, home.as_deref(), unit));
    tell_settings(context, context.root.unit(manager, home.as_deref(), unit, &files));
}

/// The files that the manager itself names.
fn files_of(properties: &std::collections::BTreeMap<String, Value>) -> Option<UnitFiles> {
    let fragment = properties.get("FragmentPath")?.as_str().filter(|path| !path.is_empty());
    let drop_ins = properties.get("DropInPaths")?.as_array()?;
    let drop_ins = drop_ins.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect();
    Some(UnitFiles { fragment: fragment.map(str::to_owned), drop_ins })
}

fn listen_to_user_bus(context: &Arc<Context>, uid: u32) {
    if Path::new(&bus::user_socket(uid)).exists() && context.outbox.first_time(("user bus", uid)) {
        tokio::spawn(bus::listen(Arc::clone(context), Manager::User(uid)));
    }
}
