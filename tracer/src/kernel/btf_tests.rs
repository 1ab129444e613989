//! Tests of the BTF scan, on a small BTF that is built here and on the running kernel's.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Builds BTF by hand.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: BTreeMap<String, u32>,
    count: u32,
}

impl Builder {
    fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(at) = self.known.get(name) {
            return *at;
        }
        let at = u32::try_from(self.strings.len()).expect("short");
        self.strings.extend(name.bytes().chain([0]));
        self.known.insert(name.to_owned(), at);
        at
    }

    fn put(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn add(&mut self, name: &str, info: u32, size_or_type: u32, body: &[u32]) -> u32 {
        let name = self.name(name);
        self.put(&[name, info, size_or_type]);
        self.put(body);
        self.count += 1;
        self.count
    }

    fn composite(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) -> u32 {
        let body: Vec<u32> = members
            .iter()
            .flat_map(|(member, member_type, bits)| [self.name(member), *member_type, *bits])
            .collect();
        let count = u32::try_from(members.len()).expect("few");
        self.add(name, kind << 24 | count, 64, &body)
    }

    fn finish(&self, layout: Option<&[u8]>) -> Vec<u8> {
        let header_len = if layout.is_some() { 32 } else { 24 };
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut words = vec![0x0001_eb9f, header_len, 0, types, types, strings];
        if let Some(layout) = layout {
            words.extend([types + strings, layout.len() as u32]);
        }
        let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.extend(&self.types);
        out.extend(&self.strings);
        out.extend(layout.unwrap_or_default());
        out
    }
}

/// `struct inner { int x; int y; }`, and an `outer` that has one by value behind a typedef and
/// qualifiers, one of its members in an anonymous union, and a bit field.
fn sample() -> Builder {
    let mut b = Builder::new();
    let int = b.add("int", 1 << 24, 4, &[32]);
    let inner = b.composite(kind::STRUCT, "inner", &[("x", int, 0), ("y", int, 32)]);
    let alias = b.add("inner_t", kind::TYPEDEF << 24, inner, &[]);
    let constant = b.add("", kind::CONST << 24, alias, &[]);
    let tagged = b.add("rcu", kind::TYPE_TAG << 24, constant, &[]);
    let union = b.composite(kind::UNION, "", &[("a", int, 0), ("b", int, 0)]);
    let outer = b.composite(
        kind::STRUCT,
        "outer",
        &[("head", int, 0), ("", union, 64), ("nested", tagged, 128), ("bit", int, 1 << 24 | 200)],
    );
    // The last one is a structure whose offsets carry bit-field sizes.
    let at = b.types.len() - 12 * 4 - 12 + 4;
    b.types[at..at + 4].copy_from_slice(&(1 << 31 | kind::STRUCT << 24 | 4_u32).to_le_bytes());
    let _ = outer;
    let proto = b.add("", kind::FUNC_PROTO << 24 | 3, 0, &[0, 0, 0, int, 0, int]);
    let pointer = b.add("", kind::POINTER << 24, proto, &[]);
    b.add("btf_trace_thing", kind::TYPEDEF << 24, pointer, &[]);
    let member = b.name("BPF_FUNC_task_pt_regs");
    b.add("bpf_func_id", kind::ENUM << 24 | 1, 4, &[member, 175]);
    b
}

const WANTED: &[&str] = &["inner", "outer", "btf_trace_thing", "bpf_func_id", "loop"];

#[test]
fn members_are_found_through_typedefs_tags_and_anonymous_members() {
    let data = sample().finish(None);
    let btf = Btf::scan(&data, WANTED).expect("valid");
    assert_eq!(btf.member("inner", "y"), Some(4));
    assert_eq!(btf.member("outer", "head"), Some(0));
    assert_eq!(btf.member("outer", "b"), Some(8));
    assert_eq!(btf.member("outer", "nested.y"), Some(20));
    assert_eq!(btf.member("outer", "bit"), None, "a bit field has no byte offset");
    assert_eq!(btf.member("outer", "nosuch"), None);
    assert_eq!(btf.member("nosuch", "x"), None);
    assert_eq!(btf.size_of("outer"), Some(64));
}

