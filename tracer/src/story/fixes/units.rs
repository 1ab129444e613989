//! Remedies in the settings of a unit.

use super::super::stopping::Choice;
use super::super::unit_command::UnitCommand;
use super::super::units::template;
use super::super::verdict::{DecidingSetting, Fix};
use super::super::world::UnitHistory;
use super::{fix, operand, quoted, remark};
use crate::evidence::{CgroupLimits, Manager, Written};

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
    pub fn of_system(unit: &str) -> Self {
        Self {
            unit: template(unit),
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
            unit: template(unit),
            instance: unit.to_owned(),
            of_user: matches!(manager, Manager::User(_)),
            transient: transient.and_then(serde_json::Value::as_bool) == Some(true),
            lost_file: None,
        }
    }

    /// The section of the unit's file that holds its limits.
    fn section(&self) -> &'static str {
        match self.unit.rsplit_once('.') {
            Some((_, "scope")) => "Scope",
            Some((_, "slice")) => "Slice",
            _ => "Service",
        }
    }

    fn systemctl(&self, rest: &str) -> String {
        if self.of_user { format!("systemctl --user {rest}") } else { format!("systemctl {rest}") }
    }

    fn sudo(&self, command: &str) -> String {
        if self.of_user { command.to_owned() } else { format!("sudo {command}") }
    }

    /// The name whose drop-ins apply to it: session scopes are made by logind, one for each login, and share
    /// the drop-ins of their prefix.
    fn drop_in_name(&self) -> String {
        if self.unit.starts_with("session-") && self.unit.ends_with(".scope") {
            "session-.scope".to_owned()
        } else {
            self.unit.clone()
        }
    }

    /// The commands that set one line.
    fn set(&self, section: &str, line: &str) -> Vec<String> {
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
            // A file for each setting: one remedy does not undo another.
            format!(
                "printf '[{section}]\\n{line}\\n' | {sudo}tee {directory}/50-killtrace-{setting}.conf"
            ),
            self.sudo(&self.systemctl("daemon-reload")),
        ];
        self.restored().into_iter().chain(commands).collect()
    }

    /// What is to be done first where its file is gone.
    fn restored(&self) -> Option<String> {
        let file = self.lost_file.as_deref()?;
        Some(remark(&format!(
            "first put {file} back, from its package or a backup: without it systemd cannot start the unit"
        )))
    }

    /// The command that makes such a unit at run time.
    fn run(&self) -> String {
        let user = if self.of_user { " --user" } else { "" };
        let scope = if self.unit.ends_with(".scope") { " --scope" } else { "" };
        format!("systemd-run{user}{scope}")
    }

    /// What is to be done about a unit that has no file: it is gone when it is stopped.
    fn made_anew(&self, start_it: &str) -> String {
        remark(&format!("the unit is made anew each time; start it {start_it}"))
    }

    /// The commands that open the unit's settings for a change; `there` says which. A template is edited for all of
    /// its instances.
    fn edit(&self, options: &str, there: &str) -> Vec<String> {
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
    fn about(&self, command: &str) -> String {
        self.systemctl(&format!("{command} {}", operand(&self.instance)))
    }

    fn show(&self, property: &str) -> String {
        self.about(&format!("show -p {property}"))
    }
}

/// `KillMode=process` for a unit.
pub fn kill_mode_process(at: &UnitAt) -> Fix {
    fix(
        "let what the unit started outlive its main process",
        at.set("Service", "KillMode=process"),
        "systemd ends only the main process and leaves the others alone",
    )
    .but("left-over processes run on unmanaged; systemd.kill(5) advises against it")
    .check(at.show("KillMode"))
    .see("systemd.kill(5)")
}

/// What the files say by now takes effect.
pub fn reload(at: &UnitAt, name: &str, unread: &Written) -> Fix {
    let title = match at.lost_file {
        Some(_) => "put the unit's file back, and have systemd read it",
        None => "have systemd read the files that have changed",
    };
    let read = at.sudo(&at.systemctl("daemon-reload"));
    let commands = at.restored().into_iter().chain([read]).collect();
    fix(title, commands, &takes_effect(name, unread))
        .check(at.show(
            &name.strip_suffix("Sec").map_or_else(|| name.to_owned(), |it| format!("{it}USec")),
        ))
        .see("systemctl(1)")
}

