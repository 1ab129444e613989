//! Faults, aborts and forbidden system calls.

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::{CauseId, Outcome};
use killtrace_tests::live::{By, play};

/// A fault of that kind.
fn fault(scene: &str, code: &str) {
    fault_told(scene, code, "crashed: ");
}

/// A fault of that kind, told in those words. Gives all that is told.
fn fault_told(scene: &str, code: &str, words: &str) -> String {
    let played = play(scene);
    let death = played.killed(Mechanism::Fault, By::Itself, CauseId::Crash);
    assert_eq!(death.signal.as_ref().map(|signal| signal.si_code.as_str()), Some(code));
    let told = death.cause.explanation.clone();
    assert!(told.contains(words), "{told}");
    told
}

#[test]
fn null_pointer() {
    let told = fault_told("null-pointer", "SEGV_MAPERR", "it used a null pointer");
    let program = std::fs::canonicalize(killtrace_tests::live::program("killtrace-fixture"));
    let program = program.expect("the fixture program is there");
    assert!(told.contains(&format!("The code was in {}, 0x", program.display())), "{told}");
}

#[test]
fn wild_pointer() {
    let code = if cfg!(target_arch = "x86_64") { "SI_KERNEL" } else { "SEGV_MAPERR" };
    fault("wild-pointer", code);
}

#[test]
fn read_only_memory() {
    fault_told("read-only-memory", "SEGV_ACCERR", "memory of its own, which it may only read");
}

#[test]
fn stack_overflow() {
    fault_told("stack-overflow", "SEGV_MAPERR", "it ran out of stack");
}

/// The guard page of a thread's stack is mapped, but for nobody's use.
#[test]
fn stack_overflow_of_thread() {
    fault_told("stack-overflow-of-thread", "SEGV_ACCERR", "it ran out of stack");
}

#[test]
fn null_function() {
    fault_told("null-function", "SEGV_MAPERR", "it called a null pointer");
}

#[test]
fn truncated_file() {
    let told = fault_told("truncated-file", "BUS_ADRERR", "at byte 0, but the file has 0 bytes");
    assert!(told.contains(" (deleted) at byte 0"), "{told}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn division_by_zero() {
    fault("division-by-zero", "FPE_INTDIV");
}

#[test]
fn illegal_instruction() {
    let code = if cfg!(target_arch = "x86_64") { "ILL_ILLOPN" } else { "ILL_ILLOPC" };
    fault("illegal-instruction", code);
}

#[test]
fn breakpoint() {
    let code = if cfg!(target_arch = "x86_64") { "SI_KERNEL" } else { "TRAP_BRKPT" };
    fault("breakpoint", code);
}

#[test]
fn fault_in_thread() {
    fault("fault-in-thread", "SEGV_MAPERR");
}

/// Its handler does not hide the crash.
#[test]
fn fault_raised_again() {
    let told = fault_told("fault-raised-again", "SEGV_MAPERR", "it used a null pointer");
    assert!(told.contains("its handler then sent SIGSEGV to itself to end"), "{told}");
}

/// Runtimes fault on purpose.
#[test]
fn fault_mended_then_exit() {
    let played = play("fault-mended-then-exit");
    let death = played.verdict("victim", None, By::Nobody, CauseId::ExitedByItself);
    assert_eq!(death.outcome, Outcome::Exited { status: 0 });
    assert!(played.trace.signals().any(|record| record.signal.mechanism == Mechanism::Fault));
}

#[test]
fn exec_without_return() {
    let played = play("exec-without-return");
    let death = played.killed(Mechanism::Fault, By::Itself, CauseId::Crash);
    assert!(death.cause.explanation.contains("The kernel could not start"), "{death:#?}");
}

#[test]
fn core_dump() {
    let played = play("core-dump");
    let death = played.killed(Mechanism::Fault, By::Itself, CauseId::Crash);
    let dumped = Outcome::Signaled { signal: "SIGSEGV".to_owned(), core_dumped: true };
    assert_eq!(death.outcome, dumped);
}

#[test]
fn abort() {
    play("abort").killed(Mechanism::Tgkill, By::Itself, CauseId::Abort);
}

fn forbidden(scene: &str) {
    let played = play(scene);
    let death = played.killed(Mechanism::Seccomp, By::Itself, CauseId::SeccompViolation);
    assert_eq!(death.signal.as_ref().map(|signal| signal.si_code.as_str()), Some("SYS_SECCOMP"));
}

/// Newer kernels generate the signal that they say it was (6.1 does, 5.10 does not).
fn ended(scene: &str) {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    if symbols.lines().any(|line| line.ends_with(" force_sig_seccomp")) {
        return forbidden(scene);
    }
    play(scene).verdict("victim", None, By::Itself, CauseId::SeccompViolation);
}

#[test]
fn seccomp_kill_process() {
    ended("seccomp-kill-process");
}

#[test]
fn seccomp_kill_thread() {
    ended("seccomp-kill-thread");
}

#[test]
fn seccomp_trap() {
    forbidden("seccomp-trap");
}

/// The kernel ends it without generating a signal.
#[test]
fn seccomp_strict() {
    play("seccomp-strict").caused("victim", By::Itself, CauseId::SeccompViolation);
}

/// One thread's end is not the process's.
#[test]
fn seccomp_one_thread() {
    let played = play("seccomp-one-thread");
    played.verdict("victim", None, By::Nobody, CauseId::ExitedByItself);
}
