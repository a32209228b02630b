//! From a timeout to a deadline.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// When a timeout ends that begins now; `None`: never, for it lies beyond what the clock can count.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
