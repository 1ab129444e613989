//! Words: how processes, spans of time and amounts are spoken of.

use super::fixes::quoted;
use crate::evidence::{Container, Process, Task};

/// `tmux: server[2041]`
pub fn name_pid(process: &Process) -> String {
    process.name_pid()
}

/// `docker container web`, `containerd container app of pod web-1`; ids as short as the runtimes' tools show them. Where
/// a user could choose the name of its cgroup, that is said.
pub fn container(container: &Container) -> String {
    const SHOWN: usize = 12;
    let id = container.id.get(..SHOWN).unwrap_or(&container.id);
    let name = container.name.as_deref().unwrap_or(id);
    let namespace =
        container.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}"));
    // podman's is an id as well.
    let short = |pod: &str| match pod.bytes().all(|it| it.is_ascii_hexdigit()) {
        true => pod.get(..SHOWN).unwrap_or(pod).to_owned(),
        false => pod.to_owned(),
    };
    let pod = container.pod.as_ref().map(|pod| format!(" of pod {}", short(pod)));
    let (pod, namespace) = (pod.unwrap_or_default(), namespace.unwrap_or_default());
    let whose = container.by_whose_word();
    format!("{whose}{} container {name}{pod}{namespace}", container.runtime)
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

/// Somebody's words, in quotes that they cannot leave.
pub fn quotation(text: &str) -> String {
    format!("\"{}\"", in_quotes(text))
}

/// What stands between quotes.
fn in_quotes(text: &str) -> String {
    text.replace('"', "\\\"")
}

/// The command line as one would type it, to stand between quotes; or `comm` where the arguments are unknown.
pub fn command_line(process: &Process) -> String {
    match &process.cmdline {
        Some(args) if !args.is_empty() => shortened(args, MAX_COMMAND, in_quotes),
        _ => in_quotes(process.name().unwrap_or("?")),
    }
}

/// The same for a remark on its own, where no quotation marks are around it and its end matters as well.
pub fn whole_command_line(process: &Process) -> String {
    /// Nobody reads more.
    const MOST: usize = 1000;
    match &process.cmdline {
        Some(args) if !args.is_empty() => shortened(args, MOST, str::to_owned),
        _ => command_line(process),
    }
}

/// Characters of a command line that a sentence can bear.
const MAX_COMMAND: usize = 120;

/// The command line as a shell understands it, to run the same again; `None` where it is a title, names its program by
/// another name than that goes by, or is too long to be read.
pub fn shell_command(process: &Process) -> Option<String> {
    let args = process.cmdline.as_deref()?;
    let program = args.first()?;
    let is_path = program.starts_with('/') && !program.contains(char::is_whitespace);
    let is_name = || process.program() == Some(program.as_str()) && quoted(program) == *program;
    let plain = args.iter().all(|arg| !arg.contains(char::is_control));
    let known = plain && !program.starts_with('-') && (is_path || is_name());
    let line = args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" ");
    (known && line.chars().count() <= MAX_COMMAND).then_some(line)
}

