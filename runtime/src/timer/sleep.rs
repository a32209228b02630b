//! F8b. Sleeping.
//!
//! A sleep is a wait whose token nobody has but the timer. Deadlines are kept to the nanosecond and
//! served by threads whose timer slack is 1 ns; a goroutine is late by the kernel's wake-up time on an
//! idle runtime, and by the current goroutine's slice on a busy one.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::g::wait::WaitReason;
use crate::park;
use crate::sys::clock;

/// Puts the calling goroutine to sleep for at least `duration`.
///
/// `sleep(Duration::ZERO)` lets other goroutines run, like [`yield_now`](crate::yield_now). Durations too
/// long to be represented sleep for ever (584 years).
///
/// # Blocking
///
/// Blocks the goroutine only; on a thread that is not a worker of gort's, the thread.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// gort_runtime::run(|| {
///     let start = Instant::now();
///     gort_runtime::sleep(Duration::from_millis(5));
///     assert!(start.elapsed() >= Duration::from_millis(5));
/// });
/// ```
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return park::yield_current();
    }
    sleep_to(clock::deadline_after(duration));
}

/// Puts the calling goroutine to sleep until `deadline` has passed; does nothing but yield if it has.
///
/// # Blocking
///
/// As [`sleep`].
pub fn sleep_until(deadline: Instant) {
    match clock::from_instant(deadline) {
        deadline_ns if deadline_ns > clock::now_ns() => sleep_to(deadline_ns),
        _ => park::yield_current(),
    }
}

fn sleep_to(deadline_ns: u64) {
    let woken = park::wait(WaitReason::Sleep, deadline_ns, |_nobody| true);
    debug_assert_eq!(woken, park::Woken::TimedOut, "nobody else has the token");
}
