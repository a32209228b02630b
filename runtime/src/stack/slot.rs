//! F1. One slot: its geometry, and the header at its top.
//!
//! ```text
//!  base          low                                     area = top          area + HEADER_BYTES
//!  | guard page  | <- deepest      stack grows down <-   | G ... | SlotHeader | colour gap |
//!  |<- 4096 ---->|<------------- size() ---------------->|<-- HEADER_BYTES -->|<- 0..1920->|
//!                                        |<---------------- the header's page ------------>|
//!                                                                  (the top page of the slot)
//! ```
//!
//! The colour gap is `(index % 16) * 128` bytes: slots are powers of two apart, and without it the tops of
//! all stacks would compete for the same few sets of the cache (measured: up to 2x on rings of 256 to
//! 1,024 goroutines).
//!
//! # Invariants
//!
//! 1. A [`Slot`] names a slot that was carved: its memory is mapped for the rest of the process, and the
//!    fields `low`, `index`, `class` and `kind` of its header never change again.
//! 2. The header area stays at its address for the slot's whole life. It is zero when the slot is carved;
//!    nothing but its owner writes the G's part, and trimming never touches its page.
//! 3. `next` and `free` belong to whoever owns the free slot: a chain, under its lock or by its owner.
//! 4. `state` is the only field that is read by those who own nothing (cursors): atomic.
//!
//! | state | meaning | set by |
//! |---|---|---|
//! | 0 | reserved: the header may be incomplete, the guard missing | the zero page |
//! | 1 | ready: invariant 1 holds | `Slot::publish`, once |

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use super::class::{Class, Kind};
use crate::sys::memory::PAGE_BYTES;

/// The area at a slot's top that outlives the goroutines on it: G and [`SlotHeader`].
pub(crate) const HEADER_BYTES: usize = 512;

/// How much of the header area is the G's.
pub(crate) const GO_BYTES: usize = HEADER_BYTES - size_of::<SlotHeader>();

const COLOURS: usize = 16;
const COLOUR_BYTES: usize = 128;
const LARGEST_GAP: usize = (COLOURS - 1) * COLOUR_BYTES;

const READY: u8 = 1;

const _: () = {
    assert!(HEADER_BYTES.is_multiple_of(64), "stacks begin at a cache line");
    assert!(GO_BYTES.is_multiple_of(align_of::<SlotHeader>()));
    assert!(LARGEST_GAP + HEADER_BYTES <= PAGE_BYTES * 5 / 8, "header and a light stack share a page");
};

/// What the slab keeps of a slot, in the last bytes of the header area.
#[derive(Debug)]
#[repr(C)]
struct SlotHeader {
    /// The next free slot of the chain that holds this one.
    next: Option<Slot>,
    /// The lowest usable address, just above the guard page.
    low: usize,
    /// The slot's place in its extent.
    index: u32,
    class: Class,
    kind: Kind,
    /// In a chain of free slots? Catches a slot that is freed twice.
    free: bool,
    state: AtomicU8,
}

/// A slot, named by its header area, which is where its G lies. A name, not a right: methods that use the
/// memory say who may call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Slot(NonNull<u8>);

// SAFETY: a name of memory that is mapped for ever; the safe methods read only what never changes
// (invariant 1) or is atomic (invariant 4).
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    /// The slot whose header area this is.
    ///
    /// # Safety
    ///
    /// `area` was returned by [`Slot::goroutine_area`].
    #[inline(always)]
    pub(crate) unsafe fn from_area(area: NonNull<u8>) -> Slot {
        Slot(area)
    }

    /// Where the G lies: [`GO_BYTES`] bytes, aligned to 128, at this address for the slot's whole life.
    #[inline(always)]
    pub(crate) fn goroutine_area(self) -> NonNull<u8> {
        self.0
    }

    /// The lowest address of the stack, aligned to a page; the guard page ends here.
    #[inline(always)]
    pub(crate) fn low(self) -> usize {
        // SAFETY: invariant 1: mapped, and constant since it was carved.
        unsafe { (*self.header()).low }
    }

    /// Where the stack begins, growing down: the header area's address, aligned to 128.
    #[inline(always)]
    pub(crate) fn top(self) -> usize {
        self.0.addr().get()
    }

    /// The usable bytes of the stack.
    #[inline(always)]
    pub(crate) fn size(self) -> usize {
        self.top() - self.low()
    }

    /// The size of the reservation.
    #[inline(always)]
    pub(crate) fn class(self) -> Class {
        // SAFETY: invariant 1.
        unsafe { (*self.header()).class }
    }

    /// What the slot serves as.
    #[inline(always)]
    pub(crate) fn kind(self) -> Kind {
        // SAFETY: invariant 1.
        unsafe { (*self.header()).kind }
    }

    /// The address of the header's page, below which a free slot holds nothing of worth.
    pub(super) fn header_page(self) -> usize {
        self.top() & !(PAGE_BYTES - 1)
    }

    /// A pointer with the provenance of the extent to `address`, which must lie in the slot.
    pub(super) fn pointer_to(self, address: usize) -> NonNull<u8> {
        let base = self.low() - PAGE_BYTES;
        assert!((base..base + self.class().bytes()).contains(&address), "the address lies in the slot");
        NonNull::new(self.0.as_ptr().with_addr(address)).expect("page zero is never mapped")
    }

    #[inline(always)]
    fn header(self) -> *mut SlotHeader {
        // SAFETY: invariant 2: the header area is one piece of a mapping, HEADER_BYTES long.
        unsafe { self.0.as_ptr().add(GO_BYTES).cast() }
    }
}

