//! A mutex that blocks goroutines, not threads.
//!
//! # Invariants
//!
//! 1. The value is reached through a guard, which exists from the moment the raw mutex was taken until it is
//!    given back, once; or through `&mut Mutex`, which no guard outlives.
//!
//! Nothing knows the holder but the check mode (`check`), which only reports. So a guard may go to another
//! goroutine, and be dropped there.
#![allow(unsafe_code, reason = "the value in its cell")]

pub(crate) mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use gort_runtime::waiter::WaitReason;

use crate::check::{Hold, Owner};
use crate::time::deadline_after;
use raw::RawMutex;

/// A value that one goroutine at a time can reach.
///
/// As [`std::sync::Mutex`], with these differences:
///
/// - Who waits parks its goroutine; the thread goes on with others. On a thread that is no goroutine, the
///   thread waits. Both may share a mutex.
/// - The guard is [`Send`]: the mutex belongs to whoever has the guard. It may be kept across anything that
///   waits.
/// - There is no poisoning: a panic drops its guards, and the mutex is free. Keep the value consistent, or
///   drop what a panic has spoiled.
///
/// # Fairness
///
/// As Go's: a goroutine that runs may take a mutex that was just freed before those who wait for it, which
/// is what makes it fast. One that has waited for longer than a millisecond, and loses again, is handed the
/// mutex by the next who frees it, in the order of arrival, until nobody has waited that long.
///
/// # Ordering
///
/// What was done before the mutex was given back is visible to everyone who takes it later.
///
/// # Deadlocks
///
/// A goroutine that locks a mutex that it holds waits for ever. The environment variable `GORT_CHECK=1` has
/// that reported on stderr, and every cycle of goroutines that wait for each other's mutexes, reader-writer
/// locks and `Once`s, at the moment it closes, though other goroutines run on. The holder, there, is who
/// took the lock: a guard that was sent to another goroutine can lead to a report that is wrong, never to a
/// wrong lock.
///
/// # Examples
///
/// ```
/// use gort_sync::Mutex;
///
/// static TOTAL: Mutex<u64> = Mutex::new(0);
///
/// gort_runtime::run(|| {
///     gort_runtime::scope(|s| {
///         for n in 0..10 {
///             s.spawn(move || *TOTAL.lock() += n);
///         }
///     });
/// });
/// assert_eq!(*TOTAL.lock(), 45);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    owner: Owner,
    value: UnsafeCell<T>,
}

// SAFETY: a mutex owns its value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: a shared mutex gives out the value to one at a time, on any thread (invariant 1).
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// Gives access to the value of a [`Mutex`]; its drop gives the mutex back.
///
/// It may be sent to another goroutine, or dropped by one.
#[must_use = "the mutex is given back as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// Shared between threads only if the value may be.
    value: PhantomData<&'a mut T>,
}

impl<T> Mutex<T> {
    /// A free mutex.
    pub const fn new(value: T) -> Self {
        Mutex { raw: RawMutex::new(), owner: Owner::new("mutex"), value: UnsafeCell::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the mutex and takes it.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread. For ever, if the caller holds it.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if !self.raw.lock_at_once() {
            self.lock_contended(None);
        }
        self.taken()
    }

    /// Takes the mutex if it is free.
    ///
    /// `None` says only that it was not free at that moment.
    ///
    /// # Blocking
    ///
    /// Never.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        (self.raw.lock_at_once() || self.raw.try_lock()).then(|| self.taken())
    }

    /// As [`lock`](Self::lock), but waits no longer than `timeout`.
    ///
    /// # Blocking
    ///
    /// As `lock`, for the timeout at most.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use gort_sync::Mutex;
    ///
    /// let mutex = Mutex::new(());
    /// let guard = mutex.lock();
    /// assert!(mutex.lock_timeout(Duration::from_millis(1)).is_none());
    /// drop(guard);
    /// assert!(mutex.lock_timeout(Duration::from_millis(1)).is_some());
    /// ```
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        (self.raw.lock_at_once() || self.lock_contended(deadline_after(timeout))).then(|| self.taken())
    }

    /// As [`lock`](Self::lock), but waits no longer than to `deadline`.
    ///
    /// # Blocking
    ///
    /// As `lock`, to the deadline at most.
    #[track_caller]
    pub fn lock_deadline(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        (self.raw.lock_at_once() || self.lock_contended(Some(deadline))).then(|| self.taken())
    }

    /// The value, of who has the mutex to himself.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[inline(never)]
    #[track_caller]
    fn lock_contended(&self, deadline: Option<Instant>) -> bool {
        if self.raw.try_lock() {
            return true;
        }
        let _waiting = self.owner.waits(Hold::Alone, deadline);
        self.raw.lock_contended(self.owner.wait_for(WaitReason::MutexLock), deadline)
    }

    /// The guard of the caller, who has taken the raw mutex.
    #[inline(always)]
    #[track_caller]
    fn taken(&self) -> MutexGuard<'_, T> {
        self.owner.took(Hold::Alone);
        MutexGuard { mutex: self, value: PhantomData }
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// What `drop` does beforehand, where the mutex is then given back by
    /// [`unlock_forgotten`](Mutex::unlock_forgotten).
    pub(crate) fn forget_noted(self) -> &'a Mutex<T> {
        let mutex = self.mutex;
        mutex.owner.gives_back(Hold::Alone);
        std::mem::forget(self);
        mutex
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Gives back the mutex whose guard the caller has consumed by
    /// [`forget_noted`](MutexGuard::forget_noted).
    pub(crate) fn unlock_forgotten(&self) {
        self.raw.unlock();
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.owner.gives_back(Hold::Alone);
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1: this is the only guard.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: invariant 1, and `&mut self` is the only path through it.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => text.field("value", &&*guard),
            None => text.field("value", &format_args!("<locked>")),
        };
        text.finish_non_exhaustive()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
