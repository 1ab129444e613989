//! `killtrace`: arguments in, exit status out.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use killtrace::cli::{Cli, usage_sentence};
use killtrace::commands::limits::ENOUGH_THREADS;
use killtrace::commands::{self, Failure, tell};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let why = text
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown");
        // What the standard library and tokio say, who do not return it: a limit that was met halfway.
        if why.contains("spawn thread") || why.contains("spawn worker thread") {
            tell(&format!("no thread can be started; {ENOUGH_THREADS}"));
            std::process::exit(1);
        }
        tell(&format!(
            "internal error{place}: {why}; please report it with the command and this line"
        ));
        std::process::exit(1);
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // --help and --version are no errors; that nobody reads them to the end is none either.
        Err(shown) if !shown.use_stderr() => {
            return match shown.print() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    tell(&format!("cannot write to standard output: {error}"));
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            };
        }
        Err(error) => return fail(&Failure::Usage(usage_sentence(&error))),
    };
    match start_log(cli.report.verbose).and_then(|()| commands::run(cli)) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    tell(&failure.sentence());
    ExitCode::from(failure.status())
}

/// The log goes to standard error, as much as `KILLTRACE_LOG` or `-v` says; `-v` alone makes the report
/// tell more, not the log.
fn start_log(verbose: u8) -> Result<(), Failure> {
    let level = match verbose {
        0 | 1 => "warn",
        2 => "killtrace=info,warn",
        3 => "killtrace=debug,info",
        _ => "trace",
    };
    let wanted = std::env::var("KILLTRACE_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(level)).map_err(|error| {
        Failure::Usage(format!(
            "KILLTRACE_LOG is no log filter ({error}): write a level such as debug"
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    Ok(())
}
