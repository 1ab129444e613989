//! What decides about a unit's processes, and which line of which of its files has set it.

use super::daemons::default_setting;
use super::unit_files::{UnitFiles, directories, instance_of};
use super::{Assignment, Kind, Root, added_up, is_plain, last};
use crate::evidence::{Manager, Setting, template_of};

/// Settings with one value that decide when and how a unit's processes end
/// (`src/core/load-fragment-gperf.gperf.in`).
const ONE: [(&str, Kind); 49] = [
    // An empty one resets it from v246 on; before, it was ignored.
    ("KillMode", Kind::Word(&["", "control-group", "process", "mixed", "none"])),
    ("KillSignal", Kind::Text),
    ("RestartKillSignal", Kind::Text),
    ("FinalKillSignal", Kind::Text),
    ("WatchdogSignal", Kind::Text),
    ("ReloadSignal", Kind::Text),
    ("SendSIGHUP", Kind::Truth),
    // For whoever reads a recording.
    ("SendSIGKILL", Kind::Truth),
    ("TTYVHangup", Kind::Truth),
    ("PrivatePIDs", Kind::Truth),
    ("IgnoreSIGPIPE", Kind::Truth),
    ("TimeoutStopSec", Kind::Span),
    ("TimeoutStartSec", Kind::Span),
    ("TimeoutSec", Kind::Span),
    ("TimeoutAbortSec", Kind::Resets),
    ("TimeoutStopFailureMode", Kind::Word(&FAILURE_MODES)),
    ("TimeoutStartFailureMode", Kind::Word(&FAILURE_MODES)),
    ("RuntimeMaxSec", Kind::Span),
    ("RuntimeRandomizedExtraSec", Kind::Span),
    // For whoever reads a recording.
    ("JobTimeoutSec", Kind::Span),
    ("JobTimeoutAction", Kind::Text),
    ("SuccessAction", Kind::Text),
    ("FailureAction", Kind::Text),
    ("StartLimitAction", Kind::Text),
    ("WatchdogSec", Kind::Span),
    ("OOMPolicy", Kind::Word(&["continue", "stop", "kill"])),
    ("Type", Kind::Text),
    ("ExitType", Kind::Word(&["main", "cgroup"])),
    ("Restart", Kind::Text),
    ("RemainAfterExit", Kind::Truth),
    ("StopWhenUnneeded", Kind::Truth),
    ("IgnoreOnIsolate", Kind::Truth),
    ("Slice", Kind::Text),
    ("Delegate", Kind::Resets),
    ("PIDFile", Kind::Text),
    ("BusName", Kind::Text),
    ("NotifyAccess", Kind::Text),
    ("LimitCPU", Kind::Text),
    ("LimitFSIZE", Kind::Text),
    ("LimitRTTIME", Kind::Text),
    ("LimitSTACK", Kind::Text),
    ("LimitAS", Kind::Text),
    ("MemoryMax", Kind::Resets),
    ("MemoryHigh", Kind::Resets),
    ("ManagedOOMSwap", Kind::Resets),
    ("ManagedOOMMemoryPressure", Kind::Resets),
    ("ManagedOOMMemoryPressureLimit", Kind::Resets),
    ("ManagedOOMMemoryPressureDurationSec", Kind::Resets),
    ("ManagedOOMPreference", Kind::Resets),
];

const FAILURE_MODES: [&str; 3] = ["terminate", "abort", "kill"];

/// Those of [`ONE`] that stand in the section `[Unit]`, as dependencies do; the others have the unit's type's.
const IN_UNIT: [&str; 7] = [
    "JobTimeoutSec",
    "JobTimeoutAction",
    "SuccessAction",
    "FailureAction",
    "StartLimitAction",
    "StopWhenUnneeded",
    "IgnoreOnIsolate",
];

impl Root {
    /// What the files of a unit say that it conflicts with: those of its own name, which are quickly looked through.
    /// `None` where it has none.
    pub fn conflicts(
        &self,
        manager: Manager,
        home: Option<&str>,
        unit: &str,
    ) -> Option<Vec<Setting>> {
        const NAME: &str = "Conflicts";
        let files = self.files_called(&directories(manager, home), unit, Vec::new());
        files.fragment.as_ref()?;
        let all = files.fragment.iter().chain(&files.drop_ins);
        let plain: Vec<String> = all.filter(|path| is_plain(path.as_ref())).cloned().collect();
        let lines = self.assignments(&plain, |section, name| section == "Unit" && name == NAME);
        Some(added_up(&lines, "Unit", NAME).map(|line| line.setting(unit).of(manager)).collect())
    }

