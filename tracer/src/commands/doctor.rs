//! `killtrace doctor`: what this machine offers, and what each missing thing costs.

use crate::cli::ReportArgs;

use super::Failure;

/// Looks and tells.
///
/// # Errors
/// Where the report cannot be written.
pub fn run(_self_test: bool, _args: &ReportArgs) -> Result<u8, Failure> {
    Err(anyhow::anyhow!("not yet").into())
}
