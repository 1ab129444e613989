//! `killtrace -- CMD`, and selections other than by pid.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, KillerKind, Outcome};
use killtrace_tests::fixtures::cgroup::cgroup2;
use killtrace_tests::live::{By, Stage, Trace, play_under, program, require_root};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// killtrace exits with the status of its command.
#[test]
fn command_that_exits() {
    let trace = Trace::start("command-exits", &words(&["--", "sh", "-c", "exit 3"]));
    let (ended, status) = trace.exit();
    assert_eq!(status.code(), Some(3), "{}", ended.complaint());
    let death = ended.deaths().next().expect("a verdict on the command");
    assert_eq!(death.outcome, Outcome::Exited { status: 3 });
    assert_eq!((death.killer.kind, death.cause.id), (KillerKind::None, CauseId::ExitedByItself));
}

/// … and with 128+N where a signal ended it.
#[test]
fn command_that_is_killed() {
    let trace = Trace::start("command-killed", &words(&["--", "sh", "-c", "kill -KILL $$"]));
    let (ended, status) = trace.exit();
    assert_eq!(status.code(), Some(137), "{}", ended.complaint());
    let death = ended.deaths().next().expect("a verdict on the command");
    assert_eq!(death.killer.kind, KillerKind::Itself, "{}", ended.complaint());
}

/// The children of the command are followed.
#[test]
fn command_whose_child_is_killed() {
    let script = r#"sh -c 'kill -TERM $$; :' & wait $!; exit 0"#;
    let trace = Trace::start("command-child", &words(&["--", "sh", "-c", script]));
    let (ended, status) = trace.exit();
    assert_eq!(status.code(), Some(0), "{}", ended.complaint());
    let killed = Outcome::Signaled { signal: "SIGTERM".to_owned(), core_dumped: false };
    let count = ended.deaths().filter(|death| death.outcome == killed).count();
    assert_eq!(count, 1, "{}", ended.complaint());
}

/// `trap 'kill 0' EXIT`: what ended the script was its own doing, and what it had started went along.
#[test]
fn script_that_signals_its_own_group() {
    let script = r#"setsid sh -c "trap 'kill 0' EXIT; sleep 1000 & sleep 0.2"; exit 0"#;
    let trace = Trace::start("own-group", &words(&["--", "sh", "-c", script]));
    let (ended, status) = trace.exit();
    assert_eq!(status.code(), Some(0), "{}", ended.complaint());
    let killed = Outcome::Signaled { signal: "SIGTERM".to_owned(), core_dumped: false };
    let mut told: Vec<(KillerKind, bool)> = ended
        .deaths()
        .filter(|death| death.outcome == killed)
        .map(|death| (death.killer.kind, death.cause.explanation.contains("(kill 0")))
        .collect();
    told.sort_by_key(|(kind, _)| *kind != KillerKind::Itself);
    assert_eq!(
        told,
        [(KillerKind::Itself, true), (KillerKind::Process, true)],
        "{}",
        ended.complaint()
    );
}

/// Everybody in a cgroup.
#[test]
fn target_cgroup() {
    let stage = Stage::open("cgroup-kill");
    let cgroup = stage.text("cgroup").rsplit('/').next().unwrap_or_default().to_owned();
    let trace = Trace::of(&stage, &["--once", "--target", &format!("cgroup:/{cgroup}")]);
    let played = play_under(stage, trace);
    let by = By::Process("killer");
    let death = played.killed(Mechanism::CgroupKill, by, CauseId::ProcessSignal);
    assert_eq!(death.victim.cgroup, Some(format!("/{cgroup}")));
}

/// A cgroup that is not there yet is waited for.
#[test]
fn target_cgroup_made_later() {
    require_root();
    let name = format!("killtrace-later-{}", std::process::id());
    let path = cgroup2().expect("cgroup2 is mounted").join(&name);
    let trace = Trace::start("later", &words(&["--once", "--target", &format!("cgroup:/{name}")]));
    trace.hear(&format!("nothing matches cgroup:/{name} yet"));
    std::fs::create_dir(&path).expect("a cgroup can be made");
    trace.hear(&format!("cgroup:/{name} appeared"));
    let script = "echo $$ > \"$1/cgroup.procs\" && kill -KILL $$";
    let shell = Command::new("sh").args(["-c", script, "sh"]).arg(&path).status();
    let ended = trace.finish();
    std::fs::remove_dir(&path).expect("nobody lives there any more");
    assert!(!shell.expect("sh runs").success());
    let death = ended.deaths().next().expect("a verdict on the shell");
    assert_eq!(death.killer.kind, KillerKind::Itself, "{}", ended.complaint());
    assert_eq!(death.victim.cgroup, Some(format!("/{name}")));
}

