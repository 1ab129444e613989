//! Which line of sudoers(5) gave sudo(8) the time limit that was over.

use super::{duration_ns, is_early};
use crate::evidence::{Process, S, Setting, Task, base_name};
use crate::story::case::Case;
use crate::story::people::Known;
use crate::story::verdict::DecidingSetting;

/// How long after its time was up sudo may act, at most.
const LATE: u64 = S;

/// Whether a line is for this run of sudo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    Surely,
    /// It is for a group, a host, an alias or another that is not known here.
    Perhaps,
    No,
}

/// One run of sudo.
pub struct Run<'a> {
    /// With the words that it was started by.
    pub sudo: &'a Process,
    /// The process that it ran.
    pub command: &'a Process,
    /// Uid of who called it, and the name.
    invoker: Option<(u32, Option<String>)>,
}

impl<'a> Run<'a> {
    /// That of this process, which ran that command.
    pub fn of(case: &Case<'_>, task: &Task, sudo: &'a Process, command: &'a Process) -> Self {
        let people = &case.world.people;
        // With a terminal of its own the command has another sudo(8) above it.
        let is_sudo = |known: &Known| known.comm.as_ref() == Some(&task.comm);
        let mut above = people.parents(task.id).into_iter().filter_map(|id| people.get(id));
        let uid = above.find(|known| !is_sudo(known)).and_then(|known| known.uid);
        let invoker = uid.map(|uid| (uid, case.world.user(uid).map(|user| user.name.clone())));
        Self { sudo, command, invoker }
    }

    /// The one line that can have given the limit that was over after so many nanoseconds; `None` where there is none, or
    /// more than one.
    pub fn deciding(&self, case: &Case<'_>, elapsed_ns: u64) -> Option<DecidingSetting> {
        let lines = case.world.lines_of_no_unit();
        let mut lines: Vec<&Setting> = lines.filter(|line| rank(line).is_some()).collect();
        // What is read later counts more, and what is of a later kind always.
        lines.sort_by_key(|line| rank(line));
        let mut found = Vec::new();
        for line in lines.into_iter().rev() {
            let meant = self.meant(line);
            let limit = duration_ns(&line.value);
            let late_ns = |limit: u64| limit.saturating_add(limit / 100 + LATE);
            let can_be = limit.is_some_and(|limit| elapsed_ns <= late_ns(limit))
                && !is_early(limit, elapsed_ns);
            if can_be && meant != Meant::No {
                found.push(line);
            }
            // It counts before all that are left, also where its own time was not over.
            if meant == Meant::Surely {
                break;
            }
        }
        let [only] = found.as_slice() else { return None };
        Some(DecidingSetting::from(*only))
    }

    /// Whether a line is for this run.
    fn meant(&self, line: &Setting) -> Meant {
        if line.name == RULE {
            return Meant::Perhaps;
        }
        let Some((sign, names)) = whom(line) else { return Meant::Surely };
        let each: Vec<Meant> = names.split(',').map(|name| self.meant_by(sign, name)).collect();
        if names.contains('!') {
            Meant::Perhaps
        } else if each.contains(&Meant::Surely) {
            Meant::Surely
        } else if each.iter().all(|meant| *meant == Meant::No) {
            Meant::No
        } else {
            Meant::Perhaps
        }
    }

    fn meant_by(&self, sign: char, name: &str) -> Meant {
        let surely = |is_it: bool| if is_it { Meant::Surely } else { Meant::No };
        let of_alias = |it: char| it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_';
        match sign {
            _ if name == "ALL" => Meant::Surely,
            _ if name.chars().all(of_alias) => Meant::Perhaps,
            ':' => self.is_invoker(name).map_or(Meant::Perhaps, surely),
            '!' if name.starts_with('/') => self.is_command(name),
            _ => Meant::Perhaps,
        }
    }

    fn is_invoker(&self, name: &str) -> Option<bool> {
        let (uid, own) = self.invoker.as_ref()?;
        match name.strip_prefix('#') {
            Some(number) => Some(number.parse() == Ok(*uid)),
            None if name.starts_with(['%', '+', '"']) => None,
            None => Some(own.as_ref()? == name),
        }
    }

    fn is_command(&self, path: &str) -> Meant {
        let is_named = |word: &String| base_name(word) == base_name(path);
        if self.command.exe.as_deref() == Some(path) {
            Meant::Surely
        } else if path.ends_with('/') || path.contains(['*', '?', '[', '\\']) {
            Meant::Perhaps
        } else if self.sudo.cmdline.iter().flatten().any(is_named) {
            // Another of that name may have been run, or this one by its interpreter.
            Meant::Perhaps
        } else {
            Meant::No
        }
    }
}

/// What the time limit in the rule for a command is called.
const RULE: &str = "TIMEOUT";

/// In which order the kinds of lines are applied (`update_defaults` of sudo): those for everybody, hosts and users, those for
/// whom the command is run as, those for commands, and what the rule for the command says. `None` where it is none of sudoers.
fn rank(line: &Setting) -> Option<u8> {
    let is_of_sudo = line.scope.split(' ').next() == Some(Setting::SUDOERS);
    is_of_sudo.then(|| match whom(line) {
        _ if line.name == RULE => 3,
        Some(('!', _)) => 2,
        Some(('>', _)) => 1,
        _ => 0,
    })
}

/// For whom a line is: the sign of sudoers(5), and the names; `None` where it is for everybody.
fn whom(line: &Setting) -> Option<(char, &str)> {
    let (_, whom) = line.scope.split_once(' ')?;
    let sign = whom.chars().next()?;
    Some((sign, &whom[sign.len_utf8()..]))
}
