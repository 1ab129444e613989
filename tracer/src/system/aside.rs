//! Reading root's own files where that holds up nobody: one of them may be a link to a file system that does not answer.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::context::lock;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(3);

/// How many threads read at once. Where the files of as many units do not answer, nothing of root's is read any more until
/// one does: each time that is told as a gap, after three seconds.
const THREADS: usize = 16;

/// Reads aside.
#[derive(Debug)]
pub struct Aside {
    threads: Arc<Semaphore>,
    /// What did not answer in time, and in it what its thread holds while it still waits.
    stuck: Mutex<HashMap<String, Weak<()>>>,
}

impl Default for Aside {
    fn default() -> Self {
        Self { threads: Arc::new(Semaphore::new(THREADS)), stuck: Mutex::default() }
    }
}

impl Aside {
    /// Does this in a thread of its own. What reads the same has the same name: it is not tried again while the last one
    /// still waits.
    ///
    /// # Errors
    /// Where it takes longer than three seconds, or no thread is free for it for as long.
    pub async fn run<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.run_within(LIMIT, what, work).await
    }

    async fn run_within<T: Send + 'static>(
        &self,
        limit: Duration,
        what: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let late = || io::Error::new(ErrorKind::TimedOut, "its files do not answer");
        if lock(&self.stuck).get(what).is_some_and(|thread| thread.strong_count() > 0) {
            return Err(late());
        }
        let free = tokio::time::timeout(limit, Arc::clone(&self.threads).acquire_owned()).await;
        let permit = free.map_err(|_| {
            io::Error::new(ErrorKind::TimedOut, "the files of too many others do not answer")
        })?;
        let at_work = Arc::new(());
        let thread = Arc::downgrade(&at_work);
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((permit, at_work));
            result
        });
        if let Ok(done) = tokio::time::timeout(limit, done).await {
            return done.map_err(io::Error::other);
        }
        let mut stuck = lock(&self.stuck);
        stuck.retain(|_, thread| thread.strong_count() > 0);
        stuck.insert(what.to_owned(), thread);
        Err(late())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const SHORT: Duration = Duration::from_millis(10);

    /// Something that does not answer until it is told to.
    async fn wait_for(aside: &Aside, what: &str) -> (Sender<()>, ErrorKind) {
        let (release, wait) = channel();
        let waited = aside.run_within(SHORT, what, move || wait.recv().is_ok()).await;
        (release, waited.expect_err("it does not answer").kind())
    }

    #[tokio::test]
    async fn what_does_not_answer_is_waited_for_once() {
        let aside = Aside::default();
        let (release, kind) = wait_for(&aside, "a.service").await;
        assert_eq!(kind, ErrorKind::TimedOut);
        let again = aside.run("a.service", || panic!("it is not tried")).await;
        assert_eq!(again.map_err(|error| error.kind()), Err::<(), _>(ErrorKind::TimedOut));
        assert_eq!(aside.run("b.service", || 7).await.ok(), Some(7));
        release.send(()).expect("it waits");
        while aside.run("a.service", || ()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn no_more_threads_wait_than_there_may_be() {
        let aside = Aside::default();
        let mut waiting = Vec::new();
        for number in 0..THREADS {
            waiting.push(wait_for(&aside, &number.to_string()).await.0);
        }
        let more = aside.run_within(SHORT, "more", || panic!("there is no thread for it")).await;
        assert_eq!(more.map_err(|error| error.kind()), Err::<(), _>(ErrorKind::TimedOut));
        waiting.pop();
        assert_eq!(aside.run("more", || 7).await.ok(), Some(7));
    }
}