/// What a reload brings.
pub(super) fn takes_effect(name: &str, unread: &Written) -> String {
    if unread.value.is_empty() {
        return format!("what the files say of {name}= by now counts from then on");
    }
    format!("{name}={} counts from then on", unread.value)
}

/// Another value of the setting that chose a harsher signal; none where a program made the unit, which may have
/// good reason for it: a login shell ignores SIGTERM and ends by SIGHUP.
pub fn other_choice(at: &UnitAt, choice: &Choice) -> Option<Fix> {
    if at.transient {
        return None;
    }
    Some(match choice {
        Choice::Mixed(_) => fix(
            "ask every process of the unit to end",
            at.set(at.section(), "KillMode=control-group"),
            "SIGTERM goes to all of them; SIGKILL follows only where TimeoutStopSec= runs out",
        )
        .but("the helpers of a main process that ends them itself, in an order of its own, get SIGTERM from systemd as well")
        .check(at.show("KillMode"))
        .see("systemd.kill(5)"),
        Choice::Hangup(_) => fix(
            "send it no SIGHUP when the unit is stopped",
            at.set(at.section(), "SendSIGHUP=no"),
            "only SIGTERM (or KillSignal=) asks it to end",
        )
        .but("what ignores that signal, as shells do, is there until SIGKILL follows after TimeoutStopSec=")
        .check(at.show("SendSIGHUP"))
        .see("systemd.kill(5)"),
    })
}

/// A unit of its own for a helper.
pub fn own_unit(at: &UnitAt, program: &str) -> Fix {
    let user = if at.of_user { "--user " } else { "" };
    // A multiplexer's server calls itself otherwise than the program that starts it, which needs the terminal and does
    // not wait: of a service it would be the main process that ends at once.
    let multiplexer = match program {
        "tmux" | "tmux: server" => Some("tmux"),
        "screen" | "SCREEN" => Some("screen"),
        _ => None,
    };
    let (kind, program) = match multiplexer {
        Some(name) => ("--scope ", name),
        None => ("", program),
    };
    fix(
        "run it as a unit of its own",
        vec![at.sudo(&format!("systemd-run {user}{kind}--unit=my-job {}", operand(program)))],
        "it no longer depends on the unit that started it",
    )
    .check(
        at.systemctl(&format!(
            "status my-job{}",
            if multiplexer.is_some() { ".scope" } else { "" }
        )),
    )
    .see("systemd-run(1)")
}

/// An `ExecReload=` that does not end what it is to reload.
pub fn survivable_reload(at: &UnitAt) -> Fix {
    const THERE: &str = "an empty \"ExecReload=\" under [Service] takes the reload away; a second line may say another command or signal";
    let mut commands = vec![at.show("ExecReload")];
    commands.extend(at.edit("", THERE));
    fix(
        "have the reload do what the program understands",
        commands,
        "a reload fails, or reaches the program, instead of ending it",
    )
    .but("without ExecReload= changed configuration takes a restart")
    .check(at.show("CanReload"))
    .see("systemd.service(5)")
}

/// A command of a unit's start that fails.
pub fn failing_command(at: &UnitAt, setting: &str) -> Fix {
    let there = format!("in {setting}=, a - before the command has systemd ignore that it fails");
    let mut commands = vec![journal(at)];
    commands.extend(at.edit("--full ", &there));
    fix(
        "find out why the command fails, or let the unit start without it",
        commands,
        "a failure of that command no longer takes the unit down",
    )
    .but("what the command is there for has not been done then")
    .check(at.show(setting))
    .see("systemd.service(5)")
}

/// A `Type=` that says how the program really gets ready.
pub fn fitting_type(at: &UnitAt, kind: &str) -> Fix {
    let there = match kind {
        "notify" | "notify-reload" => {
            "NotifyAccess=all where another process than the main one sends READY=1; Type=exec where none does; Type=forking where it goes to the background"
        }
        "forking" => {
            "PIDFile= with the file that the program itself writes, or Type=exec where it can stay in the foreground"
        }
        _ => {
            "BusName= with the name that the program takes and keeps, or Type=exec where it has none"
        }
    };
    fix(
        "say how the program gets ready",
        at.edit("", there),
        "systemd waits for what the program really does",
    )
    .but("units that are ordered after this one may be started before it can serve them")
    .check(at.show("Type,NotifyAccess,PIDFile,BusName"))
    .see("systemd.service(5), sd_notify(3)")
}

