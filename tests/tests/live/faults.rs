//! What goes wrong around a trace: full disks, closed terminals, signals to killtrace itself, cgroups that come by
//! the thousand or go away. Nothing that was seen is lost, and what could not be kept is told.

use std::fs;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use killtrace::story::verdict::{Death, Outcome};
use killtrace_tests::lab::{PATIENCE, wait_for};
use killtrace_tests::live::{Stage, Trace, keepsakes, program, require_root};

/// Runs a script with `$killtrace`, `$small` (a mount point that others do not see) and `$kept` (a file to record to).
fn script(name: &str, text: &str) -> (Output, PathBuf) {
    require_root();
    let kept = keepsakes().join(format!("faults.{name}.killtrace"));
    let _ = fs::remove_file(&kept);
    let small = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", text])
        .env("killtrace", program("killtrace"))
        .env("small", small.path())
        .env("kept", &kept)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start unshare: {error}"));
    (output, kept)
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The report that a recording gives.
fn replay(recording: &Path) -> String {
    let output = Command::new(program("killtrace"))
        .args(["replay", "--format", "json"])
        .arg(recording)
        .output()
        .unwrap_or_else(|error| panic!("cannot start killtrace: {error}"));
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}

/// Where the report cannot even begin, the command is not started.
#[test]
fn a_report_that_cannot_begin() {
    let (output, kept) = script(
        "begin",
        "\"$killtrace\" --format json -- touch \"$kept\" > /dev/full; status=$?; [ ! -e \"$kept\" ] && exit $status",
    );
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!kept.exists());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot write the report") && stderr.contains("-o"), "{stderr}");
}

/// Where the disk fills up later, the command has its status, and the recording is whole.
#[test]
fn a_report_that_cannot_go_on() {
    let (output, kept) = script(
        "report",
        "mount -t tmpfs -o size=64k none \"$small\" && \
         \"$killtrace\" --format json -o \"$small/report\" --record \"$kept\" -- \
         sh -c 'cat /dev/zero > \"$small/rest\" 2>/dev/null; sh -c \"kill -KILL \\$\\$\"; \
                head -c 5000 /dev/zero | tr \"\\0\" x; exit 5'",
    );
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("goes on without a report"), "{stderr}");
    let report = replay(&kept);
    let last = report.lines().last().unwrap_or_default();
    assert!(last.contains("\"summary\"") && last.contains("command ended"), "{last}");
    assert!(report.contains("SIGKILL"), "{report}");
}

/// A recording that cannot go on is told, and breaks nothing; what is in it can be read.
#[test]
fn a_recording_that_cannot_go_on() {
    let (output, kept) = script(
        "recording",
        "mount -t tmpfs -o size=64k none \"$small\" && \
         \"$killtrace\" --format json --record \"$small/recording\" -- \
         sh -c 'cat /dev/zero > \"$small/rest\" 2>/dev/null; sh -c \"kill -KILL \\$\\$\"; exit 5'; \
         status=$?; cp \"$small/recording\" \"$kept\"; exit $status",
    );
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("\"where\":\"recording\""), "{}", said(&output));
    assert!(report.contains("SIGKILL"), "{report}");
    assert!(replay(&kept).contains("\"summary\""));
}

/// What fits on the disk is kept up to the last whole line, however large the block that did not.
#[test]
fn a_recording_up_to_the_last_line_that_fits() {
    const SIZE: u64 = 64 * 1024;
    let (output, kept) = script(
        "fits",
        "mount -t tmpfs -o size=64k none \"$small\" && \
         \"$killtrace\" --format json --record \"$small/recording\" -- \
         sh -c 'for each in $(seq 60); do sh -c \"kill -KILL \\$\\$\"; done; exit 5'; \
         status=$?; cp \"$small/recording\" \"$kept\"; exit $status",
    );
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("\"where\":\"recording\""), "{}", said(&output));
    let length = fs::metadata(&kept).expect("the recording").len();
    assert!(length > SIZE * 3 / 4, "{length} bytes of {SIZE} were kept");
    assert!(fs::read(&kept).expect("the recording").ends_with(b"\n"));
    assert!(replay(&kept).contains("\"summary\""));
}

/// A killtrace for people, with a recording, under the eyes of a test.
fn start(name: &str, wrapper: &[&str], args: &[&str]) -> (Child, PathBuf, PathBuf) {
    require_root();
    let kept = keepsakes().join(format!("faults.{name}.killtrace"));
    let log = kept.with_extension("stderr");
    let _ = fs::remove_file(&kept);
    let own = program("killtrace");
    let mut words: Vec<&str> = wrapper.to_vec();
    words.push(own.to_str().expect("a path in UTF-8"));
    words.extend(["--record", kept.to_str().expect("a path in UTF-8")]);
    words.extend(args);
    let child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {words:?}: {error}"));
    (child, kept, log)
}

