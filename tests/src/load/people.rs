//! Those whom signals are sent to.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::time::Instant;

use crate::fixtures::sys::{self, Pid, checked};

/// The signal that they catch.
pub const CAUGHT: i32 = libc::SIGUSR1;
/// The signals that they ignore.
pub const IGNORED: &[i32] = &[libc::SIGUSR2, libc::SIGIO];

/// A process that waits for signals, and for how many system calls to make.
pub struct Person {
    /// Its process id.
    pub pid: Pid,
    orders: PipeWriter,
    answers: PipeReader,
}

impl Person {
    /// Forks one of that name.
    pub fn new(name: &[u8]) -> Self {
        let (orders, to) = checked(io::pipe(), "pipe");
        let (from, answers) = checked(io::pipe(), "pipe");
        let pid = sys::fork();
        if pid == 0 {
            drop((to, from));
            live(name, orders, answers)
        }
        // In place as soon as it answers.
        let mut person = Self { pid, orders: to, answers: from };
        person.calls(0);
        person
    }

    /// Has it make so many system calls, the cheapest there is: how many nanoseconds that took.
    pub fn calls(&mut self, count: u64) -> u64 {
        checked(self.orders.write_all(&count.to_ne_bytes()), "asking for system calls");
        let mut answer = [0; 8];
        checked(self.answers.read_exact(&mut answer), "waiting for system calls");
        u64::from_ne_bytes(answer)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // SAFETY: kill takes integers; the child has not been waited for.
        unsafe { libc::kill(self.pid, libc::SIGTERM) };
        sys::wait_for(self.pid, 0);
    }
}

fn live(name: &[u8], mut orders: PipeReader, mut answers: PipeWriter) -> ! {
    sys::set_name(name);
    // Whoever started us may end in any way.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(libc::SIGKILL.unsigned_abs()), "prctl");
    let handler: extern "C" fn(i32) = caught;
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(CAUGHT, handler as libc::sighandler_t) };
    for signal in IGNORED {
        // SAFETY: no handler is set.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
    let mut order = [0; 8];
    // A caught signal in between does not end the reading.
    while orders.read_exact(&mut order).is_ok() {
        let start = Instant::now();
        for _ in 0..u64::from_ne_bytes(order) {
            sys::getppid();
        }
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        checked(answers.write_all(&nanoseconds.to_ne_bytes()), "answering");
    }
    sys::exit(0)
}

extern "C" fn caught(_: i32) {}