    /// What the files of a unit set; scope is the unit's name. `KillMode` is always among them, for want of a
    /// file with its compiled-in value; so is `TimeoutStopSec`, or what the manager sets instead of it for all
    /// of its units (`DefaultTimeoutStopSec`). What the manager would ignore (in another section, or no value of
    /// its kind) is left out. `home`: where the user's manager has its own configuration.
    pub fn unit(
        &self,
        manager: Manager,
        home: Option<&str>,
        unit: &str,
        files: &UnitFiles,
    ) -> Vec<Setting> {
        let all = files.fragment.iter().chain(&files.drop_ins);
        let plain: Vec<String> = all.filter(|path| is_plain(path.as_ref())).cloned().collect();
        let own = section(unit);
        let mut assignments = self.assignments(&plain, |section, name| {
            section == if is_in_unit(name) { "Unit" } else { &own }
                && (Setting::ADDED_UP.contains(&name) || ONE.iter().any(|(one, _)| *one == name))
        });
        // Each name is read in one section, so the section need not be known any more.
        for assignment in &mut assignments {
            assignment.section.clear();
        }
        assignments.retain(|it| {
            let kind = ONE.iter().find(|(name, _)| *name == it.name).map(|(_, kind)| *kind);
            kind.is_none_or(|kind| kind.accepts(&it.value))
        });
        let mut settings: Vec<Setting> = Vec::new();
        for (name, _) in ONE {
            settings.extend(last(&assignments, "", name).map(|it| it.setting(unit)));
        }
        for name in Setting::ADDED_UP {
            settings.extend(added_up(&assignments, "", name).map(|it| it.setting(unit)));
        }
        settings.extend(self.links_to_required(manager, home, unit));
        let defaults = |name: &str| self.manager_default(manager, home, name);
        self.add_defaults(manager, &defaults, unit, &assignments, &mut settings);
        settings.into_iter().map(|setting| setting.of(manager)).collect()
    }

    /// `Requires=` by links in the directories `UNIT.requires`, as files without a line.
    fn links_to_required(&self, manager: Manager, home: Option<&str>, unit: &str) -> Vec<Setting> {
        let directories = directories(manager, home);
        let names: Vec<String> =
            std::iter::once(unit.to_owned()).chain(template_of(unit)).collect();
        let mut found = Vec::new();
        for directory in names.iter().flat_map(|name| {
            directories.iter().map(move |directory| format!("{directory}/{name}.requires"))
        }) {
            found.extend(self.list(&directory).into_iter().map(|name| Setting {
                manager: Some(manager),
                scope: unit.to_owned(),
                name: "Requires".to_owned(),
                // Of a template it means the instance of the same name.
                value: instance_of(&name, unit).unwrap_or_else(|| name.clone()),
                file: Some(format!("{directory}/{name}")),
                line: None,
                unread: None,
            }));
        }
        found
    }

