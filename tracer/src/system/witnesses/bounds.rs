//! How much is looked at at once of what anybody on the machine can bring about.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::evidence::{Disposition, ProcessId, SignalInfo, SignalSent, sig};

/// Look-ups of containers that have just been made. A user can make cgroups with such names faster than they are looked at: that
/// takes no place from others.
#[derive(Debug, Default)]
pub(super) struct NewContainers {
    /// Held by each look-up of a container of a user's, or of root's (`None`).
    under_way: HashMap<Option<u32>, Arc<()>>,
}

impl NewContainers {
    /// How many are looked at at once: root's, and those of each user, which are looked at one by one.
    pub(super) const MOST: usize = 64;
    pub(super) const MOST_OF_USER: usize = 16;

    /// What a look-up has to hold; `None` where its owner has too many.
    pub(super) fn place(&mut self, owner: Option<u32>) -> Option<Arc<()>> {
        let most = if owner.is_none() { Self::MOST } else { Self::MOST_OF_USER };
        self.under_way.retain(|_, held| Arc::strong_count(held) > 1);
        let held = self.under_way.entry(owner).or_default();
        (Arc::strong_count(held) <= most).then(|| Arc::clone(held))
    }
}

/// Processes that may start others by now, since they were told to read their settings anew.
#[derive(Debug)]
pub(super) struct Renewing {
    since: HashMap<ProcessId, Instant>,
    /// Taken by each look at what one of them has started.
    pub(super) turns: Arc<Semaphore>,
}

impl Renewing {
    /// How many are looked at at once.
    const TURNS: usize = 8;
    /// How many are remembered.
    const MANY: usize = 256;
    /// One that gets such signals all the time is no server that starts anew.
    const EVERY: Duration = Duration::from_secs(10);

    /// None so far.
    pub(super) fn new() -> Self {
        Self { since: HashMap::new(), turns: Arc::new(Semaphore::new(Self::TURNS)) }
    }

    /// Whether a process has caught what servers take for a wish to start anew, and is to be looked at.
    pub(super) fn is_due(&mut self, signal: &SignalSent) -> bool {
        let is_wish = matches!(signal.number, sig::SIGHUP | sig::SIGUSR2 | sig::SIGQUIT)
            && signal.disposition == Some(Disposition::Handler)
            && matches!(signal.info, SignalInfo::Real { .. })
            && signal.to_process
            && signal.sender.id != signal.target.id;
        let now = Instant::now();
        self.since.retain(|_, at| now.duration_since(*at) < Self::EVERY);
        let id = signal.target.id;
        let is_due = is_wish && self.since.len() < Self::MANY && !self.since.contains_key(&id);
        if is_due {
            self.since.insert(id, now);
        }
        is_due
    }
}
