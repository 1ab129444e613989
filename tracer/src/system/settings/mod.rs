//! Which file and which line set a value: configuration as its own daemon would read it.

pub mod daemons;
pub mod limits;
mod shells;
pub mod sshd;
mod sudoers;
pub mod unit_files;
pub mod units;
mod user_records;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::context::lock;
use super::files;
use crate::evidence::Setting;

/// Configuration files larger than this are not read.
const MAX_FILE: u64 = 1 << 20;

/// How many entries of a directory are looked at, and how many files of one kind are read.
const MAX_ENTRIES: usize = 4096;
const MAX_FILES: usize = 100;

/// Bytes of assignments that are kept of the files of one unit or daemon.
const MAX_KEPT: usize = 256 << 10;

/// How much is told of what was missed.
const MAX_MISSED: usize = 100;

/// Where a link leads that hides the files of its name.
const MASK: &str = "/dev/null";

/// One `Name=value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The section it stands in.
    pub section: String,
    /// Its name.
    pub name: String,
    /// Its value; empty resets what came before.
    pub value: String,
    /// The file, as seen from the root of the configuration.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
}

impl Assignment {
    /// Bytes that it takes, about.
    const fn size(&self) -> usize {
        size_of::<Self>()
            + self.section.len()
            + self.name.len()
            + self.value.len()
            + self.file.len()
    }

    fn setting(&self, scope: &str) -> Setting {
        Setting {
            manager: None,
            scope: scope.to_owned(),
            name: self.name.clone(),
            value: self.value.clone(),
            file: Some(self.file.clone()),
            line: Some(self.line),
            unread: None,
        }
    }
}

/// A directory tree with configuration in it: `/`, or a copy of one.
#[derive(Debug)]
pub struct Root {
    tree: PathBuf,
    /// What was there and could not be read, and why.
    missed: Mutex<Vec<String>>,
}

