//! Live tests: every way to die of docs/ways-to-die.md, on the real kernel, as root.
//!
//! Each test watches processes of its own and disturbs no other. When one fails it prints the
//! verdict and where the recording is, which `killtrace replay` repeats.

mod before;
mod cgroups;
mod commands;
mod crashes;
mod exits;
mod faults;
mod hard;
mod kills;
mod kin;
mod limits;
mod privileges;
mod promises;
mod terminals;
mod unharmed;
mod without;
