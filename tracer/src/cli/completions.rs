//! The completion scripts. What `clap_complete` makes of a program that has both verbs and a command behind `--` is
//! mended here.

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// The line of zsh's script that takes the first word for the command, which stands behind `--` alone.
const ZSH_COMMAND: &str = "'::command -- ";
/// Where zsh's script begins.
const ZSH_START: &str = "    local context curcontext=\"$curcontext\" state line\n";
/// Behind `--` there is a program of the user's with its own arguments.
const ZSH_BEHIND_DASHES: &str = "
    local -i dashes=${words[(i)--]}
    if (( dashes < CURRENT )); then
        shift $dashes words
        (( CURRENT -= dashes ))
        _normal
        return
    fi
";

/// Writes the completion script for `shell`.
///
/// # Errors
/// What `out` fails with.
pub fn completions(shell: Shell, out: &mut dyn io::Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "killtrace", &mut script);
    let script = String::from_utf8_lossy(&script);
    let mended = match shell {
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script),
        _ => script.into_owned(),
    };
    out.write_all(mended.as_bytes())
}

/// The verb is the first word, not the second.
fn zsh(script: &str) -> String {
    let lines = script.lines().filter(|line| !line.starts_with(ZSH_COMMAND));
    let text = lines.map(|line| line.to_owned() + "\n").collect::<String>();
    text.replace("$line[2]", "$line[1]").replacen(
        ZSH_START,
        &format!("{ZSH_START}{ZSH_BEHIND_DASHES}"),
        1,
    )
}

/// A line that ends in an option without its value yet is refused by argparse: it has no verb so far.
fn fish(script: &str) -> String {
    script.replacen("\n\tor return\n", "\n\tor return 0\n", 1).replacen(
        "\n    or return\n",
        "\n    or return 0\n",
        1,
    )
}
