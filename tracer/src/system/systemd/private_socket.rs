//! The private socket of a service manager, as a socket for zbus.
//!
//! There is no bus at the other end: the manager writes `org.freedesktop.systemd1` into the sender field of
//! what it sends (`src/core/dbus.c:bus_setup_api_vtables`, `sd_bus_set_sender`), where the specification wants
//! a unique name and zbus refuses anything else. The bytes of that name are replaced as they come in by a
//! unique name of the same length.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

/// What stands before the name in a message: the code of the sender field, the signature of a string,
/// the length of the name. Strings hold no NUL, so this is found in the header only.
const BEFORE: [u8; 8] = [7, 1, b's', 0, 24, 0, 0, 0];

/// The name that is put there; its length is that of `org.freedesktop.systemd1`.
const NAME: [u8; 24] = *b":1.freedesktop-systemd-1";

/// A stream to a service manager.
#[derive(Debug)]
pub(in crate::system) struct PrivateSocket(pub UnixStream);

impl Socket for PrivateSocket {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        halves(self.0, Some(Renamer::default()))
    }
}

/// A stream to a bus, where senders have names as they should.
#[derive(Debug)]
pub(in crate::system) struct BusSocket(pub UnixStream);

impl Socket for BusSocket {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        halves(self.0, None)
    }
}

fn halves(stream: UnixStream, renamer: Option<Renamer>) -> Split<Reader, Writer> {
    let (stream, write) = stream.into_split();
    Split::new(Reader { stream, renamer }, Writer(write))
}

/// The half that messages come in through.
#[derive(Debug)]
pub(in crate::system) struct Reader {
    stream: OwnedReadHalf,
    renamer: Option<Renamer>,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let read = self.stream.read(buffer).await?;
        if let Some(renamer) = &mut self.renamer {
            renamer.rename(&mut buffer[..read]);
        }
        // File descriptors are not asked for, so none come.
        Ok((read, Vec::new()))
    }
}

/// The half that messages go out through.
#[derive(Debug)]
pub(in crate::system) struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// Replaces the sender's name in a stream of messages, wherever reads happen to cut it.
#[derive(Debug, Default)]
struct Renamer {
    /// How many bytes of [`BEFORE`] and then of the name have gone by.
    at: usize,
}

impl Renamer {
    fn rename(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if let Some(expected) = BEFORE.get(self.at) {
                // The first byte occurs only once in it, so there is nothing else to fall back to.
                self.at =
                    if byte == expected { self.at + 1 } else { usize::from(*byte == BEFORE[0]) };
            } else {
                *byte = NAME[self.at - BEFORE.len()];
                self.at = (self.at + 1) % (BEFORE.len() + NAME.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_replaced_however_the_stream_is_cut() {
        let message = |name: &[u8]| [b"head\x07\x07", &BEFORE[1..], name, b"\0tail"].concat();
        let expected = [message(&NAME), message(&NAME)].concat();
        for size in 1..80 {
            let mut stream =
                [message(b"org.freedesktop.systemd1"), message(b"org.freedesktop.systemd1")]
                    .concat();
            let mut renamer = Renamer::default();
            stream.chunks_mut(size).for_each(|chunk| renamer.rename(chunk));
            assert_eq!(stream, expected, "cut every {size} bytes");
        }
    }

    #[test]
    fn the_name_is_a_unique_name() {
        let name = std::str::from_utf8(&NAME).expect("ASCII");
        assert!(zbus::names::UniqueName::try_from(name).is_ok());
        assert_eq!(NAME.len(), "org.freedesktop.systemd1".len());
    }
}
