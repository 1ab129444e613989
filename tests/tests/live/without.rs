//! Machines that lack something: killtrace traces as well as it can and says what is missing, or refuses in
//! one sentence that says what to do; `doctor` says the same and how to get it.

mod cgroups;
mod rights;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{fs, io};

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, Death, KillerKind, Record};
use killtrace_tests::live::{Stage, keepsakes, kernel_release, program, require_root};
use serde_json::Value;

/// Where the kernel keeps its types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// A user without any rights of its own.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// What killtrace needs at least, for one who is not root.
const AMBIENT: [&str; 2] = ["--inh-caps=+bpf,+perfmon", "--ambient-caps=+bpf,+perfmon"];

/// Only cgroup v1, as systemd mounted it before v233.
const CGROUP_V1: &str = "umount -lR /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/systemd && \
                         mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd";

/// A command line in front of killtrace's, and what else is done to the process before.
#[derive(Default)]
struct Machine {
    wrapper: Vec<String>,
    /// Arguments for every run.
    arguments: Vec<String>,
    /// Error with which bpf(2) fails, and the only one of its commands that does.
    no_bpf: Option<(i32, Option<u64>)>,
    /// A copy of killtrace, which is run in its place.
    program: Option<PathBuf>,
}

impl Machine {
    fn of(wrapper: &[&str]) -> Self {
        Self { wrapper: wrapper.iter().map(|&word| word.to_owned()).collect(), ..Self::default() }
    }

