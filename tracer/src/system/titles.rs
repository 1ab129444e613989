//! Processes that come to be called like a target by writing over their arguments, of which the kernel tells nobody:
//! `php-fpm: pool www`.

use std::collections::HashMap;

use super::processes::Processes;
use crate::evidence::ProcessSnapshot;

/// How often a new process is looked at: titles are written soon after a start.
const LOOKS: u8 = 10;

/// Looks for titles among the processes that are new.
#[derive(Debug)]
pub struct Titles {
    names: Vec<String>,
    /// How often each process is still to be looked at.
    left: HashMap<u32, u8>,
}

impl Titles {
    /// For targets of these names.
    pub fn new(names: Vec<String>) -> Self {
        Self { names, left: HashMap::new() }
    }

    /// Whether anything is looked for.
    pub const fn are_wanted(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether a process with this first argument is one of them.
    pub fn has(&self, title: &str) -> bool {
        self.names.iter().any(|name| is_titled(name, title))
    }

    /// Those among the new processes that have such a title by now, each once. At the first look none is new: what runs
    /// when tracing begins has been looked at.
    pub(super) fn look(&mut self, processes: &Processes) -> Vec<ProcessSnapshot> {
        let fresh = if self.left.is_empty() { 0 } else { LOOKS };
        let before = std::mem::take(&mut self.left);
        let mut found = Vec::new();
        for pid in processes.pids() {
            let left = before.get(&pid).copied().unwrap_or(fresh);
            let is_one = left > 0 && processes.cmdline(pid).first().is_some_and(|it| self.has(it));
            let snapshot = is_one.then(|| processes.look(pid).ok()).flatten();
            let left = if snapshot.is_some() { 0 } else { left.saturating_sub(1) };
            self.left.insert(pid, left);
            found.extend(snapshot);
        }
        found
    }
}

/// Whether a title begins with a name and a colon: `tmux` of `tmux: server`.
pub(super) fn is_titled(name: &str, title: &str) -> bool {
    title.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::system::cgroups::Cgroups;

    #[test]
    fn a_new_process_that_takes_a_title_is_found_once() {
        let proc = tempfile::tempdir().expect("a directory");
        let run = |pid: u32, title: &str| {
            let place = proc.path().join(pid.to_string());
            fs::create_dir_all(&place).expect("a process");
            let zeros = vec!["0"; 49].join(" ");
            fs::write(place.join("stat"), format!("{pid} (php-fpm8.2) S {zeros}")).expect("stat");
            fs::write(place.join("status"), "Uid:\t0\t0\t0\t0\n").expect("status");
            fs::write(place.join("cmdline"), title).expect("arguments");
        };
        let processes = Processes::at(proc.path(), Cgroups::detect());
        let mut titles = Titles::new(vec!["php-fpm".to_owned()]);
        let mut look = || -> Vec<u32> {
            titles.look(&processes).into_iter().map(|process| process.pid).collect()
        };
        run(10, "php-fpm: master");
        assert!(look().is_empty(), "it ran before");
        run(11, "php-fpm8.2\0--nodaemonize\0");
        run(12, "php-fpmx: other");
        assert!(look().is_empty());
        run(11, "php-fpm: pool www");
        assert_eq!(look(), [11]);
        assert!(look().is_empty());
        for _ in 0..LOOKS {
            look();
        }
        run(12, "php-fpm: late");
        assert!(look().is_empty(), "it is new no more");
    }
}