    fn add_defaults(
        &self,
        manager: Manager,
        of_manager: &dyn Fn(&str) -> Option<Setting>,
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
        let default = |name: &str| of_manager(name).map(of_unit);
        let one = |name: &str| last(assignments, "", name).map(|it| it.value.as_str());
        for name in ["TimeoutStopSec", "TimeoutStartSec"] {
            // TimeoutSec= is shorthand for both start and stop; the later assignment counts.
            let own = assignments.iter().rfind(|it| it.name == name || it.name == "TimeoutSec");
            settings.retain(|it| it.name != name);
            if let Some(own) = own {
                settings.push(Setting { name: name.to_owned(), ..own.setting(unit) });
                continue;
            }
            // Only services have a time limit for their start, oneshot ones by default none.
            let has =
                name == "TimeoutStopSec" || kind == "service" && one("Type") != Some("oneshot");
            if has {
                let built_in = || default_setting(unit, name, self.compiled_timeout(manager));
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

/// Whether a setting stands in the section `[Unit]`.
fn is_in_unit(name: &str) -> bool {
    let of_type = name.starts_with("Exec") || name == "SystemCallFilter";
    IN_UNIT.contains(&name) || Setting::ADDED_UP.contains(&name) && !of_type
}

/// The section that a unit has for its type: `Service`.
fn section(unit: &str) -> String {
    let kind = unit.rsplit_once('.').map_or("", |(_, kind)| kind);
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;
    use super::*;

    #[test]
    fn what_a_unit_conflicts_with() {
        let (_tree, root) = root(&[
            (
                "etc/systemd/system/a@.service",
                "[Unit]\nConflicts=x.service\n[Service]\nConflicts=no\n",
            ),
            ("run/systemd/system/a@1.service.d/b.conf", "[Unit]\n\nConflicts=y.service\n"),
            ("run/systemd/system/a@2.service.d/b.conf", "[Unit]\nConflicts=\n"),
        ]);
        let of = |unit: &str| {
            let lines = root.conflicts(Manager::System, None, unit).into_iter().flatten();
            lines.map(|it| (it.scope, it.value, it.line)).collect::<Vec<_>>()
        };
        let line =
            |value: &str, line: u32| ("a@1.service".to_owned(), value.to_owned(), Some(line));
        assert_eq!(of("a@1.service"), [line("x.service", 2), line("y.service", 3)]);
        assert_eq!(of("a@2.service"), []);
        assert_eq!(root.conflicts(Manager::System, None, "transient.service"), None);
    }

    #[test]
    fn what_is_required_by_links_and_mounts_is_told() {
        let (_tree, root) = root(&[
            (
                "etc/systemd/system/a.service",
                "[Unit]\nRequiresMountsFor=/m/data\n[Service]\nLimitCPU=1\nLimitSTACK=512K\nLimitAS=1G\n",
            ),
            ("etc/systemd/system/a.service.requires/base.service", ""),
        ]);
        let files = root.unit_files(Manager::System, None, "a.service");
        let settings = root.unit(Manager::System, None, "a.service", &files);
        let find = |name: &str| {
            let found = settings.iter().find(|it| it.name == name);
            found.map(|it| (it.value.clone(), it.file.clone().unwrap_or_default(), it.line))
        };
        let file = "/etc/systemd/system/a.service".to_owned();
        let link = "/etc/systemd/system/a.service.requires/base.service".to_owned();
        assert_eq!(find("RequiresMountsFor"), Some(("/m/data".to_owned(), file.clone(), Some(2))));
        assert_eq!(find("Requires"), Some(("base.service".to_owned(), link, None)));
        assert_eq!(find("LimitCPU"), Some(("1".to_owned(), file.clone(), Some(4))));
        assert_eq!(find("LimitSTACK"), Some(("512K".to_owned(), file.clone(), Some(5))));
        assert_eq!(find("LimitAS"), Some(("1G".to_owned(), file, Some(6))));
    }

    #[test]
    fn fragment_and_drop_ins_are_found_and_ordered() {
        let (_tree, root) = root(&[
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
        let settings = root.unit(Manager::System, None, "ssh@4.service", &files);
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
        let (_tree, root) = root(&[
            ("etc/systemd/system.conf", "[Manager]\nDefaultTimeoutStopSec=33s\n"),
            (
                "etc/systemd/system/a.service",
                "[Unit]\nBindsTo=b.service\n[Service]\nTimeoutSec=9\n[Install]\nType=x\n",
            ),
            ("etc/systemd/system/a.service.d/x.conf", "[Unit]\nBindsTo=c.service\n"),
        ]);
        let files = root.unit_files(Manager::System, None, "a.service");
        let settings = root.unit(Manager::System, None, "a.service", &files);
        let find = |name: &str| settings.iter().find(|it| it.name == name);
        let bound: Vec<_> = settings.iter().filter(|it| it.name == "BindsTo").collect();
        assert_eq!(
            bound.iter().map(|it| (it.value.as_str(), it.line)).collect::<Vec<_>>(),
            [("b.service", Some(2)), ("c.service", Some(2))]
        );
        assert_eq!(find("TimeoutStopSec").map(|it| it.value.as_str()), Some("9"));
        assert_eq!(find("KillMode").and_then(|it| it.file.as_deref()), None);
        assert_eq!(find("Type"), None);
        let none = root.unit(Manager::System, None, "gone.service", &UnitFiles::default());
        assert!(!none.iter().any(|it| it.name == "TimeoutStopSec"), "it has none of its own");
        let stop = none.iter().find(|it| it.name == "DefaultTimeoutStopSec").expect("told instead");
        assert_eq!(
            (stop.value.as_str(), stop.file.as_deref()),
            ("33s", Some("/etc/systemd/system.conf"))
        );
    }

    #[test]
    fn a_line_that_the_manager_ignores_sets_nothing() {
        let (_tree, root) = root(&[(
            "etc/systemd/system/a.service",
            "[Unit]\nKillMode=none\n[Service]\nTimeoutStopSec=9\nSendSIGHUP=yes\nTimeoutStopSec=soon\nSendSIGHUP=\n",
        )]);
        let files = root.unit_files(Manager::System, None, "a.service");
        let settings = root.unit(Manager::System, None, "a.service", &files);
        let find = |name: &str| {
            settings.iter().find(|it| it.name == name).map(|it| (it.value.as_str(), it.line))
        };
        assert_eq!(find("KillMode"), Some(("control-group", None)));
        assert_eq!(find("TimeoutStopSec"), Some(("9", Some(4))));
        assert_eq!(find("SendSIGHUP"), Some(("yes", Some(5))));
    }

    #[test]
    fn a_user_has_defaults_of_their_own() {
        let (_tree, root) = root(&[
            ("etc/systemd/user.conf", "[Manager]\nDefaultTimeoutStopSec=1s\n"),
            (
                "home/alice/.config/systemd/user.conf.d/a.conf",
                "[Manager]\nDefaultTimeoutStopSec=2s\n",
            ),
        ]);
        let stop = |home| {
            let settings = root.unit(Manager::User(1000), home, "a.service", &UnitFiles::default());
            let found = settings.into_iter().find(|it| it.name == "DefaultTimeoutStopSec");
            found.map(|it| it.value)
        };
        assert_eq!(stop(Some("/home/alice")).as_deref(), Some("2s"));
        assert_eq!(stop(None).as_deref(), Some("1s"));
        let system =
            root.unit(Manager::System, Some("/home/alice"), "a.service", &UnitFiles::default());
        assert!(
            system.iter().any(|it| it.name == "TimeoutStopSec" && it.file.is_none()),
            "{system:?}"
        );
    }
}
