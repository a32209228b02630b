//! F1. The slab: pools of free slots, one for each kind and class, for the whole process.
//!
//! ```text
//!              free                        pop: warm, then aged, then trimmed, then carve
//!   in use  ---------->  warm  --- age --->  aged  --- trim --->  trimmed
//!      ^                  |                   |                      |
//!      +------------------+-------------------+----------------------+
//! ```
//!
//! A slot is used again last in, first out, without a system call (40 ns for a recycled goroutine against
//! 7 µs for a new one). What has lain in `warm` through a whole round of the monitor becomes `aged`, and
//! what is aged through a round gives its memory back: see `trim`.
//!
//! # Invariants
//!
//! 1. Nothing is allocated and no system call is made under a pool's lock (Rule 6): the chains are linked
//!    through the slots, the extents through their table.
//! 2. Every slot of the chains but `unguarded` is ready. `unguarded` has those whose guard was refused:
//!    they are tried again before new ones are carved, so a failure loses no more than one slot to a
//!    caller.
//! 3. An extent with uncarved slots is reachable from `open`.
//!
//! Called on every stack but a signal handler's.

use std::ptr::NonNull;

use super::chain::Chain;
use super::class::{CLASSES, Class, Kind};
use super::error::Error;
use super::extent::Extent;
use super::guard;
use super::slot::Slot;
use crate::sys::memory::PAGE_BYTES;
use crate::util::lock::Lock;

static STACKS: [Lock<State>; CLASSES] = [const { Lock::new(State::EMPTY) }; CLASSES];
static SEGMENTS: [Lock<State>; CLASSES] = [const { Lock::new(State::EMPTY) }; CLASSES];

/// What a pool's lock protects.
#[derive(Debug)]
struct State {
    warm: Chain,
    aged: Chain,
    trimmed: Chain,
    unguarded: Chain,
    open: Option<&'static Extent>,
}

// SAFETY: names of slots that the pool owns, and of static table entries.
unsafe impl Send for State {}

impl State {
    const EMPTY: State = State {
        warm: Chain::EMPTY,
        aged: Chain::EMPTY,
        trimmed: Chain::EMPTY,
        unguarded: Chain::EMPTY,
        open: None,
    };

    fn pop(&mut self) -> Option<Slot> {
        self.warm.pop().or_else(|| self.aged.pop()).or_else(|| self.trimmed.pop())
    }
}

/// A slot that has no guard yet: [`Pool::carve`]'s business.
enum Raw {
    /// Never used.
    Fresh(Slot, NonNull<u8>, u32),
    /// Its guard was refused before.
    Again(Slot),
}

/// The name of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) kind: Kind,
    pub(super) class: Class,
}

impl Pool {
    /// The pool that the slot belongs to.
    pub(super) fn of(slot: Slot) -> Pool {
        Pool { kind: slot.kind(), class: slot.class() }
    }

    /// Every pool.
    pub(super) fn all() -> impl Iterator<Item = Pool> {
        let pools = |kind| (0..CLASSES).map(move |index| Pool { kind, class: Class::from_index(index) });
        pools(Kind::Stack).chain(pools(Kind::Segment))
    }

