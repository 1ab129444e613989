//! How long after a caught signal an exit can still be its doing: by what the signal asks for, who sent it, and
//! what the program is known to do with it.

use super::actor::is_shell;
use super::manager::manager_of;
use super::mechanism;
use super::si_code::SEGV_ACCERR;
use super::world::World;
use crate::evidence::{
    Disposition, Exit, MS, Mechanism, S, SignalInfo, SignalResult, SignalSent, base_name, sig,
};

/// How long after a signal a process is gone whose handler does nothing but end it: microseconds, and a few slices of the
/// scheduler (4 ms) where others are to run as well. What takes longer has done something else meanwhile.
pub const HANDLED: u64 = 20 * MS;

/// A program, as far as it matters for what it does with signals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Program {
    /// Its status may be that of the last command it ran.
    shell: bool,
    /// It goes back to its prompt on Ctrl-C.
    prompt: bool,
    /// It answers SIGQUIT with a list of its threads.
    pub java: bool,
    /// It catches faults of its own as a matter of course: to find a null pointer, to see what the processor can do.
    pub runtime: bool,
}

impl Program {
    /// The program that a process ran last.
    pub fn of(world: &World, exit: &Exit) -> Self {
        let known = world.people.get(exit.task.id);
        let args = known.and_then(|known| known.cmdline.as_deref()).unwrap_or_default();
        let name = args.first().map_or(exit.task.comm.as_str(), String::as_str);
        let base = base_name(name);
        let shell = is_shell(base);
        let prompt = match args.split_first() {
            Some((_, args)) if shell => base.starts_with('-') || is_interactive(args),
            Some((_, args)) if is_interpreter(base) => is_interactive(args),
            _ => PROMPTS.contains(&base),
        };
        Self { shell, prompt, java: base == "java", runtime: RUNTIMES.contains(&base) }
    }

    /// Whether its status may be that of the last command it ran.
    pub const fn is_shell(self) -> bool {
        self.shell
    }

    /// It takes such a signal as everyday business, and goes on.
    fn goes_on_after(self, number: u8, status: u8) -> bool {
        match number {
            // A shell's status after Ctrl-C at its prompt is 130 until the next command.
            sig::SIGINT => self.prompt && (self.shell || status == 0 || said_so(number, status)),
            sig::SIGQUIT => self.java && !said_so(number, status),
            _ => false,
        }
    }
}

/// What runs other programs' code, and catches its faults in ordinary work.
const RUNTIMES: [&str; 7] = ["java", "node", "deno", "mono", "dotnet", "wine", "wine64"];

/// Programs that stay at their prompt on Ctrl-C, whatever their arguments.
const PROMPTS: [&str; 11] =
    ["psql", "mysql", "mariadb", "gdb", "lldb", "ghci", "bc", "less", "vim", "vi", "nvim"];

/// Interpreters that have a prompt where they are given no program to run.
fn is_interpreter(base: &str) -> bool {
    const NAMES: [&str; 8] = ["python", "ipython", "node", "lua", "irb", "julia", "R", "php"];
    let version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    NAMES.iter().any(|name| base.strip_prefix(name).is_some_and(version))
}

/// Whether an interpreter with these arguments has a prompt: it was told so, or was given nothing to run.
fn is_interactive(args: &[String]) -> bool {
    let short = |arg: &&String, letters: &[char]| {
        arg.starts_with('-') && !arg.starts_with("--") && arg.contains(letters)
    };
    let mut options = args.iter().take_while(|arg| arg.starts_with('-'));
    let runs_something = options
        .clone()
        .any(|arg| short(&arg, &['c', 'e', 'm', 'p']) || matches!(arg.as_str(), "-" | "--"));
    options.any(|arg| short(&arg, &['i']) || arg == "--interactive")
        || !runs_something && args.iter().all(|arg| arg.starts_with('-'))
}

/// Whether an exit status is the one that stands for a signal (128 and its number).
pub fn said_so(number: u8, status: u8) -> bool {
    status.checked_sub(128) == Some(number)
}

/// It came, and a handler took it, or it was blocked for `sigwait` or a signalfd.
pub fn is_caught(signal: &SignalSent) -> bool {
    let taken = signal.disposition == Some(Disposition::Handler) || signal.blocked;
    taken && reached(signal)
}

/// It came: what is ignored, or finds no room in the queue, does not.
pub const fn reached(signal: &SignalSent) -> bool {
    !matches!(signal.result, SignalResult::Ignored | SignalResult::Lost)
}

