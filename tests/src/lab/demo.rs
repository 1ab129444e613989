//! The demonstration: a tmux that dies at logout, and what killtrace says about it, step by step.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::seed::lab_directory;
use super::{CLIENT_ADDRESS, LAB_ADDRESS, Lab, Options, PROGRAMS};

/// Plays it on standard output, which killtrace shares: on a terminal its report is coloured and wrapped as
/// ever, elsewhere plain.
///
/// # Errors
/// Where the lab or killtrace cannot be started.
pub fn show() -> Result<()> {
    let out = &mut std::io::stdout();
    step(out, "A Debian system boots in namespaces of its own, with KillUserProcesses=yes.")?;
    let lab = Lab::start(
        &Options::default()
            .file("/etc/systemd/logind.conf.d/10-demo.conf", "[Login]\nKillUserProcesses=yes\n"),
    )?;

    let command = "killtrace --target tmux --once";
    step(out, &format!("root starts `{command}` there. No tmux is running yet."))?;
    let argv: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let program = format!("{PROGRAMS}/{}", argv[0]);
    let mut words = vec![program.as_str()];
    words.extend(argv[1..].iter().map(String::as_str));
    let mut killtrace = lab
        .command(&words)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start killtrace in the lab")?;
    let mut stderr = BufReader::new(killtrace.stderr.take().context("no pipe from killtrace")?);
    wait_until_tracing(&mut stderr, out)?;

    step(out, &format!("alice logs in over ssh, from {CLIENT_ADDRESS} to {LAB_ADDRESS}."))?;
    let mut login = lab.login()?;
    step(out, "She starts a tmux, detached, with a long job in it …")?;
    login.run("tmux new-session -d -s work 'sleep 1000'")?;
    let sessions = login.run("tmux list-sessions")?;
    writeln!(out, "    alice$ tmux list-sessions\n    {sessions}")?;
    step(out, "… logs out, and thinks that her tmux goes on. killtrace says:")?;
    login.exit()?;

    let status = killtrace.wait().context("cannot wait for killtrace")?;
    if !status.success() {
        std::io::copy(&mut stderr, out).context("cannot copy killtrace's messages")?;
        bail!("killtrace ended with {status}");
    }
    let kept = lab_directory();
    step(
        out,
        &format!(
            "The lab is gone again. Its system stays in {} for the next one; `rm -r` removes it.",
            kept.display()
        ),
    )
}

/// killtrace says when every hook is attached in a line that begins with `killtrace: tracing`.
fn wait_until_tracing(stderr: &mut impl BufRead, out: &mut impl Write) -> Result<()> {
    let mut line = String::new();
    while stderr.read_line(&mut line).context("cannot read killtrace's messages")? > 0 {
        write!(out, "    {line}")?;
        if line.starts_with("killtrace: tracing") {
            return Ok(());
        }
        line.clear();
    }
    bail!("killtrace ended before it traced anything")
}

fn step(out: &mut (impl Write + IsTerminal), text: &str) -> Result<()> {
    let (bold, plain) = if out.is_terminal() { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
    writeln!(out, "\n{bold}▸ {text}{plain}")?;
    out.flush().context("cannot write")
}
