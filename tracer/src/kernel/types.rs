//! Where the kernel's type information comes from: the kernel itself, or a file that was made for it.
//!
//! A file holds BTF alone (`pahole --btf_encode_detached`, BTFHub), or is an ELF file with a section of it
//! (`vmlinux`, which may have a gigabyte of other things: only the section is read).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use object::{File as ObjectFile, Object as _, ObjectSection as _, ReadCache};

use super::{AttachError, btf::BtfError, contents::Contents};
use crate::lent;

/// Where the running kernel keeps it.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// The section of an ELF file.
const SECTION: &str = ".BTF";
/// Largest that is read: what kernels have is some MiB.
const MAX_BYTES: u64 = 256 << 20;

/// How files begin that have to be unpacked first: gzip, xz, zstd, bzip2, zip.
const PACKED: [&[u8]; 5] = [b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"BZh", b"PK\x03\x04"];

/// Reads the type information, of that file or of the running kernel. Returns from where as well.
///
/// # Errors
/// Where there is none; says where to get it.
pub fn read(file: Option<&Path>) -> Result<(PathBuf, Contents), AttachError> {
    let Some(path) = file else {
        let path = PathBuf::from(KERNEL_BTF);
        return match Contents::of_kernel(&path) {
            Ok(contents) => Ok((path, contents)),
            // Before 6.16 they are copied, as they are where a mapping finds no room.
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(AttachError::System {
                what: "read the kernel's types under this limit of memory (`ulimit -v`)",
                error,
            }),
            Err(error) => {
                Err(AttachError::NoBtf { path, error, kernel: super::settings::kernel_release() })
            }
        };
    };
    match lent::without(|| of_file(path)) {
        Ok(Ok(contents)) => Ok((path.to_owned(), contents)),
        Ok(Err(error)) => Err(AttachError::BadBtf { path: path.to_owned(), error }),
        Err(error) => Err(AttachError::NoBtfFile { path: path.to_owned(), error }),
    }
}

fn of_file(path: &Path) -> io::Result<Result<Contents, BtfError>> {
    // Nobody may ever write to a pipe.
    let mut options = OpenOptions::new();
    let mut file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start)?;
    if PACKED.iter().any(|magic| start.starts_with(magic)) {
        return Ok(Err(BtfError::Packed));
    }
    file.rewind()?;
    if start.starts_with(b"\x7fELF") {
        return Ok(section(file));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Ok(Contents::Copied(bytes)))
}

/// The section of an ELF file, without the rest of it.
fn section(file: File) -> Result<Contents, BtfError> {
    let cache = ReadCache::new(file);
    let elf = ObjectFile::parse(&cache).map_err(|_| BtfError::Truncated)?;
    let section = elf.section_by_name(SECTION).ok_or(BtfError::NoSection)?;
    if section.size() > MAX_BYTES {
        return Err(BtfError::Truncated);
    }
    let bytes = section.data().map_err(|_| BtfError::Truncated)?;
    Ok(Contents::Copied(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with one section of that name.
    fn elf(name: &str, content: &[u8]) -> Vec<u8> {
        use object::{Architecture, BinaryFormat, Endianness, SectionKind, write::Object};
        let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let kind = SectionKind::ReadOnlyData;
        let section = elf.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        elf.append_section_data(section, content, 1);
        elf.write().expect("an ELF file")
    }

    fn read_bytes(bytes: &[u8]) -> Result<Vec<u8>, BtfError> {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).expect("written");
        of_file(&path).expect("readable").map(|contents| contents.to_vec())
    }

    #[test]
    fn the_section_of_an_elf_file_is_found() {
        assert_eq!(read_bytes(&elf(".BTF", b"the types")).as_deref(), Ok(&b"the types"[..]));
        assert_eq!(read_bytes(&elf(".text", b"x")), Err(BtfError::NoSection));
        let whole = elf(".BTF", b"the types");
        for len in 4..whole.len() {
            assert!(read_bytes(&whole[..len]).is_err(), "cut off at {len}");
        }
    }

    #[test]
    fn a_file_of_types_alone_is_read_and_a_packed_one_is_told() {
        assert_eq!(read_bytes(b"\x9f\xeb\x01\x00").as_deref(), Ok(&b"\x9f\xeb\x01\x00"[..]));
        assert_eq!(read_bytes(b"").as_deref(), Ok(&b""[..]));
        assert_eq!(read_bytes(b"\xfd7zXZ\0rest"), Err(BtfError::Packed));
    }

    #[test]
    fn no_file_is_told() {
        let error = read(Some(Path::new("/no/such/file"))).expect_err("no such file").to_string();
        assert!(error.contains("/no/such/file") && error.contains("--btf"), "{error}");
        // A pipe would be waited for.
        let folder = tempfile::tempdir().expect("a temporary directory");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        for path in [&pipe, folder.path(), Path::new("/dev/null")] {
            let error = read(Some(path)).expect_err("refused").to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
    }
}
