//! Where a unit is that a remedy is for, and the commands that look at it and change it.

use super::super::world::World;
use super::{operand, quoted, remark};
use crate::evidence::{Manager, base_name, unit_template};

/// A user to whose service manager a command is to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The number.
    pub uid: u32,
    /// The name, where a shell can take it as it is; the number does as well.
    pub name: Option<String>,
    /// The home directory, where it is known.
    pub home: Option<String>,
}

impl Whose {
    /// As far as the name is known.
    pub fn of(world: &World, uid: u32) -> Self {
        let user = world.user(uid);
        let is_path = |home: &&str| home.starts_with('/') && !home.contains(char::is_control);
        let home = user.and_then(|user| user.home.as_deref()).filter(is_path).map(str::to_owned);
        Self { home, ..Self::called(uid, user.map(|user| user.name.as_str())) }
    }

    /// By number and name.
    pub fn called(uid: u32, name: Option<&str>) -> Self {
        let is_plain = |name: &&str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain)
        };
        Self { uid, name: name.filter(is_plain).map(str::to_owned), home: None }
    }

    /// That user, as sudo takes one.
    fn sudo_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("'#{}'", self.uid))
    }

    /// A command with that user's rights.
    pub fn sudo(&self, command: &str) -> String {
        format!("sudo -u {} {command}", self.sudo_name())
    }

    /// A command about a file below that user's home directory, whoever calls it.
    fn at_home(&self, command: &str, file: &str) -> String {
        let user = self.sudo_name();
        match (&self.name, &self.home) {
            (Some(name), _) => format!("sudo -u {user} {command} ~{name}/{}", quoted(file)),
            (None, Some(home)) => {
                let path = format!("{}/{file}", home.trim_end_matches('/'));
                format!("sudo -u {user} {command} {}", quoted(&path))
            }
            // A shell of theirs knows where that is.
            (None, None) => {
                let command = quoted(&format!("{command} ~/{}", quoted(file)));
                format!("sudo -H -u {user} sh -c {command}")
            }
        }
    }

    /// A command for that user's manager, whoever calls it. Not by `-M USER@`: that needs the user's bus, which not every
    /// machine has, and neither shows files nor edits them.
    pub(super) fn command(&self, command: &str) -> String {
        format!("sudo -u {} XDG_RUNTIME_DIR=/run/user/{} {command}", self.sudo_name(), self.uid)
    }

    /// The same of systemctl.
    pub(super) fn systemctl(&self, rest: &str) -> String {
        self.command(&format!("systemctl --user {rest}"))
    }

    /// The newest lines of the journal of one of their units: `--user-unit=` would mean the reader's.
    pub(super) fn journal(&self, unit: &str) -> String {
        self.journal_within(unit, "-n 50")
    }

    /// Those lines of it that these options choose.
    pub(super) fn journal_within(&self, unit: &str, options: &str) -> String {
        let (uid, unit) = (self.uid, quoted(unit));
        format!(
            "journalctl {options} _UID={uid} _SYSTEMD_USER_UNIT={unit} + _UID={uid} USER_UNIT={unit}"
        )
    }
}

/// The last of some drop-ins by its name, without what a remedy appended to that: the directories do not matter (systemd.unit(5)).
fn last_drop_in(paths: &[serde_json::Value]) -> Option<String> {
    let is_plain =
        |name: &str| name.chars().all(|it| it.is_ascii_alphanumeric() || "-_.@".contains(it));
    let names = paths.iter().filter_map(|path| Some(base_name(path.as_str()?)));
    let others = names.filter(|name| is_plain(name) && !name.starts_with("zz-killtrace-"));
    let last = others.max()?;
    Some(last.split(".killtrace-").next().unwrap_or(last).to_owned())
}

/// A unit and where its settings can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitAt {
    /// The name of what can be edited: of an instance its template's.
    pub unit: String,
    /// Its own name, by which its manager knows it.
    pub instance: String,
    /// Whose service manager's it is, where it is a user's.
    pub user: Option<Whose>,
    /// It was made by a program (`systemd-run`, logind): there is no file of its to change.
    pub transient: bool,
    /// The settings that a drop-in of this very instance of a template says, or the manager was told of it alone: what is said
    /// to all instances does not count against that.
    pub own_settings: Vec<String>,
    /// Its own file, where that is gone: nothing can be changed, and it cannot be started, before that is back.
    pub lost_file: Option<String>,
    /// The drop-in of its that has the last word, by its name, where that is none of such a remedy's.
    pub last_drop_in: Option<String>,
}

