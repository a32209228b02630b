//! F8. Looking at one goroutine from outside: what it is doing, and its frames.
//!
//! | the goroutine | its record and name | its frames |
//! |---|---|---|
//! | waits | [`Borrowed`]: it stays where it is meanwhile | it is visited: shows them on this very thread |
//! | waits on a frozen thread (in a panic) | the same | none: its thread stands on the stack |
//! | runs | by a signal to its thread ([`Camera::of_running`]) | the same |
//! | runs, and is the caller | its own | it unwinds itself |
//! | is in a queue, or about to be | what is atomic; no name | none |
//!
//! No frames of the queued: whoever takes one from a queue owns it from that moment on without another
//! operation on its status word, so a reader cannot keep it from running. A claim through the word would put
//! a read-modify-write into each resume.
//!
//! # Invariants
//!
//! 1. Who holds a [`Borrowed`] has the role of the worker that has left the stack (`State::borrow_waiting`):
//!    nobody resumes the goroutine before it is given back, and it is given back on every path. A waker
//!    that comes meanwhile leaves the queueing to us.
//! 2. No user code runs in a visit, and nothing that reads a thread's word: so it does not matter on which
//!    thread it happens, also for a goroutine that is bound to another.
//! 3. From the visit to the end of it np is 1 on the visitor's thread, if that is a worker.
//! 4. While a goroutine is borrowed the deadlock check must not conclude: `AtWork`.
//! 5. At most one running goroutine of the process is being asked at a time (`SHOT`). The word says whose
//!    turn it is to touch the rest: who asks when it is `FREE` (then theirs) or `TAKEN`, the handler when
//!    `TAKING`.
//!
//! Called by dumps: on goroutine stacks, foreign threads, the reporter. [`on_signal`] in the signal handler.

use std::cell::UnsafeCell;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::coro::Coro;
use crate::cur::NoPreempt;
use crate::g::state::{AfterLeaving, Status};
use crate::g::{G, GRef, Owner};
use crate::m::M;
use crate::sched::ready::ready;
use crate::stack::{Segment, Slot};
use crate::sys::threads::AtWork;
use crate::sys::{clock, futex, signal};
use crate::unwind::{Trace, Visit};

/// How much stack a visited goroutine needs for itself, above what it had when it suspended.
const VISIT_BYTES: usize = 4096;

/// The scratch stack of the unwinder.
const SCRATCH_BYTES: usize = 128 << 10;

/// For so long a running goroutine's thread is asked for its frames.
const RUNNING_NS: u64 = 100_000_000;

/// The signal is sent again after so long: a thread that was in a no-preempt section ignores it.
const RUNNING_STEP_NS: u64 = 1_000_000;

/// A goroutine that waits, and stays so as long as this lives (invariant 1).
#[derive(Debug)]
pub(crate) struct Borrowed {
    g: GRef,
    _at_work: AtWork,
}

impl Borrowed {
    /// Borrows `g`, if it waits, and belongs to `owner`.
    pub(crate) fn of(g: GRef, owner: Owner) -> Option<Borrowed> {
        let at_work = AtWork::begin();
        if g.state.status() != Status::Waiting || !g.state.borrow_waiting(g.state.ticket()) {
            return None;
        }
        let borrowed = Borrowed { g, _at_work: at_work };
        // Only now is it certain whose it is.
        (g.owner.load(Ordering::Relaxed).cast_const() == owner).then_some(borrowed)
    }

    /// Its name.
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        // SAFETY: the name is the goroutine's alone, which does not run (invariant 1).
        unsafe { (*self.g.name.get()).clone() }
    }

    /// The number of the goroutine that holds what it waits for; 0: unknown.
    pub(crate) fn holder(&self) -> u64 {
        // SAFETY: it waits, and stays so (invariant 1).
        unsafe { self.g.wait_holder() }
    }

    /// Does its thread stand on its stack?
    pub(crate) fn is_frozen(&self) -> bool {
        // Visible: `borrow_waiting` acquires what `left_stack` released.
        !self.g.frozen.load(Ordering::Relaxed).is_null()
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.g.state.left_stack() == AfterLeaving::Queue {
            ready(self.g);
        }
    }
}

/// What a dumper needs to look at frames.
#[derive(Debug)]
pub(crate) struct Camera {
    visit: Box<Visit>,
}

impl Camera {
    /// A camera: a scratch stack, and room for one trace.
    ///
    /// # Errors
    ///
    /// There is no memory for the stack.
    pub(crate) fn new() -> io::Result<Camera> {
        let scratch = Segment::alloc(SCRATCH_BYTES).map_err(io::Error::from)?;
        Ok(Camera { visit: Box::new(Visit { scratch, trace: Trace::new() }) })
    }

    /// The frames of a goroutine that waits: none if it cannot show them.
    pub(crate) fn of_waiting(&mut self, borrowed: &Borrowed) -> &[usize] {
        let g = borrowed.g;
        self.visit.trace.clear();
        // Wrapping: on a stack that is not ours the difference is some large number.
        let left = g.saved_sp.load(Ordering::Relaxed).wrapping_sub(g.stack_low.load(Ordering::Relaxed));
        if !borrowed.is_frozen() && left >= VISIT_BYTES {
            let _section = NoPreempt::enter();
            g.visit.store(ptr::from_mut(&mut *self.visit), Ordering::Relaxed);
            // SAFETY: it has suspended itself, and is ours (invariant 1); np is 1 (invariant 3).
            unsafe { Coro::visit(g.coro.get()) };
        }
        self.visit.trace.addresses()
    }

