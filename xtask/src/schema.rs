//! `cargo xtask schema`: rewrites the committed JSON Schemas.

use anyhow::Result;

use crate::cargo::{cargo, run as run_command};

/// The tests that compare the schemas with the types rewrite them where they are asked to.
pub fn run() -> Result<()> {
    let tests = ["test", "--quiet", "--package", "killtrace", "--lib", "report::schema"];
    run_command(cargo(&tests).env("KILLTRACE_UPDATE_SCHEMA", "1"))
}
