//! Deaths that a process brought on itself: faults, aborts, forbidden calls, pipes, timers.

use super::{Finding, Fit, Opinion};
use crate::evidence::{CodePlace, Grade, Mechanism, SignalInfo, Source, sig, signal_name};
use crate::story::case::Case;
use crate::story::decide::Blow;
use crate::story::verdict::{CauseId, LinkEvent, Outcome};
use crate::story::{fixes, si_code, words};

fn victim(case: &Case<'_>) -> String {
    words::name_pid(&case.victim_process())
}

fn program(case: &Case<'_>) -> String {
    case.victim_process().comm.unwrap_or_else(|| "PROGRAM".to_owned())
}

fn blow_with<'a>(case: &Case<'a>, mechanism: Mechanism) -> Option<Blow<'a>> {
    case.blow.filter(|blow| blow.mechanism == mechanism)
}

fn core(case: &Case<'_>) -> &'static str {
    match case.outcome {
        Outcome::Signaled { core_dumped: true, .. } => " A core was dumped.",
        _ => "",
    }
}

/// The lowest address that can be mapped (`vm.mmap_min_addr` on most machines): what is below comes of a null
/// pointer, with the place of a field added to it.
const LOWEST: u64 = 65_536;

/// How far below the stack pointer code may still write: a call, the red zone, the frame of a `push`.
const BELOW_STACK: u64 = 65_536;

/// How far above it a frame can reach that was made room for at once.
const LARGEST_FRAME: u64 = 16 << 20;

/// A fault: the address, and where the code was.
struct Fault {
    address: Option<u64>,
    place: Option<CodePlace>,
}

impl Fault {
    fn is_null(&self) -> bool {
        self.address.is_some_and(|address| address < LOWEST)
    }

    /// The address is that of the instruction itself.
    fn is_jump(&self) -> bool {
        self.place.is_some_and(|place| self.address == Some(place.instruction))
    }

    /// The address is where the stack pointer points: all of a stack can be used, but for what lies behind its
    /// end.
    fn is_stack_overflow(&self) -> bool {
        let (Some(address), Some(place)) = (self.address, self.place) else { return false };
        let near = address.wrapping_sub(place.stack.wrapping_sub(BELOW_STACK))
            <= BELOW_STACK + LARGEST_FRAME;
        near && !self.is_jump() && !self.is_null()
    }
}

/// What a fault was, in words.
fn fault_words(number: u8, code: i32, fault: &Fault) -> &'static str {
    match (number, code) {
        (sig::SIGSEGV, 1 | 2) if fault.is_stack_overflow() => {
            "it ran out of stack, as by endless recursion or a huge local variable"
        }
        (sig::SIGSEGV, 1) if fault.is_null() && fault.is_jump() => "it called a null pointer",
        (sig::SIGSEGV, 1) if fault.is_null() => "it used a null pointer",
        (sig::SIGSEGV, 1) if fault.is_jump() => "it jumped to an address where nothing is mapped",
        (sig::SIGSEGV, 2) if fault.is_jump() => "it jumped into memory that is no code",
        (sig::SIGSEGV, 1) => "it used an address where nothing is mapped",
        (sig::SIGSEGV, 2) => "it used memory in a way its protection forbids",
        (sig::SIGSEGV, 3) => "a bounds check failed",
        (sig::SIGSEGV, 4) => "a protection key forbids the access",
        (sig::SIGSEGV, 8 | 9) => "a memory tag did not match",
        (sig::SIGSEGV, 10) => "a control-flow protection check failed (shadow stack or IBT)",
        (sig::SIGSEGV, si_code::SI_KERNEL) => {
            "a general protection fault (an address that no program can have, an instruction that only the \
             kernel may use), or a stack on which the kernel could not place a signal frame"
        }
        (sig::SIGBUS, 1) => "an address was not aligned as needed",
        (sig::SIGBUS, 2) => {
            "it touched a mapped file beyond its end, or memory that could not be had"
        }
        (sig::SIGBUS, _) => "a bus error",
        (sig::SIGILL, _) => {
            "it ran an instruction that this processor does not have or does not allow"
        }
        (sig::SIGFPE, 1) => "it divided an integer by zero",
        (sig::SIGFPE, _) => "an arithmetic error",
        (sig::SIGTRAP, _) => "it ran into a breakpoint that no debugger handled",
        _ => "an exception of the processor",
    }
}

