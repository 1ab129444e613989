//! Remedies around logins: logind, lingering, sshd, terminals.

use super::super::verdict::{DecidingSetting, Fix};
use super::{fix, quoted, remark, run_by_systemd, takes_effect};
use crate::evidence::Written;

/// Who looks after logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logind {
    /// systemd-logind.
    OfSystemd,
    /// elogind, where systemd does not run.
    Elogind,
}

impl Logind {
    /// Where files add to its configuration.
    const fn drop_ins(self) -> &'static str {
        match self {
            Self::OfSystemd => "/etc/systemd/logind.conf.d",
            Self::Elogind => "/etc/elogind/logind.conf.d",
        }
    }

    /// Has it read its configuration again.
    const fn reload(self) -> &'static str {
        match self {
            Self::OfSystemd => "sudo systemctl kill -s HUP systemd-logind",
            Self::Elogind => "sudo pkill -HUP -u root -x elogind-daemon",
        }
    }
}

/// The commands that give a setting of logind's another value. Each has a file of its own: one remedy does not undo
/// another.
fn set_logind(name: &str, value: &str) -> Vec<String> {
    set(Logind::OfSystemd, name, value)
}

fn set(logind: Logind, name: &str, value: &str) -> Vec<String> {
    let drop_ins = logind.drop_ins();
    // A value can hold what printf(1) would read as an escape: `CORP\\alice`.
    let line = quoted(&format!("{name}={value}"));
    vec![
        format!("sudo mkdir -p {drop_ins}"),
        format!("printf '%s\\n' '[Login]' {line} | sudo tee {drop_ins}/zz-killtrace-{name}.conf"),
        logind.reload().to_owned(),
    ]
}

/// The command that shows what logind goes by; elogind comes without busctl.
fn show(logind: Logind, name: &str) -> String {
    match logind {
        Logind::OfSystemd => show_logind(name),
        Logind::Elogind => format!("loginctl show-user -p {name}"),
    }
}

fn show_logind(name: &str) -> String {
    let property = name.strip_suffix("Sec").map(|stem| format!("{stem}USec"));
    let property = property.as_deref().unwrap_or(name);
    format!(
        "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager {property}"
    )
}

/// The terminal multiplexer that a program is, by the name of its executable or its server's own.
pub(super) fn multiplexer(program: &str) -> Option<&'static str> {
    match program {
        "tmux" | "tmux: server" => Some("tmux"),
        "screen" | "SCREEN" => Some("screen"),
        _ => None,
    }
}

/// Start it below the user's service manager, which outlives the sessions when lingering; `command` is what starts the
/// program again, for a shell.
pub fn linger_and_scope(user: &str, program: &str, command: &str) -> Fix {
    let user = quoted(user);
    // A multiplexer's server was started by a client, with arguments of that session's own.
    let run = multiplexer(program).unwrap_or(command);
    fix(
        "start it outside the login session",
        vec![
            format!("loginctl enable-linger {user}"),
            format!("systemd-run --user --scope {run}"),
        ],
        "started so by the user, the program lives under the user's service manager, which lingering keeps running after logout",
    )
    .but("the user's service manager runs from boot on; lingering alone does not protect what runs in a session")
    .check(format!("loginctl show-user {user} -p Linger; loginctl user-status {user}"))
    .see("loginctl(1), systemd-run(1)")
}

/// A unit of the system's, which outlives the user's service manager; `command` is what starts the program again, for a shell.
pub fn system_unit_of_user(user: &str, program: &str, command: &str) -> Fix {
    // A multiplexer's server needs to be told that there is no terminal, and goes on without what started it.
    let run = match multiplexer(program) {
        Some("tmux") => "--service-type=forking tmux new-session -d".to_owned(),
        Some(screen) => format!("--service-type=forking {screen} -d -m"),
        None => run_by_systemd(command),
    };
    fix(
        "run it as a unit of the system's, under the user's name",
        vec![format!("sudo systemd-run --uid={} --unit=my-job {run}", quoted(user))],
        "it no longer depends on the user's service manager",
    )
    .but("it has none of the user's session around it: no session bus, no keyring, no XDG_RUNTIME_DIR; it starts in /")
    .check("systemctl status my-job")
    .see("systemd-run(1)")
}