/// A process of the unit reported that it hangs.
pub fn watchdog_request(at: &UnitAt) -> Fix {
    fix(
        "find out what the program had found wrong",
        vec![journal(at), "coredumpctl list".to_owned()],
        "shows what came before WATCHDOG=trigger, and where the processes were when they were aborted",
    )
    .see("sd_notify(3), coredumpctl(1)")
}

/// The newest lines of a unit's journal.
fn journal(at: &UnitAt) -> String {
    let user = if at.of_user { "--user " } else { "" };
    format!("journalctl {user}-u {} -n 50", quoted(&at.instance))
}

/// A command of a unit that ends no more than it should.
pub fn narrower_command(at: &UnitAt, command: &UnitCommand<'_>) -> Fix {
    let setting = command.setting;
    let there = format!(
        "under [Service]: an empty \"{setting}=\" takes away what the unit's own file has; lines after it say what is run instead"
    );
    // What was made by a program has no file any more.
    let mut commands = Vec::new();
    if !at.transient && at.lost_file.is_none() {
        commands.push(at.systemctl(&format!("cat {}", operand(&at.unit))));
    }
    commands.extend(at.edit("", &there));
    fix(
        "have the unit's command end only what it is meant to",
        commands,
        "the command is not run, or chooses by a pid file, a user or a full path rather than by a name that others have, too",
    )
    .but(match setting {
        "ExecStart" => "what the service is there for is not done meanwhile",
        _ => "the unit may rely on it to clear away what is left of an earlier run",
    })
    .check(at.show(setting))
    .see("systemd.service(5), pkill(1)")
}

/// A longer `TimeoutStopSec=`. `then`: the signal that comes when it has run out.
pub fn stop_timeout(at: &UnitAt, then: &str) -> Fix {
    fix(
        "give it more time to stop",
        at.set(at.section(), "TimeoutStopSec=5min"),
        &format!("{then} follows only after five minutes"),
    )
    .but("stopping and shutting down may take that long; better make the program end on SIGTERM")
    .check(at.show("TimeoutStopUSec"))
    .see("systemd.service(5), systemd.scope(5)")
}

/// A longer `TimeoutAbortSec=`. `then`: the signal that comes when it has run out.
pub fn abort_timeout(at: &UnitAt, then: &str) -> Fix {
    fix(
        "give it more time when it is aborted",
        at.set("Service", "TimeoutAbortSec=5min"),
        &format!("{then} follows the signal that aborts it only after five minutes"),
    )
    .but("one that hangs is there, and not restarted, for that much longer")
    .check(at.show("TimeoutAbortUSec"))
    .see("systemd.service(5)")
}

/// A longer `TimeoutStartSec=`.
pub fn start_timeout(at: &UnitAt) -> Fix {
    fix(
        "give it more time to start",
        at.set("Service", "TimeoutStartSec=5min"),
        "systemd waits five minutes for it to be ready",
    )
    .but("one that never gets ready is noticed later: of Type=notify it has to send READY=1, of Type=forking to return")
    .check(at.show("TimeoutStartUSec"))
    .see("systemd.service(5), sd_notify(3)")
}

/// No `RuntimeMaxSec=`.
pub fn runtime_max(at: &UnitAt) -> Fix {
    fix(
        "let it run for as long as it wants",
        at.set(at.section(), "RuntimeMaxSec=infinity"),
        "systemd no longer ends it for its age",
    )
    .but("somebody set the limit on purpose: one that hangs is no longer ended")
    .check(at.show("RuntimeMaxUSec"))
    .see("systemd.service(5), systemd.scope(5)")
}

/// A longer `WatchdogSec=`.
pub fn watchdog(at: &UnitAt) -> Fix {
    fix(
        "find out why it was silent, or give it more time between its signs of life",
        at.set("Service", "WatchdogSec=5min"),
        "systemd ends it only when it has sent no WATCHDOG=1 for five minutes",
    )
    .but("one that hangs is noticed later; SIGABRT leaves a core dump, which shows where it hung")
    .check(at.show("WatchdogUSec"))
    .see("systemd.service(5), sd_watchdog_enabled(3), coredumpctl(1)")
}

