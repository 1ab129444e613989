//! The words that every form of the report has in common: names, counts, times, what became of a signal.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::evidence::{
    Disposition, LossPlace, Mechanism, Process, Signal, SignalResult, base_name, set_off, sig,
    signal_number,
};
use crate::story::verdict::{AfterSignal, Death, Killer, KillerKind, Outcome, SignalRecord};

use super::escape;

/// Longest process name shown; `comm` has at most 15 bytes, an executable's name more.
const MAX_NAME: usize = 64;

/// Delay between a deadly signal and the end that is worth a word, nanoseconds.
const NOTABLE_NS: u64 = 100_000_000;

/// A process as the report names it: `tmux: server[2041]`. Escaped for a terminal.
pub fn process(process: &Process) -> String {
    let pid = match process.pid {
        0 => "pid outside this namespace".to_owned(),
        pid => pid.to_string(),
    };
    format!("{}[{pid}]", name(process))
}

/// The name alone: the kernel's, or what that is the beginning of; else the executable's, else `?`. Escaped for a terminal,
/// and set off where it could be read as more than a name.
pub fn name(process: &Process) -> String {
    let exe = || process.exe.as_deref().map(base_name);
    let name = escape::shortened(process.name().or_else(exe).unwrap_or("?"), MAX_NAME);
    set_off(&name).into_owned()
}

/// The verdict's sentence as people read it: whoever goes by a name that is not the program's is told with that program
/// where it is named first. In JSON that stands beside the name (`exe`).
pub fn explanation(death: &Death) -> String {
    let mut sentence = death.cause.explanation.clone();
    let mut told = HashSet::new();
    let actors = death.chain.iter().filter_map(|link| link.actor.as_ref());
    let named = std::iter::once(&death.victim).chain(&death.killer.process).chain(actors);
    for (process, exe) in named.filter_map(|it| Some((it, it.really()?))) {
        let name = process.name_pid();
        if process.pid == 0 || !told.insert(name.clone()) {
            continue;
        }
        let Some(end) = named_at(&sentence, &name).map(|at| at + name.len()) else { continue };
        if sentence.contains(&format!("\"{exe}\" (which calls itself")) {
            continue;
        }
        let really = format!(" (really {}", program(exe));
        match sentence[end..].strip_prefix(" (") {
            // Brackets that follow go on: `(really /usr/bin/perl; alice)`.
            Some(_) => sentence.replace_range(end..end + " (".len(), &format!("{really}; ")),
            None => sentence.insert_str(end, &format!("{really})")),
        }
    }
    sentence
}

/// Where a sentence first names a process: at a word's beginning, and not within what stands in quotes, as another process's name
/// (`"x web[7]"[9]`) and everybody's words do. A quotation mark of theirs has a backslash before it.
fn named_at(sentence: &str, name: &str) -> Option<usize> {
    let (mut is_quoted, mut before) = (false, ' ');
    for (at, c) in sentence.char_indices() {
        let is_beginning = !is_quoted && (before.is_whitespace() || before == '(');
        if is_beginning && sentence[at..].starts_with(name) {
            return Some(at);
        }
        if c == '"' && !(is_quoted && before == '\\') {
            is_quoted = !is_quoted;
        }
        before = c;
    }
    None
}

/// The path of a program, in quotes that it cannot leave where it could be read as more.
fn program(exe: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._+-@".contains(c);
    let mut shown: String = exe.chars().take(2 * MAX_NAME).collect();
    if shown.len() < exe.len() {
        shown.push('…');
    }
    if exe.chars().all(is_plain) { shown } else { format!("\"{}\"", shown.replace('"', "\\\"")) }
}

/// Whether it is the same process, as far as is known.
pub fn same(a: &Process, b: &Process) -> bool {
    a.pid == b.pid
        && a.pid != 0
        && (a.start_ns == b.start_ns || a.start_ns.is_none() || b.start_ns.is_none())
}

