//! A condition variable.
//!
//! A waiter joins the list before it gives its mutex back, so that a notification by whoever takes the mutex
//! next finds it. Notifications end the wait of those in front: a newcomer stands behind, and cannot take
//! one that was meant for a waiter. Each waiter has a number, by which `notify_all` knows who waited when
//! it was called.
//!
//! Called on goroutine stacks and on foreign threads.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use gort_runtime::waiter::WaitReason;

use crate::mutex::MutexGuard;
use crate::time::deadline_after;
use crate::wait_list::{First, Monitor, Place, Waited};

/// Lets goroutines wait for what others do under a [`Mutex`](crate::Mutex).
///
/// As [`std::sync::Condvar`], without poisoning. Different waiters may come with different mutexes.
///
/// # Fairness
///
/// Notifications go to those who have waited longest. Waits do not end without one; but when the waiter has
/// the mutex again, somebody else may have had it in between: look at the condition again, or use
/// [`wait_while`](Self::wait_while).
///
/// # Ordering
///
/// What was done before a notification is visible to whom it wakes.
///
/// # Examples
///
/// ```
/// use gort_sync::{Condvar, Mutex};
///
/// let (ready, changed) = (Mutex::new(false), Condvar::new());
/// gort_runtime::run(|| {
///     gort_runtime::scope(|s| {
///         s.spawn(|| {
///             *ready.lock() = true;
///             changed.notify_one();
///         });
///         let guard = changed.wait_while(ready.lock(), |ready| !*ready);
///         assert!(*guard);
///     });
/// });
/// ```
pub struct Condvar {
    /// The number of the next waiter. In each slot: that waiter's.
    waiters: Monitor<u64, u64>,
}

/// How a wait with a timeout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Did the time pass before there was a notification?
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// One that nobody waits on.
    #[must_use]
    pub const fn new() -> Self {
        Condvar { waiters: Monitor::new(0) }
    }

    /// Gives the mutex back and waits for a notification, in one step, then takes the mutex again.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    #[track_caller]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, None).0
    }

    /// As [`wait`](Self::wait), again and again while `condition` holds.
    ///
    /// # Blocking
    ///
    /// As `wait`.
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Self::wait), but waits for a notification no longer than `timeout`. Then it waits for the
    /// mutex, however long that takes.
    ///
    /// # Blocking
    ///
    /// As `wait`.
    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_until(guard, deadline_after(timeout))
    }

    /// As [`wait_while`](Self::wait_while), but waits for notifications no longer than `timeout` altogether.
    /// The result says that it timed out only if the condition still holds.
    ///
    /// # Blocking
    ///
    /// As `wait`.
    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let deadline = deadline_after(timeout);
        let mut result = WaitTimeoutResult(false);
        while condition(&mut guard) {
            if result.timed_out() {
                return (guard, result);
            }
            (guard, result) = self.wait_until(guard, deadline);
        }
        (guard, WaitTimeoutResult(false))
    }

    /// Wakes the one who has waited longest, if anybody waits.
    pub fn notify_one(&self) {
        let mut waiters = self.waiters.lock();
        let ended = waiters.first().end();
        drop(waiters);
        drop(ended);
    }

    /// Wakes all who wait now, in their order; nobody who comes later.
    pub fn notify_all(&self) {
        let limit = *self.waiters.lock();
        self.waiters.end_while(|number| *number < limit);
    }

    #[track_caller]
    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let wait_for = WaitReason::CondvarWait.at(self);
        let mutex = guard.forget_noted();
        let timed_out = loop {
            let mut waiters = self.waiters.lock();
            let number = *waiters;
            *waiters += 1;
            let unlock = || mutex.unlock_forgotten();
            match waiters.wait_at(First, Place::Back, wait_for, deadline, &mut Some(number), unlock) {
                Waited::Ended => break false,
                Waited::TimedOut(_) => break true,
                // Nothing has happened yet.
                Waited::Again => {}
            }
        };
        (mutex.lock(), WaitTimeoutResult(timed_out))
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

// No panic leaves it half changed: no code of others runs while it changes.
impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}
