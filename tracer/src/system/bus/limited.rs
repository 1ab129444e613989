//! A user's socket: no more is taken from it than a service manager or a bus has to say.
//!
//! At the other end may be any program of the user's. What it sends is bounded in the size of a message and in how much
//! comes in a second. Who says more is heard later, since nothing is read meanwhile, and that is said; a larger
//! message ends the connection.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::Instant;
use zbus::connection::socket::{ReadHalf, Socket, Split};
use zbus::export::async_trait::async_trait;

use super::super::outbox::Outbox;

/// Longest message, bytes. All properties of a unit are some 20 KiB.
const MAX_MESSAGE: usize = 256 << 10;

/// Longest handshake, bytes. It is one line of some 40.
const MAX_HANDSHAKE: usize = 1024;

/// How many bytes may come at once, and how many more in each second.
const BYTES: Allowance = Allowance { at_once: 8 << 20, each_second: 1 << 20 };

/// How many messages may come at once, and how many more in each second.
const MESSAGES: Allowance = Allowance { at_once: 4096, each_second: 1000 };

/// What stands before the fields of a message's header.
const HEADER: usize = 16;

/// A socket with these limits.
#[derive(Debug)]
pub struct Limited<S> {
    /// What is limited.
    pub socket: S,
    /// Where it is said that more would have come.
    pub outbox: Outbox,
    /// What it is called there.
    pub source: String,
}

impl<S: Socket> Socket for Limited<S> {
    type ReadHalf = Reader<S::ReadHalf>;
    type WriteHalf = S::WriteHalf;

    fn split(self) -> Split<Self::ReadHalf, Self::WriteHalf> {
        let (read, write) = self.socket.split().take();
        let frames = Frames::default();
        let (bytes, messages) = (Budget::of(BYTES), Budget::of(MESSAGES));
        let (outbox, source) = (self.outbox, self.source);
        Split::new(Reader { read, frames, bytes, messages, outbox, source }, write)
    }
}

/// The half that messages come in through.
#[derive(Debug)]
pub struct Reader<R> {
    read: R,
    frames: Frames,
    bytes: Budget,
    messages: Budget,
    outbox: Outbox,
    source: String,
}

#[async_trait]
impl<R: ReadHalf> ReadHalf for Reader<R> {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let pause = self.bytes.pause().max(self.messages.pause());
        if !pause.is_zero() {
            let why = "it says more than can be taken, and is heard late";
            self.outbox.unavailable(self.source.clone(), why);
            tokio::time::sleep(pause).await;
        }
        let (read, files) = self.read.recvmsg(buffer).await?;
        let messages = self.frames.follow(&buffer[..read])?;
        self.bytes.spend(read);
        self.messages.spend(messages);
        Ok((read, files))
    }
}

/// Why a connection is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It broke.
    Closed(String),
    /// What came over it was more than is taken, and would be again.
    TooMuch(String),
}

impl Ended {
    /// What an error says of it.
    pub fn by(error: &zbus::Error) -> Self {
        match error {
            zbus::Error::InputOutput(inner) if inner.kind() == io::ErrorKind::InvalidData => {
                Self::TooMuch(inner.to_string())
            }
            _ => Self::Closed(error.to_string()),
        }
    }
}

/// How much may come.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    at_once: usize,
    each_second: usize,
}

/// What is left of an allowance.
#[derive(Debug)]
struct Budget {
    allowance: Allowance,
    /// Less than none once more has come than was allowed.
    left: f64,
    at: Instant,
}

impl Budget {
    fn of(allowance: Allowance) -> Self {
        Self { allowance, left: allowance.at_once as f64, at: Instant::now() }
    }

    fn spend(&mut self, amount: usize) {
        let now = Instant::now();
        let Allowance { at_once, each_second } = self.allowance;
        let earned = now.duration_since(self.at).as_secs_f64() * each_second as f64;
        self.left = (self.left + earned).min(at_once as f64) - amount as f64;
        self.at = now;
    }

    /// How long nothing may be taken.
    fn pause(&self) -> Duration {
        let owed = (-self.left).max(0.0) / self.allowance.each_second as f64;
        Duration::from_secs_f64(owed).saturating_sub(self.at.elapsed())
    }
}

/// Where in the stream of lines of the handshake and then of messages it is, wherever reads happen to cut it.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of lines so far, and of the present one.
    handshake: usize,
    line: usize,
    /// Whether the first message has begun.
    messages: bool,
    header: Vec<u8>,
    /// How much of a message is still to come.
    rest: usize,
}

impl Frames {
    /// Takes note of what came; returns how many messages begin in it.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut begun = 0;
        while let Some(first) = bytes.first() {
            if self.rest > 0 {
                let gone = self.rest.min(bytes.len());
                self.rest -= gone;
                bytes = &bytes[gone..];
                continue;
            }
            // Messages begin with their byte order; no line of the handshake begins so.
            self.messages |= self.line == 0 && matches!(first, b'l' | b'B');
            if self.messages {
                self.header.push(*first);
                if self.header.len() == HEADER {
                    begun += 1;
                    self.rest = length(&self.header)?;
                    self.header.clear();
                }
            } else {
                self.shake(*first)?;
            }
            bytes = &bytes[1..];
        }
        Ok(begun)
    }

    fn shake(&mut self, byte: u8) -> io::Result<()> {
        self.handshake += 1;
        if self.handshake > MAX_HANDSHAKE || byte == b'\n' && self.line == 0 {
            return Err(refused("its handshake is none".to_owned()));
        }
        self.line = if byte == b'\n' { 0 } else { self.line + 1 };
        Ok(())
    }
}

/// How many messages begin in what comes in these parts, the handshake first.
///
/// # Errors
/// Where it is no handshake, or a message is longer than any that is taken.
pub fn messages_in<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> io::Result<usize> {
    let mut frames = Frames::default();
    parts.into_iter().map(|part| frames.follow(part)).sum()
}

/// How much of a message follows on the first bytes of its header.
fn length(header: &[u8]) -> io::Result<usize> {
    let number = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let bytes: [u8; 4] = bytes.unwrap_or_default();
        let little = header.first() == Some(&b'l');
        let number = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let (body, fields) = (number(4), number(12));
    let length = fields.checked_next_multiple_of(8).and_then(|fields| fields.checked_add(body));
    length.filter(|length| *length <= MAX_MESSAGE).ok_or_else(|| {
        refused(format!(
            "it sent a message of {} KiB; no more than {} KiB are taken",
            body.saturating_add(fields) >> 10,
            MAX_MESSAGE >> 10
        ))
    })
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
#[path = "limited_tests.rs"]
mod tests;
