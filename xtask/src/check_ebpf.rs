//! `cargo xtask check-ebpf`: lints the eBPF programs, builds them again and compares the object with
//! the committed one, byte for byte.

use std::{fs, io::Write as _};

use anyhow::{Context as _, Result, bail};

use crate::{build_ebpf, toolchain::Toolchain};

/// Runs the verb: it takes no arguments.
///
/// # Errors
/// Where clippy has something to say, the programs cannot be built, or the committed object is not what the sources make.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::find()?;
    build_ebpf::lint(&toolchain)?;
    let path = build_ebpf::committed();
    let committed = fs::read(&path).with_context(|| format!("no object at {}", path.display()))?;
    let made_by = fs::read_to_string(build_ebpf::committed_made_by()).unwrap_or_default();
    let here = toolchain.describe()?;
    let built = fs::read(build_ebpf::build(&toolchain)?)?;
    if built == committed {
        writeln!(std::io::stderr(), "the committed object is what the sources make")?;
        return Ok(());
    }
    if made_by != here {
        bail!(
            "the committed object was made by\n{made_by}and this machine has\n{here}which makes other \
             bytes of the same sources: `cargo xtask setup` installs the former on Debian"
        );
    }
    let at = built.iter().zip(&committed).position(|(new, old)| new != old);
    bail!(
        "the committed object ({} bytes) is not what the sources make ({} bytes, the first difference at \
         {}): run `cargo xtask build-ebpf` and commit {}",
        committed.len(),
        built.len(),
        at.unwrap_or(built.len().min(committed.len())),
        path.file_name().unwrap_or_default().to_string_lossy()
    )
}