/// A title that a process had when it was started, and one that it gives itself later without a new name.
#[test]
fn target_by_title() {
    require_root();
    let [born, made] = ["born", "made"].map(|name| format!("kt-{name}-{}", std::process::id()));
    let trace = Trace::start("title", &words(&["--target", &born, "--target", &made]));
    let mut sleep = Command::new("sleep");
    sleep.arg0(format!("{born}: sleeper")).arg("1000");
    let mut sleep = sleep.spawn().expect("sleep runs");
    trace.hear(&format!("{born} appeared: sleep[{}]", sleep.id()));
    sleep.kill().expect("it is killed");
    sleep.wait().expect("it ends");
    let mut worker = Command::new(program("killtrace-fixture"));
    worker.args(["role", "titled", &made]).stdin(Stdio::piped());
    let mut worker = worker.spawn().expect("the fixture runs");
    trace.hear(&format!("{made} appeared: killtrace-fixtu[{}]", worker.id()));
    worker.kill().expect("it is killed");
    worker.wait().expect("it ends");
    let ended = trace.stop();
    let mut victims: Vec<u32> = ended.deaths().map(|death| death.victim.pid).collect();
    victims.sort_unstable();
    let mut expected = [sleep.id(), worker.id()];
    expected.sort_unstable();
    assert_eq!(victims, expected, "{}", ended.complaint());
}

/// Everybody of a user.
#[test]
fn target_user() {
    let mut stage = Stage::open("kill-other-user");
    let victim = stage.pid("victim");
    let mut trace = Trace::of(&stage, &["--target", "user:nobody"]);
    stage.begin();
    stage.victims_end();
    let death = trace.death_of(victim);
    trace.stop();
    stage.close();
    assert_eq!(death.victim.user.as_deref(), Some("nobody"));
}

/// Deaths that nobody asked for are reported with --all, and told as well.
#[test]
fn all_deaths() {
    let mut stage = Stage::open("kill-sender-gone");
    let victim = stage.pid("victim");
    let mut trace = Trace::start("all-deaths", &words(&["--all"]));
    stage.begin();
    stage.victims_end();
    let death = trace.death_of(victim);
    trace.stop();
    let cast = stage.close();
    assert_eq!(death.killer.process.map(|killer| killer.pid), cast.pid("killer"));
    assert_eq!(death.cause.id, CauseId::ProcessSignal);
}

fn run(args: &[&str]) -> Output {
    let output = Command::new(program("killtrace")).args(args).output();
    output.unwrap_or_else(|error| panic!("cannot start killtrace: {error}"))
}

/// A pid that nobody has is said so in one sentence.
#[test]
fn no_such_pid() {
    require_root();
    // The largest that Linux ever gives is one less.
    let output = run(&["-p", "4194304"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.starts_with("killtrace: ") && said.contains("4194304"), "{said}");
}

/// A script that reads the report sees it end, though there was nothing to trace; and what is refused leaves none.
#[test]
fn no_such_program() {
    require_root();
    let output = run(&["--format", "json", "--", "/no/such/program"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot run /no/such/program"), "{said}");
    let report = String::from_utf8_lossy(&output.stdout);
    let types: Vec<serde_json::Value> = report.lines().map(type_of).collect();
    assert_eq!(types, ["header", "summary"], "{report}");
    assert!(report.contains(r#""alive":0"#), "{report}");
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("report.jsonl");
    std::fs::write(&path, &output.stdout).expect("the report is kept");
    let refused = run(&["replay", "--format", "json", &path.to_string_lossy()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{said}");
}

fn type_of(line: &str) -> serde_json::Value {
    let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
    record["type"].clone()
}

/// The tool's own proof, for whoever cannot run these tests.
#[test]
fn doctor_tests_itself() {
    require_root();
    let output = run(&["doctor", "--self-test", "--format", "json"]);
    let report = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{report}{said}");
    let rows: Vec<serde_json::Value> =
        report.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let state = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name);
        row.map_or_else(String::new, |row| row["state"].as_str().unwrap_or_default().to_owned())
    };
    // Those that take more than a machine may have are only tried where it has that.
    let does = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        let done = command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    };
    let named = state("kallsyms") == "works";
    let mut names: Vec<&str> = killtrace::commands::doctor::self_tests().collect();
    for (name, words) in [
        ("died with the init of its pid namespace", &["unshare", "-pf", "true"][..]),
        ("lost its terminal", &["script", "-qec", "true", "/dev/null"][..]),
    ] {
        assert!(names.contains(&name), "{names:?}");
        names.retain(|other| *other != name || (named && does(words)));
    }
    for name in names {
        assert_eq!(state(name), "works", "{name}: {report}");
    }
}
