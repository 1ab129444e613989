//! `/proc`: whatever a process made of its name, its arguments and its environment.

use std::cell::LazyCell;
use std::fs;

use killtrace::evidence::{Fact, Source};
use killtrace::system::entrances;
use tempfile::TempDir;

use super::scene::SESSION;
use super::{files, text};

thread_local! {
    static PROC: LazyCell<TempDir> =
        LazyCell::new(|| tempfile::tempdir().expect("a temporary directory"));
}

/// `stat`, `status`, `cmdline`, `environ` and `cgroup` of the victim, the `stat` of another process, which may be
/// its parent, a `mountinfo` and a `fdinfo`.
pub fn files_of(bytes: &[u8]) {
    let [stat, status, cmdline, environ, cgroup, other, mounts, fdinfo] = files(bytes);
    entrances::terminal_of(&text(fdinfo));
    let victim = SESSION.victim();
    let read = PROC.with(|proc| {
        for (pid, stat) in [(victim, stat), (2, other)] {
            let folder = proc.path().join(pid.to_string());
            if !folder.is_dir() {
                fs::create_dir(&folder).expect("made");
            }
            for (name, bytes) in [
                ("stat", stat),
                ("status", status),
                ("cmdline", cmdline),
                ("environ", environ),
                ("cgroup", cgroup),
            ] {
                fs::write(folder.join(name), bytes).expect("written");
            }
        }
        entrances::processes(proc.path(), &text(mounts), victim)
    });
    let Ok((facts, memory)) = read else { return };
    assert!(memory.is_none_or(|path| text(cgroup).contains(&path)));
    let mut seen = 0;
    for fact in &facts {
        let Fact::Process(process) = fact else { panic!("{fact:?}") };
        seen += 1;
        assert_eq!(process.parents.len(), facts.len() - seen, "{facts:?}");
        assert!(process.cmdline.iter().all(|argument| !argument.contains('\0')), "{process:?}");
        assert!(process.environment.values().all(|value| !value.contains('\0')), "{process:?}");
        let stat = text(if process.pid == victim { stat } else { other });
        assert!(stat.contains(&format!("({})", process.comm)), "{process:?} of {stat:?}");
    }
    SESSION.tell(facts.into_iter().map(|fact| (Source::Proc, fact)));
}
