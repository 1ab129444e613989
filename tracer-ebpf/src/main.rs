//! The eBPF programs: one file a family of hooks. `tracer/src/kernel/hooks.rs` lists them.

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "programs take their context by value")]

mod cgroup;
mod connect;
mod emit;
mod exec;
mod exit;
mod filter;
mod fork;
mod globals;
mod mapping;
mod memory;
mod oom;
mod pids;
mod rename;
mod repeats;
mod signal;
mod syscall;
mod task;
mod tcp;

/// The helpers used here are for GPL-compatible programs; the kernel knows this spelling.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
