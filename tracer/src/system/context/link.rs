//! Connections that others ask over.

use std::time::Duration;

use tokio::sync::watch;
use zbus::Connection;

/// How long a question waits for a connection that is being made.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A connection that is being made, is there, or cannot be had.
#[derive(Clone, Debug)]
pub struct Link(watch::Sender<LinkState>);

#[derive(Clone, Debug, Default)]
enum LinkState {
    #[default]
    Connecting,
    Up(Connection),
    Down(String),
}

impl Default for Link {
    fn default() -> Self {
        Self(watch::Sender::new(LinkState::Connecting))
    }
}

impl Link {
    /// It is there.
    pub fn up(&self, connection: Connection) {
        self.0.send_replace(LinkState::Up(connection));
    }

    /// It cannot be had, or is gone.
    pub fn down(&self, why: impl Into<String>) {
        self.0.send_replace(LinkState::Down(why.into()));
    }

    /// The connection; waits for one that is being made.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self) -> Result<Connection, String> {
        let mut state = self.0.subscribe();
        let ready = state.wait_for(|state| !matches!(state, LinkState::Connecting));
        match tokio::time::timeout(CONNECT_LIMIT, ready).await {
            Ok(Ok(state)) => match &*state {
                LinkState::Up(connection) => Ok(connection.clone()),
                LinkState::Down(why) => Err(why.clone()),
                LinkState::Connecting => Err("the connection is not made yet".to_owned()),
            },
            _ => Err(format!("no connection within {} s", CONNECT_LIMIT.as_secs())),
        }
    }
}
