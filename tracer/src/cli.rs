//! The flags. One definition yields `-h`, `--help`, the man page and the completions.

#![forbid(unsafe_code)]

mod completions;
mod duration;
mod man;
mod signal_set;
mod target;
mod usage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use completions::completions;
pub use duration::{DurationError, parse_duration};
pub use man::man_page;
pub use signal_set::{HIDDEN_BY_DEFAULT, SignalSet, SignalSetError};
pub use target::{MAX_PID, TargetError, TargetSpec};
pub use usage::{not_for_verbs, usage_sentence};

/// The examples, at the end of the long help and in the man page.
const EXAMPLES: &str = "  Who keeps killing tmux?
      sudo killtrace --target tmux

  Watch one process until it dies, as with strace:
      sudo killtrace -p 4242

  Start a program and follow it and its children:
      sudo killtrace -- make -j8

  A service, a container, or everything:
      sudo killtrace --target unit:nginx.service
      sudo killtrace --target container:web
      sudo killtrace --all

  Wait for it overnight, keep the evidence, tell the story again elsewhere:
      sudo killtrace --target tmux --record tmux.kill.zst      # Ctrl-C ends it
      killtrace replay tmux.kill.zst

  Across your own logout, where it must not go as well: in a unit of its own
      sudo systemd-run --unit=killtrace killtrace --target tmux --record /var/tmp/tmux.kill.zst
      sudo systemctl stop killtrace                            # when you are back

  For a bug report, without names and addresses:
      killtrace replay tmux.kill.zst --redact --format markdown";

/// What the exit status means.
const EXIT_STATUS: &str =
    "  0 done · 1 could not trace, or not write report or recording whole · 2 usage;
  with -- CMD its own (1 for 0 where not all was written), 128+N if signal N ended it.
  doctor: 0 tracing works here, and with --self-test no verdict is wrong · 1 else.";

/// What killtrace takes from its environment.
const ENVIRONMENT: &str =
    "  KILLTRACE_LOG  what is logged to standard error: a level such as debug, or a filter such as
                 killtrace=debug,info; without it -v decides
  NO_COLOR       where it is set and not empty, the report has no colours, unless --color says so";

/// The end of the long help.
fn end_of_help() -> String {
    format!("Examples:\n{EXAMPLES}\n\nExit status:\n{EXIT_STATUS}\n\nEnvironment:\n{ENVIRONMENT}")
}

/// The synopsis; clap's own would not show the ways to name a target apart.
const USAGE: &str = "\
killtrace [OPTIONS] --target T…
       killtrace [OPTIONS] -p PID…
       killtrace [OPTIONS] -- CMD [ARGS…]
       killtrace [OPTIONS] --all
       killtrace replay [OPTIONS] FILE
       killtrace doctor [--self-test] [--btf FILE]";

/// Tells who killed a process, on whose behalf, and how to stop it happening again.
///
/// killtrace watches signals in the kernel, and the service manager, the login manager and the
/// journal around it. For each target that ends it says who ended it, which event and which setting
/// led to that, how well each step is proven, and what to change.
///
/// Tracing needs root, or CAP_BPF and CAP_PERFMON. With CAP_SYSLOG as well, and kernel.kptr_restrict below 2,
/// hangups of terminals, keys typed there and ends of pid namespaces are told from other signals of the
/// kernel's. Before Linux 5.11 who is not root needs 16 MiB of locked memory as well (root raises the limit:
/// `prlimit --memlock`), or CAP_SYS_RESOURCE. `killtrace doctor` lists what else helps. Replay needs nothing.
#[derive(Debug, Parser)]
#[command(
    name = "killtrace",
    version,
    override_usage = USAGE,
    after_help = "`killtrace --help` explains more and shows examples.",
    after_long_help = end_of_help(),
    disable_help_subcommand = true,
    max_term_width = 100,
)]
pub struct Cli {
    /// What to do; without a verb: trace.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What to trace.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// What killtrace does besides tracing.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Tell the story again from a recording, on any machine and without privileges.
    #[command(override_usage = "killtrace replay [OPTIONS] FILE")]
    Replay {
        /// A file written by --record; `-` reads standard input.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Say what this machine offers to killtrace, and what each missing thing costs.
    ///
    /// Exit status: 0 where tracing works here, though things may be missing; 1 where it does not.
    #[command(override_usage = "killtrace doctor [OPTIONS]")]
    Doctor {
        /// Start harmless children, kill them in several ways, and check each verdict.
        ///
        /// Some dozen shells die one after the other, each traced by this program: by a signal of another
        /// process, by a limit, by a terminal that hangs up and the like. That takes some ten seconds. What this
        /// machine lacks the means for is not tried. Exit status 1 where a verdict is wrong.
        #[arg(long)]
        self_test: bool,
        /// Read the kernel's types from FILE instead of /sys/kernel/btf/vmlinux.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        btf: Option<PathBuf>,
    },
    /// Print a completion script for a shell.
    #[command(hide = true)]
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    #[command(hide = true)]
    Man,
}

/// What to trace.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "What to trace")]
pub struct TraceArgs {
    /// Trace T: a process name, a pid, unit:NAME, cgroup:PATH, user:NAME or container:NAME_OR_ID.
    ///
    /// Can be given several times. A name matches the executable's base name, the process name
    /// (comm) and a leading `name:` in a rewritten title such as `tmux: server`. What is not there
    /// yet, be it a name, a unit, a cgroup or a container, is waited for. A unit can be given by any
    /// of its names, or by a pattern, as systemctl takes them; unit:getty@ is all that is made of
    /// that template. container:NAME is root's, and a user's own where root has none of that name,
    /// which is said. For a name that looks like something else, write name:NAME.
    #[arg(long = "target", value_name = "T", action = ArgAction::Append)]
    pub targets: Vec<TargetSpec>,

