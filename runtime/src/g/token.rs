//! F3. Who waits: a goroutine or a foreign thread, and which of its waits.
//!
//! # Invariants
//!
//! 1. A [`Token`] may be copied and kept as long as one likes: what it names is type-stable, and a stale
//!    ticket loses (`g::state`).
//! 2. Whoever wins `claim` makes the waiter ready, exactly once, by handing the token to
//!    `sched::ready::make_ready`. Between the two it may write the waiter's frame, and nobody else may.
//! 3. A thread's parker belongs to one wait at a time; parkers are pooled and never freed, for a late
//!    waker may look at one. (The pool is process-wide, as the stacks are: it holds no scheduler state.)

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::GRef;
use super::state::{State, Ticket};
use crate::sys::futex;
use crate::sys::threads;
use crate::util::lock::Lock;

/// What a foreign thread sleeps on.
#[derive(Debug)]
pub(crate) struct ThreadParker {
    /// As a goroutine's: tickets, claims.
    pub(crate) state: State,
    /// 1: the wait is over.
    ready: AtomicU32,
    /// Is this wait without a deadline, so that its thread wakes nobody before it is woken itself? Written
    /// before the token is known to anybody.
    endless: AtomicBool,
    next_free: AtomicPtr<ThreadParker>,
}

struct Pool(*mut ThreadParker);
// SAFETY: parkers are never freed, and shared by atomics only.
unsafe impl Send for Pool {}

static POOL: Lock<Pool> = Lock::new(Pool(ptr::null_mut()));

impl ThreadParker {
    /// A parker for one wait of this thread. Allocates when the pool is empty.
    pub(crate) fn acquire() -> &'static ThreadParker {
        ThreadParker::try_acquire().unwrap_or_else(ThreadParker::make)
    }

    /// A parker for one wait of this thread, if there is one in the pool.
    pub(crate) fn try_acquire() -> Option<&'static ThreadParker> {
        let mut pool = POOL.lock();
        // SAFETY: parkers are never freed (invariant 3).
        let parker = unsafe { pool.0.as_ref() }?;
        pool.0 = parker.next_free.load(Ordering::Relaxed);
        Some(parker)
    }

    fn make() -> &'static ThreadParker {
        let parker = Box::leak(Box::new(ThreadParker {
            state: State::new(),
            ready: AtomicU32::new(0),
            endless: AtomicBool::new(false),
            next_free: AtomicPtr::new(ptr::null_mut()),
        }));
        parker.state.be_born();
        parker.state.set_running();
        parker
    }

    /// Gives it back.
    pub(crate) fn release(&'static self) {
        let mut pool = POOL.lock();
        self.next_free.store(pool.0, Ordering::Relaxed);
        pool.0 = ptr::from_ref(self).cast_mut();
    }

    /// Begins a wait, to be slept through without a deadline or with one.
    pub(crate) fn begin(&self, endless: bool) -> Ticket {
        // Relaxed: published with the ticket.
        self.ready.store(0, Ordering::Relaxed);
        self.endless.store(endless, Ordering::Relaxed);
        self.state.begin_park()
    }

    /// Sleeps until the wait is over (true), or the deadline has passed and nobody had claimed (false).
    pub(crate) fn sleep(&self, ticket: Ticket, deadline_ns: u64) -> bool {
        let mut deadline_ns = deadline_ns;
        if self.endless.load(Ordering::Relaxed) {
            threads::foreign_sleeps();
        }
        // Acquire: pairs with the Release in `end`.
        while self.ready.load(Ordering::Acquire) == 0 {
            if !futex::wait_until(&self.ready, 0, deadline_ns) {
                if self.state.try_cancel_park(ticket) {
                    return false;
                }
                // Claimed in time: it will be made ready soon.
                deadline_ns = crate::sys::clock::NEVER;
            }
        }
        self.state.set_running();
        true
    }

    /// Ends the wait: by the winner of the claim.
    pub(crate) fn end(&self) {
        let _ = self.state.make_ready();
        if self.endless.load(Ordering::Relaxed) {
            threads::foreign_wakes();
        }
        // Release: pairs with the Acquire in `sleep`. The parker may serve another wait at once; the
        // futex's address stays good, and a stray wake is harmless.
        self.ready.store(1, Ordering::Release);
        futex::wake(&self.ready, 1);
    }
}

/// Who waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// A goroutine.
    Goroutine(GRef),
    /// A foreign thread.
    Thread(&'static ThreadParker),
}

/// One wait of somebody (invariant 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    waiting: Waiting,
    ticket: Ticket,
}

impl Token {
    /// Wait `ticket` of `waiting`.
    #[inline(always)]
    pub(crate) fn new(waiting: Waiting, ticket: Ticket) -> Self {
        Token { waiting, ticket }
    }

    /// Who waits.
    #[inline(always)]
    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Which wait of the waiter it is.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Wins the wait, or finds it decided (invariant 2).
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        match self.waiting {
            Waiting::Goroutine(g) => g.state.claim(self.ticket),
            Waiting::Thread(parker) => parker.state.claim(self.ticket),
        }
    }

    /// Makes ready what was claimed. The goroutine to queue, if the caller has to.
    #[inline]
    pub(crate) fn make_ready(self) -> Option<GRef> {
        match self.waiting {
            Waiting::Goroutine(g) => (g.state.make_ready() == super::state::AfterReady::Queue).then_some(g),
            Waiting::Thread(parker) => {
                parker.end();
                None
            }
        }
    }
}
