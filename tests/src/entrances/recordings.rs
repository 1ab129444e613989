//! A recording from somebody else.

use std::io::Cursor;
use std::path::Path;

use killtrace::recording::Reader;

use super::scene;

/// A file for `killtrace replay`, plain or compressed.
pub fn file(bytes: &[u8]) {
    let Ok((header, mut reader)) = Reader::new(Cursor::new(bytes.to_vec()), Path::new("x")) else {
        return;
    };
    let mut evidence = Vec::new();
    while let Ok(Some(one)) = reader.next_evidence() {
        evidence.push(one);
    }
    scene::tell(&header, evidence);
}
