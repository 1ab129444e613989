//! How long sudo(8) lets a command run: every line of sudoers(5) that says so, and for whom.

use std::path::Path;

use super::{MAX_FILE, MAX_FILES, Root, is_plain};
use crate::evidence::Setting;
use crate::system::files;

const MAIN: &str = "/etc/sudoers";
const DIRECTORY: &str = "/etc";

/// How deep files may include others, as in `toke.l` of sudo.
const MAX_DEPTH: usize = 128;

/// How many lines are told.
const MAX_LINES: usize = 100;

/// How much is kept of what a line says, letters.
const MAX_TEXT: usize = 256;

/// What has been read so far.
#[derive(Default)]
struct Found {
    settings: Vec<Setting>,
    files: usize,
}

impl Root {
    /// The time limits that sudoers(5) sets, in the order in which sudo reads them, where it can be read. Scope `sudoers`; of
    /// those that are for some alone with whom: `sudoers :alice`, `sudoers @host`, `sudoers >root`, `sudoers !/bin/x`. Name
    /// `command_timeout`, or `TIMEOUT` in the rule for a command.
    pub fn sudo_timeouts(&self) -> Vec<Setting> {
        let mut found = Found::default();
        self.sudoers(MAIN, 0, &mut found);
        if found.settings.len() > MAX_LINES || found.files > MAX_FILES {
            self.miss(format!("{MAIN}: too much is set"));
            // Which of them counts, the rest may decide.
            return Vec::new();
        }
        found.settings
    }

    fn sudoers(&self, file: &str, depth: usize, found: &mut Found) {
        found.files += 1;
        if depth > MAX_DEPTH || found.files > MAX_FILES {
            return;
        }
        // That it is for root alone is no gap.
        let Ok(text) = files::read(&self.real(file), MAX_FILE) else { return };
        let text = String::from_utf8_lossy(&text);
        for (line, number) in whole_lines(&text) {
            if let Some((is_directory, path)) = included(&line) {
                let path = Path::new(DIRECTORY).join(path);
                let Some(path) = path.to_str().filter(|it| is_plain(Path::new(it))) else {
                    continue;
                };
                let names = if is_directory { self.list(path) } else { Vec::new() };
                let read = names.iter().filter(|name| !name.contains('.') && !name.ends_with('~'));
                for name in read {
                    self.sudoers(&format!("{path}/{name}"), depth + 1, found);
                }
                if !is_directory {
                    self.sudoers(path, depth + 1, found);
                }
                continue;
            }
            let set = timeouts(&line).into_iter().map(|(whom, name, value)| Setting {
                manager: None,
                scope: format!("{}{whom}", Setting::SUDOERS),
                name: name.to_owned(),
                value,
                file: Some(file.to_owned()),
                line: Some(number),
                unread: None,
            });
            let room = (MAX_LINES + 1).saturating_sub(found.settings.len());
            found.settings.extend(set.take(room));
        }
    }
}

/// Lines with those that continue them, without comments, and their numbers.
fn whole_lines(text: &str) -> impl Iterator<Item = (String, u32)> {
    let mut lines = text.lines().zip(1..);
    std::iter::from_fn(move || {
        let (first, number) = lines.next()?;
        let mut whole = first.to_owned();
        while let Some(begun) = whole.strip_suffix('\\') {
            let next = lines.next().map_or("", |(next, _)| next);
            whole = format!("{begun} {next}");
        }
        Some((without_comment(&whole).to_owned(), number))
    })
}

/// A comment begins with `#`, unless that is a user's or group's number, or an old way to include a file.
fn without_comment(line: &str) -> &str {
    if line.starts_with("#include") {
        return line;
    }
    let is_comment =
        |at: &usize| !line[at + 1..].starts_with(|letter: char| letter.is_ascii_digit());
    let comment = line.match_indices('#').map(|(at, _)| at).find(is_comment);
    &line[..comment.unwrap_or(line.len())]
}

/// The file that a line includes, or the directory.
fn included(line: &str) -> Option<(bool, &str)> {
    let line = line.trim_start().strip_prefix(['#', '@'])?;
    let (word, path) = line.split_once([' ', '\t'])?;
    let path = path.trim().trim_matches('"');
    match word {
        "include" => Some((false, path)),
        "includedir" => Some((true, path)),
        _ => None,
    }
}

