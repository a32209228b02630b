//! F2. Coroutines on corosensei: for the targets that `jump` does not know.
//!
//! A round trip costs 2 to 3 ns inlined, about 20 inside real frames.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

use corosensei::{Coroutine, CoroutineResult};

use super::segment::Borrowed;
use super::{Action, Outcome, Wish};
use crate::util::abort::fatal;

type Inner = Coroutine<Wish, Action, (), Borrowed>;
type Yielder = corosensei::Yielder<Wish, Action>;

/// A suspended or running computation. Lies in its goroutine's header, has no destructor.
pub(crate) struct Coro {
    inner: MaybeUninit<Inner>,
    /// By which it suspends itself. Lies at a fixed place of its stack, for its whole life, on every thread
    /// that resumes it (corosensei rewrites the parent link there on each resume).
    yielder: Cell<*const Yielder>,
}

impl std::fmt::Debug for Coro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coro")
    }
}

impl Coro {
    /// As `jump::Coro::start`.
    ///
    /// # Safety
    ///
    /// The same.
    #[inline(always)]
    pub(crate) unsafe fn start<F>(this: *mut Coro, low: usize, top: usize, root: F)
    where
        F: FnOnce(),
    {
        let stack = Borrowed { low, top };
        let body = move |yielder: &Yielder, _go_on| {
            // SAFETY: the coroutine's own record, which does not move (`coro`, invariant 6).
            unsafe { (*this).yielder.set(ptr::from_ref(yielder)) };
            root();
        };
        // SAFETY: the caller promises the stack; the lifetime of `root` is the caller's promise too.
        let inner = unsafe { Inner::with_stack_unchecked(stack, body) };
        // SAFETY: `this` is writable; what it held before has no destructor to run.
        unsafe { (&raw mut (*this).inner).write(MaybeUninit::new(inner)) };
    }

    /// As `jump::Coro::resume`.
    ///
    /// # Safety
    ///
    /// The same.
    #[inline(always)]
    pub(crate) unsafe fn resume(this: *mut Coro) -> Outcome {
        // SAFETY: started, so initialised; nobody else uses it while it runs (`coro`, invariant 1).
        let inner = unsafe { (*this).inner.assume_init_mut() };
        match inner.resume(Wish::GoOn) {
            CoroutineResult::Yield(action) => Outcome::Suspended(action),
            CoroutineResult::Return(()) => Outcome::Finished,
        }
    }

    /// As `jump::Coro::visit`.
    ///
    /// # Safety
    ///
    /// The same.
    pub(crate) unsafe fn visit(this: *mut Coro) {
        // SAFETY: as in `resume`.
        let inner = unsafe { (*this).inner.assume_init_mut() };
        match inner.resume(Wish::Show) {
            CoroutineResult::Yield(_action) => {}
            CoroutineResult::Return(()) => fatal("a visited goroutine has ended"),
        }
    }

    /// As `jump::Coro::suspend`.
    ///
    /// # Safety
    ///
    /// The same.
    #[inline(always)]
    #[must_use]
    pub(crate) unsafe fn suspend(this: *mut Coro, action: Action) -> Wish {
        // SAFETY: it runs, so the yielder is set, and good (see there).
        unsafe { (*(*this).yielder.get()).suspend(action) }
    }
}
