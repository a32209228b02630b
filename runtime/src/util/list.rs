//! F0c. The link of what can be queued.
//!
//! A goroutine or a worker that waits in a queue is named by one word, a [`Link`] pointer: the first
//! field of `g::G` and of `m::M`. Queues know links only, never what stands around them.
//!
//! # Invariants
//!
//! 1. An object is in at most one queue at a time, so its one `next` serves every intrusive list.
//! 2. `next` belongs to whoever owns the object at the moment: the list that holds it, under that list's
//!    lock or by its hand-over protocol.
//! 3. Links are type-stable: they lie in memory that is never unmapped while a runtime can reach it.
#![forbid(unsafe_code)]

use std::ptr;

use crate::prim::atomic::{AtomicPtr, Ordering};

/// What a link is the head of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A goroutine: `g::G`.
    G,
    /// A worker with goroutines of its own to run: `m::M`.
    M,
    /// A fork whose second branch may be run by anybody: `fork::Record`.
    Fork,
}

/// The first field of everything that can be queued.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Link {
    next: AtomicPtr<Link>,
    kind: Kind,
}

impl Link {
    /// A link in no list.
    #[cfg(not(loom))]
    pub(crate) const fn new(kind: Kind) -> Self {
        Link { next: AtomicPtr::new(ptr::null_mut()), kind }
    }

    /// A link in no list.
    #[cfg(loom)]
    pub(crate) fn new(kind: Kind) -> Self {
        Link { next: AtomicPtr::new(ptr::null_mut()), kind }
    }

    /// What the link is the head of.
    #[inline(always)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The next in the list that holds this one. Relaxed: the list's own protocol orders it.
    #[inline(always)]
    pub(crate) fn next(&self) -> *mut Link {
        self.next.load(Ordering::Relaxed)
    }

    /// Sets the next. Relaxed: the list's own protocol orders it.
    #[inline(always)]
    pub(crate) fn set_next(&self, next: *mut Link) {
        self.next.store(next, Ordering::Relaxed);
    }
}
