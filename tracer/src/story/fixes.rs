//! What to do about it: every remedy that is ever suggested, in one place.
//!
//! Remedies fit the case (real unit, user and signal names) and are never dangerous by default: none
//! kills, deletes or weakens security silently, and each says what else it brings about.

mod units;

use super::verdict::Fix;
use crate::evidence::{Container, Written};
pub use units::*;

/// Has logind read its configuration again.
const RELOAD_LOGIND: &str = "sudo systemctl kill -s HUP systemd-logind";

fn fix(title: &str, commands: Vec<String>, effect: &str) -> Fix {
    Fix {
        title: title.to_owned(),
        commands,
        effect: effect.to_owned(),
        side_effect: None,
        verify: None,
        reference: None,
    }
}

impl Fix {
    fn but(mut self, side_effect: &str) -> Self {
        self.side_effect = Some(side_effect.to_owned());
        self
    }

    fn check(mut self, verify: impl Into<String>) -> Self {
        self.verify = Some(verify.into());
        self
    }

    fn see(mut self, reference: &str) -> Self {
        self.reference = Some(reference.to_owned());
        self
    }
}

/// Quotes a word for the shell where it needs it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The last word of a command, which is no option even where it looks like one.
pub fn operand(word: &str) -> String {
    let dashes = if word.starts_with('-') { "-- " } else { "" };
    format!("{dashes}{}", quoted(word))
}

/// A remark for a reader, in one line whatever is in it: what came after it would be a command.
fn remark(text: &str) -> String {
    format!("# {}", text.replace(char::is_control, " "))
}

/// The commands that give a setting of logind's another value. Each has a file of its own: one remedy does not undo
/// another.
fn set_logind(name: &str, value: &str) -> Vec<String> {
    const DROP_INS: &str = "/etc/systemd/logind.conf.d";
    // A value can hold what printf(1) would read as an escape: `CORP\\alice`.
    let line = quoted(&format!("{name}={value}"));
    vec![
        format!("sudo mkdir -p {DROP_INS}"),
        format!("printf '%s\\n' '[Login]' {line} | sudo tee {DROP_INS}/zz-killtrace-{name}.conf"),
        RELOAD_LOGIND.to_owned(),
    ]
}

/// The command that shows what logind goes by.
fn show_logind(name: &str) -> String {
    let property = name.strip_suffix("Sec").map(|stem| format!("{stem}USec"));
    let property = property.as_deref().unwrap_or(name);
    format!(
        "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager {property}"
    )
}

/// Start it below the user's service manager, which outlives the sessions when lingering.
pub fn linger_and_scope(user: &str, program: &str) -> Fix {
    let user = quoted(user);
    fix(
        "start it outside the login session",
        vec![
            format!("loginctl enable-linger {user}"),
            format!("systemd-run --user --scope {}", operand(program)),
        ],
        "started so by the user, the program lives under the user's service manager, which lingering keeps running after logout",
    )
    .but("the user's service manager runs from boot on; lingering alone does not protect what runs in a session")
    .check(format!("loginctl show-user {user} -p Linger; systemd-cgls --user-unit"))
    .see("loginctl(1), systemd-run(1)")
}

