//! The story: evidence in, verdict out. Pure: nothing in here reads a file, a clock or the network.
//!
//! [`Engine`] takes evidence and gives records. `world` holds what was true when, `decide` finds
//! the signal that decided a death, `mechanism` says how that signal came about, `causes` why, and
//! `judge` puts the verdict together.

#![forbid(unsafe_code)]

mod actor;
mod case;
mod causes;
mod clients;
mod decide;
mod ending;
mod engine;
mod fixes;
mod halts;
mod idle;
mod init_script;
mod journal;
mod judge;
mod klog;
mod links;
mod manager;
mod mechanism;
mod monit;
mod newborn;
mod patience;
mod people;
mod pulls;
mod relay;
mod requests;
mod servers;
mod sessions;
mod si_code;
mod signals;
mod started;
mod stopping;
#[cfg(test)]
mod tests;
mod told;
mod unit_command;
mod unit_jobs;
mod unit_names;
mod units;
mod unseen;
mod upstream;
pub mod verdict;
mod windows;
mod wishes;
mod words;
mod world;

pub use engine::Engine;
