//! What is told of units: their properties, what their files set, and their neighbours.

use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::comparing::{
    OWN_FILE, WATCHDOG, as_the_manager_has_it, files_of, is_transient, needs_reload, no_longer_set,
    of_own_file, same_files, watchdog_as_started, watchdog_no_longer_set,
};
use super::{Properties, tell_settings, under_way, user};
use crate::evidence::{Fact, Manager, Moment, S, Setting, Source, UnitProperties, template_of};
use crate::system::context::Context;
use crate::system::settings::Root;
use crate::system::settings::daemons::default_setting;
use crate::system::settings::unit_files::UnitFiles;
use crate::system::{clock, systemd};

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
        let outbox = crate::system::outbox::Outbox::new(sender);
        let cgroups = crate::system::cgroups::Cgroups::default();
        let processes = crate::system::processes::Processes::new(cgroups);
        let sources = crate::system::sources::Sources::connecting(&[]);
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
}
