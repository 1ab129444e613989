//! Users: numbers and names, and whether their service manager outlives their sessions.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::Mutex;

use super::context::lock;
use super::settings::limits::Group;
use super::{files, presence};
use crate::evidence::User;

/// Where logind keeps one empty file for each user with lingering (`loginctl enable-linger`).
const LINGER: &str = "/var/lib/systemd/linger";

/// PID 1's tree, in which the machine's files are where those seen here are others.
const MACHINE: &str = "/proc/1/root";

/// Largest user database that is read there.
const MAX_DATABASE: u64 = 16 << 20;

/// How many groups of one user are asked for at most (`NGROUPS_MAX` of Linux).
const MAX_GROUPS: usize = 1 << 16;

/// How many users' groups are remembered.
const MAX_KNOWN: usize = 4096;

/// Largest buffer offered to libc for one entry.
const MAX_BUFFER: usize = 1 << 20;

/// Whether the C library is linked statically though it loads modules for its databases (nsswitch.conf(5)): what it then
/// loads has a second copy of it, and crashes (seen with libnss_systemd). getent(1) asks in its place.
const ASKS_GETENT: bool = cfg!(all(target_env = "gnu", target_feature = "crt-static"));

/// An entry of the user database.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: Option<String>,
}

impl Entry {
    /// A line of passwd(5).
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { name, uid, gid, home: fields.nth(1).map(str::to_owned) })
    }

    /// As evidence has it.
    fn user(self) -> User {
        let linger = linger(&self.name, Path::new(LINGER));
        User { uid: self.uid, home: self.home, name: self.name, linger }
    }
}

/// The user with this number, where the machine knows it.
pub fn by_uid(uid: u32) -> Option<User> {
    by_number(uid).map(Entry::user)
}

/// The machine's user with this number. Where the files here are others than PID 1's, as a container's are, that is who is
/// in PID 1's: a name from a database of this container's would be somebody else's.
pub fn on_machine(uid: u32) -> Option<User> {
    if presence::has_other_files() {
        in_tree(Path::new(MACHINE), |entry| entry.uid == uid)
    } else {
        by_uid(uid)
    }
}

/// What the machine's own user database calls a user. No name service is asked: it may be slow.
pub fn name_in_file(uid: u32) -> Option<String> {
    let tree = if presence::has_other_files() { MACHINE } else { "/" };
    in_tree(Path::new(tree), |entry| entry.uid == uid).map(|user| user.name)
}

/// The machine's user with this name, as [`on_machine`].
pub fn named_on_machine(name: &str) -> Option<User> {
    if presence::has_other_files() {
        in_tree(Path::new(MACHINE), |entry| entry.name == name)
    } else {
        by_name(name)
    }
}

/// The first such user in the database of a tree.
fn in_tree(tree: &Path, is_it: impl Fn(&Entry) -> bool) -> Option<User> {
    let text = files::read(&tree.join("etc/passwd"), MAX_DATABASE).ok()?;
    let text = String::from_utf8_lossy(&text);
    let entry = text.lines().filter_map(Entry::read).find(is_it)?;
    let linger = linger(&entry.name, &tree.join(LINGER.trim_start_matches('/')));
    Some(User { uid: entry.uid, name: entry.name, home: entry.home, linger })
}

/// The users of this machine's own user database; those of a directory service are found when they turn up.
pub fn local() -> Vec<User> {
    let text = std::fs::read("/etc/passwd").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let user = |entry: Entry| User { linger: None, ..entry.user() };
    text.lines().filter_map(Entry::read).map(user).collect()
}

/// The number of a user's own group. What was found is remembered: every thread that becomes the user asks.
pub fn primary_group(uid: u32) -> Option<u32> {
    static KNOWN: Mutex<BTreeMap<u32, u32>> = Mutex::new(BTreeMap::new());
    if let Some(group) = lock(&KNOWN).get(&uid) {
        return Some(*group);
    }
    let group = by_number(uid)?.gid;
    let mut known = lock(&KNOWN);
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    known.insert(uid, group);
    Some(group)
}

