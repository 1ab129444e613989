//! The live tests' harness: plays a scene under the eyes of killtrace, on the real kernel.
//!
//! [`play`] is all that most tests need; [`Stage`] and [`Trace`] are its two halves. Everything here
//! panics with a sentence where something is not as it must be: it is for tests only.

mod expect;
mod lines;
mod stage;
mod trace;

use std::path::PathBuf;
use std::process::Command;

pub use expect::{By, Played};
pub use stage::{Cast, Stage};
pub use trace::{Ended, QuietTrace, Trace};

/// Plays the scene while `killtrace -p VICTIM…` watches all of its victims.
pub fn play(scene: &str) -> Played {
    let stage = Stage::open(scene);
    let pids = stage.victims().into_iter().map(|(_, pid)| pid.to_string());
    let args: Vec<String> = pids.flat_map(|pid| ["-p".to_owned(), pid]).collect();
    let trace = Trace::start(scene, &args);
    play_under(stage, trace)
}

/// Plays the scene, while a killtrace that ends by itself watches it.
pub fn play_under(mut stage: Stage, trace: Trace) -> Played {
    stage.begin();
    stage.victims_end();
    let trace = trace.finish();
    Played::new(stage.close(), trace)
}

/// A program of this workspace, as built for these tests.
pub fn program(name: &str) -> PathBuf {
    if name == "killtrace"
        && let Some(path) = std::env::var_os("KILLTRACE_BIN")
    {
        return path.into();
    }
    // A test is target/PROFILE/deps/live-HASH, other programs are one level above.
    let path = std::env::current_exe()
        .ok()
        .and_then(|ours| {
            let beside = ours.parent()?;
            let built = if beside.ends_with("deps") { beside.parent()? } else { beside };
            Some(built.join(name))
        })
        .unwrap_or_else(|| panic!("cannot tell where {name} was built"));
    assert!(path.exists(), "{} is not there: run `cargo build --workspace` first", path.display());
    path
}

/// Where the recordings and logs of the tests are kept, to be looked at when one fails:
/// `$KILLTRACE_KEEPSAKES`, else beside the programs.
pub fn keepsakes() -> PathBuf {
    let named = std::env::var_os("KILLTRACE_KEEPSAKES").map(PathBuf::from);
    let place =
        named.unwrap_or_else(|| program("killtrace-fixture").with_file_name("live-recordings"));
    std::fs::create_dir_all(&place)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", place.display()));
    place
}

/// Runs a command of the system, which must succeed; what it printed.
pub fn run(argv: &[&str]) -> String {
    let output = Command::new(argv[0]).args(&argv[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {argv:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{argv:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The first two numbers of the running kernel's release.
pub fn kernel_release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("readable");
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or_else(|| panic!("a release: {text}"));
    (next(), next())
}

/// These tests load programs into the kernel.
pub fn require_root() {
    // SAFETY: takes nothing.
    let user = unsafe { libc::geteuid() };
    assert_eq!(user, 0, "the live tests need root: run them as root, e.g. by `cargo xtask test`");
}