/// How a signal came about, with the detail that this very one carries.
pub fn mechanism_of(signal: &Signal) -> Cow<'static, str> {
    let words = signal.mechanism.words();
    match signal.mechanism {
        Mechanism::Fault
        | Mechanism::Timer
        | Mechanism::MemoryFailure
        | Mechanism::AsyncIo
        | Mechanism::ChildStatus => {
            format!("{words} ({})", escape::shortened(&signal.si_code, MAX_NAME)).into()
        }
        // What does not come of pidfd_send_signal(2) says where it comes from.
        Mechanism::PidfdSendSignal if !signal.kernel_path.is_empty() => {
            "its last pidfd was closed".into()
        }
        Mechanism::UnknownKernel => match signal.kernel_path.iter().find(|name| tells(name)) {
            Some(function) => format!("in {}", escape::shortened(function, MAX_NAME)).into(),
            None => words.into(),
        },
        _ => words.into(),
    }
}

/// Whether a kernel function says more than that a signal is being sent (kernel/signal.c).
fn tells(function: &str) -> bool {
    const SENDING: [&str; 7] = [
        "__send_signal_locked",
        "send_signal_locked",
        "__send_signal",
        "do_send_sig_info",
        "send_sig_info",
        "group_send_sig_info",
        "send_sig",
    ];
    !SENDING.contains(&function)
}

/// What became of a signal: `delivered, caught by a handler`.
pub fn fate(signal: &Signal) -> Cow<'static, str> {
    let result = match signal.result {
        SignalResult::Delivered => "delivered",
        // Nobody can ignore it: it came too late, or the target is the init of its pid namespace.
        SignalResult::Ignored if signal.number == sig::SIGKILL => {
            "dropped: dying already, or the init of its pid namespace"
        }
        SignalResult::Ignored if is_dropped(signal) => {
            "ignored: dying already, or the init of its pid namespace"
        }
        SignalResult::Ignored => "ignored",
        SignalResult::AlreadyPending => "already pending",
        SignalResult::Blocked => "blocked for now",
        SignalResult::Lost => "lost: the queue of signals was full",
    };
    let then = match (signal.result, signal.disposition) {
        (SignalResult::Ignored | SignalResult::Lost, _) | (_, None) => return result.into(),
        (SignalResult::Delivered, _)
            if signal.number == sig::SIGTRAP && signal.mechanism == Mechanism::Ptrace =>
        {
            "for its tracer"
        }
        (_, Some(Disposition::Handler)) => "caught by a handler",
        (_, Some(Disposition::Ignore)) => "to be ignored",
        (_, Some(Disposition::Default)) => default_action(signal.number),
    };
    format!("{result}, {then}").into()
}

/// Whether a signal that had no effect was not ignored by its target's choice, nor by default: it came too late, or the target is
/// the init of its pid namespace.
fn is_dropped(signal: &Signal) -> bool {
    const WITHOUT_EFFECT: [u8; 4] = [sig::SIGCHLD, sig::SIGCONT, sig::SIGURG, sig::SIGWINCH];
    let by_default = signal.disposition == Some(Disposition::Default);
    let has_effect = signal.number != 0 && !WITHOUT_EFFECT.contains(&signal.number);
    by_default && has_effect
}

/// What a signal does by default, signal(7).
const fn default_action(number: u8) -> &'static str {
    match number {
        0 => "a mere probe",
        sig::SIGCHLD | sig::SIGURG | sig::SIGWINCH => "by default ignored",
        sig::SIGCONT => "by default continues",
        sig::SIGSTOP | sig::SIGTSTP | sig::SIGTTIN | sig::SIGTTOU => "by default stops",
        sig::SIGQUIT
        | sig::SIGILL
        | sig::SIGTRAP
        | sig::SIGABRT
        | sig::SIGBUS
        | sig::SIGFPE
        | sig::SIGSEGV
        | sig::SIGXCPU
        | sig::SIGXFSZ
        | sig::SIGSYS => "by default fatal, with a core dump",
        _ => "by default fatal",
    }
}

/// Who sent a signal: the process, or the kernel, with the process whose act led to it.
pub fn sender(record: &SignalRecord) -> (String, Option<String>) {
    sender_by(record, |sender| process(sender))
}

/// As [`sender`], with another way to name a process.
pub fn sender_by(
    record: &SignalRecord,
    name: impl FnOnce(&Arc<Process>) -> String,
) -> (String, Option<String>) {
    match &record.sender {
        Some(sender) if !record.signal.mechanism.is_kernels_own() => (name(sender), None),
        Some(sender) if !same(sender, &record.target) => ("kernel".to_owned(), Some(name(sender))),
        _ => ("kernel".to_owned(), None),
    }
}

