//! Limits and dispositions that are meant for others: this process does without them, its command gets them back; and
//! limits without which nothing works, refused in one sentence.

use std::io;
use std::sync::RwLock;

/// Open files that tracing takes, and again as many for what is looked up meanwhile.
const OPEN_FILES: libc::rlim_t = 96;

/// Threads that tracing takes at the same time: those that load, listen, walk over the cgroups and ask for names,
/// and a process for journalctl.
const THREADS: usize = 6;

/// Bytes of a thread's stack (`DEFAULT_MIN_STACK_SIZE` of Rust's library) and of what guards it.
const STACK: usize = (2 << 20) + (64 << 10);

/// Why nothing can be traced under these limits.
#[derive(Debug, thiserror::Error)]
pub enum Shortage {
    /// Every program in the kernel and every map is an open file.
    #[error(
        "the hard limit of open files ({limit}) is too low: each program in the kernel is one; run `ulimit -n 256` \
         first where you may raise it (it takes CAP_SYS_RESOURCE), or raise it where it was set: limits.conf(5), \
         LimitNOFILE= of a unit, --ulimit nofile= of a container"
    )]
    Files {
        /// What it is.
        limit: libc::rlim_t,
    },
    /// Every thread has a stack.
    #[error(
        "there is no memory for another thread ({error}); raise the limits of memory: `ulimit -v` and `ulimit -d`, \
         LimitAS= and LimitDATA= of a unit"
    )]
    Memory {
        /// The kernel's.
        error: io::Error,
    },
    /// For this user, or in this cgroup.
    #[error("no thread can be started ({error}); {ENOUGH_THREADS}")]
    Threads {
        /// The kernel's.
        error: io::Error,
    },
}

/// What to do where no thread can be started.
pub const ENOUGH_THREADS: &str = "raise the limit of processes: `ulimit -u` for this user, TasksMax= for a unit, \
                                  --pids-limit for a container";

/// What this process had when it began.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// Open files; `None` where that cannot be told.
    files: Option<libc::rlimit>,
    /// What a write past the limit of file size does.
    file_size: libc::sighandler_t,
    /// What the end of a child does: where it is ignored, nobody hears how a child ended (wait(2)).
    child: libc::sighandler_t,
}

impl Inherited {
    /// Has as many files as may be open, is told of a file that may not grow as of a full disk, rather than ended, and of
    /// how its children end.
    pub fn lift() -> Self {
        let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure is valid for writes for the call.
        let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) } == 0;
        let most = libc::rlimit { rlim_cur: files.rlim_max, ..files };
        // SAFETY: the structure is valid for the call. Where it fails there is what was there before.
        let _ = known && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most) } == 0;
        // SAFETY: sets a disposition that has no handler.
        let file_size = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // SAFETY: as above.
        let child = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        Self { files: known.then_some(files), file_size, child }
    }

    /// Gives back what there was. May be called between fork and exec.
    pub fn restore(&self) {
        if let Some(files) = &self.files {
            // SAFETY: the structure is valid for the call.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, files) };
        }
        for (signal, disposition) in [(libc::SIGXFSZ, self.file_size), (libc::SIGCHLD, self.child)]
        {
            if disposition != libc::SIG_ERR {
                // SAFETY: no handler of this program was ever set: it is a disposition that has none.
                unsafe { libc::signal(signal, disposition) };
            }
        }
    }
}

/// Whether there are as many files and threads as tracing takes. To be asked while there is one thread.
///
/// # Errors
/// What there is too little of, and what to do.
pub fn suffice() -> Result<(), Shortage> {
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for writes for the call.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) } == 0;
    if known && files.rlim_cur < OPEN_FILES {
        return Err(Shortage::Files { limit: files.rlim_cur });
    }
    threads()
}

/// Starts them, all at the same time, and has them end.
fn threads() -> Result<(), Shortage> {
    let gate = RwLock::new(());
    std::thread::scope(|scope| {
        let closed = gate.write();
        let started = (0..THREADS).try_for_each(|_| {
            let waits = || drop(gate.read());
            std::thread::Builder::new().spawn_scoped(scope, waits).map(drop)
        });
        // The kernel's error is the same for both: whether there is room for a stack is seen while the others have theirs.
        let shortage = started.map_err(|error| match Vec::<u8>::new().try_reserve_exact(STACK) {
            Ok(()) => Shortage::Threads { error },
            Err(_) => Shortage::Memory { error },
        });
        drop(closed);
        shortage
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_says_what_to_do_apart_from_what_is_wrong() {
        assert!(threads().is_ok());
        let error = || io::Error::from_raw_os_error(libc::EAGAIN);
        for shortage in [
            Shortage::Files { limit: 40 },
            Shortage::Threads { error: error() },
            Shortage::Memory { error: error() },
        ] {
            let sentence = shortage.to_string();
            let (_, remedy) = sentence.split_once("; ").expect("a remedy");
            assert!(remedy.contains("ulimit"), "{sentence}");
        }
    }
}
