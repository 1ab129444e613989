//! What is gathered about a process that matters, in the background, while it still lives: its user and
//! session, its units with their settings, its container.

mod comparing;
mod under_way;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use comparing::OWN_FILE;
use comparing::{
    WATCHDOG, as_logind_has_them, as_the_manager_has_it, files_of, is_transient, needs_reload,
    no_longer_set, of_own_file, same_files, watchdog_as_started, watchdog_no_longer_set,
};

use super::context::Context;
use super::settings::Root;
use super::settings::daemons::default_setting;
use super::settings::unit_files::UnitFiles;
use super::{bus, clock, containers, logind, machine, systemd, terminals, users};
use crate::evidence::cgroup_path::{
    CgroupOwner, cgroup_of_container, unit_of_cgroup, units_around,
};
use crate::evidence::{
    ContainerFound, Fact, Manager, Moment, ProcessId, ProcessSnapshot, S, Setting, Source,
    UnitProperties, User, template_of,
};

/// Properties of a unit, as its manager has them.
type Properties = BTreeMap<String, Value>;

/// Gathers about one who sent a signal, or whose end led to one: who it is.
pub async fn witness(context: Arc<Context>, process: ProcessSnapshot) {
    let owner = CgroupOwner::of(process.cgroup.as_deref().unwrap_or_default());
    let uids: BTreeSet<u32> = std::iter::once(process.uid).chain(owner.owner_uid).collect();
    for uid in uids {
        user_soon(&context, uid).await;
    }
    container(&context, process.cgroup.clone(), &owner, Look::AtProcess).await;
    let session = owner.session.clone().filter(|id| context.outbox.first_time(("session", id)));
    if let Some(session) = session {
        logind::tell(Arc::clone(&context), session).await;
    }
    unit_that_ran(&context, &process, &owner).await;
}

/// Gathers about a target: all that a verdict on its end may need.
pub async fn target(context: Arc<Context>, process: ProcessSnapshot) {
    let owner = CgroupOwner::of(process.cgroup.as_deref().unwrap_or_default());
    if !in_service(&owner) {
        context.add_homeless(process.pid);
    }
    tokio::spawn(machine_settings(Arc::clone(&context)));
    tokio::spawn(login_settings(Arc::clone(&context), process.uid, process.tty.is_some()));
    if process.environment.contains_key("SSH_CONNECTION") {
        tokio::spawn(ssh_settings(Arc::clone(&context)));
    }
    if let Some(tty) = process.tty.clone() {
        let (context, leader) = (Arc::clone(&context), process.session_leader);
        let pid = process.pid;
        tokio::task::spawn_blocking(move || terminals::tell(&context, &tty, leader, pid));
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
            tokio::spawn(tell_read(Arc::clone(&context), "oomd.conf", Root::oomd));
        }
        // Which of them it watches, and how closely, is a setting of theirs.
        let root = (Manager::System, "-.slice".to_owned());
        let around = units_around(process.cgroup.as_deref().unwrap_or_default());
        let slices = around.filter(|(_, unit)| unit.ends_with(".slice"));
        for (manager, slice) in std::iter::once(root).chain(slices) {
            if context.outbox.first_time(("neighbour", manager, &slice)) {
                tokio::spawn(tell_neighbour(Arc::clone(&context), manager, slice));
            }
        }
    }
    for (manager, slice) in limiting_slices(&context, process.cgroup.as_deref()) {
        if context.outbox.first_time(("neighbour", manager, &slice)) {
            tokio::spawn(tell_neighbour(Arc::clone(&context), manager, slice));
        }
    }
    witness(context, process).await;
}

/// Tells who a user is, once, however long it takes to find out.
async fn user(context: &Arc<Context>, uid: u32) -> Option<User> {
    context.user_names.find(uid, tell_user(context, uid)).await
}

/// The same for what a verdict waits for: where the name service is slow, it is told when that answers.
pub async fn user_soon(context: &Arc<Context>, uid: u32) -> Option<User> {
    context.user_names.find_soon(uid, tell_user(context, uid)).await
}

