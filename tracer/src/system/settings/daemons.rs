//! `logind.conf`, `system.conf`, `user.conf` and other daemons' configuration: main file, drop-ins, compiled-in defaults.

use super::{Assignment, Kind, Root, commented_default, joined, last};
use crate::evidence::{Manager, Setting};

/// Where systemd's configuration lives, strongest first.
pub(super) const TREES: [&str; 5] = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"];

/// What the daemons' configuration lies in, in each tree.
const SYSTEMD: &str = "systemd";
const ELOGIND: &str = "elogind";

/// What these settings take; others are lists, or not read closely.
const KINDS: [(&str, Kind); 8] = [
    ("KillUserProcesses", Kind::Truth),
    ("StopIdleSessionSec", Kind::Span),
    ("UserStopDelaySec", Kind::Span),
    ("IdleActionSec", Kind::Span),
    ("DefaultTimeoutStopSec", Kind::Span),
    ("DefaultTimeoutStartSec", Kind::Span),
    ("Storage", Kind::Word(&["volatile", "persistent", "auto", "none"])),
    ("DefaultOOMPolicy", Kind::Word(&["continue", "stop", "kill"])),
];

/// The settings of systemd-logind that decide about processes, or that have it take the system down, and its compiled-in values
/// (`src/login/logind-core.c:manager_reset_config`; logind.conf(5)); `KillUserProcesses` is the distribution's choice.
const LOGIND: [(&str, Option<&str>); 12] = [
    ("KillUserProcesses", None),
    ("KillExcludeUsers", Some("root")),
    ("KillOnlyUsers", Some("")),
    ("StopIdleSessionSec", Some("infinity")),
    ("UserStopDelaySec", Some("10s")),
    ("IdleAction", Some("ignore")),
    ("IdleActionSec", Some("30min")),
    ("HandlePowerKey", Some("poweroff")),
    ("HandlePowerKeyLongPress", Some("ignore")),
    ("HandleRebootKey", Some("reboot")),
    ("HandleRebootKeyLongPress", Some("poweroff")),
    ("HandleLidSwitch", Some("suspend")),
];

/// The settings of systemd-oomd, and its compiled-in values (`src/oom/oomd-manager.h`; oomd.conf(5)).
const OOMD: [(&str, &str); 3] = [
    ("SwapUsedLimit", "90%"),
    ("DefaultMemoryPressureLimit", "60%"),
    ("DefaultMemoryPressureDurationSec", "30s"),
];

/// Distributions known to build systemd with `-Ddefault-kill-user-processes=false`.
const NO_KILL: [&str; 10] =
    ["debian", "ubuntu", "fedora", "rhel", "centos", "arch", "suse", "opensuse", "amzn", "gentoo"];

/// What logind is built with, where that is no choice of the distribution's.
pub(in crate::system) fn compiled_logind(name: &str) -> Option<&'static str> {
    LOGIND.iter().find(|(known, _)| *known == name)?.1
}

impl Root {
    /// What decides at the end of a session and when the machine goes down, with the file and line that set it; scope `logind.conf`.
    pub fn logind(&self) -> Vec<Setting> {
        let directory = self.logind_directory();
        let assignments = self.daemon_in(directory, None, "logind.conf");
        let of_default = |(name, default): (&str, Option<&str>)| {
            let found = match name {
                "KillExcludeUsers" | "KillOnlyUsers" => joined(&assignments, "Login", name),
                _ => last(&assignments, "Login", name).cloned(),
            };
            if let Some(found) = found {
                return Some(found.setting("logind.conf"));
            }
            let value = match name {
                "KillUserProcesses" => self.default_kill_user_processes(directory)?,
                _ => default?.to_owned(),
            };
            Some(default_setting("logind.conf", name, value))
        };
        LOGIND.into_iter().filter_map(of_default).collect()
    }

    /// When systemd-oomd kills, for cgroups that say nothing else; scope `oomd.conf`.
    pub fn oomd(&self) -> Vec<Setting> {
        let assignments = self.daemon(None, "oomd.conf");
        let of_default = |(name, default): (&str, &str)| match last(&assignments, "OOM", name) {
            Some(found) => found.setting("oomd.conf"),
            None => default_setting("oomd.conf", name, default),
        };
        OOMD.into_iter().map(of_default).collect()
    }

    /// Where journald is told to keep the journal, where a file says so; scope `journald.conf`.
    pub fn journal_storage(&self) -> Option<Setting> {
        let assignments = self.daemon(None, "journald.conf");
        last(&assignments, "Journal", "Storage").map(|found| found.setting("journald.conf"))
    }

