//! Where bytes that others wrote come in, each as a function of those bytes alone: for fuzzers, and for the
//! tests that repeat what those found.

use super::{
    btf::{Btf, BtfError},
    cgroups::Cgroups,
    clock::Clock,
    decode::Decoder,
    intake::Intake,
    offsets,
    symbols::Symbols,
};
use crate::evidence::Evidence;

/// What the ring buffer's records become, in their order, and how many of them made no sense.
pub fn records<'r>(records: impl IntoIterator<Item = &'r [u8]>) -> (Vec<Evidence>, u64) {
    let decoder = Decoder::new(Clock::new(), Cgroups::default(), Symbols::default());
    let mut intake = Intake::new(decoder);
    let mut out = Vec::new();
    for record in records {
        if !intake.counts(record) {
            intake.take(record, &mut out);
        }
    }
    intake.tell(&mut out);
    (out, intake.malformed())
}

/// Looks for every field of the kernel in a file of type information (`--btf FILE`). Returns how many were
/// not found.
///
/// # Errors
/// Where it is none.
pub fn type_information(bytes: &[u8]) -> Result<usize, BtfError> {
    let btf = Btf::scan(bytes, &offsets::structures())?;
    Ok(offsets::resolve(&btf).1.len())
}
