//! The other side: PID 1 of the virtual machine. It sets the machine up, has the tests run, reports
//! on a serial line and switches the machine off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::outcome::lacking;
use super::plan::{
    AFTERWARDS, DIRECTORY, LINE, Line, PLACE, Plan, TestOutcome, TestProgram, UNFINISHED,
    Unfinished,
};

/// How long one test may take: emulation is slow, so this is far more than a real machine needs.
const PATIENCE: Duration = Duration::from_secs(240);
/// How much of a test's output is reported; the last part says why it failed.
const OUTPUT: usize = 12 * 1024;
/// How large a recording may be to be reported.
const RECORDING: usize = 256 * 1024;

/// Type, mount point: what a machine has that nobody else sets up here.
const MOUNTS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tracefs", "/sys/kernel/tracing"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// PID 1: prepares the machine, starts the worker, collects orphans until the worker has ended, and
/// switches the machine off.
pub fn init() -> ! {
    let said = prepare().and_then(|()| work());
    if let Err(error) = said {
        // The console is all that is left to complain on.
        let _ = writeln!(io::stderr(), "killtrace-vm: {error:#}");
    }
    // SAFETY: takes nothing.
    unsafe { libc::sync() };
    // SAFETY: takes an integer; PID 1 of a virtual machine of our own switches it off.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    std::process::exit(1)
}

fn prepare() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        let status = Command::new("/bin/mount").args(["-t", kind, kind, place]).status();
        // The kernel may have mounted /dev by itself.
        if !status.is_ok_and(|status| status.success()) && *place != "/dev" {
            bail!("cannot mount {place}");
        }
    }
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids")
        .context("cannot switch the memory controller on")?;
    fs::write("/proc/sys/kernel/hostname", "killtrace-vm").context("cannot set the host name")?;
    let lo = Command::new("/sbin/ip").args(["link", "set", "lo", "up"]).status();
    if !lo.is_ok_and(|status| status.success()) {
        bail!("cannot set the loopback interface up");
    }
    Ok(())
}

/// Starts this program again to do the work, and collects whoever ends until it has.
fn work() -> Result<()> {
    let worker = Command::new("/proc/self/exe")
        .arg("guest")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("KILLTRACE_PATIENCE", "120")
        .current_dir("/root")
        .spawn()
        .context("cannot start the worker")?;
    let worker = worker.id().cast_signed();
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid == worker {
            return Ok(());
        }
        if pid < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            bail!("the worker is gone");
        }
    }
}

/// The worker: runs what the plan says.
///
/// # Errors
/// Where there is no plan, or nobody to report to.
pub fn run() -> Result<()> {
    let reporter = Reporter::open()?;
    let text = fs::read_to_string(PLACE).with_context(|| format!("cannot read {PLACE}"))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| format!("in {PLACE}"))?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    reporter.say(&Line::Booted { release: release.trim().to_owned() })?;
    if let Err(error) = doctor(&plan, &reporter) {
        reporter.say(&Line::Trouble { text: format!("{error:#}") })?;
    }
    for program in &plan.tests {
        let names = match tests_of(program, &plan.filter) {
            Ok(names) => names,
            Err(error) => {
                reporter.say(&Line::Trouble { text: format!("{error:#}") })?;
                continue;
            }
        };
        run_tests(program, &names, &reporter);
    }
    reporter.say(&Line::Done)
}

/// Run by `systemd-shutdown` when every service has ended: looks at what is left of a system that a test has
/// ended.
///
/// # Errors
/// Where that test is not known, or nobody can be told.
pub fn afterwards() -> Result<()> {
    // Without it the guest has said itself that it is done.
    let Ok(text) = fs::read_to_string(UNFINISHED) else { return Ok(()) };
    let test: Unfinished =
        serde_json::from_str(&text).with_context(|| format!("in {UNFINISHED}"))?;
    let reporter = Reporter::open()?;
    try_test(&test.program, &test.name, 1, &[(AFTERWARDS, "1")], &reporter)?;
    reporter.say(&Line::Done)
}

/// Where lines go.
struct Reporter {
    line: Mutex<File>,
}

impl Reporter {
    fn open() -> Result<Self> {
        let line = OpenOptions::new().write(true).open(LINE);
        let line = line.with_context(|| format!("cannot open {LINE}"))?;
        // SAFETY: all zeros is a valid termios, to be filled in.
        let mut mode: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `mode` outlives the call.
        let got = unsafe { libc::tcgetattr(line.as_raw_fd(), &raw mut mode) };
        // SAFETY: `mode` outlives the call.
        unsafe { libc::cfmakeraw(&raw mut mode) };
        // SAFETY: `mode` outlives the call.
        let set = unsafe { libc::tcsetattr(line.as_raw_fd(), libc::TCSANOW, &raw const mode) };
        if got < 0 || set < 0 {
            bail!("cannot set {LINE} up: {}", io::Error::last_os_error());
        }
        Ok(Self { line: Mutex::new(line) })
    }

    fn say(&self, line: &Line) -> Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let mut file = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&bytes).context("cannot report")
    }
}