    /// `DefaultTimeoutStopSec` of the system manager; scope `system.conf`.
    pub fn default_timeout_stop(&self) -> Setting {
        let found = self.manager_default(Manager::System, None, "DefaultTimeoutStopSec");
        found.unwrap_or_else(|| {
            let compiled = self.compiled_timeout(Manager::System);
            default_setting("system.conf", "DefaultTimeoutStopSec", compiled)
        })
    }

    /// One of the `Default…=` of a service manager for its units, where a file sets it; scope `system.conf` or
    /// `user.conf`, which a user can have in `home`, too.
    pub(super) fn manager_default(
        &self,
        manager: Manager,
        home: Option<&str>,
        name: &str,
    ) -> Option<Setting> {
        let (file, home) = match manager {
            Manager::System => ("system.conf", None),
            Manager::User(_) => ("user.conf", home),
        };
        last(&self.daemon(home, file), "Manager", name).map(|found| found.setting(file))
    }

    /// Compiled-in `DefaultTimeoutStopSec` and `DefaultTimeoutStartSec` of a manager: the shipped file shows it. Where that
    /// is not there any more, who built it tells: upstream it is 90 s (systemd-system.conf(5)), on Fedora, but not on RHEL,
    /// 45 s (`-Ddefault-timeout-sec=45 -Ddefault-user-timeout-sec=45` in its systemd.spec).
    pub(super) fn compiled_timeout(&self, manager: Manager) -> String {
        let file = match manager {
            Manager::System => "system.conf",
            Manager::User(_) => "user.conf",
        };
        let by_distribution = || {
            let is_fedora =
                self.distribution().iter().any(|it| it.name == "ID" && it.value == "fedora");
            if is_fedora { "45s" } else { "90s" }.to_owned()
        };
        self.shipped(SYSTEMD, file, "DefaultTimeoutStopSec").unwrap_or_else(by_distribution)
    }

    /// Where in the trees logind's configuration lies: elogind takes its place where systemd does not run.
    fn logind_directory(&self) -> &'static str {
        let runs_systemd = self.exists("/run/systemd/system");
        if !runs_systemd && self.exists("/etc/elogind") { ELOGIND } else { SYSTEMD }
    }

    /// The compiled-in `KillUserProcesses`, from the commented line that is shipped, else from who built it.
    fn default_kill_user_processes(&self, directory: &str) -> Option<String> {
        if let Some(value) = self.shipped(directory, "logind.conf", "KillUserProcesses") {
            return Some(value);
        }
        if directory == ELOGIND {
            return None;
        }
        let ids = self.distribution();
        let known = ids.iter().flat_map(|it| it.value.split(' ')).any(|word| {
            NO_KILL.iter().any(|id| word == *id || word.strip_prefix("opensuse-").is_some())
        });
        known.then(|| "no".to_owned())
    }

    /// Which distribution this is, and of whose kind; scope [`Setting::OS_RELEASE`].
    pub fn distribution(&self) -> Vec<Setting> {
        let read = |file: &'static str| Some((file, self.read(file).ok()?));
        let found = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
        let Some((file, text)) = found else { return Vec::new() };
        let lines = (1..).zip(text.lines()).filter_map(|(number, line)| {
            let (name, value) = line.split_once('=')?;
            let value = value.trim_matches(['"', '\'']);
            matches!(name, "ID" | "ID_LIKE").then(|| Setting {
                file: Some(file.to_owned()),
                line: Some(number),
                ..default_setting(Setting::OS_RELEASE, name, value)
            })
        });
        lines.collect()
    }

    /// What the commented-out line of the shipped main file says.
    fn shipped(&self, directory: &str, file: &str, name: &str) -> Option<String> {
        TREES.iter().find_map(|tree| {
            commented_default(&self.read(&format!("{tree}/{directory}/{file}")).ok()?, name)
        })
    }

    /// Every assignment that counts for one of systemd's daemons, weakest first. Of the main files the first alone
    /// is read, a user's own before all others (`manager_find_user_config_paths` in `src/core/main.c`).
    fn daemon(&self, home: Option<&str>, file: &str) -> Vec<Assignment> {
        self.daemon_in(SYSTEMD, home, file)
    }

    fn daemon_in(&self, directory: &str, home: Option<&str>, file: &str) -> Vec<Assignment> {
        let own = home.map(|home| format!("{home}/.config"));
        let trees = own.into_iter().chain(TREES.map(str::to_owned));
        let mains: Vec<String> = trees.map(|tree| format!("{tree}/{directory}/{file}")).collect();
        let directories: Vec<String> = mains.iter().map(|main| format!("{main}.d")).collect();
        let main = mains.into_iter().find(|path| self.exists(path));
        let files: Vec<String> = main.into_iter().chain(self.drop_ins(&directories)).collect();
        let mut assignments = self.assignments(&files, |_, name| {
            KINDS.iter().any(|(known, _)| *known == name)
                || LOGIND.iter().any(|(known, _)| *known == name)
                || OOMD.iter().any(|(known, _)| *known == name)
        });
        assignments.retain(|it| {
            let kind = KINDS.iter().find(|(name, _)| *name == it.name);
            kind.is_none_or(|(_, kind)| kind.accepts(&it.value))
        });
        assignments
    }
}