impl Root {
    /// The tree at this directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { tree: path.into(), missed: Mutex::default() }
    }

    /// The same tree, of which nothing is missed yet.
    pub fn again(&self) -> Self {
        Self::new(&self.tree)
    }

    /// What was there and is not in what was told since this was made; `None` where all is.
    pub fn missed(&self) -> Option<String> {
        let missed = lock(&self.missed);
        let more = match missed.len() {
            0 | 1 => String::new(),
            others => format!("; so it is with {} more", others - 1),
        };
        Some(format!("{}{more}", missed.first()?))
    }

    fn miss(&self, what: String) {
        let mut missed = lock(&self.missed);
        if missed.len() < MAX_MISSED && !missed.contains(&what) {
            missed.push(what);
        }
    }

    /// Where an absolute path of the tree really is.
    fn real(&self, path: &str) -> PathBuf {
        self.tree.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> io::Result<String> {
        if self.link(path).is_some_and(|to| to == MASK) {
            return Ok(String::new());
        }
        let read = files::read(&self.real(path), MAX_FILE).inspect_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                self.miss(format!("{path}: {error}"));
            }
        });
        Ok(String::from_utf8_lossy(&read?).into_owned())
    }

    /// What a symbolic link says; `None` where the path is none.
    fn link(&self, path: &str) -> Option<String> {
        fs::read_link(self.real(path)).ok()?.into_os_string().into_string().ok()
    }

    fn exists(&self, path: &str) -> bool {
        // A mask is a symbolic link to /dev/null: it counts as a file, whatever it points to.
        fs::symlink_metadata(self.real(path)).is_ok()
    }

    /// Whether a file is gone. A mask is one that is there.
    pub fn is_gone(&self, path: &str) -> bool {
        let is_mask = || self.link(path).is_some_and(|to| to == MASK);
        let found = fs::metadata(self.real(path));
        found.is_err_and(|error| error.kind() == ErrorKind::NotFound) && !is_mask()
    }

    /// Names of the entries of a directory, in byte order; none where it cannot be read.
    fn list(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.real(directory)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .take(MAX_ENTRIES + 1)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        if names.len() > MAX_ENTRIES {
            self.miss(format!("{directory}: there are more than {MAX_ENTRIES} files"));
        }
        names.sort_unstable();
        names
    }

    /// The `*.conf` files of several directories in the order in which they apply: by file name; of
    /// equal names the one in the directory named first hides the others (`conf_files_list_strv`).
    fn drop_ins(&self, directories: &[String]) -> Vec<String> {
        let mut found = BTreeMap::new();
        for directory in directories {
            for name in self.list(directory).into_iter().filter(|name| name.ends_with(".conf")) {
                if found.len() >= MAX_FILES && !found.contains_key(&name) {
                    self.miss(format!("{directory}: there are more than {MAX_FILES} drop-ins"));
                    break;
                }
                let path = format!("{directory}/{name}");
                found.entry(name).or_insert(path);
            }
        }
        found.into_values().collect()
    }

    /// The assignments of the files that are wanted by their section and name, in their order. Files that cannot be
    /// read are left out, and whatever follows where it is too much.
    fn assignments(
        &self,
        files: &[String],
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Vec<Assignment> {
        let mut found = Vec::new();
        let mut room = MAX_KEPT;
        // The main file, and its drop-ins.
        for file in files.iter().take(1 + MAX_FILES) {
            let Ok(text) = self.read(file) else { continue };
            for assignment in Lines::of(&text, file).filter(|it| wanted(&it.section, &it.name)) {
                let Some(left) = room.checked_sub(assignment.size()) else {
                    self.miss(format!("{file}: too much is set"));
                    return found;
                };
                room = left;
                found.push(assignment);
            }
        }
        if let Some(file) = files.get(1 + MAX_FILES) {
            self.miss(format!("{file}: there are more than {MAX_FILES} drop-ins"));
        }
        found
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

/// The assignments of a file in systemd's syntax (systemd.syntax(7)): sections, comments, continued lines.
struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    file: &'a str,
    section: String,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str, file: &'a str) -> Self {
        Self { lines: text.lines().enumerate(), file, section: String::new() }
    }

    /// The next line, with those that continue it, and its number, counted from 1.
    fn next_whole(&mut self) -> Option<(u32, String)> {
        let mut pending: Option<(usize, String)> = None;
        for (number, raw) in self.lines.by_ref() {
            // Comments, also those between continued lines, are skipped.
            if raw.trim_start().starts_with(['#', ';']) {
                continue;
            }
            let (_, line) = pending.get_or_insert((number, String::new()));
            // Of two backslashes the first takes the second's meaning away.
            let backslashes = raw.bytes().rev().take_while(|byte| *byte == b'\\').count();
            let Some(head) = raw.strip_suffix('\\').filter(|_| backslashes % 2 == 1) else {
                line.push_str(raw);
                break;
            };
            line.push_str(head);
            line.push(' ');
        }
        pending.and_then(|(first, line)| Some((u32::try_from(first + 1).ok()?, line)))
    }
}

impl Iterator for Lines<'_> {
    type Item = Assignment;

    fn next(&mut self) -> Option<Assignment> {
        loop {
            let (number, line) = self.next_whole()?;
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut self.section);
            } else if let Some((name, value)) = line.split_once('=') {
                return Some(Assignment {
                    section: self.section.clone(),
                    name: name.trim_end().to_owned(),
                    value: value.trim().to_owned(),
                    file: self.file.to_owned(),
                    line: number,
                });
            }
        }
    }
}

/// What systemd takes for a setting with one value. It warns of anything else and ignores it: what an earlier
/// line set stays (`src/shared/conf-parser.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A boolean.
    Truth,
    /// A span of time.
    Span,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text that is not empty.
    Text,
    /// Any text; an empty one resets it to its default.
    Resets,
}

impl Kind {
    /// Whether an assignment of this value counts.
    fn accepts(self, value: &str) -> bool {
        match self {
            Self::Truth => truth(value).is_some(),
            Self::Span => micros(value).is_some(),
            Self::Word(words) => words.contains(&value),
            Self::Text => !value.is_empty(),
            Self::Resets => true,
        }
    }
}

