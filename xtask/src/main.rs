//! The project's chores: `cargo xtask VERB`.
fn main() {}