#[test]
fn tracepoints_and_helpers_are_found() {
    let data = sample().finish(None);
    let btf = Btf::scan(&data, WANTED).expect("valid");
    assert_eq!(btf.tracepoint_args("thing"), Some(2));
    assert_eq!(btf.tracepoint_args("other"), None);
    assert!(btf.has_enumerator("bpf_func_id", "BPF_FUNC_task_pt_regs"));
    assert!(!btf.has_enumerator("bpf_func_id", "BPF_FUNC_other"));
}

#[test]
fn an_unknown_kind_is_skipped_where_the_layout_tells_how() {
    let mut b = Builder::new();
    b.add("", 99 << 24 | 2, 0, &[1, 2, 3, 4, 5]);
    let int = b.add("int", 1 << 24, 4, &[32]);
    b.composite(kind::STRUCT, "inner", &[("x", int, 64)]);
    assert_eq!(Btf::scan(&b.finish(None), WANTED).err(), Some(BtfError::UnknownKind(99)));

    let mut layout = vec![0; 4 * 100];
    layout[4 * 99] = 4;
    layout[4 * 99 + 1] = 8;
    let data = b.finish(Some(&layout));
    let btf = Btf::scan(&data, WANTED).expect("the layout describes kind 99");
    assert_eq!(btf.member("inner", "x"), Some(8));
}

#[test]
fn a_type_that_contains_itself_ends() {
    let mut b = Builder::new();
    b.composite(kind::STRUCT, "loop", &[("", 1, 0)]);
    b.add("loop", kind::TYPEDEF << 24, 2, &[]);
    let data = b.finish(None);
    let btf = Btf::scan(&data, WANTED).expect("valid");
    assert_eq!(btf.member("loop", "x"), None);
    assert_eq!(btf.tracepoint_args("loop"), None);
}

#[test]
fn what_is_no_btf_is_told() {
    assert_eq!(Btf::scan(b"", WANTED).err(), Some(BtfError::Magic));
    assert_eq!(Btf::scan(&[0x9f; 64], WANTED).err(), Some(BtfError::Magic));
    assert_eq!(Btf::scan(&[0xeb, 0x9f, 0, 0], WANTED).err(), Some(BtfError::Magic));
    let whole = sample().finish(None);
    assert_eq!(Btf::scan(&whole[..whole.len() - 1], WANTED).err(), Some(BtfError::Truncated));
}

#[test]
fn the_running_kernels_btf_is_read() {
    let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
    let names = ["task_struct", "btf_trace_signal_generate", "k_sigaction", "do_exit"];
    let btf = Btf::scan(&data, &names).expect("the kernel's own BTF");
    assert_eq!(btf.tracepoint_args("signal_generate"), Some(5));
    assert!(btf.member("task_struct", "tgid").is_some());
    assert_eq!(btf.size_of("k_sigaction"), Some(32));
    assert!(btf.function("do_exit").is_some());
    assert_eq!(btf.function("task_struct"), None, "that is a structure");
}

proptest! {
    /// Whatever the bytes, the scan ends with an answer, and so does every question put to it.
    #[test]
    fn damaged_btf_never_breaks_the_scan(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut data = sample().finish(None);
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Ok(btf) = Btf::scan(&data, WANTED) {
            for structure in WANTED {
                let _ = btf.member(structure, "nested.y");
                let _ = btf.size_of(structure);
                let _ = btf.has_enumerator(structure, "x");
            }
            let _ = btf.tracepoint_args("thing");
        }
    }

    #[test]
    fn random_bytes_never_break_the_scan(mut data in prop::collection::vec(any::<u8>(), 24..400)) {
        data[..2].copy_from_slice(&MAGIC.to_le_bytes());
        let _ = Btf::scan(&data, WANTED);
    }
}
