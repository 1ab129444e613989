//! How it is told who is behind a process.

use super::Actor;
use super::place::{Place, Service};
use super::programs::{is_roots, is_shell_script, runs_script, runs_shell};
use crate::evidence::{Grade, Process};
use crate::story::words;

/// How what was run in between is told.
#[derive(Clone, Copy)]
enum Style {
    /// In brackets.
    Sentence,
    /// Between commas: it stands in brackets itself.
    Aside,
}

impl Actor {
    /// A sentence: `alice ran "sudo systemctl restart nginx" in ssh session 7 from 203.0.113.9`.
    pub fn sentence(&self) -> String {
        self.told_with(&self.started(), Style::Sentence)
    }

    /// The same for where it stands in brackets itself.
    pub fn aside(&self) -> String {
        self.told_with(&self.started(), Style::Aside)
    }

    /// Whether a shell did it that somebody types into: it was not run to do so.
    pub fn is_typed_into(&self) -> bool {
        let own = self.command.pid == self.process.pid;
        own && runs_shell(&self.process) && !runs_script(&self.process)
    }

    /// Whether its command is none that anybody ran: what lets users in, or a daemon's process under a title of its own
    /// making (`nginx: worker process`, `postgres: alice db [local] SELECT`), outside of any shell.
    pub fn is_nobodys(&self) -> bool {
        let comm = self.command.comm.as_deref().unwrap_or_default();
        let lets_in = comm.starts_with("sshd") || comm == "login";
        let first = self.command.cmdline.as_ref().and_then(|args| args.first());
        let title = first.and_then(|first| first.split_once(": "));
        // Nobody logs in as such a user (`SYS_UID_MAX`, login.defs(5)).
        let is_daemons = self.command.uid.is_some_and(|uid| uid < 1000);
        let is_titled = title.is_some_and(|(name, _)| {
            !name.contains(['/', ' ']) && (is_roots(&self.command) || is_daemons && name == comm)
        });
        self.shell.is_none() && (is_roots(&self.command) && lets_in || is_titled)
    }

    /// The sentence without what had started its unit, which is a link of its own.
    pub fn deed(&self) -> String {
        self.told_with("", Style::Sentence)
    }

    /// Whether a service of the system's did it, and what had started that is not known.
    pub const fn is_unstarted_service(&self) -> bool {
        self.service.is_some() && self.started.is_none()
    }

    /// Whether a service did it that acts by itself.
    pub const fn is_of_service(&self) -> bool {
        self.service.is_some()
    }

    /// Whether it was part of what somebody is known to have had a service manager run.
    pub const fn is_run_through_unit(&self) -> bool {
        self.through.is_some()
    }

    /// Whether the command says already what the process itself ran: `sudo systemctl …` does, a script does not.
    fn is_said(&self) -> bool {
        let own = words::command_line(&self.process);
        let base =
            own.rsplit_once('/').filter(|(path, _)| path.starts_with('/') && !path.contains(' '));
        let base = base.map_or(own.as_str(), |(_, base)| base);
        self.command.pid == self.process.pid || words::command_line(&self.command).contains(base)
    }

    /// What one of its processes ran, in quotes: its words, or, where these are a title of its own making, its executable
    /// and what it calls itself.
    pub fn said(&self, process: &Process) -> String {
        let line = words::command_line(process);
        let exe = process.exe.as_ref().filter(|_| self.titled.contains(&process.pid));
        exe.map_or_else(
            || format!("\"{line}\""),
            |exe| format!("{} (which calls itself \"{line}\")", words::quotation(exe)),
        )
    }

    /// When what its sentence ends with was executed, where that was seen: what a script ran, else the command.
    pub fn told_ns(&self) -> Option<u64> {
        self.acted_ns.filter(|_| !self.is_said()).or(self.ran_ns)
    }

    fn told_with(&self, started: &str, style: Style) -> String {
        let rest = match &self.service {
            Some(service) => {
                service.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default()
            }
            None => {
                let place = self.place.as_ref().map(|place| format!(" in {place}"));
                format!("{}{started}", place.unwrap_or_default())
            }
        };
        let between = match (self.between(), style) {
            (None, _) => String::new(),
            (Some(between), Style::Sentence) => format!(" ({between})"),
            (Some(between), Style::Aside) if rest.is_empty() => format!(", {between}"),
            (Some(between), Style::Aside) => format!(", {between},"),
        };
        let said = self.said(&self.command);
        let said = match &self.was {
            Some(was) => format!("{}, which became {said}", self.said(was)),
            None => said,
        };
        let whom = self.acted_as.as_ref().filter(|_| self.command.pid == self.process.pid);
        let whom = whom.map(|user| format!(" as {user}")).unwrap_or_default();
        format!("{} ran {said}{whom}{between}{rest}", self.subject(started))
    }

    /// What the command had been before it executed itself anew, as a clause; empty where it was nothing else.
    fn had_been(&self) -> String {
        let was = self.was.as_ref().filter(|_| self.command.pid == self.process.pid);
        was.map(|was| format!(", which had been {} before", self.said(was))).unwrap_or_default()
    }

