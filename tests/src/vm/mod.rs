//! killtrace on other kernels: Debian's, of several releases, each booted in a virtual machine into the
//! very tests that the machine itself is tried with, and into some that need a machine of their own.
//!
//! ```text
//! kernels (apt) ─┐
//! image (cpio)  ─┼─▶ qemu ─▶ guest (PID 1) ─▶ plan::Line over a serial line ─▶ outcome ─▶ table
//! ```

pub(crate) mod apt;
mod cpio;
pub mod cross;
pub mod guest;
mod image;
mod kernels;
mod outcome;
mod plan;
mod qemu;
mod system;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use kernels::{Arch, Guest, Kernel, MATRIX, Wanted};
use outcome::Outcome;
use plan::{Line, Plan, TestOutcome, TestProgram};
use qemu::Machine;

pub use image::Programs;
pub use plan::AFTERWARDS;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Labels of kernels; all where there are none.
    pub kernels: Vec<String>,
    /// Only tests whose name contains one of these; all where there are none.
    pub filter: Vec<String>,
    /// The oldest and the newest kernel with a telling part of the tests: what continuous integration has
    /// time for.
    pub short: bool,
    /// Look for newer kernels.
    pub update: bool,
    /// What was built and is tried.
    pub workspace: PathBuf,
    /// Where kernels, logs and recordings are kept.
    pub directory: PathBuf,
    /// The document to write the matrix to.
    pub document: PathBuf,
    /// What is tried, or why it could not be built, by the architecture's name in Debian.
    pub programs: BTreeMap<String, Result<Programs, String>>,
}

/// What is tried in short: the families that depend most on the kernel's own doing. The self-test of `doctor`
/// comes with it.
const SHORT: &[&str] = &[
    "a_cpu_goes_and_comes_back",
    "cgroup_kill_forking",
    "cgroup_kill_writer_gone",
    "cgroup_oom",
    "exits::",
    "kills::",
    "little_locked_memory",
    "locked_down",
    "memory_",
    "sysrq_",
    "the_machine_sleeps",
];

/// One row of the matrix.
struct Row {
    wanted: Wanted,
    /// The package and what was seen; or why there is no such kernel.
    seen: Result<(String, Outcome), String>,
}

/// Runs the matrix; writes the document, or the parts of it that every test was run for.
///
/// # Errors
/// Where something cannot be set up, or a test failed.
pub fn run(options: &Options, out: &mut impl Write) -> Result<()> {
    let start = Instant::now();
    let this = table::Run::of(&options.workspace);
    let wanted = match options.kernels.as_slice() {
        [] if options.short => kernels::ends(),
        [] => MATRIX.to_vec(),
        labels => labels.iter().map(|label| kernels::wanted(label)).collect::<Result<_>>()?,
    };
    let scratch = options.directory.join("image");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let mut rows = Vec::new();
    for wanted in wanted {
        writeln!(out, "\n=== Linux {} ({})", wanted.label, wanted.about)?;
        let seen = match get_ready(wanted, options, &scratch) {
            Ok((kernel, initramfs)) => {
                Ok((kernel.package.clone(), try_on(&kernel, options, &initramfs, out)?))
            }
            Err(error) => {
                writeln!(out, "{error:#}")?;
                Err(format!("{error:#}"))
            }
        };
        rows.push(Row { wanted, seen });
    }
    if options.filter.is_empty() && !options.short {
        write_document(options, &rows, &this)?;
    }
    writeln!(out, "\n{}\n{:.0} s", table::summary(&rows), start.elapsed().as_secs_f64())?;
    let good = |row: &Row| row.seen.as_ref().is_ok_and(|(_, outcome)| outcome.is_good());
    let bad: Vec<&str> = rows.iter().filter(|row| !good(row)).map(|row| row.wanted.label).collect();
    if !bad.is_empty() {
        bail!("not all is well on Linux {}", bad.join(", "));
    }
    let tested = |row: &Row| row.seen.as_ref().is_ok_and(|(_, outcome)| outcome.has_tests());
    if !rows.iter().any(tested) {
        bail!("no test of these machines has {} in its name", options.filter.join(" or "));
    }
    Ok(())
}