/// A unit of the system's, which outlives the user's service manager.
pub fn system_unit_of_user(user: &str, program: &str) -> Fix {
    fix(
        "run it as a unit of the system's, under the user's name",
        vec![format!("sudo systemd-run --uid={} --unit=my-job {}", quoted(user), operand(program))],
        "it no longer depends on the user's service manager",
    )
    .but("it has none of the user's session around it: no session bus, no keyring, no XDG_RUNTIME_DIR")
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
pub fn keep_user_processes() -> Fix {
    fix(
        "let processes survive the logout, for every user",
        set_logind("KillUserProcesses", "no"),
        "logind leaves the processes of ended sessions alone (KillUserProcesses=no)",
    )
    .but("forgotten processes of every user stay, and their sessions remain in state \"closing\"; a file sorted after this one may still say otherwise")
    .check(show_logind("KillUserProcesses"))
    .see("logind.conf(5)")
}

/// What the files say by now takes effect.
pub fn reload_logind(name: &str, unread: &Written) -> Fix {
    fix(
        "have logind read the files that have changed",
        vec![RELOAD_LOGIND.to_owned()],
        &takes_effect(name, unread),
    )
    .check(show_logind(name))
    .see("logind.conf(5)")
}

/// `KillExcludeUsers=`
pub fn exclude_user(user: &str) -> Fix {
    fix(
        "let this user's processes survive the logout",
        set_logind("KillExcludeUsers", &format!("root {user}")),
        "logind leaves this user's processes alone; root stays listed since naming anybody drops the default",
    )
    .but("forgotten processes of this user stay")
    .see("logind.conf(5)")
}

/// What a device needs running is a service of its own.
pub fn udev_unit() -> Fix {
    fix(
        "have the device's rule start a service instead",
        vec![
            "grep -rns 'RUN' /etc/udev/rules.d /run/udev/rules.d /usr/lib/udev/rules.d".to_owned(),
            remark("in that rule, for a NAME.service of yours in place of RUN: TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"NAME.service\""),
            "sudo udevadm control --reload".to_owned(),
        ],
        "systemd runs it in a unit of its own, which outlives udev's work on the device",
    )
    .check("systemctl status NAME.service")
    .see("udev(7), systemd.device(5)")
}

/// `sacct -j 5`
pub fn look_at_slurm_job(id: &str) -> Fix {
    let id = quoted(id);
    fix(
        "see why the job ended, and give it more time if that was it",
        vec![
            format!("sacct -j {id} --format=JobID,State,ExitCode,Elapsed,Timelimit,Reason"),
            remark("for the next one: sbatch --time=HH:MM:SS, and --signal=B:TERM@60 to be warned a minute before"),
        ],
        "shows whether it was cancelled, ran out of time or failed",
    )
    .check(format!("scontrol show job {id}"))
    .see("sbatch(1), scancel(1), slurm.conf(5) KillWait")
}

/// `StopIdleSessionSec=infinity`
pub fn no_idle_stop() -> Fix {
    fix(
        "do not stop idle sessions",
        set_logind("StopIdleSessionSec", "infinity"),
        "sessions are never stopped for being idle",
    )
    .but("idle logins stay open; a security policy may demand the limit")
    .see("logind.conf(5)")
}

/// pam_systemd for sshd.
pub fn pam_systemd() -> Fix {
    fix(
        "give ssh logins a session of their own",
        vec![
            "sudo apt install libpam-systemd".to_owned(),
            "echo 'UsePAM yes' | sudo tee /etc/ssh/sshd_config.d/10-use-pam.conf".to_owned(),
        ],
        "pam_systemd moves each login into a session scope, which the end of the connection's unit does not touch",
    )
    .but("logind's rules apply to logins from then on, KillUserProcesses= among them; `session optional pam_systemd.so` has to be in the PAM stack of sshd (pam-auth-update adds it on Debian)")
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

/// Less memory pressure on the machine.
pub fn more_memory() -> Fix {
    fix(
        "find what uses the memory",
        vec!["ps -eo pid,user,rss,comm --sort=-rss | head".to_owned(), "free -h".to_owned()],
        "shows the largest processes; then limit them, or add memory or swap",
    )
    .see("the kernel's log at the time of the kill lists every process with its memory")
}

/// Detach from the terminal, by a multiplexer unless that was one's own.
pub fn detach(program: &str, was_multiplexer: bool) -> Fix {
    let program = quoted(program);
    let (commands, see) = if was_multiplexer {
        (vec![format!("setsid -f {program} …")], "setsid(1), nohup(1)")
    } else {
        let there = format!("there, start {program} again; or without tmux: setsid -f {program} …");
        (vec!["tmux new -s main".to_owned(), remark(&there)], "tmux(1), setsid(1), nohup(1)")
    };
    const EFFECT: &str = "it no longer gets SIGHUP when the terminal closes";
    fix("run it detached from the terminal", commands, EFFECT).see(see)
}

/// A command of an ssh login's that writes to a file instead.
pub fn output_to_file(program: &str) -> Fix {
    let program = quoted(program);
    fix(
        "have it write to a file rather than to the connection",
        vec![remark(&format!("nohup {program} … >output.log 2>&1 </dev/null &"))],
        "its output no longer has a reader that goes with the login",
    )
    .see("nohup(1)")
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
    .see("ssh_config(5), sshd_config(5)")
}

/// What a core dump is named by, and looked into with.
#[derive(Debug)]
pub struct Core<'a> {
    /// The program's file, or its name.
    pub program: &'a str,
    /// The name of its thread.
    pub comm: &'a str,
    /// Its pid, and that in its own pid namespace.
    pub pid: u32,
    pub ns_pid: u32,
    pub uid: Option<u32>,
    /// The signal's number.
    pub signal: Option<u8>,
    pub dumped: bool,
    /// `kernel.core_pattern`, where it is known.
    pub pattern: Option<&'a str>,
}

impl Core<'_> {
    /// The dump's file by a pattern (`format_corename` of `fs/coredump.c`), with `*` for what is not known here.
    fn file(&self, pattern: &str) -> String {
        let mut file = String::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                file.push(c);
                continue;
            }
            match rest.next() {
                None => {}
                Some('%') => file.push('%'),
                Some('p') => file.push_str(&self.ns_pid.to_string()),
                Some('P') => file.push_str(&self.pid.to_string()),
                Some('e') => file.push_str(&self.comm.replace('/', "!")),
                Some('E') if self.program.starts_with('/') => {
                    file.push_str(&self.program.replace('/', "!"));
                }
                Some('f') => file.push_str(self.program.rsplit('/').next().unwrap_or_default()),
                Some('u') if self.uid.is_some() => {
                    file.push_str(&self.uid.unwrap_or_default().to_string());
                }
                Some('s') if self.signal.is_some() => {
                    file.push_str(&self.signal.unwrap_or_default().to_string());
                }
                Some(_) => file.push('*'),
            }
        }
        file
    }
}