    /// What the process itself ran, where the command does not say it, and through which unit.
    fn between(&self) -> Option<String> {
        let through = self.through();
        if self.is_said() {
            return through;
        }
        let own = self.said(&self.process);
        let whom = self.acted_as.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
        let script = self.script.as_ref();
        let script = script.map(|it| format!("{}, and that ", self.said(it)));
        let through = through.map(|through| format!(" {through}")).unwrap_or_default();
        Some(format!("which ran {}{own}{whom}{through}", script.unwrap_or_default()))
    }

    /// Who did it: a user, a program of theirs, or a service that nobody ran by hand.
    fn subject(&self, started: &str) -> String {
        let is_whole = self.command.pid == self.process.pid && self.through.is_none();
        if let Some(runner) = self.runner.as_ref().filter(|_| is_whole && self.service.is_none()) {
            let whose = self.user.as_ref().map(|user| format!("{user}'s ")).unwrap_or_default();
            return format!("{whose}{}", words::name_pid(runner));
        }
        let Some(Service { unit, program, .. }) = &self.service else {
            return self.who().to_owned();
        };
        match program {
            Some(program) => format!("{program} of {unit}{started}"),
            None => format!("{unit}{started}"),
        }
    }

    /// Through which unit the user had it run, as a clause.
    fn through(&self) -> Option<String> {
        let (unit, grade) = self.through.as_ref()?;
        let seems = if *grade == Grade::Inferred { ", it seems" } else { "" };
        Some(format!("through {unit}{seems}"))
    }

    /// What started its unit, in brackets; empty where that is not known.
    fn started(&self) -> String {
        self.started.as_ref().map(|started| format!(" ({started})")).unwrap_or_default()
    }

    /// The user, as the subject of a sentence: not that nobody did it where it was the user of that name.
    fn who(&self) -> &str {
        match self.user.as_deref() {
            Some("nobody") => "the user nobody",
            Some(user) => user,
            None => "somebody",
        }
    }

    /// Who had the process itself do it, as a clause: `a kill builtin of the shell bash[77], "bash x.sh" (root)`,
    /// `alice ran "kill 42", part of "make stop" from bash[77]`.
    pub fn told(&self) -> String {
        let command = self.said(&self.process);
        if runs_shell(&self.process) && !self.titled.contains(&self.process.pid) {
            let name = words::name_pid(&self.process);
            let place = self.place.as_ref().map(|place| format!(" in {place}")).unwrap_or_default();
            let started = self.started.as_ref().map(|started| format!(", {started}"));
            let started = started.unwrap_or_default();
            let whom = self.acted_as.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
            let user = self.user.as_ref().map(|user| format!(" ({user}{whom}{place}{started})"));
            let user = user.unwrap_or_default();
            let kind = if is_shell_script(&self.process) { "shell script" } else { "shell" };
            let by = if self.killed_cgroup.is_some() { "the" } else { "a kill builtin of the" };
            let runner = self.runner.as_ref().map(|runner| {
                format!(", run by {}, {}", words::name_pid(runner), self.said(runner))
            });
            let runner = runner.unwrap_or_default();
            let been = self.had_been();
            let is_part = !whom.is_empty() && !self.is_said();
            let via = is_part.then(|| format!(", part of {}", self.said(&self.command)));
            let via = via.unwrap_or_default();
            return format!(
                "{by} {kind} {name}, {command}{been}{runner}{via}{user}{}",
                self.wrote()
            );
        }
        let who = self.subject(&self.started());
        // sudo(8) watches what it runs as a child of its own, with the same words.
        let is_said = self.said(&self.command) == command;
        let is_same = self.command.pid == self.process.pid || self.command.cmdline.is_none();
        let via = if is_same || is_said && self.script.is_none() {
            String::new()
        } else {
            let script = self
                .script
                .as_ref()
                .map(|script| format!(", part of {}, which is", self.said(script)));
            let script = script.unwrap_or_else(|| ",".to_owned());
            format!("{script} part of {}", self.said(&self.command))
        };
        let through = self.through().map(|through| format!(" {through}")).unwrap_or_default();
        let whom = self.acted_as.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
        let ran = format!("{who} ran {command}{whom}{via}{}{through}", self.had_been());
        let place = if self.service.is_some() { String::new() } else { self.whereabouts() };
        format!("{}{}", format!("{ran} {place}").trim_end(), self.wrote())
    }

    /// How it killed, for the end of a clause, where it was not by a signal of its own.
    fn wrote(&self) -> String {
        let Some(cgroup) = &self.killed_cgroup else { return String::new() };
        let of = cgroup.as_ref().map(|path| format!(" of {path}")).unwrap_or_default();
        format!(", which wrote cgroup.kill{of}, and so killed everything in that cgroup")
    }

    /// The place and the shell, as a clause: `in bash[77] in alice's ssh session 3`.
    pub fn whereabouts(&self) -> String {
        let shell = self.shell.as_ref().map(|shell| format!("from {}", words::name_pid(shell)));
        let place = self.place.as_ref().map(|place| match &self.user {
            Some(user) if matches!(place, Place::Session(_)) => format!("in {user}'s {place}"),
            _ => format!("in {place}"),
        });
        [shell, place].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