fn shortened(args: &[String], max: usize, escaped: fn(&str) -> String) -> String {
    // A rewritten title leaves empty arguments behind, or blanks.
    let is_blank = |arg: &String| arg.bytes().all(|byte| byte == b' ');
    // A title without a colon has all that is left in its first word: `npm start`.
    // Of systemd's children the name alone: `(sd-killer)`.
    let is_child = args[0].starts_with('(') && args[0].ends_with(')');
    let is_title = args[0].contains(": ")
        || (is_child || args[0].contains(' ')) && args[1..].iter().all(is_blank);
    let is_left = |arg: &String| is_blank(arg) && (is_title || !arg.is_empty());
    let used = args.iter().rposition(|arg| !is_left(arg)).map_or(0, |last| last + 1);
    let args = &args[..used];
    let mut line = String::new();
    for arg in args {
        if !line.is_empty() {
            line.push(' ');
        }
        // A rewritten title (`sshd: alice@pts/0`) is one argument and no word to quote.
        let word = if args.len() == 1 { arg.trim_end().to_owned() } else { quoted(arg) };
        line.push_str(&with_short_ids(&escaped(&word)));
        if let Some((end, _)) = line.char_indices().nth(max) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

/// Numbers that runtimes give their containers, to as many digits as they themselves show: `4fa6e0f0c678…`
fn with_short_ids(text: &str) -> String {
    const DIGITS: usize = 64;
    const SHOWN: usize = 12;
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, tail) = rest.split_at(start);
        let end = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
        let (word, after) = tail.split_at(end);
        let is_id = word.len() == DIGITS
            && word.bytes().all(|c| c.is_ascii_hexdigit())
            && !before.ends_with(|c: char| c.is_alphanumeric());
        out.push_str(before);
        if is_id {
            out.push_str(&word[..SHOWN]);
            out.push('…');
        } else {
            out.push_str(word);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `1 ms`, `11.6 s`, `90 s`, `2 min`: the unit a person would choose, cut off rather than rounded, as clocks are read.
pub fn span(ns: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", ns / unit, ns % unit * 10 / unit);
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000 if ns % 1_000_000 >= 100_000 => {
            format!("{} ms", tenths(1_000_000))
        }
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..60_000_000_000 if ns % 1_000_000_000 >= 100_000_000 => {
            format!("{} s", tenths(1_000_000_000))
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

/// That a user's program acts with root's rights: how it may signal what is not its user's. Its file lends them
/// (set-user-ID), or it is root's and acts for that user.
pub fn lent_rights(task: &Task) -> &'static str {
    if task.uid != 0 && task.euid == 0 { " with root's rights (euid 0)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_a_person_would_say_them() {
        assert_eq!(span(950), "950 ns");
        assert_eq!(span(1_200_000), "1.2 ms");
        assert_eq!(span(3_000_000), "3 ms");
        assert_eq!(span(7_790_000_000), "7.7 s");
        assert_eq!(span(11_650_000_000), "11.6 s");
        assert_eq!(span(90_000_000_000), "90 s");
        assert_eq!(span(600_000_000_000), "10 min");
    }

    #[test]
    fn ids_of_containers_are_short_in_a_sentence() {
        let id = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";
        let args = ["runc".to_owned(), "kill".to_owned(), id.to_owned(), "KILL".to_owned()];
        assert_eq!(shortened(&args, MAX_COMMAND, in_quotes), "runc kill 4fa6e0f0c678… KILL");
        let script = ["sh".to_owned(), "-c".to_owned(), format!("runc kill {id} 9; sleep 1")];
        assert_eq!(
            shortened(&script, MAX_COMMAND, in_quotes),
            "sh -c 'runc kill 4fa6e0f0c678… 9; sleep 1'"
        );
        for other in ["deadbeef", &format!("x{id}"), &format!("{id}0"), "naïve f00"] {
            assert_eq!(with_short_ids(other), *other);
        }
    }

    #[test]
    fn a_title_ends_with_its_last_word() {
        let line = |args: &[&str]| {
            shortened(
                &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(),
                MAX_COMMAND,
                in_quotes,
            )
        };
        assert_eq!(line(&["a daemon --serve", "      ", " "]), "a daemon --serve");
        assert_eq!(line(&["nginx: worker  ", ""]), "nginx: worker");
        assert_eq!(line(&["npm start", "", "", ""]), "npm start");
        assert_eq!(line(&["redis-server 127.0.0.1:18793", "", ""]), "redis-server 127.0.0.1:18793");
        assert_eq!(line(&["/opt/a b", "c", ""]), "'/opt/a b' c ''");
        assert_eq!(line(&["grep", "-r", ""]), "grep -r ''");
        assert_eq!(line(&[" "]), "");
    }

    #[test]
    fn quotation_marks_are_escaped_within_such_alone() {
        let args = ["timeout", "1", "sh", "-c", "trap \"\" TERM"].map(str::to_owned);
        let process = Process { cmdline: Some(args.to_vec()), ..Process::default() };
        assert_eq!(command_line(&process), r#"timeout 1 sh -c 'trap \"\" TERM'"#);
        assert_eq!(whole_command_line(&process), r#"timeout 1 sh -c 'trap "" TERM'"#);
    }

    #[test]
    fn a_command_can_be_run_again_where_it_is_one() {
        let again = |comm: &str, args: &[&str]| {
            let cmdline = Some(args.iter().map(|arg| (*arg).to_owned()).collect());
            shell_command(&Process { comm: Some(comm.to_owned()), cmdline, ..Process::default() })
        };
        let line = |text: &str| Some(text.to_owned());
        assert_eq!(again("sleep", &["sleep", "1000"]), line("sleep 1000"));
        assert_eq!(
            again("work", &["/bin/sh", "/opt/work", "a b"]),
            line("/bin/sh /opt/work 'a b'")
        );
        assert_eq!(again("v", &["/opt/v", "it's"]), line(r"/opt/v 'it'\''s'"));
        // It calls itself otherwise than its program.
        let node = Process {
            exe: Some("/usr/bin/node".to_owned()),
            cmdline: Some(["node", "/srv/app.js"].map(str::to_owned).to_vec()),
            comm: Some("MainThread".to_owned()),
            ..Process::default()
        };
        assert_eq!(shell_command(&node), line("node /srv/app.js"));
        for (comm, args) in [
            ("bash", &["-bash"][..]),
            ("nginx", &["nginx: worker process"]),
            ("npm start", &["npm start", ""]),
            ("sleep", &["worker", "1000"]),
            ("v", &["./v"]),
            ("v", &["v", "a\nreboot"]),
            ("v", &["v", &"x".repeat(200)]),
            ("v", &[]),
        ] {
            assert_eq!(again(comm, args), None, "{args:?}");
        }
    }

    #[test]
    fn amounts_of_memory() {
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(16 << 20), "16 MiB");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
