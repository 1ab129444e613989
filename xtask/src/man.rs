//! `cargo xtask man`: the man page and the shell completions, for packagers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{cargo, output, run as run_command, target_directory, workspace};

/// Shell, and the name its completions are installed under.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "killtrace.bash"), ("fish", "killtrace.fish"), ("zsh", "_killtrace")];

/// Writes them to `target/dist`.
///
/// # Errors
/// Where killtrace cannot be built, or a file not be written.
pub fn run() -> Result<()> {
    run_command(&mut cargo(&["build", "--locked", "--package", "killtrace"]))?;
    let directory = workspace().join("target/dist");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for file in write(&target_directory().join("debug/killtrace"), &directory)? {
        writeln!(std::io::stdout(), "{}", file.display())?;
    }
    Ok(())
}

/// Has killtrace itself write them to a directory; tells the files.
///
/// # Errors
/// Where it fails, or a file cannot be written.
pub fn write(killtrace: &Path, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut wanted = vec![("killtrace.8", vec!["man"])];
    wanted.extend(COMPLETIONS.map(|(shell, name)| (name, vec!["completions", shell])));
    let write = |(name, verb): (&str, Vec<&str>)| {
        let text = output(Command::new(killtrace).args(verb))?;
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    };
    wanted.into_iter().map(write).collect()
}
