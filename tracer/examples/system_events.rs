//! Prints what userspace knows about processes, as JSON lines: `system_events [SECONDSs] TARGET…`, where a
//! target is a pid, a name, or one of `unit:`, `user:`, `cgroup:` with what it names. The kernel's hooks are
//! not used: signals and deaths are not among the lines.

use std::io::Write;
use std::time::{Duration, Instant};

use killtrace::evidence::{Fact, ProcessId, Source, Target, TargetReason};
use killtrace::system::{Matcher, Options, UnitTarget, Witnesses, clock, machine};

fn matcher(argument: &str) -> Matcher {
    match argument.split_once(':') {
        Some(("unit", name)) => Matcher::Unit(UnitTarget::new(name)),
        Some(("user", name)) => Matcher::User(name.to_owned()),
        Some(("cgroup", path)) => Matcher::Cgroup(path.to_owned()),
        _ => argument.parse().map_or_else(|_| Matcher::Name(argument.to_owned()), Matcher::Pid),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let seconds = arguments.next_if(|text| text.ends_with('s'));
    let seconds = seconds.and_then(|text| text.trim_end_matches('s').parse().ok()).unwrap_or(30);
    let mut out = std::io::stdout();
    let begin = Instant::now();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut witnesses = Witnesses::start(sender, Options::default())?;
    writeln!(out, "# started after {:?}", begin.elapsed())?;
    for argument in arguments {
        let found = witnesses.find(&matcher(&argument))?;
        writeln!(
            out,
            "# {argument}: {} processes, cgroups {:?}",
            found.processes.len(),
            found.cgroups
        )?;
        for process in found.processes {
            let id = ProcessId { pid: process.pid, start_ns: process.start_ns };
            let fact = Fact::Target(Target { id, reason: TargetReason::Running });
            witnesses.consider(&fact.at(clock::now(), Source::Tracer));
        }
    }
    writeln!(out, "# considered after {:?}", begin.elapsed())?;
    writeln!(out, "# ports {:?} after {:?}", witnesses.ports(), begin.elapsed())?;
    witnesses.ready(Duration::from_secs(5)).await;
    writeln!(out, "# ready after {:?}: {:?}", begin.elapsed(), witnesses.sources())?;
    writeln!(out, "# systemd {:?}", machine::systemd_version())?;
    let end = tokio::time::sleep(Duration::from_secs(seconds));
    tokio::pin!(end);
    loop {
        tokio::select! {
            Some(evidence) = receiver.recv() => {
                writeln!(out, "{}", serde_json::to_string(&evidence)?)?;
            }
            () = &mut end => break,
        }
    }
    Ok(writeln!(out, "# {:?}", witnesses.sources())?)
}
