//! Unit files and their drop-ins: which line of which file set what decides about a unit's processes.

use super::daemons::default_setting;
use super::{Assignment, Root, added_up, is_plain, last};
use crate::evidence::{Manager, Setting};

/// Directories with units of the system manager, strongest first (systemd.unit(5)).
const SYSTEM: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Settings with one value that decide when and how a unit's processes end.
const ONE: [&str; 32] = [
    "KillMode",
    "KillSignal",
    "RestartKillSignal",
    "FinalKillSignal",
    "WatchdogSignal",
    "SendSIGHUP",
    "SendSIGKILL",
    "TimeoutStopSec",
    "TimeoutStartSec",
    "TimeoutSec",
    "TimeoutAbortSec",
    "TimeoutStopFailureMode",
    "TimeoutStartFailureMode",
    "RuntimeMaxSec",
    "JobTimeoutSec",
    "WatchdogSec",
    "OOMPolicy",
    "Type",
    "ExitType",
    "Restart",
    "RemainAfterExit",
    "StopWhenUnneeded",
    "IgnoreOnIsolate",
    "Slice",
    "Delegate",
    "MemoryMax",
    "MemoryHigh",
    "ManagedOOMSwap",
    "ManagedOOMMemoryPressure",
    "ManagedOOMMemoryPressureLimit",
    "ManagedOOMMemoryPressureDurationSec",
    "ManagedOOMPreference",
];

/// Dependencies and commands, which add up.
const LISTS: [&str; 14] = [
    "BindsTo",
    "PartOf",
    "Requires",
    "Requisite",
    "Conflicts",
    "StopPropagatedFrom",
    "PropagatesStopTo",
    "ExecCondition",
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

/// The files that make up a unit, weakest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFiles {
    /// The unit file itself.
    pub fragment: Option<String>,
    /// Drop-ins in the order in which they apply.
    pub drop_ins: Vec<String>,
}

impl Root {
    /// The files of a unit as the manager would find them, where it cannot be asked.
    pub fn unit_files(&self, manager: Manager, home: Option<&str>, unit: &str) -> UnitFiles {
        let directories = directories(manager, home);
        let names: Vec<String> = std::iter::once(unit.to_owned()).chain(template(unit)).collect();
        let fragment = names.iter().find_map(|name| {
            directories
                .iter()
                .map(|directory| format!("{directory}/{name}"))
                .find(|path| self.exists(path))
        });
        let drop_in_names =
            names.iter().flat_map(|name| std::iter::once(name.clone()).chain(prefixes(name)));
        let kind = unit.rsplit_once('.').map(|(_, kind)| kind.to_owned());
        let drop_in_directories: Vec<String> = drop_in_names
            .chain(kind)
            .flat_map(|name| {
                directories.iter().map(move |directory| format!("{directory}/{name}.d"))
            })
            .collect();
        UnitFiles { fragment, drop_ins: self.drop_ins(&drop_in_directories) }
    }

    /// What the files of a unit set; scope is the unit's name. `KillMode` is always among them, for want of a
    /// file with its compiled-in value; so is `TimeoutStopSec`, or what the manager sets instead of it for all
    /// of its units (`DefaultTimeoutStopSec`).
    pub fn unit(&self, manager: Manager, unit: &str, files: &UnitFiles) -> Vec<Setting> {
        let all = files.fragment.iter().chain(&files.drop_ins);
        let plain: Vec<String> = all.filter(|path| is_plain(path.as_ref())).cloned().collect();
        let mut assignments = self.assignments(&plain);
        assignments.retain(|it| it.section != "Install" && !it.section.starts_with("X-"));
        // Names are unique over the sections that are left, so the section need not be known.
        for assignment in &mut assignments {
            assignment.section.clear();
        }
        let mut settings: Vec<Setting> = Vec::new();
        for name in ONE {
            settings.extend(last(&assignments, "", name).map(|it| it.setting(unit)));
        }
        for name in LISTS {
            settings.extend(added_up(&assignments, "", name).map(|it| it.setting(unit)));
        }
        self.add_defaults(manager, unit, &assignments, &mut settings);
        settings
    }

