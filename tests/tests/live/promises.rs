//! What the interface promises to people and scripts, tried on the program itself: its channels, its
//! options, which ends it reports, and what a recording is worth.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{Outcome, Record};
use killtrace_tests::live::{QuietTrace, Stage, Trace, keepsakes, program};
use killtrace_tests::{live, schema};

/// killtrace with these arguments, run to its end.
fn run(args: &[&str]) -> Output {
    live::require_root();
    let output = Command::new(program("killtrace")).args(args).output();
    output.unwrap_or_else(|error| panic!("cannot start killtrace: {error}"))
}

fn replay(args: &[&str]) -> Vec<u8> {
    let output = run(&[&["replay"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn records(report: &[u8]) -> Vec<Record> {
    let text = String::from_utf8_lossy(report);
    let record = |line: &str| {
        schema::check_report(line).unwrap_or_else(|error| panic!("{error:#}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
    };
    text.lines().map(record).collect()
}

/// Names of the signals that were shown.
fn shown(records: &[Record]) -> Vec<&str> {
    let signals = records.iter().filter_map(|record| match record {
        Record::Signal(signal) => Some(signal.signal.name.as_str()),
        _ => None,
    });
    signals.collect()
}

/// Processes that nobody but one test knows by name.
struct Nappers {
    file: PathBuf,
    /// Where the file is, removed with the last of them.
    _folder: tempfile::TempDir,
}

impl Nappers {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name);
        // By another program: a test beside this one that forks while the file is written here would hold it
        // open, and what is written cannot be executed.
        let copied = Command::new("cp").arg("/bin/sleep").arg(&file).status();
        assert!(copied.is_ok_and(|status| status.success()), "a copy of sleep");
        Self { file, _folder: folder }
    }

    fn nap(&self, seconds: &str) -> Napper {
        Napper(Command::new(&self.file).arg(seconds).spawn().expect("a copy of sleep runs"))
    }
}

/// One of them; it does not outlive its test.
struct Napper(Child);

impl Napper {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn kill(mut self) -> u32 {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
        self.pid()
    }
}

impl Drop for Napper {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Standard output has the report alone, from header to summary; standard error has one line that
/// says when tracing began.
#[test]
fn channels() {
    let output = run(&["--format", "json", "--", "sh", "-c", ":\nkill -TERM $$"]);
    let records = records(&output.stdout);
    assert!(matches!(records.first(), Some(Record::Header(_))), "{records:?}");
    let Some(Record::Summary(summary)) = records.last() else { panic!("{records:?}") };
    assert_eq!((summary.signals, summary.deaths, summary.losses), (1, 1, 0));
    assert_eq!(summary.reason, "command ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().all(|line| line.starts_with("killtrace: ")), "{said}");
    let began = said.lines().filter(|line| line.starts_with("killtrace: tracing"));
    assert_eq!(began.count(), 1, "{said}");
    assert_eq!(output.status.code(), Some(128 + libc::SIGTERM));
}

/// `-o` takes the report, and leaves standard output to the command.
#[test]
fn output_to_a_file() {
    for format in ["text", "json", "markdown"] {
        let file = keepsakes().join(format!("output.{format}"));
        let path = file.display().to_string();
        let output = run(&["-o", &path, "--format", format, "--", "sh", "-c", "echo hi; exit 5"]);
        assert_eq!((output.stdout, output.status.code()), (b"hi\n".to_vec(), Some(5)));
        let report = fs::read_to_string(&file).expect("the report");
        assert!(report.contains("exited by itself with status 5"), "{report}");
    }
}

/// By name: who ran before, and who is killed later; who came and went only where asked for.
#[test]
fn which_ends_are_reported() {
    for exits in [false, true] {
        let nappers = Nappers::new("kt-ends");
        let before = nappers.nap("1000");
        let target = ["--target", "kt-ends"].map(str::to_owned);
        let args = target.into_iter().chain(exits.then(|| "--exits".to_owned()));
        let trace =
            Trace::start(if exits { "with-exits" } else { "no-exits" }, &args.collect::<Vec<_>>());
        let mut visitor = nappers.nap("0");
        visitor.0.wait().expect("it ends");
        let killed = nappers.nap("1000").kill();
        let before = before.kill();
        let ended = trace.stop();
        let dead = |pid| ended.deaths().filter(|death| death.victim.pid == pid).count();
        let counts = [before, killed, visitor.pid()].map(dead);
        assert_eq!(counts, [1, 1, usize::from(exits)], "{}", ended.complaint());
        assert_eq!(ended.summary().map(|summary| summary.deaths), Some(2 + u64::from(exits)));
    }
}

/// Who is named by pid is reported however it ends; its children only with `-f`.
#[test]
fn children_are_followed_where_asked_for() {
    for follow in [false, true] {
        let mut shell = Command::new("sh")
            .args(["-c", "read go; sh -c 'kill -KILL $$'; exit 4"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let pid = shell.id().to_string();
        let args = ["-p", &pid].map(str::to_owned).into_iter();
        let args = args.chain(follow.then(|| "-f".to_owned()));
        let trace =
            Trace::start(if follow { "follow" } else { "alone" }, &args.collect::<Vec<_>>());
        drop(shell.stdin.take());
        shell.wait().expect("it ends");
        let ended = trace.finish();
        let outcomes: Vec<_> = ended.deaths().map(|death| death.outcome.clone()).collect();
        let killed = Outcome::Signaled { signal: "SIGKILL".to_owned(), core_dumped: false };
        let own = Outcome::Exited { status: 4 };
        let expected = if follow { vec![killed, own] } else { vec![own] };
        assert_eq!(outcomes, expected, "{}", ended.complaint());
    }
}

/// `-p` ends with the last of them, not with the first.
#[test]
fn the_last_of_the_pids() {
    let nappers = Nappers::new("kt-last");
    let (first, second) = (nappers.nap("1000"), nappers.nap("1000"));
    let pids = format!("{},{}", first.pid(), second.pid());
    let mut trace = Trace::start("last", &["-p".to_owned(), pids]);
    let first = first.kill();
    trace.death_of(first);
    second.kill();
    let ended = trace.finish();
    assert_eq!(ended.deaths().count(), 2, "{}", ended.complaint());
    assert_eq!(ended.summary().map(|summary| summary.reason.as_str()), Some("targets gone"));
}

/// What may come yet is waited for, and said to be.
#[test]
fn what_is_not_there_yet() {
    for target in ["kt-nobody", "unit:kt-nobody", "container:kt-nobody", "cgroup:/kt-nobody"] {
        let output = run(&["--target", target, "--duration", "100ms"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("tracing") && said.contains("waiting for it"), "{said}");
    }
    for target in ["user:kt-nobody", "4194304"] {
        let output = run(&["--target", target, "--duration", "100ms"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("killtrace: there is no "), "{said}");
    }
}

/// The command belongs to whoever called sudo, or to whom `-u` says.
#[test]
fn whose_command() {
    let report = keepsakes().join("whose.json").display().to_string();
    let ids = |user: &[&str], sudo: &str| {
        live::require_root();
        let mut killtrace = Command::new(program("killtrace"));
        killtrace.args(["-o", &report]).args(user).args(["--", "id", "-u"]);
        let output = killtrace.env("SUDO_UID", sudo).env("SUDO_GID", sudo).output();
        String::from_utf8_lossy(&output.expect("killtrace").stdout).trim().to_owned()
    };
    assert_eq!(ids(&[], "65534"), "65534");
    assert_eq!(ids(&["-u", "root"], "65534"), "0");
    assert_eq!(ids(&["-u", "nobody"], ""), "65534");
    // A directory service's user, whom only sudo knows: never root instead.
    assert_eq!(ids(&[], "99999"), "99999");
    let alone = |arguments: &[&str]| {
        let mut killtrace = Command::new(program("killtrace"));
        killtrace.args(["-q", "-o", &report]).args(arguments);
        killtrace.env("SUDO_UID", "99999").env_remove("SUDO_GID").output().expect("killtrace")
    };
    let refused = alone(&["--", "id", "-u"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{said}");
    assert!(said.contains("uid 99999") && said.contains("-u USER"), "{said}");
}

/// What is read, what is recorded and what is reported are three files.
#[test]
fn no_file_is_written_over_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (recording, new) = (path("it.zst"), path("new"));
    assert!(run(&["-q", "-o", "/dev/null", "-w", &recording, "--", "true"]).status.success());
    let before = fs::read(&recording).expect("a recording");
    for args in [
        ["replay", &recording, "-o", &recording].as_slice(),
        &["replay", &recording, "-w", &recording],
        &["replay", &recording, "-w", &new, "-o", &new],
        &["-w", &recording, "-o", &recording, "--", "true"],
        &["-w", &new, "-o", &new, "--", "true"],
    ] {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("choose another"), "{said}");
    }
    let mut from_stdin = Command::new(program("killtrace"));
    from_stdin.args(["replay", "-", "-w", &recording]);
    let stdin = fs::File::open(&recording).expect("a recording");
    let output = from_stdin.stdin(stdin).output().expect("killtrace");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(fs::read(&recording).expect("a recording"), before);
}

/// A limit of file size ends the recording, as a full disk does, not the trace; the command has it as it was.
#[test]
fn a_limit_of_file_size() {
    let recording = keepsakes().join("limited.jsonl").display().to_string();
    let dies = "for i in 1 2 3 4 5 6 7 8; do sh -c 'kill -KILL $$'; done; grep SigIgn /proc/self/status; exit 3";
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$@\"", "sh"])
        .arg(program("killtrace"))
        .args(["-o", "/dev/null", "-w", &recording, "--", "sh", "-c", dies])
        .output()
        .expect("killtrace");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot be written") && said.contains("large"), "{said}");
    let ignored = String::from_utf8_lossy(&output.stdout);
    let ignored =
        ignored.trim().rsplit('\t').next().and_then(|it| u64::from_str_radix(it, 16).ok());
    let file_size = 1 << (libc::SIGXFSZ - 1);
    assert_eq!(ignored.map(|set| set & file_size), Some(0), "{output:?}");
    // The command's own status comes first; where it is 0, it would say that all is there.
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$@\"", "sh"])
        .arg(program("killtrace"))
        .args(["-o", "/dev/null", "-w", &recording, "--", "sh", "-c", &dies.replace("exit 3", ":")])
        .output()
        .expect("killtrace");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    // And where it was cut off is told to people as well.
    let again = run(&["replay", &recording]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("the recording breaks off here"), "{said}");
}

/// Some signals are shown only where asked for; a verdict knows them all.
#[test]
fn which_signals_are_shown() {
    let script =
        "trap : CHLD WINCH; sh -c :; kill -CONT $$; kill -WINCH $$; kill -URG $$; kill -TERM $$";
    let traced = |set: &[&str]| {
        let args = [&["--format", "json"], set, &["--", "sh", "-c", script]].concat();
        records(&run(&args).stdout)
    };
    assert_eq!(shown(&traced(&[])), ["SIGTERM"]);
    let all = traced(&["-e", "signal=all"]);
    assert_eq!(shown(&all), ["SIGCHLD", "SIGCONT", "SIGWINCH", "SIGURG", "SIGTERM"]);
    let Some(Record::Signal(child)) = all.iter().find(|r| matches!(r, Record::Signal(_))) else {
        panic!("{all:?}")
    };
    assert_eq!(child.signal.mechanism, Mechanism::ChildStatus);
    assert_eq!(child.sender.as_ref().map(|child| child.pid.cast_signed()), child.signal.si_pid);
    let hidden = traced(&["-e", "signal=!TERM,CONT"]);
    assert_eq!(shown(&hidden), ["SIGCHLD", "SIGWINCH", "SIGURG"]);
    let death = hidden.iter().find_map(|record| match record {
        Record::Death(death) => death.signal.as_ref(),
        _ => None,
    });
    assert_eq!(death.map(|signal| signal.name.as_str()), Some("SIGTERM"));
    assert_eq!(shown(&traced(&["-e", "signal=TERM,KILL"])), ["SIGTERM"]);
}

/// Traces the supervisor's worker with these options, to a report and a recording.
fn recorded(format: &str, options: &[&str], recording: &Path) -> String {
    let mut stage = Stage::open("supervisor");
    let report = keepsakes().join(format!("promises.{format}"));
    let pid = stage.pid("victim").to_string();
    let file = recording.display().to_string();
    let trace =
        QuietTrace::start(format, &report, &[options, &["-p", &pid, "--record", &file]].concat());
    stage.begin();
    stage.victims_end();
    trace.finish();
    stage.close();
    fs::read_to_string(&report).expect("the report")
}

/// Byte for byte, whatever the options, from a file or a pipe, for any user, in any place.
#[test]
fn a_replay_is_the_report_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for (format, options) in [
        ("json", &["--once"][..]),
        ("text", &["--once", "-v", "-ttt"]),
        ("text", &["-q", "-r"]),
        ("markdown", &["--once", "--redact"]),
    ] {
        let recording = folder.path().join("it.zst");
        let live = recorded(format, options, &recording);
        assert!(live.contains("SIGKILL"), "{live}");
        let file = fs::File::open(&recording).expect("the recording");
        let look: Vec<&str> =
            options.iter().copied().filter(|o| !["--once", "--redact"].contains(o)).collect();
        let elsewhere = Command::new(program("killtrace"))
            .args(["replay", "-", "--format", format])
            .args(look)
            .env_clear()
            .envs([("TZ", "Asia/Kolkata"), ("LC_ALL", "tr_TR.UTF-8"), ("COLUMNS", "40")])
            .stdin(file)
            .current_dir("/")
            .uid(65534)
            .gid(65534)
            .output()
            .expect("killtrace");
        assert!(elsewhere.status.success(), "{}", String::from_utf8_lossy(&elsewhere.stderr));
        assert_eq!(String::from_utf8_lossy(&elsewhere.stdout), live, "{format} {options:?}");
    }
}

/// Whatever has been reported can be replayed after killtrace was killed, plain or compressed.
#[test]
fn a_killed_tracer_leaves_its_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["it.jsonl", "it.zst"] {
        let recording = folder.path().join(name).display().to_string();
        let nappers = Nappers::new("kt-killed");
        let (victim, survivor) = (nappers.nap("1000"), nappers.nap("1000"));
        let args = ["--target", "kt-killed", "--record", &recording].map(str::to_owned);
        let mut trace = Trace::start(name, &args);
        let victim = victim.kill();
        trace.death_of(victim);
        trace.kill();
        survivor.kill();
        let again = records(&replay(&[&recording, "--format", "json"]));
        let death = again.iter().find_map(|record| match record {
            Record::Death(death) => Some(death.victim.pid),
            _ => None,
        });
        assert_eq!(death, Some(victim), "{again:?}");
        let Some(Record::Summary(summary)) = again.last() else { panic!("{again:?}") };
        assert_eq!((summary.alive, summary.deaths), (1, 1));
        assert!(summary.reason.contains("breaks off"), "{summary:?}");
    }
}

/// A shell that has become a program which ignores SIGUSR1.
fn deaf() -> Napper {
    let script = "trap '' USR1; exec sleep 1000";
    let deaf =
        Command::new("sh").args(["-c", script]).spawn().expect("a process that ignores a signal");
    // From here on it ignores the signal.
    let deaf = Napper(deaf);
    let comm = format!("/proc/{}/comm", deaf.pid());
    while fs::read_to_string(&comm).is_ok_and(|comm| comm != "sleep\n") {
        std::thread::yield_now();
    }
    deaf
}

/// A shell's command that sends so many signals as fast as it can.
fn flood(pid: &str, count: u32) -> String {
    format!("i=0; while [ $i -lt {count} ]; do kill -USR1 {pid}; i=$((i+1)); done")
}

/// In a flood the kernel itself counts, and what it counted last is told though nothing follows.
#[test]
fn a_flood_is_told_to_its_last_signal() {
    let victim = deaf();
    let pid = victim.pid().to_string();
    let mut trace = Trace::start("flood", &["-p".to_owned(), pid.clone()]);
    let sent = Command::new("sh").args(["-c", &flood(&pid, 20_000)]).status();
    assert!(sent.is_ok_and(|status| status.success()), "the signals can be sent");
    trace.signals(20_000);
    victim.kill();
    let ended = trace.finish();
    assert_eq!(ended.losses().count(), 0, "nothing is lost");
    assert_eq!(ended.summary().map(|summary| summary.signals), Some(20_001));
    assert!(ended.signals().count() < 2000, "{} records", ended.signals().count());
}

/// More signals than the buffer holds come while killtrace does not run: each is counted, and the end behind
/// them has its place.
#[test]
fn a_flood_while_the_reader_is_behind() {
    let mut victim = deaf();
    let pid = victim.pid().to_string();
    let trace = Trace::start("behind", &["-p".to_owned(), pid.clone()]);
    let stopped = format!("kill -STOP {}", trace.pid());
    let flood = flood(&pid, 20_000);
    let after = format!("kill -KILL {pid}; kill -CONT {}", trace.pid());
    let sent = Command::new("sh").args(["-c", &format!("{stopped}; {flood}; {after}")]).status();
    assert!(sent.is_ok_and(|status| status.success()), "the signals can be sent");
    assert!(victim.0.wait().is_ok_and(|status| !status.success()), "it is killed");
    let ended = trace.finish();
    let death = ended.deaths().next().expect("a death");
    assert_eq!(death.signal.as_ref().map(|signal| signal.name.as_str()), Some("SIGKILL"));
    assert_eq!(ended.losses().count(), 0, "nothing is lost");
    assert_eq!(ended.summary().map(|summary| summary.signals), Some(20_001));
}
