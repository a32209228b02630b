//! F6. The word of an M: who may give it a P, and who queues it?
//!
//! | state | meaning | set by | from |
//! |---|---|---|---|
//! | `Running` 0 | has a P and runs goroutines, or looks for some; or is about to go idle | itself | Queued |
//! | `Idle` 1 | has no P, sleeps or is about to | itself | Running; Queued, when it had won its own word for nothing |
//! | `Queued` 2 | stands in a run queue, or has been given a P | whoever wins it; itself | Idle, Frozen; Running |
//! | `Frozen` 3 | sleeps with a goroutine on top of it that only this thread may go on with | itself | Running |
//! | `Dead` 4 | its thread has ended | itself | Running, Idle |
//!
//! # Invariants
//!
//! 1. Whoever gives an M a P has won it by a compare-exchange from Idle (or Frozen) to Queued, or has
//!    taken it out of a queue, where it stands only as Queued. So an M is never given two.
//! 2. Who readies a goroutine that is bound to an M puts it into the M's inbox *first* and looks at the
//!    word *then*; an M publishes Idle first and reads its inbox then. Each has a SeqCst fence between the
//!    two steps: one of the two sees the other (loom model below).
//! 3. A frozen M is queued once, for its frozen goroutine; what else is bound to it waits in the inbox.
#![forbid(unsafe_code)]

use crate::prim::atomic::{AtomicU32, Ordering, fence};

const RUNNING: u32 = 0;
const IDLE: u32 = 1;
const QUEUED: u32 = 2;
const FROZEN: u32 = 3;
const DEAD: u32 = 4;

/// The word.
#[derive(Debug)]
pub(crate) struct Word(AtomicU32);

impl Word {
    /// The word of an M whose thread is being started: it is in no list, and nobody may give it a P.
    pub(crate) fn new() -> Self {
        Word(AtomicU32::new(RUNNING))
    }

    /// Queued → Running, by itself, when it has its P.
    pub(crate) fn set_running(&self) {
        self.0.store(RUNNING, Ordering::Relaxed);
    }

    /// Running → Idle. It must read its inbox afterwards (invariant 2).
    pub(crate) fn set_idle(&self) {
        // Release: pairs with the Acquire in `try_queue`.
        self.0.store(IDLE, Ordering::Release);
        // SeqCst: this store, then the load of the inbox; pairs with the fence in `try_queue`.
        fence(Ordering::SeqCst);
    }

    /// Running → Frozen, before its goroutine publishes that it waits.
    pub(crate) fn set_frozen(&self) {
        // Release: pairs with the Acquire in `try_thaw`.
        self.0.store(FROZEN, Ordering::Release);
    }

    /// Running → Queued: it queues itself.
    pub(crate) fn set_queued(&self) {
        // Release: pairs with the queue's own order.
        self.0.store(QUEUED, Ordering::Release);
    }

    /// → Dead.
    pub(crate) fn set_dead(&self) {
        self.0.store(DEAD, Ordering::Release);
    }

    /// Has it queued itself, or has somebody won it? For its own thread.
    pub(crate) fn is_queued(&self) -> bool {
        self.0.load(Ordering::Relaxed) == QUEUED
    }

    /// Has it no P, and nothing that it waits for? For reports and the creator.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == IDLE
    }

    /// Does it sleep with a goroutine on top of it, or is about to? For the deadlock check.
    pub(crate) fn is_frozen(&self) -> bool {
        // Acquire: which goroutine it is is visible.
        self.0.load(Ordering::Acquire) == FROZEN
    }

    /// Has its thread ended? For the deadlock check.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.load(Ordering::Acquire) == DEAD
    }

    /// Does it run, or is it about to go idle? For reports and the creator.
    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire) == RUNNING
    }

    /// Idle → Queued. The winner must queue it or give it a P. After a push to its inbox.
    pub(crate) fn try_queue(&self) -> bool {
        // SeqCst: the push, then the load of the word; pairs with the fence in `set_idle`.
        fence(Ordering::SeqCst);
        // The plain load first spares a busy M's cache line. Acquire: pairs with `set_idle`.
        self.0.load(Ordering::Relaxed) == IDLE
            && self.0.compare_exchange(IDLE, QUEUED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Frozen → Queued. The winner must queue it or give it a P.
    pub(crate) fn try_thaw(&self) -> bool {
        // Acquire: pairs with the Release in `set_frozen`.
        self.0.compare_exchange(FROZEN, QUEUED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;

    /// A waker fills the inbox while the M goes idle: either the M sees the goroutine, or the waker wins
    /// the M, and never both win it.
    #[test]
    fn loom_ready_against_idle() {
        loom::model(|| {
            let word = Arc::new(Word::new());
            let inbox = Arc::new(AtomicUsize::new(0));
            let wins = Arc::new(AtomicUsize::new(0));
            let wakers: Vec<_> = (0..2)
                .map(|_| {
                    let (word, inbox, wins) = (word.clone(), inbox.clone(), wins.clone());
                    loom::thread::spawn(move || {
                        inbox.fetch_add(1, Ordering::Release);
                        if word.try_queue() {
                            wins.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            word.set_idle();
            if inbox.load(Ordering::Acquire) != 0 && word.try_queue() {
                wins.fetch_add(1, Ordering::Relaxed);
            }
            for waker in wakers {
                waker.join().expect("waker");
            }
            assert_eq!(wins.load(Ordering::Relaxed), 1, "won exactly once, for the inbox is not empty");
        });
    }
}
