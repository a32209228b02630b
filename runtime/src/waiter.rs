//! F8b. What blocking primitives are built from: a wait that is handed a value.
//!
//! For authors of primitives (gort-sync); programs use those. Everything that blocks a goroutine, or a
//! foreign thread on gort's primitives, comes down to [`wait`]: the waiter publishes a [`Waker`] and
//! sleeps; of all who hold a copy, one wins [`Waker::claim`] and hands a value over; a deadline is one
//! more contender.
//!
//! # Why this is safe
//!
//! 1. A waker points into the waiter's frame, and may be kept for ever. It follows the pointer only after
//!    it has won the claim, and from then until [`Claim::wake`] the waiter cannot leave that frame
//!    (`g::state`, `park` invariant 2).
//! 2. The value is written by the one winner, and read by the waiter after the wake, which orders it.
//! 3. A claim that is dropped without a value still wakes its waiter, which sees that it was let down.
//!
//! # The lean form
//!
//! Where waiters stand in lists under a lock, the lock can guard what is handed over as well: a waiter that
//! was not woken takes the lock before it leaves its frame. [`sleep_in`] is for those. The wait begins
//! with the lock held, so that nobody looks twice; a waker writes first, still under the lock, and then
//! tries to end the wait by one compare-exchange ([`Sleeper::end`]); if it comes too late, it takes back
//! what it has written. The goroutine is queued when the lock is free again ([`Ended`]).
//!
//! # Examples
//!
//! ```
//! use std::sync::Mutex;
//! use gort_runtime::waiter::{WaitReason, Waker, Woken, wait};
//!
//! // A place where one goroutine waits for a number.
//! static WAITING: Mutex<Option<Waker<u32>>> = Mutex::new(None);
//!
//! gort_runtime::run(|| {
//!     let receiver = gort_runtime::spawn(|| {
//!         wait(WaitReason::Other, None, |waker| {
//!             *WAITING.lock().expect("nobody panics") = Some(waker);
//!             true
//!         })
//!     });
//!     let waker = loop {
//!         if let Some(waker) = WAITING.lock().expect("nobody panics").take() {
//!             break waker;
//!         }
//!         gort_runtime::yield_now();
//!     };
//!     assert!(waker.claim().map(|claim| claim.wake(42)).is_some());
//!     assert!(waker.claim().is_none(), "the wait is over");
//!     assert_eq!(receiver.join().expect("no panic"), Woken::Value(42));
//! });
//! ```

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::g::state::AfterReady;
use crate::g::token::{ThreadParker, Token, Waiting};
pub use crate::g::wait::{WaitFor, WaitReason};
use crate::g::{G, GRef};
use crate::m::M;
use crate::park;
use crate::sched::ready::{ready, ready_in};
use crate::sys::clock;
use crate::util::abort::AbortOnUnwind;
use crate::util::rng::Rng;

pub use crate::util::lock::{Guard, Lock, RawLock, Section};

/// How a [`wait`] ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken<T> {
    /// Somebody claimed it and handed this over.
    Value(T),
    /// Somebody claimed it and let it down: the claim was dropped.
    LetDown,
    /// The deadline passed first.
    TimedOut,
    /// `publish` decided not to wait.
    Unpublished,
}

/// The right to try to end one wait. Copies compete; a late one loses and touches nothing.
pub struct Waker<T> {
    token: Token,
    slot: NonNull<UnsafeCell<Option<T>>>,
}

/// A wait that has been won: [`wake`](Self::wake) hands the value over.
#[must_use = "dropping a claim wakes the waiter with nothing"]
pub struct Claim<T> {
    token: Token,
    slot: NonNull<UnsafeCell<Option<T>>>,
}

impl<T> Clone for Waker<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Waker<T> {}

// SAFETY: the slot is touched by the winner of the claim alone; the value crosses threads, so T is Send.
unsafe impl<T: Send> Send for Waker<T> {}
// SAFETY: as above; sharing a waker is copying it.
unsafe impl<T: Send> Sync for Waker<T> {}
// SAFETY: a claim is the exclusive right to the slot.
unsafe impl<T: Send> Send for Claim<T> {}
// SAFETY: a shared claim gives access to nothing.
unsafe impl<T: Send> Sync for Claim<T> {}

/// Waits, as the calling goroutine or thread, until somebody claims the waker that `publish` made known,
/// or until `deadline`.
///
/// `publish` is called once, before the sleep; it says whether to wait at all, and if not, must have made
/// the waker known to nobody, or taken it back. It runs where no signal stops the goroutine: it must be
/// short and not suspend, and must not allocate while it holds a lock. A panic in it aborts the process.
///
/// # Blocking
///
/// Blocks the goroutine; on a thread that is none, the thread.
#[inline]
pub fn wait<'a, T: Send>(
    wait_for: impl Into<WaitFor<'a>>,
    deadline: Option<Instant>,
    publish: impl FnOnce(Waker<T>) -> bool,
) -> Woken<T> {
    let slot = UnsafeCell::new(None);
    let deadline_ns = deadline.map_or(clock::NEVER, clock::from_instant);
    let woken = park::wait(wait_for, deadline_ns, |token| {
        // A waker that is known must not outlive the wait: no unwinding past it.
        let abort = AbortOnUnwind("the closure that publishes a waker");
        let published = publish(Waker { token, slot: NonNull::from(&slot) });
        std::mem::forget(abort);
        published
    });
    match woken {
        park::Woken::Unpublished => Woken::Unpublished,
        park::Woken::TimedOut => Woken::TimedOut,
        park::Woken::Ready => slot.into_inner().map_or(Woken::LetDown, Woken::Value),
    }
}

