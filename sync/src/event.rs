//! Something that has happened, or has not yet.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort_runtime::waiter::WaitReason;

use crate::time::deadline_after;
use crate::wait_list::{First, Monitor, Waited};

/// A flag that goroutines wait for: as a broadcast that can be used again.
///
/// Setting it wakes all who wait, also if it is reset right after; who comes later finds it set or waits for
/// the next time.
///
/// # Ordering
///
/// What was done before it was set is visible to who has waited for it, or has seen it set.
///
/// # Examples
///
/// ```
/// use gort_sync::Event;
///
/// static READY: Event = Event::new();
///
/// gort_runtime::run(|| {
///     let waiter = gort_runtime::spawn(|| READY.wait());
///     READY.set();
///     waiter.join().expect("it does not panic");
///     READY.reset();
///     assert!(!READY.is_set());
/// });
/// ```
pub struct Event {
    /// Written under the lock.
    set: AtomicBool,
    /// How often it was set. In each slot: how often when its wait began.
    waiters: Monitor<u64, u64>,
}

impl Event {
    /// One that has not happened.
    #[must_use]
    pub const fn new() -> Self {
        Event { set: AtomicBool::new(false), waiters: Monitor::new(0) }
    }

    /// Sets it, and wakes all who wait, in their order. Does nothing if it is set.
    pub fn set(&self) {
        let mut times = self.waiters.lock();
        // Release: pairs with the Acquire in `is_set`.
        if self.set.swap(true, Ordering::Release) {
            return;
        }
        let before = *times;
        *times += 1;
        drop(times);
        self.waiters.end_while(|their| *their <= before);
    }

    /// Takes it back: who comes now waits for the next time.
    pub fn reset(&self) {
        let _times = self.waiters.lock();
        self.set.store(false, Ordering::Relaxed);
    }

    /// Is it set? A snapshot.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        // Acquire: pairs with the Release in `set`.
        self.set.load(Ordering::Acquire)
    }

    /// Waits until it is set. Returns at once if it is.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    #[inline]
    pub fn wait(&self) {
        let _ = self.is_set() || self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than `timeout`. True if it was set.
    ///
    /// # Blocking
    ///
    /// As `wait`, for the timeout at most.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_until(deadline_after(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            let times = self.waiters.lock();
            if self.is_set() {
                return true;
            }
            let seen = *times;
            match times.wait(First, WaitReason::EventWait.at(self), deadline, &mut Some(seen)) {
                Waited::Ended => return true,
                Waited::TimedOut(_) => return false,
                Waited::Again => {}
            }
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish_non_exhaustive()
    }
}

// No panic leaves it half changed: no code of others runs while it changes.
impl UnwindSafe for Event {}
impl RefUnwindSafe for Event {}
