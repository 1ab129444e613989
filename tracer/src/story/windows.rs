//! Windows of time that more than one question is asked within, each for one reason; all in nanoseconds. A window that
//! one question alone needs stands beside that.

use crate::evidence::{MS, S};

/// How late a bus message can be seen after the signal it led to: both are read by different
/// processes, and the signal is stamped in the kernel.
pub const BUS_LAG: u64 = 250 * MS;

/// How late something on a bus may be seen at most: whoever reads it has to be given the processor.
pub const SEEN_LATE: u64 = S;

/// How much later an end may be seen than what the kernel does to others because of it.
pub const END_SEEN_LATE: u64 = 20 * MS;

/// How far apart the jobs of one transaction are announced.
pub const ONE_TRANSACTION: u64 = 500 * MS;

/// How soon after its start a unit does what it was started for, and not what it is there for.
pub const AT_START: u64 = 10 * S;

/// How long a service manager may take over one stop or start, from its first signal or complaint to its last: that is
/// up to the unit's time limits (`TimeoutStopSec=` and its kind, 90 s by default, more where set).
pub const LONGEST_JOB: u64 = 600 * S;

/// How long before something a command can have been run, or a unit have ended, and still be told as what led to it.
pub const LOOKED_BACK: u64 = 600 * S;