/// How it ended: `exited with 0`, `killed by SIGSEGV (core dumped)`.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { status } => format!("exited with {status}"),
        Outcome::Signaled { signal, core_dumped } => {
            let core = if *core_dumped { " (core dumped)" } else { "" };
            format!("killed by {}{core}", escape::shortened(signal, MAX_NAME))
        }
        Outcome::Unknown => "is gone; how it ended was not seen".to_owned(),
    }
}

/// How it ended and after what: `exited with 0, 1 ms after SIGTERM from systemd[1]`.
pub fn outcome_after(how: &Outcome, after: Option<&AfterSignal>) -> String {
    let words = outcome(how);
    let Some(after) = after else { return words };
    let from = escape::shortened(&after.from, 2 * MAX_NAME);
    let delay = delay(after.delay_ns);
    match how {
        // That a deadly signal kills at once goes without saying.
        Outcome::Signaled { signal, .. }
            if *signal == after.signal && after.delay_ns < NOTABLE_NS =>
        {
            format!("{words} from {from}")
        }
        Outcome::Signaled { signal, .. } if *signal == after.signal => {
            format!("{words} from {from}, {delay} after it was sent")
        }
        _ => format!(
            "{words}, {delay} after {} from {from}",
            escape::shortened(&after.signal, MAX_NAME)
        ),
    }
}

/// Who did it: `systemd[1]`, `the kernel, after sshd[20]`, `itself`, `nobody`.
pub fn killer(killer: &Killer) -> String {
    match (killer.kind, &killer.process) {
        (KillerKind::Process, Some(by)) => process(by),
        (KillerKind::Process, None) => "an unknown process".to_owned(),
        (KillerKind::Kernel, Some(by)) => format!("the kernel, after {}", process(by)),
        (KillerKind::Kernel, None) => "the kernel".to_owned(),
        (KillerKind::Itself, _) => "itself".to_owned(),
        (KillerKind::None, _) => "nobody".to_owned(),
    }
}

/// A span of time in the line of an event: `450 µs`, `1.2 ms`, `10.1 s`, and beyond a minute in two units, `3 min 20 s`,
/// where a sentence of the story has one.
pub fn delay(ns: u64) -> String {
    let tenths = |unit: u64| match ns % unit * 10 / unit {
        0 => (ns / unit).to_string(),
        tenths => format!("{}.{tenths}", ns / unit),
    };
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000 => format!("{} ms", tenths(1_000_000)),
        10_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..60_000_000_000 => format!("{} s", tenths(1_000_000_000)),
        60_000_000_000..3_600_000_000_000 => {
            format!("{} min {} s", ns / 60_000_000_000, ns / 1_000_000_000 % 60)
        }
        _ => format!("{} h {} min", ns / 3_600_000_000_000, ns / 60_000_000_000 % 60),
    }
}

/// A number with its digits in groups of three.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 death`, `3 deaths`.
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Where events were lost, in words.
pub const fn place(place: LossPlace) -> &'static str {
    match place {
        LossPlace::RingBuffer => "in the kernel's ring buffer",
        LossPlace::Recursion => "by a hook that was already running on its CPU",
        LossPlace::Bus => "on the bus",
        LossPlace::Journal => "in the journal's stream",
        LossPlace::KernelLog => "in the kernel's log",
        LossPlace::Map => "for want of room in a kernel map",
        LossPlace::Recording => "in the recording",
    }
}

/// Whether a signal of this name ends a process by default; decides how loudly it is coloured.
pub fn is_fatal(signal: &str) -> bool {
    signal_number(signal)
        .is_none_or(|number| default_action(number).starts_with("by default fatal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_short() {
        for (ns, words) in [
            (0, "0 µs"),
            (450_000, "450 µs"),
            (1_200_000, "1.2 ms"),
            (999_999_999, "999 ms"),
            (10_095_000_000, "10 s"),
            (90_000_000_000, "1 min 30 s"),
            (u64::MAX, "5124095 h 34 min"),
        ] {
            assert_eq!(delay(ns), words);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "death"), "1 death");
        assert_eq!(counted(2, "death"), "2 deaths");
    }

    #[test]
    fn an_unnamed_process_is_still_named() {
        let mut someone = Process::default();
        assert_eq!(process(&someone), "?[pid outside this namespace]");
        someone.pid = 7;
        someone.exe = Some("/usr/bin/tm\u{1b}ux".into());
        assert_eq!(process(&someone), "tm\\33ux[7]");
    }
}
