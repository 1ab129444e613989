//! Who users are, by the machine's name service: that may ask a directory over the network, or a daemon that does not
//! answer. What a verdict waits for waits for that once, and for no longer than it takes to see that it is slow.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::context::lock;
use super::users;
use crate::evidence::User;

/// How long an answer may take that a verdict waits for. Files and local daemons answer in a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a slow answer that there is no such user counts, before it is asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// How many are asked for at once.
const THREADS: usize = 8;

/// How many users are remembered.
const MAX_KNOWN: usize = 4096;

/// What comes when the name service has answered: the user, if there is one.
type Answer = watch::Receiver<Option<Option<User>>>;

/// Users, asked for in the background.
pub struct UserNames {
    ask: Arc<dyn Fn(u32) -> Option<User> + Send + Sync>,
    patience: Duration,
    threads: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The last answer took longer than a verdict waits: none waits until one is quick again.
    is_slow: bool,
    under_way: HashMap<u32, Answer>,
    /// Who was found, and who was not after a long time, with when that was.
    known: HashMap<u32, (Option<User>, Instant)>,
}

impl fmt::Debug for UserNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserNames").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Default for UserNames {
    fn default() -> Self {
        Self::asking(users::on_machine, PATIENCE)
    }
}

impl UserNames {
    fn asking(
        ask: impl Fn(u32) -> Option<User> + Send + Sync + 'static,
        patience: Duration,
    ) -> Self {
        let threads = Arc::new(Semaphore::new(THREADS));
        Self { ask: Arc::new(ask), patience, threads, state: Arc::default() }
    }

    /// The user with this number, however long it takes. `tell` hears the answer before anybody else does, unless it has
    /// been asked for before.
    pub async fn find(
        &self,
        uid: u32,
        tell: impl FnOnce(Option<&User>) + Send + 'static,
    ) -> Option<User> {
        match self.ask(uid, tell) {
            Ok(known) => known,
            Err(mut answer) => come(&mut answer).await,
        }
    }

    /// The same where a verdict waits for it: `None` also where the answer is late, or the last one was. It is told when
    /// it comes.
    pub async fn find_soon(
        &self,
        uid: u32,
        tell: impl FnOnce(Option<&User>) + Send + 'static,
    ) -> Option<User> {
        let mut answer = match self.ask(uid, tell) {
            Ok(known) => return known,
            Err(answer) => answer,
        };
        if lock(&self.state).is_slow {
            return None;
        }
        let came = tokio::time::timeout(self.patience, come(&mut answer)).await;
        came.unwrap_or_else(|_| {
            lock(&self.state).is_slow = true;
            None
        })
    }

    /// Whether whoever needs to know this user may have to wait for long.
    pub fn is_late(&self, uid: u32) -> bool {
        let state = lock(&self.state);
        state.is_slow && !state.known.contains_key(&uid)
    }

    /// What is known, or else what the answer will come by.
    fn ask(
        &self,
        uid: u32,
        tell: impl FnOnce(Option<&User>) + Send + 'static,
    ) -> Result<Option<User>, Answer> {
        let mut state = lock(&self.state);
        let lasts = |(user, since): &&(Option<User>, Instant)| {
            user.is_some() || since.elapsed() < UNKNOWN_FOR
        };
        if let Some((known, _)) = state.known.get(&uid).filter(lasts) {
            return Ok(known.clone());
        }
        if let Some(answer) = state.under_way.get(&uid) {
            return Err(answer.clone());
        }
        let (sender, answer) = watch::channel(None);
        state.under_way.insert(uid, answer.clone());
        let (ask, threads) = (Arc::clone(&self.ask), Arc::clone(&self.threads));
        let (shared, patience) = (Arc::clone(&self.state), self.patience);
        tokio::spawn(async move {
            let begun = Instant::now();
            // The semaphore is never closed.
            let permit = threads.acquire_owned().await;
            let user = tokio::task::spawn_blocking(move || ask(uid)).await.ok().flatten();
            drop(permit);
            tell(user.as_ref());
            lock(&shared).answered(uid, user.as_ref(), begun.elapsed() >= patience);
            // Perhaps nobody waits any more.
            let _ = sender.send(Some(user));
        });
        Err(answer)
    }
}

impl State {
    fn answered(&mut self, uid: u32, user: Option<&User>, was_slow: bool) {
        self.is_slow = was_slow;
        self.under_way.remove(&uid);
        if user.is_some() || was_slow {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(uid, (user.cloned(), Instant::now()));
        }
    }
}

/// Waits for the answer; none comes where the witnesses stop.
async fn come(answer: &mut Answer) -> Option<User> {
    let came = answer.wait_for(Option::is_some).await;
    came.map_or(None, |user| user.clone().flatten())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn user(uid: u32) -> User {
        User { uid, name: format!("user{uid}"), home: None, linger: None }
    }

    /// A name service that answers each question when it is told to, and what was told of its answers.
    fn service(patience: Duration) -> (UserNames, Sender<()>) {
        let (release, wait): (_, Receiver<()>) = channel();
        let wait = Mutex::new(wait);
        let ask = move |uid| lock(&wait).recv().ok().map(|()| user(uid));
        (UserNames::asking(ask, patience), release)
    }

    fn count(told: &Arc<Mutex<Vec<u32>>>) -> impl FnOnce(Option<&User>) + Send + 'static {
        let told = Arc::clone(told);
        move |user| lock(&told).extend(user.map(|user| user.uid))
    }

    async fn until(is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it comes to be so");
    }

    #[tokio::test]
    async fn a_slow_answer_delays_once_and_is_told_when_it_comes() {
        const LONG: Duration = Duration::from_millis(200);
        let (names, release) = service(LONG);
        let told = Arc::new(Mutex::new(Vec::new()));
        let begun = Instant::now();
        assert_eq!(names.find_soon(1000, count(&told)).await, None);
        assert!(begun.elapsed() >= LONG);
        // From now on nobody waits, whoever it is about.
        let begun = Instant::now();
        for uid in [1000, 1001, 1002] {
            assert_eq!(names.find_soon(uid, count(&told)).await, None);
        }
        assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
        assert!(names.is_late(1000));
        for _ in 0..3 {
            release.send(()).expect("it waits");
        }
        until(|| lock(&names.state).under_way.is_empty()).await;
        assert_eq!(names.find_soon(1001, |_| panic!("it is known")).await, Some(user(1001)));
        assert!(!names.is_late(1001));
        lock(&told).sort_unstable();
        assert_eq!(*lock(&told), [1000, 1001, 1002], "each once");
    }

    #[tokio::test]
    async fn a_service_that_is_quick_again_is_waited_for_again() {
        let (names, release) = service(Duration::from_secs(5));
        lock(&names.state).is_slow = true;
        let told = Arc::new(Mutex::new(Vec::new()));
        assert_eq!(names.find_soon(1000, count(&told)).await, None);
        release.send(()).expect("it waits");
        until(|| !lock(&names.state).is_slow).await;
        release.send(()).expect("it will wait");
        assert_eq!(names.find_soon(1001, count(&told)).await, Some(user(1001)));
    }

    #[tokio::test]
    async fn who_needs_the_answer_waits_for_it() {
        let (names, release) = service(Duration::ZERO);
        let waiting = names.find(1000, |_| ());
        release.send(()).expect("it will wait");
        assert_eq!(waiting.await, Some(user(1000)));
        // There is no such user, and that took long: it is not asked again and again.
        drop(release);
        assert_eq!(names.find(7, |_| ()).await, None);
        assert_eq!(names.find(7, |_| panic!("it was asked for")).await, None);
    }
}
