//! Reading kernel and user memory.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user,
};

/// An address in the kernel. What is read through a null or stale one is zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

/// Types of which every bit pattern is a value.
///
/// # Safety
/// Implementors are plain integers or arrays of them.
pub unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for u16 {}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl Plain for i32 {}
// SAFETY: integers.
unsafe impl Plain for u64 {}
// SAFETY: an array of integers.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: an array of integers.
unsafe impl<const N: usize> Plain for [u64; N] {}

impl Address {
    /// Whether it points nowhere.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `offset` bytes further on.
    #[inline(always)]
    pub fn add(self, offset: u32) -> Self {
        Self(self.0.wrapping_add(u64::from(offset)))
    }

    /// The value `offset` bytes further on; zero where it cannot be read.
    #[inline(always)]
    pub fn load<T: Plain>(self, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper checks the address; it writes the whole value, zeros where it fails.
        let _ = unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                self.add(offset).0 as *const _,
            )
        };
        // SAFETY: the helper has written every byte, and every bit pattern is a value.
        unsafe { value.assume_init() }
    }

    /// Two words, read at once where the second follows the first.
    #[inline(always)]
    pub fn load_two(self, first: u32, second: u32) -> (u32, u32) {
        if second.wrapping_sub(first) == 4 {
            let both: u64 = self.load(first);
            (both as u32, (both >> 32) as u32)
        } else {
            (self.load(first), self.load(second))
        }
    }

    /// The address that is stored `offset` bytes further on.
    #[inline(always)]
    pub fn follow(self, offset: u32) -> Self {
        Self(self.load(offset))
    }

    /// Copies zero-terminated text into `into`; what follows the text is left as it is.
    #[inline(always)]
    pub fn text<T: Plain>(self, into: &mut T) {
        let size = size_of::<T>() as u32;
        // SAFETY: the helper checks the address and writes at most `size` bytes.
        let _ = unsafe {
            bpf_probe_read_kernel_str(core::ptr::from_mut(into).cast(), size, self.0 as *const _)
        };
    }
}

/// Copies at most `N` bytes of the current process's memory; false where it cannot be read.
#[inline(always)]
pub fn read_user<const N: usize>(address: u64, len: u32, into: &mut [u8; N]) -> bool {
    let len = if len > N as u32 { N as u32 } else { len };
    // SAFETY: the helper checks the address, and `len` is at most the size of `into`.
    unsafe { bpf_probe_read_user(into.as_mut_ptr().cast(), len, address as *const _) == 0 }
}

/// Reads a member of a record back.
///
/// What a program has put together from constants the verifier knows on each path, and it walks
/// through everything behind a decision on it once for each path. What comes out of a record, it does
/// not know: the paths meet, and loading takes a fraction of the time.
#[inline(always)]
pub fn reload<T: Plain>(member: &T) -> T {
    // SAFETY: a reference to an initialised value.
    unsafe { core::ptr::read_volatile(member) }
}

/// Copies a value: one call instead of a load and a store for each word.
#[inline(always)]
pub fn copy<T>(from: &T, to: &mut T) {
    let (from, to) = (core::ptr::from_ref(from), core::ptr::from_mut(to));
    // SAFETY: both are `size_of::<T>()` bytes of memory that the program may read and write.
    let _ = unsafe { bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, from.cast()) };
}

/// Fills a value with zeros.
///
/// `bpf_probe_read_kernel` clears its destination where the source cannot be read, and null is
/// turned down before it is touched: faster than a loop, and shorter than unrolled stores.
#[inline(always)]
pub fn clear<T>(value: *mut T) {
    // SAFETY: the caller's pointer covers `size_of::<T>()` writable bytes; the verifier checks it.
    let _ =
        unsafe { bpf_probe_read_kernel(value.cast(), size_of::<T>() as u32, core::ptr::null()) };
}