/// Tells who a user is when that is found out.
fn tell_user(
    context: &Arc<Context>,
    uid: u32,
) -> impl FnOnce(Option<&User>) + Send + 'static + use<> {
    let context = Arc::clone(context);
    move |user| match user {
        Some(user) if context.outbox.first_time(("user", uid)) => {
            context.outbox.say(Source::File, Fact::User(user.clone()));
        }
        Some(_) => {}
        None => {
            context.outbox.unavailable(format!("user {uid}"), "no name is known for this number");
        }
    }
}

/// Whether the cgroup is a service's of PID 1.
fn in_service(owner: &CgroupOwner) -> bool {
    owner.unit.as_deref().is_some_and(|unit| unit.ends_with(".service"))
}

/// Tells of the unit by which a process was started that lives in no service's cgroup: PAM takes what a service with
/// `PAMName=` runs to a session's scope, and root can move anybody. The variable that leads there anybody can set; which
/// processes are the unit's is its manager's word.
async fn unit_that_ran(context: &Arc<Context>, process: &ProcessSnapshot, owner: &CgroupOwner) {
    let invocation = process.environment.get("INVOCATION_ID");
    let Some(invocation) = invocation.filter(|_| !in_service(owner)) else { return };
    if !context.outbox.first_time(("invocation", invocation)) {
        return;
    }
    if !context.asks_for_invocation(process.uid, clock::now().boot_ns / S) {
        let why = "there were too many at once";
        context.outbox.unavailable(format!("units of processes of uid {}", process.uid), why);
        return;
    }
    if let Some(unit) = systemd::unit_of_invocation(context, invocation).await
        && context.watch(Manager::System, &unit)
    {
        tell_unit(Arc::clone(context), Manager::System, unit).await;
    }
}

/// A user's home directory.
async fn home_of(uid: u32) -> Option<String> {
    tokio::task::spawn_blocking(move || users::by_uid(uid)).await.ok().flatten()?.home
}

/// Gathers about a container whose cgroup has just been made: one that is removed when it ends may leave nothing to look up
/// when something has happened to it.
pub async fn container_made(context: Arc<Context>, cgroup: String) {
    let owner = CgroupOwner::of(&cgroup);
    container(&context, Some(cgroup), &owner, Look::AtNew).await;
}

/// Gathers about a process that has just been told something which it may answer by starting others beside those that it has,
/// as a server does that reads its settings anew: which it has a moment later, and when it has surely read them.
pub async fn workers(context: Arc<Context>, parent: ProcessId) {
    const LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let (at, processes) = (clock::now(), context.processes.clone());
        let read = tokio::task::spawn_blocking(move || processes.workers(parent)).await;
        for worker in read.unwrap_or_default() {
            context.outbox.say_at(at, Source::Proc, Fact::Process(Box::new(worker)));
        }
    }
}

/// When a container is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Its cgroup has just been made: its runtime may not have written down all of it yet.
    AtNew,
    /// A process of it matters.
    AtProcess,
}

async fn container(
    context: &Arc<Context>,
    cgroup: Option<String>,
    owner: &CgroupOwner,
    look: Look,
) {
    let Some((mut container, cgroup)) = owner.innermost_container().cloned().zip(cgroup) else {
        return;
    };
    let own = cgroup_of_container(&cgroup).unwrap_or_default();
    container.named_by = match context.processes.cgroups().named_by(&own) {
        Ok(named_by) => named_by,
        // Not to be seen, or gone: what its path alone tells.
        Err(_) if owner.clone().told_container().is_some_and(|told| told.id == container.id) => {
            owner.rootless_uid()
        }
        Err(_) => return,
    };
    let is_first = || context.outbox.first_time(("container", &cgroup));
    if look == Look::AtProcess && !is_first() {
        return;
    }
    let (id, named) = (container.id.clone(), container.clone());
    let described = match container.named_by {
        Some(uid) => match home_of(uid).await {
            Some(home) => {
                let describe = move || containers::describe(&container, Some(&home));
                context.user_files.run(uid, describe).await
            }
            None => Ok((container, None)),
        },
        None => tokio::task::spawn_blocking(move || containers::describe(&container, None))
            .await
            .map_err(io::Error::other),
    };
    let (container, missed) = described.unwrap_or_else(|error| (named, Some(error.to_string())));
    // It is looked at again when one of its processes matters, unless all is known.
    if look == Look::AtNew && (container.name.is_none() || !is_first()) {
        return;
    }
    if container.named_by.is_none() {
        let of = container.clone();
        let read = tokio::task::spawn_blocking(move || containers::settings(&of)).await;
        for setting in read.unwrap_or_default() {
            context.outbox.say(Source::File, Fact::Setting(setting));
        }
    }
    if let Some(why) = missed {
        context.outbox.unavailable(format!("container {id}"), why);
    }
    context.outbox.say(Source::CgroupFs, Fact::Container(ContainerFound { cgroup, container }));
}

