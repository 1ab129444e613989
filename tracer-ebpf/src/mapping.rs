//! What a process has mapped at an address: read from its memory map, whose locks a tracepoint cannot
//! take. A map that changes meanwhile is misread at worst as having nothing there: userspace takes what is
//! found only where it contains the address.
//!
//! There are hardly any branches: the verifier would follow both ways of each, for each level and component.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{MappingRecord, Place};

use crate::{
    emit::{self, Wake},
    globals::{MAPPINGS, offset, present},
    memory::{self, Address},
    pids,
    syscall::Syscall,
    task,
};

/// Most levels of a tree of mappings that are followed: 32 are room for 65,530 mappings, the most that
/// `vm.max_map_count` allows by default, in the flattest of the trees (red-black, before 6.1).
const BINARY_LEVELS: usize = 32;
/// The same for a maple tree, whose inner nodes have ten branches.
const MAPLE_LEVELS: usize = 7;
/// `maple_arange_64`: how many pivots it has.
const ARANGE_PIVOTS: usize = 9;
/// `maple_leaf_64`, `maple_range_64`: how many pivots they have.
const RANGE_PIVOTS: usize = 15;

/// Has [`fault_mappings`] tell of a fault; nothing comes after it.
#[inline(always)]
pub fn of_fault(ctx: &RawTracePointContext) {
    // SAFETY: nothing is held that would have to be given back.
    unsafe { MAPPINGS.tail_call(ctx, 0) }
}

/// Tells of what the running process has mapped where its code is and at the address that it faulted on.
///
/// match-proto: signal_generate(int sig, kernel_siginfo *info, task_struct *task, int group, int result)
#[raw_tracepoint(tracepoint = "signal_generate")]
pub fn fault_mappings(ctx: RawTracePointContext) -> i32 {
    if can_be_told() {
        let task = task::current();
        let registers = Syscall::current(task, task.load(offset!(task_flags)));
        // `_sigfault`: the address comes first.
        tell(task, registers.ip, Address(ctx.arg(1)).load(16));
    }
    0
}

#[inline(always)]
fn tell(task: Address, instruction: u64, address: u64) {
    let Some(mut entry) = emit::reserve::<MappingRecord>() else { return };
    let memory = task.follow(offset!(task_mm));
    entry.pid = pids::process(task);
    entry.start_ns = task::start(task);
    entry.heap_start = memory.load(offset!(mm_start_brk));
    entry.heap_end = memory.load(offset!(mm_brk));
    entry.stack_start = memory.load(offset!(mm_start_stack));
    let [code, data] = &mut entry.places;
    describe(memory, instruction, code);
    describe(memory, address, data);
    entry.submit(Wake::Later);
}

/// Whether this kernel has every field that is read here: what lies where an absent one would be is not ours to tell.
#[inline(always)]
fn can_be_told() -> bool {
    let has_tree = present!(mm_maple_root)
        && present!(range_pivots)
        && present!(range_slots)
        && present!(arange_pivots)
        && present!(arange_slots)
        || present!(mm_rb_root) && present!(vma_rb) && present!(rb_left) && present!(rb_right);
    let has_memory = present!(mm_start_brk) && present!(mm_brk) && present!(mm_start_stack);
    let has_mapping = present!(vma_start)
        && present!(vma_end)
        && present!(vma_flags)
        && present!(vma_pgoff)
        && present!(vma_file);
    let has_file = present!(dentry_parent)
        && present!(dentry_inode)
        && present!(inode_size)
        && present!(inode_links);
    let has_mount = present!(file_mount)
        && present!(mount_mnt)
        && present!(mount_root)
        && present!(mount_parent)
        && present!(mount_point);
    has_tree && has_memory && has_mapping && has_file && has_mount
}

/// What is mapped at an address; all zeros read as nothing.
#[inline(always)]
fn describe(memory: Address, address: u64, place: &mut Place) {
    place.address = address;
    let found = find(memory, address);
    place.start = found.load(offset!(vma_start));
    place.end = found.load(offset!(vma_end));
    place.flags = found.load(offset!(vma_flags));
    place.page_offset = found.load(offset!(vma_pgoff));
    describe_file(found.follow(offset!(vma_file)), place);
}

/// The mapping (`vm_area_struct`) that contains an address, most likely; null where there is none.
#[inline(always)]
fn find(memory: Address, address: u64) -> Address {
    if present!(mm_maple_root) {
        in_maple_tree(memory.load(offset!(mm_maple_root)), address)
    } else {
        in_binary_tree(memory.follow(offset!(mm_rb_root)), address)
    }
}

