//! F0b. The primitives that loom can stand in for.
//!
//! Every lock-free file of the machine takes its atomics from here, so that the same source is the
//! product and the model: `RUSTFLAGS="--cfg loom"` swaps the standard library's for loom's. Only the
//! pure modules are compiled under loom (see `lib.rs`); what touches stacks or the kernel is not.
//!
//! # Asymmetric fences
//!
//! Some protocols of the machine have one side that runs every few nanoseconds (the owner of a queue)
//! and one that runs every few microseconds (an M that goes to sleep). Both must order a store before a
//! later load (the store-buffer litmus test). [`light_fence`] is for the hot side and costs nothing but
//! a restraint on the compiler where the kernel has `membarrier(2)`; [`heavy_fence`] is for the rare
//! side and makes every running thread of the process execute a full fence. Where `membarrier` is
//! refused, both are ordinary `SeqCst` fences. Under loom they always are.
#![forbid(unsafe_code)]

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}
#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

/// The hot side of an asymmetric fence: orders the caller's earlier stores before its later loads, as
/// seen by a thread that executes [`heavy_fence`].
#[inline(always)]
pub(crate) fn light_fence() {
    #[cfg(not(loom))]
    crate::sys::membarrier::light_fence();
    #[cfg(loom)]
    atomic::fence(atomic::Ordering::SeqCst);
}

/// The rare side of an asymmetric fence: costs microseconds, and pairs with every [`light_fence`].
#[inline]
pub(crate) fn heavy_fence() {
    #[cfg(not(loom))]
    crate::sys::membarrier::heavy_fence();
    #[cfg(loom)]
    atomic::fence(atomic::Ordering::SeqCst);
}