/// The settings of logind, of PID 1, of the kernel, of sudo and of shells, and which distribution this is, once.
async fn machine_settings(context: Arc<Context>) {
    if context.outbox.first_time("machine settings") {
        tell_settings(&context, machine::core_pattern());
        let read = |root: &Root| vec![root.default_timeout_stop()];
        let manager = tell_read(Arc::clone(&context), "system.conf", read);
        let sudo = tell_read(Arc::clone(&context), "sudo", Root::sudo_timeouts);
        let shells = tell_read(Arc::clone(&context), "shells", Root::idle_limits);
        let distribution = tell_read(Arc::clone(&context), "os-release", Root::distribution);
        tokio::join!(manager, sudo, shells, distribution, logind_settings(Arc::clone(&context)));
    }
}

/// What a user's logins and shells are set up with, once; the user's own files are read with the user's rights.
async fn login_settings(context: Arc<Context>, uid: u32, on_terminal: bool) {
    let Some(user) = user(&context, uid).await else { return };
    if context.outbox.first_time(("login limits", uid)) {
        let (name, whose) = (user.name.clone(), format!("logins of uid {uid}"));
        let settings = move |root: &Root| {
            let limits = root.login_limits(&name, uid, |group| users::is_in(uid, &name, group));
            limits.into_iter().chain(root.user_record(&name, uid)).collect()
        };
        tell_read(Arc::clone(&context), &whose, settings).await;
    }
    let home = user.home.filter(|_| on_terminal);
    if let Some(home) = home.filter(|_| context.outbox.first_time(("own shells", uid))) {
        let root = context.root.again();
        let read = move || (root.own_idle_limits(uid, &home), root.missed());
        let read = context.user_files.run(uid, read).await;
        let (settings, missed) = read.unwrap_or_else(|error| (Vec::new(), Some(error.to_string())));
        if let Some(why) = missed {
            context.outbox.unavailable(format!("settings of the shells of uid {uid}"), why);
        }
        tell_settings(&context, settings);
    }
}

/// The settings of logind. The running one may have read other files than those that are there now: what it runs with
/// counts, and is told after them.
async fn logind_settings(context: Arc<Context>) {
    let read = tell_read(Arc::clone(&context), "logind.conf", Root::logind);
    let (written, running) = tokio::join!(read, logind::running_manager(&context));
    // Of what was not read in time nobody knows what it sets.
    let (Some(written), Some(running)) = (written, running) else { return };
    for setting in as_logind_has_them(written, &running) {
        context.outbox.say(Source::BusProperty, Fact::Setting(setting));
    }
}

/// Tells the settings that these files have, and returns them; `None` where they were not read in time.
async fn tell_read(
    context: Arc<Context>,
    whose: &str,
    read: impl FnOnce(&Root) -> Vec<Setting> + Send + 'static,
) -> Option<Vec<Setting>> {
    let root = context.root.again();
    let read = move || (read(&root), root.missed());
    let read = context.root_files.run(whose, read).await;
    let (settings, missed) = match read {
        Ok((settings, missed)) => (Some(settings), missed),
        Err(error) => (None, Some(error.to_string())),
    };
    if let Some(why) = missed {
        context.outbox.unavailable(format!("settings of {whose}"), why);
    }
    tell_settings(&context, settings.iter().flatten().cloned());
    settings
}

