//! Finding and installing what builds the eBPF programs.
//!
//! Rust can compile for `bpfel-unknown-none`, but no stable release comes with `core` for it. Two ways
//! are known: Debian's packages, which have it ready, and a nightly of rustup with its sources. The
//! linker, bpf-linker, is not packaged.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::cargo::{run as run_command, said, target_directory};

/// What the programs are compiled for.
pub const TARGET: &str = "bpfel-unknown-none";
/// The release of bpf-linker that made the committed object.
const LINKER_VERSION: &str = "0.13.0";
/// Debian's packages: Rust with `core` for eBPF, and the LLVM that bpf-linker is built with.
const PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "rust-web-clippy",
    "llvm-22-dev",
    "libpolly-22-dev",
];
/// The lints of the packaged compiler.
const PACKAGED_CLIPPY: &str = "/usr/bin/cargo-clippy";
/// Names a directory whose `bin` has bpf-linker.
const DIRECTORY: &str = "KILLTRACE_TOOLCHAIN";
/// Variables that would have another compiler, or other options, take part.
const FOREIGN: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A compiler that can build for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Compiler {
    /// Cargo and rustc of the system's packages, with `core` at hand.
    Packaged { cargo: PathBuf, rustc: PathBuf },
    /// A nightly of rustup, which compiles `core` first.
    Nightly,
}

/// What builds the programs.
#[derive(Clone, Debug)]
pub struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

impl Toolchain {
    /// Looks for one.
    ///
    /// # Errors
    /// Where there is none; the message says how to get it.
    pub fn find() -> Result<Self> {
        let compiler = Compiler::find().with_context(|| {
            format!(
                "no Rust compiler for {TARGET}: run `cargo xtask setup` (Debian), or \
                 `rustup toolchain install nightly --component rust-src`"
            )
        })?;
        let linker = linker().with_context(|| {
            format!(
                "no bpf-linker {LINKER_VERSION}: run `cargo xtask setup`, or set {DIRECTORY} to a \
                 directory that has bin/bpf-linker"
            )
        })?;
        Ok(Self { compiler, linker })
    }

    /// A `cargo build` or `cargo clippy` for [`TARGET`]; the caller adds of what.
    pub fn cargo(&self, verb: &str) -> Command {
        let mut command = match &self.compiler {
            Compiler::Packaged { cargo, rustc } => {
                // `cargo clippy` would find rustup's: cargo looks among its own programs first.
                let lint = verb == "clippy";
                let mut command =
                    Command::new(if lint { Path::new(PACKAGED_CLIPPY) } else { cargo });
                clean(&mut command);
                command.env("CARGO", cargo).env("RUSTC", rustc).arg(verb);
                command
            }
            Compiler::Nightly => {
                let mut command = Command::new("rustup");
                clean(&mut command);
                command.args(["run", "nightly", "cargo", verb, "-Zbuild-std=core"]);
                command
            }
        };
        // The packaged compiler is a stable one, and eBPF needs what is not stable yet.
        command.env("RUSTC_BOOTSTRAP", "1").args(["--release", "--target", TARGET]);
        command
    }

    /// Options for rustc: the linker, and no path of this machine in the result.
    pub fn flags(&self, workspace: &Path) -> String {
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let mut flags = vec![
            // The result is the same for every architecture: nothing of it depends on this.
            "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
            "-Cdebuginfo=0".to_owned(),
            format!("-Clinker={}", self.linker.display()),
            format!("--remap-path-prefix={}=/killtrace", workspace.display()),
        ];
        if let Some(home) = cargo_home {
            flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
        }
        flags.join("\x1f")
    }

