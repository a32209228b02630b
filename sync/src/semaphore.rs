//! A number of permits.
//!
//! Who finds enough permits, and nobody waiting, takes them in one step. Others join the list with how many
//! they want. Whoever gives permits back, or gives up waiting, lets those in front through, in order, as far
//! as the permits go: they are taken on behalf of the first before it is woken, so no newcomer can snatch
//! them.
//!
//! # Races
//!
//! - *A waiter gives up as it is let through.* The end of its wait decides. If the deadline won, what was
//!   taken on its behalf is put back, and the next is looked at.
//! - *The first has given up, but still stands in the list.* It may be in the way of those behind; when it
//!   has left, it looks after them itself.
//!
//! Called on goroutine stacks and on foreign threads.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use gort_runtime::waiter::WaitReason;

use crate::time::deadline_after;
use crate::wait_list::{First, Locked, Monitor, Waited};
use crate::word::semaphore::Word;

/// A number of permits, which goroutines take and give back.
///
/// # Fairness
///
/// First come, first served: one who wants many is not overtaken by others who want few. So while the first
/// waits for its many, permits may lie idle.
///
/// # Numbers
///
/// A semaphore may be made with no permits, and be [given](Self::add_permits) some later. To take none never
/// waits. To take more than there will ever be waits for ever; to take more than
/// [`MAX_PERMITS`](Self::MAX_PERMITS) is a panic.
///
/// # Ordering
///
/// What was done before permits were given back is visible to who takes them.
///
/// # Examples
///
/// At most two at a time:
///
/// ```
/// use gort_sync::Semaphore;
///
/// let seats = Semaphore::new(2);
/// gort_runtime::run(|| {
///     gort_runtime::scope(|s| {
///         for _ in 0..10 {
///             s.spawn(|| {
///                 let _seat = seats.acquire();
///                 gort_runtime::yield_now();
///             });
///         }
///     });
/// });
/// assert_eq!(seats.available_permits(), 2);
/// ```
pub struct Semaphore {
    word: Word,
    /// In each slot: how many it wants. Taken out when it has them.
    waiters: Monitor<(), u64>,
}

/// Permits of a [`Semaphore`]; its drop gives them back.
#[must_use = "the permits are given back as soon as this is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    n: usize,
}

impl Semaphore {
    /// The most permits that one can have.
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    /// A semaphore with so many permits.
    ///
    /// # Panics
    ///
    /// If that is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[must_use]
    pub const fn new(permits: usize) -> Self {
        assert!(permits <= Self::MAX_PERMITS, "a Semaphore cannot have so many permits");
        Semaphore { word: Word::new(permits as u64), waiters: Monitor::new(()) }
    }

    /// Takes one permit, and waits for it if there is none.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    #[inline]
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1)
    }

    /// Takes `n` permits, all at once, and waits for them if there are fewer, or if others wait.
    ///
    /// # Panics
    ///
    /// If `n` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Blocking
    ///
    /// As [`acquire`](Self::acquire). For ever, if there will never be as many.
    #[inline]
    pub fn acquire_many(&self, n: usize) -> Permit<'_> {
        let _ = self.take(n) || self.acquire_contended(n, None);
        Permit { semaphore: self, n }
    }

    /// Takes one permit, if there is one and nobody waits.
    ///
    /// # Blocking
    ///
    /// Never.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `n` permits, if there are as many and nobody waits.
    ///
    /// # Panics
    ///
    /// If `n` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Blocking
    ///
    /// Never.
    #[inline]
    pub fn try_acquire_many(&self, n: usize) -> Option<Permit<'_>> {
        self.take(n).then_some(n).map(|n| Permit { semaphore: self, n })
    }

    /// As [`acquire`](Self::acquire), but waits no longer than `timeout`.
    ///
    /// # Blocking
    ///
    /// As `acquire`, for the timeout at most.
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_many_timeout(1, timeout)
    }

    /// As [`acquire_many`](Self::acquire_many), but waits no longer than `timeout`.
    ///
    /// # Panics
    ///
    /// As `acquire_many`.
    ///
    /// # Blocking
    ///
    /// As `acquire`, for the timeout at most.
    pub fn acquire_many_timeout(&self, n: usize, timeout: Duration) -> Option<Permit<'_>> {
        let taken = self.take(n) || self.acquire_contended(n, deadline_after(timeout));
        taken.then_some(n).map(|n| Permit { semaphore: self, n })
    }

    /// Makes `n` new permits.
    ///
    /// # Panics
    ///
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS) that nobody has; then none are made.
    pub fn add_permits(&self, n: usize) {
        assert!(n <= Self::MAX_PERMITS, "a Semaphore cannot have so many permits");
        let waiting = self.word.release(n as u64, Self::MAX_PERMITS as u64);
        if waiting.expect("a Semaphore cannot have so many permits") {
            self.let_through();
        }
    }

    /// How many permits nobody has. A snapshot; if others wait, not for the taking.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.word.available() as usize
    }

    #[inline(always)]
    fn take(&self, n: usize) -> bool {
        assert!(n <= Self::MAX_PERMITS, "a Semaphore cannot have so many permits");
        n == 0 || self.word.try_acquire(n as u64)
    }

    /// False if the deadline passed first.
    #[inline(never)]
    fn acquire_contended(&self, n: usize, deadline: Option<Instant>) -> bool {
        let wait_for = WaitReason::SemaphoreAcquire.at(self);
        loop {
            let waiters = self.waiters.lock();
            if !self.word.join(n as u64) {
                return true;
            }
            match waiters.wait(First, wait_for, deadline, &mut Some(n as u64)) {
                Waited::Ended => return true,
                Waited::TimedOut(waiters) => {
                    self.look_after(waiters);
                    return false;
                }
                // `QUEUED` stands in the word, and perhaps nobody in the list; or others, who have queued
                // behind nobody, while permits came back.
                Waited::Again => self.look_after(self.waiters.lock()),
            }
        }
    }

    /// Somebody in the list has gone, or has not come.
    #[cold]
    fn look_after(&self, mut waiters: Locked<'_, (), u64>) {
        self.note_if_empty(waiters.first().is_empty());
        drop(waiters);
        self.let_through();
    }

    fn note_if_empty(&self, empty: bool) {
        if empty {
            self.word.list_is_empty();
        }
    }

    /// Lets those in front through, as far as the permits go.
    #[cold]
    fn let_through(&self) {
        loop {
            let mut waiters = self.waiters.lock();
            let mut queue = waiters.first();
            let Some(&n) = queue.front() else { return };
            if !self.word.acquire_for_first(n) {
                return;
            }
            let ended = queue.take_front().and_then(|(_, ended)| ended);
            let empty = queue.is_empty();
            if ended.is_none() {
                self.word.put_back(n);
            }
            self.note_if_empty(empty);
            drop(waiters);
            drop(ended);
        }
    }
}

impl Permit<'_> {
    /// How many permits these are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.n
    }

    /// Does not give the permits back: the semaphore has that many less.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.n != 0 {
            self.semaphore.add_permits(self.n);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let available = self.available_permits();
        f.debug_struct("Semaphore").field("available", &available).finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("n", &self.n).finish_non_exhaustive()
    }
}

// No panic leaves it half changed: no code of others runs while it changes.
impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}