/// `OOMPolicy=continue`
pub fn oom_policy(at: &UnitAt) -> Fix {
    fix(
        "let the unit go on when one of its processes is killed for memory",
        at.set(at.section(), "OOMPolicy=continue"),
        "systemd leaves the other processes of the unit alone",
    )
    .but("the unit runs on without the process that was killed")
    .check(at.show("OOMPolicy"))
    .see("systemd.service(5)")
}

/// `ManagedOOMPreference=avoid`
pub fn oomd_avoid(at: &UnitAt) -> Fix {
    fix(
        "have systemd-oomd choose others first",
        at.set(at.section(), "ManagedOOMPreference=avoid"),
        "systemd-oomd kills this unit only when nothing else is left",
    )
    .but("something else is killed instead")
    .see("systemd.resource-control(5)")
}

/// systemd-oomd does not watch a unit; `switch` is the setting that has it do so.
pub fn oomd_unwatched(at: &UnitAt, switch: &str) -> Fix {
    fix(
        &format!("have systemd-oomd leave {} alone", at.unit),
        at.set(at.section(), &format!("{switch}=auto")),
        "systemd-oomd no longer kills in it for that reason",
    )
    .but("what uses up the memory goes on, until the kernel's OOM killer chooses somebody")
    .check(at.show(switch))
    .see("systemd.resource-control(5), oomd.conf(5)")
}

/// More memory for a cgroup.
pub fn memory_limit(at: Option<&UnitAt>, limits: Option<&CgroupLimits>) -> Fix {
    let file = limits.and_then(|limits| Some((limits.limit_file.as_deref()?, limits.memory_max?)));
    match (at, file) {
        (Some(at), _) => fix(
            "raise the unit's memory limit",
            at.set(at.section(), "MemoryMax=infinity"),
            "the unit is limited by the machine's memory only",
        )
        .but("a leak in it can then exhaust the machine; choose a value rather than infinity where you know one")
        .check(at.show("MemoryMax"))
        .see("systemd.resource-control(5)"),
        (None, file) => {
            let twice = file.map(|(file, max)| {
                format!("echo {} | sudo tee {}", max.saturating_mul(2), quoted(file))
            });
            let or = "a container's: docker update --memory=2g --memory-swap=4g NAME, or by what else started it";
            let effect = match twice {
                Some(_) => "the group may use twice as much before the kernel kills in it",
                None => "the group may use more before the kernel kills in it",
            };
            fix(
                "raise the memory limit of the cgroup or container",
                twice.into_iter().chain([remark(or)]).collect(),
                effect,
            )
            .but("a leak in it takes as much more from the machine; a group that is made anew has its old limit")
            .see("cgroups(7)")
        }
    }
}

/// A higher resource limit in a unit's own file.
pub fn unit_limit(at: &UnitAt, name: &str) -> Fix {
    fix(
        &format!("raise {name}= of {}", at.unit),
        at.set("Service", &format!("{name}=infinity")),
        "the limit no longer applies to what the unit starts",
    )
    .but(
        "what runs wild is no longer ended; choose a value rather than infinity where you know one",
    )
    .check(at.show(name))
    .see("systemd.exec(5), setrlimit(2)")
}

/// A system call that fails instead of ending the process.
pub fn system_call_fails(at: &UnitAt) -> Fix {
    let mut commands = at.set("Service", "SystemCallErrorNumber=EPERM");
    commands.push(remark("or allow what it needs, there: SystemCallFilter= with the call or its group (systemd-analyze syscall-filter)"));
    fix(
        "let a forbidden system call fail instead",
        commands,
        "the call returns an error, which the program may cope with",
    )
    .but("a program that is attacked goes on running")
    .check(at.show("SystemCallFilter,SystemCallErrorNumber"))
    .see("systemd.exec(5), seccomp(2)")
}

/// Why a unit that was stopped does not start by `systemctl start` alone, or not for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing keeps it.
    Free,
    /// Nothing keeps it, but it is no longer started at boot.
    Disabled,
    /// `systemctl mask`: it cannot be started; until the next boot alone where that was asked for.
    Masked { for_now: bool },
    /// Its file is gone.
    Deleted,
}

