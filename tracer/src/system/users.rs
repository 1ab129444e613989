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
    lookup(|entry, buffer, size, result| {
        // SAFETY: `lookup` passes an entry, a buffer of `size` bytes and a result, all valid for writes for the call.
        unsafe { libc::getpwuid_r(uid, entry, buffer, size, result) }
    })
}

/// The user with this name.
pub fn by_name(name: &str) -> Option<User> {
    let name = CString::new(name).ok()?;
    lookup(|entry, buffer, size, result| {
        // SAFETY: as in `by_uid`; `name` is a NUL-terminated string that outlives the call.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, size, result) }
    })
}

type Entry = *mut libc::passwd;

fn lookup(ask: impl Fn(Entry, *mut libc::c_char, usize, *mut Entry) -> i32) -> Option<User> {
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
        let name = text(entry.pw_name)?;
        let linger = linger(&name, Path::new(LINGER));
        return Some(User { uid: entry.pw_uid, home: text(entry.pw_dir), name, linger });
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
