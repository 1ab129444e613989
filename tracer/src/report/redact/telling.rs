//! Which arguments say whom a command ended and how, and which are somebody's own.
//!
//! A command line is read from left to right. Once it comes to a word of which it is not known what it means there,
//! all that follows is hidden but for the names of options: `docker exec db mysqladmin --password hunter2` keeps
//! `docker exec db` and `--password`.

use crate::evidence::{base_name, signal_number};

/// What the arguments of a program can tell. Whatever is not known to tell is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It runs another program, which stands behind its own options and so many plain arguments.
    Runs {
        /// Its options whose value is an argument of its own.
        valued: &'static str,
        /// Plain arguments before the other program.
        before: usize,
    },
    /// Signals and numbers, which are those of processes or jobs: `kill`.
    Kills,
    /// When, or which run level, and then words to whoever is logged in: `shutdown`.
    ShutsDown,
    /// A verb, then what it is about: `systemctl`, `docker`.
    Manages(Things),
    /// The thing first, then the verb: `service`.
    Service,
    /// A shell: clustered options (`-lc`) tell whether somebody sits at it.
    Shell,
    /// Any other: nothing but the names of options.
    Unknown,
}

/// What verbs are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Things {
    /// Units, and nothing but units.
    Units,
    /// One container, session or machine; what stands behind it may be anything.
    One,
    /// Names that are all somebody's own.
    Hidden,
}

/// One that runs what comes right behind its options.
const fn runs(valued: &'static str) -> Kind {
    Kind::Runs { valued, before: 0 }
}

