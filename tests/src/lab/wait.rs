//! Waiting for something to become true, and running a program to its end.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take before the lab gives up; a guard against hanging, far above what is needed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until `probe` finds something.
///
/// # Errors
/// The probe's own, or after `limit` that `what` did not come true.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("waited {} s in vain: {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program to its end, with `input` on its standard input.
///
/// # Errors
/// Where it cannot be started. An exit status other than 0 is no error here.
pub fn output_of(command: &mut Command, input: &[u8]) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let mut stdin = child.stdin.take().context("no pipe to the program")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program may end without reading what it was given.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().context("cannot wait for the program")?;
    drop(writer.join());
    Ok(output)
}

/// Runs a program that has to succeed, and returns what it wrote to standard output.
///
/// # Errors
/// Where it cannot be started or fails; the message carries what it wrote to standard error.
pub fn must_succeed(command: &mut Command, input: &[u8]) -> Result<String> {
    let output = output_of(command, input)?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}{}",
            words(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end(),
            String::from_utf8_lossy(&output.stdout).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_what_was_found_or_says_what_did_not_come() {
        let mut turns = 0;
        let found = wait_for("three turns", PATIENCE, || {
            turns += 1;
            Ok((turns == 3).then_some(turns))
        });
        assert_eq!(found.expect("found"), 3);
        let error = wait_for("a miracle", Duration::ZERO, || Ok(None::<()>)).expect_err("in vain");
        assert!(error.to_string().ends_with("a miracle"), "{error}");
    }

    #[test]
    fn a_failure_carries_the_programs_own_words() {
        let failed = must_succeed(Command::new("sh").args(["-c", "cat >&2; exit 3"]), b"my words");
        let error = failed.expect_err("failed").to_string();
        assert!(error.contains("my words") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_program_need_not_read_its_input() {
        let much = vec![b'x'; 1 << 20];
        assert_eq!(must_succeed(Command::new("echo").arg("done"), &much).expect("ran"), "done\n");
    }
}
