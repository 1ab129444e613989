//! `cargo xtask man`: the man page and the shell completions, for packagers.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result};

use crate::cargo::{cargo, output, workspace};

/// Shell, and the name its completions are installed under.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "killtrace.bash"), ("fish", "killtrace.fish"), ("zsh", "_killtrace")];

/// Has killtrace itself write them.
pub fn run() -> Result<()> {
    let directory = workspace().join("target/dist");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let mut wanted = vec![("killtrace.8", vec!["man"])];
    wanted.extend(COMPLETIONS.map(|(shell, name)| (name, vec!["completions", shell])));
    for (name, verb) in wanted {
        let killtrace = ["run", "--quiet", "--package", "killtrace", "--"];
        let text = output(cargo(&killtrace).args(verb))?;
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        writeln!(std::io::stdout(), "{}", file.display())?;
    }
    Ok(())
}
