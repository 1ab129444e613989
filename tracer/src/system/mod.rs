//! What userspace knows. Alone reads the machine.
//!
//! [`Witnesses`] listens to the bus, the service managers, the journal and the kernel's log, and looks at
//! the processes that matter; everything that it learns becomes evidence.

mod as_user;
mod aside;
mod bus;
pub mod cgroups;
pub mod clock;
mod container_target;
mod containers;
mod context;
mod dossier;
pub mod entrances;
mod files;
mod journal;
mod kernel_log;
mod logind;
pub mod machine;
mod outbox;
pub mod presence;
mod privileges;
pub mod processes;
pub mod settings;
mod sources;
mod ssh;
mod systemd;
mod targets;
mod terminals;
mod titles;
mod unit_target;
mod user_names;
pub mod users;
mod witnesses;

pub use container_target::{ContainerTarget, MIN_CONTAINER_ID, UsersContainer};
pub use journal::NO_JOURNALCTL;
pub use privileges::{give_up, give_up_lent};
pub use targets::{Found, Matcher, NoTarget, cgroups_ending, told_to_run};
pub use titles::Titles;
pub use unit_target::{UnitAnswer, UnitTarget};
pub use witnesses::{Options, Witnesses, hurry, running_processes};
