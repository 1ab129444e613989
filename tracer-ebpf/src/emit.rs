//! Handing records to userspace.

use core::ops::{Deref, DerefMut};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    maps::ring_buf::RingBufEntry,
};
use killtrace_ebpf::{
    CgroupRecord, ConnectRecord, ExecRecord, ExitRecord, ForkRecord, Header, MappingRecord,
    OomRecord, RING_WATERMARK, RenameRecord, SignalRecord, TcpRecord, kind,
};

use crate::{
    globals::{LOSSES, RECORDS, is_to_wake},
    memory,
};

/// A record of [`killtrace_ebpf`].
///
/// # Safety
/// Implementors consist of integers and arrays of integers only, so that zeros are a value.
pub unsafe trait Record: 'static {
    /// Its [`kind`].
    const KIND: u32;
    /// What it begins with.
    fn header(&mut self) -> &mut Header;
}

macro_rules! record {
    ($($name:ident $kind:ident)*) => {$(
        // SAFETY: the record is made of integers and arrays of them.
        unsafe impl Record for $name {
            const KIND: u32 = kind::$kind;
            #[inline(always)]
            fn header(&mut self) -> &mut Header {
                &mut self.header
            }
        }
    )*};
}

record! {
    SignalRecord SIGNAL
    ExitRecord EXIT
    ExecRecord EXEC
    ForkRecord FORK
    OomRecord OOM
    TcpRecord TCP
    CgroupRecord CGROUP
    RenameRecord RENAME
    MappingRecord MAPPING
    ConnectRecord CONNECT
}

/// When userspace is to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// At its next round, or when much is waiting: a wake-up costs ten times what the record does.
    Later,
    /// At once.
    Now,
}

/// Room for a record in the ring buffer, all zeros but for the header. Has to be submitted.
#[must_use = "the verifier refuses a program that forgets a reservation"]
pub struct Entry<T: Record>(RingBufEntry<T>);

/// Bytes that wait for the reader.
#[inline(always)]
pub fn waiting() -> u64 {
    RECORDS.query(u64::from(BPF_RB_AVAIL_DATA))
}

/// Makes room for a record; counts a loss where there is none.
#[inline(always)]
pub fn reserve<T: Record>() -> Option<Entry<T>> {
    let Some(mut entry) = RECORDS.reserve::<T>(0) else {
        lost(T::KIND as usize);
        return None;
    };
    memory::clear(entry.as_mut_ptr());
    let mut entry = Entry(entry);
    let header = entry.header();
    header.kind = T::KIND;
    // SAFETY: the helpers take no arguments and only return a number.
    header.cpu = unsafe { bpf_get_smp_processor_id() };
    // SAFETY: as above.
    header.boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    Some(entry)
}

impl<T: Record> Entry<T> {
    /// Hands the record over.
    #[inline(always)]
    pub fn submit(self, wake: Wake) {
        // True for the one or two records that pass it: one wake-up is enough.
        let passes = waiting().wrapping_sub(u64::from(RING_WATERMARK)) <= size_of::<T>() as u64;
        self.0.submit(u64::from(if wake == Wake::Now || passes || is_to_wake() {
            BPF_RB_FORCE_WAKEUP
        } else {
            BPF_RB_NO_WAKEUP
        }));
    }
}

impl<T: Record> Deref for Entry<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: `reserve` has cleared it, and zeros are a value of every record.
        unsafe { self.0.assume_init_ref() }
    }
}

impl<T: Record> DerefMut for Entry<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`.
        unsafe { self.0.assume_init_mut() }
    }
}

/// Counts a loss: a record kind, or an index of [`killtrace_ebpf::loss`].
#[inline(always)]
pub fn lost(index: usize) {
    if let Some(counters) = LOSSES.get_ptr_mut(0) {
        // SAFETY: the map has one value for each CPU; nothing else refers to it while the program runs.
        if let Some(counter) = unsafe { &mut *counters }.get_mut(index) {
            *counter += 1;
        }
    }
}
