//! Finds the eBPF object that is built into the library.
//!
//! It is the one that `KILLTRACE_EBPF_OBJECT` names, or else the committed one, which
//! `cargo xtask build-ebpf` makes: an ordinary build needs no eBPF toolchain.

use std::{env, error::Error, path::PathBuf};

const VARIABLE: &str = "KILLTRACE_EBPF_OBJECT";
const COMMITTED: &str = "ebpf/killtrace.bpf.o";

fn main() -> Result<(), Box<dyn Error>> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let object = env::var_os(VARIABLE).map_or_else(|| package.join(COMMITTED), PathBuf::from);
    if !object.is_file() {
        return Err(format!(
            "no eBPF object at {}: set {VARIABLE}, or make it with `cargo xtask build-ebpf`",
            object.display()
        )
        .into());
    }
    let object = object.canonicalize()?;
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    println!("cargo:rerun-if-changed={}", object.display());
    println!("cargo:rustc-env={VARIABLE}={}", object.display());
    Ok(())
}