/// The slices around that limit how much memory is used in them: which line says so, a verdict may need to tell.
fn limiting_slices(context: &Context, cgroup: Option<&str>) -> Vec<(Manager, String)> {
    let cgroup = cgroup.unwrap_or_default();
    let ends = cgroup.match_indices('/').map(|(at, _)| at).skip(1).chain([cgroup.len()]);
    let limits = |path: &str| context.processes.cgroups().limits(path)?.memory_max;
    ends.map(|end| &cgroup[..end])
        .filter(|path| path.ends_with(".slice") && limits(path).is_some())
        .filter_map(unit_of_cgroup)
        .collect()
}

/// Whether systemd-oomd runs. It is found by its cgroup, as it is when it kills.
fn is_oomd_there(context: &Context) -> bool {
    let cgroup = "/system.slice/systemd-oomd.service";
    context.processes.cgroups().unified_directory(cgroup).is_some_and(|place| place.is_dir())
}

/// The settings of sshd, once.
pub async fn ssh_settings(context: Arc<Context>) {
    if context.outbox.first_time("ssh settings") {
        tell_read(context, "sshd", Root::sshd).await;
    }
}

fn tell_settings(context: &Context, settings: impl IntoIterator<Item = Setting>) {
    for setting in settings {
        context.outbox.say(Source::File, Fact::Setting(setting));
    }
}

/// Tells a unit's properties, and what its files set.
pub async fn tell_unit(context: Arc<Context>, manager: Manager, unit: String) {
    let at = clock::now();
    let asked = systemd::unit_properties(&context, manager, &unit).await;
    if let Err(why) = &asked {
        context.outbox.unavailable(format!("unit {unit}"), why.clone());
    }
    let asked = asked.ok();
    if let Some(properties) = &asked {
        tell_properties(&context, manager, &unit, properties);
        under_way::tell(&context, manager, &unit, properties).await;
    }
    tell_files(&context, manager, &unit, asked.as_ref(), at).await;
}

/// Tells a unit's properties as they are now, and what its files set where it was started anew or they have changed:
/// they are many directories to look into.
pub async fn tell_again(
    context: &Arc<Context>,
    manager: Manager,
    unit: &str,
    properties: &Properties,
) {
    tell_properties(context, manager, unit, properties);
    let invocation = properties.get("InvocationID").map(Value::to_string);
    if context.outbox.first_time(("files", manager, unit, invocation, needs_reload(properties))) {
        tell_files(context, manager, unit, Some(properties), clock::now()).await;
    }
}

/// Tells what the files of a unit set, which its manager has read again at that time.
pub async fn tell_reread(context: Arc<Context>, manager: Manager, unit: String, at: Moment) {
    let properties = systemd::unit_properties(&context, manager, &unit).await.ok();
    // What runs goes on without its file, of which the manager has nothing any more.
    if properties.as_ref().is_some_and(is_not_found) {
        tell_forgotten(&context, manager, &unit).await;
    }
    tell_files(&context, manager, &unit, properties.as_ref(), at).await;
}

/// Whether a manager has found no file of a unit.
pub fn is_not_found(properties: &Properties) -> bool {
    properties.get("LoadState").and_then(Value::as_str) == Some("not-found")
}

fn tell_properties(context: &Arc<Context>, manager: Manager, unit: &str, properties: &Properties) {
    neighbours(context, manager, properties);
    let (unit, properties) = (unit.to_owned(), properties.clone());
    let fact = Fact::Unit(UnitProperties { manager, unit, properties });
    context.outbox.say(Source::BusProperty, fact);
}

/// What nearly every unit depends on by default (`DefaultDependencies=`) is nobody's intention.
const EVERY_UNITS: [&str; 3] = ["sysinit.target", "basic.target", "shutdown.target"];

