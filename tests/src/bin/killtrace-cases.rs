//! Records the golden cases anew; `cargo xtask cases` calls it.
//!
//! `killtrace-cases live [NAME…]` boots a lab and plays the scenes in it, so that nothing of this
//! machine gets into the evidence. `killtrace-cases lab [NAME…]` takes what the tests of the lab have
//! recorded when they ran last. `killtrace-cases play SCENE` is what runs inside: it plays one scene
//! and writes the recording to standard output.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use killtrace_tests::cases::{self, LAB, LIVE, OTHER_LABS};
use killtrace_tests::lab::{Lab, Options, PROGRAMS, SUITE_VARIABLE};
use killtrace_tests::live;

/// The memory controller, where this machine has it in the first version of cgroups: the lab shows
/// only the second.
const MEMORY: &str = "mkdir /run/memory && mount -t cgroup -o memory memory /run/memory";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "killtrace-cases: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["live", ref names @ ..] => record_scenes(names),
        ["lab", ref names @ ..] => take_recordings(names),
        ["play", scene] => {
            let played = live::play(scene);
            let recording = std::fs::read(&played.trace.recording)?;
            Ok(std::io::stdout().write_all(&recording)?)
        }
        _ => bail!("what to do? `live [NAME…]`, `lab [NAME…]` or `play SCENE`"),
    }
}

fn is_wanted(names: &[&str], name: &str) -> bool {
    names.is_empty() || names.contains(&name)
}

fn record_scenes(names: &[&str]) -> Result<()> {
    let wanted: Vec<&str> = LIVE.iter().copied().filter(|name| is_wanted(names, name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let lab = Lab::start(&Options::default())?;
    // Where it is not there the second version has it, or the scene says that neither has.
    lab.output(&["sh", "-c", MEMORY])?;
    for scene in wanted {
        let program = format!("{PROGRAMS}/killtrace-cases");
        let recording = lab
            .exec(&["env", "KILLTRACE_KEEPSAKES=/run/keepsakes", &program, "play", scene])
            .with_context(|| format!("the scene {scene} cannot be recorded"))?;
        cases::keep(scene, &recording)?;
        writeln!(std::io::stderr(), "recorded {scene}")?;
    }
    Ok(())
}

fn take_recordings(names: &[&str]) -> Result<()> {
    let program = std::env::current_exe().context("cannot find the running program")?;
    let folder = program.with_file_name("lab-recordings");
    // The tests have left the recordings of the lab that they ran in.
    let suite = std::env::var(SUITE_VARIABLE).unwrap_or_default();
    let other = OTHER_LABS.iter().find(|(other, _)| *other == suite);
    let cases = other.map_or(LAB, |(_, cases)| cases);
    for case in cases.iter().filter(|case| is_wanted(names, case.name)) {
        let file = folder.join(format!("{}.jsonl", case.test.replace("::", ".")));
        let recording = std::fs::read_to_string(&file).with_context(|| {
            format!("there is no {}: the lab's test {} records it", file.display(), case.test)
        })?;
        cases::keep(case.name, &recording)?;
        writeln!(std::io::stderr(), "recorded {}", case.name)?;
    }
    Ok(())
}
