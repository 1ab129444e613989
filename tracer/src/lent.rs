//! Capabilities that a user was lent with this program (setcap(8)): they are for tracing, not for reading files.

use std::io;

use caps::CapSet;

/// Does something with the rights alone that the user has without this program, in this thread. Root's are root's own.
///
/// # Errors
/// As `what` gives them, and where the lent ones cannot be laid down for it, or taken up again.
pub fn without<T>(what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return what();
    }
    let held = caps::read(None, CapSet::Effective).map_err(io::Error::other)?;
    caps::clear(None, CapSet::Effective).map_err(io::Error::other)?;
    let done = what();
    caps::set(None, CapSet::Effective, &held).map_err(io::Error::other)?;
    done
}