/// What killtrace itself says of this kernel.
fn doctor(plan: &Plan, reporter: &Reporter) -> Result<()> {
    let mut command = Command::new(format!("{DIRECTORY}/killtrace"));
    command.args(["doctor", "--format", "json"]);
    if plan.self_test {
        command.arg("--self-test");
    }
    let run = finish(&mut command, "doctor")?;
    for text in run.output.lines() {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { continue };
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        if field("type") == "check" {
            let (name, state, detail) = (field("name"), field("state"), field("detail"));
            reporter.say(&Line::Check { name, state, detail })?;
        }
    }
    Ok(())
}

/// Names of the program's tests that the filter lets through.
fn tests_of(program: &TestProgram, filter: &[String]) -> Result<Vec<String>> {
    let mut command = Command::new(format!("{DIRECTORY}/deps/{}", program.name));
    command.args(["--list", "--format", "terse"]);
    if program.ignored {
        command.arg("--ignored");
    }
    let run = finish(&mut command, &program.name)?;
    if !run.status.is_some_and(|status| status.success()) {
        bail!("{} cannot list its tests: {}", program.name, run.output);
    }
    let names = run.output.lines().filter_map(|line| line.strip_suffix(": test"));
    let asked_for = |name: &str| filter.iter().any(|part| name.contains(part.as_str()));
    let wanted = names.filter(|name| filter.is_empty() || asked_for(name));
    Ok(wanted.map(str::to_owned).collect())
}

/// Runs the tests, several at a time where the program allows it. An emulated machine can be so slow that
/// others' patience ends: those that did not pass are run once more, by themselves, which is told.
fn run_tests(program: &TestProgram, names: &[String], reporter: &Reporter) {
    let next = AtomicUsize::new(0);
    let again = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..program.at_a_time.max(1) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Where nobody can be told, the host notices that the line is silent.
                    if let Ok(Verdict::Failed) = run_test(program, name, 1, reporter) {
                        again.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                    }
                }
            });
        }
    });
    for name in again.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let _ = run_test(program, name, 2, reporter);
    }
}

/// What a test says of killtrace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// The kernel cannot do what it is about.
    Impossible,
}

fn run_test(
    program: &TestProgram,
    name: &str,
    attempt: u32,
    reporter: &Reporter,
) -> Result<Verdict> {
    if !program.ends_the_system {
        return try_test(program, name, attempt, &[], reporter);
    }
    let test = Unfinished { program: program.clone(), name: name.to_owned() };
    fs::write(UNFINISHED, serde_json::to_vec(&test)?)
        .with_context(|| format!("cannot write {UNFINISHED}"))?;
    let verdict = try_test(program, name, attempt, &[], reporter);
    fs::remove_file(UNFINISHED).with_context(|| format!("cannot remove {UNFINISHED}"))?;
    verdict
}

fn try_test(
    program: &TestProgram,
    name: &str,
    attempt: u32,
    environment: &[(&str, &str)],
    reporter: &Reporter,
) -> Result<Verdict> {
    let mut command = Command::new(format!("{DIRECTORY}/deps/{}", program.name));
    command.args(["--exact", name, "--test-threads=1", "--nocapture", "--include-ignored"]);
    command.envs(environment.iter().copied());
    let start = Instant::now();
    let run = finish(&mut command, &name.replace("::", "."))?;
    let outcome = match run.status {
        None => TestOutcome::TimedOut,
        Some(status) if status.success() => TestOutcome::Passed,
        Some(_) => TestOutcome::Failed,
    };
    let failed = outcome != TestOutcome::Passed;
    reporter.say(&Line::Test {
        program: program.name.clone(),
        name: name.to_owned(),
        outcome,
        attempt,
        seconds: start.elapsed().as_secs_f64(),
        output: if failed { tail(&run.output) } else { String::new() },
    })?;
    if !failed {
        return Ok(Verdict::Passed);
    }
    keep(name, reporter)?;
    Ok(if lacking(&run.output).is_some() { Verdict::Impossible } else { Verdict::Failed })
}

/// Reports the recordings of a test.
fn keep(test: &str, reporter: &Reporter) -> Result<()> {
    let place = Path::new(DIRECTORY).join("live-recordings");
    let start = format!("{}.", test.replace("::", "."));
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(&start) || !name.ends_with(".killtrace") {
            continue;
        }
        let text = fs::read(entry.path()).unwrap_or_default();
        if text.len() <= RECORDING {
            let text = String::from_utf8_lossy(&text).into_owned();
            reporter.say(&Line::Recording { name, text })?;
        }
    }
    Ok(())
}

/// A program that was run to its end.
struct Run {
    /// `None` where it had to be ended.
    status: Option<ExitStatus>,
    /// What it wrote, to standard output and standard error.
    output: String,
}

/// Runs a program. What it writes goes to a file: a process that it leaves behind may hold a pipe
/// open for ever.
fn finish(command: &mut Command, name: &str) -> Result<Run> {
    // When the system has ended, files can be written there only.
    let path = format!("/run/{name}.output");
    let file = File::create(&path).with_context(|| format!("cannot make {path}"))?;
    let errors = file.try_clone().context("cannot share a file")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let status = wait(&mut child);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {path}"))?;
    let _ = fs::remove_file(&path);
    Ok(Run { status, output: String::from_utf8_lossy(&bytes).into_owned() })
}

/// The last part of a text.
fn tail(text: &str) -> String {
    let mut start = text.len().saturating_sub(OUTPUT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => return None,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
