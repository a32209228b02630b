//! F0. The current thread's word: which M runs here, and may it be preempted?
//!
//! # What it is
//!
//! One pointer per OS thread, declared in assembly in `.tbss` and read by one volatile `asm!`
//! instruction. It names the [`Head`] of the M that the thread embodies, or is null on every thread that
//! is not a worker. The head is the first field of `m::M`; this floor knows nothing else of it.
//!
//! Beside it lies the *fork block*, two words of the same kind: the head of the pile of the goroutine that runs
//! (`fork::pile`), and where the limit of that pile stands. They are here, not in the G, because a fork is
//! mostly the latency of storing and loading the head: 4.9 ns where the address of the word was itself loaded,
//! 3.0 where it is a constant offset from the thread pointer. A goroutine that has forked has them saved and
//! restored at each switch. Else, on the scheduler stack, and on a thread that is no worker, the block is *clear*:
//! the head is 0 and the limit's place is a zero, so that a fork need not ask where it is.
//!
//! # Invariants
//!
//! 1. *No `thread_local!` in the runtime* (ARCHITECTURE, Rule 8). LLVM takes the address of a thread-local as
//!    constant within a function, which is wrong for a function that suspends on one thread and goes on
//!    on another. The word here is read by an instruction that LLVM can neither move nor merge.
//! 2. After every switch the word is read again; nobody keeps its value across a suspension.
//! 3. Between suspensions the value is stable even under preemption by signal: a goroutine that is
//!    stopped at an arbitrary instruction goes on on the same thread. Only `m.p` may change beneath it.
//! 4. `np` is 1 whenever the thread is on its scheduler stack, holds a runtime lock, or uses its P
//!    (ARCHITECTURE, Rule 9). A signal handler that finds `np != 0` touches nothing.
//!
//! Called on every stack: goroutine, scheduler, signal handler, foreign thread.

use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, compiler_fence};

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

/// What the lowest floor knows of an M. First field of `m::M`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// 0: a signal handler on this thread may act on the P. Written by the thread alone, read by its own
    /// signal handlers: plain stores suffice, the atomic type only keeps the compiler honest.
    np: AtomicU32,
}

impl Head {
    /// A head for an M whose thread starts on its scheduler stack, where np is 1.
    pub(crate) const fn new() -> Self {
        Head { np: AtomicU32::new(1) }
    }

    /// May a signal handler on this thread act?
    #[inline(always)]
    pub(crate) fn np(&self) -> u32 {
        self.np.load(Ordering::Relaxed)
    }

    /// Sets np and forbids the compiler to move what follows before it, or what precedes behind it.
    #[inline(always)]
    pub(crate) fn set_np(&self, value: u32) {
        compiler_fence(Ordering::SeqCst);
        self.np.store(value, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }
}

/// The head of the M that this thread embodies; null on a foreign thread.
#[inline(always)]
pub(crate) fn head() -> *const Head {
    ptr::with_exposed_provenance(arch::get())
}

/// Makes this thread an M (or, with null, a foreign thread again).
///
/// # Safety
///
/// `head` is null or stays valid until the word is set again, and its M is embodied by this thread only.
pub(crate) unsafe fn set_head(head: *const Head) {
    arch::set(head.expose_provenance());
}

/// What the second word of a fork block names on a thread on which no goroutine runs: zeros.
#[repr(C, align(64))]
struct Nothing([usize; 1]);

static NOTHING: Nothing = Nothing([0]);

/// Where the thread's fork block lies, as an offset that is the same on every thread; and what is in it: the head
/// of the running goroutine's pile, and where the limit of it stands. Where it has none, and on a thread that is
/// no worker, both head and limit are 0.
#[inline(always)]
pub(crate) fn fork_block() -> (ForkBlock, usize, *const AtomicUsize) {
    let (block, head, limit) = arch::get_fork();
    (ForkBlock(block), head, ptr::with_exposed_provenance(limit))
}

/// The place of a thread's fork block. Good on every thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkBlock(usize);

impl ForkBlock {
    /// Sets the head, of the thread that calls.
    #[inline(always)]
    pub(crate) fn set_head(self, head: usize) {
        arch::set_fork_head_at(self.0, head);
    }
}

/// Sets the head.
#[inline(always)]
pub(crate) fn set_fork_head(head: usize) {
    arch::set_fork_head(head);
}

/// Sets both words: for a goroutine that has a pile.
#[inline(always)]
pub(crate) fn set_fork(head: usize, limit: *const AtomicUsize) {
    arch::set_fork(head, limit.expose_provenance());
}

/// No goroutine with a pile runs on the thread.
#[inline(always)]
pub(crate) fn clear_fork() {
    arch::set_fork(0, (&raw const NOTHING).expose_provenance());
}

/// A section in which no signal takes the P away from this thread. Nests; costs two plain stores. On a
/// foreign thread it does nothing. It must not span a suspension (the guard would restore the np of
/// another thread): debug builds assert that in `coro`.
///
/// One word, so that what holds a section and one thing more travels in registers.
#[derive(Debug)]
pub(crate) struct NoPreempt {
    /// Null: within another section, which ends later, or on a foreign thread.
    head: *const Head,
}

impl NoPreempt {
    /// Enters the section.
    #[inline(always)]
    pub(crate) fn enter() -> Self {
        let head = head();
        if !head.is_null() {
            // SAFETY: invariant 3: a non-null head is this thread's own M, alive while the thread runs.
            let m = unsafe { &*head };
            if m.np() == 0 {
                m.set_np(1);
                return NoPreempt { head };
            }
        }
        NoPreempt { head: ptr::null() }
    }

    /// Was there a section already when this one was entered, on a worker? Then nothing may suspend.
    #[inline(always)]
    pub(crate) fn is_nested(&self) -> bool {
        self.head.is_null()
    }
}

impl Drop for NoPreempt {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.head.is_null() {
            // SAFETY: as in `enter`; the guard did not span a suspension, so it is still this thread's.
            unsafe { &*self.head }.set_np(0);
        }
    }
}