    /// Trace this process, and end when the last one given has died.
    ///
    /// Can be given several times, or once with commas: -p 12,34.
    #[arg(
        short = 'p',
        long = "pid",
        value_name = "PID",
        action = ArgAction::Append,
        value_delimiter = ',',
        value_parser = parse_pid,
    )]
    pub pids: Vec<u32>,

    /// Report every death by a signal on this machine.
    #[arg(long, conflicts_with_all = ["targets", "pids", "command"])]
    pub all: bool,

    /// Follow the children of the targets; always on with -- CMD.
    #[arg(short = 'f', long = "follow")]
    pub follow: bool,

    /// Run CMD as this user, by name or uid [default: who called sudo, else the caller].
    #[arg(short = 'u', long = "user", value_name = "USER", requires = "command", value_hint = ValueHint::Username)]
    pub user: Option<String>,

    /// Stop after the first death reported, also one that nobody caused.
    #[arg(long)]
    pub once: bool,

    /// Stop after this time: 30s, 5m, 1h30m, 500ms.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Read the kernel's types from FILE instead of /sys/kernel/btf/vmlinux.
    ///
    /// For a kernel built without them (CONFIG_DEBUG_INFO_BTF). FILE is BTF made for exactly the running
    /// kernel, by itself (BTFHub, `pahole --btf_encode_detached`) or in a vmlinux; another kernel's is refused.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub btf: Option<PathBuf>,

    /// The program to start and follow, behind `--`.
    #[arg(last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// How to report. These are understood before and after a verb.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "How to report")]
pub struct ReportArgs {
    /// Show these signals only: signal=TERM,KILL, or all but these: signal=!CHLD.
    ///
    /// As in strace, where the last one counts; `all` and `none` are understood too. Without it, signal 0, CHLD, URG, WINCH and
    /// CONT are left out of the live lines. The verdict always knows them all.
    #[arg(short = 'e', value_name = "signal=SET", global = true, overrides_with = "signals")]
    pub signals: Option<SignalSet>,

    /// Report also the ends that no signal preceded, of processes that came and went by themselves.
    #[arg(long, global = true)]
    pub exits: bool,

    /// Write the report to FILE instead of standard output.
    #[arg(short = 'o', long = "output", value_name = "FILE", global = true, value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// The form of the report.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Format::Text, global = true)]
    pub format: Format,

    /// Show the time of day in seconds; -tt in microseconds; -ttt as seconds since 1970.
    ///
    /// Without it the time of day is shown in milliseconds.
    #[arg(short = 't', action = ArgAction::Count, global = true)]
    pub time: u8,

    /// Show the time since the line before.
    #[arg(short = 'r', long = "relative", global = true)]
    pub relative: bool,

    /// Colour the report [auto: on a terminal, unless NO_COLOR is set].
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto, global = true)]
    pub color: ColorChoice,

    /// Keep every event and all evidence in FILE, for `killtrace replay`.
    ///
    /// A name that ends in .zst is compressed. The file may hold user names, addresses and command
    /// lines: it is readable by its owner only, and not written over another user's file; see --redact.
    /// With `replay`, writes the recording once more, such as a redacted one to be given away.
    #[arg(short = 'w', long = "record", global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub record: Option<PathBuf>,

    /// Replace users, hosts, addresses and arguments by stable stand-ins, in report and recording.
    #[arg(long, global = true)]
    pub redact: bool,

    /// Show verdicts only, no live lines; JSON, which is for programs, keeps all records.
    #[arg(short = 'q', long = "quiet", global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Show more: full command lines, where they ran, kernel paths; -vv also logs to stderr, -vvv and -vvvv more.
    #[arg(short = 'v', long = "verbose", action = ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// The forms of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
    /// For an issue or a wiki.
    Markdown,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Reads a pid.
fn parse_pid(text: &str) -> Result<u32, TargetError> {
    match text.trim().parse() {
        Ok(pid @ 1..=MAX_PID) => Ok(pid),
        _ => Err(TargetError::Pid(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
