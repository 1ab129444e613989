//! `killtrace-fixture SCENE`: plays one way to die, for the tests and for trying killtrace by hand.
//!
//! `killtrace-fixture list` names the scenes. A scene writes one line of JSON when everybody is in
//! place (who is who, by pid), waits for a line on its standard input, lets it happen, and writes a
//! second line: the wait status of each victim.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    killtrace_tests::fixtures::main(&std::env::args_os().skip(1).collect::<Vec<OsString>>())
}
