//! F0d. The lock of primitives outside the machine: one atomic operation for a lock and an unlock.
//!
//! # Invariants
//!
//! 1. As for `util::lock`: the holder is in a no-preempt section, and does nothing slow.
//! 2. The lock outlives the call of `unlock`, which looks at it once more after it has freed it. (Who calls
//!    it borrows it. `util::lock` is for locks that may vanish as soon as they are free.)
//!
//! | word | meaning |
//! |---|---|
//! | 0 | free |
//! | 1 | held |
//!
//! `sleepers` counts those who have spun in vain.
//!
//! # The race
//!
//! `unlock` stores 0, then looks for sleepers. Who is about to sleep counts itself, then looks at the word
//! (by the compare-exchange, and again in the kernel, which sleeps only if it still is 1). Each must see the
//! other's store if the other does not see its own: the store-buffer test. The fence between is light in
//! `unlock` and heavy for the sleeper (`prim`), who loses microseconds anyway. So either the sleeper finds the
//! word free, or `unlock` finds the sleeper. Who takes the lock in between unlocks later, and finds it
//! all the more. A woken sleeper that loses the lock to somebody else sleeps again, still counted.
//!
//! *Rejected:* the swap in `unlock` that `util::lock` has: 5 ns, twice for each value through a channel.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use super::lock::Section;
use crate::prim::{heavy_fence, light_fence};
use crate::sys::futex;

const SPINS: u32 = 100;

/// A lock without a value, for who keeps many locks within one [`Section`]. See [`Lock`](super::lock::Lock)
/// for what its holder must not do.
#[derive(Debug, Default)]
pub struct RawLock {
    word: AtomicU32,
    sleepers: AtomicU32,
}

impl RawLock {
    /// A free lock.
    pub const fn new() -> Self {
        RawLock { word: AtomicU32::new(0), sleepers: AtomicU32::new(0) }
    }

    /// Waits for the lock. The section must last until [`unlock`](Self::unlock).
    #[inline(always)]
    pub fn lock(&self, _: &Section) {
        if !self.try_lock() {
            self.lock_contended();
        }
    }

    #[inline(always)]
    fn try_lock(&self) -> bool {
        // Acquire: pairs with the Release in `unlock`.
        self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.word.load(Ordering::Relaxed) == 0 && self.try_lock() {
                return;
            }
        }
        // Relaxed, and the fence behind it: pairs with the light one in `unlock`.
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        heavy_fence();
        while !self.try_lock() {
            futex::wait(&self.word, 1);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Frees the lock, which the caller holds. (A caller that does not hold it breaks whoever does, but no
    /// memory: what stands behind the lock is guarded by who owns both.)
    #[inline(always)]
    pub fn unlock(&self) {
        // Release: pairs with the Acquire in `try_lock`.
        self.word.store(0, Ordering::Release);
        light_fence();
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            self.wake_sleeper();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_sleeper(&self) {
        futex::wake(&self.word, 1);
    }
}