/// The user with this name.
pub fn by_name(name: &str) -> Option<User> {
    if ASKS_GETENT {
        // A number would be looked up as one.
        return getent(name).filter(|entry| entry.name == name).map(Entry::user);
    }
    let name = CString::new(name).ok()?;
    let ask = |entry, buffer, size, result| {
        // SAFETY: as in `by_number`; `name` is a NUL-terminated string that outlives the call.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, size, result) }
    };
    lookup(ask).map(Entry::user)
}

/// Numbers of all groups that a user is in, its own among them.
pub fn groups(name: &str, own: u32) -> Vec<u32> {
    if ASKS_GETENT {
        let mut ask = Command::new("id");
        let told = answer(ask.args(["-G", "--", name])).unwrap_or_default();
        let others = told.split_whitespace().filter_map(|group| group.parse().ok());
        let mut groups: Vec<u32> = std::iter::once(own).chain(others).collect();
        groups.sort_unstable();
        groups.dedup();
        return groups;
    }
    let Ok(name) = CString::new(name) else { return vec![own] };
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the name is NUL-terminated, and the list has as many elements as `count` says; both outlive the call.
        let found =
            unsafe { libc::getgrouplist(name.as_ptr(), own, groups.as_mut_ptr(), &raw mut count) };
        let count = usize::try_from(count).unwrap_or_default();
        if found >= 0 {
            groups.truncate(count);
            return groups;
        }
        if groups.len() >= MAX_GROUPS {
            return vec![own];
        }
        groups.resize(count.clamp(groups.len() * 2, MAX_GROUPS), 0);
    }
}

/// Whether the machine's user with this number and name is in a group, where that can be known: the database of this
/// container says nothing of the machine's users.
pub fn is_in(uid: u32, name: &str, group: Group<'_>) -> Option<bool> {
    if presence::has_other_files() {
        return None;
    }
    let own = primary_group(uid)?;
    Some(match group {
        Group::Own(least, most) => (least..=most).contains(&own),
        Group::Number(number) => groups(name, own).contains(&number),
        // A group that nobody knows has nobody in it.
        Group::Named(group) => {
            group_named(group).is_some_and(|number| groups(name, own).contains(&number))
        }
    })
}

/// The number of the group with this name.
fn group_named(name: &str) -> Option<u32> {
    if ASKS_GETENT {
        let told = answer(Command::new("getent").args(["group", "--", name]))?;
        let mut fields = told.lines().next()?.split(':');
        // A number would be looked up as one.
        return fields.next().filter(|found| *found == name).and(fields.nth(1)?.parse().ok());
    }
    let name = CString::new(name).ok()?;
    let mut buffer: Vec<libc::c_char> = vec![0; 1 << 10];
    loop {
        // SAFETY: `group` consists of an integer and raw pointers, for all of which zero is a valid value.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut result: *mut libc::group = ptr::null_mut();
        let (place, size) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the name is NUL-terminated, `place` has `size` bytes, and both, the entry and the result are valid for the
        // call.
        let error = unsafe {
            libc::getgrnam_r(name.as_ptr(), &raw mut entry, place, size, &raw mut result)
        };
        if error == libc::ERANGE && size < MAX_BUFFER {
            buffer.resize(size * 4, 0);
            continue;
        }
        return (error == 0 && !result.is_null()).then_some(entry.gr_gid);
    }
}

fn by_number(uid: u32) -> Option<Entry> {
    if ASKS_GETENT {
        return getent(&uid.to_string()).filter(|entry| entry.uid == uid);
    }
    let ask = |entry, buffer, size, result| {
        // SAFETY: `lookup` passes an entry, a buffer of `size` bytes and a result, all valid for writes for the call.
        unsafe { libc::getpwuid_r(uid, entry, buffer, size, result) }
    };
    lookup(ask)
}

/// What getent(1) finds for a name or a number.
fn getent(key: &str) -> Option<Entry> {
    Entry::read(answer(Command::new("getent").args(["passwd", "--", key]))?.lines().next()?)
}

/// What a program writes, where it ends well.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

type Place = *mut libc::passwd;

