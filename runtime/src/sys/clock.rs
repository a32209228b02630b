//! F0. Monotonic time in nanoseconds.
//!
//! The machine counts time as nanoseconds of `CLOCK_MONOTONIC` in a `u64`, good for 584 years after
//! boot. Allocates nothing and makes no system call where the vDSO serves it (22 ns).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, to which we hold a unique reference; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The processor time that a thread of this process has used; 0 if it has ended.
pub(crate) fn thread_cpu_ns(tid: i32) -> u64 {
    // The kernel's name for such a clock: MAKE_THREAD_CPUCLOCK in include/linux/posix-timers_types.h, of the
    // kind CPUCLOCK_SCHED.
    let clock = (!tid << 3) | 6;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, to which we hold a unique reference. A thread that has ended is an error.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The time at the last tick of some runtime's sysmon.
static COARSE_NS: AtomicU64 = AtomicU64::new(0);

/// Now, or up to a tick (10 ms) ago: one load. For reports. While nothing runs it stands still; whoever
/// wakes a sleeping sysmon sets it first.
#[inline(always)]
pub(crate) fn coarse_ns() -> u64 {
    COARSE_NS.load(Ordering::Relaxed)
}

/// Sets the coarse clock. By sysmon at each tick, and by who wakes it; by the start of a runtime.
pub(crate) fn set_coarse(now_ns: u64) {
    // Relaxed, and not a maximum: two that set it at the same time differ by nothing that matters.
    COARSE_NS.store(now_ns, Ordering::Relaxed);
}

/// The deadline that lies `duration` from now; saturates below [`NEVER`].
pub(crate) fn deadline_after(duration: Duration) -> u64 {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(NEVER);
    now_ns().saturating_add(nanos).min(NEVER - 1)
}

/// The same moment in nanoseconds of the monotonic clock. `Instant` is that clock on Linux, but does not
/// give its reading out: so the distance between the two is measured once, and is the same for every
/// deadline of the process (their order is kept; the error is that of one reading, some 50 ns).
pub(crate) fn from_instant(instant: Instant) -> u64 {
    static ORIGIN: OnceLock<(Instant, u64)> = OnceLock::new();
    let &(origin, origin_ns) = ORIGIN.get_or_init(measure_origin);
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(NEVER);
    match instant.checked_duration_since(origin) {
        Some(after) => origin_ns.saturating_add(nanos(after)).min(NEVER - 1),
        None => origin_ns.saturating_sub(nanos(origin.duration_since(instant))),
    }
}

/// Both clocks at nearly the same moment: the closest of several readings.
fn measure_origin() -> (Instant, u64) {
    let reading = |_| {
        let before = now_ns();
        let instant = Instant::now();
        let after = now_ns();
        (after - before, instant, before + (after - before) / 2)
    };
    let (_, instant, ns) = (0..16).map(reading).min_by_key(|reading| reading.0).expect("sixteen readings");
    (instant, ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_the_same_moment() {
        let before = now_ns();
        let instant = Instant::now();
        let after = now_ns();
        let ns = from_instant(instant);
        // The origin's own error is far below a millisecond, unless all its readings were interrupted.
        assert!(ns + 1_000_000 >= before && ns <= after + 1_000_000, "{before} {ns} {after}");
        let later = instant + Duration::from_secs(5);
        assert_eq!(from_instant(later) - ns, 5_000_000_000, "distances are exact");
        assert!(from_instant(instant - Duration::from_nanos(1)) < ns);
    }
}
