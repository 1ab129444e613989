//! What became of killtrace on one kernel.

use super::plan::{Line, TestOutcome};

/// How a fixture, or a test, says that a kernel cannot do what a scene is about: at the beginning of what it says, since
/// killtrace uses such words itself.
const LACKS: &str = "this kernel has no ";

/// What stands before that in a line of a fixture, and then its pid and a colon.
const FIXTURE: &str = "killtrace-fixture: pid ";

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

    /// Takes what `killtrace doctor` has to say of these, and did not, for trouble.
    pub fn expect(&mut self, what: &str, names: &[&str]) {
        let (works, all) = self.working(names);
        if works < all {
            self.trouble.push(format!("{works} of {all} {what} work"));
        }
    }

    /// Whether any test was run; a filter may be the name of none.
    pub fn has_tests(&self) -> bool {
        !(self.passed.is_empty() && self.failed.is_empty() && self.impossible.is_empty())
    }

    /// How many of these checks of `killtrace doctor` are well, of how many.
    pub fn working(&self, names: &[&str]) -> (usize, usize) {
        let works = |wanted: &&&str| {
            self.checks.iter().any(|(name, state, _)| name == **wanted && state == "works")
        };
        (names.iter().filter(works).count(), names.len())
    }
}

/// What a kernel lacks to pass a test, where the test or its fixture says so.
pub fn lacking(output: &str) -> Option<String> {
    let mut said = output.lines().map(|line| of_fixture(line).unwrap_or(line));
    said.find(|said| said.starts_with(LACKS)).map(str::to_owned)
}

/// What a fixture said in a line.
fn of_fixture(line: &str) -> Option<&str> {
    let (_, said) = line.split_once(FIXTURE)?;
    said.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix(": ")
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
    fn tests_were_run_where_any_passed_failed_or_was_not_possible() {
        for (how, output) in [
            (TestOutcome::Passed, ""),
            (TestOutcome::Failed, "wrong"),
            (TestOutcome::Failed, "this kernel has no cgroup.kill"),
        ] {
            let mut outcome = Outcome::default();
            outcome.take(Line::Done);
            assert!(!outcome.has_tests());
            outcome.take(test(how, output));
            assert!(outcome.has_tests(), "{output}");
        }
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
        // What killtrace says of a kernel is no excuse.
        let said =
            "thread 'a' panicked at x:1:\nwrong: missing  kernel fields  this kernel has no x.y\n";
        outcome.take(test(TestOutcome::Failed, said));
        assert_eq!((outcome.impossible.len(), outcome.failed.len()), (1, 1));
        outcome.failed.clear();
        let said = "thread 'a' panicked at x:1:\nthis kernel has no lockdown (CONFIG_X)\nnote: run";
        outcome.take(test(TestOutcome::Failed, said));
        assert_eq!(outcome.impossible[1].reason, "this kernel has no lockdown (CONFIG_X)");
        assert!(outcome.is_good());
        let (name, state) = ("signal_generate".to_owned(), "works".to_owned());
        outcome.take(Line::Check { name, state, detail: String::new() });
        outcome.expect("hooks", &["signal_generate"]);
        assert!(outcome.is_good());
        outcome.expect("hooks", &["signal_generate", "mark_victim"]);
        assert_eq!(outcome.trouble, ["1 of 2 hooks work"]);
        outcome.trouble.clear();
        outcome.take(Line::Trouble { text: "no doctor".to_owned() });
        assert!(!outcome.is_good());
    }
}