    /// A mount namespace of its own, in which this has been done.
    fn mounts(script: &str) -> Self {
        Self::of(&["unshare", "-m", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"])
    }

    /// Within that, another wrapper.
    fn and(mut self, wrapper: &[&str]) -> Self {
        self.wrapper.extend(wrapper.iter().map(|&word| word.to_owned()));
        self
    }

    /// Beside a PID 1 that can be looked into: the machine's own cannot where the machine is a container itself.
    fn beside_init(mut self) -> Self {
        let init =
            ["unshare", "-pf", "--mount-proc", "sh", "-c", "\"$@\" || exit $?; exit 0", "sh"];
        self.wrapper.splice(0..0, init.map(str::to_owned));
        self
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        require_root();
        let killtrace = self.program.clone().unwrap_or_else(|| program("killtrace"));
        let mut words = self.wrapper.iter().map(String::as_str).collect::<Vec<_>>();
        let own = killtrace.to_str().expect("a path in UTF-8");
        words.push(own);
        words.extend(arguments.iter().take(1).filter(|first| **first == "doctor"));
        words.extend(self.arguments.iter().map(String::as_str));
        words.extend(arguments.iter().skip(usize::from(arguments.first() == Some(&"doctor"))));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        if let Some((error, only)) = self.no_bpf {
            let filter = bpf_fails_with(error, only);
            let apply = move || {
                seccompiler::apply_filter(&filter)
                    .map_err(|error| io::Error::other(error.to_string()))
            };
            // SAFETY: between fork and exec it makes two system calls with a filter made before.
            unsafe { command.pre_exec(apply) };
        }
        command.output().unwrap_or_else(|error| panic!("cannot start {words:?}: {error}"))
    }

    /// Nothing can be traced: there is one sentence with these words, and status 1; `doctor` has a row of that
    /// name that FAILS, with a remedy.
    fn refuses(&self, row: &str, words: &[&str]) {
        let output = self.run(&["--", "true"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty());
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("killtrace: "), "{said}");
        for word in words {
            assert!(said.contains(word), "no {word:?} in {said}");
        }
        let (rows, code) = self.doctor();
        assert_eq!(code, Some(1), "{rows:#?}");
        let found = rows.iter().find(|it| it["name"] == row && it["state"] == "fails");
        let remedy =
            found.unwrap_or_else(|| panic!("no {row} fails: {rows:#?}"))["remedy"].as_str();
        assert!(remedy.is_some_and(|remedy| !remedy.is_empty()), "{rows:#?}");
        assert_eq!(rows.last().map(|last| &last["works"]), Some(&Value::from(false)), "{rows:#?}");
    }

    /// The verdict is right all the same. What is missing is in these rows of `doctor`, each with its cost and
    /// its remedy. Returns what was said on standard error.
    fn traces(&self, missing: &[&str]) -> String {
        let output = self.run(&["--format", "json", "--", "/bin/sh", "-c", "kill -KILL $$; :"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(137), "{said}");
        assert!(said.starts_with("killtrace: tracing "), "{said}");
        let death = only_death(&output.stdout);
        assert_eq!(death.killer.kind, KillerKind::Itself, "{death:#?}");
        let mechanism = death.signal.as_ref().map(|signal| signal.mechanism);
        assert_eq!(mechanism, Some(Mechanism::Kill), "{death:#?}");
        let (rows, code) = self.doctor();
        assert_eq!(code, Some(0), "{rows:#?}");
        for name in missing {
            let row = rows.iter().find(|row| row["name"] == *name && row["state"] == "missing");
            let row = row.unwrap_or_else(|| panic!("no {name} is missing: {rows:#?}"));
            assert!(row["cost"].is_string() && row["remedy"].is_string(), "{row:#}");
        }
        said
    }

    /// The rows of `doctor`, and its exit status.
    fn doctor(&self) -> (Vec<Value>, Option<i32>) {
        self.doctor_with(&[])
    }

    /// The same with more arguments.
    fn doctor_with(&self, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
        let output = self.run(&[&["doctor", "--format", "json"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let mut rows = text.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
        });
        let header: Value = rows.next().expect("a first line");
        assert_eq!(header["type"], "header", "{header:#}");
        for name in ["version", "kernel", "arch"] {
            assert!(header[name].is_string(), "{header:#}");
        }
        let rows: Vec<Value> = rows.collect();
        for row in rows.iter().filter(|row| row["state"] == "works") {
            assert!(row["cost"].is_null() && row["remedy"].is_null(), "{row:#}");
        }
        (rows, output.status.code())
    }
}

fn deaths(report: &[u8]) -> Vec<Death> {
    let text = String::from_utf8_lossy(report);
    let records = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")));
    let deaths = records.filter_map(|record: Record| match record {
        Record::Death(death) => Some(*death),
        _ => None,
    });
    deaths.collect()
}

fn only_death(report: &[u8]) -> Death {
    let deaths = deaths(report);
    assert_eq!(deaths.len(), 1, "{}", String::from_utf8_lossy(report));
    deaths.into_iter().next().expect("one")
}

/// A filter under which bpf(2) fails: all of it, or one command.
fn bpf_fails_with(error: i32, only: Option<u64>) -> seccompiler::BpfProgram {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule,
    };
    let rule = |command| {
        let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command);
        SeccompRule::new(vec![is.expect("a condition")]).expect("a rule")
    };
    let rules = [(libc::SYS_bpf, only.map(rule).into_iter().collect())].into();
    let fails = SeccompAction::Errno(error.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let filter = seccompiler::SeccompFilter::new(rules, SeccompAction::Allow, fails, arch);
    filter.expect("a filter").try_into().expect("a program")
}

/// The running kernel's types with some names changed for others of the same length, in a file.
fn types_with(name: &str, changes: &[(&str, &str)]) -> PathBuf {
    let mut types = fs::read(TYPES).unwrap_or_else(|error| panic!("{TYPES}: {error}"));
    for (from, to) in changes {
        let wanted = [b"\0", from.as_bytes(), b"\0"].concat();
        let at = types.windows(wanted.len()).position(|bytes| bytes == wanted);
        let at = at.unwrap_or_else(|| panic!("the kernel has no {from}")) + 1;
        types[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    let path = keepsakes().join(name);
    fs::write(&path, types).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The kernel hides its types, as one built without them does.
fn without_types() -> Machine {
    Machine::mounts("mount -t tmpfs none /sys/kernel/btf")
}

#[test]
fn no_types() {
    without_types().refuses("BTF", &["CONFIG_DEBUG_INFO_BTF", "--btf FILE", "BTFHub"]);
}

#[test]
fn types_from_a_file() {
    let file = types_with("same.btf", &[]);
    without_types().with(&["--btf", text(&file)]).traces(&[]);
}

/// The section of a vmlinux.
#[test]
fn types_from_an_elf_file() {
    let types = fs::read(TYPES).unwrap_or_else(|error| panic!("{TYPES}: {error}"));
    let file = keepsakes().join("vmlinux");
    fs::write(&file, killtrace_tests::elf::with_section(".BTF", &types)).expect("written");
    without_types().with(&["--btf", text(&file)]).traces(&[]);
}

/// Another kernel's would be believed otherwise, and wrong names told.
#[test]
fn types_of_another_kernel() {
    let swapped =
        [("arg_start", "arg_stars"), ("env_start", "arg_start"), ("arg_stars", "env_start")];
    let file = types_with("foreign.btf", &swapped);
    Machine::default()
        .with(&["--btf", text(&file)])
        .refuses("BTF", &["does not describe the running"]);
    // Where who a process is would be read elsewhere, no target would ever be recognised.
    let moved = [("tgid", "tgie"), ("prio", "tgid"), ("tgie", "prio")];
    let file = types_with("foreign-pids.btf", &moved);
    Machine::default()
        .with(&["--btf", text(&file)])
        .refuses("BTF", &["does not describe the running"]);
}

#[test]
fn what_is_no_type_information() {
    let machine = |file| Machine::default().with(&["--btf", file]);
    machine("/etc/passwd").refuses("BTF", &["/etc/passwd", "vmlinux"]);
    machine("/bin/sh").refuses("BTF", &["no section .BTF"]);
    let missing = machine("/no/such/file").run(&["--", "true"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/file"));
}

/// A kernel built without auditing, as WSL's.
#[test]
fn a_kernel_without_optional_fields() {
    let file = types_with("no-audit.btf", &[("sessionid", "sessionie"), ("loginuid", "loginuie")]);
    Machine::default().with(&["--btf", text(&file)]).traces(&["kernel fields"]);
}

/// And one that has no such function to watch.
#[test]
fn a_kernel_without_an_optional_hook() {
    let function = "security_unix_stream_connect";
    let file = types_with("no-hook.btf", &[(function, "security_unix_stream_connecu")]);
    Machine::default().with(&["--btf", text(&file)]).traces(&[function]);
}

/// And one that is too old, or too new.
#[test]
fn a_kernel_without_required_fields() {
    let file = types_with("old.btf", &[("pdeath_signal", "pdeath_signam")]);
    let machine = Machine::default().with(&["--btf", text(&file)]);
    machine.refuses("BTF", &["pdeath_signal", "5.10"]);
}

/// Before 5.11 maps are locked memory, of which an ordinary user may have little; since then nobody asks, and a
/// container's root may not raise the limit.
const ROOMY: &str = "ulimit -l unlimited 2> /dev/null || :";

/// And a `/proc` that shows nobody but oneself.
#[test]
fn hidden_processes() {
    let hide = format!("{ROOMY}; mount -t proc -o hidepid=2 none /proc");
    let machine = Machine::mounts(&hide).and(&NOBODY).and(&AMBIENT);
    let said = machine.traces(&["processes"]);
    assert!(said.contains("hidepid"), "{said}");
    let shows = Machine::mounts(&format!("{hide}; mount -o remount,hidepid=0 /proc")).and(&NOBODY);
    let (rows, _) = shows.and(&AMBIENT).doctor();
    let row = rows.iter().find(|row| row["name"] == "processes").expect("a row");
    assert!(row["detail"].as_str().is_some_and(|why| !why.contains("hidepid")), "{row:#}");
    let stage = Stage::open("kill-term");
    let victim = stage.pid("victim").to_string();
    let refused = machine.run(&["-p", &victim]);
    drop(stage);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("hidepid") && said.contains(&victim), "{said}");
}

/// WSL2: a pid namespace of its own, a kernel without auditing, cgroup v1 beside a cgroup2 that nothing is in. What
/// cannot be had there is not told to be got.
#[test]
fn windows_subsystem_for_linux() {
    let types = types_with("wsl.btf", &[("sessionid", "sessionie"), ("loginuid", "loginuie")]);
    let script = format!(
        "mount -t proc proc /proc; {CGROUP_V1}; mkdir /sys/fs/cgroup/unified; \
         mount -t cgroup2 none /sys/fs/cgroup/unified; release=$(mktemp); \
         echo 6.6.87.2-microsoft-standard-WSL2 > \"$release\"; \
         mount --bind \"$release\" /proc/sys/kernel/osrelease; rm \"$release\""
    );
    let machine =
        Machine::of(&["unshare", "-mpf", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"])
            .with(&["--btf", text(&types)]);
    machine.traces(&["pid-namespace", "kernel fields"]);
    let (rows, _) = machine.doctor();
    for (name, word) in [("pid-namespace", "WSL2"), ("kernel fields", ".wslconfig")] {
        let row = rows.iter().find(|row| row["name"] == name).expect("a row");
        let remedy = row["remedy"].as_str().expect("what to do");
        assert!(remedy.contains(word) && !remedy.contains("--pid=host"), "{row:#}");
    }
}

#[test]
fn a_pid_namespace_of_its_own() {
    let said = Machine::of(&["unshare", "-pf", "--mount-proc"]).traces(&["pid-namespace"]);
    assert!(said.contains("this is a private pid namespace"), "{said}");
    let host = Machine::default().doctor().0;
    assert!(!host.iter().any(|row| row["name"] == "pid-namespace"), "{host:#?}");
}

/// strace takes the id of a thread for its process's as well.
#[test]
fn the_id_of_a_thread() {
    require_root();
    let sleeper = |sender: std::sync::mpsc::Sender<i32>| {
        // SAFETY: takes nothing.
        sender.send(unsafe { libc::gettid() }).expect("it is waited for");
        std::thread::sleep(std::time::Duration::from_secs(20));
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sleeper(sender));
    let thread = receiver.recv().expect("its id").to_string();
    let own = std::process::id();
    for way in ["-p", "--target"] {
        let output = Machine::default().run(&["--duration", "100ms", way, &thread]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let told = format!("{thread} is a thread of process {own}: tracing {own}\n");
        assert!(said.contains(&told) && said.contains(&format!("tracing {own}")), "{said}");
        assert!(!said.contains("waiting"), "{said}");
    }
}

/// Every program in the kernel is an open file. The soft limit is for others, and the command has it.
#[test]
fn few_open_files() {
    let machine = Machine::of(&["prlimit", "--nofile=40:40"]);
    machine.refuses("limits", &["hard limit of open files", "ulimit -n", "LimitNOFILE"]);
    let (rows, _) = machine.doctor();
    for name in ["capabilities", "BTF", "kallsyms", "journal"] {
        assert!(rows.iter().any(|row| row["name"] == name), "no {name}: {rows:#?}");
    }
    let soft = Machine::of(&["prlimit", "--nofile=40:4096"]);
    soft.traces(&[]);
    let output = soft.run(&["-q", "-o", "/dev/null", "--", "sh", "-c", "ulimit -Sn; ulimit -Hn"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "40\n4096\n");
}

/// For this user, as nobody; root has no such limit.
#[test]
fn no_thread() {
    let machine = Machine::of(&NOBODY).and(&AMBIENT).and(&["prlimit", "--nproc=1:1"]);
    machine.refuses("limits", &["no thread can be started", "ulimit -u", "--pids-limit"]);
}

/// The values of a map that each CPU has for itself are as many as the CPUs.
#[test]
fn no_sys() {
    let words = ["/sys is not mounted", "mount -t sysfs"];
    Machine::mounts("mount -t tmpfs none /sys").refuses("/sys", &words);
    let file = types_with("no-sys.btf", &[]);
    Machine::mounts("mount -t tmpfs none /sys/devices/system/cpu")
        .with(&["--btf", text(&file)])
        .refuses("/sys", &words);
}

/// Its clocks are ahead of the kernel's, and so is every start time that `/proc` shows there.
#[test]
fn a_time_namespace_of_its_own() {
    const AHEAD: [&str; 6] = ["unshare", "--time", "--boottime", "100000", "--monotonic", "5000"];
    Machine::of(&AHEAD).and(&["--fork"]).traces(&[]);
    let script = format!(
        "report=$(mktemp)\ntrap 'rm $report' EXIT\nsleep 1000 & victim=$!\n\
         {} --fork \"$@\" --duration 60s -p $victim > $report & tracer=$!\n\
         until grep -q '\"header\"' $report; do sleep 0.01; done\n\
         kill -TERM $victim; wait $tracer; cat $report; exit 0",
        AHEAD.join(" ")
    );
    let output = Machine::of(&["sh", "-ec", &script, "sh"]).run(&["--format", "json"]);
    let death = only_death(&output.stdout);
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    assert!(death.victim.cmdline.is_some(), "what /proc says of it is known: {death:#?}");
    let uptime = fs::read_to_string("/proc/uptime").expect("readable");
    let uptime: f64 = uptime.split(' ').next().and_then(|it| it.parse().ok()).expect("seconds");
    let ago = uptime - death.at.boot_ns as f64 / 1e9;
    assert!((0.0..600.0).contains(&ago), "times are the kernel's: {ago} s ago");
}

/// Its numbers are not those of `/proc`: everything would be said of other processes.
#[test]
fn proc_of_another_pid_namespace() {
    Machine::of(&["unshare", "-pf"]).refuses("/proc", &["another pid namespace", "mount -t proc"]);
}

#[test]
fn no_proc() {
    Machine::mounts("mount -t tmpfs none /proc")
        .refuses("/proc", &["not mounted", "mount -t proc"]);
}

/// The remedy in a row of `doctor`.
fn remedy_of(rows: &[Value], name: &str) -> String {
    let row = rows.iter().find(|row| row["name"] == name && row["state"] != "works");
    let remedy = row.and_then(|row| row["remedy"].as_str());
    remedy.unwrap_or_else(|| panic!("nothing to do about {name}: {rows:#?}")).to_owned()
}

/// A `/proc` of processes alone.
#[test]
fn only_processes_in_proc() {
    let machine = Machine::mounts("mount -t proc -o subset=pid none /proc");
    let said = machine.traces(&["kallsyms"]);
    assert!(said.contains("\nkilltrace: kallsyms: "), "{said}");
    // What only the kernel's functions tell is not told, and the verdict says why.
    let script = "unshare -pf sh -c 'sleep 60 & exec sleep 0.2'";
    let output = machine.run(&["--format", "json", "-q", "--", "/bin/sh", "-c", script]);
    let records = String::from_utf8_lossy(&output.stdout);
    let deaths = records.lines().filter_map(|line| match serde_json::from_str(line) {
        Ok(Record::Death(death)) => Some(*death),
        _ => None,
    });
    let death = deaths.into_iter().find(|death| death.killer.kind == KillerKind::Kernel);
    let death = death.unwrap_or_else(|| panic!("the kernel killed nobody: {records}"));
    assert_eq!(death.cause.id, CauseId::Unknown, "{death:#?}");
    assert!(death.gaps.iter().any(|gap| gap.contains("/proc/kallsyms")), "{:?}", death.gaps);
}

/// A container whose root may make no namespace, and a machine without terminals: nothing is wrong with verdicts there.
#[test]
fn what_the_machine_does_not_let_happen_is_not_tried() {
    let no_terminals = "mount -t tmpfs none /dev/pts";
    let machine = Machine::mounts(no_terminals).and(&["setpriv", "--bounding-set=-sys_admin"]);
    let output = machine.run(&["doctor", "--self-test"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for command in ["`unshare -pf true` fails", "`script -qec true /dev/null` fails"] {
        assert!(said.contains(&format!("not tried: {command}")), "no {command} in {said}");
    }
    assert!(said.contains("every verdict that could be tried is right"), "{said}");
}

/// A verdict that nobody could bring about is not wrong.
#[test]
fn nothing_to_test_with() {
    let machine = Machine::of(&["env", "PATH=/no/such/folder"]);
    let output = machine.run(&["doctor", "--self-test"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("not tried: there is no program sh"), "{said}");
    assert!(said.contains("no verdict could be tried") && !said.contains("FAILS"), "{said}");
}