impl UnitAt {
    /// A unit of the system that has files.
    #[cfg(test)]
    pub fn of_system(unit: &str) -> Self {
        Self {
            unit: unit_template(unit),
            instance: unit.to_owned(),
            user: None,
            transient: false,
            own_settings: Vec::new(),
            lost_file: None,
            last_drop_in: None,
        }
    }

    /// A unit of a manager, by what is known of it.
    pub fn of(world: &World, manager: Manager, unit: &str) -> Self {
        let history = world.unit_of(manager, unit);
        let transient = history.and_then(|history| history.now.get("Transient"));
        let user = match manager {
            Manager::User(uid) => Some(Whose::of(world, uid)),
            Manager::System => None,
        };
        Self {
            unit: unit_template(unit),
            instance: unit.to_owned(),
            user,
            transient: transient.and_then(serde_json::Value::as_bool) == Some(true),
            own_settings: world.set_for_instance(manager, unit),
            lost_file: None,
            last_drop_in: history
                .and_then(|history| history.now.get("DropInPaths")?.as_array())
                .and_then(|paths| last_drop_in(paths)),
        }
    }

    /// The same, to be changed by itself where it is an instance of a template.
    pub fn alone(self) -> Self {
        Self { unit: self.instance.clone(), ..self }
    }

    /// The section of the unit's file that holds its limits.
    pub(super) fn section(&self) -> &'static str {
        match self.unit.rsplit_once('.') {
            Some((_, "scope")) => "Scope",
            Some((_, "slice")) => "Slice",
            _ => "Service",
        }
    }

    pub(super) fn systemctl(&self, rest: &str) -> String {
        match &self.user {
            Some(user) => user.systemctl(rest),
            None => format!("systemctl {rest}"),
        }
    }

    pub(super) fn sudo(&self, command: &str) -> String {
        if self.user.is_some() { command.to_owned() } else { format!("sudo {command}") }
    }

    /// A command about a file of the unit, with the rights of whoever can put something else in its place: a link of a
    /// user's would lead root anywhere.
    pub(super) fn about_file(&self, command: &str, file: &str) -> String {
        let user = self.user.as_ref().filter(|_| !is_roots_for_users(file));
        let user = user.map(|user| format!("-u {} ", user.sudo_name())).unwrap_or_default();
        format!("sudo {user}{command} {}", quoted(file))
    }

    /// Whether it is the scope of a login session, which logind makes.
    pub fn is_of_session(&self) -> bool {
        self.unit.starts_with("session-") && self.unit.ends_with(".scope")
    }

    /// The name whose drop-ins apply to it: session scopes are made by logind, one for each login, and share
    /// the drop-ins of their prefix.
    pub(super) fn drop_in_name(&self) -> String {
        if self.is_of_session() { "session-.scope".to_owned() } else { self.unit.clone() }
    }

    /// The commands that set one line.
    pub(super) fn set(&self, section: &str, line: &str) -> Vec<String> {
        let setting = line.split_once('=').map_or(line, |(name, _)| name);
        let is_own = self.own_settings.iter().any(|own| own == setting);
        let name = if is_own { self.instance.clone() } else { self.drop_in_name() };
        if self.transient && name == self.unit {
            return vec![self.made_anew(&format!("with: {} -p {line} …", self.run()))];
        }
        let there = |command: &str, file: &str| match &self.user {
            Some(user) => user.at_home(command, &format!(".config/systemd/user/{file}")),
            None => format!("sudo {command} {}", quoted(&format!("/etc/systemd/system/{file}"))),
        };
        let directory = format!("{name}.d");
        // A file for each setting: one remedy does not undo another. The last by its name has the last word, also over
        // `systemctl edit`'s override.conf.
        let usual = format!("zz-killtrace-{setting}.conf");
        let last = self.last_drop_in.as_deref().filter(|last| *last > usual.as_str());
        let name = last.map_or(usual.clone(), |last| format!("{last}.killtrace-{setting}.conf"));
        let file = there("tee", &format!("{directory}/{name}"));
        let commands = [
            there("mkdir -p", &directory),
            format!("printf '[{section}]\\n{line}\\n' | {file}"),
            self.sudo(&self.systemctl("daemon-reload")),
        ];
        self.restored().into_iter().chain(commands).collect()
    }

    /// What is to be done first where its file is gone.
    pub(super) fn restored(&self) -> Option<String> {
        let file = self.lost_file.as_deref()?;
        Some(remark(&format!(
            "first put {file} back, from its package or a backup: without it systemd cannot start the unit"
        )))
    }

    /// The command that makes such a unit at run time.
    pub(super) fn run(&self) -> String {
        let user = if self.user.is_some() { " --user" } else { "" };
        let scope = if self.unit.ends_with(".scope") { " --scope" } else { "" };
        format!("systemd-run{user}{scope}")
    }

    /// What is to be done about a unit that has no file: it is gone when it is stopped.
    pub(super) fn made_anew(&self, start_it: &str) -> String {
        remark(&format!("the unit is made anew each time; start it {start_it}"))
    }

    /// The commands that open the unit's settings for a change; `there` says which. A template is edited for all of
    /// its instances.
    pub(super) fn edit(&self, options: &str, there: &str) -> Vec<String> {
        if self.transient {
            return vec![
                self.made_anew(&format!("by {} -p … with another value: {there}", self.run())),
            ];
        }
        let edit = format!("edit {options}{}", operand(&self.unit));
        let commands = [self.sudo(&self.systemctl(&edit)), remark(&format!("there, {there}"))];
        self.restored().into_iter().chain(commands).collect()
    }

    /// A command of systemctl's that speaks of the unit itself: a template has no properties.
    pub(super) fn about(&self, command: &str) -> String {
        self.systemctl(&format!("{command} {}", operand(&self.instance)))
    }

    pub(super) fn show(&self, property: &str) -> String {
        self.about(&format!("show -p {property}"))
    }
}

