//! F2d. The pile: the forks of one goroutine whose second branch has not been run.
//!
//! A join pushes its record, runs the first branch, and pops the record again. Only the goroutine itself does
//! so, and a signal handler on its thread may look at what is there; nobody else. So the hot path has no
//! fence and no atomic read-modify-write.
//!
//! ```text
//!   chunk A: | x  x  x  .  .  .  .  . |      chunk B: | .  .  .  ............ |
//!                     ^               ^                ^              ^
//!                     split          full               split = bottom head
//!   x offered; . latent                                  (B is the current one)
//! ```
//!
//! # Invariants
//!
//! 1. Fields but `limit` are touched by the goroutine, or by a signal handler of its thread when np is 0. What
//!    changes more than `head` is done with np 1.
//! 2. The records below `head` in the current chunk, and below `Chunk::head` in those before it, are in use;
//!    those at or above are not. In each chunk the records in use below `split` have been offered since they
//!    were written; those from `split` on have not. So the oldest is offered first.
//! 3. The push writes the record first, then raises `head`; the pop lowers `head` first, then looks at the
//!    word. So a handler in between finds a complete record, or none, and what it did is seen.
//! 4. `limit` is the end of the current chunk, or 0 when somebody is hungry: any thread may store 0, the
//!    goroutine sets it back *before* it looks who is hungry. Without a chunk `head` and `limit` are 0. So
//!    one comparison, `head >= limit`, asks: is there room, does nobody want anything, and is this a
//!    goroutine at all? (Elsewhere both are 0, too.)

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::chunk::Chunk;
use super::record::{RECORD_BYTES, Record};
use crate::cur;

/// A goroutine's pile. All zero at first. `limit`, which others write, lies on a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Pile {
    /// The first unused record of the current chunk, while the goroutine does not run: else it is in the
    /// thread's fork block (`cur`).
    saved_head: AtomicUsize,
    /// Where the first chunk's records begin: equal to `head` if there are none in use.
    bottom: AtomicUsize,
    /// The chunk that `head` is in.
    current: Cell<*mut Chunk>,
    /// A chunk before which none has latent records.
    oldest: Cell<*mut Chunk>,
    /// Has a handler offered all since the limit was lowered? Then the goroutine has not forked since.
    served: AtomicBool,
    padding: [usize; 3],
    /// Invariant 4.
    limit: AtomicUsize,
}

// SAFETY: invariant 1 keeps the cells to one thread at a time.
unsafe impl Sync for Pile {}

impl Pile {
    /// Makes this pile the one that forks on this thread go to. By the worker, before it resumes a goroutine that has
    /// forked; a first fork does it itself (`begin`).
    #[inline(always)]
    pub(crate) fn install(&self) {
        cur::set_fork(self.saved_head.load(Ordering::Relaxed), &raw const self.limit);
    }

    /// Saves what the thread has of it, and leaves the thread without. By the same worker, when the goroutine has left
    /// the thread.
    #[inline(always)]
    pub(crate) fn save(&self) {
        let (_, head, _) = cur::fork_block();
        self.saved_head.store(head, Ordering::Relaxed);
        cur::clear_fork();
    }

    /// The first unused record. By the goroutine, or a handler on its thread.
    #[inline(always)]
    pub(crate) fn head(&self) -> usize {
        let (_, head, _) = cur::fork_block();
        head
    }

    /// Up to where records may be pushed without asking.
    #[inline(always)]
    pub(crate) fn limit(&self) -> usize {
        // Relaxed: a request that comes late is seen at the next fork.
        self.limit.load(Ordering::Relaxed)
    }

    /// Somebody is hungry: the next fork takes the slow path. By anybody.
    pub(crate) fn ask(&self) {
        // The look first spares the line. Relaxed: orders nothing by itself; see `sched::promote`.
        if self.limit() != 0 {
            self.limit.store(0, Ordering::Relaxed);
        }
    }

    /// Takes requests back (invariant 4).
    pub(crate) fn raise_limit(&self) {
        self.served.store(false, Ordering::Relaxed);
        self.limit.store(Chunk::end(self.current.get()), Ordering::Relaxed);
    }

    /// The limit is another chunk's: the next fork shall set it, after which it looks who is hungry.
    fn look_again(&self) {
        self.served.store(false, Ordering::Relaxed);
        self.limit.store(0, Ordering::Relaxed);
    }

    /// A handler has offered all. If the goroutine was asked, it need not be interrupted again before its next
    /// fork, which must come through `raise_limit`.
    pub(crate) fn note_served(&self) {
        if self.limit() == 0 {
            self.served.store(true, Ordering::Relaxed);
        }
    }