/// SIGSEGV and its kind.
pub fn crash(case: &Case<'_>) -> Option<Opinion> {
    let blow = blow_with(case, Mechanism::Fault)?;
    let number = blow.signal.value.number;
    let (code, address) = match blow.signal.value.info {
        SignalInfo::Real { code, fields, .. } => (code, Some(fields[0])),
        SignalInfo::None | SignalInfo::Privileged => (si_code::SI_KERNEL, None),
    };
    // The address means nothing where the processor gave none.
    let address = address.filter(|_| code != si_code::SI_KERNEL && number != sig::SIGTRAP);
    let signal = signal_name(number);
    let fault = Fault { address, place: blow.signal.value.place };
    let what = fault_words(number, code, &fault);
    let at = address.map(|address| format!(", address {address:#x}")).unwrap_or_default();
    let name = si_code::name(number, code);
    let text = format!("{} crashed: {what} ({signal}, {name}{at})", victim(case));
    let link = case.link(blow.signal.at, LinkEvent::Signal, Source::Kernel, None, text.clone());
    Finding::new(CauseId::Crash, Fit::Exact, Grade::Observed, format!("{text}.{}", core(case)))
        .links([link])
        .fixes(
            (number == sig::SIGSEGV && fault.is_stack_overflow())
                .then(|| fixes::resource_limit("s", "the stack size limit", "LimitSTACK")),
        )
        .fixes([fixes::core_dump(&program(case))])
        .answer()
}

/// abort(3): SIGABRT to itself.
pub fn abort(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let sent = &blow.signal.value;
    if sent.number != sig::SIGABRT || sent.sender.id != case.victim {
        return None;
    }
    Finding::new(
        CauseId::Abort,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} aborted itself: it sent SIGABRT to itself, as abort(3) and failed assertions do.{}",
            victim(case),
            core(case)
        ),
    )
    .fixes([fixes::core_dump(&program(case))])
    .answer()
}

/// A system call that seccomp forbids.
pub fn seccomp(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::SeccompViolation;
    if let Some(blow) = blow_with(case, Mechanism::Seccomp) {
        // `_sigsys`: call address, then the number of the system call and the architecture.
        let call = match (&blow.signal.value.syscall, blow.signal.value.info) {
            (Some(call), _) => Some(call.name.clone()),
            (None, SignalInfo::Real { fields, .. }) => Some(format!("number {}", fields[1] as u32)),
            (None, _) => None,
        };
        let which = call.map(|call| format!(" ({call})")).unwrap_or_default();
        return Finding::new(
            ID,
            Fit::Exact,
            Grade::Observed,
            format!(
                "{} made a system call{which} that its seccomp filter forbids, and the kernel ended it.{}",
                victim(case),
                core(case)
            ),
        )
        .answer();
    }
    if case.blow.is_some() {
        return None;
    }
    // Strict mode, and a filter that ends the last thread, kill without generating a signal: the kernel
    // marks the task dead (SECCOMP_MODE_DEAD, 5.17 and later); before that, only the mode is left.
    let killed = case.exit.value.status & 0x7f;
    let dead = case.exit.value.seccomp == 3;
    let strict = case.exit.value.seccomp == 1 && killed == u32::from(sig::SIGKILL);
    let filtered = case.exit.value.seccomp == 2 && killed == u32::from(sig::SIGSYS);
    if killed == 0 || !(dead || strict || filtered) {
        return None;
    }
    let grade = if dead { Grade::Observed } else { Grade::Inferred };
    Finding::new(
        ID,
        Fit::Circumstance,
        grade,
        format!(
            "{} ran under seccomp and was ended by it: nobody sent a signal, which is how the kernel \
             ends a process (or its last thread) for a forbidden system call.",
            victim(case)
        ),
    )
    .answer()
}

/// SIGPIPE.
pub fn pipe(case: &Case<'_>) -> Option<Opinion> {
    let blow = blow_with(case, Mechanism::Pipe)?;
    // The likeliest reader: a process with the same parent that ended just before.
    let siblings = case.world.people.parents(case.victim);
    let reader = case.world.exits.iter().rev().find(|exit| {
        exit.value.task.id != case.victim
            && exit.ns() <= blow.signal.ns()
            && exit.ns() + 5_000_000_000 >= blow.signal.ns()
            && siblings.first().is_some_and(|parent| parent.pid == exit.value.task.ppid)
    });
    let who = reader.map(|exit| {
        format!(
            " (perhaps {}, which had ended just before)",
            words::name_pid(&case.task(&exit.value.task))
        )
    });
    Finding::new(
        CauseId::BrokenPipe,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got SIGPIPE: it wrote to a pipe or socket whose reader was gone{}.",
            victim(case),
            who.unwrap_or_default()
        ),
    )
    .links(reader.map(|exit| {
        let mut link = crate::story::ending::exit_link(case, exit);
        link.evidence = Grade::Observed;
        link
    }))
    .answer()
}

/// alarm(2), setitimer(2), timer_create(2).
pub fn timer(case: &Case<'_>) -> Option<Opinion> {
    let blow = blow_with(case, Mechanism::Timer)?;
    let signal = signal_name(blow.signal.value.number);
    let which = match blow.signal.value.number {
        sig::SIGALRM if blow.signal.value.info == SignalInfo::Privileged => {
            "alarm(2) or setitimer(2)"
        }
        sig::SIGVTALRM | sig::SIGPROF => "setitimer(2)",
        _ => "timer_create(2)",
    };
    Finding::new(
        CauseId::TimerExpired,
        Fit::Exact,
        Grade::Observed,
        format!("{} got {signal} from a timer of its own that ran out ({which}).", victim(case)),
    )
    .answer()
}
