//! F0c. The lock of the machine's slow paths.
//!
//! # Invariants
//!
//! 1. Whoever holds it is in a no-preempt section: no signal freezes the holder (ARCHITECTURE, Rule 5). So a
//!    waiter's wait is bounded by the kernel's scheduling of one running thread.
//! 2. Nothing suspends, allocates, frees or runs foreign code while it is held (Rule 6): a holder that
//!    waited for malloc's lock could wait for a frozen goroutine. Callers keep this.
//! 3. A waiter spins about 100 turns, then sleeps on a futex, [`NAP_NS`] at most before it looks again.
//! 4. The holder's last access to the lock is the one that frees it: who gets it next may end its memory.
//!
//! | word | meaning | set by | cleared by |
//! |---|---|---|---|
//! | 0 | free | `unlock` | `lock` |
//! | 1 | held, nobody sleeps | `lock` | `unlock` |
//! | 2 | held, somebody may sleep | a waiter | `unlock`, which then wakes one |
//!
//! This is the third mutex of Drepper, *Futexes are tricky* (2011), but for the unlock: a word that is 1 is
//! freed by a plain store, which saves one of the two locked instructions (5 of 10 ns). A waiter that makes
//! it 2 between the look and the store goes unnoticed: should it be asleep by then, which takes a holder
//! that is interrupted between two neighbouring instructions, it wakes by itself (3).
//!
//! Works on every thread, also on foreign ones, which may be descheduled while they hold it: hence the
//! futex.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cur::NoPreempt;
use crate::sys::{clock, futex};

const SPINS: u32 = 100;

/// After so long a sleeper looks for itself.
const NAP_NS: u64 = 1_000_000;

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

/// The word of a [`Lock`] by itself, for who keeps many locks within one [`Section`].
#[derive(Debug, Default)]
pub struct RawLock(AtomicU32);

impl RawLock {
    /// A free lock.
    pub const fn new() -> Self {
        RawLock(AtomicU32::new(0))
    }

    /// Waits for the lock. The section must last until [`unlock`](Self::unlock).
    #[inline(always)]
    pub fn lock(&self, _: &Section) {
        // Acquire: pairs with the Release in `unlock`.
        if self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            // Acquire: pairs with the Release in `unlock`.
            if self.0.load(Ordering::Relaxed) == 0
                && self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
        }
        // Acquire: pairs with the Release in `unlock`. We take the lock as "contended", for others may
        // sleep: at worst one needless wake.
        while self.0.swap(2, Ordering::Acquire) != 0 {
            futex::wait_until(&self.0, 2, clock::now_ns() + NAP_NS);
        }
    }

    /// Frees the lock, which the caller holds. (A caller that does not hold it breaks whoever does, but no
    /// memory: what stands behind the lock is guarded by who owns both.)
    #[inline(always)]
    pub fn unlock(&self) {
        // Release: pairs with the Acquires above. (Relaxed: only who sleeps depends on the look.)
        if self.0.load(Ordering::Relaxed) == 1 {
            self.0.store(0, Ordering::Release);
        } else {
            self.unlock_contended();
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_contended(&self) {
        // From the swap on the word's address only names the futex (invariant 4).
        let word: *const AtomicU32 = &self.0;
        // Release: as in `unlock`.
        if self.0.swap(0, Ordering::Release) == 2 {
            futex::wake(word, 1);
        }
    }
}

/// A value under a lock, for the inside of a primitive: short sections of a few instructions.
///
/// While it is held no signal stops the holder, so waiters wait no longer than the kernel keeps one running
/// thread from running. In return the holder must not suspend (a goroutine that tries aborts the process),
/// nor allocate, free or run foreign code. Waiters spin for a moment, then block their *thread*. Not
/// poisoned by a panic.
pub struct Lock<T> {
    raw: RawLock,
    value: UnsafeCell<T>,
}

// SAFETY: the raw lock lets one thread at a time reach the value, which may move between threads.
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: as above; a shared lock hands out one `&mut T` at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Lock { raw: RawLock::new(), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock and enters a no-preempt section.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        let section = Section::enter();
        self.raw.lock(&section);
        Guard { lock: self, _section: section }
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("raw", &self.raw).finish_non_exhaustive()
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
        self.lock.raw.unlock();
    }
}