/// Let a user's service manager outlive the logins.
pub fn linger(user: &str) -> Fix {
    let user = quoted(user);
    fix(
        "keep the user's service manager after logout",
        vec![format!("loginctl enable-linger {user}")],
        "units of the user keep running when the last session ends, and start at boot",
    )
    .but("the user's service manager runs from boot on")
    .check(format!("loginctl show-user {user} -p Linger"))
    .see("loginctl(1)")
}

/// `KillUserProcesses=no`
pub fn keep_user_processes(logind: Logind) -> Fix {
    fix(
        "let processes survive the logout, for every user",
        set(logind, "KillUserProcesses", "no"),
        "logind leaves the processes of ended sessions alone (KillUserProcesses=no)",
    )
    .but("forgotten processes of every user stay, and their sessions remain in state \"closing\"; a file sorted after this one may still say otherwise")
    .check(show(logind, "KillUserProcesses"))
    .see("logind.conf(5)")
}

/// The same of one user, whose own record says otherwise; in `file`.
pub fn keep_processes_of(user: &str, file: &str) -> Fix {
    let named = quoted(user);
    let (command, check) = if file.ends_with(".identity") {
        (format!("homectl update {named} --kill-processes=no"), format!("homectl inspect {named}"))
    } else {
        let edit = format!("sudoedit {}    # \"killProcesses\" : false", quoted(file));
        (edit, format!("userdbctl user {named} --output=json"))
    };
    fix(
        "let this user's processes survive the logout",
        vec![command],
        "logind leaves this user's processes alone, as the user's own record says (killProcesses); it counts from the next login on",
    )
    .but("forgotten processes of this user stay")
    .check(check)
    .see("homectl(1), systemd-userdbd.service(8)")
}

/// Where a user's home directory comes from, which was gone.
pub fn home_image(user: &str) -> Fix {
    let user = quoted(user);
    fix(
        "keep the storage of the home directory attached until its user is logged out",
        vec![
            "journalctl -u systemd-homed.service -n 50".to_owned(),
            format!("homectl inspect {user}"),
            remark(&format!("before the storage is taken away: homectl deactivate {user}")),
        ],
        "shows when the image disappeared and where it belongs; a home directory that was deactivated before has nothing of it ended",
    )
    .but("whatever uses the home directory has to end before it can be deactivated")
    .check(format!("homectl inspect {user}"))
    .see("homectl(1), systemd-homed.service(8)")
}

/// What the files say by now takes effect.
pub fn reload_logind(name: &str, unread: &Written) -> Fix {
    fix(
        "have logind read the files that have changed",
        vec![Logind::OfSystemd.reload().to_owned()],
        &takes_effect(name, unread),
    )
    .but("whatever else has changed in logind's files counts from then on, too")
    .check(show_logind(name))
    .see("logind.conf(5)")
}

/// `KillExcludeUsers=`
pub fn exclude_user(logind: Logind, user: &str) -> Fix {
    fix(
        "let this user's processes survive the logout",
        set(logind, "KillExcludeUsers", &format!("root {user}")),
        "logind leaves this user's processes alone; root stays listed since naming anybody drops the default",
    )
    .but("forgotten processes of this user stay")
    .check(show(logind, "KillExcludeUsers"))
    .see("logind.conf(5)")
}

/// `StopIdleSessionSec=infinity`
pub fn no_idle_stop() -> Fix {
    fix(
        "do not stop idle sessions",
        set_logind("StopIdleSessionSec", "infinity"),
        "sessions are never stopped for being idle",
    )
    .but("idle logins stay open; a security policy may demand the limit")
    .check(show_logind("StopIdleSessionSec"))
    .see("logind.conf(5)")
}

/// `IdleAction=ignore`, `HandlePowerKey=ignore` and their kind.
pub fn no_logind_action(name: &str) -> Fix {
    fix(
        "have logind do nothing then",
        set_logind(name, "ignore"),
        &format!("{name}= no longer takes the system down"),
    )
    .but("whoever relies on that has to switch the machine off in another way")
    .check(show_logind(name))
    .see("logind.conf(5)")
}

