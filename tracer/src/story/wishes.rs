//! What can be asked of a service manager, and the commands for it: their verbs and arguments.

use super::unit_names::Names;
use crate::evidence::{Manager, base_name};

/// What can be asked of a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// Stop or restart a unit.
    Stop,
    /// Start or restart a unit.
    Start,
    /// Start a unit and stop everything that it does not need.
    Isolate,
    /// Have a unit load its configuration again.
    Reload,
    /// Send a signal to the processes of a unit.
    Kill,
}

impl Wish {
    /// Verbs of systemctl, service(8), invoke-rc.d(8), deb-systemd-invoke(1p) and systemd-update-helper that ask for it.
    const fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Stop => &[
                "stop",
                "restart",
                "try-restart",
                "reload-or-restart",
                "try-reload-or-restart",
                "force-reload",
                "condrestart",
                "disable",
                "mask",
                "remove-units",
                "remove-system-units",
            ],
            Self::Start => &[
                "start",
                "restart",
                "try-restart",
                "reload-or-restart",
                "try-reload-or-restart",
                "condrestart",
                "enable",
                "reenable",
            ],
            // Its words are those of `isolated_by`.
            Self::Isolate => &[],
            Self::Reload => {
                &["reload", "reload-or-restart", "try-reload-or-restart", "force-reload"]
            }
            Self::Kill => &["kill"],
        }
    }

    /// Whether a command asks this manager for it, by its arguments.
    pub fn is_command(self, args: &[String], manager: Manager, unit: &Names<'_>) -> bool {
        let of_user = args.iter().any(|arg| arg == "--user");
        of_user == matches!(manager, Manager::User(_)) && self.is_said(args, unit)
    }

    /// Whether a command's arguments say so, of whatever manager here.
    pub fn is_said(self, args: &[String], unit: &Names<'_>) -> bool {
        if asks_nothing_here(args) {
            return false;
        }
        if self == Self::Start && makes_at_once(args, unit) {
            return true;
        }
        if self == Self::Isolate {
            return isolated_by(args).is_some_and(|target| unit.include(&target));
        }
        // These alone change what happens at the next boot, or on demand.
        let later = |arg: &str| ["disable", "mask", "enable", "reenable"].contains(&arg);
        let now = args.iter().any(|arg| arg == "--now");
        let asks =
            args.iter().any(|arg| self.verbs().contains(&arg.as_str()) && (now || !later(arg)));
        asks && args.iter().skip(1).any(|arg| unit.are_meant_by(arg))
    }
}

/// Whether what a command asks for, by its verb, can have led to a job of this type: a stop is no restart.
pub fn can_make(args: &[String], job_type: &str) -> bool {
    const RESTART: [&str; 6] = [
        "restart",
        "try-restart",
        "condrestart",
        "reload-or-restart",
        "try-reload-or-restart",
        "force-reload",
    ];
    const STOP: [&str; 5] = ["stop", "disable", "mask", "remove-units", "remove-system-units"];
    let has = |verbs: &[&str]| args.iter().any(|arg| verbs.contains(&arg.as_str()));
    match job_type {
        "stop" => has(&STOP) || !has(&RESTART),
        "restart" => has(&RESTART) || !has(&STOP),
        _ => true,
    }
}

/// What has a manager make a unit and run something in it.
pub const RUNNERS: [&str; 2] = ["systemd-run", "run0"];

/// The name of the unit that systemd-run(1) is told to make by these arguments.
fn made_by(args: &[String]) -> Option<&str> {
    args.iter().enumerate().find_map(|(at, arg)| match arg.as_str() {
        "-u" | "--unit" => args.get(at + 1).map(String::as_str),
        other => other.strip_prefix("--unit=").or_else(|| other.strip_prefix("-u")),
    })
}

/// Whether the arguments of systemd-run(1) name the unit that it makes, or the timer of that.
pub fn names_unit(args: &[String], unit: &str) -> bool {
    let stem = |name: &str| {
        let kinds = [".service", ".timer", ".socket", ".path", ".scope"];
        kinds.iter().find_map(|kind| name.strip_suffix(kind)).unwrap_or(name).to_owned()
    };
    made_by(args).is_some_and(|named| stem(named) == stem(unit))
}

/// Whether it is one that has such a unit made and started now, not by a timer or the like later.
fn makes_at_once(args: &[String], unit: &Names<'_>) -> bool {
    const LATER: [&str; 4] = ["--on-", "--timer-property", "--path-property", "--socket-property"];
    let is_runner = args.first().is_some_and(|arg| RUNNERS.contains(&base_name(arg)));
    let later = args.iter().any(|arg| LATER.iter().any(|option| arg.starts_with(option)));
    is_runner && !later && unit.0.iter().any(|name| names_unit(args, name))
}

