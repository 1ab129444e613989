//! `cargo xtask fuzz`: looks for bytes that do harm at the entrances of killtrace, and keeps the few that tell most.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, run as run_command, workspace};

/// How many files of an entrance are kept, and how many bytes of them all: `tests/corpus.rs` holds us to less
/// than 200 files and 500 KiB.
const MOST_FILES: usize = 17;
const MOST_BYTES: u64 = 44 << 10;
/// Longest input that is tried: reports are as long as what is in them, and longer ones teach nothing.
const LONGEST: u32 = 32 << 10;
/// Seconds that one input may take: the machine may be busy.
const PATIENCE: u32 = 60;

/// What to look at, and for how long.
#[derive(clap::Args)]
pub struct Arguments {
    /// Entrances; all where none is named
    names: Vec<String>,
    /// How long to look at each
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Afterwards, keep the few files that reach most in fuzz/corpus
    #[arg(long)]
    keep: bool,
}

/// Builds the fuzz targets and runs them one after the other.
///
/// # Errors
/// Where one cannot be built, or finds something: the message says where that is.
pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = workspace().join("fuzz");
    run_command(
        cargo(&["build", "--locked", "--release"])
            .current_dir(&folder)
            .env("RUSTC_WRAPPER", folder.join("rustc")),
    )?;
    let mut found = Vec::new();
    for name in all(&folder)? {
        if arguments.names.is_empty() || arguments.names.contains(&name) {
            let target = Target::new(&folder, &name)?;
            if !target.fuzz(60 * arguments.minutes)? {
                found.push(target.work.display().to_string());
            }
            if arguments.keep {
                target.keep()?;
            }
        }
    }
    if !found.is_empty() {
        bail!("something does not hold: {}", found.join(", "));
    }
    Ok(())
}

/// Names of the entrances, in order.
fn all(folder: &Path) -> Result<BTreeSet<String>> {
    let targets = fs::read_dir(folder.join("fuzz_targets")).context("there are no fuzz targets")?;
    let stem = |path: PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    Ok(targets.flatten().filter_map(|entry| stem(entry.path())).collect())
}

/// One fuzz target.
struct Target {
    name: String,
    program: PathBuf,
    /// What is kept in the repository.
    corpus: PathBuf,
    /// What this machine has found so far.
    work: PathBuf,
}

impl Target {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let target = Self {
            name: name.to_owned(),
            program: folder.join("target/release").join(name),
            corpus: folder.join("corpus").join(name),
            work: folder.join("target/found").join(name),
        };
        for path in [&target.corpus, &target.work] {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(target)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(workspace()).stdin(Stdio::null());
        // Entrances that are files are tried as files, which are quicker in memory.
        if Path::new("/dev/shm").is_dir() {
            command.env("TMPDIR", "/dev/shm");
        }
        command
    }

    /// Looks for so many seconds; false where something was found.
    fn fuzz(&self, seconds: u32) -> Result<bool> {
        let log = self.work.with_extension("log");
        let file = fs::File::create(&log).context("cannot make the log")?;
        let mut command = self.command();
        command.arg(&self.work).arg(&self.corpus);
        command.arg(format!("-artifact_prefix={}.", self.work.display()));
        for (option, value) in [
            ("max_total_time", seconds),
            ("max_len", LONGEST),
            ("timeout", PATIENCE),
            ("rss_limit_mb", 2048),
            ("print_final_stats", 1),
        ] {
            command.arg(format!("-{option}={value}"));
        }
        command.stdout(file.try_clone()?).stderr(file);
        let status = command.status().with_context(|| format!("cannot start {}", self.name))?;
        let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?;
        let outcome = if status.success() { "nothing found" } else { "FOUND SOMETHING" };
        let out = &mut std::io::stdout();
        writeln!(out, "{:12} {} runs, {outcome}", self.name, runs(&text).unwrap_or("?"))?;
        if !status.success() {
            writeln!(out, "{}", last_words(&text))?;
        }
        Ok(status.success())
    }

