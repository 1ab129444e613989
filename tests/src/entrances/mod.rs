//! Every entrance for bytes that others wrote, each with what has to hold whatever they are. `fuzz/` looks for
//! bytes for which it does not; `tests/corpus.rs` repeats what that has found worth keeping.

mod bus;
mod cgroups;
mod escapes;
mod journal;
mod kernel;
mod processes;
mod recordings;
mod scene;
mod settings;
mod state;

use std::path::{Path, PathBuf};

/// An entrance.
#[derive(Clone, Copy, Debug)]
pub struct Entrance {
    /// Its name, which is that of its fuzz target and of its corpus.
    pub name: &'static str,
    /// Takes the bytes, and panics where something does not hold.
    pub check: fn(&[u8]),
}

const fn entrance(name: &'static str, check: fn(&[u8])) -> Entrance {
    Entrance { name, check }
}

/// All of them.
pub const ALL: [Entrance; 13] = [
    entrance("bus", bus::messages),
    entrance("cgroups", cgroups::paths),
    entrance("escapes", escapes::text),
    entrance("journal", journal::lines),
    entrance("processes", processes::files_of),
    entrance("recordings", recordings::file),
    entrance("ring", kernel::records),
    entrance("sshd", settings::sshd),
    entrance("state", state::files_of),
    entrance("types", kernel::type_information),
    entrance("units", settings::units),
    entrance("users", bus::users),
    entrance("values", bus::values),
];

/// Where the corpora are, a directory for each entrance.
pub fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Takes the bytes in through the entrance of that name.
///
/// # Panics
/// Where something does not hold, or there is no such entrance.
pub fn check(name: &str, bytes: &[u8]) {
    let found = ALL.into_iter().find(|entrance| entrance.name == name);
    (found.unwrap_or_else(|| panic!("there is no entrance {name}")).check)(bytes);
}

/// Separates the files that one entrance takes together: a byte that no UTF-8 text holds.
const SEPARATOR: u8 = 0xff;

/// The bytes as so many files; those that are not there are empty, and the last one has all the rest.
fn files<const COUNT: usize>(bytes: &[u8]) -> [&[u8]; COUNT] {
    let mut rest = bytes.splitn(COUNT, |byte| *byte == SEPARATOR);
    std::array::from_fn(|_| rest.next().unwrap_or_default())
}

/// A file as the text that killtrace reads it as.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
