//! Lines of a child's output, waited for with a limit.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Nothing here takes this long; a guard against waiting for ever.
const LIMIT: Duration = Duration::from_secs(30);
/// Environment variable: another limit in seconds, for machines that are emulated.
const LIMIT_VARIABLE: &str = "KILLTRACE_PATIENCE";

/// Lines of a stream, read by a thread of their own.
#[derive(Debug)]
pub struct Lines {
    receiver: Receiver<String>,
}

impl Lines {
    /// Reads the stream to its end, even where nobody asks for its lines.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                // Where nobody listens any more the stream is read on, so that nobody blocks.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { receiver }
    }

    /// The next line; `None` at the end of the stream.
    ///
    /// # Panics
    ///
    /// Where `what` does not come for half a minute, or what `KILLTRACE_PATIENCE` says.
    pub fn next(&self, what: &str) -> Option<String> {
        let limit = std::env::var(LIMIT_VARIABLE).ok().and_then(|value| value.parse().ok());
        match self.receiver.recv_timeout(limit.map_or(LIMIT, Duration::from_secs)) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited for {what} in vain"),
        }
    }
}
