//! Prints what the kernel side sees, as JSON lines: `kernel_events [--all] [--follow] [--seconds N]
//! [--uid N] [--port N] [--cgroup ID] [--mute N] [NAME|PID]…`

use std::{
    error::Error,
    io::Write as _,
    time::{Duration, Instant},
};

use killtrace::{
    evidence::ProcessId,
    kernel::{Kernel, Selection},
};

/// What was asked for.
struct Options {
    selection: Selection,
    seconds: f64,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut selection = Selection::default();
    let mut seconds = f64::INFINITY;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--all" => selection.all = true,
            "--follow" => selection.follow = true,
            "--seconds" => seconds = value()?.parse()?,
            "--uid" => selection.uids.push(value()?.parse()?),
            "--port" => selection.tcp_ports.push(value()?.parse()?),
            "--cgroup" => selection.cgroups.push(value()?.parse()?),
            "--mute" => selection.muted |= 1_u64 << ((value()?.parse::<u32>()? - 1) & 63),
            other => match other.parse() {
                Ok(pid) => selection.pids.push(ProcessId { pid, start_ns: 0 }),
                Err(_) => selection.names.push(other.to_owned()),
            },
        }
    }
    Ok(Options { selection, seconds })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { selection, seconds } = options()?;
    let begin = Instant::now();
    let mut kernel = Kernel::attach(&selection, None)?;
    let took = begin.elapsed();
    let mut err = std::io::stderr().lock();
    writeln!(err, "attached in {:.1} ms: {:?}", took.as_secs_f64() * 1e3, kernel.hooks())?;
    let mut out = std::io::stdout().lock();
    let mut evidence = Vec::new();
    while begin.elapsed().as_secs_f64() < seconds {
        let wait = Duration::try_from_secs_f64(seconds - begin.elapsed().as_secs_f64());
        match tokio::time::timeout(wait.unwrap_or(Duration::MAX), kernel.next(&mut evidence)).await
        {
            Ok(result) => result?,
            Err(_) => kernel.drain(&mut evidence)?,
        }
        for item in evidence.drain(..) {
            writeln!(out, "{}", serde_json::to_string(&item)?)?;
        }
        out.flush()?;
    }
    Ok(())
}
