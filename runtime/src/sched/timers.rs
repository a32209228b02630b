//! F7. Firing what is due.
//!
//! # Invariants
//!
//! 1. Timers fire on the scheduler stack, or on a goroutine's within a no-preempt section: they claim a
//!    wait and queue its goroutine, nothing else (`timer::entry`).
//! 2. The heap's lock is not held while a goroutine is queued, and for at most [`BATCH`] entries at once.
//! 3. Any M may fire any P's timers. They are looked at by the P's owner (every 61st turn, and when it
//!    runs out of work), by whoever searches, by the keeper (`idle`), and by sysmon, which asks a busy P.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::Sched;
use super::ready::ready_in_turn;
use crate::g::GRef;
use crate::p::{self, NO_DEADLINE, P};
use crate::sys::clock;
use crate::timer::entry::TimedWait;
use crate::timer::heap::Heap;

/// So many timers fire under one hold of the lock.
const BATCH: usize = 32;

impl Sched {
    /// Fires what is due on `of`. `p` is the P that the caller owns, which counts it.
    #[inline]
    pub(crate) fn fire_due(&'static self, p: &'static P, of: &'static P, now_ns: u64) {
        while of.timers.next_deadline.load(Ordering::Acquire) <= now_ns {
            if !Self::fire_batch(p, of, now_ns) {
                return;
            }
        }
    }

    /// Fires one batch. False if nothing was due.
    fn fire_batch(p: &'static P, of: &'static P, now_ns: u64) -> bool {
        let mut due: [Option<TimedWait>; BATCH] = [None; BATCH];
        let mut count = 0;
        let mut to_queue: [Option<GRef>; BATCH] = [None; BATCH];
        {
            let mut heap = of.timers.heap.lock();
            while count < BATCH
                && let Some((_, wait)) = heap.pop_due(now_ns)
            {
                due[count] = Some(wait);
                count += 1;
            }
            update_deadline(of, &heap);
            // Claimed under the lock: a goroutine that wakes for another reason takes its entry out under
            // the same lock, and must not leave its frame between the pop and the claim.
            for (wait, g) in due.iter().zip(&mut to_queue) {
                *g = wait.and_then(TimedWait::fire);
            }
        }
        p::count(&p.counters.fired, count as u64);
        for g in to_queue.into_iter().flatten() {
            ready_in_turn(g);
        }
        count > 0
    }

    /// Fires what is due on any P.
    #[cold]
    pub(crate) fn fire_all_due(&'static self, p: &'static P) {
        let now_ns = clock::now_ns();
        for of in self.ps() {
            self.fire_due(p, of, now_ns);
        }
    }

    /// Fires what is due on Ps above GOMAXPROCS: nobody owns them.
    pub(crate) fn fire_retired(&'static self, p: &'static P, now_ns: u64) {
        for id in self.max_procs()..self.ps_made() {
            self.fire_due(p, self.p(id), now_ns);
        }
    }
}

/// After a change of the heap, under its lock.
pub(crate) fn update_deadline(p: &P, heap: &Heap<TimedWait>) {
    // Release: pairs with the Acquires of those who look without the lock; they then lock, or sleep
    // and are roused (`ALARM`).
    p.timers.next_deadline.store(heap.next_deadline().unwrap_or(NO_DEADLINE), Ordering::Release);
}