    fn state(self) -> &'static Lock<State> {
        match self.kind {
            Kind::Stack => &STACKS[self.class.index()],
            Kind::Segment => &SEGMENTS[self.class.index()],
        }
    }

    /// A slot: the one that was freed last, or a fresh one.
    pub(super) fn alloc(self) -> Result<Slot, Error> {
        let recycled = self.state().lock().pop();
        recycled.map_or_else(|| self.carve(), Ok)
    }

    /// Puts a slot at the hot end.
    ///
    /// # Safety
    ///
    /// The slot is of this pool; the caller owns it and gives it up.
    pub(super) unsafe fn free(self, slot: Slot) {
        // SAFETY: passed on to the caller.
        unsafe { self.state().lock().warm.push(slot) };
    }

    /// Takes up to `count` free slots, of one temperature, in one hold of the lock.
    pub(super) fn take(self, count: usize) -> Chain {
        let mut state = self.state().lock();
        let state = &mut *state;
        let source = [&mut state.warm, &mut state.aged, &mut state.trimmed]
            .into_iter()
            .find(|chain| !chain.is_empty());
        source.map_or(Chain::EMPTY, |chain| chain.split(count))
    }

    /// Puts free slots of this pool at the hot end.
    pub(super) fn give(self, slots: Chain) {
        self.state().lock().warm.prepend(slots);
    }

    /// A slot that nobody has used before.
    pub(super) fn carve(self) -> Result<Slot, Error> {
        let slot = match self.raw()? {
            Raw::Again(slot) => slot,
            Raw::Fresh(slot, base, index) => {
                // SAFETY: fresh from the extent, so it is ours, and the arguments are its own.
                unsafe { slot.initialize(base, self.kind, self.class, index) };
                slot
            }
        };
        let guard_page = slot.pointer_to(slot.low() - PAGE_BYTES);
        // SAFETY: the lowest page of a slot that is ours and that nobody has used.
        if let Err(error) = unsafe { guard::install(guard_page) } {
            // SAFETY: the slot is ours, and given up.
            unsafe { self.state().lock().unguarded.push(slot) };
            return Err(error);
        }
        // SAFETY: ours, initialised and guarded.
        unsafe { slot.publish() };
        Ok(slot)
    }

    /// A slot without a guard; maps an extent if there is none. Two threads that find none at a time map
    /// two: both stay open. If the mapping fails, another thread's may have succeeded: hence the last look.
    fn raw(self) -> Result<Raw, Error> {
        if let Some(raw) = self.raw_mapped() {
            return Ok(raw);
        }
        match Extent::map(self.kind, self.class) {
            Ok(extent) => Ok(self.adopt(extent)),
            Err(error) => self.raw_mapped().ok_or(error),
        }
    }

    /// Adds a new extent to the pool, and takes its first slot.
    fn adopt(self, extent: &'static Extent) -> Raw {
        let mut state = self.state().lock();
        let (slot, base, index) = extent.carve_locked().expect("a new extent has a slot");
        extent.set_next_open(state.open);
        state.open = Some(extent);
        Raw::Fresh(slot, base, index)
    }

    /// A slot without a guard from what is mapped.
    fn raw_mapped(self) -> Option<Raw> {
        let mut state = self.state().lock();
        if let Some(slot) = state.unguarded.pop() {
            return Some(Raw::Again(slot));
        }
        while let Some(extent) = state.open {
            if let Some((slot, base, index)) = extent.carve_locked() {
                return Some(Raw::Fresh(slot, base, index));
            }
            state.open = extent.next_open();
        }
        None
    }
}

/// For the monitor: what `trim` asks of a pool.
impl Pool {
    /// Takes up to `count` slots that hold memory: aged ones, or, if `young`, also warm ones.
    pub(super) fn take_untrimmed(self, count: usize, young: bool) -> Chain {
        let mut state = self.state().lock();
        let state = &mut *state;
        let source = if state.aged.is_empty() && young { &mut state.warm } else { &mut state.aged };
        source.split(count)
    }

    /// Puts back slots that were trimmed.
    pub(super) fn give_trimmed(self, slots: Chain) {
        self.state().lock().trimmed.prepend(slots);
    }

    /// Begins a new round once the old one is done: what is free now is aged, until it is used.
    pub(super) fn age(self) {
        let mut state = self.state().lock();
        if state.aged.is_empty() {
            state.aged = state.warm.take();
        }
    }

    /// The number of free slots.
    pub(super) fn count_free(self) -> usize {
        let state = self.state().lock();
        state.warm.len() + state.aged.len() + state.trimmed.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU8, Ordering};

    use super::super::slot::GO_BYTES;
    use super::super::testing::{child, in_child, touch};
    use super::super::{Cache, alloc, free, info, trim_free};
    use super::*;

    fn class(bytes: usize) -> Class {
        Class::for_size(bytes).unwrap()
    }

    #[test]
    fn the_last_freed_is_the_first_reused() {
        in_child(module_path!(), "the_last_freed_is_the_first_reused", &[], || {
            let class = class(32 << 10);
            let slots: Vec<Slot> = (0..100).map(|_| alloc(class).unwrap()).collect();
            // SAFETY: allocated above, used by nobody.
            slots.iter().for_each(|&slot| unsafe { free(slot) });
            assert_eq!(info().slots_free, 100);
            let again: Vec<Slot> = (0..100).map(|_| alloc(class).unwrap()).collect();
            assert!(again.iter().eq(slots.iter().rev()));
            assert_eq!((info().slots_free, info().slots_carved, info().extents), (0, 100, 1));
        });
    }

