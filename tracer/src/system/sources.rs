//! Which witnesses are listening, and why the others are not.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::evidence::{ATTACHED, CONNECTING};

/// The word for a witness that nobody wants.
pub const NOT_WANTED: &str = "not asked for";

/// State of every witness, shared between them.
#[derive(Clone, Debug)]
pub struct Sources(watch::Sender<BTreeMap<String, String>>);

impl Sources {
    /// All of these, still connecting.
    pub fn connecting(names: &[&str]) -> Self {
        let all = names.iter().map(|name| ((*name).to_owned(), CONNECTING.to_owned()));
        Self(watch::Sender::new(all.collect()))
    }

    /// Sets the state of one: [`ATTACHED`], or the reason why it is not.
    pub fn set(&self, name: &str, state: impl Into<String>) {
        let state = state.into();
        tracing::debug!(source = name, state, "a witness changed its state");
        self.0.send_modify(|all| {
            all.insert(name.to_owned(), state);
        });
    }

    /// Name to state.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.0.borrow().clone()
    }

    /// Whether this one listens.
    pub fn is_attached(&self, name: &str) -> bool {
        self.0.borrow().get(name).is_some_and(|state| state == ATTACHED)
    }

    /// Whether this one has not begun to listen yet.
    pub fn is_connecting(&self, name: &str) -> bool {
        self.0.borrow().get(name).is_some_and(|state| state == CONNECTING)
    }

    /// Whether this one was asked for.
    pub fn is_wanted(&self, name: &str) -> bool {
        self.0.borrow().get(name).is_none_or(|state| state != NOT_WANTED)
    }

    /// Waits until none is connecting any more, or the time is over.
    pub async fn settled(&self, limit: Duration) {
        self.settled_of(limit, |_| true).await;
    }

    /// The same of those by these names alone.
    pub async fn settled_of(&self, limit: Duration, is_meant: impl Fn(&str) -> bool) {
        let mut all = self.0.subscribe();
        let settled = all
            .wait_for(|all| all.iter().all(|(name, state)| state != CONNECTING || !is_meant(name)));
        // Over time the caller looks at what there is.
        let _ = tokio::time::timeout(limit, settled).await;
    }
}
