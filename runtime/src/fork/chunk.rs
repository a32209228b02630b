//! F2c. Chunks: the memory of records.
//!
//! ```text
//!   chunk, aligned to its 64 KiB
//!   | header | record 0 | record 1 | ...              | record 1022 |
//!              bottom     grows up ->                               end
//! ```
//!
//! A goroutine takes a chunk with its first fork and gives it back when it ends. A recursion that is deeper
//! than a chunk goes on in a further one, linked behind (`fork/pile`).
//!
//! # Invariants
//!
//! 1. Chunks are carved from reservations that are never unmapped: a link in one stays a link.
//! 2. `queued` counts the links of the chunk that queues hold: raised before one is queued, lowered after one
//!    was taken out. Only a chunk that has none leaves its runtime (a link in another runtime's queue would
//!    be taken there), or has its memory discarded.
//! 3. The other fields are those of whoever owns the chunk: the goroutine, or the list of free ones.
//!
//! Nothing allocates: carving asks the kernel for address space. The pool is process-wide, as the stacks are
//! (ARCHITECTURE, Rule 3).
//!
//! *Rejected:* the low end of the goroutine's own stack. It would take a fixed part of every stack (a page
//! of the four of a small one), whether the goroutine forks or not; the guard page would have to move
//! between records and frames, and the trimmers to spare what queues may still hold; and what is too deep
//! for it would need a second mechanism, where a chunk only needs a second chunk.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::record::{RECORD_BYTES, Record};
use crate::sys::memory;
use crate::util::lock::Lock;

/// The size of a chunk, and what its address is a multiple of.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// Carved at a time. The first and the last of so many may be cut by the alignment.
const RESERVE_BYTES: usize = 4 << 20;

/// The head of a chunk.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Chunk {
    /// The next of the goroutine's chunks, towards its newest records; or the next free one.
    pub(crate) next: Cell<*mut Chunk>,
    /// The one before, towards the oldest.
    pub(crate) before: Cell<*mut Chunk>,
    /// The oldest record that has not been offered.
    pub(crate) split: Cell<usize>,
    /// The first unused record, while the goroutine uses a chunk behind this one.
    pub(crate) head: Cell<usize>,
    /// The goroutine that owns it.
    pub(crate) owner: Cell<*const ()>,
    /// Invariant 2.
    queued: AtomicUsize,
}

const _: () = assert!(size_of::<Chunk>() == RECORD_BYTES);

impl Chunk {
    /// Where its records begin.
    #[inline(always)]
    pub(crate) fn bottom(this: *mut Chunk) -> usize {
        this.addr() + RECORD_BYTES
    }

    /// Where they end.
    #[inline(always)]
    pub(crate) fn end(this: *mut Chunk) -> usize {
        this.addr() + CHUNK_BYTES
    }

    /// The chunk that a record lies in.
    ///
    /// # Safety
    ///
    /// It lies in one.
    pub(crate) unsafe fn of(record: NonNull<Record>) -> &'static Chunk {
        let base = ptr::with_exposed_provenance::<Chunk>(record.addr().get() & !(CHUNK_BYTES - 1));
        // SAFETY: chunks are aligned to their size, exposed when they were carved, and never unmapped.
        unsafe { &*base }
    }

    /// One of its links is about to be queued. Relaxed: the queue, or the owner's own order, publishes it.
    pub(crate) fn count_queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// One of its links was taken out of a queue, and its word says so.
    pub(crate) fn count_taken(&self) {
        // Release: the last touch of the link; pairs with the Acquire in `is_clean`.
        self.queued.fetch_sub(1, Ordering::Release);
    }

    /// Does no queue hold any of its links?
    fn is_clean(&self) -> bool {
        // Acquire: pairs with the Release in `count_taken`.
        self.queued.load(Ordering::Acquire) == 0
    }

    /// Gives the memory of its records back, if no queue holds one.
    ///
    /// # Safety
    ///
    /// The caller owns the chunk, and no record of it is in use.
    pub(crate) unsafe fn discard(this: *mut Chunk) {
        // SAFETY: never unmapped.
        if unsafe { &*this }.is_clean() {
            let start = ptr::with_exposed_provenance_mut(this.addr() + memory::PAGE_BYTES);
            // SAFETY: whole pages of the chunk, behind its header's, whose records nobody uses or has in a
            // queue; zero is what they become, and zero is a latent record. A refusal leaves all as it was.
            let _ =
                unsafe { memory::discard(NonNull::new_unchecked(start), CHUNK_BYTES - memory::PAGE_BYTES) };
        }
    }
}

/// A list of free chunks: newest first.
#[derive(Debug)]
pub(crate) struct FreeChunks {
    first: *mut Chunk,
    len: usize,
}

// SAFETY: names of chunks that the list owns; it is used by one thread at a time.
unsafe impl Send for FreeChunks {}

/// A processor keeps so many at hand.
const AT_HAND: usize = 8;

/// The free chunks of the process, all clean.
static POOL: Lock<FreeChunks> = Lock::new(FreeChunks::new());

impl FreeChunks {
    /// None.
    pub(crate) const fn new() -> Self {
        FreeChunks { first: ptr::null_mut(), len: 0 }
    }

    fn push(&mut self, chunk: *mut Chunk) {
        // SAFETY: the list owns it (invariant 3).
        unsafe { (*chunk).next.set(self.first) };
        self.first = chunk;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<*mut Chunk> {
        let chunk = self.first;
        // SAFETY: null, or owned by the list.
        self.first = unsafe { chunk.as_ref() }?.next.get();
        self.len -= 1;
        Some(chunk)
    }

    /// A chunk of the processor's; `None`: see [`from_pool`].
    pub(crate) fn take(&mut self) -> Option<*mut Chunk> {
        self.pop()
    }

    /// Keeps a chunk, or gives it to the process if there are enough.
    ///
    /// # Safety
    ///
    /// The caller owns it, and gives it up; no record of it is in use.
    pub(crate) unsafe fn give(&mut self, chunk: *mut Chunk) {
        // SAFETY: the caller's.
        if self.len >= AT_HAND && unsafe { &*chunk }.is_clean() {
            POOL.lock().push(chunk);
        } else {
            self.push(chunk);
        }
    }

    /// Gives all clean ones to the process.
    pub(crate) fn flush(&mut self) {
        let mut dirty = FreeChunks::new();
        while let Some(chunk) = self.pop() {
            // SAFETY: ours since the `pop`.
            if unsafe { &*chunk }.is_clean() {
                POOL.lock().push(chunk);
            } else {
                dirty.push(chunk);
            }
        }
        *self = dirty;
    }
}

/// A chunk of the process's: a free one or a fresh one. `None`: the kernel has no address space left.
pub(crate) fn from_pool() -> Option<*mut Chunk> {
    let mut pool = POOL.lock();
    if pool.first.is_null() {
        let base = memory::reserve(RESERVE_BYTES).ok()?;
        let from = base.as_ptr().expose_provenance();
        let mut at = from.next_multiple_of(CHUNK_BYTES);
        while at + CHUNK_BYTES <= from + RESERVE_BYTES {
            // Zero bytes are a free chunk that no queue knows.
            pool.push(ptr::with_exposed_provenance_mut(at));
            at += CHUNK_BYTES;
        }
    }
    pool.pop()
}
