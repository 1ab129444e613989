//! `cargo xtask test`: everything that continuous integration runs, stage by stage.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
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
            Self::Live => return with_killtrace(&["--test", "fixtures", "--test", "live"], None),
            Self::Lab => return with_killtrace(&["--test", "lab"], None),
            Self::Lab13 => return with_killtrace(&["--test", "lab"], Some(OF_13)),
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
    let mut arguments = vec!["test", "--locked", "--package", "killtrace-tests", "--no-fail-fast"];
    arguments.extend(tests);
    arguments.push("--");
    let step = |arguments: &[&str]| {
        let mut command = cargo(arguments);
        if let Some((release, names)) = other {
            command.env("KILLTRACE_LAB_SUITE", release).args(names);
        }
        run_command(&mut command)
    };
    let Err(first) = step(&arguments) else { return Ok(Passed::AtOnce) };
    // Real systems on a busy machine: what failed beside others is tried once more, one test at a time, and
    // said to have been.
    writeln!(std::io::stdout(), "=== {first:#}: once more, one test at a time")?;
    arguments.extend(["--test-threads", "1"]);
    step(&arguments)?;
    Ok(Passed::InPartAlone)
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

    #[test]
    fn stages_are_left_out_by_name() {
        let line: Line = clap::Parser::parse_from(["x", "--skip", "fmt,lab"]);
        assert_eq!(line.arguments.skip, [Stage::Fmt, Stage::Lab]);
        assert!(<Line as clap::Parser>::try_parse_from(["x", "--skip", "everything"]).is_err());
    }
}