/// A boolean as systemd reads it (`parse_boolean`).
pub(super) fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Microseconds of a span of time as systemd reads it (`parse_time` in `src/basic/time-util.c`): `90`, `1min 30s`;
/// `u64::MAX` is without end. `None` for what is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "there is no sign, and what is longer than the longest is as long"
)]
pub(super) fn micros(value: &str) -> Option<u64> {
    const SECOND: f64 = 1e6;
    const DAY: f64 = 86_400.0 * SECOND;
    const UNITS: [(&[&str], f64); 9] = [
        (&["", "seconds", "second", "sec", "s"], SECOND),
        (&["minutes", "minute", "min", "m"], 60.0 * SECOND),
        (&["months", "month", "M"], 30.4375 * DAY),
        (&["msec", "ms"], 1e3),
        (&["hours", "hour", "hr", "h"], 3600.0 * SECOND),
        (&["days", "day", "d"], DAY),
        (&["weeks", "week", "w"], 7.0 * DAY),
        (&["years", "year", "y"], 365.25 * DAY),
        (&["usec", "us", "µs", "μs"], 1.0),
    ];
    const NANOS: [&str; 2] = ["nsec", "ns"];
    let mut rest = value.trim();
    if rest == "infinity" {
        return Some(u64::MAX);
    }
    let mut sum = (!rest.is_empty()).then_some(0.0)?;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        let tail = tail.trim_start();
        let end = tail.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(tail.len());
        let name = &tail[..end];
        let unit = UNITS.iter().find(|(names, _)| names.contains(&name)).map(|(_, unit)| *unit);
        let unit = unit.or_else(|| NANOS.contains(&name).then_some(1e-3))?;
        sum += digits.parse::<f64>().ok()? * unit;
        rest = tail[end..].trim_start();
    }
    Some(sum.round() as u64)
}

/// What counts in the end for a setting with one value: the last of those assignments that its [`Kind`] accepts,
/// where it is not empty.
fn last<'a>(assignments: &'a [Assignment], section: &str, name: &str) -> Option<&'a Assignment> {
    let mut all = assignments.iter().filter(|it| it.section == section && it.name == name);
    all.next_back().filter(|it| !it.value.is_empty())
}

/// What counts for a list: every assignment since the last empty one.
fn added_up<'a>(
    assignments: &'a [Assignment],
    section: &str,
    name: &str,
) -> impl Iterator<Item = &'a Assignment> {
    let mut kept: Vec<&Assignment> = Vec::new();
    for it in assignments.iter().filter(|it| it.section == section && it.name == name) {
        if it.value.is_empty() {
            kept.clear();
        } else {
            kept.push(it);
        }
    }
    kept.into_iter()
}

/// A list in one: under the place of its last assignment.
fn joined(assignments: &[Assignment], section: &str, name: &str) -> Option<Assignment> {
    let kept: Vec<&Assignment> = added_up(assignments, section, name).collect();
    let last = (*kept.last()?).clone();
    let words: Vec<&str> = kept.iter().map(|it| it.value.as_str()).collect();
    Some(Assignment { value: words.join(" "), ..last })
}

