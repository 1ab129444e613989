//! How often something may be done.

/// How many there were in a second.
#[derive(Debug, Default)]
pub struct InSecond {
    /// Counted from boot.
    second: u64,
    count: u32,
}

impl InSecond {
    /// Whether one more is among the first so many in this second, counted from boot.
    pub const fn admits(&mut self, second: u64, most: u32) -> bool {
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}
