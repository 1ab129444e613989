//! Words: how processes, spans of time and amounts are spoken of.

use super::fixes::quoted;
use crate::evidence::{Container, Process};

/// `tmux: server[2041]`
pub fn name_pid(process: &Process) -> String {
    format!("{}[{}]", process.comm.as_deref().unwrap_or("?"), process.pid)
}

/// `docker container web`, `containerd container app of pod web-1`; ids as short as the runtimes' tools show them.
pub fn container(container: &Container) -> String {
    const SHOWN: usize = 12;
    let id = container.id.get(..SHOWN).unwrap_or(&container.id);
    let name = container.name.as_deref().unwrap_or(id);
    let namespace =
        container.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}"));
    let pod = container.pod.as_ref().map(|pod| format!(" of pod {pod}"));
    let (pod, namespace) = (pod.unwrap_or_default(), namespace.unwrap_or_default());
    format!("{} container {name}{pod}{namespace}", container.runtime)
}

/// A unit by its name, and what programs give such names to: `tmux-spawn-….scope (by its name, a tmux pane's)`.
/// Anybody may choose a name.
pub fn unit(unit: &str) -> String {
    const MADE: [(&str, &str); 5] = [
        ("tmux-spawn-", "a tmux pane's"),
        ("vte-spawn-", "a terminal window's"),
        ("run-u", "made by systemd-run"),
        ("run-r", "made by systemd-run"),
        ("run-p", "made by systemd-run"),
    ];
    let hexadecimal = |rest: &str| rest.starts_with(|c: char| c.is_ascii_hexdigit());
    let made = MADE
        .iter()
        .find(|(prefix, _)| unit.strip_prefix(prefix).is_some_and(hexadecimal))
        .filter(|_| unit.ends_with(".scope") || unit.ends_with(".service"));
    made.map_or_else(|| unit.to_owned(), |(_, by)| format!("{unit} (by its name, {by})"))
}

/// The command line as one would type it, or `comm` where the arguments are unknown.
pub fn command_line(process: &Process) -> String {
    match &process.cmdline {
        Some(args) if !args.is_empty() => shortened(args),
        _ => process.comm.clone().unwrap_or_else(|| "?".to_owned()),
    }
}

/// Characters of a command line that a sentence can bear.
const MAX_COMMAND: usize = 120;

fn shortened(args: &[String]) -> String {
    // A rewritten title leaves empty arguments behind.
    let used = args.iter().rposition(|arg| !arg.is_empty()).map_or(0, |last| last + 1);
    let args = if args[0].contains(": ") { &args[..used] } else { args };
    let mut line = String::new();
    for arg in args {
        if !line.is_empty() {
            line.push(' ');
        }
        // A rewritten title (`sshd: alice@pts/0`) is one argument and no word to quote.
        line.push_str(&if args.len() == 1 { arg.clone() } else { quoted(arg) });
        if let Some((end, _)) = line.char_indices().nth(MAX_COMMAND) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

/// `1 ms`, `90 s`, `2 min`: two significant places, the unit a person would choose.
pub fn span(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000 if ns % 1_000_000 >= 100_000 => {
            format!("{:.1} ms", ns as f64 / 1e6)
        }
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..10_000_000_000 if ns % 1_000_000_000 >= 100_000_000 => {
            format!("{:.1} s", ns as f64 / 1e9)
        }
        1_000_000_000..120_000_000_000 => format!("{} s", ns / 1_000_000_000),
        120_000_000_000..7_200_000_000_000 => format!("{} min", ns / 60_000_000_000),
        _ => format!("{} h", ns / 3_600_000_000_000),
    }
}

/// `512 MiB`
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_a_person_would_say_them() {
        assert_eq!(span(950), "950 ns");
        assert_eq!(span(1_200_000), "1.2 ms");
        assert_eq!(span(3_000_000), "3 ms");
        assert_eq!(span(90_000_000_000), "90 s");
        assert_eq!(span(600_000_000_000), "10 min");
    }

    #[test]
    fn amounts_of_memory() {
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(16 << 20), "16 MiB");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
