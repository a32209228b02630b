//! F3. The completion latch: a goroutine has ended; who has the result, who frees the slot?
//!
//! # The word
//!
//! | value | meaning | set by |
//! |---|---|---|
//! | `RUNNING` 0 | not ended, the handle exists, nobody waits | the spawner |
//! | `ENDING` 1 | the result stands in the packet and stays there | the goroutine, on its own stack |
//! | `DETACHED` 2 | the handle is gone | the handle's drop |
//! | `DONE` 3 | the stack has been left for good | the worker |
//! | address | a joiner waits; its waiter lies there | the joiner |
//!
//! # Invariants
//!
//! 1. The slot is freed by the last of two: the worker that left the stack, the owner of the handle.
//!    `finish` says `Free` to the worker exactly if the handle was gone; otherwise the handle's owner
//!    frees it, after it has seen `DONE`.
//! 2. From ENDING on the goroutine does not touch the result, whatever else of it still runs (the
//!    destructors of its local values). It is dropped on a goroutine's or a foreign thread's stack, never on the
//!    scheduler's: by the goroutine itself if the handle was gone when it ended (`try_keep_result` says
//!    no), else by the owner of the handle, who moves it out of the slot before giving the slot up.
//! 3. A registered waiter's frame is alive until this latch has woken it: a join has no timeout, and
//!    nobody else knows its ticket.

use std::ptr::NonNull;

use crate::prim::atomic::{AtomicUsize, Ordering};

const RUNNING: usize = 0;
const ENDING: usize = 1;
const DETACHED: usize = 2;
const DONE: usize = 3;

/// What the worker has to do with the slot of a goroutine that has ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterEnd {
    /// Nothing: the owner of the handle will free it.
    Nothing,
    /// Free it: the handle is gone.
    Free,
    /// Wake the joiner whose waiter lies here.
    Wake(NonNull<()>),
}

/// What the owner of a dropped handle has to do.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterDetach {
    /// Nothing: the goroutine goes on, and cleans up after itself.
    Nothing,
    /// Move the result out of the slot, then [`leave`](Done::leave).
    TakeResult,
}

/// The latch.
#[derive(Debug)]
pub(crate) struct Done(AtomicUsize);

