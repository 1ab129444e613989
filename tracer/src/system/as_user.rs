//! Doing what a user could do and no more: whatever is a user's own is looked at with that user's rights alone.
//!
//! A link of theirs then leads nowhere that they could not go themselves, and nothing of theirs can hold up more than
//! one thread.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;

use caps::CapSet;
use tokio::sync::oneshot;

use super::context::lock;
use super::users;

/// How long it may take: a user's files may be on a file system that does not answer.
const LIMIT: Duration = Duration::from_secs(3);

/// How long who cannot wait does.
const MOMENT: Duration = Duration::from_millis(300);

/// The group of those whom the user database does not know (`nogroup`).
const NO_GROUP: u32 = 65534;

/// Takes turns for each user.
#[derive(Debug, Default)]
pub struct AsUser(Mutex<HashMap<u32, Turn>>);

/// Taken by who waits, and in it what is held by the thread that works.
type Turn = Arc<tokio::sync::Mutex<Arc<()>>>;

impl AsUser {
    /// Does this in a thread that has that user's rights, when what was to be done as this user before is done.
    ///
    /// # Errors
    /// Where the user's ids cannot be taken on, or it takes longer than three seconds from when it is its turn; then also
    /// whatever is asked until it is over.
    pub async fn run<T: Send + 'static>(
        &self,
        uid: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.run_within(LIMIT, uid, work).await
    }

    async fn run_within<T: Send + 'static>(
        &self,
        limit: Duration,
        uid: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = Arc::clone(lock(&self.0).entry(uid).or_default());
        let turn = turn.lock().await;
        let late =
            || io::Error::new(ErrorKind::TimedOut, format!("what is user {uid}'s does not answer"));
        if Arc::strong_count(&turn) > 1 {
            return Err(late());
        }
        let at_work = Arc::clone(&turn);
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            let result = take_on(uid).map(|()| work());
            // Before it is told that it is over: it may be the next one's turn at once.
            drop(at_work);
            // After the time limit nobody listens any more.
            let _ = sender.send(result);
        };
        std::thread::Builder::new().name(format!("as user {uid}")).spawn(work)?;
        match tokio::time::timeout(limit, receiver).await {
            Ok(done) => done.unwrap_or_else(|_| Err(io::Error::other("the thread panicked"))),
            Err(_) => Err(late()),
        }
    }
}

/// Does this with that user's rights for who cannot wait: for a moment at most, and not at all while the last such work for
/// the user has not come to an end.
///
/// # Errors
/// As [`AsUser::run`].
pub fn run_at_once<T: Send + 'static>(
    uid: u32,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    static AT_WORK: Mutex<BTreeMap<u32, Weak<()>>> = Mutex::new(BTreeMap::new());
    let late =
        || io::Error::new(ErrorKind::TimedOut, format!("what is user {uid}'s does not answer"));
    let begun = Arc::new(());
    {
        let mut at_work = lock(&AT_WORK);
        at_work.retain(|_, thread| thread.strong_count() > 0);
        if at_work.contains_key(&uid) {
            return Err(late());
        }
        at_work.insert(uid, Arc::downgrade(&begun));
    }
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let result = take_on(uid).map(|()| work());
        drop(begun);
        // After the time limit nobody listens any more.
        let _ = sender.send(result);
    };
    std::thread::Builder::new().name(format!("as user {uid}")).spawn(work)?;
    match receiver.recv_timeout(MOMENT) {
        Ok(done) => done,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(late()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread panicked")),
    }
}

/// Leaves this thread with the rights of a user, of the groups only that of the user's own, and with no capability in
/// effect. The raw system calls change the ids of one thread.
fn take_on(uid: u32) -> io::Result<()> {
    // SAFETY: geteuid takes nothing and cannot fail.
    if uid != unsafe { libc::geteuid() } {
        let group = users::primary_group(uid).unwrap_or(NO_GROUP);
        // SAFETY: setgroups reads one number, which is alive for the call.
        done(unsafe { libc::syscall(libc::SYS_setgroups, 1, &raw const group) })?;
        // SAFETY: setresgid takes three integers and touches no memory; -1 leaves an id as it is.
        done(unsafe { libc::syscall(libc::SYS_setresgid, -1, group, -1) })?;
        // SAFETY: as setresgid.
        done(unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) })?;
    }
    caps::clear(None, CapSet::Effective).map_err(io::Error::other)
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    use std::time::Instant;

    use super::*;

    /// Nobody's rights where this runs as root, else one's own.
    fn somebody() -> u32 {
        // SAFETY: geteuid takes nothing and cannot fail.
        let own = unsafe { libc::geteuid() };
        if own == 0 { 65534 } else { own }
    }

    #[tokio::test]
    async fn what_is_not_the_users_cannot_be_read() {
        let tree = tempfile::tempdir().expect("temporary directory");
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
        let uid = somebody();
        let closed = tree.path().join("closed");
        fs::DirBuilder::new().mode(0o000).create(&closed).expect("directory");
        fs::write(tree.path().join("open"), "x").expect("file");
        let (open, list) = (tree.path().join("open"), closed.clone());
        let as_user = AsUser::default();
        let (read, listed) = as_user
            .run(uid, move || (fs::read(open).is_ok(), fs::read_dir(list).map(drop)))
            .await
            .expect("the ids are taken on");
        assert!(read);
        assert_eq!(listed.map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
    }

    #[test]
    fn who_cannot_wait_does_so_once() {
        let (release, wait) = mpsc::channel::<()>();
        // The others of these tests are another's.
        // SAFETY: geteuid takes nothing and cannot fail.
        let own = unsafe { libc::geteuid() };
        let uid = if own == 0 { 65533 } else { own };
        assert_eq!(run_at_once(uid, || 7).ok(), Some(7));
        let begun = Instant::now();
        let stuck = run_at_once(uid, move || wait.recv().is_ok());
        assert_eq!(stuck.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
        for _ in 0..20 {
            let next = run_at_once(uid, || panic!("it is not tried"));
            assert_eq!(next.map_err(|error| error.kind()), Err::<(), _>(ErrorKind::TimedOut));
        }
        assert!(begun.elapsed() < 10 * MOMENT, "{:?}", begun.elapsed());
        release.send(()).expect("it waits");
        let begun = Instant::now();
        while run_at_once(uid, || ()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it is over");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_holds_up_one_thread() {
        let (release, wait) = mpsc::channel::<()>();
        let as_user = AsUser::default();
        let uid = somebody();
        let stuck = as_user.run_within(Duration::ZERO, uid, move || wait.recv().is_ok()).await;
        assert_eq!(stuck.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
        let next = as_user.run(uid, || ()).await;
        assert_eq!(next.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
        release.send(()).expect("it waits");
        let begun = Instant::now();
        while as_user.run(uid, || ()).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it is over");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
