//! What is gathered about a process that matters, in the background, while it still lives: its user and
//! session, its units with their settings, its container.

mod comparing;
mod under_way;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

pub use comparing::OWN_FILE;
use comparing::as_logind_has_them;
pub use units::{
    is_not_found, tell_again, tell_conflicts, tell_ended, tell_forgotten, tell_neighbour,
    tell_reread, tell_unit,
};

use super::context::Context;
use super::settings::Root;
use super::{bus, clock, containers, logind, machine, systemd, terminals, users};
use crate::evidence::cgroup_path::{
    CgroupOwner, cgroup_of_container, unit_of_cgroup, units_around,
};
use crate::evidence::{
    CONNECTING, ContainerFound, Fact, Manager, ProcessId, ProcessSnapshot, S, Setting, Source, User,
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
        // A user's processes may be made faster than it is found out whether there is a bus.
        if context.looks_for_bus(uid, clock::now().boot_ns / S) {
            let context = Arc::clone(&context);
            tokio::spawn(async move { listen_to_user_bus(&context, uid).await });
        }
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
/// when something has happened to it. Where it may be a target by its name, that this is not known is told.
pub async fn container_made(context: Arc<Context>, cgroup: String, is_name_wanted: bool) {
    let owner = CgroupOwner::of(&cgroup);
    container(&context, Some(cgroup), &owner, Look::AtNew { is_name_wanted }).await;
}

/// Tells that it is not known what a user calls containers of the user's.
pub fn tell_unnamed(context: &Context, uid: u32, why: impl Into<String>) {
    context.outbox.unavailable(format!("names of the containers of user {uid}"), why);
}

/// Gathers about a process that has just been told something which it may answer by starting others beside those that it has,
/// as a server does that reads its settings anew: which it has a moment later, and when it has surely read them.
pub async fn workers(context: Arc<Context>, parent: ProcessId, turns: Arc<Semaphore>) {
    const LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let (at, processes) = (clock::now(), context.processes.clone());
        let read = tokio::task::spawn_blocking(move || processes.workers(parent)).await;
        drop(turn);
        for worker in read.unwrap_or_default() {
            context.outbox.say_at(at, Source::Proc, Fact::Process(Box::new(worker)));
        }
    }
}

/// When a container is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Its cgroup has just been made: its runtime may not have written down all of it yet.
    AtNew { is_name_wanted: bool },
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
    if let Look::AtNew { is_name_wanted } = look
        && (container.name.is_none() || !is_first())
    {
        let unnamed = container.named_by.zip(missed).filter(|_| container.name.is_none());
        if let Some((uid, why)) = unnamed.filter(|_| is_name_wanted) {
            tell_unnamed(context, uid, why);
        }
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

/// Begins to listen to a user's manager and bus, where there are such.
pub async fn listen_to_user(context: Arc<Context>, uid: u32) {
    listen_to_user_bus(&context, uid).await;
    let manager = Manager::User(uid);
    if bus::is_there(&context, uid, systemd::socket(manager)).await {
        systemd::link(&context, manager);
    }
}

async fn listen_to_user_bus(context: &Arc<Context>, uid: u32) {
    let source = bus::source(Manager::User(uid));
    if context.sources.is_connecting(&source) || context.sources.is_attached(&source) {
        return;
    }
    let is_there = bus::is_there(context, uid, bus::user_socket(uid)).await;
    if is_there && context.outbox.first_time(("user bus", uid)) {
        context.sources.set(&source, CONNECTING);
        tokio::spawn(bus::listen(Arc::clone(context), Manager::User(uid)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let made = |cgroup: &str| container_made(Arc::clone(&context), cgroup.to_owned(), false);
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