impl Done {
    /// A latch that has not ended.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Done(AtomicUsize::new(RUNNING))
    }

    /// Makes the latch new for a new goroutine. By the spawner, who owns the slot alone.
    #[inline(always)]
    pub(crate) fn reset(&self) {
        // Relaxed: the slot is published later, by the queue or the handle.
        self.0.store(RUNNING, Ordering::Relaxed);
    }

    /// Has it ended, so that the handle's owner may take the result and free the slot?
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `finish` (and `finish_unseen`): the result is visible.
        self.0.load(Ordering::Acquire) == DONE
    }

    /// The goroutine has written its result: does anybody want it? If not, it drops it itself.
    /// Needed only where dropping the result runs code.
    #[inline]
    pub(crate) fn try_keep_result(&self) -> bool {
        // Release: the result is visible to whoever finds ENDING; pairs with the Acquire in `detach`.
        match self.0.compare_exchange(RUNNING, ENDING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(word) => word != DETACHED,
        }
    }

    /// The worker has left the stack for good.
    #[inline]
    pub(crate) fn finish(&self) -> AfterEnd {
        // Release: the result and the end of the stack's use; pairs with `is_done`, `detach`, `register`.
        // Acquire: a registered waiter's frame is visible.
        match self.0.swap(DONE, Ordering::AcqRel) {
            RUNNING | ENDING => AfterEnd::Nothing,
            DETACHED => AfterEnd::Free,
            waiter => AfterEnd::Wake(
                NonNull::new(std::ptr::with_exposed_provenance_mut(waiter)).expect("not RUNNING"),
            ),
        }
    }

    /// As [`finish`](Self::finish), when nobody can have seen the handle yet: its owner-to-be has not run
    /// since the spawn, and will next run on this very thread.
    #[inline(always)]
    pub(crate) fn finish_unseen(&self) {
        // Release: costs nothing on x86, and the parent may be stolen after all before it looks.
        self.0.store(DONE, Ordering::Release);
    }

    /// Registers the only joiner. False: it is done already.
    pub(crate) fn register(&self, waiter: NonNull<()>) -> bool {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if word == DONE {
                return false;
            }
            debug_assert!(word == RUNNING || word == ENDING, "one handle, one joiner");
            // Release: the waiter's frame; pairs with the Acquire in `finish`. Acquire on failure: DONE.
            match self.0.compare_exchange_weak(
                word,
                waiter.as_ptr().expose_provenance(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// The handle is dropped.
    #[inline]
    pub(crate) fn detach(&self) -> AfterDetach {
        // The usual case of a short goroutine spares the exchange.
        if self.is_done() {
            return AfterDetach::TakeResult;
        }
        // AcqRel: what the handle's owner did before is over when the slot is freed. Acquire on failure:
        // the result; pairs with `try_keep_result` and `finish`.
        match self.0.compare_exchange(RUNNING, DETACHED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => AfterDetach::Nothing,
            Err(word) => {
                debug_assert!(word == ENDING || word == DONE, "a joiner waits on a dropped handle");
                AfterDetach::TakeResult
            }
        }
    }

    /// The handle's owner has moved the result out of the slot and gives its right to it up. True: the
    /// worker was faster, the slot is the caller's to free.
    #[inline]
    pub(crate) fn leave(&self) -> bool {
        if self.is_done() {
            return true;
        }
        // AcqRel: as in `detach`: the slot is read no more when the worker frees it.
        self.0.compare_exchange(ENDING, DETACHED, Ordering::AcqRel, Ordering::Acquire).is_err()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Model {
        done: Done,
        result: UnsafeCell<u32>,
        freed: AtomicUsize,
        dropped: AtomicUsize,
    }

    fn model() -> Arc<Model> {
        Arc::new(Model {
            done: Done::new(),
            result: UnsafeCell::new(0),
            freed: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        })
    }

    fn free(model: &Model) {
        assert_eq!(model.freed.fetch_add(1, Ordering::AcqRel), 0, "freed once");
    }

    fn drop_result(model: &Model) {
        // SAFETY: loom checks that this access races with no other.
        model.result.with(|result| assert_eq!(unsafe { *result }, 7));
        assert_eq!(model.dropped.fetch_add(1, Ordering::AcqRel), 0, "dropped once");
        assert_eq!(model.freed.load(Ordering::Acquire), 0, "dropped before it is freed");
    }

    fn goroutine(model: &Model) -> Option<NonNull<()>> {
        // SAFETY: loom checks that this access races with no other.
        model.result.with_mut(|result| unsafe { *result = 7 });
        if !model.done.try_keep_result() {
            drop_result(model);
        }
        match model.done.finish() {
            AfterEnd::Nothing => None,
            AfterEnd::Free => {
                free(model);
                None
            }
            AfterEnd::Wake(waiter) => Some(waiter),
        }
    }

    /// The handle is dropped while the goroutine ends: dropped once, freed once, in that order.
    #[test]
    fn loom_detach_against_end() {
        loom::model(|| {
            let model = model();
            let other = model.clone();
            let thread = loom::thread::spawn(move || goroutine(&other));
            if model.done.detach() == AfterDetach::TakeResult {
                drop_result(&model);
                if model.done.leave() {
                    free(&model);
                }
            }
            assert!(thread.join().expect("goroutine").is_none());
            assert_eq!(model.dropped.load(Ordering::Relaxed), 1);
        });
    }

    /// A joiner registers while the goroutine ends: it is woken, or it finds the result.
    #[test]
    fn loom_join_against_end() {
        loom::model(|| {
            let model = model();
            let other = model.clone();
            let thread = loom::thread::spawn(move || goroutine(&other).map(|waiter| waiter.addr().get()));
            let frame = NonNull::new(std::ptr::without_provenance_mut::<()>(64)).expect("not null");
            let registered = model.done.register(frame);
            let woken = thread.join().expect("goroutine");
            assert_eq!(registered, woken.is_some());
            assert!(model.done.is_done());
            drop_result(&model);
            free(&model);
        });
    }
}
