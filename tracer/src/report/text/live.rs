//! The live lines: one a signal, one an end, as strace would write them.

use std::sync::Arc;

use crate::evidence::{Header, Process, Signal, is_missing};
use crate::report::{escape, words};
use crate::story::verdict::{ExitRecord, LossRecord, Outcome, SignalRecord, Summary};

use super::line::{Line, Tone};
use super::process_and_user;

/// Longest command line in a live line, in characters.
const MAX_COMMAND: usize = 400;

/// The names of the sender and the target of the signal before: mostly they are those of the next.
#[derive(Debug, Default)]
pub struct Names {
    sender: Named,
    target: Named,
}

/// A process and its name.
#[derive(Debug, Default)]
struct Named(Option<(Arc<Process>, String)>);

impl Named {
    fn name(&mut self, process: &Arc<Process>) -> String {
        let known = self.0.take().filter(|(known, _)| Arc::ptr_eq(known, process));
        let known = known.unwrap_or_else(|| (Arc::clone(process), words::process(process)));
        self.0.insert(known).1.clone()
    }
}

/// `systemd[1] --SIGTERM--> tmux: server[2041]  kill(2), delivered, caught by a handler`
pub fn signal(record: &SignalRecord, names: &mut Names) -> Line {
    let (sender, because) = words::sender_by(record, |sender| names.sender.name(sender));
    let name = escape::shortened(&record.signal.name, 32);
    let tone = if words::is_fatal(&record.signal.name) { Tone::Fatal } else { Tone::Mild };
    let mut line = Line::default()
        .with(Tone::Process, sender)
        .with(tone, format!(" --{name}--> "))
        .with(Tone::Process, names.target.name(&record.target));
    if let Some(tid) = record.target_tid.filter(|tid| *tid != record.target.pid) {
        line.push(Tone::Plain, format!(" thread {tid}"));
    }
    let mut rest = String::with_capacity(96);
    rest.push_str("  ");
    rest.push_str(&words::mechanism_of(&record.signal));
    if let Some(because) = because {
        rest.push_str(&format!(", after {because}"));
    }
    rest.push_str(", ");
    rest.push_str(&words::fate(&record.signal));
    if record.repeated > 0 {
        rest.push_str(&format!("; {} more of the same", words::count(record.repeated)));
    }
    line.push(Tone::Plain, rest);
    line
}

/// What `-v` adds to a signal: who both are, and the way through the kernel.
pub fn signal_details(record: &SignalRecord) -> Vec<Line> {
    let mut lines = Vec::new();
    let sender = record.sender.as_ref().filter(|sender| !words::same(sender, &record.target));
    for (label, process) in [("from", sender), ("to", Some(&record.target))] {
        let Some(process) = process else { continue };
        lines.push(faint(label, &described(process)));
    }
    lines.push(faint("code", &codes(&record.signal)));
    if !record.signal.kernel_path.is_empty() {
        lines.push(faint("path", &kernel_path(&record.signal)));
    }
    lines
}

fn faint(label: &str, text: &str) -> Line {
    Line::default().with(Tone::Faint, format!("{label:<5} {text}"))
}

/// `SIGTERM (15), SI_USER, si_pid 1, si_uid 0`
pub fn codes(signal: &Signal) -> String {
    let mut out = format!(
        "{} ({}), {}",
        escape::shortened(&signal.name, 32),
        signal.number,
        escape::shortened(&signal.si_code, 64)
    );
    if let Some(pid) = signal.si_pid {
        out.push_str(&format!(", si_pid {pid}"));
    }
    if let Some(uid) = signal.si_uid {
        out.push_str(&format!(", si_uid {uid}"));
    }
    out
}

/// Kernel functions, innermost first.
pub fn kernel_path(signal: &Signal) -> String {
    let names: Vec<_> =
        signal.kernel_path.iter().map(|name| escape::shortened(name, 128)).collect();
    names.join(" < ")
}