/// The time limits of a line: for whom, as the scope ends, the name and the value.
fn timeouts(line: &str) -> Vec<(String, &'static str, String)> {
    let short = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
    let line = line.trim();
    let Some(rest) = line.strip_prefix("Defaults") else {
        return rules(line).map(|value| (String::new(), "TIMEOUT", short(value))).collect();
    };
    let (whom, settings) = match rest.chars().next() {
        Some(sign @ (':' | '@' | '>' | '!')) => {
            let (whom, settings) = list(rest[1..].trim_start());
            (format!(" {sign}{}", short(&whom)), settings)
        }
        Some(' ' | '\t') => (String::new(), rest),
        _ => return Vec::new(),
    };
    let mut values = settings.split(',').filter_map(|setting| {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "0"));
        // Without a value it can only be switched off.
        let name = name.trim().trim_start_matches('!').trim();
        (name == "command_timeout").then(|| value.trim().trim_matches('"'))
    });
    values.next_back().map(|value| (whom, "command_timeout", short(value))).into_iter().collect()
}

/// Names with commas between them, without blanks, and what follows.
fn list(text: &str) -> (String, &str) {
    let (mut names, mut rest) = (String::new(), text);
    loop {
        let end = rest.find([' ', '\t', ',']).unwrap_or(rest.len());
        names.push_str(&rest[..end]);
        rest = rest[end..].trim_start();
        let Some(more) = rest.strip_prefix(',') else { return (names, rest) };
        names.push(',');
        rest = more.trim_start();
    }
}

/// The values of `TIMEOUT=` in a rule: `alice ALL = TIMEOUT=2m /usr/bin/make`
fn rules(line: &str) -> impl Iterator<Item = &str> {
    const NAME: &str = "TIMEOUT=";
    line.match_indices(NAME).filter_map(move |(at, _)| {
        let is_word = line[..at].ends_with([' ', '\t', '=', ')', ',', ':']);
        let value = line[at + NAME.len()..].split([' ', '\t', ',']).next()?;
        is_word.then_some(value).filter(|value| !value.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;
    use super::*;

    /// What is told, as `SCOPE NAME=VALUE FILE:LINE`.
    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let (_tree, root) = root(files);
        let told = root.sudo_timeouts().into_iter();
        told.map(|it| {
            let (file, line) = (it.file.expect("a file"), it.line.expect("a line"));
            format!("{} {}={} {file}:{line}", it.scope, it.name, it.value)
        })
        .collect()
    }

    #[test]
    fn the_time_limits_of_sudo_and_where_they_stand() {
        assert!(told(&[]).is_empty());
        let files = [
            (
                "etc/sudoers",
                "Defaults env_reset\nDefaults\tuse_pty, command_timeout = 90 # s\n#includedir /etc/sudoers.d\n\
                 @include local\nDefaults !command_timeout\n",
            ),
            ("etc/sudoers.d/zz", "#Defaults command_timeout=1\nDefaults \\\n command_timeout=2\n"),
            ("etc/sudoers.d/zz.old", "Defaults command_timeout=3\n"),
            ("etc/sudoers.d/zzz", "Defaults:alice, #1001 , %staff command_timeout=4\n"),
            (
                "etc/local",
                "Defaults!/bin/x,/bin/y use_pty, command_timeout=1h\nDefaults>root command_timeout=5\n\
                 Defaults@kt lecture\nalice ALL=(root) NOPASSWD: TIMEOUT=2m /bin/x, TIMEOUT=3m /bin/y\n",
            ),
            ("etc/other", "Defaults command_timeout=6\n"),
        ];
        assert_eq!(
            told(&files),
            [
                "sudoers command_timeout=90 /etc/sudoers:2",
                "sudoers command_timeout=2 /etc/sudoers.d/zz:2",
                "sudoers :alice,#1001,%staff command_timeout=4 /etc/sudoers.d/zzz:1",
                "sudoers !/bin/x,/bin/y command_timeout=1h /etc/local:1",
                "sudoers >root command_timeout=5 /etc/local:2",
                "sudoers TIMEOUT=2m /etc/local:4",
                "sudoers TIMEOUT=3m /etc/local:4",
                "sudoers command_timeout=0 /etc/sudoers:5",
            ]
        );
    }

    #[test]
    fn of_too_many_none_is_told() {
        let many = "Defaults:a command_timeout=1\n".repeat(MAX_LINES + 5);
        let (_tree, root) = root(&[("etc/sudoers", &many)]);
        assert_eq!(root.sudo_timeouts(), []);
        assert_eq!(root.missed().as_deref(), Some("/etc/sudoers: too much is set"));
        let endless = [("etc/sudoers", "@include sudoers\n")];
        assert!(told(&endless).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in "(Defaults[:@!> ])?.*") {
            let _ = timeouts(without_comment(&line));
            let _ = included(&line);
        }
    }
}
