//! Load for measurements: signals in floods, processes by the thousand, system calls without end.
//!
//! `killtrace-load` writes the process ids of the one that signals are sent to and of a bystander, then
//! does what each line of its standard input asks for and answers with one line: how many nanoseconds
//! that took. It stays the same process all along, so that one sender and one target outlive every
//! tracer that is measured on them.

mod crowd;
mod floor;
mod people;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use crate::fixtures::sys::{self, Pid};
use crowd::Crowd;
use floor::Floor;
use people::Person;

/// Runs until standard input ends.
pub fn main() -> ExitCode {
    let mut players = Players::new();
    let mut out = io::stdout().lock();
    let mut say = |line: String| writeln!(out, "{line}").and_then(|()| out.flush());
    if say(format!("{} {}", players.target.pid, players.other.pid)).is_err() {
        return ExitCode::FAILURE;
    }
    for line in io::stdin().lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let count = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        let Some(answer) = players.play(verb, count) else {
            return sys::complain(&format!("{verb:?} is nothing that can be asked for"));
        };
        // Whoever asked may be gone.
        if say(answer).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// Everybody who takes part.
struct Players {
    target: Person,
    other: Person,
    crowd: Option<Crowd>,
}

impl Players {
    fn new() -> Self {
        sys::set_name(b"kt-sender");
        Self { target: Person::new(b"kt-target"), other: Person::new(b"kt-other"), crowd: None }
    }

    /// Does what a line asks for, and gives the answer; `None` where that is unknown.
    fn play(&mut self, verb: &str, count: u64) -> Option<String> {
        let (target, other) = (self.target.pid, self.other.pid);
        Some(match verb {
            // Signals that the target catches, each waking it up.
            "handled" => timed(|| send(target, &[people::CAUGHT], count)),
            // Signals that the target ignores: the cost of sending alone, all alike.
            "ignored" => timed(|| send(target, &people::IGNORED[..1], count)),
            // The same, none like the one before.
            "changing" => timed(|| send(target, people::IGNORED, count)),
            // Signals to somebody else.
            "other" => timed(|| send(other, &people::IGNORED[..1], count)),
            "two-senders" => timed(|| two_senders(target, count)),
            // The same, with a program attached that does nothing.
            "floor" => {
                let floor = Floor::attached().ok()?;
                let time = timed(|| send(other, &people::IGNORED[..1], count));
                drop(floor);
                time
            }
            // System calls of the target's own.
            "calls" => self.target.calls(count).to_string(),
            "storm" => timed(|| storm(count)),
            // Processes in a cgroup of their own: its path.
            "crowd" => {
                let crowd = self.crowd.insert(Crowd::new(count));
                crowd.path().to_string_lossy().into_owned()
            }
            "kill-crowd" => timed(|| drop(self.crowd.take())),
            // The target ends, and another one takes its place.
            "die" => {
                self.target = Person::new(b"kt-target");
                self.target.pid.to_string()
            }
            _ => return None,
        })
    }
}

fn timed(work: impl FnOnce()) -> String {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos().to_string()
}

/// Sends so many signals, of each kind in turn.
fn send(pid: Pid, signals: &[i32], count: u64) {
    for signal in signals.iter().cycle().take(usize::try_from(count).unwrap_or(usize::MAX)) {
        // SAFETY: kill takes integers; the process is a child of ours that nobody has waited for.
        sys::check(unsafe { libc::kill(pid, *signal) }, "kill");
    }
}

/// Two processes send half of the signals each.
fn two_senders(pid: Pid, count: u64) {
    let helper = sys::fork();
    send(pid, &[people::CAUGHT], count / 2);
    if helper == 0 {
        sys::exit(0)
    }
    sys::wait_for(helper, 0);
}

/// Starts `true` so many times, one after the other.
fn storm(count: u64) {
    for _ in 0..count {
        let child = sys::fork();
        if child == 0 {
            sys::exec("/bin/true".as_ref(), &["true"])
        }
        sys::wait_for(child, 0);
    }
}