fn wait_until_tracing(log: &Path) {
    wait_for("killtrace to trace", PATIENCE, || {
        Ok(fs::read_to_string(log)?.contains("killtrace: tracing").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

fn signal(pid: u32, number: i32) {
    // SAFETY: takes integers; the process is a child that was not collected yet.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), number) }, 0);
}

/// A signal to killtrace ends the trace, not the report.
#[test]
fn killtrace_is_told_to_end() {
    for (number, reason) in
        [(libc::SIGTERM, "terminated"), (libc::SIGHUP, "hung up"), (libc::SIGINT, "interrupted")]
    {
        let stage = Stage::open("kill-term");
        let victim = stage.pid("victim").to_string();
        let (mut child, kept, log) = start(reason, &[], &["-p", &victim]);
        wait_until_tracing(&log);
        signal(child.id(), number);
        assert!(child.wait().expect("it ends").success(), "{reason}");
        assert!(replay(&kept).contains(&format!("\"reason\":\"{reason}\"")), "{reason}");
        drop(stage);
    }
}

/// Who ends killtrace may have ended its target right before, or be about to: the verdict still comes.
#[test]
fn killtrace_is_told_to_end_with_its_target() {
    const TIDIES: &str = "trap 'sleep 0.2; exit 3' TERM; read -r end";
    for (number, own) in [
        (libc::SIGTERM, libc::SIGTERM),
        (libc::SIGKILL, libc::SIGTERM),
        (libc::SIGKILL, libc::SIGHUP),
    ] {
        let mut victim = Command::new("sh")
            .args(["-c", TIDIES])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sh: {error}"));
        let name = format!("together-{number}-{own}");
        let (mut child, kept, log) = start(&name, &[], &["-p", &victim.id().to_string()]);
        wait_until_tracing(&log);
        signal(victim.id(), number);
        signal(child.id(), own);
        assert!(child.wait().expect("it ends").success(), "{name}");
        victim.wait().expect("it ends");
        let told = replay(&kept);
        assert!(told.contains("\"type\":\"death\""), "{name}: {told}");
    }
}

/// nohup(1) has SIGHUP ignored, which is to last: a trace across a logout.
#[test]
fn killtrace_is_not_to_hear_of_a_hangup() {
    let stage = Stage::open("kill-term");
    let victim = stage.pid("victim").to_string();
    let (mut child, kept, log) = start("nohup", &["nohup"], &["-p", &victim]);
    wait_until_tracing(&log);
    signal(child.id(), libc::SIGHUP);
    drop(stage);
    assert!(child.wait().expect("it ends").success());
    let told = replay(&kept);
    assert!(told.contains("\"type\":\"death\"") && !told.contains("hung up"), "{told}");
}

/// Where whoever started killtrace ignores how children end, it does not, and the command has what was there before.
#[test]
fn children_that_nobody_is_to_hear_of() {
    let (output, kept) = script(
        "children",
        "ignoring='env --ignore-signal=CHLD'; $ignoring \"$killtrace\" --format json -w \"$kept\" -- \
         sh -c 'kill -KILL $$'; echo status $?; $ignoring \"$killtrace\" -q -- grep SigIgn /proc/self/status",
    );
    let told = said(&output);
    assert!(told.contains("status 137") && told.contains("\"type\":\"death\""), "{told}");
    assert!(replay(&kept).contains("\"reason\":\"command ended\""), "{told}");
    let ignored = told.split_once("SigIgn:").and_then(|(_, rest)| rest.split_whitespace().next());
    let ignored = u64::from_str_radix(ignored.unwrap_or_default(), 16).expect("a mask");
    assert_ne!(ignored & 1 << (libc::SIGCHLD - 1), 0, "{told}");
}

/// A command that is left behind: the status is none of its, and it is said.
#[test]
fn killtrace_is_told_to_end_before_its_command() {
    let fifo = keepsakes().join("faults.command.end");
    let _ = fs::remove_file(&fifo);
    let path = fifo.to_str().expect("a path in UTF-8");
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    let (mut child, _, log) =
        start("command", &[], &["--", "sh", "-c", "read end < \"$1\"", "sh", path]);
    wait_until_tracing(&log);
    signal(child.id(), libc::SIGTERM);
    let status = child.wait().expect("it ends");
    // The command is still there, and waits for this.
    fs::write(&fifo, "end\n").expect("its reader goes on");
    let text = fs::read_to_string(&log).expect("a log");
    assert_eq!(status.code(), Some(128 + libc::SIGTERM), "{text}");
    assert!(text.contains("goes on without being traced"), "{text}");
}

/// Where the end of a target was lost, the trace does not wait for it for ever: the target is found to be gone, and
/// that is all that is said.
#[test]
fn an_end_that_was_lost() {
    // More than the ring buffer holds while nobody reads it: first signals, then ends.
    const FLOOD: &str = "i=0; while [ $i -lt 9000 ]; do kill -USR1 $1; kill -USR2 $1; i=$((i+1)); done; \
                         i=0; while [ $i -lt 9000 ]; do (:); i=$((i+1)); done";
    let mut victim = Command::new("sh")
        .args(["-c", "trap '' USR1 USR2; exec sleep 1000"])
        .spawn()
        .expect("a victim");
    let pid = victim.id().to_string();
    wait_for("the victim to be ready", PATIENCE, || {
        Ok((fs::read_to_string(format!("/proc/{pid}/comm"))? == "sleep\n").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    let (mut child, kept, log) = start("lost", &[], &["-p", &pid]);
    wait_until_tracing(&log);
    signal(child.id(), libc::SIGSTOP);
    let flood = Command::new("sh").args(["-c", FLOOD, "sh", &pid]).status().expect("a shell");
    assert!(flood.success());
    victim.kill().expect("the victim is there");
    victim.wait().expect("it ends");
    signal(child.id(), libc::SIGCONT);
    assert!(
        child.wait().expect("it ends").success(),
        "{}",
        fs::read_to_string(&log).unwrap_or_default()
    );
    let report = replay(&kept);
    let death = report.lines().find(|line| line.contains("\"type\":\"death\"")).expect("a death");
    let death: Death = serde_json::from_str(death).expect("a death");
    assert_eq!(death.outcome, Outcome::Unknown, "{death:#?}");
    assert!(death.killer.process.is_none(), "{death:#?}");
    assert!(death.gaps.iter().any(|gap| gap.contains("ends of processes")), "{:?}", death.gaps);
    assert!(report.contains("\"reason\":\"targets gone\""), "{report}");
}

/// Commands of bpf(2): a descriptor of the program, or of the map, with that id.
const BPF_PROG_GET_FD_BY_ID: i64 = 13;
const BPF_MAP_GET_FD_BY_ID: i64 = 14;

/// Whether the kernel has a program or a map with that id, be it open, attached or pinned anywhere.
fn is_loaded(command: i64, id: u32) -> bool {
    let attributes = [id, 0, 0];
    // SAFETY: the attributes outlive the call, which reads no more than their size.
    let got = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes))
    };
    if got < 0 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "bpf(2): {error}");
        return false;
    }
    let got = i32::try_from(got).expect("a descriptor");
    // SAFETY: the descriptor is new, and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(got) });
    true
}

/// Ids of what a process has open, by a field of `/proc/PID/fdinfo`.
fn opened(pid: u32, field: &str) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it runs").flatten();
    let texts = entries.map(|entry| fs::read_to_string(entry.path()).unwrap_or_default());
    let id = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().parse().ok()
    };
    texts.filter_map(id).collect()
}

