//! What had begun before killtrace knew of it: signals that waited for a process, and children of programs that are a target by
//! their file's name alone.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use killtrace::evidence::Grade;
use killtrace::story::verdict::{CauseId, Outcome};
use killtrace_tests::live::{Trace, run};

/// A shell that runs a script, and does not outlive its test.
struct Shell {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Shell {
    fn start(program: &Path, script: &str) -> Self {
        let mut child = Command::new(program)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its.
    fn says(&mut self, words: &str) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("its output");
        assert_eq!(line.trim_end(), words);
    }

    fn told(&mut self, words: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{words}").expect("it reads");
    }

    fn signalled(&self, name: &str) {
        run(&["kill", &format!("-{name}"), &self.pid().to_string()]);
    }

    /// Waits until a signal has stopped it.
    fn is_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.pid());
        for _ in 0..1000 {
            let text = fs::read_to_string(&stat).expect("it is there");
            if text.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it goes on");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As `python3` is a link to `python3.13`: a child is a target that runs the same file, and none that runs another.
#[test]
fn children_of_what_matches_by_its_file() {
    // Each is killed by a child of its own.
    const SCRIPT: &str = "read go; (sh -c 'kill -KILL $PPID'; :); (exec sh -c 'kill -KILL $$'); echo done; read more";
    let folder = tempfile::tempdir().expect("a folder");
    let (file, link) = (folder.path().join("kt-file9"), folder.path().join("kt-link"));
    run(&["cp", "/bin/sh", &file.to_string_lossy()]);
    symlink("kt-file9", &link).expect("a link");
    for is_late in [false, true] {
        let target = ["--target", "kt-file9"].map(str::to_owned);
        let name = if is_late { "late" } else { "running" };
        let start = || Shell::start(&link, SCRIPT);
        let trace = || Trace::start(name, &target);
        let (mut shell, trace) = if is_late {
            let trace = trace();
            let shell = start();
            trace.hear("appeared");
            (shell, trace)
        } else {
            let shell = start();
            (shell, trace())
        };
        shell.told("go");
        shell.says("done");
        let ended = trace.stop();
        let killed = Outcome::Signaled { signal: "SIGKILL".to_owned(), core_dumped: false };
        let deaths: Vec<_> = ended.deaths().collect();
        assert_eq!(deaths.len(), 1, "{}", ended.complaint());
        assert_eq!(deaths[0].outcome, killed, "{}", ended.complaint());
        assert_eq!(deaths[0].victim.ppid, Some(shell.pid()), "{}", ended.complaint());
        assert_eq!(deaths[0].victim.comm.as_deref(), Some("kt-link"), "{}", ended.complaint());
    }
}

/// Whether it ends by that or only on that: who sent it was not seen, and somebody did.
#[test]
fn a_signal_that_waited() {
    for script in ["trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done", "echo up; read x"] {
        let mut shell = Shell::start(Path::new("/bin/sh"), script);
        shell.says("up");
        shell.signalled("STOP");
        shell.is_stopped();
        shell.signalled("TERM");
        let args = ["-p".to_owned(), shell.pid().to_string()];
        let trace = Trace::start("waited", &args);
        shell.signalled("CONT");
        let ended = trace.finish();
        let deaths: Vec<_> = ended.deaths().collect();
        let [death] = deaths[..] else { panic!("{}", ended.complaint()) };
        let text = &death.cause.explanation;
        assert_eq!(death.cause.id, CauseId::Unknown, "{text} {}", ended.complaint());
        assert!(text.contains("SIGTERM was waiting for it already"), "{text}");
        assert!(text.contains("SIGCONT, which lets a stopped process go on"), "{text}");
    }
}

/// A process that no signal can have asked to end, and one that may be answering one. A shell has a way of its own with SIGINT
/// in any case.
#[test]
fn an_exit_right_after_tracing_began() {
    for (script, grade) in [
        ("echo up; exec head -n 1", Grade::Observed),
        ("trap : TERM; echo up; read x; exit 3", Grade::Inferred),
    ] {
        let mut shell = Shell::start(Path::new("/bin/sh"), script);
        shell.says("up");
        let trace = Trace::start("soon", &["-p".to_owned(), shell.pid().to_string()]);
        shell.told("end");
        let ended = trace.finish();
        let deaths: Vec<_> = ended.deaths().collect();
        let [death] = deaths[..] else { panic!("{}", ended.complaint()) };
        assert_eq!(death.cause.id, CauseId::ExitedByItself, "{}", ended.complaint());
        assert_eq!(death.cause.evidence, grade, "{}", death.cause.explanation);
    }
}
