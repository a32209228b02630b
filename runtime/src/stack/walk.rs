//! F1. Looking at all slots: cursors for dumps and for the monitor, and where an address lies.
//!
//! # Invariants
//!
//! 1. No lock and no allocation: [`classify`] is called by the SIGSEGV handler, on the alternate stack, at
//!    an arbitrary instruction of anybody.
//! 2. What is carved meanwhile may be met or missed. What is met is ready (`slot` invariant 1): header and
//!    guard are complete. Whether a goroutine lives on it, its G says.

use super::class::Kind;
use super::extent;
use super::segment::Segment;
use super::slot::Slot;
use crate::sys::memory::PAGE_BYTES;

/// A walk over all goroutine slots of the process, in the order in which they were carved; those of every
/// runtime, in use and free. An iterator that may be kept and continued: the monitor takes some at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    extent: usize,
    index: u32,
}

impl Cursor {
    /// A walk from the start.
    pub(crate) const fn new() -> Cursor {
        Cursor { extent: 0, index: 0 }
    }
}

impl Iterator for Cursor {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        while let Some(extent) = extent::all().get(self.extent) {
            while extent.kind() == Kind::Stack && self.index < extent.carved() {
                let slot = extent.slot(self.index);
                self.index += 1;
                if slot.is_ready() {
                    return Some(slot);
                }
            }
            *self = Cursor { extent: self.extent + 1, index: 0 };
        }
        None
    }
}

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// The guard page of a goroutine's stack: it has overflowed.
    Guard(Slot),
    /// A goroutine's stack, or the header above it.
    Slot(Slot),
    /// The guard page of a segment: it has overflowed.
    SegmentGuard(Segment),
    /// A segment.
    Segment(Segment),
}

/// Which slot or segment `address` lies in; `None` if in none that was carved. Safe from a signal handler.
pub(crate) fn classify(address: usize) -> Option<Where> {
    let found = |extent: &extent::Extent| extent.find(address).map(|found| (extent.kind(), found));
    let (kind, (slot, offset)) = extent::all().iter().find_map(found)?;
    if !slot.is_ready() {
        return None;
    }
    Some(match (kind, offset < PAGE_BYTES) {
        (Kind::Stack, true) => Where::Guard(slot),
        (Kind::Stack, false) => Where::Slot(slot),
        (Kind::Segment, true) => Where::SegmentGuard(Segment::new(slot)),
        (Kind::Segment, false) => Where::Segment(Segment::new(slot)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::slot::HEADER_BYTES;
    use super::super::testing::in_child;
    use super::super::{Class, alloc, free};
    use super::*;

    #[test]
    fn an_address_tells_where_it_lies() {
        for bytes in [16 << 10, 256 << 10, 1 << 30] {
            let slot = alloc(Class::for_size(bytes).unwrap()).unwrap();
            let base = slot.low() - PAGE_BYTES;
            for address in [base, base + 1, slot.low() - 1] {
                assert_eq!(classify(address), Some(Where::Guard(slot)));
            }
            let header_end = slot.top() + HEADER_BYTES;
            for address in [slot.low(), slot.top() - 1, slot.top(), header_end - 1, base + bytes - 1] {
                assert_eq!(classify(address), Some(Where::Slot(slot)));
            }
            for address in [base - 1, base + bytes] {
                let neighbour = classify(address);
                assert!(![Some(Where::Slot(slot)), Some(Where::Guard(slot))].contains(&neighbour));
            }
            // SAFETY: allocated above, used by nobody.
            unsafe { free(slot) };
        }
        let segment = Segment::alloc(64 << 10).unwrap();
        assert_eq!(classify(segment.low() - 1), Some(Where::SegmentGuard(segment)));
        assert_eq!(classify(segment.low()), Some(Where::Segment(segment)));
        assert_eq!(classify(segment.top() - 1), Some(Where::Segment(segment)));
        // SAFETY: allocated above, used by nobody.
        unsafe { segment.free() };
    }

    #[test]
    fn other_addresses_lie_nowhere() {
        in_child(module_path!(), "other_addresses_lie_nowhere", &[], || {
            let slot = alloc(Class::DEFAULT).unwrap();
            let local = 0_u8;
            let boxed = Box::new(0_u8);
            let not_carved = slot.low() - PAGE_BYTES + Class::DEFAULT.bytes();
            for address in
                [0, 8, usize::MAX, (&raw const local).addr(), (&raw const *boxed).addr(), not_carved]
            {
                assert_eq!(classify(address), None);
            }
        });
    }

    #[test]
    fn a_cursor_meets_every_slot_once_and_goes_on_where_it_stopped() {
        in_child(module_path!(), "a_cursor_meets_every_slot_once_and_goes_on_where_it_stopped", &[], || {
            assert_eq!(Cursor::new().next(), None);
            let mut slots = Vec::new();
            for bytes in [256 << 10, 16 << 10, 512 << 20] {
                let class = Class::for_size(bytes).unwrap();
                slots.extend((0..5).map(|_| alloc(class).unwrap()));
                Segment::alloc(bytes / 2).unwrap();
            }
            // SAFETY: allocated above, used by nobody. A cursor meets free slots too.
            unsafe { free(slots[3]) };
            let mut cursor = Cursor::new();
            let mut met: Vec<Slot> = cursor.by_ref().take(7).collect();
            met.extend(cursor.clone());
            assert_eq!(met, slots);
            let late = alloc(Class::for_size(512 << 20).unwrap()).unwrap();
            assert_eq!(cursor.count(), slots.len() - 7 + 1);
            assert_eq!(Cursor::new().last(), Some(late));
        });
    }
}
