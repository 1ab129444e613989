//! The journal.

use killtrace::evidence::{Fact, Source};
use killtrace::system::entrances;

use super::scene::{SERVICE, SESSION};

/// Lines of `journalctl -o json`.
pub fn lines(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let facts: Vec<Fact> =
        lines.filter_map(entrances::journal_line).map(|evidence| evidence.fact).collect();
    let scene = if bytes.len().is_multiple_of(2) { &SESSION } else { &SERVICE };
    scene.tell(facts.into_iter().map(|fact| (Source::Journal, fact)));
}
