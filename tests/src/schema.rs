//! The published JSON Schemas, and whether what killtrace writes keeps to them.

use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail};
use jsonschema::Validator;
use serde_json::Value;

static REPORT: LazyLock<Validator> =
    LazyLock::new(|| compiled(include_str!("../../docs/schema/report.schema.json")));
static RECORDING: LazyLock<Validator> =
    LazyLock::new(|| compiled(include_str!("../../docs/schema/recording.schema.json")));

/// # Panics
///
/// Where the file is no schema.
fn compiled(schema: &str) -> Validator {
    let schema = serde_json::from_str(schema).expect("a committed schema is JSON");
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("a committed schema is one")
}

/// Checks one line of `--format json`.
///
/// # Errors
/// Where the line is no JSON or the schema does not allow it: says what is wrong, and where.
pub fn check_report(line: &str) -> Result<()> {
    check(&REPORT, line)
}

/// Checks one line of a recording.
///
/// # Errors
/// As [`check_report`].
pub fn check_recording(line: &str) -> Result<()> {
    check(&RECORDING, line)
}

fn check(schema: &Validator, line: &str) -> Result<()> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
    let wrong: Vec<String> = schema
        .iter_errors(&value)
        .map(|error| format!("{} at {:?}", error.masked(), error.instance_path().as_str()))
        .collect();
    if !wrong.is_empty() {
        bail!("the schema does not allow this line: {}\n{line}", wrong.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_schema_does_not_allow_is_told() {
        let summary = r#"{"type":"summary","time":"2026-10-01T05:01:58.818Z","boot_ns":1,
            "signals":0,"deaths":1,"untold":0,"losses":0,"alive":0,"reason":"once"}"#;
        check_report(summary).expect("allowed");
        for (part, other) in [
            ("\"deaths\":1", "\"deaths\":-1"),
            ("\"alive\":0,", ""),
            ("summary", "sumary"),
            ("2026-10-01T05:01:58.818Z", "yesterday"),
        ] {
            let wrong = check_report(&summary.replace(part, other)).expect_err(other).to_string();
            assert!(wrong.contains("does not allow"), "{wrong}");
        }
        assert!(check_recording(summary).is_err());
        assert!(check_report("+++ exited with 0 +++").is_err());
    }
}
