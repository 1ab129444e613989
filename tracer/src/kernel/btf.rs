//! A single pass over the kernel's BTF that finds only what is asked for.
//!
//! General BTF libraries decode every one of the hundred thousand types; a few dozen are wanted here,
//! and start-up time counts. The input can be any file (`--btf FILE`), so nothing in it is trusted.
//! Format: `include/uapi/linux/btf.h`. A newer kernel's may hold kinds that are not known here; its
//! layout section then tells how to skip them.

use std::collections::{HashMap, HashSet};

const MAGIC: u16 = 0xeb9f;
/// Header length without the layout section, and with it (7.0).
const HEADER: usize = 24;
const HEADER_WITH_LAYOUT: usize = 32;
/// Bytes that every type begins with.
const HEAD: usize = 12;
/// Longest chain of typedefs and modifiers, and deepest nesting of anonymous members, that is followed.
const MAX_DEPTH: usize = 32;
/// Most members that one search looks at: `task_struct` has some hundreds, and a file made to be
/// hostile could have anonymous members contain one another.
const MAX_MEMBERS: usize = 10_000;

/// Kinds of types that matter here (`BTF_KIND_*`).
mod kind {
    pub const POINTER: u32 = 2;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const FUNC: u32 = 12;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC_PROTO: u32 = 13;
    pub const TYPE_TAG: u32 = 18;
}

/// Why BTF cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It does not begin as BTF does.
    #[error(
        "it is no BTF of a little-endian machine; give BTF or a vmlinux made for the running kernel"
    )]
    Magic,
    /// It ends before it should.
    #[error("it is cut off or damaged; get it again")]
    Truncated,
    /// A kind of type that neither this program nor the file itself describes.
    #[error("it contains types of the unknown kind {0}; a newer killtrace may know them")]
    UnknownKind(u32),
    /// An ELF file that holds none.
    #[error(
        "it has no section .BTF; give a vmlinux built with CONFIG_DEBUG_INFO_BTF=y, or BTF alone"
    )]
    NoSection,
    /// It is compressed, or an archive.
    #[error("it is compressed; unpack it first")]
    Packed,
}

/// BTF, with the types of the wanted names at hand.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins in `types`, by id less one: id 0 is `void`.
    starts: Vec<u32>,
    /// Ids of the types with a wanted name.
    named: HashMap<&'a [u8], Vec<u32>>,
}

/// The head of a type.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Where the data after the head begins.
    body: usize,
    name: u32,
    kind: u32,
    count: usize,
    /// Members' offsets hold a bit-field size in their upper byte.
    bit_fields: bool,
    size_or_type: u32,
}

impl<'a> Btf<'a> {
    /// Finds the types that have one of the `wanted` names.
    ///
    /// # Errors
    /// Where `data` is no BTF, is damaged, or holds types that cannot be skipped.
    pub fn scan(data: &'a [u8], wanted: &[&str]) -> Result<Self, BtfError> {
        if data.get(..2) != Some(&MAGIC.to_le_bytes()) || data.len() < HEADER {
            return Err(BtfError::Magic);
        }
        let header_len = word(data, 4).ok_or(BtfError::Truncated)? as usize;
        let section = |at: usize| {
            let start = header_len.checked_add(word(data, at)? as usize)?;
            data.get(start..start.checked_add(word(data, at + 4)? as usize)?)
        };
        let types = section(8).ok_or(BtfError::Truncated)?;
        let strings = section(16).ok_or(BtfError::Truncated)?;
        let layout = if header_len >= HEADER_WITH_LAYOUT { section(24) } else { None };
        let mut btf = Self { types, strings, starts: Vec::new(), named: HashMap::new() };
        btf.index(wanted, layout.unwrap_or_default())?;
        Ok(btf)
    }

    /// Walks over the types once.
    fn index(&mut self, wanted: &[&str], layout: &[u8]) -> Result<(), BtfError> {
        let wanted: HashSet<&[u8]> = wanted.iter().map(|name| name.as_bytes()).collect();
        // A type of the kernel has 35 bytes on average.
        self.starts.reserve(self.types.len() / 30);
        let mut at = 0;
        while at < self.types.len() {
            let head = self.head_at(at).ok_or(BtfError::Truncated)?;
            self.starts.push(u32::try_from(at).map_err(|_| BtfError::Truncated)?);
            let named = matches!(
                head.kind,
                kind::STRUCT | kind::UNION | kind::ENUM | kind::TYPEDEF | kind::FUNC
            );
            if named && head.name != 0 {
                let name = self.text(head.name);
                if wanted.contains(name) {
                    let id = u32::try_from(self.starts.len()).map_err(|_| BtfError::Truncated)?;
                    self.named.entry(name).or_default().push(id);
                }
            }
            let size = body_size(&head, layout).ok_or(BtfError::UnknownKind(head.kind))?;
            at = head.body.checked_add(size).ok_or(BtfError::Truncated)?;
        }
        if at == self.types.len() { Ok(()) } else { Err(BtfError::Truncated) }
    }