/// pam_systemd for sshd. `unit`: one of sshd's, which Debian and its kind alone call `ssh`.
pub fn pam_systemd(unit: &str) -> Fix {
    let debian = unit.starts_with("ssh.") || unit.starts_with("ssh@");
    let (install, added) = if debian {
        ("sudo apt install libpam-systemd".to_owned(), "pam-auth-update adds it")
    } else {
        let with = "pam_systemd comes with systemd, on Fedora and its kind with: sudo dnf install systemd-pam";
        (remark(with), "`authselect` or `pam-config --add --systemd` adds it on some distributions")
    };
    let but = format!(
        "logind's rules apply to logins from then on, KillUserProcesses= among them; `session optional pam_systemd.so` has to be in the PAM stack of sshd ({added})"
    );
    fix(
        "give ssh logins a session of their own",
        vec![
            install,
            "echo 'UsePAM yes' | sudo tee /etc/ssh/sshd_config.d/10-use-pam.conf".to_owned(),
        ],
        "pam_systemd moves each login into a session scope, which the end of the connection's unit does not touch",
    )
    .but(&but)
    .check("in a new login: cat /proc/self/cgroup should name session-N.scope")
    .see("pam_systemd(8)")
}

/// One long-running sshd instead of one per connection.
pub fn long_running_sshd(socket: &str) -> Fix {
    let service = quoted(&socket.replace(".socket", ".service"));
    let socket = quoted(socket);
    fix(
        "run one sshd instead of one unit per connection",
        vec![
            format!("systemctl cat {service}"),
            remark("go on only where that shows a service"),
            format!("sudo systemctl disable --now {socket}"),
            format!("sudo systemctl enable --now {service}"),
            remark(&format!(
                "the way back, should it not start: sudo systemctl enable --now {socket}"
            )),
        ],
        "connections no longer have a unit of their own that is cleaned up after them",
    )
    .but("sshd runs all the time; keep the present login open until a new one has worked")
    .check(format!("systemctl status {service}; then log in anew"))
    .see("sshd(8)")
}

/// Detach from the terminal, by a multiplexer unless that terminal was given by one, or by another program. `name` is what
/// the process calls itself.
pub fn detach(program: &str, name: &str, was_given: bool) -> Fix {
    let program = quoted(program);
    let (commands, see) = if was_given {
        (vec![format!("setsid -f {program} …")], "setsid(1), nohup(1)")
    } else {
        let there = format!("there, start {program} again; or without tmux: setsid -f {program} …");
        (vec!["tmux new -s main".to_owned(), remark(&there)], "tmux(1), setsid(1), nohup(1)")
    };
    const EFFECT: &str = "it no longer gets SIGHUP when the terminal closes";
    fix("run it detached from the terminal", commands, EFFECT)
        .but("it runs on unseen until it ends by itself or somebody ends it; logind's KillUserProcesses= still applies")
        .check(format!("ps -o pid,sid,tty,comm -C {}", quoted(name)))
        .see(see)
}

/// A shell that ends itself where it gets no input for long; `line` is what sets how long, where that is known.
pub fn longer_idle(name: &str, line: Option<&DecidingSetting>) -> Fix {
    let place = line.and_then(DecidingSetting::place);
    let (commands, see) = match (place, name) {
        (Some(place), _) => (
            vec![remark(&format!("in {place}: more seconds, or 0 to wait without end"))],
            "bash(1), zshparam(1)",
        ),
        (None, "autologout") => {
            (vec![remark("in the shell, or at the end of ~/.tcshrc: unset autologout")], "tcsh(1)")
        }
        (None, _) => (
            vec![
                format!(
                    "grep -n {name} /etc/environment /etc/profile /etc/profile.d/*.sh /etc/*bashrc ~/.*profile ~/.*rc"
                ),
                remark(&format!(
                    "in the file that sets it: more seconds, or 0; where it is not read-only, in the shell: unset {name}"
                )),
            ],
            "bash(1), zshparam(1)",
        ),
    };
    fix("have the shell wait longer", commands, "counts for the shells that are started after that")
        .but("a terminal that somebody left is open for that much longer to whoever comes by")
        .check(format!("in a new shell: echo ${name}"))
        .see(see)
}

