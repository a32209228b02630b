//! A meeting point of a fixed number.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use gort_runtime::waiter::WaitReason;

use crate::wait_list::{First, Monitor, Waited};

/// Lets `n` goroutines wait for each other, again and again.
///
/// As [`std::sync::Barrier`].
///
/// # Ordering
///
/// What each has done before [`wait`](Self::wait) is visible to all after it.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use gort_sync::Barrier;
///
/// let (barrier, leaders) = (Barrier::new(4), AtomicU32::new(0));
/// gort_runtime::run(|| {
///     gort_runtime::scope(|s| {
///         for _ in 0..4 {
///             s.spawn(|| {
///                 if barrier.wait().is_leader() {
///                     leaders.fetch_add(1, Ordering::Relaxed);
///                 }
///             });
///         }
///     });
/// });
/// assert_eq!(leaders.into_inner(), 1);
/// ```
pub struct Barrier {
    n: usize,
    /// In each slot: the round.
    waiters: Monitor<Round, u64>,
}

struct Round {
    number: u64,
    arrived: usize,
}

/// What a [`Barrier`] tells those who have met.
#[derive(Clone, Copy, Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Is the caller the one of its round who came last?
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// A meeting point of `n`. 0 is as good as 1: nobody waits.
    #[must_use]
    pub const fn new(n: usize) -> Self {
        Barrier { n, waiters: Monitor::new(Round { number: 0, arrived: 0 }) }
    }

    /// Waits until `n` have come, the caller among them; then all go on, and the next round begins.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    pub fn wait(&self) -> BarrierWaitResult {
        let mut counted_in = None;
        loop {
            let mut round = self.waiters.lock();
            let number = *counted_in.get_or_insert_with(|| round.arrive());
            if round.number != number {
                // Counted, and met before its wait could begin.
                return BarrierWaitResult(false);
            }
            if round.arrived >= self.n {
                round.arrived = 0;
                round.number += 1;
                drop(round);
                self.waiters.end_while(|their| *their <= number);
                return BarrierWaitResult(true);
            }
            match round.wait(First, WaitReason::BarrierWait.at(self), None, &mut Some(number)) {
                Waited::Ended => return BarrierWaitResult(false),
                Waited::TimedOut(_) => unreachable!("it has no deadline"),
                Waited::Again => {}
            }
        }
    }
}

impl Round {
    /// Counts one more, and says in which round.
    fn arrive(&mut self) -> u64 {
        self.arrived += 1;
        self.number
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = self.waiters.lock().arrived;
        f.debug_struct("Barrier").field("n", &self.n).field("arrived", &arrived).finish_non_exhaustive()
    }
}

// No panic leaves it half changed: no code of others runs while it changes.
impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}
