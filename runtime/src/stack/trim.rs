//! F1. Memory that stacks hold and do not need goes back to the kernel.
//!
//! A deep excursion leaves its pages behind: on the stack of a goroutine that then sleeps, or on a slot
//! that lies free. The monitor thread looks for both. Nothing here is done on the way of a goroutine:
//! a discarded page costs 1.1 µs and another 1.3 to 4 µs when it is touched again, so slots that are used
//! again and again keep theirs.
//!
//! # Invariants
//!
//! 1. Only whole pages go, between `low` (above the guard) and a bound that the header's page is above.
//!    The range is asserted, in release builds as well: a slip here would destroy somebody's stack.
//! 2. The header's page is never touched: headers keep their content for ever.
//! 3. Nothing is allocated (Rule 6); the memory is discarded outside the pools' locks.
//!
//! # Algorithm
//!
//! Stacks are touched from the top without gaps (compilers probe each page of a large frame), so the
//! highest page of the range tells whether there is anything to do: one `mincore` of 0.65 µs. If so, the
//! resident pages are counted downwards until a stretch has none, and one `madvise` discards the range.

use super::chain::Chain;
use super::slab::Pool;
use super::slot::Slot;
use crate::sys::memory::{self, PAGE_BYTES};

/// What lies below a suspended stack pointer and still belongs to the frame: 128 bytes by the x86-64 ABI;
/// twice that, to be sure.
const RED_ZONE_BYTES: usize = 256;

/// Slots that are taken off a pool at a time.
const BATCH: usize = 32;

/// Pages that one `mincore` is asked about.
const STRETCH: usize = 64;

/// Gives back the dead part of a suspended goroutine's stack: the whole pages below its stack pointer.
/// Returns the bytes that were resident there.
///
/// # Panics
///
/// `sp` lies outside the slot's stack.
///
/// # Safety
///
/// Whatever runs on this stack is suspended with this stack pointer, and stays so during the call.
pub(crate) unsafe fn trim_parked(slot: Slot, sp: usize) -> usize {
    assert!(sp >= slot.low() && sp <= slot.top(), "the stack pointer lies in the slot");
    // SAFETY: below the stack pointer and its red zone nothing is alive, says the caller.
    unsafe { release(slot, sp - RED_ZONE_BYTES.min(sp - slot.low())) }
}

/// Gives back the memory of up to `max_slots` free slots, those first that have been free for long.
/// Slots in processors' caches are out of its reach. Returns the bytes that were resident.
#[cfg(test)]
pub(crate) fn trim_free(max_slots: usize) -> usize {
    trim_pools(max_slots, true)
}

/// One round of the monitor: gives back the memory of up to `max_slots` slots that have been free, and not
/// been needed, since the last round. The first round only takes note. Returns the bytes that were resident.
pub(crate) fn trim_idle(max_slots: usize) -> usize {
    trim_pools(max_slots, false)
}

fn trim_pools(max_slots: usize, young: bool) -> usize {
    let mut left = max_slots;
    Pool::all().map(|pool| trim_pool(pool, &mut left, young)).sum()
}

/// Trims one pool, and counts `left` down by the slots that it has looked at.
fn trim_pool(pool: Pool, left: &mut usize, young: bool) -> usize {
    let mut bytes = 0;
    loop {
        let mut batch = pool.take_untrimmed(BATCH.min(*left), young);
        if batch.is_empty() {
            break;
        }
        *left -= batch.len();
        let mut trimmed = Chain::EMPTY;
        while let Some(slot) = batch.pop() {
            // SAFETY: the slot is free and was taken off its pool: nobody is on its stack.
            bytes += unsafe { release(slot, slot.header_page()) };
            // SAFETY: ours since the `pop`.
            unsafe { trimmed.push(slot) };
        }
        pool.give_trimmed(trimmed);
    }
    if !young {
        pool.age();
    }
    bytes
}

/// Discards the whole pages between the slot's `low` and `bound`, and counts those that were resident.
///
/// # Safety
///
/// Nobody uses the content of the slot's stack below `bound`.
unsafe fn release(slot: Slot, bound: usize) -> usize {
    let low = slot.low();
    let high = bound & !(PAGE_BYTES - 1);
    assert!(high >= low && high <= slot.header_page(), "the range lies in the slot's stack");
    let pages = count_resident(slot, low, high);
    if pages > 0 {
        // SAFETY: whole pages of this slot, above its guard and below its header's page (asserted), whose
        // content nobody uses, says the caller. A refusal (locked memory) leaves everything as it was.
        let result = unsafe { memory::discard(slot.pointer_to(low), high - low) };
        return result.map_or(0, |()| pages * PAGE_BYTES);
    }
    0
}