/// A shell that hangs up its jobs when it ends though its terminal stays (`huponexit` of bash, `HUP` of zsh, fish).
pub fn no_hangup_by_shell(program: &str, shell: &str) -> Fix {
    let program = quoted(program);
    let (own, check, see): (&[&str], _, _) = match shell.trim_start_matches('-') {
        "bash" => (
            &["for a job that runs already: disown -h %1", "for all jobs: shopt -u huponexit"],
            "shopt huponexit",
            "nohup(1), bash(1)",
        ),
        "zsh" => (
            &["for a job that runs already: disown %1", "for all jobs: setopt NO_HUP"],
            "setopt | grep -i hup",
            "nohup(1), zshoptions(1)",
        ),
        "fish" => (&["for a job that runs already: disown %1"], "jobs", "nohup(1), disown(1)"),
        _ => (&[], "jobs", "nohup(1)"),
    };
    let start = remark(&format!("when starting it: nohup {program} … &"));
    fix(
        "have the shell end without it",
        std::iter::once(start).chain(own.iter().map(|line| remark(line))).collect(),
        "it no longer gets SIGHUP from the shell when that ends",
    )
    .but("what reads from the terminal, or writes to it, still ends or fails when that closes")
    .check(check)
    .see(see)
}

/// An expect(1) script that ends before what it had spawned.
pub fn expect_eof() -> Fix {
    fix(
        "have expect wait for the program's end",
        vec![remark("as the last lines of the script: set timeout -1; expect eof")],
        "expect holds the program's terminal until the program is done",
    )
    .but("one that hangs keeps expect waiting; with `set timeout 3600` for an hour at most")
    .check("the next run of the script ends after the program")
    .see("expect(1)")
}

/// A command of an ssh login's that writes to a file instead.
pub fn output_to_file(program: &str) -> Fix {
    let program = quoted(program);
    fix(
        "have it write to a file rather than to the connection",
        vec![remark(&format!("nohup {program} … >output.log 2>&1 </dev/null &"))],
        "its output no longer has a reader that goes with the login",
    )
    .but("the file grows for as long as it runs, and nobody sees the output as it comes")
    .check("tail -f output.log")
    .see("nohup(1)")
}

/// `ChannelTimeout=none`
pub fn idle_channels() -> Fix {
    fix(
        "have sshd close no idle channel",
        vec![
            "sudo sshd -T | grep -i channeltimeout".to_owned(),
            remark("in the file that sets it (see above): ChannelTimeout none, or a longer time; then: sudo sshd -t && sudo systemctl reload ssh (or sshd, where the unit is called so)"),
        ],
        "a session in which nothing is typed or shown stays open",
    )
    .but("forgotten logins stay open; a security policy may demand the limit; logins that are open keep the old limit")
    .check("sudo sshd -T | grep -i channeltimeout")
    .see("sshd_config(5)")
}

/// The client's and the server's keep-alives.
pub fn keep_alive() -> Fix {
    fix(
        "keep a quiet connection alive",
        vec![
            "# on the client, in ~/.ssh/config:  ServerAliveInterval 30".to_owned(),
            "# on the server, in sshd_config:  ClientAliveInterval 60 and ClientAliveCountMax 10"
                .to_owned(),
        ],
        "short network outages no longer end the login",
    )
    .but("a connection that is really dead is noticed later, and a little is sent over an idle one")
    .check("on the client: ssh -G HOST | grep -i serveralive; on the server: sudo sshd -T | grep -i clientalive")
    .see("ssh_config(5), sshd_config(5)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_told_its_own_words_alone() {
        for (shell, own, other) in [
            ("-bash", "huponexit", "NO_HUP"),
            ("zsh", "NO_HUP", "huponexit"),
            ("fish", "%1", "HUP"),
        ] {
            let told = no_hangup_by_shell("work", shell).commands.join("\n");
            assert!(told.contains(own) && !told.contains(other), "{told}");
        }
        assert_eq!(
            no_hangup_by_shell("work", "tcsh").commands,
            ["# when starting it: nohup work … &"]
        );
    }

    #[test]
    fn what_tmux_ended_is_not_put_into_tmux_again() {
        assert!(!detach("sleep", "sleep", true).commands[0].contains("tmux"));
        assert!(detach("sleep", "sleep", false).commands[0].contains("tmux"));
    }

    #[test]
    fn a_name_stays_a_word_whatever_it_holds() {
        for user in [r"CORP\alice", "it's", "a$(reboot)", "a\nb"] {
            let fix = exclude_user(Logind::OfSystemd, user);
            let script = fix.commands[1].replace("| sudo tee", "| cat -; : >/dev/null");
            let output = std::process::Command::new("sh").args(["-c", &script]).output();
            let told = String::from_utf8(output.expect("sh").stdout).expect("UTF-8");
            assert_eq!(told, format!("[Login]\nKillExcludeUsers=root {user}\n"), "{script}");
        }
    }
}
