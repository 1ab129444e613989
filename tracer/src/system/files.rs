//! Reading files that others may have put there.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The content of a regular file of at most so many bytes. Neither a pipe nor somebody's lease on the file can hold
/// this up; a file system can, if a user provides it: see [`super::as_user`].
///
/// # Errors
/// Where the file cannot be read, is no regular file or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= most) {
        Ok(bytes)
    } else {
        let why = format!("it is larger than {} KiB", most >> 10);
        Err(io::Error::new(ErrorKind::FileTooLarge, why))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// Makes a pipe that nobody writes to.
    pub(in crate::system) fn make_fifo(path: &Path) {
        let name = CString::new(path.as_os_str().as_bytes()).expect("a path");
        // SAFETY: `name` is a NUL-terminated string that outlives the call.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        assert_eq!(made, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn only_regular_files_that_are_not_too_large_are_read() {
        let tree = tempfile::tempdir().expect("temporary directory");
        let kind = |name: &str| read(&tree.path().join(name), 4).map_err(|error| error.kind());
        make_fifo(&tree.path().join("pipe"));
        std::fs::write(tree.path().join("fits"), "four").expect("file");
        std::fs::write(tree.path().join("large"), "fives").expect("file");
        assert_eq!(kind("fits").as_deref(), Ok(&b"four"[..]));
        assert_eq!(kind("large"), Err(ErrorKind::FileTooLarge));
        assert_eq!(kind("pipe"), Err(ErrorKind::InvalidInput));
        assert_eq!(kind("."), Err(ErrorKind::InvalidInput));
        assert_eq!(kind("gone"), Err(ErrorKind::NotFound));
        assert_eq!(
            read(Path::new("/dev/zero"), 4).map_err(|error| error.kind()),
            Err(ErrorKind::InvalidInput)
        );
    }
}