/// Watches those units that can take this one down, and so in turn those that can take them down.
fn neighbours(context: &Arc<Context>, manager: Manager, properties: &Properties) {
    const PULLING: [&str; 7] = [
        "BindsTo",
        "PartOf",
        "StopPropagatedFrom",
        "Requisite",
        "ConflictedBy",
        "Conflicts",
        "Requires",
    ];
    let listed = PULLING.iter().filter_map(|name| properties.get(*name)?.as_array());
    let units = listed
        .flatten()
        .filter_map(|unit| unit.as_str())
        .filter(|unit| !EVERY_UNITS.contains(unit) && !unit.ends_with(".slice"));
    for unit in units {
        if context.watch_neighbour(manager, unit) {
            tokio::spawn(tell_neighbour(Arc::clone(context), manager, unit.to_owned()));
        }
    }
}

/// As [`tell_unit`], of a unit whose absence is no gap.
pub async fn tell_neighbour(context: Arc<Context>, manager: Manager, unit: String) {
    let at = clock::now();
    let properties = systemd::unit_properties(&context, manager, &unit).await.ok();
    if let Some(properties) = &properties {
        tell_properties(&context, manager, &unit, properties);
    }
    tell_files(&context, manager, &unit, properties.as_ref(), at).await;
}

/// Tells with what a unit conflicts that has just got a job, by its files: to start it stops the others, and where it is
/// done in a moment its manager has soon forgotten it. That it conflicts with nothing is told as well.
pub async fn tell_conflicts(context: Arc<Context>, manager: Manager, unit: String) {
    let at = clock::now();
    let home = match manager {
        Manager::User(uid) => user(&context, uid).await.and_then(|user| user.home),
        Manager::System => None,
    };
    let root = context.root.again();
    let name = unit.clone();
    let read = move || root.conflicts(manager, home.as_deref(), &name);
    let Ok(Some(mut settings)) = as_manager(&context, manager, &unit, read).await else { return };
    let is_every_units = |other: &str| EVERY_UNITS.contains(&other);
    settings.retain(|setting| !setting.value.split_whitespace().all(is_every_units));
    if settings.is_empty() {
        settings.push(default_setting(&unit, "Conflicts", "").of(manager));
    }
    for setting in settings.into_iter().filter(|setting| {
        let Setting { scope, value, file, line, .. } = setting;
        context.outbox.first_time(("conflicts", manager, scope, value, file, line))
    }) {
        context.outbox.say_at(at, Source::File, Fact::Setting(setting));
    }
}

/// Tells what the files of those units set that had just ended, or had a job that timed out, when everything began to go
/// down: it may be why (`FailureAction=` and its kind). There is no time to ask for more.
pub async fn tell_ended(context: Arc<Context>, manager: Manager, at: Moment) {
    const JUST: u64 = 2 * S;
    let known = context.watched(manager);
    for unit in context.ended_since(manager, at.boot_ns.saturating_sub(JUST)) {
        if !known.contains(&unit) {
            tell_files(&context, manager, &unit, None, at).await;
        }
    }
}

/// Reads the files of a unit with the rights of its manager, where it holds up nobody: a user's has no more than the user.
async fn as_manager<T: Send + 'static>(
    context: &Context,
    manager: Manager,
    unit: &str,
    read: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    match manager {
        Manager::User(uid) => context.user_files.run(uid, read).await,
        Manager::System => context.root_files.run(unit, read).await,
    }
}