/// Everything known of a process that helps to recognise it, in one line.
pub fn described(process: &Process) -> String {
    let mut parts = vec![process_and_user(process)];
    if let Some(arguments) = process.cmdline.as_ref().filter(|arguments| !arguments.is_empty()) {
        parts.push(escape::command_line(arguments, MAX_COMMAND));
    }
    if let Some(exe) = &process.exe {
        parts.push(format!("exe {}", escape::shortened(exe, 256)));
    }
    if let Some(unit) = process.user_unit.as_ref().or(process.unit.as_ref()) {
        parts.push(format!("in {}", escape::shortened(unit, 256)));
    } else if let Some(cgroup) = &process.cgroup {
        parts.push(format!("cgroup {}", escape::shortened(cgroup, 256)));
    }
    if let Some(container) = &process.container {
        let name = container.name.as_ref().unwrap_or(&container.id);
        parts.push(format!(
            "{}{} container {}",
            container.by_whose_word(),
            escape::shortened(&container.runtime, 32),
            escape::shortened(name, 80)
        ));
    }
    if let Some(ns_pid) = process.ns_pid.filter(|ns_pid| *ns_pid != process.pid) {
        parts.push(format!("pid {ns_pid} in its namespace"));
    }
    if !process.ancestors.is_empty() {
        let parents: Vec<_> = process
            .ancestors
            .iter()
            .take(16)
            .map(|parent| format!("{}[{}]", escape::shortened(&parent.comm, 64), parent.pid))
            .collect();
        parts.push(format!("child of {}", parents.join(" < ")));
    }
    parts.join(", ")
}

/// `+++ tmux: server[2041] exited with 0, 1 ms after SIGTERM from systemd[1] +++`
pub fn exit(record: &ExitRecord) -> Line {
    let tone = match record.outcome {
        Outcome::Signaled { .. } | Outcome::Unknown => Tone::Fatal,
        Outcome::Exited { .. } => Tone::Mild,
    };
    Line::default().with(tone, "+++ ").with(Tone::Process, words::process(&record.process)).with(
        tone,
        format!(" {} +++", words::outcome_after(&record.outcome, record.after.as_ref())),
    )
}

/// `!!! 1,204 events were lost in the kernel's ring buffer !!!`
pub fn loss(record: &LossRecord) -> Line {
    let place = words::place(record.place);
    let mut text = match record.dropped {
        0 => format!("!!! events were lost {place}"),
        1 => format!("!!! 1 event was lost {place}"),
        many => format!("!!! {} were lost {place}", words::counted(many, "event")),
    };
    if let Some(detail) = &record.detail {
        text.push_str(&format!(": {}", escape::shortened(detail, 512)));
    }
    text.push_str(" !!!");
    Line::default().with(Tone::Warning, text)
}

/// What `-v` says at the beginning.
pub fn header(header: &Header) -> Line {
    let show = |text: &str| escape::shortened(text, 256);
    let mut text = format!(
        "killtrace {} on Linux {} ({}), host {}",
        show(&header.version),
        show(&header.kernel),
        show(&header.arch),
        show(&header.hostname)
    );
    if let Some(systemd) = &header.systemd {
        text.push_str(&format!(", systemd {}", show(systemd)));
    }
    for (name, state) in header.hooks.iter().chain(&header.sources) {
        if is_missing(state) {
            text.push_str(&format!("; without {}: {}", show(name), show(state)));
        }
    }
    Line::default().with(Tone::Faint, text)
}

/// `no end to report; 14 signals; 1 target still alive (interrupted)`: ends of their own accord are told with `--exits`.
pub fn summary(summary: &Summary) -> Line {
    let mut parts = vec![match summary.deaths {
        0 => "no end to report".to_owned(),
        deaths => words::counted(deaths, "death"),
    }];
    parts.push(words::counted(summary.signals, "signal"));
    if summary.alive > 0 {
        parts.push(format!("{} still alive", words::counted(summary.alive, "target")));
    }
    if summary.untold > 0 {
        let ends = words::counted(summary.untold, "end");
        parts.push(format!("{ends} without a signal not shown (--exits shows them)"));
    }
    let mut line = Line::default();
    if summary.losses > 0 {
        line.push(
            Tone::Warning,
            format!("at least {} lost", words::counted(summary.losses, "event")),
        );
        line.push(Tone::Faint, "; ");
    }
    let reason = escape::shortened(&summary.reason, 256);
    line.push(Tone::Faint, format!("{} ({reason})", parts.join("; ")));
    line
}
