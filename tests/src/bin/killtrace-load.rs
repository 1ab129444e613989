//! `killtrace-load`: the load that `cargo xtask bench` puts on the machine; see `killtrace_tests::load`.

use std::process::ExitCode;

fn main() -> ExitCode {
    killtrace_tests::load::main()
}
