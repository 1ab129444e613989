//! Opens the files that are written to. Root writes into folders of others, too, who can put something else in the
//! place of the file: links are followed, and files and FIFOs written to, only where they are root's or the caller's.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use crate::lent;

/// How long a FIFO's reader is waited for.
const READER_LIMIT: Duration = Duration::from_secs(5);
/// How many links are followed (`MAXSYMLINKS` in `include/linux/namei.h`).
const MAX_LINKS: usize = 40;

/// A file, open for writing from its beginning.
#[derive(Debug)]
pub struct Destination {
    /// The file.
    pub file: File,
    /// It was not there before.
    pub is_new: bool,
}

impl Destination {
    /// Makes a file with these permissions, or empties the one that is there, whose owner would read what is written.
    /// Devices such as `/dev/null`, what is open already (`/dev/stdout`, `/dev/fd/63`), and FIFOs are written to as
    /// well. What a user may not find without this program is not found with it.
    ///
    /// # Errors
    /// As the kernel gives them, and one that says it in a clause where the path leads over a link, or to a file or a
    /// FIFO, that is neither root's nor the caller's, to a FIFO that nobody reads within five seconds, to what is no file, or
    /// to one that another killtrace writes to.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        lent::without(|| Self::find(path, mode))
    }

    fn find(path: &Path, mode: u32) -> io::Result<Self> {
        let opened = fs::symlink_metadata("/proc/self")?.dev();
        let mut folder = start(path)?;
        let mut left = names(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            let here = place(&folder).join(name);
            if left.is_empty() {
                let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(&here);
                match made {
                    Ok(file) => {
                        hold(&file)?;
                        return Ok(Self { file, is_new: true });
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            // From here on it is this one, whatever is put in its place.
            let found = look(&here, libc::O_NOFOLLOW)?;
            let about = found.metadata()?;
            if !about.is_symlink() {
                folder = found;
                continue;
            }
            trusted("the symbolic link", about.uid())?;
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            if about.dev() == opened {
                // A file of /proc/PID/fd: its name is a description and leads nowhere.
                if left.is_empty() {
                    return write(&here, true);
                }
                folder = look(&here, 0)?;
            } else {
                let target = target(&found)?;
                if target.is_absolute() {
                    folder = start(&target)?;
                }
                left.extend(names(&target));
            }
        }
        write(&place(&folder), false)
    }
}

/// Opens what was found, which is already open itself where `is_own`.
fn write(path: &Path, is_own: bool) -> io::Result<Destination> {
    let about = fs::metadata(path)?;
    let kind = about.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !(kind.is_file() || kind.is_fifo() || kind.is_char_device()) {
        return Err(io::Error::other("it is neither a file nor a FIFO nor a character device"));
    }
    if !kind.is_char_device() && !is_own {
        trusted(if kind.is_fifo() { "the FIFO" } else { "the file" }, about.uid())?;
    }
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let begun = Instant::now();
    let file = loop {
        match options.open(path) {
            Err(error) if kind.is_fifo() && error.raw_os_error() == Some(libc::ENXIO) => {
                if begun.elapsed() > READER_LIMIT {
                    return Err(io::Error::other("nobody reads the FIFO, start its reader first"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            result => break result?,
        }
    };
    if kind.is_file() {
        if !is_own {
            hold(&file)?;
        }
        file.set_len(0)?;
    }
    block(&file)?;
    Ok(Destination { file, is_new: false })
}

/// Keeps another killtrace from writing to the file as long as it is open. Not every file system can do that; whoever may read
/// the file can lock it as well.
fn hold(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::other("it is locked: another killtrace is writing to it, it seems"))
        }
        Err(TryLockError::Error(_)) | Ok(()) => Ok(()),
    }
}

/// Where a path begins.
fn start(path: &Path) -> io::Result<File> {
    look(Path::new(if path.is_absolute() { "/" } else { "." }), 0)
}

/// The names that a path consists of, last first.
fn names(path: &Path) -> Vec<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(named).map(|part| part.as_os_str().to_owned()).collect()
}

/// A path that leads to what is open, whatever it is called by now.
fn place(found: &File) -> PathBuf {
    format!("/proc/self/fd/{}", found.as_raw_fd()).into()
}

/// Takes hold of what is at a path without opening it, which has no effect on anything.
fn look(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | flags).open(path)
}

/// Where a link leads.
fn target(link: &File) -> io::Result<PathBuf> {
    let mut text = vec![0; libc::PATH_MAX.unsigned_abs() as usize];
    // SAFETY: the descriptor is open, the name is an empty C string (it means the descriptor itself), and the kernel
    // writes at most `text.len()` bytes to `text`.
    let length = unsafe {
        libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), text.as_mut_ptr().cast(), text.len())
    };
    text.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(OsString::from_vec(text).into())
}

