//! What userspace knows. Alone reads the machine.

pub mod cgroups;
pub mod clock;
pub mod outbox;
pub mod processes;
pub mod settings;
pub mod users;