    fn add_defaults(
        &self,
        manager: Manager,
        unit: &str,
        assignments: &[Assignment],
        settings: &mut Vec<Setting>,
    ) {
        const KILLS: [&str; 5] = ["service", "scope", "socket", "mount", "swap"];
        let kind = unit.rsplit_once('.').map_or("", |(_, kind)| kind);
        if !KILLS.contains(&kind) {
            return;
        }
        if last(assignments, "", "KillMode").is_none() {
            settings.push(default_setting(unit, "KillMode", "control-group"));
        }
        let of_unit = |setting: Setting| Setting { scope: unit.to_owned(), ..setting };
        let default = |name: &str| self.manager_default(manager, name).map(of_unit);
        let one = |name: &str| last(assignments, "", name).map(|it| it.value.as_str());
        for name in ["TimeoutStopSec", "TimeoutStartSec"] {
            // TimeoutSec= is shorthand for both start and stop; the later assignment counts.
            let own = assignments.iter().rfind(|it| it.name == name || it.name == "TimeoutSec");
            settings.retain(|it| it.name != name);
            if let Some(own) = own.filter(|it| !it.value.is_empty()) {
                settings.push(Setting { name: name.to_owned(), ..own.setting(unit) });
                continue;
            }
            // Only services have a time limit for their start, oneshot ones by default none.
            let has =
                name == "TimeoutStopSec" || kind == "service" && one("Type") != Some("oneshot");
            if has {
                let built_in = || default_setting(unit, name, self.compiled_timeout());
                settings.push(default(&format!("Default{name}")).unwrap_or_else(built_in));
            }
        }
        // What delegates its cgroup goes on by default; scopes do not take the manager's default everywhere.
        let delegates = one("Delegate").is_some_and(|value| value != "no" && value != "false");
        if kind == "service" && one("OOMPolicy").is_none() && !delegates {
            settings.extend(default("DefaultOOMPolicy"));
        }
    }
}

/// Where a manager looks for units, strongest first.
fn directories(manager: Manager, home: Option<&str>) -> Vec<String> {
    let Manager::User(uid) = manager else {
        return SYSTEM.map(str::to_owned).to_vec();
    };
    let runtime = format!("/run/user/{uid}/systemd");
    let of_home = |below: &str| home.map(|home| format!("{home}/{below}"));
    let own = [
        of_home(".config/systemd/user.control"),
        Some(format!("{runtime}/user.control")),
        Some(format!("{runtime}/transient")),
        Some(format!("{runtime}/generator.early")),
        of_home(".config/systemd/user"),
        of_home(".config/systemd/user.attached"),
    ];
    let shared = [
        "/etc/systemd/user".to_owned(),
        format!("{runtime}/user"),
        format!("{runtime}/user.attached"),
        "/run/systemd/user".to_owned(),
        format!("{runtime}/generator"),
    ];
    let vendor = ["/usr/local/lib/systemd/user", "/usr/lib/systemd/user"].map(str::to_owned);
    let data = of_home(".local/share/systemd/user");
    let late = format!("{runtime}/generator.late");
    own.into_iter().flatten().chain(shared).chain(data).chain(vendor).chain([late]).collect()
}

/// `foo@bar.service` → `foo@.service`.
fn template(unit: &str) -> Option<String> {
    let (stem, kind) = unit.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{kind}"))
}