/// Carving: how an extent makes slots.
impl Slot {
    /// The name of the slot of `class` that begins at `base` and has place `index`. Touches nothing.
    ///
    /// # Safety
    ///
    /// `class.bytes()` bytes from `base` on are mapped for ever, in one piece.
    pub(super) unsafe fn at(base: NonNull<u8>, class: Class, index: u32) -> Slot {
        let gap = (index as usize % COLOURS) * COLOUR_BYTES;
        // SAFETY: lies within the class's bytes: at most half of its top page is subtracted.
        Slot(unsafe { base.add(class.bytes() - gap - HEADER_BYTES) })
    }

    /// Writes the header of a slot that is not ready.
    ///
    /// # Safety
    ///
    /// The arguments are those of [`Slot::at`]; the caller owns the slot and has not published it.
    pub(super) unsafe fn initialize(self, base: NonNull<u8>, kind: Kind, class: Class, index: u32) {
        let header = self.header();
        // SAFETY: the caller owns the header. `state` is left alone, for cursors may be reading it.
        unsafe {
            (*header).next = None;
            (*header).low = base.addr().get() + PAGE_BYTES;
            (*header).index = index;
            (*header).class = class;
            (*header).kind = kind;
            (*header).free = false;
        }
    }

    /// Makes the slot visible to cursors: header and guard are complete.
    ///
    /// # Safety
    ///
    /// The caller owns the slot, and [`Slot::initialize`] has been called.
    pub(super) unsafe fn publish(self) {
        // SAFETY: mapped; only the atomic is touched.
        let state = unsafe { &(*self.header()).state };
        // Release: pairs with the Acquire in `is_ready`; whoever sees READY sees the header.
        state.store(READY, Ordering::Release);
    }

    /// Has the slot been published? Asked of names that came from [`Slot::at`].
    pub(super) fn is_ready(self) -> bool {
        // SAFETY: mapped; only the atomic is touched, and zero memory is a valid atomic.
        let state = unsafe { &(*self.header()).state };
        // Acquire: pairs with the Release in `publish`.
        state.load(Ordering::Acquire) == READY
    }
}

/// Free slots: how chains link them.
impl Slot {
    /// Marks the slot free and links it before `next`.
    ///
    /// # Safety
    ///
    /// The caller owns the slot, and from now on its memory below the header area is anybody's.
    #[inline(always)]
    pub(super) unsafe fn link(self, next: Option<Slot>) {
        let header = self.header();
        // SAFETY: invariant 3: the caller owns these fields.
        unsafe {
            assert!(!(*header).free, "a stack was freed twice");
            (*header).free = true;
            (*header).next = next;
        }
    }

    /// Marks the slot used and returns its successor.
    ///
    /// # Safety
    ///
    /// The caller owns the chain that holds the slot.
    #[inline(always)]
    pub(super) unsafe fn unlink(self) -> Option<Slot> {
        let header = self.header();
        // SAFETY: invariant 3: the caller owns these fields.
        unsafe {
            (*header).free = false;
            (*header).next
        }
    }

    /// The successor in the chain.
    ///
    /// # Safety
    ///
    /// The caller owns the chain that holds the slot.
    pub(super) unsafe fn next(self) -> Option<Slot> {
        // SAFETY: invariant 3.
        unsafe { (*self.header()).next }
    }

    /// Changes the successor.
    ///
    /// # Safety
    ///
    /// The caller owns the chain that holds the slot.
    pub(super) unsafe fn set_next(self, next: Option<Slot>) {
        // SAFETY: invariant 3.
        unsafe { (*self.header()).next = next };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::in_child;
    use super::super::{alloc, free};
    use super::*;

    fn gap(slot: Slot) -> usize {
        let base = slot.low() - PAGE_BYTES;
        base + slot.class().bytes() - (slot.top() + HEADER_BYTES)
    }

    #[test]
    fn stacks_are_aligned_and_lie_in_their_reservation() {
        for bytes in [16 << 10, 64 << 10, 1 << 20, 64 << 20, 1 << 30] {
            let class = Class::for_size(bytes).unwrap();
            let slots: Vec<Slot> = (0..20).map(|_| alloc(class).unwrap()).collect();
            for &slot in &slots {
                assert_eq!(slot.class(), class);
                assert_eq!(slot.kind(), Kind::Stack);
                assert_eq!(slot.low() % PAGE_BYTES, 0);
                assert_eq!(slot.top() % 128, 0);
                assert!(gap(slot) <= LARGEST_GAP);
                assert!(slot.size() >= bytes - PAGE_BYTES - HEADER_BYTES - LARGEST_GAP);
                assert_eq!(slot.top() + HEADER_BYTES + gap(slot) - slot.header_page(), PAGE_BYTES);
                // SAFETY: the area of a slot.
                assert_eq!(unsafe { Slot::from_area(slot.goroutine_area()) }, slot);
            }
            // SAFETY: allocated above, used by nobody.
            slots.into_iter().for_each(|slot| unsafe { free(slot) });
        }
    }

    #[test]
    fn successive_slots_have_sixteen_colours() {
        in_child(module_path!(), "successive_slots_have_sixteen_colours", &[], || {
            let gaps: Vec<usize> = (0..32).map(|_| gap(alloc(Class::DEFAULT).unwrap())).collect();
            let expected: Vec<usize> = (0..32).map(|index| index % 16 * 128).collect();
            assert_eq!(gaps, expected);
        });
    }
}