/// The value that a commented-out line shows: distributions ship the compiled-in defaults that way.
fn commented_default(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Whether the path is one that a configuration may name: absolute and without `..`.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| part != std::path::Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with these files, for as long as the first one is kept.
    pub(super) fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let tree = tempfile::tempdir().expect("temporary directory");
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            fs::write(path, text).expect("file");
        }
        let root = Root::new(tree.path());
        (tree, root)
    }

    fn parse(text: &str, file: &str) -> Vec<Assignment> {
        Lines::of(text, file).collect()
    }

    #[test]
    fn a_mask_is_no_file_that_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("there"), "").expect("written");
        std::os::unix::fs::symlink(MASK, at("masked")).expect("linked");
        std::os::unix::fs::symlink("/no-such-file", at("dangling")).expect("linked");
        let root = Root::new(directory.path());
        let gone = |name: &str| root.is_gone(name);
        assert!(!gone("/there") && !gone("/masked"));
        assert!(gone("/dangling") && gone("/not-there") && gone("/not-there/x"));
    }

    #[test]
    fn the_syntax_is_systemds() {
        let text = "\
; comment
[Login]
  KillUserProcesses = yes \n\
# KillUserProcesses=no
KillExcludeUsers=root \\
# in between
  alice
[Other]
KillUserProcesses=no
noequals
Last=\\";
        let found = parse(text, "/f");
        let brief: Vec<_> = found
            .iter()
            .map(|it| (it.section.as_str(), it.name.as_str(), it.value.as_str(), it.line))
            .collect();
        assert_eq!(
            brief,
            [
                ("Login", "KillUserProcesses", "yes", 3),
                ("Login", "KillExcludeUsers", "root    alice", 5),
                ("Other", "KillUserProcesses", "no", 9),
                ("Other", "Last", "", 11),
            ]
        );
    }

    #[test]
    fn the_last_assignment_wins_and_an_empty_one_resets() {
        let found = parse("[A]\nx=1\nx=2\ny=1\ny=\nl=a\nl=\nl=b\nl=c\n", "/f");
        assert_eq!(last(&found, "A", "x").map(|it| (it.value.as_str(), it.line)), Some(("2", 3)));
        assert_eq!(last(&found, "A", "y"), None);
        assert_eq!(
            joined(&found, "A", "l").map(|it| (it.value, it.line)),
            Some(("b c".to_owned(), 9))
        );
        assert_eq!(joined(&found, "A", "y"), None);
    }

    #[test]
    fn what_a_setting_takes() {
        for span in
            ["0", "90", "90s", "1min 30s", "1.5h", "2 weeks", "500ms", "1h30min", "infinity"]
        {
            assert!(Kind::Span.accepts(span), "{span}");
        }
        for text in ["", "soon", "s", "1parsec", "-1", "1h 2x", "infinity 1"] {
            assert!(!Kind::Span.accepts(text), "{text}");
        }
        assert_eq!(micros("1min 30s"), micros("90"));
        assert_eq!(micros("1.5h"), Some(5_400_000_000));
        assert_eq!((micros("20ms"), micros("7us")), (Some(20_000), Some(7)));
        assert!(Kind::Truth.accepts("On") && !Kind::Truth.accepts("") && !Kind::Truth.accepts("2"));
        assert!(Kind::Word(&["a"]).accepts("a") && !Kind::Word(&["a"]).accepts(""));
        assert!(Kind::Resets.accepts("") && !Kind::Text.accepts(""));
    }

    #[test]
    fn what_is_there_and_cannot_be_read_is_missed() {
        let tree = tempfile::tempdir().expect("temporary directory");
        files::tests::make_fifo(&tree.path().join("pipe.conf"));
        std::os::unix::fs::symlink(MASK, tree.path().join("mask.conf")).expect("link");
        let root = Root::new(tree.path());
        let files = ["/gone.conf", "/mask.conf", "/pipe.conf", "/pipe.conf"].map(str::to_owned);
        assert_eq!(root.assignments(&files, |_, _| true), []);
        assert_eq!(root.missed().as_deref(), Some("/pipe.conf: it is no regular file"));
        assert_eq!(root.again().missed(), None);
    }

    #[test]
    fn what_is_too_much_is_not_kept() {
        let tree = tempfile::tempdir().expect("temporary directory");
        let write = |name: &str, text: &str| fs::write(tree.path().join(name), text).expect("file");
        let stops = format!("[Service]\nKillMode=none\n{}", "ExecStop=a\n".repeat(90_000));
        write("0.conf", &stops);
        let of = |wanted: &str| {
            let root = Root::new(tree.path());
            let found =
                root.assignments(&root.drop_ins(&[String::new()]), |_, name| name == wanted);
            (found.len(), root.missed())
        };
        assert_eq!(of("KillMode"), (1, None));
        let (kept, missed) = of("ExecStop");
        assert!((1000..10_000).contains(&kept), "{kept}");
        assert_eq!(missed.as_deref(), Some("/0.conf: too much is set"));
        for number in 1..=MAX_FILES {
            write(&format!("{number}.conf"), "[Service]\nKillMode=mixed\n");
        }
        let (kept, missed) = of("KillMode");
        assert_eq!(kept, MAX_FILES);
        assert_eq!(missed.as_deref(), Some(": there are more than 100 drop-ins"));
    }

    #[test]
    fn two_backslashes_end_a_line() {
        let found = parse("a=1\\\\\nb=2\\\n3\n", "/f");
        let brief: Vec<_> = found.iter().map(|it| (it.value.as_str(), it.line)).collect();
        assert_eq!(brief, [(r"1\\", 1), ("2 3", 2)]);
    }

    proptest::proptest! {
        #[test]
        fn any_span_is_survived(text in "[0-9.a-zµ ]{0,12}|.*") {
            let _ = micros(&text);
        }

        #[test]
        fn any_file_is_survived(text in "(?s).*") {
            let found = parse(&text, "/f");
            let _ = joined(&found, "", "x");
        }
    }
}
