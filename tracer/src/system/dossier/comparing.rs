//! What the files of units and of logind set, against what their manager or logind goes by: those may have been changed, or
//! deleted, since they were read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Properties;
use crate::evidence::{Manager, Setting, signal_name, signal_number, systemd_span};
use crate::system::bus::values;
use crate::system::settings::daemons::{compiled_logind, default_setting};
use crate::system::settings::unit_files::UnitFiles;
use crate::system::settings::{micros, truth};

/// Of logind's settings those that it goes by otherwise than the files say, and the one whose compiled-in value no
/// file tells.
pub(super) fn as_logind_has_them(written: Vec<Setting>, running: &Properties) -> Vec<Setting> {
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

/// The name of the setting that says where a unit's own file is.
pub const OWN_FILE: &str = "FragmentPath";

/// Whether a unit's own file is there, as a setting of that name; told where it is not, or was not. Where it is gone also
/// what it had set as it was told `before`, and no other sets `now`: that counts until the files are read again.
pub(super) fn of_own_file(
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

/// The files that the manager itself names.
pub(super) fn files_of(properties: &Properties) -> Option<UnitFiles> {
    let fragment = properties.get("FragmentPath")?.as_str().filter(|path| !path.is_empty());
    let drop_ins = properties.get("DropInPaths")?.as_array()?;
    let drop_ins = drop_ins.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect();
    Some(UnitFiles { fragment: fragment.map(str::to_owned), drop_ins })
}

/// Whether these are the same files: where `/lib` is a link to `/usr/lib`, they have two names.
pub(super) fn same_files(some: &[String], others: &[String]) -> bool {
    let one_name = |paths: &[String]| -> BTreeSet<String> {
        paths.iter().map(|path| path.trim_start_matches("/usr").to_owned()).collect()
    };
    one_name(some) == one_name(others)
}

/// Whether a program made the unit: its file is its manager's own.
pub(super) fn is_transient(properties: &Properties) -> bool {
    properties.get("Transient") == Some(&Value::Bool(true))
}

/// Whether the manager itself says that files of the unit have changed since it read them. It does not see that
/// of a drop-in whose directory was not there then (`unit_find_dropin_paths` looks into those it knows).
pub(super) fn needs_reload(properties: &Properties) -> bool {
    properties.get("NeedDaemonReload") == Some(&Value::Bool(true))
}

/// A unit's setting, or the value that its manager goes by where files have changed that it has not read again.
pub(super) fn as_the_manager_has_it(
    written: Setting,
    properties: &Properties,
    stale: bool,
) -> Setting {
    let stem = written.name.strip_prefix("Default").unwrap_or(&written.name);
    let value = match stem.strip_suffix("Sec") {
        Some(stem) => {
            properties.get(&format!("{stem}USec")).and_then(|has| other_span(&written.value, has))
        }
        None => properties.get(stem).and_then(|has| other_value(stem, &written.value, has)),
    };
    match value {
        // What system.conf says for all units makes none of them out of date.
        Some(value) if stale || stem.len() < written.name.len() => written.still(value),
        _ => written,
    }
}

/// What every unit goes by where no file of it says otherwise, whatever the manager is told to have all units do. Checked with
/// the manuals of systemd 252 and its source: `kill_context_init`, `service_init`, `scope_init`, `unit_new` and
/// `cgroup_context_init` in `src/core`.
const COMPILED: [(&str, &str); 14] = [
    // systemd.kill(5)
    ("KillSignal", "SIGTERM"),
    ("FinalKillSignal", "SIGKILL"),
    ("WatchdogSignal", "SIGABRT"),
    ("SendSIGHUP", "no"),
    // systemd.service(5), and of RuntimeMaxSec= systemd.scope(5), too
    ("RuntimeMaxSec", "infinity"),
    ("TimeoutStartFailureMode", "terminate"),
    ("TimeoutStopFailureMode", "terminate"),
    ("Restart", "no"),
    ("RemainAfterExit", "no"),
    // systemd.unit(5)
    ("StopWhenUnneeded", "no"),
    ("SuccessAction", "none"),
    ("FailureAction", "none"),
    // systemd.resource-control(5)
    ("MemoryMax", "infinity"),
    ("MemoryHigh", "infinity"),
];

/// The same of a setting that is not alike for all types of units: `IgnoreOnIsolate=` "defaults to false for service, target,
/// socket, timer, and path units, and true for slice, scope, device, swap, mount, and automount units" (systemd.unit(5)).
fn compiled_by_type(unit: &str) -> (&'static str, &'static str) {
    const PLAIN: [&str; 5] = ["service", "target", "socket", "timer", "path"];
    let kind = unit.rsplit_once('.').map_or("", |(_, kind)| kind);
    ("IgnoreOnIsolate", if PLAIN.contains(&kind) { "no" } else { "yes" })
}

/// The variable by which a service is told its watchdog's time, microseconds (sd_watchdog_enabled(3)).
pub(super) const WATCHDOG: &str = "WATCHDOG_USEC";

/// `WatchdogSec=` as it counts for what runs, which was started with `started` (microseconds): a service goes by what it was
/// when it was started, and so does its manager. Where that tells of another time, the service has asked for that
/// itself (`WATCHDOG_USEC=` of sd_notify(3)), and no file is out of date.
pub(super) fn watchdog_as_started(
    written: &Setting,
    properties: &Properties,
    started: u64,
) -> Setting {
    let is_by_file = properties.get("WatchdogUSec").and_then(Value::as_u64) == Some(started);
    let other = other_span(&written.value, &started.into()).filter(|_| is_by_file);
    other.map_or_else(|| written.clone(), |value| written.clone().still(value))
}

/// The same where no file sets it any more; without it there is no watchdog (systemd.service(5): 0).
pub(super) fn watchdog_no_longer_set(
    manager: Manager,
    unit: &str,
    settings: &[Setting],
    properties: &Properties,
    started: u64,
) -> Option<Setting> {
    const NAME: &str = "WatchdogSec";
    let is_set = settings.iter().any(|setting| setting.name == NAME);
    let none = default_setting(unit, NAME, "0").of(manager);
    let told = (!is_set).then(|| watchdog_as_started(&none, properties, started))?;
    told.unread.is_some().then_some(told)
}

/// What the manager goes by that no file of the unit sets any more: it has read them before the line was taken out.
pub(super) fn no_longer_set(
    manager: Manager,
    unit: &str,
    settings: &[Setting],
    properties: &Properties,
) -> Vec<Setting> {
    let is_set = |name: &str| settings.iter().any(|setting| setting.name == name);
    let compiled = COMPILED.into_iter().chain([compiled_by_type(unit)]);
    let unset = compiled.filter(|(name, _)| !is_set(name));
    let defaults = unset.map(|(name, value)| default_setting(unit, name, value).of(manager));
    defaults
        .map(|setting| as_the_manager_has_it(setting, properties, true))
        .filter(|setting| setting.unread.is_some())
        .collect()
}

/// A property of a unit as a file would say it, where the file says otherwise; `None` also where they cannot be compared.
fn other_value(name: &str, written: &str, property: &Value) -> Option<String> {
    if name.ends_with("Signal") {
        let has = u8::try_from(property.as_u64()?).ok()?;
        let says = written.parse().ok().or_else(|| signal_number(written))?;
        return (says != has).then(|| signal_name(has));
    }
    if name.starts_with("Memory") {
        let has = property.as_u64()?;
        return (size(written)? != has).then(|| written_size(has));
    }
    other_word(written, property)
}

/// Bytes as a file says them (`parse_size` in `src/basic/parse-util.c`), where they depend on nothing else.
fn size(written: &str) -> Option<u64> {
    if written.is_empty() || written == "infinity" {
        return Some(u64::MAX);
    }
    let digits = written.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &written[digits.len()..] {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Bytes as a file could say them.
fn written_size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")].into_iter();
    let mut whole = units.filter(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    match whole.next() {
        _ if bytes == u64::MAX => "infinity".to_owned(),
        Some((shift, letter)) => format!("{}{letter}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// A property as a file would say it, where the file says otherwise: `None` also where they cannot be compared.
pub(super) fn other_word(written: &str, property: &Value) -> Option<String> {
    match property {
        cut if values::may_be_cut(cut) => None,
        Value::Bool(has) => (truth(written)? != *has).then(|| yes_or_no(*has).to_owned()),
        Value::String(has) => (written != has).then(|| has.clone()),
        _ => None,
    }
}

pub(super) fn yes_or_no(truth: bool) -> &'static str {
    if truth { "yes" } else { "no" }
}

/// As [`other_word`], of a list of logind's; where it is empty, the compiled-in one stands for it.
pub(super) fn other_list(written: &Setting, has: &[Value]) -> Option<String> {
    let has: Vec<&str> = match has.iter().filter_map(Value::as_str).collect::<Vec<_>>() {
        none if none.is_empty() => compiled_logind(&written.name).into_iter().collect(),
        some => some,
    };
    let has = has.join(" ");
    (!written.value.split_whitespace().eq(has.split_whitespace())).then_some(has)
}

/// As [`other_word`], of a span of time; of no length means without end.
pub(super) fn other_span(written: &str, property: &Value) -> Option<String> {
    let (has, written) = (property.as_u64()?, micros(written)?);
    let same = has == written || written == 0 && has == u64::MAX;
    (!same).then(|| systemd_span(has))
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
        let memory = |written: &str, has: u64| told("MemoryHigh", written, "MemoryHigh", has);
        assert_eq!(memory("1G", 1 << 30), None);
        assert_eq!(memory("infinity", u64::MAX), None);
        assert_eq!(memory("1G", 3 << 20), other("3M"));
        assert_eq!(memory("1G", 4095), other("4095"));
        assert_eq!(memory("10%", 4095), None, "of how much is not known");
        for written in ["SIGINT", "INT", "2"] {
            assert_eq!(told("KillSignal", written, "KillSignal", 2), None);
            assert_eq!(told("KillSignal", written, "KillSignal", 15), other("SIGTERM"));
        }
        assert_eq!(told("KillSignal", "SIGWHAT", "KillSignal", 15), None);
    }

    #[test]
    fn what_no_file_sets_any_more_still_counts() {
        let has = Properties::from([
            ("KillSignal".to_owned(), 2.into()),
            ("FinalKillSignal".to_owned(), 9.into()),
            ("SendSIGHUP".to_owned(), true.into()),
            ("RuntimeMaxUSec".to_owned(), 3_000_000.into()),
            // The service may have said so itself.
            ("WatchdogUSec".to_owned(), 30_000_000.into()),
            ("MemoryMax".to_owned(), u64::MAX.into()),
        ]);
        let set = default_setting("x.service", "SendSIGHUP", "yes");
        let told = no_longer_set(Manager::System, "x.service", &[set], &has);
        let told: Vec<_> = told.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
        assert_eq!(told, [("KillSignal", "SIGINT"), ("RuntimeMaxSec", "3s")]);
    }

    /// By systemd.unit(5); the others are as for every unit.
    #[test]
    fn what_ignores_an_isolation_by_default_depends_on_the_type() {
        let ignores = |unit: &str, has: bool| {
            let has = Properties::from([("IgnoreOnIsolate".to_owned(), has.into())]);
            let told = no_longer_set(Manager::System, unit, &[], &has);
            told.into_iter().map(|it| it.value).next()
        };
        for unit in ["a.service", "a.target", "a.socket", "a.timer", "a.path"] {
            assert_eq!(ignores(unit, false), None, "{unit}");
            assert_eq!(ignores(unit, true).as_deref(), Some("yes"), "{unit}");
        }
        for unit in ["session-3.scope", "a.slice", "a.mount", "a.swap", "a.automount", "a.device"] {
            assert_eq!(ignores(unit, true), None, "{unit}");
            assert_eq!(ignores(unit, false).as_deref(), Some("no"), "{unit}");
        }
    }

    #[test]
    fn a_watchdog_is_as_it_was_when_the_service_was_started() {
        const STARTED: u64 = 30_000_000;
        let has = |usec: u64| Properties::from([("WatchdogUSec".to_owned(), usec.into())]);
        let told = |written: &str, property: u64| {
            let setting = default_setting("x.service", "WatchdogSec", written);
            let told = watchdog_as_started(&setting, &has(property), STARTED);
            (told.value, told.unread.map(|it| it.value))
        };
        assert_eq!(told("30s", STARTED), ("30s".to_owned(), None));
        // Written since: the manager may have read it, but the service has not been started anew.
        assert_eq!(told("10s", STARTED), ("30s".to_owned(), Some("10s".to_owned())));
        // It has asked for another time itself.
        assert_eq!(told("30s", 5_000_000), ("30s".to_owned(), None));
        assert_eq!(told("10s", 5_000_000), ("10s".to_owned(), None));
        let unset = |settings: &[Setting], property: u64| {
            watchdog_no_longer_set(Manager::System, "x.service", settings, &has(property), STARTED)
                .map(|it| it.value)
        };
        assert_eq!(unset(&[], STARTED).as_deref(), Some("30s"));
        assert_eq!(unset(&[], 5_000_000), None);
        let set = default_setting("x.service", "WatchdogSec", "10s");
        assert_eq!(unset(&[set], STARTED), None);
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

    #[test]
    fn one_file_may_have_two_names() {
        let of = |path: &str| [path.to_owned()];
        let (old, new) = ("/lib/systemd/system/a.d/b.conf", "/usr/lib/systemd/system/a.d/b.conf");
        assert!(same_files(&of(old), &of(new)));
        assert!(!same_files(&of(old), &[]));
    }
}