/// Whether root alone can put a file there, which is for the service managers of all users (systemd.unit(5)).
fn is_roots_for_users(file: &str) -> bool {
    const TREES: [&str; 7] =
        ["/etc", "/etc/xdg", "/run", "/usr/local/lib", "/usr/local/share", "/usr/lib", "/lib"];
    let is_in =
        |tree: &str| file.strip_prefix(tree).is_some_and(|rest| rest.starts_with("/systemd/user/"));
    TREES.iter().any(|tree| is_in(tree)) && file.split('/').all(|part| part != "..")
}

/// The newest lines of a unit's journal.
pub(super) fn journal(at: &UnitAt) -> String {
    match &at.user {
        Some(user) => user.journal(&at.instance),
        None => format!("journalctl -u {} -n 50", quoted(&at.instance)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_user(name: Option<&str>) -> UnitAt {
        let user = Whose::called(1000, name);
        UnitAt { user: Some(user), ..UnitAt::of_system("own.service") }
    }

    #[test]
    fn what_is_done_about_a_users_unit_can_be_done_by_root() {
        const ALICE: &str = "sudo -u alice XDG_RUNTIME_DIR=/run/user/1000 systemctl --user";
        let at = of_user(Some("alice"));
        assert_eq!(at.show("KillMode"), format!("{ALICE} show -p KillMode own.service"));
        let set = at.set("Service", "KillMode=process");
        assert_eq!(set[0], "sudo -u alice mkdir -p ~alice/.config/systemd/user/own.service.d");
        assert!(set[1].contains("| sudo -u alice tee ~alice/.config/systemd/user/own"), "{set:?}");
        assert_eq!(set[2], format!("{ALICE} daemon-reload"));
        assert_eq!(at.edit("", "x")[0], format!("{ALICE} edit own.service"));
        // `--user` would be the reader's own journal.
        assert_eq!(
            journal(&at),
            "journalctl -n 50 _UID=1000 _SYSTEMD_USER_UNIT=own.service + _UID=1000 USER_UNIT=own.service"
        );
    }

    /// What a user can put a link in place of is the user's to open; what is for all users only root can change.
    #[test]
    fn a_file_of_a_users_is_touched_with_the_users_rights() {
        let at = of_user(Some("alice"));
        let of = |file: &str| at.about_file("rm", file);
        let own = "/home/alice/.config/systemd/user/own.service.requires/a.service";
        assert_eq!(of(own), format!("sudo -u alice rm {own}"));
        assert_eq!(
            of_user(None).about_file("editor", "/home/a b/x.conf"),
            "sudo -u '#1000' editor '/home/a b/x.conf'"
        );
        let for_all = "/etc/systemd/user/own.service.d/a.conf";
        assert_eq!(of(for_all), format!("sudo rm {for_all}"));
        for theirs in [
            "/etc/systemd/user/../../../home/alice/x",
            "/run/user/1000/systemd/user/x",
            "/etc/passwd",
            "/etcetera/systemd/user/x",
        ] {
            assert_eq!(of(theirs), format!("sudo -u alice rm {theirs}"));
        }
        let systems = UnitAt::of_system("own.service");
        assert_eq!(systems.about_file("rm", own), format!("sudo rm {own}"));
    }

    /// Root would act on its own manager, and on its own files.
    #[test]
    fn a_user_whose_name_no_shell_takes_is_called_by_number() {
        const BY_NUMBER: &str = "sudo -u '#1000' XDG_RUNTIME_DIR=/run/user/1000 systemctl --user";
        for name in [None, Some("a@corp"), Some("CORP\\a"), Some("_a"), Some("1a"), Some("a b")] {
            let at = of_user(name);
            assert_eq!(at.show("KillMode"), format!("{BY_NUMBER} show -p KillMode own.service"));
            assert_eq!(at.edit("", "x")[0], format!("{BY_NUMBER} edit own.service"));
            let set = at.set("Service", "KillMode=process");
            let [mkdir, tee, reload] = &set[..] else { panic!("{set:?}") };
            let their = "sudo -H -u '#1000' sh -c";
            assert_eq!(mkdir, &format!("{their} 'mkdir -p ~/.config/systemd/user/own.service.d'"));
            let file = "~/.config/systemd/user/own.service.d/zz-killtrace-KillMode.conf";
            assert!(tee.ends_with(&format!("| {their} 'tee {file}'")), "{tee}");
            assert_eq!(reload, &format!("{BY_NUMBER} daemon-reload"));
        }
    }

    /// Its name decides, in whatever directory it is.
    #[test]
    fn a_remedy_has_the_last_word() {
        let file = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| serde_json::Value::from(*path)).collect();
            let at =
                UnitAt { last_drop_in: last_drop_in(&paths), ..UnitAt::of_system("a.service") };
            let tee = at.set("Service", "KillMode=process")[1].clone();
            tee.rsplit_once('/').map(|(_, file)| file.to_owned()).expect("a path")
        };
        let usual = "zz-killtrace-KillMode.conf";
        assert_eq!(file(&[]), usual);
        assert_eq!(file(&["/etc/systemd/system/a.service.d/override.conf"]), usual);
        assert_eq!(file(&["/etc/systemd/system/a.service.d/zz-killtrace-Restart.conf"]), usual);
        assert_eq!(file(&["/run/x/zzz; reboot.conf"]), usual);
        let later =
            ["/run/systemd/system/service.d/zzz.conf", "/etc/systemd/system/a.service.d/b.conf"];
        let ours = file(&later);
        assert!(ours.as_str() > "zzz.conf" && ours.ends_with(".conf"), "{ours}");
        assert_eq!(file(&["/run/x/zzz.conf", &format!("/etc/x/{ours}")]), ours);
    }

    #[test]
    fn a_home_directory_is_quoted_where_it_is_known() {
        let home = Some("/home/a; reboot".to_owned());
        let user = Whose { home, ..Whose::called(1000, Some("a@corp")) };
        let at = UnitAt { user: Some(user), ..UnitAt::of_system("own.service") };
        let set = at.set("Service", "KillMode=process");
        let directory = "/home/a; reboot/.config/systemd/user/own.service.d";
        assert_eq!(set[0], format!("sudo -u '#1000' mkdir -p '{directory}'"));
        let tee = format!("| sudo -u '#1000' tee '{directory}/zz-killtrace-KillMode.conf'");
        assert!(set[1].ends_with(&tee), "{set:?}");
    }
}