    /// What it is, in two lines; kept beside the object, since another one makes other bytes.
    ///
    /// # Errors
    /// Where the compiler or the linker does not run.
    pub fn describe(&self) -> Result<String> {
        let mut rustc = match &self.compiler {
            Compiler::Packaged { rustc, .. } => Command::new(rustc),
            Compiler::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "rustc"]);
                command
            }
        };
        clean(&mut rustc);
        let rustc = said(rustc.arg("--version"))?;
        let linker = said(Command::new(&self.linker).arg("--version"))?;
        Ok(format!("{rustc}\n{linker}\n"))
    }
}

impl Compiler {
    fn find() -> Option<Self> {
        let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
        let mut probe = Command::new(&rustc);
        clean(&mut probe);
        let libraries = said(probe.args(["--print", "target-libdir", "--target", TARGET]));
        if cargo.is_file() && libraries.is_ok_and(|directory| has_core(Path::new(&directory))) {
            return Some(Self::Packaged { cargo, rustc });
        }
        let sysroot =
            said(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
        let sources = PathBuf::from(sysroot.ok()?).join("lib/rustlib/src/rust/library/core");
        sources.is_dir().then_some(Self::Nightly)
    }
}

/// Whether a directory of libraries has `core`.
fn has_core(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// The first bpf-linker of the right version: of the named directory, of this project's own, of PATH.
fn linker() -> Option<PathBuf> {
    let named = env::var_os(DIRECTORY).map(|directory| PathBuf::from(directory).join("bin"));
    let own = Some(directory().join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain(own)
        .chain(env::split_paths(&path))
        .map(|directory| directory.join("bpf-linker"))
        .find(|linker| {
            said(Command::new(linker).arg("--version"))
                .is_ok_and(|version| version.ends_with(LINKER_VERSION))
        })
}

/// Where `cargo xtask setup` puts bpf-linker: it is made once and kept with the other build results.
pub fn directory() -> PathBuf {
    target_directory().join("killtrace-toolchain")
}

/// Keeps what surrounds this process from having a say.
pub fn clean(command: &mut Command) {
    for name in FOREIGN {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
            command.env_remove(name);
        }
    }
}

/// Whether everything is there that [`install`] would install.
pub fn is_complete() -> bool {
    has_packages() && linker().is_some()
}

/// Whether there is a compiler, with its lints.
fn has_packages() -> bool {
    match Compiler::find() {
        Some(Compiler::Packaged { .. }) => Path::new(PACKAGED_CLIPPY).is_file(),
        Some(Compiler::Nightly) => true,
        None => false,
    }
}

/// Installs what is missing: Debian's packages and bpf-linker.
///
/// # Errors
/// Where a step fails. Nothing is installed where everything is there.
pub fn install() -> Result<()> {
    let mut err = std::io::stderr();
    if !has_packages() {
        writeln!(err, "installing the packages {}", PACKAGES.join(" "))?;
        run_command(
            Command::new("apt-get")
                .args(["install", "--yes", "--no-install-recommends"])
                .args(PACKAGES),
        )
        .context(
            "the packages could not be installed: run this as root, on Debian 12 or later; \
                 elsewhere `rustup toolchain install nightly --component rust-src`",
        )?;
    }
    if linker().is_none() {
        writeln!(err, "building bpf-linker {LINKER_VERSION}, which takes a minute or two")?;
        let mut command = Command::new("cargo");
        clean(&mut command);
        // Left to itself, its build looks for LLVM beside whatever `llvm-config` comes first in PATH.
        if env::var_os("LLVM_PREFIX").is_none()
            && let Ok(prefix) = said(Command::new("llvm-config-22").arg("--prefix"))
        {
            command.env("LLVM_PREFIX", prefix);
        }
        run_command(
            command
                .args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION])
                .args(["--no-default-features", "--features", "llvm-22", "--root"])
                .arg(directory()),
        )
        .context(
            "bpf-linker could not be built: it takes LLVM 22 (llvm-22-dev, libpolly-22-dev)",
        )?;
    }
    let toolchain = Toolchain::find()?;
    write!(err, "the programs are built by\n{}", toolchain.describe()?)?;
    Ok(())
}