/// Tells what a unit's files set: those that the manager names, else those that it would find. Where it goes by
/// another value, since it has not read them again, that one counts.
async fn tell_files(
    context: &Arc<Context>,
    manager: Manager,
    unit: &str,
    properties: Option<&Properties>,
    at: Moment,
) {
    let home = match manager {
        Manager::User(uid) => user(context, uid).await.and_then(|user| user.home),
        Manager::System => None,
    };
    let (root, name) = (context.root.again(), unit.to_owned());
    let known = properties.and_then(files_of);
    let own = known.as_ref().and_then(|files| files.fragment.clone());
    let transient = properties.is_some_and(is_transient);
    let reload = properties.is_some_and(needs_reload);
    let read = move || {
        let (settings, stale) = read_files(&root, manager, home.as_deref(), &name, known, reload);
        let gone = own.as_ref().is_some_and(|file| !transient && root.is_gone(file));
        (settings, stale || gone, own.map(|file| (file, gone)), root.missed())
    };
    let read = as_manager(context, manager, unit, read).await;
    let (settings, stale, own, missed) =
        read.unwrap_or_else(|error| (Vec::new(), false, None, Some(error.to_string())));
    if let Some(why) = missed {
        context.outbox.unavailable(format!("settings of {unit}"), why);
    }
    let watchdog = properties.and_then(|properties| started_with_watchdog(context, properties));
    let settings = settings.into_iter().map(|setting| match (properties, watchdog) {
        (Some(properties), Some(started)) if setting.name == "WatchdogSec" => {
            watchdog_as_started(&setting, properties, started)
        }
        (Some(properties), _) => as_the_manager_has_it(setting, properties, stale),
        (None, _) => setting,
    });
    let mut settings: Vec<Setting> = settings.collect();
    let is_gone = own.as_ref().is_some_and(|(_, gone)| *gone);
    if let Some(properties) = properties.filter(|_| stale && !is_gone) {
        settings.extend(no_longer_set(manager, unit, &settings, properties));
    }
    if let (Some(properties), Some(started)) = (properties.filter(|_| !is_gone), watchdog) {
        settings.extend(watchdog_no_longer_set(manager, unit, &settings, properties, started));
    }
    let before = context.told_settings(manager, unit);
    match own {
        Some((file, gone)) => {
            settings.extend(of_own_file(manager, unit, &file, gone, &settings, before));
        }
        // What was told of a file stays true where its manager names none.
        None => settings.extend(before.into_iter().filter(|setting| setting.name == OWN_FILE)),
    }
    for setting in context.news_of_settings(manager, unit, settings) {
        let source = if setting.unread.is_some() { Source::BusProperty } else { Source::File };
        context.outbox.say_at(at, source, Fact::Setting(setting));
    }
}

/// The watchdog's time that the main process of a unit was started with, microseconds, where its environment tells.
fn started_with_watchdog(context: &Context, properties: &Properties) -> Option<u64> {
    let pid = properties.get("MainPID")?.as_u64().filter(|pid| *pid > 0)?;
    context.processes.variable(u32::try_from(pid).ok()?, WATCHDOG)?.parse().ok()
}

/// Tells that the file of a unit is gone, which its manager has no unit of any more.
pub async fn tell_forgotten(context: &Arc<Context>, manager: Manager, unit: &str) {
    // Of an instance it is the template's.
    let names = template_of(unit).into_iter().chain([unit.to_owned()]);
    let ends: Vec<String> = names.map(|name| format!("/{name}")).collect();
    let before = context.told_settings(manager, unit);
    let files = before.iter().filter_map(|setting| setting.file.clone());
    // What systemd makes itself goes with its unit.
    let mut lasting = files.filter(|file| !file.contains("/systemd/transient/"));
    let Some(file) = lasting.find(|file| ends.iter().any(|end| file.ends_with(end))) else {
        return;
    };
    let (root, path) = (context.root.again(), file.clone());
    let is_gone = move || root.is_gone(&path);
    if as_manager(context, manager, unit, is_gone).await.unwrap_or(false) {
        let own = of_own_file(manager, unit, &file, true, &before, Vec::new());
        let others = before.into_iter().filter(|setting| setting.name != OWN_FILE);
        let now = others.chain(own).collect();
        tell_settings(context, context.news_of_settings(manager, unit, now));
    }
}

/// What a unit's files set, and whether its manager may go by something else. `known` are the files that the manager
/// names, `reload` whether it says itself that they have changed.
fn read_files(
    root: &Root,
    manager: Manager,
    home: Option<&str>,
    unit: &str,
    known: Option<UnitFiles>,
    reload: bool,
) -> (Vec<Setting>, bool) {
    let mut files = root.unit_files(manager, home, unit);
    let mut stale = false;
    if let Some(known) = known {
        stale = reload || !same_files(&known.drop_ins, &files.drop_ins);
        if !stale {
            files.drop_ins = known.drop_ins;
        }
        files.fragment = known.fragment;
    }
    (root.unit(manager, home, unit, &files), stale)
}