/// What was stopped is not gone.
pub fn start_again(at: &UnitAt, kept: Kept) -> Fix {
    let start = at.sudo(&at.about("start"));
    let start_it = "start it again";
    let runs = "the unit runs again; its settings are untouched";
    let (title, commands, effect) = match kept {
        Kept::Free => (start_it, vec![start], runs),
        Kept::Disabled => (
            "start it again, at boot as well",
            vec![at.sudo(&at.about("enable --now"))],
            "the unit runs again, and is started at boot as it was",
        ),
        Kept::Masked { for_now } => {
            let unmask = if for_now { "unmask --runtime" } else { "unmask" };
            let allowed = "the unit is no longer masked, so that it can be started, and runs again";
            (
                "take the mask off and start it again",
                vec![at.sudo(&at.about(unmask)), start],
                allowed,
            )
        }
        Kept::Deleted => (
            "put its file back and start it again",
            vec![
                remark(&format!(
                    "the file of {} is gone; when it is back, from the package or a backup:",
                    at.unit
                )),
                at.sudo(&at.systemctl("daemon-reload")),
                start,
            ],
            "systemd knows the unit again and runs it",
        ),
    };
    fix(title, commands, effect)
        .but("whoever stopped it may have had a reason: ask first")
        .check(at.about("status"))
        .see("systemctl(1)")
}

/// The package of the unit was removed by one of these; `package` where its name is known.
pub fn install_again(at: &UnitAt, updaters: &[String], package: Option<&str>) -> Fix {
    let is = |names: &[&str]| updaters.iter().any(|updater| names.contains(&updater.as_str()));
    let install = match () {
        () if is(&RPM) => "dnf install",
        () if is(&["zypper"]) => "zypper install",
        () if is(&["pacman"]) => "pacman -S",
        () if is(&["apk"]) => "apk add",
        () => "apt-get install",
    };
    let command = match package {
        Some(package) => format!("sudo {install} {}", operand(package)),
        None => format!("# with the package that was removed: sudo {install} PACKAGE"),
    };
    fix(
        "install its package again",
        vec![command, at.sudo(&at.about("start"))],
        "the package, and with it the unit, is there again",
    )
    .but("whoever removed it may have had a reason: ask first")
    .check(at.about("status"))
    .see("apt-get(8), dnf(8), systemctl(1)")
}

/// What manages packages of RPM.
const RPM: [&str; 5] = ["dnf", "dnf5", "yum", "rpm", "microdnf"];

/// A package manager, or what works for one, restarted it. `file`: the unit's own file.
pub fn updates(at: &UnitAt, updaters: &[String], file: Option<&str>) -> Fix {
    let is = |name: &str| updaters.iter().any(|updater| updater == name);
    let snap = at.unit.strip_prefix("snap.").and_then(|rest| rest.split('.').next());
    if let Some(snap) = snap.filter(|_| is("snapd") || is("snap")) {
        let snap = operand(snap);
        return fix(
            "choose when the snap is refreshed",
            vec![format!("sudo snap refresh --hold=72h {snap}")],
            "the snap is not refreshed, and its services not restarted, for three days",
        )
        .but("security updates of the snap wait as well")
        .check(format!("snap info {snap}"))
        .see("snap(8)");
    }
    if is("needrestart") && !at.of_user {
        // Perl reads the line: as perlfunc's quotemeta, so that a name is nothing but a name to it.
        let escaped = at.unit.chars().flat_map(|c| {
            let plain = c.is_ascii_alphanumeric() || c == '_';
            (!plain).then_some('\\').into_iter().chain([c])
        });
        let pattern: String = escaped.collect();
        let line = format!("$nrconf{{override_rc}}{{qr(^{pattern})}} = 0;");
        return fix(
            "have needrestart leave the unit alone",
            vec![format!(
                "printf '%s\\n' {} | sudo tee /etc/needrestart/conf.d/50-killtrace.conf",
                quoted(&line)
            )],
            "needrestart still lists the unit, but does not restart it after upgrades",
        )
        .but("it goes on using the old libraries until you restart it")
        .check("sudo needrestart -r l")
        .see("needrestart(1)");
    }
    let file = file.map_or_else(|| at.unit.clone(), str::to_owned);
    let rpm = RPM.iter().any(|name| is(name));
    let (find, hold) = if rpm {
        (format!("rpm -qf {}", operand(&file)), "sudo dnf versionlock add PACKAGE")
    } else {
        (format!("dpkg -S {}", operand(&file)), "sudo apt-mark hold PACKAGE")
    };
    fix(
        "choose when its package is upgraded",
        vec![find, format!("# with the package it names: {hold}")],
        "the package stays as it is, so that no upgrade restarts the unit",
    )
    .but("it gets no security updates meanwhile; a shorter restart is often the better cure")
    .see("apt-mark(8), unattended-upgrade(8), dnf(8)")
}

