//! F2b. A fork's record: the branch that waits for its turn, its result, and the link that queues know it by.
//!
//! ```text
//!   0      8      16                          48         64
//!   | word | job  | b, or result, or payload  | link     |     one cache line
//! ```
//!
//! # Invariants
//!
//! 1. *Type-stable*: records lie in chunks (`fork/chunk`), which are never unmapped, nor used for anything
//!    else, nor discarded while a queue may hold one of their links. Zero bytes are a latent record.
//! 2. `job` and `body` are the owner's, unless the word says that another goroutine has claimed them.
//! 3. The body holds `b` from `write` until the side that `word` names has read it; then, if that was another
//!    goroutine, the result or the payload, from before `finish` until the owner has read it.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::{self, MaybeUninit, offset_of};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, compiler_fence};

use super::word::{Ending, Word};
use crate::util::list::{Kind, Link};

/// So many bytes of captures, or of a result, fit into a record.
pub(crate) const BODY_BYTES: usize = 32;

/// The size of a record, and the distance from one to the next.
pub(crate) const RECORD_BYTES: usize = 64;

/// Runs the branch of a claimed record and leaves result or payload in it.
pub(crate) type Job = unsafe fn(NonNull<Record>) -> Ending;

/// What a branch leaves if it panics.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// A record; see above.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Record {
    /// Who has it.
    pub(crate) word: Word,
    /// The address of a [`Job`].
    job: Cell<usize>,
    body: UnsafeCell<MaybeUninit<[u64; BODY_BYTES / 8]>>,
    link: UnsafeCell<Link>,
}

const _: () = assert!(size_of::<Record>() == RECORD_BYTES);

/// Do a branch and its result fit into a record?
pub(crate) const fn fits<B, RB>() -> bool {
    const fn fits_one<T>() -> bool {
        size_of::<T>() <= BODY_BYTES && align_of::<T>() <= 16
    }
    fits_one::<B>() && fits_one::<RB>()
}

impl Record {
    /// Writes a latent record. It becomes visible, to the owner's signal handler, when the pile's head passes
    /// it: the caller stores that next.
    ///
    /// # Safety
    ///
    /// `this` is the record at the head of the caller's pile; `fits::<B, RB>()`; `job` is the address of `run::<B, RB>`.
    #[inline(always)]
    pub(crate) unsafe fn write<B>(this: NonNull<Record>, b: B, job: usize) {
        // SAFETY: the record is the caller's (invariant 2); b fits, and the body is aligned to 16.
        unsafe { Self::body::<B>(this).write(b) };
        // SAFETY: as above.
        unsafe { this.as_ref() }.job.set(job);
        // The handler that finds the record complete runs on this thread: a compiler's fence is enough.
        compiler_fence(Ordering::Release);
    }

    /// What stands in the body, as a `T`.
    ///
    /// # Safety
    ///
    /// `this` is a record.
    #[inline(always)]
    unsafe fn body<T>(this: NonNull<Record>) -> *mut T {
        // SAFETY: within the record.
        unsafe { (&raw mut (*this.as_ptr()).body).cast() }
    }

    /// Takes what stands in the body.
    ///
    /// # Safety
    ///
    /// It is a `T`, and the caller's by the word (invariants 2 and 3); it is taken once.
    #[inline(always)]
    pub(crate) unsafe fn take<T>(this: NonNull<Record>) -> T {
        // SAFETY: the caller's promise.
        unsafe { Self::body::<T>(this).read() }
    }

    /// Runs the branch, on a goroutine of its own.
    ///
    /// # Safety
    ///
    /// The caller has claimed the record.
    pub(crate) unsafe fn run(this: NonNull<Record>) -> Ending {
        // SAFETY: claimed: job and body are ours (invariant 2).
        let job = ptr::with_exposed_provenance::<()>(unsafe { this.as_ref() }.job.get());
        // SAFETY: `write` was given the address of a `Job`.
        let job = unsafe { mem::transmute::<*const (), Job>(job) };
        // SAFETY: as above: claimed.
        unsafe { job(this) }
    }

    /// The link, about to be queued: writes what kind it is.
    ///
    /// # Safety
    ///
    /// `this.word.offer()` has just said that the link must be queued.
    pub(crate) unsafe fn link_to_queue(this: NonNull<Record>) -> NonNull<Link> {
        // SAFETY: in no queue (`word`, invariant 1): nobody else looks at it.
        unsafe {
            let link = (&raw mut (*this.as_ptr()).link).cast::<Link>();
            link.write(Link::new(Kind::Fork));
            NonNull::new_unchecked(link)
        }
    }

    /// The record of which `link` is the link.
    ///
    /// # Safety
    ///
    /// The link's kind is `Kind::Fork`.
    pub(crate) unsafe fn of_link(link: *mut Link) -> NonNull<Record> {
        // SAFETY: only `link_to_queue` makes such links, with the provenance of the whole record.
        unsafe { NonNull::new_unchecked(link.byte_sub(offset_of!(Record, link)).cast()) }
    }
}

/// The job of a branch.
///
/// # Safety
///
/// The caller has claimed the record, which was written for a `B` with result `RB`.
pub(crate) unsafe fn run<B, RB>(record: NonNull<Record>) -> Ending
where
    B: FnOnce() -> RB,
{
    // SAFETY: claimed (`Record::run`): the branch is ours, and is taken once.
    let b = unsafe { Record::take::<B>(record) };
    match panic::catch_unwind(AssertUnwindSafe(b)) {
        Ok(result) => {
            // SAFETY: claimed; the result fits.
            unsafe { Record::body::<RB>(record).write(result) };
            Ending::Done
        }
        Err(payload) => {
            // SAFETY: claimed; a payload is two words.
            unsafe { Record::body::<Payload>(record).write(payload) };
            Ending::Panicked
        }
    }
}

/// Drops what a join that panics does not hand out. A second panic is swallowed, and its payload leaked: the
/// first one goes on.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
        mem::forget(payload);
    }
}
