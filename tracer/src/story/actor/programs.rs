//! What programs are, by their names and words: shells, schedulers, what installs software, what changes the user.

use crate::evidence::{Process, base_name, is_comm_of};

const SHELLS: [&str; 12] =
    ["sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "ash", "csh", "tcsh", "busybox", "nu"];

/// What runs another program as another user.
pub const CHANGES_USER: [&str; 6] = ["sudo", "su", "doas", "pkexec", "runuser", "run0"];

const CRON: [&str; 5] = ["cron", "crond", "anacron", "fcron", "dcron"];

/// What runs the jobs of at(1).
pub const AT: &str = "atd";

/// Where a chain of parents stops being somebody's doing and becomes the system's.
const ROOTS: [&str; 11] = [
    "systemd",
    "init",
    "sshd",
    "sshd-session",
    "login",
    "tmux: server",
    "screen",
    "containerd-shim",
    "conmon",
    "cron",
    // Under `killtrace -- CMD`, CMD is what was run.
    "killtrace",
];

/// What installs and updates software, and restarts services for it. Daemons among them: what is below them is
/// their doing.
const UPDATERS: [&str; 25] = [
    "apt",
    "apt-get",
    "aptitude",
    "dpkg",
    "unattended-upgr",
    "needrestart",
    "dnf",
    "dnf-3",
    "dnf4",
    "dnf5",
    "dnf5daemon-serv",
    "dnf-automatic",
    "yum",
    "rpm",
    "rpm-ostree",
    "microdnf",
    "zypper",
    "transactional-u",
    "pacman",
    "pamac-daemon",
    "apk",
    "packagekitd",
    "snapd",
    "snap",
    "flatpak",
];

/// What people, and what runs containers for them, call to have a runtime act.
pub const CONTAINER_CLIENTS: [&str; 8] =
    ["podman", "docker", "nerdctl", "buildah", "crictl", "ctr", "kubelet", "lxc"];

/// Whether a name is that of a shell (a login shell's leading `-` included).
pub fn is_shell(comm: &str) -> bool {
    SHELLS.contains(&comm.trim_start_matches('-'))
}

/// Whether a process is a shell, or a shell's script: by its words as well, since it can call itself anything. busybox is one
/// where it was called as one: `busybox killall` is a command.
pub fn runs_shell(process: &Process) -> bool {
    let comm = process.comm.as_deref().unwrap_or_default();
    let args = process.cmdline.as_deref().unwrap_or_default();
    let is_called =
        args.first().is_none_or(|word| word.starts_with('-') || is_shell(base_name(word)));
    let applet = args.get(1);
    is_shell_script(process)
        || is_shell(comm)
            && is_called
            && (comm != "busybox" || applet.is_some_and(|applet| is_shell(applet)))
}

/// Whether a process is a shell that took its name from the script that it was started by (`#!/bin/sh`, execve(2)).
pub fn is_shell_script(process: &Process) -> bool {
    let (Some(comm), Some(args)) = (&process.comm, &process.cmdline) else { return false };
    // `#!` may have given the shell an option.
    let is_named = |arg: &String| is_comm_of(comm, base_name(arg));
    args.first().is_some_and(|shell| is_shell(base_name(shell)))
        && args.iter().skip(1).take(2).any(is_named)
}

/// Whether a process is an interpreter at somebody's script, or what carries out somebody's rules; no shell. By its executable
/// or its first word: of a script the one may be the script's own file, the other what that gave it.
pub fn interprets(process: &Process) -> bool {
    const PROGRAMS: [&str; 14] = [
        "python", "pypy", "perl", "ruby", "node", "php", "lua", "luajit", "tclsh", "wish",
        "expect", "pwsh", "make", "gmake",
    ];
    let args = process.cmdline.as_deref().unwrap_or_default();
    let version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_named = |program: &str| {
        let rest = |name: &&str| base_name(program).strip_prefix(*name).map(str::to_owned);
        PROGRAMS.iter().filter_map(rest).any(|rest| version(&rest))
    };
    let is_one = [process.exe.as_deref(), args.first().map(String::as_str)];
    let is_one = is_one.into_iter().flatten().any(is_named);
    is_one && args.len() > 1
}

/// `bash script.sh` and `sh -c …` act for whoever started them; a bare shell is somebody typing.
pub fn runs_script(shell: &Process) -> bool {
    shell
        .cmdline
        .as_ref()
        .is_some_and(|args| args.iter().skip(1).any(|arg| !arg.starts_with('-') || arg == "-c"))
}

/// Whether a shell can be one that somebody types into, by its words: what is given a script or a command is none
/// unless it was told so.
pub fn is_interactive(shell: &Process) -> bool {
    const WITH_VALUE: [&str; 6] = ["--rcfile", "--init-file", "-o", "+o", "-O", "+O"];
    let mut args = shell.cmdline.iter().flatten().skip(1);
    while let Some(arg) = args.next() {
        let letters = arg.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
        if letters.is_some_and(|letters| letters.contains('i')) {
            return true;
        }
        if WITH_VALUE.contains(&arg.as_str()) {
            args.next();
        } else if !arg.starts_with(['-', '+']) {
            // The script, or what follows `-c`.
            return false;
        }
    }
    true
}

/// Whether a process is root's: anybody can give a program of theirs any name.
pub fn is_roots(process: &Process) -> bool {
    process.uid == Some(0)
}

/// Whether a chain of parents ends here: what is above is nobody's doing.
pub fn is_outermost(process: &Process) -> bool {
    let comm = process.comm.as_deref().unwrap_or_default();
    // A script may be called like one: systemd-update-helper.
    let is_root = ROOTS.iter().any(|root| comm.starts_with(root)) && !is_systemds_tool(comm);
    process.pid <= 1 || is_root && !is_shell_script(process)
}

/// Whether a name is that of a tool of systemd's that acts for whoever ran it: systemd-update-helper is no script any more in
/// newer versions (`src/update-helper`), and systemd-inhibit waits for what it runs.
fn is_systemds_tool(comm: &str) -> bool {
    ["systemd-update-", "systemd-inhibit"].contains(&comm)
}

/// Whether a process installs software, and is not only called so.
pub fn is_updater(process: &Process) -> bool {
    let comm = process.comm.as_deref().unwrap_or_default();
    UPDATERS.contains(&comm) && (is_roots(process) || is_anybodys(comm))
}

/// Whether it is what users run themselves to install software for themselves.
fn is_anybodys(updater: &str) -> bool {
    ["flatpak", "snap"].contains(&updater)
}

/// Whether a name is that of a program that runs jobs at their time.
pub fn is_scheduler(comm: &str) -> bool {
    // Debian's cron calls its children CRON.
    CRON.contains(&comm.to_ascii_lowercase().as_str()) || comm == AT
}

/// Whether it was run to have a daemon end, or read its settings again, by a signal: `nginx -s stop`, `apache2 -k stop`,
/// `uwsgi --stop FILE`, `pg_ctl stop`; or a program that it knows by another name: `flatpak kill APP`.
pub fn asks_daemon(process: &Process) -> bool {
    const VERBS: [&str; 6] = ["stop", "quit", "reload", "restart", "graceful", "graceful-stop"];
    let args = process.cmdline.as_deref().unwrap_or_default();
    let is_verb = |arg: &String| VERBS.contains(&arg.as_str());
    let by_option = |pair: &[String]| ["-s", "-k"].contains(&pair[0].as_str()) && is_verb(&pair[1]);
    // Others have `--reload` as an option of the daemon itself.
    let is_stop = |arg: &String| arg == "--stop";
    let comm = process.comm.as_deref();
    let is_client = comm == Some("pg_ctl");
    let mut words = args.iter().skip(1);
    let kills = comm == Some("flatpak") && words.clone().any(|arg| arg == "kill");
    kills
        || args.windows(2).any(by_option)
        || words.any(|arg| is_stop(arg) || is_client && is_verb(arg))
}

/// Whether it only runs another program.
pub fn is_wrapper(comm: &str) -> bool {
    const WRAPPERS: [&str; 9] =
        ["env", "nice", "nohup", "setsid", "xargs", "time", "timeout", "parallel", "chroot"];
    WRAPPERS.contains(&comm) || CHANGES_USER.contains(&comm)
}

/// Whether it runs as another user, most often root, what somebody asks it to: who may is written in its settings.
pub fn lends_rights(comm: &str) -> bool {
    ["sudo", "doas", "pkexec"].contains(&comm)
}

/// Whether a process runs another one as another user.
pub fn changes_user(process: &Process) -> bool {
    process.comm.as_deref().is_some_and(|comm| CHANGES_USER.contains(&comm))
}