fn lookup(ask: impl Fn(Place, *mut libc::c_char, usize, *mut Place) -> i32) -> Option<Entry> {
    let mut buffer: Vec<libc::c_char> = vec![0; 1 << 10];
    loop {
        // SAFETY: `passwd` consists of integers and raw pointers, for all of which zero is a valid value.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut result: Place = ptr::null_mut();
        let error = ask(&raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut result);
        if error == libc::ERANGE && buffer.len() < MAX_BUFFER {
            buffer.resize(buffer.len() * 4, 0);
            continue;
        }
        if error != 0 || result.is_null() {
            return None;
        }
        let (name, home) = (text(entry.pw_name)?, text(entry.pw_dir));
        return Some(Entry { name, uid: entry.pw_uid, gid: entry.pw_gid, home });
    }
}

/// Copies a string of the entry that libc just filled in.
fn text(pointer: *const libc::c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: libc points non-null fields at NUL-terminated strings in the buffer, which is still alive and unchanged.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// Whether the user lingers; `None` on a machine without systemd's state directory.
fn linger(name: &str, directory: &Path) -> Option<bool> {
    let safe = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let state = directory.parent()?;
    (safe && state.is_dir()).then(|| directory.join(name).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_number_and_by_name() {
        let root = by_uid(0).expect("every machine has root");
        assert_eq!(root.name, "root");
        assert_eq!(by_name("root").map(|user| user.uid), Some(0));
        assert_eq!(by_name("no such user"), None);
        assert_eq!(by_name("nul\0inside"), None);
    }

    /// What a statically linked program asks.
    #[test]
    fn getent_and_libc_say_the_same() {
        assert_eq!(getent("0"), by_number(0));
        assert_eq!(getent("root"), by_number(0));
        assert_eq!(getent("no such user"), None);
        let own = primary_group(0).expect("root has a group");
        assert!(groups("root", own).contains(&own));
        assert_eq!(groups("no such user", 7), [7]);
        assert_eq!((group_named("root"), group_named("no such group")), (Some(0), None));
        assert_eq!(is_in(0, "root", Group::Named("root")), Some(true));
        assert_eq!(is_in(0, "root", Group::Named("no such group")), Some(false));
        assert_eq!(is_in(0, "root", Group::Own(1, 9)), Some(false));
        let line = "alice:x:1000:1001:Alice,,,:/home/alice:/bin/sh";
        let home = Some("/home/alice".to_owned());
        let alice = Entry { name: "alice".to_owned(), uid: 1000, gid: 1001, home };
        assert_eq!(Entry::read(line), Some(alice));
        assert_eq!(Entry::read("+::::::"), None);
    }

    #[test]
    fn users_of_another_tree_are_read_in_its_files() {
        let tree = tempfile::tempdir().expect("temporary directory");
        let alice = || in_tree(tree.path(), |entry| entry.uid == 1000);
        assert_eq!(alice(), None);
        std::fs::create_dir_all(tree.path().join("etc")).expect("directory");
        std::fs::create_dir_all(tree.path().join("var/lib/systemd/linger")).expect("directory");
        let lines = "root:x:0:0::/root:/bin/sh\nnonsense\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        std::fs::write(tree.path().join("etc/passwd"), lines).expect("file");
        let found = alice().expect("she is there");
        assert_eq!((found.name.as_str(), found.linger), ("alice", Some(false)));
        assert_eq!(in_tree(tree.path(), |entry| entry.name == "bob"), None);
        // In the tree of the machine itself both ways say the same.
        assert_eq!(on_machine(0).map(|user| user.name).as_deref(), Some("root"));
        assert_eq!(named_on_machine("no such user"), None);
        assert_eq!(name_in_file(0).as_deref(), Some("root"));
        assert_eq!(name_in_file(4_000_000_001), None);
    }

    #[test]
    fn lingering_is_a_file_of_the_users_name() {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("systemd/linger");
        assert_eq!(linger("alice", &directory), None, "no systemd");
        std::fs::create_dir_all(&directory).expect("directory");
        assert_eq!(linger("alice", &directory), Some(false));
        std::fs::write(directory.join("alice"), "").expect("file");
        assert_eq!(linger("alice", &directory), Some(true));
        assert_eq!(linger("../linger", &directory), None);
    }
}
