//! F4. What a queue holds: one word that names a goroutine, or a worker with goroutines of its own.
//!
//! # Invariants
//!
//! 1. An [`Item`] is the address of a live [`Link`]. Links are type-stable (`util/list.rs`, invariant 3):
//!    the address stays valid, and stays a link, as long as any queue of the runtime may hold it.
//! 2. An item in a queue is owned by the queue. Whoever takes it out owns what it names: the right to
//!    run the goroutine, or to give its P to the worker. So an item that came out twice would be a
//!    goroutine that runs twice; the queues' promise is *each item exactly once*.
//!
//! Called on goroutine and scheduler stacks, and by foreign threads that wake a goroutine.

use std::fmt;
use std::ptr::NonNull;

use crate::util::list::{Kind, Link};

/// What can be queued. Copying it copies the name, not the ownership (invariant 2).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Item(NonNull<Link>);

// SAFETY: an item is a name; by invariant 2 the queues hand what it names from one thread to another, and
// a link's own fields are atomic or constant.
unsafe impl Send for Item {}
// SAFETY: as above; a shared item gives out a shared link only.
unsafe impl Sync for Item {}

impl Item {
    /// The item that `link` is the head of. The pointer's provenance is kept: make it from the whole
    /// object's address, not from a `&Link`, if it is to lead back to the object.
    ///
    /// # Safety
    ///
    /// `link` is valid, and stays so while the item or a copy of it may be used (invariant 1).
    #[inline(always)]
    pub(crate) unsafe fn new(link: NonNull<Link>) -> Self {
        Item(link)
    }

    /// The item of which [`as_ptr`](Self::as_ptr) gave this pointer; `None` for null.
    ///
    /// # Safety
    ///
    /// `link` is null or came from `as_ptr`.
    #[inline(always)]
    pub(crate) unsafe fn from_ptr(link: *mut Link) -> Option<Self> {
        NonNull::new(link).map(Item)
    }

    /// The address, never null, with the provenance given to [`new`](Self::new).
    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut Link {
        self.0.as_ptr()
    }

    /// The link itself.
    #[inline(always)]
    pub(crate) fn link(&self) -> &Link {
        // SAFETY: invariant 1.
        unsafe { self.0.as_ref() }
    }

    /// What the item names.
    #[inline(always)]
    pub(crate) fn kind(self) -> Kind {
        self.link().kind()
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({:?}, {:p})", self.kind(), self.0)
    }
}