/// The resident pages from `high` downwards, until a stretch has none.
fn count_resident(slot: Slot, low: usize, high: usize) -> usize {
    let mut buffer = [0; STRETCH];
    let mut total = 0;
    let mut end = high;
    // The first look is at one page, which is cheap; then come whole stretches.
    let mut stretch = 1;
    while end > low {
        let count = stretch.min((end - low) / PAGE_BYTES);
        let start = end - count * PAGE_BYTES;
        let found = memory::resident(slot.pointer_to(start).as_ptr(), &mut buffer[..count]);
        if found == 0 {
            break;
        }
        total += found;
        end = start;
        stretch = STRETCH;
    }
    total
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::{in_child, read, resident, touch};
    use super::super::{Class, Segment, alloc, free};
    use super::*;

    const PAGES: usize = 20;

    /// Slots with [`PAGES`] resident pages each.
    fn touched(count: usize) -> Vec<Slot> {
        let slots: Vec<Slot> = (0..count).map(|_| alloc(Class::DEFAULT).unwrap()).collect();
        slots.iter().for_each(|&slot| touch(slot, PAGES));
        slots
    }

    fn free_all(slots: &[Slot]) {
        // SAFETY: the tests' own slots, used by nobody.
        slots.iter().for_each(|&slot| unsafe { free(slot) });
    }

    #[test]
    fn a_parked_stack_gives_back_what_is_below_its_stack_pointer() {
        let slot = alloc(Class::for_size(1 << 20).unwrap()).unwrap();
        let all = (slot.header_page() - slot.low()) / PAGE_BYTES;
        touch(slot, all);
        assert_eq!(resident(slot), all);
        // The stack pointer lies in the 10th page, and its red zone too: 10 pages stay.
        let sp = slot.header_page() - 10 * PAGE_BYTES + RED_ZONE_BYTES;
        // SAFETY: nothing runs on the stack.
        assert_eq!(unsafe { trim_parked(slot, sp) }, (all - 10) * PAGE_BYTES);
        assert_eq!(resident(slot), 10);
        assert!((1..=10).all(|page| read(slot, page) == page as u8));
        assert!((11..=all).all(|page| read(slot, page) == 0));
        // SAFETY: nothing runs on the stack.
        unsafe {
            // The reads have mapped the page of zeros.
            trim_parked(slot, sp);
            assert_eq!(trim_parked(slot, sp), 0, "nothing is left to do");
            // One byte less, and the red zone reaches into the 11th page.
            touch(slot, 12);
            assert_eq!(trim_parked(slot, sp - 1), PAGE_BYTES);
            assert_eq!(trim_parked(slot, slot.low()), 0);
            assert_eq!(trim_parked(slot, slot.top()), 11 * PAGE_BYTES);
        }
        assert_eq!(resident(slot), 0);
        free_all(&[slot]);
    }

    #[test]
    #[should_panic(expected = "the stack pointer lies in the slot")]
    fn a_stack_pointer_above_the_stack_panics() {
        let slot = alloc(Class::DEFAULT).unwrap();
        // SAFETY: breaks the contract of `sp`, which is asserted before anything is done.
        unsafe { trim_parked(slot, slot.top() + 1) };
    }

    #[test]
    #[should_panic(expected = "the stack pointer lies in the slot")]
    fn a_stack_pointer_below_the_stack_panics() {
        let slot = alloc(Class::DEFAULT).unwrap();
        // SAFETY: as above.
        unsafe { trim_parked(slot, slot.low() - 1) };
    }

    #[test]
    fn free_slots_give_their_memory_back_once() {
        in_child(module_path!(), "free_slots_give_their_memory_back_once", &[], || {
            let slots = touched(100);
            free_all(&slots);
            assert_eq!(trim_free(0), 0);
            assert_eq!(trim_free(70), 70 * PAGES * PAGE_BYTES);
            assert_eq!(slots.iter().filter(|&&slot| resident(slot) == 0).count(), 70);
            assert_eq!(trim_free(70), 30 * PAGES * PAGE_BYTES);
            assert_eq!(trim_free(70), 0);
            assert!(slots.iter().all(|&slot| resident(slot) == 0));
            // What is freed now is hotter than what was trimmed.
            let hot = alloc(Class::DEFAULT).unwrap();
            let cold = alloc(Class::DEFAULT).unwrap();
            free_all(&[hot]);
            assert_eq!(alloc(Class::DEFAULT), Ok(hot));
            // And what has been used again is trimmed again.
            touch(cold, 3);
            free_all(&[cold]);
            assert_eq!(trim_free(usize::MAX), 3 * PAGE_BYTES);
            assert_eq!(Pool::of(cold).count_free(), 99);
        });
    }

    #[test]
    fn rounds_trim_only_what_was_not_needed_for_a_round() {
        in_child(module_path!(), "rounds_trim_only_what_was_not_needed_for_a_round", &[], || {
            let slots = touched(10);
            free_all(&slots);
            assert_eq!(trim_idle(usize::MAX), 0, "the first round only takes note");
            let busy = [(); 4].map(|()| alloc(Class::DEFAULT).unwrap());
            free_all(&busy);
            assert_eq!(trim_idle(usize::MAX), 6 * PAGES * PAGE_BYTES);
            assert!(busy.iter().all(|&slot| resident(slot) == PAGES));
            // A round that is cut short goes on before it ages anything.
            assert_eq!(trim_idle(3), 3 * PAGES * PAGE_BYTES);
            let hot = alloc(Class::DEFAULT).unwrap();
            free_all(&[hot]);
            assert_eq!(trim_idle(usize::MAX), 0);
            assert_eq!(trim_idle(usize::MAX), PAGES * PAGE_BYTES);
            assert_eq!(trim_idle(usize::MAX), 0);
        });
    }

    #[test]
    fn segments_are_trimmed_as_well() {
        in_child(module_path!(), "segments_are_trimmed_as_well", &[], || {
            let segment = Segment::alloc(1 << 20).unwrap();
            touch(segment.slot(), 200);
            // SAFETY: nothing runs on the segment.
            let bytes = unsafe { segment.trim_parked(segment.top() - 150 * PAGE_BYTES) };
            assert!((49..=51).contains(&(bytes / PAGE_BYTES)), "{bytes}");
            // SAFETY: ours, used by nobody.
            unsafe { segment.free() };
            assert_eq!(trim_free(usize::MAX) + bytes, 200 * PAGE_BYTES);
            assert_eq!(Segment::alloc(1 << 20), Ok(segment));
        });
    }
}