    #[test]
    fn the_header_area_is_zero_at_birth_and_kept_ever_after() {
        in_child(module_path!(), "the_header_area_is_zero_at_birth_and_kept_ever_after", &[], || {
            let slot = alloc(Class::DEFAULT).unwrap();
            let area = slot.goroutine_area();
            // SAFETY: the slot is ours, and GO_BYTES of its area with it.
            unsafe {
                let bytes = std::slice::from_raw_parts_mut(area.as_ptr(), GO_BYTES);
                assert!(bytes.iter().all(|&byte| byte == 0));
                bytes.fill(0xa5);
            }
            touch(slot, 5);
            // SAFETY: ours, used by nobody.
            unsafe { free(slot) };
            assert!(trim_free(usize::MAX) >= 5 * PAGE_BYTES);
            assert_eq!(alloc(Class::DEFAULT).unwrap().goroutine_area(), area);
            // SAFETY: ours again; mapped for ever.
            let bytes = unsafe { std::slice::from_raw_parts(area.as_ptr(), GO_BYTES) };
            assert!(bytes.iter().all(|&byte| byte == 0xa5));
        });
    }

    #[test]
    fn a_stack_freed_twice_is_found_out() {
        let output = child(module_path!(), "a_stack_freed_twice_is_found_out", &[], || {
            let slot = alloc(Class::DEFAULT).unwrap();
            // SAFETY: the second call breaks the contract, which is what is tested; it does not get far.
            unsafe {
                free(slot);
                free(slot);
            }
        });
        if let Some(output) = output {
            assert_eq!(output.status.code(), Some(101));
            assert!(String::from_utf8_lossy(&output.stderr).contains("a stack was freed twice"));
        }
    }

    /// Four threads allocate and free through caches and without; the byte at the start of each slot says
    /// whether somebody has it.
    #[test]
    fn no_slot_is_handed_out_twice() {
        fn claim(slot: Slot, from: u8, to: u8) {
            // SAFETY: mapped for ever, and accessed as an atomic by this test only: no other uses the class.
            let byte = unsafe { AtomicU8::from_ptr(slot.goroutine_area().as_ptr()) };
            assert_eq!(byte.swap(to, Ordering::Relaxed), from);
        }
        fn work(class: Class, seed: usize) {
            let mut random = seed;
            let mut cache = Cache::of(class);
            let mut held = Vec::new();
            for _ in 0..20_000 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let cached = random >> 40 & 1 == 0;
                if random >> 60 < 8 && held.len() < 400 {
                    let slot = if cached { cache.get() } else { alloc(class).ok() };
                    let slot = slot.unwrap_or_else(|| {
                        cache.refill().unwrap();
                        cache.get().unwrap()
                    });
                    claim(slot, 0, 1);
                    held.push(slot);
                } else if let Some(slot) = held.pop() {
                    claim(slot, 1, 0);
                    // SAFETY: allocated above, used by nobody.
                    unsafe { if cached { cache.put(slot) } else { free(slot) } };
                }
                if random >> 50 & 0xfff == 0 {
                    trim_free(16);
                }
            }
            for slot in held {
                claim(slot, 1, 0);
                // SAFETY: allocated above, used by nobody.
                unsafe { free(slot) };
            }
        }
        let class = class(128 << 10);
        std::thread::scope(|scope| {
            for seed in 1..=4 {
                scope.spawn(move || work(class, seed));
            }
        });
        // All have come back, each once.
        let mut slots: Vec<Slot> = Vec::new();
        let pool = Pool { kind: Kind::Stack, class };
        while pool.count_free() > 0 {
            slots.push(alloc(class).unwrap());
        }
        slots.iter().for_each(|&slot| claim(slot, 0, 1));
        assert!(!slots.is_empty());
    }

    #[test]
    fn two_extents_that_were_mapped_at_a_time_are_both_used() {
        in_child(module_path!(), "two_extents_that_were_mapped_at_a_time_are_both_used", &[], || {
            let pool = Pool { kind: Kind::Stack, class: class(512 << 20) };
            let extents = [(); 2].map(|()| Extent::map(pool.kind, pool.class).unwrap());
            let mut fresh = 0;
            for extent in extents {
                fresh += usize::from(matches!(pool.adopt(extent), Raw::Fresh(..)));
            }
            while let Some(Raw::Fresh(..)) = pool.raw_mapped() {
                fresh += 1;
            }
            assert_eq!((fresh, info().slots_carved), (4, 4));
        });
    }
}