    /// Asks, and says whether latent records may wait all the same. By the monitor.
    pub(crate) fn ask_and_look(&self) -> bool {
        self.ask();
        self.has_chunk() && !self.served.load(Ordering::Relaxed)
    }

    /// Are any records in use? By the goroutine.
    #[inline(always)]
    pub(crate) fn has_records(&self) -> bool {
        let head = self.head();
        // 0 without a chunk: then a switch does not touch the pile's lines.
        head != 0 && head != self.bottom.load(Ordering::Relaxed)
    }

    /// Has the goroutine forked, ever?
    #[inline(always)]
    pub(crate) fn has_chunk(&self) -> bool {
        self.bottom.load(Ordering::Relaxed) != 0
    }

    /// Is the current chunk full?
    pub(crate) fn is_full(&self) -> bool {
        self.head() == Chunk::end(self.current.get())
    }

    /// Begins with its first chunk.
    pub(crate) fn begin(&self, chunk: *mut Chunk, owner: *const ()) {
        attach(chunk, ptr::null_mut(), owner);
        self.current.set(chunk);
        self.oldest.set(chunk);
        self.bottom.store(Chunk::bottom(chunk), Ordering::Relaxed);
        cur::set_fork(Chunk::bottom(chunk), &raw const self.limit);
        self.raise_limit();
    }

    /// The chunk behind the current one, from a former excursion.
    pub(crate) fn spare(&self) -> Option<*mut Chunk> {
        let next = chunk(self.current.get()).next.get();
        (!next.is_null()).then_some(next)
    }

    /// Takes a fresh chunk behind the current one, which is full.
    pub(crate) fn add_spare(&self, fresh: *mut Chunk, owner: *const ()) {
        attach(fresh, self.current.get(), owner);
        chunk(self.current.get()).next.set(fresh);
    }

    /// Goes on in the spare chunk. np is 1.
    pub(crate) fn enter_spare(&self) {
        let current = self.current.get();
        chunk(current).head.set(self.head());
        let next = chunk(current).next.get();
        chunk(next).split.set(Chunk::bottom(next));
        self.current.set(next);
        cur::set_fork_head(Chunk::bottom(next));
        self.look_again();
    }

    /// Comes back from it. np is 1; no record of the current chunk is in use.
    pub(crate) fn leave_spare(&self) {
        let left = self.current.get();
        debug_assert_eq!(self.head(), Chunk::bottom(left), "a chunk is left with records in use");
        let before = chunk(left).before.get();
        self.current.set(before);
        if self.oldest.get() == left {
            self.oldest.set(before);
        }
        cur::set_fork_head(chunk(before).head.get());
        self.look_again();
    }

    /// Ends with the goroutine: its chunks, the first of them first, linked by `next`. np is 1.
    pub(crate) fn end(&self) -> *mut Chunk {
        debug_assert!(!self.has_records(), "a goroutine ends with forks in use");
        let first = self.current.replace(ptr::null_mut());
        self.oldest.set(ptr::null_mut());
        cur::clear_fork();
        self.bottom.store(0, Ordering::Relaxed);
        self.limit.store(0, Ordering::Relaxed);
        first
    }

    /// Takes the oldest latent record as offered, and returns it. np is 1.
    pub(crate) fn split_oldest(&self) -> Option<NonNull<Record>> {
        let mut at = self.oldest.get();
        loop {
            if at.is_null() {
                return None;
            }
            let chunk = chunk(at);
            let is_current = at == self.current.get();
            let head = if is_current { self.head() } else { chunk.head.get() };
            let record = chunk.split.get();
            if record < head {
                chunk.split.set(record + RECORD_BYTES);
                self.oldest.set(at);
                return NonNull::new(ptr::with_exposed_provenance_mut(record));
            }
            if is_current {
                self.oldest.set(at);
                return None;
            }
            at = chunk.next.get();
        }
    }

    /// After the pop of a record that may have been offered. np is 1.
    pub(crate) fn unsplit(&self, record: NonNull<Record>) {
        let chunk = chunk(self.current.get());
        if chunk.split.get() > record.addr().get() {
            chunk.split.set(record.addr().get());
        }
    }
}

/// The header of a chunk of this pile.
fn chunk<'a>(at: *mut Chunk) -> &'a Chunk {
    // SAFETY: the pile's own chunk, never unmapped.
    unsafe { &*at }
}

fn attach(fresh: *mut Chunk, before: *mut Chunk, owner: *const ()) {
    let chunk = chunk(fresh);
    chunk.next.set(ptr::null_mut());
    chunk.before.set(before);
    chunk.split.set(Chunk::bottom(fresh));
    chunk.owner.set(owner);
}