/// Whether a command asks this manager to restart whatever is marked for that, by its arguments: systemctl, or
/// systemd-update-helper, which asks the managers of all users for `--global`.
pub fn is_for_marked(args: &[String], manager: Manager) -> bool {
    // `enqueue-marked` since 260; the helper's since it is a program of its own.
    const EITHER: [&str; 3] = ["--marked", "enqueue-marked", "daemon-reload-enqueue-marked"];
    const OF_SYSTEM: [&str; 2] = ["system-restart", "system-reload-restart"];
    const OF_USERS: [&str; 2] = ["user-restart", "user-reload-restart"];
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let one_of = |words: &[&str]| words.iter().any(|word| has(word));
    let is_users = matches!(manager, Manager::User(_));
    let of_users = has("--user") || has("--global") || one_of(&OF_USERS);
    let verbs = if is_users { OF_USERS } else { OF_SYSTEM };
    of_users == is_users && (one_of(&EITHER) || one_of(&verbs)) && !asks_nothing_here(args)
}

/// The unit that a command isolates, by its arguments, as systemctl(1) and telinit(8) read them.
pub fn isolated_by(args: &[String]) -> Option<String> {
    if let Some(target) = runlevel(args) {
        return Some(target.to_owned());
    }
    let (program, rest) = args.split_first()?;
    if base_name(program) != "systemctl" {
        return None;
    }
    let is_value = |at: usize| at > 0 && rest[at - 1] == "--job-mode";
    let by_job_mode = rest
        .iter()
        .enumerate()
        .any(|(at, arg)| arg == "--job-mode=isolate" || arg == "isolate" && is_value(at));
    let mut words =
        rest.iter().enumerate().filter(|(at, arg)| !arg.starts_with('-') && !is_value(*at));
    // What stands before it is the value of an option.
    let (_, verb) = words.find(|(_, word)| VERBS.contains(&word.as_str()))?;
    let kind = match verb.as_str() {
        // These name no unit.
        "rescue" | "emergency" | "default" => return Some(format!("{verb}.target")),
        "isolate" => "target",
        "start" if by_job_mode => "service",
        _ => return None,
    };
    let (_, unit) = words.next()?;
    Some(if unit.contains('.') { unit.clone() } else { format!("{unit}.{kind}") })
}

/// Verbs of systemctl's that can isolate, and those that can have a unit of such a name.
const VERBS: [&str; 14] = [
    "isolate",
    "start",
    "rescue",
    "emergency",
    "default",
    "stop",
    "restart",
    "try-restart",
    "reload",
    "reload-or-restart",
    "kill",
    "status",
    "show",
    "set-default",
];

/// The target that telinit(8) isolates.
fn runlevel(args: &[String]) -> Option<&'static str> {
    let (program, rest) = args.split_first()?;
    if !matches!(base_name(program), "telinit" | "init") {
        return None;
    }
    match rest.iter().find(|arg| !arg.starts_with('-'))?.as_str() {
        "1" | "s" | "S" => Some("rescue.target"),
        "2" | "3" | "4" => Some("multi-user.target"),
        "5" => Some("graphical.target"),
        _ => None,
    }
}

