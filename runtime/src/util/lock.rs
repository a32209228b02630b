//! F0c. The lock of the machine's slow paths.
//!
//! # Invariants
//!
//! 1. Whoever holds it is in a no-preempt section: no signal freezes the holder (ARCHITECTURE, Rule 5). So a
//!    waiter's wait is bounded by the kernel's scheduling of one running thread.
//! 2. Nothing suspends, allocates, frees or runs foreign code while it is held (Rule 6): a holder that
//!    waited for malloc's lock could wait for a frozen goroutine. Callers keep this.
//! 3. A waiter spins about 100 turns, then sleeps on a futex.
//!
//! | word | meaning | set by | cleared by |
//! |---|---|---|---|
//! | 0 | free | `unlock` | `lock` |
//! | 1 | held, nobody sleeps | `lock` | `unlock` |
//! | 2 | held, somebody may sleep | a waiter | `unlock`, which then wakes one |
//!
//! This is the third mutex of Drepper, *Futexes are tricky* (2011). Works on every thread, also on
//! foreign ones, which may be descheduled while they hold it: hence the futex.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cur::NoPreempt;
use crate::sys::futex;

const SPINS: u32 = 100;

/// A section in which no signal stops the goroutine, and in which nothing may suspend: a goroutine that
/// tries aborts the process. On a thread that is none of gort's workers it does nothing.
#[derive(Debug)]
pub struct Section(pub(crate) NoPreempt);

impl Section {
    /// Enters the section; its drop leaves it.
    #[inline(always)]
    #[must_use]
    pub fn enter() -> Self {
        Section(NoPreempt::enter())
    }
}

/// A value under a lock, for the inside of a primitive: short sections of a few instructions.
///
/// While it is held no signal stops the holder, so waiters wait no longer than the kernel keeps one running
/// thread from running. In return the holder must not suspend (a goroutine that tries aborts the process),
/// nor allocate, free or run foreign code. Waiters spin for a moment, then block their *thread*. Not
/// poisoned by a panic.
pub struct Lock<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the word lets one thread at a time reach the value, which may move between threads.
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: as above; a shared lock hands out one `&mut T` at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Lock { word: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock and enters a no-preempt section.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        let section = Section::enter();
        // Acquire: pairs with the Release in `Guard::drop`.
        if self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
        Guard { lock: self, _section: section }
    }

    #[cold]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            // Acquire: pairs with the Release in `Guard::drop`.
            if self.word.load(Ordering::Relaxed) == 0
                && self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
        }
        // Acquire: pairs with the Release in `Guard::drop`. We take the lock as "contended", for others
        // may sleep: at worst one needless wake.
        while self.word.swap(2, Ordering::Acquire) != 0 {
            futex::wait(&self.word, 2);
        }
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("word", &self.word).finish_non_exhaustive()
    }
}

/// Holds a [`Lock`]; frees it, then leaves the section in which no signal stops the holder.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    _section: Section,
}

impl<T> fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while the word says that this thread holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` is the only path to the value.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquires in `lock`. The word's address only names the futex from here
        // on: the lock may be gone by the time of the wake.
        let word: *const AtomicU32 = &self.lock.word;
        if self.lock.word.swap(0, Ordering::Release) == 2 {
            futex::wake(word, 1);
        }
    }
}
