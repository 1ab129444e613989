//! The bytes of a file; without copying them where that is safe.

use std::{
    fs::{self, File},
    io,
    ops::Deref,
    os::fd::AsRawFd as _,
    path::Path,
};

/// The bytes of a file.
#[derive(Debug)]
pub enum Contents {
    /// Read into memory.
    Copied(Vec<u8>),
    /// The kernel's own memory.
    Mapped(Mapping),
}

/// A mapping, removed when it is dropped.
#[derive(Debug)]
pub struct Mapping {
    start: *const u8,
    len: usize,
}

impl Contents {
    /// Reads a file.
    ///
    /// # Errors
    /// As for reading any file.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        fs::read(path).map(Self::Copied)
    }

    /// Gets at a file of sysfs that never changes, such as the kernel's BTF. It can be mapped since
    /// 6.16; before, it takes a system call for each page.
    ///
    /// # Errors
    /// As for reading any file.
    pub fn of_kernel(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        match Mapping::new(&file, len) {
            Some(mapping) => Ok(Self::Mapped(mapping)),
            None => Self::of_file(path),
        }
    }
}

impl Mapping {
    fn new(file: &File, len: usize) -> Option<Self> {
        if len == 0 {
            return None;
        }
        // SAFETY: asks for a new mapping; nothing of ours is replaced.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        (start != libc::MAP_FAILED).then(|| Self { start: start.cast_const().cast(), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, nothing refers to it any more, and it is unmapped once. A failure would
        // leave a mapping that nobody uses.
        let _ = unsafe { libc::munmap(self.start.cast_mut().cast(), self.len) };
    }
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            // SAFETY: the mapping is `len` bytes long, readable, and lives as long as `self`; only files
            // of the kernel that never change nor shrink are mapped.
            Self::Mapped(mapping) => unsafe {
                std::slice::from_raw_parts(mapping.start, mapping.len)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_is_what_is_read() {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        let read = Contents::of_file(path).expect("a kernel with BTF");
        let kernel = Contents::of_kernel(path).expect("it has just been read");
        assert!(*read == *kernel);
    }

    #[test]
    fn what_cannot_be_mapped_is_read() {
        // Files of procfs have no length, and cannot be mapped.
        let kernel = Contents::of_kernel(Path::new("/proc/version")).expect("readable");
        assert!(kernel.starts_with(b"Linux"));
        assert!(Contents::of_kernel(Path::new("/nonexistent")).is_err());
    }
}
