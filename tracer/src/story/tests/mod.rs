//! The story told on made-up evidence: what the recorded cases cannot show on purpose.

mod actors;
mod batch;
mod caught;
mod circumstances;
mod clients;
mod containers;
mod crashes;
mod daemons;
mod dependencies;
mod going_down;
mod hostile;
mod last_session;
mod logind;
mod logins;
mod machines;
mod manager;
mod memory;
mod plain;
mod private_socket;
mod promptings;
mod relay;
mod remedies;
pub(super) mod scene;
mod started;
mod stops;
mod terminals;
mod unasked;
