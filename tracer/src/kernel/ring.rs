//! The reader's side of the ring buffer.
//!
//! `aya::maps::RingBuf` maps the data twice, one copy behind the other, so that a record which goes over
//! the end can be read in one piece. Every page then counts twice in the reader's memory, and it is the
//! ring that decides how much that is. Here the data is mapped once, and the rare record that goes over
//! the end is put together.
//!
//! Layout and protocol: `kernel/bpf/ringbuf.c`. A page with the reader's position, a page with the
//! writers', the data; each record behind eight bytes whose first four are its length and two flags.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use aya::maps::MapData;

/// `BPF_RINGBUF_BUSY_BIT`: reserved and not handed over yet.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: given up by its writer.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`
const HEADER: usize = 8;

/// A ring buffer, read by this process alone.
pub struct Ring {
    map: MapData,
    reader: Mapping,
    writers: Mapping,
    page: usize,
    /// Bytes of data, a power of two.
    size: usize,
    /// Position of the reader.
    position: u64,
    /// A record that went over the end.
    whole: Vec<u8>,
}

/// Memory of the kernel's that this process sees.
struct Mapping {
    start: NonNull<libc::c_void>,
    len: usize,
}
// SAFETY: the memory is not tied to a thread.
unsafe impl Send for Mapping {}

impl Ring {
    /// Maps a ring buffer of so many bytes, a power of two and at least a page.
    ///
    /// # Errors
    /// Where it cannot be mapped.
    pub fn new(map: MapData, size: u32) -> io::Result<Self> {
        // SAFETY: takes an integer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(|_| io::Error::last_os_error())?;
        let size =
            usize::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if !size.is_power_of_two() || size < page {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let fd = map.fd().as_fd();
        let reader = Mapping::new(fd, 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let writers = Mapping::new(fd, page, page + size, libc::PROT_READ)?;
        let mut ring = Self { map, reader, writers, page, size, position: 0, whole: Vec::new() };
        ring.position = ring.reader_position().load(Ordering::Relaxed);
        Ok(ring)
    }

    /// The next record; gives the room of the one before back to the writers.
    pub fn next(&mut self) -> Option<&[u8]> {
        loop {
            self.reader_position().store(self.position, Ordering::Release);
            let written = self.writers_position().load(Ordering::Acquire);
            if self.position >= written {
                return None;
            }
            let at = self.place(self.position);
            let head = self.head(at).load(Ordering::Acquire);
            if head & BUSY != 0 {
                return None;
            }
            // Never more than the ring holds: the kernel refuses to reserve that.
            let len = ((head & !DISCARDED) as usize).min(self.size - HEADER);
            self.position += (HEADER + len).next_multiple_of(HEADER) as u64;
            if head & DISCARDED == 0 {
                return Some(self.data(at + HEADER, len));
            }
        }
    }

    /// Whether the next record is being written: there, but not handed over yet.
    pub fn is_being_written(&self) -> bool {
        self.position < self.writers_position().load(Ordering::Acquire)
    }

    /// Bytes of the data area; they may begin at its end and go on at its start.
    fn data(&mut self, at: usize, len: usize) -> &[u8] {
        let at = at & (self.size - 1);
        let first = len.min(self.size - at);
        if first == len {
            return self.bytes(at, len);
        }
        let mut whole = std::mem::take(&mut self.whole);
        whole.clear();
        whole.extend_from_slice(self.bytes(at, first));
        whole.extend_from_slice(self.bytes(0, len - first));
        self.whole = whole;
        &self.whole
    }

    /// Bytes of the data area, without going over its end.
    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        let (at, len) = (at.min(self.size), len.min(self.size - at.min(self.size)));
        // SAFETY: within the mapping, whose data begins a page behind its start.
        let start = unsafe { self.writers.start.as_ptr().cast::<u8>().add(self.page + at) };
        // SAFETY: the bytes are a record that was handed over: no writer touches it until the reader's
        // position has passed it, which `next` sees to no earlier than when this borrow has ended.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Where a position lies in the data.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mask is smaller than the address space"
    )]
    const fn place(&self, position: u64) -> usize {
        (position & (self.size as u64 - 1)) as usize
    }

    fn reader_position(&self) -> &AtomicU64 {
        // SAFETY: the first eight bytes of a page that is mapped as long as `self` lives.
        unsafe { self.reader.start.cast::<AtomicU64>().as_ref() }
    }

    fn writers_position(&self) -> &AtomicU64 {
        // SAFETY: as above; the page is only read.
        unsafe { self.writers.start.cast::<AtomicU64>().as_ref() }
    }

    /// The first word of a record's header, which lies at a multiple of eight below `size`.
    fn head(&self, at: usize) -> &AtomicU32 {
        // SAFETY: within the mapping: headers never go over the end.
        let head = unsafe { self.writers.start.as_ptr().cast::<u8>().add(self.page + at) };
        // SAFETY: aligned, mapped as long as `self` lives, and only read.
        unsafe { &*head.cast::<AtomicU32>() }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: usize, len: usize, access: libc::c_int) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (anywhere, fd) = (std::ptr::null_mut(), fd.as_raw_fd());
        // SAFETY: the kernel chooses the place; nothing that exists is touched.
        let start = unsafe { libc::mmap(anywhere, len, access, libc::MAP_SHARED, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr(), self.len) };
    }
}