/// Nothing of it stays in the kernel, though it could not clean up.
#[test]
fn killed_it_leaves_nothing_loaded() {
    let stage = Stage::open("kill-term");
    let trace = Trace::of(&stage, &["-p", &stage.pid("victim").to_string()]);
    let programs = opened(trace.pid(), "prog_id:");
    let maps = opened(trace.pid(), "map_id:");
    assert!(programs.len() >= 5, "the hooks: {programs:?}");
    assert!(programs.iter().all(|id| is_loaded(BPF_PROG_GET_FD_BY_ID, *id)), "{programs:?}");
    trace.kill();
    wait_for("the kernel to be rid of it", PATIENCE, || {
        let gone = !programs.iter().any(|id| is_loaded(BPF_PROG_GET_FD_BY_ID, *id))
            && !maps.iter().any(|id| is_loaded(BPF_MAP_GET_FD_BY_ID, *id));
        Ok(gone.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: of programs {programs:?}, maps {maps:?}"));
    drop(stage);
}

/// The terminal that it reports to goes away.
#[test]
fn the_terminal_of_killtrace_hangs_up() {
    let stage = Stage::open("kill-term");
    let victim = stage.pid("victim").to_string();
    let kept = keepsakes().join("faults.terminal.killtrace");
    let log = kept.with_extension("stderr");
    for file in [&kept, &log] {
        let _ = fs::remove_file(file);
    }
    fs::write(&log, "").expect("a log");
    let line = format!(
        "exec {} -p {victim} --record {} 2>{}",
        program("killtrace").display(),
        kept.display(),
        log.display()
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start script: {error}"));
    wait_until_tracing(&log);
    terminal.kill().expect("killed");
    terminal.wait().expect("gone");
    wait_for("the end of the recording", PATIENCE, || {
        Ok(fs::read_to_string(&kept)?.contains("\"kind\":\"end\"").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    let told = replay(&kept);
    assert!(told.contains("\"summary\"") && told.contains("hung up"), "{told}");
    drop(stage);
}

/// The mount point of cgroup2.
fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let point = line.and_then(|line| line.split(' ').nth(4));
    point.unwrap_or_else(|| panic!("cgroup2 is not mounted")).into()
}

/// A cgroup with others in it, removed when this is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let folder = cgroup2().join(format!("killtrace-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Self(folder)
    }

    fn below(&self, name: &str) -> PathBuf {
        let folder = self.0.join(name);
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        folder
    }

    fn path(&self, name: &str) -> String {
        format!("/{}/{name}", self.0.file_name().and_then(|name| name.to_str()).unwrap_or_default())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            // What is no directory is the kernel's, and goes with it.
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// A process in that cgroup.
fn sleeper(cgroup: &Path) -> Child {
    let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
    enter(cgroup, child.id());
    child
}

fn enter(cgroup: &Path, pid: u32) {
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())
        .unwrap_or_else(|error| panic!("{}: {error}", cgroup.display()));
}

fn kill(mut child: Child) {
    child.kill().expect("killed");
    child.wait().expect("gone");
}

fn killed(death: &Death) -> bool {
    matches!(&death.outcome, Outcome::Signaled { signal, .. } if signal == "SIGKILL")
}

/// However many there are, the right one is named.
#[test]
fn ten_thousand_cgroups() {
    let top = Cgroup::new("many");
    for number in 0..10_000 {
        top.below(&number.to_string());
    }
    let child = sleeper(&top.0.join("9999"));
    let pid = child.id();
    let mut trace = Trace::start("many-cgroups", &["--all".to_owned()]);
    kill(child);
    let death = trace.death_of(pid);
    trace.stop();
    assert!(killed(&death), "{death:#?}");
    assert_eq!(death.victim.cgroup, Some(top.path("9999")), "{death:#?}");
}

/// Anybody who owns a tree of cgroups can make more than there is room for: the trace goes on, and says so.
#[test]
fn a_target_of_more_cgroups_than_fit() {
    const ROOM: u64 = 4096;
    let top = Cgroup::new("full");
    for number in 0..ROOM + 99 {
        top.below(&number.to_string());
    }
    let child = sleeper(&top.0.join("4000"));
    let pid = child.id();
    let target = format!("cgroup:{}", top.path(""));
    let mut trace = Trace::start("full", &["--target".to_owned(), target]);
    trace.hear("more than the 4096 cgroups that there is room for");
    kill(child);
    let death = trace.death_of(pid);
    let ended = trace.stop();
    assert!(killed(&death), "{death:#?}");
    assert!(death.gaps.iter().any(|gap| gap.contains("cgroups of targets")), "{death:#?}");
    // The top one is one more.
    let left_out: Vec<u64> = ended.losses().map(|loss| loss.dropped).collect();
    assert_eq!(left_out, [100], "{}", ended.complaint());
}

/// What starts in a cgroup that there was no room for is traced once others are gone.
#[test]
fn a_cgroup_that_did_not_fit_is_traced_when_there_is_room() {
    const MADE: u64 = 8000;
    const KEPT: u64 = 20;
    let top = Cgroup::new("roomy");
    for number in 0..MADE {
        top.below(&number.to_string());
    }
    let target = format!("cgroup:{}", top.path(""));
    let mut trace = Trace::start("roomy", &["--target".to_owned(), target]);
    trace.hear("more than the 4096 cgroups that there is room for");
    for number in KEPT..MADE {
        fs::remove_dir(top.0.join(number.to_string())).expect("it is empty");
    }
    // The room is known of when their ends have been read.
    std::thread::sleep(std::time::Duration::from_secs(2));
    // Half of all were left out, in no order that is known: so was one of these, by all odds.
    for number in 0..KEPT {
        let child = sleeper(&top.0.join(number.to_string()));
        let pid = child.id();
        kill(child);
        assert!(killed(&trace.death_of(pid)));
    }
    trace.stop();
}

/// A target stays one where it is moved away and its cgroup removed, and lives where it was moved to.
#[test]
fn the_cgroup_of_a_target_is_removed() {
    let top = Cgroup::new("moved");
    let (from, to) = (top.below("from"), top.below("to"));
    let child = sleeper(&from);
    let pid = child.id();
    let target = format!("cgroup:{}", top.path("from"));
    let mut trace = Trace::start("moved", &["--target".to_owned(), target]);
    enter(&to, pid);
    fs::remove_dir(&from).expect("it is empty");
    kill(child);
    let death = trace.death_of(pid);
    trace.stop();
    assert!(killed(&death), "{death:#?}");
    assert_eq!(death.victim.cgroup, Some(top.path("to")), "{death:#?}");
}
