//! killtrace tells who killed a process, on whose behalf, and how to stop it happening again.
//!
//! Data flows one way:
//!
//! ```text
//! kernel/  what the kernel saw     ┐
//!                                  ├─▶ evidence/ ─▶ story/ ─▶ report/
//! system/  what userspace knows    ┘       │
//!                                          └─▶ recording/
//! ```

pub mod cli;
mod clock;
pub mod commands;
mod destination;
pub mod evidence;
pub mod kernel;
mod lent;
pub mod recording;
pub mod report;
pub mod story;
pub mod system;