/// The [id](crate::Goroutine::id) of the goroutine that calls this; 0 on a thread that is none.
#[inline]
pub fn current_id() -> u64 {
    park::current_g().map_or(0, G::id)
}

/// A random number, for choices that must be cheap and unlike one another. On a worker from its processor's
/// generator, which the runtime's seed determines. Not for secrets.
#[inline]
pub fn random(_: &Section) -> u64 {
    // The section keeps the P this thread's (`p`).
    match M::current().and_then(M::p) {
        Some(p) => p.local.rng.next_u64(),
        None => random_of_thread(),
    }
}

#[cold]
fn random_of_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Rng::new(NEXT.fetch_add(1, Ordering::Relaxed)).next_u64()
}

impl<T> Waker<T> {
    /// Wins the wait, or finds that somebody else has, or that it is over.
    #[inline]
    pub fn claim(self) -> Option<Claim<T>> {
        // Lazily: a claim that was not won must not exist, for its drop wakes.
        self.token.claim().then(|| Claim { token: self.token, slot: self.slot })
    }
}

impl<T> Claim<T> {
    /// Hands `value` over and lets the waiter go on.
    #[inline]
    pub fn wake(self, value: T) {
        // SAFETY: we won the claim: the frame stays until `make_ready`, and nobody else has the slot.
        unsafe { *self.slot.as_ref().get() = Some(value) };
        // `drop` wakes it.
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        park::make_ready(self.token);
    }
}

/// How a [`sleep_in`] ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// Somebody has [ended](Sleeper::end) it.
    Ended,
    /// The deadline passed first.
    TimedOut,
    /// It could not begin without allocating: nothing was published, and there is room now. Start anew.
    Again,
}

/// The right to try to end one [`sleep_in`]. Copies compete; a late one loses and touches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Sleeper(Token);

/// A sleep that has been ended: its drop lets the sleeper go on. Not to be dropped under a lock that the
/// sleeper needs next, for it would run into it.
#[must_use = "its drop lets the sleeper go on"]
#[derive(Debug)]
pub struct Ended(AfterEnd);

#[derive(Debug)]
enum AfterEnd {
    /// The worker that is about to leave its stack queues it.
    Nothing,
    Queue(GRef),
    Thread(&'static ThreadParker),
}

/// Sleeps, as the calling goroutine or thread, until somebody ends it through the [`Sleeper`] that
/// `publish` made known, or until `deadline`.
///
/// The caller is in `section`, and may hold locks of gort's: `publish` frees them, or, where the answer is
/// [`Slept::Again`], its drop does. It must be short and not suspend, and must not allocate while it holds
/// a lock. A panic in it aborts the process. What an `end` that succeeded had to hand over is written
/// before it, in the sleeper's frame; the sleeper may leave that frame as soon as it has been ended.
///
/// # Blocking
///
/// Blocks the goroutine; on a thread that is none, the thread.
#[inline]
pub fn sleep_in<'a>(
    section: Section,
    wait_for: impl Into<WaitFor<'a>>,
    deadline: Option<Instant>,
    publish: impl FnOnce(Sleeper),
) -> Slept {
    let deadline_ns = deadline.map_or(clock::NEVER, clock::from_instant);
    let woken = park::wait_in(section.0, wait_for, deadline_ns, |token| {
        // A sleeper that is known must not outlive the sleep: no unwinding past it.
        let abort = AbortOnUnwind("the closure that publishes a sleeper");
        publish(Sleeper(token));
        std::mem::forget(abort);
    });
    match woken {
        park::Woken::Ready => Slept::Ended,
        park::Woken::TimedOut => Slept::TimedOut,
        park::Woken::Unpublished => Slept::Again,
    }
}

impl Sleeper {
    /// Ends the sleep, or finds that somebody else has, or that it is over.
    #[inline]
    pub fn end(self) -> Option<Ended> {
        let after = match self.0.waiting() {
            Waiting::Goroutine(g) => match g.state.wake(self.0.ticket())? {
                AfterReady::Nothing => AfterEnd::Nothing,
                AfterReady::Queue => AfterEnd::Queue(g),
            },
            Waiting::Thread(parker) => {
                if !self.0.claim() {
                    return None;
                }
                AfterEnd::Thread(parker)
            }
        };
        Some(Ended(after))
    }
}

impl Ended {
    /// Lets the sleeper go on: as the drop does, for who is in a section already, and has freed the locks that the
    /// sleeper needs next.
    #[inline(always)]
    pub fn let_go(self, section: &Section) {
        let after = ManuallyDrop::new(self);
        match after.0 {
            AfterEnd::Queue(g) => ready_in(&section.0, g),
            AfterEnd::Nothing => {}
            AfterEnd::Thread(parker) => parker.end(),
        }
    }
}

impl Drop for Ended {
    #[inline]
    fn drop(&mut self) {
        match self.0 {
            AfterEnd::Nothing => {}
            AfterEnd::Queue(g) => ready(g),
            AfterEnd::Thread(parker) => parker.end(),
        }
    }
}

impl<T> fmt::Debug for Waker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Claim<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}
