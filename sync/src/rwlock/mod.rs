//! A reader-writer lock that blocks goroutines, not threads.
//!
//! # Invariants
//!
//! 1. A write guard exists from the moment the raw lock was entered as a writer until it is left: no other
//!    guard exists meanwhile. A read guard likewise: no write guard exists meanwhile.
#![allow(unsafe_code, reason = "the value in its cell")]

pub(crate) mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crate::check::{Hold, Owner};
use crate::time::deadline_after;
use raw::RawRwLock;

/// A value that many goroutines may read at the same time, or one may write.
///
/// As [`std::sync::RwLock`], but who waits parks its goroutine (on a thread that is none, the thread waits),
/// guards are [`Send`], and there is no poisoning.
///
/// # Fairness
///
/// As Go's: a writer that waits stops new readers, so that a stream of them does not keep it out. When a
/// writer leaves, the readers that waited for it enter before the next writer. Among themselves writers
/// compete as those of a [`Mutex`](crate::Mutex) do.
///
/// So a goroutine that reads must not read again before it has left: if a writer has come meanwhile, the
/// two wait for each other for ever.
///
/// # Ordering
///
/// What was done before a writer left is visible to all who enter later; what was done before a reader left,
/// to all writers who enter later.
///
/// # Examples
///
/// ```
/// use gort_sync::RwLock;
///
/// let lock = RwLock::new(vec![1, 2]);
/// {
///     let (one, other) = (lock.read(), lock.try_read().expect("nobody writes"));
///     assert_eq!(one.len(), other.len());
///     assert!(lock.try_write().is_none());
/// }
/// lock.write().push(3);
/// assert_eq!(lock.into_inner(), [1, 2, 3]);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    owner: Owner,
    value: UnsafeCell<T>,
}

// SAFETY: a lock owns its value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: readers on several threads share the value, writers get it alone (invariant 1).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// Gives shared access to the value of an [`RwLock`]; its drop leaves.
#[must_use = "the lock is left as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

/// Gives exclusive access to the value of an [`RwLock`]; its drop leaves.
#[must_use = "the lock is left as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    /// Invariant in `T`, as a mutable reference is.
    value: PhantomData<&'a mut T>,
}

impl<T> RwLock<T> {
    /// A lock that nobody is in.
    pub const fn new(value: T) -> Self {
        RwLock { raw: RawRwLock::new(), owner: Owner::new("rwlock"), value: UnsafeCell::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer is inside, or waits before the caller, and enters as a reader.
    ///
    /// # Panics
    ///
    /// If 2^30 - 1 are reading.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        if !self.raw.try_read() {
            self.read_contended(None);
        }
        self.reads()
    }

    /// Enters as a reader, unless a writer is inside or waits.
    ///
    /// # Panics
    ///
    /// As [`read`](Self::read).
    ///
    /// # Blocking
    ///
    /// Never.
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.raw.try_read().then(|| self.reads())
    }

    /// As [`read`](Self::read), but waits no longer than `timeout`.
    ///
    /// # Panics
    ///
    /// As `read`.
    ///
    /// # Blocking
    ///
    /// As `read`, for the timeout at most.
    #[track_caller]
    pub fn read_timeout(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        (self.raw.try_read() || self.read_contended(deadline_after(timeout))).then(|| self.reads())
    }

    /// As [`read`](Self::read), but waits no longer than to `deadline`.
    ///
    /// # Panics
    ///
    /// As `read`.
    ///
    /// # Blocking
    ///
    /// As `read`, to the deadline at most.
    #[track_caller]
    pub fn read_deadline(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        (self.raw.try_read() || self.read_contended(Some(deadline))).then(|| self.reads())
    }

    /// Stops new readers, waits until nobody is inside, and enters as the writer.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread. For ever, if the caller is inside.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.enter_to_write(None);
        self.writes()
    }

    /// Enters as the writer if nobody is inside, and no other writer waits.
    ///
    /// # Blocking
    ///
    /// Never.
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        if !self.raw.try_write() {
            return None;
        }
        self.owner.took(Hold::Alone);
        Some(self.writes())
    }

    /// As [`write`](Self::write), but waits no longer than `timeout`. The readers that it has stopped enter
    /// when it gives up.
    ///
    /// # Blocking
    ///
    /// As `write`, for the timeout at most.
    #[track_caller]
    pub fn write_timeout(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.enter_to_write(deadline_after(timeout)).then(|| self.writes())
    }

    /// As [`write`](Self::write), but waits no longer than to `deadline`.
    ///
    /// # Blocking
    ///
    /// As `write`, to the deadline at most.
    #[track_caller]
    pub fn write_deadline(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        self.enter_to_write(Some(deadline)).then(|| self.writes())
    }

    /// The value, of who has the lock to himself.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[inline(never)]
    #[track_caller]
    fn read_contended(&self, deadline: Option<Instant>) -> bool {
        let _waiting = self.owner.waits(Hold::Alone, deadline);
        self.raw.read_contended(self.owner.wait_for(RawRwLock::READ), deadline)
    }

    #[inline(always)]
    #[track_caller]
    fn reads(&self) -> RwLockReadGuard<'_, T> {
        self.owner.took(Hold::Shared);
        RwLockReadGuard { lock: self }
    }

    #[inline(always)]
    fn writes(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard { lock: self, value: PhantomData }
    }

    /// Enters as the writer; false if the deadline passed first.
    #[inline(always)]
    #[track_caller]
    fn enter_to_write(&self, deadline: Option<Instant>) -> bool {
        if !self.raw.lock_writers_at_once() && !self.lock_writers(deadline) {
            return false;
        }
        // Noted from the announcement on: from then on readers wait for this one.
        self.owner.took(Hold::Alone);
        self.raw.announce() || self.wait_for_readers(deadline)
    }

    #[inline(never)]
    #[track_caller]
    fn lock_writers(&self, deadline: Option<Instant>) -> bool {
        let _waiting = self.owner.waits(Hold::Alone, deadline);
        self.raw.lock_writers(self.owner.wait_for(RawRwLock::WRITE), deadline)
    }

    #[inline(never)]
    #[track_caller]
    fn wait_for_readers(&self, deadline: Option<Instant>) -> bool {
        let waiting = self.owner.waits(Hold::Shared, deadline);
        let enters = self.raw.wait_for_readers(self.owner.wait_for(RawRwLock::WRITE), deadline);
        drop(waiting);
        if !enters {
            self.leave_as_writer();
        }
        enters
    }

    #[inline(always)]
    fn leave_as_writer(&self) {
        self.owner.gives_back(Hold::Alone);
        self.raw.unlock_write();
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.owner.gives_back(Hold::Shared);
        self.lock.raw.unlock_read();
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.leave_as_writer();
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1: nobody writes.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1: this is the only guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: invariant 1, and `&mut self` is the only path through it.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => text.field("value", &&*guard),
            None => text.field("value", &format_args!("<locked>")),
        };
        let (readers, writer) = self.raw.snapshot();
        text.field("readers", &readers).field("writer", &writer).finish_non_exhaustive()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