    /// Byte offset of a member of a structure, through `.` into the structures it contains.
    ///
    /// `None` where there is no such member, or where it is a bit field.
    pub fn member(&self, structure: &str, path: &str) -> Option<u32> {
        self.ids(structure).iter().find_map(|id| {
            let (mut id, mut bits) = (*id, 0_u32);
            for name in path.split('.') {
                let mut budget = MAX_MEMBERS;
                let (offset, inner) = self.find(id, name.as_bytes(), MAX_DEPTH, &mut budget)?;
                bits = bits.checked_add(offset)?;
                id = inner;
            }
            bits.is_multiple_of(8).then_some(bits / 8)
        })
    }

    /// Size of a structure in bytes.
    pub fn size_of(&self, structure: &str) -> Option<u32> {
        let heads = self.ids(structure).iter().filter_map(|id| self.head(*id));
        heads.filter(|head| is_composite(head.kind)).map(|head| head.size_or_type).next()
    }

    /// Id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        let is_function = |id: &u32| self.head(*id).is_some_and(|head| head.kind == kind::FUNC);
        self.ids(name).iter().copied().find(is_function)
    }

    /// Number of arguments of a tracepoint, from its `btf_trace_NAME` type.
    pub fn tracepoint_args(&self, tracepoint: &str) -> Option<usize> {
        let id = *self.ids(&format!("btf_trace_{tracepoint}")).first()?;
        let pointer = self.resolve(id)?;
        let function =
            self.resolve((pointer.kind == kind::POINTER).then_some(pointer)?.size_or_type)?;
        // The first parameter is the tracepoint's own `void *__data`.
        (function.kind == kind::FUNC_PROTO).then(|| function.count.saturating_sub(1))
    }

    /// Whether an enumeration has a member of that name.
    pub fn has_enumerator(&self, enumeration: &str, name: &str) -> bool {
        self.ids(enumeration).iter().filter_map(|id| self.head(*id)).any(|head| {
            head.kind == kind::ENUM
                && (0..head.count).any(|index| {
                    word(self.types, head.body + 8 * index)
                        .is_some_and(|found| self.text(found) == name.as_bytes())
                })
        })
    }

    fn ids(&self, name: &str) -> &[u32] {
        self.named.get(name.as_bytes()).map_or(&[], Vec::as_slice)
    }

    /// Finds a member by name: its offset in bits and its type. Looks into anonymous members.
    fn find(&self, id: u32, name: &[u8], depth: usize, budget: &mut usize) -> Option<(u32, u32)> {
        let head = self.resolve(id).filter(|head| is_composite(head.kind) && depth > 0)?;
        (0..head.count).find_map(|index| {
            *budget = budget.checked_sub(1)?;
            let at = head.body + 12 * index;
            let member_name = word(self.types, at)?;
            let member_type = word(self.types, at + 4)?;
            let mut offset = word(self.types, at + 8)?;
            if head.bit_fields {
                if offset >> 24 != 0 {
                    return None;
                }
                offset &= 0x00ff_ffff;
            }
            let member_name = self.text(member_name);
            if member_name == name {
                return Some((offset, member_type));
            }
            if !member_name.is_empty() {
                return None;
            }
            let (inner, found) = self.find(member_type, name, depth - 1, budget)?;
            Some((offset.checked_add(inner)?, found))
        })
    }

    /// The type behind typedefs, qualifiers and tags.
    fn resolve(&self, mut id: u32) -> Option<Head> {
        for _ in 0..MAX_DEPTH {
            let head = self.head(id)?;
            match head.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = head.size_or_type;
                }
                _ => return Some(head),
            }
        }
        None
    }

    fn head(&self, id: u32) -> Option<Head> {
        let start = *self.starts.get(usize::try_from(id).ok()?.checked_sub(1)?)?;
        self.head_at(usize::try_from(start).ok()?)
    }

    fn head_at(&self, at: usize) -> Option<Head> {
        let head = self.types.get(at..at.checked_add(HEAD)?)?;
        let info = word(head, 4)?;
        Some(Head {
            body: at + HEAD,
            name: word(head, 0)?,
            // 7 and 24 bits since 7.0, 5 and 16 before, where the others are zero.
            kind: (info >> 24) & 0x7f,
            count: (info & 0x00ff_ffff) as usize,
            bit_fields: info >> 31 != 0,
            size_or_type: word(head, 8)?,
        })
    }

    /// A name; empty where there is none.
    fn text(&self, offset: u32) -> &'a [u8] {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.strings.get(offset..));
        let rest = rest.unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

const fn is_composite(kind: u32) -> bool {
    matches!(kind, kind::STRUCT | kind::UNION)
}

/// A little-endian word.
fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Bytes that follow the head of a type; `None` for a kind that nobody describes.
fn body_size(head: &Head, layout: &[u8]) -> Option<usize> {
    let count = head.count;
    Some(match head.kind {
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64, LOCSEC
        4 | 5 | 15 | 19 | 22 => 12 * count,
        // ENUM, FUNC_PROTO
        6 | 13 => 8 * count,
        // LOC_PARAM
        20 => 4 + 4 * count,
        // LOC_PROTO
        21 => 4 * count,
        // `struct btf_layout { u8 info_sz; u8 elem_sz; u16 flags; }`, one for each kind
        other => {
            let entry = layout.get(4 * other as usize..)?;
            usize::from(*entry.first()?) + usize::from(*entry.get(1)?) * count
        }
    })
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
