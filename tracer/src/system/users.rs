//! Users: numbers and names, and whether their service manager outlives their sessions.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr;

use crate::evidence::User;

/// Where logind keeps one empty file for each user with lingering (`loginctl enable-linger`).
const LINGER: &str = "/var/lib/systemd/linger";

/// Largest buffer offered to libc for one entry.
const MAX_BUFFER: usize = 1 << 20;

/// The user with this number, where the machine knows it.
pub fn by_uid(uid: u32) -> Option<User> {
    by_number(uid, user)
}

/// The users of this machine's own user database; those of a directory service are found when they turn up.
pub fn local() -> Vec<User> {
    let text = std::fs::read("/etc/passwd").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let home = fields.nth(2).map(str::to_owned);
        Some(User { uid, name, home, linger: None })
    };
    text.lines().filter_map(entry).collect()
}

/// The number of a user's own group.
pub fn primary_group(uid: u32) -> Option<u32> {
    by_number(uid, |entry| Some(entry.pw_gid))
}

fn by_number<T>(uid: u32, take: impl Fn(&libc::passwd) -> Option<T>) -> Option<T> {
    let ask = |entry, buffer, size, result| {
        // SAFETY: `lookup` passes an entry, a buffer of `size` bytes and a result, all valid for writes for the call.
        unsafe { libc::getpwuid_r(uid, entry, buffer, size, result) }
    };
    lookup(ask, take)
}

/// The user with this name.
pub fn by_name(name: &str) -> Option<User> {
    let name = CString::new(name).ok()?;
    let ask = |entry, buffer, size, result| {
        // SAFETY: as in `by_number`; `name` is a NUL-terminated string that outlives the call.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, size, result) }
    };
    lookup(ask, user)
}

/// What evidence says of an entry, whose strings are those that libc just filled in.
fn user(entry: &libc::passwd) -> Option<User> {
    let name = text(entry.pw_name)?;
    let linger = linger(&name, Path::new(LINGER));
    Some(User { uid: entry.pw_uid, home: text(entry.pw_dir), name, linger })
}

type Entry = *mut libc::passwd;

fn lookup<T>(
    ask: impl Fn(Entry, *mut libc::c_char, usize, *mut Entry) -> i32,
    take: impl Fn(&libc::passwd) -> Option<T>,
) -> Option<T> {
    let mut buffer: Vec<libc::c_char> = vec![0; 1 << 10];
    loop {
        // SAFETY: `passwd` consists of integers and raw pointers, for all of which zero is a valid value.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut result: Entry = ptr::null_mut();
        let error = ask(&raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut result);
        if error == libc::ERANGE && buffer.len() < MAX_BUFFER {
            buffer.resize(buffer.len() * 4, 0);
            continue;
        }
        if error != 0 || result.is_null() {
            return None;
        }
        return take(&entry);
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
