//! A program of a user's that stands where the user's service manager or bus should.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use zbus::connection::Builder;
use zbus::{Connection, Message, MessageStream};

use super::super::super::systemd::private_socket::{BusSocket, PrivateSocket};
use super::*;
use crate::evidence::{Evidence, Fact};

const OK: &[u8] = b"OK 0123456789abcdef0123456789abcdef\r\n";

fn limited<S>(socket: S) -> (Limited<S>, UnboundedReceiver<Evidence>) {
    let (sender, receiver) = unbounded_channel();
    let source = "systemd of user 1000".to_owned();
    (Limited { socket, outbox: Outbox::new(sender), source }, receiver)
}

/// A connection to what answers a handshake with this.
async fn connected(
    answer: &[u8],
) -> (zbus::Result<Connection>, UnixStream, UnboundedReceiver<Evidence>) {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let (socket, facts) = limited(PrivateSocket(ours));
    theirs.write_all(answer).await.expect("written");
    let building = Builder::socket(socket).p2p().method_timeout(Duration::from_millis(200)).build();
    let connection = tokio::time::timeout(Duration::from_secs(5), building).await;
    (connection.expect("it does not take long"), theirs, facts)
}

fn signal(size: usize) -> Vec<u8> {
    let message =
        Message::signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "JobNew");
    message.build(&vec![b'x'; size]).expect("a message").data().to_vec()
}

#[tokio::test]
async fn what_a_manager_says_is_heard() {
    let (connection, mut theirs, _facts) = connected(OK).await;
    let mut stream = MessageStream::from(connection.expect("a connection"));
    for size in [0, 1, 7, 100_000, MAX_MESSAGE - 256] {
        // However it is cut.
        for part in signal(size).chunks(100 + size / 3) {
            theirs.write_all(part).await.expect("written");
            tokio::task::yield_now().await;
        }
        let heard = stream.next().await.expect("a message").expect("a message");
        assert_eq!(heard.data().len(), signal(size).len());
    }
}

#[tokio::test]
async fn a_message_without_end_is_not_taken() {
    let (connection, mut theirs, _facts) = connected(OK).await;
    let mut stream = MessageStream::from(connection.expect("a connection"));
    let mut begin = signal(0)[..16].to_vec();
    begin[4..8].copy_from_slice(&(100_u32 << 20).to_le_bytes());
    theirs.write_all(&begin).await.expect("written");
    let error = stream.next().await.expect("an end").expect_err("it is refused");
    let why = "it sent a message of 102400 KiB; no more than 256 KiB are taken";
    assert_eq!(Ended::by(&error), Ended::TooMuch(why.to_owned()));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_handshake_that_is_none_ends() {
    let endless = vec![b'O'; 60_000];
    for answer in [b"\n".as_slice(), &endless, b"\r\n\n\n", &b"DATA\r\n".repeat(5000)] {
        let (connection, ..) = connected(answer).await;
        assert!(connection.is_err());
    }
    // Nor does a bus say so.
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    theirs.write_all(b"\n").await.expect("written");
    let connection = Builder::socket(limited(BusSocket(ours)).0).build().await;
    assert!(connection.is_err());
}

#[tokio::test]
async fn who_never_answers_is_not_waited_for() {
    let (connection, theirs, _facts) = connected(OK).await;
    let connection = connection.expect("a connection");
    let begun = Instant::now();
    let asked = connection.call_method(None::<&str>, "/", None::<&str>, "Get", &()).await;
    assert!(asked.is_err() && begun.elapsed() < Duration::from_secs(5));
    drop(theirs);
}

/// Messages without end: some at once, the others as slowly as can be taken, and it is said.
#[tokio::test]
async fn messages_without_end_are_heard_late() {
    let (connection, mut theirs, mut facts) = connected(OK).await;
    let mut stream = MessageStream::from(connection.expect("a connection"));
    let flood = signal(0).repeat(100);
    tokio::spawn(async move { while theirs.write_all(&flood).await.is_ok() {} });
    let begun = Instant::now();
    // A busy machine may take them more slowly than is allowed for a while.
    let (mut number, mut gap) = (0, None);
    while gap.is_none() || number < MESSAGES.at_once + MESSAGES.each_second {
        stream.next().await.expect("a message").expect("a message");
        number += 1;
        gap = gap.or_else(|| facts.try_recv().ok());
    }
    let beyond = u32::try_from((number - MESSAGES.at_once) * 1000 / MESSAGES.each_second);
    let least = Duration::from_millis(beyond.expect("some seconds").into()) / 2;
    assert!(begun.elapsed() > least, "{number} in {:?}", begun.elapsed());
    let Some(Fact::Unavailable(gap)) = gap.map(|gap| gap.fact) else { panic!("no gap") };
    assert_eq!(gap.what, "systemd of user 1000");
    assert!(facts.try_recv().is_err(), "it is said once");
}

#[test]
fn bytes_are_allowed_for_as_messages_are() {
    let mut budget = Budget::of(BYTES);
    budget.spend(BYTES.at_once);
    assert!(budget.pause().is_zero());
    budget.spend(BYTES.each_second);
    let pause = budget.pause();
    assert!(pause > Duration::from_millis(900) && pause <= Duration::from_secs(1), "{pause:?}");
}

proptest::proptest! {
    #[test]
    fn any_stream_is_survived(parts in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..80), 0..8)) {
        let mut frames = Frames::default();
        for part in &parts {
            if frames.follow(part).is_err() {
                break;
            }
            proptest::prop_assert!(frames.rest <= MAX_MESSAGE && frames.header.len() < HEADER);
        }
    }
}
