//! Inconvenient names, short lives, pids used again, many deaths at once.

use std::fs;
use std::process::Command;

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, Death, KillerKind};
use killtrace_tests::fixtures::names;
use killtrace_tests::live::{By, QuietTrace, Stage, Trace, keepsakes, play, play_under, program};

const KILLER: By = By::Process("killer");
const BY_PROGRAM: CauseId = CauseId::ProcessSignal;

/// JSON keeps what can be kept of any bytes.
#[test]
fn hostile_names() {
    let played = play("hostile-names");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let killer = death.killer.process.as_ref().expect("checked above");
    let comm = killer.comm.as_ref().expect("checked above");
    assert!(comm.starts_with("\u{1b}[31mred\n\u{8}"), "{comm:?}");
    let words = death.victim.cmdline.as_ref().expect("checked above");
    assert!(words[0].starts_with("\u{1b}[31mred\n"), "{words:?}");
    assert!(
        words.last().is_some_and(|word| word.starts_with("\u{1b}]0;owned\u{7}\n")),
        "{words:?}"
    );
}

/// Text and Markdown let nothing through that a terminal would obey, nor lines that are not theirs.
#[test]
fn hostile_names_as_text() {
    for format in ["text", "markdown"] {
        let mut stage = Stage::open("hostile-names");
        let report = keepsakes().join(format!("hostile-names.{format}"));
        let pid = stage.pid("victim").to_string();
        let trace = QuietTrace::start(format, &report, &["-p", &pid]);
        stage.begin();
        stage.victims_end();
        trace.finish();
        stage.close();
        let text = fs::read(&report).unwrap_or_default();
        let text = String::from_utf8(text).expect("the report is UTF-8");
        assert!(text.contains("SIGTERM"), "{text}");
        harmless(&text);
        assert!(!text.lines().any(|line| line.starts_with("+++ exited with 0")), "{text}");
        let lies = |line: &str| line.trim_start().starts_with("12:00:00.000");
        assert!(!text.lines().any(lies), "{text}");
    }
}

/// Nothing that a terminal obeys, and no mark that has text read in another order (Unicode's `Bidi_Control`).
fn harmless(text: &str) {
    let turns = |c: &char| matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harmful = |c: &char| c.is_control() && *c != '\n' || turns(c);
    assert_eq!(text.chars().find(harmful), None, "{text:?}");
}

/// Whatever a cgroup is called, it is neither obeyed nor believed.
#[test]
fn hostile_cgroup() {
    let played = play("hostile-cgroup");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let cgroup = death.victim.cgroup.as_deref().unwrap_or_default();
    assert!(cgroup.contains("/session-3.scope \u{1b}[2J`a` <b> %s%n|\u{202e}gpj "), "{cgroup:?}");
    assert_eq!(death.victim.session, None, "{death:#?}");
    for format in ["text", "markdown"] {
        let arguments = ["replay", "--color", "never", "-v", "--format", format];
        let output = Command::new(program("killtrace"))
            .args(arguments)
            .arg(&played.trace.recording)
            .output()
            .unwrap_or_else(|error| panic!("cannot start killtrace: {error}"));
        let text = String::from_utf8(output.stdout).expect("the report is UTF-8");
        assert!(text.contains("session-3.scope"), "{text}");
        harmless(&text);
    }
}

/// However long the arguments are, report and recording stay small and say whose they were.
#[test]
fn long_arguments() {
    let played = play("long-arguments");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let words = death.victim.cmdline.as_ref().expect("checked above");
    assert_eq!(words[0], "wordy");
    assert!(words.iter().any(|word| word.starts_with("argument-0-xxx")), "{words:?}");
    let said: usize = words.iter().map(String::len).sum();
    assert!(said <= 32 << 10, "{said} bytes of arguments are told");
    let recorded = fs::metadata(&played.trace.recording).expect("a recording").len();
    let (length, count) = names::LONG_ARGUMENTS;
    assert!(recorded < (length * count) as u64 / 10, "the recording has {recorded} bytes");
}

