//! Where a unit is that a remedy is for, and the commands that look at it and change it.

use super::super::world::UnitHistory;
use super::{operand, quoted, remark};
use crate::evidence::{Manager, unit_template};

/// A unit and where its settings can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitAt {
    /// The name of what can be edited: of an instance its template's.
    pub unit: String,
    /// Its own name, by which its manager knows it.
    pub instance: String,
    /// It is one of a user's service manager.
    pub of_user: bool,
    /// It was made by a program (`systemd-run`, logind): there is no file of its to change.
    pub transient: bool,
    /// Its own file, where that is gone: nothing can be changed, and it cannot be started, before that is back.
    pub lost_file: Option<String>,
}

impl UnitAt {
    /// A unit of the system that has files.
    #[cfg(test)]
    pub fn of_system(unit: &str) -> Self {
        Self {
            unit: unit_template(unit),
            instance: unit.to_owned(),
            of_user: false,
            transient: false,
            lost_file: None,
        }
    }

    /// A unit of a manager, by what is known of it.
    pub fn of(manager: Manager, unit: &str, history: Option<&UnitHistory>) -> Self {
        let transient = history.and_then(|history| history.now.get("Transient"));
        Self {
            unit: unit_template(unit),
            instance: unit.to_owned(),
            of_user: matches!(manager, Manager::User(_)),
            transient: transient.and_then(serde_json::Value::as_bool) == Some(true),
            lost_file: None,
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
        if self.of_user { format!("systemctl --user {rest}") } else { format!("systemctl {rest}") }
    }

    pub(super) fn sudo(&self, command: &str) -> String {
        if self.of_user { command.to_owned() } else { format!("sudo {command}") }
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
        let name = self.drop_in_name();
        if self.transient && name == self.unit {
            return vec![self.made_anew(&format!("with: {} -p {line} …", self.run()))];
        }
        let (base, sudo) = if self.of_user {
            ("~/.config/systemd/user", "")
        } else {
            ("/etc/systemd/system", "sudo ")
        };
        let directory = format!("{base}/{}.d", quoted(&name));
        let setting = line.split_once('=').map_or(line, |(name, _)| name);
        let commands = [
            format!("{sudo}mkdir -p {directory}"),
            // A file for each setting: one remedy does not undo another. The last by its name has the last word,
            // also over `systemctl edit`'s override.conf.
            format!(
                "printf '[{section}]\\n{line}\\n' | {sudo}tee {directory}/zz-killtrace-{setting}.conf"
            ),
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
        let user = if self.of_user { " --user" } else { "" };
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

/// The newest lines of a unit's journal.
pub(super) fn journal(at: &UnitAt) -> String {
    let user = if at.of_user { "--user " } else { "" };
    format!("journalctl {user}-u {} -n 50", quoted(&at.instance))
}
