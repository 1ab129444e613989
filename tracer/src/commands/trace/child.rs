//! `killtrace -- CMD`: the command, held at the gate until every hook is attached.

use std::ffi::{CString, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context as _, bail};

use crate::commands::limits::{ENOUGH_THREADS, Inherited};

/// As whom the command runs.
#[derive(Clone, Debug)]
pub struct RunAs {
    /// Real and effective user id.
    pub uid: libc::uid_t,
    /// Real and effective group id.
    pub gid: libc::gid_t,
    /// All groups that it is in.
    pub groups: Vec<libc::gid_t>,
    /// Home directory, for `HOME`.
    pub home: Option<OsString>,
}

/// A command that has been forked but waits before its exec.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    gate: Option<std::fs::File>,
    complaint: std::fs::File,
}

/// Why a command did not begin.
#[derive(Debug)]
pub enum Refused {
    /// The system does not let it be run as that user.
    User(io::Error),
    /// It could not be executed.
    Program(io::Error),
}

impl Refused {
    /// Which it is, and the error's number: as it goes through the pipe.
    fn to_bytes(&self) -> [u8; 5] {
        let (which, error) = match self {
            Self::User(error) => (1, error),
            Self::Program(error) => (0, error),
        };
        let [a, b, c, d] = error.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes();
        [which, a, b, c, d]
    }

    fn from_bytes([which, a, b, c, d]: [u8; 5]) -> Self {
        let error = io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]));
        if which == 1 { Self::User(error) } else { Self::Program(error) }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended(libc::c_int);

impl Ended {
    /// Its exit status as a shell gives it: its own, or 128+N.
    pub fn exit_code(self) -> u8 {
        let status = self.0;
        let code = if libc::WIFSIGNALED(status) {
            128 + libc::WTERMSIG(status)
        } else {
            libc::WEXITSTATUS(status)
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl Child {
    /// Forks the command. Has to be called while the process has one thread only.
    ///
    /// # Errors
    /// Where a word holds a zero byte, or the system refuses a pipe or a process.
    pub fn hold(
        command: Vec<OsString>,
        run_as: Option<&RunAs>,
        inherited: &Inherited,
    ) -> anyhow::Result<Self> {
        let words: Vec<CString> = command
            .into_iter()
            .map(|word| CString::new(word.into_vec()))
            .collect::<Result<_, _>>()
            .context(
                "an argument of the command holds a zero byte, which no program can be given",
            )?;
        let mut argv: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
        argv.push(std::ptr::null());
        if argv.len() < 2 {
            bail!("no command was given after --");
        }
        let home = run_as.and_then(|user| user.home.clone()).map(|home| {
            let mut assignment = b"HOME=".to_vec();
            assignment.extend(home.into_vec());
            CString::new(assignment)
        });
        let home = home.transpose().context("the home directory's name holds a zero byte")?;
        let (gate_out, gate_in) = pipe()?;
        let (complaint_out, complaint_in) = pipe()?;
        // SAFETY: the process has one thread (see above), so the child may run any code.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error())
                .with_context(|| format!("the system refused another process; {ENOUGH_THREADS}")),
            0 => {
                drop((gate_in, complaint_out));
                let refused = wait_and_exec(&gate_out, run_as, home.as_deref(), &argv, inherited);
                let _ = std::fs::File::from(complaint_in).write_all(&refused.to_bytes());
                // SAFETY: ends the child at once, without running the parent's exit handlers.
                unsafe { libc::_exit(127) }
            }
            pid => Ok(Self {
                pid: pid.cast_unsigned(),
                gate: Some(gate_in.into()),
                complaint: complaint_out.into(),
            }),
        }
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Opens the gate: the command is executed.
    ///
    /// # Errors
    /// Where it could not be executed; says why.
    pub fn release(&mut self) -> Result<(), Refused> {
        if let Some(mut gate) = self.gate.take() {
            gate.write_all(b"!").map_err(Refused::Program)?;
        }
        let mut bytes = [0; 5];
        // The pipe closes without a word when the exec succeeds.
        match self.complaint.read_exact(&mut bytes) {
            Ok(()) => Err(Refused::from_bytes(bytes)),
            Err(_) => Ok(()),
        }
    }

    /// How it ended, where it has.
    ///
    /// # Errors
    /// Where it is not a child any more.
    pub fn ended(&self) -> io::Result<Option<Ended>> {
        let mut status = 0;
        // SAFETY: the pid is that of a child of ours, and status is written only during the call.
        match unsafe { libc::waitpid(self.pid.cast_signed(), &raw mut status, libc::WNOHANG) } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(None),
            _ => Ok(Some(Ended(status))),
        }
    }
}

fn pipe() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error()).context("the system refused a pipe");
    }
    // SAFETY: the descriptor is new and nobody else's.
    let out = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let into = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((out, into))
}

/// In the child: waits for the word, changes the user, executes. Returns only what went wrong.
fn wait_and_exec(
    gate: &OwnedFd,
    run_as: Option<&RunAs>,
    home: Option<&std::ffi::CStr>,
    argv: &[*const libc::c_char],
    inherited: &Inherited,
) -> Refused {
    let mut word = 0_u8;
    // SAFETY: reads one byte into a byte of ours.
    let read = unsafe { libc::read(gate.as_raw_fd(), (&raw mut word).cast(), 1) };
    if read != 1 {
        // The tracer gave up: there is nothing to run.
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(127) }
    }
    if let Some(user) = run_as
        && let Err(error) = become_user(user)
    {
        return Refused::User(error);
    }
    if let Some(home) = home {
        // SAFETY: the string lives until the exec that follows.
        unsafe { libc::putenv(home.as_ptr().cast_mut()) };
    }
    // Rust ignores SIGPIPE; the command is to find it as every program expects it.
    // SAFETY: sets a disposition that has no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    inherited.restore();
    // SAFETY: argv ends with a null pointer, and its strings live as long as the parent's copies.
    unsafe { libc::execvp(argv[0], argv.as_ptr()) };
    Refused::Program(io::Error::last_os_error())
}

fn become_user(user: &RunAs) -> io::Result<()> {
    // SAFETY: the groups live as long as the call, and are as many as it is told.
    let groups = unsafe { libc::setgroups(user.groups.len(), user.groups.as_ptr()) };
    // SAFETY: changes the credentials of this process only.
    let group = unsafe { libc::setgid(user.gid) };
    // SAFETY: as above.
    let done = unsafe { libc::setuid(user.uid) };
    if groups != 0 || group != 0 || done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_through_the_pipe() {
        let error = || io::Error::from_raw_os_error(libc::EPERM);
        let through = |refused: Refused| Refused::from_bytes(refused.to_bytes());
        assert!(
            matches!(through(Refused::User(error())), Refused::User(it) if it.raw_os_error() == Some(libc::EPERM))
        );
        assert!(matches!(through(Refused::Program(error())), Refused::Program(_)));
    }
}
