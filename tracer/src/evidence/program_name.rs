//! Whether a process goes by the name of the program that it runs: it can call itself anything.

use super::{Process, base_name, is_comm_of, set_off};

/// Programs that go by the name that they are started by, and so have many. Of some that is the beginning.
const OF_MANY_NAMES: [&str; 13] = [
    "busybox",
    "toybox",
    "coreutils",
    "systemctl",
    "udevadm",
    "resolvectl",
    "kmod",
    "lvm",
    "xtables-",
    "ip6tables-",
    // These run programs of another machine's kind, or by hand, which then go by their own names.
    "qemu-",
    "box64",
    "wine",
];

/// Other names of programs that are no part of theirs, as links have them: how the name and the program begin.
const LINKS: [(&str, &str); 12] = [
    ("init", "systemd"),
    ("mysql", "mariadb"),
    ("postmaster", "postgres"),
    ("httpd", "apache"),
    ("sendmail", "exim"),
    ("mkfs", "mke2fs"),
    ("fsck", "e2fsck"),
    ("pgrep", "pkill"),
    ("pidof", "killall5"),
    ("editor", "nano"),
    ("c++", "g++"),
    ("kvm", "qemu"),
];

impl Process {
    /// Its name and process id: `tmux: server[2041]`.
    #[must_use]
    pub fn name_pid(&self) -> String {
        let name = set_off(self.name().unwrap_or("?"));
        match self.pid {
            0 => format!("{name}[pid outside this namespace]"),
            pid => format!("{name}[{pid}]"),
        }
    }

    /// The program that it really runs, where it goes by a name that neither this nor a script that this was given has.
    /// `None` also where that is in doubt: a deleted program, one that was started by a file descriptor, an unknown one. It is a
    /// help against mistakes and no protection: a program can be given any name, and can write over its command line.
    #[must_use]
    pub fn really(&self) -> Option<&str> {
        let exe = self.exe.as_deref()?;
        let program = base_name(exe);
        let is_doubtful = program.is_empty()
            || exe.ends_with(" (deleted)")
            || ["/memfd:", "/dev/fd/", "/proc/"].iter().any(|place| exe.starts_with(place))
            || self.pid == 1;
        let name = self.name().filter(|_| !is_doubtful)?;
        // `#!` lets an interpreter have one option before the script.
        let mut given = self.cmdline.iter().flatten().skip(1);
        let script = given.find(|word| !word.starts_with('-'));
        let is_script = script.is_some_and(|script| is_named_by(name, base_name(script)));
        (!is_script && !fits(name, program)).then_some(exe)
    }
}

/// Whether a name is that of a script, which may be cut short.
fn is_named_by(name: &str, script: &str) -> bool {
    name == script || is_comm_of(name, script)
}

/// Whether a process that runs this program, by its file's name, may honestly have this name, or this as the first word that
/// it shows: the program's, a part of it or longer by something (`php-fpm: pool www` of `php-fpm8.2`, `-bash`, `python3` of
/// `python3.11`, `sh` of `dash`), or one of those that links to it have.
#[must_use]
pub fn fits(name: &str, program: &str) -> bool {
    /// How long a part of a program's name has to be to say something: `sh` does, a letter does not; and how long a
    /// program's name, as a part of another.
    const LEAST: usize = 2;
    const LEAST_WHOLE: usize = 3;
    let program = program.to_lowercase();
    if OF_MANY_NAMES.iter().any(|many| program.starts_with(many)) {
        return true;
    }
    // What systemd and udev fork calls itself so until it executes something: `(sd-pam)`, `(udev-worker)`.
    if name.starts_with('(') && name.ends_with(')') && program.starts_with("systemd") {
        return true;
    }
    let is_end = |c: char| c.is_whitespace() || ":[(".contains(c);
    let name = name.trim_start_matches(['-', '[', '(']).trim_start().to_lowercase();
    let word = name.split(is_end).next().unwrap_or_default();
    let word = word.trim_end_matches([']', ')']);
    // Nothing that could be taken for a program's.
    if !word.contains(char::is_alphanumeric) {
        return true;
    }
    let is_link = LINKS.iter().any(|(link, of)| word.starts_with(link) && program.starts_with(of));
    let is_part = |part: &str, of: &str, least: usize| {
        part.len() >= least && part.contains(char::is_alphabetic) && of.contains(part)
    };
    word == program
        || is_part(word, &program, LEAST)
        || is_part(&program, word, LEAST_WHOLE)
        || is_link
}

#[cfg(test)]
mod tests {
    use super::*;

    fn really(comm: &str, exe: &str, line: &[&str]) -> Option<String> {
        let process = Process {
            pid: 4242,
            comm: Some(comm.to_owned()),
            exe: Some(exe.to_owned()).filter(|exe| !exe.is_empty()),
            cmdline: Some(line.iter().map(|&word| word.to_owned()).collect()),
            ..Process::default()
        };
        process.really().map(str::to_owned)
    }