/// The programs whose arguments tell how somebody was ended.
const PROGRAMS: &[(&[&str], Kind)] = &[
    (
        &["sudo"],
        runs(
            "-C -D -g -h -p -R -r -T -t -U -u --chdir --group --host --other-user --prompt --user",
        ),
    ),
    (&["doas"], runs("-C -u")),
    (&["pkexec"], runs("--user")),
    (&["runuser"], runs("-G -g -u --group --supp-group --user")),
    (&["env"], runs("-C -S -u --chdir --split-string --unset")),
    (&["nice"], runs("-n --adjustment")),
    (&["ionice"], runs("-c -n --class --classdata")),
    (&["stdbuf"], runs("-e -i -o --error --input --output")),
    (&["nohup", "setsid", "busybox", "toybox"], runs("")),
    (&["timeout", "gtimeout"], Kind::Runs { valued: "-k -s --kill-after --signal", before: 1 }),
    (&["kill", "pkill", "killall", "killall5", "skill", "scancel"], Kind::Kills),
    (&["shutdown", "reboot", "poweroff", "halt", "init", "telinit"], Kind::ShutsDown),
    (
        &["loginctl", "machinectl", "docker", "podman", "nerdctl", "ctr", "crictl", "runc", "crun"],
        Kind::Manages(Things::One),
    ),
    (&["systemctl"], Kind::Manages(Things::Units)),
    (&["kubectl"], Kind::Manages(Things::Hidden)),
    (&["service", "invoke-rc.d"], Kind::Service),
    (&["sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "-bash", "-sh", "-zsh"], Kind::Shell),
];

/// Verbs of those that manage something.
const VERBS: &[&str] = &[
    "stop",
    "start",
    "restart",
    "try-restart",
    "condrestart",
    "reload",
    "force-reload",
    "reload-or-restart",
    "try-reload-or-restart",
    "enable",
    "reenable",
    "disable",
    "mask",
    "isolate",
    "kill",
    "kill-session",
    "kill-user",
    "terminate",
    "terminate-session",
    "terminate-user",
    "poweroff",
    "reboot",
    "halt",
    "kexec",
    "soft-reboot",
    "delete",
    "rm",
    "down",
    "exec",
    "run",
    "pause",
    "reset-failed",
    "rescue",
    "emergency",
    "default",
    "exit",
    "daemon-reexec",
];

/// Verbs behind whose container or image stands a command of anybody's.
const STARTING: &[&str] = &["exec", "run"];

/// Options of those that take no value. Behind any other it cannot be told which word is the container.
const FLAGS: &[&str] = &[
    "-d",
    "-i",
    "-t",
    "-T",
    "-it",
    "-ti",
    "-dit",
    "-itd",
    "--detach",
    "--init",
    "--interactive",
    "--privileged",
    "--rm",
    "--tty",
];

/// Words that say what kind of thing a verb is about.
const KINDS_OF_THINGS: &[&str] = &["compose", "container", "pod"];

/// Options whose value, a signal or a time, tells how something was ended.
const TELLING: &[&str] =
    &["-k", "-s", "-t", "--grace-period", "--kill-after", "--signal", "--time", "--timeout"];

/// Options of those that manage something whose value is an argument of its own and tells of somebody.
const VALUED: &[&str] =
    &["-H", "-M", "--cidfile", "--exec-id", "--filter", "--host", "--machine", "--namespace"];

/// How much of an argument is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of it.
    Whole,
    /// It is the name of a user.
    User,
    /// `--option=`, without the value.
    Option,
    /// Nothing.
    Hidden,
}

impl Shown {
    const fn whole_if(telling: bool) -> Self {
        if telling { Self::Whole } else { Self::Hidden }
    }
}

/// A command line, as far as it has been read.
#[derive(Clone, Debug)]
pub struct Reading {
    kind: Kind,
    verb: String,
    /// The last argument was an option whose value comes next; whether that tells how something was ended.
    value: Option<bool>,
}

impl Reading {
    /// One of this program (the last part of its path).
    pub fn of(program: &str) -> Self {
        Self { kind: kind(program), verb: String::new(), value: None }
    }

    /// From here on it is the command line of anybody's program.
    fn leave(&mut self) {
        *self = Self::of("");
    }

    fn is_starting(&self) -> bool {
        STARTING.contains(&self.verb.as_str())
    }

    /// Reads the next argument.
    pub fn next(&mut self, argument: &str) -> Shown {
        if let Some(telling) = self.value.take() {
            return Shown::whole_if(telling && is_signal_or_time(argument));
        }
        if argument.is_empty() || argument == "--" {
            return Shown::Whole;
        }
        if argument.starts_with('-') { self.option(argument) } else { self.plain(argument) }
    }

    fn option(&mut self, argument: &str) -> Shown {
        if let Some((option, value)) = argument.split_once('=') {
            let known = is_long_option(option) && !matches!(self.kind, Kind::Unknown | Kind::Shell);
            self.option_seen(option);
            self.value = None;
            let telling = TELLING.contains(&option) && is_signal_or_time(value);
            return if known && !telling { Shown::Option } else { Shown::whole_if(known) };
        }
        if self.kind == Kind::Kills && is_signal_or_pid(&argument[1..]) {
            // `-TERM`, `-9`, and a whole process group: `kill -- -4242`.
            return Shown::Whole;
        }
        let letters = &argument[1..];
        let cluster = if self.kind == Kind::Shell { 4 } else { 1 };
        let bare = letters.len() <= cluster && letters.bytes().all(|it| it.is_ascii_alphabetic());
        let flag = matches!(self.kind, Kind::Manages(_)) && FLAGS.contains(&argument);
        self.option_seen(argument);
        Shown::whole_if(bare || flag || is_long_option(argument))
    }

    /// What an option makes of the arguments behind it.
    fn option_seen(&mut self, option: &str) {
        match self.kind {
            Kind::Runs { valued, .. } => {
                // `sudo -nu bob`
                let letters = option.strip_prefix('-').unwrap_or_default();
                let cluster =
                    letters.len() <= 4 && letters.bytes().all(|it| it.is_ascii_lowercase());
                let last = letters.chars().next_back().filter(|_| cluster);
                let last = last.map(|letter| format!("-{letter}"));
                let found = valued
                    .split(' ')
                    .any(|known| known == option || last.as_deref() == Some(known));
                self.value = found.then_some(TELLING.contains(&option));
            }
            Kind::Manages(_) if self.is_starting() && FLAGS.contains(&option) => {}
            Kind::Manages(_) if self.is_starting() => self.leave(),
            Kind::Manages(_) if TELLING.contains(&option) => {
                self.value = Some(true);
            }
            Kind::Manages(_) if VALUED.contains(&option) => {
                self.value = Some(false);
            }
            _ => {}
        }
    }

    /// An argument that is no option.
    fn plain(&mut self, argument: &str) -> Shown {
        match self.kind {
            // `sudo TOKEN=x kill 1`
            Kind::Runs { .. } if argument.contains('=') => Shown::Hidden,
            Kind::Runs { valued, before: before @ 1.. } => {
                self.kind = Kind::Runs { valued, before: before - 1 };
                Shown::whole_if(is_signal_or_time(argument))
            }
            Kind::Runs { .. } => {
                *self = Self::of(base_name(argument));
                Shown::whole_if(self.kind != Kind::Unknown)
            }
            Kind::Kills => Shown::whole_if(is_signal_or_pid(argument)),
            Kind::ShutsDown => {
                self.leave();
                let delay = argument.strip_prefix('+').unwrap_or(argument);
                Shown::whole_if(is_number(delay) || argument == "now")
            }
            Kind::Manages(_) if self.verb.is_empty() => {
                if VERBS.contains(&argument) {
                    argument.clone_into(&mut self.verb);
                }
                Shown::whole_if(!self.verb.is_empty() || KINDS_OF_THINGS.contains(&argument))
            }
            Kind::Manages(things) => self.thing(argument, things),
            Kind::Service => {
                self.kind = Kind::Manages(Things::Hidden);
                Shown::whole_if(is_name(argument))
            }
            Kind::Shell | Kind::Unknown => {
                self.leave();
                Shown::Hidden
            }
        }
    }

    /// What a verb is about.
    fn thing(&mut self, argument: &str, things: Things) -> Shown {
        let is_starting = self.is_starting();
        if !is_starting && KINDS_OF_THINGS.contains(&argument) {
            return Shown::Whole;
        }
        if is_starting {
            self.leave();
        } else if things == Things::One {
            self.kind = Kind::Manages(Things::Hidden);
        }
        let is_user = self.verb.ends_with("-user") && !is_number(argument);
        match things {
            Things::Hidden => {
                // `runc kill 4fa6e0f0c678 KILL`
                let signal = self.verb.starts_with("kill") && signal_number(argument).is_some();
                Shown::whole_if(signal)
            }
            Things::One if is_user => Shown::User,
            Things::One | Things::Units => Shown::whole_if(is_name(argument)),
        }
    }
}

/// Whether a program of this name (the last part of its path) is a shell.
pub fn is_shell(program: &str) -> bool {
    kind(program) == Kind::Shell
}

fn kind(program: &str) -> Kind {
    let found = PROGRAMS.iter().find(|(names, _)| names.contains(&program));
    found.map_or(Kind::Unknown, |(_, kind)| *kind)
}

/// Whether an argument is the bare name of a long option, which tells nothing of anybody.
fn is_long_option(text: &str) -> bool {
    text.len() > 2
        && text.starts_with("--")
        && text[2..].bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

fn is_number(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_signal_or_pid(text: &str) -> bool {
    is_number(text.strip_prefix('-').unwrap_or(text)) || signal_number(text).is_some()
}

fn is_signal_or_time(text: &str) -> bool {
    is_number(text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or(text))
        || signal_number(text).is_some()
}

/// Whether it can be the name of a unit, a container, a session or a machine.
fn is_name(text: &str) -> bool {
    text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_.@\\-".contains(&byte))
}

#[cfg(test)]
#[path = "telling_tests.rs"]
mod tests;
