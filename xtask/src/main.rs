//! The project's chores: `cargo xtask VERB`, one file a verb.

mod bench;
mod build_ebpf;
mod cargo;
mod cases;
mod check_ebpf;
mod demo;
mod deny;
mod dist;
mod fuzz;
mod lab;
mod man;
mod schema;
mod setup;
mod test;
mod toolchain;
mod vm;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    /// Measure killtrace beside the tracers that are installed, and write docs/benchmarks.md (root)
    Bench(bench::Arguments),
    /// Compile the eBPF programs and put the object where the library takes it from
    BuildEbpf,
    /// Record the golden cases in tests/cases anew (root)
    Cases(cases::Arguments),
    /// Lint the eBPF programs, compile them again and compare the object with the committed one
    CheckEbpf,
    /// Show in a lab how a tmux dies at logout, and what killtrace says about it (root)
    Demo,
    /// Check that the dependencies are such as deny.toml allows: licences, sources, bans
    Deny(deny::Arguments),
    /// Build the release: one static program, man page, completions and licences, as an archive
    Dist,
    /// Look for bytes that do harm at the entrances of killtrace, for some minutes each
    Fuzz(fuzz::Arguments),
    /// Boot a Debian system in namespaces, run a command or a shell in it, and take it down (root)
    Lab(lab::Arguments),
    /// Write the man page and the shell completions to target/dist
    Man,
    /// Rewrite the JSON Schemas in docs/schema from the types
    Schema,
    /// Install what the tests need: packages, the eBPF toolchain, the lab's system (root)
    Setup,
    /// Run everything that continuous integration runs
    Test(test::Arguments),
    /// Try killtrace on Debian's kernels of several releases, each in a virtual machine
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    match run(Verb::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow adds where RUST_BACKTRACE is set.
            let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::BuildEbpf => build_ebpf::run(),
        Verb::Cases(arguments) => cases::run(&arguments),
        Verb::CheckEbpf => check_ebpf::run(),
        Verb::Demo => demo::run(),
        Verb::Deny(arguments) => deny::run(&arguments),
        Verb::Dist => dist::run(),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Lab(arguments) => lab::run(&arguments),
        Verb::Man => man::run(),
        Verb::Schema => schema::run(),
        Verb::Setup => setup::run(),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Vm(arguments) => vm::run(&arguments),
    }
}
