//! ELF files, as far as tests need them.

use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

/// An ELF file with one section.
///
/// # Panics
/// Where it cannot be put together.
pub fn with_section(name: &str, content: &[u8]) -> Vec<u8> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section = elf.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::ReadOnlyData);
    elf.append_section_data(section, content, 1);
    elf.write().unwrap_or_else(|error| panic!("no ELF file: {error}"))
}