    /// Keeps the files that together reach most.
    fn keep(&self) -> Result<()> {
        let control = self.work.with_extension("merge");
        let _ = fs::remove_file(&control);
        let merged = self.work.with_extension("merged");
        let _ = fs::remove_dir_all(&merged);
        fs::create_dir_all(&merged).context("cannot make a directory")?;
        let mut command = self.command();
        command.args(["-merge=1", "-set_cover_merge=1"]);
        command.arg(format!("-max_len={LONGEST}")).arg(format!("-timeout={PATIENCE}"));
        command.arg(format!("-merge_control_file={}", control.display()));
        command.arg(&merged).arg(&self.work).arg(&self.corpus);
        run_command(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let text = fs::read_to_string(&control).context("cannot read what the merge found")?;
        let chosen = choose(inputs(&text), MOST_FILES, MOST_BYTES);
        let kept: Vec<(PathBuf, Vec<u8>)> = chosen
            .into_iter()
            .map(|path| Ok((path.clone(), fs::read(path)?)))
            .collect::<std::io::Result<_>>()
            .context("cannot read an input")?;
        fs::remove_dir_all(&self.corpus).context("cannot empty the corpus")?;
        fs::create_dir_all(&self.corpus).context("cannot make the corpus")?;
        for (path, bytes) in kept {
            let name = path.file_name().context("a file has a name")?;
            fs::write(self.corpus.join(name), bytes).context("cannot keep an input")?;
        }
        Ok(())
    }
}

/// How many inputs were run, by libFuzzer's last words.
fn runs(log: &str) -> Option<&str> {
    log.lines()
        .rev()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map(str::trim)
}

/// Why it ended: from where something panicked on.
fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from =
        lines.iter().position(|line| line.contains("panicked at") || line.contains("ERROR: "));
    lines[from.unwrap_or(lines.len().saturating_sub(20))..]
        .iter()
        .take(20)
        .map(|line| format!("    {line}\n"))
        .collect()
}

/// An input and what it reaches.
struct Input {
    path: PathBuf,
    bytes: u64,
    features: BTreeSet<u32>,
}

/// Reads the control file of a merge: the number of files, how many of them are in the first directory, their
/// paths; then for each its size and its features (`FuzzerMerge.cpp`).
fn inputs(control: &str) -> Vec<Input> {
    let mut lines = control.lines();
    let count = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
    let paths: Vec<&str> = lines.by_ref().skip(1).take(count).collect();
    let mut inputs: Vec<Input> = paths
        .into_iter()
        .map(|path| Input { path: path.into(), bytes: 0, features: BTreeSet::new() })
        .collect();
    for line in lines {
        let mut words = line.split(' ');
        let (kind, number) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        let Some(input) = number.and_then(|number: usize| inputs.get_mut(number)) else { continue };
        match kind {
            Some("STARTED") => {
                input.bytes = words.next().and_then(|it| it.parse().ok()).unwrap_or(0);
            }
            Some("FT") => input.features.extend(words.filter_map(|word| word.parse::<u32>().ok())),
            _ => {}
        }
    }
    inputs
}

/// Those that reach most of what the ones before do not, smaller ones first.
fn choose(mut inputs: Vec<Input>, most: usize, mut bytes: u64) -> Vec<PathBuf> {
    let mut chosen = Vec::new();
    while chosen.len() < most {
        inputs.retain(|input| !input.features.is_empty() && input.bytes <= bytes);
        let best = (0..inputs.len())
            .max_by_key(|&at| (inputs[at].features.len(), std::cmp::Reverse(inputs[at].bytes)));
        let Some(best) = best else { break };
        let best = inputs.swap_remove(best);
        for other in &mut inputs {
            other.features.retain(|feature| !best.features.contains(feature));
        }
        bytes -= best.bytes;
        chosen.push(best.path);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: &str = "3\n0\n/a\n/b\n/c\nSTARTED 0 10\nFT 0 1 2\nCOV 0 7\nSTARTED 1 30\nFT 1 1 2 3\nSTARTED 2 5\nFT 2 4\n";

    #[test]
    fn those_that_reach_most_are_kept() {
        let chosen = |most, bytes| choose(inputs(CONTROL), most, bytes);
        assert_eq!(chosen(9, 99), [Path::new("/b"), Path::new("/c")]);
        assert_eq!(chosen(1, 99), [Path::new("/b")]);
        assert_eq!(chosen(9, 20), [Path::new("/a"), Path::new("/c")]);
        assert!(chosen(9, 0).is_empty());
        assert!(choose(inputs("garbage"), 9, 99).is_empty());
    }

    #[test]
    fn the_log_is_read() {
        assert_eq!(runs("x\nstat::number_of_executed_units: 12\n"), Some("12"));
        assert_eq!(runs(""), None);
        assert!(last_words("a\nthread panicked at x:\nwhy\n").starts_with("    thread panicked"));
    }
}
