//! F1. Segments: further stacks that a deep recursion goes on in.
//!
//! A segment is a slot of another kind: it has the same guard page below and the same header above (whose
//! G part is unused), it is recycled and trimmed in the same way; only its extents are others, so that a
//! fault in a segment's guard is told from one in a goroutine's.
//!
//! A handle without a destructor: the goroutine that grew frees it, or is leaked together with it.

use super::class::{Class, Kind, MAX_BYTES};
use super::error::Error;
use super::slab::Pool;
use super::slot::Slot;
use super::trim;
use crate::sys::memory::PAGE_BYTES;

/// The smallest segment: less would be entered too often.
const MIN_SEGMENT_BYTES: usize = 64 << 10;

/// What a slot has beside its stack at most: guard page, and the page of header and colour gap.
const OVERHEAD_BYTES: usize = 2 * PAGE_BYTES;

/// A further stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment(Slot);

impl Segment {
    /// The segment that this slot is.
    pub(super) fn new(slot: Slot) -> Segment {
        Segment(slot)
    }

    /// The slot that this segment is.
    #[cfg(test)]
    pub(super) fn slot(self) -> Slot {
        self.0
    }

    /// A segment with at least `min_bytes` of stack: the one of its size that was freed last, or a fresh
    /// one.
    ///
    /// # Errors
    ///
    /// More than 1 GiB less two pages is asked for, or the kernel refuses.
    pub(crate) fn alloc(min_bytes: usize) -> Result<Segment, Error> {
        let maximum = MAX_BYTES - OVERHEAD_BYTES;
        if min_bytes > maximum {
            return Err(Error::TooLarge { bytes: min_bytes, maximum });
        }
        let class = Class::for_size((min_bytes + OVERHEAD_BYTES).max(MIN_SEGMENT_BYTES))?;
        Pool { kind: Kind::Segment, class }.alloc().map(Segment)
    }

    /// Gives the segment up; its memory stays until it is used again or trimmed.
    ///
    /// # Safety
    ///
    /// The caller owns the segment, and nobody is on it.
    pub(crate) unsafe fn free(self) {
        // SAFETY: passed on to the caller.
        unsafe { Pool::of(self.0).free(self.0) };
    }

    /// As [`trim_parked`](trim::trim_parked), for a goroutine that is suspended in this segment.
    ///
    /// # Safety
    ///
    /// Whatever runs on this segment is suspended with this stack pointer, and stays so during the call.
    pub(crate) unsafe fn trim_parked(self, sp: usize) -> usize {
        // SAFETY: passed on to the caller.
        unsafe { trim::trim_parked(self.0, sp) }
    }

    /// The lowest address of the stack, aligned to a page.
    #[inline(always)]
    pub(crate) fn low(self) -> usize {
        self.0.low()
    }

    /// Where the stack begins, growing down; aligned to 128.
    #[inline(always)]
    pub(crate) fn top(self) -> usize {
        self.0.top()
    }

    /// The usable bytes of the stack.
    pub(crate) fn size(self) -> usize {
        self.0.size()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;

    use super::*;

    #[test]
    fn a_segment_has_at_least_what_was_asked_for() {
        for bytes in [0, 1, 50_000, 65_536, 100_000, (1 << 20) - 2 * PAGE_BYTES, 1 << 20, 8 << 20] {
            let segment = Segment::alloc(bytes).unwrap();
            assert!(segment.size() >= bytes.max(MIN_SEGMENT_BYTES - OVERHEAD_BYTES));
            assert_eq!(segment.top() - segment.low(), segment.size());
            assert_eq!((segment.low() % PAGE_BYTES, segment.top() % 128), (0, 0));
            assert!(segment.0.class().bytes() <= (2 * (bytes + OVERHEAD_BYTES)).max(MIN_SEGMENT_BYTES));
            // SAFETY: allocated above, used by nobody.
            unsafe { segment.free() };
        }
    }

    #[test]
    fn a_segment_beyond_a_gibibyte_is_an_error() {
        let largest = (1 << 30) - 2 * PAGE_BYTES;
        let segment = Segment::alloc(largest).unwrap();
        assert!(segment.size() >= largest);
        // SAFETY: allocated above, used by nobody.
        unsafe { segment.free() };
        for bytes in [largest + 1, 2 << 30, usize::MAX] {
            let error = io::Error::from(Segment::alloc(bytes).unwrap_err());
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("above the maximum of {largest}")), "{error}");
        }
    }
}