/// Whether a systemctl was told to speak to another machine, to change files of an image alone, or to say how it is used.
fn asks_nothing_here(args: &[String]) -> bool {
    // `-M alice@` and `-M alice@.host` are a user of this one.
    let is_here = |machine: &str| {
        let host = machine.split_once('@').map_or(machine, |(_, host)| host);
        host == ".host" || host.is_empty() && machine.contains('@')
    };
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        if arg == "--" {
            return false;
        }
        if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
            let value = value.or_else(|| rest.clone().next().map(String::as_str));
            match name {
                "host" | "root" | "image" | "capsule" | "help" | "version" => return true,
                "machine" => return !value.is_some_and(is_here),
                _ => {}
            }
        } else if let Some(letters) = arg.strip_prefix('-') {
            // The first letter that takes a value ends the row of them.
            let at = letters.find(['H', 'M', 'C', 't', 'p', 'P', 's', 'n', 'o']);
            if letters[..at.unwrap_or(letters.len())].contains('h') {
                return true;
            }
            let Some(at) = at else { continue };
            let (option, value) = letters[at..].split_at(1);
            let value = Some(value).filter(|value| !value.is_empty());
            let value = value.or_else(|| rest.next().map(String::as_str));
            match option {
                "H" | "C" => return true,
                "M" => return !value.is_some_and(is_here),
                _ => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn commands_that_name_the_unit() {
        let a = Names(vec!["a.service", "b-alias.service"]);
        let stops = |line: &str| Wish::Stop.is_command(&args(line), Manager::System, &a);
        assert!(stops("systemctl stop a"));
        assert!(stops("systemctl --no-block restart b.service a.service"));
        assert!(stops("/usr/sbin/service a restart"));
        assert!(stops("systemctl stop a*"));
        for (line, stop, restart) in [
            ("systemctl stop a", true, false),
            ("systemctl try-restart a", false, true),
            ("systemctl start a", true, true),
            ("invoke-rc.d restart stop", true, true),
        ] {
            let can = ["stop", "restart", "start"].map(|kind| can_make(&args(line), kind));
            assert_eq!(can, [stop, restart, true], "{line}");
        }
        for asks_nothing in
            ["systemctl stop a --help", "systemctl -qh stop a", "systemctl --version stop a"]
        {
            assert!(!stops(asks_nothing), "{asks_nothing}");
        }
        assert!(stops("systemctl -q stop a -- --help"));
        assert!(stops("systemctl stop ?.service"));
        assert!(!stops("systemctl stop b"));
        assert!(!stops("systemctl status a"));
        assert!(!stops("systemctl --user stop a"));
        assert!(!stops("systemctl stop b*"));
        assert!(stops("systemctl stop b-alias"));
        assert!(stops("systemctl stop [ab].service"));
        // Patterns get no ending.
        assert!(!stops("systemctl stop ?"));
    }

    #[test]
    fn commands_for_elsewhere() {
        let stops = |line: &str| {
            let a = Names(vec!["a.service"]);
            Wish::Stop.is_command(&args(line), Manager::System, &a)
        };
        for options in
            ["-H node2", "-qHnode2", "--host=node2", "--host node2", "-M web", "--root=/x"]
        {
            assert!(!stops(&format!("systemctl {options} stop a")), "{options}");
        }
        for options in ["--no-block", "-M .host", "-M root@", "-sTERM", "-p H", "--"] {
            assert!(stops(&format!("systemctl {options} stop a")), "{options}");
        }
    }

    #[test]
    fn what_is_marked() {
        let is = |line: &str, manager| is_for_marked(&args(line), manager);
        assert!(is("systemctl reload-or-restart --marked", Manager::System));
        let helper = "/usr/lib/systemd/systemd-update-helper";
        assert!(is(&format!("{helper} system-reload-restart"), Manager::System));
        assert!(!is(&format!("{helper} system-reload"), Manager::System));
        assert!(!is(&format!("{helper} user-restart"), Manager::System));
        assert!(is(&format!("{helper} --global enqueue-marked"), Manager::User(1000)));
        assert!(is("systemctl --user -M alice@ reload-or-restart --marked", Manager::User(1000)));
        assert!(!is("systemctl --user reload-or-restart --marked", Manager::System));
        assert!(!is("systemctl --root=/x reload-or-restart --marked", Manager::System));
        assert!(!is("systemctl reload-or-restart a", Manager::System));
    }

    #[test]
    fn each_wish_has_its_words() {
        let line = args("systemctl isolate rescue.target");
        assert!(Wish::Isolate.is_command(&line, Manager::System, &Names(vec!["rescue.target"])));
        assert!(!Wish::Stop.is_command(&line, Manager::System, &Names(vec!["rescue.target"])));
        let line = args("systemctl rescue");
        assert!(Wish::Isolate.is_command(&line, Manager::System, &Names(vec!["rescue.target"])));
        assert!(!Wish::Isolate.is_command(
            &line,
            Manager::System,
            &Names(vec!["emergency.target"])
        ));
        let line = args("systemctl --user start a.service");
        assert!(Wish::Start.is_command(&line, Manager::User(1000), &Names(vec!["a.service"])));
        assert!(!Wish::Start.is_command(&line, Manager::System, &Names(vec!["a.service"])));
    }

    #[test]
    fn other_ways_to_isolate() {
        let isolates = |line: &str, unit: &str| {
            Wish::Isolate.is_command(&args(line), Manager::System, &Names(vec![unit]))
        };
        assert!(isolates("systemctl start --job-mode=isolate a.target", "a.target"));
        assert!(isolates("systemctl --job-mode isolate start a.target", "a.target"));
        assert!(!isolates("systemctl start --job-mode=fail a.target", "a.target"));
        assert!(isolates("/sbin/telinit 1", "rescue.target"));
        assert!(!isolates("telinit 1", "multi-user.target"));
        assert!(!isolates("telinit q", "rescue.target"));
        assert!(isolates("systemctl isolate multi-user", "multi-user.target"));
        assert!(isolates("systemctl default", "default.target"));
        assert!(!isolates("systemctl default", "graphical.target"));
        assert!(!isolates("systemctl default", "var-lib-machines.mount"));
        assert!(!isolates("systemctl stop default", "default.target"));
        assert!(!isolates("/bin/x default", "default.target"));
    }
}
