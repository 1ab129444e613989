//! Which files make up a unit: where its manager looks for them, and in what order they apply.

use super::Root;
use crate::evidence::cgroup_path::is_unit_name;
use crate::evidence::{Manager, base_name, template_of};

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

/// How many other names of a unit are followed.
const MAX_ALIASES: usize = 16;

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
        let aliases = self.aliases(&directories, unit);
        self.files_called(&directories, unit, aliases)
    }

    /// The files of a unit that has these other names.
    pub(super) fn files_called(
        &self,
        directories: &[String],
        unit: &str,
        aliases: Vec<String>,
    ) -> UnitFiles {
        let names: Vec<String> =
            std::iter::once(unit.to_owned()).chain(template_of(unit)).collect();
        let fragment = names.iter().find_map(|name| {
            directories
                .iter()
                .map(|directory| format!("{directory}/{name}"))
                .find(|path| self.exists(path))
        });
        // Of equal file names that in the stronger directory counts, and only then that of the closer name
        // (`unit_file_find_dropin_paths` in `src/shared/dropin.c`); what is for all units of a type comes last.
        let mut drop_in_directories = Vec::new();
        for name in std::iter::once(unit.to_owned()).chain(aliases) {
            let lending = lending(&name);
            drop_in_directories.extend(directories.iter().flat_map(|directory| {
                lending.iter().map(move |name| format!("{directory}/{name}.d"))
            }));
        }
        if let Some((_, kind)) = unit.rsplit_once('.') {
            drop_in_directories
                .extend(directories.iter().map(|directory| format!("{directory}/{kind}.d")));
        }
        UnitFiles { fragment, drop_ins: self.drop_ins(&drop_in_directories) }
    }

    /// Other names of a unit: links to its file beside the units. Of an instance's template, with the instance.
    fn aliases(&self, directories: &[String], unit: &str) -> Vec<String> {
        let template = template_of(unit);
        let mut found = Vec::new();
        for directory in directories {
            for name in self.list(directory) {
                if found.len() >= MAX_ALIASES {
                    self.miss(format!("{unit}: it has more than {MAX_ALIASES} other names"));
                    return found;
                }
                let target = self.link(&format!("{directory}/{name}"));
                let target = target.as_deref().map(base_name);
                let alias = match (target, &template) {
                    (Some(target), _) if target == unit => Some(name),
                    (Some(target), Some(own)) if target == own => instance_of(&name, unit),
                    _ => None,
                };
                found.extend(alias.filter(|alias| alias != unit && !found.contains(alias)));
            }
        }
        found
    }
}

impl Root {
    /// The unit that a name is only another one of: a link beside the units leads to it (`Alias=`).
    pub fn unit_of_alias(
        &self,
        manager: Manager,
        home: Option<&str>,
        name: &str,
    ) -> Option<String> {
        let mut own = name.to_owned();
        let directories = directories(manager, home);
        // A link may lead to a link.
        for _ in 0..MAX_ALIASES {
            let files = std::iter::once(own.clone()).chain(template_of(&own));
            let link = |file: &String| {
                directories.iter().find_map(|directory| self.link(&format!("{directory}/{file}")))
            };
            let Some(to) = files.into_iter().find_map(|file| link(&file)) else { break };
            let to = base_name(&to);
            let instance = to.contains("@.").then(|| instance_of(to, &own)).flatten();
            let next = instance.unwrap_or_else(|| to.to_owned());
            if next == own || !is_unit_name(&next) {
                break;
            }
            own = next;
        }
        (own != name).then_some(own)
    }
}

/// Where a manager looks for units, strongest first.
pub(super) fn directories(manager: Manager, home: Option<&str>) -> Vec<String> {
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

/// The name that an alias of a template gives to the instance: of `ssh@4.service` by `sshd@.service` `sshd@4.service`.
pub(super) fn instance_of(template: &str, unit: &str) -> Option<String> {
    let (prefix, kind) = template.split_once("@.")?;
    let (_, instance) = unit.rsplit_once('.')?.0.split_once('@')?;
    Some(format!("{prefix}@{instance}.{kind}"))
}

/// The names whose drop-ins apply to a unit of this name, closest first (`unit_file_find_dirs` in
/// `src/shared/dropin.c`): of `foo-bar@x.service` its own, `foo-bar@.service` and, as of a template, `foo-.service`;
/// then `foo-@x.service` and `foo-@.service`.
fn lending(unit: &str) -> Vec<String> {
    let template = template_of(unit);
    let shorter = shorter(unit, template.is_some());
    let further = template.into_iter().chain(shorter).flat_map(|name| lending(&name));
    let mut found = vec![unit.to_owned()];
    for name in further {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// The name one dash shorter: `foo-bar-baz.service` → `foo-bar-.service` → `foo-.service`. Only an instance keeps
/// what follows the `@`.
fn shorter(unit: &str, is_instance: bool) -> Option<String> {
    let (stem, kind) = unit.rsplit_once('.')?;
    let (prefix, instance) = stem.split_at(stem.find('@').unwrap_or(stem.len()));
    let prefix = prefix.strip_suffix('-').unwrap_or(prefix);
    let dash = prefix.rfind('-').filter(|at| *at > 0)?;
    let instance = if is_instance { instance } else { "" };
    Some(format!("{}{instance}.{kind}", &prefix[..=dash]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;
    use super::*;

    #[test]
    fn names_that_lend_their_drop_ins() {
        assert_eq!(lending("a-b-c.service"), ["a-b-c.service", "a-b-.service", "a-.service"]);
        assert_eq!(lending("user-1000.slice"), ["user-1000.slice", "user-.slice"]);
        assert_eq!(lending("plain.service"), ["plain.service"]);
        assert_eq!(lending("-a.service"), ["-a.service"]);
        assert_eq!(
            lending("a-b@x.service"),
            ["a-b@x.service", "a-b@.service", "a-.service", "a-@x.service", "a-@.service"]
        );
    }

    #[test]
    fn another_name_leads_to_the_unit() {
        let tree = tempfile::tempdir().expect("a directory");
        let etc = tree.path().join("etc/systemd/system");
        let lib = tree.path().join("lib/systemd/system");
        for directory in [&etc, &lib] {
            std::fs::create_dir_all(directory).expect("directories");
        }
        for (link, to) in [
            ("sshd.service", "/lib/systemd/system/ssh.service"),
            ("old.service", "sshd.service"),
            ("b@.service", "/lib/systemd/system/a@.service"),
            ("off.service", "/dev/null"),
            ("round.service", "round.service"),
        ] {
            std::os::unix::fs::symlink(to, etc.join(link)).expect("a link");
        }
        std::fs::write(lib.join("ssh.service"), "").expect("a file");
        let root = Root::new(tree.path());
        let own = |name: &str| root.unit_of_alias(Manager::System, None, name);
        for name in ["sshd.service", "old.service"] {
            assert_eq!(own(name).as_deref(), Some("ssh.service"), "{name}");
        }
        assert_eq!(own("b@x.service").as_deref(), Some("a@x.service"));
        for name in ["ssh.service", "none.service", "off.service", "round.service"] {
            assert_eq!(own(name), None, "{name}");
        }
    }

    #[test]
    fn units_of_users_come_from_their_home() {
        let (_tree, root) = root(&[
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
            if let Some(template) = template_of(&unit) {
                proptest::prop_assert!(template.contains("@."));
            }
            let lending = lending(&unit);
            proptest::prop_assert_eq!(&lending[0], &unit);
            proptest::prop_assert!(lending.iter().skip(1).all(|name| name.len() <= unit.len()));
        }
    }
}
