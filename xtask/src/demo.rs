//! `cargo xtask demo`: the story of a tmux that dies at logout, told live.

use anyhow::Result;

/// Plays it in a lab.
pub fn run() -> Result<()> {
    crate::lab::start("demo", &[])
}