/// `mtree_range_walk` of lib/maple_tree.c.
#[inline(always)]
fn in_maple_tree(root: u64, address: u64) -> Address {
    // `xa_is_node`: a tree of one mapping is that mapping.
    let (mut entry, mut is_node) = (Address(root), root >> 1 & 1);
    for _ in 0..MAPLE_LEVELS {
        // `mte_to_node`, `mte_node_type`: of 1 (`maple_leaf_64`), the slots are the mappings; 2
        // (`maple_range_64`) and 3 (`maple_arange_64`) have nodes below them.
        let node = Address(entry.0 & !0xff);
        let (inner, odd) = (entry.0 >> 4 & 1, entry.0 >> 3 & 1);
        let is_arange = inner & odd;
        let range: [u64; RANGE_PIVOTS] = node.load(offset!(range_pivots));
        let arange: [u64; ARANGE_PIVOTS] = node.load(offset!(arange_pivots));
        let in_range = node.follow(offset!(range_slots).wrapping_add(8 * passed(&range, address)));
        let in_arange =
            node.follow(offset!(arange_slots).wrapping_add(8 * passed(&arange, address)));
        entry = either(is_node, either(is_arange, in_arange, in_range), entry);
        is_node &= inner;
    }
    entry
}

/// How many pivots are below an address; zeros come behind the last one.
#[inline(always)]
fn passed<const N: usize>(pivots: &[u64; N], address: u64) -> u32 {
    let mut passed = 0;
    for pivot in pivots {
        passed += below(*pivot, address);
    }
    passed
}

/// 1 where a pivot is below an address and not 0, else 0.
#[inline(always)]
fn below(pivot: u64, address: u64) -> u32 {
    const POSITIVE: u64 = u64::MAX >> 1;
    let pivot = pivot.wrapping_sub(1) & POSITIVE;
    (pivot.wrapping_sub(address.wrapping_sub(1)) >> 63) as u32
}

/// `find_vma` of mm/mmap.c, before 6.1.
#[inline(always)]
fn in_binary_tree(root: Address, address: u64) -> Address {
    let mut node = root;
    for _ in 0..BINARY_LEVELS {
        if node.is_null() {
            break;
        }
        let mapping = Address(node.0.wrapping_sub(u64::from(offset!(vma_rb))));
        if mapping.load::<u64>(offset!(vma_end)) <= address {
            node = node.follow(offset!(rb_right));
        } else if mapping.load::<u64>(offset!(vma_start)) <= address {
            return mapping;
        } else {
            node = node.follow(offset!(rb_left));
        }
    }
    Address(0)
}

/// The file of a mapping: its path from the root of its mount namespace, and its size now.
#[inline(always)]
fn describe_file(file: Address, place: &mut Place) {
    let inode = file.follow(offset!(file_dentry)).follow(offset!(dentry_inode));
    place.file_size = inode.load(offset!(inode_size));
    place.links = inode.load(offset!(inode_links));
    place.is_file = 1 ^ same(file, Address(0)) as u32;
    let (mut name, mut mount) = path(file);
    // The top of a mount has its name from where that is mounted, and the mount of the whole lies in itself.
    for component in &mut place.path {
        let above = name.follow(offset!(dentry_parent));
        let is_root = same(name, mount.follow(offset!(mount_root)));
        either(is_root, Address(0), name.follow(offset!(dentry_name))).text(component);
        let is_top = is_root | same(name, above);
        name = either(is_top, mount.follow(offset!(mount_point)), above);
        mount = either(is_top, mount.follow(offset!(mount_parent)), mount);
    }
    let ended = same(name, mount.follow(offset!(mount_root)))
        & same(mount, mount.follow(offset!(mount_parent)));
    place.is_whole = ended as u32;
}

/// Where a file is, as its process knows it: the directory entry, and the mount.
#[inline(always)]
fn path(file: Address) -> (Address, Address) {
    // A `struct vfsmount` is part of a `struct mount`.
    let whole = |part: Address| Address(part.0.wrapping_sub(u64::from(offset!(mount_mnt))));
    let own = file.follow(offset!(file_dentry));
    let own_mount = whole(file.follow(offset!(file_mount)));
    if !(present!(backing_dentry)
        && present!(backing_mount)
        && present!(mount_sb)
        && present!(dentry_sb))
    {
        return (own, own_mount);
    }
    // Of an overlay, the file of a layer is mapped, which nobody sees; its path in the overlay comes behind it
    // (`backing_file_user_path`). Behind any other file is no path: an entry is on the same file system as its mount.
    let shown = file.follow(offset!(backing_dentry));
    let shown_mount = whole(file.follow(offset!(backing_mount)));
    let system = shown.follow(offset!(dentry_sb));
    let is_path =
        same(system, shown_mount.follow(offset!(mount_sb))) & (1 ^ same(system, Address(0)));
    (either(is_path, shown, own), either(is_path, shown_mount, own_mount))
}

/// 1 where two addresses are the same, else 0.
#[inline(always)]
fn same(a: Address, b: Address) -> u64 {
    let differs = a.0 ^ b.0;
    ((differs | differs.wrapping_neg()) >> 63) ^ 1
}

/// The first for 1, the second for 0.
#[inline(always)]
fn either(first: u64, a: Address, b: Address) -> Address {
    // Read back, since a compiler that knows it to be 0 or 1 makes a branch of it.
    let mask = memory::reload(&first).wrapping_neg();
    Address(a.0 & mask | b.0 & !mask)
}
