//! What is gathered about a process that matters, in the background, while it still lives: its user and
//! session, its units with their settings, its container.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::bus::values;
use super::context::Context;
use super::settings::daemons::{compiled_logind, default_setting};
use super::settings::units::{self, UnitFiles};
use super::settings::{Root, micros, truth};
use super::{bus, clock, containers, logind, machine, systemd, terminals, users};
use crate::evidence::cgroup_path::{CgroupOwner, parent_of_container, slices};
use crate::evidence::{
    ContainerFound, Fact, Manager, Moment, ProcessSnapshot, Setting, Source, UnitProperties, User,
    systemd_span,
};

/// Properties of a unit, as its manager has them.
type Properties = BTreeMap<String, Value>;

/// Gathers about one who sent a signal, or whose end led to one: who it is.
pub async fn witness(context: Arc<Context>, process: ProcessSnapshot) {
    let owner = CgroupOwner::of(process.cgroup.as_deref().unwrap_or_default());
    let uids: BTreeSet<u32> = std::iter::once(process.uid).chain(owner.owner_uid).collect();
    for uid in uids {
        user(&context, uid).await;
    }
    container(&context, &process, &owner).await;
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
        context.is_homeless(process.pid);
    }
    machine_settings(&context);
    if process.environment.contains_key("SSH_CONNECTION") {
        ssh_settings(&context);
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
    if !context.asks_for_invocation(process.uid, clock::now().boot_ns / 1_000_000_000) {
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

async fn container(context: &Arc<Context>, process: &ProcessSnapshot, owner: &CgroupOwner) {
    let (Some(mut container), Some(cgroup)) =
        (owner.innermost_container().cloned(), process.cgroup.clone())
    else {
        return;
    };
    let parent = parent_of_container(&cgroup).unwrap_or_default();
    container.named_by = match context.processes.cgroups().user_of(&parent) {
        Ok(named_by) => named_by,
        // Not to be seen, or gone: what its path alone tells.
        Err(_) if owner.clone().told_container().is_some_and(|told| told.id == container.id) => {
            owner.rootless_uid()
        }
        Err(_) => return,
    };
    if !context.outbox.first_time(("container", &cgroup)) {
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
    if let Some(why) = missed {
        context.outbox.unavailable(format!("container {id}"), why);
    }
    context.outbox.say(Source::CgroupFs, Fact::Container(ContainerFound { cgroup, container }));
}

/// The settings of logind, of PID 1, and of the kernel, once.
fn machine_settings(context: &Context) {
    if context.outbox.first_time("machine settings") {
        let settings =
            context.root.logind().into_iter().chain([context.root.default_timeout_stop()]);
        tell_settings(context, settings.chain(machine::core_pattern()));
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
    let Some(running) = logind::running_manager(&context).await else {
        return;
    };
    for setting in as_logind_has_them(context.root.logind(), &running) {
        context.outbox.say(Source::BusProperty, Fact::Setting(setting));
    }
}

/// Of logind's settings those that it goes by otherwise than the files say, and the one whose compiled-in value no
/// file tells.
fn as_logind_has_them(written: Vec<Setting>, running: &Properties) -> Vec<Setting> {
    const KILLS: &str = "KillUserProcesses";
    let unknown = written.iter().all(|setting| setting.name != KILLS);
    let compiled = running.get(KILLS).and_then(Value::as_bool).filter(|_| unknown);
    let compiled = compiled.map(|kills| default_setting("logind.conf", KILLS, yes_or_no(kills)));
    let others = written.into_iter().filter_map(|setting| {
        let value = match setting.name.strip_suffix("Sec") {
            Some(stem) => other_span(&setting.value, running.get(&format!("{stem}USec"))?),
            None => match running.get(&setting.name).filter(|has| !values::may_be_cut(has))? {
                Value::Array(users) => other_list(&setting, users),
                has => other_word(&setting.value, has),
            },
        }?;
        Some(setting.still(value))
    });
    others.chain(compiled).collect()
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
    tell_files(&context, manager, &unit, properties.as_ref(), at).await;
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
    let Ok(Some(mut settings)) = as_manager(&context, manager, read).await else { return };
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

/// Reads files with the rights of a manager, where it holds up nobody: a user's has no more than the user.
async fn as_manager<T: Send + 'static>(
    context: &Context,
    manager: Manager,
    read: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    match manager {
        Manager::User(uid) => context.user_files.run(uid, read).await,
        Manager::System => tokio::task::spawn_blocking(read).await.map_err(io::Error::other),
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
    let read = as_manager(context, manager, read).await;
    let (settings, stale, own, missed) =
        read.unwrap_or_else(|error| (Vec::new(), false, None, Some(error.to_string())));
    if let Some(why) = missed {
        context.outbox.unavailable(format!("settings of {unit}"), why);
    }
    let settings = settings.into_iter().map(|setting| match properties {
        Some(properties) => as_the_manager_has_it(setting, properties, stale),
        None => setting,
    });
    let mut settings: Vec<Setting> = settings.collect();
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

/// Tells that the file of a unit is gone, which its manager has no unit of any more.
pub async fn tell_forgotten(context: &Arc<Context>, manager: Manager, unit: &str) {
    // Of an instance it is the template's.
    let names = units::template(unit).into_iter().chain([unit.to_owned()]);
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
    if as_manager(context, manager, is_gone).await.unwrap_or(false) {
        let own = of_own_file(manager, unit, &file, true, &before, Vec::new());
        let others = before.into_iter().filter(|setting| setting.name != OWN_FILE);
        let now = others.chain(own).collect();
        tell_settings(context, context.news_of_settings(manager, unit, now));
    }
}

/// The name of the setting that says where a unit's own file is.
const OWN_FILE: &str = "FragmentPath";

/// Whether a unit's own file is there, as a setting of that name; told where it is not, or was not. Where it is gone also
/// what it had set as it was told `before`, and no other sets `now`: that counts until the files are read again.
fn of_own_file(
    manager: Manager,
    unit: &str,
    file: &str,
    gone: bool,
    now: &[Setting],
    before: Vec<Setting>,
) -> Vec<Setting> {
    let (scope, name, value) = (unit.to_owned(), OWN_FILE.to_owned(), file.to_owned());
    let there = Some(value.clone());
    let manager = Some(manager);
    let own = Setting { manager, scope, name, value, file: there, line: None, unread: None };
    if !gone {
        let was_told = before.iter().any(|setting| setting.name == OWN_FILE);
        return was_told.then_some(own).into_iter().collect();
    }
    let set_by_it = |setting: &Setting| {
        setting.file.as_deref() == Some(file) && !now.iter().any(|it| it.name == setting.name)
    };
    let outlive = before.into_iter().filter(set_by_it).chain([own]);
    outlive.map(|setting| setting.outlives(file)).collect()
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

/// The files that the manager itself names.
fn files_of(properties: &Properties) -> Option<UnitFiles> {
    let fragment = properties.get("FragmentPath")?.as_str().filter(|path| !path.is_empty());
    let drop_ins = properties.get("DropInPaths")?.as_array()?;
    let drop_ins = drop_ins.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect();
    Some(UnitFiles { fragment: fragment.map(str::to_owned), drop_ins })
}

/// Whether these are the same files: where `/lib` is a link to `/usr/lib`, they have two names.
fn same_files(some: &[String], others: &[String]) -> bool {
    let one_name = |paths: &[String]| -> BTreeSet<String> {
        paths.iter().map(|path| path.trim_start_matches("/usr").to_owned()).collect()
    };
    one_name(some) == one_name(others)
}

/// Whether a program made the unit: its file is its manager's own.
fn is_transient(properties: &Properties) -> bool {
    properties.get("Transient") == Some(&Value::Bool(true))
}

/// Whether the manager itself says that files of the unit have changed since it read them. It does not see that
/// of a drop-in whose directory was not there then (`unit_find_dropin_paths` looks into those it knows).
fn needs_reload(properties: &Properties) -> bool {
    properties.get("NeedDaemonReload") == Some(&Value::Bool(true))
}

/// A unit's setting, or the value that its manager goes by where files have changed that it has not read again.
fn as_the_manager_has_it(written: Setting, properties: &Properties, stale: bool) -> Setting {
    let stem = written.name.strip_prefix("Default").unwrap_or(&written.name);
    let value = match stem.strip_suffix("Sec") {
        Some(stem) => {
            properties.get(&format!("{stem}USec")).and_then(|has| other_span(&written.value, has))
        }
        None => properties.get(stem).and_then(|has| other_word(&written.value, has)),
    };
    match value {
        // What system.conf says for all units makes none of them out of date.
        Some(value) if stale || stem.len() < written.name.len() => written.still(value),
        _ => written,
    }
}

/// A property as a file would say it, where the file says otherwise: `None` also where they cannot be compared.
fn other_word(written: &str, property: &Value) -> Option<String> {
    match property {
        cut if values::may_be_cut(cut) => None,
        Value::Bool(has) => (truth(written)? != *has).then(|| yes_or_no(*has).to_owned()),
        Value::String(has) => (written != has).then(|| has.clone()),
        _ => None,
    }
}

fn yes_or_no(truth: bool) -> &'static str {
    if truth { "yes" } else { "no" }
}

/// As [`other_word`], of a list of logind's; where it is empty, the compiled-in one stands for it.
fn other_list(written: &Setting, has: &[Value]) -> Option<String> {
    let has: Vec<&str> = match has.iter().filter_map(Value::as_str).collect::<Vec<_>>() {
        none if none.is_empty() => compiled_logind(&written.name).into_iter().collect(),
        some => some,
    };
    let has = has.join(" ");
    (!written.value.split_whitespace().eq(has.split_whitespace())).then_some(has)
}

/// As [`other_word`], of a span of time; of no length means without end.
fn other_span(written: &str, property: &Value) -> Option<String> {
    let (has, written) = (property.as_u64()?, micros(written)?);
    let same = has == written || written == 0 && has == u64::MAX;
    (!same).then(|| systemd_span(has))
}

fn listen_to_user_bus(context: &Arc<Context>, uid: u32) {
    if Path::new(&bus::user_socket(uid)).exists() && context.outbox.first_time(("user bus", uid)) {
        tokio::spawn(bus::listen(Arc::clone(context), Manager::User(uid)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, written: &str, property: &str, has: impl Into<Value>) -> Option<String> {
        let setting = default_setting("x.service", name, written);
        let properties = Properties::from([(property.to_owned(), has.into())]);
        let told = as_the_manager_has_it(setting, &properties, true);
        let file_says = told.unread.as_ref().map_or(&told.value, |it| &it.value);
        assert_eq!(file_says, written);
        (told.value != written).then_some(told.value)
    }

    #[test]
    fn what_a_manager_goes_by_is_compared_with_its_files() {
        let other = |value: &str| Some(value.to_owned());
        assert_eq!(told("KillMode", "process", "KillMode", "mixed"), other("mixed"));
        assert_eq!(told("KillMode", "mixed", "KillMode", "mixed"), None);
        assert_eq!(told("SendSIGHUP", "on", "SendSIGHUP", true), None);
        assert_eq!(told("SendSIGHUP", "on", "SendSIGHUP", false), other("no"));
        let stop =
            |written: &str, has: u64| told("TimeoutStopSec", written, "TimeoutStopUSec", has);
        assert_eq!(stop("90", 90_000_000), None);
        assert_eq!(stop("5s", 90_000_000), other("1min 30s"));
        assert_eq!(stop("0", u64::MAX), None);
        // Bytes, and a signal's number: not to be compared as they are.
        assert_eq!(told("MemoryHigh", "1G", "MemoryHigh", 1_u64 << 30), None);
        assert_eq!(told("KillSignal", "SIGINT", "KillSignal", 15), None);
    }

    #[test]
    fn what_logind_goes_by_is_compared_with_its_files() {
        let running = Properties::from([
            ("KillUserProcesses".to_owned(), true.into()),
            ("KillOnlyUsers".to_owned(), Value::Array(Vec::new())),
            ("KillExcludeUsers".to_owned(), vec!["root", "bob"].into()),
            ("StopIdleSessionUSec".to_owned(), u64::MAX.into()),
            ("UserStopDelayUSec".to_owned(), 1_000_000.into()),
        ]);
        let told = |written: &[(&str, &str)]| {
            let written = written.iter();
            let written = written.map(|(name, value)| default_setting("logind.conf", name, *value));
            let told = as_logind_has_them(written.collect(), &running).into_iter();
            told.map(|setting| (setting.name, setting.value)).collect::<Vec<_>>()
        };
        let same = [
            ("KillUserProcesses", "on"),
            ("KillOnlyUsers", ""),
            ("KillExcludeUsers", "root  bob"),
            ("StopIdleSessionSec", "infinity"),
            ("UserStopDelaySec", "1"),
        ];
        assert_eq!(told(&same), []);
        let other = [
            ("KillUserProcesses", "no"),
            ("KillOnlyUsers", "alice"),
            ("KillExcludeUsers", "root"),
            ("StopIdleSessionSec", "1h"),
            ("UserStopDelaySec", "10s"),
        ];
        let runs = [
            ("KillUserProcesses", "yes"),
            ("KillOnlyUsers", ""),
            ("KillExcludeUsers", "root bob"),
            ("StopIdleSessionSec", "infinity"),
            ("UserStopDelaySec", "1s"),
        ];
        assert_eq!(told(&other), runs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        // No file tells what it was built with.
        assert_eq!(told(&[]), [("KillUserProcesses".to_owned(), "yes".to_owned())]);
        let many: Vec<String> = (0..300).map(|number| format!("u{number}")).collect();
        let cut = vec![Value::from("u"); 256];
        let some = Properties::from([("KillExcludeUsers".to_owned(), Value::Array(cut))]);
        let of_many = default_setting("logind.conf", "KillExcludeUsers", many.join(" "));
        assert!(as_logind_has_them(vec![of_many], &some).is_empty(), "there may be more");
        let empty = Properties::from([("KillExcludeUsers".to_owned(), Value::Array(Vec::new()))]);
        let of_root = default_setting("logind.conf", "KillExcludeUsers", "root");
        assert!(as_logind_has_them(vec![of_root], &empty).is_empty());
    }

    #[test]
    fn a_default_of_the_manager_is_compared_though_no_file_of_the_unit_has_changed() {
        let properties = Properties::from([("TimeoutStopUSec".to_owned(), 7_000_000.into())]);
        let as_it_is = |name: &str| {
            as_the_manager_has_it(default_setting("x.service", name, "9s"), &properties, false)
        };
        assert_eq!(as_it_is("TimeoutStopSec").value, "9s");
        assert_eq!(as_it_is("DefaultTimeoutStopSec").value, "7s");
    }

    #[test]
    fn what_a_file_that_is_gone_had_set_outlives_it() {
        const FILE: &str = "/etc/systemd/system/x.service";
        let at = |name: &str, file: &str| Setting {
            file: Some(file.to_owned()),
            line: Some(3),
            ..default_setting("x.service", name, "1")
        };
        let before = || {
            let other = at("KillMode", "/etc/systemd/system/x.service.d/a.conf");
            vec![at("RuntimeMaxSec", FILE), at("TimeoutStopSec", FILE), other]
        };
        let now = [default_setting("x.service", "TimeoutStopSec", "90s")];
        let told = of_own_file(Manager::System, "x.service", FILE, true, &now, before());
        let names: Vec<&str> = told.iter().map(|setting| setting.name.as_str()).collect();
        assert_eq!(names, ["RuntimeMaxSec", "FragmentPath"]);
        for setting in &told {
            let unread = setting.unread.as_ref().expect("it outlives its file");
            assert_eq!((unread.gone_file(), &setting.file), (Some(FILE), &None));
        }
        // It is back; of one that was never missed nothing is told.
        let back = of_own_file(Manager::System, "x.service", FILE, false, &now, told);
        assert_eq!(back.len(), 1);
        assert_eq!((back[0].file.as_deref(), &back[0].unread), (Some(FILE), &None));
        assert_eq!(of_own_file(Manager::System, "x.service", FILE, false, &now, before()), []);
    }

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

    #[test]
    fn one_file_may_have_two_names() {
        let of = |path: &str| [path.to_owned()];
        let (old, new) = ("/lib/systemd/system/a.d/b.conf", "/usr/lib/systemd/system/a.d/b.conf");
        assert!(same_files(&of(old), &of(new)));
        assert!(!same_files(&of(old), &[]));
    }
}