/// Writing to it waits from now on, as it does to any other file.
fn block(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and this call takes no pointer.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above.
    let set = flags >= 0
        && unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) } == 0;
    if set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether whoever made something may decide where is written: root, and the caller, also of sudo.
fn trusted(what: &str, uid: u32) -> io::Result<()> {
    // SAFETY: it cannot fail and touches no memory.
    let own = unsafe { libc::geteuid() };
    let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    if uid == 0 || uid == own || Some(uid) == caller {
        return Ok(());
    }
    Err(io::Error::other(format!("{what} in its place is another user's (uid {uid})")))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    /// Makes a file another user's. Nobody but root can, and root has to be able to.
    fn given_away(path: &Path) -> bool {
        let given = lchown(path, Some(12345), None);
        // SAFETY: geteuid takes nothing and cannot fail.
        assert_eq!(given.is_ok(), unsafe { libc::geteuid() } == 0, "{given:?}");
        given.is_ok()
    }

    fn create(path: &Path) -> io::Result<Destination> {
        Destination::create(path, 0o600)
    }

    fn refused(path: &Path) -> String {
        create(path).expect_err("refused").to_string()
    }

    fn fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    }

    #[test]
    fn a_file_is_made_or_emptied() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sub/../a");
        assert!(create(&path).is_err(), "sub is not there");
        fs::create_dir(folder.path().join("sub")).expect("a folder");
        let made = create(&path).expect("made");
        assert!(made.is_new);
        assert_eq!(made.file.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        drop(made);
        fs::write(&path, "old").expect("written");
        let mut again = create(&path).expect("emptied");
        assert!(!again.is_new);
        again.file.write_all(b"n").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"n");
        assert!(refused(folder.path()).contains("directory"));
        assert!(refused("/".as_ref()).contains("directory"));
        assert!(create("".as_ref()).is_err());
    }

    #[test]
    fn own_links_are_followed_and_those_of_others_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let [real, link, far, sub] =
            ["real", "link", "far", "sub"].map(|it| folder.path().join(it));
        fs::write(&real, "precious").expect("written");
        symlink("real", &link).expect("a link");
        symlink(folder.path().join("missing"), &far).expect("a link");
        symlink(".", &sub).expect("a link");
        assert!(create(&far).expect("made where it leads").is_new);
        assert!(folder.path().join("missing").exists());
        if [&link, &far, &sub].into_iter().all(|link| given_away(link)) {
            fs::remove_file(folder.path().join("missing")).expect("removed");
            for path in [&link, &far, &sub.join("real"), &sub.join("new")] {
                let why = refused(path);
                assert!(why.contains("symbolic link") && why.contains("uid 12345"), "{why}");
            }
            assert_eq!(fs::read(&real).expect("read"), b"precious");
            assert!(!folder.path().join("missing").exists() && !folder.path().join("new").exists());
            lchown(&link, Some(0), None).expect("given back");
        }
        assert!(!create(&link).expect("followed").is_new);
        assert_eq!(fs::read(&real).expect("read"), b"");
        let round = folder.path().join("round");
        symlink("round", &round).expect("a link");
        assert!(create(&round).is_err());
    }

    #[test]
    fn the_file_of_another_user_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        fs::write(&path, "theirs").expect("written");
        if given_away(&path) {
            let why = refused(&path);
            assert!(why.contains("the file in its place") && why.contains("uid 12345"), "{why}");
            assert_eq!(fs::read(&path).expect("read"), b"theirs");
        }
    }

    #[test]
    fn what_another_writes_to_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let mut first = create(&path).expect("made");
        first.file.write_all(b"first").expect("written");
        let why = refused(&path);
        assert!(why.contains("another killtrace is writing"), "{why}");
        drop(first);
        assert_eq!(fs::read(&path).expect("read"), b"first");
        assert!(create(&path).is_ok());
    }

    #[test]
    fn devices_and_what_is_open_are_written_to() {
        for path in ["/dev/null", "/dev/stdout"] {
            assert!(!create(path.as_ref()).expect(path).is_new);
        }
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let path = format!("/dev/fd/{}", writer.as_raw_fd());
        let mut pipe = create(path.as_ref()).expect("the pipe").file;
        drop(writer);
        pipe.write_all(b"told").expect("written");
        drop(pipe);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "told");
    }

    #[test]
    fn a_fifo_has_a_reader_or_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fifo");
        fifo(&path);
        assert!(refused(&path).contains("nobody reads"));
        let from = path.clone();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            fs::read(from).expect("read").len()
        });
        // More than a pipe holds: writing waits for the reader.
        create(&path).expect("the FIFO").file.write_all(&[0; 1 << 20]).expect("written");
        assert_eq!(reader.join().expect("the reader"), 1 << 20);
        if given_away(&path) {
            assert!(refused(&path).contains("FIFO in its place"));
        }
        let socket = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        assert!(refused(&socket).contains("neither"));
    }
}
