//! D-Bus: what comes over a connection, whoever is at the other end.

use std::cell::LazyCell;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use killtrace::evidence::{Fact, Source};
use killtrace::system::entrances;
use tokio::runtime::{Builder, Runtime};

use super::scene::{SERVICE, TERMINATED};

/// More than this a socket may not hold while nobody reads.
const MOST: usize = 64 << 10;

thread_local! {
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
}

/// Messages, one behind the other.
pub fn messages(bytes: &[u8]) {
    let facts = RUNTIME.with(|runtime| runtime.block_on(listen(&bytes[..bytes.len().min(MOST)])));
    let scene = if bytes.len().is_multiple_of(2) { &SERVICE } else { &TERMINATED };
    scene.tell(facts.into_iter().map(|fact| (Source::Bus, fact)));
}

async fn listen(bytes: &[u8]) -> Vec<Fact> {
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    theirs.write_all(bytes).expect("written");
    theirs.shutdown(Shutdown::Write).expect("shut down");
    ours.set_nonblocking(true).expect("set");
    let stream = tokio::net::UnixStream::from_std(ours).expect("registered");
    entrances::bus(stream).await.unwrap_or_default()
}
