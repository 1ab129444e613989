//! What a process has mapped at an address: read from its memory map, whose locks a tracepoint cannot
//! take. A map that changes meanwhile is misread at worst as having nothing there, since what is found
//! has to contain the address.

use killtrace_ebpf::{MappingRecord, PATH_DEPTH, SignalRecord};

use crate::{
    emit::{self, Wake},
    globals::{offset, present},
    memory::{self, Address},
    task,
};

/// Most levels of a tree of mappings that are followed: 32 are room for 65,530 mappings, the most that
/// `vm.max_map_count` allows by default, in the flattest of the trees (red-black, before 6.1).
const BINARY_LEVELS: usize = 32;
/// The same for a maple tree, whose inner nodes have ten branches.
const MAPLE_LEVELS: usize = 8;
/// `maple_leaf_64`: the highest type of a maple tree's leaves, whose slots are the mappings.
const LEAF: u64 = 1;
/// `maple_arange_64`: the type of a maple tree's inner nodes, and how many pivots they have.
const ARANGE: u64 = 3;
const ARANGE_PIVOTS: usize = 9;
/// `maple_leaf_64`, `maple_range_64`: how many pivots they have.
const RANGE_PIVOTS: usize = 15;

/// Tells of what the running process has mapped where its code is and at the address that it faulted on.
#[inline(always)]
pub fn of_fault(fault: &Fault) {
    if !present!(vma_start) || !present!(vma_end) {
        return;
    }
    if fault.instruction != 0 {
        record(fault.instruction);
    }
    if fault.address != 0 && fault.address != fault.instruction {
        record(fault.address);
    }
}

/// Where a fault happened.
#[derive(Clone, Copy)]
pub struct Fault {
    /// Where the code was; 0 where unknown.
    pub instruction: u64,
    /// What it touched; 0 where unknown.
    pub address: u64,
}

impl Fault {
    /// What the record of its signal says.
    #[inline(always)]
    pub fn of(entry: &SignalRecord) -> Self {
        let [address, _] = memory::reload(&entry.si_fields);
        Self { instruction: memory::reload(&entry.user_ip), address }
    }
}

#[inline(always)]
fn record(address: u64) {
    let Some(mut entry) = emit::reserve::<MappingRecord>() else { return };
    let memory = task::current().follow(offset!(task_mm));
    task::describe(task::current(), &mut entry.task);
    entry.address = address;
    let found = find(memory, address);
    let (start, end): (u64, u64) = (found.load(offset!(vma_start)), found.load(offset!(vma_end)));
    if start <= address && address < end {
        (entry.start, entry.end) = (start, end);
        entry.flags = found.load(offset!(vma_flags));
        entry.page_offset = found.load(offset!(vma_pgoff));
        entry.heap_start = memory.load(offset!(mm_start_brk));
        entry.heap_end = memory.load(offset!(mm_brk));
        entry.stack_start = memory.load(offset!(mm_start_stack));
        let file = found.follow(offset!(vma_file));
        if !file.is_null() {
            describe_file(file, &mut entry);
        }
    }
    entry.submit(Wake::Later);
}

/// The mapping (`vm_area_struct`) that contains an address, most likely; null where there is none.
#[inline(always)]
fn find(memory: Address, address: u64) -> Address {
    if present!(mm_maple_root) {
        in_maple_tree(memory.load(offset!(mm_maple_root)), address)
    } else if present!(mm_rb_root) {
        in_binary_tree(memory.follow(offset!(mm_rb_root)), address)
    } else {
        Address(0)
    }
}

/// `mtree_range_walk` of lib/maple_tree.c.
#[inline(always)]
fn in_maple_tree(root: u64, address: u64) -> Address {
    // `xa_is_node`: a tree of one mapping is that mapping.
    let (mut entry, mut is_node) = (root, root & 3 == 2);
    for _ in 0..MAPLE_LEVELS {
        if !is_node {
            break;
        }
        // `mte_to_node`, `mte_node_type`
        let node = Address(entry & !0xff);
        let kind = entry >> 3 & 0xf;
        let (pivots, slots, count) = if kind == ARANGE {
            (offset!(arange_pivots), offset!(arange_slots), ARANGE_PIVOTS)
        } else {
            (offset!(range_pivots), offset!(range_slots), RANGE_PIVOTS)
        };
        let pivots: [u64; RANGE_PIVOTS] = node.load(pivots);
        // The first pivot that is not below the address; zeros come behind the last one.
        let (mut slot, mut passed) = (0, 1);
        for (index, pivot) in pivots.into_iter().enumerate() {
            let below = pivot < address && pivot != 0 && index < count;
            passed &= u32::from(below);
            slot += passed;
        }
        entry = node.load(slots.wrapping_add(slot * 8));
        is_node = kind > LEAF;
    }
    Address(entry)
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
fn describe_file(file: Address, entry: &mut MappingRecord) {
    let mut name = file.follow(offset!(file_dentry));
    entry.file_size = name.follow(offset!(dentry_inode)).load(offset!(inode_size));
    entry.links = name.follow(offset!(dentry_inode)).load(offset!(inode_links));
    entry.is_file = 1;
    if !present!(file_mount) || !present!(mount_parent) {
        name.follow(offset!(dentry_name)).text(&mut entry.path[0]);
        return;
    }
    // A `struct vfsmount` is part of a `struct mount`.
    let part = file.follow(offset!(file_mount));
    let mut mount = Address(part.0.wrapping_sub(u64::from(offset!(mount_mnt))));
    for component in 0..PATH_DEPTH {
        let above = name.follow(offset!(dentry_parent));
        let top = mount.follow(offset!(mount_root));
        if name == top || name == above {
            let over = mount.follow(offset!(mount_parent));
            if over == mount || over.is_null() {
                entry.is_whole = 1;
                // What lies in no directory has a name all the same: `memfd:…`.
                if component == 0 {
                    name.follow(offset!(dentry_name)).text(&mut entry.path[0]);
                }
                break;
            }
            name = mount.follow(offset!(mount_point));
            mount = over;
        } else {
            name.follow(offset!(dentry_name)).text(&mut entry.path[component]);
            name = above;
        }
    }
}
