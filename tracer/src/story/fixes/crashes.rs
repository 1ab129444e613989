//! Remedies for crashes and for limits of resources.

use super::super::verdict::{DecidingSetting, Fix};
use super::{fix, quoted, remark};
use crate::evidence::base_name;

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
                Some('f') => file.push_str(base_name(self.program)),
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
    fix("look into the crash", commands, "shows where in the program it happened")
        .but("a core dump holds what was in its memory")
        .check("cat /proc/sys/kernel/core_pattern; ulimit -c")
        .see(see)
}

/// Whether what core dumps are handed to does nothing with them.
fn is_nothing(catcher: &str) -> bool {
    let program = catcher.split(' ').next().unwrap_or_default();
    program.is_empty() || matches!(base_name(program), "false" | "true" | "null")
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
    .but("what runs wild is no longer ended")
    .check(format!("prlimit --pid $$ --{option}"))
    .see("prlimit(1), setrlimit(2), systemd.exec(5)")
}

/// A higher limit of CPU time where there are two and nobody knows which one was reached: in all, and without a pause.
pub fn both_cpu_limits() -> Fix {
    let cpu = resource_limit("cpu", "both limits of CPU time", "LimitCPU");
    let lengthen = |line: String| {
        line.replace("--cpu=unlimited", "--cpu=unlimited --rttime=unlimited")
            .replace("LimitCPU=infinity", "LimitCPU=infinity and LimitRTTIME=infinity")
    };
    let commands = cpu.commands.iter().cloned().map(lengthen).collect();
    Fix { commands, ..cpu }.check("prlimit --pid $$ --cpu --rttime")
}

/// A limit that a command had set.
pub fn commanded_limit(command: &str) -> Fix {
    fix(
        "give it a higher limit, where that command is written",
        vec![remark(&format!("with a higher value, or without that limit: {command}"))],
        "it may use more, or as much as there is",
    )
    .but("what runs wild is ended later, or not at all")
    .check("prlimit --pid PID, with the process id of the next run")
    .see("prlimit(1), setrlimit(2)")
}

/// A limit that pam_limits(8) gives to the sessions of a user: these lines have it, soft and hard.
pub fn login_limit(lines: &[DecidingSetting], option: &str) -> Fix {
    let higher = |line: &DecidingSetting| {
        let place = line.place().unwrap_or_else(|| "/etc/security/limits.conf".to_owned());
        remark(&format!("in {place}: a higher value for \"{}\", or unlimited", line.name))
    };
    fix(
        "raise the limit that logins get",
        lines.iter().map(higher).collect(),
        "counts for the logins that begin after that",
    )
    .but("what runs wild in them is no longer ended")
    .check(format!("in a new login: prlimit --pid $$ --{option}"))
    .see("limits.conf(5), pam_limits(8)")
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
        .but("recursion without an end then takes all memory instead: look into the crash first; a thread whose stack the program gives no size then gets 2 MiB on x86-64 (pthread_create(3))");
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
    .but("each thread takes that much of the address space; recursion without an end only takes longer to crash")
    .check("ulimit -s")
    .see("pthread_create(3), bash(1)")
}

/// Huge pages, which the kernel keeps apart from other memory.
pub fn huge_pages() -> Fix {
    fix(
        "have more huge pages",
        vec![
            "grep -i huge /proc/meminfo".to_owned(),
            remark("where HugePages_Free is less than it needs, for N pages of Hugepagesize in all: sudo sysctl vm.nr_hugepages=N"),
            remark("where some are free, see the limit of its cgroup: hugetlb.*.max"),
        ],
        "N huge pages are there, until the machine is restarted; a line in /etc/sysctl.d keeps it so",
    )
    .but("that memory is for nothing else then; where memory is in use or in pieces, the kernel makes fewer than N")
    .check("grep HugePages /proc/meminfo")
    .see("sysctl(8), proc(5), mmap(2) MAP_HUGETLB, MAP_NORESERVE")
}

/// A program or library that was overwritten while it ran.
pub fn replace_file(path: &str) -> Fix {
    let path = quoted(path);
    fix(
        "put another file in its place rather than write into it",
        vec![remark(&format!("cp NEW {path}.new && mv {path}.new {path}"))],
        "what runs keeps the old file, and what is started after that has the new one",
    )
    .but("the old one takes its room until the last program that has it ends; hard links to it stay with the old")
    .check(format!("ls -i {path}"))
    .see("mv(1), install(1), rename(2)")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let both = both_cpu_limits();
        assert_eq!(both.commands[1], "sudo prlimit --pid $$ --cpu=unlimited --rttime=unlimited");
        assert!(both.commands[3].ends_with("LimitCPU=infinity and LimitRTTIME=infinity"));
        let [stack, space] = &stack_limits()[..] else { panic!("two limits") };
        assert!(stack.side_effect.is_some());
        assert_eq!(space.commands[0], "ulimit -v");
    }
}
