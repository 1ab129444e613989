//! Trace events: the other way to a tracepoint, through `perf_event_open(2)`.
//!
//! A raw tracepoint costs less and needs no tracefs, so every hook is one. But since Linux 7.0 a program on one
//! can be preempted, and is skipped for whatever else happens on that CPU until it goes on. What perf calls is not:
//! `perf_trace_*` in `include/trace/perf.h` disables preemption.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    path::Path,
};

use aya_obj::generated::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_FLAG_FD_CLOEXEC, perf_event_attr,
    perf_type_id,
};

/// Where tracefs is mounted, and where it was before 4.1.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A trace event that is open, which is as long as this lives.
pub struct Event(OwnedFd);

impl Event {
    /// Opens the event of a group of tracefs.
    ///
    /// # Errors
    /// Where tracefs does not show it, or the kernel does not let it.
    pub fn open(group: &str, name: &str) -> io::Result<Self> {
        let number = TRACEFS
            .iter()
            .find_map(|root| {
                let path = Path::new(root).join("events").join(group).join(name).join("id");
                fs::read_to_string(path).ok()?.trim().parse().ok()
            })
            .ok_or(io::ErrorKind::NotFound)?;
        // SAFETY: plain integers and arrays of them, of which zero is a value.
        let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
        attr.type_ = perf_type_id::PERF_TYPE_TRACEPOINT as u32;
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.config = number;
        attr.__bindgen_anon_1.sample_period = 1;
        // A program on the event is run on every CPU and for every process, wherever the event itself counts.
        let (every_process, cpu, no_group) = (-1, 0, -1);
        // SAFETY: `attr` is a whole `perf_event_attr` of the size that it says.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                every_process,
                cpu,
                no_group,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Has a program run at the event, for as long as the result lives.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(self, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        self.control(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())?;
        self.control(PERF_EVENT_IOC_ENABLE, 0)?;
        Ok(self.0)
    }

    fn control(&self, request: u32, argument: i32) -> io::Result<()> {
        // SAFETY: both requests take an integer and touch no memory of ours.
        let result = unsafe {
            libc::ioctl(self.0.as_fd().as_raw_fd(), libc::Ioctl::from(request), argument)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