/// The core dump of a process to look into, or to have one the next time, by where this machine's kernel puts it
/// (`kernel.core_pattern`).
pub fn core_dump(core: &Core<'_>) -> Fix {
    let (name, pid) = (quoted(core.program), core.pid);
    let catcher = core.pattern.and_then(|pattern| pattern.strip_prefix('|')).map(str::trim);
    let (commands, see) = match (catcher, core.pattern) {
        (Some(catcher), _) if catcher.contains("systemd-coredump") => {
            (vec![format!("coredumpctl info {pid}")], "coredumpctl(1)")
        }
        (Some(catcher), _) if catcher.contains("apport") => {
            let unpack = format!("apport-unpack FILE DIRECTORY; gdb -c DIRECTORY/CoreDump {name}");
            (vec!["ls -t /var/crash".to_owned(), remark(&unpack)], "apport-unpack(1)")
        }
        (Some(catcher), _) if catcher.contains("abrt") => {
            (vec!["abrt-cli list".to_owned()], "abrt-cli(1)")
        }
        (Some(catcher), Some(pattern)) if is_nothing(catcher) => {
            return write_cores(&name, pattern);
        }
        (None, Some("")) => return write_cores(&name, ""),
        (Some(catcher), _) => {
            let told = format!("kernel.core_pattern hands core dumps to {catcher}: look there");
            (vec![remark(&told)], "core(5)")
        }
        (None, Some(pattern)) => {
            let place = if pattern.starts_with('/') { "" } else { ", in its working directory" };
            let file = if core.dumped { core.file(pattern) } else { pattern.to_owned() };
            let told = format!(
                "the dump is the file {file}{place} (kernel.core_pattern): gdb -c FILE {name}"
            );
            let again =
                format!("for one the next time, start {name} from the shell where this was run");
            let next = || vec!["ulimit -c unlimited".to_owned(), remark(&again), remark(&told)];
            (if core.dumped { vec![remark(&told)] } else { next() }, "core(5), bash(1)")
        }
        (None, None) => {
            let or = format!("or: ulimit -c unlimited; {name} …; gdb {name} core");
            (vec![format!("coredumpctl info {pid}"), remark(&or)], "coredumpctl(1), core(5)")
        }
    };
    fix("look into the crash", commands, "shows where in the program it happened").see(see)
}