/// Who starts and stops this unit; none of one that was made by a program, which nothing is known of when it has
/// been stopped.
pub fn look_at_unit(at: &UnitAt) -> Option<Fix> {
    let cat = at.lost_file.is_none().then(|| at.about("cat"));
    let dependencies = at.about("list-dependencies --reverse --all");
    let commands = cat.into_iter().chain([dependencies]).collect();
    (!at.transient).then(|| {
        fix(
            "see what the unit is bound to",
            commands,
            "shows the dependencies through which a stop spreads to it",
        )
        .see("systemd.unit(5)")
    })
}

/// What the job of a scheduler, or a unit, says that had something done to this one.
pub fn look_at_asker(asker: &Asker<'_>) -> Fix {
    let (title, commands, see) = match asker {
        Asker::CronJob(command) => (
            "see the cron job that does so",
            vec![format!(
                "sudo grep -srnF -e {} /etc/crontab /etc/cron.d /var/spool/cron",
                quoted(command)
            )],
            "crontab(5), cron(8)",
        ),
        // It may be one that a program made, which has no file.
        Asker::Unit(unit) => (
            "see what the unit that does so is for",
            vec![
                format!("journalctl -u {} -n 50", quoted(unit)),
                remark(&format!("where it has a file: systemctl cat {}", operand(unit))),
            ],
            "journalctl(1), systemctl(1)",
        ),
    };
    fix(title, commands, "shows where it comes from, and so where it can be changed").see(see)
}

