//! F2. The unwinder: return addresses of a goroutine's frames.
//!
//! One of the two files that name the crate `backtrace` (the other, `inspect/symbols`, turns addresses into
//! names). Here is its half that takes no lock of its own, allocates nothing and may run in a signal handler:
//! `trace_unsynchronized`, a loop around libgcc's `_Unwind_Backtrace`.
//!
//! # Invariants
//!
//! 1. [`Trace::take`] keeps the frames that lie on the goroutine's own stack and its segments, and stops
//!    where that stack ends. The unwinder would go on from a coroutine's root into the frames of whoever
//!    resumed it; and it begins in frames of our own, on a scratch stack or on the signal's.
//! 2. It is called on the goroutine's stack, or on another to which the goroutine's code has switched (by
//!    `on_stack`, or by a signal), so that the goroutine's frames are among its callers. It allocates
//!    nothing. (The C library may take the lock of `dl_iterate_phdr`, where it is older than 2.35: a
//!    recursive one, held for a moment.)

use crate::stack::{self, Segment, Slot, Where};

/// More frames than these are cut off, at the root's end.
pub(crate) const MAX_FRAMES: usize = 128;

/// Return addresses, the innermost first.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    frames: [usize; MAX_FRAMES],
    len: usize,
}

/// What a visitor of a parked goroutine brings along (`coro`, invariant 5).
#[derive(Debug)]
pub(crate) struct Visit {
    /// Where the unwinder runs.
    pub(crate) scratch: Segment,
    /// What it has found.
    pub(crate) trace: Trace,
}

impl Trace {
    /// No frames.
    pub(crate) const fn new() -> Trace {
        Trace { frames: [0; MAX_FRAMES], len: 0 }
    }

    /// The addresses, the innermost first.
    pub(crate) fn addresses(&self) -> &[usize] {
        &self.frames[..self.len]
    }

    /// Forgets all frames.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Replaces the frames by those of the goroutine in `slot`, on behalf of which the caller runs. Frames
    /// on `scratch` are not its own.
    pub(crate) fn take(&mut self, slot: Slot, scratch: Option<Segment>) {
        self.clear();
        let mut on_slot = false;
        // SAFETY: `backtrace` asks for this call not to run at the same time as others, for the sake of
        // platforms whose unwinder keeps state. Ours (libgcc's, on Linux) keeps none.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                let belongs = match stack::classify(frame.sp().addr()) {
                    Some(Where::Slot(at)) if at == slot => {
                        on_slot = true;
                        true
                    }
                    // A frame that has overflowed may begin in the guard page.
                    Some(Where::Guard(at)) => at == slot,
                    Some(Where::SegmentGuard(_)) => !on_slot,
                    // Segments are inner frames: they come before the slot's own.
                    Some(Where::Segment(segment)) => Some(segment) != scratch && !on_slot,
                    _ => false,
                };
                if belongs {
                    self.frames[self.len] = frame.ip().addr();
                    self.len += 1;
                }
                (belongs || !on_slot) && self.len < MAX_FRAMES
            });
        }
    }
}