    /// The frames of a goroutine that runs on another thread, and its name; `None` if it does not answer in
    /// time, or does not run any more.
    pub(crate) fn of_running(&mut self, g: GRef, m: &'static M) -> Option<(&[usize], Option<Arc<str>>)> {
        let name = SHOT.take(g, m, &mut self.visit.trace)?;
        Some((self.visit.trace.addresses(), name))
    }

    /// The frames of the caller, who is the goroutine in `slot`.
    pub(crate) fn of_caller(&mut self, slot: Slot) -> &[usize] {
        self.visit.trace.take(slot, None);
        self.visit.trace.addresses()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody is on it.
        unsafe { self.visit.scratch.free() };
    }
}

/// The request to a running goroutine's thread.
struct Shot {
    word: AtomicU32,
    m: AtomicPtr<M>,
    g: AtomicPtr<G>,
    answer: UnsafeCell<Answer>,
}

struct Answer {
    trace: Trace,
    name: Option<Arc<str>>,
    /// Did the goroutine run there?
    seen: bool,
}

// SAFETY: the word gives the answer to one thread at a time (invariant 5).
unsafe impl Sync for Shot {}

const FREE: u32 = 0;
/// Somebody prepares a request, or takes its answer.
const HELD: u32 = 1;
const ASKED: u32 = 2;
const TAKING: u32 = 3;
const TAKEN: u32 = 4;

static SHOT: Shot = Shot {
    word: AtomicU32::new(FREE),
    m: AtomicPtr::new(ptr::null_mut()),
    g: AtomicPtr::new(ptr::null_mut()),
    answer: UnsafeCell::new(Answer { trace: Trace::new(), name: None, seen: false }),
};

impl Shot {
    fn take(&self, g: GRef, m: &'static M, into: &mut Trace) -> Option<Option<Arc<str>>> {
        let deadline_ns = clock::now_ns() + RUNNING_NS;
        while self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            if clock::now_ns() >= deadline_ns {
                return None;
            }
            futex::wait_until(&self.word, HELD, clock::now_ns() + RUNNING_STEP_NS);
        }
        self.m.store(ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
        self.g.store(ptr::from_ref(g).cast_mut(), Ordering::Relaxed);
        // Release: the request; pairs with the Acquire in `on_signal`.
        self.word.store(ASKED, Ordering::Release);
        let answer = self.wait(m, deadline_ns).then(|| {
            // SAFETY: TAKEN: the handler is done with it (invariant 5).
            let answer = unsafe { &mut *self.answer.get() };
            into.clone_from(&answer.trace);
            let name = answer.name.take();
            answer.seen.then_some(name)
        });
        // Release: the answer has been taken; pairs with the Acquire of the next one who asks.
        self.word.store(FREE, Ordering::Release);
        answer.flatten()
    }

    /// True: the answer is there. False: the request is withdrawn.
    fn wait(&self, m: &'static M, deadline_ns: u64) -> bool {
        loop {
            // Acquire: pairs with the Release in `on_signal`.
            match self.word.load(Ordering::Acquire) {
                TAKEN => return true,
                TAKING => _ = futex::wait_until(&self.word, TAKING, clock::now_ns() + RUNNING_STEP_NS),
                _ => {
                    let late = clock::now_ns() >= deadline_ns;
                    let withdrawn = || {
                        let exchange = (Ordering::Relaxed, Ordering::Relaxed);
                        self.word.compare_exchange(ASKED, HELD, exchange.0, exchange.1).is_ok()
                    };
                    if late && withdrawn() {
                        return false;
                    }
                    signal::interrupt(m.tid.load(Ordering::Relaxed));
                    futex::wait_until(&self.word, ASKED, clock::now_ns() + RUNNING_STEP_NS);
                }
            }
        }
    }
}

/// The signal's handler on a worker whose np is 0: is anybody asking for what runs here? Async-signal-safe:
/// it unwinds, and counts one more reference to the name.
pub(crate) fn on_signal(m: &'static M) {
    if SHOT.word.load(Ordering::Relaxed) != ASKED
        || !ptr::eq(SHOT.m.load(Ordering::Relaxed), m)
        // Acquire: pairs with the Release in `take`.
        || SHOT.word.compare_exchange(ASKED, TAKING, Ordering::Acquire, Ordering::Relaxed).is_err()
    {
        return;
    }
    // SAFETY: TAKING: ours (invariant 5).
    let answer = unsafe { &mut *SHOT.answer.get() };
    let g = m.g.load(Ordering::Relaxed);
    answer.trace.clear();
    // The request may be another one by now, but it is to us: the comparison says of whom.
    answer.seen = ptr::eq(SHOT.m.load(Ordering::Relaxed), m)
        && ptr::eq(SHOT.g.load(Ordering::Relaxed), g)
        && !g.is_null();
    if answer.seen {
        // SAFETY: not null, so a G, which is type-stable.
        let g = unsafe { &*g };
        answer.trace.take(g.slot(), None);
        // SAFETY: the name is the goroutine's alone, which is stopped beneath us; it takes its name away in
        // a no-preempt section (`spawn`), and np is 0.
        answer.name = unsafe { (*g.name.get()).clone() };
    }
    // Release: the answer; pairs with the Acquire in `wait`.
    SHOT.word.store(TAKEN, Ordering::Release);
    futex::wake(&SHOT.word, 1);
}
