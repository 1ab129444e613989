//! Whether a command that a report suggests is what it looks like, whoever chose the names in it: read as a
//! shell reads it.

use anyhow::{Context as _, Result, bail, ensure};

/// What does more than be part of a word. A report's own commands use pipes, the shell's own pid (`$$`), and nothing else.
const ACTING: &[char] = &['$', '`', ';', '&', '<', '>', '(', ')', '\n', '\r', '\0'];

/// Checks that nothing from outside acts in a command to be pasted into a shell. A line that begins with `#`
/// is a remark.
///
/// # Errors
/// Where something does: says what.
pub fn check(command: &str) -> Result<()> {
    if command.starts_with('#') {
        ensure!(!command.contains('\n'), "the remark ends within it: {command:?}");
        return Ok(());
    }
    words(command).map(drop).with_context(|| format!("in {command:?}"))
}

/// The words of a command, without their quotes. Pipes are words.
///
/// # Errors
/// Where a quotation does not end, or something acts outside of one.
pub fn words(command: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().context("a quotation does not end")? {
                        '\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                ansi(&mut chars, word.get_or_insert_default())?;
            }
            '$' if chars.peek() == Some(&'$') => {
                chars.next();
                word.get_or_insert_default().push_str("$$");
            }
            '"' => bail!("a quotation in which shells still act"),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            acting if ACTING.contains(&acting) => bail!("{acting:?} is not quoted"),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The rest of a `$'…'` (bash(1), QUOTING).
fn ansi(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) -> Result<()> {
    loop {
        match chars.next().context("a quotation does not end")? {
            '\'' => return Ok(()),
            '\\' => word.push(escaped(chars)?),
            plain => word.push(plain),
        }
    }
}

fn escaped(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char> {
    let c = chars.next().context("an escape does not end")?;
    let (radix, most, mut code) = match c {
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\u{b}'),
        'f' => return Ok('\u{c}'),
        '\\' | '\'' => return Ok(c),
        'u' => (16, 4, 0),
        'U' => (16, 8, 0),
        digit => (8, 2, digit.to_digit(8).with_context(|| format!("bash knows no \\{digit}"))?),
    };
    let mut count = 0;
    while count < most
        && let Some(digit) = chars.peek().and_then(|next| next.to_digit(radix))
    {
        code = code * radix + digit;
        count += 1;
        chars.next();
    }
    ensure!(radix == 8 || count > 0, "an escape without a number");
    char::from_u32(code).with_context(|| format!("{code:#x} is no character"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_acts_is_found() {
        for command in [
            "kill $(x)",
            "kill $$(x)",
            "kill $x",
            "a; b",
            "a && b",
            "a 'b",
            "a `b`",
            "a > b",
            "a\nb",
            "# a\nb",
            "a \"b\"",
        ] {
            assert!(check(command).is_err(), "{command}");
        }
        for command in [
            "sudo systemctl edit 'a$(b).service'",
            "printf 'a;b\\n' | sudo tee c",
            "# a; b",
            "a --pid $$ -b",
        ] {
            check(command).expect(command);
        }
    }

    #[test]
    fn words_are_those_of_bash() {
        for command in [
            "a 'b c' d'e'f",
            r"'it'\''s'",
            r"$'a\nb\'\\\33[7m\0337\u202e\U000e0041'",
            "''",
            r"a\ b",
        ] {
            let output = Command::new("bash")
                .env("LC_ALL", "C.UTF-8")
                .args(["-c", &format!("printf '%s\\0' {command}")])
                .output()
                .expect("bash");
            let told = String::from_utf8(output.stdout).expect("UTF-8");
            let told: Vec<&str> = told.trim_end_matches('\0').split('\0').collect();
            assert_eq!(words(command).expect(command), told, "{command}");
        }
    }
}
