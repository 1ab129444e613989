//! What the arguments of a trace ask for, checked and put together.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{ColorChoice, Format, ReportArgs, TargetSpec, TraceArgs, Verb};
use crate::evidence::TraceOptions;

use super::Failure;

/// A program to start and follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name or path.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Run it as this user, by name or uid.
    pub user: Option<String>,
}

/// What to trace and how, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Targets of `--target`.
    pub targets: Vec<TargetSpec>,
    /// Processes of `-p`, each once: the trace ends when the last of them has died.
    pub pids: Vec<u32>,
    /// The program after `--`.
    pub command: Option<Command>,
    /// Follow children.
    pub follow: bool,
    /// End after this time.
    pub duration: Option<Duration>,
    /// The kernel's types, where they are not `/sys/kernel/btf/vmlinux`.
    pub btf: Option<PathBuf>,
    /// What the header and the story need: `--all`, `--exits`, `--once`, `-e`.
    pub options: TraceOptions,
    /// How to report, and where to record.
    pub report: ReportArgs,
}

impl Plan {
    /// Checks the arguments.
    ///
    /// # Errors
    /// Where no target is given, or where what is given makes no sense together.
    pub fn new(trace: TraceArgs, report: ReportArgs) -> Result<Self, Failure> {
        let nothing = trace.targets.is_empty() && trace.pids.is_empty() && trace.command.is_empty();
        if nothing && !trace.all {
            return Err(usage(
                "nothing to trace: give --target NAME, -p PID, -- CMD or --all; `killtrace --help` shows examples",
            ));
        }
        if trace.user.is_some() && trace.command.is_empty() {
            return Err(usage("-u says who runs CMD: give the program as well, -u USER -- CMD"));
        }
        if trace.user.as_deref() == Some("") {
            return Err(usage("-u is empty: give the name or number of the user who runs CMD"));
        }
        let mut words = trace.command.into_iter();
        let command = words.next().map(|program| Command {
            program,
            args: words.collect(),
            user: trace.user,
        });
        if command.as_ref().is_some_and(|command| command.program.is_empty()) {
            return Err(usage("the name of the program after -- is empty: write -- CMD ARGS"));
        }
        let mut pids = trace.pids;
        pids.sort_unstable();
        pids.dedup();
        Ok(Self {
            targets: trace.targets,
            pids,
            follow: trace.follow || command.is_some(),
            command,
            duration: trace.duration,
            btf: trace.btf,
            options: TraceOptions {
                exits: report.exits,
                all: trace.all,
                hidden_signals: report.signals.unwrap_or_default().hidden(),
                once: trace.once,
            },
            report,
        })
    }

    /// With processes in place of their threads, as strace has it, and a sentence for each that was replaced.
    #[must_use]
    pub fn of_processes(
        mut self,
        process_of_thread: impl Fn(u32) -> Option<u32>,
    ) -> (Self, Vec<String>) {
        let mut told = Vec::new();
        let named = self.targets.iter_mut().filter_map(|target| match target {
            TargetSpec::Pid(pid) => Some(pid),
            _ => None,
        });
        for pid in self.pids.iter_mut().chain(named) {
            if let Some(process) = process_of_thread(*pid) {
                told.push(format!("{pid} is a thread of process {process}: tracing {process}"));
                *pid = process;
            }
        }
        self.pids.sort_unstable();
        self.pids.dedup();
        (self, told)
    }

    /// The targets in words, for the header.
    pub fn target_words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        words.extend(self.pids.iter().map(ToString::to_string));
        if let Some(command) = &self.command {
            let mut line = format!("-- {}", command.program.to_string_lossy());
            for argument in &command.args {
                line.push(' ');
                line.push_str(&argument.to_string_lossy());
            }
            words.push(line);
        }
        if self.options.all {
            words.push("--all".to_owned());
        }
        words
    }
}

/// The first of the options that only a trace understands, where one is given.
pub fn first_given(trace: &TraceArgs) -> Option<&'static str> {
    let given = [
        (trace.btf.is_some(), "--btf"),
        (!trace.targets.is_empty(), "--target"),
        (!trace.pids.is_empty(), "-p"),
        (trace.all, "--all"),
        (trace.follow, "-f"),
        (trace.user.is_some(), "-u"),
        (trace.once, "--once"),
        (trace.duration.is_some(), "--duration"),
        (!trace.command.is_empty(), "-- CMD"),
    ];
    given.into_iter().find_map(|(given, option)| given.then_some(option))
}

/// Of an option of reports that would be ignored by a verb, what to write instead.
pub fn useless(report: &ReportArgs, verb: &Verb) -> Option<String> {
    let (name, has_report) = match verb {
        Verb::Replay { .. } => return None,
        Verb::Doctor { .. } => ("doctor", true),
        Verb::Completions { .. } => ("completions", false),
        Verb::Man => ("man", false),
    };
    if report.output.is_some() && !has_report {
        return Some(format!("`killtrace {name}` does not take -o: write `> FILE` behind it"));
    }
    let given = [
        (report.signals.is_some(), "-e"),
        (report.exits, "--exits"),
        (report.time > 0, "-t"),
        (report.relative, "-r"),
        (report.record.is_some(), "--record"),
        (report.redact, "--redact"),
        (report.quiet, "-q"),
        (report.format != Format::Text && !has_report, "--format"),
        (report.color != ColorChoice::Auto && !has_report, "--color"),
    ];
    let option = given.into_iter().find_map(|(given, option)| given.then_some(option))?;
    Some(format!("`killtrace {name}` does not take {option}: leave it out"))
}

fn usage(sentence: &str) -> Failure {
    Failure::Usage(sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn plan(line: &[&str]) -> Result<Plan, String> {
        let cli = Cli::try_parse_from(std::iter::once("killtrace").chain(line.iter().copied()))
            .unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Plan::new(cli.trace, cli.report).map_err(|failure| {
            assert_eq!(failure.status(), 2);
            failure.sentence()
        })
    }

    #[test]
    fn a_plan_needs_a_target() {
        assert!(plan(&[]).expect_err("no target").contains("--target NAME"));
        assert!(plan(&["-f", "--once"]).expect_err("no target").contains("nothing to trace"));
        assert!(plan(&["--all", "-u", "alice"]).expect_err("no program").contains("-- CMD"));
        assert!(plan(&["-u", "", "--", "id"]).expect_err("nobody").contains("-u is empty"));
        assert!(plan(&["--", ""]).expect_err("no program").contains("empty"));
    }

    #[test]
    fn a_thread_stands_for_its_process() {
        let plan = plan(&["-p", "9,7", "--target", "9", "--target", "tmux"]).expect("a plan");
        let (plan, told) = plan.of_processes(|id| (id == 9).then_some(7));
        assert_eq!(plan.target_words(), ["7", "tmux", "7"]);
        assert_eq!(told, ["9 is a thread of process 7: tracing 7"; 2]);
    }

    #[test]
    fn a_command_is_followed_and_others_are_not() {
        let command = plan(&["-u", "alice", "--", "make", "-j8"]).expect("a plan");
        assert!(command.follow);
        assert_eq!(command.target_words(), ["-- make -j8"]);
        assert_eq!(command.command.and_then(|command| command.user).as_deref(), Some("alice"));
        let named = plan(&["--target", "tmux", "-p", "9,7", "-p", "7"]).expect("a plan");
        assert!(!named.follow);
        assert_eq!(named.target_words(), ["tmux", "7", "9"]);
        assert_eq!(named.options.hidden_signals, [0, 17, 18, 23, 28]);
    }
}