    #[test]
    fn a_name_of_its_own_making_is_no_program_s() {
        let perl = "/usr/bin/perl";
        for (comm, exe, line) in [
            // `$0 = …` writes over both.
            ("systemd[1]", perl, &["systemd[1]", "", ""][..]),
            ("systemd", perl, &["/lib/systemd/systemd --system"]),
            ("sshd", perl, &["sshd: alice@pts/0"]),
            ("(sd-pam)", perl, &["(sd-pam)"]),
            // What a script or a program is told is not its name.
            ("systemd", perl, &["perl", "x.pl", "systemd"]),
            ("systemd", perl, &["perl", "-w", "x.pl", "/lib/systemd/systemd"]),
            ("systemd", "/usr/lib64/ld-linux-x86-64.so.2", &["ld.so", "/tmp/miner"]),
            // Written to /proc/self/comm.
            ("systemd", "/usr/bin/bash", &["bash", "x.sh"]),
            ("gunicorn", "/usr/bin/python3.11", &["gunicorn: master [app]"]),
            ("MainThread", "/usr/bin/node", &["node", "/srv/app.js"]),
            // As the kernel saw it executed.
            ("kworker/0:1", "/home/a/miner", &["miner"]),
            // No more than a letter and a version of it.
            ("p", perl, &["p"]),
            ("11", "/usr/bin/python3.11", &["11"]),
            ("sshd", "/tmp/sh", &["sshd"]),
        ] {
            assert_eq!(really(comm, exe, line).as_deref(), Some(exe), "{comm}");
        }
    }

    #[test]
    fn an_honest_name_fits() {
        for (comm, exe, line) in [
            ("systemd", "/usr/lib/systemd/systemd", &["/usr/lib/systemd/systemd", "--user"][..]),
            ("init", "/lib/systemd/systemd", &["/sbin/init"]),
            ("(sd-pam)", "/usr/lib/systemd/systemd", &["(sd-pam)"]),
            ("(web)", "/usr/lib/systemd/systemd-executor", &["(web)"]),
            ("(udev-worker)", "/usr/bin/udevadm", &["(udev-worker)"]),
            ("systemd-udevd", "/usr/bin/udevadm", &["/lib/systemd/systemd-udevd"]),
            ("reboot", "/usr/bin/systemctl", &["reboot"]),
            ("sh", "/usr/bin/dash", &["/bin/sh", "-c", "x"]),
            ("bash", "/usr/bin/bash", &["-bash"]),
            ("python3", "/usr/bin/python3.11", &["python3", "-m", "http.server"]),
            ("job.py", "/usr/bin/python3.11", &["/usr/bin/python3", "-u", "/srv/job.py"]),
            ("unattended-upgr", "/usr/bin/python3.11", &["python3", "/x/unattended-upgrades"]),
            ("rules.nft", "/usr/sbin/nft", &["/usr/sbin/nft", "-f", "/etc/rules.nft", "x"]),
            ("sleep", "/usr/lib/ld-musl-x86_64.so.1", &["ld.so", "--preload", "/bin/sleep", "5"]),
            ("ld-linux-x86-64", "/usr/lib64/ld-linux-x86-64.so.2", &["ld.so", "/bin/sleep"]),
            ("sleep", "/bin/busybox", &["sleep", "5"]),
            ("tmux: server", "/usr/bin/tmux", &["tmux", "new"]),
            ("php-fpm8.2", "/usr/sbin/php-fpm8.2", &["php-fpm: pool www"]),
            ("php-fpm: pool", "/usr/sbin/php-fpm8.2", &["php-fpm: pool www"]),
            ("nginx", "/usr/sbin/nginx", &["nginx: worker process"]),
            ("postgres", "/usr/lib/postgresql/15/bin/postgres", &["postgres: walwriter "]),
            ("sshd", "/usr/sbin/sshd", &["sshd: alice [priv]"]),
            ("sshd-session", "/usr/lib/openssh/sshd-session", &["sshd-session: alice@pts/0"]),
            ("runc:[2:INIT]", "/usr/sbin/runc", &["runc", "init"]),
            ("CRON", "/usr/sbin/cron", &["/usr/sbin/CRON", "-f"]),
            ("awk", "/usr/bin/mawk", &["awk", "1"]),
            ("containerd-shim", "/usr/bin/containerd-shim-runc-v2", &["x"]),
            ("mysqld", "/usr/sbin/mariadbd", &["/usr/sbin/mysqld"]),
            ("iptables", "/usr/sbin/xtables-nft-multi", &["iptables", "-L"]),
            ("R", "/usr/lib/R/bin/exec/R", &["R"]),
            ("nodejs", "/usr/bin/node", &["nodejs"]),
        ] {
            assert_eq!(really(comm, exe, line), None, "{comm}");
        }
    }

    #[test]
    fn in_doubt_nothing_is_said() {
        for exe in ["", "/usr/bin/perl (deleted)", "/memfd:x", "/dev/fd/6", "/proc/self/exe"] {
            assert_eq!(really("systemd", exe, &["systemd"]), None, "{exe}");
        }
        assert_eq!(really("[]", "/usr/bin/perl", &["[]"]), None);
        let kernels = Process { pid: 2, comm: Some("kthreadd".into()), ..Process::default() };
        assert_eq!(kernels.really(), None);
    }
}
