//! Waiting for a number of things to be done.
//!
//! # The word
//!
//! `round << 32 | count`. The count is of the tokens that exist. The round goes up in the step in which the
//! count falls to zero: so whoever saw (round, count above zero) and joined the list is to be woken by the
//! token that ended this round, and by no other, however fast the group is used again.
//!
//! # Invariants
//!
//! 1. A waiter joins under the list's lock with the round that it read there; rounds in the list ascend.
//! 2. The token that ends a round wakes all who joined with it or earlier ones. A waiter that joins with it
//!    later than that cannot be: it would have read the round under the lock after the round had changed.
//!
//! Called on goroutine stacks and on foreign threads.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gort_runtime::waiter::WaitReason;

use crate::time::deadline_after;
use crate::wait_list::{First, Monitor, Waited};

const COUNT: u64 = u32::MAX as u64;
const ROUND: u64 = 1 << 32;

/// Waits until all that was added is done.
///
/// As Go's `sync.WaitGroup`, with tokens in place of `Add` and `Done`: [`add`](Self::add) gives one, and when
/// it is dropped that part is done. So nothing is forgotten when a goroutine panics, and nothing can be done
/// more often than it was added. Clones are handles to the same group; it may be used again and again.
///
/// Add before you spawn, not in the goroutine: else `wait` may find nothing to wait for.
///
/// # Ordering
///
/// What was done before a token was dropped is visible to who waited for it.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use gort_sync::WaitGroup;
///
/// gort_runtime::run(|| {
///     let (group, sum) = (WaitGroup::new(), Arc::new(AtomicU32::new(0)));
///     for n in 1..=10 {
///         let sum = Arc::clone(&sum);
///         group.go(move || _ = sum.fetch_add(n, Ordering::Relaxed));
///     }
///     group.wait();
///     assert_eq!(sum.load(Ordering::Relaxed), 55);
/// });
/// ```
#[derive(Clone)]
pub struct WaitGroup {
    inner: Arc<Inner>,
}

/// One thing that a [`WaitGroup`] waits for. Done when it is dropped.
#[must_use = "it is done as soon as the token is dropped"]
pub struct WaitGroupToken {
    inner: Arc<Inner>,
}

struct Inner {
    word: AtomicU64,
    /// In each slot: the round.
    waiters: Monitor<(), u64>,
}

impl WaitGroup {
    /// A group with nothing to wait for.
    #[must_use]
    pub fn new() -> Self {
        WaitGroup { inner: Arc::new(Inner { word: AtomicU64::new(0), waiters: Monitor::new(()) }) }
    }

    /// One more thing to wait for, until the token is dropped.
    ///
    /// # Panics
    ///
    /// If there are 2^32 - 1 already.
    pub fn add(&self) -> WaitGroupToken {
        let more = |word: u64| (word & COUNT != COUNT).then_some(word + 1);
        // Relaxed: what the token's work must see comes to it with the token.
        let added = self.inner.word.try_update(Ordering::Relaxed, Ordering::Relaxed, more);
        assert!(added.is_ok(), "a WaitGroup waits for too many things");
        WaitGroupToken { inner: Arc::clone(&self.inner) }
    }

    /// Starts a goroutine that the group waits for. It is done when the closure has returned or panicked.
    #[track_caller]
    pub fn go<F>(&self, f: F)
    where
        F: FnOnce() + Send + 'static,
    {
        let token = self.add();
        drop(gort_runtime::spawn(move || {
            let _token = token;
            f();
        }));
    }

    /// Waits until there was a moment without tokens. Returns at once if there are none.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread. For ever, if the caller has a token.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than `timeout`. True if all was done.
    ///
    /// # Blocking
    ///
    /// As `wait`, for the timeout at most.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(deadline_after(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            let waiters = self.inner.waiters.lock();
            // Acquire: pairs with the Release of the token that was dropped last.
            let word = self.inner.word.load(Ordering::Acquire);
            if word & COUNT == 0 {
                return true;
            }
            let wait_for = WaitReason::WaitGroupWait.at(&*self.inner);
            match waiters.wait(First, wait_for, deadline, &mut Some(word / ROUND)) {
                Waited::Ended => return true,
                Waited::TimedOut(_) => return false,
                Waited::Again => {}
            }
        }
    }
}

impl Drop for WaitGroupToken {
    fn drop(&mut self) {
        let less = |word: u64| if word & COUNT == 1 { word.wrapping_add(ROUND) - 1 } else { word - 1 };
        // Release: pairs with the Acquire in `wait_until`. Acquire: who ends the round wakes on behalf of
        // all tokens.
        let before = self.inner.word.update(Ordering::AcqRel, Ordering::Relaxed, less);
        if before & COUNT == 1 {
            let ended = before / ROUND;
            // Rounds may wrap around, so not "less or equal"; those in the list are close together.
            self.inner.waiters.end_while(|round| (ended.wrapping_sub(*round) as u32) < u32::MAX / 2);
        }
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.inner.word.load(Ordering::Relaxed) & COUNT;
        f.debug_struct("WaitGroup").field("tokens", &count).finish_non_exhaustive()
    }
}

impl fmt::Debug for WaitGroupToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroupToken").finish_non_exhaustive()
    }
}

// No panic leaves it half changed: no code of others runs while it changes.
impl UnwindSafe for WaitGroup {}
impl RefUnwindSafe for WaitGroup {}
impl UnwindSafe for WaitGroupToken {}
impl RefUnwindSafe for WaitGroupToken {}
