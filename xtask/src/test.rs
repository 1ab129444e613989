//! `cargo xtask test`: everything that continuous integration runs, stage by stage.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::cargo::{cargo, run as run_command};
use crate::{check_ebpf, deny, setup, vm};

/// What to leave out.
#[derive(clap::Args)]
pub struct Arguments {
    /// Stages to leave out
    #[arg(long, value_delimiter = ',')]
    skip: Vec<Stage>,
}

/// The stages, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Install what is needed
    Setup,
    /// The formatting
    Fmt,
    /// Lints, warnings are errors
    Clippy,
    /// The documentation, without a warning
    Doc,
    /// Unit tests
    Unit,
    /// The recorded cases are told as before, changed ones without a panic, and what fuzzers found does no harm
    Replay,
    /// The fixture programs and killtrace on the running kernel
    Live,
    /// killtrace with systemd, sshd and tmux
    Lab,
    /// The same with those of Debian 13, where they differ most
    #[value(name = "lab-13")]
    Lab13,
    /// The oldest and the newest of Debian's kernels, in virtual machines
    Vm,
    /// Lints of the eBPF programs; the committed object is what they make
    Object,
    /// Licences and sources of the dependencies
    Deny,
}

/// How a stage passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    AtOnce,
    /// Some of its tests failed beside others, and passed alone.
    InPartAlone,
}

impl Passed {
    const fn word(self) -> &'static str {
        match self {
            Self::AtOnce => "passed",
            Self::InPartAlone => {
                "passed at the SECOND TRY, one test at a time: look above for what failed first"
            }
        }
    }
}

impl Stage {
    fn run(self) -> Result<Passed> {
        match self {
            Self::Setup => setup::run(),
            Self::Fmt => step(&["fmt", "--all", "--check"]),
            Self::Clippy => step(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]),
            Self::Doc => run_command(
                cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Unit => step(&[
                "test",
                "--locked",
                "--workspace",
                "--lib",
                "--bins",
                "--examples",
                "--no-fail-fast",
            ]),
            Self::Replay => step(&[
                "test",
                "--locked",
                "--package",
                "killtrace-tests",
                "--no-fail-fast",
                "--test",
                "replay",
                "--test",
                "mutations",
                "--test",
                "corpus",
            ]),
            Self::Live => return with_killtrace(&["fixtures", "live"], None),
            Self::Lab => return with_killtrace(&["lab"], None),
            Self::Lab13 => return with_killtrace(&["lab"], Some(OF_13)),
            Self::Vm => vm::run_short(),
            Self::Object => check_ebpf::run(),
            Self::Deny => deny::run(&deny::Arguments::default()),
        }?;
        Ok(Passed::AtOnce)
    }
}

fn step(arguments: &[&str]) -> Result<()> {
    run_command(&mut cargo(arguments))
}

/// A lab of another release than the machine's: its code name, and what is tried there.
type OtherRelease = (&'static str, &'static [&'static str]);

/// Who ends sessions and on whose request: what systemd, logind and sshd do in another way from version to version.
const OF_13: OtherRelease =
    ("trixie", &["connections::", "going_down::", "logout::", "requesters::", "sessions::"]);

/// Tests that run the killtrace just built.
fn with_killtrace(tests: &[&str], other: Option<OtherRelease>) -> Result<Passed> {
    step(&["build", "--locked", "--package", "killtrace"])?;
    let mut passed = Passed::AtOnce;
    for test in tests {
        let command = || {
            let mut command = cargo(&["test", "--locked", "--package", "killtrace-tests"]);
            command.args(["--test", test, "--"]);
            command.envs(other.map(|(release, _)| ("KILLTRACE_LAB_SUITE", release)));
            command
        };
        let mut all = command();
        all.args(other.map_or(&[][..], |(_, names)| names));
        let failed = failed_tests(&mut all, &mut std::io::stdout())?;
        if failed.is_empty() {
            continue;
        }
        // Real systems on a busy machine: what failed beside others is tried once more, one test at a time, and
        // said to have been.
        writeln!(std::io::stdout(), "=== once more, one at a time: {}", failed.join(", "))?;
        run_command(command().args(["--test-threads", "1", "--exact"]).args(&failed))?;
        passed = Passed::InPartAlone;
    }
    Ok(passed)
}

/// Runs a program of tests, whose output goes to `out`; the tests that failed.
///
/// # Errors
/// Where it cannot be built or started, or ends before it has said what failed.
fn failed_tests(command: &mut Command, out: &mut impl Write) -> Result<Vec<String>> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let (mut failed, mut counted) = (Vec::new(), None);
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        failed.extend(failed_test(&line).map(str::to_owned));
        counted = failures(&line).or(counted);
    }
    let status = child.wait()?;
    if !status.success() && (failed.is_empty() || counted != Some(failed.len())) {
        bail!("the tests did not come to their end ({status})");
    }
    Ok(failed)
}

/// The name in `test a::b ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    (!name.contains(' ')).then_some(name)
}

/// The number in `test result: FAILED. 217 passed; 5 failed; …`.
fn failures(line: &str) -> Option<usize> {
    let (before, _) = line.strip_prefix("test result: FAILED. ")?.split_once(" failed;")?;
    before.split_once("; ")?.1.parse().ok()
}

/// Runs every stage that is not left out, also after one that failed, and sums up.
///
/// # Errors
/// Where a stage failed: names all that did.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut out = std::io::stdout();
    let start = Instant::now();
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for stage in Stage::value_variants() {
        let name =
            stage.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        if arguments.skip.contains(stage) {
            lines.push(format!("{name:8} left out"));
            continue;
        }
        writeln!(out, "\n=== {name}")?;
        let begun = Instant::now();
        let result = stage.run();
        let word = result.as_ref().map_or("FAILED", |passed| passed.word());
        let line = format!("{name:8} {:>8} {word}", seconds(begun.elapsed()));
        writeln!(out, "=== {line}")?;
        if let Err(error) = result {
            writeln!(out, "=== {error:#}")?;
            failed.push(name);
        }
        lines.push(line);
    }
    writeln!(out, "\n{}\ntotal    {:>8}", lines.join("\n"), seconds(start.elapsed()))?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn said(text: &str) -> Result<Vec<String>> {
        let script = r#"printf '%b' "$1"; [ -z "$1" ]"#;
        failed_tests(Command::new("sh").args(["-c", script, "sh", text]), &mut std::io::sink())
    }

    #[test]
    fn what_failed_is_tried_again_and_nothing_else() {
        let line = "test a::b ... ok\ntest a::c ... FAILED\n";
        let result = "test result: FAILED. 1 passed; 1 failed; 0 ignored;\n";
        assert_eq!(said(&format!("{line}{result}")).expect("an end"), ["a::c"]);
        let more = "test result: FAILED. 0 passed; 2 failed; 0 ignored;\n";
        for cut in [line.to_owned(), format!("{line}{more}"), "error: no such thing\n".to_owned()] {
            let error = said(&cut).expect_err("no end").to_string();
            assert!(error.contains("did not come to their end"), "{error}");
        }
        assert_eq!(said("").expect("success"), [""; 0]);
    }

    #[test]
    fn stages_are_left_out_by_name() {
        let line: Line = clap::Parser::parse_from(["x", "--skip", "fmt,lab"]);
        assert_eq!(line.arguments.skip, [Stage::Fmt, Stage::Lab]);
        assert!(<Line as clap::Parser>::try_parse_from(["x", "--skip", "everything"]).is_err());
    }
}
