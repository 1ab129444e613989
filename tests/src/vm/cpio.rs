//! The format of an initramfs: an archive of the "newc" kind, as the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst describes it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result};

/// An archive under construction.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    made: BTreeSet<String>,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

impl Archive {
    /// An archive with a root directory as a system has it. Left to itself the kernel makes the root a tmpfs, which
    /// anybody may write to, and sshd refuses keys below such a directory.
    pub fn new() -> Self {
        let mut archive = Self { bytes: Vec::new(), made: BTreeSet::new() };
        archive.directory(".");
        archive
    }

    /// Adds a directory, and those above it.
    pub fn directory(&mut self, path: &str) {
        if path.is_empty() || self.made.contains(path) {
            return;
        }
        self.parents(path);
        self.entry(path, DIRECTORY, (0, 0), b"");
    }

    /// Adds a file, with the directories above it; a path that is there already keeps what it has.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        if !self.made.contains(path) {
            self.parents(path);
            self.entry(path, FILE | permissions & 0o7777, (0, 0), content);
        }
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        if !self.made.contains(path) {
            self.parents(path);
            self.entry(path, LINK, (0, 0), to.as_bytes());
        }
    }

    /// Adds what is below a directory, with owners and permissions; devices and sockets are left out, and what
    /// is there already or below one of these paths.
    ///
    /// # Errors
    /// Where something cannot be read.
    pub fn tree(&mut self, root: &Path, without: &[&str]) -> Result<()> {
        self.below(root, "", without)
    }

    fn below(&mut self, root: &Path, path: &str, without: &[&str]) -> Result<()> {
        let directory = root.join(path);
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("in {}", directory.display()))?;
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("{} is no UTF-8", name.display()))?;
            let inner = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let data = entry.metadata().with_context(|| format!("cannot look at {inner}"))?;
            let owner = (data.uid(), data.gid());
            let kind = data.file_type();
            if without.contains(&inner.as_str()) || (!kind.is_dir() && self.made.contains(&inner)) {
                continue;
            }
            if kind.is_dir() {
                if !self.made.contains(&inner) {
                    self.entry(&inner, data.mode(), owner, b"");
                }
                self.below(root, &inner, without)?;
            } else if kind.is_symlink() {
                let to =
                    fs::read_link(entry.path()).with_context(|| format!("the link {inner}"))?;
                self.entry(&inner, LINK, owner, to.as_os_str().as_bytes());
            } else if kind.is_file() {
                let content =
                    fs::read(entry.path()).with_context(|| format!("the file {inner}"))?;
                self.entry(&inner, data.mode(), owner, &content);
            }
        }
        Ok(())
    }

    /// The archive's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), b"");
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, (uid, gid): (u32, u32), content: &[u8]) {
        let number = self.made.len() + 1;
        self.made.insert(path.to_owned());
        // The magic number, then: inode, mode, uid, gid, links, mtime, size, device (2), special
        // device (2), length of the name with its zero, checksum.
        let length = path.len() + 1;
        let header = format!(
            "070701{number:08x}{mode:08x}{uid:08x}{gid:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{length:08x}{:08x}",
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            0
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Names and contents end on a multiple of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_parents_before_children_and_ends_with_its_trailer() {
        let mut archive = Archive::new();
        archive.file("usr/bin/x", 0o755, b"abcde");
        archive.file("usr/bin/x", 0o755, b"later");
        archive.link("bin", "usr/bin");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        // The root, and its mode, 2nd of the fields of eight digits behind the magic number of six.
        assert_eq!((&text[14..22], &text[110..112]), ("000041ed", ".\0"));
        let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(place("usr\0") < place("usr/bin\0") && place("usr/bin\0") < place("usr/bin/x\0"));
        assert!(place("bin\0") < place("TRAILER!!!\0"));
        assert!(!text.contains("later"));
        // Size, 7th of the fields of eight digits behind the magic number of six.
        let header = place("usr/bin/x\0") - 110;
        assert_eq!(&text[header..header + 6], "070701");
        assert_eq!(&text[header + 6 + 6 * 8..header + 6 + 7 * 8], "00000005");
        assert_eq!(&text[header + 6 + 8..header + 6 + 16], "000081ed");
    }
}