/// Whether what core dumps are handed to does nothing with them.
fn is_nothing(catcher: &str) -> bool {
    let program = catcher.split(' ').next().unwrap_or_default();
    program.is_empty() || matches!(program.rsplit('/').next(), Some("false" | "true" | "null"))
}

/// Core dumps, where the machine is set up to throw them away.
fn write_cores(name: &str, pattern: &str) -> Fix {
    let now = format!("kernel.core_pattern is \"{pattern}\" now, which throws core dumps away");
    let again =
        format!("then start {name} from this shell, and look into the dump: gdb -c FILE {name}");
    fix(
        "have core dumps written, to look into the next crash",
        vec![
            remark(&now),
            "sudo sysctl -w kernel.core_pattern=core.%p".to_owned(),
            "ulimit -c unlimited".to_owned(),
            remark(&again),
        ],
        "the next crash leaves a file core.PID in the program's working directory, until the machine is restarted",
    )
    .but("a core dump holds what was in the program's memory, and can be large")
    .check("sysctl kernel.core_pattern; ulimit -c")
    .see("core(5), sysctl(8)")
}

/// A higher resource limit, the hard one with it, which `ulimit` could not raise.
pub fn resource_limit(option: &str, name: &str, property: &str) -> Fix {
    fix(
        &format!("raise {name}"),
        raise_limit(option, property),
        "the limit no longer applies to what is started from this shell",
    )
    .check(format!("prlimit --pid $$ --{option}"))
    .see("prlimit(1), setrlimit(2), systemd.exec(5)")
}

fn raise_limit(option: &str, property: &str) -> Vec<String> {
    vec![
        "# in the shell that starts the program; a script below it that sets the limit itself (ulimit) is to be changed instead"
            .to_owned(),
        format!("sudo prlimit --pid $$ --{option}=unlimited"),
        "# where that is not permitted, as in many containers, only whoever starts the container can raise it"
            .to_owned(),
        format!("# in a unit: {property}=infinity"),
    ]
}

/// Room for a stack that grows: its own limit, and that of the whole address space, which stops it from growing as well.
pub fn stack_limits() -> Vec<Fix> {
    let stack = resource_limit("stack", "the stack size limit", "LimitSTACK")
        .but("a thread whose stack the program gives no size then gets 2 MiB on x86-64 (pthread_create(3))");
    let space = resource_limit("as", "the address space limit, where there is one", "LimitAS");
    let mut commands = vec![
        "ulimit -v".to_owned(),
        "# go on only where that shows a number: there is no such limit otherwise".to_owned(),
    ];
    commands.extend(space.commands);
    vec![stack, Fix { commands, ..space }]
}

/// Room for a thread's stack, which has its size from the start.
pub fn thread_stack() -> Fix {
    fix(
        "give its threads a larger stack",
        vec![
            "ulimit -s 65536".to_owned(),
            "# in a unit: LimitSTACK=64M".to_owned(),
            "# where the program gives the size itself: pthread_attr_setstacksize(3), java -Xss64m, RUST_MIN_STACK=67108864"
                .to_owned(),
        ],
        "threads whose stack the program gives no size get 64 MiB each, in what is started from this shell",
    )
    .see("pthread_create(3), bash(1)")
}

