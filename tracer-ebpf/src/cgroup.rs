//! `cgroup_mkdir` and `cgroup_rmdir`: which path a cgroup id stands for.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use killtrace_ebpf::{CgroupRecord, flag, mode};

use crate::{
    emit::{self, Wake},
    filter,
    globals::{modes, offset},
    memory::Address,
};

/// match-proto: cgroup_mkdir(cgroup *cgrp, const char *path)
#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: RawTracePointContext) -> i32 {
    record(Address(ctx.arg(0)), 0);
    0
}

/// match-proto: cgroup_rmdir(cgroup *cgrp, const char *path)
#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: RawTracePointContext) -> i32 {
    record(Address(ctx.arg(0)), flag::REMOVED);
    0
}

/// Makes the record, of the cgroup2 hierarchy only: its `hierarchy_id` is 0.
#[inline(always)]
fn record(cgroup: Address, mut flags: u32) {
    let root = cgroup.follow(offset!(cgroup_root));
    if root.is_null() || root.load::<u32>(offset!(cgroup_root_hierarchy_id)) != 0 {
        return;
    }
    let node = cgroup.follow(offset!(cgroup_kn));
    let parent = node.follow(offset!(kernfs_parent));
    let id: u64 = node.load(offset!(kernfs_id));
    let parent_id: u64 = parent.load(offset!(kernfs_id));
    if modes() & mode::CGROUPS != 0 {
        if flags & flag::REMOVED != 0 {
            filter::forget_cgroup(id);
        } else if filter::has_cgroup(parent_id) {
            filter::remember_cgroup(id);
            flags |= flag::TARGET;
        }
    }
    let Some(mut entry) = emit::reserve::<CgroupRecord>() else { return };
    entry.flags = flags;
    entry.level = cgroup.load(offset!(cgroup_level));
    entry.id = id;
    entry.parent_id = parent_id;
    node.follow(offset!(kernfs_name)).text(&mut entry.name);
    // Whether it is a target that is waited for, userspace alone can tell: before somebody lives in it.
    entry.submit(if flags & flag::REMOVED == 0 { Wake::Now } else { Wake::Later });
}