/// `foo-bar-baz.service` → `foo-bar-.service`, `foo-.service`.
fn prefixes(unit: &str) -> Vec<String> {
    let Some((stem, kind)) = unit.rsplit_once('.') else {
        return Vec::new();
    };
    let stem = stem.split('@').next().unwrap_or(stem);
    let dashes = stem.match_indices('-').map(|(at, _)| at).filter(|at| at + 1 < stem.len());
    let mut found: Vec<String> = dashes.map(|at| format!("{}.{kind}", &stem[..=at])).collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let tree = tempfile::tempdir().expect("temporary directory");
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            fs::write(path, text).expect("file");
        }
        let root = Root::new(tree.path());
        (tree, root)
    }

    #[test]
    fn names_that_lend_their_drop_ins() {
        assert_eq!(template("ssh@1-2.service").as_deref(), Some("ssh@.service"));
        assert_eq!(template("ssh@.service"), None);
        assert_eq!(prefixes("a-b-c.service"), ["a-b-.service", "a-.service"]);
        assert_eq!(prefixes("user-1000.slice"), ["user-.slice"]);
        assert_eq!(prefixes("plain.service"), Vec::<String>::new());
    }

    #[test]
    fn fragment_and_drop_ins_are_found_and_ordered() {
        let (_tree, root) = tree(&[
            ("usr/lib/systemd/system/ssh@.service", "[Service]\nKillMode=control-group\n"),
            ("etc/systemd/system/ssh@.service.d/20-kill.conf", "[Service]\nKillMode=process\n"),
            ("usr/lib/systemd/system/service.d/10-all.conf", "[Service]\nTimeoutStopSec=7\n"),
            ("usr/lib/systemd/system/service.d/20-kill.conf", "[Service]\nKillMode=none\n"),
        ]);
        let files = root.unit_files(Manager::System, None, "ssh@4.service");
        assert_eq!(files.fragment.as_deref(), Some("/usr/lib/systemd/system/ssh@.service"));
        assert_eq!(
            files.drop_ins,
            [
                "/usr/lib/systemd/system/service.d/10-all.conf",
                "/etc/systemd/system/ssh@.service.d/20-kill.conf"
            ]
        );
        let settings = root.unit(Manager::System, "ssh@4.service", &files);
        let find = |name: &str| settings.iter().find(|it| it.name == name).expect("a setting");
        assert_eq!(find("KillMode").value, "process");
        assert_eq!(
            find("KillMode").file.as_deref(),
            Some("/etc/systemd/system/ssh@.service.d/20-kill.conf")
        );
        assert_eq!(
            (find("TimeoutStopSec").value.as_str(), find("TimeoutStopSec").line),
            ("7", Some(2))
        );
        assert_eq!(find("TimeoutStopSec").scope, "ssh@4.service");
    }

    #[test]
    fn defaults_and_lists() {
        let (_tree, root) = tree(&[
            ("etc/systemd/system.conf", "[Manager]\nDefaultTimeoutStopSec=33s\n"),
            (
                "etc/systemd/system/a.service",
                "[Unit]\nBindsTo=b.service\n[Service]\nTimeoutSec=9\n[Install]\nType=x\n",
            ),
            ("etc/systemd/system/a.service.d/x.conf", "[Unit]\nBindsTo=c.service\n"),
        ]);
        let files = root.unit_files(Manager::System, None, "a.service");
        let settings = root.unit(Manager::System, "a.service", &files);
        let find = |name: &str| settings.iter().find(|it| it.name == name);
        let bound: Vec<_> = settings.iter().filter(|it| it.name == "BindsTo").collect();
        assert_eq!(
            bound.iter().map(|it| (it.value.as_str(), it.line)).collect::<Vec<_>>(),
            [("b.service", Some(2)), ("c.service", Some(2))]
        );
        assert_eq!(find("TimeoutStopSec").map(|it| it.value.as_str()), Some("9"));
        assert_eq!(find("KillMode").and_then(|it| it.file.as_deref()), None);
        assert_eq!(find("Type"), None);
        let none = root.unit(Manager::System, "gone.service", &UnitFiles::default());
        assert!(!none.iter().any(|it| it.name == "TimeoutStopSec"), "it has none of its own");
        let stop = none.iter().find(|it| it.name == "DefaultTimeoutStopSec").expect("told instead");
        assert_eq!(
            (stop.value.as_str(), stop.file.as_deref()),
            ("33s", Some("/etc/systemd/system.conf"))
        );
    }

    #[test]
    fn units_of_users_come_from_their_home() {
        let (_tree, root) = tree(&[
            ("home/alice/.config/systemd/user/tmux.service", "[Service]\nKillMode=none\n"),
            ("usr/lib/systemd/user/tmux.service", "[Service]\nKillMode=mixed\n"),
        ]);
        let files = root.unit_files(Manager::User(1000), Some("/home/alice"), "tmux.service");
        assert_eq!(
            files.fragment.as_deref(),
            Some("/home/alice/.config/systemd/user/tmux.service")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_unit_name_is_survived(unit in "[a-z@./-]{0,20}|.{0,20}") {
            if let Some(template) = template(&unit) {
                proptest::prop_assert!(template.contains("@."));
            }
            for prefix in prefixes(&unit) {
                let stem = prefix.rsplit_once('.').expect("a type").0;
                proptest::prop_assert!(stem.ends_with('-') && unit.starts_with(stem), "{}", prefix);
            }
        }
    }
}
