//! Configuration: of the service manager, of logind, of sshd.

use std::cell::LazyCell;
use std::fs;
use std::path::PathBuf;

use killtrace::evidence::{Fact, Manager, Setting, Source};
use killtrace::system::settings::Root;
use tempfile::TempDir;

use super::scene::{SERVICE, SESSION, TERMINATED};
use super::{files, text};

/// A root directory with some files in it, for one thread.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.real(path);
        let folder = path.parent().expect("a directory");
        if !folder.is_dir() {
            fs::create_dir_all(folder).expect("made");
        }
        fs::write(path, bytes).expect("written");
    }

    fn real(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn root(&self) -> Root {
        Root::new(self.0.path())
    }

    /// The line that is said to set something does so.
    fn is_told_where(&self, setting: &Setting) {
        let (Some(file), Some(line)) = (&setting.file, setting.line) else { return };
        let bytes =
            fs::read(self.real(file)).unwrap_or_else(|error| panic!("{error}: {setting:?}"));
        let text = text(&bytes).to_ascii_lowercase();
        let said = text.lines().nth(line as usize - 1).unwrap_or_else(|| panic!("{setting:?}"));
        let name = setting.name.to_ascii_lowercase();
        // TimeoutSec= is TimeoutStartSec= and TimeoutStopSec= in one, and the manager has a default for each.
        let also = [format!("default{name}"), "timeoutsec".to_owned()];
        assert!(
            said.contains(&name) || also.iter().any(|it| said.contains(it)),
            "{setting:?}: {said:?}"
        );
    }
}

thread_local! {
    static TREE: LazyCell<Tree> = LazyCell::new(Tree::new);
}

/// `logind.conf`, a drop-in of it, `system.conf`, `os-release`, a unit, a drop-in of it, and the unit's name.
pub fn units(bytes: &[u8]) {
    let [logind, drop_in, system, release, unit, unit_drop_in, name] = files(bytes);
    let name = text(name);
    let settings = TREE.with(|tree| {
        tree.put("etc/systemd/logind.conf", logind);
        tree.put("usr/lib/systemd/logind.conf.d/50-x.conf", drop_in);
        tree.put("etc/systemd/system.conf", system);
        tree.put("etc/os-release", release);
        tree.put("etc/systemd/system/victim.service", unit);
        tree.put("run/systemd/system/victim.service.d/10-x.conf", unit_drop_in);
        let root = tree.root();
        let files = root.unit_files(Manager::System, None, "victim.service");
        assert_eq!(files.drop_ins.len(), 1, "{files:?}");
        let mut settings = root.unit(Manager::System, None, "victim.service", &files);
        settings.extend(root.logind());
        settings.push(root.default_timeout_stop());
        settings.iter().for_each(|setting| tree.is_told_where(setting));
        for manager in [Manager::System, Manager::User(1000)] {
            let files = root.unit_files(manager, Some("/home/alice"), &name);
            settings.extend(root.unit(manager, Some("/home/alice"), &name, &files));
        }
        settings
    });
    let scene = if bytes.len().is_multiple_of(2) { &SERVICE } else { &TERMINATED };
    scene.tell(settings.into_iter().map(|setting| (Source::File, Fact::Setting(setting))));
}

/// `sshd_config` and two files that it may include.
pub fn sshd(bytes: &[u8]) {
    let [main, first, second] = files(bytes);
    let settings = TREE.with(|tree| {
        tree.put("etc/ssh/sshd_config", main);
        tree.put("etc/ssh/sshd_config.d/10-x.conf", first);
        tree.put("etc/ssh/sshd_config.d/20-y.conf", second);
        let root = tree.root();
        assert!(!root.sshd_ports().is_empty());
        let settings = root.sshd();
        settings.iter().for_each(|setting| tree.is_told_where(setting));
        settings
    });
    SESSION.tell(settings.into_iter().map(|setting| (Source::File, Fact::Setting(setting))));
}
