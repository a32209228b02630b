//! F4. What a timer does when it is due: it ends one wait of one goroutine.
//!
//! # Invariants
//!
//! 1. An entry points into the frame of the goroutine that waits. It is taken out of the heap, under the
//!    heap's lock, before that frame is left: by the timer itself when it is due, or by the goroutine.
//! 2. A due timer claims the wait first. Only if it wins does it write the frame: the goroutine is then
//!    asleep until the timer makes it ready. If it loses it has touched nothing but the G, which is
//!    type-stable.
//! 3. It allocates nothing and runs no foreign code: timers fire on scheduler stacks.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::g::GRef;
use crate::g::state::{AfterReady, Ticket};

/// One timed wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedWait {
    g: GRef,
    ticket: Ticket,
    timed_out: NonNull<Cell<bool>>,
}

// SAFETY: the pointer is followed by the winner of the claim only (invariant 2).
unsafe impl Send for TimedWait {}

impl TimedWait {
    /// The wait `ticket` of `g`, whose frame holds the flag.
    ///
    /// # Safety
    ///
    /// Invariant 1: the entry leaves its heap before the flag dies.
    pub(crate) unsafe fn new(g: GRef, ticket: Ticket, timed_out: &Cell<bool>) -> Self {
        TimedWait { g, ticket, timed_out: NonNull::from(timed_out) }
    }

    /// Ends the wait, if nobody else has. The goroutine to queue, if it is to be queued by us.
    pub(crate) fn fire(self) -> Option<GRef> {
        if !self.g.state.claim(self.ticket) {
            return None;
        }
        // SAFETY: we won the claim, so the goroutine's frame stays until `make_ready` (invariant 2).
        unsafe { self.timed_out.as_ref() }.set(true);
        (self.g.state.make_ready() == AfterReady::Queue).then_some(self.g)
    }
}