/// What processes get all the time, and what is about the terminal: nobody ends by such.
pub const fn is_everyday(number: u8) -> bool {
    matches!(
        number,
        sig::SIGCHLD
            | sig::SIGURG
            | sig::SIGWINCH
            | sig::SIGCONT
            | sig::SIGTSTP
            | sig::SIGTTIN
            | sig::SIGTTOU
    )
}

/// Of the process's own making: a fault, a timer, what its threads send each other. Such is everyday business: runtimes
/// catch faults on purpose (a null check, a bounds check, threads to be stopped), and cancel, profile and suspend
/// threads by signals.
pub fn is_own(signal: &SignalSent) -> bool {
    let mechanism = mechanism::of(signal);
    match mechanism {
        Mechanism::Fault | Mechanism::Seccomp | Mechanism::Timer => true,
        _ => !mechanism.is_kernels_own() && signal.sender.id == signal.target.id,
    }
}

/// How long after a caught signal an exit with that status can still be its doing, nanoseconds; 0: it is not.
/// `all` are those that it caught, with their times.
pub fn patience(
    signal: &SignalSent,
    ns: u64,
    status: u8,
    program: Program,
    all: &[(u64, u8)],
) -> u64 {
    let number = signal.number;
    if program.goes_on_after(number, status) {
        0
    } else if is_own(signal) {
        let survived = program.runtime || all.iter().any(|(at, was)| *was == number && *at != ns);
        with_own(signal, status, survived)
    } else {
        with_others(signal, status, program)
    }
}

/// `survived`: it has caught the same at another time as well, and gone on, or is known to.
fn with_own(signal: &SignalSent, status: u8, survived: bool) -> u64 {
    let mechanism = mechanism::of(signal);
    match signal.number {
        number if said_so(number, status) => 10 * S,
        sig::SIGTERM | sig::SIGINT | sig::SIGHUP | sig::SIGQUIT => 10 * S,
        _ if status == 0 || survived => 0,
        sig::SIGABRT => 5 * S,
        _ if mechanism == Mechanism::Timer => HANDLED,
        _ if mechanism == Mechanism::Fault && !is_guard(signal) => HANDLED,
        _ => 0,
    }
}

/// Whether it is of memory that is there and protected, as runtimes protect pages to stop their threads or to check bounds.
fn is_guard(signal: &SignalSent) -> bool {
    let protected = matches!(signal.info, SignalInfo::Real { code, .. } if code == SEGV_ACCERR);
    signal.number == sig::SIGSEGV && protected
}

/// The purpose of the signal decides: SIGTERM asks for an end that may take as long as the process needs to tidy up,
/// others are everyday business, so that only an exit right on their heels is theirs.
fn with_others(signal: &SignalSent, status: u8, program: Program) -> u64 {
    let number = signal.number;
    let said_so = said_so(number, status);
    // The stop signal of its unit (`KillSignal=`).
    let by_manager = manager_of(&signal.sender).is_some();
    match number {
        sig::SIGTERM => 300 * S,
        sig::SIGINT | sig::SIGQUIT if by_manager => 300 * S,
        sig::SIGINT | sig::SIGQUIT | sig::SIGHUP if said_so && program.shell => 10 * S,
        sig::SIGINT | sig::SIGQUIT | sig::SIGHUP if said_so => 300 * S,
        sig::SIGINT | sig::SIGQUIT if status == 0 => 5 * S,
        sig::SIGINT | sig::SIGQUIT | sig::SIGHUP => 10 * S,
        sig::SIGXCPU | sig::SIGPWR | sig::SIGABRT | sig::SIGALRM | sig::SIGXFSZ if said_so => {
            60 * S
        }
        sig::SIGXCPU | sig::SIGPWR | sig::SIGABRT => 5 * S,
        sig::SIGSEGV | sig::SIGBUS | sig::SIGFPE | sig::SIGILL | sig::SIGSYS if said_so => 10 * S,
        sig::SIGALRM
        | sig::SIGXFSZ
        | sig::SIGPIPE
        | sig::SIGSEGV
        | sig::SIGBUS
        | sig::SIGFPE
        | sig::SIGILL
        | sig::SIGSYS
            if status != 0 =>
        {
            S
        }
        number if is_everyday(number) => 0,
        _ if said_so => 5 * S,
        _ => HANDLED,
    }
}
