//! F2. Running a function on a further stack, and coming back.

use std::num::NonZeroUsize;

use corosensei::stack::{Stack, StackPointer};

/// Runs `f` on the stack `[low, top)` and comes back; panics come back too. `f` may suspend the coroutine
/// that calls this, which keeps the segment with it.
///
/// # Safety
///
/// `[low, top)` is writable memory with a guard below it, used by nothing else during the call; `top` is
/// 16-aligned.
#[inline]
pub(crate) unsafe fn on_stack<R>(low: usize, top: usize, f: impl FnOnce() -> R) -> R {
    corosensei::on_stack(Borrowed { low, top }, f)
}

/// A stack that belongs to the slab; corosensei only borrows it.
#[derive(Clone, Copy)]
pub(super) struct Borrowed {
    pub(super) low: usize,
    pub(super) top: usize,
}

// SAFETY: the callers of `on_stack` and `Coro::start` promise that [low, top) is a stack with a guard page
// below, 16-aligned at the top.
unsafe impl Stack for Borrowed {
    #[inline(always)]
    fn base(&self) -> StackPointer {
        NonZeroUsize::new(self.top).expect("a stack does not end at address 0")
    }
    #[inline(always)]
    fn limit(&self) -> StackPointer {
        NonZeroUsize::new(self.low).expect("a stack does not begin at address 0")
    }
}
