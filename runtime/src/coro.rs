//! F2. Stack switching. The only file that names corosensei.
//!
//! # What it is
//!
//! A [`Coro`] is a suspended computation on a stack that somebody else owns. The worker resumes it; the
//! computation suspends itself with an [`Action`], which tells the worker what to do with it. Both
//! directions cost 2 to 3 ns inlined, about 20 inside real frames: corosensei enters
//! with `call` and leaves with `ret`, which throws the return predictor off.
//!
//! # Invariants
//!
//! 1. A coroutine is resumed by one thread at a time, and only when it is not running: the status word
//!    of its goroutine says who may (`g::state`). Hence moving one between threads is sound for *this*
//!    file; whether the code that runs on it may be moved is `identity`'s question.
//! 2. A suspended coroutine is never dropped, unwound or reset by anyone else (ARCHITECTURE, Rule 4). `Coro`
//!    has no destructor: what is not finished is leaked.
//! 3. The root function never unwinds: `start` takes one that catches.
//! 4. np is 1 on both sides of every switch (`cur`): wherever the stack and the current goroutine have
//!    different owners, no signal handler acts.
//! 5. A suspended computation may be *visited* by whoever may resume it: it is resumed for a moment, to show
//!    its stack, and suspends again where it was. Its code sees nothing of it: [`suspend`] says so to its one
//!    caller, which shows the stack before it does anything else (it reads no thread's word: the visitor
//!    is on no thread of its own).
//! 6. The [`Yielder`] lies at a fixed place of the coroutine's stack and stays valid for its life, on
//!    every thread that resumes it (corosensei rewrites the parent link there on each resume).
//!
//! # Rejected
//!
//! A symmetric `jmp` switch of our own: 3.6 to 4.2 ns where this one pays 20 (one real frame). It needs
//! its own call-frame information for unwinding and backtraces, per target. The interface here is small
//! enough for it to stand beside corosensei later.

use std::mem::MaybeUninit;
use std::num::NonZeroUsize;

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult};

use crate::util::abort::fatal;

/// What a goroutine asks of its worker when it suspends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Action {
    /// Queue me behind the others.
    Yield,
    /// I have published my wait: see what became of it.
    Park,
    /// Run the new goroutine that I left with the worker, and queue me as its continuation.
    Spawn,
    /// My runtime has stopped: do not come back to me.
    Stop,
}

/// What came of a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It suspended itself and asks this.
    Suspended(Action),
    /// Its root function returned; its stack is free.
    Finished,
}

/// Why a suspended computation is resumed. (One byte: it comes in a register.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wish {
    /// To go on.
    GoOn,
    /// To show its stack and to suspend again (invariant 5).
    Show,
}

type Inner = Coroutine<Wish, Action, (), Borrowed>;

/// By which a running coroutine suspends itself (invariant 6).
pub(crate) type Yielder = corosensei::Yielder<Wish, Action>;

/// A suspended or running computation. Lies in its goroutine's header, never moves, has no destructor.
pub(crate) struct Coro {
    inner: MaybeUninit<Inner>,
}

impl std::fmt::Debug for Coro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coro")
    }
}

impl Coro {
    /// Prepares `root` to run on the stack `[low, top)`; writes it to the top of that stack.
    ///
    /// # Safety
    ///
    /// `this` may be written; `[low, top)` is writable memory with a guard below it, used by nothing
    /// else until the coroutine has finished; `top` is 16-aligned and the closure fits well above `low`.
    /// What `root` borrows outlives the coroutine. `root` does not unwind.
    #[inline(always)]
    pub(crate) unsafe fn start<F>(this: *mut Coro, low: usize, top: usize, root: F)
    where
        F: FnOnce(&Yielder),
    {
        let stack = Borrowed { low, top };
        // SAFETY: the caller promises the stack; the lifetime of `root` is the caller's promise too.
        let inner = unsafe { Inner::with_stack_unchecked(stack, move |yielder, _go_on| root(yielder)) };
        // SAFETY: `this` is writable; what it held before has no destructor to run.
        unsafe { (&raw mut (*this).inner).write(MaybeUninit::new(inner)) };
    }

    /// Runs it until it suspends itself or finishes.
    ///
    /// # Safety
    ///
    /// `this` was started, has not finished, is running nowhere, and np is 1 (invariants 1 and 4).
    #[inline(always)]
    pub(crate) unsafe fn resume(this: *mut Coro) -> Outcome {
        // SAFETY: started, so initialised; nobody else uses it while it runs (invariant 1).
        let inner = unsafe { (*this).inner.assume_init_mut() };
        match inner.resume(Wish::GoOn) {
            CoroutineResult::Yield(action) => Outcome::Suspended(action),
            CoroutineResult::Return(()) => Outcome::Finished,
        }
    }

    /// Lets it show its stack (invariant 5).
    ///
    /// # Safety
    ///
    /// As [`resume`](Self::resume); it has been resumed before and has suspended itself since.
    pub(crate) unsafe fn visit(this: *mut Coro) {
        // SAFETY: as in `resume`.
        let inner = unsafe { (*this).inner.assume_init_mut() };
        match inner.resume(Wish::Show) {
            CoroutineResult::Yield(_action) => {}
            CoroutineResult::Return(()) => fatal("a visited goroutine has ended"),
        }
    }
}

/// Leaves the running coroutine; returns when somebody resumes it, perhaps on another thread. If that was to
/// show its stack, the caller does so at once and suspends again.
///
/// # Safety
///
/// `yielder` is that of the coroutine on whose stack (or segment) the caller runs; np is 1.
#[inline(always)]
#[must_use]
pub(crate) unsafe fn suspend(yielder: *const Yielder, action: Action) -> Wish {
    // SAFETY: invariant 6.
    unsafe { (*yielder).suspend(action) }
}

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

/// The caller's stack pointer, near enough to tell how much stack is left.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let sp: usize;
        // SAFETY: reads a register.
        unsafe { std::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
        sp
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let here = 0u8;
        (&raw const here).addr()
    }
}

/// A stack that belongs to the slab; corosensei only borrows it.
#[derive(Clone, Copy)]
struct Borrowed {
    low: usize,
    top: usize,
}

// SAFETY: the callers of `start` and `on_stack` promise that [low, top) is a stack with a guard page
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