/// A longer grace period of a container, or an init that ends on SIGTERM.
pub fn container_grace(container: &Container) -> Fix {
    const EFFECT: &str = "SIGKILL follows later, or is not needed: process 1 of a container ignores SIGTERM unless it handles it";
    let title = "give the container more time, or an init that handles SIGTERM";
    let name = quoted(container.name.as_deref().unwrap_or(&container.id));
    let runtime = container.runtime.as_str();
    if let Some(pod) = &container.pod {
        let namespace = container.namespace.as_ref().map(|it| format!(" -n {}", quoted(it)));
        return fix(
            title,
            vec![
                "# in the pod's template, spec:  terminationGracePeriodSeconds: 120".to_owned(),
                "# in its image, have the program be process 1 itself (exec form) or start it by tini".to_owned(),
            ],
            EFFECT,
        )
        .but("deleting the pod and rolling out a new version may take that long")
        .check(format!(
            "kubectl get pod {}{} -o jsonpath='{{.spec.terminationGracePeriodSeconds}}'",
            quoted(pod),
            namespace.unwrap_or_default()
        ))
        .see("the Kubernetes documentation on the termination of pods");
    }
    let commands = match runtime {
        "docker" | "podman" => vec![
            format!("{runtime} stop -t 60 {name}"),
            format!("# for good: {runtime} run --stop-timeout 60 --init …, or in a compose file: stop_grace_period: 60s"),
        ],
        _ => vec!["# start it with a small init (tini, --init), and have what stops it wait longer before it kills".to_owned()],
    };
    fix(title, commands, EFFECT)
        .but("stopping the container may take that long")
        .see("docker-stop(1), podman-stop(1), systemd.service(5) for TimeoutStopSec= of a unit around it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_word_whatever_it_holds() {
        for user in [r"CORP\alice", "it's", "a$(reboot)", "a\nb"] {
            let fix = exclude_user(user);
            let script = fix.commands[1].replace("| sudo tee", "| cat -; : >/dev/null");
            let output = std::process::Command::new("sh").args(["-c", &script]).output();
            let told = String::from_utf8(output.expect("sh").stdout).expect("UTF-8");
            assert_eq!(told, format!("[Login]\nKillExcludeUsers=root {user}\n"), "{script}");
        }
    }

    #[test]
    fn cores_are_where_the_kernel_puts_them() {
        let fix = |dumped, pattern| {
            core_dump(&Core {
                program: "/opt/a b",
                comm: "worker",
                pid: 70,
                ns_pid: 7,
                uid: Some(1000),
                signal: Some(11),
                dumped,
                pattern: Some(pattern),
            })
        };
        let commands = |dumped, pattern| fix(dumped, pattern).commands;
        let systemd = "|/lib/systemd/systemd-coredump %P %u %g %s %t 9223372036854775808 %h";
        assert_eq!(commands(true, systemd), ["coredumpctl info 70"]);
        assert_eq!(commands(true, "|/usr/share/apport/apport -p%p")[0], "ls -t /var/crash");
        assert_eq!(commands(false, "core")[0], "ulimit -c unlimited");
        let file = "/cores/worker.7.70.1000.11.!opt!a b.*.50%";
        let told =
            format!("# the dump is the file {file} (kernel.core_pattern): gdb -c FILE '/opt/a b'");
        assert_eq!(commands(true, "/cores/%e.%p.%P.%u.%s.%E.%t.50%%"), [told]);
        for nothing in ["", "|", "|/bin/false", "| /usr/bin/true %p"] {
            let fix = fix(false, nothing);
            assert_eq!(fix.commands[1], "sudo sysctl -w kernel.core_pattern=core.%p");
            assert!(fix.effect.contains("the next crash leaves a file"), "{fix:?}");
        }
        assert!(commands(true, "|/opt/catch %p")[0].ends_with("to /opt/catch %p: look there"));
    }

    #[test]
    fn a_limit_is_raised_as_a_whole_and_in_this_shell() {
        let fix = resource_limit("cpu", "the CPU time limit", "LimitCPU");
        assert_eq!(fix.commands[1], "sudo prlimit --pid $$ --cpu=unlimited");
        let [stack, space] = &stack_limits()[..] else { panic!("two limits") };
        assert!(stack.side_effect.is_some());
        assert_eq!(space.commands[0], "ulimit -v");
        assert!(!detach("sleep", true).commands[0].contains("tmux"));
        assert!(detach("sleep", false).commands[0].contains("tmux"));
    }

    #[test]
    fn a_remark_has_one_line() {
        assert_eq!(remark("write Wants=a\nreboot"), "# write Wants=a reboot");
    }
}
