//! F2. Coroutines: a suspended computation on a stack that somebody else owns.
//!
//! The worker resumes it; the computation suspends itself with an [`Action`], which tells the worker what to
//! do with it. Two implementations stand side by side, with one interface (`Coro::start`, `Coro::resume`,
//! `Coro::visit`, `Coro::suspend`): `jump`, our own for x86-64, and `portable`, on corosensei, for every
//! other target (and for x86-64 with `--cfg gort_portable_switch`, to test and to compare). Running on a further stack
//! ([`on_stack`]) is corosensei's on all of them.
//!
//! # Invariants
//!
//! 1. A coroutine is resumed by one thread at a time, and only when it is not running: the status word
//!    of its goroutine says who may (`g::state`). Hence moving one between threads is sound for *this*
//!    folder; whether the code that runs on it may be moved is `identity`'s question.
//! 2. A suspended coroutine is never dropped, unwound or reset by anyone else (ARCHITECTURE, Rule 4). `Coro`
//!    has no destructor: what is not finished is leaked.
//! 3. The root function never unwinds: `start` takes one that catches.
//! 4. np is 1 on both sides of every switch (`cur`): wherever the stack and the current goroutine have
//!    different owners, no signal handler acts.
//! 5. A suspended computation may be *visited* by whoever may resume it: it is resumed for a moment, to show
//!    its stack, and suspends again where it was. Its code sees nothing of it: `suspend` says so to its one
//!    caller, which shows the stack before it does anything else (it reads no thread's word: the visitor
//!    is on no thread of its own).
//! 6. A `Coro` does not move while it runs or is suspended.
//!
//! # The switch, measured
//!
//! corosensei enters with `call` and leaves with `ret`: as the stacks differ, the processor's return predictor
//! is wrong each time. `jump` does without: a yield costs 8 to 10 ns where it cost 33 (ARCHITECTURE,
//! Departures).

#[cfg(all(target_arch = "x86_64", not(gort_portable_switch)))]
mod jump;
#[cfg(all(target_arch = "x86_64", not(gort_portable_switch)))]
use jump as switch;
#[cfg(not(all(target_arch = "x86_64", not(gort_portable_switch))))]
mod portable;
#[cfg(not(all(target_arch = "x86_64", not(gort_portable_switch))))]
use portable as switch;
mod segment;

pub(crate) use segment::on_stack;
pub(crate) use switch::Coro;

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

#[cfg(test)]
mod tests;
