//! Command lines: the program stays, its arguments go, but for those that say whom a command ended.

use crate::evidence::signal_number;

use super::Redactor;

/// Programs whose arguments tell how somebody was ended: verbs, signals, units and numbers stay.
const ENDING: &[&str] = &[
    "kill",
    "pkill",
    "killall",
    "killall5",
    "skill",
    "timeout",
    "systemctl",
    "loginctl",
    "machinectl",
    "docker",
    "podman",
    "nerdctl",
    "ctr",
    "crictl",
    "kubectl",
    "runc",
    "crun",
    "scancel",
    "shutdown",
    "reboot",
    "poweroff",
    "halt",
    "init",
    "telinit",
    "service",
    "sudo",
    "doas",
    "nohup",
    "setsid",
];

/// Those of them that run another program.
const OTHERS: &[&str] = &["sudo", "doas", "nohup", "setsid", "timeout"];

/// Those of them whose plain arguments name a unit, a container, a session or a job.
const NAMING: &[&str] = &[
    "systemctl",
    "loginctl",
    "machinectl",
    "service",
    "docker",
    "podman",
    "nerdctl",
    "ctr",
    "crictl",
    "runc",
    "crun",
    "scancel",
];

/// Shells, whose clustered options (`-lc`) tell whether somebody sits at them.
const SHELLS: &[&str] =
    &["sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "-bash", "-sh", "-zsh"];

/// Verbs of those programs.
const VERBS: &[&str] = &[
    "stop",
    "start",
    "restart",
    "try-restart",
    "reload",
    "isolate",
    "kill",
    "kill-session",
    "kill-user",
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
    "compose",
    "container",
    "pod",
    "exec",
    "run",
    "pause",
    "now",
    "reset-failed",
    "rescue",
    "emergency",
    "default",
    "exit",
    "daemon-reexec",
];

/// Suffixes of unit names.
const UNITS: &[&str] =
    &[".service", ".scope", ".slice", ".socket", ".target", ".timer", ".mount", ".path"];

/// Words that stay in a rewritten title.
const TITLE: &[&str] = &[
    "server",
    "client",
    "master",
    "worker",
    "process",
    "[priv]",
    "[net]",
    "[listener]",
    "[accepted]",
    "[pam]",
    "[session-auth]",
    "listener",
];

impl Redactor {
    /// The command line of a process that runs this program (a path, or a name of at most 15 bytes). The
    /// first argument is the caller's to choose: what is not the program's name goes like any other.
    pub(super) fn command_line_of(
        &mut self,
        mut arguments: Vec<String>,
        program: &str,
    ) -> Vec<String> {
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let Some(first) = arguments.first() else { return arguments };
        let named = if is_title(first) { first.split([':', ' ']).next() } else { Some(&**first) };
        let (called, runs) =
            (base(named.unwrap_or_default().trim_start_matches('-')), base(program));
        let alike = !called.is_empty()
            && !runs.is_empty()
            && (called.starts_with(&runs) || runs.starts_with(&called));
        if alike || SHELLS.contains(&called.as_str()) {
            return self.command_line(arguments);
        }
        let hidden = self.names.argument(&arguments.remove(0));
        std::iter::once(hidden).chain(self.arguments_of(runs, arguments)).collect()
    }

    /// A command line.
    pub(super) fn command_line(&mut self, mut arguments: Vec<String>) -> Vec<String> {
        if arguments.is_empty() {
            return arguments;
        }
        let first = arguments.remove(0);
        let (shown, program) = if is_title(&first) {
            // What is left behind it is of the command line that it was written over.
            (self.title(&first), String::new())
        } else {
            (self.program(&first), first.rsplit('/').next().unwrap_or_default().to_owned())
        };
        std::iter::once(shown).chain(self.arguments_of(program, arguments)).collect()
    }

    /// The arguments of a program of this name.
    fn arguments_of(&mut self, mut program: String, arguments: Vec<String>) -> Vec<String> {
        let mut out = Vec::with_capacity(arguments.len());
        let mut verb = String::new();
        for argument in arguments {
            let base = argument.rsplit('/').next().unwrap_or_default();
            let ends = ENDING.contains(&program.as_str());
            let shown = if argument.is_empty()
                || is_option(&argument, SHELLS.contains(&program.as_str()))
            {
                self.text(&argument)
            } else if ends && OTHERS.contains(&program.as_str()) && ENDING.contains(&base) {
                // `sudo kill -9 1`, but not `vim kill`.
                program = base.to_owned();
                self.text(&argument)
            } else if ends && is_telling(&argument) {
                if VERBS.contains(&argument.as_str()) {
                    verb = argument.clone();
                }
                self.text(&argument)
            } else if ends && is_subject(&argument, &program, &verb) {
                if verb.ends_with("-user") { self.user(&argument) } else { self.text(&argument) }
            } else if let Some((option, value)) = long_option(&argument).filter(|_| ends) {
                let value =
                    if is_telling(value) { value.to_owned() } else { self.names.argument(value) };
                format!("{option}={value}")
            } else {
                self.names.argument(&argument)
            };
            out.push(shown);
        }
        out
    }

    /// The path of a program: its own name stays, as it is the process's.
    pub(super) fn program(&mut self, path: &str) -> String {
        let shown = self.text(path);
        match path.rsplit_once('/') {
            // A path under home, whose name would have gone with the rest.
            Some((_, base)) if shown != path && !base.is_empty() && shown.starts_with('/') => {
                let base = self.text(base);
                let folder = shown.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{base}")
            }
            _ => shown,
        }
    }

    /// A title that a process gave itself: `sshd-session: alice@pts/0`.
    fn title(&mut self, title: &str) -> String {
        let Some((program, rest)) = title.split_once(": ") else {
            return self.untitled(title);
        };
        // `sshd: alice@pts/0`, `sshd: alice [priv]`, but `sshd: /usr/sbin/sshd -D [listener] …`.
        let sshd = program.rsplit('/').next().is_some_and(|base| base.starts_with("sshd"));
        let words: Vec<_> = rest
            .split(' ')
            .enumerate()
            .map(|(number, word)| match word.split_once('@') {
                _ if word.is_empty() || TITLE.contains(&word) => word.to_owned(),
                Some((user, tty)) if sshd && number == 0 && is_terminal(tty) => {
                    format!("{}@{tty}", self.user(user))
                }
                None if sshd && number == 0 && word == "unknown" => word.to_owned(),
                None if sshd && number == 0 && !word.contains('/') => self.user(word),
                _ => self.names.argument(word),
            })
            .collect();
        format!("{}: {}", self.program(program), words.join(" "))
    }

    /// A title without a colon: the first word is the program.
    fn untitled(&mut self, title: &str) -> String {
        let mut words = title.split(' ');
        let mut out = self.program(words.next().unwrap_or_default());
        for word in words {
            out.push(' ');
            let telling = word.is_empty() || TITLE.contains(&word);
            out.push_str(&if telling { word.to_owned() } else { self.names.argument(word) });
        }
        out
    }
}

/// Whether a first argument is a title that the process gave itself: `sshd: alice@pts/0`.
fn is_title(first: &str) -> bool {
    first.contains(": ") || first.contains(' ')
}

/// `--signal=TERM` in its two parts.
fn long_option(argument: &str) -> Option<(&str, &str)> {
    argument.split_once('=').filter(|(option, _)| is_plain_option(option))
}

fn is_plain_option(text: &str) -> bool {
    text.len() > 2
        && text.starts_with("--")
        && text[2..].bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// Whether an argument is the bare name of an option, which tells nothing of anybody.
fn is_option(argument: &str, of_shell: bool) -> bool {
    let letters = argument.strip_prefix('-').unwrap_or_default();
    let cluster = if of_shell { 4 } else { 1 };
    argument == "--"
        || is_plain_option(argument)
        || (1..=cluster).contains(&letters.len())
            && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Whether an argument of such a program says what it did and nothing else.
fn is_telling(argument: &str) -> bool {
    let number = |text: &str| {
        !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit())
    };
    if let Some(option) = argument.strip_prefix('-') {
        // `-TERM`, `-9`, and a whole process group: `kill -- -4242`.
        return signal_number(option).is_some() || number(option);
    }
    let duration = argument.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or(argument);
    number(duration)
        || VERBS.contains(&argument)
        || signal_number(argument).is_some()
        || UNITS.iter().any(|suffix| argument.ends_with(suffix) && !argument.contains('/'))
}

/// Whether an argument is what the verb acted upon: such names stay wherever they stand.
fn is_subject(argument: &str, program: &str, verb: &str) -> bool {
    let plain = argument.len() <= 255
        && argument.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_.@\\-".contains(&byte));
    plain && NAMING.contains(&program) && (program == "service" || !verb.is_empty())
}

fn is_terminal(text: &str) -> bool {
    text == "notty"
        || text.split(',').all(|one| {
            ["pts/", "tty"].iter().any(|prefix| {
                one.strip_prefix(prefix)
                    .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()))
            })
        })
}