#[test]
fn long_name() {
    let played = play("long-name");
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    assert_eq!(death.victim.comm.as_deref(), Some("a-program-with-"));
    let exe = death.victim.exe.as_deref().unwrap_or_default();
    assert!(exe.contains("a-program-with-a-name-of-42-bytes-in-total"), "{exe}");
}

/// Matched at its exec, killed at once, and yet told in full.
#[test]
fn dead_at_birth() {
    let stage = Stage::open("dead-at-birth");
    let name = names::name_at_birth(stage.pid("director"));
    let trace = Trace::of(&stage, &["--once", "--target", &name]);
    let played = play_under(stage, trace);
    let death = played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    let words = death.victim.cmdline.as_ref().expect("checked above");
    assert_eq!(
        (words[0].as_str(), words.last().map(String::as_str)),
        (name.as_str(), Some("in-vain"))
    );
}

/// A pid alone is nobody: both times the right process is named. killtrace runs in the namespace.
#[test]
fn pid_reuse() {
    let mut stage = Stage::open("pid-reuse");
    let name = names::name_at_birth(stage.pid("director"));
    let args = ["--target".to_owned(), name];
    let mut trace = Trace::start_inside("pid-reuse", stage.pid("init"), &args);
    stage.begin();
    let deaths = [trace.next_death(), trace.next_death()];
    stage.victims_end();
    trace.stop();
    stage.close();
    let start = |death: &Death| death.victim.start_ns;
    assert!(start(&deaths[0]) < start(&deaths[1]), "{deaths:#?}");
    let killers = deaths.each_ref().map(|death| death.killer.process.as_ref());
    let started = killers.map(|killer| killer.and_then(|killer| killer.start_ns));
    assert!(started[0].is_some() && started[0] < started[1], "{deaths:#?}");
    for (death, killer) in deaths.iter().zip(killers) {
        assert_eq!(death.victim.pid, names::REUSED_VICTIM);
        assert_eq!(death.killer.kind, KillerKind::Process);
        assert_eq!(killer.map(|killer| killer.pid), Some(names::REUSED_KILLER));
        assert_eq!(death.cause.id, BY_PROGRAM);
    }
}

/// The other 299 are witnesses at most.
#[test]
fn crowd() {
    let played = play("crowd");
    played.killed(Mechanism::Kill, KILLER, BY_PROGRAM);
    assert_eq!(played.trace.deaths().count(), 1);
}

/// A recording repeats the verdict, word for word.
#[test]
fn replay_repeats_the_verdict() {
    for scene in ["parent-killed", "pty-closed", "caught-then-exit"] {
        let played = play(scene);
        let live: Vec<Death> = played.trace.deaths().cloned().collect();
        assert_eq!(played.trace.replayed(), live, "{}", played.trace.complaint());
    }
}

/// Nor is anything else told otherwise: in each form the whole report is the same, byte for byte.
#[test]
fn replay_repeats_the_report() {
    for format in ["text", "json", "markdown"] {
        let mut stage = Stage::open("supervisor");
        let report = keepsakes().join(format!("report.{format}"));
        let recording = keepsakes().join(format!("report.{format}.killtrace"));
        let (pid, file) = (stage.pid("victim").to_string(), recording.display().to_string());
        let trace = QuietTrace::start(format, &report, &["-p", &pid, "--record", &file]);
        stage.begin();
        stage.victims_end();
        trace.finish();
        stage.close();
        let live = fs::read_to_string(&report).unwrap_or_default();
        let replay = Command::new(program("killtrace"))
            .args(["replay", "--format", format, &file])
            .output()
            .unwrap_or_else(|error| panic!("cannot start killtrace: {error}"));
        assert!(live.contains("SIGKILL"), "{live}");
        assert_eq!(String::from_utf8_lossy(&replay.stdout), live, "{format}");
    }
}

/// Without root there is a sentence on standard error, nothing on standard output, and status 1.
#[test]
fn without_privileges() {
    use std::os::unix::process::CommandExt as _;
    let output =
        Command::new(program("killtrace")).args(["-p", "1"]).uid(65534).gid(65534).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start killtrace: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.contains("CAP_BPF") || said.contains("root"), "{said}");
}