fn listen_to_user_bus(context: &Arc<Context>, uid: u32) {
    if Path::new(&bus::user_socket(uid)).exists() && context.outbox.first_time(("user bus", uid)) {
        tokio::spawn(bus::listen(Arc::clone(context), Manager::User(uid)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit's file is deleted, its manager forgets the unit, and both come back.
    #[tokio::test]
    async fn a_file_that_is_back_is_gone_no_more() {
        const UNIT: &str = "x.service";
        let tree = tempfile::tempdir().expect("a directory");
        let directory = tree.path().join("etc/systemd/system");
        std::fs::create_dir_all(&directory).expect("directories");
        let path = directory.join(UNIT);
        let write = || std::fs::write(&path, "[Service]\nTimeoutStopSec=5s\n").expect("a file");
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let outbox = super::super::outbox::Outbox::new(sender);
        let cgroups = super::super::cgroups::Cgroups::default();
        let processes = super::super::processes::Processes::new(cgroups);
        let sources = super::super::sources::Sources::connecting(&[]);
        let mut context = Context::new(outbox, processes, sources);
        context.root = Root::new(tree.path());
        let context = Arc::new(context);
        let loaded = Properties::from([
            ("FragmentPath".to_owned(), "/etc/systemd/system/x.service".into()),
            ("DropInPaths".to_owned(), Value::Array(Vec::new())),
        ]);
        let tell = || tell_files(&context, Manager::System, UNIT, Some(&loaded), clock::now());
        let mut of_file = || {
            let mut found = Vec::new();
            while let Ok(evidence) = told.try_recv() {
                if let Fact::Setting(setting) = evidence.fact
                    && setting.name == OWN_FILE
                {
                    found.push(setting.unread.is_some());
                }
            }
            found
        };
        write();
        tell().await;
        assert!(of_file().is_empty(), "it was there all the time");
        for round in 0..2 {
            std::fs::remove_file(&path).expect("it is there");
            tell_forgotten(&context, Manager::System, UNIT).await;
            tell_forgotten(&context, Manager::System, UNIT).await;
            assert_eq!(of_file(), [true], "{round}");
            // Its manager does not answer.
            tell_files(&context, Manager::System, UNIT, None, clock::now()).await;
            write();
            tell().await;
            tell().await;
            assert_eq!(of_file(), [false], "{round}");
        }
    }

    /// A container that is gone when something has happened to it.
    #[tokio::test]
    async fn a_container_is_looked_at_when_its_cgroup_is_made() {
        const NAMED: &str = "/lxc.payload.web";
        const UNNAMED: &str =
            "/docker-4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2.scope";
        let tree = tempfile::tempdir().expect("a directory");
        for cgroup in [NAMED, UNNAMED] {
            std::fs::create_dir(tree.path().join(&cgroup[1..])).expect("a directory");
        }
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let outbox = super::super::outbox::Outbox::new(sender);
        let mount = format!("30 24 0:26 / {} rw - cgroup2 cgroup2 rw\n", tree.path().display());
        let cgroups = super::super::cgroups::Cgroups::of_mounts(&mount);
        let processes = super::super::processes::Processes::new(cgroups);
        let sources = super::super::sources::Sources::connecting(&[]);
        let context = Arc::new(Context::new(outbox, processes, sources));
        let mut found = || {
            let mut names = Vec::new();
            while let Ok(evidence) = told.try_recv() {
                if let Fact::Container(found) = evidence.fact {
                    names.push(found.container.name);
                }
            }
            names
        };
        let made = |cgroup: &str| container_made(Arc::clone(&context), cgroup.to_owned());
        made(NAMED).await;
        assert_eq!(found(), [Some("web".to_owned())]);
        made(NAMED).await;
        made(UNNAMED).await;
        assert!(found().is_empty(), "known, or not to be known yet");
        let owner = CgroupOwner::of(UNNAMED);
        container(&context, Some(UNNAMED.to_owned()), &owner, Look::AtProcess).await;
        assert_eq!(found(), [None], "looked at once more");
    }
}
