//! What became of killtrace on one kernel.

use super::plan::{Line, TestOutcome};

/// How a fixture, or a test, says that a kernel cannot do what a scene is about.
const LACKS: &str = "this kernel has no ";

/// A test that did not pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Program and test.
    pub name: String,
    /// Why, in a line.
    pub reason: String,
    /// What it wrote.
    pub output: String,
}

/// Everything that was seen on one kernel.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// `uname -r`; `None` where it did not boot.
    pub release: Option<String>,
    /// `killtrace doctor`: name, state, detail.
    pub checks: Vec<(String, String, String)>,
    /// Tests that passed: program and test.
    pub passed: Vec<String>,
    /// Those that a kernel without the feature cannot pass.
    pub impossible: Vec<Failure>,
    /// Those that failed.
    pub failed: Vec<Failure>,
    /// Those that passed at the second attempt only.
    pub unsteady: Vec<Failure>,
    /// What went wrong beside the tests.
    pub trouble: Vec<String>,
    /// The guest came to its end.
    pub done: bool,
}

impl Outcome {
    /// Takes a line of the guest in.
    pub fn take(&mut self, line: Line) {
        match line {
            Line::Booted { release } => self.release = Some(release),
            Line::Check { name, state, detail } => self.checks.push((name, state, detail)),
            Line::Test { program, name, outcome, output, attempt, .. } => {
                let name = format!("{program} {name}");
                let before = self.failed.iter().position(|failure| failure.name == name);
                let before = before.filter(|_| attempt > 1).map(|at| self.failed.remove(at));
                if outcome == TestOutcome::Passed {
                    self.passed.push(name);
                    self.unsteady.extend(before);
                } else if let Some(reason) = lacking(&output) {
                    self.impossible.push(Failure { name, reason, output });
                } else {
                    let reason = match outcome {
                        TestOutcome::TimedOut => "it did not end".to_owned(),
                        TestOutcome::Failed | TestOutcome::Passed => reason(&output),
                    };
                    self.failed.push(Failure { name, reason, output });
                }
            }
            Line::Trouble { text } => self.trouble.push(text),
            Line::Recording { .. } => {}
            Line::Done => self.done = true,
        }
    }

    /// Whether all is as it should be.
    pub fn is_good(&self) -> bool {
        let fails = self.checks.iter().any(|(_, state, _)| state == "fails");
        self.done && self.failed.is_empty() && self.trouble.is_empty() && !fails
    }

    /// How many of these hooks work, of how many.
    pub fn hooks(&self, hooks: &[&str]) -> (usize, usize) {
        let works = |hook: &&&str| {
            self.checks.iter().any(|(name, state, _)| name == **hook && state == "works")
        };
        (hooks.iter().filter(works).count(), hooks.len())
    }
}

/// What a kernel lacks to pass a test, where the test or its fixture says so.
pub fn lacking(output: &str) -> Option<String> {
    let start = output.find(LACKS)?;
    output[start..].lines().next().map(str::to_owned)
}

/// The first sentences of a panic, or the last line.
fn reason(output: &str) -> String {
    let mut lines = output.lines().map(str::trim);
    let panicked = lines.any(|line| line.starts_with("thread '") && line.contains("panicked at"));
    if !panicked {
        return output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("").to_owned();
    }
    let said = lines.take_while(|line| !line.is_empty() && !line.starts_with("note: "));
    let said: Vec<&str> = said.take(6).collect();
    shortened(&said.join("; "))
}

/// A line that fits into a table.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(outcome: TestOutcome, output: &str) -> Line {
        Line::Test {
            program: "live".to_owned(),
            name: "a::b".to_owned(),
            outcome,
            attempt: 1,
            seconds: 1.0,
            output: output.to_owned(),
        }
    }

    #[test]
    fn a_failure_gives_its_reason() {
        let mut outcome = Outcome::default();
        outcome.take(test(
            TestOutcome::Failed,
            "running 1 test\n\nthread 'a::b' (7) panicked at tests/src/x.rs:1:1:\n\
             kill-term: the verdict is wrong\n  cause.id: Unknown, not ProcessSignal\n\n{}\nnote: run\n",
        ));
        outcome.take(test(TestOutcome::TimedOut, "running"));
        outcome.take(test(TestOutcome::Passed, ""));
        let reasons: Vec<_> = outcome.failed.iter().map(|failure| &failure.reason).collect();
        assert_eq!(
            reasons,
            [
                "kill-term: the verdict is wrong; cause.id: Unknown, not ProcessSignal",
                "it did not end"
            ]
        );
        assert_eq!(outcome.failed[0].name, "live a::b");
        assert_eq!(outcome.passed, ["live a::b"]);
        assert!(!outcome.is_good());
    }

    #[test]
    fn a_second_attempt_replaces_the_first_and_is_told() {
        let again = |outcome, output| match test(outcome, output) {
            Line::Test { program, name, outcome, seconds, output, .. } => {
                Line::Test { program, name, outcome, attempt: 2, seconds, output }
            }
            other => other,
        };
        let mut outcome = Outcome::default();
        outcome.take(test(TestOutcome::TimedOut, ""));
        outcome.take(again(TestOutcome::Failed, "still wrong"));
        assert_eq!((outcome.failed.len(), outcome.unsteady.len()), (1, 0));
        assert_eq!(outcome.failed[0].reason, "still wrong");
        outcome.take(again(TestOutcome::Passed, ""));
        assert_eq!((outcome.failed.len(), outcome.unsteady.len(), outcome.passed.len()), (0, 1, 1));
    }

    #[test]
    fn what_a_kernel_cannot_do_is_no_failure() {
        let mut outcome = Outcome::default();
        let said = "killtrace-fixture: pid 7: this kernel has no cgroup.kill (it came with 5.14)\n";
        outcome.take(test(TestOutcome::Failed, said));
        outcome.take(Line::Done);
        assert_eq!(
            outcome.impossible[0].reason,
            "this kernel has no cgroup.kill (it came with 5.14)"
        );
        assert!(outcome.is_good());
        outcome.take(Line::Trouble { text: "no doctor".to_owned() });
        assert!(!outcome.is_good());
    }
}
