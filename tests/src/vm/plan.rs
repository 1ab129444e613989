//! What host and guest say to each other: what is to be run, and line by line what became of it.

use serde::{Deserialize, Serialize};

/// Where the guest has the programs under test.
pub const DIRECTORY: &str = "/killtrace/debug";
/// Where the guest finds its [`Plan`].
pub const PLACE: &str = "/killtrace/plan.json";
/// The serial line on which the guest reports; the first one is its console.
pub const LINE: &str = if cfg!(target_arch = "aarch64") { "/dev/ttyAMA1" } else { "/dev/ttyS1" };
/// Where the guest notes which test is about to end the system: an [`Unfinished`].
pub const UNFINISHED: &str = "/killtrace/unfinished.json";
/// Environment variable: a test that ended the system is run again, to look at what is left of it.
pub const AFTERWARDS: &str = "KILLTRACE_AFTERWARDS";

/// What the guest is to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The test programs, in their order.
    pub tests: Vec<TestProgram>,
    /// Only tests whose name contains one of these; all where there are none.
    pub filter: Vec<String>,
    /// Also have `killtrace doctor` test itself.
    pub self_test: bool,
}

/// A program of tests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestProgram {
    /// Its name below `deps`.
    pub name: String,
    /// Its tests are marked as ignored: they suit a machine of their own only.
    pub ignored: bool,
    /// How many are run at a time.
    pub at_a_time: usize,
    /// Its test ends the system, and is run again when every service has ended.
    pub ends_the_system: bool,
}

/// A test that ended the system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unfinished {
    /// The test program.
    pub program: TestProgram,
    /// The test.
    pub name: String,
}

/// What the guest says, one a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum Line {
    /// It has booted.
    Booted {
        /// `uname -r`
        release: String,
    },
    /// A line of `killtrace doctor`.
    Check {
        /// What was looked at.
        name: String,
        /// `works`, `missing` or `fails`.
        state: String,
        /// What it is for, or why it is not there.
        detail: String,
    },
    /// A test was run.
    Test {
        /// The test program.
        program: String,
        /// The test.
        name: String,
        /// What became of it.
        outcome: TestOutcome,
        /// 1; 2 where it is run again, by itself, since it had not passed beside another.
        attempt: u32,
        /// How long it took.
        seconds: f64,
        /// What it wrote; only where it did not pass.
        output: String,
    },
    /// A recording of a test that failed.
    Recording {
        /// The file's name.
        name: String,
        /// What is in it.
        text: String,
    },
    /// Something went wrong that is no test's fault.
    Trouble {
        /// What.
        text: String,
    },
    /// All is done.
    Done,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestOutcome {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// It did not end.
    TimedOut,
}
