//! `si_code` by name, as strace prints it (`include/uapi/asm-generic/siginfo.h`).

use crate::evidence::sig;

/// `SI_USER`
pub const SI_USER: i32 = 0;
/// `SI_KERNEL`
pub const SI_KERNEL: i32 = 0x80;
/// `SI_QUEUE`
pub const SI_QUEUE: i32 = -1;
/// `SI_TIMER`
pub const SI_TIMER: i32 = -2;
/// `SI_MESGQ`
pub const SI_MESGQ: i32 = -3;
/// `SI_ASYNCIO`
pub const SI_ASYNCIO: i32 = -4;
/// `SI_TKILL`
pub const SI_TKILL: i32 = -6;
/// `CLD_EXITED`, the first of those that tell of a child
pub const CLD_EXITED: i32 = 1;
/// `CLD_CONTINUED`, the last of them
pub const CLD_CONTINUED: i32 = 6;
/// `SEGV_MAPERR`: nothing is mapped there.
pub const SEGV_MAPERR: i32 = 1;
/// `SEGV_ACCERR`: it is there, and protected.
pub const SEGV_ACCERR: i32 = 2;
/// `SYS_SECCOMP`
pub const SYS_SECCOMP: i32 = 1;
/// `SYS_USER_DISPATCH`
pub const SYS_USER_DISPATCH: i32 = 2;
/// `BUS_MCEERR_AR`
pub const BUS_MCEERR_AR: i32 = 4;
/// `BUS_MCEERR_AO`
pub const BUS_MCEERR_AO: i32 = 5;

const SEGV: [&str; 10] = [
    "SEGV_MAPERR",
    "SEGV_ACCERR",
    "SEGV_BNDERR",
    "SEGV_PKUERR",
    "SEGV_ACCADI",
    "SEGV_ADIDERR",
    "SEGV_ADIPERR",
    "SEGV_MTEAERR",
    "SEGV_MTESERR",
    "SEGV_CPERR",
];
const BUS: [&str; 5] = ["BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"];
const ILL: [&str; 9] = [
    "ILL_ILLOPC",
    "ILL_ILLOPN",
    "ILL_ILLADR",
    "ILL_ILLTRP",
    "ILL_PRVOPC",
    "ILL_PRVREG",
    "ILL_COPROC",
    "ILL_BADSTK",
    "ILL_BADIADDR",
];
const FPE: [&str; 8] = [
    "FPE_INTDIV",
    "FPE_INTOVF",
    "FPE_FLTDIV",
    "FPE_FLTOVF",
    "FPE_FLTUND",
    "FPE_FLTRES",
    "FPE_FLTINV",
    "FPE_FLTSUB",
];
const TRAP: [&str; 6] =
    ["TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"];
const CLD: [&str; 6] =
    ["CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"];
const POLL: [&str; 6] = ["POLL_IN", "POLL_OUT", "POLL_MSG", "POLL_ERR", "POLL_PRI", "POLL_HUP"];
const SYS: [&str; 2] = ["SYS_SECCOMP", "SYS_USER_DISPATCH"];

/// Name of a code for a signal; a number where it has none.
pub fn name(signal: u8, code: i32) -> String {
    let general = match code {
        SI_USER => "SI_USER",
        SI_KERNEL => "SI_KERNEL",
        SI_QUEUE => "SI_QUEUE",
        SI_TIMER => "SI_TIMER",
        SI_MESGQ => "SI_MESGQ",
        SI_ASYNCIO => "SI_ASYNCIO",
        -5 => "SI_SIGIO",
        SI_TKILL => "SI_TKILL",
        -7 => "SI_DETHREAD",
        -60 => "SI_ASYNCNL",
        _ => "",
    };
    if !general.is_empty() {
        return general.to_owned();
    }
    let names: &[&str] = match signal {
        sig::SIGSEGV => &SEGV,
        sig::SIGBUS => &BUS,
        sig::SIGILL => &ILL,
        sig::SIGFPE => &FPE,
        sig::SIGTRAP => &TRAP,
        sig::SIGCHLD => &CLD,
        sig::SIGSYS => &SYS,
        _ => &POLL,
    };
    usize::try_from(code)
        .ok()
        .and_then(|code| names.get(code.checked_sub(1)?))
        .map_or_else(|| code.to_string(), |name| (*name).to_owned())
}