/// A value that no file set.
pub(in crate::system) fn default_setting(
    scope: &str,
    name: &str,
    value: impl Into<String>,
) -> Setting {
    Setting {
        manager: None,
        scope: scope.to_owned(),
        name: name.to_owned(),
        value: value.into(),
        file: None,
        line: None,
        unread: None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            let tree = Self(tempfile::tempdir().expect("temporary directory"));
            for (path, text) in files {
                fs::write(tree.path(path), text).expect("file");
            }
            tree
        }

        fn path(&self, path: &str) -> std::path::PathBuf {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            path
        }

        fn kill_user_processes(&self) -> Option<(String, Option<String>, Option<u32>)> {
            let settings = Root::new(self.0.path()).logind();
            let found = settings.into_iter().find(|it| it.name == "KillUserProcesses")?;
            Some((found.value, found.file, found.line))
        }
    }

    fn set(value: &str, file: &str, line: u32) -> Option<(String, Option<String>, Option<u32>)> {
        Some((value.to_owned(), Some(file.to_owned()), Some(line)))
    }

    #[test]
    fn elogind_has_files_of_its_own_where_systemd_does_not_run() {
        let tree = Tree::new(&[
            ("etc/systemd/logind.conf", "[Login]\nKillUserProcesses=no\n"),
            ("etc/elogind/logind.conf", "[Login]\nKillUserProcesses=yes\n"),
        ]);
        assert_eq!(tree.kill_user_processes(), set("yes", "/etc/elogind/logind.conf", 2));
        let added = "[Login]\nKillUserProcesses=no\n";
        fs::write(tree.path("etc/elogind/logind.conf.d/a.conf"), added).expect("file");
        assert_eq!(tree.kill_user_processes(), set("no", "/etc/elogind/logind.conf.d/a.conf", 2));
        fs::create_dir_all(tree.path("run/systemd/system")).expect("directory");
        assert_eq!(tree.kill_user_processes(), set("no", "/etc/systemd/logind.conf", 2));
    }

    #[test]
    fn elogind_is_built_as_each_distribution_likes() {
        let tree = Tree::new(&[("etc/elogind/logind.conf", ""), ("etc/os-release", "ID=debian\n")]);
        assert_eq!(tree.kill_user_processes(), None);
    }

    #[test]
    fn drop_ins_beat_the_main_file_and_order_by_name_over_all_directories() {
        let tree = Tree::new(&[
            ("etc/systemd/logind.conf", "[Login]\nKillUserProcesses=no\n"),
            (
                "usr/lib/systemd/logind.conf.d/50-site.conf",
                "# vendor\n[Login]\nKillUserProcesses=yes\n",
            ),
            ("etc/systemd/logind.conf.d/40-mine.conf", "[Login]\nKillUserProcesses=no\n"),
        ]);
        assert_eq!(
            tree.kill_user_processes(),
            set("yes", "/usr/lib/systemd/logind.conf.d/50-site.conf", 3)
        );
    }

    #[test]
    fn a_file_of_the_same_name_higher_up_hides_the_lower() {
        let tree = Tree::new(&[
            ("usr/lib/systemd/logind.conf.d/50-site.conf", "[Login]\nKillUserProcesses=yes\n"),
            ("run/systemd/logind.conf.d/50-site.conf", "[Login]\n\nKillUserProcesses=no\n"),
        ]);
        assert_eq!(
            tree.kill_user_processes(),
            set("no", "/run/systemd/logind.conf.d/50-site.conf", 3)
        );
    }

    #[test]
    fn a_link_to_dev_null_masks() {
        let tree = Tree::new(&[
            ("etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\n"),
            ("usr/lib/systemd/logind.conf.d/50-site.conf", "[Login]\nKillUserProcesses=yes\n"),
        ]);
        symlink("/dev/null", tree.path("etc/systemd/logind.conf.d/50-site.conf")).expect("link");
        assert_eq!(tree.kill_user_processes(), Some(("no".to_owned(), None, None)));
    }

    #[test]
    fn defaults_come_from_the_shipped_comment_or_the_distribution_or_are_unknown() {
        let shipped =
            Tree::new(&[("usr/lib/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\n")]);
        assert_eq!(shipped.kill_user_processes(), Some(("yes".to_owned(), None, None)));
        let fedora =
            Tree::new(&[("etc/os-release", "NAME=x\nID=nobara\nID_LIKE=\"rhel fedora\"\n")]);
        assert_eq!(fedora.kill_user_processes(), Some(("no".to_owned(), None, None)));
        let ids = Root::new(fedora.0.path()).distribution();
        let told: Vec<_> =
            ids.iter().map(|it| (it.name.as_str(), it.value.as_str(), it.line)).collect();
        assert_eq!(told, [("ID", "nobara", Some(2)), ("ID_LIKE", "rhel fedora", Some(3))]);
        let other = Tree::new(&[("etc/os-release", "ID=nixos\n")]);
        assert_eq!(other.kill_user_processes(), None);
    }

    #[test]
    fn time_limits_come_from_the_shipped_comment_or_the_distribution() {
        let of = |files: &[(&str, &str)]| {
            let tree = Tree::new(files);
            let root = Root::new(tree.0.path());
            [Manager::System, Manager::User(1000)].map(|manager| root.compiled_timeout(manager))
        };
        let both = |value: &str| [value.to_owned(), value.to_owned()];
        assert_eq!(of(&[]), both("90s"));
        assert_eq!(of(&[("etc/os-release", "ID=fedora\n")]), both("45s"));
        assert_eq!(of(&[("etc/os-release", "ID=\"rhel\"\nID_LIKE=\"fedora\"\n")]), both("90s"));
        let user = ("usr/lib/systemd/user.conf", "[Manager]\n#DefaultTimeoutStopSec=7s\n");
        assert_eq!(of(&[user]), ["90s", "7s"]);
        let system = ("usr/lib/systemd/system.conf", "[Manager]\n#DefaultTimeoutStopSec=8s\n");
        assert_eq!(of(&[user, system, ("etc/os-release", "ID=fedora\n")]), ["8s", "7s"]);
    }

    #[test]
    fn systemd_oomd_has_limits_also_where_no_file_says_so() {
        let tree = Tree::new(&[
            ("etc/systemd/oomd.conf", "[OOM]\n#SwapUsedLimit=90%\n"),
            (
                "usr/lib/systemd/oomd.conf.d/10-oomd-defaults.conf",
                "[OOM]\nDefaultMemoryPressureDurationSec=20s\n",
            ),
        ]);
        let told: Vec<_> = Root::new(tree.0.path())
            .oomd()
            .into_iter()
            .map(|it| (it.name, it.value, it.line))
            .collect();
        let set = |name: &str, value: &str, line| (name.to_owned(), value.to_owned(), line);
        assert_eq!(
            told,
            [
                set("SwapUsedLimit", "90%", None),
                set("DefaultMemoryPressureLimit", "60%", None),
                set("DefaultMemoryPressureDurationSec", "20s", Some(2)),
            ]
        );
    }

    #[test]
    fn lists_add_up_and_sections_matter() {
        let tree = Tree::new(&[
            (
                "etc/systemd/logind.conf",
                "[Login]\nKillExcludeUsers=root\n[Sleep]\nUserStopDelaySec=1\n",
            ),
            ("etc/systemd/logind.conf.d/a.conf", "[Login]\nKillExcludeUsers=alice\n"),
            ("etc/systemd/system.conf", "[Manager]\nDefaultTimeoutStopSec=5s\n"),
        ]);
        let root = Root::new(tree.0.path());
        let find =
            |name: &str| root.logind().into_iter().find(|it| it.name == name).expect("a setting");
        assert_eq!(find("KillExcludeUsers").value, "root alice");
        assert_eq!(
            (find("UserStopDelaySec").value.as_str(), find("UserStopDelaySec").file),
            ("10s", None)
        );
        assert_eq!(root.default_timeout_stop().line, Some(2));
    }
}
