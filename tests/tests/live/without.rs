//! Machines that lack something: killtrace traces as well as it can and says what is missing, or refuses in
//! one sentence that says what to do; `doctor` says the same and how to get it.

use std::os::unix::fs::PermissionsExt as _;
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

#[test]
fn a_user_namespace() {
    Machine::of(&["unshare", "-Ur"]).refuses("capabilities", &["user namespace", "on the host"]);
}

#[test]
fn no_capabilities() {
    let words = ["CAP_BPF and CAP_PERFMON", "sudo", "setcap"];
    Machine::of(&NOBODY).refuses("capabilities", &words);
    let root = Machine::of(&["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
    root.refuses("capabilities", &["container", "--privileged"]);
}

/// Before 5.11 maps are locked memory, of which an ordinary user may have little; since then nobody asks, and a
/// container's root may not raise the limit.
const ROOMY: &str = "ulimit -l unlimited 2> /dev/null || :";

/// The two capabilities without root.
#[test]
fn two_capabilities() {
    let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&AMBIENT);
    let said =
        machine.traces(&["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG", "root", "bus"]);
    assert!(said.contains("not all is seen here") && said.contains("CAP_SYS_PTRACE"), "{said}");
    assert!(said.contains("\nkilltrace: kallsyms: without CAP_SYSLOG"), "{said}");
    // What is missing has a line each, and none is a page.
    assert!(said.lines().all(|line| line.len() < 160) && !said.contains("setcap"), "{said}");
}

/// The usual limits before systemd 240, and of a login today: since 5.11 nobody asks. Before, killtrace raises the soft
/// limit itself as far as it may, and what it says to do where that is not enough works.
#[test]
fn little_locked_memory() {
    let limited = |limit: &str| Machine::of(&["prlimit", &format!("--memlock={limit}")]);
    let counts = kernel_release() < (5, 11);
    for limit in ["65536:65536", "8388608:8388608"] {
        let machine = limited(limit).and(&NOBODY).and(&AMBIENT);
        if counts {
            let size = if limit.starts_with('6') { "64 KiB" } else { "8192 KiB" };
            let remedies =
                ["sudo prlimit --pid $$ --memlock=unlimited", "cap_sys_resource=ep", "16 MiB"];
            machine.refuses("locked memory", &[&[size], remedies.as_slice()].concat());
        } else {
            machine.traces(&[]);
        }
    }
    // A container's root, who may not raise it.
    let root = limited("65536:65536").and(&["setpriv", "--bounding-set=-sys_resource"]);
    if !counts {
        root.traces(&[]);
        return;
    }
    root.refuses("locked memory", &["64 KiB", "--ulimit memlock=-1", "LimitMEMLOCK=infinity"]);
    limited("65536:16777216").and(&NOBODY).and(&AMBIENT).traces(&[]);
    // The remedies.
    let script = "prlimit --pid $$ --memlock=unlimited; exec \"$@\"";
    limited("65536:65536").and(&["sh", "-ec", script, "sh"]).and(&NOBODY).and(&AMBIENT).traces(&[]);
    let resource =
        ["--inh-caps=+bpf,+perfmon,+sys_resource", "--ambient-caps=+bpf,+perfmon,+sys_resource"];
    limited("65536:65536").and(&NOBODY).and(&resource).traces(&[]);
}

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

/// One who may trace may not be allowed to become another user.
#[test]
fn a_user_whom_nobody_cannot_become() {
    let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&AMBIENT);
    let refused = machine.run(&["-u", "root", "--", "id"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot run id as another user"), "{said}");
}

/// Whoever was lent capabilities for tracing reads no more files with them than before.
#[test]
fn a_recording_that_is_another_users() {
    const READS_ALL: [&str; 2] = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("evidence.jsonl");
    fs::write(&file, include_str!("../../cases/kill-term/evidence.jsonl")).expect("a recording");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("root's alone");
    let path = file.to_str().expect("a path in UTF-8");
    let machine = Machine::of(&NOBODY).and(&READS_ALL);
    let mut reads = Command::new(NOBODY[0]);
    reads.args(&NOBODY[1..]).args(READS_ALL).args(["cat", path]);
    assert!(reads.output().expect("setpriv runs").status.success(), "the capability has its use");
    let refused = machine.run(&["replay", path]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}

/// Nor a file of types, nor what there is in a folder that is closed to them.
#[test]
fn types_that_are_another_users() {
    const LENT: [&str; 2] = [
        "--inh-caps=+bpf,+perfmon,+dac_read_search",
        "--ambient-caps=+bpf,+perfmon,+dac_read_search",
    ];
    let place = tempfile::tempdir().expect("a directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("root's alone");
    for name in ["types", "no-such-file"] {
        fs::write(place.path().join("types"), "secret").expect("written");
        let path = place.path().join(name);
        let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&LENT);
        machine.with(&["--btf", text(&path)]).refuses("BTF", &["Permission denied"]);
    }
    for name in ["report", "no-such-folder/report"] {
        let machine = Machine::mounts(ROOMY).and(&NOBODY).and(&LENT);
        let refused = machine.run(&["-o", text(&place.path().join(name)), "--", "true"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("Permission denied"), "{said}");
    }
}

/// Rights that belong to the program's file (setcap(8)), as is said to who has none; its command has none of them.
#[test]
fn rights_of_the_file() {
    // Where everybody may look: the place of the programs.
    let place = tempfile::tempdir_in(keepsakes()).expect("a directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("everybody's");
    let copy = place.path().join("killtrace");
    let copied = Command::new("cp").arg(program("killtrace")).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy of killtrace");
    let machine = |before: Machine| Machine { program: Some(copy.clone()), ..before.and(&NOBODY) };
    let refused = machine(Machine::mounts(ROOMY)).run(&["--", "true"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    let remedy = format!(
        "sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog=ep {}",
        text(&copy)
    );
    assert!(said.contains(&remedy) || kernel_release() < (5, 11), "{said}");
    give_rights(&copy);
    machine(Machine::mounts(ROOMY)).traces(&["root", "bus"]);
    let status = machine(Machine::mounts(ROOMY)).run(&[
        "-q",
        "-o",
        "/dev/null",
        "--",
        "cat",
        "/proc/self/status",
    ]);
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    let (rows, code) = machine(Machine::mounts(ROOMY)).doctor_with(&["--self-test"]);
    assert_eq!(code, Some(0), "{rows:#?}");
    let remedy = remedy_of(&rows, "died with the init of its pid namespace");
    assert!(!remedy.contains("setcap"), "what unshare(1) takes is not among them: {remedy}");
    let words = ["which do not count here", "no_new_privs"];
    let refusing = machine(Machine::default()).and(&["setpriv", "--no-new-privs"]);
    refusing.refuses("capabilities", &words);
    let nosuid =
        format!("mount --bind {0} {0}; mount -o remount,bind,nosuid {0}", text(place.path()));
    let words = ["nosuid forbids that", "=ep /usr/local/bin/killtrace"];
    machine(Machine::mounts(&nosuid)).refuses("capabilities", &words);
}

/// As setcap(8) gives `cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog=ep` (`struct vfs_cap_data` of
/// `linux/capability.h`).
fn give_rights(file: &Path) {
    let set: u64 = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 2 | 1 << 34;
    let [low, high] = [set & u64::from(u32::MAX), set >> 32].map(|half| half as u32);
    // The second revision, with the effective bit.
    let rights = [0x0200_0001, low, 0, high, 0].map(u32::to_le_bytes).concat();
    let path = std::ffi::CString::new(text(file)).expect("a path");
    let name = c"security.capability".as_ptr();
    // SAFETY: the names are C strings, and `rights` has as many bytes as is said.
    let set =
        unsafe { libc::setxattr(path.as_ptr(), name, rights.as_ptr().cast(), rights.len(), 0) };
    assert_eq!(set, 0, "{}: {}", file.display(), io::Error::last_os_error());
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

/// Only cgroup v1, as systemd mounted it before v233.
const CGROUP_V1: &str = "umount -lR /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/systemd && \
                         mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd";

#[test]
fn no_cgroup2() {
    let script = CGROUP_V1;
    Machine::mounts(script).traces(&["cgroup2"]);
    // A cgroup there is a target as well.
    let name = format!("killtrace-v1-{}", std::process::id());
    let folder = format!("/sys/fs/cgroup/systemd/{name}");
    let script = format!(
        "{script}\nreport=$(mktemp)\nmkdir {folder}\ntrap 'rmdir {folder}; rm $report' EXIT\n\
         (echo 0 > {folder}/cgroup.procs; exec sleep 1000) & victim=$!\n\
         until grep -q . {folder}/cgroup.procs; do sleep 0.01; done\n\
         \"$@\" --once --duration 60s --target cgroup:/{name} > $report & tracer=$!\n\
         until grep -q '\"header\"' $report; do sleep 0.01; done\n\
         kill -TERM $victim; wait $tracer; cat $report; exit 0"
    );
    let output = Machine::mounts(&script).run(&["--format", "json"]);
    let death = only_death(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(death.victim.cgroup, Some(format!("/{name}")), "{said}\n{death:#?}");
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

/// Somebody mounted cgroup2 where the units are in cgroup v1: nobody is anywhere but at its top.
#[test]
fn a_cgroup2_that_nothing_is_in() {
    let slice = format!("killtrace{}.slice", std::process::id());
    let folder = format!("/sys/fs/cgroup/systemd/{slice}/napper.service");
    let script = format!(
        "{CGROUP_V1}\nmkdir /sys/fs/cgroup/unified\nmount -t cgroup2 none /sys/fs/cgroup/unified\n\
         report=$(mktemp)\nmkdir -p {folder}\ntrap 'rmdir {folder} ${{folder%/*}}; rm $report' EXIT\nfolder={folder}\n\
         (echo 0 > {folder}/cgroup.procs; exec sleep 1000) & victim=$!\n\
         until grep -q . {folder}/cgroup.procs; do sleep 0.01; done\n\
         \"$@\" --once --duration 60s -p $victim > $report & tracer=$!\n\
         until grep -q '\"header\"' $report; do sleep 0.01; done\n\
         kill -TERM $victim; wait $tracer; cat $report; exit 0"
    );
    let output = Machine::mounts(&script).run(&["--format", "json"]);
    let death = only_death(&output.stdout);
    assert_eq!(death.victim.unit.as_deref(), Some("napper.service"), "{death:#?}");
    assert_eq!(death.victim.slice.as_deref(), Some(slice.as_str()), "{death:#?}");
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

#[test]
fn no_cgroups_at_all() {
    let machine = Machine::mounts("umount -lR /sys/fs/cgroup");
    machine.traces(&["cgroup2"]);
    let waits = machine.run(&["--duration", "100ms", "--target", "cgroup:/no-such-cgroup"]);
    let said = String::from_utf8_lossy(&waits.stderr);
    assert!(said.contains("cgroup2 is not to be seen"), "{said}");
}

/// It is in the list of mounts all the same. What hides it may be mounted above it, and is found.
#[test]
fn a_hidden_cgroup2() {
    let point = "$(findmnt -n -t cgroup2 -o TARGET | head -n 1)";
    for hide in
        [format!("mount -t tmpfs none \"{point}\""), "mount -t tmpfs none /sys/fs".to_owned()]
    {
        let hidden = Machine::mounts(&hide);
        hidden.traces(&["cgroup2"]);
        let remedy = remedy_of(&hidden.doctor().0, "cgroup2");
        let healed = Machine::mounts(&format!("{hide}\n{remedy}")).doctor().0;
        assert!(
            healed.iter().any(|row| row["name"] == "cgroup2" && row["state"] == "works"),
            "{remedy}"
        );
    }
}

/// The remedy in a row of `doctor`.
fn remedy_of(rows: &[Value], name: &str) -> String {
    let row = rows.iter().find(|row| row["name"] == name && row["state"] != "works");
    let remedy = row.and_then(|row| row["remedy"].as_str());
    remedy.unwrap_or_else(|| panic!("nothing to do about {name}: {rows:#?}")).to_owned()
}

/// As docker and podman give one to a container: a cgroup2 of its own, in which PID 1's cgroups are not. `name`: of the
/// cgroup that is the top there; `and`: what else is done inside.
fn cgroup_namespace(name: &str, and: &str) -> Machine {
    let script = format!(
        "point=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)\nown=$point/{name}-{}\nmkdir $own\n\
         trap 'rmdir $own' EXIT\nexport point\n\
         (echo 0 > $own/cgroup.procs; exec unshare -mC sh -ec 'umount -l $point; mount -t cgroup2 none $point; {and}\n\
         exec \"$@\"' sh \"$@\") || exit $?\nexit 0",
        std::process::id()
    );
    Machine::of(&["sh", "-ec", &script, "sh"])
}

#[test]
fn a_cgroup_namespace_of_its_own() {
    let machine = cgroup_namespace("killtrace-own", ":").beside_init();
    let said = machine.traces(&["cgroup2"]);
    assert!(said.contains("cgroup2: this is a private cgroup namespace"), "{said}");
    let remedy = remedy_of(&machine.doctor().0, "cgroup2");
    assert!(remedy.contains("nsenter -t 1 -m -C "), "{remedy}");
    let heal = "exec nsenter -t 1 -m -C \"$@\"";
    let healed = cgroup_namespace("killtrace-healed", heal).beside_init().doctor().0;
    let works = |row: &Value| row["name"] == "cgroup2" && row["state"] == "works";
    assert!(healed.iter().any(works), "{healed:#?}");
    let waits = machine.run(&["--duration", "100ms", "--target", "cgroup:/no-such-cgroup"]);
    let said = String::from_utf8_lossy(&waits.stderr);
    assert!(said.contains("cgroup2 is not to be seen"), "{said}");
}

/// Who was in a unit before is told so; of who comes later no unit is told, rather than one that is not true.
#[test]
fn units_outside_of_a_cgroup_namespace() {
    let slice = format!("killtrace{}.slice", std::process::id());
    let inside = cgroup_namespace("killtrace-beside", ":");
    let script = format!(
        "point=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)\nunit=$point/{slice}/napper.service\n\
         report=$(mktemp)\nmkdir -p $unit\ntrap 'rmdir $unit ${{unit%/*}}; rm $report' EXIT\n\
         (echo 0 > $unit/cgroup.procs; exec sleep 1000) & before=$!\n\
         (echo 0 > $point/cgroup.procs; exec sleep 1001) & later=$!\n\
         until grep -q . $unit/cgroup.procs && grep -q 1001 /proc/$later/cmdline; do sleep 0.01; done\n\
         \"$@\" --duration 60s -p $before,$later > $report & tracer=$!\n\
         until grep -q '\"header\"' $report; do sleep 0.01; done\n\
         echo $later > $unit/cgroup.procs\nkill -TERM $before $later; wait $tracer; cat $report; exit 0"
    );
    let inside: Vec<&str> = inside.wrapper.iter().map(String::as_str).collect();
    let machine = Machine::of(&["sh", "-ec", &script, "sh"]).and(&inside);
    let output = machine.run(&["--format", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let deaths = deaths(&output.stdout);
    let of = |argument: &str| {
        let is_it = |death: &&Death| {
            let words = death.victim.cmdline.as_deref().unwrap_or_default();
            words.iter().any(|word| word == argument)
        };
        deaths.iter().find(is_it).unwrap_or_else(|| panic!("no {argument}: {deaths:#?} {said}"))
    };
    let before = &of("1000").victim;
    assert_eq!(before.unit.as_deref(), Some("napper.service"), "{before:#?}");
    assert_eq!(before.cgroup, Some(format!("/{slice}/napper.service")));
    let later = of("1001");
    assert_eq!((&later.victim.cgroup, &later.victim.unit), (&None, &None), "{later:#?}");
    let tells = |gap: &String| gap.contains("private cgroup namespace");
    assert!(later.gaps.iter().any(tells), "{:?}", later.gaps);
}

/// A container with the machine's pids and files of its own: whose names and settings are told is said.
#[test]
fn files_of_its_own() {
    let hide = "names=$(mktemp); sed s/nobody/mallory/ /etc/passwd > \"$names\"; \
                mount --bind \"$names\" /etc/passwd; rm \"$names\"";
    let machine = Machine::mounts(hide).beside_init();
    let said = machine.traces(&["files"]);
    assert!(said.contains("files: PID 1 has other files"), "{said}");
    let mut words = vec!["--format", "json", "--"];
    words.extend(NOBODY);
    words.extend(["sh", "-c", "kill -KILL $$; :"]);
    let death = only_death(&machine.run(&words).stdout);
    assert_eq!(death.victim.user.as_deref(), Some("nobody"), "{death:#?}");
    assert!(
        death.gaps.iter().any(|gap| gap.contains("as this container has them")),
        "{:?}",
        death.gaps
    );
    let remedy = remedy_of(&machine.doctor().0, "files");
    assert!(remedy.contains("nsenter -t 1 -m -C "), "{remedy}");
    let healed = machine.and(&["nsenter", "-t", "1", "-m", "-C"]).doctor().0;
    assert!(!healed.iter().any(|row| row["name"] == "files"), "{healed:#?}");
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

/// A container's seccomp profile, a security module; a kernel without bpf(2).
#[test]
fn bpf_is_forbidden() {
    let machine = |error| Machine { no_bpf: Some((error, None)), ..Machine::default() };
    machine(libc::EPERM).refuses("kernel", &["forbidden", "seccomp"]);
    machine(libc::ENOSYS).refuses("kernel", &["CONFIG_BPF_SYSCALL"]);
}

/// Under lockdown=confidentiality no program that reads kernel memory loads.
#[test]
fn lockdown() {
    const BPF_PROG_LOAD: u64 = 5;
    let script = "types=$(mktemp) && cp /sys/kernel/btf/vmlinux \"$types\" && \
                  mount -t tmpfs none /sys/kernel && mkdir /sys/kernel/security /sys/kernel/btf && \
                  mv \"$types\" /sys/kernel/btf/vmlinux && \
                  echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    let machine =
        Machine { no_bpf: Some((libc::EINVAL, Some(BPF_PROG_LOAD))), ..Machine::mounts(script) };
    machine.refuses("lockdown", &["lockdown=confidentiality"]);
}