/// What, without anybody at a keyboard, had something done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker<'n> {
    /// A cron job, by its command.
    CronJob(&'n str),
    /// A unit of the system.
    Unit(&'n str),
}

/// A unit that a program made, with a dependency that stopped it: there is no line to change. None of a login session's,
/// which logind makes in a way of its own.
pub fn without_dependency(at: &UnitAt, name: &str, other: &str) -> Option<Fix> {
    let (option, side_effect) = match name {
        "Slice" => (format!("--slice={other}"), "its resource limits change with its slice"),
        _ => (format!("-p {name}={other}"), "it has to cope with the other's absence"),
    };
    let made = remark(&format!(
        "the unit is made anew each time; where {} makes it, leave out {option}",
        at.run()
    ));
    (at.drop_in_name() == at.unit).then(|| {
        fix(
            &format!("make it without {name}={other}"),
            vec![made],
            &format!("what happens to {other} no longer takes it down"),
        )
        .but(side_effect)
        .see("systemd-run(1), systemd.unit(5)")
    })
}

/// A dependency that stops a unit, made one that does not, where this line made it. A drop-in cannot take a dependency
/// back. `property`: where the manager lists it; `unit`: the one that is stopped; `other`: the one that it goes with.
pub fn loosen_dependency(
    at: &UnitAt,
    property: &str,
    line: &DecidingSetting,
    [unit, other]: [&str; 2],
) -> Fix {
    let name = line.name.as_str();
    let (effect, side_effect) = match name {
        "Conflicts" => (
            "the two can run side by side".to_owned(),
            "they may have been kept apart for a reason: a port, a device or a file that both use",
        ),
        "Slice" => (
            format!("the stop of {other} no longer takes it down"),
            "its resource limits change with its slice",
        ),
        "PropagatesStopTo" | "StopPropagatedFrom" => (
            format!("the stop of {other} no longer stops {unit}"),
            "whoever stops the one to be rid of both has to stop the other as well",
        ),
        "PartOf" => (
            format!("{other} may stop or be restarted without taking it down"),
            "it is no longer restarted with the other, and has to cope with its absence",
        ),
        "Requisite" => (
            format!("{other} may stop without taking it down"),
            "it then also starts where the other does not run",
        ),
        "RequiresMountsFor" => (
            format!("{other} may go without taking it down"),
            "what it writes may then end up in the directory below; nothing is mounted for it at its start any more",
        ),
        _ => (
            format!("{other} is still started with it, but may stop without taking it down"),
            "it has to cope with the other's absence",
        ),
    };
    let mut commands: Vec<String> = at.restored().into_iter().collect();
    match (line.file.as_deref(), line.line) {
        // A link beside the units: it is the dependency.
        (Some(link), None) if link.contains(".requires/") => {
            commands.push(at.sudo(&format!("rm {}", quoted(link))));
        }
        (file, _) => {
            let there = remark(&format!("there, {}", instead(line, [unit, other])));
            commands.extend([open(at, file), there]);
        }
    }
    commands.push(at.sudo(&at.systemctl("daemon-reload")));
    fix(&format!("loosen the dependency {name}="), commands, &effect)
        .but(side_effect)
        .check(at.show(property))
        .see("systemd.unit(5)")
}

/// The command that opens a file of a unit. A drop-in is a file of its own; a unit file that a package owns is copied
/// by `edit --full`.
fn open(at: &UnitAt, file: Option<&str>) -> String {
    let edit = |unit: &str| at.sudo(&at.systemctl(&format!("edit --full {}", operand(unit))));
    match file {
        Some(file) if file.ends_with(".conf") => at.sudo(&format!("editor {}", quoted(file))),
        Some(file) => edit(file.rsplit('/').next().unwrap_or(&at.unit)),
        None => edit(&at.unit),
    }
}

/// What to do about a line that makes a dependency between two units.
fn instead(line: &DecidingSetting, units: [&str; 2]) -> String {
    let (name, value) = (line.name.as_str(), line.value.as_str());
    if name == "Slice" {
        return format!("choose another slice instead of Slice={value}");
    }
    // These alone start the other as well.
    let wants = ["BindsTo", "Requires"].contains(&name);
    if value.split_whitespace().count() == 1 {
        return if wants {
            format!("write Wants={value} instead of {name}={value}")
        } else {
            format!("take out {name}={value}")
        };
    }
    let word = value.split_whitespace().find(|word| units.contains(word));
    let word = word.unwrap_or("what means it");
    let add = if wants { format!(", and add Wants={word}") } else { String::new() };
    format!("take {word} out of {name}={value}{add}")
}

/// Another slice for a unit whose files name none.
pub fn other_slice(at: &UnitAt, slice: &str) -> Fix {
    let there = format!("under [{}]: Slice= with another slice than {slice}", at.section());
    let mut commands = at.edit("", &there);
    commands.push(at.sudo(&at.systemctl("daemon-reload")));
    fix(
        "put it into another slice",
        commands,
        &format!("the stop of {slice} no longer takes it down"),
    )
    .but("its resource limits change with its slice")
    .check(at.show("Slice"))
    .see("systemd.resource-control(5)")
}

/// `RestartMode=direct` for the unit that another one depends on.
pub fn direct_restart(at: &UnitAt, dependent: &str) -> Fix {
    let other = &at.instance;
    fix(
        &format!("have {other} restarted without stopping what depends on it"),
        at.set("Service", "RestartMode=direct"),
        &format!("when systemd itself restarts {other}, {dependent} goes on; a stop or restart that is asked for still takes it down"),
    )
    .but(&format!("{dependent} has to cope with the other's absence meanwhile, and OnFailure= of {other} waits until it is no longer restarted"))
    .check(at.show("RestartMode"))
    .see("systemd.service(5)")
}

/// `StopWhenUnneeded=no`
pub fn keep_when_unneeded(at: &UnitAt) -> Fix {
    fix(
        "let it run when no other unit needs it",
        at.set("Unit", "StopWhenUnneeded=no"),
        "it stays until it is stopped by itself",
    )
    .but("it goes on using what it uses; something has to stop it")
    .check(at.show("StopWhenUnneeded"))
    .see("systemd.unit(5)")
}

/// `IgnoreOnIsolate=yes`
pub fn ignore_on_isolate(at: &UnitAt) -> Fix {
    fix(
        "let it survive when another target is isolated",
        at.set("Unit", "IgnoreOnIsolate=yes"),
        "systemctl isolate leaves the unit alone",
    )
    .but("it then also runs in rescue mode")
    .check(at.show("IgnoreOnIsolate"))
    .see("systemd.unit(5)")
}