/// Writes what every test on these kernels has shown, into what there is of others where not all were run.
fn write_document(options: &Options, rows: &[Row], this: &table::Run) -> Result<()> {
    let path = &options.document;
    let text = if options.kernels.is_empty() {
        table::document(rows, this)
    } else {
        let before =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        match table::renewed(&before, rows, this) {
            Some(text) => text,
            None => return Ok(()),
        }
    };
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes sure that there is what virtual machines need on this one.
///
/// # Errors
/// Where something is missing and cannot be installed.
pub fn setup(directory: &Path) -> Result<()> {
    qemu::ensure(Arch::Amd64, directory)
}

/// Gets hold of a kernel, of what its machine boots into, and of an emulator.
fn get_ready(wanted: Wanted, options: &Options, scratch: &Path) -> Result<(Kernel, PathBuf)> {
    let programs = match options.programs.get(wanted.arch.debian()) {
        Some(Ok(programs)) => programs,
        Some(Err(why)) => bail!("{why}"),
        None => bail!("nothing was built for {}", wanted.arch.debian()),
    };
    qemu::ensure(wanted.arch, &options.directory)?;
    let kernel = kernels::fetch(wanted, &options.directory, options.update)?;
    Ok((kernel, initramfs(wanted, programs, options, scratch)?))
}

/// Where what another architecture takes is kept.
///
/// # Errors
/// Where it cannot be made.
pub fn cross_directory(directory: &Path) -> Result<PathBuf> {
    let place = directory.join("cross");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    Ok(place)
}

/// What a machine boots into, as a file.
fn initramfs(
    wanted: Wanted,
    programs: &Programs,
    options: &Options,
    scratch: &Path,
) -> Result<PathBuf> {
    let plan = plan(wanted, programs, options);
    let mut programs = programs.clone();
    programs.tests.retain(|(name, _)| plan.tests.iter().any(|test| test.name == *name));
    let bytes = match (wanted.guest, wanted.arch) {
        (Guest::Bare, Arch::Amd64) => image::make(&programs, None, &plan, scratch)?,
        (Guest::Bare, Arch::Arm64) => {
            let userland = cross::userland(&cross_directory(&options.directory)?)?;
            image::make(&programs, Some(&userland), &plan, scratch)?
        }
        (Guest::System, _) => system::image(&programs, &plan, &options.directory, scratch)?,
    };
    let path = scratch.join("initramfs.cpio");
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn plan(wanted: Wanted, programs: &Programs, options: &Options) -> Plan {
    let program = |(name, _): &(String, PathBuf)| TestProgram {
        name: name.clone(),
        // Those of the virtual machine are ignored elsewhere, and want it for themselves.
        ignored: name != "live",
        at_a_time: if name == "live" { 2 } else { 1 },
        ends_the_system: name == "shutdown",
    };
    let whole = |name: &str| name == "system" || name == "shutdown";
    let suits = |(name, _): &&(String, PathBuf)| whole(name) == (wanted.guest == Guest::System);
    Plan {
        tests: programs.tests.iter().filter(suits).map(program).collect(),
        filter: match options.filter.as_slice() {
            // A whole system has none of these, and few tests as it is.
            [] if options.short && wanted.guest == Guest::Bare => parts(SHORT),
            [] => parts(wanted.only),
            asked_for => asked_for.to_vec(),
        },
        self_test: options.filter.is_empty(),
    }
}

fn parts(of_names: &[&str]) -> Vec<String> {
    of_names.iter().map(|&part| part.to_owned()).collect()
}

/// Boots one kernel and listens until its machine has ended.
fn try_on(
    kernel: &Kernel,
    options: &Options,
    initramfs: &Path,
    out: &mut impl Write,
) -> Result<Outcome> {
    let place = options.directory.join("runs").join(kernel.wanted.label);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let console = place.join("console.log");
    let mut machine = Machine::boot(kernel, initramfs, &console)?;
    let mut outcome = Outcome::default();
    loop {
        match machine.next() {
            Ok(None) => break,
            Ok(Some(line)) => {
                keep(&line, &place)?;
                tell(&line, out)?;
                outcome.take(line);
            }
            Err(error) => {
                writeln!(out, "{error:#}")?;
                outcome.trouble.push(format!("{error:#}"));
                break;
            }
        }
    }
    if !outcome.done {
        outcome.trouble.push("the machine ended before the tests did".to_owned());
        writeln!(out, "the machine ended early; last on its console:\n{}", machine.last_words())?;
    }
    outcome.expect("hooks", &table::hooks());
    if options.filter.is_empty() {
        outcome.expect("self-tests", &table::self_tests());
    }
    Ok(outcome)
}

/// Keeps what a failed test wrote and recorded, to be looked at.
fn keep(line: &Line, place: &Path) -> Result<()> {
    let (name, text) = match line {
        Line::Test { program, name, outcome, output, .. } if *outcome != TestOutcome::Passed => {
            (format!("{program}.{}.output", name.replace("::", ".")), output)
        }
        Line::Recording { name, text } => (name.replace('/', "_"), text),
        _ => return Ok(()),
    };
    fs::write(place.join(&name), text).with_context(|| format!("cannot write {name}"))
}

/// Progress, a line each.
fn tell(line: &Line, out: &mut impl Write) -> Result<()> {
    match line {
        Line::Booted { release } => writeln!(out, "booted {release}")?,
        Line::Check { name, state, detail } => writeln!(out, "{state:8} {name}: {detail}")?,
        Line::Test { program, name, outcome, seconds, output, attempt } => {
            let word = match outcome {
                TestOutcome::Passed => "passed",
                TestOutcome::Failed if outcome::lacking(output).is_some() => "cannot",
                TestOutcome::Failed => "FAILED",
                TestOutcome::TimedOut => "HANGS",
            };
            let again = if *attempt > 1 { ", second attempt" } else { "" };
            writeln!(out, "{word:8} {program} {name} ({seconds:.1} s{again})")?;
        }
        Line::Trouble { text } => writeln!(out, "trouble  {text}")?,
        Line::Recording { .. } | Line::Done => {}
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_leaves_a_whole_system_its_own_tests() {
        let options = Options {
            kernels: Vec::new(),
            filter: Vec::new(),
            short: true,
            update: false,
            workspace: PathBuf::new(),
            directory: PathBuf::new(),
            document: PathBuf::new(),
            programs: BTreeMap::new(),
        };
        let tests = ["live", "lockdown", "system"].map(|name| (name.to_owned(), PathBuf::new()));
        let programs = Programs { built: PathBuf::new(), tests: tests.to_vec() };
        let planned = |label| {
            let wanted = kernels::wanted(label).expect("in the matrix");
            let Plan { tests, filter, .. } = plan(wanted, &programs, &options);
            (tests.into_iter().map(|test| test.name).collect::<Vec<_>>(), filter)
        };
        let (tests, filter) = planned("newest");
        assert_eq!((tests, filter), (vec!["live".to_owned(), "lockdown".to_owned()], parts(SHORT)));
        let (tests, filter) = planned("hybrid");
        assert_eq!(tests, ["system"]);
        assert!(filter.contains(&"units_by_cgroup".to_owned()), "{filter:?}");
        assert_eq!(planned("system").1, Vec::<String>::new());
    }
}
