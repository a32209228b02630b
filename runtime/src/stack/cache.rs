//! F1. A processor's own free slots of the default class.
//!
//! # Invariants
//!
//! 1. Owner-only: whoever holds `&mut` is the processor's owner, in a no-preempt section (Rule 9).
//! 2. `hot` and `spare` have at most [`HALF`] slots each (and a [`BATCH`] more after a refill that was not
//!    needed), all of the cache's pool.
//! 3. Nothing is allocated; `get` and `put` make no system call but a futex wake.
//!
//! # Algorithm
//!
//! Two chains, after the magazines of Bonwick and Adams, *Magazines and Vmem* (2001). Slots come from and
//! go to `hot`; when it is empty, it changes places with `spare`; when it is full, `spare` (which holds
//! the colder half) goes to the slab as a whole, in constant time, and `hot` takes its place. So a
//! processor that goes back and forth across a boundary meets the slab's lock once in 128 times.
//!
//! Called on goroutine stacks and on the scheduler stack.

use super::chain::Chain;
use super::class::{Class, Kind};
use super::error::Error;
use super::slab::Pool;
use super::slot::Slot;

/// What one chain holds; the cache holds twice as many.
const HALF: usize = 128;

/// What [`Cache::refill`] takes from the slab at a time.
const BATCH: usize = 32;

/// A processor's own free slots.
#[derive(Debug)]
pub(crate) struct Cache {
    hot: Chain,
    spare: Chain,
    pool: Pool,
}

// SAFETY: names of slots that the cache owns; it is used by one thread at a time.
unsafe impl Send for Cache {}

impl Cache {
    /// An empty cache.
    pub(crate) const fn new() -> Cache {
        Cache::of(Class::DEFAULT)
    }

    pub(super) const fn of(class: Class) -> Cache {
        Cache { hot: Chain::EMPTY, spare: Chain::EMPTY, pool: Pool { kind: Kind::Stack, class } }
    }

    /// The slot that was put last. `None`: call [`Cache::refill`].
    #[inline(always)]
    pub(crate) fn get(&mut self) -> Option<Slot> {
        self.hot.pop().or_else(|| self.get_spare())
    }

    /// Keeps a slot for later, without giving its memory back.
    ///
    /// # Safety
    ///
    /// The slot is of the default class; the caller owns it and gives it up, and nobody is on its stack.
    #[inline(always)]
    pub(crate) unsafe fn put(&mut self, slot: Slot) {
        debug_assert!(Pool::of(slot) == self.pool, "the slot is of the cache's class");
        if self.hot.len() >= HALF {
            self.make_room();
        }
        // SAFETY: passed on to the caller.
        unsafe { self.hot.push(slot) };
    }

    /// After it, [`Cache::get`] returns a slot: takes a batch of free ones from the slab, or carves one.
    ///
    /// # Errors
    ///
    /// There is no free slot, and the kernel refuses a fresh one.
    #[cold]
    pub(crate) fn refill(&mut self) -> Result<(), Error> {
        let batch = self.pool.take(BATCH);
        if batch.is_empty() {
            let slot = self.pool.carve()?;
            // SAFETY: just carved, so it is ours.
            unsafe { self.hot.push(slot) };
        } else {
            self.hot.prepend(batch);
        }
        Ok(())
    }

    /// Gives all slots to the slab.
    pub(crate) fn flush_all(&mut self) {
        for chain in [self.spare.take(), self.hot.take()] {
            if !chain.is_empty() {
                self.pool.give(chain);
            }
        }
    }

    /// The number of slots held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.hot.len() + self.spare.len()
    }

    #[cold]
    fn get_spare(&mut self) -> Option<Slot> {
        self.hot = self.spare.take();
        self.hot.pop()
    }

    /// Empties `hot` into `spare`, and what `spare` held into the slab.
    #[cold]
    fn make_room(&mut self) {
        let colder = std::mem::replace(&mut self.spare, self.hot.take());
        if !colder.is_empty() {
            self.pool.give(colder);
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::super::testing::in_child;
    use super::super::{alloc, free, info};
    use super::*;

    #[test]
    fn the_last_put_is_the_first_got() {
        let mut cache = Cache::new();
        let slots = [(); 3].map(|()| alloc(Class::DEFAULT).unwrap());
        // SAFETY: allocated above, used by nobody.
        slots.iter().for_each(|&slot| unsafe { cache.put(slot) });
        assert_eq!([cache.get(), cache.get(), cache.get()], [slots[2], slots[1], slots[0]].map(Some));
        assert_eq!(cache.get(), None);
        // SAFETY: got above, used by nobody.
        slots.iter().for_each(|&slot| unsafe { free(slot) });
    }

    #[test]
    fn a_refill_carves_one_or_takes_a_batch() {
        in_child(module_path!(), "a_refill_carves_one_or_takes_a_batch", &[], || {
            let mut cache = Cache::new();
            cache.refill().unwrap();
            assert_eq!((cache.len(), info().slots_carved), (1, 1));
            let slots: Vec<Slot> = (0..40).map(|_| alloc(Class::DEFAULT).unwrap()).collect();
            // SAFETY: allocated above, used by nobody.
            slots.iter().for_each(|&slot| unsafe { free(slot) });
            cache.get().unwrap();
            cache.refill().unwrap();
            assert_eq!((cache.len(), info().slots_free, info().slots_carved), (BATCH, 8, 41));
            assert_eq!(cache.get(), slots.last().copied(), "the hottest first");
        });
    }

    #[test]
    fn a_full_cache_gives_its_colder_half_to_the_slab() {
        in_child(module_path!(), "a_full_cache_gives_its_colder_half_to_the_slab", &[], || {
            let mut cache = Cache::new();
            let slots: Vec<Slot> = (0..300).map(|_| alloc(Class::DEFAULT).unwrap()).collect();
            for (count, &slot) in slots.iter().enumerate() {
                assert_eq!(cache.len() + info().slots_free, count);
                assert!(cache.len() <= 2 * HALF);
                // SAFETY: allocated above, used by nobody.
                unsafe { cache.put(slot) };
            }
            assert_eq!(info().slots_free, HALF);
            assert_eq!(alloc(Class::DEFAULT).ok(), Some(slots[HALF - 1]));
            // SAFETY: allocated above, used by nobody.
            unsafe { free(slots[HALF - 1]) };
            let mut got = HashSet::new();
            for &slot in slots[HALF..].iter().rev() {
                assert_eq!(cache.get(), Some(slot));
                got.insert(slot.top());
            }
            assert_eq!((got.len(), cache.get()), (300 - HALF, None));
        });
    }

    #[test]
    fn a_cache_that_is_flushed_or_dropped_keeps_nothing() {
        in_child(module_path!(), "a_cache_that_is_flushed_or_dropped_keeps_nothing", &[], || {
            let mut cache = Cache::new();
            let slots: Vec<Slot> = (0..200).map(|_| alloc(Class::DEFAULT).unwrap()).collect();
            // SAFETY: allocated above, used by nobody.
            slots.iter().for_each(|&slot| unsafe { cache.put(slot) });
            cache.flush_all();
            assert_eq!((cache.len(), info().slots_free), (0, 200));
            assert_eq!(alloc(Class::DEFAULT).ok(), slots.last().copied(), "the hottest first");
            cache.refill().unwrap();
            assert_eq!(info().slots_free, 199 - BATCH);
            drop(cache);
            assert_eq!(info().slots_free, 199);
        });
    }
}
