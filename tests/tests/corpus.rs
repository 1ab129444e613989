//! Every entrance for bytes that others wrote, with all that fuzzers found worth keeping of it
//! (docs/fuzzing.md), without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use killtrace_tests::entrances::{ALL, check, corpora};

/// Cloned by everybody, for ever.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 500 << 10;

/// The files of an entrance, by name.
fn corpus(entrance: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpora().join(entrance);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{error}: {folder:?}"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

/// Runs all files of an entrance, also after one that failed.
fn repeat(name: &str) {
    let files = corpus(name);
    assert!(!files.is_empty(), "nothing is kept of {name}");
    let failed: Vec<&str> = files
        .iter()
        .filter(|(_, bytes)| catch_unwind(|| check(name, bytes)).is_err())
        .map(|(file, _)| file.as_str())
        .collect();
    assert!(failed.is_empty(), "fuzz/corpus/{name}: {}", failed.join(", "));
}

macro_rules! entrances {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { repeat(stringify!($name)); })*
    };
}

entrances!(bus cgroups escapes journal processes recordings ring sshd state types units users values);

/// An entrance has a test here, a fuzz target and a corpus, and there are no others.
#[test]
fn every_entrance_is_fuzzed_and_kept() {
    let names: BTreeSet<String> = ALL.iter().map(|entrance| entrance.name.to_owned()).collect();
    let names_in = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{error}: {folder:?}"));
        let stem =
            |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        entries.map(|entry| stem(&entry.expect("an entry").path())).collect()
    };
    assert_eq!(names_in(&corpora()), names);
    assert_eq!(names_in(&corpora().with_file_name("fuzz_targets")), names);
    assert_eq!(TESTED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), names);
}

#[test]
fn the_corpora_are_small() {
    let files: Vec<_> = ALL.iter().flat_map(|entrance| corpus(entrance.name)).collect();
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(files.len() < MOST_FILES, "{} files", files.len());
    assert!(bytes < MOST_BYTES, "{bytes} bytes");
}
