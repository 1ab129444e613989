//! `killtrace doctor`: what this machine offers, and what each missing thing costs.

pub mod kernel;
mod self_test;
mod sources;

use std::path::PathBuf;

use crate::cli::ReportArgs;
use crate::evidence::SCHEMA;
use crate::report::ReportForm;
use crate::report::checkup::{self, Check, Conclusion, Heading, State, show, widest};
use crate::system::{machine, presence};

use super::Failure;
use super::limits;
use super::output::Output;

/// What it costs to be without what nothing goes without.
const NOTHING: &str = "nothing can be traced; `killtrace replay` works";

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Let children die and check the verdicts as well.
    pub self_test: bool,
    /// The kernel's types, where they are not `/sys/kernel/btf/vmlinux`.
    pub btf: Option<PathBuf>,
}

/// Looks at everything and tells; gives 0 where tracing works, and in a self-test every verdict too.
///
/// # Errors
/// Where the report cannot be written.
pub fn run(plan: &Plan, args: &ReportArgs) -> Result<u8, Failure> {
    let mut output = Output::open(args)?;
    let options = *output.options();
    let mut checks: Vec<Check> = checks(plan)?.into_iter().map(Check::settled).collect();
    let text = options.form == ReportForm::Text;
    // Where nobody reads any more, the exit status still tells.
    output.text(&checkup::heading(&heading(), options.form))?;
    let columns = widest(checks.iter().map(|check| check.name.as_str()));
    output.text(&show(&checks, columns, &options))?;
    let tracing = !checks.iter().any(|check| check.state == State::Fails);
    let mut right = tracing;
    let (mut tried, all) = (0, self_test::SCENARIOS.len());
    if plan.self_test && tracing {
        if text {
            output.text("\n")?;
        }
        let columns = widest(self_test::SCENARIOS.iter().map(|test| test.name));
        for test in self_test::SCENARIOS {
            let check = test.run(plan.btf.as_deref()).settled();
            right &= check.state != State::Fails;
            tried += usize::from(check.state != State::Missing);
            // One by one: each takes a while.
            output.text(&show(std::slice::from_ref(&check), columns, &options))?;
            checks.push(check);
        }
    }
    let conclusion = conclusion(&checks, plan.self_test.then_some((tried, all)), tracing);
    output.text(&checkup::conclusion(&conclusion, options.form))?;
    Ok(u8::from(!right))
}

/// The names of the self-test's checks.
pub fn self_tests() -> impl Iterator<Item = &'static str> {
    self_test::SCENARIOS.iter().map(|test| test.name)
}

/// Everything but the self-test. Without `/proc` nothing else could be believed, and without files and threads
/// nothing attached or listened to.
fn checks(plan: &Plan) -> anyhow::Result<Vec<Check>> {
    if let Err(trouble) = presence::proc_works() {
        return Ok(vec![refusal("/proc", &trouble.to_string())]);
    }
    if let Err(shortage) = limits::suffice() {
        let limits = refusal("limits", &shortage.to_string());
        let mut checks = kernel::under_limits(limits, plan.btf.as_deref());
        checks.extend(sources::not_tried());
        return Ok(checks);
    }
    let mut checks = kernel::checks(plan.btf.as_deref());
    checks.extend(sources::checks()?);
    Ok(checks)
}

/// What nothing goes without. The sentence says what to do after its semicolon.
fn refusal(name: &str, sentence: &str) -> Check {
    let (detail, remedy) = match sentence.split_once("; ") {
        Some((detail, remedy)) => (detail, Some(remedy)),
        None => (sentence, None),
    };
    Check {
        cost: Some(NOTHING.to_owned()),
        // Only what the verifier said of a program has more than one line.
        remedy: remedy.map(|remedy| remedy.split_whitespace().collect::<Vec<_>>().join(" ")),
        ..check(name, State::Fails, detail)
    }
}

fn heading() -> Heading {
    let machine = machine::Machine::here();
    Heading {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: machine.kernel,
        arch: machine.arch,
        systemd: machine::systemd_version(),
    }
}

/// What the checks come to; `tried`: how many verdicts were compared of how many, in a self-test.
fn conclusion(checks: &[Check], tried: Option<(usize, usize)>, tracing: bool) -> Conclusion {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (missing, failed) = (count(State::Missing), count(State::Fails));
    let text = match (tracing, failed, missing) {
        (false, ..) => {
            "Tracing does not work here: see what FAILS. `killtrace replay` does.".to_owned()
        }
        (true, 1.., _) => "Tracing works here, but not every verdict is right.".to_owned(),
        (true, 0, missing) => {
            let right = match tried {
                None => "",
                Some((0, _)) => ", but no verdict could be tried",
                Some((tried, all)) if tried < all => {
                    ", and every verdict that could be tried is right"
                }
                Some(_) => ", and every verdict is right",
            };
            let are = if missing == 1 { "is" } else { "are" };
            match missing {
                0 => format!("Tracing works here{right}."),
                _ => format!(
                    "Tracing works here{right}. {missing} of {} {are} missing; verdicts tell what they lack.",
                    checks.len()
                ),
            }
        }
    };
    Conclusion { works: tracing && failed == 0, missing, failed, text }
}

fn check(name: &str, state: State, detail: &str) -> Check {
    Check { name: name.to_owned(), state, detail: detail.to_owned(), cost: None, remedy: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conclusion_fits_the_checks() {
        let rows = |states: &[State]| -> Vec<Check> {
            states.iter().map(|state| check("x", *state, "")).collect()
        };
        let one = conclusion(&rows(&[State::Missing, State::Works]), None, true);
        assert!(one.works && one.text.contains("1 of 2 is missing"), "{one:?}");
        let all = conclusion(&rows(&[State::Works]), Some((1, 1)), true);
        assert!(all.works && all.text.contains("every verdict is right"), "{all:?}");
        let some = conclusion(&rows(&[State::Works, State::Missing]), Some((1, 2)), true);
        assert!(some.works && some.text.contains("that could be tried is right"), "{some:?}");
        let untried = conclusion(&rows(&[State::Works, State::Missing]), Some((0, 1)), true);
        assert!(untried.works && untried.text.contains("no verdict could be tried"), "{untried:?}");
        let wrong = conclusion(&rows(&[State::Works, State::Fails]), Some((2, 2)), true);
        assert!(!wrong.works && wrong.text.contains("not every verdict"), "{wrong:?}");
        let nothing = conclusion(&rows(&[State::Fails]), Some((0, 0)), false);
        assert!(!nothing.works && nothing.text.contains("does not work"), "{nothing:?}");
    }
}
